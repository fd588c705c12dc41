package otelmetrics_test

import (
	"testing"

	sdk "go.opentelemetry.io/otel/sdk/metric"

	"github.com/meshpass/meshpass/internal/test/scene"
	"github.com/meshpass/meshpass/metrics/otelmetrics"
)

func BenchmarkObserver(b *testing.B) {
	observer, err := otelmetrics.New(sdk.NewMeterProvider(sdk.WithReader(sdk.NewManualReader())))
	if err != nil {
		b.Fatal(err)
	}
	scene.Cost(b, observer)
}
