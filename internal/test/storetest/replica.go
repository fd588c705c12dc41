//go:build unix

package storetest

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

const (
	manyMeshes   = 10_000
	keysOfMesh   = 3
	steadyPeriod = 65 * time.Second // two complete reads and a little more
)

// BenchmarkReplica prints what 10,000 meshes with three signing keys each cost one replica
// and its engine: the time until a new validator is ready, and its memory; while nothing
// changes, the lists in a minute, their size, and the share of one processor; and how many
// records 16 replicas created in a second. It takes minutes, most of them to make the
// records.
func BenchmarkReplica(b *testing.B, open Opener) {
	began := time.Now()
	fill(b, open, 0, manyMeshes)
	writes := manyMeshes * keysOfMesh / time.Since(began).Seconds()
	for b.Loop() {
		before := heap()
		counted := &counting{KeyStore: open(b)}
		began := time.Now()
		validator := readyValidator(b, counted.asStore())
		b.ReportMetric(milliseconds(time.Since(began)), "start-ms")
		b.ReportMetric(float64(counted.longest.Load())/1e6, "list-ms")
		b.ReportMetric(float64(counted.bytes.Load())/float64(counted.lists.Load())/1e6, "list-MB")
		b.ReportMetric((heap()-before)/1e6, "heap-MB")

		lists, bytes, cpu := counted.lists.Load(), counted.bytes.Load(), processorTime()
		time.Sleep(steadyPeriod)
		perMinute := time.Minute.Seconds() / steadyPeriod.Seconds()
		b.ReportMetric(float64(counted.lists.Load()-lists)*perMinute, "lists/min")
		b.ReportMetric(float64(counted.bytes.Load()-bytes)/1e6*perMinute, "MB/min")
		b.ReportMetric((processorTime()-cpu).Seconds()/steadyPeriod.Seconds()*100, "cpu-%")
		must(b, validator.Close())
	}
	b.ReportMetric(writes, "writes/s")
	b.ReportMetric(0, "ns/op")
}

// fill creates the records of the meshes from one number to another, with three keys that
// repeat: to generate 30,000 keys would take an hour, and all keys cost the same to read.
func fill(b *testing.B, open Opener, from, to int) {
	b.Helper()
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	encoded := keysOfMeshes()
	names := make(chan int)
	failed := make(chan error, 1)
	var busy sync.WaitGroup
	for range 16 {
		store := open(b)
		busy.Go(func() {
			for i := range names {
				mesh := fmt.Sprintf("mesh-%05d", i/keysOfMesh)
				serial := signing.Serial(i%keysOfMesh + 1)
				_, err := store.Create(ctx, keystore.Record{
					Scope: keystore.Scope(mesh),
					Name:  signing.DataplaneKeys(mesh).KeyName(serial),
					Data:  encoded[i%keysOfMesh],
				})
				if err != nil {
					select {
					case failed <- err:
					default:
					}
					stop()
				}
			}
		})
	}
	for i := from * keysOfMesh; i < to*keysOfMesh; i++ {
		select {
		case names <- i:
		case <-ctx.Done():
		}
	}
	close(names)
	busy.Wait()
	select {
	case err := <-failed:
		b.Fatal(err)
	default:
	}
}

// keysOfMeshes are the private keys that all meshes have.
var keysOfMeshes = sync.OnceValue(func() (all [keysOfMesh][]byte) {
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

// counting counts the lists that a replica asks for, of either form.
type counting struct {
	keystore.KeyStore
	lists, bytes, longest atomic.Int64
}

// asStore returns the store with the optional interfaces that it has without counting: a
// replica reads one that lists scope by scope in another way.
func (c *counting) asStore() keystore.KeyStore {
	watcher, watches := c.KeyStore.(keystore.Watcher)
	lister, lists := c.KeyStore.(keystore.ScopeLister)
	scopes := countingScopes{c, lister}
	switch {
	case watches && lists:
		return struct {
			*counting
			keystore.Watcher
			countingScopes
		}{c, watcher, scopes}
	case watches:
		return struct {
			*counting
			keystore.Watcher
		}{c, watcher}
	case lists:
		return struct {
			*counting
			countingScopes
		}{c, scopes}
	}
	return c
}

func (c *counting) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	began := time.Now()
	records, err := c.KeyStore.List(ctx, scope, prefix)
	c.count(records)
	c.listed(time.Since(began))
	return records, err
}

func (c *counting) count(records []keystore.Record) {
	for _, r := range records {
		c.bytes.Add(int64(len(r.Data)))
	}
}

func (c *counting) listed(took time.Duration) {
	c.lists.Add(1)
	c.longest.Store(max(c.longest.Load(), took.Nanoseconds()))
}

// countingScopes counts the lists that come scope by scope. What the replica does with a
// scope is not part of the time.
type countingScopes struct {
	in     *counting
	lister keystore.ScopeLister
}

func (c countingScopes) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	began, replica := time.Now(), time.Duration(0)
	err := c.lister.ListScopes(ctx, prefix, func() keystore.EachScope {
		each := begin()
		return func(scope keystore.Scope, records []keystore.Record, unreadable []*keystore.Error) error {
			c.in.count(records)
			at := time.Now()
			defer func() { replica += time.Since(at) }()
			return each(scope, records, unreadable)
		}
	})
	c.in.listed(time.Since(began) - replica)
	return err
}

// heap returns the bytes in use after a collection.
func heap() float64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc)
}

// processorTime returns what this process has used, in user and system mode.
func processorTime() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
