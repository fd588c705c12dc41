package dataplane_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/token"
)

// lineage is a proxy whose token is renewed, and a validator that hears of forks. It is in
// a bubble of package synctest.
type lineage struct {
	t         *testing.T
	store     *keystore.Memory
	issuer    dataplane.Issuer
	validator dataplane.Validator
	forks     []dataplane.Fork
	log       *logtest.Buffer
}

func newLineage(t *testing.T, options ...dataplane.ValidatorOption) *lineage {
	l := &lineage{t: t, store: keystore.NewMemory(), log: &logtest.Buffer{}}
	putKey(t, l.store, "default", 1, testKey(0))
	l.issuer = newIssuer(t, l.store, dataplane.WithMaxLineage(90*day), dataplane.WithLogger(l.log.Logger()))
	l.validator = newValidator(t, l.store, append([]dataplane.ValidatorOption{dataplane.WithLogger(l.log.Logger()),
		dataplane.WithForkHandler(func(_ context.Context, fork dataplane.Fork) { l.forks = append(l.forks, fork) })}, options...)...)
	synctest.Wait()
	return l
}

func (l *lineage) issue() string {
	l.t.Helper()
	return issue(l.t, l.issuer, "default", time.Hour)
}

// use presents a token from an address.
func (l *lineage) use(raw, address string) dataplane.Verified {
	l.t.Helper()
	verified, err := l.validator.Validate(audit.WithAddress(l.t.Context(), address), "default", raw)
	require.NoError(l.t, err)
	return verified
}

func (l *lineage) renew(raw, address string) string {
	l.t.Helper()
	issued, err := l.issuer.Renew(audit.WithAddress(l.t.Context(), address), l.use(raw, address), time.Hour)
	require.NoError(l.t, err)
	return issued.Token
}

// It no longer hears of what is revoked.
func TestATokenIsNotRenewedOnTheWordOfAClosedValidator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t)
		verified := l.use(l.issue(), "10.0.0.1:1")
		require.NoError(t, l.validator.Close())
		_, err := l.issuer.Renew(t.Context(), verified, time.Hour)
		require.ErrorIs(t, err, token.ErrClosed)
	})
}

func TestAProxyThatRenewsItsTokenMakesNoFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t)
		raw := l.issue()
		for range 48 {
			time.Sleep(30 * time.Minute)
			next := l.renew(raw, "10.0.0.1:1")
			l.use(next, "10.0.0.1:2")
			time.Sleep(token.Skew - time.Second)
			l.use(raw, "10.0.0.1:3") // a connection with the old file
			l.use(next, "10.0.0.1:4")
			raw = next
		}
		assert.Empty(t, l.forks)
		assert.Zero(t, l.log.Count("action=fork"))
		assert.Equal(t, 48, l.log.Count("audit: done", "action=renew"))
	})
}

func TestALostAnswerMakesNoFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t)
		raw := l.issue()
		time.Sleep(30 * time.Minute)
		l.renew(raw, "") // the answer is lost
		time.Sleep(10 * time.Minute)
		l.use(raw, "")
		next := l.renew(raw, "")
		time.Sleep(10 * time.Minute)
		l.use(next, "")
		assert.Empty(t, l.forks)
	})
}

func TestAThiefWhoUsesOrRenewsTheOldTokenMakesAFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t)
		stolen := l.issue()
		time.Sleep(20 * time.Minute)
		next := l.renew(stolen, "10.0.0.1:1")
		made := time.Now()
		l.use(next, "10.0.0.1:1")
		time.Sleep(token.Skew)
		l.use(stolen, "6.6.6.6:1")
		require.Len(t, l.forks, 1)
		fork := l.forks[0]
		assert.Equal(t, stolenID(t, stolen), fork.Verified.Registered().ID)
		assert.Equal(t, "default", fork.Verified.Claims().Mesh)
		assert.False(t, fork.Renewed)
		assert.Equal(t, "6.6.6.6:1", fork.Address)
		assert.Equal(t, "10.0.0.1:1", fork.LaterAddress)
		assert.True(t, fork.Later.Equal(made))
		assert.Equal(t, 1, l.log.Count("level=WARN", `"audit: noticed"`, "action=fork", "address=6.6.6.6:1", "mesh=default", "kid=1",
			"jti="+fork.Verified.Registered().ID, "before="+made.UTC().Format(time.RFC3339), "lineage_age=22m0s", "other_address=10.0.0.1:1"))

		l.use(stolen, "6.6.6.6:2")
		assert.Len(t, l.forks, 1, "once until a later token is presented")
		thiefs := l.renew(stolen, "6.6.6.6:3")
		require.Len(t, l.forks, 2, "a renewal is another sort")
		assert.True(t, l.forks[1].Renewed)
		l.use(thiefs, "6.6.6.6:3")
		time.Sleep(10 * time.Minute)
		l.renew(next, "10.0.0.1:1")
		assert.Len(t, l.forks, 4, "the proxy used its token, and renewed it, although the thief's is later")
	})
}

func TestTwoHoldersWhoGoOnRenewingOneTokenAreNoticedInWhateverOrder(t *testing.T) {
	const turns = 5
	for order := range 1 << turns {
		synctest.Test(t, func(t *testing.T) {
			l := newLineage(t)
			first := l.issue()
			held, renewed := [2]string{first, first}, [2]int{}
			for turn := range turns {
				time.Sleep(9 * time.Minute)
				who := order >> turn & 1
				held[who] = l.renew(held[who], "")
				renewed[who]++
			}
			if min(renewed[0], renewed[1]) >= 2 {
				assert.NotEmpty(t, l.forks, "%06b", order)
			}
			if min(renewed[0], renewed[1]) == 0 {
				assert.Empty(t, l.forks, "%06b", order)
			}
		})
	}
}

func TestAProxyThatLosesAnAnswerNowAndThenMakesNoFork(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			l := newLineage(t)
			raw := l.issue()
			for range 30 {
				time.Sleep(time.Duration(30+random.IntN(10)) * time.Minute)
				if random.IntN(2) == 0 {
					l.use(raw, "")
				}
				if random.IntN(4) == 0 {
					l.renew(raw, "") // the answer is lost
					time.Sleep(time.Duration(1+random.IntN(360)) * time.Second)
				}
				before := raw
				raw = l.renew(raw, "")
				if random.IntN(2) == 0 {
					l.use(raw, "")
				}
				if random.IntN(2) == 0 {
					time.Sleep(time.Duration(random.IntN(100)) * time.Second)
					l.use(before, "") // a connection with the old file
				}
			}
			assert.Empty(t, l.forks, "seed %d", seed)
		})
	}
}

func stolenID(t *testing.T, raw string) string {
	_, claims := inside(t, raw)
	return claims.ID
}

func TestAValidatorThatSawNoRenewalKnowsRenewedTokensByTheirTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t)
		first := l.issue()
		time.Sleep(20 * time.Minute)
		next := l.renew(first, "")
		time.Sleep(token.Skew)
		var forks []dataplane.Fork
		another := newValidator(t, l.store, dataplane.WithForkHandler(func(_ context.Context, f dataplane.Fork) { forks = append(forks, f) }))
		synctest.Wait()
		require.NoError(t, check(t, another, "default", first))
		require.NoError(t, check(t, another, "default", next))
		assert.Empty(t, forks)
		require.NoError(t, check(t, another, "default", first))
		require.Len(t, forks, 1)
		assert.Empty(t, forks[0].Address)
	})
}

func TestAForkMayRevokeItsLineageThoughTheThiefGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		issuer := newIssuer(t, store, dataplane.WithMaxLineage(90*day))
		validator := newValidator(t, store, dataplane.WithForkHandler(func(ctx context.Context, fork dataplane.Fork) {
			assert.NoError(t, dataplane.Revoke(ctx, store, fork.Verified.Claims().Mesh, fork.Verified.Registered().ID))
		}))
		l := &lineage{t: t, store: store, issuer: issuer, validator: validator}
		synctest.Wait()
		stolen := l.issue()
		time.Sleep(20 * time.Minute)
		verified := l.use(stolen, "")
		next := l.use(l.renew(stolen, ""), "")
		session, stop := next.Bind(t.Context())
		defer stop()
		thief, leave := context.WithCancel(t.Context())
		leave()
		_, err := issuer.Renew(thief, verified, time.Hour)
		require.Error(t, err)
		synctest.Wait()
		assertEnded(t, session, token.ErrRevoked)
	})
}

func TestAFunctionThatHangsForAForkKeepsNoOneForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		issuer := newIssuer(t, store, dataplane.WithMaxLineage(90*day))
		var later func() error
		validator := newValidator(t, store, dataplane.WithForkHandler(func(ctx context.Context, _ dataplane.Fork) {
			if later == nil {
				later = func() error { return ctx.Err() }
				return
			}
			<-ctx.Done() // as a store does that hangs
		}))
		l := &lineage{t: t, store: store, issuer: issuer, validator: validator}
		synctest.Wait()
		old := l.issue()
		time.Sleep(20 * time.Minute)
		l.use(l.renew(old, ""), "")
		time.Sleep(token.Skew)
		l.use(old, "")
		require.NoError(t, later(), "it may leave work to a goroutine")
		began := time.Now()
		_, err := issuer.Renew(t.Context(), l.use(old, ""), time.Hour)
		require.NoError(t, err)
		assert.Equal(t, 10*time.Second, time.Since(began))
	})
}

func TestOtherLineagesDoNotHideAFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t, dataplane.WithCache(1))
		old := l.issue()
		time.Sleep(20 * time.Minute)
		next := l.renew(old, "")
		l.use(next, "")
		time.Sleep(token.Skew)
		renewed := func(n int) string { // of another lineage each
			now := time.Now().Unix()
			return signPayload(t, testKey(0), "1", fmt.Sprintf(`{"Mesh":"default","exp":%d,"nbf":%d,"iat":%d,"jti":"%08x-0000-7000-8000-%012x"}`,
				now+3600, now-300, now-600, (now-600)*1000>>16, n))
		}
		for n := range 100 {
			l.use(renewed(n), "")
		}
		l.use(old, "")
		assert.Len(t, l.forks, 1, "a hundred others do not hide a fork")
	})
}

func TestAMaximumLifetimeCountsFromTheRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hour := dataplane.WithMaxLifetime(time.Hour)
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		issuer := newIssuer(t, store, hour, dataplane.WithMaxLineage(90*day))
		validator := newValidator(t, store, hour)
		synctest.Wait()
		raw := issue(t, issuer, "default", time.Hour)
		for _, pause := range []time.Duration{time.Second, time.Minute, 4 * time.Minute, 5 * time.Minute, 59 * time.Minute, 59 * time.Minute} {
			time.Sleep(pause)
			verified, err := validator.Validate(t.Context(), "default", raw)
			require.NoError(t, err)
			assert.Equal(t, time.Hour, verified.Lifetime())
			_, err = issuer.Renew(t.Context(), verified, time.Hour+time.Second)
			require.ErrorIs(t, err, token.ErrNotIssuable)
			issued, err := issuer.Renew(t.Context(), verified, time.Hour)
			require.NoError(t, err)
			raw = issued.Token
			require.NoError(t, check(t, validator, "default", raw))
		}
	})
}

func TestAPolicyForNewTokensDecidesAboutRenewalsUnlessThereIsOneForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		validator := newValidator(t, store)
		synctest.Wait()
		type asked struct {
			claims   token.Dataplane
			validFor time.Duration
		}
		var issues []asked
		policy := dataplane.WithPolicy(func(_ context.Context, claims token.Dataplane, validFor time.Duration) error {
			issues = append(issues, asked{claims, validFor})
			return nil
		})
		hours := dataplane.WithMaxLifetime(2 * time.Hour)
		plain := newIssuer(t, store, policy, hours, dataplane.WithMaxLineage(2*time.Hour))
		issued, err := plain.Issue(t.Context(), token.Dataplane{Mesh: "default", Tags: map[string][]string{"a": {"b"}}}, time.Hour)
		require.NoError(t, err)
		began := time.Now()
		verified, err := validator.Validate(t.Context(), "default", issued.Token)
		require.NoError(t, err)
		time.Sleep(30 * time.Minute)
		_, err = plain.Renew(t.Context(), verified, 2*time.Hour)
		require.NoError(t, err)
		assert.Equal(t, []asked{{verified.Claims(), time.Hour}, {verified.Claims(), 90 * time.Minute}}, issues, "up to the end of the lineage")

		var renewals []dataplane.Renewal
		both := newIssuer(t, store, policy, dataplane.WithMaxLineage(2*time.Hour),
			dataplane.WithRenewalPolicy(func(_ context.Context, claims token.Dataplane, r dataplane.Renewal) error {
				claims.Tags["a"][0] = "changed" // a copy
				renewals = append(renewals, r)
				return errors.New("no")
			}))
		_, err = both.Renew(t.Context(), verified, time.Minute)
		require.ErrorIs(t, err, token.ErrDenied)
		assert.Len(t, issues, 2)
		require.Len(t, renewals, 1)
		assert.Equal(t, dataplane.Renewal{Presented: verified.Registered(), KeyID: "1", Began: began.UTC(), ValidFor: time.Minute}, renewals[0])
		assert.Equal(t, map[string][]string{"a": {"b"}}, verified.Claims().Tags)
	})
}

type observed []observe.Outcome

func (o *observed) Observe(outcome observe.Outcome) {
	if outcome.Operation == observe.Renew || outcome.Operation == observe.Fork {
		outcome.Took = 0
		*o = append(*o, outcome)
	}
}

func TestRenewalsAndForksAreObserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var seen observed
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		l := &lineage{t: t, store: store, issuer: newIssuer(t, store, dataplane.WithMaxLineage(2*time.Hour), dataplane.WithObserver(&seen)),
			validator: newValidator(t, store, dataplane.WithObserver(&seen))}
		synctest.Wait()
		raw := l.issue()
		time.Sleep(20 * time.Minute)
		verified := l.use(l.renew(raw, ""), "")
		time.Sleep(token.Skew)
		l.use(raw, "")
		require.NoError(t, dataplane.Revoke(t.Context(), store, "default", verified.Registered().ID))
		synctest.Wait()
		_, err := l.issuer.Renew(t.Context(), verified, time.Hour)
		require.ErrorIs(t, err, token.ErrRevoked)
		of := observe.Outcome{Operation: observe.Renew, Kind: token.KindDataplane, Mesh: "default"}
		renewed, fork, refused := of, of, of
		renewed.KeyID, fork.KeyID = "1", "1"
		fork.Operation, refused.Reason = observe.Fork, token.ReasonRevoked
		assert.Equal(t, observed{renewed, fork, refused}, seen)
	})
}

func TestARenewalIsAnAuditEventWithTheAgeOfItsLineage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t)
		raw := l.issue()
		time.Sleep(90 * time.Second)
		verified := l.use(raw, "")
		ctx := audit.WithActor(audit.WithAddress(t.Context(), "10.0.0.1:9"), "renewal")
		issued, err := l.issuer.Renew(ctx, verified, time.Hour)
		require.NoError(t, err)
		assert.Equal(t, 1, l.log.Count("audit: done", "action=renew", "actor=renewal", "address=10.0.0.1:9", "mesh=default", "jti="+issued.ID,
			"kid=1", "expires="+issued.ExpiresAt.Format(time.RFC3339), "lineage_age=1m30s"))
		_, err = l.issuer.Renew(ctx, verified, time.Millisecond)
		require.Error(t, err)
		assert.Equal(t, 1, l.log.Count("audit: not done", "action=renew", "jti="+issued.ID, "reason="))
		assert.NotContains(t, l.log.String(), raw)
		assert.NotContains(t, l.log.String(), issued.Token)
	})
}

func TestNothingIsRenewedWithoutAToken(t *testing.T) {
	issuer := newOfflineIssuer(t, testKey(0), "1", dataplane.WithMaxLineage(time.Hour))
	_, err := issuer.Renew(t.Context(), dataplane.Verified{}, time.Hour)
	assert.ErrorIs(t, err, token.ErrInvalid)
	assert.Zero(t, dataplane.Verified{}.Lifetime())
}

func TestOptionsOfRenewalsThatMakeNoSenseAreRefused(t *testing.T) {
	for name, option := range map[string]dataplane.IssuerOption{
		"no limit":              dataplane.WithMaxLineage(0),
		"less than a second":    dataplane.WithMaxLineage(999 * time.Millisecond),
		"more than ten years":   dataplane.WithMaxLineage(87600*time.Hour + 1),
		"a renewal policy: nil": dataplane.WithRenewalPolicy(nil),
	} {
		_, err := dataplane.NewOfflineIssuer(testKey(0), "1", option)
		assert.Error(t, err, name)
	}
	handler := dataplane.WithForkHandler(func(context.Context, dataplane.Fork) {})
	for _, options := range [][]dataplane.ValidatorOption{{dataplane.WithForkHandler(nil)}, {handler, handler}} {
		_, err := dataplane.NewValidator(keystore.NewMemory(), options...)
		assert.Error(t, err)
	}
}

// A source of keys may authenticate proxies of the mesh. It must not get those of the store revoked.
func TestASourceOfKeysMakesNoForkOfALineageOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t, dataplane.WithPublicKey("default", "partner", testKey(1).Public()))
		raw := l.issue()
		_, claims := inside(t, raw)
		forged := func(ahead int64) string { // under the id of the proxy
			now := time.Now().Unix()
			return signPayload(t, testKey(1), "partner", fmt.Sprintf(`{"Mesh":"default","exp":%d,"nbf":%d,"iat":%d,"jti":%q}`,
				now+3600, now-300+ahead, now-5, claims.ID))
		}
		l.use(forged(120), "6.6.6.6:1")
		time.Sleep(30 * time.Minute)
		l.use(raw, "10.0.0.1:1")
		l.use(l.renew(raw, "10.0.0.1:1"), "10.0.0.1:1")
		assert.Empty(t, l.forks, "of the proxy's token")

		later, earlier := forged(120), forged(0)
		l.use(later, "6.6.6.6:1")
		time.Sleep(token.Skew * 3)
		l.use(earlier, "6.6.6.6:1")
		assert.Empty(t, l.forks, "of the source's own tokens, under the id of the proxy")
		assert.Equal(t, 1, l.log.Count("action=fork", "kid=partner"))
	})
}
