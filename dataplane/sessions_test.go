package dataplane_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const (
	defaultLeeway = 30 * time.Second
	sessionCheck  = time.Second // within which a jump of the clock or a state that is too old is noticed

	// An id that a test gives to tokens of its own making, and one that no token has.
	someID  = "6baf2c90-0e86-4c62-97a7-7835855834bc"
	otherID = "00000000-0000-4000-8000-000000000000"
)

// verified validates a token that is good.
func (f *following) verified(raw string) dataplane.Verified {
	f.t.Helper()
	verified, err := f.validator.Validate(f.t.Context(), "default", raw)
	require.NoError(f.t, err)
	return verified
}

// session validates a token and binds a context to it until the test ends.
func (f *following) session(raw string) context.Context {
	f.t.Helper()
	return f.bound(f.verified(raw))
}

func (f *following) bound(verified dataplane.Verified) context.Context {
	ctx, stop := verified.Bind(f.t.Context())
	f.t.Cleanup(stop)
	return ctx
}

// openSessions counts them as the validator does.
func openSessions(validator dataplane.Validator) int {
	n := 0
	for _, use := range validator.Usage() {
		n += use.Sessions
	}
	return n
}

func assertOpen(t testing.TB, session context.Context, because ...any) {
	t.Helper()
	assert.NoError(t, context.Cause(session), because...)
}

func assertEnded(t testing.TB, session context.Context, cause error, because ...any) {
	t.Helper()
	select {
	case <-session.Done():
		assert.ErrorIs(t, session.Err(), context.Canceled, because...)
		assert.ErrorIs(t, context.Cause(session), cause, because...)
	default:
		assert.Fail(t, "the session is open", because...)
	}
}

// unreadable is the text of a list in which nobody can find an id.
var unreadable = []byte("\xff\xfea\x00,\x00b\x00")

func (f *following) putList(scope keystore.Scope, data []byte) {
	f.t.Helper()
	putRecord(f.t, f.store.Memory, scope, revocation.Dataplane("default").Name, data)
}

func (f *following) removeKey(serial signing.Serial) {
	f.t.Helper()
	require.NoError(f.t, f.store.Delete(f.t.Context(), "default", signing.DataplaneKeys("default").KeyName(serial)))
}

// ending is something that ends the sessions of a token which key 1 signed for an
// hour, bound to a validator whose limit for open sessions is ten minutes.
type ending struct {
	happen func(f *following, raw string)
	cause  error
	closes bool // the validator
}

var endings = map[string]ending{
	"its token expires":    {cause: token.ErrExpired, happen: func(f *following, _ string) { f.pass(time.Hour + defaultLeeway) }},
	"its token is revoked": {cause: token.ErrRevoked, happen: func(f *following, raw string) { f.revoke(raw) }},
	"its token is on a list in the global scope": {cause: token.ErrRevoked, happen: func(f *following, raw string) {
		_, claims := inside(f.t, raw)
		f.putList(keystore.Global, []byte(claims.ID))
	}},
	"its key is removed":          {cause: token.ErrUnknownKey, happen: func(f *following, _ string) { f.removeKey(1) }},
	"the bytes of its key change": {cause: token.ErrUnknownKey, happen: func(f *following, _ string) { replaceKey(f.t, f.store.Memory, "default", 1, testKey(1)) }},
	"its mesh has no records at all": {cause: token.ErrUnknownKey, happen: func(f *following, _ string) {
		for _, r := range listAll(f.t, f.store.Memory) {
			require.NoError(f.t, f.store.Delete(f.t.Context(), r.Scope, r.Name))
		}
	}},
	"the store fails for too long": {cause: token.ErrUnavailable, happen: func(f *following, _ string) {
		f.store.setList(failing)
		f.pass(10*time.Minute + sessionCheck)
	}},
	"the store hangs for too long": {cause: token.ErrUnavailable, happen: func(f *following, _ string) {
		f.store.setList(hanging)
		f.pass(10*time.Minute + sessionCheck)
	}},
	"its list cannot be read for too long": {cause: token.ErrUnavailable, happen: func(f *following, _ string) {
		f.putList("default", unreadable)
		f.pass(10*time.Minute + sessionCheck)
	}},
	"a list in the global scope cannot be read for too long": {cause: token.ErrUnavailable, happen: func(f *following, _ string) {
		f.putList(keystore.Global, unreadable)
		f.pass(10*time.Minute + sessionCheck)
	}},
	"the validator is closed": {cause: token.ErrClosed, closes: true, happen: func(f *following, _ string) {
		assert.NoError(f.t, f.validator.Close())
	}},
}

func forEveryEnding(t *testing.T, test func(t *testing.T, f *following, e ending, raw string)) {
	for name, e := range endings {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				raw := f.issue(time.Hour)
				test(t, f.start(dataplane.WithSessionMaxStale(10*time.Minute)), e, raw)
			})
		})
	}
}

func TestSessionEndsWithTheReasonAsItsCauseWhen(t *testing.T) {
	forEveryEnding(t, func(t *testing.T, f *following, e ending, raw string) {
		session := f.session(raw)
		assertOpen(t, session)
		e.happen(f, raw)
		synctest.Wait()
		assertEnded(t, session, e.cause)
		assert.Zero(t, openSessions(f.validator))
		assert.NotContains(t, context.Cause(session).Error(), raw)
	})
}

func TestSessionHasEndedAlreadyIfBeforeItWasBound(t *testing.T) {
	forEveryEnding(t, func(t *testing.T, f *following, e ending, raw string) {
		verified := f.verified(raw)
		e.happen(f, raw)
		synctest.Wait()
		ctx, stop := verified.Bind(t.Context())
		assertEnded(t, ctx, e.cause)
		assert.Zero(t, openSessions(f.validator), "before it is stopped")
		stop()
		stop()
		assertEnded(t, ctx, e.cause)
		assert.Zero(t, openSessions(f.validator))
	})
}

func TestSessionEndsAtOnceByRevocationAndRemovalOfItsKey(t *testing.T) {
	for _, name := range []string{"its token is revoked", "its token is on a list in the global scope", "its key is removed", "the bytes of its key change"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				raw := f.issue(30 * day)
				session := f.start(dataplane.WithSessionJitter(time.Minute)).session(raw)
				f.pass(12345 * time.Millisecond)
				began := time.Now()
				endings[name].happen(f, raw)
				<-session.Done()
				assert.Zero(t, time.Since(began), "nothing is waited for")
				assertEnded(t, session, endings[name].cause)
			})
		})
	}
}

func TestSessionEndsAtExpiryPlusLeewayExactly(t *testing.T) {
	for _, leeway := range []time.Duration{0, time.Second, defaultLeeway, 120 * time.Second} {
		t.Run(leeway.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				raw := f.issue(time.Hour)
				f.start(dataplane.WithLeeway(leeway))
				f.pass(1234567 * time.Microsecond) // not on the second
				session, later := f.session(raw), f.session(f.issue(2*time.Hour))
				f.pass(time.Hour + leeway - 1234567*time.Microsecond - time.Nanosecond)
				assertOpen(t, session)
				f.pass(time.Nanosecond)
				assertEnded(t, session, token.ErrExpired)
				assertOpen(t, later)
			})
		})
	}
}

func TestSessionOfATokenThatExpiresInCenturiesNeitherEndsEarlyNorKeepsOthersOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		f.pass(time.Minute)
		for name, raw := range map[string]string{
			"the longest that is issued": f.issue(1<<63 - 1),
			"until the year 5138":        signPayload(t, testKey(0), "1", `{"Mesh":"default","jti":"`+someID+`","exp":99999999999}`),
		} {
			long, short := f.session(raw), f.session(f.issue(time.Minute))
			f.pass(time.Minute + defaultLeeway)
			assertOpen(t, long, name)
			assertEnded(t, short, token.ErrExpired, name)
		}
	})
}

func TestSessionStaysOpenWhateverElseHappens(t *testing.T) {
	for name, happen := range map[string]func(f *following, raw string){
		"another token is revoked":              func(f *following, _ string) { f.revoke(f.issue(time.Hour)) },
		"another token of the key expires":      func(f *following, _ string) { f.session(f.issue(time.Minute)); f.pass(10 * time.Minute) },
		"another token is revoked and restored": func(f *following, _ string) { other := f.issue(time.Hour); f.revoke(other); f.restore(other) },
		"a key is added":                        func(f *following, _ string) { putKey(f.t, f.store.Memory, "default", 2, testKey(1)) },
		"another key is removed": func(f *following, _ string) {
			putKey(f.t, f.store.Memory, "default", 2, testKey(1))
			synctest.Wait()
			f.session(f.withSerial("2", 1))
			f.removeKey(2)
		},
		"its key's record is written anew": func(f *following, _ string) { replaceKey(f.t, f.store.Memory, "default", 1, testKey(0)) },
		"its private key gives way to the public half": func(f *following, _ string) {
			putRecord(f.t, f.store.Memory, "default", signing.DataplaneKeys("default").PublicKeyName(1), testKey(0).Public().PEM())
			require.NoError(f.t, f.store.Delete(f.t.Context(), "default", signing.DataplaneKeys("default").KeyName(1)))
		},
		"its key cannot be read for a while": func(f *following, _ string) {
			name := signing.DataplaneKeys("default").KeyName(1)
			replaceRecord(f.t, f.store.Memory, "default", name, []byte("?"))
			f.pass(time.Minute)
			replaceRecord(f.t, f.store.Memory, "default", name, pemOf(f.t, testKey(0)))
		},
		"the list of another mesh names its id": func(f *following, raw string) {
			_, claims := inside(f.t, raw)
			require.NoError(f.t, dataplane.Revoke(f.t.Context(), f.store.Memory, "other", claims.ID))
		},
		"the list of zone tokens names its id": func(f *following, raw string) {
			_, claims := inside(f.t, raw)
			require.NoError(f.t, revocation.Zone().Add(f.t.Context(), f.store.Memory, claims.ID))
		},
		"the list of another mesh cannot be read": func(f *following, _ string) {
			putRecord(f.t, f.store.Memory, "other", revocation.Dataplane("other").Name, unreadable)
			f.pass(20 * time.Minute)
		},
		"the store fails for less than the limit": func(f *following, _ string) {
			f.store.setList(failing)
			f.pass(9 * time.Minute)
			f.store.setList(nil)
			f.pass(20 * time.Minute)
		},
		"the store hangs for less than the limit": func(f *following, _ string) {
			f.store.setList(hanging)
			f.pass(9 * time.Minute)
			f.store.setList(nil)
			f.pass(20 * time.Minute)
		},
		"its list cannot be read for less than the limit": func(f *following, _ string) {
			f.putList("default", unreadable)
			f.pass(9 * time.Minute)
			replaceRecord(f.t, f.store.Memory, "default", revocation.Dataplane("default").Name, []byte(otherID))
			f.pass(20 * time.Minute)
		},
		"another session of its token is stopped": func(f *following, raw string) {
			_, stop := f.verified(raw).Bind(f.t.Context())
			stop()
		},
		"another validator is closed": func(f *following, raw string) {
			other := newValidator(f.t, f.store)
			synctest.Wait()
			assert.NoError(f.t, check(f.t, other, "default", raw))
			assert.NoError(f.t, other.Close())
		},
		"nothing happens": func(f *following, _ string) { f.pass(59 * time.Minute) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				raw := f.issue(time.Hour)
				session := f.start(dataplane.WithSessionMaxStale(10 * time.Minute)).session(raw)
				happen(f, raw)
				synctest.Wait()
				assertOpen(t, session)
				f.accepts(raw)
				assert.Equal(t, 1, openSessions(f.validator))
			})
		})
	}
}

func TestSessionEndsOnceTheStoreHasFailedForLongerThanItsLimit(t *testing.T) {
	for _, c := range []struct {
		limit        time.Duration
		open, closed time.Duration // since the last good read
	}{
		{10 * time.Minute, 10 * time.Minute, 10*time.Minute + sessionCheck},
		{time.Hour, time.Hour, time.Hour + sessionCheck},
		{0, 800 * time.Millisecond, time.Second + sessionCheck}, // the first read that fails
		{10 * time.Second, 10 * time.Second, 10*time.Second + sessionCheck},
	} {
		t.Run(c.limit.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				raw := f.issue(day)
				f.start(dataplane.WithSessionMaxStale(c.limit), dataplane.WithMaxStale(2*time.Hour))
				session := f.session(raw)
				f.store.setList(failing)
				f.pass(c.open)
				assertOpen(t, session)
				f.pass(c.closed - c.open)
				assertEnded(t, session, token.ErrUnavailable)
				assert.ErrorIs(t, context.Cause(session), errStoreDown)

				f.accepts(raw, "another limit counts for new tokens")
				assertEnded(t, f.session(raw), token.ErrUnavailable, "and that of sessions still holds")

				f.store.setList(nil)
				f.pass(recovery)
				session = f.session(raw)
				f.pass(time.Hour)
				assertOpen(t, session, "the store is back")
			})
		})
	}
}

func TestSessionMayOutliveTheLimitForNewTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		raw := f.issue(day)
		f.start(dataplane.WithMaxStale(time.Minute), dataplane.WithSessionMaxStale(30*time.Minute))
		session := f.session(raw)
		f.store.setList(failing)
		f.pass(20 * time.Minute)
		f.cannotTell(raw)
		assertOpen(t, session)
	})
}

func TestSessionEndsWhenItsListHasBeenUnreadableForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		raw := f.issue(day)
		f.start(dataplane.WithSessionMaxStale(10 * time.Minute))
		putKey(t, f.store.Memory, "other", 1, testKey(0))
		synctest.Wait()
		session := f.session(raw)
		verified, err := f.validator.Validate(t.Context(), "other", issue(t, f.issuer, "other", day))
		require.NoError(t, err)
		other := f.bound(verified)

		f.putList("default", unreadable)
		f.pass(5 * time.Minute)
		f.cannotTell(raw, "new tokens are not let in")
		replaceRecord(t, f.store.Memory, "default", revocation.Dataplane("default").Name, append(unreadable, unreadable...))
		f.pass(5 * time.Minute)
		assertOpen(t, session)
		f.pass(sessionCheck)
		assertEnded(t, session, token.ErrUnavailable, "it has been unreadable since the first of the two")
		assertOpen(t, other, "nothing is amiss in its mesh")
	})
}

func TestSessionEndsWhenItsListIsRepairedAndNamesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		revoked, good := f.issue(day), f.issue(day)
		_, claims := inside(t, revoked)
		bad, still := f.session(revoked), f.session(good)
		f.putList("default", unreadable)
		f.pass(time.Minute)
		assertOpen(t, bad)
		replaceRecord(t, f.store.Memory, "default", revocation.Dataplane("default").Name, []byte(claims.ID))
		synctest.Wait()
		assertEnded(t, bad, token.ErrRevoked)
		assertOpen(t, still)
	})
}

func TestSessionEndsByARevocationThatIsNotAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setWatch(silent)
		raw := f.issue(day)
		session := f.start().session(raw)
		f.revoke(raw)
		f.pass(silentWatchFound)
		assertEnded(t, session, token.ErrRevoked)
	})
}

func TestSessionHasEndedOnceTheValidatorIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		raw := f.issue(time.Hour)
		verified := f.start().verified(raw)
		require.NoError(t, f.validator.Close())
		for range 3 {
			assertEnded(t, f.bound(verified), token.ErrClosed)
		}
		assert.Zero(t, openSessions(f.validator))
	})
}

func TestSessionEndsWithItsParentAndHasItsValues(t *testing.T) {
	type key struct{}
	errGone := errors.New("the proxy has gone")
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		verified := f.verified(f.issue(time.Hour))
		parent, end := context.WithCancelCause(context.WithValue(t.Context(), key{}, "value"))
		session, stop := verified.Bind(parent)
		assert.Equal(t, "value", session.Value(key{}))
		end(errGone)
		assertEnded(t, session, errGone)
		stop()
		assert.Zero(t, openSessions(f.validator))

		late, stop := verified.Bind(parent)
		assertEnded(t, late, errGone)
		stop()

		parent, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		session, stop = verified.Bind(parent)
		f.pass(time.Minute)
		assert.ErrorIs(t, session.Err(), context.DeadlineExceeded)
		stop()
		assert.Zero(t, openSessions(f.validator))
	})
}

func TestSessionLeavesItsParentOpenWhenItEnds(t *testing.T) {
	forEveryEnding(t, func(t *testing.T, f *following, e ending, raw string) {
		parent, cancel := context.WithCancel(t.Context())
		defer cancel()
		ctx, stop := f.verified(raw).Bind(parent)
		defer stop()
		e.happen(f, raw)
		synctest.Wait()
		assertEnded(t, ctx, e.cause)
		assert.NoError(t, parent.Err())
	})
}

func TestSessionThatIsStoppedLeavesNothingBehindInAnyOrderWith(t *testing.T) {
	forEveryEnding(t, func(t *testing.T, f *following, e ending, raw string) {
		const n = 100
		verified := f.verified(raw)
		bind := func() (sessions [n]context.Context, stops [n]context.CancelFunc) {
			for i := range n {
				sessions[i], stops[i] = verified.Bind(t.Context())
			}
			return sessions, stops
		}
		before, stopBefore := bind()
		during, stopDuring := bind()
		after, stopAfter := bind()
		for i := range n {
			stopBefore[i]()
			stopBefore[i]()
			assertEnded(t, before[i], context.Canceled)
		}
		assert.Equal(t, 2*n, openSessions(f.validator))

		var stopping sync.WaitGroup
		for i := range n {
			stopping.Go(func() { // as soon as another one ends
				<-during[(i+1)%n].Done()
				stopDuring[i]()
			})
		}
		e.happen(f, raw)
		stopping.Wait()
		synctest.Wait()
		for i := range n {
			assertEnded(t, after[i], e.cause)
			stopAfter[i]()
			stopAfter[i]()
			stopBefore[i]()
			stopDuring[i]()
			assertEnded(t, after[i], e.cause, "stopping changes no cause")
			assertEnded(t, before[i], context.Canceled)
			cause := context.Cause(during[i])
			assert.True(t, errors.Is(cause, e.cause) || errors.Is(cause, context.Canceled), "%v", cause)
		}
		assert.Zero(t, openSessions(f.validator))
	})
}

func TestSessionsOfOneTokenAllEndWhenItIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		revoked, good := f.issue(time.Hour), f.issue(time.Hour)
		f.start()
		many, few := f.verified(revoked), f.verified(good)
		var ending, staying []context.Context
		for i := range 10_000 {
			session, stop := many.Bind(t.Context())
			defer stop()
			if i%3 == 0 {
				stop() // leaves a gap
				continue
			}
			ending = append(ending, session)
			if i%100 == 0 {
				staying = append(staying, f.bound(few))
			}
		}
		assert.Equal(t, len(ending)+len(staying), openSessions(f.validator))
		f.revoke(revoked)
		synctest.Wait()
		for _, session := range ending {
			require.ErrorIs(t, context.Cause(session), token.ErrRevoked)
		}
		for _, session := range staying {
			require.NoError(t, context.Cause(session))
		}
		assert.Equal(t, len(staying), openSessions(f.validator))
	})
}

// manyTokens are a thousand good tokens of mesh default, signed with key 1, and
// good in this century, inside of a synctest bubble and outside.
var manyTokens = sync.OnceValue(func() []string { return makeTokens(1000) })

func makeTokens(n int) []string {
	issuer, err := dataplane.NewOfflineIssuer(testKey(0), "1", quiet,
		dataplane.WithClock(func() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }))
	if err != nil {
		panic(err)
	}
	tokens := make([]string, n)
	var next atomic.Int64
	var making sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		making.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				issued, err := issuer.Issue(context.Background(), token.Dataplane{
					Mesh: "default", Name: fmt.Sprintf("backend-7d9c5b6f4-%05d", i),
					Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}},
				}, 100*365*day)
				if err != nil {
					panic(err)
				}
				tokens[i] = issued.Token
			}
		})
	}
	making.Wait()
	return tokens
}

func idsOf(t testing.TB, tokens []string) []string {
	t.Helper()
	ids := make([]string, len(tokens))
	for i, raw := range tokens {
		_, claims := inside(t, raw)
		ids[i] = claims.ID
	}
	return ids
}

func TestSessionsOfOtherTokensStayWhenSomeAreRevoked(t *testing.T) {
	for name, more := range map[string]int{ // ids on the list that no session has
		"by a list that is shorter than there are sessions": 0,
		"by a list that is longer":                          storetest.Repeat(100_000, 1_000_000),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t).start()
				sessions := make([]context.Context, len(manyTokens()))
				for i, raw := range manyTokens() {
					sessions[i] = f.session(raw)
				}
				revoked := make(map[int]bool)
				var list strings.Builder
				for i := range more {
					fmt.Fprintf(&list, "%08x-0000-4000-8000-%012x,", i, i*7)
				}
				for i, id := range idsOf(t, manyTokens()) {
					if i%10 == 0 {
						revoked[i] = true
						list.WriteString(id + ",")
					}
				}
				f.putList("default", []byte(list.String()))
				synctest.Wait()
				for i, session := range sessions {
					if revoked[i] {
						require.ErrorIs(t, context.Cause(session), token.ErrRevoked, "session %d", i)
					} else {
						require.NoError(t, context.Cause(session), "session %d", i)
					}
				}
				assert.Equal(t, 900, openSessions(f.validator))

				f.revoke(manyTokens()[1]) // the list is longer by one
				synctest.Wait()
				assertEnded(t, sessions[1], token.ErrRevoked)
				assertOpen(t, sessions[2])
				assert.Equal(t, 899, openSessions(f.validator))
			})
		})
	}
}

func TestSessionsOfOtherKeysStayWhenOneIsRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		putKey(t, f.store.Memory, "other", 1, testKey(0))
		f.start()
		var old, young, elsewhere []context.Context
		for range 20 {
			old = append(old, f.session(f.withSerial("1", 0)))
			young = append(young, f.session(f.issue(30*day)))
			verified, err := f.validator.Validate(t.Context(), "other", issue(t, f.issuer, "other", 30*day))
			require.NoError(t, err)
			elsewhere = append(elsewhere, f.bound(verified))
		}
		f.removeKey(1)
		synctest.Wait()
		for i := range 20 {
			assertEnded(t, old[i], token.ErrUnknownKey)
			assertOpen(t, young[i])
			assertOpen(t, elsewhere[i], "its key has the same kid and the same bytes, and is of another mesh")
		}
		assert.Equal(t, 40, openSessions(f.validator))
	})
}

func TestSessionsOfARevokedIDEndInItsOwnMeshAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "other", 1, testKey(0))
		f.start()
		sessions := map[string]context.Context{}
		for _, mesh := range []string{"default", "other"} {
			raw := signPayload(t, testKey(0), "1", `{"Mesh":"`+mesh+`","jti":"`+someID+`","exp":4102444800}`)
			verified, err := f.validator.Validate(t.Context(), mesh, raw)
			require.NoError(t, err)
			sessions[mesh] = f.bound(verified)
		}
		f.putList(keystore.Global, []byte(someID))
		synctest.Wait()
		assertEnded(t, sessions["default"], token.ErrRevoked)
		assertOpen(t, sessions["other"])
	})
}

func TestSessionStaysEndedAndARestoredTokenBindsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		raw := f.issue(time.Hour)
		verified := f.start().verified(raw)
		old := f.bound(verified)
		f.revoke(raw)
		synctest.Wait()
		f.restore(raw)
		synctest.Wait()
		assertEnded(t, old, token.ErrRevoked)
		again, same := f.session(raw), f.bound(verified)
		assertOpen(t, again)
		assertOpen(t, same, "what was verified before is good again as well")
		f.pass(time.Hour + defaultLeeway)
		assertEnded(t, again, token.ErrExpired)
		assertEnded(t, same, token.ErrExpired)
	})
}

func TestSessionOfATokenWithoutAnIDEndsInEveryOtherWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithUnrevocableTokens())
		raw := signPayload(t, testKey(0), "1", `{"Mesh":"default","exp":4102444800}`)
		first, short := f.session(raw), f.session(signPayload(t, testKey(0), "1",
			fmt.Sprintf(`{"Mesh":"default","exp":%d}`, time.Now().Add(time.Minute).Unix())))
		f.revoke(f.issue(time.Hour))
		f.pass(time.Minute + defaultLeeway)
		assertOpen(t, first)
		assertEnded(t, short, token.ErrExpired)
		f.removeKey(1)
		synctest.Wait()
		assertEnded(t, first, token.ErrUnknownKey)
		assert.Zero(t, openSessions(f.validator))
	})
}

func TestSessionOfAConfiguredKeyDoesNotDependOnTheKeysInTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.start(dataplane.WithPublicKey("default", "own", testKey(2).Public()))
		raw := f.withSerial("own", 2)
		session, revoked := f.session(raw), f.withSerial("own", 2)
		bad := f.session(revoked)
		f.removeKey(1)
		synctest.Wait()
		assertOpen(t, session)
		f.revoke(revoked)
		synctest.Wait()
		assertEnded(t, bad, token.ErrRevoked)
		assertOpen(t, session)
	})
}

func TestSessionWithoutAStoreEndsByExpiryAndClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "own", testKey(0).Public()),
			dataplane.WithMaxStale(0), dataplane.WithSessionMaxStale(0))
		issuer := newOfflineIssuer(t, testKey(0), "own")
		bind := func(validFor time.Duration) context.Context {
			verified, err := validator.Validate(t.Context(), "default", issue(t, issuer, "default", validFor))
			require.NoError(t, err)
			ctx, stop := verified.Bind(t.Context())
			t.Cleanup(stop)
			return ctx
		}
		short, long := bind(time.Hour), bind(30*day)
		time.Sleep(time.Hour + defaultLeeway - time.Nanosecond)
		synctest.Wait()
		assertOpen(t, short)
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		assertEnded(t, short, token.ErrExpired)
		assertOpen(t, long)
		assert.Equal(t, 1, openSessions(validator))
		require.NoError(t, validator.Close())
		assertEnded(t, long, token.ErrClosed)
		assert.Zero(t, openSessions(validator))
	})
}

func TestSessionOfAContextThatHasEndedHasEnded(t *testing.T) {
	ctx, stop := dataplane.Verified{}.Bind(t.Context())
	assertEnded(t, ctx, token.ErrInvalid)
	stop()
	stop()
	assertEnded(t, ctx, token.ErrInvalid)
}

// shiftedClock is a wall clock that somebody sets.
type shiftedClock struct{ ahead atomic.Int64 }

func (c *shiftedClock) now() time.Time       { return time.Now().Add(time.Duration(c.ahead.Load())) }
func (c *shiftedClock) jump(d time.Duration) { c.ahead.Add(int64(d)) }

func TestSessionEndsByTheClockWhenThatJumpsForward(t *testing.T) {
	for name, c := range map[string]struct{ validFor, jumpAfter, jump, open, ended time.Duration }{
		"over its expiry":                    {time.Hour, 30 * time.Minute, time.Hour, 0, 2 * time.Second},
		"to before its expiry":               {2 * time.Hour, 30 * time.Minute, time.Hour, 30*time.Minute + defaultLeeway - time.Nanosecond, 30*time.Minute + defaultLeeway},
		"to just before the end of a leeway": {90 * time.Minute, 30 * time.Minute, time.Hour, defaultLeeway - time.Nanosecond, defaultLeeway},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, clock := newFollowing(t), &shiftedClock{}
				raw := f.issue(c.validFor)
				f.start(dataplane.WithClock(clock.now))
				session, far := f.session(raw), f.session(f.issue(30*day))
				f.pass(c.jumpAfter)
				clock.jump(c.jump)
				assertOpen(t, session)
				f.pass(c.open)
				assertOpen(t, session)
				f.pass(c.ended - c.open)
				assertEnded(t, session, token.ErrExpired)
				assertOpen(t, far)
			})
		})
	}
}

func TestSessionEndsByTheTimeThatHasPassedWhenTheClockJumpsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, clock := newFollowing(t), &shiftedClock{}
		raw := f.issue(time.Hour)
		session := f.start(dataplane.WithClock(clock.now)).session(raw)
		f.pass(30 * time.Minute)
		clock.jump(-time.Hour)
		f.pass(30*time.Minute + defaultLeeway - time.Nanosecond)
		assertOpen(t, session)
		f.pass(time.Nanosecond)
		assertEnded(t, session, token.ErrExpired)
	})
}

func TestSessionLivesNoLongerWhenAClockThatWasSetBackIsPutForwardInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, clock := newFollowing(t), &shiftedClock{}
		raw := f.issue(time.Hour)
		session, far := f.start(dataplane.WithClock(clock.now)).session(raw), f.verified(f.issue(30*day))
		clock.jump(-2 * time.Hour)
		f.bound(far)
		f.pass(10 * time.Minute)
		clock.jump(time.Hour)
		f.pass(50*time.Minute + defaultLeeway - time.Nanosecond)
		assertOpen(t, session)
		f.pass(time.Nanosecond)
		assertEnded(t, session, token.ErrExpired)
	})
}

func TestSessionEndsByAJumpOfTheClockAlsoIfAnotherIsBoundRightAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, clock := newFollowing(t), &shiftedClock{}
		f.start(dataplane.WithClock(clock.now))
		session, far := f.session(f.issue(time.Hour)), f.verified(f.issue(30*day))
		f.pass(100 * time.Millisecond)
		clock.jump(2 * time.Hour)
		other := f.bound(far)
		f.pass(2 * time.Second)
		assertEnded(t, session, token.ErrExpired)
		assertOpen(t, other)
	})
}

func TestSessionBoundWhileTheClockWasBehindEndsWhenItIsPutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, clock := newFollowing(t), &shiftedClock{}
		f.start(dataplane.WithClock(clock.now))
		before := f.session(f.issue(30 * day)) // there is one already when the clock jumps
		raw := f.issue(time.Hour)
		clock.jump(-4 * time.Minute)
		f.pass(time.Minute)
		session := f.session(raw)
		f.pass(59*time.Minute + 2*time.Minute)
		assertOpen(t, session, "the clock says that it has two minutes left, and so does the time since it was bound")
		clock.jump(4 * time.Minute)
		f.pass(2 * time.Second)
		assertEnded(t, session, token.ErrExpired)
		assertOpen(t, before)
	})
}

func TestSessionBoundWhileTheClockWasBehindForAMomentEndsInTime(t *testing.T) {
	for name, first := range map[string]bool{"the first session": true, "one of several": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, clock := newFollowing(t), &shiftedClock{}
				f.start(dataplane.WithClock(clock.now))
				raw, far := f.issue(time.Hour), f.issue(30*day)
				if !first {
					assertOpen(t, f.session(far))
				}
				f.pass(10 * time.Second)
				clock.jump(-4 * time.Minute)
				session := f.session(raw)
				clock.jump(4 * time.Minute)
				f.pass(time.Hour - 10*time.Second + defaultLeeway - time.Nanosecond)
				assertOpen(t, session)
				f.pass(2 * time.Second)
				assertEnded(t, session, token.ErrExpired)
			})
		})
	}
}

func TestSessionEndsByAClockThatRunsFast(t *testing.T) {
	for _, gain := range []int64{1, 10, 50, 99, 500} { // milliseconds a second
		t.Run(fmt.Sprint(gain), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				clock := func() time.Time {
					return began.Add(time.Since(began) + time.Duration(gain)*time.Since(began)/1000)
				}
				f := newFollowing(t)
				raw := f.issue(time.Hour)
				session := f.start(dataplane.WithClock(clock)).session(raw)
				ended := make(chan time.Time, 1)
				defer context.AfterFunc(session, func() { ended <- clock() })()
				f.pass(time.Hour + defaultLeeway)
				require.Error(t, session.Err())
				late := (<-ended).Sub(began.Add(time.Hour + defaultLeeway))
				assert.LessOrEqual(t, late, 2*time.Second)
				assert.GreaterOrEqual(t, late, time.Duration(0))
			})
		})
	}
}

func TestSessionJitterSpreadsEndsAheadOfExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, jitter = 500, time.Minute
		f := newFollowing(t)
		raw := f.issue(time.Hour)
		verified := f.start(dataplane.WithSessionJitter(jitter)).verified(raw)
		last := time.Now().Add(time.Hour + defaultLeeway)
		ends := make(chan time.Time, n)
		for range n {
			defer context.AfterFunc(f.bound(verified), func() { ends <- time.Now() })()
		}
		f.pass(time.Hour + defaultLeeway - jitter - time.Nanosecond)
		assert.Empty(t, ends)
		f.pass(2 * jitter)
		require.Len(t, ends, n)
		var tenths [10]int
		for range n {
			early := last.Sub(<-ends)
			require.GreaterOrEqual(t, early, time.Duration(0), "never later than without")
			require.LessOrEqual(t, early, jitter)
			tenths[min(early*10/jitter, 9)]++
		}
		for i, count := range tenths {
			assert.InDelta(t, n/10, count, n/10*0.8, "tenth %d of a minute", i)
		}
	})
}

func TestSessionsWithoutJitterEndTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		raw := f.issue(time.Hour)
		verified := f.start().verified(raw)
		ends := make(chan time.Time, 50)
		for range 50 {
			defer context.AfterFunc(f.bound(verified), func() { ends <- time.Now() })()
			f.pass(time.Duration(rand.N(int64(time.Second))))
		}
		f.pass(time.Hour + defaultLeeway)
		require.Len(t, ends, 50)
		first := <-ends
		for range 49 {
			require.Equal(t, first, <-ends)
		}
	})
}

func TestSessionJitterLetsATokenThatIsAboutToExpireBind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		raw := f.issue(10 * time.Second)
		verified := f.start(dataplane.WithLeeway(0), dataplane.WithSessionJitter(time.Minute)).verified(raw)
		var sessions []context.Context
		for range 200 {
			sessions = append(sessions, f.bound(verified))
		}
		f.pass(5*time.Second - time.Nanosecond)
		for _, session := range sessions {
			require.NoError(t, context.Cause(session), "half of what is left at the least")
		}
		f.pass(time.Second)
		assert.Less(t, openSessions(f.validator), 200, "up to half of it is left out")
		f.pass(4 * time.Second)
		assert.Less(t, openSessions(f.validator), 100, "they are spread all the same")
		for range 100 { // in the last nanosecond
			assertOpen(t, f.bound(verified))
		}
		f.pass(time.Nanosecond)
		assert.Zero(t, openSessions(f.validator))
	})
}

func TestSessionsAreLookedAfterOnceASecondHoweverManyThereAre(t *testing.T) {
	for _, n := range []int{1, 10_000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var asked atomic.Int64
				f := newFollowing(t)
				raw := f.issue(time.Hour)
				f.start(dataplane.WithClock(func() time.Time { asked.Add(1); return time.Now() }))
				verified := f.verified(raw)
				for range n {
					_, stop := verified.Bind(t.Context())
					defer stop()
				}
				before := asked.Load()
				f.pass(time.Minute)
				assert.InDelta(t, 60, asked.Load()-before, 2)
			})
		})
	}
}

func TestValidatorWithoutSessionsRunsNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		f := newFollowing(t)
		raw := f.issue(time.Hour)
		verified := f.start(dataplane.WithClock(func() time.Time { asked.Add(1); return time.Now() })).verified(raw)
		for range 100 {
			_, stop := verified.Bind(t.Context())
			stop()
		}
		f.pass(sessionCheck)
		before := asked.Load()
		f.pass(time.Hour)
		assert.Equal(t, before, asked.Load())
	})
}

// liveSessions is a validator in real time, and a token that it accepts.
func liveSessions(t testing.TB, options ...dataplane.ValidatorOption) (dataplane.Validator, dataplane.Verified) {
	t.Helper()
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	validator := newValidator(t, store, options...)
	verified, err := validator.Validate(t.Context(), "default", issue(t, newIssuer(t, store), "default", time.Hour))
	require.NoError(t, err)
	return validator, verified
}

func TestSessionsThatWereOpenedAndClosedLeaveNothingBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		validator, verified := liveSessions(t, dataplane.WithSessionJitter(time.Minute))
		parent, cancel := context.WithCancel(t.Context())
		defer cancel()
		open, stopOpen := verified.Bind(parent)
		defer stopOpen()
		synctest.Wait() // until all that follows the store has begun
		goroutines, heap := runtime.NumGoroutine(), hostileHeap()
		var working sync.WaitGroup
		for range 4 {
			working.Go(func() {
				var stops []context.CancelFunc
				for i := range 25_000 {
					ctx, stop := verified.Bind(parent)
					_ = ctx.Done()
					if stops = append(stops, stop); i%50 == 49 { // overlapping, and not in order
						rand.Shuffle(len(stops), func(i, j int) { stops[i], stops[j] = stops[j], stops[i] })
						for _, stop := range stops {
							stop()
						}
						stops = stops[:0]
					}
				}
			})
		}
		working.Wait()
		assert.Equal(t, 1, openSessions(validator))
		assertOpen(t, open)
		assert.Less(t, hostileHeap()-heap, int64(2<<20), "20 bytes a session at most")
		for began := time.Now(); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) { // some may not quite have ended
			require.Less(t, time.Since(began), time.Minute, "goroutines are left behind")
		}
	})
}

func TestASessionThatHasEndedKeepsNoLaterOneInMemory(t *testing.T) {
	validator, withID := liveSessions(t, dataplane.WithUnrevocableTokens(), dataplane.WithPublicKey("default", "own", testKey(2).Public()))
	withoutID, err := validator.Validate(t.Context(), "default", signPayload(t, testKey(2), "own", `{"Mesh":"default","exp":4102444800}`))
	require.NoError(t, err)
	for name, verified := range map[string]dataplane.Verified{"with an id": withID, "without an id": withoutID} {
		t.Run(name, func(t *testing.T) {
			_, stop := verified.Bind(t.Context())
			first := stop // is kept, as by a handler that goes on
			heap := hostileHeap()
			for range 20_000 {
				before := stop
				_, stop = verified.Bind(t.Context())
				before() // while the next one is its neighbour
			}
			stop()
			assert.Less(t, hostileHeap()-heap, int64(1<<20), "50 bytes a session at most")
			first()
			assert.Zero(t, openSessions(validator))
		})
	}
}

func TestSessionsHaveNoGoroutinesOfTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		validator, verified := liveSessions(t)
		_, stop := verified.Bind(t.Context())
		defer stop()
		synctest.Wait() // until all that follows the store has begun
		goroutines := runtime.NumGoroutine()
		for range 10_000 {
			parent, cancel := context.WithCancel(t.Context())
			defer cancel()
			ctx, stop := verified.Bind(parent)
			_ = ctx.Done()
			defer stop()
		}
		assert.Equal(t, 10_001, openSessions(validator))
		assert.LessOrEqual(t, runtime.NumGoroutine(), goroutines)
	})
}

func TestSessionsMayBeBoundAndStoppedWhileEverythingChanges(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	putKey(t, store, "default", 2, testKey(1))
	validator := newValidator(t, store, dataplane.WithSessionJitter(time.Second))
	revoked, staying := issue(t, newOfflineIssuer(t, testKey(0), "1"), "default", time.Hour), issue(t, newOfflineIssuer(t, testKey(1), "2"), "default", time.Hour)
	_, claims := inside(t, revoked)
	good, err := validator.Validate(t.Context(), "default", staying)
	require.NoError(t, err)
	bad, err := validator.Validate(t.Context(), "default", revoked)
	require.NoError(t, err)

	var working sync.WaitGroup
	over := make(chan struct{})
	for range 4 {
		working.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
				}
				kept, stop := good.Bind(t.Context())
				_, stopOther := bad.Bind(t.Context())
				validator.Usage()
				assert.NoError(t, context.Cause(kept))
				stopOther()
				stop()
			}
		})
	}
	for range 50 {
		require.NoError(t, dataplane.Revoke(t.Context(), store, "default", claims.ID))
		require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 1))
		require.NoError(t, dataplane.Restore(t.Context(), store, "default", claims.ID))
		putKey(t, store, "default", 1, testKey(0))
	}
	require.NoError(t, dataplane.Revoke(t.Context(), store, "default", claims.ID))
	session, stop := bad.Bind(t.Context())
	defer stop()
	<-session.Done()
	assert.ErrorIs(t, context.Cause(session), token.ErrInvalid)
	close(over)
	working.Wait()
	assert.Zero(t, openSessions(validator))
}

func TestSessionOfAnExpiredTokenAddsNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked atomic.Int64
		var delay atomic.Bool
		clock := func() time.Time {
			asked.Add(1)
			now := time.Now()
			if delay.CompareAndSwap(true, false) { // the caller is held up until sessions are due for a look
				time.Sleep(now.Truncate(time.Second).Add(time.Second).Sub(now))
			}
			return time.Now()
		}
		f := newFollowing(t)
		long, short := f.issue(time.Hour), f.issue(time.Second)
		f.start(dataplane.WithClock(clock), dataplane.WithLeeway(0))
		verified := f.verified(short)
		f.session(long)
		f.pass(2 * time.Second)
		for range 10 {
			f.pass(500 * time.Millisecond)
			delay.Store(true)
			assertEnded(t, f.bound(verified), token.ErrExpired)
			f.pass(time.Until(time.Now().Truncate(time.Second).Add(time.Second)))
		}
		before := asked.Load()
		f.pass(time.Minute)
		assert.InDelta(t, 60, asked.Load()-before, 2, "sessions are looked after once a second")
	})
}

func TestSessionEndsWhenItsKeyHasBeenUnreadableForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithSessionMaxStale(time.Minute))
		verified, err := f.validator.Validate(t.Context(), "default", f.issue(30*day))
		require.NoError(t, err)
		ctx, stop := verified.Bind(t.Context())
		defer stop()
		name := signing.DataplaneKeys("default").KeyName(1)
		record, err := f.store.Memory.Get(t.Context(), "default", name)
		require.NoError(t, err)
		record.Data = []byte("no key")
		_, err = f.store.Memory.Update(t.Context(), record)
		require.NoError(t, err)
		f.pass(59 * time.Second)
		require.NoError(t, ctx.Err(), "the key is not known to be gone")
		f.pass(3 * time.Second)
		require.ErrorIs(t, context.Cause(ctx), token.ErrUnavailable)
	})
}

func TestSessionOfAConfiguredKeyStaysOpenBesideAnUnreadableRecordOfTheSameKid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.start(dataplane.WithSessionMaxStale(time.Minute), dataplane.WithPublicKey("default", "1", testKey(2).Public()))
		raw := f.withSerial("1", 2)
		before := f.session(raw)
		replaceRecord(t, f.store.Memory, "default", signing.DataplaneKeys("default").KeyName(1), []byte("no key"))
		f.pass(10 * time.Minute)
		assertOpen(t, before)
		after := f.session(raw)
		assertOpen(t, after)
		f.pass(10 * time.Minute)
		assertOpen(t, after)
		f.removeKey(1)
		f.pass(time.Minute)
		assertOpen(t, before)
		f.accepts(raw)
		usage := f.validator.Usage()
		require.Len(t, usage, 1)
		assert.EqualValues(t, 3, usage[0].Validations, "the record that is gone was about another key")
	})
}

func TestSessionMayBeBoundToATokenThatCannotBeCheckedForLessThanTheLimit(t *testing.T) {
	for name, happen := range map[string]func(f *following){
		"its list cannot be read": func(f *following) { f.putList("default", unreadable) },
		"its key cannot be read": func(f *following) {
			replaceRecord(f.t, f.store.Memory, "default", signing.DataplaneKeys("default").KeyName(1), []byte("no key"))
		},
		"the store fails": func(f *following) { f.store.setList(failing) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t).start(dataplane.WithMaxStale(0), dataplane.WithSessionMaxStale(10*time.Minute))
				verified := f.verified(f.issue(30 * day))
				happen(f)
				f.pass(5 * time.Minute)
				session := f.bound(verified)
				assertOpen(t, session, "it was validated a moment ago, as far as the limit for sessions goes")
				f.pass(6 * time.Minute)
				assertEnded(t, session, token.ErrUnavailable)
			})
		})
	}
}

func TestSessionEndsWhenItsKeyHasBeenUnreadableForTooLongThoughItsMeshKeepsChanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithSessionMaxStale(10 * time.Minute))
		session := f.session(f.issue(30 * day))
		replaceRecord(t, f.store.Memory, "default", signing.DataplaneKeys("default").KeyName(1), []byte("no key"))
		for serial := range signing.Serial(10) {
			f.pass(time.Minute)
			assertOpen(t, session)
			putRecord(t, f.store.Memory, "default", signing.DataplaneKeys("default").PublicKeyName(serial+2), testKey(1).Public().PEM())
		}
		f.pass(2 * sessionCheck)
		assertEnded(t, session, token.ErrUnavailable)
	})
}

func TestSessionsOfEveryMeshEndTogetherOnceTheStoreHasFailedForTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		for i := range 10 {
			putKey(t, f.store.Memory, fmt.Sprint("mesh-", i), 1, testKey(0))
		}
		f.start(dataplane.WithSessionMaxStale(10 * time.Minute))
		for i := range 10 {
			mesh := fmt.Sprint("mesh-", i)
			verified, err := f.validator.Validate(t.Context(), mesh, issue(t, f.issuer, mesh, 30*day))
			require.NoError(t, err)
			f.bound(verified)
		}
		f.store.setList(failing)
		f.pass(10*time.Minute + sessionCheck)
		assert.Zero(t, openSessions(f.validator))
	})
}
