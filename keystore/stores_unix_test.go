//go:build unix

package keystore_test

import (
	"testing"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
)

func BenchmarkMemoryMeshes(b *testing.B) {
	store := keystore.NewMemory()
	storetest.BenchmarkMeshes(b, func(testing.TB) keystore.KeyStore { return store }, 1_000, 10_000, 100_000)
}

func BenchmarkMemoryIssue(b *testing.B) {
	store := keystore.NewMemory()
	storetest.BenchmarkIssue(b, func(testing.TB) keystore.KeyStore { return store })
}
