package postgres_test

import (
	"context"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/keystoretest"
	"github.com/meshpass/meshpass/keystore/postgres"
)

const maxData = 64 << 20

func TestStoreConforms(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	execute(t, url, "ALTER TABLE meshpass_records ALTER data DROP NOT NULL")
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			execute(t, url, "TRUNCATE meshpass_records")
			return keystoretest.Storage{
				Open:         func(t *testing.T) keystore.KeyStore { return open(t, url) },
				OpenReadOnly: func(t *testing.T) keystore.KeyStore { return open(t, with(url, "default_transaction_read_only", "on")) },
				Spoil: func(t *testing.T, scope keystore.Scope, name string) {
					execute(t, url, fmt.Sprintf("UPDATE meshpass_records SET data = NULL WHERE scope = '%s' AND name = '%s'", scope, name))
				},
			}
		},
		MaxData: maxData,
	})
}

// newSchema makes an empty schema that is removed when the test ends, and returns
// the URL with it as the search_path.
func newSchema(t testing.TB, url string) string {
	t.Helper()
	name := fmt.Sprint("schema_", schemas.Add(1))
	execute(t, url, "CREATE SCHEMA "+name)
	t.Cleanup(func() { execute(t, url, "DROP SCHEMA "+name+" CASCADE") })
	return with(url, "search_path", name)
}

var schemas atomic.Int64

// with adds a parameter to a connection string.
func with(connString, key, value string) string {
	return connString + "&" + key + "=" + url.PathEscape(value)
}

// open returns the store of another process. Its pool is closed when the test ends.
func open(t testing.TB, url string) *postgres.Store {
	t.Helper()
	return newStore(t, newPool(t, url))
}

func newStore(t testing.TB, pool *pgxpool.Pool) *postgres.Store {
	t.Helper()
	store, err := postgres.New(pool)
	require.NoError(t, err)
	return store
}

func newPool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), url)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func migrate(t testing.TB, url string) {
	t.Helper()
	require.NoError(t, open(t, url).Migrate(context.Background()))
}

// execute runs statements by hand, and returns the last one's first value as text.
func execute(t testing.TB, url, sql string) string {
	t.Helper()
	pool := newPool(t, url)
	defer pool.Close()
	conn, err := pool.Acquire(context.Background())
	require.NoError(t, err)
	defer conn.Release()
	results, err := conn.Conn().PgConn().Exec(context.Background(), sql).ReadAll()
	require.NoError(t, err)
	last := results[len(results)-1]
	if len(last.Rows) == 0 || len(last.Rows[0]) == 0 {
		return ""
	}
	return string(last.Rows[0][0])
}
