package prommetrics_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/metrics/prommetrics"
	"github.com/meshpass/meshpass/token"
)

func Example() {
	collector := prommetrics.New()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)

	ctx, store := context.Background(), keystore.NewMemory()
	_, err := dataplane.EnsureKey(ctx, store, "default")
	check(err)
	issuer, err := dataplane.NewIssuer(store, dataplane.WithObserver(collector))
	check(err)
	validator, err := dataplane.NewValidator(store, dataplane.WithObserver(collector))
	check(err)
	defer validator.Close()

	issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	check(err)
	_, err = validator.Validate(ctx, "default", issued.Token)
	check(err)
	_, err = validator.Validate(ctx, "default", "rubbish")
	fmt.Println(err)

	answer := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(answer.Body.String()) {
		if strings.HasPrefix(line, "meshpass_validations_total") || strings.HasPrefix(line, "meshpass_issuances_total") {
			fmt.Print(line)
		}
	}
	// Output:
	// malformed token: fewer than three parts, want header.payload.signature
	// meshpass_issuances_total{class="issued",kind="dataplane",mesh="default",reason=""} 1
	// meshpass_validations_total{class="accepted",kind="dataplane",mesh="default",reason=""} 1
	// meshpass_validations_total{class="invalid",kind="dataplane",mesh="default",reason="malformed"} 1
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}
