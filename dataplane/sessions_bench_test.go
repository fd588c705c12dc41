package dataplane_test

import (
	"context"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/offer"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

// BenchmarkRevocationReachesItsSession has 100,000 sessions of 2,000 tokens open,
// and writes lists of 1 to 1,000 ids. It measures from the store's Update until the
// last session of the id that is new has ended, beside the raw operation: until
// somebody who watches the store has been told.
func BenchmarkRevocationReachesItsSession(b *testing.B) {
	const perToken, longest = 50, 1000
	bench := newBench(b)
	ref := revocation.Dataplane("default")
	putRecord(b, bench.store, ref.Scope, ref.Name, nil)
	record, err := bench.store.Get(bench.ctx, ref.Scope, ref.Name)
	require.NoError(b, err)
	var ids []string
	sessions := make([][]context.Context, len(bench.tokens))
	bind := func(i int) {
		verified, err := bench.validator.Validate(bench.ctx, "default", bench.tokens[i].raw)
		require.NoError(b, err)
		sessions[i] = nil
		for range perToken {
			session, stop := verified.Bind(bench.ctx)
			b.Cleanup(stop)
			sessions[i] = append(sessions[i], session)
		}
	}
	for i := range bench.tokens {
		bind(i)
		_, claims := inside(b, bench.tokens[i].raw)
		ids = append(ids, claims.ID)
	}
	require.Equal(b, 100_000, openSessions(bench.validator))

	ctx, cancel := context.WithCancel(bench.ctx)
	defer cancel()
	told := make(chan time.Time, 16)
	go func() { _ = bench.store.Watch(ctx, func(keystore.Scope) { told <- time.Now() }) }()
	<-told // that it has begun

	var raws, own []time.Duration
	revoked := 0
	for b.Loop() {
		record.Data = []byte(strings.Join(ids[:revoked+1], ","))
		start := time.Now()
		record, err = bench.store.Update(bench.ctx, record)
		for _, session := range sessions[revoked] {
			<-session.Done()
		}
		own = append(own, time.Since(start))
		raws = append(raws, (<-told).Sub(start))
		if err != nil {
			b.Fatal(err)
		}
		if revoked++; revoked < longest {
			continue
		}
		record.Data = nil // from the beginning
		record, err = bench.store.Update(bench.ctx, record)
		require.NoError(b, err)
		<-told
		require.Eventually(b, func() bool {
			_, err := bench.validator.Validate(bench.ctx, "default", bench.tokens[0].raw)
			return err == nil
		}, time.Minute, time.Millisecond)
		for i := range revoked {
			bind(i)
		}
		revoked = 0
	}
	b.ReportMetric(0, "ns/op") // includes getting ready
	b.ReportMetric(median(raws).Seconds()*1e3, "raw-ms")
	b.ReportMetric(median(own).Seconds()*1e3, "ours-ms")
	b.ReportMetric(own[len(own)*99/100].Seconds()*1e3, "ours-p99-ms") // median sorted them
}

// BenchmarkAMillionSessions tells what a million open sessions take: with all that
// belongs to them, parents and done channels too, but without the tokens, of which
// there are 2,000 and whose size is told apart. The raw operation is
// context.WithCancelCause with the same parents.
func BenchmarkAMillionSessions(b *testing.B) {
	b.Run("OnOneParent", func(b *testing.B) {
		parent, cancel := context.WithCancel(context.Background())
		defer cancel()
		aMillionSessions(b, func(int) context.Context { return parent })
	})
	b.Run("WithAParentEach", func(b *testing.B) {
		parents := make([]context.CancelFunc, 2*aMillion)
		used := 0
		aMillionSessions(b, func(int) context.Context {
			parent, cancel := context.WithCancel(context.Background())
			parents[used%len(parents)] = cancel
			used++
			return parent
		})
		for _, cancel := range parents {
			cancel()
		}
	})
	b.Run("OnAContextOfTheServer", func(b *testing.B) {
		offered := make([]context.Context, aMillion)
		for i := range offered {
			ctx, cancel := context.WithCancelCause(context.Background())
			_ = ctx.Done()
			offered[i] = offer.New(ctx, cancel)
		}
		aMillionSessions(b, func(i int) context.Context { return offered[i] })
	})
}

const aMillion = 1_000_000

func aMillionSessions(b *testing.B, parent func(i int) context.Context) {
	const n = aMillion
	bench := newBench(b, dataplane.WithCache(0))
	verified := make([]dataplane.Verified, len(bench.tokens))
	heap := hostileHeap()
	for i := range verified {
		var err error
		verified[i], err = bench.validator.Validate(bench.ctx, "default", bench.tokens[i].raw)
		require.NoError(b, err)
	}
	tokenSize := float64(hostileHeap()-heap) / float64(len(verified))

	stops := make([]context.CancelFunc, n) // also holds the contexts
	heap = hostileHeap()
	for i := range stops {
		ctx, cancel := context.WithCancelCause(parent(i))
		stops[i] = func() { cancel(nil) }
		_ = ctx.Done()
	}
	b.ReportMetric(float64(hostileHeap()-heap)/n, "raw-B")
	for _, stop := range stops {
		stop()
	}
	clear(stops)
	for b.Loop() {
		heap, goroutines := hostileHeap(), runtime.NumGoroutine()
		start := time.Now()
		for i := range stops {
			var session context.Context
			session, stops[i] = verified[i%len(verified)].Bind(parent(i))
			_ = session.Done()
		}
		bound := time.Since(start)
		b.ReportMetric(float64(hostileHeap()-heap)/n, "B/session")
		b.ReportMetric(float64(hostileHeap()-heap)/(1<<20), "MiB")
		b.ReportMetric(float64(runtime.NumGoroutine()-goroutines), "goroutines")
		b.ReportMetric(float64(bound.Nanoseconds())/n, "ns/bind")
		require.Equal(b, n, openSessions(bench.validator))
		start = time.Now()
		for _, stop := range stops {
			stop()
		}
		b.ReportMetric(float64(time.Since(start).Nanoseconds())/n, "ns/stop")
		require.Zero(b, openSessions(bench.validator))
	}
	b.ReportMetric(tokenSize, "B/token")
	b.ReportMetric(0, "ns/op")
	runtime.KeepAlive(verified)
}
