package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/tracelog"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/postgres"
)

func TestNewNeedsAPool(t *testing.T) {
	_, err := postgres.New(nil)
	require.ErrorContains(t, err, "pool is nil")
}

func TestStoreGivesNoVersionTwice(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	store := open(t, url)
	given := map[string]bool{}
	for range 3 {
		r, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("content")})
		require.NoError(t, err)
		first := r
		for range 3 {
			require.False(t, given[r.Version])
			given[r.Version] = true
			r, err = store.Update(t.Context(), r)
			require.NoError(t, err)
		}
		require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
		_, err = store.Update(t.Context(), first)
		require.ErrorIs(t, err, keystore.ErrNotFound)
		_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("content")})
		require.NoError(t, err)
		_, err = store.Update(t.Context(), first)
		require.ErrorIs(t, err, keystore.ErrConflict)
		require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
	}
}

func TestStoreSeesANewVersionOfWhatReplicationBrings(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	store := open(t, url)
	r, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("content")})
	require.NoError(t, err)
	execute(t, url, `SET session_replication_role = replica; UPDATE meshpass_records SET data = 'changed'`)
	changed, err := store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	require.Equal(t, "changed", string(changed.Data))
	require.NotEqual(t, r.Version, changed.Version)
}

func TestUpdateGivesANewVersionAlsoWhereTheTriggersAreMissing(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	execute(t, url, "ALTER TABLE meshpass_records RENAME TO old; CREATE TABLE meshpass_records (LIKE old INCLUDING ALL)")
	store := open(t, url)
	old, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("content")})
	require.NoError(t, err)
	changed, err := store.Update(t.Context(), old)
	require.NoError(t, err)
	require.NotEqual(t, old.Version, changed.Version)
	_, err = store.Update(t.Context(), old)
	require.ErrorIs(t, err, keystore.ErrConflict)
}

func TestUpdateWithAVersionThatTheStoreNeverGaveIsAConflict(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	store := open(t, url)
	r, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
	require.NoError(t, err)
	for _, version := range []string{"", "1", "\x00", "\xff", "'", strings.Repeat("0", 32), r.Version + "0", strings.Repeat("x", 1<<20)} {
		_, err := store.Update(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Version: version})
		require.ErrorIs(t, err, keystore.ErrConflict)
	}
}

func TestUpdateSucceedsForOneOfManyAtEveryIsolationLevel(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	for _, level := range []string{"read committed", "repeatable read", "serializable"} {
		store := open(t, with(with(url, "default_transaction_isolation", level), "pool_max_conns", "16"))
		name := strings.ReplaceAll(level, " ", "-")
		r, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: name})
		require.NoError(t, err)
		for range 5 {
			var won atomic.Pointer[keystore.Record]
			var wg sync.WaitGroup
			for i := range 16 {
				wg.Go(func() {
					mine := r
					mine.Data = fmt.Append(nil, i)
					mine, err := store.Update(t.Context(), mine)
					switch {
					case err == nil && won.Swap(&mine) != nil:
						t.Error("two updates succeeded")
					case err != nil && !errors.Is(err, keystore.ErrConflict):
						t.Errorf("%s: %v", level, err)
					}
					if _, err := store.List(t.Context(), keystore.AllScopes, ""); err != nil {
						t.Errorf("%s: %v", level, err)
					}
				})
			}
			wg.Wait()
			require.NotNil(t, won.Load(), level)
			r = *won.Load()
		}
	}
}

func TestListIsSortedBytewiseWhateverTheCollationOfTheDatabase(t *testing.T) {
	server := engines.SharedPostgres(t)
	if execute(t, server.URL(), "SHOW server_version_num") < "150000" {
		t.Skip("a database has had a collation of ICU since PostgreSQL 15")
	}
	name := fmt.Sprint("collated_", schemas.Add(1))
	execute(t, server.URL(), "CREATE DATABASE "+name+" TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'")
	url := strings.Replace(server.URL(), "/postgres?", "/"+name+"?", 1)
	require.Equal(t, "t", execute(t, url, "SELECT 'a' < 'B'"), "or the collation is none")
	migrate(t, url)
	store := open(t, url)
	for _, name := range []string{"a", "A", "b", "B", "a-b", "aB", "a_b", "ab", "a1"} {
		_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: name})
		require.NoError(t, err)
	}
	for prefix, wanted := range map[string]string{"": "A B a a-b a1 aB a_b ab b", "a": "a a-b a1 aB a_b ab", "a_": "a_b", "A": "A"} {
		records, err := store.List(t.Context(), "default", prefix)
		require.NoError(t, err)
		var names []string
		for _, r := range records {
			names = append(names, r.Name)
		}
		require.Equal(t, wanted, strings.Join(names, " "), "prefix %q", prefix)
	}
}

func TestListReadsTheIndexAndNotTheTable(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrating := newPool(t, with(url, "application_name", "migrating"))
	require.NoError(t, newStore(t, migrating).Migrate(t.Context()))
	migrating.Close() // which may have scanned the table, and hands in its statistics as the store below does
	require.Eventually(t, func() bool {
		return execute(t, url, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'migrating'") == "0"
	}, patience, tick)
	execute(t, url, `INSERT INTO meshpass_records (scope, name, data)
		SELECT 'mesh-' || mesh, 'key-' || serial, '' FROM generate_series(1, 1000) mesh, generate_series(1, 5) serial;
		ANALYZE meshpass_records`)
	const scans = `SELECT coalesce(sum(seq_scan), 0) || ' ' || coalesce(sum(idx_scan), 0) FROM pg_stat_user_tables
		WHERE relid = 'meshpass_records'::regclass`
	var before, after, indexBefore, indexAfter int
	_, err := fmt.Sscan(execute(t, url, scans), &before, &indexBefore)
	require.NoError(t, err)
	pool := newPool(t, url)
	records, err := newStore(t, pool).List(t.Context(), "mesh-7", "key-")
	require.NoError(t, err)
	require.Len(t, records, 5)
	pool.Close() // a connection hands in its statistics when it ends
	require.Eventually(t, func() bool {
		_, err := fmt.Sscan(execute(t, url, scans), &after, &indexAfter)
		return err == nil && indexAfter > indexBefore
	}, patience, tick)
	require.Equal(t, before, after, "scans of the whole table")
}

func TestListGoesOnWhenTheConnectionsOfThePoolHaveDied(t *testing.T) {
	url := engines.SharedPostgres(t).NewDatabase(t)
	migrate(t, url)
	pool := newPool(t, with(url, "pool_max_conns", "8"))
	store := newStore(t, pool)
	var all []*pgxpool.Conn
	for range 8 {
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		all = append(all, conn)
	}
	for _, conn := range all {
		conn.Release()
	}
	endConnections(t, url)
	_, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
}

func TestStoreSaysThatTheOutcomeOfAWriteIsUnknownWhenItsAnswerIsLost(t *testing.T) {
	server := engines.SharedPostgres(t)
	direct := newSchema(t, server.URL())
	migrate(t, direct)
	network, url := newProxy(t, server.Socket(), direct)
	store := open(t, url)
	old, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "updated"})
	require.NoError(t, err)
	created := keystore.Record{Scope: "default", Name: "created", Data: []byte("content")}
	updated := old
	updated.Data = []byte("content")
	for name, write := range map[string]func() error{
		"created": func() error { _, err := store.Create(t.Context(), created); return err },
		"updated": func() error { _, err := store.Update(t.Context(), updated); return err },
		"deleted": func() error { return store.Delete(t.Context(), "default", "deleted") },
	} {
		_, err := store.List(t.Context(), keystore.AllScopes, "") // a connection is there
		require.NoError(t, err)
		network.eatAnswers()
		err = write()
		require.ErrorContains(t, err, "the outcome of the write is unknown", name)
		for _, definite := range []error{keystore.ErrConflict, keystore.ErrExists, keystore.ErrNotFound} {
			require.NotErrorIs(t, err, definite, name)
		}
	}
	for _, name := range []string{"created", "updated"} {
		require.Eventually(t, func() bool {
			r, err := store.Get(t.Context(), "default", name)
			return err == nil && string(r.Data) == "content" // it did
		}, patience, tick)
	}
}

func TestStoreEndsTheStatementOnTheServerWithItsContext(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	pool := newPool(t, with(with(url, "pool_max_conns", "1"), "application_name", "under-test"))
	store := newStore(t, pool)
	r, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("content")})
	require.NoError(t, err)

	blocker := newPool(t, url)
	for name, call := range callsOf(store) {
		if name == "Watch" {
			continue // which does not read the table
		}
		lock, err := blocker.Begin(t.Context())
		require.NoError(t, err)
		_, err = lock.Exec(t.Context(), "LOCK TABLE meshpass_records IN ACCESS EXCLUSIVE MODE")
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		go func() { failed <- call(ctx) }()
		const busy = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'under-test' AND state <> 'idle'"
		require.Eventually(t, func() bool { return execute(t, url, busy) == "1" }, patience, tick, name)
		cancel()
		select {
		case err := <-failed:
			require.ErrorIs(t, err, context.Canceled, name)
		case <-time.After(patience):
			t.Fatalf("%s is blocked though its context has ended", name)
		}
		require.Eventually(t, func() bool { return execute(t, url, busy) == "0" }, patience, tick, name)
		require.NoError(t, lock.Rollback(t.Context()))
		got, err := store.Get(t.Context(), "default", "key-1") // with the only connection there may be
		require.NoError(t, err, name)
		require.Equal(t, r, got, name)
	}
}

func TestUpdateWaitsForALockOnTheRecordNoLongerThanItsDeadline(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	store := open(t, url)
	r, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("content")})
	require.NoError(t, err)
	lock, err := newPool(t, url).Begin(t.Context())
	require.NoError(t, err)
	defer lock.Rollback(context.Background())
	_, err = lock.Exec(t.Context(), "SELECT FROM meshpass_records FOR UPDATE")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	changed := r
	changed.Data = []byte("changed")
	_, err = store.Update(ctx, changed)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Eventually(t, func() bool {
		return execute(t, url, "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'UPDATE meshpass_records%' AND state = 'active'") == "0"
	}, patience, tick)
	require.NoError(t, lock.Rollback(t.Context()))
	got, err := store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	require.Equal(t, r, got)
}

func TestStorePutsNeitherPasswordNorDataIntoErrors(t *testing.T) {
	const password = "pa55word"
	store := open(t, "postgres://someone:"+password+"@127.0.0.1:1/mesh?connect_timeout=2")
	calls := callsOf(store)
	calls["Migrate"] = store.Migrate
	for name, call := range calls {
		err := call(t.Context())
		require.Error(t, err, name)
		require.NotContains(t, fmt.Sprintf("%v %+v", err, err), password, name)
	}
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", store, store, store), password)

	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	execute(t, url, "ALTER TABLE meshpass_records ADD CHECK (length(data) < 3)")
	_, err := open(t, url).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("secret")})
	require.ErrorContains(t, err, "check constraint")
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		text := fmt.Sprintf("%+v", cause)
		require.NotContains(t, text, "secret")
		require.NotContains(t, text, fmt.Sprintf("%x", "secret"))
	}
}

func TestStoreShowsATracerOfThePoolNoData(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	var log strings.Builder
	var mu sync.Mutex
	config.ConnConfig.Tracer = &tracelog.TraceLog{LogLevel: tracelog.LogLevelTrace, Logger: tracelog.LoggerFunc(
		func(_ context.Context, _ tracelog.LogLevel, message string, values map[string]any) {
			mu.Lock()
			defer mu.Unlock()
			fmt.Fprintln(&log, message, values)
		})}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	_, err = newStore(t, pool).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("secret")})
	require.NoError(t, err)
	_, err = pool.Exec(t.Context(), "SELECT $1::bytea", []byte("traced"))
	require.NoError(t, err)
	mu.Lock()
	defer mu.Unlock()
	require.Contains(t, log.String(), fmt.Sprintf("%x", "traced"), "or the tracer does nothing")
	require.NotContains(t, log.String(), "secret")
	require.NotContains(t, log.String(), fmt.Sprintf("%x", "secret"))
}
