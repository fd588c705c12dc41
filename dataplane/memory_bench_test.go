package dataplane_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/signing"
)

// heldForTheProfile keeps what BenchmarkMemoryByKind makes until the test binary writes
// its heap profile.
var heldForTheProfile []any

// BenchmarkMemoryByKind makes a validator of many meshes with three keys each and as many
// sessions, each of a verified token of its own, on one parent. Its heap profile says which
// kind of object takes what. The store in memory is in the profile too. Only the last size
// that runs is in it, so run one.
func BenchmarkMemoryByKind(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { memoryByKind(b, n) })
	}
}

func memoryByKind(b *testing.B, n int) {
	bench := newBench(b)
	require.NoError(b, bench.validator.Close())
	var keys [3][]byte
	for i := range keys {
		keys[i] = pemOf(b, testKey(i))
	}
	for i := range n {
		series := signing.DataplaneKeys(fmt.Sprintf("mesh-%06d", i))
		for serial, key := range keys {
			putRecord(b, bench.store, series.Scope(), series.KeyName(signing.Serial(serial+1)), key)
		}
	}
	for b.Loop() {
		before := hostileHeap()
		validator, err := dataplane.NewValidator(bench.store, quiet, dataplane.WithCache(0)) // stays open
		require.NoError(b, err)
		require.Eventually(b, func() bool { _, ready := validator.Staleness(); return ready }, 5*time.Minute, 10*time.Millisecond)
		state := hostileHeap()
		parent, cancel := context.WithCancel(context.Background())
		stops := make([]context.CancelFunc, n)
		for i := range stops {
			verified, err := validator.Validate(bench.ctx, "default", strings.Clone(bench.tokens[i%len(bench.tokens)].raw))
			require.NoError(b, err)
			var session context.Context
			session, stops[i] = verified.Bind(parent)
			_ = session.Done()
		}
		b.ReportMetric(float64(state-before)/float64(n), "B/mesh")
		b.ReportMetric(float64(hostileHeap()-state)/float64(n), "B/session")
		require.Equal(b, n, openSessions(validator))
		heldForTheProfile = []any{validator, stops, cancel}
	}
	b.ReportMetric(0, "ns/op")
}
