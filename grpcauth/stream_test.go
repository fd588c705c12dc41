package grpcauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestAStreamEndsWithItsSession(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(g *global, raw string)
		code   codes.Code
		reason string
	}{
		"revoked":          {func(g *global, raw string) { g.revoke(raw) }, codes.Unauthenticated, "token revoked"},
		"cut off":          {func(g *global, _ string) { g.cutOff() }, codes.Unauthenticated, "tokens with the zone"},
		"its key removed":  {func(g *global, _ string) { g.removeKey(1) }, codes.Unauthenticated, "unknown signing key"},
		"expired":          {func(*global, string) {}, codes.Unauthenticated, "token expired"},
		"validator closed": {func(g *global, _ string) { require.NoError(g.tb, g.validator.Close()) }, codes.Unavailable, "validator closed"},
		"nobody can know": {func(g *global, _ string) {
			g.store.down.Store(true)
			g.revoke(g.issue(time.Hour)) // to be read, which fails
		}, codes.Unavailable, "token could not be checked"},
		"its cutoffs unreadable": {func(g *global, _ string) {
			cutoffs := revocation.ZoneCutoffs()
			_, err := g.store.Create(context.Background(), keystore.Record{Scope: cutoffs.Scope, Name: cutoffs.Name, Data: []byte("{}")})
			require.NoError(g.tb, err)
		}, codes.Unavailable, "token could not be checked"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGlobal(t, zone.WithSessionMaxStale(0))
			handled := make(chan error, 1)
			g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
				if err := stream.Send(&testpb.StreamingOutputCallResponse{}); err != nil {
					return err
				}
				_, err := stream.Recv() // nothing comes
				handled <- err
				return nil // as if that were a normal end
			}
			g.serve(byZone(g))
			raw := g.issue(time.Hour)
			if name == "expired" {
				g.connect()
				raw = g.issue(3 * time.Second)
			}
			stream := g.open(raw)
			_, err := stream.Recv()
			require.NoError(t, err)
			c.end(g, raw)

			got := endOf(stream)
			assert.Equal(t, c.code, got.Code())
			assert.Equal(t, got.String(), status.Convert(receive(t, handled)).String(), "the handler and the peer learn the same")
			require.Eventually(t, func() bool {
				return g.log.Count("level=INFO", "session ended", c.reason, "zone=west", "jti="+idOf(t, raw), "FullDuplexCall") == 1
			}, patience, time.Millisecond)
			assert.NotContains(t, g.log.String(), raw)
		})
	}
}

func TestAStreamEndsWhateverItsHandlerDoes(t *testing.T) {
	for name, handler := range map[string]func(stream testpb.TestService_FullDuplexCallServer, release <-chan struct{}) error{
		"ignoring its context": func(_ testpb.TestService_FullDuplexCallServer, release <-chan struct{}) error {
			<-release
			return nil
		},
		"waiting for a request": func(stream testpb.TestService_FullDuplexCallServer, _ <-chan struct{}) error {
			_, err := stream.Recv()
			return err
		},
		"heeding its context": func(stream testpb.TestService_FullDuplexCallServer, _ <-chan struct{}) error {
			<-stream.Context().Done()
			return stream.Context().Err()
		},
		"heeding its context, and content with it": func(stream testpb.TestService_FullDuplexCallServer, _ <-chan struct{}) error {
			<-stream.Context().Done()
			return nil
		},
		"with a goroutine that receives, as servers of xDS have": func(stream testpb.TestService_FullDuplexCallServer, _ <-chan struct{}) error {
			over := make(chan struct{})
			go func() {
				defer close(over)
				_, _ = stream.Recv()
			}()
			<-over
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGlobal(t)
			began, release, returned := make(chan struct{}), make(chan struct{}), make(chan struct{})
			g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
				defer close(returned)
				close(began)
				return handler(stream, release)
			}
			watch := g.watch()
			g.serve(byZone(g))
			raw := g.issue(time.Hour)
			stream := g.open(raw)
			receive(t, began)
			g.revoke(raw)
			assert.Equal(t, "rpc error: code = Unauthenticated desc = the credentials were not accepted", endOf(stream).Err().Error())
			close(release)
			receive(t, returned)
			watch.assertUntouched(t)
		})
	}
}

func TestAStreamToAClientThatDoesNotReadEnds(t *testing.T) {
	g := newGlobal(t)
	var sent atomic.Int64
	handled := make(chan error, 1)
	payload := &testpb.StreamingOutputCallResponse{Payload: &testpb.Payload{Body: make([]byte, 16<<10)}}
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		for {
			if err := stream.Send(payload); err != nil {
				handled <- err
				return err
			}
			sent.Add(1)
		}
	}
	over := make(chan struct{})
	g.around = append(g.around, func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		defer close(over)
		return next(server, stream)
	})
	g.serve(byZone(g))
	raw := g.issue(time.Hour)
	stream := g.open(raw)
	stalled := int64(-1) // flow control has stopped it when it sends no more
	require.Eventually(t, func() bool {
		now := sent.Load()
		was := stalled
		stalled = now
		return now > 0 && now == was
	}, patience, 200*time.Millisecond)

	g.revoke(raw)
	receive(t, over)
	assert.Equal(t, codes.Unauthenticated, status.Code(receive(t, handled)), "the blocked Send")
	assert.Equal(t, codes.Unauthenticated, endOf(stream).Code(), "when the client reads at last")
}

func TestAfterTheEndAStreamSaysSoAndGRPCIsLeftAlone(t *testing.T) {
	g := newGlobal(t)
	began, over, handled := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var results []error
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		defer close(handled)
		close(began)
		<-over // until grpc has its stream back
		results = append(results,
			stream.SetHeader(metadata.Pairs("a", "b")),
			stream.SendHeader(metadata.Pairs("a", "b")),
			stream.Send(&testpb.StreamingOutputCallResponse{}),
			stream.RecvMsg(&testpb.StreamingOutputCallRequest{}))
		stream.SetTrailer(metadata.Pairs("a", "b"))
		results = append(results, context.Cause(stream.Context()))
		return nil
	}
	watch := g.watch()
	g.serve(byZone(g))
	raw := g.issue(time.Hour)
	stream := g.open(raw)
	receive(t, began)
	g.revoke(raw)
	require.Equal(t, codes.Unauthenticated, endOf(stream).Code())
	assert.Empty(t, stream.Trailer().Get("a"))
	close(over)
	receive(t, handled)
	for _, err := range results[:4] {
		assert.Equal(t, codes.Unauthenticated, status.Code(err))
	}
	assert.ErrorIs(t, results[4], token.ErrRevoked)
	watch.assertUntouched(t)
}

func TestMethodsOfAStreamRaceWithItsEndUnharmed(t *testing.T) {
	g := newGlobal(t)
	g.options = append(g.options, grpc.StatsHandler(&attempts{second: func() {}})) // one more that looks on
	var handlers sync.WaitGroup
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		handlers.Add(1)
		defer handlers.Done()
		var callers sync.WaitGroup
		for _, call := range []func() error{
			func() error { return stream.Send(&testpb.StreamingOutputCallResponse{}) },
			func() error { _, err := stream.Recv(); return err },
			func() error { stream.SetTrailer(metadata.Pairs("a", "b")); return stream.Context().Err() },
			func() error { _ = stream.SetHeader(metadata.Pairs("a", "b")); return stream.Context().Err() },
			func() error { _ = stream.SendHeader(nil); return stream.Context().Err() },
		} {
			callers.Go(func() {
				for call() == nil {
					runtime.Gosched()
				}
			})
		}
		callers.Wait()
		return nil
	}
	g.serve(byZone(g))
	var tokens []string
	var streams []testpb.TestService_FullDuplexCallClient
	for range 20 {
		raw := g.issue(time.Hour)
		stream := g.open(raw)
		_, err := stream.Recv()
		require.NoError(t, err)
		tokens, streams = append(tokens, raw), append(streams, stream)
	}
	for i, raw := range tokens {
		g.revoke(raw)
		assert.Equal(t, codes.Unauthenticated, endOf(streams[i]).Code())
	}
	handlers.Wait()
}

func TestAHandlersResultIsPassedOnUnchanged(t *testing.T) {
	detailed, err := status.New(codes.FailedPrecondition, "not now").WithDetails(&testpb.Payload{Body: []byte("why")})
	require.NoError(t, err)
	for name, c := range map[string]struct{ result, seen error }{
		"nothing":               {nil, nil},
		"a status with details": {detailed.Err(), detailed.Err()},
		"another error":         {io.ErrClosedPipe, io.ErrClosedPipe},
		"a wrapped status":      {fmt.Errorf("around it: %w", detailed.Err()), detailed.Err()},
		"its own cancellation":  {context.Canceled, context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGlobal(t)
			result := make(chan error, 1)
			g.around = append(g.around, func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
				err := next(server, stream)
				result <- err
				return err
			})
			g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
				stream.SetTrailer(metadata.Pairs("last", "words"))
				return c.result
			}
			g.serve(byZone(g))
			stream := g.open(g.issue(time.Hour))
			_, err := stream.Recv()
			require.Error(t, err)
			assert.Equal(t, []string{"words"}, stream.Trailer().Get("last"))
			assert.Equal(t, c.result, receive(t, result))
			assert.ErrorIs(t, c.result, c.seen)
			assert.Zero(t, g.log.Count("session ended"))
		})
	}
}

func TestAClientThatLeavesIsNoEndOfASession(t *testing.T) {
	g := newGlobal(t)
	handled := make(chan error, 1)
	began := make(chan struct{})
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		close(began)
		_, err := stream.Recv()
		<-stream.Context().Done() // a moment after that of grpc, whose error Recv returns
		handled <- errors.Join(err, context.Cause(stream.Context()))
		return err
	}
	over := make(chan error, 1)
	g.around = append(g.around, func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		err := next(server, stream)
		over <- err
		return err
	})
	g.serve(byZone(g))
	ctx, leave := context.WithCancel(asWest(t, g.issue(time.Hour)))
	_, err := g.client().FullDuplexCall(ctx)
	require.NoError(t, err)
	receive(t, began)
	leave()
	err = receive(t, handled)
	assert.Equal(t, codes.Canceled, status.Code(err), "what grpc says")
	assert.ErrorIs(t, err, context.Canceled)
	assert.Equal(t, codes.Canceled, status.Code(receive(t, over)))
	assert.Zero(t, g.log.Count("session ended"))
	assert.Equal(t, 0, g.validator.Usage()[0].Sessions, "the session is released")
}

func TestAHandlersPanicReachesTheInterceptorsAround(t *testing.T) {
	g := newGlobal(t)
	g.around = append(g.around, func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) (err error) {
		defer func() {
			if value := recover(); value != nil {
				err = status.Errorf(codes.DataLoss, "recovered %v", value)
			}
		}()
		return next(server, stream)
	})
	type complaint string
	g.service.stream = func(testpb.TestService_FullDuplexCallServer) error { panic(complaint("out of order")) }
	g.serve(byZone(g))
	got := endOf(g.open(g.issue(time.Hour)))
	assert.Equal(t, codes.DataLoss, got.Code())
	assert.Equal(t, "recovered out of order", got.Message())
	assert.Equal(t, 1, g.log.Count("handler panicked", "out of order", "stream_test.go"), "with the stack that it came from")
}

func TestAPanicAfterTheEndIsOnlyLogged(t *testing.T) {
	g := newGlobal(t)
	began, over := make(chan struct{}), make(chan struct{})
	g.service.stream = func(testpb.TestService_FullDuplexCallServer) error {
		close(began)
		<-over
		panic("too late")
	}
	g.serve(byZone(g))
	raw := g.issue(time.Hour)
	stream := g.open(raw)
	receive(t, began)
	g.revoke(raw)
	require.Equal(t, codes.Unauthenticated, endOf(stream).Code())
	close(over)
	require.Eventually(t, func() bool { return g.log.Count("handler panicked", "too late") == 1 }, patience, time.Millisecond)
}

func TestAHandlerThatExitsItsGoroutineExitsThatOfTheInterceptors(t *testing.T) {
	g := newGlobal(t)
	exited := make(chan struct{})
	g.around = append(g.around, func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		defer close(exited)
		return next(server, stream)
	})
	g.service.stream = func(testpb.TestService_FullDuplexCallServer) error {
		runtime.Goexit()
		return nil
	}
	g.serve(byZone(g))
	g.open(g.issue(time.Hour))
	receive(t, exited)
}

func TestStreamsThatEndedLeaveNothingBehind(t *testing.T) {
	g := newGlobal(t)
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		if err := stream.Send(&testpb.StreamingOutputCallResponse{}); err != nil {
			return err
		}
		_, err := stream.Recv()
		return err
	}
	g.serve(byZone(g))
	open := func(raw string) (testpb.TestService_FullDuplexCallClient, context.CancelFunc) {
		ctx, leave := context.WithCancel(asWest(t, raw))
		stream, err := g.client().FullDuplexCall(ctx)
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
		return stream, leave
	}
	kept := g.issue(time.Hour)
	_, leave := open(kept)
	leave()
	require.Eventually(t, func() bool { return g.validator.Usage()[0].Sessions == 0 }, patience, time.Millisecond)
	before := runtime.NumGoroutine()

	for i := range 1000 {
		switch {
		case i%10 == 0: // the session ends
			raw := g.issue(time.Hour)
			stream, leave := open(raw)
			defer leave()
			g.revoke(raw)
			require.Equal(t, codes.Unauthenticated, endOf(stream).Code())
		case i%2 == 0: // the client is done
			stream, leave := open(kept)
			defer leave()
			require.NoError(t, stream.CloseSend())
			endOf(stream)
		default: // the client leaves
			_, leave := open(kept)
			leave()
		}
	}
	require.Eventually(t, func() bool { return g.validator.Usage()[0].Sessions == 0 }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+5 }, patience, 10*time.Millisecond)
}

// watch puts in a look-out between grpc and the authentication. Call it before serve.
func (g *global) watch() *lookOut {
	w := &lookOut{}
	g.around = append(g.around, func(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
		defer w.over.Store(true)
		return next(server, &watchedStream{stream, w})
	})
	return w
}

// lookOut notes whether grpc's stream is used after it was given back.
type lookOut struct {
	over    atomic.Bool
	touched atomic.Int32
}

func (w *lookOut) assertUntouched(t *testing.T) {
	t.Helper()
	assert.Zero(t, w.touched.Load(), "uses of grpc's stream after the interceptor returned")
}

func (w *lookOut) note() {
	if w.over.Load() {
		w.touched.Add(1)
	}
}

type watchedStream struct {
	grpc.ServerStream
	watch *lookOut
}

func (s *watchedStream) Context() context.Context { s.watch.note(); return s.ServerStream.Context() }
func (s *watchedStream) SetHeader(md metadata.MD) error {
	s.watch.note()
	return s.ServerStream.SetHeader(md)
}
func (s *watchedStream) SendHeader(md metadata.MD) error {
	s.watch.note()
	return s.ServerStream.SendHeader(md)
}
func (s *watchedStream) SetTrailer(md metadata.MD) { s.watch.note(); s.ServerStream.SetTrailer(md) }
func (s *watchedStream) SendMsg(m any) error       { s.watch.note(); return s.ServerStream.SendMsg(m) }
func (s *watchedStream) RecvMsg(m any) error       { s.watch.note(); return s.ServerStream.RecvMsg(m) }

func TestAnotherTokenThatAHandlerBindsEndsNoStream(t *testing.T) {
	g := newGlobal(t)
	another := g.issue(time.Hour)
	bound := make(chan struct{})
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		verified, err := g.validator.Validate(stream.Context(), west, zone.ScopeCP, another)
		if err != nil {
			return err
		}
		session, release := verified.Bind(stream.Context())
		defer release()
		close(bound)
		<-session.Done()
		return errors.Join(stream.Context().Err(), stream.Send(&testpb.StreamingOutputCallResponse{}))
	}
	g.serve(byZone(g))
	stream := g.open(g.issue(time.Hour))
	receive(t, bound)
	g.revoke(another)
	_, err := stream.Recv()
	require.NoError(t, err)
	_, err = stream.Recv()
	assert.Equal(t, io.EOF, err)
}

// boundTo is an identity whose Bind is a function.
type boundTo func(context.Context) (context.Context, context.CancelFunc)

func (b boundTo) Bind(ctx context.Context) (context.Context, context.CancelFunc) { return b(ctx) }

func TestAnIdentityOfAnotherModuleMayBindAsItLikes(t *testing.T) {
	type key struct{}
	g := newGlobal(t)
	raw := g.issue(time.Hour)
	verified, err := g.validator.Validate(t.Context(), west, zone.ScopeCP, raw)
	require.NoError(t, err)
	other, err := g.validator.Validate(t.Context(), west, zone.ScopeCP, g.issue(time.Hour))
	require.NoError(t, err)
	for name, c := range map[string]struct {
		bind boundTo
		ends bool
	}{
		"to the context itself, for ever": {func(ctx context.Context) (context.Context, context.CancelFunc) { return ctx, func() {} }, false},
		"to a context of its own": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			return ctx, cancel
		}, false},
		"to a session with a value": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, release := verified.Bind(ctx)
			return context.WithValue(ctx, key{}, "value"), release
		}, true},
		"to a context with a value": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			return verified.Bind(context.WithValue(ctx, key{}, "value"))
		}, true},
		"to two sessions, the first of which ends": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			first, release := verified.Bind(ctx)
			both, releaseBoth := other.Bind(first)
			return both, func() { releaseBoth(); release() }
		}, true},
		"to two sessions, the second of which ends": {func(ctx context.Context) (context.Context, context.CancelFunc) {
			first, release := other.Bind(ctx)
			both, releaseBoth := verified.Bind(first)
			return both, func() { releaseBoth(); release() }
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			began, handled := make(chan context.Context, 1), make(chan error, 1)
			g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
				began <- stream.Context()
				_, err := stream.Recv()
				handled <- err
				return err
			}
			if c.ends { // again, for each
				raw = g.issue(time.Hour)
				verified, err = g.validator.Validate(t.Context(), west, zone.ScopeCP, raw)
				require.NoError(t, err)
			}
			g.serve(func(context.Context, string) (grpcauth.Identity, error) { return c.bind, nil })
			stream := g.open("")
			ctx := receive(t, began)
			if c.ends {
				g.revoke(raw)
				assert.Equal(t, codes.Unauthenticated, endOf(stream).Code())
				assert.ErrorIs(t, context.Cause(ctx), token.ErrRevoked)
				assert.Equal(t, codes.Unauthenticated, status.Code(receive(t, handled)))
				return
			}
			assert.NoError(t, ctx.Err())
			require.NoError(t, stream.CloseSend())
			assert.ErrorIs(t, receive(t, handled), io.EOF)
		})
	}
}
