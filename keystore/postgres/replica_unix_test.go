//go:build unix

package postgres_test

import (
	"testing"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/internal/test/storetest"
)

func BenchmarkReplica(b *testing.B) {
	url := newSchema(b, engines.SharedPostgres(b).URL())
	migrate(b, url)
	storetest.BenchmarkReplica(b, opener(url))
}

func BenchmarkMeshes(b *testing.B) {
	url := newSchema(b, engines.SharedPostgres(b).URL())
	migrate(b, url)
	storetest.BenchmarkMeshes(b, opener(url), 1_000, 10_000, 100_000)
}

func BenchmarkIssue(b *testing.B) {
	url := newSchema(b, engines.SharedPostgres(b).URL())
	migrate(b, url)
	storetest.BenchmarkIssue(b, opener(url))
}
