package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/keystore/postgres"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

var (
	streams   = flag.Int("streams", 10_000, "how many streams BenchmarkCutoffOfAWorkload opens")
	workloads = flag.Int("workloads", 100, "how many workloads the proxies of these streams have")
)

// promised is how soon a cutoff ends streams, on a machine that is not busy.
const promised = time.Second

// storages are what the cutoffs are stored in. Each function returns what opens it, as each
// replica does.
var storages = []struct {
	name string
	make func(tb testing.TB) (open func() keystore.KeyStore)
}{
	{"memory", func(testing.TB) func() keystore.KeyStore {
		store := keystore.NewMemory()
		return func() keystore.KeyStore { return store }
	}},
	{"directory", func(tb testing.TB) func() keystore.KeyStore {
		path := tb.TempDir()
		return func() keystore.KeyStore {
			store, err := dir.Open(path)
			require.NoError(tb, err)
			return store
		}
	}},
	{"PostgreSQL", func(tb testing.TB) func() keystore.KeyStore {
		url := engines.SharedPostgres(tb).NewDatabase(tb)
		return func() keystore.KeyStore {
			pool, err := pgxpool.New(tb.Context(), url)
			require.NoError(tb, err)
			tb.Cleanup(pool.Close)
			store, err := postgres.New(pool)
			require.NoError(tb, err)
			require.NoError(tb, store.Migrate(tb.Context()))
			return store
		}
	}},
}

func TestACutoffForAWorkloadEndsItsStreamsAndNoOtherAndRenewedTokensConnectAtOnce(t *testing.T) {
	for _, storage := range storages {
		t.Run(storage.name, func(t *testing.T) {
			f := newFleet(t, storage.make(t), 1000, 10)
			ended, back := f.cutOffWorkloads(2)
			require.Len(t, ended, 2*100)
			require.Len(t, back, 2*100)
			require.Less(t, slices.Max(ended), 10*promised)
			require.Less(t, slices.Max(back), 10*promised)
		})
	}
}

// BenchmarkCutoffOfAWorkload opens 10,000 ADS streams of the proxies of 100 workloads over
// TLS, on 100 connections, and makes cutoffs for ten of the workloads, one after the other,
// on another replica of the store. It fails unless the streams of these end and all others
// go on, and renewed tokens are good at once. It prints how long after the write returned a
// client saw the end of its stream (ended), and how long a client took to connect with a
// renewed token (back).
func BenchmarkCutoffOfAWorkload(b *testing.B) {
	for _, storage := range storages {
		b.Run(storage.name, func(b *testing.B) {
			for b.Loop() {
				f := newFleet(b, storage.make(b), *streams, *workloads)
				ended, back := f.cutOffWorkloads(min(10, *workloads))
				for what, took := range map[string][]time.Duration{"ended": ended, "back": back} {
					slices.Sort(took)
					for name, at := range map[string]int{"p50": len(took) / 2, "p99": len(took) * 99 / 100, "max": len(took) - 1} {
						b.ReportMetric(float64(took[at].Microseconds())/1000, what+"-"+name+"-ms")
					}
				}
			}
			b.ReportMetric(0, "ns/op") // of all of it: tells nothing
		})
	}
}

// fleet is the proxies of a mesh, each with an open stream to a control plane.
type fleet struct {
	tb        testing.TB
	store     keystore.KeyStore // the administrator's replica
	log       *logtest.Buffer   // of the control plane
	conns     []*grpc.ClientConn
	workloads int
	proxies   []*proxyStream
	answered  chan int
	ended     chan ending
}

// proxyStream is the stream of a proxy. The proxies of a workload are those whose number has
// the same remainder.
type proxyStream struct {
	discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	last *discoveryv3.DiscoveryResponse // the first one
}

// ending is what a client sees of the end of its stream.
type ending struct {
	proxy int
	at    time.Time
	err   error
}

func workloadName(workload int) string { return fmt.Sprint("workload-", workload) }

func claimsOf(proxy, workloads int) token.Dataplane {
	return token.Dataplane{Mesh: "default", Name: fmt.Sprint("dp-", proxy), Workload: workloadName(proxy % workloads)}
}

// newFleet runs a control plane, and opens a stream for each proxy with a token that was
// issued an hour ago.
func newFleet(tb testing.TB, open func() keystore.KeyStore, n, workloads int) *fleet {
	f := &fleet{tb: tb, store: open(), log: &logtest.Buffer{}, workloads: workloads, proxies: make([]*proxyStream, n),
		answered: make(chan int, n), ended: make(chan ending, 2*n)}
	series := signing.DataplaneKeys("default")
	pem, err := meshKey().PEM()
	require.NoError(tb, err)
	_, err = f.store.Create(tb.Context(), keystore.Record{Scope: series.Scope(), Name: series.KeyName(1), Data: pem})
	require.NoError(tb, err)
	old := oldTokens(tb, n, workloads)

	validator, err := dataplane.NewValidator(open(), dataplane.WithLogger(quiet))
	require.NoError(tb, err)
	tb.Cleanup(func() { validator.Close() })
	f.serve(validator)

	all := map[int]string{}
	for i, raw := range old {
		all[i] = raw
	}
	f.connect(all)
	return f
}

// serve runs the control plane, and connects to it.
func (f *fleet) serve(validator dataplane.Validator) {
	guards, err := xdsauth.ServerOptions(dataplane.NewAuthenticator(validator), xdsauth.WithLogger(f.log.Logger()))
	require.NoError(f.tb, err)
	folder := f.tb.TempDir()
	require.NoError(f.tb, newCertificates(folder, zoneName("west")))
	creds, err := serverTLS(filepath.Join(folder, zoneName("west")+".pem"))
	require.NoError(f.tb, err)
	server := grpc.NewServer(serverOptions(creds, guards)...)
	require.NoError(f.tb, registerADS(f.tb.Context(), server, "default", quiet))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(f.tb, err)
	go func() { _ = server.Serve(listener) }()
	f.tb.Cleanup(server.Stop)
	trust, err := clientTLS(filepath.Join(folder, "ca.pem"), zoneName("west"))
	require.NoError(f.tb, err)
	for range 100 {
		conn, err := dial(listener.Addr().String(), trust)
		require.NoError(f.tb, err)
		f.tb.Cleanup(func() { _ = conn.Close() })
		f.conns = append(f.conns, conn)
	}
}

var (
	meshKey = sync.OnceValue(func() *signing.PrivateKey {
		key, err := signing.Generate(signing.DefaultBits)
		if err != nil {
			panic(err)
		}
		return key
	})
	issuedBefore = map[int][]string{} // by number of proxies: any store can use them
)

func oldTokens(tb testing.TB, n, workloads int) []string {
	if issuedBefore[n] == nil {
		anHourAgo := func() time.Time { return time.Now().Add(-time.Hour) }
		issuer, err := dataplane.NewOfflineIssuer(meshKey(), "1", dataplane.WithClock(anHourAgo))
		require.NoError(tb, err)
		for i := range n {
			issued, err := issuer.Issue(tb.Context(), claimsOf(i, workloads), 24*time.Hour)
			require.NoError(tb, err)
			issuedBefore[n] = append(issuedBefore[n], issued.Token)
		}
	}
	return issuedBefore[n]
}

// cutOffWorkloads makes a cutoff for one workload after the other. Every second one has the
// moment of a minute ago, and the tokens were renewed before it was written; those of the
// others are renewed afterwards. It returns how long after the writes the streams ended, and
// how long the proxies took to be back.
func (f *fleet) cutOffWorkloads(n int) (ended, back []time.Duration) {
	for workload := range n {
		var renewed map[int]string
		before := time.Now().Add(token.Skew)
		if workload%2 == 1 {
			renewed = f.renew(workload)
			before = time.Now().Add(-time.Minute)
		}
		ended = append(ended, f.cutOff(workload, before)...)
		old := oldTokens(f.tb, len(f.proxies), f.workloads)[workload]
		require.Equal(f.tb, codes.Unauthenticated, status.Code(f.open(workload, old)), "an old token")
		if renewed == nil {
			renewed = f.renew(workload)
		}
		back = append(back, f.connect(renewed)...)
	}

	// All streams answer, and so none has ended.
	require.Empty(f.tb, f.answered)
	for _, p := range f.proxies {
		require.NoError(f.tb, p.Send(&discoveryv3.DiscoveryRequest{TypeUrl: resourcev3.ClusterType, ResponseNonce: p.last.Nonce}))
	}
	answers := map[int]bool{}
	timeout := time.After(time.Minute)
	for len(answers) < len(f.proxies) {
		select {
		case proxy := <-f.answered:
			answers[proxy] = true
		case e := <-f.ended:
			require.FailNow(f.tb, "a stream ended that should not", "dp-%d: %v", e.proxy, e.err)
		case <-timeout:
			require.FailNow(f.tb, "not all streams answer", "%d of %d", len(answers), len(f.proxies))
		}
	}
	return ended, back
}

// renew issues new tokens for the proxies of a workload, on the administrator's replica.
func (f *fleet) renew(workload int) map[int]string {
	issuer, err := dataplane.NewIssuer(f.store, dataplane.WithLogger(quiet))
	require.NoError(f.tb, err)
	renewed := map[int]string{}
	for i := workload; i < len(f.proxies); i += f.workloads {
		issued, err := issuer.Issue(f.tb.Context(), claimsOf(i, f.workloads), 24*time.Hour)
		require.NoError(f.tb, err)
		renewed[i] = issued.Token
	}
	return renewed
}

// cutOff makes a cutoff for a workload, and waits until the streams of its proxies have ended.
// It returns how long after the write they did.
func (f *fleet) cutOff(workload int, before time.Time) []time.Duration {
	f.tb.Helper()
	_, err := dataplane.CutOff(f.tb.Context(), f.store, "default", dataplane.Cutoff{Before: before, Workload: workloadName(workload)})
	written := time.Now()
	require.NoError(f.tb, err)
	var took []time.Duration
	timeout := time.After(time.Minute)
	for i := workload; i < len(f.proxies); i += f.workloads {
		select {
		case e := <-f.ended:
			require.Equal(f.tb, codes.Unauthenticated, status.Code(e.err), "dp-%d: %v", e.proxy, e.err)
			require.Equal(f.tb, workload, e.proxy%f.workloads, "dp-%d is of another workload", e.proxy)
			took = append(took, e.at.Sub(written))
		case <-timeout:
			require.FailNow(f.tb, "not all streams ended that should")
		}
	}
	reason := fmt.Sprintf(`token revoked: a cutoff revokes tokens with the workload \"%s\" issued before`, workloadName(workload))
	require.Eventually(f.tb, func() bool {
		return f.log.Count("session ended", "code=Unauthenticated", reason) == len(took)
	}, time.Minute, 10*time.Millisecond)
	return took
}

// connect opens streams with tokens, on each connection one after the other, and returns how
// long it took each until the first configuration had come.
func (f *fleet) connect(tokens map[int]string) []time.Duration {
	f.tb.Helper()
	var mu sync.Mutex
	var took []time.Duration
	var failures []error
	var opening sync.WaitGroup
	for c := range f.conns {
		opening.Go(func() {
			for i, raw := range tokens {
				if i/f.workloads%len(f.conns) != c {
					continue
				}
				began := time.Now()
				err := f.open(i, raw)
				mu.Lock()
				took, failures = append(took, time.Since(began)), append(failures, err)
				mu.Unlock()
			}
		})
	}
	opening.Wait()
	require.NoError(f.tb, cmp.Or(failures...))
	return took
}

// open opens a stream, and returns when the first configuration has come, or how the stream
// ended.
func (f *fleet) open(proxy int, raw string) error {
	stream, first, err := f.subscribe(f.tb.Context(), proxy, raw)
	if err != nil {
		return err
	}
	f.proxies[proxy] = &proxyStream{stream, first}
	go func() {
		for {
			if _, err := stream.Recv(); err != nil {
				f.ended <- ending{proxy, time.Now(), err}
				return
			}
			f.answered <- proxy
		}
	}()
	return nil
}

// subscribe opens a stream, and returns it and the first configuration.
func (f *fleet) subscribe(ctx context.Context, proxy int, raw string) (discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient, *discoveryv3.DiscoveryResponse, error) {
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", raw)
	stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(f.conns[proxy/f.workloads%len(f.conns)]).StreamAggregatedResources(ctx)
	if err != nil {
		return nil, nil, err
	}
	_ = stream.Send(&discoveryv3.DiscoveryRequest{Node: nodeOf(claimsOf(proxy, f.workloads)), TypeUrl: resourcev3.ClusterType})
	first, err := stream.Recv() // if the stream is over, it returns why
	if err != nil {
		return nil, nil, err
	}
	_ = stream.Send(&discoveryv3.DiscoveryRequest{TypeUrl: resourcev3.ClusterType, VersionInfo: first.VersionInfo, ResponseNonce: first.Nonce})
	return stream, first, nil
}

// nodeOf is the node of a proxy whose workload is a label, as kuma-dp sends it.
func nodeOf(claims token.Dataplane) *corev3.Node {
	resource, err := json.Marshal(map[string]any{
		"type": "Dataplane", "mesh": claims.Mesh, "name": claims.Name,
		"labels":     map[string]string{dataplane.LabelWorkload: claims.Workload},
		"networking": map[string]any{"inbound": []any{map[string]any{"port": 8080}}},
	})
	if err != nil {
		panic(err)
	}
	fields, err := structpb.NewStruct(map[string]any{xdsauth.MetadataResource: string(resource)})
	if err != nil {
		panic(err)
	}
	return &corev3.Node{Id: claims.Mesh + "." + claims.Name, Metadata: fields}
}
