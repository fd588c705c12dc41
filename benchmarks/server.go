package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/rpc"
	"os"
	"runtime/pprof"
	"sync/atomic"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
)

// Config is what a replica of a control plane is started with.
type Config struct {
	Server      string // which one: meshpass and so on
	Address     string // on which it listens; any port if that is 0
	Certificate []byte // with its key, PEM
	Storage     Storage
	Kubernetes  Kubernetes // for tokenReview
}

// Control is what the process of a replica does for the benchmark, over net/rpc.
type Control struct {
	snapshots cachev3.SnapshotCache
	store     *counted
	streams   atomic.Int64 // open ones

	profile bytes.Buffer
	before  Cost
}

// None is no argument, and no result.
type None struct{}

// Cost is what a replica has spent.
type Cost struct {
	CPU   float64 // seconds, user and system, of the process
	Auth  float64 // of these, authentication: by the samples of a profile
	Reads int64   // of the store
}

// serveReplica is the process of a replica: it does what it is told on standard input, until
// that ends.
func serveReplica() error {
	server := rpc.NewServer()
	if err := server.Register(&Control{}); err != nil {
		return err
	}
	server.ServeConn(struct {
		io.Reader
		io.WriteCloser
	}{os.Stdin, os.Stdout})
	return nil
}

// Start starts the control plane, and returns the address on which it listens. It begins to
// measure.
func (c *Control) Start(config Config, address *string) error {
	ctx := context.Background()
	if err := pprof.StartCPUProfile(&c.profile); err != nil {
		return err
	}
	c.store = &counted{}
	if config.Storage.Kind != "" {
		store, _, err := config.Storage.open(ctx)
		if err != nil {
			return err
		}
		c.store.watched = store
	}
	guards, err := guard(config, c.store)
	if err != nil {
		return err
	}
	certificate, err := tls.X509KeyPair(config.Certificate, config.Certificate)
	if err != nil {
		return err
	}
	creds := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS13})
	server := grpc.NewServer(append(guards, grpc.Creds(creds))...)
	c.snapshots = cachev3.NewSnapshotCache(false, everyNode{}, nil)
	if err := c.Publish("1", nil); err != nil {
		return err
	}
	callbacks := serverv3.CallbackFuncs{
		StreamOpenFunc:   func(context.Context, int64, string) error { c.streams.Add(1); return nil },
		StreamClosedFunc: func(int64, *corev3.Node) { c.streams.Add(-1) },
	}
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, serverv3.NewServer(ctx, c.snapshots, callbacks))
	listener, err := net.Listen("tcp", config.Address)
	if err != nil {
		return err
	}
	*address = listener.Addr().String()
	go func() { _ = server.Serve(listener) }()
	return nil
}

// everyNode gives all nodes the same configuration.
type everyNode struct{}

// ID implements cachev3.NodeHash.
func (everyNode) ID(*corev3.Node) string { return "every node" }

// Publish gives all proxies a new configuration: a single small cluster, since configuration
// is not what is measured.
func (c *Control) Publish(version string, _ *None) error {
	snapshot, err := cachev3.NewSnapshot(version, map[resourcev3.Type][]types.Resource{
		resourcev3.ClusterType: {&clusterv3.Cluster{Name: "backend-" + version}},
	})
	if err != nil {
		return err
	}
	return c.snapshots.SetSnapshot(context.Background(), everyNode{}.ID(nil), snapshot)
}

// Streams returns how many streams go-control-plane has open.
func (c *Control) Streams(_ None, open *int64) error {
	*open = c.streams.Load()
	return nil
}

// Begin begins to measure anew.
func (c *Control) Begin(None, *None) error {
	pprof.StopCPUProfile()
	c.profile.Reset()
	if err := pprof.StartCPUProfile(&c.profile); err != nil {
		return err
	}
	cpu, err := cpuTime()
	c.before = Cost{CPU: cpu, Reads: c.store.reads.Load()}
	return err
}

// End ends what Start or Begin began.
func (c *Control) End(_ None, cost *Cost) error {
	cpu, err := cpuTime()
	pprof.StopCPUProfile()
	share, profileErr := authenticationShare(&c.profile)
	cost.CPU = cpu - c.before.CPU
	cost.Auth = share * cost.CPU
	cost.Reads = c.store.reads.Load() - c.before.Reads
	return errors.Join(err, profileErr)
}
