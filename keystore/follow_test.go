package keystore_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
)

// call is a call of changed, or of Watch.
type call struct {
	scope keystore.Scope
	at    time.Duration // since the test began
}

// follow calls Follow for so long, and returns the calls of changed.
func follow(store keystore.KeyStore, long time.Duration) (calls []call) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	keystore.Follow(ctx, store, func(scope keystore.Scope) {
		calls = append(calls, call{scope, time.Since(began)})
	})
	return calls
}

// unwatched hides the Watch of a store.
type unwatched struct{ keystore.KeyStore }

// watched is a store with a Watch of the test's choice.
type watched struct {
	keystore.KeyStore
	watch func(ctx context.Context, changed func(keystore.Scope)) error
}

func (w watched) Watch(ctx context.Context, changed func(keystore.Scope)) error {
	return w.watch(ctx, changed)
}

func TestFollowAsksEverySecondAboutAStoreThatCannotAnnounceChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := follow(unwatched{keystore.NewMemory()}, 3500*time.Millisecond)
		assert.Equal(t, []call{
			{keystore.AllScopes, 0},
			{keystore.AllScopes, 1 * time.Second},
			{keystore.AllScopes, 2 * time.Second},
			{keystore.AllScopes, 3 * time.Second},
		}, calls)
	})
}

func TestFollowPassesOnWhatAStoreAnnounces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		go func() {
			time.Sleep(time.Second)
			_, err := store.Create(context.Background(), keystore.Record{Scope: "default", Name: "key-1"})
			assert.NoError(t, err)
			time.Sleep(time.Second)
			assert.NoError(t, store.Delete(context.Background(), "default", "key-1"))
		}()
		calls := follow(store, time.Minute)
		assert.Equal(t, []call{
			{keystore.AllScopes, 0},
			{"default", 1 * time.Second},
			{"default", 2 * time.Second},
		}, calls)
	})
}

func TestFollowBeginsAnewWhenAWatchIsLost(t *testing.T) {
	for what, lost := range map[string]error{"with an error": errors.New("connection lost"), "without an error": nil} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				watches := 0
				store := watched{watch: func(ctx context.Context, changed func(keystore.Scope)) error {
					watches++
					changed(keystore.AllScopes)
					time.Sleep(10 * time.Second)
					changed("default")
					return lost
				}}
				calls := follow(store, 25*time.Second)
				require.Equal(t, 3, watches)
				require.Len(t, calls, 6)
				assert.Equal(t, call{keystore.AllScopes, 0}, calls[0])
				assert.Equal(t, call{"default", 10 * time.Second}, calls[1])
				for _, next := range []int{2, 4} { // it lasted long enough for the pause to be short each time
					assert.Equal(t, keystore.AllScopes, calls[next].scope)
					pause := calls[next].at - calls[next-1].at
					assert.LessOrEqual(t, pause, 100*time.Millisecond)
					assert.GreaterOrEqual(t, pause, 50*time.Millisecond)
				}
			})
		})
	}
}

func TestFollowPausesLongerEachTimeAWatchIsLostSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := follow(watched{watch: func(_ context.Context, changed func(keystore.Scope)) error {
			changed(keystore.AllScopes)
			return errors.New("connection lost")
		}}, time.Minute)
		require.Greater(t, len(calls), 10)
		want := 100 * time.Millisecond
		for i := range calls[1:] {
			assert.Equal(t, keystore.AllScopes, calls[i].scope)
			pause := calls[i+1].at - calls[i].at
			assert.LessOrEqual(t, pause, want)
			assert.GreaterOrEqual(t, pause, want/2)
			want = min(2*want, time.Second)
		}
	})
}

func TestFollowAsksAboutAStoreWhoseWatchCannotBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls := follow(watched{watch: func(context.Context, func(keystore.Scope)) error {
			return errors.New("not allowed to watch")
		}}, time.Minute)
		require.Greater(t, len(calls), 10)
		assert.Equal(t, call{keystore.AllScopes, 0}, calls[0])
		for i := range calls[1:] {
			assert.Equal(t, keystore.AllScopes, calls[i+1].scope)
			assert.LessOrEqual(t, calls[i+1].at-calls[i].at, time.Second)
		}
	})
}

func TestFollowReturnsWhenItsContextEnds(t *testing.T) {
	for what, store := range map[string]keystore.KeyStore{
		"while it watches": keystore.NewMemory(),
		"while it polls":   unwatched{keystore.NewMemory()},
		"while it pauses": watched{watch: func(context.Context, func(keystore.Scope)) error {
			return errors.New("connection lost")
		}},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				calls := follow(store, 30*time.Second)
				assert.Equal(t, 30*time.Second, time.Since(began))
				assert.NotEmpty(t, calls)
			})
		})
	}
	t.Run("which had ended before", func(t *testing.T) {
		assert.Empty(t, follow(keystore.NewMemory(), -time.Second))
		assert.Empty(t, follow(unwatched{keystore.NewMemory()}, -time.Second))
	})
}
