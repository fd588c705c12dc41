//go:build unix

package dir_test

import (
	"testing"

	"github.com/meshpass/meshpass/internal/test/storetest"
)

func BenchmarkDirReplica(b *testing.B) { storetest.BenchmarkReplica(b, openerOfDir(b)) }
