package etcdtest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
)

// watching is a call of Watch, or of Follow, with what it announced.
type watching struct {
	tb   testing.TB
	lost chan error // what Watch returned

	mu    sync.Mutex
	calls []keystore.Scope
}

// watch watches the store until the test ends.
func watch(tb testing.TB, store keystore.Watcher) *watching {
	return begin(tb, store.Watch)
}

// follow follows the store until the test ends.
func follow(tb testing.TB, store keystore.KeyStore) *watching {
	return begin(tb, func(ctx context.Context, changed func(keystore.Scope)) error {
		keystore.Follow(ctx, store, changed)
		return nil
	})
}

func begin(tb testing.TB, run func(context.Context, func(keystore.Scope)) error) *watching {
	w := &watching{tb: tb, lost: make(chan error, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.lost <- run(ctx, func(scope keystore.Scope) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.calls = append(w.calls, scope)
		})
	}()
	tb.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}

// await waits for an announcement of the scope, and forgets the ones up to it.
func (w *watching) await(scope keystore.Scope) {
	w.tb.Helper()
	require.Eventually(w.tb, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		at := slices.Index(w.calls, scope)
		w.calls = w.calls[at+1:]
		return at >= 0
	}, patience, 5*time.Millisecond, "%q was not announced", string(scope))
}

// awaitLoss waits until the watch is lost and returns why.
func (w *watching) awaitLoss(within time.Duration) error {
	w.tb.Helper()
	select {
	case err := <-w.lost:
		return err
	case <-time.After(within):
		require.FailNow(w.tb, "the watch was not lost")
		return nil
	}
}

func create(tb testing.TB, store keystore.KeyStore, scope keystore.Scope, name, data string) keystore.Record {
	tb.Helper()
	r, err := store.Create(context.Background(), keystore.Record{Scope: scope, Name: name, Data: []byte(data)})
	require.NoError(tb, err)
	return r
}

func TestWatchIsLostWithItsConnectionAndSaysSo(t *testing.T) {
	p := startProxy(t, startCluster(t, 1).members[0])
	w := watch(t, p.open(t))
	w.await(keystore.AllScopes)
	p.cut(t)
	require.ErrorContains(t, w.awaitLoss(patience), "watch lost")
}

func TestWatchWaitsForAConnection(t *testing.T) {
	p := startProxy(t, startCluster(t, 1).members[0])
	p.cut(t)
	w := watch(t, p.open(t))
	p.mend(t)
	w.await(keystore.AllScopes)
}

func TestWatchThatLostItsConnectionFindsWhatItMissed(t *testing.T) {
	c := startCluster(t, 1)
	p := startProxy(t, c.members[0])
	reader, writer := p.open(t), open(t, c.config())
	followed := follow(t, reader)
	followed.await(keystore.AllScopes)
	p.cut(t)
	create(t, writer, "default", "key-1", "content")
	p.mend(t)
	followed.await(keystore.AllScopes)
	_, err := reader.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
}

func TestWatchFindsWhatWasCompactedWhileItHadNoConnection(t *testing.T) {
	c := startCluster(t, 1)
	p := startProxy(t, c.members[0])
	reader, writer := p.open(t), open(t, c.config())
	create(t, writer, "default", "key-1", "content")
	followed := follow(t, reader)
	followed.await(keystore.AllScopes)
	p.cut(t)
	require.NoError(t, writer.Delete(t.Context(), "default", "key-1"))
	last := create(t, writer, "other", "key-2", "content")
	var revision int64
	_, err := fmt.Sscan(last.Version, &revision)
	require.NoError(t, err)
	_, err = connect(t, c.config()).Compact(t.Context(), revision)
	require.NoError(t, err)
	p.mend(t)
	followed.await(keystore.AllScopes)
	records, err := reader.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Len(t, records, 1)
	require.Equal(t, last.Version, records[0].Version)
	create(t, writer, "default", "key-1", "content")
	followed.await("default")
}

func TestWatchOverAConnectionThatHasGoneSilentIsLost(t *testing.T) {
	t.Parallel() // it waits for most of its time
	p := startProxy(t, startCluster(t, 1).members[0])
	w := watch(t, p.open(t))
	w.await(keystore.AllScopes)
	p.silence(t)
	began := time.Now()
	require.Error(t, w.awaitLoss(time.Minute)) // 13 s is the goal: gRPC's least time between pings, and 3 s
	t.Logf("lost after %s", time.Since(began).Round(time.Millisecond))
}

func TestWatchOnAMemberWithoutALeaderIsLost(t *testing.T) {
	c := startCluster(t, 3)
	config := c.config()
	config.Endpoints = config.Endpoints[:1]
	w := watch(t, open(t, config))
	w.await(keystore.AllScopes)
	c.cutOff(0)
	require.ErrorContains(t, w.awaitLoss(patience), "no leader")
}

func TestWatchAnnouncesAChangeForItsScopeOnly(t *testing.T) {
	c := startCluster(t, 1)
	prefix := newPrefix()
	store := open(t, c.config(), etcd.WithPrefix(prefix))
	below := open(t, c.config(), etcd.WithPrefix(prefix+"below"))
	w := watch(t, store)
	w.await(keystore.AllScopes)
	create(t, below, "others", "key-1", "content")
	_, err := connect(t, c.config()).Put(t.Context(), prefix+"meshes/foreign", "of no record")
	require.NoError(t, err)
	create(t, store, "default", "key-1", "content")
	create(t, store, keystore.Global, "key-1", "content")
	require.Eventually(t, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.calls) >= 2
	}, patience, 5*time.Millisecond)
	require.ElementsMatch(t, []keystore.Scope{"default", keystore.Global}, w.calls)
}

func TestWatchThatWasHeldUpAnnouncesEveryScopeAfterwards(t *testing.T) {
	const n = 40 // MiB, more than all buffers between
	store := open(t, startCluster(t, 1).config())
	held, goOn := make(chan struct{}), make(chan struct{})
	var first sync.Once
	w := begin(t, func(ctx context.Context, changed func(keystore.Scope)) error {
		return store.Watch(ctx, func(scope keystore.Scope) {
			first.Do(func() {
				close(held)
				<-goOn
			})
			changed(scope)
		})
	})
	<-held
	for i := range n {
		create(t, store, keystore.Scope(fmt.Sprintf("mesh-%02d", i)), "key-1", string(make([]byte, etcd.MaxData)))
	}
	close(goOn)
	for i := range n {
		w.await(keystore.Scope(fmt.Sprintf("mesh-%02d", i)))
	}
	require.Empty(t, w.lost)
}

func TestWatchWhoseBacklogWasCompactedIsLostAndTheNextOneAnnouncesAllScopes(t *testing.T) {
	c := startCluster(t, 1)
	store, writer := open(t, c.config()), open(t, c.config())
	held, goOn := make(chan struct{}), make(chan struct{})
	var first sync.Once
	ended := make(chan error, 1) // what the first watch returned
	w := begin(t, func(ctx context.Context, changed func(keystore.Scope)) error {
		ended <- store.Watch(ctx, func(scope keystore.Scope) {
			first.Do(func() {
				close(held)
				<-goOn
			})
			changed(scope)
		})
		return store.Watch(ctx, changed)
	})
	<-held
	// More than all buffers between hold: 10 MiB stop the stream, and then more
	// events than etcd keeps for one watch.
	for i := range 10 {
		create(t, writer, "large", fmt.Sprint("key-", i), string(make([]byte, etcd.MaxData)))
	}
	client := connect(t, c.config())
	var revision int64
	for i := range 500 {
		response, err := client.Put(t.Context(), "/meshpass/meshes/small/key-1", fmt.Sprint(i))
		require.NoError(t, err)
		revision = response.Header.Revision
	}
	_, err := client.Compact(t.Context(), revision)
	require.NoError(t, err)
	close(goOn)
	select {
	case err := <-ended:
		require.ErrorContains(t, err, "compacted")
	case <-time.After(patience):
		require.FailNow(t, "a watch goes on that misses what was compacted")
	}
	w.await(keystore.AllScopes) // of the first watch
	w.await(keystore.AllScopes)
	create(t, writer, "default", "key-1", "content")
	w.await("default")
}
