//go:build unix

package dir_test

import (
	"testing"

	"github.com/meshpass/meshpass/internal/test/storetest"
)

func BenchmarkDirReplica(b *testing.B) { storetest.BenchmarkReplica(b, openerOfDir(b)) }

func BenchmarkDirMeshes(b *testing.B) {
	storetest.BenchmarkMeshes(b, openerOfDir(b), 1_000, 10_000, 100_000)
}

func BenchmarkDirIssue(b *testing.B) { storetest.BenchmarkIssue(b, openerOfDir(b)) }
