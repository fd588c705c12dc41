package dir_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// fillByHand makes meshes of three records as another program would.
func fillByHand(tb testing.TB, path string, meshes int) {
	for i := range meshes {
		folder := filepath.Join(path, "meshes", fmt.Sprint("mesh-", i))
		require.NoError(tb, os.MkdirAll(folder, 0o700))
		for k := range 3 {
			require.NoError(tb, os.WriteFile(filepath.Join(folder, fmt.Sprint("key-", k)), make([]byte, 1700), 0o600))
		}
	}
}

func TestDirWatchAnnouncesWhatIsMadeAndRemovedBetweenTwoLooks(t *testing.T) {
	path := t.TempDir()
	store, other := openDir(t, path), openDir(t, path)
	create(t, other, "other", "key-1", "content")
	calls := watchDir(t, store)
	for range 5 {
		create(t, other, "default", "key-1", "content")
		require.NoError(t, other.Delete(t.Context(), "default", "key-1"))
		assert.Equal(t, keystore.Scope("default"), receive(t, calls))
	}
}

func TestDirEndsTheSessionOfAKeyThatIsRemovedWithinOneLook(t *testing.T) {
	path := t.TempDir()
	store, other := openDir(t, path), openDir(t, path)
	create(t, other, "other", "key-1", "content")
	validator, err := dataplane.NewValidator(store)
	require.NoError(t, err)
	defer validator.Close()
	completeReads := func() uint64 { return validator.Report().Complete.Total }
	ended := 0 // before the next complete read
	for i := 0; i < 6 && ended < 3; i++ {
		mesh := fmt.Sprint("mesh-", i)
		_, err = dataplane.EnsureKey(t.Context(), other, mesh)
		require.NoError(t, err)
		issuer, err := dataplane.NewIssuer(other)
		require.NoError(t, err)
		issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: mesh}, time.Hour)
		require.NoError(t, err)
		verified, err := validator.Validate(t.Context(), mesh, issued.Token)
		require.NoError(t, err)
		session, stop := verified.Bind(t.Context())
		defer stop()
		before := completeReads()
		require.NoError(t, dataplane.RemoveAllKeys(t.Context(), other, mesh))
		receive(t, session.Done())
		if completeReads() == before {
			ended++
		}
	}
	assert.Equal(t, 3, ended, "it was noticed only by the next complete read")
}

// passes makes and removes a record in a mesh that is not there before or after: a look at
// files does not find that.
func passes(t *testing.T, store keystore.KeyStore, mesh keystore.Scope) {
	t.Helper()
	create(t, store, mesh, "list", "content")
	require.NoError(t, store.Delete(t.Context(), mesh, "list"))
}

func TestDirKnowsAChangeOfItsOwnAsSoonAmongManyMeshes(t *testing.T) {
	path := t.TempDir()
	fillByHand(t, path, storetest.Repeat(1000, 50_000))
	store, other := openDir(t, path), openDir(t, path)
	create(t, other, "first", "list", "content") // the first one is announced for all scopes
	calls := watchDir(t, store)
	for i := range 4 {
		mesh := keystore.Scope(fmt.Sprint("new-", i))
		passes(t, other, mesh)
		for receive(t, calls) != mesh {
		}
	}
}

func TestDirKnowsAChangeOfItsOwnAsSoonBesideTheEmptyFoldersOfDeletedMeshes(t *testing.T) {
	path := t.TempDir()
	for i := range storetest.Repeat(1000, 5000) { // as earlier versions have left them
		require.NoError(t, os.MkdirAll(filepath.Join(path, "meshes", fmt.Sprint("deleted-", i)), 0o700))
	}
	store, other := openDir(t, path), openDir(t, path)
	create(t, other, "first", "list", "content")
	calls := watchDir(t, store)
	passes(t, other, "default")
	for receive(t, calls) != "default" {
	}
}

func TestDirWatchFindsAChangeThatNoMarkerAnnounces(t *testing.T) {
	path := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(path, ".changes"), 0o700)) // it cannot be written
	store, other := openDir(t, path), openDir(t, path)
	create(t, other, "other", "key-1", "content")
	calls := watchDir(t, store)
	r := create(t, other, "default", "key-1", "content")
	assert.Equal(t, keystore.Scope("default"), receive(t, calls))
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Len(t, records, 2)
	assert.Equal(t, r, records[0])
}

func TestDirWatchGoesOnWhenTheMarkerIsReplacedByAShorterOne(t *testing.T) {
	path := t.TempDir()
	store, other := openDir(t, path), openDir(t, path)
	r := create(t, other, "default", "list", "0")
	calls := watchDir(t, store)
	seen := make(chan struct{}, 1) // holds what was announced until it is received
	go func() {
		for scope := range calls {
			assert.Equal(t, keystore.Scope("default"), scope, "nothing was missed, so nothing else is announced")
			select {
			case seen <- struct{}{}:
			default:
			}
		}
	}()
	update := func() {
		t.Helper()
		var err error
		r.Data = append(r.Data, '0')
		r, err = other.Update(t.Context(), r)
		require.NoError(t, err)
	}
	marker := filepath.Join(path, ".changes")
	size := func() int64 {
		info, err := os.Stat(marker)
		require.NoError(t, err)
		return info.Size()
	}
	// Lines of an age that does not matter, so that the next writes replace the marker.
	f, err := os.OpenFile(marker, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(strings.Repeat("3 0 end default list -\n", 1<<20/23))
	require.NoError(t, err)
	require.NoError(t, f.Close())
	receive(t, seen)
	for before := size(); size() >= before; {
		update()
	}
	for range 2 { // the first announcement may be of an update before the marker was replaced
		receive(t, seen)
		update()
	}
	receive(t, seen)
}

func TestDirRemovesTheFolderOfAMeshWithItsLastRecord(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	long := strings.Repeat("n", 253)
	for _, scope := range []keystore.Scope{keystore.Global, "default", "Prod", keystore.Scope(strings.Repeat("M", 128)), "kept"} {
		create(t, store, scope, "key-1", "content")
		create(t, store, scope, long, "content")
	}
	writeFile(t, filepath.Join(path, "meshes", "kept", "notes~"), "of an administrator")
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	for _, r := range records {
		require.NoError(t, store.Delete(t.Context(), r.Scope, r.Name))
	}
	var left []string
	require.NoError(t, filepath.WalkDir(path, func(file string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			left = append(left, filepath.Base(file))
		}
		return err
	}))
	assert.ElementsMatch(t, []string{filepath.Base(path), "global", "meshes", "kept"}, left)
	create(t, store, "default", "key-1", "content")
}

func TestDirKeepsAFolderThatIsALinkWhenItsLastRecordIsDeleted(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	require.NoError(t, os.MkdirAll(filepath.Join(path, "meshes"), 0o700))
	require.NoError(t, os.Mkdir(filepath.Join(path, "data"), 0o700))
	link := filepath.Join(path, "meshes", "default")
	require.NoError(t, os.Symlink("../data", link))
	create(t, store, "default", "key-1", "content")
	require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
	target, err := os.Readlink(link)
	require.NoError(t, err)
	assert.Equal(t, "../data", target)
}

func TestDirCreatesWhileOthersDeleteTheLastRecordOfAMesh(t *testing.T) {
	path := t.TempDir()
	var writers sync.WaitGroup
	for i := range 4 {
		store := openDir(t, path)
		writers.Go(func() {
			for range storetest.Repeat(20, 200) {
				name := fmt.Sprint("key-", i)
				_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: name})
				assert.NoError(t, err)
				assert.NoError(t, store.Delete(t.Context(), "default", name))
			}
		})
	}
	writers.Wait()
	assert.NoDirExists(t, filepath.Join(path, "meshes", "default"))
}
