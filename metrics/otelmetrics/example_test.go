package otelmetrics_test

import (
	"context"
	"fmt"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/metrics/otelmetrics"
	"github.com/meshpass/meshpass/token"
)

func Example() {
	reader := sdk.NewManualReader() // or a periodic one with an exporter
	observer, err := otelmetrics.New(sdk.NewMeterProvider(sdk.WithReader(reader)))
	check(err)
	defer observer.Close()

	ctx, store := context.Background(), keystore.NewMemory()
	_, err = dataplane.EnsureKey(ctx, store, "default")
	check(err)
	issuer, err := dataplane.NewIssuer(store, dataplane.WithObserver(observer))
	check(err)
	validator, err := dataplane.NewValidator(store, dataplane.WithObserver(observer))
	check(err)
	defer validator.Close()

	issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	check(err)
	_, err = validator.Validate(ctx, "default", issued.Token)
	check(err)

	var collected metricdata.ResourceMetrics
	check(reader.Collect(ctx, &collected))
	for _, m := range collected.ScopeMetrics[0].Metrics {
		if data, ok := m.Data.(metricdata.Histogram[float64]); ok {
			fmt.Println(m.Name, data.DataPoints[0].Count)
		}
	}
	// Unordered output:
	// meshpass.validation.duration 1
	// meshpass.issuance.duration 1
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
