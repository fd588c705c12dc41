package postgres_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/engines"
	"github.com/meshpass/meshpass/internal/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/postgres"
)

// The test binary is started again to be one of many processes on one store, which
// a connection string names.
func TestMain(m *testing.M) {
	if !storetest.Child(func(url string) (keystore.KeyStore, error) {
		pool, err := pgxpool.New(context.Background(), url)
		if err != nil {
			return nil, err
		}
		store, err := postgres.New(pool)
		if err != nil {
			return nil, err
		}
		return store, store.Migrate(context.Background())
	}) {
		os.Exit(m.Run())
	}
}

// opener returns what opens stores on the tables of a schema.
func opener(url string) storetest.Opener {
	return func(tb testing.TB) keystore.KeyStore { return open(tb, url) }
}

func TestTokensLiveTheirLifeOnPostgres(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	storetest.LifeOfAToken(t, opener(url))
}

func TestManyProcessesMakeTheTablesAndOneFirstKey(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	storetest.ManyProcessesMakeOneFirstKey(t, url, opener(url))
}

func TestARevocationEndsASessionOfAnotherReplica(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	storetest.ARevocationEndsASessionOfAnotherReplica(t, opener(url))
}

func TestNothingAcknowledgedIsLostWhenTheServerIsKilled(t *testing.T) {
	server := engines.NewPostgres(t)
	migrate(t, server.URL())
	storetest.Outage(t, opener(server.URL()), storetest.Fault{Break: server.Kill, Mend: server.Start, For: 2 * time.Second})
}

func TestNothingAcknowledgedIsLostWhenAllConnectionsAreEnded(t *testing.T) {
	server := engines.NewPostgres(t)
	migrate(t, server.URL())
	storetest.Outage(t, opener(server.URL()), storetest.Fault{
		Break: func(tb testing.TB) { endConnections(tb, server.URL()) },
		Mend:  func(tb testing.TB) { endConnections(tb, server.URL()) },
		For:   300 * time.Millisecond,
	})
}

func TestNothingAcknowledgedIsLostWhenTheNetworkFallsSilent(t *testing.T) {
	server := engines.SharedPostgres(t)
	direct := newSchema(t, server.URL())
	migrate(t, direct)
	network, url := newProxy(t, server.Socket(), direct)
	storetest.Outage(t, opener(url), storetest.Fault{
		Break: func(testing.TB) { network.freeze() },
		Mend:  func(testing.TB) { network.thaw() }, // what was sent long ago arrives now
		For:   5 * time.Second,
	})
}

// endConnections ends all connections to the database of the URL but its own.
func endConnections(tb testing.TB, url string) {
	tb.Helper()
	execute(tb, url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()")
}

func BenchmarkRevocation(b *testing.B) {
	url := newSchema(b, engines.SharedPostgres(b).URL())
	migrate(b, url)
	storetest.BenchmarkRevocation(b, opener(url))
}

// Reading all keys of 10,000 meshes, as a validator that follows them all does.
func BenchmarkList(b *testing.B) {
	url := newSchema(b, engines.SharedPostgres(b).URL())
	migrate(b, url)
	execute(b, url, `INSERT INTO meshpass_records (scope, name, data)
		SELECT 'mesh-' || mesh, 'dataplane-token-signing-key-mesh-' || mesh || '-' || serial,
			(SELECT decode(string_agg(md5(random()::text || part), ''), 'hex') FROM generate_series(1, 105) part)
		FROM generate_series(1, 10000) mesh, generate_series(1, 3) serial`)
	store := open(b, url)
	for b.Loop() {
		records, err := store.List(b.Context(), keystore.AllScopes, "dataplane-token-signing-key-")
		require.NoError(b, err)
		require.Len(b, records, 30_000)
	}
}
