//go:build unix

package keystore_test

import (
	"testing"

	"github.com/meshpass/meshpass/internal/storetest"
)

func BenchmarkDirReplica(b *testing.B) { storetest.BenchmarkReplica(b, openerOfDir(b)) }
