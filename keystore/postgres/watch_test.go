package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/keystore"
)

const (
	patience = 30 * time.Second      // for what must come
	tick     = 20 * time.Millisecond // between two looks at the server, each of which opens a connection
)

// watching is a call of Watch, or of Follow, that keeps what was announced.
type watching struct {
	t      *testing.T
	done   chan struct{} // closed when the call has returned
	err    error         // what it returned
	cancel context.CancelFunc

	mu    sync.Mutex
	calls []keystore.Scope
}

// watch watches the store until the test ends.
func watch(t *testing.T, store keystore.Watcher) *watching {
	t.Helper()
	return begin(t, store.Watch)
}

func follow(t *testing.T, store keystore.KeyStore) *watching {
	t.Helper()
	return begin(t, func(ctx context.Context, changed func(keystore.Scope)) error {
		keystore.Follow(ctx, store, changed)
		return ctx.Err()
	})
}

func begin(t *testing.T, call func(ctx context.Context, changed func(keystore.Scope)) error) *watching {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watching{t: t, done: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(w.done)
		w.err = call(ctx, func(scope keystore.Scope) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.calls = append(w.calls, scope)
		})
	}()
	t.Cleanup(func() {
		cancel()
		<-w.done
	})
	return w
}

// forget forgets the calls until now.
func (w *watching) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = nil
}

func (w *watching) heard() []keystore.Scope {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.calls)
}

// waitFor waits until there has been a call with the scope.
func (w *watching) waitFor(scope keystore.Scope) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		select {
		case <-w.done:
			w.t.Errorf("the call ended with %v", w.err)
			return true
		default:
			return slices.Contains(w.heard(), scope)
		}
	}, patience, time.Millisecond, "a call with %q", scope)
}

// waitUntilWatching makes changes in a scope until one is announced. As long as
// there is no watch, only AllScopes is.
func (w *watching) waitUntilWatching(writer keystore.KeyStore) {
	w.t.Helper()
	const scope = "watched"
	w.forget()
	for giveUp := time.Now().Add(patience); !slices.Contains(w.heard(), scope); time.Sleep(10 * time.Millisecond) {
		_, err := writer.Create(w.t.Context(), keystore.Record{Scope: scope, Name: "key-1"})
		if errors.Is(err, keystore.ErrExists) {
			err = writer.Delete(w.t.Context(), scope, "key-1")
		}
		require.NoError(w.t, err)
		require.True(w.t, time.Now().Before(giveUp), "no change is announced for its scope")
	}
}

// waitEnd waits until the call has returned, and returns its error.
func (w *watching) waitEnd() error {
	w.t.Helper()
	select {
	case <-w.done:
	case <-time.After(patience):
		w.t.Fatal("the watch goes on")
	}
	return w.err
}

func TestWatchAnnouncesChangesMadeByHandWhichHaveNewVersions(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	store := open(t, url)
	w := watch(t, store)
	w.waitFor(keystore.AllScopes)
	for _, step := range []struct {
		sql       string
		announced []keystore.Scope
	}{
		{"INSERT INTO meshpass_records (scope, name, data) VALUES ('default', 'key-1', 'content'), ('', 'key-2', '')", []keystore.Scope{"default", ""}},
		{"UPDATE meshpass_records SET data = 'changed' WHERE name = 'key-1'", []keystore.Scope{"default"}},
		{"UPDATE meshpass_records SET scope = 'moved' WHERE name = 'key-1'", []keystore.Scope{"default", "moved"}},
		{"DELETE FROM meshpass_records WHERE name = 'key-1'", []keystore.Scope{"moved"}},
		{"TRUNCATE meshpass_records", []keystore.Scope{keystore.AllScopes}},
	} {
		w.forget()
		execute(t, url, step.sql)
		for _, scope := range step.announced {
			w.waitFor(scope)
		}
	}

	created, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("content")})
	require.NoError(t, err)
	execute(t, url, "UPDATE meshpass_records SET data = 'by hand'")
	_, err = store.Update(t.Context(), created)
	require.ErrorIs(t, err, keystore.ErrConflict)
	changed, err := store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	require.NotEqual(t, created.Version, changed.Version)
	require.Equal(t, created.Created, changed.Created)
}

func TestTablesRefuseNamesThatTheStoreWouldRefuse(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	pool := newPool(t, url)
	for _, scopeAndName := range [][2]string{
		{"*", "key-1"}, {"ä", "key-1"}, {"default\n", "key-1"}, {"-a", "key-1"},
		{"default", ""}, {"default", "a b"}, {"default", "key-1\n"}, {"default", ".key"}, {"default", "\u212A"},
	} {
		_, err := pool.Exec(t.Context(), "INSERT INTO meshpass_records (scope, name, data) VALUES ($1, $2, '')", scopeAndName[0], scopeAndName[1])
		require.ErrorContains(t, err, "check constraint", "%q", scopeAndName)
	}
}

func TestWatchHearsNothingOfAnotherStoreInTheDatabase(t *testing.T) {
	server := engines.SharedPostgres(t)
	one, two := newSchema(t, server.URL()), newSchema(t, server.URL())
	migrate(t, one)
	migrate(t, two)
	w := watch(t, open(t, one))
	w.waitFor(keystore.AllScopes)
	for i, url := range []string{two, one} {
		_, err := open(t, url).Create(t.Context(), keystore.Record{Scope: keystore.Scope(fmt.Sprint("mesh-", i)), Name: "key-1"})
		require.NoError(t, err)
	}
	w.waitFor("mesh-1") // notifications come in the order of the commits
	require.NotContains(t, w.heard(), keystore.Scope("mesh-0"))
}

func TestWatchNeedsNoPlaceInThePool(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	store := open(t, with(url, "pool_max_conns", "1"))
	for range 3 {
		w := watch(t, store)
		w.waitFor(keystore.AllScopes)
		require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
		_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
		require.NoError(t, err)
		w.waitFor("default")
	}
}

func TestWatchSaysThatItsNotificationsAreTakenAway(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.ConnConfig.OnNotification = func(*pgconn.PgConn, *pgconn.Notification) {}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.ErrorContains(t, watch(t, newStore(t, pool)).waitEnd(), "OnNotification")
}

func TestWatchThatLostItsConnectionFindsWhatItMissed(t *testing.T) {
	server := engines.NewPostgres(t)
	url := server.URL()
	migrate(t, url)
	store := open(t, url)
	w := watch(t, store)
	w.waitFor(keystore.AllScopes)
	f := follow(t, store)
	f.waitFor(keystore.AllScopes)
	f.forget()
	endConnections(t, url)
	require.ErrorContains(t, w.waitEnd(), "cannot watch")
	_, err := open(t, url).Create(t.Context(), keystore.Record{Scope: "missed", Name: "key-1"})
	require.NoError(t, err)
	f.waitFor(keystore.AllScopes)
	f.waitUntilWatching(open(t, url))

	f.forget()
	server.Kill(t)
	server.Start(t)
	f.waitFor(keystore.AllScopes)
	f.waitUntilWatching(open(t, url))
}

func TestWatchNoticesThatItsConnectionFellSilent(t *testing.T) {
	t.Parallel()
	server := engines.SharedPostgres(t)
	direct := newSchema(t, server.URL())
	migrate(t, direct)
	network, url := newProxy(t, server.Socket(), direct)
	defer network.cut() // or the pools wait for the connections' end
	w := watch(t, open(t, url))
	w.waitFor(keystore.AllScopes)
	f := follow(t, open(t, url))
	f.waitFor(keystore.AllScopes)
	f.forget()
	network.freeze()
	began := time.Now()
	require.ErrorContains(t, w.waitEnd(), "cannot watch")
	t.Logf("the watch was lost after %v", time.Since(began).Round(time.Millisecond))
	f.waitFor(keystore.AllScopes)
	f.waitUntilWatching(open(t, url)) // over a new connection
}

func TestWatchOfATableThatWasReplacedIsLost(t *testing.T) {
	t.Parallel()
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	w := watch(t, open(t, url))
	w.waitFor(keystore.AllScopes)
	execute(t, url, `ALTER TABLE meshpass_records RENAME TO old; CREATE TABLE meshpass_records (LIKE old INCLUDING ALL);
		CREATE TRIGGER meshpass_announce AFTER INSERT OR UPDATE OR DELETE ON meshpass_records FOR EACH ROW EXECUTE FUNCTION meshpass_announce()`)
	require.ErrorContains(t, w.waitEnd(), "was replaced")
}

func TestWatchOfATableThatAnnouncesNothingIsRefusedOrLost(t *testing.T) {
	t.Parallel()
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	w := watch(t, open(t, url))
	w.waitFor(keystore.AllScopes)
	execute(t, url, "ALTER TABLE meshpass_records DISABLE TRIGGER meshpass_announce")
	require.ErrorContains(t, w.waitEnd(), "meshpass_announce")
	w = watch(t, open(t, url))
	require.ErrorContains(t, w.waitEnd(), "meshpass_announce")
	require.Empty(t, w.heard())
	f := follow(t, open(t, url)) // is polled
	f.waitFor(keystore.AllScopes)
	f.forget()
	f.waitFor(keystore.AllScopes)
}
