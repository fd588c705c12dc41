package xdsauth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/token"
)

const defaultTimeout = 10 * time.Second

// StreamServerInterceptor returns an interceptor that authenticates an xDS
// stream by the token in its metadata, passes on requests only if the token
// permits their node, and ends the stream with the token's session, as
// grpcauth.StreamServerInterceptor does. The codes are those of
// grpcauth.Status:
//
//   - Unauthenticated: the token is missing, not valid or no longer valid, or
//     no request came in time;
//   - PermissionDenied: the token does not permit the node; the node has no id,
//     changed its id, or contradicts itself; or the handler receives a message
//     other than DiscoveryRequest or DeltaDiscoveryRequest, so that the service
//     is not xDS;
//   - Unavailable: the token could not be checked, or the resolver failed.
//
// The error is about the arguments.
func StreamServerInterceptor(validator dataplane.Validator, options ...Option) (grpc.StreamServerInterceptor, error) {
	a, err := newAuthenticator(validator, options)
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
// calls, such as FetchClusters, as StreamServerInterceptor does the first
// request of a stream. Services that are not aggregated need both interceptors:
// gRPC runs the other one for streams only.
//
// The error is about the arguments.
func UnaryServerInterceptor(validator dataplane.Validator, options ...Option) (grpc.UnaryServerInterceptor, error) {
	a, err := newAuthenticator(validator, options)
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
			call := &stream{session: session, ctx: grpcauth.NewContext(ctx, session.Verified)}
			if err := call.checkUnary(m); err != nil {
				session.end(err)
				return nil, err // for which grpcauth returns the status, and which it logs
			}
			return handler(call.ctx, m)
		})
	}, nil
}

func newAuthenticator(validator dataplane.Validator, options []Option) (*authenticator, error) {
	if validator == nil {
		return nil, errors.New("xdsauth: the validator is nil")
	}
	a := &authenticator{
		validator: validator,
		resolve:   ResolveNode,
		permits:   dataplane.Verified.Permits,
		timeout:   defaultTimeout,
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

// authenticator authenticates streams by their tokens, and creates the sessions
// that check their requests.
type authenticator struct {
	validator dataplane.Validator
	resolve   Resolver
	permits   func(dataplane.Verified, dataplane.Proxy) error
	timeout   time.Duration
	options   []grpcauth.Option
}

// authenticate validates the token for the mesh that it names, so that a peer
// without a valid token can neither keep a stream open nor cause work for the
// resolver. Permits later checks that the node is in that mesh.
func (a *authenticator) authenticate(ctx context.Context, _ string) (grpcauth.Identity, error) {
	raw, err := grpcauth.TokenFromMetadata(ctx)
	if err != nil {
		return nil, err
	}
	mesh, err := claimedMesh(raw)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", grpcauth.ErrUnauthenticated, err)
	}
	verified, err := a.validator.Validate(ctx, mesh, raw)
	if err != nil {
		return nil, err
	}
	return &session{Verified: verified, of: a}, nil
}

// claimedMesh returns the mesh that an unverified token names.
func claimedMesh(raw string) (string, error) {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return "", err
	}
	claims, err := unverified.Claims()
	if err != nil {
		return "", err
	}
	if claims.Dataplane.Mesh == "" {
		return "", fmt.Errorf("%w: it names no mesh", token.ErrKind)
	}
	return claims.Dataplane.Mesh, nil
}
