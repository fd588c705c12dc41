package main

import (
	"context"
	"log"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthgrpc "google.golang.org/grpc/health/grpc_health_v1"
	_ "google.golang.org/grpc/xds" // xds:///

	"github.com/meshpass/meshpass/token"
)

func TestAGRPCClientGetsItsConfigurationAndGoesOnGettingItWhileItsTokensExpire(t *testing.T) {
	t.Parallel()
	cp, first, second, third := start(t), startBackend(t), startBackend(t), startBackend(t)
	token1 := cp.issue(t, 8*time.Second)
	cp.sendTo(t, first)
	cp.startClient(t)
	first.requireCall(t)

	token2 := cp.issue(t, 16*time.Second)
	cp.log.await(t, "session ended", "expired", token1.ID)
	cp.sendTo(t, second)
	second.requireCall(t)

	cp.issue(t, time.Hour)
	cp.log.await(t, "session ended", "expired", token2.ID)
	cp.sendTo(t, third)
	third.requireCall(t)
}

func TestAGRPCClientGetsNoFurtherConfigurationWhenItsTokenIsRevoked(t *testing.T) {
	t.Parallel()
	cp, before, after, never := start(t), startBackend(t), startBackend(t), startBackend(t)
	short := cp.issue(t, 80*time.Second)
	cp.sendTo(t, before)
	cp.startClient(t)
	before.requireCall(t)

	cp.revoke(t, short)
	cp.sendTo(t, after)
	for range 2 {
		cp.log.await(t, "token refused", "revoked", short.ID)
	}
	before.requireCall(t) // which keeps the configuration that it has
	require.Zero(t, after.calls.Load())

	long := cp.issue(t, time.Hour)
	after.requireCall(t) // within 90 s of exp, each attempt lets gRPC read the file again

	cp.revoke(t, long)
	cp.issue(t, time.Hour)
	cp.sendTo(t, never)
	for range 3 {
		cp.log.await(t, "token refused", "revoked", long.ID)
	}
	after.requireCall(t)
	require.Zero(t, never.calls.Load(), "gRPC does not look for a new token while it has one that lasts")
}

// callBackend is an ordinary gRPC client, in a process of its own. It calls its backend
// all the time, and finds it through the control plane that its bootstrap file names.
func callBackend() {
	conn, err := grpc.NewClient("xds:///backend", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	client := healthgrpc.NewHealthClient(conn)
	for range time.Tick(20 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		if _, err := client.Check(ctx, &healthgrpc.HealthCheckRequest{}, grpc.WaitForReady(true)); err != nil {
			log.Print(err)
		}
		cancel()
	}
}

// backend is a server that knows nothing of tokens.
type backend struct {
	port   string
	calls  atomic.Int64
	called chan struct{} // has each call that a test waits for
}

func startBackend(t *testing.T) *backend {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &backend{port: strconv.Itoa(listener.Addr().(*net.TCPAddr).Port), called: make(chan struct{})}
	server := grpc.NewServer(grpc.UnaryInterceptor(
		func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
			b.calls.Add(1)
			select {
			case b.called <- struct{}{}:
			default:
			}
			return handle(ctx, request)
		}))
	healthgrpc.RegisterHealthServer(server, health.NewServer())
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return b
}

// issue makes a token for the client, and puts it into the file that the client reads.
func (cp *controlPlane) issue(t *testing.T, validFor time.Duration) token.Issued {
	issued, err := cp.api.IssueDataplane(t.Context(), token.Dataplane{Mesh: "default", Name: "client-1"}, validFor)
	require.NoError(t, err)
	cp.write(t, "token", issued.Token)
	return issued
}

// sendTo changes the configuration of the client.
func (cp *controlPlane) sendTo(t *testing.T, b *backend) {
	configuration := strings.Replace(string(cp.read(t, "backend.json")), "8080", b.port, 1)
	status, answer := cp.request(t, cp.web, "PUT", "/configuration", configuration)
	require.Equal(t, 200, status, answer)
}

// requireCall waits for a call that begins from now on.
func (b *backend) requireCall(t *testing.T) {
	t.Helper()
	select {
	case <-b.called:
	case <-time.After(patience):
		require.FailNow(t, "the backend is not called")
	}
}

// startClient starts the client, as the newcomer's bootstrap file says.
func (cp *controlPlane) startClient(t *testing.T) {
	cp.edit(t, "bootstrap.json", "127.0.0.1:5678", cp.streams)
	run(t, cp.folder, "client")
}

// revoke revokes a token, and waits until its stream has ended.
func (cp *controlPlane) revoke(t *testing.T, issued token.Issued) {
	require.NoError(t, cp.api.RevokeDataplane(t.Context(), "default", issued.ID))
	cp.log.await(t, "session ended", "revoked", issued.ID)
}
