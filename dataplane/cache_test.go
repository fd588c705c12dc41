package dataplane_test

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// mallocs counts what one call allocates, in the whole process.
func mallocs(f func()) uint64 {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.Mallocs - before.Mallocs
}

// isRemembered tells by the allocations, of which verifying a token makes about
// twenty, whether a validator remembers one that it accepts.
func isRemembered(t testing.TB, validator dataplane.Validator, raw string) bool {
	t.Helper()
	ctx := t.Context()
	var err error
	n := mallocs(func() { _, err = validator.Validate(ctx, "default", raw) })
	require.NoError(t, err)
	return n < 10
}

// remembered starts a validator that has accepted a token and remembers it.
func (f *following) remembered(raw string, options ...dataplane.ValidatorOption) {
	f.t.Helper()
	f.start(options...)
	f.accepts(raw)
	require.True(f.t, isRemembered(f.t, f.validator, raw))
}

func TestCacheDoesNotKeepATokenGoodWhen(t *testing.T) {
	revokedIn := func(scope keystore.Scope) func(*following, string) {
		return func(f *following, raw string) {
			_, claims := inside(f.t, raw)
			f.putList(scope, []byte(claims.ID))
		}
	}
	for name, c := range map[string]struct {
		options []dataplane.ValidatorOption
		happen  func(f *following, raw string)
		want    error
	}{
		"it is revoked":                     {happen: revokedIn("default"), want: token.ErrRevoked},
		"it is revoked in the global scope": {happen: revokedIn(keystore.Global), want: token.ErrRevoked},
		"its key is removed":                {happen: func(f *following, _ string) { f.removeKey(1) }, want: token.ErrUnknownKey},
		"its key's bytes change":            {happen: func(f *following, _ string) { replaceKey(f.t, f.store.Memory, "default", 1, testKey(1)) }, want: token.ErrSignature},
		"it has expired":                    {happen: func(f *following, _ string) { f.pass(time.Hour + defaultLeeway) }, want: token.ErrExpired},
		"the validator is closed":           {happen: func(f *following, _ string) { require.NoError(f.t, f.validator.Close()) }, want: token.ErrClosed},
		"its key's record cannot be read": {happen: func(f *following, _ string) {
			replaceRecord(f.t, f.store.Memory, "default", signing.DataplaneKeys("default").KeyName(1), []byte("?"))
		}, want: token.ErrUnavailable},
		"its list cannot be read":      {happen: func(f *following, _ string) { f.putList("default", unreadable) }, want: token.ErrUnavailable},
		"a global list cannot be read": {happen: func(f *following, _ string) { f.putList(keystore.Global, unreadable) }, want: token.ErrUnavailable},
		"the store has failed for too long": {
			options: []dataplane.ValidatorOption{dataplane.WithMaxStale(10 * time.Minute)},
			happen:  func(f *following, _ string) { f.store.setList(failing); f.pass(10*time.Minute + time.Second) },
			want:    token.ErrUnavailable},
		"the store fails and no staleness is allowed": {
			options: []dataplane.ValidatorOption{dataplane.WithMaxStale(0)},
			happen:  func(f *following, _ string) { f.store.setList(failing); f.pass(31 * time.Second) },
			want:    token.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				raw := f.issue(time.Hour)
				f.remembered(raw, c.options...)
				c.happen(f, raw)
				synctest.Wait()
				for range 3 {
					assert.ErrorIs(t, f.check(raw), c.want)
					f.pass(2 * time.Second) // an unknown key is looked for once a second
				}
			})
		})
	}
}

func TestCacheIsForTheTokensOwnMeshAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "other", 1, testKey(0))
		raw := f.issue(time.Hour)
		f.remembered(raw, dataplane.WithPublicKeyForEveryMesh("every", testKey(2).Public()))
		every := f.withSerial("every", 2)
		f.accepts(every)
		for _, mesh := range []string{"other", "", "Default", "default-2", "default "} {
			assert.ErrorIs(t, check(t, f.validator, mesh, raw), token.ErrInvalid, "mesh %q", mesh)
			assert.ErrorIs(t, check(t, f.validator, mesh, every), token.ErrScope, "mesh %q", mesh)
		}
		assert.ErrorIs(t, check(t, f.validator, "other", raw), token.ErrScope)
		assert.True(t, isRemembered(t, f.validator, raw), "who asks for another mesh does not push it out")
	})
}

func TestCacheOfOneKindOfValidatorIsNothingToTheOther(t *testing.T) {
	proxies := newOfflineValidator(t, dataplane.WithPublicKeyForEveryMesh("shared", testKey(0).Public()))
	zones, err := zone.NewOfflineValidator(zone.WithPublicKey("shared", testKey(0).Public()), zone.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	defer zones.Close()
	raw := issue(t, newOfflineIssuer(t, testKey(0), "shared"), "default", time.Hour)
	for range 3 {
		require.NoError(t, check(t, proxies, "default", raw))
		_, err = zones.Validate(t.Context(), "default", zone.ScopeCP, raw)
		require.ErrorIs(t, err, token.ErrKind)
	}
}

func TestCacheHoldsATokenAgainstTheClockAnew(t *testing.T) {
	for name, c := range map[string]struct {
		claims string // its times
		jump   time.Duration
		want   error
	}{
		"set back to before its nbf":                                        {`"nbf":%[1]d,"iat":%[1]d,"exp":%[2]d`, -defaultLeeway - time.Second, token.ErrNotYetValid},
		"set forward past its exp":                                          {`"nbf":%[1]d,"iat":%[1]d,"exp":%[2]d`, time.Hour + defaultLeeway, token.ErrExpired},
		"set back so that the time to its exp is over the maximum lifetime": {`"iat":%[1]d,"exp":%[2]d`, -6 * time.Minute, token.ErrLifetime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, clock := newFollowing(t), &shiftedClock{}
				now := time.Now()
				raw := signPayload(t, testKey(0), "1",
					fmt.Sprintf(`{"Mesh":"default","jti":"`+someID+`",`+c.claims+`}`, now.Unix(), now.Add(time.Hour).Unix()))
				f.remembered(raw, dataplane.WithClock(clock.now), dataplane.WithMaxLifetime(time.Hour))
				clock.jump(c.jump)
				f.refuses(raw, c.want)
				clock.jump(-c.jump)
				f.accepts(raw, "the clock is right again")
			})
		})
	}
}

func TestCacheDoesNotRememberRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, clock := newFollowing(t), &shiftedClock{}
		revoked, early, unknown := f.issue(time.Hour), f.issue(2*time.Hour), f.withSerial("2", 1)
		f.revoke(revoked)
		f.start(dataplane.WithClock(clock.now))
		clock.jump(-time.Hour)
		f.refuses(early, token.ErrNotYetValid)
		clock.jump(time.Hour)
		f.refuses(revoked, token.ErrRevoked)
		f.refuses(unknown, token.ErrUnknownKey)

		f.restore(revoked)
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		synctest.Wait()
		for _, raw := range []string{revoked, early, unknown} {
			f.accepts(raw)
			f.accepts(raw)
		}
	})
}

func TestCacheFollowsATokenThatIsRevokedAndRestored(t *testing.T) {
	name := signing.DataplaneKeys("default").KeyName(1)
	for what, c := range map[string]struct {
		take, give func(f *following, raw string)
		want       error
	}{
		"revoked and restored": {func(f *following, raw string) { f.revoke(raw) }, func(f *following, raw string) { f.restore(raw) }, token.ErrRevoked},
		"its key removed and put back": {
			func(f *following, _ string) { f.removeKey(1) },
			func(f *following, _ string) {
				putKey(f.t, f.store.Memory, "default", 1, testKey(0))
				f.pass(time.Second)
			}, token.ErrUnknownKey},
		"its key changed and changed back": {
			func(f *following, _ string) { replaceKey(f.t, f.store.Memory, "default", 1, testKey(1)) },
			func(f *following, _ string) { replaceKey(f.t, f.store.Memory, "default", 1, testKey(0)) }, token.ErrSignature},
		"its key corrupted and repaired": {
			func(f *following, _ string) { replaceRecord(f.t, f.store.Memory, "default", name, []byte("?")) },
			func(f *following, _ string) { replaceKey(f.t, f.store.Memory, "default", 1, testKey(0)) }, token.ErrUnavailable},
		"its list corrupted and repaired": {
			func(f *following, _ string) { f.putList("default", unreadable) },
			func(f *following, _ string) {
				require.NoError(f.t, f.store.Delete(f.t.Context(), "default", revocation.Dataplane("default").Name))
			}, token.ErrUnavailable},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				raw := f.issue(time.Hour)
				f.remembered(raw)
				for range 3 {
					c.take(f, raw)
					synctest.Wait()
					assert.ErrorIs(t, f.check(raw), c.want)
					c.give(f, raw)
					synctest.Wait()
					f.accepts(raw)
					assert.True(t, isRemembered(t, f.validator, raw))
				}
			})
		})
	}
}

func TestCacheOutlivesAKeyThatIsWrittenAgainUnchanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		raw := f.issue(time.Hour)
		f.remembered(raw)
		replaceKey(t, f.store.Memory, "default", 1, testKey(0))
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		f.pass(time.Minute)
		assert.True(t, isRemembered(t, f.validator, raw))
	})
}

func TestCacheSharesWhatNoCallerCanChange(t *testing.T) {
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "own", testKey(0).Public()))
	want := token.Dataplane{Mesh: "default", Name: "dp-1", Tags: map[string][]string{"service": {"backend", "admin"}}}
	issued, err := newOfflineIssuer(t, testKey(0), "own").Issue(t.Context(), want, time.Hour)
	require.NoError(t, err)
	first, err := validator.Validate(t.Context(), "default", issued.Token)
	require.NoError(t, err)
	second, err := validator.Validate(t.Context(), "default", issued.Token)
	require.NoError(t, err)
	assert.Equal(t, first, second)
	for _, verified := range []dataplane.Verified{first, second} {
		claims := verified.Claims()
		assert.Equal(t, want, claims)
		claims.Tags["service"][0] = "other"
		claims.Tags["more"] = []string{"x"}
		delete(claims.Tags, "service")
		claims.Mesh = "other"
	}
	third, err := validator.Validate(t.Context(), "default", issued.Token)
	require.NoError(t, err)
	assert.Equal(t, want, third.Claims())
	assert.Equal(t, want, first.Claims())
}

func TestCacheHitAllocatesNothing(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, store keystore.KeyStore) dataplane.Validator{
		"with a store": func(t *testing.T, store keystore.KeyStore) dataplane.Validator {
			return newValidator(t, store, dataplane.WithMaxLifetime(2*time.Hour))
		},
		"with a key besides": func(t *testing.T, store keystore.KeyStore) dataplane.Validator {
			return newValidator(t, store, dataplane.WithPublicKey("default", "own", testKey(1).Public()))
		},
		"without a store": func(t *testing.T, _ keystore.KeyStore) dataplane.Validator {
			return newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(0).Public()))
		},
		"with a global key": func(t *testing.T, _ keystore.KeyStore) dataplane.Validator {
			return newOfflineValidator(t, dataplane.WithPublicKeyForEveryMesh("1", testKey(0).Public()))
		},
		"with one remembered": func(t *testing.T, store keystore.KeyStore) dataplane.Validator {
			return newValidator(t, store, dataplane.WithCache(1))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := keystore.NewMemory()
				putKey(t, store, "default", 1, testKey(0))
				putRecord(t, store, "default", revocation.Dataplane("default").Name, []byte(otherID))
				validator := make(t, store)
				raw := issue(t, newIssuer(t, store), "default", time.Hour)
				require.NoError(t, check(t, validator, "default", raw))
				synctest.Wait() // what reads the store allocates too
				ctx := t.Context()
				assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = validator.Validate(ctx, "default", raw) }))
			})
		})
	}
}

func TestFirstSightTakesFewAllocations(t *testing.T) {
	for name, c := range map[string]struct {
		remembered int
		atMost     float64
	}{"without the memory of tokens": {0, 15}, "with it": {1, 15}} {
		t.Run(name, func(t *testing.T) {
			store, tokens, ctx := keystore.NewMemory(), manyTokens(), t.Context()
			putKey(t, store, "default", 1, testKey(0))
			validator := newValidator(t, store, dataplane.WithCache(c.remembered))
			next := 0
			assert.LessOrEqual(t, testing.AllocsPerRun(len(tokens)-1, func() {
				if _, err := validator.Validate(ctx, "default", tokens[next]); err != nil {
					t.Error(err)
				}
				next++
			}), c.atMost)
		})
	}
}

func TestCacheHoldsNoMoreTokensThanItsLimit(t *testing.T) {
	for _, c := range []struct{ limit, atMost int }{{0, 0}, {1, 16}, {32, 32}, {100, 112}} {
		t.Run(fmt.Sprint(c.limit), func(t *testing.T) {
			validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(0).Public()), dataplane.WithCache(c.limit))
			for _, raw := range manyTokens() {
				require.NoError(t, check(t, validator, "default", raw))
			}
			remembered := 0
			for _, raw := range slices.Backward(manyTokens()) { // to ask pushes others out
				if isRemembered(t, validator, raw) {
					remembered++
				}
			}
			assert.LessOrEqual(t, remembered, c.atMost)
			assert.GreaterOrEqual(t, remembered, min(c.limit, 1))
		})
	}
}

func TestCacheTakesBoundedMemory(t *testing.T) {
	tokens := manyTokens()
	grown := func(limit int) int64 {
		validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(0).Public()), dataplane.WithCache(limit))
		require.NoError(t, check(t, validator, "default", tokens[0]))
		before := hostileHeap()
		for range 10 { // ten times as many as there are tokens
			for _, raw := range tokens {
				require.NoError(t, check(t, validator, "default", raw))
			}
		}
		after := hostileHeap()
		runtime.KeepAlive(validator)
		return after - before
	}
	assert.Less(t, grown(32), int64(200<<10), "32 tokens")
	assert.Less(t, grown(len(tokens)*2), int64(len(tokens)*2<<10), "a thousand tokens")
}

func TestCacheHoldsAThousandTokens(t *testing.T) {
	for name, options := range map[string][]dataplane.ValidatorOption{
		"by default":                    nil,
		"with the largest number there": {dataplane.WithCache(math.MaxInt)},
	} {
		t.Run(name, func(t *testing.T) {
			validator := newOfflineValidator(t, append(options, dataplane.WithPublicKey("default", "1", testKey(0).Public()))...)
			for _, raw := range manyTokens() {
				require.NoError(t, check(t, validator, "default", raw))
			}
			remembered := 0
			for _, raw := range manyTokens() {
				if isRemembered(t, validator, raw) {
					remembered++
				}
			}
			assert.Equal(t, len(manyTokens()), remembered)
		})
	}
}

func TestCacheLosesNothingToRefusedTokens(t *testing.T) {
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(0).Public()), dataplane.WithCache(16))
	raw := manyTokens()[0]
	require.NoError(t, check(t, validator, "default", raw))
	for _, other := range manyTokens()[1:] {
		require.ErrorIs(t, check(t, validator, "default", tampered(other)), token.ErrSignature)
		require.ErrorIs(t, check(t, validator, "other", other), token.ErrUnknownKey)
	}
	assert.True(t, isRemembered(t, validator, raw))
}

func TestCacheOfANegativeSizeIsRefused(t *testing.T) {
	_, err := dataplane.NewOfflineValidator(dataplane.WithPublicKey("default", "1", testKey(0).Public()), dataplane.WithCache(-1))
	assert.ErrorContains(t, err, "WithCache")
}

func TestCacheDoesNotTakeATamperedTokenForTheOneItHolds(t *testing.T) {
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(0).Public()))
	raw := manyTokens()[0]
	require.NoError(t, check(t, validator, "default", raw))
	header, rest, _ := strings.Cut(raw, ".")
	payload, signature, _ := strings.Cut(rest, ".")
	_, other, _ := strings.Cut(manyTokens()[1], ".")
	otherPayload, _, _ := strings.Cut(other, ".")
	for _, bad := range []string{
		tampered(raw), raw + "A", raw + "=", raw + " ", " " + raw, raw + ".", raw[:len(raw)-1],
		header + "." + otherPayload + "." + signature, header + "." + payload + ".", strings.ToUpper(raw),
	} {
		assert.ErrorIs(t, check(t, validator, "default", bad), token.ErrInvalid, "%.20q", bad)
	}
	assert.True(t, isRemembered(t, validator, raw))
}

// TestCacheKeepsNoToken cannot see a copy, but that nothing points into the text which
// was validated: neither what is remembered nor an open session.
func TestCacheKeepsNoToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		validator := newValidator(t, store)
		synctest.Wait() // what reads the store allocates too
		issued, err := newIssuer(t, store).Issue(t.Context(), token.Dataplane{
			Mesh: "default", Name: "dp-1", Tags: map[string][]string{"service": {"backend"}}}, time.Hour)
		require.NoError(t, err)
		text := []byte(issued.Token)
		pointer := weak.Make(unsafe.SliceData(text))
		verified, err := validator.Validate(t.Context(), "default", unsafe.String(unsafe.SliceData(text), len(text)))
		require.NoError(t, err)
		session, stop := verified.Bind(t.Context())
		defer stop()
		require.NotNil(t, pointer.Value())
		runtime.KeepAlive(text)

		text = nil
		for range 3 {
			runtime.GC()
		}
		assert.Nil(t, pointer.Value(), "something still holds the token's text")
		assert.NoError(t, session.Err())
		assert.True(t, isRemembered(t, validator, issued.Token))
	})
}

func TestCacheServesManyGoroutinesWhileEverythingChanges(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	putKey(t, store, "default", 2, testKey(1))
	validator := newValidator(t, store, dataplane.WithCache(16))
	staying := issue(t, newOfflineIssuer(t, testKey(1), "2"), "default", time.Hour)
	tokens := manyTokens()[:40]
	toggled := tokens[0]
	id := idsOf(t, tokens)[0]

	over := make(chan struct{})
	var asking sync.WaitGroup
	for g := range 4 {
		asking.Go(func() {
			for i := g; ; i++ {
				select {
				case <-over:
					return
				default:
				}
				assert.NoError(t, check(t, validator, "default", staying))
				err := check(t, validator, "default", tokens[i%len(tokens)])
				if err != nil && !errors.Is(err, token.ErrRevoked) && !errors.Is(err, token.ErrUnknownKey) && !errors.Is(err, token.ErrUnavailable) {
					assert.NoError(t, err)
				}
				assert.Error(t, check(t, validator, "other", tokens[i%len(tokens)]))
			}
		})
	}
	for range 20 {
		require.NoError(t, dataplane.Revoke(t.Context(), store, "default", id))
		require.Eventually(t, func() bool { return errors.Is(check(t, validator, "default", toggled), token.ErrRevoked) }, time.Minute, time.Millisecond)
		require.NoError(t, dataplane.Restore(t.Context(), store, "default", id))
		require.Eventually(t, func() bool { return check(t, validator, "default", toggled) == nil }, time.Minute, time.Millisecond)
	}
	require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 1))
	require.Eventually(t, func() bool { return errors.Is(check(t, validator, "default", toggled), token.ErrUnknownKey) }, time.Minute, time.Millisecond)
	close(over)
	asking.Wait()
	assert.NoError(t, check(t, validator, "default", staying))
}

func TestCacheRefusesARevokedTokenDefinitelyWhileItsKeyCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		revoked, good := f.issue(day), f.issue(day)
		f.accepts(revoked)
		f.accepts(good)
		replaceRecord(t, f.store.Memory, "default", signing.DataplaneKeys("default").KeyName(1), []byte("no key"))
		f.revoke(revoked)
		synctest.Wait()
		f.refuses(revoked, token.ErrRevoked)
		f.cannotTell(good)
		f.cannotTell(f.withSerial("1", 0), "a token that was never seen")
	})
}

func TestCacheOfHeadersTakesBoundedMemory(t *testing.T) {
	const tokens, size = 600, 5000
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "key-1", testKey(0).Public()), dataplane.WithCache(0))
	encode := base64.RawURLEncoding.EncodeToString
	heap := hostileHeap()
	for i := range tokens {
		input := encode(fmt.Appendf(nil, `{"alg":"RS256","kid":"key-1","made-up":"%0*d"}`, size, i)) + "." + encode([]byte(`{"Mesh":"default","exp":4000000000,"jti":"a"}`))
		signature, err := testKey(0).Sign([]byte(input))
		require.NoError(t, err)
		require.NoError(t, check(t, validator, "default", input+"."+encode(signature)))
	}
	assert.Less(t, hostileHeap()-heap, int64(tokens*size*2/3), "each token has another header")
	runtime.KeepAlive(validator)
}

func TestCacheKnowsATokenByEachOfItsCharacters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		raw := f.issue(day)
		f.accepts(raw)
		for at := range len(raw) {
			for _, c := range "AQgw." { // of all that may be the last one of a signature
				if changed := raw[:at] + string(c) + raw[at+1:]; changed != raw {
					require.ErrorIs(t, f.check(changed), token.ErrInvalid, "character %d of %d", at, len(raw))
				}
			}
		}
		f.accepts(raw)
	})
}

func TestCacheOfHeadersKeepsNothingOfTokensWithAWrongSignature(t *testing.T) {
	const tokens, size = 200, 5000 // fewer than it holds of good tokens
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "key-1", testKey(0).Public()))
	_, rest, _ := strings.Cut(issue(t, newOfflineIssuer(t, testKey(1), "key-1"), "default", day), ".")
	heap := hostileHeap()
	for i := range tokens {
		header := fmt.Appendf(nil, `{"alg":"RS256","kid":"key-1","made-up":"%0*d"}`, size, i)
		require.ErrorIs(t, check(t, validator, "default", base64.RawURLEncoding.EncodeToString(header)+"."+rest), token.ErrSignature)
	}
	assert.Less(t, hostileHeap()-heap, int64(tokens*size/4))
	runtime.KeepAlive(validator)
}
