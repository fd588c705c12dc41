package postgres_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/postgres"
)

// newLooseSchema makes tables without constraints, such as CREATE TABLE AS makes.
func newLooseSchema(t *testing.T) (url string) {
	t.Helper()
	url = newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	execute(t, url, `ALTER TABLE meshpass_records RENAME TO strict;
		CREATE TABLE meshpass_records AS TABLE strict;
		ALTER TABLE meshpass_records ADD UNIQUE (scope, name), ALTER created SET DEFAULT now(), ALTER version SET DEFAULT gen_random_uuid();
		CREATE TRIGGER meshpass_announce AFTER INSERT OR UPDATE OR DELETE ON meshpass_records FOR EACH ROW EXECUTE FUNCTION meshpass_announce()`)
	return url
}

func TestOneRowThatIsNoRecordIsOneUnreadableRecord(t *testing.T) {
	for column, value := range map[string]string{"data": "NULL", "version": "NULL", "created": "NULL", "created too": "'infinity'"} {
		t.Run(column+" "+value, func(t *testing.T) {
			url := newLooseSchema(t)
			storetest.OneUnreadableRecordIsOneUnreadableRecord(t, opener(url), func(tb testing.TB, scope keystore.Scope, name string) {
				var of string
				_, err := fmt.Sscan(column, &of)
				require.NoError(tb, err)
				execute(tb, url, fmt.Sprintf("UPDATE meshpass_records SET %s = %s WHERE scope = '%s' AND name = '%s'", of, value, scope, name))
			})
		})
	}
}

func TestRowsWithNamesThatNoRecordCanHaveAreUnreadable(t *testing.T) {
	url := newLooseSchema(t)
	execute(t, url, `INSERT INTO meshpass_records (scope, name, data) VALUES
		('default', 'key-1', ''), ('default', E'key-2\n', ''), ('two words', 'key-3', ''), (NULL, 'key-4', '')`)
	store := open(t, url)
	records, err := store.List(t.Context(), keystore.AllScopes, "key-")
	require.Equal(t, "key-1", names(records))
	unreadable, other := keystore.SplitUnreadable(err)
	require.NoError(t, other)
	require.Len(t, unreadable, 3)
	require.ErrorContains(t, unreadable[0], "no scope")
	require.Equal(t, "key-2\n", unreadable[1].Name)
	require.ErrorContains(t, unreadable[1], `"key-2\n" in scope "default"`)
	require.Equal(t, keystore.Scope("two words"), unreadable[2].Scope)
	records, err = store.List(t.Context(), "default", "")
	require.Equal(t, "key-1", names(records))
	require.ErrorContains(t, err, `"key-2\n"`)

	execute(t, url, `INSERT INTO meshpass_records (scope, name, data) SELECT '', 'key-' || n, '' FROM generate_series(1, 1200) n`)
	records, unreadable = parts(t, store, "key-")
	require.Len(t, records, 1201)
	require.Len(t, unreadable, 3)
}

// parts returns what ListScopes gives.
func parts(t *testing.T, store *postgres.Store, prefix string) (records []keystore.Record, unreadable []*keystore.Error) {
	t.Helper()
	seen := map[keystore.Scope]bool{}
	require.NoError(t, store.ListScopes(t.Context(), prefix, func() keystore.EachScope {
		return func(scope keystore.Scope, found []keystore.Record, bad []*keystore.Error) error {
			require.False(t, seen[scope], "scope %q twice", scope)
			seen[scope] = true
			for _, r := range found {
				records = append(records, r.Clone())
			}
			unreadable = append(unreadable, bad...)
			return nil
		}
	}))
	return records, unreadable
}

func TestListScopesReadsPagesOfWholeScopes(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	migrate(t, url)
	execute(t, url, `INSERT INTO meshpass_records (scope, name, data) SELECT 'a-small', 'key-' || n, 'a' FROM generate_series(1, 3) n;
		INSERT INTO meshpass_records (scope, name, data) SELECT 'large', 'key-' || n, 'b' FROM generate_series(1, 2500) n;
		INSERT INTO meshpass_records (scope, name, data) SELECT 'mesh-' || m, 'key-' || n, 'c' FROM generate_series(1, 700) m, generate_series(1, 3) n;
		INSERT INTO meshpass_records (scope, name, data) SELECT 'mesh-' || m, 'other', 'd' FROM generate_series(1, 800) m;
		INSERT INTO meshpass_records (scope, name, data) SELECT '', 'key-' || n, 'e' FROM generate_series(1, 1000) n`)
	store := open(t, url)
	for _, prefix := range []string{"", "key-", "oth", "key-1", "absent"} {
		want, err := store.List(t.Context(), keystore.AllScopes, prefix)
		require.NoError(t, err)
		got, unreadable := parts(t, store, prefix)
		require.Empty(t, unreadable)
		require.Equal(t, len(want), len(got), "prefix %q", prefix)
		for i, r := range want {
			require.True(t, got[i].Unchanged(r) && got[i].Scope == r.Scope && string(got[i].Data) == string(r.Data), "prefix %q: %v, want %v", prefix, got[i], r)
		}
	}
}
