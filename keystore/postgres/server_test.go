package postgres_test

import (
	"context"
	"net/url"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/postgres"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// either returns a connection string for both servers, the first one first.
func either(t *testing.T, first, second *engines.Postgres, database, attributes string) string {
	t.Helper()
	var folders, ports []string
	for _, server := range []*engines.Postgres{first, second} {
		folders = append(folders, filepath.Dir(server.Socket()))
		ports = append(ports, "5432")
	}
	query := url.Values{"host": {strings.Join(folders, ",")}, "port": {strings.Join(ports, ",")}}
	if attributes != "" {
		query.Set("target_session_attrs", attributes)
	}
	return "postgres://postgres@/" + database + "?" + query.Encode()
}

// readOnly makes the server take no writes, or take them again, and waits until its
// sessions know.
func readOnly(t *testing.T, url, value string) {
	t.Helper()
	execute(t, with(url, "default_transaction_read_only", "off"), "ALTER SYSTEM SET default_transaction_read_only = "+value)
	execute(t, url, "SELECT pg_reload_conf()")
	require.Eventually(t, func() bool { return execute(t, url, "SHOW default_transaction_read_only") == value }, patience, tick)
}

func TestStoreFindsThePrimaryWhenItsServerTurnsReadOnly(t *testing.T) {
	old, next := engines.NewPostgres(t), engines.NewPostgres(t)
	migrate(t, old.URL())
	migrate(t, next.URL())
	// What only the new primary has shows which one answers.
	_, err := open(t, next.URL()).Create(t.Context(), keystore.Record{Scope: "default", Name: "here"})
	require.NoError(t, err)
	pool := newPool(t, with(either(t, old, next, "postgres", "read-write"), "pool_max_conns", "4"))
	store := newStore(t, pool)
	warm := func() { // so that every connection of the pool leads to the old one
		var all []*pgxpool.Conn
		for range 4 {
			conn, err := pool.Acquire(t.Context())
			require.NoError(t, err)
			all = append(all, conn)
		}
		for _, conn := range all {
			conn.Release()
		}
	}
	f := follow(t, store)
	f.waitFor(keystore.AllScopes)
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
	require.NoError(t, err)
	warm()
	readOnly(t, old.URL(), "on")

	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-2"})
	require.NoError(t, err, "the first call")
	_, err = open(t, next.URL()).Get(t.Context(), "default", "key-2")
	require.NoError(t, err)

	readOnly(t, old.URL(), "off")
	readOnly(t, next.URL(), "on")
	warm()
	_, err = store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err, "a read finds the primary too, which alone has all changes")
	readOnly(t, next.URL(), "off")
	readOnly(t, old.URL(), "on")
	records, err := store.List(t.Context(), "default", "")
	require.NoError(t, err)
	require.Equal(t, "here key-2", names(records))

	f.waitUntilWatching(open(t, next.URL())) // the watch moves as well
}

func TestWritesToAServerThatIsReadOnlyForAWhileAreErrorsThatPass(t *testing.T) {
	server := engines.NewPostgres(t)
	migrate(t, server.URL())
	readOnly(t, server.URL(), "on")
	for _, attributes := range []string{"any", "primary", "read-write"} {
		store := open(t, with(server.URL(), "target_session_attrs", attributes))
		for name, write := range writesOf(store) {
			err := write(t.Context())
			require.Error(t, err, name)
			require.NotErrorIs(t, err, keystore.ErrReadOnly, name)
			require.ErrorContains(t, err, "read", "%s: and says why", name)
		}
	}
	store := open(t, server.URL())
	_, err := store.Create(t.Context(), keystore.Record{Name: "key-1"})
	require.ErrorContains(t, err, "the server takes no writes at the moment")
	_, err = store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err, "a pool for any server reads from this one")
	readOnly(t, server.URL(), "off")
	_, err = store.Create(t.Context(), keystore.Record{Name: "key-1"})
	require.NoError(t, err)
}

func TestWritesThatTheOperatorDoesNotMeanToAllowAreErrReadOnlyAndKeepTheConnection(t *testing.T) {
	server := engines.SharedPostgres(t)
	direct := newSchema(t, server.URL())
	migrate(t, direct)
	execute(t, direct, `DROP ROLE IF EXISTS only_reads; CREATE ROLE only_reads SUPERUSER LOGIN; ALTER ROLE only_reads SET default_transaction_read_only = on`)
	for name, url := range map[string]string{
		"the connection string":    with(direct, "default_transaction_read_only", "on"),
		"the role":                 strings.Replace(direct, "postgres@", "only_reads@", 1),
		"target_session_attrs, as": with(with(direct, "target_session_attrs", "read-only"), "default_transaction_read_only", "on"),
		"prefer-standby":           with(with(direct, "target_session_attrs", "prefer-standby"), "default_transaction_read_only", "on"),
	} {
		pool := newPool(t, url)
		store := newStore(t, pool)
		for what, write := range writesOf(store) {
			require.ErrorIs(t, write(t.Context()), keystore.ErrReadOnly, "%s: %s", name, what)
		}
		require.EqualValues(t, 1, pool.Stat().NewConnsCount(), name)
	}
}

func TestStoreOnAStandby(t *testing.T) {
	primary := engines.NewPostgres(t)
	migrate(t, primary.URL())
	standby := primary.NewStandby(t)
	writer := open(t, primary.URL())
	_, err := writer.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
	require.NoError(t, err)
	store := open(t, standby.URL())
	replayed := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool {
			records, err := store.List(t.Context(), keystore.AllScopes, "")
			require.NoError(t, err)
			return len(records) == n
		}, patience, tick)
	}
	replayed(1)
	answersMayLag := func(store *postgres.Store, want bool) {
		t.Helper()
		for what, read := range map[string]func(ctx context.Context) error{
			"Get": func(ctx context.Context) error { _, err := store.Get(ctx, "default", "key-1"); return err },
			"Get of no record": func(ctx context.Context) error {
				_, err := store.Get(ctx, "default", "key-9")
				require.ErrorIs(t, err, keystore.ErrNotFound)
				return nil
			},
			"List":               func(ctx context.Context) error { _, err := store.List(ctx, "default", ""); return err },
			"List of no records": func(ctx context.Context) error { _, err := store.List(ctx, "prod", ""); return err },
			"List of all scopes": func(ctx context.Context) error { _, err := store.List(ctx, keystore.AllScopes, ""); return err },
			"ListScopes": func(ctx context.Context) error {
				return store.ListScopes(ctx, "", func() keystore.EachScope {
					return func(keystore.Scope, []keystore.Record, []*keystore.Error) error { return nil }
				})
			},
		} {
			ctx, mayLag := keystore.WithLag(t.Context())
			require.NoError(t, read(ctx), what)
			require.Equal(t, want, mayLag(), what)
		}
	}
	answersMayLag(store, true)
	answersMayLag(writer, false)

	execute(t, standby.URL(), "SELECT pg_wal_replay_pause()")
	_, err = writer.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-2"})
	require.NoError(t, err)
	records, err := store.List(t.Context(), "default", "")
	require.NoError(t, err)
	require.Equal(t, "key-1", names(records))
	execute(t, standby.URL(), "SELECT pg_wal_replay_resume()")
	replayed(2)

	for name, write := range writesOf(store) {
		err := write(t.Context())
		require.ErrorContains(t, err, "the server takes no writes at the moment", name)
		require.NotErrorIs(t, err, keystore.ErrReadOnly, "%s: it may be promoted, or the primary may be found", name)
	}
	for _, wanted := range []string{"standby", "prefer-standby", "read-only"} {
		for name, write := range writesOf(open(t, with(standby.URL(), "target_session_attrs", wanted))) {
			require.ErrorIs(t, write(t.Context()), keystore.ErrReadOnly, "%s: %s", wanted, name)
		}
	}
	both := open(t, either(t, standby, primary, "postgres", "primary"))
	_, err = both.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-3"})
	require.NoError(t, err)
	replayed(3)

	standby.Promote(t)
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-4"})
	require.NoError(t, err)
	answersMayLag(store, false)
}

// beside is a store of which another reader has a list before the answer to a List arrives.
type beside struct {
	*postgres.Store
	another func()
}

func (b beside) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	records, err := b.Store.List(ctx, scope, prefix)
	b.another()
	return records, err
}

func TestNoSerialIsGivenTwiceIfAStandbyAnswersOneReaderAndThePrimaryAnother(t *testing.T) {
	primary := engines.NewPostgres(t)
	migrate(t, primary.URL())
	standby := primary.NewStandby(t)
	writer, reader := open(t, primary.URL()), open(t, standby.URL())
	_, err := dataplane.EnsureKey(t.Context(), writer, "default")
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		records, err := reader.List(t.Context(), "default", "")
		require.NoError(t, err)
		return len(records) == 1
	}, patience, tick)
	execute(t, standby.URL(), "SELECT pg_wal_replay_pause()")
	add := func(store keystore.KeyStore) (signing.Key, error) {
		private, err := signing.Generate(signing.DefaultBits)
		require.NoError(t, err)
		return dataplane.AddKey(t.Context(), store, "default", private)
	}
	for range 2 {
		_, err := add(writer)
		require.NoError(t, err)
	}
	require.NoError(t, dataplane.RemoveKey(t.Context(), writer, "default", 2))

	// A pool for both servers.
	config, err := pgxpool.ParseConfig(standby.URL())
	require.NoError(t, err)
	ofPrimary, err := pgxpool.ParseConfig(primary.URL())
	require.NoError(t, err)
	var toPrimary atomic.Bool
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		if toPrimary.Load() {
			c.Host, c.Port, c.Fallbacks = ofPrimary.ConnConfig.Host, ofPrimary.ConnConfig.Port, nil
		}
		return nil
	}
	config.PrepareConn = func(_ context.Context, conn *pgx.Conn) (bool, error) {
		return !toPrimary.Load() || conn.Config().Host == ofPrimary.ConnConfig.Host, nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	store := newStore(t, pool)
	_, err = add(beside{store, func() {
		toPrimary.Store(true)
		records, err := store.List(t.Context(), "default", "")
		require.NoError(t, err)
		require.Len(t, records, 2, "as on the primary")
	}})
	require.ErrorIs(t, err, token.ErrUnavailable)
	_, err = writer.Get(t.Context(), "default", signing.DataplaneKeys("default").KeyName(2))
	require.ErrorIs(t, err, keystore.ErrNotFound)
	added, err := add(store)
	require.NoError(t, err)
	require.EqualValues(t, 4, added.Serial)
}

func TestValidatorOnALaggingStandbyCouldNotKnowAKeyThatItLacks(t *testing.T) {
	primary := engines.NewPostgres(t)
	migrate(t, primary.URL())
	standby := primary.NewStandby(t)
	storetest.AKeyThatACopyLacksMayExist(t, opener(primary.URL()), opener(standby.URL()),
		func(tb testing.TB) { execute(tb, standby.URL(), "SELECT pg_wal_replay_pause()") },
		func(tb testing.TB) { execute(tb, standby.URL(), "SELECT pg_wal_replay_resume()") })
}

func TestARevocationOnThePrimaryEndsSessionsOfAValidatorOnAStandby(t *testing.T) {
	primary := engines.NewPostgres(t)
	migrate(t, primary.URL())
	standby := primary.NewStandby(t)
	storetest.ARevocationEndsASessionOnACopy(t, opener(primary.URL()), opener(standby.URL()))
}

func TestStoreDropsAConnectionWhoseErrorSaysThatItIsOver(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	// A pooler may say so and leave the connection open.
	execute(t, url, `CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
		BEGIN RAISE EXCEPTION 'over' USING ERRCODE = NEW.name; END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON meshpass_records FOR EACH ROW EXECUTE FUNCTION refuse()`)
	pool := newPool(t, with(url, "pool_max_conns", "1"))
	store := newStore(t, pool)
	backend := func() (pid uint32) {
		t.Helper()
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		defer conn.Release()
		return conn.Conn().PgConn().PID()
	}
	for code, dropped := range map[string]bool{
		"08006": true, "08P01": true, "57P01": true, "57P02": true, "57P03": true,
		"57014": false, "23514": false, "53100": false,
	} {
		before := backend()
		_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: code})
		require.ErrorContains(t, err, code)
		require.Equal(t, dropped, before != backend(), code)
	}
}

// writesOf returns a call of each method that writes.
func writesOf(store *postgres.Store) map[string]func(context.Context) error {
	record := keystore.Record{Scope: "default", Name: "written", Version: "00000000-0000-4000-8000-000000000000"}
	return map[string]func(context.Context) error{
		"Create": func(ctx context.Context) error { _, err := store.Create(ctx, record); return err },
		"Update": func(ctx context.Context) error { _, err := store.Update(ctx, record); return err },
		"Delete": func(ctx context.Context) error { return store.Delete(ctx, record.Scope, record.Name) },
	}
}

func names(records []keystore.Record) string {
	var names []string
	for _, r := range records {
		names = append(names, r.Name)
	}
	return strings.Join(names, " ")
}
