package grpcauth_test

import (
	"context"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"runtime/debug"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/grpcauth"
)

// If this fails with another version of grpc, each stream takes a second goroutine again.
func TestTheStreamsOfGRPCsTransportsTakeAStatus(t *testing.T) {
	g := newGlobal(t)
	transports := make(chan grpc.ServerTransportStream, 1)
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		transports <- grpc.ServerTransportStreamFromContext(stream.Context())
		return nil
	}
	g.serve(byZone(g))
	for name, client := range map[string]testpb.TestServiceClient{"HTTP/2": g.client(), "ServeHTTP": g.overServeHTTP()} {
		t.Run(name, func(t *testing.T) {
			_, err := client.FullDuplexCall(asWest(t, g.issue(time.Hour)))
			require.NoError(t, err)
			assert.Implements(t, (*interface{ WriteStatus(*status.Status) error })(nil), receive(t, transports))
		})
	}
}

func TestAHandlerRunsInGRPCsGoroutineUnlessAnOptionGivesItOne(t *testing.T) {
	g := newGlobal(t)
	stacks := make(chan string, 1)
	g.service.stream = func(testpb.TestService_FullDuplexCallServer) error {
		stacks <- string(debug.Stack())
		return nil
	}
	g.serve(byZone(g))
	endOf(g.open(g.issue(time.Hour)))
	assert.Equal(t, !handlerGoroutines, strings.Contains(receive(t, stacks), "grpc.(*Server).handleStream("))
}

func TestAStreamOfAnotherTransportEndsToo(t *testing.T) {
	g := newGlobal(t)
	g.around = append(g.around, func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		type foreign struct{ grpc.ServerTransportStream } // has no WriteStatus
		ctx := stream.Context()
		ctx = grpc.NewContextWithServerTransportStream(ctx, foreign{grpc.ServerTransportStreamFromContext(ctx)})
		return next(server, &streamOf{stream, ctx})
	})
	began, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	g.service.stream = func(testpb.TestService_FullDuplexCallServer) error {
		close(began)
		<-release
		return nil
	}
	g.serve(byZone(g))
	raw := g.issue(time.Hour)
	stream := g.open(raw)
	receive(t, began)
	g.revoke(raw)
	assert.Equal(t, codes.Unauthenticated, endOf(stream).Code())
}

type streamOf struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *streamOf) Context() context.Context { return s.ctx }

func TestAStreamOverServeHTTPEndsWhateverItsHandlerDoes(t *testing.T) {
	for name, handler := range map[string]func(stream testpb.TestService_FullDuplexCallServer, release <-chan struct{}) error{
		"ignoring its context": func(_ testpb.TestService_FullDuplexCallServer, release <-chan struct{}) error {
			<-release
			return nil
		},
		"waiting for a request": func(stream testpb.TestService_FullDuplexCallServer, _ <-chan struct{}) error {
			_, err := stream.Recv()
			return err
		},
		"sending": func(stream testpb.TestService_FullDuplexCallServer, _ <-chan struct{}) error {
			for {
				if err := stream.Send(&testpb.StreamingOutputCallResponse{}); err != nil {
					return err
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGlobal(t)
			began, release, returned := make(chan struct{}), make(chan struct{}), make(chan struct{})
			g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
				defer close(returned)
				stream.SetTrailer(metadata.Pairs("last", "words"))
				close(began)
				return handler(stream, release)
			}
			g.serve(byZone(g))
			raw := g.issue(time.Hour)
			stream, err := g.overServeHTTP().FullDuplexCall(asWest(t, raw))
			require.NoError(t, err)
			receive(t, began)
			g.revoke(raw)
			assert.Equal(t, codes.Unauthenticated, endOf(stream).Code())
			assert.Equal(t, []string{"words"}, stream.Trailer().Get("last"))
			close(release)
			receive(t, returned)
		})
	}
}

func TestHeadersAndTrailersThatAHandlerSetComeWithTheEnd(t *testing.T) {
	g := newGlobal(t)
	set := make(chan struct{})
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		if err := stream.SetHeader(metadata.Pairs("first", "words")); err != nil {
			return err
		}
		stream.SetTrailer(metadata.Pairs("last", "words"))
		close(set)
		_, err := stream.Recv()
		return err
	}
	g.serve(byZone(g))
	raw := g.issue(time.Hour)
	stream := g.open(raw)
	receive(t, set)
	g.revoke(raw)
	assert.Equal(t, codes.Unauthenticated, endOf(stream).Code())
	header, err := stream.Header()
	require.NoError(t, err)
	assert.Equal(t, []string{"words"}, header.Get("first"))
	assert.Equal(t, []string{"words"}, stream.Trailer().Get("last"))
}

func TestAllWhoWatchACallSeeTheStatusOfItsEndOnce(t *testing.T) {
	g := newGlobal(t)
	watch := &endings{ends: make(chan error, 10)}
	g.options = append(g.options, grpc.StatsHandler(watch))
	around := make(chan error, 1)
	g.around = append(g.around, func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		err := next(server, stream)
		around <- err
		return err
	})
	began := make(chan struct{})
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		close(began)
		_, _ = stream.Recv()
		return nil // as if that were a normal end
	}
	g.serve(byZone(g))
	raw := g.issue(time.Hour)
	stream := g.open(raw)
	receive(t, began)
	g.revoke(raw)
	require.Equal(t, codes.Unauthenticated, endOf(stream).Code())
	assert.Equal(t, codes.Unauthenticated, status.Code(receive(t, around)))
	assert.Equal(t, codes.Unauthenticated, status.Code(receive(t, watch.ends)))
	watch.mu.Lock()
	defer watch.mu.Unlock()
	assert.Equal(t, []string{"trailer", "end"}, watch.saw)
}

// endings notes what grpc tells of the ends of calls.
type endings struct {
	mu   sync.Mutex
	saw  []string
	ends chan error
}

func (e *endings) HandleRPC(_ context.Context, s stats.RPCStats) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch s := s.(type) {
	case *stats.OutTrailer:
		e.saw = append(e.saw, "trailer")
	case *stats.End:
		e.saw = append(e.saw, "end")
		e.ends <- s.Error
	}
}
func (e *endings) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (e *endings) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (e *endings) HandleConn(context.Context, stats.ConnStats)                       {}

func TestTheEndIsLoggedOnceAndBeforeAHandlerThatIgnoresItReturns(t *testing.T) {
	g := newGlobal(t)
	began, release := make(chan struct{}), make(chan struct{})
	over := make(chan struct{})
	g.around = append(g.around, func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		defer close(over)
		return next(server, stream)
	})
	g.service.stream = func(testpb.TestService_FullDuplexCallServer) error {
		close(began)
		<-release
		return nil
	}
	g.serve(byZone(g))
	raw := g.issue(time.Hour)
	g.open(raw)
	receive(t, began)
	g.revoke(raw)
	require.Eventually(t, func() bool { return g.log.Count("session ended") == 1 }, patience, time.Millisecond)
	close(release)
	receive(t, over)
	assert.Equal(t, 1, g.log.Count("session ended"))
}

func TestAStreamThatEndedMakesRoomForAnother(t *testing.T) {
	g := newGlobal(t)
	g.options = append(g.options, grpc.MaxConcurrentStreams(1))
	began := make(chan struct{}, 1)
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		began <- struct{}{}
		_, err := stream.Recv()
		return err
	}
	g.serve(byZone(g))
	for range 3 {
		raw := g.issue(time.Hour)
		stream := g.open(raw)
		receive(t, began)
		g.revoke(raw)
		require.Equal(t, codes.Unauthenticated, endOf(stream).Code())
	}
}

func TestAServerStopsGracefullyWhenItsStreamsHaveEnded(t *testing.T) {
	g := newGlobal(t)
	began, release := make(chan struct{}), make(chan struct{})
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		close(began)
		_, err := stream.Recv()
		if handlerGoroutines {
			<-release // GracefulStop does not wait for such a handler
		}
		return err
	}
	g.serve(byZone(g))
	raw := g.issue(time.Hour)
	stream := g.open(raw)
	receive(t, began)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		g.server.GracefulStop()
	}()
	g.revoke(raw)
	require.Equal(t, codes.Unauthenticated, endOf(stream).Code())
	receive(t, stopped)
	close(release)
}

func TestAnInterceptorAroundHandlerGoroutinesChangesTheStatusOfAnEnd(t *testing.T) {
	g := newGlobal(t)
	g.around = append(g.around, func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		if err := next(server, stream); err != nil {
			stream.SetTrailer(metadata.Pairs("seen", "by another"))
		}
		return status.Error(codes.Aborted, "come again")
	})
	began, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	g.service.stream = func(testpb.TestService_FullDuplexCallServer) error {
		close(began)
		<-release
		return nil
	}
	g.serve(byZone(g), grpcauth.WithHandlerGoroutines())
	raw := g.issue(time.Hour)
	stream := g.open(raw)
	receive(t, began)
	g.revoke(raw)
	assert.Equal(t, codes.Aborted, endOf(stream).Code())
	assert.Equal(t, []string{"by another"}, stream.Trailer().Get("seen"))
}

func TestAPanicOfAnAuthFuncReachesTheInterceptorsAround(t *testing.T) {
	g := newGlobal(t)
	g.around = append(g.around, func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() { err = status.Errorf(codes.DataLoss, "recovered %v", recover()) }()
		return next(server, stream)
	})
	g.serve(func(context.Context, string) (grpcauth.Identity, error) { panic("out of order") })
	assert.Equal(t, "recovered out of order", endOf(g.open("")).Message())
	assert.Equal(t, 1, g.log.Count("AuthFunc panicked", "out of order", "ways_test.go"), "with the stack that it came from")
}

// overServeHTTP returns a client of the server behind that of net/http.
func (g *global) overServeHTTP() testpb.TestServiceClient {
	front := httptest.NewUnstartedServer(http.HandlerFunc(g.server.ServeHTTP))
	front.EnableHTTP2 = true
	front.StartTLS()
	g.tb.Cleanup(front.Close)
	trust := front.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	conn, err := grpc.NewClient(front.Listener.Addr().String(),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: trust, ServerName: "example.com"})))
	require.NoError(g.tb, err)
	g.tb.Cleanup(func() { _ = conn.Close() })
	return testpb.NewTestServiceClient(conn)
}
