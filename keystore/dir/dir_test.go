package dir_test

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/keystore/keystoretest"
)

const maxData = 64 << 20 // bytes of data that the directory store takes

func openDir(t *testing.T, path string) *dir.Store {
	t.Helper()
	store, err := dir.Open(path)
	require.NoError(t, err)
	return store
}

// writeFile puts a file there as another program would.
func writeFile(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func create(t *testing.T, store keystore.KeyStore, scope keystore.Scope, name, data string) keystore.Record {
	t.Helper()
	r, err := store.Create(t.Context(), keystore.Record{Scope: scope, Name: name, Data: []byte(data)})
	require.NoError(t, err)
	return r
}

// filesIn returns the paths of the files below a folder, with slashes, without
// those that begin with a dot.
func filesIn(t *testing.T, folder string) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && !strings.HasPrefix(entry.Name(), ".") {
			relative, relErr := filepath.Rel(folder, path)
			require.NoError(t, relErr)
			found = append(found, filepath.ToSlash(relative))
		}
		return err
	}))
	return found
}

func TestDirThatWasNotOpenedIsRefusedAndIsNotTheRootOfTheFileSystem(t *testing.T) {
	var d dir.Store
	ctx, r := t.Context(), keystore.Record{Scope: "default", Name: "name"}
	_, getErr := d.Get(ctx, r.Scope, r.Name)
	_, listErr := d.List(ctx, keystore.AllScopes, "")
	_, createErr := d.Create(ctx, r)
	_, updateErr := d.Update(ctx, r)
	for doing, err := range map[string]error{
		"get": getErr, "list": listErr, "create": createErr, "update": updateErr,
		"delete": d.Delete(ctx, r.Scope, r.Name), "watch": d.Watch(ctx, func(keystore.Scope) {}),
	} {
		assert.ErrorContains(t, err, "dir.Open", doing)
	}
}

func TestDirConforms(t *testing.T) {
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			path := t.TempDir()
			return keystoretest.Storage{
				Open: func(t *testing.T) keystore.KeyStore { return openDir(t, path) },
			}
		},
		MaxData: maxData,
	})
}

func TestDirKeepsEachRecordInAFileNamedAfterIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "new", "keys")
	store := openDir(t, path)
	create(t, store, keystore.Global, "zone-token-signing-key-1", "global")
	create(t, store, "default", "dataplane-token-signing-key-default-1", "default")
	create(t, store, "East", "Con.txt", "upper case")
	create(t, store, "con", "a.", "device")
	create(t, store, "m", strings.Repeat("n", 253), "long")

	assert.ElementsMatch(t, []string{
		"global/zone-token-signing-key-1",
		"meshes/default/dataplane-token-signing-key-default-1",
		"meshes/%45ast/%43on.txt",
		"meshes/%63on/a%2E",
		"meshes/m/" + strings.Repeat("n", 200) + "%/%" + strings.Repeat("n", 53),
	}, filesIn(t, path))
	content, err := os.ReadFile(filepath.Join(path, "meshes", "%45ast", "%43on.txt"))
	require.NoError(t, err)
	assert.Equal(t, "upper case", string(content))
}

func TestDirFileNamesStayApartAndAreGoodForEveryFileSystem(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	names := []string{
		"a", "A", "aA", "Aa", "AA", "aa", "a.", "a..", "a.b", "con", "CON", "Con", "con.", "con.a", "cON", "aux", "nul", "prn.x",
		"com0", "com1", "lpt9", "com", "com10", "console", "global", "meshes", "4a", "x.lock",
	}
	for _, n := range []int{126, 127, 128} {
		names = append(names, strings.Repeat("A", n), strings.Repeat("a", n), strings.Repeat("aA", n)[:n], strings.Repeat("a.", n)[:n])
	}
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		name := []byte("x")
		for range random.IntN(127) {
			name = append(name, "aAbBcon.-_01"[random.IntN(12)])
		}
		names = append(names, string(name))
	}
	expected := map[string]bool{}
	for _, name := range names {
		if !expected[name] {
			create(t, store, keystore.Scope(name), name, name)
		}
		expected[name] = true
	}

	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	assert.Len(t, records, len(expected))
	for _, r := range records {
		assert.True(t, expected[r.Name])
		assert.Equal(t, r.Name, string(r.Scope))
		assert.Equal(t, r.Name, string(r.Data))
	}
	folded := map[string]string{}
	for _, file := range filesIn(t, path) {
		lower := strings.ToLower(file)
		assert.Empty(t, folded[lower], "%s is the same as %s where case is folded", file, folded[lower])
		folded[lower] = file
		for _, part := range strings.Split(lower, "/") {
			assert.LessOrEqual(t, len(part), 255)
			assert.NotContains(t, []string{".", " "}, part[len(part)-1:], part)
			assert.False(t, strings.ContainsAny(part, `<>:"\|?*`), part)
			base, _, _ := strings.Cut(part, ".")
			assert.NotRegexp(t, `^(con|prn|aux|nul|com\d|lpt\d)$`, base)
		}
	}
}

func TestDirNeverLeavesItsFolder(t *testing.T) {
	outside := t.TempDir()
	writeFile(t, filepath.Join(outside, "secret"), "secret")
	store := openDir(t, filepath.Join(outside, "keys"))
	create(t, store, "default", "key-1", "content")
	before := filesIn(t, outside)
	for _, escape := range []string{
		"..", "../..", "../../secret", "../../../secret", filepath.Join(outside, "secret"), "..%2fsecret", "%2E%2E", `..\..\secret`, "a/../../../secret", "global/../../secret",
	} {
		for _, id := range [][2]string{{"", escape}, {"default", escape}, {escape, "secret"}, {escape, escape}} {
			scope, name := keystore.Scope(id[0]), id[1]
			_, err := store.Get(t.Context(), scope, name)
			assert.ErrorIs(t, err, keystore.ErrName, "%q %q", scope, name)
			_, err = store.Create(t.Context(), keystore.Record{Scope: scope, Name: name})
			assert.ErrorIs(t, err, keystore.ErrName, "%q %q", scope, name)
			assert.ErrorIs(t, store.Delete(t.Context(), scope, name), keystore.ErrName, "%q %q", scope, name)
		}
	}
	assert.Equal(t, before, filesIn(t, outside))
}

func TestDirTakesUpWhatOthersPutThere(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	modified := time.Date(2024, 5, 6, 7, 8, 9, 0, time.UTC)
	file := filepath.Join(path, "meshes", "default", "key-1")
	writeFile(t, file, "by hand")
	require.NoError(t, os.Chtimes(file, time.Time{}, modified))

	r, err := store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	assert.Equal(t, "by hand", string(r.Data))
	assert.Equal(t, modified, r.Created)

	r.Data = []byte("by Update")
	updated, err := store.Update(t.Context(), r)
	require.NoError(t, err)
	assert.Equal(t, modified, updated.Created)

	writeFile(t, file, "by hand again")
	_, err = store.Update(t.Context(), updated)
	assert.ErrorIs(t, err, keystore.ErrConflict)
}

func TestDirIgnoresFilesThatAreNoRecords(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	create(t, store, "default", "key-1", "content")
	create(t, store, keystore.Global, "key-2", "content")
	for _, file := range []string{
		"stray", ".hidden", "global/.hidden", "global/.key-2.swp", "global/key-2~", "global/#key-2#", "global/%6bey-2",
		"global/%", "global/%4", "global/%zz", "global/lost+found/file", "global/key%/part", "global/a b", "global/%2Fx",
		"meshes/stray", "meshes/.default/key-1", "meshes/%64efault/key-1", "meshes/default%/key-1", "other/default/key-1",
	} {
		writeFile(t, filepath.Join(path, filepath.FromSlash(file)), "not a record")
	}
	require.NoError(t, os.Symlink("stray", filepath.Join(path, "meshes", "link-to-a-file")))
	require.NoError(t, os.Symlink("key-2", filepath.Join(path, "global", strings.Repeat("n", 200)+"%")))
	writeFile(t, filepath.Join(path, "meshes", "default", ".hidden"), "")
	require.NoError(t, os.Symlink(".", filepath.Join(path, "meshes", "default", strings.Repeat("n", 200)+"%")))
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Len(t, records, 2)
	assert.Equal(t, "key-2", records[0].Name)
	assert.Equal(t, "key-1", records[1].Name)
	watchDir(t, store)
}

func TestDirAnswersForAFileOverTheLimitWithErrTooLarge(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	create(t, store, "default", "key-1", "content")
	file := filepath.Join(path, "meshes", "default", "large")
	writeFile(t, file, "")
	require.NoError(t, os.Truncate(file, maxData+1))

	_, err := store.Get(t.Context(), "default", "large")
	require.ErrorIs(t, err, keystore.ErrTooLarge)
	assert.EqualError(t, err, `keystore: record too large: "large" in scope "default" has 67108865 bytes, the limit is 67108864`)
	for _, scope := range []keystore.Scope{"default", keystore.AllScopes} {
		records, err := store.List(t.Context(), scope, "")
		require.ErrorIs(t, requireUnreadable(t, err, "default", "large"), keystore.ErrTooLarge)
		assert.Len(t, records, 1)
	}
	_, err = store.Update(t.Context(), keystore.Record{Scope: "default", Name: "large"})
	assert.ErrorIs(t, err, keystore.ErrTooLarge)

	records, err := store.List(t.Context(), "default", "key-")
	require.NoError(t, err)
	assert.Len(t, records, 1)
	require.NoError(t, store.Delete(t.Context(), "default", "large"))
	_, err = store.List(t.Context(), "default", "")
	assert.NoError(t, err)
}

// What can't be read must not look as if it were not there: it might be a list
// of revocations.
func TestDirNeverTakesWhatItCannotReadForMissing(t *testing.T) {
	for what, put := range map[string]func(t *testing.T, file string){
		"a folder": func(t *testing.T, file string) { require.NoError(t, os.Mkdir(file, 0o700)) },
		"a link to nothing": func(t *testing.T, file string) {
			require.NoError(t, os.Symlink("nothing", file))
		},
		"a link out of the folder": func(t *testing.T, file string) {
			outside := filepath.Join(t.TempDir(), "secret")
			writeFile(t, outside, "secret")
			require.NoError(t, os.Symlink(outside, file))
		},
		"a link to itself": func(t *testing.T, file string) {
			require.NoError(t, os.Symlink(filepath.Base(file), file))
		},
	} {
		t.Run(what, func(t *testing.T) {
			path := t.TempDir()
			store := openDir(t, path)
			create(t, store, "default", "key-1", "content")
			put(t, filepath.Join(path, "meshes", "default", "revocations"))

			_, err := store.Get(t.Context(), "default", "revocations")
			require.Error(t, err)
			assert.NotErrorIs(t, err, keystore.ErrNotFound)
			assert.ErrorContains(t, err, `"revocations" in scope "default"`)
			for _, scope := range []keystore.Scope{"default", keystore.AllScopes} {
				records, err := store.List(t.Context(), scope, "")
				assert.Len(t, records, 1, "the other record")
				requireUnreadable(t, err, "default", "revocations")
			}
			_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "revocations"})
			assert.ErrorIs(t, err, keystore.ErrExists)
			records, err := store.List(t.Context(), "default", "key-")
			require.NoError(t, err)
			assert.Len(t, records, 1)

			require.NoError(t, store.Delete(t.Context(), "default", "revocations"))
			_, err = store.Get(t.Context(), "default", "revocations")
			require.ErrorIs(t, err, keystore.ErrNotFound)
			create(t, store, "default", "revocations", "content")
		})
	}
}

// requireUnreadable requires the error of a List that could not read this record alone. It
// returns why.
func requireUnreadable(t *testing.T, err error, scope keystore.Scope, name string) error {
	t.Helper()
	unreadable, other := keystore.SplitUnreadable(err)
	require.NoError(t, other)
	require.Len(t, unreadable, 1)
	require.Equal(t, "read", unreadable[0].Op)
	require.Equal(t, scope, unreadable[0].Scope)
	require.Equal(t, name, unreadable[0].Name)
	return unreadable[0]
}

func TestDirDeletesNoFolderThatHasContentInThePlaceOfARecord(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	create(t, store, "default", "key-1", "content")
	file := filepath.Join(path, "meshes", "default", "revocations", "file")
	writeFile(t, file, "content")
	assert.ErrorContains(t, store.Delete(t.Context(), "default", "revocations"),
		"meshes/default/revocations is a folder that is not empty: move it away")
	assert.FileExists(t, file)
}

func TestDirOpenRemovesFoldersThatAKilledWriterHasLeft(t *testing.T) {
	path := t.TempDir()
	create(t, openDir(t, path), "default", strings.Repeat("n", 253), "content")
	before := filesIn(t, path)
	var left []string
	for _, folder := range []string{".", "meshes", "meshes/default", "meshes/default/" + strings.Repeat("n", 200) + "%"} {
		left = append(left, filepath.Join(path, filepath.FromSlash(folder), ".tmp-LEFT"))
	}
	for _, folder := range left {
		require.NoError(t, os.Mkdir(folder, 0o700))
	}
	openDir(t, path)
	for _, folder := range left {
		assert.NoDirExists(t, folder)
	}
	assert.Equal(t, before, filesIn(t, path))
}

// The first list of a store finds no locks.
func TestDirListsOneViewAlsoWhenTheFirstWriterComesMeanwhile(t *testing.T) {
	for range storetest.Repeat(20, 200) {
		path := t.TempDir()
		for i := range 50 { // so that a list takes longer than a write
			writeFile(t, filepath.Join(path, "meshes", "default", fmt.Sprintf("key-%02d", i)), "content")
		}
		store := openDir(t, path)
		var writer sync.WaitGroup
		writer.Go(func() {
			// At each moment at least one of the two is there.
			for range 3 {
				_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "a-first"})
				assert.NoError(t, err)
				assert.NoError(t, store.Delete(t.Context(), "default", "key-49"))
				_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-49"})
				assert.NoError(t, err)
				assert.NoError(t, store.Delete(t.Context(), "default", "a-first"))
			}
		})
		for range 3 {
			records, err := store.List(t.Context(), "default", "")
			require.NoError(t, err)
			require.True(t, slices.ContainsFunc(records, func(r keystore.Record) bool { return r.Name == "a-first" || r.Name == "key-49" }))
		}
		writer.Wait()
	}
}

func TestDirUpdatesThroughALinkAndLeavesIt(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	data, folder := filepath.Join(path, "data"), filepath.Join(path, "meshes", "default")
	writeFile(t, filepath.Join(data, "lists", "list"), "linked")
	require.NoError(t, os.Mkdir(filepath.Join(data, "mesh"), 0o700))
	require.NoError(t, os.Mkdir(filepath.Dir(folder), 0o700))
	links := map[string]string{
		folder: filepath.Join("..", "data", "mesh"),
		// Through the folder, which is a link, .. is data and not meshes.
		filepath.Join(data, "mesh", "revocations"): filepath.Join("..", "list"),
		filepath.Join(data, "list"):                filepath.Join("lists", "list"),
	}
	for link, target := range links {
		require.NoError(t, os.Symlink(target, link))
	}
	r, err := store.Get(t.Context(), "default", "revocations")
	require.NoError(t, err)
	r.Data = []byte("updated")
	_, err = store.Update(t.Context(), r)
	require.NoError(t, err)
	for link, target := range links {
		now, err := os.Readlink(link)
		require.NoError(t, err)
		assert.Equal(t, target, now)
	}
	content, err := os.ReadFile(filepath.Join(data, "lists", "list"))
	require.NoError(t, err)
	assert.Equal(t, "updated", string(content))
}

func TestDirIsBrokenNotEmptyWhileAFolderIsALinkToNothing(t *testing.T) {
	long := strings.Repeat("n", 253)
	for _, c := range []struct {
		folder string
		scope  keystore.Scope
		name   string
	}{
		{"global", keystore.Global, "revocations"},
		{"meshes", "default", "revocations"},
		{"meshes/default", "default", "revocations"},
		{"meshes/default/" + long[:200] + "%", "default", long},
	} {
		t.Run(c.folder, func(t *testing.T) {
			path := t.TempDir()
			store := openDir(t, path)
			r := create(t, store, c.scope, c.name, "content")
			folder, data := filepath.Join(path, filepath.FromSlash(c.folder)), filepath.Join(path, "data")
			require.NoError(t, os.Rename(folder, data))
			target, err := filepath.Rel(filepath.Dir(folder), data)
			require.NoError(t, err)
			require.NoError(t, os.Symlink(target, folder))
			for _, scope := range []keystore.Scope{c.scope, keystore.AllScopes} {
				records, err := store.List(t.Context(), scope, "")
				require.NoError(t, err)
				assert.Equal(t, []keystore.Record{r}, records, "a link to a folder is followed")
			}
			_, err = store.Get(t.Context(), c.scope, c.name[:len(c.name)-1])
			assert.ErrorIs(t, err, keystore.ErrNotFound)
			require.NoError(t, store.Delete(t.Context(), c.scope, c.name[:len(c.name)-1]))

			lost := make(chan error, 1)
			calls := make(chan keystore.Scope, 100)
			go func() { lost <- store.Watch(t.Context(), func(scope keystore.Scope) { calls <- scope }) }()
			require.Equal(t, keystore.AllScopes, receive(t, calls))
			require.NoError(t, os.Rename(data, data+"-away"))
			assert.ErrorContains(t, receive(t, lost), "is a symbolic link to nothing")

			_, err = store.Get(t.Context(), c.scope, c.name)
			assert.ErrorContains(t, err, "is a symbolic link to nothing")
			assert.NotErrorIs(t, err, keystore.ErrNotFound)
			for _, scope := range []keystore.Scope{c.scope, keystore.AllScopes} {
				_, err = store.List(t.Context(), scope, "")
				assert.ErrorContains(t, err, "is a symbolic link to nothing")
			}
			assert.ErrorContains(t, store.Watch(t.Context(), func(keystore.Scope) {}), "is a symbolic link to nothing")
			assert.ErrorContains(t, store.Delete(t.Context(), c.scope, c.name), "is a symbolic link to nothing")
			_, err = store.Update(t.Context(), r)
			require.Error(t, err)
			assert.NotErrorIs(t, err, keystore.ErrNotFound)
			_, err = store.Create(t.Context(), r)
			assert.Error(t, err)

			require.NoError(t, os.Rename(data+"-away", data))
			got, err := store.Get(t.Context(), c.scope, c.name)
			require.NoError(t, err)
			assert.Equal(t, r, got)
		})
	}
}

func TestDirWatchNoticesThatALinkToNothingIsRemoved(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	create(t, store, "default", "key-1", "content")
	link := filepath.Join(path, "meshes", "default", "revocations")
	require.NoError(t, os.Symlink("nothing", link))
	calls := watchDir(t, store)
	require.NoError(t, os.Remove(link))
	assert.Equal(t, keystore.Scope("default"), receive(t, calls))
}

// A volume that Kubernetes mounts is switched to its next state while it is read.
func TestDirNeverMissesARecordWhileAVolumeIsSwitched(t *testing.T) {
	path := t.TempDir()
	folder := filepath.Join(path, "meshes", "default")
	put := func(i int) {
		state := fmt.Sprint("..state-", i)
		writeFile(t, filepath.Join(folder, state, "revocations"), "content")
		require.NoError(t, os.Symlink(state, filepath.Join(folder, "..next")))
		require.NoError(t, os.Rename(filepath.Join(folder, "..next"), filepath.Join(folder, "..data")))
		if i > 0 {
			require.NoError(t, os.RemoveAll(filepath.Join(folder, fmt.Sprint("..state-", i-1))))
		}
	}
	put(0)
	require.NoError(t, os.Symlink(filepath.Join("..data", "revocations"), filepath.Join(folder, "revocations")))
	store := openDir(t, path)
	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for ctx.Err() == nil {
				_, err := store.Get(t.Context(), "default", "revocations")
				assert.NoError(t, err)
				records, err := store.List(t.Context(), keystore.AllScopes, "")
				assert.NoError(t, err)
				assert.Len(t, records, 1)
			}
		})
	}
	for i := range 300 {
		put(i + 1)
	}
	stop()
	readers.Wait()
}

func TestDirIsBrokenNotEmptyWhileItsFolderIsAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	store := openDir(t, path)
	create(t, store, "default", "key-1", "content")
	require.NoError(t, os.Rename(path, path+"-away"))

	_, err := store.Get(t.Context(), "default", "key-1")
	require.Error(t, err)
	assert.NotErrorIs(t, err, keystore.ErrNotFound)
	_, err = store.List(t.Context(), keystore.AllScopes, "")
	assert.Error(t, err)
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-2"})
	assert.Error(t, err)
	assert.Error(t, store.Delete(t.Context(), "default", "key-1"))
	assert.Error(t, store.Watch(t.Context(), func(keystore.Scope) {}))

	require.NoError(t, os.Rename(path+"-away", path))
	r, err := store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	assert.Equal(t, "content", string(r.Data))
}

func TestDirOpenSaysWhyItCannotOpen(t *testing.T) {
	_, err := dir.Open("")
	assert.ErrorContains(t, err, "the path is empty")

	file := filepath.Join(t.TempDir(), "file")
	writeFile(t, file, "content")
	_, err = dir.Open(file)
	assert.ErrorContains(t, err, file)
	_, err = dir.Open(filepath.Join(file, "keys"))
	assert.ErrorContains(t, err, file)
}

func TestDirStaysWhereItWasWhenTheWorkingDirectoryChanges(t *testing.T) {
	t.Chdir(t.TempDir())
	store := openDir(t, "keys")
	create(t, store, "default", "key-1", "content")
	t.Chdir(t.TempDir())
	_, err := store.Get(t.Context(), "default", "key-1")
	assert.NoError(t, err)
}

func TestDirOpenRemovesWhatKilledWritersLeft(t *testing.T) {
	path := t.TempDir()
	long := strings.Repeat("n", 253)
	store := openDir(t, path)
	create(t, store, "default", "key-1", "content")
	create(t, store, "default", long, "content")
	leftovers := []string{
		filepath.Join(path, "global", ".tmp-LEFT"),
		filepath.Join(path, "meshes", "default", ".tmp-LEFT"),
		filepath.Join(path, "meshes", "default", long[:200]+"%", ".tmp-LEFT"),
	}
	for _, file := range leftovers {
		writeFile(t, file, "half a rec")
	}
	kept := filepath.Join(path, "global", ".editor-tmp")
	writeFile(t, kept, "")

	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	assert.Len(t, records, 2, "leftovers are no records")

	openDir(t, path)
	for _, file := range leftovers {
		assert.NoFileExists(t, file)
	}
	assert.FileExists(t, kept)
	records, err = store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	assert.Len(t, records, 2)
}

func TestDirLeavesNothingBehindWhenWritesFail(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	r := create(t, store, "default", "key-1", "content")
	_, err := store.Create(t.Context(), r)
	require.ErrorIs(t, err, keystore.ErrExists)
	r.Version = "stale"
	_, err = store.Update(t.Context(), r)
	require.ErrorIs(t, err, keystore.ErrConflict)
	entries, err := os.ReadDir(filepath.Join(path, "meshes", "default"))
	require.NoError(t, err)
	assert.Len(t, entries, 1)
}

// watchDir watches until the test ends. The channel gets what is announced; the
// first announcement has been taken from it.
func watchDir(t *testing.T, store keystore.Watcher) <-chan keystore.Scope {
	t.Helper()
	calls := make(chan keystore.Scope, 1000)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		assert.ErrorIs(t, store.Watch(ctx, func(scope keystore.Scope) { calls <- scope }), context.Canceled)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	require.Equal(t, keystore.AllScopes, receive(t, calls))
	return calls
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(30 * time.Second):
		require.FailNow(t, "waited 30 s in vain")
		panic("unreachable")
	}
}

func TestDirWatchNoticesWhatOtherProgramsDo(t *testing.T) {
	for _, c := range []struct {
		does   string
		change func(t *testing.T, folder string)
	}{
		{"write a new file", func(t *testing.T, folder string) {
			writeFile(t, filepath.Join(folder, "key-2"), "content")
		}},
		{"remove a file", func(t *testing.T, folder string) {
			require.NoError(t, os.Remove(filepath.Join(folder, "key-1")))
		}},
		{"remove the whole folder", func(t *testing.T, folder string) {
			require.NoError(t, os.RemoveAll(folder))
		}},
		{"rename a file", func(t *testing.T, folder string) {
			require.NoError(t, os.Rename(filepath.Join(folder, "key-1"), filepath.Join(folder, "key-2")))
		}},
		{"append to a file", func(t *testing.T, folder string) {
			f, err := os.OpenFile(filepath.Join(folder, "key-1"), os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteString(" and more")
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}},
		{"write as many bytes and put the time of modification back", func(t *testing.T, folder string) {
			file := filepath.Join(folder, "key-1")
			info, err := os.Stat(file)
			require.NoError(t, err)
			writeFile(t, file, "CONTENT")
			require.NoError(t, os.Chtimes(file, time.Time{}, info.ModTime()))
			after, err := os.Stat(file)
			require.NoError(t, err)
			require.Equal(t, info.ModTime(), after.ModTime())
			require.Equal(t, info.Size(), after.Size())
		}},
		{"replace a file by an older one of the same size", func(t *testing.T, folder string) {
			file := filepath.Join(folder, "key-1")
			info, err := os.Stat(file)
			require.NoError(t, err)
			writeFile(t, file+"~", "CONTENT")
			require.NoError(t, os.Chtimes(file+"~", time.Time{}, info.ModTime()))
			require.NoError(t, os.Rename(file+"~", file))
		}},
		{"put a link in the place of a file", func(t *testing.T, folder string) {
			file := filepath.Join(folder, "key-1")
			writeFile(t, filepath.Join(folder, ".target"), "CONTENT")
			require.NoError(t, os.Symlink(".target", file+"~"))
			require.NoError(t, os.Rename(file+"~", file))
		}},
	} {
		t.Run("when they "+c.does, func(t *testing.T) {
			path := t.TempDir()
			store := openDir(t, path)
			create(t, store, "default", "key-1", "content")
			create(t, store, keystore.Global, "key-1", "content")
			create(t, store, "other", "key-1", "content")
			calls := watchDir(t, store)
			c.change(t, filepath.Join(path, "meshes", "default"))
			assert.Equal(t, keystore.Scope("default"), receive(t, calls))
		})
	}
}

func TestDirWatchNoticesEveryRewriteInPlace(t *testing.T) {
	rewriteInPlace(t, t.TempDir())
}

// rewriteInPlace watches while a file gets other content of one size at one time
// of modification.
func rewriteInPlace(t *testing.T, path string) {
	store := openDir(t, path)
	file := filepath.Join(path, "meshes", "default", "key-1")
	create(t, store, "default", "key-1", "content-0")
	info, err := os.Stat(file)
	require.NoError(t, err)
	calls := watchDir(t, store)
	for i := range 8 {
		content := fmt.Sprint("content-", i+1)
		f, err := os.OpenFile(file, os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteString(content)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.NoError(t, os.Chtimes(file, time.Time{}, info.ModTime()))
		for {
			require.Equal(t, keystore.Scope("default"), receive(t, calls))
			r, err := store.Get(t.Context(), "default", "key-1")
			require.NoError(t, err)
			if string(r.Data) == content {
				break
			}
		}
	}
}

func TestDirFollowsAVolumeThatKubernetesMounts(t *testing.T) {
	path := t.TempDir()
	folder := filepath.Join(path, "meshes", "default")
	writeFile(t, filepath.Join(folder, "..2024_01", "key-1"), "first")
	require.NoError(t, os.Symlink("..2024_01", filepath.Join(folder, "..data")))
	require.NoError(t, os.Symlink(filepath.Join("..data", "key-1"), filepath.Join(folder, "key-1")))

	store := openDir(t, path)
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Len(t, records, 1)
	assert.Equal(t, "first", string(records[0].Data))

	calls := watchDir(t, store)
	writeFile(t, filepath.Join(folder, "..2024_02", "key-1"), "other")
	require.NoError(t, os.Symlink("..2024_02", filepath.Join(folder, "..data_tmp")))
	require.NoError(t, os.Rename(filepath.Join(folder, "..data_tmp"), filepath.Join(folder, "..data")))
	assert.Equal(t, keystore.Scope("default"), receive(t, calls))
	r, err := store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	assert.Equal(t, "other", string(r.Data))
}

func TestDirWatchIsLostWithItsFolder(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys")
	store := openDir(t, path)
	calls := make(chan keystore.Scope, 100)
	lost := make(chan error, 1)
	go func() { lost <- store.Watch(t.Context(), func(scope keystore.Scope) { calls <- scope }) }()
	require.Equal(t, keystore.AllScopes, receive(t, calls))
	require.NoError(t, os.RemoveAll(path))
	assert.ErrorIs(t, receive(t, lost), fs.ErrNotExist)
}

// BenchmarkDirGet and BenchmarkDirList print how often the plain reading of the
// same files fits into a call.
func BenchmarkDirGet(b *testing.B)  { benchmarkDir(b, 1) }
func BenchmarkDirList(b *testing.B) { benchmarkDir(b, 4) }

func benchmarkDir(b *testing.B, files int) {
	path := b.TempDir()
	store, err := dir.Open(path)
	require.NoError(b, err)
	data := []byte(strings.Repeat("k", 1700)) // about what a key of 2048 bits has in PEM
	for i := range 4 {
		_, err := store.Create(b.Context(), keystore.Record{Scope: "default", Name: fmt.Sprint("key-", i), Data: data})
		require.NoError(b, err)
	}
	var raw, measured time.Duration
	for b.Loop() {
		began := time.Now()
		for i := range files {
			if _, err := os.ReadFile(filepath.Join(path, "meshes", "default", fmt.Sprint("key-", i))); err != nil {
				b.Fatal(err)
			}
		}
		between := time.Now()
		if files == 1 {
			_, err = store.Get(b.Context(), "default", "key-0")
		} else {
			_, err = store.List(b.Context(), "default", "key-")
		}
		if err != nil {
			b.Fatal(err)
		}
		raw += between.Sub(began)
		measured += time.Since(between)
	}
	b.ReportMetric(float64(measured)/float64(raw), "x-raw")
	b.ReportMetric(float64(measured.Microseconds())/float64(b.N), "us/call")
}
