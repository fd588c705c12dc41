package prommetrics_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/scene"
	"github.com/meshpass/meshpass/metrics/prommetrics"
	"github.com/meshpass/meshpass/token"
)

// The counts in testdata/scene.txt are those in the comments of package scene.
func TestTheMetricsOfAKnownSequenceOfEventsAreExact(t *testing.T) {
	text, err := os.ReadFile("testdata/scene.txt")
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		collector := prommetrics.New()
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(collector)
		reads := scene.Play(t, collector)

		want := os.Expand(string(text), func(name string) string {
			return map[string]string{
				"dataplane_reads":     fmt.Sprint(reads.Complete[token.KindDataplane]),
				"dataplane_single":    fmt.Sprint(reads.Single[token.KindDataplane]),
				"zone_reads":          fmt.Sprint(reads.Complete[token.KindZone]),
				"dataplane_staleness": fmt.Sprint(reads.Staleness[token.KindDataplane]),
				"zone_staleness":      fmt.Sprint(reads.Staleness[token.KindZone]),
			}[name]
		})
		assert.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(want)))
	})
}

func TestTheNamesFollowTheConventionsOfPrometheus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector := prommetrics.New()
		scene.Play(t, collector)
		problems, err := testutil.CollectAndLint(collector)
		require.NoError(t, err)
		assert.Equal(t, []promlint.Problem(nil), problems)
	})
}
