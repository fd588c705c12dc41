package metrics_test

import (
	"testing"

	"github.com/meshpass/meshpass/internal/test/scene"
	"github.com/meshpass/meshpass/metrics"
	"github.com/meshpass/meshpass/observe"
)

// idle is an observer that does nothing: what is left is the cost of the core.
type idle struct{}

func (idle) Observe(observe.Outcome) {}

func BenchmarkIdle(b *testing.B)  { scene.Cost(b, idle{}) }
func BenchmarkTally(b *testing.B) { scene.Cost(b, metrics.NewTally()) }
