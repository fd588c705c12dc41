//go:build unix

package etcdtest

import (
	"testing"

	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
)

// The server is a process of its own, so that what is measured is the replica.
func BenchmarkReplica(b *testing.B) {
	s := startServerProcess(b)
	storetest.BenchmarkReplica(b, func(tb testing.TB) keystore.KeyStore { return open(tb, s.config()) })
}

func BenchmarkMeshes(b *testing.B) {
	s := startServerProcess(b)
	storetest.BenchmarkMeshes(b, func(tb testing.TB) keystore.KeyStore { return open(tb, s.config()) }, 1_000, 10_000, 100_000)
}

func BenchmarkIssue(b *testing.B) {
	s := startServerProcess(b)
	storetest.BenchmarkIssue(b, func(tb testing.TB) keystore.KeyStore { return open(tb, s.config()) })
}
