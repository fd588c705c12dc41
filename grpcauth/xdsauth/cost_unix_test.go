//go:build unix

package xdsauth_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth/internal/loopback"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// BenchmarkStreamCost measures what an open ADS stream costs a server that does not
// authenticate, and what share a server with the interceptors adds: memory, goroutines and
// the processor time to open it. "raw" is a server that checks the signature and nothing
// else: no server that authenticates at first sight takes less. The clients are in another process. The servers take
// turns, and the figures are the medians of their rounds.
func BenchmarkStreamCost(b *testing.B) {
	quiet := slog.New(slog.DiscardHandler)
	raws := tokens(b, *streams)
	guarded := func(seen bool, options ...xdsauth.Option) func(b *testing.B) []grpc.ServerOption {
		return func(b *testing.B) []grpc.ServerOption {
			store := keystore.NewMemory()
			addKey(b, store, "default", 1, meshKey())
			addKey(b, store, "default", 2, otherMeshKey())
			validator, err := dataplane.NewValidator(store, dataplane.WithLogger(quiet))
			require.NoError(b, err)
			b.Cleanup(func() { validator.Close() })
			for _, raw := range raws {
				if !seen {
					break
				}
				_, err := validator.Validate(b.Context(), "default", raw)
				require.NoError(b, err)
			}
			options, err := xdsauth.ServerOptions(dataplane.NewAuthenticator(validator), append(options, xdsauth.WithLogger(quiet))...)
			require.NoError(b, err)
			return options
		}
	}
	servers := []struct {
		name    string
		options func(b *testing.B) []grpc.ServerOption
		costs   []cost
	}{
		{name: "bare", options: func(*testing.B) []grpc.ServerOption { return nil }},
		{name: "raw", options: rawVerify},
		{name: "first-sight", options: guarded(false)},
		{name: "seen", options: guarded(true)},
		{name: "apart-first-sight", options: guarded(false, xdsauth.WithHandlerGoroutines())},
		{name: "apart-seen", options: guarded(true, xdsauth.WithHandlerGoroutines())},
	}
	for b.Loop() {
		for i := range servers {
			server := &servers[i]
			options := server.options(b)
			server.costs = append(server.costs, costOf(b, raws, options))
		}
	}
	median := func(costs []cost, of func(cost) float64) float64 {
		var all []float64
		for _, c := range costs {
			all = append(all, of(c))
		}
		slices.Sort(all)
		return all[len(all)/2]
	}
	for _, of := range []struct {
		name string
		of   func(cost) float64
	}{
		{"bytes", func(c cost) float64 { return c.heap + c.stacks }},
		{"heap", func(c cost) float64 { return c.heap }},
		{"stacks", func(c cost) float64 { return c.stacks }},
		{"goroutines", func(c cost) float64 { return c.goroutines }},
		{"cpu-us", func(c cost) float64 { return float64(c.cpu.Nanoseconds()) / 1000 }},
	} {
		bare := median(servers[0].costs, of.of)
		b.ReportMetric(bare, "bare-"+of.name)
		for _, server := range servers[1:] {
			b.ReportMetric(median(server.costs, of.of)/bare, server.name+"-x-"+of.name)
		}
	}
	b.ReportMetric(0, "ns/op") // of all of it: tells nothing
}

// rawVerify checks the signature of each stream's token with crypto/rsa.
func rawVerify(b *testing.B) []grpc.ServerOption {
	var keys []*rsa.PublicKey
	for _, key := range []*signing.PrivateKey{meshKey(), otherMeshKey()} {
		block, _ := pem.Decode(key.Public().PEM())
		parsed, err := x509.ParsePKCS1PublicKey(block.Bytes)
		require.NoError(b, err)
		keys = append(keys, parsed)
	}
	return []grpc.ServerOption{grpc.ChainStreamInterceptor(func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		raw := metadata.ValueFromIncomingContext(stream.Context(), "authorization")[0]
		at := strings.LastIndex(raw, ".")
		sig, err := base64.RawURLEncoding.DecodeString(raw[at+1:])
		if err != nil {
			return err
		}
		digest := sha256.Sum256([]byte(raw[:at]))
		for _, key := range keys { // nearly all are of the first
			if err = rsa.VerifyPKCS1v15(key, crypto.SHA256, digest[:], sig); err == nil {
				return handler(server, stream)
			}
		}
		return err
	})}
}

// cost is what one stream costs its server.
type cost struct {
	heap, stacks, goroutines float64
	cpu                      time.Duration // to open it
}

func costOf(b *testing.B, raws []string, options []grpc.ServerOption) cost {
	z := &zoneCP{tb: b, snapshots: cachev3.NewSnapshotCache(false, everyNode{}, nil)}
	z.publish("1")
	var server *grpc.Server
	address := loopback.Server(b, func(s *grpc.Server) {
		server = s
		discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, serverv3.NewServer(context.Background(), z.snapshots, nil))
	}, options...)
	defer server.Stop()
	heap, stacks := memory()
	// When the collector runs is chance, and it takes a third of the time: here it runs once,
	// when all are open.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	goroutines, cpu := runtime.NumGoroutine(), processorTime(b)

	clients := exec.Command(os.Args[0])
	clients.Env = append(os.Environ(), asClients+"="+address)
	clients.Stderr = os.Stderr
	in, err := clients.StdinPipe()
	require.NoError(b, err)
	out, err := clients.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, clients.Start())
	_, err = io.WriteString(in, strings.Join(raws, "\n")+"\n\n")
	require.NoError(b, err)
	said, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(b, err)
	require.Equal(b, "open\n", said)

	runtime.GC()
	n := float64(len(raws))
	c := cost{cpu: (processorTime(b) - cpu) / time.Duration(len(raws))}
	heapNow, stacksNow := memory()
	c.heap, c.stacks, c.goroutines = (heapNow-heap)/n, (stacksNow-stacks)/n, float64(runtime.NumGoroutine()-goroutines)/n
	require.NoError(b, in.Close())
	require.NoError(b, clients.Wait())
	return c
}

// memory returns the live bytes of the heap and those of the stacks in use.
func memory() (heap, stacks float64) {
	for range 5 {
		runtime.GC() // halves the stacks that have grown and are mostly empty
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc), float64(m.StackInuse)
}

func processorTime(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	require.NoError(tb, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// asClients makes the test binary be the clients of the server at that address.
const asClients = "XDSAUTH_TEST_AS_CLIENTS"

// beClients opens a stream for each token that it reads, on 100 connections, says so when
// all have received their configuration, and keeps them open until its input ends.
func beClients(address string) error {
	var raws []string
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() && in.Text() != "" {
		raws = append(raws, in.Text())
	}
	const conns = 100
	failed := make(chan error, conns)
	var opening sync.WaitGroup
	for c := range conns {
		// It is another process, which does not know the certificate, and tests no server.
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
		if err != nil {
			return err
		}
		opening.Go(func() {
			for i := c; i < len(raws); i += conns {
				p, err := variants[0].open(metadata.AppendToOutgoingContext(context.Background(), "authorization", raws[i]), conn)
				if err == nil {
					err = p.request(described(dataplane.Proxy{Mesh: "default", Name: nameOf(i),
						Inbounds: []map[string]string{{"kuma.io/service": "backend", "kuma.io/protocol": "http"}}}))
				}
				if err == nil {
					_, err = p.receive()
				}
				if err != nil {
					failed <- err
					return
				}
			}
		})
	}
	opening.Wait()
	select {
	case err := <-failed:
		return err
	default:
	}
	fmt.Println("open")
	in.Scan()
	return nil
}

func init() {
	address := os.Getenv(asClients)
	if address == "" {
		return
	}
	if err := beClients(address); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}
