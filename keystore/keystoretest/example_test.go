package keystoretest_test

import (
	"testing"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/keystore/keystoretest"
)

// This is how the store in a directory is tested. In a test, t is the test's own.
func ExampleRun() {
	var t *testing.T
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			path := t.TempDir()
			return keystoretest.Storage{Open: func(t *testing.T) keystore.KeyStore {
				store, err := dir.Open(path)
				if err != nil {
					t.Fatal(err)
				}
				return store
			}}
		},
		MaxData: 64 << 20,
	})
}
