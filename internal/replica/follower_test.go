package replica

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/limit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

func TestAReadHasFailedThatMakesNoProgressForFiveSeconds(t *testing.T) {
	for name, c := range map[string]struct {
		parts int
		each  time.Duration
		then  time.Duration // the last part
		fails bool
	}{
		"it takes almost five seconds": {parts: 1, each: 5*time.Second - 1},
		"it takes longer":              {parts: 1, each: 5*time.Second + 1, fails: true},
		"it makes progress":            {parts: 12, each: 5*time.Second - 1},
		"it makes progress too late":   {parts: 12, each: 5*time.Second + 1, fails: true},
		"it makes progress no more":    {parts: 2, each: time.Second, then: 5*time.Second + 1, fails: true},
		"its last part is in time":     {parts: 2, each: time.Second, then: 5*time.Second - 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newScript(meshesOf("a")...)
				var givenUp atomic.Bool
				store.answers(func(ctx context.Context, _ keystore.Scope) error {
					for part := range c.parts + 1 {
						takes := c.each
						if part == c.parts {
							takes = c.then
						}
						select {
						case <-time.After(takes):
						case <-ctx.Done():
							givenUp.Store(true)
							return nil // late, as if nothing were wrong
						}
						keystore.Progress(ctx)()
					}
					return nil
				})
				f := follows(t, dataplanes, store, time.Hour)
				f.pass(65 * time.Second)
				_, read := f.Staleness()
				assert.Equal(t, !c.fails, read)
				assert.Equal(t, c.fails, givenUp.Load())
				if c.fails {
					require.NotEmpty(t, f.failing)
					assert.ErrorIs(t, f.failing[0], context.DeadlineExceeded)
				} else {
					assert.Empty(t, f.failing)
				}
			})
		})
	}
}

func TestTheContextOfAReadEndsWithTheRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a")...), time.Hour)
		f.announce("a")
		require.Len(t, f.store.reads, 2)
		for _, r := range f.store.reads {
			assert.ErrorIs(t, r.ctx.Err(), context.Canceled)
		}
	})
}

// outstanding counts the reads that have not returned, by scope.
type outstanding struct {
	let   chan struct{}
	count chan map[keystore.Scope]int // one at a time
}

func newOutstanding() *outstanding {
	o := &outstanding{let: make(chan struct{}), count: make(chan map[keystore.Scope]int, 1)}
	o.count <- map[keystore.Scope]int{}
	return o
}

// answer never returns until it is let go.
func (o *outstanding) answer(_ context.Context, scope keystore.Scope) error {
	all := <-o.count
	all[scope]++
	o.count <- all
	<-o.let
	all = <-o.count
	all[scope]--
	o.count <- all
	return errBroken
}

func (o *outstanding) now() (of map[keystore.Scope]int, all int) {
	counted := <-o.count
	defer func() { o.count <- counted }()
	of = map[keystore.Scope]int{}
	for scope, n := range counted {
		if n > 0 {
			of[scope] = n
		}
		all += n
	}
	return of, all
}

func TestReadsThatNeverReturnAreFew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var names []string
		for i := range 20 {
			names = append(names, fmt.Sprintf("m%02d", i))
		}
		f := follows(t, dataplanes, newScript(meshesOf(names...)...), time.Hour)
		f.pass(time.Second)
		o := newOutstanding()
		f.store.answers(o.answer)
		f.announce("m00")
		f.pass(29 * time.Second) // too soon for a second read of everything
		of, all := o.now()
		assert.Equal(t, map[keystore.Scope]int{"m00": 1}, withoutAll(of))
		assert.LessOrEqual(t, all, 2)
		f.pass(10 * time.Minute)
		of, _ = o.now()
		assert.Equal(t, 2, of[keystore.AllScopes])
		assert.Equal(t, 1, of["m00"])
		for _, name := range names {
			f.announce(keystore.Scope(name))
		}
		for range 100 {
			f.pass(time.Second)
			of, all := o.now()
			require.LessOrEqual(t, all, 8)
			for scope, n := range withoutAll(of) {
				require.Equal(t, 1, n, scope)
			}
		}
		_, all = o.now()
		assert.Equal(t, 8, all)

		close(o.let)
		f.store.answers(nil)
		f.pass(time.Second)
		assert.NoError(t, f.State().CheckAge("m00", time.Now(), 0), "the store is back")
		assert.Empty(t, f.hanging)
	})
}

func withoutAll(of map[keystore.Scope]int) map[keystore.Scope]int {
	rest := map[keystore.Scope]int{}
	for scope, n := range of {
		if scope != keystore.AllScopes {
			rest[scope] = n
		}
	}
	return rest
}

// One of two reads of everything that hang returns. There may be one more, and not two.
func TestAReadThatReturnsMakesRoomForOneOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, zones, newScript(), time.Hour)
		f.pass(time.Second)
		var begun atomic.Int32
		let := make(chan struct{})
		f.store.answers(func(context.Context, keystore.Scope) error {
			begun.Add(1)
			<-let
			return errBroken
		})
		f.announce(keystore.AllScopes)
		f.pass(time.Minute)
		assert.EqualValues(t, 2, begun.Load())
		let <- struct{}{}
		f.pass(time.Minute)
		assert.EqualValues(t, 3, begun.Load())
		let <- struct{}{}
		let <- struct{}{}
		f.pass(time.Minute)
		assert.EqualValues(t, 5, begun.Load())
		close(let)
		f.store.answers(nil)
	})
}

func TestAReadThatCouldNotBeginHasFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a")...), time.Hour)
		f.pass(time.Second)
		o := newOutstanding()
		defer close(o.let)
		f.store.answers(o.answer)
		f.announce("a")
		f.pass(6 * time.Second)
		f.store.answers(nil)
		err := f.State().CheckAge("a", time.Now(), 0)
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.ErrorContains(t, err, "earlier reads have not returned: 1 of the same records, 1 in all")
	})
}

func TestChangesAreToldOnceEachWithTheStateThatHasThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a", "b")...)
		f := follows(t, dataplanes, store, time.Hour)
		assert.ElementsMatch(t, []string{"a", "b"}, f.changes)
		assert.True(t, f.latest == f.State())
		f.changes = nil

		f.announce("a", "b", "none")
		f.announce(keystore.AllScopes)
		assert.Empty(t, f.changes, "nothing has changed")

		store.put(holding("a", listOfA, "x,y"))
		f.announce("a")
		assert.Equal(t, []string{"a"}, f.changes)
		assert.True(t, f.latest == f.State())
		store.drop("a", listOfA)
		f.announce("a")
		assert.Equal(t, []string{"a", "-a"}, f.changes)
		f.announce("a")
		assert.Equal(t, []string{"a", "-a"}, f.changes)
		assert.Empty(t, f.jobs, "what was read is requested no more")

		store.put(holding("c", "dataplane-token-revocations-c", "x"))
		store.drop("b", listOfB)
		f.announce(keystore.AllScopes)
		assert.ElementsMatch(t, []string{"a", "-a", "c", "-b"}, f.changes)
		assert.False(t, f.State().Has("b"))
	})
}

func TestAReadOfOneScopeIsConfirmedAtItsBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, scope := range map[string]keystore.Scope{"with records": "a", "without": "none"} {
			f := follows(t, dataplanes, newScript(meshesOf("a")...), 10*time.Second)
			f.pass(time.Second)
			f.store.answers(takes(map[keystore.Scope]time.Duration{scope: 200 * ms}))
			began := time.Now()
			f.announce(scope)
			f.pass(time.Second)
			assert.Equal(t, reading{confirmed: began}, f.State().own(scope), name)

			f.store.answers(fails(scope))
			failed := time.Now()
			f.announce(scope)
			assert.Equal(t, reading{confirmed: began, failed: failed, err: errBroken}, f.State().own(scope), name)
		}
	})
}

func TestAFailureOfAMeshThatAPeerMadeUpIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a")...), time.Hour)
		f.pass(time.Second)
		f.store.answers(fails("made-up", "announced", "a"))
		f.token(t.Context(), "made-up").isAnswered(f.since(), errBroken)
		assert.Equal(t, reading{}, f.State().own("made-up"))
		f.token(t.Context(), "a").isAnswered(f.since(), errBroken)
		assert.Error(t, f.State().own("a").err)
		f.announce("announced")
		assert.Error(t, f.State().own("announced").err)
	})
}

// slow is a store whose read of everything takes two seconds. What is announced meanwhile is
// read beside it.
func slow(t *testing.T, names ...string) *followed {
	f := follows(t, dataplanes, newScript(meshesOf(names...)...), time.Hour)
	f.pass(time.Second)
	f.store.answers(takes(map[keystore.Scope]time.Duration{keystore.AllScopes: 2 * time.Second}))
	return f
}

func TestAReadOfEverythingDoesNotUndoWhatALaterReadHasFound(t *testing.T) {
	for name, c := range map[string]struct {
		before func(*followed) // the read of everything begins
		after  func(*followed)
		has    bool
		list   string
	}{
		"a mesh was emptied": {after: func(f *followed) {
			f.store.drop("a", listOfA)
			f.announce("a")
		}},
		"a mesh was emptied, as a token has found": {after: func(f *followed) {
			f.store.drop("a", listOfA)
			f.token(f.t.Context(), "a").isAnswered(f.since(), nil)
		}},
		"a new mesh was emptied before it was known": {
			before: func(f *followed) {
				f.store.drop("a", listOfA)
				f.announce("a")
				f.store.put(holding("a", listOfA, "x"))
			},
			after: func(f *followed) {
				f.store.drop("a", listOfA)
				f.announce("a")
			},
		},
		"a list was written": {after: func(f *followed) {
			f.store.put(holding("a", listOfA, "later"))
			f.announce("a")
		}, has: true, list: "later"},
		"a mesh is new": {before: func(f *followed) {
			f.store.drop("a", listOfA)
			f.announce("a")
		}, after: func(f *followed) {
			f.store.put(holding("a", listOfA, "later"))
			f.announce("a")
		}, has: true, list: "later"},
		"a mesh was emptied, and is there again": {after: func(f *followed) {
			f.store.drop("a", listOfA)
			f.announce("a")
			f.pass(100 * ms)
			f.store.put(holding("a", listOfA, "again"))
			f.announce("a")
		}, has: true, list: "again"},
		"nothing has changed": {after: func(f *followed) { f.announce("a") }, has: true, list: "x"},
		"it was not read":     {after: func(f *followed) { f.store.drop("a", listOfA) }, has: true, list: "x"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := slow(t, "a", "b")
				if c.before != nil {
					c.before(f)
				}
				f.announce(keystore.AllScopes)
				f.pass(time.Second)
				c.after(f)
				f.pass(1500 * ms)
				assert.Equal(t, c.has, f.State().Has("a"))
				if c.has {
					assert.True(t, f.State().scopes.get("a").lists[listID{owner: "a"}].ids.Contains(c.list))
				}
				f.pass(5 * time.Second)
				f.announce(keystore.AllScopes) // reads what there is now
				f.pass(3 * time.Second)
				assert.Equal(t, len(f.store.records) == 2, f.State().Has("a"))
			})
		})
	}
}

// A read of one mesh began before that of everything, and ends meanwhile.
func TestAnOlderReadOfAMeshDoesNotUndoWhatEverythingWillShow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a", "b")...), time.Hour)
		f.pass(time.Second)
		f.store.drop("a", listOfA)
		f.store.answers(takes(map[keystore.Scope]time.Duration{"a": 2 * time.Second, keystore.AllScopes: 3 * time.Second}))
		f.announce("a") // until 2 s
		f.pass(time.Second)
		f.store.put(holding("a", listOfA, "again"))
		f.announce(keystore.AllScopes) // until 4 s
		f.pass(1500 * ms)
		assert.False(t, f.State().Has("a"))
		f.pass(2 * time.Second)
		assert.True(t, f.State().Has("a"))
	})
}

// A read of one mesh began before that of everything, and ends after it.
func TestAReadOfAMeshThatAReadOfEverythingHasOvertakenChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a", "b")...), time.Hour)
		f.pass(time.Second)
		f.store.answers(takes(map[keystore.Scope]time.Duration{"a": 2 * time.Second}))
		f.announce("a")
		f.pass(time.Second)
		f.store.put(holding("a", listOfA, "later"))
		f.announce(keystore.AllScopes)
		f.changes = nil
		before := f.State()
		f.pass(2 * time.Second)
		assert.True(t, f.State() == before)
		assert.Empty(t, f.changes)
		assert.True(t, before.scopes.get("a").lists[listID{owner: "a"}].ids.Contains("later"))
	})
}

func TestAStateKeepsWhatIsKnownOfScopesWithoutRecordsUntilEverythingIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := slow(t, "a")
		f.announce("before")
		f.announce(keystore.AllScopes)
		f.pass(time.Second)
		meanwhile := time.Now()
		f.announce("meanwhile")
		f.pass(2 * time.Second)
		assert.Equal(t, reading{}, f.State().own("before"))
		assert.Equal(t, reading{confirmed: meanwhile}, f.State().own("meanwhile"))
	})
}

func TestListsAstrayStayKnownWhileNothingChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unreadableScript{script: newScript(meshesOf("a")...)}
		store.unreadable.Store(denied("a", listOfB, keystore.ErrScopeUnknown))
		f := &followed{t: t, store: store.script, marked: time.Now()}
		f.Follower = Follow(dataplanes, store, []string{dataplanes.Prefix}, time.Hour, limit.NewGate(10), Events{Changed: func(Change) {}, Reads: func(error) {}})
		defer f.Close()
		synctest.Wait()
		for range 3 {
			assert.ErrorIs(t, f.State().CheckRevoked("b", "1", claimsWithID("x")), token.ErrUnavailable)
			f.announce(keystore.AllScopes)
		}
		store.unreadable.Store(nil)
		f.announce(keystore.AllScopes)
		assert.NoError(t, f.State().CheckRevoked("b", "1", claimsWithID("x")))
	})
}

// unreadableScript is a script with a record that cannot be read.
type unreadableScript struct {
	*script
	unreadable atomic.Pointer[keystore.Error]
}

func (s *unreadableScript) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	records, err := s.script.List(ctx, scope, prefix)
	if one := s.unreadable.Load(); one != nil && err == nil {
		err = keystore.Unreadable([]*keystore.Error{one})
	}
	return records, err
}

func TestAScopeWithUnreadableRecordsAloneIsKnown(t *testing.T) {
	for name, family := range map[string]*Family{"of dataplanes": dataplanes, "of zones": zones} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				scope, record := keystore.Scope("a"), listOfA
				if family == zones {
					scope, record = keystore.Global, "zone-token-revocations"
				}
				store := &unreadableScript{script: newScript()}
				store.unreadable.Store(denied(scope, record, errDenied))
				f := &followed{t: t, store: store.script, marked: time.Now()}
				f.Follower = Follow(family, store, []string{family.Prefix}, time.Hour, limit.NewGate(10), Events{Changed: func(Change) {}, Reads: func(error) {}})
				defer f.Close()
				synctest.Wait()
				assert.True(t, f.State().Has(scope))
				f.announce(scope)
				assert.True(t, f.State().Has(scope))
				assert.ErrorIs(t, f.State().CheckRevoked(scope, "1", claimsWithID("x")), errDenied)
			})
		})
	}
}

func TestAFamilyOfOneScopeIsThereWhileItHasRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(holding("", "zone-token-revocations", "x"), holding("a", listOfA, "x"))
		f := follows(t, zones, store, time.Hour)
		assert.True(t, f.State().Has(keystore.Global))
		assert.ErrorIs(t, f.State().CheckRevoked(keystore.Global, "1", claimsWithID("x")), token.ErrRevoked)
		store.drop("", "zone-token-revocations")
		f.announce(keystore.AllScopes)
		assert.False(t, f.State().Has(keystore.Global))
		assert.Equal(t, []string{"", "-"}, f.changes)
	})
}

func TestARecordIsUnreadableSinceTheReadBeganThatKnewItLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(holding("a", "dataplane-token-signing-key-a-1", "damaged"))
		store.answers(takes(map[keystore.Scope]time.Duration{keystore.AllScopes: 3 * time.Second, "b": 200 * ms}))
		first := time.Now()
		f := follows(t, dataplanes, store, time.Hour)
		f.pass(5 * time.Second)
		assert.Equal(t, first, f.State().scopes.get("a").unreadable["1"], "it was not read before")
		damaged := holding("b", "dataplane-token-signing-key-b-1", "damaged")
		store.put(damaged)
		f.announce("b")
		f.pass(time.Second)
		assert.Equal(t, first, f.State().scopes.get("b").unreadable["1"], "it was not there then")

		store.put(holding("b", listOfB, "x"))
		f.announce(keystore.AllScopes)
		f.pass(5 * time.Second)
		assert.Len(t, f.State().scopes.get("b").lists, 1)
		assert.Equal(t, first, f.State().scopes.get("b").unreadable["1"], "as before")

		store.drop(damaged.Scope, damaged.Name)
		f.announce("b")
		second := time.Now()
		f.pass(5 * time.Second)
		store.put(damaged)
		f.announce(keystore.AllScopes)
		f.pass(5 * time.Second)
		assert.Equal(t, second, f.State().scopes.get("b").unreadable["1"], "the latest read of the mesh alone")
	})
}

func TestARecordIsUnreadableSinceTheFirstReadThatSucceededBegan(t *testing.T) {
	for name, c := range map[string]struct {
		answer answerFunc
		scope  keystore.Scope // of that read
	}{
		"of everything": {nil, keystore.AllScopes},
		"of its mesh":   {fails(keystore.AllScopes), "a"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newScript(holding("a", "dataplane-token-signing-key-a-1", "damaged"))
				store.answers(allFail)
				f := follows(t, dataplanes, store, time.Hour)
				f.pass(10 * time.Second)
				f.mark()
				store.answers(c.answer)
				f.announce(c.scope)
				f.pass(time.Second)
				began := f.marked.Add(f.timesOf(c.scope)[0])
				assert.Equal(t, began, f.State().scopes.get("a").unreadable["1"])
			})
		})
	}
}

func TestStalenessCountsFromTheBeginningOfTheLatestReadOfEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a")...)
		store.answers(allFail)
		f := follows(t, dataplanes, store, time.Hour)
		_, read := f.Staleness()
		assert.False(t, read, "a failed read is none")
		store.answers(takes(map[keystore.Scope]time.Duration{keystore.AllScopes: 2 * time.Second}))
		f.pass(10 * time.Second)
		all := f.timesOf(keystore.AllScopes)
		stale, read := f.Staleness()
		assert.True(t, read)
		assert.Equal(t, f.since()-all[len(all)-1], stale)

		f.mark()
		store.answers(fails("a", keystore.AllScopes))
		f.announce("b", keystore.AllScopes)
		f.pass(time.Second)
		later, _ := f.Staleness()
		assert.Equal(t, stale+time.Second, later, "what fails, and the read of a scope alone, confirm nothing")
	})
	synctest.Test(t, func(t *testing.T) {
		store := newScript()
		store.answers(hangs(keystore.AllScopes))
		f := follows(t, dataplanes, store, time.Hour)
		stale, read := f.Staleness()
		assert.False(t, read)
		assert.Zero(t, stale)
		assert.Nil(t, f.State())
	})
}

func TestAStateIsOverdueWhenTheNextReadShouldHaveEnded(t *testing.T) {
	for limit, overdue := range map[time.Duration]time.Duration{
		0: 2 * time.Second, 400 * ms: 500 * ms, 10 * time.Second: 10 * time.Second, 59 * time.Second: 59 * time.Second,
		time.Minute: 35 * time.Second, time.Hour: 35 * time.Second,
	} {
		t.Run(limit.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := follows(t, dataplanes, newScript(meshesOf("a")...), limit)
				read := time.Now()
				assert.NoError(t, f.State().CheckAge("a", read.Add(overdue), 0))
				assert.ErrorIs(t, f.State().CheckAge("a", read.Add(overdue+1), 0), errOverdue)
				f.pass(ms)
				f.store.answers(allFail)
				f.announce(keystore.AllScopes)
				assert.Equal(t, overdue, f.State().overdue)
				assert.ErrorIs(t, f.State().CheckAge("a", time.Now(), 0), errBroken)
			})
			synctest.Test(t, func(t *testing.T) {
				store := newScript()
				store.answers(allFail)
				f := follows(t, dataplanes, store, limit)
				assert.Equal(t, overdue, f.State().overdue, "also before the first good read")
			})
		})
	}
}

func TestAReadMaySucceedAloneOnlyWhereThatIsKnownOrNothingIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a")...)
		store.answers(allFail)
		f := follows(t, dataplanes, store, time.Hour)
		assert.True(t, f.MayRead("a"), "nothing was read")
		store.answers(nil)
		f.pass(time.Second)
		assert.False(t, f.MayRead("a"))
		store.answers(allFail)
		f.announce(keystore.AllScopes)
		assert.False(t, f.MayRead("a"), "every read fails")
	})
}

// scopewise gives each scope after a time, and heeds no context.
type scopewise struct {
	*script
	each  time.Duration
	again bool
	given atomic.Int32
	err   atomic.Pointer[error]
}

func (s *scopewise) ListScopes(_ context.Context, _ string, begin func() keystore.EachScope) error {
	each := begin()
	for i, r := range s.records {
		time.Sleep(s.each)
		if s.again && i == 1 {
			each = begin()
			if err := each(s.records[0].Scope, s.records[:1], nil); err != nil {
				return err
			}
		}
		s.given.Add(1)
		if err := each(r.Scope, []keystore.Record{r}, nil); err != nil {
			s.err.Store(&err)
			return err
		}
	}
	return nil
}

func TestAScopeThatIsGivenIsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scopewise{script: newScript(meshesOf("a", "b", "c", "d")...), each: 4 * time.Second}
		f := followsScopewise(t, s)
		f.pass(16 * time.Second)
		_, read := f.Staleness()
		assert.True(t, read)
		assert.Len(t, f.changes, 4)
	})
}

func TestAReadThatIsGivenUpTakesNoMoreScopes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scopewise{script: newScript(meshesOf("a", "b", "c", "d")...), each: time.Second}
		f := followsScopewise(t, s)
		f.pass(1500 * ms)
		f.Close()
		f.pass(time.Minute)
		assert.EqualValues(t, 2, s.given.Load())
		assert.ErrorIs(t, *s.err.Load(), context.Canceled)
	})
}

func TestAReadThatBeginsAnewHasOnlyWhatIsGivenSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &scopewise{script: newScript(meshesOf("a", "b", "c")...), again: true}
		f := followsScopewise(t, s)
		assert.ElementsMatch(t, []string{"a", "b", "c"}, f.changes)
		assert.Empty(t, f.failing)
		s.records = append(s.records, s.records[2])
		f.announce(keystore.AllScopes)
		require.NotEmpty(t, f.failing)
		assert.ErrorContains(t, f.failing[0], `listed scope "c" twice`)
	})
}

// followsScopewise follows a store whose reads of everything go scope by scope.
func followsScopewise(t *testing.T, s *scopewise) *followed {
	f := &followed{t: t, store: s.script, marked: time.Now()}
	f.Follower = Follow(dataplanes, s, []string{dataplanes.Prefix}, time.Hour, limit.NewGate(10), Events{
		Changed: func(c Change) { f.changes = append(f.changes, string(c.Scope)) },
		Reads:   func(err error) { f.failing = append(f.failing, err) },
	})
	t.Cleanup(f.Close)
	synctest.Wait()
	return f
}

func TestRecordsMustBeSortedThereOnceAndOfTheScopeThatWasRead(t *testing.T) {
	a, b, global := holding("a", listOfA, ""), holding("b", listOfB, ""), holding("", listOfB, "")
	listed := func(scope keystore.Scope, all ...keystore.Record) error {
		return checkListed(scope, found{records: all})
	}
	unreadable := func(scope keystore.Scope, err *keystore.Error) error {
		return checkListed(scope, found{unreadable: []*keystore.Error{err}})
	}
	assert.NoError(t, listed(keystore.AllScopes))
	assert.NoError(t, listed(keystore.AllScopes, global, a, b))
	assert.NoError(t, listed("a", a))
	for _, wrong := range [][]keystore.Record{{a, a}, {b, a}, {global, a, b, b}, {a, global}, {a, b, global}} {
		assert.ErrorContains(t, listed(keystore.AllScopes, wrong...), "want every record once")
	}
	assert.ErrorContains(t, listed("a", b), `of scope "b" in scope "a"`)
	assert.NoError(t, unreadable("a", denied("a", listOfA, errDenied)))
	assert.NoError(t, unreadable(keystore.AllScopes, denied("a", listOfA, errDenied)))
	assert.NoError(t, unreadable("a", denied("b", listOfA, keystore.ErrScopeUnknown)))
	assert.ErrorContains(t, unreadable("a", denied("b", listOfA, errDenied)), `of scope "b" in scope "a"`)
}

func TestReadsWithSeveralPrefixesFindWhatEachOfThemFinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(holding("", listOfB, "x"), holding("a", listOfA, "x"), holding("a", cutoffsOfA, ""),
			holding("a", "dataplane-token-signing-key-a-1", "secret"))
		f := &followed{t: t, store: store, marked: time.Now()}
		f.Follower = Follow(dataplanes, store, []string{"dataplane-token-revocations-", "dataplane-token-cutoffs-"}, time.Hour, limit.NewGate(10),
			Events{Changed: func(Change) {}, Reads: func(err error) { f.failing = append(f.failing, err) }})
		t.Cleanup(f.Close)
		synctest.Wait()
		for range 2 {
			assert.Len(t, f.State().scopes.get("a").lists, 2)
			assert.Len(t, f.State().scopes.get(keystore.Global).lists, 1)
			assert.Empty(t, f.State().scopes.get("a").keyIDs())
			store.put(holding("a", listOfA, "y"))
			f.announce("a")
		}
		store.answers(func(_ context.Context, scope keystore.Scope) error {
			if scope == keystore.AllScopes {
				return errors.Join(errBroken)
			}
			return nil
		})
		f.announce(keystore.AllScopes)
		require.Len(t, f.failing, 1)
		assert.ErrorIs(t, f.failing[0], errBroken)
	})
}

func TestARecordThatIsListedTwiceMakesAReadFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a")...)
		f := follows(t, dataplanes, store, time.Hour)
		store.mu.Lock()
		store.records = append(store.records, store.records[0])
		store.mu.Unlock()
		f.announce("a")
		assert.ErrorContains(t, f.State().own("a").err, "want every record once")
		f.announce(keystore.AllScopes)
		require.NotEmpty(t, f.failing)
		assert.ErrorContains(t, f.failing[0], "want every record once")
	})
}

func TestAFollowerIsClosedOnceTheStoreIsNotInUseOrAfterFiveSeconds(t *testing.T) {
	for takes, want := range map[time.Duration]time.Duration{0: 0, 3 * time.Second: 3 * time.Second, 7 * time.Second: 5 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			f := Follow(dataplanes, newScript(), []string{dataplanes.Prefix}, time.Hour, limit.NewGate(1), Events{Changed: func(Change) {}, Reads: func(error) {}})
			f.store.(*script).answers(func(context.Context, keystore.Scope) error { time.Sleep(takes); return nil })
			synctest.Wait()
			began := time.Now()
			f.Close()
			assert.Equal(t, want, time.Since(began))
			time.Sleep(10 * time.Second) // until the call has returned
		})
	}
}

// More meshes are emptied while everything is read than a state remembers.
func TestNoMeshComesBackThatWasEmptiedWhileEverythingWasRead(t *testing.T) {
	const many = maxEmpty + 100
	var names []string
	for i := range many {
		names = append(names, string(meshName(i)))
	}
	empty := func(f *followed) {
		for _, name := range names {
			f.store.drop(keystore.Scope(name), "dataplane-token-revocations-"+name)
		}
	}
	for name, c := range map[string]struct {
		known, tokens bool
	}{
		"announced":                 {known: true},
		"announced, and not known":  {},
		"found by reads for tokens": {known: true, tokens: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newScript()
				if c.known {
					store = newScript(meshesOf(names...)...)
				}
				f := followsWith(t, dataplanes, store, time.Hour, limit.NewGate(many))
				f.pass(time.Second)
				store.mu.Lock()
				store.records = meshesOf(names...)
				store.mu.Unlock()
				store.answers(takes(map[keystore.Scope]time.Duration{keystore.AllScopes: 2 * time.Second}))
				f.announce(keystore.AllScopes)
				f.pass(time.Second)
				empty(f)
				for i := range many {
					if c.tokens {
						go func() { _ = f.Reread(t.Context(), meshName(i), func() bool { return false }) }()
					} else {
						f.store.announced <- meshName(i)
					}
				}
				f.pass(1500 * ms)
				assert.Zero(t, f.State().scopes.len)
			})
		})
	}
}
