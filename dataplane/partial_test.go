package dataplane_test

import (
	"context"
	"errors"
	"fmt"
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
	"github.com/meshpass/meshpass/token"
)

// failingIn makes the reads of one mesh fail, and so those of all scopes at once.
func (s *faultStore) failingIn(mesh keystore.Scope) listFunc {
	return func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
		if scope == mesh || scope == keystore.AllScopes {
			return nil, fmt.Errorf("%w: scope %q", errStoreDown, mesh)
		}
		return s.Memory.List(ctx, scope, prefix)
	}
}

// hangingIn lets them hang until their context ends.
func (s *faultStore) hangingIn(mesh keystore.Scope) listFunc {
	return func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
		if scope == mesh || scope == keystore.AllScopes {
			return hanging(ctx, scope, prefix)
		}
		return s.Memory.List(ctx, scope, prefix)
	}
}

// failingOnceIn makes one read of the mesh fail, and no other.
func (s *faultStore) failingOnceIn(mesh keystore.Scope, otherwise listFunc) listFunc {
	var failed atomic.Bool
	return func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
		if scope == mesh && !failed.Swap(true) {
			return nil, errStoreDown
		}
		return otherwise(ctx, scope, prefix)
	}
}

// startOn is start for a validator that is given another store than the faulty one.
func (f *following) startOn(store keystore.KeyStore, options ...dataplane.ValidatorOption) *following {
	f.t.Helper()
	f.validator = newValidator(f.t, store, append([]dataplane.ValidatorOption{dataplane.WithLogger(f.log.Logger())}, options...)...)
	synctest.Wait()
	return f
}

// polled is the faulty store without its watch.
func (f *following) polled() keystore.KeyStore { return struct{ keystore.KeyStore }{f.store} }

// readsOf counts the reads of a scope since some number of reads.
func (f *following) readsOf(scope keystore.Scope, since int) int {
	n := 0
	for _, r := range f.store.readsSoFar()[since:] {
		if r.scope == scope {
			n++
		}
	}
	return n
}

// alsoInvalidNames announces, before every scope that changes, names that no scope has.
func (s *faultStore) alsoInvalidNames(ctx context.Context, changed func(keystore.Scope)) error {
	return s.Memory.Watch(ctx, func(scope keystore.Scope) {
		for _, invalid := range []keystore.Scope{"a/b", "..", "größe", "default\n", keystore.Scope(strings.Repeat("m", 129))} {
			changed(invalid)
		}
		changed(scope)
	})
}

func TestValidatorFollowsTheOtherMeshesWhileOneCannotBeRead(t *testing.T) {
	for name, c := range map[string]struct {
		invalidNames, polled bool
		list                 func(*faultStore) listFunc
		heeded               time.Duration // within which a revocation in the other mesh counts
	}{
		"its reads fail": {list: func(s *faultStore) listFunc { return s.failingIn("bad") }},
		"its reads fail and the watch also announces names that no scope has": {
			invalidNames: true, list: func(s *faultStore) listFunc { return s.failingIn("bad") }},
		"its reads fail and the store is polled": {
			polled: true, list: func(s *faultStore) listFunc { return s.failingIn("bad") }, heeded: time.Second},
		"its reads hang": {list: func(s *faultStore) listFunc { return s.hangingIn("bad") }, heeded: 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				putKey(t, f.store.Memory, "bad", 1, testKey(1))
				if c.invalidNames {
					f.store.setWatch(f.store.alsoInvalidNames)
				}
				var store keystore.KeyStore = f.store
				if c.polled {
					store = f.polled()
				}
				f.startOn(store)
				good, before, after := f.issue(30*day), f.issue(30*day), f.issue(30*day)
				ofBad := issue(t, f.issuer, "bad", 30*day)
				f.accepts(before)
				assert.NoError(t, check(t, f.validator, "bad", ofBad))

				f.store.setList(c.list(f.store))
				putRecord(t, f.store.Memory, "bad", "dataplane-token-of-no-concern", nil) // announced
				synctest.Wait()
				f.revoke(before)
				f.pass(c.heeded)
				f.refuses(before, token.ErrRevoked, "before everything was to be read")
				f.pass(time.Minute)
				f.accepts(after)
				f.revoke(after)
				f.pass(c.heeded)
				f.refuses(after, token.ErrRevoked, "after reading everything has failed")
				assert.NoError(t, check(t, f.validator, "bad", ofBad), "what was read last still counts")

				f.pass(3 * time.Hour)
				f.accepts(good, "the mesh is read by itself")
				f.refuses(after, token.ErrRevoked)
				err := check(t, f.validator, "bad", ofBad)
				assert.ErrorIs(t, err, token.ErrUnavailable)
				assert.NotErrorIs(t, err, token.ErrInvalid)
				assert.Equal(t, 1, f.log.Count("reading the store fails"))

				f.store.setList(nil)
				f.pass(silentWatchFound)
				assert.NoError(t, check(t, f.validator, "bad", ofBad))
				f.accepts(good)
				f.pass(5 * time.Second) // a read may have hung
				assert.Equal(t, 1, f.log.Count("reading the store works again"))
			})
		})
	}
}

func TestValidatorTakesUpARepairedMeshWithinASecondOfItsAnnouncement(t *testing.T) {
	for name, cold := range map[string]bool{"after a cold start": true, "after it was good before": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				putKey(t, f.store.Memory, "bad", 1, testKey(1))
				ofBad := issue(t, f.issuer, "bad", 30*day)
				if cold {
					f.store.setList(f.store.failingIn("bad"))
				}
				f.start(dataplane.WithMaxStale(time.Minute))
				f.store.setList(f.store.failingIn("bad"))
				f.pass(10 * time.Minute)
				require.ErrorIs(t, check(t, f.validator, "bad", ofBad), token.ErrUnavailable)

				f.store.setList(nil)
				putRecord(t, f.store.Memory, "bad", "dataplane-token-of-no-concern", nil) // announced
				f.pass(recovery)
				assert.NoError(t, check(t, f.validator, "bad", ofBad))
				f.accepts(f.issue(30 * day))
			})
		})
	}
}

func TestValidatorThatStartsWithAMeshThatCannotBeReadServesTheOthers(t *testing.T) {
	for name, poll := range map[string]bool{"watched": false, "polled": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				putKey(t, f.store.Memory, "bad", 1, testKey(1))
				for i := range 3 {
					putKey(t, f.store.Memory, fmt.Sprintf("mesh-%d", i), 1, testKey(1))
				}
				f.store.setList(f.store.failingIn("bad"))
				var store keystore.KeyStore = f.store
				if poll {
					store = f.polled()
				}
				f.startOn(store,
					dataplane.WithPublicKey("default", "key-1", testKey(2).Public()),
					dataplane.WithPublicKey("bare", "key-1", testKey(2).Public()))
				offline := newOfflineIssuer(t, testKey(2), "key-1")
				tokens := map[string]string{
					"mesh-0":  issue(t, f.issuer, "mesh-0", 30*day),
					"mesh-1":  issue(t, f.issuer, "mesh-1", 30*day),
					"mesh-2":  issue(t, f.issuer, "mesh-2", 30*day),
					"default": issue(t, offline, "default", 30*day),
					"bare":    issue(t, offline, "bare", 30*day),
				}
				var all sync.WaitGroup // at once, as after a restart
				for mesh, raw := range tokens {
					all.Go(func() { assert.NoError(t, check(t, f.validator, mesh, raw), mesh) })
				}
				all.Wait()
				good := f.issue(30 * day)
				f.accepts(good)
				err := check(t, f.validator, "bad", issue(t, f.issuer, "bad", 30*day))
				assert.ErrorIs(t, err, token.ErrUnavailable)
				assert.NotErrorIs(t, err, token.ErrInvalid)

				f.revoke(good)
				f.pass(recovery)
				f.refuses(good, token.ErrRevoked)
			})
		})
	}
}

func TestValidatorServesAMeshWithoutRecordsWhileAnotherCannotBeRead(t *testing.T) {
	for name, cold := range map[string]bool{"after a cold start": true, "after everything was read": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				putKey(t, f.store.Memory, "bad", 1, testKey(1))
				bad := f.store.failingIn("bad")
				if cold {
					f.store.setList(bad)
				}
				f.start(dataplane.WithPublicKey("bare", "key-1", testKey(2).Public()))
				f.store.setList(bad)
				raw := issue(t, newOfflineIssuer(t, testKey(2), "key-1"), "bare", 30*day)
				for range 6 {
					assert.NoError(t, check(t, f.validator, "bare", raw))
					f.pass(30 * time.Minute)
				}
			})
		})
	}
}

func TestValidatorRefusesAKnownRevocationDefinitelyWhereTheMeshCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		raw := issue(t, newOfflineIssuer(t, testKey(2), "key-1"), "bad", 30*day)
		_, claims := inside(t, raw)
		putRecord(t, f.store.Memory, keystore.Global, "dataplane-token-revocations-bad", []byte(claims.ID))
		f.store.setList(f.store.failingIn("bad"))
		f.start(dataplane.WithPublicKey("bad", "key-1", testKey(2).Public()))
		err := check(t, f.validator, "bad", raw)
		assert.ErrorIs(t, err, token.ErrRevoked)
		assert.NotErrorIs(t, err, token.ErrUnavailable)
	})
}

func TestValidatorRefusesARevocationThatItFindsOnlyByReadingTheMeshForTheToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setList(f.store.failingIn("bad"))
		raw := f.withSerial("key-1", 2)
		f.revoke(raw)
		f.start(dataplane.WithPublicKey("default", "key-1", testKey(2).Public()))
		require.Zero(t, f.readsOf("default", 0))
		f.refuses(raw, token.ErrRevoked)
	})
}

func TestValidatorCannotTellWhileItReadsAMeshButNotTheGlobalScope(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithMaxStale(time.Minute))
		raw := f.issue(30 * day)
		f.accepts(raw)
		f.store.setList(f.store.failingIn(keystore.Global))
		f.pass(30 * time.Second)
		f.accepts(raw)
		f.pass(time.Minute)
		f.cannotTell(raw, "a list in the global scope may name it")
		f.store.setList(nil)
		f.pass(recovery)
		f.accepts(raw)
	})
}

func TestValidatorRefusesUnknownSerialsDefinitelyWhileAnotherMeshCannotBeRead(t *testing.T) {
	for name, poll := range map[string]bool{"watched": false, "polled": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				putKey(t, f.store.Memory, "bad", 1, testKey(1))
				f.store.setList(f.store.failingIn("bad"))
				var store keystore.KeyStore = f.store
				if poll {
					store = f.polled()
				}
				f.startOn(store)
				for range 100 {
					f.pass(300 * time.Millisecond)
					f.refuses(f.withSerial("7", 1), token.ErrUnknownKey)
				}
			})
		})
	}
}

func TestValidatorDoesNotReadMuchMoreWhileAMeshCannotBeRead(t *testing.T) {
	const meshes = 20
	for name, c := range map[string]struct {
		polled   bool
		full     int // reads of everything in ten minutes, and of each mesh that is well
		ofTheBad int
	}{
		"watched": {false, 25, 1300}, // it is tried again twice a second
		"polled":  {true, 620, 1900},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				putKey(t, f.store.Memory, "bad", 1, testKey(1))
				for i := range meshes {
					putKey(t, f.store.Memory, fmt.Sprintf("mesh-%d", i), 1, testKey(1))
				}
				var store keystore.KeyStore = f.store
				if c.polled {
					store = f.polled()
				}
				f.startOn(store)
				f.store.setList(f.store.failingIn("bad"))
				f.pass(time.Minute)
				since := len(f.store.readsSoFar())
				f.pass(10 * time.Minute)
				full, bad, good := f.readsOf(keystore.AllScopes, since), f.readsOf("bad", since), f.readsOf("mesh-0", since)
				t.Logf("in ten minutes: %d reads of everything, %d of the bad mesh, %d of a good one, %d in all", full, bad, good, len(f.store.readsSoFar())-since)
				assert.GreaterOrEqual(t, full, 20)
				assert.LessOrEqual(t, full, c.full)
				assert.GreaterOrEqual(t, good, 20)
				for i := range meshes {
					assert.LessOrEqual(t, f.readsOf(keystore.Scope(fmt.Sprintf("mesh-%d", i)), since), c.full)
				}
				assert.LessOrEqual(t, f.readsOf(keystore.Global, since), c.full)
				assert.LessOrEqual(t, bad, c.ofTheBad)
			})
		})
	}
}

func TestValidatorHeedsAnAnnouncedRevocationThatCannotBeReadInAMeshWithoutRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithMaxStale(0), dataplane.WithPublicKey("bare", "key-1", testKey(1).Public()))
		raw := issue(t, newOfflineIssuer(t, testKey(1), "key-1"), "bare", 30*day)
		_, claims := inside(t, raw)
		require.NoError(t, check(t, f.validator, "bare", raw))

		f.pass(time.Second)
		f.store.setList(failing)
		require.NoError(t, dataplane.Revoke(t.Context(), f.store.Memory, "bare", claims.ID))
		synctest.Wait()
		err := check(t, f.validator, "bare", raw)
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.NotErrorIs(t, err, token.ErrInvalid)

		f.store.setList(nil)
		f.pass(recovery)
		assert.ErrorIs(t, check(t, f.validator, "bare", raw), token.ErrRevoked)
	})
}

// A read that has failed counts only until one succeeds, whoever caused it.
func TestValidatorIsUnavailableForASecondAtMostWhenAReadFailsOnce(t *testing.T) {
	for name, cause := range map[string]func(f *following){
		"a peer with an unknown serial caused it": func(f *following) { f.cannotTell(f.withSerial("7", 1)) },
		"an announced change caused it":           func(f *following) { f.revoke(f.issue(day)) },
		"an announcement of nothing new caused it": func(f *following) {
			putRecord(f.t, f.store.Memory, "default", "dataplane-token-of-no-concern", nil)
			require.NoError(f.t, f.store.Memory.Delete(f.t.Context(), "default", "dataplane-token-of-no-concern"))
		},
		"an announcement of nothing new in the global scope caused it": func(f *following) {
			putRecord(f.t, f.store.Memory, keystore.Global, "dataplane-token-of-no-concern", nil)
			require.NoError(f.t, f.store.Memory.Delete(f.t.Context(), keystore.Global, "dataplane-token-of-no-concern"))
		},
		"a change in the global scope caused it": func(f *following) {
			putRecord(f.t, f.store.Memory, keystore.Global, "dataplane-token-revocations-third", nil)
		},
	} {
		for state, bad := range map[string]bool{"and all else is well": false, "and another mesh cannot be read": true} {
			t.Run(name+" "+state, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFollowing(t)
					putKey(t, f.store.Memory, "bad", 1, testKey(1))
					f.start(dataplane.WithMaxStale(5 * time.Second))
					good := f.issue(30 * day)
					otherwise := listFunc(f.store.Memory.List)
					if bad {
						otherwise = f.store.failingIn("bad")
						f.store.setList(otherwise)
						f.pass(45 * time.Second) // until it is noticed
						at := len(f.store.readsSoFar())
						for f.readsOf(keystore.AllScopes, at) == 0 {
							f.pass(time.Second)
						}
					}
					f.pass(10 * time.Second)
					if !bad {
						f.accepts(good)
					}
					scope := keystore.Scope("default")
					if strings.Contains(name, "global") {
						scope = keystore.Global
					}
					f.store.setList(f.store.failingOnceIn(scope, otherwise))
					cause(f)
					f.pass(recovery)
					f.accepts(good)
					f.pass(3 * time.Second)
					f.accepts(good)
					if strings.Contains(name, "peer") {
						assert.Equal(t, 1, f.log.Count("level=WARN", "token could not be checked", errStoreDown.Error()))
					}
				})
			})
		}
	}
}

// A short MaxStale is served also while another mesh cannot be read.
func TestValidatorDoesNotLetOneUnreadableMeshMakeOthersStale(t *testing.T) {
	for _, limit := range []time.Duration{0, 5 * time.Second, time.Minute} {
		t.Run(limit.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				putKey(t, f.store.Memory, "bad", 1, testKey(1))
				f.start(dataplane.WithMaxStale(limit))
				good := f.issue(30 * day)
				f.store.setList(f.store.failingIn("bad"))
				f.pass(time.Minute)
				for range 100 {
					f.accepts(good)
					f.pass(time.Second)
				}
			})
		})
	}
}

// versions rewrites the versions that a store gives.
func versions(s *faultStore, version func(keystore.Record) string) listFunc {
	return func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
		records, err := s.Memory.List(ctx, scope, prefix)
		for i := range records {
			records[i].Version = version(records[i])
		}
		return records, err
	}
}

func TestValidatorFollowsAStoreWhoseVersionsTellNothing(t *testing.T) {
	for name, version := range map[string]func(keystore.Record) string{
		"it gives none": func(keystore.Record) string { return "" },
		"it counts from one after delete and create": func(keystore.Record) string { return "1" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const list = "dataplane-token-revocations-default"
				f := newFollowing(t)
				f.store.setList(versions(f.store, version))
				issuer := newIssuer(t, f.store)
				f.start()
				first, second := issue(t, issuer, "default", 30*day), issue(t, issuer, "default", 30*day)
				id := func(raw string) []byte { _, claims := inside(t, raw); return []byte(claims.ID) }

				f.accepts(first)
				putRecord(t, f.store.Memory, "default", list, id(first))
				f.pass(time.Millisecond)
				f.refuses(first, token.ErrRevoked)
				f.accepts(second)
				require.NoError(t, f.store.Memory.Delete(t.Context(), "default", list))
				putRecord(t, f.store.Memory, "default", list, append(append(id(first), ','), id(second)...))
				f.pass(time.Millisecond)
				f.refuses(second, token.ErrRevoked)
				f.refuses(first, token.ErrRevoked)

				third := issue(t, issuer, "default", 30*day)
				f.accepts(third)
				require.NoError(t, f.store.Memory.Delete(t.Context(), "default", "dataplane-token-signing-key-default-1"))
				putKey(t, f.store.Memory, "default", 1, testKey(1))
				f.pass(time.Millisecond)
				f.refuses(third, token.ErrSignature, "its key is gone")
				fourth := issue(t, issuer, "default", 30*day)
				f.accepts(fourth, "the new key of the same serial signs")
				assert.NoError(t, check(t, newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(1).Public())), "default", fourth))
			})
		})
	}
}

func TestValidatorWithoutStoreKeysReadsOnlyWhatRevokesTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithoutStoreKeys(), dataplane.WithPublicKey("default", "key-1", testKey(1).Public()))
		raw := f.withSerial("key-1", 1)
		f.accepts(raw)
		f.revoke(raw)
		synctest.Wait()
		f.refuses(raw, token.ErrRevoked)
		f.refuses(f.issue(day), token.ErrUnknownKey)
		f.pass(10 * time.Minute)
		reads := f.store.readsSoFar()
		assert.NotEmpty(t, reads)
		for _, r := range reads {
			assert.Equal(t, "List", r.method)
			assert.Contains(t, []string{"dataplane-token-revocations-", "dataplane-token-cutoffs-"}, r.name)
		}
	})
}

// neverReturning is how reads go that heed no context, until they are let go.
type neverReturning struct {
	let         chan struct{}
	outstanding atomic.Int32
	most        atomic.Int32
}

func (n *neverReturning) list(context.Context, keystore.Scope, string) ([]keystore.Record, error) {
	if now := n.outstanding.Add(1); now > n.most.Load() {
		n.most.Store(now)
	}
	defer n.outstanding.Add(-1)
	<-n.let
	return nil, errStoreDown
}

func TestValidatorTakesAReadThatNeverReturnsAsFailedAfterFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithMaxStale(0))
		good := f.issue(30 * day)
		f.accepts(good)
		f.pass(time.Second)
		never := &neverReturning{let: make(chan struct{})}
		defer close(never.let)
		f.store.setList(never.list)
		f.revoke(f.issue(day)) // announced
		f.pass(5*time.Second + 100*time.Millisecond)
		f.cannotTell(good)

		f.store.setList(nil) // one that hangs for ever does not end the following
		f.pass(5*time.Second + recovery)
		f.accepts(good)

		f.pass(time.Second)
		f.store.setList(never.list)
		f.pass(time.Hour)
		assert.EqualValues(t, 4, never.most.Load(), "reads that hang")
		f.cannotTell(good)

		began := time.Now()
		require.NoError(t, f.validator.Close())
		assert.LessOrEqual(t, time.Since(began), 5*time.Second)
	})
}

func TestValidatorFollowsAStoreAgainWhenItsHungReadsReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithMaxStale(0))
		good, revoked := f.issue(30*day), f.issue(30*day)
		never := &neverReturning{let: make(chan struct{})}
		f.store.setList(never.list)
		f.pass(time.Hour)
		f.revoke(revoked)
		f.store.setList(nil)
		close(never.let)
		f.pass(recovery)
		f.accepts(good)
		f.refuses(revoked, token.ErrRevoked)
		assert.Zero(t, never.outstanding.Load())
	})
}

func TestValidatorIsNotStarvedByMeshesThatKeepChanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.start()
		f.store.setList(f.store.slowly(10 * time.Millisecond))
		ctx, stop := context.WithCancel(t.Context())
		var changing sync.WaitGroup
		for i := range 4 {
			changing.Go(func() {
				mesh := keystore.Scope(fmt.Sprintf("busy-%d", i))
				for n := 0; ctx.Err() == nil; n++ {
					putRecord(t, f.store.Memory, mesh, fmt.Sprintf("dataplane-token-of-no-concern-%d", n), nil)
					if n > 0 {
						assert.NoError(t, f.store.Memory.Delete(t.Context(), mesh, fmt.Sprintf("dataplane-token-of-no-concern-%d", n-1)))
					}
					time.Sleep(5 * time.Millisecond)
				}
			})
		}
		unknown := f.withSerial("7", 1)
		for range 20 {
			f.pass(1100 * time.Millisecond)
			began := time.Now()
			f.refuses(unknown, token.ErrUnknownKey)
			assert.LessOrEqual(t, time.Since(began), 100*time.Millisecond)
		}
		f.pass(1100 * time.Millisecond)
		began := time.Now()
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		f.accepts(f.issue(30 * day))
		assert.LessOrEqual(t, time.Since(began), 100*time.Millisecond)
		stop()
		changing.Wait()
	})
}

func TestValidatorTakesAListWithARecordTwiceOrOutOfOrderAsAFailedRead(t *testing.T) {
	const list = "dataplane-token-revocations-default"
	for name, change := range map[string]func([]keystore.Record) []keystore.Record{
		"a list twice, the second one empty": func(records []keystore.Record) []keystore.Record {
			var changed []keystore.Record
			for _, r := range records {
				changed = append(changed, r)
				if r.Name == list {
					r.Data, r.Version = nil, "later"
					changed = append(changed, r)
				}
			}
			return changed
		},
		"a list twice, far apart": func(records []keystore.Record) []keystore.Record {
			for _, r := range records {
				if r.Name == list {
					r.Data = nil
					return append(records, r)
				}
			}
			return records
		},
		"in the opposite order": func(records []keystore.Record) []keystore.Record {
			for i, j := 0, len(records)-1; i < j; i, j = i+1, j-1 {
				records[i], records[j] = records[j], records[i]
			}
			return records
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				revoked, good := f.issue(30*day), f.issue(30*day)
				f.revoke(revoked)
				f.start(dataplane.WithMaxStale(10 * time.Minute))
				f.refuses(revoked, token.ErrRevoked)
				f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
					records, err := f.store.Memory.List(ctx, scope, prefix)
					return change(records), err
				})
				for range 9 {
					f.pass(time.Minute)
					f.refuses(revoked, token.ErrRevoked)
					f.accepts(good)
				}
				f.pass(2 * time.Minute)
				f.cannotTell(good)
				f.refuses(revoked, token.ErrRevoked)
				assert.ErrorContains(t, f.check(good), "every record once")

				cold := newValidator(t, f.store)
				assert.ErrorIs(t, check(t, cold, "default", revoked), token.ErrUnavailable)
				f.store.setList(nil)
				f.pass(recovery)
				f.accepts(good)
				assert.ErrorIs(t, check(t, cold, "default", revoked), token.ErrRevoked)
			})
		})
	}
}

func TestValidatorAnswersAWaitingTokenThoughOneThatCameLaterLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		announce := make(chan keystore.Scope)
		f.store.setWatch(func(ctx context.Context, changed func(keystore.Scope)) error {
			changed(keystore.AllScopes)
			for {
				select {
				case <-ctx.Done():
					return ctx.Err()
				case scope := <-announce:
					changed(scope)
				}
			}
		})
		f.start()
		f.refuses(f.withSerial("7", 2), token.ErrUnknownKey) // the next such read may begin in a second
		f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
			switch scope {
			case keystore.AllScopes:
				time.Sleep(100 * time.Millisecond)
				return nil, errStoreDown
			case keystore.Global:
				time.Sleep(200 * time.Millisecond)
			}
			return f.store.Memory.List(ctx, scope, prefix)
		})

		first := make(chan error)
		go func() { first <- f.check(f.withSerial("8", 2)) }()
		f.pass(10 * time.Millisecond)
		announce <- keystore.AllScopes
		f.pass(10 * time.Millisecond) // everything is being read, which fails
		ctx, leave := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer leave()
		_, err := f.validator.Validate(ctx, "default", f.withSerial("9", 2))
		assert.ErrorIs(t, err, token.ErrUnavailable)

		err = <-first
		assert.ErrorIs(t, err, token.ErrUnknownKey, "the mesh was read since")
		assert.NotErrorIs(t, err, token.ErrUnavailable)
	})
}

func TestValidatorDoesNotReadForTokensThatAreTurnedAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setWatch(silent)
		f.start(quiet)
		good := f.issue(30 * day)
		never := &neverReturning{let: make(chan struct{})}
		f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
			select {
			case <-never.let:
			case <-ctx.Done():
			}
			return f.store.Memory.List(ctx, scope, prefix)
		})
		var waiting sync.WaitGroup
		for i := range 1024 {
			waiting.Go(func() { _ = f.check(f.withKid(good, fmt.Sprint(2+i))) })
		}
		synctest.Wait()
		before := len(f.store.readsSoFar())
		for i := range 10000 { // of meshes that nobody else asks for
			_, err := f.validator.Validate(t.Context(), fmt.Sprintf("turned-away-%d", i), good)
			require.ErrorIs(t, err, token.ErrUnavailable)
		}
		synctest.Wait()
		assert.Equal(t, before, len(f.store.readsSoFar()))
		close(never.let)
		waiting.Wait()
		f.pass(10 * time.Second)
		for _, r := range f.store.readsSoFar() {
			assert.NotContains(t, string(r.scope), "turned-away")
		}
	})
}

func TestValidatorReadsAChangeBeforeItHasReadAllMeshesOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const meshes, each = 2000, 10 * time.Millisecond // 20 s to read them all
		f := newFollowing(t)
		for i := range meshes {
			putRecord(t, f.store.Memory, keystore.Scope(fmt.Sprintf("mesh-%d", i)), "dataplane-token-of-no-concern", nil)
		}
		f.start(quiet)
		fail := f.store.failingIn("bad")
		f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
			time.Sleep(each)
			return fail(ctx, scope, prefix)
		})
		f.pass(time.Minute)
		for range 20 {
			raw := f.issue(30 * day)
			f.accepts(raw)
			f.revoke(raw)
			f.pass(5 * each)
			f.refuses(raw, token.ErrRevoked)
			f.pass(2 * time.Second)
		}
		seen := map[keystore.Scope]bool{}
		for _, r := range f.store.readsSoFar() {
			seen[r.scope] = true
		}
		assert.Greater(t, len(seen), meshes, "the meshes were read meanwhile")
	})
}

func TestValidatorReadsChangesInThousandsOfMeshesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const meshes, each = 2000, 10 * time.Millisecond // 20 s to read them one by one
		f := newFollowing(t)
		for i := range meshes {
			putRecord(t, f.store.Memory, keystore.Scope(fmt.Sprintf("mesh-%d", i)), "dataplane-token-of-no-concern", nil)
		}
		f.start(quiet)
		f.store.setList(f.store.slowly(each))
		for range 3 { // as when the keys of all meshes are rotated
			for i := range meshes {
				replaceRecord(t, f.store.Memory, keystore.Scope(fmt.Sprintf("mesh-%d", i)), "dataplane-token-of-no-concern", nil)
			}
			raw := f.issue(30 * day)
			f.accepts(raw)
			before := len(f.store.readsSoFar())
			f.revoke(raw)
			f.pass(recovery + 5*each)
			f.refuses(raw, token.ErrRevoked)
			assert.LessOrEqual(t, len(f.store.readsSoFar())-before, int(recovery/each)+5)
			f.pass(2 * time.Second)
		}
	})
}

func TestValidatorSparesAStoreThatFailsHoweverManyMeshesThereAre(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const meshes = 2000
		f := newFollowing(t)
		for i := range meshes {
			putRecord(t, f.store.Memory, keystore.Scope(fmt.Sprintf("mesh-%d", i)), "dataplane-token-of-no-concern", nil)
		}
		f.start(quiet)
		f.store.setList(f.store.failingIn("bad"))
		f.pass(time.Minute) // they are read one by one
		f.store.setList(failing)
		f.pass(time.Minute)
		before := len(f.store.readsSoFar())
		f.pass(time.Minute)
		assert.Less(t, len(f.store.readsSoFar())-before, 25*60)

		f.store.setList(nil)
		raw := f.issue(30 * day)
		f.revoke(raw)
		f.pass(recovery)
		f.refuses(raw, token.ErrRevoked)
	})
}

func TestValidatorKeepsNothingOfTokensThatDoNotWaitForAHangingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(quiet)
		good := f.issue(30 * day)
		f.accepts(good)
		f.store.setList(hanging)
		putRecord(t, f.store.Memory, "default", "dataplane-token-of-no-concern", nil) // announced
		synctest.Wait()
		heap := hostileHeap()
		ended, end := context.WithCancel(t.Context())
		end()
		for i := range 50_000 {
			_, err := f.validator.Validate(ended, fmt.Sprintf("mesh-%d", i), good)
			require.ErrorIs(t, err, token.ErrUnavailable)
		}
		assert.Less(t, hostileHeap()-heap, int64(1<<20))
		runtime.KeepAlive(f)
	})
}

func TestValidatorMakesAReadAgainThoughTokensLeftDuringIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(quiet)
		good := f.issue(30 * day)
		f.accepts(good)
		f.store.setList(hanging)
		f.revoke(good) // announced
		synctest.Wait()
		ended, end := context.WithCancel(t.Context())
		end()
		_, err := f.validator.Validate(ended, "default", f.withKid(good, "2"))
		require.ErrorIs(t, err, token.ErrUnavailable)
		f.pass(5 * time.Second) // the read has failed
		f.store.setList(nil)
		f.pass(5*time.Second + recovery) // it pauses for as long as it took
		f.refuses(good, token.ErrRevoked)
	})
}

func TestValidatorSpendsLittleOnAFloodOfTokensThatItDoesNotAccept(t *testing.T) {
	const each = 5_000 // the race detector allows 8,128 goroutines
	rounds := storetest.Repeat(6, 100)
	for name, c := range map[string]struct {
		make func(f *following, good string) func(n int) (mesh, raw string)
		want error // or token.ErrUnavailable
	}{
		"of meshes that do not exist": {func(_ *following, good string) func(int) (string, string) {
			return func(n int) (string, string) { return fmt.Sprintf("mesh-%d", n), good }
		}, token.ErrUnknownKey},
		"of serials that do not exist": {func(f *following, good string) func(int) (string, string) {
			return func(n int) (string, string) { return "default", f.withKid(good, fmt.Sprint(2+n)) }
		}, token.ErrUnknownKey},
		"refused for any other reason": {func(f *following, good string) func(int) (string, string) {
			revoked, expired := f.issue(30*day), f.issue(time.Second)
			f.revoke(revoked)
			f.pass(time.Minute)
			_, payload, _ := strings.Cut(good, ".")
			raws := []string{"", "not.a.token", strings.Repeat("a", 16<<20), "e30." + payload, f.withKid(good, "x"), tampered(good),
				signPayload(t, testKey(0), "1", `{"Zone":"west","exp":4000000000,"jti":"a"}`), signPayload(t, testKey(0), "1", `{"Mesh":"other","exp":4000000000,"jti":"a"}`),
				signPayload(t, testKey(0), "1", `{"Mesh":"default"}`), revoked, expired}
			return func(n int) (string, string) { return "default", raws[n%len(raws)] }
		}, token.ErrInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t).start()
				good := f.issue(30 * day)
				f.accepts(good)
				make := c.make(f, good)
				heap := hostileHeap()
				began, since, logged := time.Now(), len(f.store.readsSoFar()), f.log.Count("")
				for round := range rounds {
					var all sync.WaitGroup
					for i := range each {
						all.Go(func() {
							mesh, raw := make(round*each + i)
							if err := check(t, f.validator, mesh, raw); !errors.Is(err, c.want) && !errors.Is(err, token.ErrUnavailable) {
								t.Errorf("the answer is %v", err)
							}
						})
					}
					all.Wait()
					f.accepts(good)
				}
				seconds := int(time.Since(began)/time.Second) + 1
				reads, lines := len(f.store.readsSoFar())-since, f.log.Count("")-logged
				t.Logf("in %d s: %d reads, %d lines, heap grew by %d KiB", seconds, reads, lines, (hostileHeap()-heap)>>10)
				assert.LessOrEqual(t, reads, 10*seconds+seconds/20+10)
				assert.LessOrEqual(t, lines, seconds+20)
				assert.Less(t, hostileHeap()-heap, int64(8<<20))
				runtime.KeepAlive(f)
				runtime.KeepAlive(make)
			})
		})
	}
}

func TestValidatorFollowsAPolledStoreThatCannotBeReadInPart(t *testing.T) {
	for name, c := range map[string]struct {
		list   func(*faultStore) listFunc
		heeded time.Duration
	}{
		"the global scope fails":   {func(s *faultStore) listFunc { return s.failingIn(keystore.Global) }, time.Second},
		"the reads of a mesh hang": {func(s *faultStore) listFunc { return s.hangingIn("bad") }, 20 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				putKey(t, f.store.Memory, "bad", 1, testKey(1))
				for i := range 100 {
					putKey(t, f.store.Memory, fmt.Sprintf("mesh-%d", i), 1, testKey(1))
				}
				f.startOn(f.polled())
				f.store.setList(c.list(f.store))
				f.pass(2 * time.Minute)
				raw := f.issue(30 * day)
				f.accepts(raw)
				f.revoke(raw)
				f.pass(c.heeded)
				f.refuses(raw, token.ErrRevoked)
			})
		})
	}
}

func TestValidatorServesAMeshWithoutRecordsAfterAReadFailedForOnePeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithMaxStale(5*time.Second), dataplane.WithPublicKey("bare", "key-1", testKey(1).Public()))
		raw := issue(t, newOfflineIssuer(t, testKey(1), "key-1"), "bare", 30*day)
		f.pass(10 * time.Second)
		f.store.setList(f.store.failingOnceIn("bare", f.store.Memory.List))
		assert.ErrorIs(t, check(t, f.validator, "bare", f.withKid(raw, "7")), token.ErrUnavailable)
		f.pass(recovery)
		assert.NoError(t, check(t, f.validator, "bare", raw))
	})
}

func TestValidatorDoesNotReadForTokensThatLeftWhileEverythingWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.startOn(f.polled())
		good := f.issue(30 * day)
		f.store.setList(f.store.hangingIn("bad"))
		f.pass(2*time.Minute + 300*time.Millisecond)
		ctx, leave := context.WithCancel(t.Context())
		var waiting sync.WaitGroup
		for round := range 20 { // some of them when everything begins to be read
			for i := range 100 {
				waiting.Go(func() { _, _ = f.validator.Validate(ctx, fmt.Sprintf("left-%d-%d", round, i), good) })
			}
			f.pass(time.Second)
		}
		leave()
		waiting.Wait()
		since := len(f.store.readsSoFar())
		f.pass(time.Minute)
		for _, r := range f.store.readsSoFar()[since:] {
			assert.NotContains(t, string(r.scope), "left")
		}
	})
}

func TestValidatorWithALimitOfZeroServesTheOthersAfterAColdStartWithAMeshThatCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "bad", 1, testKey(1))
		fails := f.store.failingIn("bad")
		f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
			time.Sleep(time.Millisecond) // as every store takes
			return fails(ctx, scope, prefix)
		})
		f.start(dataplane.WithMaxStale(0))
		f.pass(10 * time.Second)
		f.accepts(f.issue(30*day), "the mesh can be read by itself")
	})
}

func TestValidatorWithAShortLimitReadsTheOthersWhileTheReadsOfOneMeshHang(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Second, 8 * time.Second} {
		t.Run(fmt.Sprint("limit ", limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				putKey(t, f.store.Memory, "bad", 1, testKey(1))
				f.start(dataplane.WithMaxStale(limit))
				session := f.session(f.issue(30 * day))
				f.store.setList(f.store.hangingIn("bad"))
				f.pass(time.Minute)
				since := len(f.store.readsSoFar())
				f.pass(time.Minute)
				assert.GreaterOrEqual(t, f.readsOf("default", since), 3, "the mesh is read by itself")
				f.pass(2 * time.Hour)
				assertOpen(t, session)
			})
		})
	}
}

// After many failed reads there is a pause before each next one.
func TestValidatorTakesTheAnswerOfAReadAtOnceWhileReadsOfManyOtherMeshesFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		for i := range 30 {
			putRecord(t, f.store.Memory, keystore.Scope(fmt.Sprint("bad-", i)), "dataplane-token-of-no-concern", nil)
		}
		f.start()
		revoked := f.issue(30 * day)
		f.accepts(revoked)
		var slow atomic.Bool
		answered := make(chan struct{}, 100)
		f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
			if scope == keystore.AllScopes || strings.HasPrefix(string(scope), "bad-") {
				return nil, errStoreDown
			}
			if scope == "default" && slow.Load() {
				time.Sleep(420 * time.Millisecond)
				defer func() { answered <- struct{}{} }()
			}
			return f.store.Memory.List(ctx, scope, prefix)
		})
		f.pass(2 * time.Minute)
		slow.Store(true)
		f.revoke(revoked)
		<-answered
		synctest.Wait()
		f.refuses(revoked, token.ErrRevoked)
	})
}
