package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
)

// adminSocket is the name of the socket in a control plane's folder on which it serves the
// operator. Only the permissions of the file protect it: it is open to its owner alone.
const adminSocket = "admin.sock"

// pingInterval is how often each side probes an idle connection. It notices within twice the
// time that the other side is gone.
const pingInterval = 10 * time.Second

// addresses holds the addresses on which a control plane listens.
type addresses struct {
	dir     string // its folder
	grpc    string // host and port
	metrics string // host and port
}

// serverOptions returns the options of a control plane's gRPC server, with those that
// authenticate its peers.
func serverOptions(creds credentials.TransportCredentials, guards []grpc.ServerOption) []grpc.ServerOption {
	return append(guards,
		grpc.Creds(creds),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: pingInterval, Timeout: pingInterval}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingInterval / 2}),
	)
}

// serve serves gRPC, the operator and /metrics until ctx ends. Then it ends open streams.
func serve(ctx context.Context, at addresses, server *grpc.Server, admin http.Handler, metrics prometheus.Gatherer, log *slog.Logger) error {
	defer server.Stop()
	streams, err := net.Listen("tcp", at.grpc)
	if err != nil {
		return err
	}
	defer streams.Close()
	scrapes, err := net.Listen("tcp", at.metrics)
	if err != nil {
		return err
	}
	defer scrapes.Close()
	operator, err := listenUnix(filepath.Join(at.dir, adminSocket))
	if err != nil {
		return err
	}
	defer operator.Close()
	log.Info("listening", "address", streams.Addr().String(), "metrics", scrapes.Addr().String())

	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}))
	return runAll(ctx,
		func(ctx context.Context) error {
			defer context.AfterFunc(ctx, server.Stop)()
			return server.Serve(streams)
		},
		func(ctx context.Context) error { return serveHTTP(ctx, scrapes, mux) },
		func(ctx context.Context) error { return serveHTTP(ctx, operator, admin) },
	)
}

// listenUnix listens on a socket, and replaces one that a stopped process left behind.
func listenUnix(path string) (net.Listener, error) {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	listener, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	return listener, nil
}

func serveHTTP(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving HTTP: %w", err)
	}
	return nil
}
