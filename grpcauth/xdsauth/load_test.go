package xdsauth_test

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth/internal/loopback"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/token"
)

var streams = flag.Int("streams", 10_000, "how many streams BenchmarkStreams opens")

// stores are those that the load is run with.
var stores = []struct {
	name string
	open func(tb testing.TB) keystore.KeyStore
}{
	{"memory", func(testing.TB) keystore.KeyStore { return keystore.NewMemory() }},
	{"directory", func(tb testing.TB) keystore.KeyStore {
		folder, err := dir.Open(tb.TempDir())
		require.NoError(tb, err)
		return folder
	}},
}

func TestOfManyStreamsThoseEndWhoseTokensDoAndNoOthers(t *testing.T) {
	for _, v := range variants {
		for _, store := range stores {
			t.Run(v.name+", "+store.name+" store", func(t *testing.T) {
				l := newLoad(t, v, store.open(t), 500)
				l.openAll()
				require.Len(t, l.revoke(), 500/oneIn)
				require.Len(t, l.removeKey(), 500/oneIn)
				require.Len(t, l.expire(), 500/oneIn)
			})
		}
	}
}

// BenchmarkStreams opens 10,000 streams over TLS, multiplexed on 100 connections, and ends
// one in a hundred of them by revoking their tokens, another one in a hundred by
// removing the key that signed theirs, and another by expiry. It fails if any
// other stream ends, or does not receive the update that follows. It reports how long
// it took from the beginning of the write, or from the token's exp, until the client had seen
// the status: the median, and the 99th percentile.
func BenchmarkStreams(b *testing.B) {
	for _, v := range variants {
		for _, store := range stores {
			b.Run(v.name+"/"+store.name, func(b *testing.B) {
				for b.Loop() {
					l := newLoad(b, v, store.open(b), *streams)
					began := time.Now()
					l.openAll()
					b.ReportMetric(time.Since(began).Seconds(), "open-s")
					b.ReportMetric(float64(runtime.NumGoroutine())/float64(*streams), "goroutines/stream")
					report(b, "revoked", l.revoke())
					report(b, "keyless", l.removeKey())
					report(b, "expired", l.expire())
				}
				b.ReportMetric(0, "ns/op") // of all of it: tells nothing
			})
		}
	}
}

func report(b *testing.B, what string, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, what+"-p50-ms")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, what+"-p99-ms")
}

// load is many proxies, each with an open stream.
type load struct {
	tb      testing.TB
	variant variant
	store   keystore.KeyStore
	zone    *zoneCP // publishes
	version int
	conns   []*grpc.ClientConn
	ctx     context.Context // of all streams
	raws    []string        // the token of each proxy
	open    int             // how many streams are
	heard   chan hearing
	ended   chan ending
}

// hearing is that a client receives what is published.
type hearing struct {
	proxy   int
	version string
}

// ending is what a client sees of its stream's end.
type ending struct {
	proxy int
	at    time.Time
	err   error
}

// oneIn is how many streams there are for each that ends of one cause: the first of so
// many is revoked, and later opens a stream that expires; the second loses its key.
const oneIn = 100

func newLoad(tb testing.TB, v variant, store keystore.KeyStore, n int) *load {
	quiet := slog.New(slog.DiscardHandler)
	addKey(tb, store, "default", 1, meshKey())
	addKey(tb, store, "default", 2, otherMeshKey())
	validator, err := dataplane.NewValidator(store, dataplane.WithLogger(quiet), dataplane.WithLeeway(0))
	require.NoError(tb, err)
	tb.Cleanup(func() { validator.Close() })
	guards := guardsOf(tb, dataplane.NewAuthenticator(validator), xdsauth.WithLogger(quiet))

	l := &load{tb: tb, variant: v, store: store, version: 1, raws: tokens(tb, n), heard: make(chan hearing, n), ended: make(chan ending, n)}
	l.zone = &zoneCP{tb: tb, snapshots: cachev3.NewSnapshotCache(false, everyNode{}, nil)}
	l.zone.publish("1")
	address := loopback.Server(tb, func(s *grpc.Server) {
		discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, serverv3.NewServer(context.Background(), l.zone.snapshots, nil))
	}, guards...)
	for range min(n, 100) {
		l.conns = append(l.conns, loopback.Client(tb, address))
	}
	var leave context.CancelFunc
	l.ctx, leave = context.WithCancel(context.Background())
	tb.Cleanup(leave)
	return l
}

// tokens issues a token for each of n proxies, with key 2 for those that will lose
// their key, and with key 1 for the others.
func tokens(tb testing.TB, n int) []string {
	tokensMu.Lock()
	defer tokensMu.Unlock()
	for len(issued) < n { // any load can use them
		kid, key := "1", meshKey()
		if len(issued)%oneIn == 1 {
			kid, key = "2", otherMeshKey()
		}
		issuer, err := dataplane.NewOfflineIssuer(key, kid, dataplane.WithLogger(slog.New(slog.DiscardHandler)))
		require.NoError(tb, err)
		next, err := issuer.Issue(context.Background(), token.Dataplane{Mesh: "default", Name: nameOf(len(issued))}, 24*time.Hour)
		require.NoError(tb, err)
		issued = append(issued, next.Token)
	}
	return slices.Clone(issued[:n])
}

var (
	tokensMu sync.Mutex
	issued   []string
)

func nameOf(proxy int) string { return fmt.Sprintf("dp-%d", proxy) }

// those are the proxies of one cause.
func (l *load) those(cause int) []int {
	var those []int
	for i := cause; i < len(l.raws); i += oneIn {
		those = append(those, i)
	}
	return those
}

func (l *load) openAll() {
	var all []int
	for i := range l.raws {
		all = append(all, i)
	}
	l.openThese(all)
}

// openThese opens a stream for each of the proxies, on each connection one after
// the other, and returns when all have received what is published.
func (l *load) openThese(proxies []int) {
	var opening sync.WaitGroup
	for c, conn := range l.conns {
		opening.Go(func() {
			for _, i := range proxies {
				if i%len(l.conns) == c {
					l.openOne(conn, i)
				}
			}
		})
	}
	opening.Wait()
	l.open += len(proxies)
	l.hear(len(proxies))
}

func (l *load) openOne(conn *grpc.ClientConn, i int) {
	p, err := l.variant.open(metadata.AppendToOutgoingContext(l.ctx, "authorization", l.raws[i]), conn)
	if err == nil {
		err = p.request(node("default."+nameOf(i), nil))
	}
	if err != nil {
		l.ended <- ending{i, time.Now(), err}
		return
	}
	receive := func() bool {
		version, err := p.receive()
		if err != nil {
			l.ended <- ending{i, time.Now(), err}
			return false
		}
		l.heard <- hearing{i, version}
		return true
	}
	if receive() {
		go func() {
			for receive() {
			}
		}()
	}
}

// hear waits until so many different proxies have received the current version.
func (l *load) hear(proxies int) {
	l.tb.Helper()
	timeout := time.After(time.Minute)
	heard := map[int]bool{}
	for len(heard) < proxies {
		select {
		case h := <-l.heard:
			require.Equal(l.tb, fmt.Sprintf("version-%d", l.version), h.version)
			heard[h.proxy] = true
		case e := <-l.ended:
			require.FailNow(l.tb, "a stream ended that should not", "%s: %v", nameOf(e.proxy), e.err)
		case <-timeout:
			require.FailNow(l.tb, "not all proxies received what was published")
		}
	}
}

// end waits until the streams of those proxies have ended, which they do from the time that since tells
// on, and returns how long it took. It sees to it that the others receive an update.
func (l *load) end(those []int, since func(proxy int) time.Time) []time.Duration {
	l.tb.Helper()
	var took []time.Duration
	var who []int
	timeout := time.After(time.Minute)
	for range those {
		select {
		case e := <-l.ended:
			require.Equal(l.tb, codes.Unauthenticated, status.Code(e.err), "%s: %v", nameOf(e.proxy), e.err)
			who = append(who, e.proxy)
			took = append(took, e.at.Sub(since(e.proxy)))
		case <-timeout:
			require.FailNow(l.tb, "not all streams ended that should")
		}
	}
	require.ElementsMatch(l.tb, those, who)
	l.open -= len(those)

	l.version++
	l.zone.publish(fmt.Sprint(l.version))
	l.hear(l.open)
	return took
}

// revoke revokes the tokens of some, with one write.
func (l *load) revoke() []time.Duration {
	l.tb.Helper()
	those := l.those(0)
	var ids []string
	for _, i := range those {
		ids = append(ids, idOf(l.tb, l.raws[i]))
	}
	began := time.Now()
	require.NoError(l.tb, dataplane.Revoke(context.Background(), l.store, "default", ids[0], ids[1:]...))
	return l.end(those, func(int) time.Time { return began })
}

// removeKey removes the key that signed the tokens of some.
func (l *load) removeKey() []time.Duration {
	l.tb.Helper()
	began := time.Now()
	removeKey(l.tb, l.store, "default", 2)
	return l.end(l.those(1), func(int) time.Time { return began })
}

// expire opens streams anew with tokens of a few seconds, and waits for their end.
func (l *load) expire() []time.Duration {
	l.tb.Helper()
	those := l.those(0) // which have ended
	issuer, err := dataplane.NewOfflineIssuer(meshKey(), "1")
	require.NoError(l.tb, err)
	expiry := map[int]time.Time{}
	for _, i := range those {
		issued, err := issuer.Issue(context.Background(), token.Dataplane{Mesh: "default", Name: nameOf(i)}, 4*time.Second)
		require.NoError(l.tb, err)
		l.raws[i] = issued.Token
		expiry[i] = issued.ExpiresAt
	}
	l.openThese(those)
	return l.end(those, func(proxy int) time.Time { return expiry[proxy] })
}
