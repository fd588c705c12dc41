package prommetrics_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/metrics/prommetrics"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

var picture = flag.Bool("picture", false, "draw docs/dashboard.svg, from a minute of the running example")

// dashboard is what the test needs of dashboard.json.
type dashboard struct {
	Panels []panel
}

type panel struct {
	Title       string
	FieldConfig struct {
		Defaults struct{ Unit string }
	}
	Targets []struct{ Expr, LegendFormat string }
}

func TestEachQueryOfTheDashboardHasAnAnswerFromARunningExample(t *testing.T) {
	length, interval := 8*time.Second, 250*time.Millisecond
	if *picture {
		length, interval = time.Minute, time.Second
	}
	text, err := os.ReadFile("dashboard.json")
	require.NoError(t, err)
	var board dashboard
	require.NoError(t, json.Unmarshal(text, &board))
	require.NotEmpty(t, board.Panels)

	collector := prommetrics.New()
	registry := prometheus.NewRegistry()
	registry.MustRegister(collector)
	server := httptest.NewServer(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	defer server.Close()
	api := engines.StartPrometheus(t, strings.TrimPrefix(server.URL, "http://"), interval)
	began := time.Now()
	runExample(t, collector, length)

	ask := func(expr string) []series {
		expr = strings.NewReplacer("$__rate_interval", (4 * interval).String(), "$mesh", ".*").Replace(expr)
		answer, err := query(t.Context(), api, expr, began, time.Now(), interval)
		require.NoError(t, err, expr)
		return answer
	}
	var drawn []drawing
	for _, p := range board.Panels {
		d := drawing{title: p.Title, unit: p.FieldConfig.Defaults.Unit, began: began, length: length}
		for _, target := range p.Targets {
			answer := ask(target.Expr)
			assert.NotEmpty(t, answer, "%s: %s", p.Title, target.Expr)
			for _, s := range answer {
				s.name = legend(target.LegendFormat, s.Metric)
				d.lines = append(d.lines, s)
			}
		}
		drawn = append(drawn, d)
	}
	if *picture {
		require.NoError(t, os.WriteFile("../../docs/dashboard.svg", draw(drawn), 0o644))
	}
}

// runExample is a control plane with some load. Meanwhile peers present bad tokens, a token
// is stolen, others are revoked, a key is rotated, and the store is away for a while. It takes
// longer if the machine is busy: nothing is left out.
func runExample(t *testing.T, collector *prommetrics.Collector, length time.Duration) {
	t.Helper()
	ctx := audit.WithLogger(t.Context(), slog.New(slog.DiscardHandler))
	quiet := slog.New(slog.DiscardHandler)
	store := &outage{Memory: keystore.NewMemory()}
	for _, mesh := range []string{"default", "payments"} {
		_, err := dataplane.EnsureKey(ctx, store.Memory, mesh)
		require.NoError(t, err)
	}
	_, err := zone.EnsureKey(ctx, store.Memory)
	require.NoError(t, err)
	issuer, err := dataplane.NewIssuer(store.Memory, dataplane.WithObserver(collector), dataplane.WithLogger(quiet),
		dataplane.WithMaxLineage(24*time.Hour))
	require.NoError(t, err)
	zoneIssuer, err := zone.NewIssuer(store.Memory, zone.WithObserver(collector), zone.WithLogger(quiet))
	require.NoError(t, err)
	validator, err := dataplane.NewValidator(store, dataplane.WithObserver(collector), dataplane.WithLogger(quiet),
		dataplane.WithMaxStale(length/15), dataplane.WithSessionMaxStale(time.Hour))
	require.NoError(t, err)
	defer validator.Close()
	zones, err := zone.NewValidator(store, zone.WithObserver(collector), zone.WithLogger(quiet), zone.WithMaxStale(length/15))
	require.NoError(t, err)
	defer zones.Close()
	west, err := zoneIssuer.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	require.NoError(t, err)
	issue := func(mesh string) token.Issued {
		issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: mesh, Name: "dp"}, time.Hour)
		require.NoError(t, err)
		return issued
	}

	stolen := issue("payments")
	accepted := func(raw string) dataplane.Verified {
		verified, err := validator.Validate(ctx, "payments", raw)
		for errors.Is(err, token.ErrUnavailable) { // a busy machine has not read the store in time
			verified, err = validator.Validate(ctx, "payments", raw)
		}
		require.NoError(t, err)
		return verified
	}
	renew := func(raw string) token.Issued {
		renewed, err := issuer.Renew(ctx, accepted(raw), time.Hour)
		require.NoError(t, err)
		return renewed
	}

	key, err := signing.Generate(signing.DefaultBits)
	require.NoError(t, err)

	proxies := map[string][]token.Issued{}
	step := 0
	once := func(at float64, do func() error) func(float64) {
		done := false
		return func(now float64) {
			if !done && now >= at {
				done = true
				require.NoError(t, do())
			}
		}
	}
	events := []func(float64){
		once(0.3, func() error {
			accepted(renew(stolen.Token).Token)
			return nil
		}),
		once(0.4, func() error { renew(stolen.Token); return nil }), // by the thief
		once(0.45, func() error {
			of := proxies["default"]
			return dataplane.Revoke(ctx, store.Memory, "default", of[0].ID, of[1].ID, of[2].ID, of[3].ID)
		}),
		once(0.5, func() error {
			_, err := dataplane.AddKey(ctx, store.Memory, "default", key)
			return err
		}),
		once(0.6, func() error {
			_, err := dataplane.CutOff(ctx, store.Memory, "payments", dataplane.Cutoff{Before: time.Now().Add(-time.Hour), Name: "old"})
			return err
		}),
	}
	const tick = 10 * time.Millisecond
	ticks := time.NewTicker(tick)
	defer ticks.Stop()
	for {
		now := float64(step) / float64(length/tick)
		if now >= 1 {
			return
		}
		for _, event := range events {
			event(now)
		}
		store.away.Store(now > 0.75 && now < 0.87)
		mesh := []string{"default", "payments"}[step%2]
		of := proxies[mesh]
		if len(of) < 20 || now > 0.5 && step%5 == 0 { // the rotation replaces tokens
			issued := issue(mesh)
			if verified, err := validator.Validate(ctx, mesh, issued.Token); err == nil {
				_, stop := verified.Bind(ctx)
				defer stop()
			}
			of = append(of, issued)
			of = of[max(0, len(of)-20):]
			proxies[mesh] = of
		}
		for i, proxy := range of {
			verified, err := validator.Validate(ctx, mesh, proxy.Token)
			if err == nil && i == 0 && now > 0.2 && now < 0.35 {
				_ = verified.Permits(dataplane.Proxy{Mesh: mesh, Name: "another"})
			}
			if err == nil && i == 0 && step%10 < 2 {
				_, _ = issuer.Renew(ctx, verified, time.Hour)
			}
		}
		if now > 0.2 && now < 0.35 {
			_, _ = validator.Validate(ctx, mesh, of[0].Token+"A")
			_, _ = validator.Validate(ctx, mesh, of[0].Token[:len(of[0].Token)-8]+"AAAAAAAA")
			_, _ = issuer.Issue(ctx, token.Dataplane{Mesh: "nowhere"}, time.Hour)
		}
		if verified, err := zones.Validate(ctx, "west", zone.ScopeCP, west.Token); err == nil && step%10 == 0 {
			_, _ = zoneIssuer.Renew(ctx, verified, time.Hour) // its issuer renews nothing
		}
		step++
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return
		}
	}
}

// outage is a store that is away for a while.
type outage struct {
	*keystore.Memory
	away atomic.Bool
}

func (s *outage) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if s.away.Load() {
		return nil, errors.New("the store is away")
	}
	return s.Memory.List(ctx, scope, prefix)
}

func (s *outage) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin) // by way of List
}

// series is one line of an answer.
type series struct {
	Metric map[string]string
	Values [][2]any // seconds since 1970, and the value as text
	name   string
}

// points returns the numbers of a series.
func (s series) points() (all [][2]float64) {
	for _, v := range s.Values {
		at, _ := v[0].(float64)
		text, _ := v[1].(string)
		if value, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(value) && !math.IsInf(value, 0) {
			all = append(all, [2]float64{at, value})
		}
	}
	return all
}

// query evaluates an expression over a range of time.
func query(ctx context.Context, api, expr string, from, to time.Time, step time.Duration) ([]series, error) {
	seconds := func(t time.Time) string { return fmt.Sprintf("%.3f", float64(t.UnixMilli())/1000) }
	values := url.Values{"query": {expr}, "start": {seconds(from)}, "end": {seconds(to)}, "step": {step.String()}}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, api+"/api/v1/query_range?"+values.Encode(), nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer struct {
		Status, Error string
		Data          struct{ Result []series }
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Status != "success" {
		return nil, errors.New(answer.Error)
	}
	return answer.Data.Result, nil
}

// legend fills the labels of a series into a legend of Grafana.
func legend(format string, labels map[string]string) string {
	filled := regexp.MustCompile(`{{(\w+)}}`).ReplaceAllStringFunc(format, func(name string) string {
		return labels[strings.Trim(name, "{}")]
	})
	return strings.Join(strings.Fields(filled), " ")
}
