//go:build unix

package postgres_test

import (
	"testing"

	"github.com/meshpass/meshpass/internal/engines"
	"github.com/meshpass/meshpass/internal/storetest"
)

func BenchmarkReplica(b *testing.B) {
	url := newSchema(b, engines.SharedPostgres(b).URL())
	migrate(b, url)
	storetest.BenchmarkReplica(b, opener(url))
}
