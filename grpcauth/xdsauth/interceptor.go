package xdsauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
)

const defaultTimeout = 10 * time.Second

// StreamServerInterceptor returns an interceptor that authenticates an xDS
// stream by the token in its metadata, or as the authenticator does it. It passes
// on requests only if the token permits their node, and ends the stream with the
// token's session, as grpcauth.StreamServerInterceptor does. The codes are those of
// grpcauth.Status:
//
//   - Unauthenticated: the token is missing, not valid or no longer valid, or no
//     request came in time. Malformed metadata "authorization" is refused even if
//     the authenticator needs no token;
//   - PermissionDenied: the token does not permit the node; the node has no id,
//     changed its id, or contradicts itself; or the handler receives a message
//     other than DiscoveryRequest or DeltaDiscoveryRequest: the service is not xDS;
//   - Unavailable: the token could not be checked, or the resolver failed.
//
// The error is about the arguments.
func StreamServerInterceptor(proxies dataplane.Authenticator, options ...Option) (grpc.StreamServerInterceptor, error) {
	a, err := newAuthenticator(proxies, options)
	if err != nil {
		return nil, err
	}
	intercept, err := grpcauth.StreamServerInterceptor(a.authenticate, a.options...)
	if err != nil {
		return nil, err
	}
	return func(server any, s grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		return intercept(server, s, info, func(server any, s grpc.ServerStream) error {
			if session, ok := grpcauth.FromContext[*session](s.Context()); ok {
				s = newStream(s, session)
			} // otherwise the service is open
			return handler(server, s)
		})
	}, nil
}

// UnaryServerInterceptor returns an interceptor that authenticates unary xDS
// calls, such as FetchClusters, as StreamServerInterceptor does with the first
// request of a stream. Services that are not aggregated need both interceptors:
// gRPC runs stream interceptors for streams only.
//
// The error is about the arguments.
func UnaryServerInterceptor(proxies dataplane.Authenticator, options ...Option) (grpc.UnaryServerInterceptor, error) {
	a, err := newAuthenticator(proxies, options)
	if err != nil {
		return nil, err
	}
	intercept, err := grpcauth.UnaryServerInterceptor(a.authenticate, a.options...)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, m any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		return intercept(ctx, m, info, func(ctx context.Context, m any) (any, error) {
			session, ok := grpcauth.FromContext[*session](ctx)
			if !ok { // the service is open
				return handler(ctx, m)
			}
			call := &stream{session: session, ctx: grpcauth.NewContext(ctx, session.Session)}
			if err := call.checkUnary(m); err != nil {
				session.end(err)
				return nil, err // grpcauth logs it and returns the status
			}
			return handler(call.ctx, m)
		})
	}, nil
}

func newAuthenticator(proxies dataplane.Authenticator, options []Option) (*authenticator, error) {
	if proxies == nil {
		return nil, errors.New("xdsauth: the authenticator is nil")
	}
	a := &authenticator{
		proxies: proxies,
		resolve: ResolveNode,
		permits: dataplane.Session.Permits,
		timeout: defaultTimeout,
	}
	for _, option := range options {
		if option == nil {
			return nil, errors.New("xdsauth: an option is nil")
		}
		if err := option(a); err != nil {
			return nil, fmt.Errorf("xdsauth: %w", err)
		}
	}
	return a, nil
}

// authenticator authenticates streams by their credentials, and creates the
// sessions that check their requests.
type authenticator struct {
	proxies dataplane.Authenticator
	resolve Resolver
	permits func(dataplane.Session, dataplane.Proxy) error
	timeout time.Duration
	options []grpcauth.Option
}

// authenticate authenticates a stream before its first request, so that a peer
// without a valid token can neither keep a stream open nor cause work for the
// resolver. Permits later checks the node.
func (a *authenticator) authenticate(ctx context.Context, _ string) (grpcauth.Identity, error) {
	raw, missing := grpcauth.TokenFromMetadata(ctx)
	if missing != nil && len(metadata.ValueFromIncomingContext(ctx, "authorization")) > 0 {
		return nil, missing
	}
	authenticated, err := a.proxies.Authenticate(ctx, raw)
	switch {
	case err != nil && missing != nil:
		return nil, missing // the reason is the missing token
	case err != nil:
		return nil, err
	}
	return &session{Session: authenticated, of: a}, nil
}
