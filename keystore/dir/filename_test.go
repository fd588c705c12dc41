package dir_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
)

// People write the name of a mesh as it is.
func TestDirReportsARecordUnderAWrongNameWithTheRightOne(t *testing.T) {
	long := strings.Repeat("N", 240)
	for _, c := range []struct {
		file  string
		scope keystore.Scope
		name  string
		want  string
	}{
		{"meshes/Prod/revocations-Prod", "Prod", "revocations-Prod", "meshes/%50rod/revocations-%50rod"},
		{"meshes/Prod/revocations-%50rod", "Prod", "revocations-Prod", "meshes/%50rod/revocations-%50rod"},
		{"meshes/%50rod/revocations-Prod", "Prod", "revocations-Prod", "meshes/%50rod/revocations-%50rod"},
		{"meshes/%4aohn/key-2", "John", "key-2", "meshes/%4Aohn/key-2"},
		{"meshes/con/key-2", "con", "key-2", "meshes/%63on/key-2"},
		{"global/Key-2", keystore.Global, "Key-2", "global/%4Bey-2"},
		{"meshes/default/" + long, "default", long, "meshes/default/%4E%4E"},
	} {
		t.Run(c.file, func(t *testing.T) {
			path := t.TempDir()
			store := openDir(t, path)
			create(t, store, "default", "key-1", "content")
			calls := watchDir(t, store)
			file := filepath.Join(path, filepath.FromSlash(c.file))
			writeFile(t, file, "content")
			assert.Equal(t, c.scope, receive(t, calls))

			for _, scope := range []keystore.Scope{c.scope, keystore.AllScopes} {
				records, err := store.List(t.Context(), scope, "")
				assert.ErrorContains(t, requireUnreadable(t, err, c.scope, c.name), c.file+" has a wrong name")
				assert.ErrorContains(t, err, "rename it to "+c.want)
				for _, r := range records {
					assert.Equal(t, "key-1", r.Name)
				}
			}
			_, err := store.List(t.Context(), c.scope, "other-")
			assert.NoError(t, err)
			_, err = store.Get(t.Context(), c.scope, c.name)
			assert.ErrorContains(t, err, "rename it to "+c.want)
			assert.NotErrorIs(t, err, keystore.ErrNotFound)
			_, err = store.Update(t.Context(), keystore.Record{Scope: c.scope, Name: c.name})
			assert.ErrorContains(t, err, "rename it to "+c.want)
			_, err = store.Create(t.Context(), keystore.Record{Scope: c.scope, Name: c.name})
			assert.ErrorIs(t, err, keystore.ErrExists)
			assert.ErrorContains(t, err, "rename it to "+c.want)

			require.NoError(t, store.Delete(t.Context(), c.scope, c.name))
			assert.NoFileExists(t, file)
			_, err = store.List(t.Context(), keystore.AllScopes, "")
			assert.NoError(t, err)
			create(t, store, c.scope, c.name, "content")
		})
	}
}

func TestDirIsInDoubtAboutARecordThatIsThereUnderTheRightAndAWrongName(t *testing.T) {
	path := t.TempDir()
	store := openDir(t, path)
	r := create(t, store, "Prod", "revocations-Prod", "id-1")
	wrong := filepath.Join(path, "meshes", "Prod", "revocations-Prod")
	writeFile(t, wrong, "id-1,id-2")
	for _, scope := range []keystore.Scope{"Prod", keystore.AllScopes} {
		records, err := store.List(t.Context(), scope, "")
		requireUnreadable(t, err, "Prod", "revocations-Prod")
		assert.Empty(t, records)
	}
	_, err := store.Get(t.Context(), "Prod", "revocations-Prod")
	assert.ErrorContains(t, err, "has a wrong name")

	calls := watchDir(t, store)
	require.NoError(t, os.Remove(wrong))
	assert.Equal(t, keystore.Scope("Prod"), receive(t, calls))
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	assert.Equal(t, []keystore.Record{r}, records)
}
