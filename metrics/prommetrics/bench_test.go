package prommetrics_test

import (
	"testing"

	"github.com/meshpass/meshpass/internal/test/scene"
	"github.com/meshpass/meshpass/metrics/prommetrics"
)

func BenchmarkCollector(b *testing.B) { scene.Cost(b, prommetrics.New()) }
