package dir_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
)

// openerOfDir opens a store on one folder.
func openerOfDir(tb testing.TB) storetest.Opener {
	folder := tb.TempDir()
	return func(tb testing.TB) keystore.KeyStore {
		store, err := dir.Open(folder)
		require.NoError(tb, err)
		return store
	}
}

func TestDirServesTokensThroughTheirLife(t *testing.T) {
	storetest.LifeOfAToken(t, openerOfDir(t))
}

func TestDirLetsARevocationEndASessionOfAnotherProcess(t *testing.T) {
	storetest.ARevocationEndsASessionOfAnotherReplica(t, openerOfDir(t))
}

func TestAFolderInThePlaceOfAFileIsOneUnreadableRecord(t *testing.T) {
	path := t.TempDir()
	open := func(tb testing.TB) keystore.KeyStore {
		store, err := dir.Open(path)
		require.NoError(tb, err)
		return store
	}
	storetest.OneUnreadableRecordIsOneUnreadableRecord(t, open, func(tb testing.TB, scope keystore.Scope, name string) {
		file := filepath.Join(path, "meshes", string(scope), name)
		require.NoError(tb, os.Remove(file))
		require.NoError(tb, os.Mkdir(file, 0o700))
	})
}

func BenchmarkDirRevocation(b *testing.B) { storetest.BenchmarkRevocation(b, openerOfDir(b)) }

func TestDirLosesNothingAcknowledgedWhileItsFolderIsAway(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "store")
	open := func(tb testing.TB) keystore.KeyStore {
		store, err := dir.Open(folder)
		require.NoError(tb, err)
		return store
	}
	away := folder + "-away"
	storetest.Outage(t, open, storetest.Fault{
		Break: func(tb testing.TB) { require.NoError(tb, os.Rename(folder, away)) },
		For:   2 * time.Second,
		Mend:  func(tb testing.TB) { require.NoError(tb, os.Rename(away, folder)) },
	})
}
