package dataplane_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const (
	silentWatchFound = 30 * time.Second // within which a change is found that nobody announces
	recovery         = time.Second      // within which a store that works again is noticed
)

func TestValidatorAnswersFromTheLastReadWhileReadsFail(t *testing.T) {
	for name, c := range map[string]struct {
		list     func(*faultStore, []keystore.Record) listFunc
		recovery time.Duration
	}{
		"an error": {func(*faultStore, []keystore.Record) listFunc { return failing }, recovery},
		"a hang":   {func(*faultStore, []keystore.Record) listFunc { return hanging }, 5*time.Second + recovery},
		"a part of the list with an error": {func(_ *faultStore, records []keystore.Record) listFunc {
			return func(context.Context, keystore.Scope, string) ([]keystore.Record, error) {
				return records[:1], errStoreDown
			}
		}, recovery},
		"an emptied list with an error": {func(*faultStore, []keystore.Record) listFunc {
			return func(context.Context, keystore.Scope, string) ([]keystore.Record, error) {
				return []keystore.Record{}, errStoreDown
			}
		}, recovery},
		"a good answer that comes too late": {func(s *faultStore, _ []keystore.Record) listFunc {
			return s.slowly(5*time.Second + time.Millisecond)
		}, 5*time.Second + time.Millisecond + recovery},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				putKey(t, f.store.Memory, "other", 1, testKey(0))
				good, expiring, revoked := f.issue(30*day), f.issue(time.Minute), f.issue(30*day)
				f.revoke(revoked)
				f.start()
				f.accepts(good)
				f.accepts(expiring)
				f.refuses(revoked, token.ErrRevoked)

				f.store.setList(c.list(f.store, listAll(t, f.store.Memory)))
				definite := func() {
					f.refuses(revoked, token.ErrRevoked)
					f.refuses(expiring, token.ErrExpired)
					f.refuses(tampered(good), token.ErrSignature)
					f.refuses("not.a.token", token.ErrMalformed)
					assert.ErrorIs(t, check(t, f.validator, "other", good), token.ErrScope)
				}
				f.pass(59 * time.Minute)
				f.accepts(good)
				definite()
				f.cannotTell(f.withSerial("2", 1), "an unknown key could not be looked for")

				f.pass(2 * time.Minute)
				f.cannotTell(good, "the limit has passed")
				definite()

				f.store.setList(nil)
				f.pass(c.recovery)
				f.accepts(good, "the store works again")
				definite()
				assert.Equal(t, 1, f.log.Count("reading the store fails"))
				assert.Equal(t, 1, f.log.Count("reading the store works again"))
			})
		})
	}
}

func TestValidatorEndsAReadAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		took := make(chan time.Duration, 100)
		f.store.setList(func(ctx context.Context, _ keystore.Scope, _ string) ([]keystore.Record, error) {
			began := time.Now()
			<-ctx.Done()
			took <- time.Since(began)
			return nil, ctx.Err()
		})
		f.pass(time.Minute)
		assert.Equal(t, 5*time.Second, <-took)
	})
}

func TestValidatorHeedsAChangeWhoseReadHungWithinASecondOfTheStoresReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		revoked := f.issue(30 * day)
		f.accepts(revoked)
		f.store.setList(hanging)
		f.revoke(revoked) // is announced, and the watch goes on
		f.pass(5*time.Second + 10*time.Millisecond)
		f.accepts(revoked, "the read has just failed")
		f.store.setList(nil)
		f.pass(recovery)
		f.refuses(revoked, token.ErrRevoked)
	})
}

func TestValidatorTakesAMeshThatTheStoresEngineCannotHoldAsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.start()
		f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
			if scope == "Prod" {
				return nil, nil
			}
			return f.store.Memory.List(ctx, scope, prefix)
		})
		err := check(t, f.validator, "Prod", f.issue(day))
		assert.ErrorIs(t, err, token.ErrUnknownKey)
		assert.NotErrorIs(t, err, token.ErrUnavailable)
		assert.Zero(t, f.log.Count("fails"))
	})
}

func TestValidatorFollowsASlowStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setList(f.store.slowly(4 * time.Second))
		good := f.issue(30 * day)
		f.start()
		f.cannotTell(good, "nothing has been read yet")
		f.pass(3 * time.Second)
		f.accepts(good)

		f.revoke(good)
		f.pass(8 * time.Second) // a read may have begun just before
		f.refuses(good, token.ErrRevoked)
		f.pass(24 * time.Hour)
		f.accepts(f.issue(day))
		assert.Zero(t, f.log.Count("reading the store fails"))
	})
}

func TestValidatorNoticesAStoreThatNeverAnswersAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		good := f.issue(30 * day)
		answer := make(chan struct{})
		defer close(answer) // or the bubble could not end
		f.store.setList(func(context.Context, keystore.Scope, string) ([]keystore.Record, error) {
			<-answer
			return nil, errStoreDown
		})
		f.pass(59 * time.Minute)
		f.accepts(good)
		f.pass(2 * time.Minute)
		f.cannotTell(good)

		began := time.Now()
		require.NoError(t, f.validator.Close())
		assert.LessOrEqual(t, time.Since(began), 5*time.Second)
	})
}

func TestValidatorAnswersFromAStateExactlyAsOldAsMaxStale(t *testing.T) {
	for name, c := range map[string]struct {
		options []dataplane.ValidatorOption
		limit   time.Duration
	}{
		"an hour by default": {nil, time.Hour},
		"a minute":           {[]dataplane.ValidatorOption{dataplane.WithMaxStale(time.Minute)}, time.Minute},
		"two hours":          {[]dataplane.ValidatorOption{dataplane.WithMaxStale(2 * time.Hour)}, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t).start(c.options...)
				good := f.issue(30 * day)
				f.pass(100 * time.Second)
				reads := f.store.readsSoFar()
				confirmed := reads[len(reads)-1].at
				f.store.setList(failing)

				f.pass(time.Until(confirmed.Add(c.limit)))
				f.accepts(good)
				f.pass(1)
				f.cannotTell(good)
				assert.ErrorIs(t, f.check(good), errStoreDown)

				f.store.setList(nil)
				f.pass(recovery)
				f.accepts(good)
			})
		})
	}
}

func TestValidatorWithoutToleranceForStalenessHeedsTheFirstFailedRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithMaxStale(0))
		good := f.issue(30 * day)
		f.pass(10 * time.Minute)
		f.accepts(good, "reads succeed")

		f.store.setList(failing)
		f.accepts(good, "nothing has failed yet")
		f.pass(silentWatchFound)
		f.cannotTell(good)
		assert.ErrorIs(t, f.check(good), errStoreDown)

		f.store.setList(nil)
		f.pass(recovery)
		f.accepts(good)

		f.store.setList(failing)
		f.revoke(f.issue(day)) // announced, so that it is read at once
		synctest.Wait()
		f.cannotTell(good)
	})
}

// Where a part cannot be read, only what rests on it ages.
func TestValidatorAppliesAFailedReadToTheScopesThatRestOnIt(t *testing.T) {
	for failed, concerns := range map[keystore.Scope]struct{ meshDefault, meshOther bool }{
		"default":       {true, false},
		"other":         {false, true},
		keystore.Global: {true, true}, // a list there may be any mesh's
	} {
		t.Run(fmt.Sprintf("scope %q", failed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				putKey(t, f.store.Memory, "other", 1, testKey(1))
				putRecord(t, f.store.Memory, keystore.Global, "dataplane-token-revocations-third", nil)
				f.start(dataplane.WithMaxStale(0))
				ofDefault, ofOther := f.issue(30*day), issue(t, f.issuer, "other", 30*day)
				f.pass(time.Second)
				f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
					if scope == failed {
						return nil, errStoreDown
					}
					return f.store.Memory.List(ctx, scope, prefix)
				})
				putRecord(t, f.store.Memory, failed, "dataplane-token-of-no-concern", nil) // announced
				synctest.Wait()

				want := map[bool]error{true: token.ErrUnavailable, false: nil}
				assert.ErrorIs(t, f.check(ofDefault), want[concerns.meshDefault])
				assert.ErrorIs(t, check(t, f.validator, "other", ofOther), want[concerns.meshOther])
				f.pass(silentWatchFound + recovery) // everything is read at once
				f.accepts(ofDefault)
				assert.NoError(t, check(t, f.validator, "other", ofOther))
			})
		})
	}
}

func TestValidatorBelievesAndReportsAStateThatWasReadSuccessfully(t *testing.T) {
	t.Run("an older one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFollowing(t)
			f.store.setWatch(silent)
			older, err := f.store.remembering(t.Context())
			require.NoError(t, err)
			first := f.issue(30 * day)
			f.revoke(first)
			putKey(t, f.store.Memory, "default", 2, testKey(1))
			second := f.issue(30 * day)
			f.start()
			f.refuses(first, token.ErrRevoked)
			f.accepts(second)

			f.store.setList(older)
			f.pass(silentWatchFound)
			f.accepts(first)
			f.refuses(second, token.ErrUnknownKey)
			assert.Equal(t, 1, f.log.Count("key is gone", "kid=2"))
			assert.Equal(t, 1, f.log.Count("ids are gone from a revocation list", "ids=1"))

			f.store.setList(nil)
			f.pass(silentWatchFound)
			f.refuses(first, token.ErrRevoked)
			f.accepts(second)
			assert.Equal(t, 1, f.log.Count("new key", "kid=2"))
		})
	})
	t.Run("an older list of the same length", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFollowing(t)
			first, second := f.issue(30*day), f.issue(30*day)
			f.revoke(first)
			older, err := f.store.remembering(t.Context())
			require.NoError(t, err)
			f.restore(first)
			f.revoke(second)
			f.start()
			f.refuses(second, token.ErrRevoked)

			f.store.setList(older)
			f.pass(silentWatchFound)
			f.refuses(first, token.ErrRevoked)
			f.accepts(second)
			assert.Equal(t, 1, f.log.Count("level=WARN", "ids are gone from a revocation list", "ids=1"))
		})
	})
	t.Run("an empty one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := newFollowing(t)
			good, revoked := f.issue(30*day), f.issue(30*day)
			f.revoke(revoked)
			f.start()
			f.store.setList(func(context.Context, keystore.Scope, string) ([]keystore.Record, error) { return nil, nil })
			f.pass(silentWatchFound)
			f.refuses(good, token.ErrUnknownKey)
			f.pass(2 * time.Second) // the next read that a token may cause is due in one
			f.refuses(revoked, token.ErrUnknownKey)
			assert.Equal(t, 1, f.log.Count("level=WARN", "key is gone", "kid=1"))
			assert.Equal(t, 1, f.log.Count("level=WARN", "ids are gone from a revocation list"))
		})
	})
}

func TestValidatorFindsAnAnnouncedChangeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		first, second := f.issue(30*day), f.issue(30*day)
		f.revoke(first)
		synctest.Wait()
		f.refuses(first, token.ErrRevoked)
		f.accepts(second)
		f.restore(first)
		synctest.Wait()
		f.accepts(first)

		putKey(t, f.store.Memory, "default", 2, testKey(1))
		synctest.Wait()
		f.accepts(f.issue(30 * day))
		require.NoError(t, dataplane.RemoveKey(t.Context(), f.store.Memory, "default", 1))
		synctest.Wait()
		f.refuses(second, token.ErrUnknownKey)
		assert.Equal(t, 1, f.log.Count("key is gone", "kid=1"))
	})
}

func TestValidatorFindsChangesWhateverBecomesOfTheWatch(t *testing.T) {
	errLost := errors.New("the watch is lost")
	for name, watch := range map[string]watchFunc{
		"it falls silent":                          silent,
		"it is lost, and can never be begun again": func(context.Context, func(keystore.Scope)) error { return errLost },
		"it ends without an error":                 func(context.Context, func(keystore.Scope)) error { return nil },
		"it is lost again and again": func(ctx context.Context, changed func(keystore.Scope)) error {
			changed(keystore.AllScopes)
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Minute):
				return errLost
			}
		},
		"it tells of another mesh only": func(ctx context.Context, changed func(keystore.Scope)) error {
			changed(keystore.AllScopes)
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case <-time.After(time.Second):
					changed("other")
				}
			}
		},
		"it hangs before it begins": func(ctx context.Context, _ func(keystore.Scope)) error {
			<-ctx.Done()
			return ctx.Err()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				f.store.setWatch(watch)
				f.start()
				for i := range 10 {
					raw := f.issue(30 * day)
					f.accepts(raw)
					f.pass(time.Duration(i) * 7 * time.Second)
					f.revoke(raw)
					f.pass(silentWatchFound)
					f.refuses(raw, token.ErrRevoked)
				}
			})
		})
	}
}

func TestValidatorBeginsALostWatchAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		var begun atomic.Int32
		f.store.setWatch(func(ctx context.Context, changed func(keystore.Scope)) error {
			if begun.Add(1) <= 3 {
				return errStoreDown
			}
			return f.store.Memory.Watch(ctx, changed)
		})
		f.start()
		f.pass(5 * time.Second)
		raw := f.issue(30 * day)
		f.revoke(raw)
		synctest.Wait()
		f.refuses(raw, token.ErrRevoked, "the new watch announces changes")
	})
}

func TestValidatorIgnoresDuplicateNotifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		good, revoked := f.issue(30*day), f.issue(30*day)
		f.revoke(revoked)
		announce := make(chan keystore.Scope)
		f.store.setWatch(func(ctx context.Context, changed func(keystore.Scope)) error {
			changed(keystore.AllScopes)
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case scope := <-announce:
					for range 1000 {
						changed(scope)
					}
				}
			}
		})
		f.store.setList(f.store.slowly(10 * time.Millisecond))
		f.start()
		f.pass(time.Second)
		lines, reads := f.log.Count(""), len(f.store.readsSoFar())

		for _, scope := range []keystore.Scope{"default", keystore.AllScopes, "default", keystore.Global, "nobodys"} {
			announce <- scope
			f.pass(100 * time.Millisecond)
		}
		f.accepts(good)
		assert.Equal(t, lines, f.log.Count(""), f.log.Last())
		assert.LessOrEqual(t, len(f.store.readsSoFar())-reads, 2*5, "notifications that came together were not merged")
		f.refuses(revoked, token.ErrRevoked)
	})
}

func TestValidatorReportsAnUnreadableKeyOnceAndTheOthersServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		first := f.issue(30 * day)
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		second := f.issue(30 * day)
		f.start()
		f.accepts(second)

		name := signing.DataplaneKeys("default").KeyName(2)
		replaceRecord(t, f.store.Memory, "default", name, []byte("damaged"))
		f.pass(10 * time.Minute)
		f.accepts(first)
		f.cannotTell(second, "there is a key, and nobody can read it")
		assert.ErrorContains(t, f.check(second), name)
		assert.Equal(t, 1, f.log.Count("level=WARN", "record problem", name))
		assert.Zero(t, f.log.Count("damaged\""))

		_, err := f.issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
		assert.ErrorIs(t, err, signing.ErrKey, "an older key signed in place of the highest")

		replaceKey(t, f.store.Memory, "default", 2, testKey(1))
		synctest.Wait()
		f.accepts(second, "the record was repaired")
	})
}

func TestValidatorReportsRecordsThatAreNotKeysOnceAndIgnoresThem(t *testing.T) {
	for name, c := range map[string]struct {
		scope  keystore.Scope
		record string
	}{
		"a suffix":                   {"default", "dataplane-token-signing-key-default-backup"},
		"leading zeros":              {"default", "dataplane-token-signing-key-default-0002"},
		"a zero":                     {"default", "dataplane-token-signing-key-default-0"},
		"two numbers":                {"default", "dataplane-token-signing-key-default-2-1"},
		"a negative number":          {"default", "dataplane-token-signing-key-default--1"},
		"twenty digits":              {"default", "dataplane-token-signing-key-default-99999999999999999999"},
		"another mesh's key":         {"default", "dataplane-token-signing-key-other-2"},
		"a key in the global scope":  {keystore.Global, "dataplane-token-signing-key-default-2"},
		"another mesh's list":        {"default", "dataplane-token-revocations-other"},
		"a public key with a suffix": {"default", "dataplane-token-signing-public-key-default-old"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				good := f.issue(30 * day)
				putRecord(t, f.store.Memory, c.scope, c.record, pemOf(t, testKey(1)))
				f.start()
				f.pass(5 * time.Minute)
				f.accepts(good)
				f.refuses(f.withSerial("0", 1), token.ErrUnknownKey)
				f.pass(2 * time.Second) // the next read that a token may cause is due in one
				f.refuses(f.withSerial("2", 1), token.ErrUnknownKey)
				assert.Equal(t, 1, f.log.Count("level=WARN", "record problem", c.record))
			})
		})
	}
}

func TestValidatorRefusesWhatAKeySignedBeforeItsBytesChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		old := f.issue(30 * day)
		f.accepts(old)

		replaceKey(t, f.store.Memory, "default", 1, testKey(1))
		f.pass(10 * time.Minute)
		f.refuses(old, token.ErrSignature)
		f.accepts(f.issue(30 * day))
		name := signing.DataplaneKeys("default").KeyName(1)
		assert.Equal(t, 1, f.log.Count("level=WARN", "record problem", name, testKey(0).Public().Fingerprint()))

		require.NoError(t, f.store.Delete(t.Context(), "default", name))
		putKey(t, f.store.Memory, "default", 1, testKey(0))
		synctest.Wait()
		f.accepts(old)
	})
}

func TestValidatorThatStartsWithoutAStoreIsUnavailableAndThenRecovers(t *testing.T) {
	for name, list := range map[string]listFunc{"an error": failing, "a hang": hanging} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				good, revoked := f.issue(30*day), f.issue(30*day)
				f.revoke(revoked)
				f.store.setList(list)
				f.start()
				for range 20 {
					began := time.Now()
					f.cannotTell(good)
					assert.LessOrEqual(t, time.Since(began), 1250*time.Millisecond)
					f.pass(time.Second)
				}
				f.store.setList(nil)
				f.pass(5*time.Second + recovery) // a read may hang until then
				f.accepts(good)
				f.refuses(revoked, token.ErrRevoked)
			})
		})
	}
}

func TestValidatorLetsATokenWaitForTheFirstRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setList(f.store.slowly(900 * time.Millisecond))
		good := f.issue(30 * day)
		f.start()
		began := time.Now()
		f.accepts(good)
		assert.Equal(t, 900*time.Millisecond, time.Since(began))
	})
}

func TestValidatorReadsAStoreThatCannotAnnounceChangesEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		validator := newValidator(t, struct{ keystore.KeyStore }{f.store})
		raw := f.issue(30 * day)
		require.NoError(t, check(t, validator, "default", raw))
		f.revoke(raw)
		f.pass(time.Second)
		assert.ErrorIs(t, check(t, validator, "default", raw), token.ErrRevoked)
		f.restore(raw)
		f.pass(time.Second)
		assert.NoError(t, check(t, validator, "default", raw))

		before := len(f.store.readsSoFar())
		f.pass(time.Minute)
		assert.InDelta(t, 60, len(f.store.readsSoFar())-before, 1)
	})
}

func TestValidatorToleratesJumpsOfTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ahead atomic.Int64
		clock := dataplane.WithClock(func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) })
		f := newFollowing(t).start(clock)
		short, long := f.issue(30*time.Minute), f.issue(30*day)

		ahead.Store(int64(time.Hour))
		f.refuses(short, token.ErrExpired)
		f.accepts(long)
		ahead.Store(int64(-time.Hour))
		f.refuses(short, token.ErrNotYetValid)
		f.refuses(long, token.ErrNotYetValid)
		ahead.Store(0)
		f.accepts(short)

		// How old the state is does not depend on what the wall clock shows.
		f.store.setList(failing)
		f.pass(50 * time.Minute)
		ahead.Store(int64(24 * time.Hour))
		f.accepts(long)
		ahead.Store(0)
		f.pass(11 * time.Minute)
		f.cannotTell(long)
		ahead.Store(int64(-4 * time.Minute))
		f.cannotTell(long)
	})
}

func TestValidatorThatIsClosedAnswersNothingAndLeavesTheStoreAlone(t *testing.T) {
	for name, list := range map[string]listFunc{"a store that works": nil, "an error": failing, "a hang": hanging} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t).start()
				good, unknown := f.issue(30*day), f.withSerial("7", 1)
				f.accepts(good)
				f.store.setList(list)
				f.revoke(f.issue(day)) // so that a read is under way

				require.NoError(t, f.validator.Close())
				reads := len(f.store.readsSoFar())
				for _, raw := range []string{good, unknown, "", "not.a.token"} {
					err := f.check(raw)
					assert.ErrorIs(t, err, token.ErrClosed)
					assert.ErrorIs(t, err, token.ErrUnavailable)
				}
				f.pass(time.Hour)
				assert.Equal(t, reads, len(f.store.readsSoFar()), "the store was read after Close")
				require.NoError(t, f.validator.Close(), "closed again")
			})
		})
	}
}

func TestValidatorDoesNotUseTheStoreOnceCloseHasReturned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setList(f.store.slowly(3 * time.Second))
		f.start()
		began, closed := time.Now(), make(chan time.Duration)
		for range 2 {
			go func() {
				assert.NoError(t, f.validator.Close())
				closed <- time.Since(began)
			}()
		}
		assert.Equal(t, 3*time.Second, <-closed)
		assert.Equal(t, 3*time.Second, <-closed)
	})
}

func TestValidatorMayBeClosedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setList(hanging)
		validator := newValidator(t, f.store)
		began := time.Now()
		require.NoError(t, validator.Close())
		assert.Zero(t, time.Since(began))
	})
}

func TestValidatorAnswersAWaitingTokenWhenItIsClosed(t *testing.T) {
	for _, first := range []bool{true, false} {
		t.Run(fmt.Sprintf("during the first read: %t", first), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				if first {
					f.store.setList(hanging)
				}
				f.start()
				f.store.setList(hanging)
				waiting := make(chan error)
				go func() { waiting <- f.check(f.withSerial("7", 1)) }()
				synctest.Wait()
				began := time.Now()
				require.NoError(t, f.validator.Close())
				assert.ErrorIs(t, <-waiting, token.ErrClosed)
				assert.Zero(t, time.Since(began))
			})
		})
	}
}

func TestValidatorThatIsClosedUnderLoadAnswersEveryoneWithErrClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(quiet)
		raws := []string{f.issue(30 * day), f.withSerial("7", 1)}
		const n = 8
		answered, ends := make(chan struct{}, n), make(chan error, n)
		for i := range n {
			go func() {
				for {
					err := check(t, f.validator, "default", raws[i%2])
					select {
					case answered <- struct{}{}:
					default:
					}
					if errors.Is(err, token.ErrClosed) {
						ends <- err
						return
					}
					if i%2 == 0 {
						assert.NoError(t, err)
					}
				}
			}()
		}
		for range n {
			<-answered
		}
		require.NoError(t, f.validator.Close())
		for range n {
			assert.ErrorIs(t, <-ends, token.ErrClosed)
		}
	})
}

func TestValidatorReadsTheStoreOnceMoreForAnUnknownSerial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setWatch(silent)
		f.start()
		putKey(t, f.store.Memory, "default", 2, testKey(1)) // nobody announces it
		f.accepts(f.issue(30 * day))
	})
}

func TestValidatorAnswersATokenThatJustMissedAReadByTheNextOne(t *testing.T) {
	for _, takes := range []time.Duration{0, time.Millisecond, 200 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			f := newFollowing(t)
			f.store.setWatch(silent)
			f.start()
			f.store.setList(f.store.slowly(takes))
			for range 5 {
				f.refuses(f.withSerial("7", 2), token.ErrUnknownKey)
			}
		})
	}
}

func TestValidatorLetsATokenWaitForAKeyThatAppears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setWatch(silent)
		f.start()
		f.refuses(f.withSerial("7", 2), token.ErrUnknownKey) // the next such read may begin in a second

		f.pass(500 * time.Millisecond)
		waiting := make(chan error)
		go func() { waiting <- f.check(f.withSerial("2", 1)) }()
		f.pass(100 * time.Millisecond)
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		began := time.Now()
		assert.NoError(t, <-waiting)
		assert.Equal(t, 400*time.Millisecond, time.Since(began))
	})
}

func TestATokenThatArrivesBeforeTheFirstReadWaitsNoLongerThanOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		var read atomic.Bool
		f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
			if read.Swap(true) {
				return hanging(ctx, scope, prefix)
			}
			return f.store.slowly(900*time.Millisecond)(ctx, scope, prefix)
		})
		f.start()
		began := time.Now()
		f.cannotTell(f.withSerial("2", 1))
		assert.Equal(t, 1150*time.Millisecond, time.Since(began), "a second, and the grace of a read that has just begun")
	})
}

// The one that comes first causes the read. The other, which comes while that
// is under way, needs no read of its own to find the same key.
func TestValidatorAcceptsTwoTokensWithANewSerial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setWatch(silent)
		f.start()
		f.store.setList(f.store.slowly(50 * time.Millisecond))
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		first, second := f.issue(30*day), f.issue(30*day)

		waiting := make(chan error)
		go func() { waiting <- f.check(first) }()
		f.pass(10 * time.Millisecond)
		f.accepts(second)
		assert.NoError(t, <-waiting)
	})
}

func TestValidatorLetsATokenWaitASecondAtMostAndNotBeyondItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setWatch(silent)
		f.start()
		f.store.setList(hanging)
		unknown := f.withSerial("7", 1)

		began := time.Now()
		f.cannotTell(unknown)
		assert.Equal(t, time.Second, time.Since(began))

		began = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		_, err := f.validator.Validate(ctx, "default", unknown)
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 200*time.Millisecond, time.Since(began))

		errGone := errors.New("the peer has gone")
		gone, leave := context.WithCancelCause(t.Context())
		leave(errGone)
		began = time.Now()
		_, err = f.validator.Validate(gone, "default", unknown)
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.ErrorIs(t, err, errGone)
		assert.Zero(t, time.Since(began))
	})
}

func TestValidatorKnowsThatASerialIsUnknownOnceTheStoreWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		for range 10 {
			f.refuses(f.withSerial("7", 1), token.ErrUnknownKey)
			f.pass(1100 * time.Millisecond)
		}
	})
}

func TestValidatorReadsByTheClockAloneForKnownKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		good, revoked := f.issue(30*day), f.issue(30*day)
		f.revoke(revoked)
		f.start(quiet)
		before := len(f.store.readsSoFar())
		for range 100 {
			f.accepts(good)
			f.refuses(revoked, token.ErrRevoked)
			f.refuses(tampered(good), token.ErrSignature)
			f.refuses("not.a.token", token.ErrMalformed)
			for _, kid := range []string{"key-1", "01", "+1", "-1", " 1", "1.0", "../../1", "99999999999999999999"} {
				f.refuses(f.withKid(good, kid), token.ErrUnknownKey)
			}
			assert.ErrorIs(t, check(t, f.validator, "", good), token.ErrScope)
			assert.ErrorIs(t, check(t, f.validator, "*", good), token.ErrScope)
			assert.ErrorIs(t, check(t, f.validator, "a/b", good), token.ErrScope)
		}
		synctest.Wait()
		assert.Equal(t, before, len(f.store.readsSoFar()))
	})
}

func TestValidatorReadsAnIdleStoreEveryThirtySecondsAndOnlyForItsOwnRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		f.pass(time.Hour)
		reads := f.store.readsSoFar()
		assert.GreaterOrEqual(t, len(reads), 120)
		assert.LessOrEqual(t, len(reads), 140)
		for i, read := range reads {
			assert.Equal(t, "List", read.method)
			assert.Equal(t, keystore.AllScopes, read.scope)
			assert.Equal(t, "dataplane-token-", read.name)
			if i > 0 {
				assert.LessOrEqual(t, read.at.Sub(reads[i-1].at), silentWatchFound)
			}
		}
	})
}

// flood lets tokens arrive, one every 10 ms, and returns how many reads they
// have caused, of single scopes.
func (f *following) flood(n int, validate func(i int) error) (reads int) {
	f.t.Helper()
	answers := make(chan error)
	before := len(f.store.readsSoFar())
	for i := range n {
		go func() {
			time.Sleep(time.Duration(i) * 10 * time.Millisecond)
			answers <- validate(i)
		}()
	}
	for range n {
		err := <-answers
		assert.True(f.t, errors.Is(err, token.ErrUnknownKey) || errors.Is(err, token.ErrUnavailable), "%v", err)
	}
	synctest.Wait()
	for _, read := range f.store.readsSoFar()[before:] {
		if read.scope != keystore.AllScopes {
			reads++
		}
	}
	return reads
}

func TestValidatorReadsAMeshOnceASecondForUnknownSerials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(quiet)
		good := f.issue(30 * day)
		reads := f.flood(1000, func(i int) error { return f.check(f.withKid(good, fmt.Sprint(2+i))) })
		assert.LessOrEqual(t, reads, 12) // 10 seconds, and one more for those who wait
		assert.GreaterOrEqual(t, reads, 9)
	})
}

func TestValidatorReadsTenTimesASecondForMeshesThatDoNotExist(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(quiet)
		good := f.issue(30 * day)
		reads := f.flood(1000, func(i int) error { return check(t, f.validator, fmt.Sprintf("mesh-%d", i), good) })
		assert.LessOrEqual(t, reads, 112) // 10 seconds, and one more for those who wait
		assert.GreaterOrEqual(t, reads, 90)
	})
}

func TestValidatorReadsAMeshThatExistsInTheMiddleOfAFloodOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setWatch(silent)
		f.start(quiet)
		good := f.issue(30 * day)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.flood(500, func(i int) error { return check(t, f.validator, fmt.Sprintf("mesh-%d", i), good) })
		}()
		f.pass(3 * time.Second)
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		f.accepts(f.issue(30 * day))
		<-done
	})
}

// Meshes often are names that peers chose, and a store may not even try to read some.
func TestValidatorIsNotHeldUpByReadsThatFailForAPeersMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
			if strings.HasPrefix(string(scope), "mesh-") {
				return nil, errStoreDown
			}
			return f.store.Memory.List(ctx, scope, prefix)
		})
		good, revoked := f.issue(30*day), f.issue(30*day)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.flood(6000, func(i int) error { return check(t, f.validator, fmt.Sprintf("mesh-%d", i), good) })
		}()
		f.pass(5 * time.Second)
		f.revoke(revoked)
		f.pass(recovery)
		f.refuses(revoked, token.ErrRevoked, "the change was announced")
		<-done
		f.accepts(good)
		assert.LessOrEqual(t, f.log.Count("reading the store"), 10, "peers make the log grow")
	})
}

func TestValidatorTurnsAwayMoreTokensThanMayWaitAtOnce(t *testing.T) {
	const limit, surplus = 1024, 100
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setWatch(silent)
		f.start(quiet)
		good := f.issue(30 * day)
		f.store.setList(hanging)
		answers := make(chan error, limit+surplus)
		for i := range limit + surplus {
			go func() { answers <- f.check(f.withKid(good, fmt.Sprint(2+i))) }()
		}
		synctest.Wait()
		require.Len(t, answers, surplus)
		for range surplus {
			assert.ErrorIs(t, <-answers, token.ErrUnavailable)
		}
		f.accepts(good, "a token whose key is known does not wait")

		f.pass(1010 * time.Millisecond)
		require.Len(t, answers, limit)
		for range limit {
			assert.ErrorIs(t, <-answers, token.ErrUnavailable)
		}
		f.pass(10 * time.Second)
		go func() { answers <- f.check(f.withKid(good, "2")) }()
		synctest.Wait()
		assert.Empty(t, answers, "there is room to wait again")
		<-answers
	})
}
