//go:build unix

package dir_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
)

func TestDirGivesFilesAndFoldersToTheirOwnerAloneWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077, 0o177} {
		func() {
			parent := t.TempDir()
			defer syscall.Umask(syscall.Umask(umask))
			path := filepath.Join(parent, "new", "keys")
			store := openDir(t, path)
			create(t, store, keystore.Global, "key-1", "content")
			r := create(t, store, "default", strings.Repeat("n", 253), "content")
			r.Data = []byte("new content")
			_, err := store.Update(t.Context(), r)
			require.NoError(t, err)

			require.NoError(t, filepath.WalkDir(filepath.Join(parent, "new"), func(path string, entry fs.DirEntry, err error) error {
				require.NoError(t, err)
				info, err := entry.Info()
				require.NoError(t, err)
				want := fs.FileMode(0o600)
				if entry.IsDir() {
					want = 0o700
				}
				if !strings.HasSuffix(path, ".lock") { // which hold nothing
					assert.Equal(t, want, info.Mode().Perm(), "%s with umask %#o", path, umask)
				} else {
					assert.Zero(t, info.Mode().Perm()&^want, "%s with umask %#o", path, umask)
				}
				return nil
			}))
		}()
	}
}

func TestDirLeavesTheModeOfAnExistingFolder(t *testing.T) {
	path := t.TempDir()
	require.NoError(t, os.Chmod(path, 0o750))
	create(t, openDir(t, path), "default", "key-1", "content")
	info, err := os.Stat(path)
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o750), info.Mode().Perm())
}

func TestDirDoesNotWaitForTheWriterOfANamedPipe(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	create(t, store, "default", "key-1", "content")
	require.NoError(t, syscall.Mkfifo(filepath.Join(path, "meshes", "default", "pipe"), 0o600))
	_, err := store.Get(t.Context(), "default", "pipe")
	assert.ErrorContains(t, err, "is not a regular file")
	records, err := store.List(t.Context(), "default", "")
	assert.ErrorContains(t, requireUnreadable(t, err, "default", "pipe"), "is not a regular file")
	assert.Len(t, records, 1)
	require.NoError(t, store.Delete(t.Context(), "default", "pipe"))
	_, err = store.List(t.Context(), "default", "")
	assert.NoError(t, err)
}

func TestDirDoesNotWaitForTheWriterOfANamedPipeInThePlaceOfAFolder(t *testing.T) {
	// A call that waits for the pipe waits until a process writes to it.
	returns := func(t *testing.T, call func() error) error {
		t.Helper()
		returned := make(chan error, 1)
		go func() { returned <- call() }()
		return receive(t, returned)
	}
	list := func(store keystore.KeyStore, scope keystore.Scope) func() error {
		return func() error { _, err := store.List(context.Background(), scope, ""); return err }
	}
	t.Run("of a mesh, which is ignored with the others that are not ours", func(t *testing.T) {
		path := t.TempDir()
		store := openDir(t, path)
		create(t, store, "default", "key-1", "content")
		require.NoError(t, syscall.Mkfifo(filepath.Join(path, "meshes", "pipe"), 0o600))
		require.NoError(t, os.Symlink("pipe", filepath.Join(path, "meshes", "link-to-a-pipe")))
		require.NoError(t, syscall.Mkfifo(filepath.Join(path, "meshes", "default", strings.Repeat("n", 200)+"%"), 0o600))

		require.NoError(t, returns(t, func() error { _, err := dir.Open(path); return err }))
		require.NoError(t, returns(t, list(store, keystore.AllScopes)))
		require.NoError(t, returns(t, list(store, "default")))
		watchDir(t, store)
		for _, scope := range []keystore.Scope{"pipe", "link-to-a-pipe"} {
			assert.Error(t, returns(t, list(store, scope)))
			assert.Error(t, returns(t, func() error {
				_, err := store.Create(context.Background(), keystore.Record{Scope: scope, Name: "key-1"})
				return err
			}))
		}
		create(t, store, "default", "key-2", "content")
	})
	t.Run("of the global scope", func(t *testing.T) {
		path := t.TempDir()
		store := openDir(t, path)
		require.NoError(t, syscall.Mkfifo(filepath.Join(path, "global"), 0o600))
		require.NoError(t, returns(t, func() error { _, err := dir.Open(path); return err }))
		assert.Error(t, returns(t, list(store, keystore.Global)))
		assert.Error(t, returns(t, list(store, keystore.AllScopes)))
		assert.Error(t, returns(t, func() error { return store.Watch(context.Background(), func(keystore.Scope) {}) }))
		create(t, store, "default", "key-1", "content")
	})
	t.Run("of the store", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "keys")
		store := openDir(t, path)
		require.NoError(t, os.RemoveAll(path))
		require.NoError(t, syscall.Mkfifo(path, 0o600))
		assert.Error(t, returns(t, func() error { _, err := dir.Open(path); return err }))
		assert.Error(t, returns(t, list(store, keystore.AllScopes)))
	})
	t.Run("and of a lock that cannot be made", func(t *testing.T) {
		path := t.TempDir()
		store := openDir(t, path)
		create(t, store, "default", "key-1", "content")
		lock := filepath.Join(path, ".turn.lock")
		require.NoError(t, os.Remove(lock))
		require.NoError(t, syscall.Mkfifo(lock, 0o400))
		require.NoError(t, returns(t, list(store, "default")))
	})
}

// hold locks a file of the store as another process would.
func hold(t *testing.T, file string) (release func()) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	require.NoError(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	return func() { f.Close() }
}

func TestDirGivesUpWaitingForAnotherProcessWhenItsContextEnds(t *testing.T) {
	for _, c := range []struct {
		lock  string
		lists bool // while another process holds the lock
	}{
		{".write.lock", true},
		{".turn.lock", false},
		{".list.lock", false},
	} {
		t.Run(c.lock, func(t *testing.T) {
			path := t.TempDir()
			store := openDir(t, path)
			r := create(t, store, "default", "key-1", "content")
			release := hold(t, filepath.Join(path, c.lock))

			deadline := func() context.Context {
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
				t.Cleanup(cancel)
				return ctx
			}
			_, err := store.Create(deadline(), keystore.Record{Scope: "default", Name: "key-2"})
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			changed := r
			changed.Data = []byte("changed")
			_, err = store.Update(deadline(), changed)
			assert.ErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorIs(t, store.Delete(deadline(), "default", "key-1"), context.DeadlineExceeded)
			if c.lists {
				_, err = store.List(t.Context(), "default", "")
				assert.NoError(t, err)
			} else {
				_, err = store.List(deadline(), "default", "")
				assert.ErrorIs(t, err, context.DeadlineExceeded)
			}
			got, err := store.Get(t.Context(), "default", "key-1")
			assert.NoError(t, err)
			assert.Equal(t, r, got)

			release()
			records, err := store.List(t.Context(), keystore.AllScopes, "")
			require.NoError(t, err)
			assert.Len(t, records, 1)
			_, err = store.Update(t.Context(), changed)
			assert.NoError(t, err)
		})
	}
}

func TestDirMakesOneGoroutineWaitForAnotherNoLongerThanItsContextLasts(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	release := hold(t, filepath.Join(path, ".write.lock"))
	defer release()
	waiting, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	for range 10 {
		go func() {
			_, err := store.Create(waiting, keystore.Record{Scope: "default", Name: "key-1"})
			ended <- err
		}()
	}
	ctx, cancelThis := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancelThis()
	_, err := store.Create(ctx, keystore.Record{Scope: "default", Name: "key-1"})
	assert.ErrorIs(t, err, context.DeadlineExceeded)
	cancel()
	for range 10 {
		assert.ErrorIs(t, receive(t, ended), context.Canceled)
	}
}

func TestDirOpenLeavesTheFilesOfAWriterAtWork(t *testing.T) {
	path := t.TempDir()
	openDir(t, path)
	temp := filepath.Join(path, "global", ".tmp-WORK")
	writeFile(t, temp, "half a rec")
	release := hold(t, filepath.Join(path, ".write.lock"))
	openDir(t, path)
	assert.FileExists(t, temp)
	release()
	openDir(t, path)
	assert.NoFileExists(t, temp)
}
