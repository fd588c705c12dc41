package kubernetes_test

import (
	"testing"

	"github.com/meshpass/meshpass/internal/test/storetest"
)

func BenchmarkReplica(b *testing.B) {
	storetest.BenchmarkReplica(b, theCluster(b).newNamespace(b).open)
}

func BenchmarkRevocation(b *testing.B) {
	storetest.BenchmarkRevocation(b, theCluster(b).newNamespace(b).open)
}
