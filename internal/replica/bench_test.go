package replica

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/limit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

var dataplanes = &Family{
	Kind:   token.KindDataplane,
	Within: keystore.AllScopes,
	Prefix: "dataplane-token-",
	Keys: func(scope keystore.Scope) (signing.Series, bool) {
		return signing.DataplaneKeys(string(scope)), scope != keystore.Global
	},
}

// keysOfBench are the private keys that all meshes of a benchmark have.
var keysOfBench = sync.OnceValue(func() (all [3][]byte) {
	for i := range all {
		key, err := signing.Generate(signing.DefaultBits)
		if err == nil {
			all[i], err = key.PEM()
		}
		if err != nil {
			panic(err)
		}
	}
	return all
})

func meshName(i int) keystore.Scope { return keystore.Scope(fmt.Sprintf("mesh-%06d", i)) }

// storeOf returns a store in memory with meshes of three keys each.
func storeOf(b *testing.B, meshes int) *keystore.Memory {
	store := keystore.NewMemory()
	for i := range meshes {
		for serial, data := range keysOfBench() {
			series := signing.DataplaneKeys(string(meshName(i)))
			_, err := store.Create(b.Context(), keystore.Record{Scope: series.Scope(), Name: series.KeyName(signing.Serial(serial + 1)), Data: data})
			require.NoError(b, err)
		}
	}
	return store
}

// follow follows a store until the first state is there.
func follow(b *testing.B, store keystore.KeyStore, changed func(Change)) *Follower {
	f := Follow(dataplanes, store, []string{dataplanes.Prefix}, time.Minute, limit.NewGate(1),
		Events{Changed: changed, Reads: func(error) {}})
	for _, err := f.Loaded(b.Context()); err != nil; _, err = f.Loaded(b.Context()) { // which waits a second
		require.NoError(b, b.Context().Err())
	}
	return f
}

// timings are interleaved measurements of one operation.
type timings []time.Duration

func (t *timings) measure(f func()) {
	start := time.Now()
	f()
	*t = append(*t, time.Since(start))
}

func (t timings) median() float64 {
	slices.Sort(t)
	return float64(t[len(t)/2])
}

// BenchmarkStart starts to follow a store of meshes with three keys each, beside the
// store's own list of them. It reports how much of the heap the state takes.
func BenchmarkStart(b *testing.B) {
	for _, meshes := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(meshes), func(b *testing.B) {
			store := storeOf(b, meshes)
			var start, list timings
			var held uint64
			for b.Loop() {
				list.measure(func() {
					_, err := store.List(b.Context(), keystore.AllScopes, dataplanes.Prefix)
					require.NoError(b, err)
				})
				before := heap()
				seen := make(chan struct{}, meshes)
				var f *Follower
				start.measure(func() { f = follow(b, store, func(Change) { seen <- struct{}{} }) })
				for range meshes {
					<-seen
				}
				f.Close() // then nothing holds the store's answer
				held = heap() - before
				runtime.KeepAlive(f)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(start.median()/1e6, "ms")
			b.ReportMetric(start.median()/list.median(), "x-list")
			b.ReportMetric(float64(held)/float64(meshes), "B/mesh")
		})
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC() // what finalizers held
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// BenchmarkChange revokes a token in one of many meshes until the state has it.
func BenchmarkChange(b *testing.B) {
	for _, meshes := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(meshes), func(b *testing.B) {
			store := storeOf(b, meshes)
			seen := make(chan struct{}, meshes)
			f := follow(b, store, func(Change) { seen <- struct{}{} })
			defer f.Close()
			for range meshes { // the first read is a change of every mesh
				<-seen
			}
			mesh := meshName(meshes / 2)
			r, err := store.Create(b.Context(), keystore.Record{Scope: mesh, Name: "dataplane-token-revocations-" + string(mesh), Data: []byte("a")})
			require.NoError(b, err)
			<-seen
			var change, list timings
			for b.Loop() {
				r.Data = []byte("id-" + r.Version)
				change.measure(func() {
					r, err = store.Update(b.Context(), r)
					require.NoError(b, err)
					<-seen
				})
				list.measure(func() {
					_, err := store.List(b.Context(), mesh, dataplanes.Prefix)
					require.NoError(b, err)
				})
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(change.median()/1e3, "µs")
			b.ReportMetric(change.median()/list.median(), "x-list")
		})
	}
}

// BenchmarkNothingNew makes a complete read that finds no change, beside the store's own
// list of the same records.
func BenchmarkNothingNew(b *testing.B) {
	for _, meshes := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprint(meshes), func(b *testing.B) {
			store := storeOf(b, meshes)
			f := follow(b, store, func(Change) {})
			f.Close()
			var take, list timings
			for b.Loop() {
				list.measure(func() {
					_, err := store.List(b.Context(), keystore.AllScopes, dataplanes.Prefix)
					require.NoError(b, err)
				})
				take.measure(func() {
					a := answer{running: &running{scope: keystore.AllScopes, began: time.Now()}}
					a.parts, a.err = f.readAll(context.Background(), func() {})
					require.NoError(b, a.err)
					f.endAll(a)
				})
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(take.median()/1e6, "ms")
			b.ReportMetric(take.median()/list.median(), "x-list")
		})
	}
}

// BenchmarkAppended appends one id to a list of a million until the state has it, beside
// the store's list of the scope.
func BenchmarkAppended(b *testing.B) {
	const million = 1_000_000
	store := storeOf(b, 1)
	var text strings.Builder
	for i := range million {
		fmt.Fprintf(&text, "%08x-0000-7000-8000-%012x,", uint32(i)*2654435761, uint64(i)*0x9e3779b97f4a7c15>>16)
	}
	mesh := meshName(0)
	seen := make(chan struct{}, 10)
	f := follow(b, store, func(Change) { seen <- struct{}{} })
	defer f.Close()
	<-seen
	r, err := store.Create(b.Context(), keystore.Record{Scope: mesh, Name: "dataplane-token-revocations-" + string(mesh), Data: []byte(strings.TrimSuffix(text.String(), ","))})
	require.NoError(b, err)
	<-seen
	var change, list timings
	for b.Loop() {
		r.Data = append(r.Data, fmt.Sprintf(",00000000-1111-7000-8000-%012x", len(r.Data))...)
		r, err = store.Update(b.Context(), r)
		require.NoError(b, err)
		change.measure(func() { <-seen }) // from when the store has it
		list.measure(func() {
			_, err := store.List(b.Context(), mesh, dataplanes.Prefix)
			require.NoError(b, err)
		})
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(change.median()/1e6, "ms")
	b.ReportMetric(list.median()/1e6, "ms-list")
}
