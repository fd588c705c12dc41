package replica

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
)

const ms = time.Millisecond

// meshes returns a list of each of these meshes.
func meshesOf(names ...string) (all []keystore.Record) {
	for _, name := range names {
		all = append(all, holding(keystore.Scope(name), "dataplane-token-revocations-"+name, "x"))
	}
	return all
}

func TestAFollowerReadsTwiceWithinItsLimitAndEachHalfMinuteAtLeast(t *testing.T) {
	for limit, interval := range map[time.Duration]time.Duration{
		0:                      time.Second,
		time.Nanosecond:        250 * ms,
		400 * ms:               250 * ms,
		502 * ms:               251 * ms,
		10 * time.Second:       5 * time.Second,
		59 * time.Second:       29500 * ms,
		time.Minute:            30 * time.Second,
		time.Hour:              30 * time.Second,
		1000 * 365 * time.Hour: 30 * time.Second,
	} {
		t.Run(limit.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := follows(t, dataplanes, newScript(meshesOf("a")...), limit)
				f.pass(500 * interval)
				all := gaps(f.timesOf(keystore.AllScopes))
				require.Greater(t, len(all), 480)
				assert.Len(t, f.readsOf(), len(all)+1, "nothing else is read")
				// A tenth of the interval is random.
				assert.Greater(t, slices.Min(all), interval-interval/10)
				assert.Less(t, slices.Min(all), interval-interval/11)
				assert.LessOrEqual(t, slices.Max(all), interval)
				assert.Greater(t, slices.Max(all), interval-interval/100)
				assert.Equal(t, []string{"a"}, f.changes)
			})
		})
	}
}

func TestAFollowerPausesForAsLongAsALongReadTakesAndForAnIntervalAtMost(t *testing.T) {
	for _, c := range []struct{ limit, takes, apart time.Duration }{
		{time.Hour, 20 * time.Second, 40 * time.Second},
		{time.Hour, 40 * time.Second, 70 * time.Second},
		{10 * time.Second, 3 * time.Second, 6 * time.Second},
		{10 * time.Second, 8 * time.Second, 13 * time.Second},
		{0, 3 * time.Second, 4 * time.Second},
	} {
		for _, announced := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s of %s, announced: %t", c.takes, c.limit, announced), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := newScript(meshesOf("a")...)
					store.answers(takes(map[keystore.Scope]time.Duration{keystore.AllScopes: c.takes}))
					f := follows(t, dataplanes, store, c.limit)
					for range 4 {
						if announced {
							f.announce(keystore.AllScopes)
						}
						f.pass(c.apart)
					}
					assert.Equal(t, []time.Duration{0, c.apart, 2 * c.apart, 3 * c.apart, 4 * c.apart}, f.timesOf(keystore.AllScopes))
					assert.Empty(t, f.failing)
				})
			})
		}
	}
}

// An announcement is heeded at once, but for the pause after the second of two reads that
// took long: the first may have hung by chance.
func TestAFollowerReadsEverythingAtOnceWhenThatIsAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a")...)
		f := follows(t, dataplanes, store, time.Hour)
		f.pass(time.Second)
		f.announce(keystore.AllScopes)
		f.announce(keystore.AllScopes)
		assert.Equal(t, []string{"all@0s", "all@1s", "all@1s"}, f.reads())

		store.answers(takes(map[keystore.Scope]time.Duration{keystore.AllScopes: 2 * time.Second}))
		f.mark()
		f.announce(keystore.AllScopes) // at once, until 2 s
		f.pass(2500 * ms)
		f.announce(keystore.AllScopes) // at once, until 4.5 s
		f.pass(2500 * ms)
		f.announce(keystore.AllScopes) // at 6.5 s, until 8.5 s
		f.pass(4 * time.Second)
		f.announce(keystore.AllScopes) // at 10.5 s
		f.pass(2 * time.Second)
		assert.Equal(t, []string{"all@0s", "all@2.5s", "all@6.5s", "all@10.5s"}, f.reads())
	})
}

// failureTimes are the times of reads of which each is made again after a failure.
var failureTimes = []time.Duration{0, 50 * ms, 150 * ms, 350 * ms, 750 * ms, 1250 * ms, 1750 * ms, 2250 * ms}

func TestAReadThatFailsIsMadeAgainSoonAndThenTwiceASecond(t *testing.T) {
	t.Run("of everything", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newScript()
			store.answers(allFail)
			f := follows(t, dataplanes, store, time.Hour)
			f.pass(2300 * ms)
			assert.Equal(t, failureTimes, f.timesOf(keystore.AllScopes))
			assert.Equal(t, failureTimes, f.timesOf(keystore.Global), "on which all depend")
			assert.Equal(t, []error{errBroken}, f.failing)

			store.answers(nil)
			f.pass(500 * ms)
			assert.Equal(t, []error{errBroken, nil}, f.failing)
			f.mark()
			store.answers(allFail)
			f.announce(keystore.AllScopes)
			f.pass(200 * ms)
			assert.Equal(t, failureTimes[:3], f.timesOf(keystore.AllScopes), "it begins anew")
		})
	})
	t.Run("of everything in one scope", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newScript()
			store.answers(allFail)
			f := follows(t, zones, store, time.Hour)
			f.pass(2300 * ms)
			assert.Equal(t, failureTimes, f.timesOf(keystore.Global))
			assert.Len(t, f.readsOf(), len(failureTimes))
			assert.ErrorIs(t, f.State().CheckAge(keystore.Global, time.Now(), 0), errBroken)
		})
	})
	t.Run("of a mesh", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newScript(meshesOf("a", "b")...)
			f := follows(t, dataplanes, store, time.Hour)
			f.pass(time.Second)
			store.answers(fails("a"))
			f.mark()
			f.announce("a")
			f.pass(20 * time.Second)
			times := f.timesOf("a")
			require.Greater(t, len(times), 30)
			assert.Equal(t, failureTimes, times[:len(failureTimes)])
			for _, gap := range gaps(times[len(failureTimes):]) { // also after more failures than maxFailures
				require.Equal(t, 500*ms, gap)
			}
			assert.Len(t, f.readsOf(), len(times), "nothing else is read")
			assert.Empty(t, f.failing)

			f.pass(11 * time.Second) // everything is read
			f.mark()
			f.pass(10 * time.Second)
			assert.Empty(t, f.reads(), "the change is known")
		})
	})
}

// A job of a scope stays while it is announced again and again.
func TestASuccessfulReadLetsFailuresOfItsScopeBeginAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a")...)
		f := follows(t, dataplanes, store, time.Hour)
		f.pass(time.Second)
		store.answers(fails("a"))
		f.mark()
		f.announce("a") // fails at 0 s, 50 ms and 150 ms, and again at 350 ms
		f.pass(349 * ms)
		store.answers(takes(map[keystore.Scope]time.Duration{"a": 100 * ms}))
		f.pass(10 * ms)
		f.announce("a")
		store.answers(fails("a"))
		f.pass(350 * ms)
		assert.Equal(t, []time.Duration{0, 50 * ms, 150 * ms, 350 * ms, 450 * ms, 500 * ms, 600 * ms}, f.timesOf("a"))
	})
}

func TestReadsAreMadeInTheOrderOfTheirRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a", "b", "c")...), time.Hour)
		f.pass(time.Second)
		f.busy(100*ms, func() {
			f.announce("c")
			f.pass(ms)
			f.announce("a")
			f.pass(ms)
			f.announce("b")
			f.announce("c") // again: it keeps its place
		})
		assert.Equal(t, []string{"c@0s", "a@0s", "b@0s"}, f.reads())

		f.busy(100*ms, func() { f.announce("c", "a", "b") })
		assert.Equal(t, []string{"a", "b", "c"}, f.scopesRead(), "at once: by name")

		f.busy(100*ms, func() {
			f.announce("c")
			f.pass(ms)
			f.announce(keystore.AllScopes)
			f.pass(ms)
			f.announce("a")
		})
		assert.Equal(t, []string{"c", "all"}, f.scopesRead(), "a read of everything answers the others")
	})
}

func TestATokenTakesItsTurnFromWhenItCameAlsoIfItsMeshIsBeingRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a", "b", "c")...)
		f := follows(t, dataplanes, store, time.Hour)
		f.pass(time.Second)
		store.answers(takes(map[keystore.Scope]time.Duration{"a": 400 * ms, "c": 200 * ms}))
		f.mark()
		f.announce("a") // until 400 ms
		f.pass(200 * ms)
		f.announce("c") // begins at 250 ms, until 450 ms
		f.pass(100 * ms)
		f.announce("b")
		f.pass(50 * ms)
		store.answers(nil)
		waits := f.token(t.Context(), "a")
		f.pass(100 * ms)
		assert.Equal(t, []string{"a@0s", "c@250ms", "b@450ms", "a@450ms"}, f.reads())
		waits.isAnswered(450*ms, nil)
	})
}

func TestThreeLongReadsOfScopesGoOnAtATime(t *testing.T) {
	for name, all := range map[string]bool{"alone": false, "beside a read of everything": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newScript(meshesOf("a", "b", "c", "d", "e", "quick")...)
				f := follows(t, dataplanes, store, time.Hour)
				f.pass(time.Second)
				long := map[keystore.Scope]time.Duration{"a": 3 * time.Second, "b": 3 * time.Second, "c": 3 * time.Second, "d": 3 * time.Second, "e": 3 * time.Second}
				if all {
					long[keystore.AllScopes] = 20 * time.Second
					store.answers(takes(long))
					f.announce(keystore.AllScopes)
					f.pass(time.Second)
				}
				store.answers(takes(long))
				f.busy(100*ms, func() { f.announce("a", "b", "c", "d", "e") })
				f.pass(600 * ms)
				f.announce("quick")
				f.pass(6 * time.Second)
				assert.Equal(t, []string{"a@0s", "b@250ms", "c@500ms", "d@3s", "e@3.25s", "quick@3.5s"}, f.reads())
			})
		})
	}
}

func TestReadsThatEndSoonDoNotGoOnBesideOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a", "b", "c")...)
		f := follows(t, dataplanes, store, time.Hour)
		f.pass(time.Second)
		store.answers(takes(map[keystore.Scope]time.Duration{"a": 249 * ms, "b": 249 * ms}))
		f.busy(100*ms, func() { f.announce("a", "b", "c") })
		f.pass(time.Second)
		assert.Equal(t, []string{"a@0s", "b@249ms", "c@498ms"}, f.reads())
	})
}

func TestMoreThanAHundredChangesAreReadAtOnce(t *testing.T) {
	numbered := func(n int) (names []string) {
		for i := range n {
			names = append(names, fmt.Sprintf("m%03d", i))
		}
		return names
	}
	scopes := func(names []string) (all []keystore.Scope) {
		for _, name := range names {
			all = append(all, keystore.Scope(name))
		}
		return all
	}
	start := func(t *testing.T) *followed {
		f := follows(t, dataplanes, newScript(meshesOf(numbered(120)...)...), time.Hour)
		f.pass(time.Second)
		f.announce(keystore.AllScopes) // begins a second for which changes are read one by one
		return f
	}
	for name, c := range map[string]struct {
		changes int
		after   time.Duration // since the latest read of everything
		want    int           // reads of scopes
	}{
		"a hundred":              {100, 2 * time.Second, 100},
		"one more":               {101, 2 * time.Second, 0},
		"within a second":        {101, time.Second - 1, 101},
		"after a second exactly": {101, time.Second, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t)
				f.pass(c.after - 100*ms)
				f.busy(100*ms, func() { f.announce(scopes(numbered(c.changes))...) })
				assert.Len(t, f.readsOf(), max(c.want, 1))
				assert.Len(t, f.timesOf(keystore.AllScopes), map[bool]int{true: 1, false: 0}[c.want == 0])
				f.pass(5 * time.Second)
				assert.Len(t, f.readsOf(), max(c.want, 1), "each change is read once")
			})
		})
	}
	for name, c := range map[string]struct {
		after time.Duration
		all   int
	}{"but for those whose reads have just failed": {49 * ms, 0}, "until they are due again": {50 * ms, 1}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := start(t)
				f.pass(2 * time.Second)
				names := numbered(105)
				f.store.answers(fails(scopes(names[:10])...))
				f.announce(scopes(names[:10])...)
				f.busy(c.after, func() { f.announce(scopes(names[10:])...) })
				assert.Len(t, f.timesOf(keystore.AllScopes), c.all)
				assert.Len(t, f.readsOf(), 95*(1-c.all)+c.all)
			})
		})
	}
	t.Run("but not while everything is being read", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := start(t)
			f.store.answers(takes(map[keystore.Scope]time.Duration{keystore.AllScopes: 4 * time.Second}))
			f.pass(5 * time.Second)
			f.announce(keystore.AllScopes)
			f.pass(2 * time.Second)
			f.busy(100*ms, func() { f.announce(scopes(numbered(101))...) })
			assert.Len(t, f.readsOf(), 101)
			assert.Empty(t, f.timesOf(keystore.AllScopes))
		})
	})
	t.Run("but not while reads of everything fail", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := start(t)
			f.store.answers(fails("bad", keystore.AllScopes))
			f.announce(keystore.AllScopes)
			f.pass(3 * time.Second)
			f.busy(100*ms, func() { f.announce(scopes(numbered(101))...) })
			assert.Empty(t, f.timesOf(keystore.AllScopes))
			assert.Len(t, f.readsOf(), 101)
		})
	})
	t.Run("tokens are no changes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f := start(t)
			f.pass(2 * time.Second)
			f.busy(100*ms, func() {
				for _, scope := range scopes(numbered(101)) {
					go func() { _ = f.Reread(t.Context(), scope, func() bool { return false }) }()
				}
				synctest.Wait()
			})
			assert.Len(t, f.readsOf(), 101)
			assert.Empty(t, f.timesOf(keystore.AllScopes))
		})
	})
}

func TestReadsSlowDownAfterSixteenFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		var scopes []keystore.Scope
		for i := range 40 {
			names = append(names, fmt.Sprintf("m%03d", i))
			scopes = append(scopes, keystore.Scope(names[i]))
		}
		f := follows(t, dataplanes, newScript(meshesOf(names...)...), time.Hour)
		f.pass(time.Second)
		f.store.answers(fails(scopes...))
		f.busy(100*ms, func() { f.announce(scopes...) })
		f.pass(2 * time.Second)
		reads := f.readsOf()
		require.Greater(t, len(reads), 40)
		for i, r := range reads {
			want := time.Duration(max(0, i-16)) * 50 * ms
			require.Equal(t, want, r.at, "read %d", i)
		}

		f.store.answers(fails(append(scopes[:20:20], scopes[21:]...)...)) // one succeeds
		before := len(f.timesOf(scopes[20]))
		for len(f.timesOf(scopes[20])) == before {
			f.pass(ms)
		}
		began := f.timesOf(scopes[20])[before]
		f.pass(ms)
		var since []time.Duration
		for _, r := range f.readsOf() {
			if r.at >= began {
				since = append(since, r.at-began)
			}
		}
		require.Greater(t, len(since), 10, "it lets the others go on at once")
		assert.LessOrEqual(t, since[10], ms)
	})
}

func TestALongReadThatEndsDuringThePauseAfterManyFailuresCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := []string{"long"}
		var scopes []keystore.Scope
		for i := range 40 {
			names = append(names, fmt.Sprintf("m%03d", i))
			scopes = append(scopes, keystore.Scope(names[i+1]))
		}
		f := follows(t, dataplanes, newScript(meshesOf(names...)...), time.Hour)
		f.pass(time.Second)
		f.store.answers(takes(map[keystore.Scope]time.Duration{"long": 810 * ms}))
		f.store.drop("long", "dataplane-token-revocations-long")
		f.mark()
		f.announce("long")
		waits := f.token(t.Context(), "m000")
		waits.isAnswered(250*ms, nil)
		f.store.answers(fails(scopes...))
		f.announce(scopes...) // the seventeenth fails at 250 ms, and from then on one each 50 ms
		f.pass(559 * ms)
		assert.True(t, f.State().Has("long"))
		f.pass(ms)
		assert.False(t, f.State().Has("long"))
		f.store.answers(nil)
		f.announce("long")
		f.pass(50 * ms)
		assert.Len(t, f.timesOf("long"), 2, "it may be read again")
	})
}

func TestTokensCauseAReadOfTheirMeshEachSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a", "b")...), time.Hour)
		f.pass(time.Second)
		f.mark()
		f.token(t.Context(), "a").isAnswered(0, nil)
		f.pass(300 * ms)
		later, another := f.token(t.Context(), "a"), f.token(t.Context(), "b")
		another.isAnswered(300*ms, nil)
		later.isAnswered(time.Second, nil)
		f.announce("a") // what is announced is read, whatever tokens have caused
		assert.Equal(t, []string{"a@0s", "b@300ms", "a@1s", "a@1s"}, f.reads())

		f.pass(5 * time.Second)
		f.mark()
		f.busy(100*ms, func() {
			f.announce("a")
			_ = f.token(t.Context(), "a")
		})
		f.token(t.Context(), "a").isAnswered(0, nil)
		assert.Equal(t, []string{"a@0s", "a@0s"}, f.reads(), "what was announced does not count as caused by a token")
	})
}

func TestTokensCauseTenReadsASecondOfMeshesThatAreUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a")...), time.Hour)
		f.pass(time.Second)
		f.mark()
		f.token(t.Context(), "a").isAnswered(0, nil)
		f.token(t.Context(), "x1").isAnswered(0, nil) // a known mesh delays none
		second, third := f.token(t.Context(), "x2"), f.token(t.Context(), "x3")
		second.isAnswered(100*ms, nil)
		third.isAnswered(200*ms, nil)
		f.token(t.Context(), "x1").isAnswered(time.Second, nil)
		f.pass(50 * ms)
		f.announce("x4") // is not delayed, and delays none
		f.pass(50 * ms)
		f.token(t.Context(), "x5").isAnswered(1100*ms, nil)
		assert.Equal(t, []string{"a@0s", "x1@0s", "x2@100ms", "x3@200ms", "x1@1s", "x4@1.05s", "x5@1.1s"}, f.reads())
	})
}

func TestAReadOfEverythingForgetsNoReadThatATokenCausedWithinASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a")...), time.Hour)
		f.pass(time.Second)
		f.mark()
		f.token(t.Context(), "a").isAnswered(0, nil)
		f.pass(500 * ms)
		f.announce(keystore.AllScopes)
		f.pass(100 * ms)
		f.token(t.Context(), "a").isAnswered(time.Second, nil)
		f.pass(1001 * ms)
		assert.Len(t, f.peerRead, 1)
		f.announce(keystore.AllScopes)
		assert.Empty(t, f.peerRead, "those of before it forgets")
	})
}

func TestAReadForATokenThatFailsLetsEverythingBeReadSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a", "b")...)
		f := follows(t, dataplanes, store, time.Hour)
		f.pass(time.Second)
		store.answers(fails("a", "unknown"))
		f.mark()
		f.token(t.Context(), "a").isAnswered(0, errBroken)
		f.pass(10 * time.Second)
		assert.Equal(t, []string{"a@0s", "all@50ms"}, f.reads())

		f.mark()
		f.token(t.Context(), "unknown").isAnswered(0, errBroken)
		f.pass(10 * time.Second)
		assert.Equal(t, []string{"unknown@0s"}, f.reads(), "a mesh that a peer made up is not worth it")

		// A read of everything that is wanted anyway is not put off.
		store.answers(func(ctx context.Context, scope keystore.Scope) error {
			if scope == "a" {
				time.Sleep(100 * ms)
				return errBroken
			}
			return nil
		})
		f.mark()
		waits := f.token(t.Context(), "a")
		f.announce(keystore.AllScopes)
		waits.isAnswered(100*ms, errBroken)
		f.pass(10 * time.Second)
		assert.Equal(t, []string{"a@0s", "all@100ms"}, f.reads())
	})
}

// partly lets everything fail to be read together, since a mesh cannot be read, until the
// follower reads the others one by one.
func partly(t *testing.T, limit time.Duration, all time.Duration, names ...string) *followed {
	f := follows(t, dataplanes, newScript(meshesOf(append(names, "bad")...)...), limit)
	f.pass(10 * ms)
	f.store.answers(func(ctx context.Context, scope keystore.Scope) error {
		if scope == keystore.AllScopes {
			time.Sleep(all)
		}
		return fails("bad", keystore.AllScopes)(ctx, scope)
	})
	return f
}

func TestWhileOneMeshCannotBeReadTheOthersAreReadOneByOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := partly(t, time.Hour, 0, "a", "b", "c")
		f.mark()
		f.announce(keystore.AllScopes)
		reads := f.scopesRead()
		assert.Equal(t, []string{"all", "global", "all", "global"}, reads[:4], "it is tried again once a scope could be read")
		rest := reads[4:]
		slices.Sort(rest)
		assert.Equal(t, []string{"a", "b", "bad", "c"}, rest)
		assert.Equal(t, []error{errBroken}, f.failing)
		assert.True(t, f.MayRead("a"))

		f.pass(26 * time.Second)
		assert.Len(t, f.timesOf(keystore.AllScopes), 2)
		for _, scope := range []keystore.Scope{"a", "b", "c"} {
			assert.Len(t, f.timesOf(scope), 1)
		}
		assert.Equal(t, failureTimes, f.timesOf("bad")[:len(failureTimes)])

		f.mark()
		f.announce("a")
		assert.Equal(t, []string{"a@0s"}, f.reads())
		f.store.answers(fails("bad", "announced", "made-up", keystore.AllScopes))
		f.announce("announced")
		f.token(t.Context(), "made-up").isAnswered(0, errBroken)
		f.pass(10 * time.Second)
		assert.Equal(t, failureTimes, f.timesOf("announced")[:len(failureTimes)])
		assert.Equal(t, []time.Duration{0}, f.timesOf("made-up"))
		f.pass(time.Minute)
		for all := f.timesOf(keystore.AllScopes); time.Since(f.marked)-all[len(all)-1] < time.Second; {
			f.pass(100 * ms) // for some time after a read everything is not read again
		}
		f.store.answers(nil)
		f.mark()
		f.announce(keystore.AllScopes)
		f.pass(26 * time.Second)
		assert.Equal(t, []string{"all@0s"}, f.reads(), "nothing is read one by one any more")
		assert.Equal(t, []error{errBroken, nil}, f.failing)
		assert.False(t, f.MayRead("a"))
	})
}

// The mesh whose reads fail is among the first, or the last.
func TestAMeshThatCannotBeReadIsTriedAgainLessOftenIfItsReadsTakeLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := partly(t, time.Hour, 0, "a")
		f.store.answers(func(ctx context.Context, scope keystore.Scope) error {
			if scope == "bad" {
				<-ctx.Done()
				return ctx.Err()
			}
			return fails(keystore.AllScopes)(ctx, scope)
		})
		f.announce(keystore.AllScopes)
		f.pass(6 * time.Second)
		f.announce(keystore.AllScopes)
		f.token(t.Context(), "a").isAnswered(f.since(), nil) // what is read one by one is not read for tokens
		f.pass(19 * time.Second)
		assert.Equal(t, []time.Duration{10 * time.Second, 10 * time.Second}, gaps(f.timesOf("bad")), "five seconds for the read, and as long a pause")
	})
}

func TestReadsOfEverythingThatFailLeaveTimeForThoseOfOneMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := partly(t, time.Hour, 2*time.Second, "a", "b")
		f.announce(keystore.AllScopes)
		f.pass(3 * time.Second) // it was tried twice, until 4 s
		f.pass(time.Second)
		f.mark()
		f.pass(ms)
		assert.Len(t, f.readsOf(), 0)
		f.pass(time.Second - ms)
		f.announce(keystore.AllScopes)
		reads := f.scopesRead()
		slices.Sort(reads)
		assert.Equal(t, []string{"a", "b"}, slices.DeleteFunc(reads, func(s string) bool { return s == "bad" }), "one by one instead, at once")
		f.pass(10 * time.Second)
		assert.Equal(t, []time.Duration{4 * time.Second}, f.timesOf(keystore.AllScopes), "and together after twice the time that it takes")
	})
	synctest.Test(t, func(t *testing.T) {
		f := partly(t, time.Hour, 2*time.Second, "a", "b")
		f.announce(keystore.AllScopes)
		f.pass(8 * time.Second)
		f.mark()
		f.announce(keystore.AllScopes)
		f.pass(time.Second)
		assert.Equal(t, []string{"all"}, slices.DeleteFunc(f.scopesRead(), func(s string) bool { return s == "bad" }), "not one by one where everything is due")
	})
	synctest.Test(t, func(t *testing.T) {
		f := partly(t, 0, 2*time.Second, "a", "b")
		f.pass(30 * time.Second)
		f.mark()
		f.pass(31 * time.Second)
		for _, gap := range gaps(f.timesOf(keystore.AllScopes)) {
			assert.Equal(t, 6*time.Second, gap, "two seconds for the read, and twice as long a pause")
		}
	})
}

// The store came back while the read of everything hung.
func TestAReadOfEverythingIsMadeAgainAtOnceIfOthersHaveSucceededWhileItHung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a")...)
		f := follows(t, dataplanes, store, time.Hour)
		f.pass(time.Second)
		store.answers(allFail)
		f.mark()
		f.announce(keystore.AllScopes)
		store.answers(func(ctx context.Context, scope keystore.Scope) error {
			switch {
			case scope == keystore.AllScopes:
				<-ctx.Done()
				return ctx.Err()
			case time.Since(f.marked) < 200*ms:
				return errBroken
			}
			return nil
		})
		f.pass(4 * time.Second) // the read that began at 50 ms hangs
		assert.True(t, f.MayRead("a"))
		store.answers(nil)
		f.pass(2 * time.Second)
		assert.Equal(t, []time.Duration{0, 50 * ms, 5150 * ms}, f.timesOf(keystore.AllScopes))
		assert.False(t, f.MayRead("a"))
	})
}

func TestAnnouncementsOfNamesThatNoScopeHasAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(), time.Hour)
		f.mark()
		f.announce("a/b", "..", "größe")
		f.announce("a", keystore.Global)
		assert.ElementsMatch(t, []string{"a@0s", "global@0s"}, f.reads())
	})
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, zones, newScript(), time.Hour)
		f.mark()
		f.announce("a")
		assert.Empty(t, f.reads(), "it concerns no zone token")
		f.announce(keystore.Global)
		f.announce(keystore.AllScopes)
		assert.Equal(t, []string{"global@0s", "global@0s"}, f.reads())
	})
}

func TestAFollowerCountsItsReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a")...)
		f := follows(t, dataplanes, store, time.Hour)
		f.announce("a")
		f.announce("a")
		complete, single := f.Reads()
		assert.EqualValues(t, 1, complete.Total)
		assert.EqualValues(t, 2, single.Total)
		assert.Zero(t, complete.Failed+single.Failed)
		store.answers(fails("a"))
		f.announce("a")
		f.pass(ms)
		_, single = f.Reads()
		assert.EqualValues(t, 3, single.Total)
		assert.EqualValues(t, 1, single.Failed)
		store.answers(allFail)
		f.announce(keystore.AllScopes)
		complete, _ = f.Reads()
		assert.EqualValues(t, 2, complete.Total)
		assert.EqualValues(t, 1, complete.Failed)
	})
}

// The complete read is due while something else is being read.
func TestTheReadThatIsDueByTheClockTakesItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a", "b")...)
		store.answers(takes(map[keystore.Scope]time.Duration{keystore.AllScopes: 20 * time.Second}))
		f := follows(t, dataplanes, store, time.Hour)
		f.pass(39900 * ms) // the next is due at 40 s
		f.busy(200*ms, func() {
			f.pass(50 * ms)
			f.announce("b")
			f.pass(100 * ms)
			f.announce("a")
		})
		f.pass(200 * ms)
		assert.Equal(t, []string{"b@0s", "all@0s"}, f.reads())
	})
}

func TestTheGlobalScopeIsReadFirstWhenEverythingCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a", "b")...), time.Hour)
		f.pass(time.Second)
		f.store.answers(allFail)
		f.busy(100*ms, func() {
			f.announce(keystore.AllScopes)
			f.pass(ms)
			f.announce("a", "b")
		})
		assert.Equal(t, []string{"all", "global"}, f.scopesRead()[:2])
	})
}

func TestAMeshShowsThatTheStoreWorksIfTheGlobalScopeCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(append(meshesOf("a", "b"), holding("", listOfA, "x"))...), time.Hour)
		f.pass(time.Second)
		f.store.answers(fails(keystore.Global, keystore.AllScopes))
		f.announce(keystore.AllScopes)
		assert.True(t, f.MayRead("a"))
	})
}

func TestNoMeshIsReadAloneAnyMoreOnceEverythingWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range 20 {
			names = append(names, fmt.Sprintf("m%02d", i))
		}
		f := partly(t, time.Hour, 0, names...)
		f.announce(keystore.AllScopes)
		f.pass(2 * time.Second)
		slow := map[keystore.Scope]time.Duration{"bad": 200 * ms}
		for _, name := range names {
			slow[keystore.Scope(name)] = 200 * ms
		}
		f.store.answers(takes(slow))
		for all := f.timesOf(keystore.AllScopes); time.Since(f.marked)-all[len(all)-1] < time.Second; {
			f.pass(100 * ms)
		}
		f.store.answers(func(ctx context.Context, scope keystore.Scope) error { // one read of everything fails
			if scope == keystore.AllScopes {
				f.store.answers(takes(slow))
				return errBroken
			}
			return takes(slow)(ctx, scope)
		})
		f.announce(keystore.AllScopes) // the meshes are read one by one, for four seconds
		f.pass(time.Second)
		f.announce(keystore.AllScopes)
		f.pass(time.Second)
		all := f.timesOf(keystore.AllScopes)
		for _, r := range f.readsOf() {
			if r.name != "all" {
				assert.LessOrEqual(t, r.at, all[len(all)-1], r.name)
			}
		}
		assert.False(t, f.MayRead("m00"))
		f.mark()
		f.pass(10 * time.Second)
		assert.Empty(t, f.reads())
	})
}

// A read of one mesh goes on while everything is read.
func TestAReadOfOneMeshThatFailsIsMadeAgainThoughEverythingWasReadMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a")...), time.Hour)
		f.pass(time.Second)
		f.store.answers(func(_ context.Context, scope keystore.Scope) error {
			if scope != "a" {
				return nil
			}
			f.store.answers(nil)
			time.Sleep(600 * ms)
			return errBroken
		})
		f.mark()
		f.announce("a")
		f.pass(300 * ms)
		f.announce(keystore.AllScopes)
		f.pass(5 * time.Second)
		assert.Equal(t, []string{"a@0s", "all@300ms", "a@650ms"}, f.reads())
		assert.Empty(t, f.jobs)
	})
}
