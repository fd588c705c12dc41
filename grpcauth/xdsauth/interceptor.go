package xdsauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/zone"
)

const defaultTimeout = 10 * time.Second

// ServerOptions returns the options with which a grpc.Server authenticates all xDS calls,
// streams and the unary calls of services that are not aggregated: the interceptors of
// [StreamServerInterceptor] and [UnaryServerInterceptor]. They run in front of the
// interceptors of later grpc.ChainUnaryInterceptor and grpc.ChainStreamInterceptor.
//
// Calls of other services of the server are refused, unless [WithOpenServices] or
// [WithServicesGuardedElsewhere] names them.
//
// The error is about the arguments.
func ServerOptions(proxies dataplane.Authenticator, options ...Option) ([]grpc.ServerOption, error) {
	a, err := newAuthenticator(proxies, options)
	if err != nil {
		return nil, err
	}
	unary, err := a.unary()
	if err != nil {
		return nil, err
	}
	stream, err := a.stream()
	if err != nil {
		return nil, err
	}
	return []grpc.ServerOption{grpc.ChainUnaryInterceptor(unary), grpc.ChainStreamInterceptor(stream)}, nil
}

// StreamServerInterceptor returns an interceptor for servers that order their interceptors
// themselves; [ServerOptions] returns both. It authenticates an xDS
// stream by the token in its metadata, or as the authenticator does it. It passes
// on requests only if the token permits their node, and ends the stream with the
// token's session, as grpcauth.StreamServerInterceptor does. The codes are those of
// grpcauth.Status:
//
//   - Unauthenticated: the token is missing, not valid or no longer valid, or no
//     request came in time. Malformed metadata "authorization" is refused even if
//     the authenticator needs no token;
//   - PermissionDenied: the token does not permit the node, by the
//     dataplane.Boundary of its validator; the node has no id,
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
	return a.stream()
}

func (a *authenticator) stream() (grpc.StreamServerInterceptor, error) {
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

// UnaryServerInterceptor returns an interceptor for servers that order their interceptors
// themselves; [ServerOptions] returns both. It authenticates unary xDS calls, such as
// FetchClusters, as StreamServerInterceptor does with the first request of a stream.
//
// The error is about the arguments.
func UnaryServerInterceptor(proxies dataplane.Authenticator, options ...Option) (grpc.UnaryServerInterceptor, error) {
	a, err := newAuthenticator(proxies, options)
	if err != nil {
		return nil, err
	}
	return a.unary()
}

func (a *authenticator) unary() (grpc.UnaryServerInterceptor, error) {
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
			call := &stream{session: session, ctx: grpcauth.NewContext(ctx, session.Identity)}
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
	if a.resolve == nil {
		a.resolve = Resolver(ResolveNode).one
	}
	return a, nil
}

// authenticator authenticates streams by their credentials, and creates the
// sessions that check their requests.
type authenticator struct {
	proxies dataplane.Authenticator
	resolve func(context.Context, *corev3.Node) ([]dataplane.Proxy, error) // the token must permit each, at least one

	zones    zone.Authenticator // nil: zone proxies are refused
	zoneName string

	timeout time.Duration
	options []grpcauth.Option
}

func (a *authenticator) setResolver(resolve func(context.Context, *corev3.Node) ([]dataplane.Proxy, error)) error {
	if a.resolve != nil {
		return errors.New("WithResolver and WithStoredProxies: only one of them, and only once")
	}
	a.resolve = resolve
	return nil
}

// one resolves a node to the one proxy that the token must permit.
func (r Resolver) one(ctx context.Context, node *corev3.Node) ([]dataplane.Proxy, error) {
	proxy, err := r(ctx, node)
	if err != nil {
		return nil, err
	}
	return []dataplane.Proxy{proxy}, nil
}

// authenticate authenticates a stream before its first request, so that a peer
// without a valid token can neither keep a stream open nor cause work for the
// resolver. Permits later checks the node.
func (a *authenticator) authenticate(ctx context.Context, _ string) (grpcauth.Identity, error) {
	raw, missing := grpcauth.TokenFromMetadata(ctx)
	if missing != nil && len(metadata.ValueFromIncomingContext(ctx, "authorization")) > 0 {
		return nil, missing
	}
	var authenticated grpcauth.Identity
	var err error
	if a.zones != nil && isZoneToken(raw) {
		authenticated, err = a.zones.Authenticate(ctx, raw)
	} else {
		authenticated, err = a.proxies.Authenticate(ctx, raw)
	}
	switch {
	case err != nil && missing != nil:
		return nil, missing // the reason is the missing token
	case err != nil:
		return nil, err
	}
	return &session{Identity: authenticated, of: a}, nil
}
