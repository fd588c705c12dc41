package postgres_test

import (
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/postgres"
)

func TestMigrateMayBeCalledByManyReplicasAtOnce(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	var wg sync.WaitGroup
	for range 16 {
		store := open(t, url)
		wg.Go(func() {
			if err := store.Migrate(context.Background()); err != nil {
				t.Error(err)
				return
			}
			_, err := store.List(context.Background(), keystore.AllScopes, "")
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	require.Equal(t, "1", execute(t, url, "SELECT string_agg(version::text, ',') FROM meshpass_schema"))
}

func TestMigrateLeavesRecordsAsTheyAre(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	created, err := open(t, url).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("content")})
	require.NoError(t, err)
	migrate(t, url)
	got, err := open(t, url).Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	require.Equal(t, created, got)
}

func TestStoreUsesTablesThatWereMadeByHand(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	statements, err := os.ReadFile("schema.sql")
	require.NoError(t, err)
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	for _, statement := range strings.SplitAfter(string(statements), ";\n") {
		if at := strings.Index(statement, "CREATE TABLE"); at >= 0 {
			require.Contains(t, string(readme), statement[at:])
		}
	}
	execute(t, url, string(statements))
	store := open(t, url)
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
	require.NoError(t, err)
	require.NoError(t, store.Migrate(t.Context()))
}

// callsOf returns every method of the store, to be called with good arguments.
func callsOf(store *postgres.Store) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Get":    func(ctx context.Context) error { _, err := store.Get(ctx, "default", "key-1"); return err },
		"List":   func(ctx context.Context) error { _, err := store.List(ctx, "default", ""); return err },
		"Delete": func(ctx context.Context) error { return store.Delete(ctx, "default", "key-1") },
		"Watch":  func(ctx context.Context) error { return store.Watch(ctx, func(keystore.Scope) {}) },
		"Create": func(ctx context.Context) error {
			_, err := store.Create(ctx, keystore.Record{Scope: "default", Name: "key-1"})
			return err
		},
		"Update": func(ctx context.Context) error {
			_, err := store.Update(ctx, keystore.Record{Scope: "default", Name: "key-1", Version: "1"})
			return err
		},
	}
}

func TestStoreWithoutItsTablesSaysWhatToDo(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	store := open(t, url)
	for name, call := range callsOf(store) {
		err := call(t.Context())
		require.ErrorContains(t, err, "call Migrate", name)
		require.NotErrorIs(t, err, keystore.ErrNotFound, name)
	}
	// Nor does a store that has worked take a lost table for an empty one.
	require.NoError(t, store.Migrate(t.Context()))
	_, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	execute(t, url, "DROP TABLE meshpass_records")
	for name, call := range callsOf(store) {
		require.ErrorContains(t, call(t.Context()), "meshpass_records", name)
	}
}

func TestStoreDoesNotTouchTablesOfANewerVersion(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	execute(t, url, "UPDATE meshpass_schema SET version = 2")
	store := open(t, url)
	calls := callsOf(store)
	calls["Migrate"] = store.Migrate
	for name, call := range calls {
		err := call(t.Context())
		require.ErrorContains(t, err, "version 2", name)
		require.ErrorContains(t, err, "version 1", name)
	}
	require.Equal(t, "0", execute(t, url, "SELECT count(*) FROM meshpass_records"))
}
