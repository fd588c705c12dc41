package grpcauth

import (
	"context"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/zone"
)

// Identity is an authenticated caller, such as a zone.Verified or a
// dataplane.Verified. If it implements slog.LogValuer, the interceptors log
// that value, which must not contain the token.
type Identity interface {
	// Bind returns a context that ends when the identity is no longer valid, with
	// the reason as its cause (context.Cause), or when ctx ends. It also returns a
	// function that releases the context. The interceptor calls the function once,
	// when the call is over.
	Bind(ctx context.Context) (context.Context, context.CancelFunc)
}

// AuthFunc authenticates a call at its start: [Zone] and [Proxy] return one. The
// context is that of the call, with the incoming metadata and the peer. The method is
// the full name, such as "/grpc.health.v1.Health/Check". An AuthFunc must be safe for
// concurrent use, and should return when the context ends.
//
// [Status] maps an error to the status for the peer. The interceptor assumes that a
// validator has logged errors that match token.ErrInvalid or token.ErrUnavailable. It
// logs all other errors, and those that match [ErrUnauthenticated] or
// token.ErrNotPermitted.
type AuthFunc func(ctx context.Context, method string) (Identity, error)

// Zone authenticates the components of zones that have a scope, such as
// zone.ScopeCP. The metadata "client-id" names the zone. The token in the metadata
// "authorization" must permit that zone and the scope. The identity is the session of
// the authenticator: a zone.Verified, if zone.NewAuthenticator made it.
//
// If the authenticator is nil or the scope is empty, the result is nil, which the
// interceptors reject.
func Zone(zones zone.Authenticator, scope string) AuthFunc {
	if zones == nil || scope == "" {
		return nil
	}
	return func(ctx context.Context, _ string) (Identity, error) {
		raw, err := TokenFromMetadata(ctx)
		if err != nil {
			return nil, err
		}
		name, err := oneValue(ctx, clientIDKey)
		if err != nil {
			return nil, err
		}
		session, err := zones.Authenticate(ctx, raw)
		if err != nil {
			return nil, err
		}
		if err := session.Permits(zone.Peer{Zone: name, Scope: scope}); err != nil {
			return nil, err
		}
		return session, nil
	}
}

// Proxy authenticates data plane proxies at services other than xDS; for xDS, package
// xdsauth has its own interceptors. The token is in the metadata "authorization". It
// must permit the proxy that describe returns for the call, for example from other
// metadata. describe gets the context of the call and its full method name. An error
// of describe refuses the call with the [Status] of the error. The identity is the
// session of the authenticator: a dataplane.Verified, if dataplane.NewAuthenticator
// made it.
//
// If an argument is nil, the result is nil, which the interceptors reject.
func Proxy(proxies dataplane.Authenticator, describe func(ctx context.Context, method string) (dataplane.Proxy, error)) AuthFunc {
	if proxies == nil || describe == nil {
		return nil
	}
	return func(ctx context.Context, method string) (Identity, error) {
		raw, err := TokenFromMetadata(ctx)
		if err != nil {
			return nil, err
		}
		session, err := proxies.Authenticate(ctx, raw)
		if err != nil {
			return nil, err
		}
		proxy, err := describe(ctx, method)
		if err != nil {
			return nil, err
		}
		if err := session.Permits(proxy); err != nil {
			return nil, err
		}
		return session, nil
	}
}
