package dataplane_test

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

var floodTime = flag.Duration("flood", 10*time.Second, "for how long BenchmarkFlood floods")

const floodRate = 20_000 // tokens a second

// BenchmarkFlood floods a validator with unknown serials, and with meshes that do not
// exist, while good tokens are validated and a key is added. It measures in turns: quiet,
// flood, quiet. Give it a minute with -args -flood 1m.
func BenchmarkFlood(b *testing.B) {
	bench := newBench(b)
	reads := &listCounter{Memory: bench.store}
	validator, err := dataplane.NewValidator(reads, dataplane.WithCache(0),
		dataplane.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(b, err)
	defer validator.Close()
	good := make([]string, 500)
	for i := range good {
		issued, err := bench.issuer.Issue(bench.ctx, bench.claims, time.Hour)
		require.NoError(b, err)
		good[i] = issued.Token
	}
	_, err = validator.Validate(bench.ctx, "default", good[0])
	require.NoError(b, err)
	newKey, err := signing.Generate(signing.DefaultBits)
	require.NoError(b, err)

	for b.Loop() {
		half := *floodTime / 2
		before := latencies(b, validator, good, half)
		heap := heapInUse()
		reads.known.Store(0)
		reads.other.Store(0)
		stop := flood(validator, good[0])
		began := time.Now()
		during := latencies(b, validator, good, half)

		_, err := dataplane.AddKey(bench.ctx, bench.store, "default", newKey)
		require.NoError(b, err)
		issued, err := bench.issuer.Issue(bench.ctx, bench.claims, time.Hour)
		require.NoError(b, err)
		added := time.Now()
		for {
			if _, err := validator.Validate(bench.ctx, "default", issued.Token); err == nil {
				break
			}
			require.Less(b, time.Since(added), 20*time.Second, "a new key is not accepted")
		}
		b.ReportMetric(time.Since(added).Seconds()*1e3, "ms-until-new-key")

		during = append(during, latencies(b, validator, good, half)...)
		seconds := time.Since(began).Seconds()
		grown := heapInUse() - heap
		presented := stop()
		before = append(before, latencies(b, validator, good, half)...)

		quiet, flooded := percentile(before, 99), percentile(during, 99)
		b.ReportMetric(0, "ns/op")
		b.ReportMetric(quiet.Seconds()*1e6, "quiet-p99-us")
		b.ReportMetric(flooded.Seconds()*1e6, "flood-p99-us")
		b.ReportMetric(float64(flooded)/float64(quiet), "x-quiet")
		b.ReportMetric(float64(presented)/seconds, "tokens/s")
		b.ReportMetric(float64(reads.known.Load())/seconds, "reads/s-known")
		b.ReportMetric(float64(reads.other.Load())/seconds, "reads/s-unknown")
		b.ReportMetric(float64(grown)/(1<<20), "MB-grown")
	}
}

// listCounter counts the reads of single scopes that exist and that do not.
type listCounter struct {
	*keystore.Memory
	known, other atomic.Int64
}

func (s *listCounter) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	switch {
	case scope == "default":
		s.known.Add(1)
	case scope != keystore.AllScopes && scope != keystore.Global:
		s.other.Add(1)
	}
	return s.Memory.List(ctx, scope, prefix)
}

func (s *listCounter) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin) // by way of List
}

// flood presents tokens at floodRate, half with unknown serials and half for meshes that do
// not exist, each in a goroutine of its own, until it is stopped.
func flood(validator dataplane.Validator, good string) (stop func() (presented int64)) {
	ctx, cancel := context.WithCancel(context.Background())
	_, rest, _ := strings.Cut(good, ".")
	var presented atomic.Int64
	done := make(chan struct{})
	go func() {
		defer close(done)
		began := time.Now()
		for n := 0; ctx.Err() == nil; n++ {
			if due := began.Add(time.Duration(n) * time.Second / floodRate); n%20 == 0 {
				time.Sleep(time.Until(due))
			}
			presented.Add(1)
			go func() {
				if n%2 == 0 {
					_, _ = validator.Validate(ctx, fmt.Sprintf("mesh-%d", n), good)
					return
				}
				header := fmt.Sprintf(`{"alg":"RS256","kid":"%d","typ":"JWT"}`, n+1000)
				_, _ = validator.Validate(ctx, "default", base64.RawURLEncoding.EncodeToString([]byte(header))+"."+rest)
			}()
		}
	}()
	return func() int64 {
		cancel()
		<-done
		return presented.Load()
	}
}

// latencies validates good tokens, one every millisecond.
func latencies(b *testing.B, validator dataplane.Validator, good []string, d time.Duration) (all []time.Duration) {
	for end, i := time.Now().Add(d), 0; time.Now().Before(end); i++ {
		start := time.Now()
		_, err := validator.Validate(b.Context(), "default", good[i%len(good)])
		all = append(all, time.Since(start))
		if err != nil {
			b.Fatal(err)
		}
		time.Sleep(time.Millisecond)
	}
	return all
}

func percentile(d []time.Duration, p int) time.Duration {
	slices.Sort(d)
	return d[len(d)*p/100]
}

func heapInUse() int64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}
