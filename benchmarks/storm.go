package main

import (
	"context"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Storm is how one control plane took all its proxies back.
type Storm struct {
	Server, Store     string
	Replicas, Proxies int
	Warm              bool // the replicas know the tokens; otherwise they have just started

	AllMS        float64 // until the last proxy had its configuration
	P50MS, P99MS float64 // from the beginning of a connection to the configuration
	Cost         Cost    // of all replicas
}

// storm lets all proxies connect to replicas that have just started, and again to the same
// replicas.
func storm(tb testing.TB, plan plan, server, storage string, issued func() tokens) []Storm {
	tb.Helper()
	config := Config{Server: server, Address: "127.0.0.1:0"}
	var raws tokens
	switch server {
	case tokenReview:
		config.Kubernetes = newKubernetes(tb)
		raws = config.Kubernetes.issueTokens(tb, plan.proxies)
	case nothing:
		raws = issued()
	default:
		raws = issued()
		config.Storage = newStorage(tb, storage)
		store, stop, err := config.Storage.open(tb.Context())
		require.NoError(tb, err)
		tb.Cleanup(stop)
		createKeys(tb, store)
	}
	certificate, err := newCertificate()
	require.NoError(tb, err)
	config.Certificate = certificate
	var all replicas
	for range plan.replicas {
		all = append(all, startReplica(tb, config))
	}
	connect := func() (took []time.Duration, inAll time.Duration, leave func()) {
		f, proxies, err := newFleet(plan.proxies, all, certificate, func(p *proxy) { p.raw = raws.replacement[p.number] })
		require.NoError(tb, err)
		began := time.Now()
		f.start(context.Background(), proxies)
		took = f.allOpen(tb, plan.proxies)
		inAll = time.Since(began)
		return took, inAll, func() {
			f.stop()
			require.Eventually(tb, func() bool { return all.streams(tb) == 0 }, patience, 10*time.Millisecond)
		}
	}

	_, _, leave := connect()
	leave()
	for _, r := range all {
		r.restart(tb)
	}
	var results []Storm
	for _, warm := range []bool{false, true} {
		if warm {
			all.begin(tb) // otherwise it began with the process
		}
		took, inAll, leave := connect()
		cost := all.end(tb)
		leave()
		results = append(results, Storm{Server: server, Store: storage, Replicas: plan.replicas, Proxies: plan.proxies, Warm: warm,
			AllMS: milliseconds(inAll), P50MS: percentile(took, 50), P99MS: percentile(took, 99), Cost: cost})
	}
	return results
}

// percentile returns the value, in milliseconds, that so many per cent do not exceed; 0 of none.
func percentile(values []time.Duration, percent float64) float64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return milliseconds(sorted[int(math.Ceil(percent/100*float64(len(sorted))))-1])
}
