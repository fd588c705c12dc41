package dir_test

import (
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
)

// What the owner of the folder has put in the place of the store's own files must not lead
// root to a file of root's.
func TestRootChangesNoFileToWhichThePlaceOfAnotherOfTheStoresFilesLeads(t *testing.T) {
	needsRoot(t)
	for _, place := range []string{".changes", ".changes.new", ".write.lock", ".list.lock", ".turn.lock"} {
		for how, link := range map[string]func(oldname, newname string) error{"hard link": os.Link, "symbolic link": os.Symlink} {
			t.Run(place+" is a "+how, func(t *testing.T) {
				path := folderOf(t, service, service, 0o700)
				private := filepath.Join(filepath.Dir(path), "private")
				require.NoError(t, os.WriteFile(private, []byte("root's\n"), 0o640))
				before := rightsIn(t, filepath.Dir(path))["private"]
				require.NoError(t, link(private, filepath.Join(path, place)))

				store, err := dir.Open(path)
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				for range 2 {
					if _, err := store.Create(ctx, keystore.Record{Scope: "default", Name: "a", Data: []byte("1")}); err != nil {
						t.Log(err)
					}
					_, err = store.List(ctx, keystore.AllScopes, "")
					assert.NotErrorIs(t, err, context.DeadlineExceeded)
					if err := store.Delete(ctx, "default", "a"); err != nil {
						t.Log(err)
					}
				}
				content, err := os.ReadFile(private)
				require.NoError(t, err)
				assert.Equal(t, "root's\n", string(content))
				assert.Equal(t, before, rightsIn(t, filepath.Dir(path))["private"])
			})
		}
	}
}

// Root replaces its file by a rename, and the old one is still in the folder of the other user.
func TestRootGivesAwayNoFileOfWhichThePlaceOfALockIsTheLastName(t *testing.T) {
	needsRoot(t)
	for _, place := range []string{".write.lock", ".list.lock", ".turn.lock"} {
		path := folderOf(t, service, service, 0o700)
		private := filepath.Join(filepath.Dir(path), "private")
		require.NoError(t, os.WriteFile(private, []byte("root's\n"), 0o600))
		require.NoError(t, os.Link(private, filepath.Join(path, place)))
		require.NoError(t, os.Remove(private))
		store, err := dir.Open(path)
		require.NoError(t, err)
		_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "a", Data: []byte("1")})
		require.NoError(t, err)
		assert.Equal(t, "0:0 0600", rightsIn(t, path)[place])
	}
}

func TestAWriterOverwritesNoRecordToWhichThePlaceOfTheNewMarkerLeads(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	store, err := dir.Open(path)
	require.NoError(t, err)
	_, err = store.Create(t.Context(), keystore.Record{Name: "a", Data: []byte("1")})
	require.NoError(t, err)
	require.NoError(t, os.Remove(filepath.Join(path, ".changes")))
	require.NoError(t, os.Symlink("global/a", filepath.Join(path, ".changes.new")))
	_, err = store.Create(t.Context(), keystore.Record{Name: "b", Data: []byte("2")})
	require.NoError(t, err)
	r, err := store.Get(t.Context(), keystore.Global, "a")
	require.NoError(t, err)
	assert.Equal(t, "1", string(r.Data))
}

func TestANamedPipeInThePlaceOfTheMarkerStopsNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store")
	store, err := dir.Open(path)
	require.NoError(t, err)
	pipe := filepath.Join(path, ".changes")
	require.NoError(t, syscall.Mkfifo(pipe, 0o666))
	held, err := os.OpenFile(pipe, os.O_RDWR, 0) // so that a read waits for more
	require.NoError(t, err)
	defer held.Close()
	returns := func(what string, do func() error) {
		t.Helper()
		done := make(chan error, 1)
		go func() { done <- do() }()
		assert.NoError(t, receive(t, done), what)
	}
	ctx := t.Context()
	returns("Create", func() error {
		_, err := store.Create(ctx, keystore.Record{Scope: "default", Name: "a", Data: []byte("1")})
		return err
	})
	returns("List", func() error { _, err := store.List(ctx, keystore.AllScopes, ""); return err })
	returns("Get", func() error { _, err := store.Get(ctx, "default", "a"); return err })
	watching := make(chan keystore.Scope, 10)
	go func() { _ = store.Watch(ctx, func(s keystore.Scope) { watching <- s }) }()
	returns("Watch", func() error { <-watching; return nil })
}
