package replica

import (
	"context"
	"errors"
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

var errGone = errors.New("the peer has gone")

// hangs answers that reads of these scopes end when their context does.
func hangs(scopes ...keystore.Scope) answerFunc {
	return func(ctx context.Context, scope keystore.Scope) error {
		if fails(scopes...)(ctx, scope) != nil {
			<-ctx.Done()
			return ctx.Err()
		}
		return nil
	}
}

func TestATokenWaitsASecondForAReadAndForABitLongerForOneThatBeganLate(t *testing.T) {
	for name, c := range map[string]struct {
		began   time.Duration // of the read, which the tokens before have put off until then
		answers answerFunc
		waits   time.Duration
		want    error
	}{
		"it has begun at once, and hangs":    {0, hangs("a"), time.Second, token.ErrUnavailable},
		"it takes not quite a second":        {0, takes(map[keystore.Scope]time.Duration{"a": 999 * ms}), 999 * ms, nil},
		"it takes more than a second":        {0, takes(map[keystore.Scope]time.Duration{"a": 1001 * ms}), time.Second, token.ErrUnavailable},
		"it begins after 750 ms, and hangs":  {750 * ms, hangs("a"), time.Second, token.ErrUnavailable},
		"it begins a bit later":              {750*ms + 1, hangs("a"), time.Second + 1, token.ErrUnavailable},
		"it begins after 900 ms, and hangs":  {900 * ms, hangs("a"), 1150 * ms, token.ErrUnavailable},
		"it begins after 900 ms, and ends":   {900 * ms, takes(map[keystore.Scope]time.Duration{"a": 249 * ms}), 1149 * ms, nil},
		"it begins after a second":           {time.Second, takes(map[keystore.Scope]time.Duration{"a": 249 * ms}), 1249 * ms, nil},
		"it begins after a second and hangs": {time.Second, hangs("a"), 1250 * ms, token.ErrUnavailable},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newScript(meshesOf("a")...)
				f := follows(t, dataplanes, store, time.Hour)
				f.pass(time.Second)
				if c.began > 0 {
					f.token(t.Context(), "a").isAnswered(f.since(), nil)
					f.pass(time.Second - c.began)
				}
				store.answers(c.answers)
				f.mark()
				f.token(t.Context(), "a").isAnswered(c.waits, c.want)
				assert.Equal(t, []time.Duration{c.began}, f.timesOf("a"))
			})
		})
	}
}

// since returns the time since the latest mark.
func (f *followed) since() time.Duration { return time.Since(f.marked) }

func TestATokenWaitsTenMillisecondsMoreForAReadThatCouldNotBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a", "b", "c", "d")...)
		f := follows(t, dataplanes, store, time.Hour)
		f.pass(time.Second)
		store.answers(hangs("b", "c", "d"))
		f.announce("b", "c", "d")
		f.pass(time.Second)
		f.mark()
		f.token(t.Context(), "a").isAnswered(1010*ms, token.ErrUnavailable)
		assert.Empty(t, f.reads())
		assert.NotContains(t, f.jobs, keystore.Scope("a"), "nobody waits for it any more")
	})
}

// A token has to wait until it may cause a read. Meanwhile everything is read.
func TestAReadOfEverythingAnswersTheTokensThatWait(t *testing.T) {
	// A read that a token causes may begin after may.
	waits := func(t *testing.T, may time.Duration, answers answerFunc, announcedAfter time.Duration) *waitingToken {
		store := newScript(meshesOf("a")...)
		f := follows(t, dataplanes, store, time.Hour)
		f.pass(time.Second)
		f.token(t.Context(), "a").isAnswered(f.since(), nil)
		f.pass(time.Second - may)
		store.answers(answers)
		f.mark()
		w := f.token(t.Context(), "a")
		f.pass(announcedAfter)
		f.announce(keystore.AllScopes)
		return w
	}
	all := func(takes time.Duration, otherwise answerFunc) answerFunc {
		return func(ctx context.Context, scope keystore.Scope) error {
			if scope == keystore.AllScopes {
				time.Sleep(takes)
				return nil
			}
			return otherwise(ctx, scope)
		}
	}
	t.Run("at once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) { waits(t, time.Second, nil, 300*ms).isAnswered(300*ms, nil) })
	})
	t.Run("also if it began late", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := waits(t, time.Second, all(200*ms, hangs("a")), 900*ms)
			w.isAnswered(1100*ms, nil)
			assert.Equal(t, []string{"all@900ms"}, w.f.reads())
		})
	})
	t.Run("but not if it takes longer than others may", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := waits(t, 600*ms, all(3*time.Second, fails()), 300*ms)
			w.isAnswered(600*ms, nil)
			assert.Equal(t, []string{"all@300ms", "a@600ms"}, w.f.reads())
			w.f.pass(5 * time.Second) // it ends
			assert.Len(t, w.f.reads(), 2)
		})
	})
	t.Run("but not after it was left to go on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := waits(t, 900*ms, all(500*ms, fails()), 100*ms)
			w.isAnswered(900*ms, nil)
			w.f.pass(5 * time.Second)
			assert.Equal(t, []string{"all@100ms", "a@900ms"}, w.f.reads())
		})
	})
	t.Run("and if it fails, the mesh is read alone", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := waits(t, time.Second, fails(keystore.AllScopes), 300*ms)
			w.isAnswered(300*ms, nil)
			assert.Equal(t, []time.Duration{300 * ms}, w.f.timesOf("a"))
		})
	})
	t.Run("and for tokens of one scope it is the only one", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			store := newScript()
			f := follows(t, zones, store, time.Hour)
			f.pass(time.Second)
			f.token(t.Context(), keystore.Global).isAnswered(f.since(), nil)
			store.answers(allFail)
			f.mark()
			w := f.token(t.Context(), keystore.Global)
			f.pass(300 * ms)
			f.announce(keystore.AllScopes)
			w.isAnswered(300*ms, errBroken)
		})
	})
}

// A read of everything answers a request. Another for the same mesh comes before it is known
// to take long.
func TestTokensOfOneMeshShareAReadWheneverTheyCame(t *testing.T) {
	for name, announced := range map[string]int{"tokens alone": 0, "the mesh changed before": 1, "and meanwhile": 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newScript(meshesOf("a")...)
				f := follows(t, dataplanes, store, time.Hour)
				f.pass(time.Second)
				f.token(t.Context(), "a").isAnswered(f.since(), nil)
				store.answers(takes(map[keystore.Scope]time.Duration{keystore.AllScopes: 4 * time.Second}))
				var first *waitingToken
				f.busy(100*ms, func() {
					f.announce(keystore.AllScopes)
					f.pass(50 * ms)
					first = f.token(t.Context(), "a")
					if announced == 1 {
						f.announce("a")
					}
				})
				f.pass(10 * ms)
				second := f.token(t.Context(), "a")
				if announced == 2 {
					f.announce("a")
				}
				f.pass(3 * time.Second)
				at := map[int]time.Duration{0: 900 * ms, 1: 250 * ms, 2: 250 * ms}[announced]
				assert.Equal(t, []time.Duration{at}, f.timesOf("a"))
				first.isAnswered(at, nil)
				second.isAnswered(at, nil)
				f.pass(10 * time.Second)
				assert.Len(t, f.timesOf("a"), 1)
			})
		})
	}
}

func TestATokenThatLeavesTakesItsRequestAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a")...), time.Hour)
		f.pass(time.Second)
		f.token(t.Context(), "a").isAnswered(f.since(), nil)
		f.mark()
		ctx, leave := context.WithCancelCause(t.Context())
		leaving := f.token(ctx, "a")
		f.pass(100 * ms)
		leave(errGone)
		leaving.isAnswered(100*ms, token.ErrUnavailable)
		f.pass(5 * time.Second)
		assert.Empty(t, f.reads())
		assert.Empty(t, f.jobs)

		f.token(t.Context(), "a").isAnswered(f.since(), nil)
		f.mark()
		ctx, leave = context.WithCancelCause(t.Context())
		leaving, staying := f.token(ctx, "a"), f.token(t.Context(), "a")
		leave(errGone)
		leaving.isAnswered(0, errGone)
		staying.isAnswered(time.Second, nil)
		assert.Equal(t, []string{"a@1s"}, f.reads())

		f.busy(100*ms, func() {
			ctx, leave := context.WithCancelCause(t.Context())
			leaving := f.token(ctx, "a")
			f.announce("a") // is to be read for another reason too
			leave(errGone)
			assert.ErrorIs(t, <-leaving.answers, errGone)
		})
		assert.Equal(t, []string{"a@0s"}, f.reads())
	})
}

func TestATokenWaitsNoLongerThanUntilItHasSeenEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a", "b")...)
		f := follows(t, dataplanes, store, time.Hour)
		f.pass(time.Second)
		store.answers(hangs("a"))
		f.mark()
		var enough atomic.Bool
		answered := make(chan error)
		go func() { answered <- f.Reread(t.Context(), "a", enough.Load) }()
		f.pass(300 * ms)
		enough.Store(true)
		f.pass(100 * ms) // nobody has told the token
		f.announce("b")  // its state is another one
		assert.NoError(t, <-answered)
		assert.Equal(t, 400*ms, f.since())
	})
}

func TestTokensWaitForTheFirstReadAndForNoMoreThanItsEnd(t *testing.T) {
	for name, c := range map[string]struct {
		answers answerFunc
		waits   time.Duration
		want    error
		state   bool
	}{
		"it ends at once":    {nil, 0, nil, true},
		"it takes 700 ms":    {takes(map[keystore.Scope]time.Duration{keystore.AllScopes: 700 * ms}), 700 * ms, nil, true},
		"it fails":           {allFail, 0, nil, true},
		"it takes too long":  {takes(map[keystore.Scope]time.Duration{keystore.AllScopes: 4 * time.Second}), time.Second, token.ErrUnavailable, false},
		"it hangs with them": {hangs(keystore.AllScopes), time.Second, token.ErrUnavailable, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := newScript(meshesOf("a")...)
				store.answers(c.answers)
				f := follows(t, dataplanes, store, time.Hour)
				s, err := f.Loaded(t.Context())
				assert.ErrorIs(t, err, c.want)
				assert.Equal(t, c.state, s != nil)
				assert.Equal(t, c.waits, f.since())
				assert.True(t, s == f.State())
			})
		})
	}
}

func TestATokenThatFindsNoRoomToWaitIsAnsweredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a")...)
		store.answers(takes(map[keystore.Scope]time.Duration{keystore.AllScopes: 500 * ms}))
		f := followsWith(t, dataplanes, store, time.Hour, limit.NewGate(1))
		loaded := make(chan error)
		go func() { _, err := f.Loaded(t.Context()); loaded <- err }()
		synctest.Wait()
		s, err := f.Loaded(t.Context())
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.Nil(t, s)
		assert.ErrorIs(t, f.Reread(t.Context(), "b", func() bool { return true }), token.ErrUnavailable)
		assert.Zero(t, f.since())
		assert.NoError(t, <-loaded)

		f.pass(time.Second)
		store.answers(takes(map[keystore.Scope]time.Duration{"a": 500 * ms}))
		f.mark()
		for range 3 { // each leaves room for the next
			waits := f.token(t.Context(), "a")
			f.token(t.Context(), "b").isAnswered(f.since(), token.ErrUnavailable)
			require.NoError(t, <-waits.answers)
			f.pass(time.Second)
		}
		assert.Empty(t, f.timesOf("b"))
		_, err = f.Loaded(t.Context())
		assert.NoError(t, err)
	})
}

func TestTokensThatWaitAreToldWhenTheFollowerIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newScript(meshesOf("a")...)
		store.answers(hangs(keystore.AllScopes))
		f := follows(t, dataplanes, store, time.Hour)
		loaded := make(chan error)
		go func() { _, err := f.Loaded(t.Context()); loaded <- err }()
		rereads := f.token(t.Context(), "a")
		f.Close()
		assert.ErrorIs(t, <-loaded, token.ErrClosed)
		rereads.isAnswered(0, token.ErrClosed)
	})
}

// A read of everything answers no token whose mesh is being read alone: that read is made
// again for it.
func TestATokenWhoseMeshIsBeingReadWaitsForTheNextReadOfIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a")...), time.Hour)
		f.pass(time.Second)
		f.store.answers(takes(map[keystore.Scope]time.Duration{"a": 600 * ms}))
		f.announce("a")
		f.pass(300 * ms)
		f.store.answers(nil)
		f.mark()
		w := f.token(t.Context(), "a")
		f.announce(keystore.AllScopes)
		w.isAnswered(300*ms, nil)
		assert.Equal(t, []string{"all@0s", "a@300ms"}, f.reads())
	})
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(meshesOf("a")...), time.Hour)
		f.pass(time.Second)
		f.store.answers(hangs("a"))
		f.announce("a")
		f.pass(time.Second)
		f.mark()
		w := f.token(t.Context(), "a")
		f.pass(900 * ms)
		f.announce(keystore.AllScopes)
		w.isAnswered(1010*ms, token.ErrUnavailable)
	})
}

// A token may come before the first read has begun.
func TestATokenMayComeAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 20 {
			f := Follow(dataplanes, newScript(meshesOf("a")...), []string{dataplanes.Prefix}, time.Hour, limit.NewGate(1), Events{Changed: func(Change) {}, Reads: func(error) {}})
			assert.NoError(t, f.Reread(t.Context(), "a", func() bool { return false }))
			f.Close()
		}
	})
}

func TestATokenWaitsNoLongerForReadsThatBeginAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := follows(t, dataplanes, newScript(), time.Hour)
		d := &demand{done: make(chan struct{})}
		go func() {
			for range 20 {
				time.Sleep(95 * ms)
				d.begin(time.Now())
			}
		}()
		f.mark()
		assert.ErrorIs(t, f.await(t.Context(), d, func() bool { return false }), token.ErrUnavailable)
		assert.Equal(t, 1250*ms, f.since())
		f.pass(time.Second)
	})
}
