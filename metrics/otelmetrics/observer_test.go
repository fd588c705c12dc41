package otelmetrics_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/meshpass/meshpass/internal/test/scene"
	"github.com/meshpass/meshpass/metrics/otelmetrics"
	"github.com/meshpass/meshpass/token"
)

// The counts in testdata/scene.txt are those in the comments of package scene.
func TestTheInstrumentsOfAKnownSequenceOfEventsAreExact(t *testing.T) {
	text, err := os.ReadFile("testdata/scene.txt")
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		reader := sdk.NewManualReader()
		observer, err := otelmetrics.New(sdk.NewMeterProvider(sdk.WithReader(reader)))
		require.NoError(t, err)
		reads := scene.Play(t, observer)

		want := os.Expand(string(text), func(name string) string {
			return map[string]string{
				"dataplane_reads":     fmt.Sprint(reads.Complete[token.KindDataplane]),
				"dataplane_single":    fmt.Sprint(reads.Single[token.KindDataplane]),
				"zone_reads":          fmt.Sprint(reads.Complete[token.KindZone]),
				"dataplane_staleness": fmt.Sprint(reads.Staleness[token.KindDataplane]),
				"zone_staleness":      fmt.Sprint(reads.Staleness[token.KindZone]),
			}[name]
		})
		assert.Equal(t, want, strings.Join(lines(t, reader), "\n")+"\n")

		require.NoError(t, observer.Close())
		for _, line := range lines(t, reader) {
			assert.Contains(t, line, ".duration{", "after Close only the histograms are left")
		}
	})
}

// lines returns all that a reader collects, sorted: name{attributes} value unit.
func lines(t *testing.T, reader sdk.Reader) (all []string) {
	t.Helper()
	var collected metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(context.Background(), &collected))
	for _, scope := range collected.ScopeMetrics {
		assert.Equal(t, "github.com/meshpass/meshpass/metrics/otelmetrics", scope.Scope.Name)
		for _, m := range scope.Metrics {
			add := func(of attribute.Set, kind string, value any) {
				all = append(all, fmt.Sprintf("%s{%s} %s %v %s", m.Name, of.Encoded(attribute.DefaultEncoder()), kind, value, m.Unit))
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				kind := map[bool]string{true: "counter", false: "updowncounter"}[data.IsMonotonic]
				for _, p := range data.DataPoints {
					add(p.Attributes, kind, p.Value)
				}
			case metricdata.Gauge[int64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, "gauge", p.Value)
				}
			case metricdata.Gauge[float64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, "gauge", p.Value)
				}
			case metricdata.Histogram[float64]:
				for _, p := range data.DataPoints {
					add(p.Attributes, "histogram", p.Count)
				}
			default:
				t.Errorf("%s is %T", m.Name, m.Data)
			}
		}
	}
	slices.Sort(all)
	return all
}

func TestNewNeedsAProvider(t *testing.T) {
	_, err := otelmetrics.New(nil)
	assert.ErrorContains(t, err, "the meter provider is nil")
}
