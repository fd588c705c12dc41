package grpcauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/internal/caller"
)

// ServerOptions returns the options with which a grpc.Server authenticates all calls, unary
// calls and streams: the interceptors of [UnaryServerInterceptor] and
// [StreamServerInterceptor]. They run in front of the interceptors of later
// grpc.ChainUnaryInterceptor and grpc.ChainStreamInterceptor.
//
// The error is about the arguments.
func ServerOptions(auth AuthFunc, options ...Option) ([]grpc.ServerOption, error) {
	i, err := newInterceptor(auth, options)
	if err != nil {
		return nil, err
	}
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(i.unary), grpc.ChainStreamInterceptor(i.stream)}, nil
}

// UnaryServerInterceptor returns an interceptor that authenticates unary calls, for
// servers that order their interceptors themselves: streams need
// [StreamServerInterceptor] too. [ServerOptions] returns both.
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

// StreamServerInterceptor returns an interceptor that authenticates streams, for
// servers that order their interceptors themselves: without [UnaryServerInterceptor]
// every peer can make unary calls. [ServerOptions] returns both.
//
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
	auth    AuthFunc
	log     *slog.Logger
	callers caller.Log
	passed  map[string]string // services that need no token here, with the option that says so

	separate bool // handlers of streams run in goroutines of their own
}

func newInterceptor(auth AuthFunc, options []Option) (*interceptor, error) {
	if auth == nil {
		return nil, errors.New("grpcauth: the AuthFunc is nil: Zone needs an authenticator and a scope, Proxy an authenticator and a function")
	}
	i := &interceptor{auth: auth, log: slog.Default(), passed: make(map[string]string)}
	for _, option := range options {
		if option == nil {
			return nil, errors.New("grpcauth: an option is nil")
		}
		if err := option(i); err != nil {
			return nil, fmt.Errorf("grpcauth: %w", err)
		}
	}
	i.callers = caller.NewLog(i.log)
	return i, nil
}

func (i *interceptor) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if i.passes(info.FullMethod) {
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
	if i.passes(info.FullMethod) {
		return handler(server, stream)
	}
	ctx := stream.Context()
	identity, err := i.authenticateApart(ctx, info.FullMethod)
	if err != nil {
		return err
	}
	guarded := &guardedStream{stream: stream, call: ctx, of: i, method: info.FullMethod, identity: identity}
	defer guarded.bind()()
	return guarded.serve(func() error { return handler(server, guarded) })
}

// authenticate returns the identity, or a status error.
func (i *interceptor) authenticate(ctx context.Context, method string) (Identity, error) {
	identity, err := i.auth(withAddress(ctx), method)
	if err == nil && identity == nil {
		err = errors.New("the AuthFunc returned neither an identity nor an error")
	}
	if err != nil {
		i.logRefusal(ctx, method, err)
		return nil, Status(err).Err()
	}
	return identity, nil
}

// authenticateApart calls authenticate in another goroutine. Verifying a token takes
// several times the stack that an idle stream needs, and the goroutine of a stream would
// keep it.
func (i *interceptor) authenticateApart(ctx context.Context, method string) (identity Identity, err error) {
	done := apart(func() (err error) {
		identity, err = i.authenticate(ctx, method)
		return err
	}, func(value any, stack []byte) { i.logPanic(ctx, "AuthFunc", method, value, stack) })
	err = (<-done).here()
	return identity, err
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
