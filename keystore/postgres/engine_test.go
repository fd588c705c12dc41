package postgres_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/internal/test/storetest"
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
		open := postgres.New
		if pool.Config().ConnConfig.RuntimeParams["application_name"] == "beside Kuma" {
			open = postgres.NewKuma
		}
		store, err := open(pool)
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

func TestStoreServesTokensThroughTheirLife(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	storetest.LifeOfAToken(t, opener(url))
}

func TestStoreGivesManyProcessesTheTablesAndOneFirstKey(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	storetest.ManyProcessesMakeOneFirstKey(t, url, opener(url))
}

func TestStoreLetsARevocationEndASessionOfAnotherReplica(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	storetest.ARevocationEndsASessionOfAnotherReplica(t, opener(url))
}

func TestStoreLosesNothingAcknowledgedWhenTheServerIsKilled(t *testing.T) {
	server := engines.NewPostgres(t)
	migrate(t, server.URL())
	storetest.Outage(t, opener(server.URL()), storetest.Fault{Break: server.Kill, Mend: server.Start, For: 2 * time.Second})
}

func TestStoreLosesNothingAcknowledgedWhenAllConnectionsAreEnded(t *testing.T) {
	url := engines.SharedPostgres(t).NewDatabase(t)
	migrate(t, url)
	storetest.Outage(t, opener(url), storetest.Fault{
		Break:  func(tb testing.TB) { endConnections(tb, url) },
		Mend:   func(tb testing.TB) { endConnections(tb, url) },
		For:    300 * time.Millisecond,
		Beside: opener(url),
	})
}

func TestStoreLosesNothingAcknowledgedWhenTheNetworkFallsSilent(t *testing.T) {
	server := engines.SharedPostgres(t)
	direct := newSchema(t, server.URL())
	migrate(t, direct)
	network, url := newProxy(t, server.Socket(), direct)
	storetest.Outage(t, opener(url), storetest.Fault{
		Break:  func(testing.TB) { network.freeze() },
		Mend:   func(testing.TB) { network.thaw() }, // what was sent long ago arrives now
		For:    5 * time.Second,
		Beside: opener(direct),
	})
}

func TestStoreLosesNothingAcknowledgedWhenTheNetworkSwallowsConnections(t *testing.T) {
	server := engines.SharedPostgres(t)
	direct := newSchema(t, server.URL())
	migrate(t, direct)
	advised := with(with(direct, "connect_timeout", "2"), "pool_ping_timeout", "2s") // by README
	network, url := newProxy(t, server.Socket(), advised)
	defer network.cut() // or the pools wait for the connections' end
	storetest.Outage(t, opener(url), storetest.Fault{
		Break:  func(testing.TB) { network.vanish() },
		Mend:   func(testing.TB) { network.comeBack() },
		For:    12 * time.Second, // so long that reads, and the watch, have tried to connect
		Beside: opener(direct),
	})
}

func TestStoreLosesNothingAcknowledgedWhenStatementsSleep(t *testing.T) {
	url := engines.SharedPostgres(t).NewDatabase(t)
	migrate(t, url)
	role := fmt.Sprint("role_", schemas.Add(1))
	// Row security holds for roles that do not own the table, and whatever they do there.
	execute(t, url, `CREATE TABLE faults ();
		CREATE FUNCTION stall() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
		BEGIN
			IF EXISTS (SELECT FROM faults) THEN PERFORM pg_sleep(3600); END IF;
			RETURN true;
		END $$;
		ALTER TABLE meshpass_records ENABLE ROW LEVEL SECURITY;
		CREATE POLICY stall ON meshpass_records USING ((SELECT stall())) WITH CHECK ((SELECT stall()));
		CREATE ROLE `+role+` LOGIN;
		GRANT SELECT ON meshpass_schema TO `+role+`;
		GRANT SELECT, INSERT, UPDATE, DELETE ON meshpass_records TO `+role)
	asleep := func() string {
		return execute(t, url, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND datname = current_database()")
	}
	storetest.Outage(t, opener(strings.Replace(url, "postgres@", role+"@", 1)), storetest.Fault{
		Break: func(tb testing.TB) {
			execute(tb, url, "INSERT INTO faults DEFAULT VALUES")
			require.Eventually(tb, func() bool { return asleep() != "0" }, patience, tick)
		},
		// The statements that sleep end with the contexts of their calls, 2 and 5 s.
		Mend: func(tb testing.TB) {
			execute(tb, url, "DELETE FROM faults")
			require.Eventually(tb, func() bool { return asleep() == "0" }, patience, tick)
		},
		For:    6 * time.Second,
		Beside: opener(url),
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
