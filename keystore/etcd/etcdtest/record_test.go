package etcdtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/etcd"
)

func TestStoreWritesAHeaderLineAndThenTheData(t *testing.T) {
	c := startCluster(t, 1)
	store, client := open(t, c.config()), connect(t, c.config())
	for key, r := range map[string]keystore.Record{
		"/meshpass/global/key-1":         create(t, store, keystore.Global, "key-1", "content\nof two lines\n"),
		"/meshpass/meshes/default/key-2": create(t, store, "default", "key-2", ""),
	} {
		response, err := client.Get(t.Context(), key)
		require.NoError(t, err)
		require.Len(t, response.Kvs, 1)
		header, data, found := strings.Cut(string(response.Kvs[0].Value), "\n")
		require.True(t, found)
		require.Equal(t, string(r.Data), data)
		require.Regexp(t, `^meshpass/1 [0-9TZ:.-]+ [A-Z2-7]{26}$`, header)
		created, err := time.Parse(time.RFC3339Nano, strings.Fields(header)[1])
		require.NoError(t, err)
		require.True(t, created.Equal(r.Created))
		require.Equal(t, fmt.Sprint(response.Kvs[0].ModRevision), r.Version)
	}
}

func TestStoreReadsAValuePutByHandAsARecordWithoutATimeOfCreation(t *testing.T) {
	c := startCluster(t, 1)
	store := open(t, c.config())
	_, err := connect(t, c.config()).Put(t.Context(), "/meshpass/global/zone-token-revocations", "id-1,id-2\n")
	require.NoError(t, err)
	r, err := store.Get(t.Context(), keystore.Global, "zone-token-revocations")
	require.NoError(t, err)
	require.Equal(t, "id-1,id-2\n", string(r.Data))
	require.True(t, r.Created.IsZero())
	r.Data = []byte("id-1,id-2,id-3")
	updated, err := store.Update(t.Context(), r)
	require.NoError(t, err)
	require.True(t, updated.Created.IsZero())
	records, err := store.List(t.Context(), keystore.Global, "")
	require.NoError(t, err)
	require.Equal(t, []keystore.Record{updated}, records)
}

func TestStoreNamesTheKeyOfAHeaderThatItDoesNotUnderstandAndShowsNoData(t *testing.T) {
	c := startCluster(t, 1)
	store, client := open(t, c.config()), connect(t, c.config())
	for _, value := range []string{
		"meshpass/2 2026-01-31T12:00:00Z secret\nsecret",
		"meshpass/1 secret secret\nsecret",
		"meshpass/1 2026-01-31T12:00:00Z\nsecret",
		"meshpass/1 2026-01-31T12:00:00Z secret",
		"meshpass/",
	} {
		_, err := client.Put(t.Context(), "/meshpass/meshes/default/key-1", value)
		require.NoError(t, err)
		_, getErr := store.Get(t.Context(), "default", "key-1")
		_, listErr := store.List(t.Context(), keystore.AllScopes, "key")
		_, updateErr := store.Update(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
		for _, err := range []error{getErr, listErr, updateErr} {
			require.ErrorContains(t, err, `"/meshpass/meshes/default/key-1"`)
			require.ErrorContains(t, err, "header")
			require.NotContains(t, err.Error(), "secret")
		}
		_, err = store.List(t.Context(), keystore.AllScopes, "other")
		require.NoError(t, err)
	}
	require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
	create(t, store, "default", "key-1", "content")
}

func TestStoreIgnoresKeysThatNoRecordHas(t *testing.T) {
	c := startCluster(t, 1)
	store, client := open(t, c.config()), connect(t, c.config())
	for _, key := range []string{
		"", "x", "global", "global/", "global/a/b", "globals/a", "meshes/", "meshes/a", "meshes//a", "meshes/a/",
		"meshes/a/b/c", "meshes/*/a", "meshes/-a/b",
	} {
		_, err := client.Put(t.Context(), "/meshpass/"+key, "meshpass/9 is not even looked at")
		require.NoError(t, err)
	}
	create(t, store, "a", "b", "content")
	for _, scope := range []keystore.Scope{keystore.AllScopes, "a"} {
		records, err := store.List(t.Context(), scope, "")
		require.NoError(t, err)
		require.Len(t, records, 1)
		require.Equal(t, "b", records[0].Name)
	}
	records, err := store.List(t.Context(), keystore.Global, "")
	require.NoError(t, err)
	require.Empty(t, records)
}

func TestOneValueWithABrokenHeaderIsOneUnreadableRecord(t *testing.T) {
	for _, value := range []string{"meshpass/2 2026-01-31T12:00:00Z x\n", "meshpass/1 yesterday x\n", "meshpass/"} {
		t.Run(value, func(t *testing.T) {
			c := startCluster(t, 1)
			client := connect(t, c.config())
			storetest.OneUnreadableRecordIsOneUnreadableRecord(t, func(tb testing.TB) keystore.KeyStore { return open(tb, c.config()) },
				func(tb testing.TB, scope keystore.Scope, name string) {
					_, err := client.Put(tb.Context(), "/meshpass/meshes/"+string(scope)+"/"+name, value)
					require.NoError(tb, err)
				})
		})
	}
}

func TestKeysInTheFolderOfAScopeWithNamesThatNoRecordCanHaveAreUnreadable(t *testing.T) {
	c := startCluster(t, 1)
	store, client := open(t, c.config()), connect(t, c.config())
	w := watch(t, store)
	w.await(keystore.AllScopes)
	for _, key := range []string{"global/b\x00", "meshes/a/b\n", "meshes/a/_b"} {
		_, err := client.Put(t.Context(), "/meshpass/"+key, "content")
		require.NoError(t, err)
	}
	w.await("a")
	create(t, store, "a", "b", "content")
	for scope, wanted := range map[keystore.Scope][]string{keystore.AllScopes: {"b\x00", "_b", "b\n"}, keystore.Global: {"b\x00"}, "a": {"_b", "b\n"}} {
		records, err := store.List(t.Context(), scope, "")
		unreadable, other := keystore.SplitUnreadable(err)
		require.NoError(t, other)
		var names []string
		for _, e := range unreadable {
			names = append(names, e.Name)
		}
		require.Equal(t, wanted, names)
		require.Equal(t, scope != keystore.Global, len(records) == 1)
	}
	_, err := store.List(t.Context(), "a", "b")
	require.ErrorContains(t, err, `"b\n" in scope "a"`)
}

func TestStoresWithDifferentPrefixesShareNothing(t *testing.T) {
	c := startCluster(t, 1)
	prefixes := []string{"a", "ab", "a/b", "/a", "a//", "/", "a/meshes/x", "a/global/x", etcd.DefaultPrefix}
	for i, prefix := range prefixes {
		store := open(t, c.config(), etcd.WithPrefix(prefix))
		create(t, store, "default", "key-1", prefix)
		create(t, store, keystore.Global, fmt.Sprint("only-", i), prefix)
	}
	for i, prefix := range prefixes {
		store := open(t, c.config(), etcd.WithPrefix(prefix))
		records, err := store.List(t.Context(), keystore.AllScopes, "")
		require.NoError(t, err)
		require.Len(t, records, 2, "prefix %q", prefix)
		require.Equal(t, fmt.Sprint("only-", i), records[0].Name)
		require.Equal(t, prefix, string(records[1].Data))
		require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
	}
}

func TestWithPrefixTakesASlashAtTheEndOrNone(t *testing.T) {
	c := startCluster(t, 1)
	create(t, open(t, c.config(), etcd.WithPrefix("/a")), "default", "key-1", "content")
	r, err := open(t, c.config(), etcd.WithPrefix("/a/")).Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	require.Equal(t, "content", string(r.Data))
}
