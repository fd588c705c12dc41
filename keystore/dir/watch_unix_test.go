//go:build unix

package dir_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
)

// BenchmarkDirWatch prints how long it takes until a watch announces a change, by a Store
// and by another program, what the watch needs at rest, and what a List of all records
// needs, which a validator does every 30 s. Run it with -benchtime=1x.
func BenchmarkDirWatch(b *testing.B) {
	for _, meshes := range []int{10, 1000, 10_000, 50_000} {
		b.Run(fmt.Sprint(meshes, "-meshes"), func(b *testing.B) { benchmarkWatch(b, meshes) })
	}
}

func benchmarkWatch(b *testing.B, meshes int) {
	path := b.TempDir()
	fillByHand(b, path, meshes)
	time.Sleep(3 * time.Second) // until what was written is old
	store, err := dir.Open(path)
	require.NoError(b, err)
	other, err := dir.Open(path)
	require.NoError(b, err)
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	calls := make(chan keystore.Scope, 1000)
	go func() { _ = store.Watch(ctx, func(scope keystore.Scope) { calls <- scope }) }()
	require.Equal(b, keystore.AllScopes, <-calls)
	until := func(scope keystore.Scope, began time.Time) time.Duration {
		for found := <-calls; found != scope && found != keystore.AllScopes; {
			found = <-calls
		}
		return time.Since(began)
	}
	for b.Loop() {
		const rest = 10 * time.Second
		began := processorTime(b)
		time.Sleep(rest)
		b.ReportMetric(100*float64(processorTime(b)-began)/float64(rest), "%cpu-at-rest")

		began = processorTime(b)
		_, err := other.List(ctx, keystore.AllScopes, "")
		require.NoError(b, err)
		b.ReportMetric(float64((processorTime(b) - began).Milliseconds()), "cpu-ms/list")

		var own, by time.Duration
		for range 10 {
			mesh := keystore.Scope(fmt.Sprint("mesh-", rand.IntN(meshes)))
			began := time.Now()
			_, err := other.Create(ctx, keystore.Record{Scope: mesh, Name: fmt.Sprint("list-", rand.Int())})
			require.NoError(b, err)
			own = max(own, until(mesh, began))
		}
		b.ReportMetric(float64(own.Milliseconds()), "ms/own-change")
		for time.Sleep(time.Second); len(calls) > 0; { // what was announced twice
			<-calls
		}
		for range 2 {
			mesh := fmt.Sprint("mesh-", rand.IntN(meshes))
			began := time.Now()
			require.NoError(b, os.WriteFile(filepath.Join(path, "meshes", mesh, fmt.Sprint("by-hand-", rand.Int())), nil, 0o600))
			by = max(by, until(keystore.Scope(mesh), began))
		}
		b.ReportMetric(float64(by.Milliseconds()), "ms/change-by-hand")
	}
}

func processorTime(b *testing.B) time.Duration {
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
