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

// BenchmarkMemoryByKind makes a validator of 100,000 meshes with three keys each and
// 100,000 sessions, each of a verified token of its own, on one parent. Its heap profile
// says which kind of object takes what. The store in memory is in the profile too.
func BenchmarkMemoryByKind(b *testing.B) {
	const meshes, sessions = 100_000, 100_000
	bench := newBench(b)
	require.NoError(b, bench.validator.Close())
	for i := range meshes {
		for serial := range signing.Serial(3) {
			putKey(b, bench.store, fmt.Sprintf("mesh-%06d", i), serial+1, testKey(int(serial)))
		}
	}
	for b.Loop() {
		before := hostileHeap()
		validator, err := dataplane.NewValidator(bench.store, quiet, dataplane.WithCache(0)) // stays open
		require.NoError(b, err)
		require.Eventually(b, func() bool { _, ready := validator.Staleness(); return ready }, 5*time.Minute, 10*time.Millisecond)
		state := hostileHeap()
		parent, cancel := context.WithCancel(context.Background())
		stops := make([]context.CancelFunc, sessions)
		for i := range stops {
			verified, err := validator.Validate(bench.ctx, "default", strings.Clone(bench.tokens[i%len(bench.tokens)].raw))
			require.NoError(b, err)
			var session context.Context
			session, stops[i] = verified.Bind(parent)
			_ = session.Done()
		}
		b.ReportMetric(float64(state-before)/meshes, "B/mesh")
		b.ReportMetric(float64(hostileHeap()-state)/sessions, "B/session")
		require.Equal(b, sessions, openSessions(validator))
		heldForTheProfile = []any{validator, stops, cancel}
	}
	b.ReportMetric(0, "ns/op")
}
