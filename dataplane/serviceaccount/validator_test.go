package serviceaccount_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authentication "k8s.io/api/authentication/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	authenticationv1 "k8s.io/client-go/kubernetes/typed/authentication/v1"

	"github.com/meshpass/meshpass/dataplane/serviceaccount"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/token"
)

// fixed answers reviews without a network, for tests in which time is not real.
type fixed struct {
	authenticationv1.TokenReviewInterface
	n      atomic.Int64
	answer func(ctx context.Context, raw string) (authentication.TokenReviewStatus, error)
}

func (f *fixed) Create(ctx context.Context, review *authentication.TokenReview, _ meta.CreateOptions) (*authentication.TokenReview, error) {
	f.n.Add(1)
	status, err := f.answer(ctx, review.Spec.Token)
	if err != nil {
		return nil, err
	}
	return &authentication.TokenReview{Status: status}, nil
}

// good accepts every token.
func good() *fixed {
	return &fixed{answer: func(context.Context, string) (authentication.TokenReviewStatus, error) { return accepted(), nil }}
}

// exceptFor accepts the tokens given, and no others.
func exceptFor(tokens ...string) *fixed {
	return &fixed{answer: func(_ context.Context, raw string) (authentication.TokenReviewStatus, error) {
		for _, t := range tokens {
			if t == raw {
				return accepted(), nil
			}
		}
		return authentication.TokenReviewStatus{Error: "[invalid bearer token]"}, nil
	}}
}

var quiet = serviceaccount.WithLogger(slog.New(slog.DiscardHandler))

func newCause(t *testing.T) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	return ctx, cancel
}

// open returns a validator for use in a bubble, where it must be closed before the
// test ends.
func open(t *testing.T, reviews authenticationv1.TokenReviewInterface, options ...serviceaccount.Option) *serviceaccount.Validator {
	t.Helper()
	v, err := serviceaccount.NewValidator(reviews, []string{audience}, append([]serviceaccount.Option{quiet}, options...)...)
	require.NoError(t, err)
	return v
}

func TestValidatorUsesAPositiveAnswerForTenSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := good()
		v := open(t, api)
		defer v.Close()
		raw := unsigned(nil)
		for range 100 {
			_, err := v.Validate(t.Context(), raw)
			require.NoError(t, err)
			time.Sleep(99 * time.Millisecond)
		}
		require.EqualValues(t, 1, api.n.Load())
		time.Sleep(100 * time.Millisecond)
		_, err := v.Validate(t.Context(), raw)
		require.NoError(t, err)
		require.EqualValues(t, 2, api.n.Load())
	})
}

func TestValidatorCountsTheAgeOfAPositiveAnswerFromTheQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := good()
		api.answer = func(context.Context, string) (authentication.TokenReviewStatus, error) {
			time.Sleep(4 * time.Second)
			return accepted(), nil
		}
		v := open(t, api)
		defer v.Close()
		raw := unsigned(nil)
		_, err := v.Validate(t.Context(), raw)
		require.NoError(t, err)
		time.Sleep(6 * time.Second)
		_, err = v.Validate(t.Context(), raw)
		require.NoError(t, err)
		require.EqualValues(t, 2, api.n.Load())
	})
}

func TestValidatorUsesNoAnswerAfterTheTokensExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := good() // also long after exp, as an API server with a wrong clock would
		v := open(t, api)
		defer v.Close()
		raw := unsigned(map[string]any{"exp": time.Now().Add(5 * time.Second).Unix()})
		verified, err := v.Validate(t.Context(), raw)
		require.NoError(t, err)
		time.Sleep(5*time.Second - 1)
		_, err = v.Validate(t.Context(), raw)
		require.NoError(t, err)
		time.Sleep(time.Nanosecond)
		_, err = v.Validate(t.Context(), raw)
		require.ErrorIs(t, err, token.ErrExpired)
		require.EqualValues(t, 1, api.n.Load(), "an expired token is not asked about")
		require.Equal(t, verified.ExpiresAt(), time.Now().UTC())
	})
}

func TestValidatorRefusesATokenThatExpiresWhileItIsReviewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := good()
		api.answer = func(context.Context, string) (authentication.TokenReviewStatus, error) {
			time.Sleep(2 * time.Second)
			return accepted(), nil
		}
		v := open(t, api)
		defer v.Close()
		_, err := v.Validate(t.Context(), unsigned(map[string]any{"exp": time.Now().Add(time.Second).Unix()}))
		require.ErrorIs(t, err, token.ErrExpired)
	})
}

func TestValidatorAsksAboutARefusedTokenAgainAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw := unsigned(nil)
		api := exceptFor()
		v := open(t, api)
		defer v.Close()
		for range 50 {
			_, err := v.Validate(t.Context(), raw)
			require.ErrorIs(t, err, token.ErrInvalid)
			time.Sleep(99 * time.Millisecond)
		}
		require.EqualValues(t, 1, api.n.Load())
		api.answer = good().answer // as where the account was made a moment after the token was sent
		time.Sleep(100 * time.Millisecond)
		_, err := v.Validate(t.Context(), raw)
		require.NoError(t, err)
		require.EqualValues(t, 2, api.n.Load())
	})
}

func TestValidatorSharesAReviewAmongCallersWithTheSameToken(t *testing.T) {
	for _, ttl := range []time.Duration{0, 10 * time.Second} {
		t.Run(ttl.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				api := good()
				release := make(chan struct{})
				api.answer = func(context.Context, string) (authentication.TokenReviewStatus, error) {
					<-release
					return accepted(), nil
				}
				v := open(t, api, serviceaccount.WithReviewLimit(1), serviceaccount.WithCacheTTL(ttl))
				defer v.Close()
				raw := unsigned(nil)
				var callers sync.WaitGroup
				var served atomic.Int64
				for range 1000 {
					callers.Go(func() {
						if _, err := v.Validate(t.Context(), raw); err == nil {
							served.Add(1)
						}
					})
				}
				synctest.Wait()
				close(release)
				callers.Wait()
				require.EqualValues(t, 1000, served.Load())
				require.EqualValues(t, 1, api.n.Load())
			})
		})
	}
}

func TestValidatorGivesAnAPIServerThatHangsFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := good()
		api.answer = func(ctx context.Context, _ string) (authentication.TokenReviewStatus, error) {
			<-ctx.Done()
			return authentication.TokenReviewStatus{}, ctx.Err()
		}
		v := open(t, api)
		defer v.Close()
		began := time.Now()
		_, err := v.Validate(t.Context(), unsigned(nil))
		require.ErrorIs(t, err, token.ErrUnavailable)
		require.NotErrorIs(t, err, token.ErrInvalid)
		require.ErrorContains(t, err, "did not answer within 5s")
		require.Equal(t, 5*time.Second, time.Since(began))
	})
}

func TestValidatorLimitsTheReviewsOfDifferentBadTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := exceptFor()
		v := open(t, api, serviceaccount.WithReviewLimit(50))
		defer v.Close()
		serial := 0
		flood := func(tokens int) (refused, unknown int) {
			for range tokens {
				serial++
				_, err := v.Validate(t.Context(), unsigned(map[string]any{"jti": fmt.Sprint(serial)}))
				if errors.Is(err, token.ErrUnavailable) {
					unknown++
					continue
				}
				require.ErrorIs(t, err, token.ErrInvalid)
				refused++
			}
			return refused, unknown
		}
		refused, unknown := flood(500)
		require.Equal(t, 50, refused, "a burst")
		require.Equal(t, 450, unknown, "nobody has looked at these: no refusal")
		time.Sleep(100 * time.Millisecond)
		refused, _ = flood(500)
		require.Equal(t, 5, refused)
		time.Sleep(time.Hour)
		refused, _ = flood(500)
		require.Equal(t, 50, refused)
		require.EqualValues(t, 105, api.n.Load())
	})
}

func TestValidatorServesATokenThatWasGoodBeforeDuringAFloodOfNewOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		known, late := unsigned(map[string]any{"jti": "known"}), unsigned(map[string]any{"jti": "late"})
		api := exceptFor(known, late)
		v := open(t, api, serviceaccount.WithReviewLimit(1))
		defer v.Close()
		_, err := v.Validate(t.Context(), known)
		require.NoError(t, err)
		for i := range 20 {
			time.Sleep(11 * time.Second) // its answer is too old
			for j := range 100 {
				_, err := v.Validate(t.Context(), unsigned(map[string]any{"jti": fmt.Sprint(i, " ", j)}))
				require.Error(t, err)
			}
			_, err = v.Validate(t.Context(), late)
			require.ErrorIs(t, err, token.ErrUnavailable)
			_, err = v.Validate(t.Context(), known)
			require.NoError(t, err)
		}
		time.Sleep(time.Second)
		_, err = v.Validate(t.Context(), late)
		require.NoError(t, err, "the flood is over")
	})
}

func TestValidatorGivesATokenThatIsNoLongerGoodNoPrivilege(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw := unsigned(nil)
		api := good()
		v := open(t, api, serviceaccount.WithReviewLimit(1))
		defer v.Close()
		_, err := v.Validate(t.Context(), raw)
		require.NoError(t, err)
		api.answer = exceptFor().answer
		time.Sleep(10 * time.Second)
		_, err = v.Validate(t.Context(), raw)
		require.ErrorIs(t, err, token.ErrInvalid)
		time.Sleep(5 * time.Second)
		_, err = v.Validate(t.Context(), unsigned(map[string]any{"jti": "takes the one review"}))
		require.ErrorIs(t, err, token.ErrInvalid)
		_, err = v.Validate(t.Context(), raw)
		require.ErrorIs(t, err, token.ErrUnavailable)
	})
}

func TestValidatorStillKnowsATokenAfterAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		raw := unsigned(nil)
		api := good()
		v := open(t, api, serviceaccount.WithReviewLimit(1))
		defer v.Close()
		_, err := v.Validate(t.Context(), raw)
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		api.answer = func(context.Context, string) (authentication.TokenReviewStatus, error) {
			return authentication.TokenReviewStatus{}, errors.New("down")
		}
		_, err = v.Validate(t.Context(), raw)
		require.ErrorIs(t, err, token.ErrUnavailable, "an old answer is not used in an outage")
		api.answer = good().answer
		time.Sleep(time.Second)
		_, err = v.Validate(t.Context(), unsigned(map[string]any{"jti": "takes the one review of strangers"}))
		require.NoError(t, err)
		_, err = v.Validate(t.Context(), raw)
		require.NoError(t, err)
	})
}

func TestValidatorAsksForNoReviewOfTokensThatCannotBeGood(t *testing.T) {
	api := good() // would accept them all
	v := open(t, api)
	defer v.Close()
	for name, changes := range map[string]map[string]any{
		"no subject":               {"sub": nil},
		"a subject of two":         {"sub": []string{"system:serviceaccount:shop:backend"}},
		"a subject that is human":  {"sub": "jane"},
		"a namespace too many":     {"sub": "system:serviceaccount:a:b:c"},
		"no audience":              {"aud": nil},
		"an empty audience":        {"aud": ""},
		"no audience in the list":  {"aud": []string{}},
		"another audience":         {"aud": "somebody.example.com"},
		"an audience in capitals":  {"aud": strings.ToUpper(audience)},
		"part of the audience":     {"aud": []string{"mesh", "example.com"}},
		"audiences of two types":   {"aud": []any{audience, 1}},
		"an audience in an object": {"aud": map[string]any{audience: audience}},
		"no expiry":                {"exp": nil},
		"another EXP":              {"exp": nil, "EXP": time.Now().Add(time.Hour).Unix()},
		"an expiry as text":        {"exp": fmt.Sprint(time.Now().Add(time.Hour).Unix())},
		"expiry 0":                 {"exp": 0},
		"a negative expiry":        {"exp": -1},
		"an expiry in the past":    {"exp": time.Now().Unix() - 1},
		"an expiry beyond years":   {"exp": 1e15},
		"an endless expiry":        {"exp": math.MaxFloat64},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := v.Validate(t.Context(), unsigned(changes))
			require.ErrorIs(t, err, token.ErrInvalid)
			require.Zero(t, api.n.Load())
		})
	}
	_, err := v.Validate(t.Context(), unsigned(map[string]any{"aud": audience, "exp": float64(time.Now().Unix()) + 60.5}))
	require.NoError(t, err, "one audience without a list, and a fraction of a second")
	require.EqualValues(t, 1, api.n.Load())
}

func TestValidatorRefusesBeforeAReviewWithoutAnAPIServer(t *testing.T) {
	v := open(t, &fixed{answer: func(context.Context, string) (authentication.TokenReviewStatus, error) {
		return authentication.TokenReviewStatus{}, errors.New("down")
	}})
	defer v.Close()
	_, err := v.Validate(t.Context(), "garbage")
	require.ErrorIs(t, err, token.ErrMalformed)
	require.NotErrorIs(t, err, token.ErrUnavailable)
}

func TestValidatorThatIsClosedAnswersNothingAndEndsWhatIsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := good()
		v := open(t, api)
		known := unsigned(map[string]any{"jti": "known"})
		verified, err := v.Validate(t.Context(), known)
		require.NoError(t, err)
		session, stop := verified.Bind(t.Context())
		defer stop()
		api.answer = func(ctx context.Context, _ string) (authentication.TokenReviewStatus, error) {
			<-ctx.Done()
			return authentication.TokenReviewStatus{}, ctx.Err()
		}
		waiting := make(chan error, 1)
		go func() {
			_, err := v.Validate(t.Context(), unsigned(nil))
			waiting <- err
		}()
		synctest.Wait()

		require.NoError(t, v.Close())
		require.ErrorIs(t, <-waiting, token.ErrClosed)
		require.ErrorIs(t, context.Cause(session), token.ErrClosed)
		for _, raw := range []string{known, unsigned(nil), "garbage"} {
			_, err = v.Validate(t.Context(), raw)
			require.ErrorIs(t, err, token.ErrClosed)
		}
		late, stop := verified.Bind(t.Context())
		defer stop()
		require.ErrorIs(t, context.Cause(late), token.ErrClosed)
		require.NoError(t, v.Close())
	})
}

func TestValidatorCloseWaitsForEveryReviewAndNoneBeginsAfterIt(t *testing.T) {
	for range 20 {
		api := good()
		var running atomic.Int64
		api.answer = func(ctx context.Context, _ string) (authentication.TokenReviewStatus, error) {
			running.Add(1)
			defer running.Add(-1)
			<-ctx.Done()
			runtime.Gosched()
			return authentication.TokenReviewStatus{}, ctx.Err()
		}
		v := open(t, api)
		var peers sync.WaitGroup
		for i := range 50 {
			peers.Go(func() {
				_, err := v.Validate(t.Context(), unsigned(map[string]any{"jti": fmt.Sprint(i)}))
				assert.ErrorIs(t, err, token.ErrClosed)
			})
		}
		require.NoError(t, v.Close())
		require.Zero(t, running.Load())
		asked := api.n.Load()
		peers.Wait()
		require.Equal(t, asked, api.n.Load())
	}
}

func TestValidatorLogsALineASecondOfAFloodWhichHidesNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logtest.Buffer
		raw := unsigned(nil)
		v := open(t, &fixed{answer: func(context.Context, string) (authentication.TokenReviewStatus, error) {
			return authentication.TokenReviewStatus{}, errors.New("down")
		}}, serviceaccount.WithLogger(log.Logger()))
		defer v.Close()
		for range 10_000 {
			_, err := v.Validate(t.Context(), "garbage")
			require.Error(t, err)
		}
		require.Equal(t, 10, log.Count("level=INFO", "token refused", "malformed token"))
		_, err := v.Validate(t.Context(), raw)
		require.Error(t, err)
		require.Equal(t, 1, log.Count("level=WARN", "token could not be checked", "down"))
		time.Sleep(time.Second)
		_, err = v.Validate(t.Context(), "garbage")
		require.Error(t, err)
		require.Equal(t, 1, log.Count("token refused", "left_out=9990"))
	})
}

func TestValidatorLogsNoWarningForACallerThatWentAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logtest.Buffer
		api := good()
		api.answer = func(ctx context.Context, _ string) (authentication.TokenReviewStatus, error) {
			time.Sleep(time.Second)
			return accepted(), nil
		}
		v := open(t, api, serviceaccount.WithLogger(log.Logger()))
		defer v.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := v.Validate(ctx, unsigned(nil))
		require.ErrorIs(t, err, token.ErrUnavailable)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, 1, log.Count("level=INFO", "token could not be checked"))
	})
}

func TestValidatorRefusesArgumentsThatMakeNoSense(t *testing.T) {
	for want, make := range map[string]func() (*serviceaccount.Validator, error){
		"client for TokenReviews is nil": func() (*serviceaccount.Validator, error) {
			return serviceaccount.NewValidator(nil, []string{audience})
		},
		"there is no audience": func() (*serviceaccount.Validator, error) {
			return serviceaccount.NewValidator(good(), nil)
		},
		"an audience is empty": func() (*serviceaccount.Validator, error) {
			return serviceaccount.NewValidator(good(), []string{audience, ""})
		},
		"an option is nil":                             with(nil),
		"WithLogger: the logger is nil":                with(serviceaccount.WithLogger(nil)),
		"WithClock: the clock is nil":                  with(serviceaccount.WithClock(nil)),
		"WithCacheTTL: -1ns is out of range":           with(serviceaccount.WithCacheTTL(-1)),
		"WithCacheTTL: 1m0.000000001s is out of range": with(serviceaccount.WithCacheTTL(time.Minute + 1)),
		"WithReviewLimit: 0 is out of range":           with(serviceaccount.WithReviewLimit(0)),
		"WithReviewLimit: 10001 is out of range":       with(serviceaccount.WithReviewLimit(10001)),
	} {
		v, err := make()
		require.ErrorContains(t, err, "serviceaccount: ")
		require.ErrorContains(t, err, want)
		require.Nil(t, v)
	}
}

func with(option serviceaccount.Option) func() (*serviceaccount.Validator, error) {
	return func() (*serviceaccount.Validator, error) {
		return serviceaccount.NewValidator(good(), []string{audience}, option)
	}
}

func TestValidatorHasTheAudiencesOfTheTimeOfTheCall(t *testing.T) {
	audiences := []string{audience}
	v, err := serviceaccount.NewValidator(good(), audiences, quiet)
	require.NoError(t, err)
	defer v.Close()
	audiences[0] = "somebody.example.com"
	verified, err := v.Validate(t.Context(), unsigned(nil))
	require.NoError(t, err)
	verified.Audiences()[0] = "changed"
	require.Equal(t, []string{audience}, verified.Audiences())
}

// Whatever is sent, nothing panics, and nothing is accepted that the API server did not
// accept. Also of what it accepts, only a token for the audience is accepted, in its time.
func FuzzValidate(f *testing.F) {
	now := time.Date(2026, 11, 29, 12, 0, 0, 0, time.UTC)
	asking := func(api *fixed) *serviceaccount.Validator {
		v, err := serviceaccount.NewValidator(api, []string{audience}, quiet, serviceaccount.WithReviewLimit(10000),
			serviceaccount.WithClock(func() time.Time { return now }))
		require.NoError(f, err)
		f.Cleanup(func() { _ = v.Close() })
		return v
	}
	none, all := asking(exceptFor()), asking(good())
	for _, changes := range []map[string]any{{"exp": now.Unix()}, {"exp": now.Unix() + 1}, {"exp": now.Unix() + 1, "aud": []string{"a", audience}, "jti": "j"}, {"exp": nil}, {"sub": nil}} {
		f.Add(unsigned(changes))
	}
	for _, seed := range []string{"", ".", "..", "a.b.c", unsigned(nil), unsigned(map[string]any{"aud": audience}),
		unsigned(map[string]any{"exp": 1e300}), unsigned(map[string]any{"sub": "system:serviceaccount:::"})} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		verified, refused := none.Validate(context.Background(), raw)
		require.Zero(t, verified)
		require.NotEqual(t, errors.Is(refused, token.ErrInvalid), errors.Is(refused, token.ErrUnavailable), "%v", refused)

		verified, err := all.Validate(context.Background(), raw)
		if err != nil {
			require.Zero(t, verified)
			require.NotEqual(t, errors.Is(err, token.ErrInvalid), errors.Is(err, token.ErrUnavailable), "%v", err)
			return
		}
		require.LessOrEqual(t, len(raw), token.MaxSize)
		_, payload, _ := parts(raw)
		text, err := base64.RawURLEncoding.Strict().DecodeString(payload)
		require.NoError(t, err)
		var claims map[string]any
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.UseNumber() // there are numbers that no float64 holds
		require.NoError(t, decoder.Decode(&claims))
		if one, ok := claims["aud"].(string); ok {
			claims["aud"] = []any{one}
		}
		require.Contains(t, claims["aud"], audience)
		require.Regexp(t, `^system:serviceaccount:[^:]+:[^:]+$`, claims["sub"])
		expires, err := claims["exp"].(json.Number).Float64()
		require.NoError(t, err)
		require.Equal(t, int64(expires), verified.ExpiresAt().Unix())
		require.True(t, verified.ExpiresAt().After(now))
	})
}
