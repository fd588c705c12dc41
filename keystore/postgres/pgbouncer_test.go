package postgres_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/keystoretest"
)

// plain is a store that can be followed by polling only.
type plain struct{ keystore.KeyStore }

// newPooler starts a PgBouncer before the shared server and makes the tables, which
// are removed when the test ends. It returns connection strings with and without it.
func newPooler(t *testing.T, mode string) (direct, pooled string) {
	t.Helper()
	server := engines.SharedPostgres(t)
	direct, pooled = server.URL(), server.NewPgBouncer(t, mode, "postgres")
	migrate(t, pooled)
	t.Cleanup(func() {
		execute(t, direct, "DROP TABLE meshpass_records, meshpass_schema; DROP FUNCTION meshpass_announce, meshpass_new_version")
	})
	return direct, pooled
}

func TestStoreConformsThroughPgBouncerInTransactionMode(t *testing.T) {
	direct, pooled := newPooler(t, "transaction")
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			execute(t, direct, "TRUNCATE meshpass_records")
			return keystoretest.Storage{Open: func(t *testing.T) keystore.KeyStore { return plain{open(t, pooled)} }}
		},
		MaxData: maxData,
	})
}

func TestStoreIsPolledThroughPgBouncerInTransactionMode(t *testing.T) {
	_, pooled := newPooler(t, "transaction")
	store := open(t, pooled)
	err := watch(t, store).waitEnd()
	require.ErrorContains(t, err, "a notification did not arrive")
	require.ErrorContains(t, err, "session mode")

	f := follow(t, store)
	for range 3 {
		f.forget()
		began := time.Now()
		f.waitFor(keystore.AllScopes)
		require.Less(t, time.Since(began), 10*1500*time.Millisecond)
	}
}

func TestStoreIsWatchedThroughPgBouncerInSessionMode(t *testing.T) {
	_, pooled := newPooler(t, "session")
	w := watch(t, open(t, pooled))
	w.waitFor(keystore.AllScopes)
	_, err := open(t, pooled).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
	require.NoError(t, err)
	w.waitFor("default")
}
