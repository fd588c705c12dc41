package keystore_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/storetest"
	"github.com/meshpass/meshpass/keystore"
)

// openerOfDir opens a store on one folder.
func openerOfDir(tb testing.TB) storetest.Opener {
	dir := tb.TempDir()
	return func(tb testing.TB) keystore.KeyStore {
		store, err := keystore.OpenDir(dir)
		require.NoError(tb, err)
		return store
	}
}

func TestTheLifeOfATokenInADir(t *testing.T) {
	storetest.LifeOfAToken(t, openerOfDir(t))
}

func TestARevocationInADirEndsASessionOfAnotherProcess(t *testing.T) {
	storetest.ARevocationEndsASessionOfAnotherReplica(t, openerOfDir(t))
}

func TestTheLifeOfATokenInMemory(t *testing.T) {
	store := keystore.NewMemory()
	storetest.LifeOfAToken(t, func(testing.TB) keystore.KeyStore { return store })
}

func BenchmarkDirRevocation(b *testing.B) { storetest.BenchmarkRevocation(b, openerOfDir(b)) }

func TestADirWhoseFolderIsAwayForAWhile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	open := func(tb testing.TB) keystore.KeyStore {
		store, err := keystore.OpenDir(dir)
		require.NoError(tb, err)
		return store
	}
	away := dir + "-away"
	storetest.Outage(t, open, storetest.Fault{
		Break: func(tb testing.TB) { require.NoError(tb, os.Rename(dir, away)) },
		For:   2 * time.Second,
		Mend:  func(tb testing.TB) { require.NoError(tb, os.Rename(away, dir)) },
	})
}
