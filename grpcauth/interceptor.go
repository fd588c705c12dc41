package grpcauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/internal/limit"
)

// UnaryServerInterceptor returns an interceptor that authenticates unary calls.
//
// The context of the handler ends with the session of the identity. If the handler
// returns an error because of that, the interceptor returns the [Status] of the
// reason instead. It passes on all other results unchanged, and does not interrupt
// a handler that ignores its context.
//
// The error is about the arguments.
func UnaryServerInterceptor(auth AuthFunc, options ...Option) (grpc.UnaryServerInterceptor, error) {
	i, err := newInterceptor(auth, options)
	if err != nil {
		return nil, err
	}
	return i.unary, nil
}

// StreamServerInterceptor returns an interceptor that authenticates streams.
// When the session of the identity ends, it ends the stream at once with the
// [Status] of the reason, whatever the handler does; see the package comment.
//
// The error is about the arguments.
func StreamServerInterceptor(auth AuthFunc, options ...Option) (grpc.StreamServerInterceptor, error) {
	i, err := newInterceptor(auth, options)
	if err != nil {
		return nil, err
	}
	return i.stream, nil
}

type interceptor struct {
	auth     AuthFunc
	log      *slog.Logger
	open     map[string]bool // services
	refusals *limit.Reporter
}

func newInterceptor(auth AuthFunc, options []Option) (*interceptor, error) {
	if auth == nil {
		return nil, errors.New("grpcauth: the AuthFunc is nil: Zone needs an authenticator and a scope, Proxy an authenticator and a function")
	}
	i := &interceptor{auth: auth, log: slog.Default(), open: make(map[string]bool)}
	for _, option := range options {
		if option == nil {
			return nil, errors.New("grpcauth: an option is nil")
		}
		if err := option(i); err != nil {
			return nil, fmt.Errorf("grpcauth: %w", err)
		}
	}
	i.refusals = limit.NewReporter(i.log)
	return i, nil
}

func (i *interceptor) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if i.open[serviceOf(info.FullMethod)] {
		return handler(ctx, request)
	}
	identity, err := i.authenticate(ctx, info.FullMethod)
	if err != nil {
		return nil, err
	}
	bound, release := identity.Bind(NewContext(ctx, identity))
	defer release()
	if reason := endOfSession(bound, ctx); reason != nil {
		i.logEnd(ctx, info.FullMethod, identity, reason)
		return nil, Status(reason).Err()
	}
	reply, err := handler(bound, request)
	if reason := endOfSession(bound, ctx); reason != nil && causedBy(err, reason) {
		i.logEnd(ctx, info.FullMethod, identity, reason)
		return nil, Status(reason).Err()
	}
	return reply, err
}

// causedBy reports whether a handler failed because its context ended.
func causedBy(err, reason error) bool {
	return err != nil && (errors.Is(err, context.Canceled) || status.Code(err) == codes.Canceled || errors.Is(err, reason))
}

func (i *interceptor) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if i.open[serviceOf(info.FullMethod)] {
		return handler(server, stream)
	}
	ctx := stream.Context()
	identity, err := i.authenticate(ctx, info.FullMethod)
	if err != nil {
		return err
	}
	bound, release := identity.Bind(NewContext(ctx, identity))
	defer release()
	guarded := &guardedStream{stream: stream, ctx: bound, call: ctx}
	err, reason := guarded.run(
		func() error { return handler(server, guarded) },
		func(value any, stack []byte) { i.logPanic(ctx, info.FullMethod, value, stack) })
	if reason != nil {
		i.logEnd(ctx, info.FullMethod, identity, reason)
	}
	return err
}

// authenticate returns the identity, or a status error.
func (i *interceptor) authenticate(ctx context.Context, method string) (Identity, error) {
	identity, err := i.auth(ctx, method)
	if err == nil && identity == nil {
		err = errors.New("the AuthFunc returned neither an identity nor an error")
	}
	if err != nil {
		i.logRefusal(ctx, method, err)
		return nil, Status(err).Err()
	}
	return identity, nil
}

// endOfSession returns why a session ended. It returns nil if the session has not
// ended, or if only the call has ended, which grpc handles.
func endOfSession(session, call context.Context) error {
	if session.Err() == nil {
		return nil
	}
	reason := context.Cause(session)
	if call.Err() != nil && errors.Is(reason, context.Cause(call)) {
		return nil
	}
	return reason
}
