//go:build unix

package storetest

import (
	"context"
	"fmt"
	"runtime/metrics"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// changesOfMesh is how many tokens of one mesh are revoked to measure a change.
const changesOfMesh = 11

// BenchmarkMeshes prints for each number of meshes, with three signing keys each, what the
// start of a replica and a change in one mesh cost. The numbers grow: each row adds to the
// records of the one before.
//
// The start is a new validator until it is ready, beside the store's own list of the same
// records, in turns: the time, the processor time of this process, the highest heap, garbage
// included, above that before, and the heap that the validator holds. The change is a
// revocation, from the call until its session ends: the time, beside that of the write
// alone, and the processor time. All are medians.
func BenchmarkMeshes(b *testing.B, open Opener, meshes ...int) {
	filled := 0
	for _, n := range meshes {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			began, before := time.Now(), filled
			fill(b, open, filled, n) // not again when the benchmark is run with a larger b.N
			filled = n
			if n > before {
				b.Logf("filled from %d to %d meshes in %.0f s", before, n, time.Since(began).Seconds())
			}
			var list, start, change, write figures
			var held []float64
			for b.Loop() {
				list.measureHeap(func() {
					_, err := open(b).List(b.Context(), keystore.AllScopes, "dataplane-token-")
					must(b, err)
				})
				store, before := open(b), heap()
				var validator dataplane.Validator
				start.measureHeap(func() { validator = readyValidator(b, store) })
				held = append(held, heap()-before)
				changeOneMesh(b, store, validator, fmt.Sprintf("mesh-%05d", n/2), &change, &write)
				must(b, validator.Close())
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(median(list.clock), "list-ms")
			b.ReportMetric(median(list.processor), "list-cpu-ms")
			b.ReportMetric(median(list.peak), "list-peak-MB")
			b.ReportMetric(median(start.clock), "start-ms")
			b.ReportMetric(median(start.clock)/median(list.clock), "start-x-list")
			b.ReportMetric(median(start.processor), "start-cpu-ms")
			b.ReportMetric(median(start.peak), "start-peak-MB")
			b.ReportMetric(median(held)/1e6, "heap-MB")
			b.ReportMetric(median(change.clock), "change-ms")
			b.ReportMetric(median(write.clock), "write-ms")
			b.ReportMetric(median(change.processor), "change-cpu-ms")
		})
	}
}

// readyValidator makes a validator and waits until it is ready.
func readyValidator(b *testing.B, store keystore.KeyStore) dataplane.Validator {
	b.Helper()
	validator, err := dataplane.NewValidator(store, quiet)
	must(b, err)
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) { // the pauses take processor time too
		if _, ready := validator.Staleness(); ready {
			return validator
		}
		if time.Since(began) > 5*time.Minute {
			b.Fatal("the validator is not ready after five minutes")
		}
	}
}

// changeOneMesh revokes tokens of a mesh, each until its session has ended.
func changeOneMesh(b *testing.B, store keystore.KeyStore, validator dataplane.Validator, mesh string, change, write *figures) {
	b.Helper()
	ctx := audit.WithLogger(b.Context(), discard)
	issuer, err := dataplane.NewIssuer(store, quiet)
	must(b, err)
	for range changesOfMesh {
		issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: mesh}, day)
		must(b, err)
		verified, err := validator.Validate(ctx, mesh, issued.Token)
		must(b, err)
		session, stop := verified.Bind(ctx)
		change.measure(func() {
			began := time.Now()
			must(b, dataplane.Revoke(ctx, store, mesh, issued.ID))
			write.clock = append(write.clock, milliseconds(time.Since(began)))
			wantEnd(b, session, token.ErrRevoked)
		})
		stop()
	}
}

// figures are what an operation took each time: milliseconds by the clock and of this
// process, and the highest heap above that before, in MB.
type figures struct{ clock, processor, peak []float64 }

func (f *figures) measure(do func()) {
	began, cpu := time.Now(), processorTime()
	do()
	f.clock = append(f.clock, milliseconds(time.Since(began)))
	f.processor = append(f.processor, milliseconds(processorTime()-cpu))
}

func (f *figures) measureHeap(do func()) {
	before := heap()
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	var highest float64
	watching.Go(func() { highest = highestHeap(ctx) })
	f.measure(do)
	stop()
	watching.Wait()
	f.peak = append(f.peak, max(0, highest-before)/1e6)
}

// highestHeap looks at the heap until the context ends, and returns the most that it held.
func highestHeap(ctx context.Context) (highest float64) {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		metrics.Read(sample)
		highest = max(highest, float64(sample[0].Value.Uint64()))
		select {
		case <-ctx.Done():
			return highest
		case <-tick.C:
		}
	}
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
