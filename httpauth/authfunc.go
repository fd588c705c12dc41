package httpauth

import (
	"context"
	"net/http"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/zone"
)

// Identity is an authenticated caller, such as a zone.Verified or a
// dataplane.Verified. If it implements slog.LogValuer, the middleware logs that value,
// which must not contain the token.
type Identity interface {
	// Bind returns a context that ends when the identity is no longer valid, with
	// the reason as its cause (context.Cause), or when ctx ends. It also returns a
	// function that releases the context. The middleware calls the function when the
	// request is over, or, if the handler has hijacked the connection, when the
	// connection is closed. ctx has the values of the request's context, and no end.
	Bind(ctx context.Context) (context.Context, context.CancelFunc)
}

// AuthFunc authenticates a request before the handler sees it: [Zone] and [Proxy] return
// one. It must be safe for concurrent use, should return when the context of the request
// ends, and must not read the body.
//
// [Status] maps an error to the status for the peer. The middleware assumes that a
// validator has logged errors that match token.ErrInvalid or token.ErrUnavailable. It
// logs all other errors, and those that match [ErrUnauthenticated] or
// token.ErrNotPermitted.
type AuthFunc func(r *http.Request) (Identity, error)

// Zone authenticates the components of zones that have a scope, such as
// zone.ScopeCP. The header Client-Id names the zone, as the metadata of gRPC does. The
// token in the header Authorization must permit that zone and the scope. The identity is
// the session of the authenticator: a zone.Verified, if zone.NewAuthenticator made it.
//
// If the authenticator is nil or the scope is empty, the result is nil, which
// [Middleware] rejects.
func Zone(zones zone.Authenticator, scope string) AuthFunc {
	if zones == nil || scope == "" {
		return nil
	}
	return func(r *http.Request) (Identity, error) {
		raw, err := TokenFromRequest(r)
		if err != nil {
			return nil, err
		}
		name, err := oneValue(r, clientID)
		if err != nil {
			return nil, err
		}
		session, err := zones.Authenticate(audit.WithAddress(r.Context(), r.RemoteAddr), raw)
		if err != nil {
			return nil, err
		}
		if err := session.Permits(zone.Peer{Zone: name, Scope: scope}); err != nil {
			return nil, err
		}
		return session, nil
	}
}

// Proxy authenticates data plane proxies. The token in the header Authorization must
// permit the proxy that describe returns for the request, for example from its path. An
// error of describe refuses the request with the [Status] of the error. The identity is
// the session of the authenticator: a dataplane.Verified, if dataplane.NewAuthenticator
// made it.
//
// If an argument is nil, the result is nil, which [Middleware] rejects.
func Proxy(proxies dataplane.Authenticator, describe func(r *http.Request) (dataplane.Proxy, error)) AuthFunc {
	if proxies == nil || describe == nil {
		return nil
	}
	return func(r *http.Request) (Identity, error) {
		raw, err := TokenFromRequest(r)
		if err != nil {
			return nil, err
		}
		session, err := proxies.Authenticate(audit.WithAddress(r.Context(), r.RemoteAddr), raw)
		if err != nil {
			return nil, err
		}
		proxy, err := describe(r)
		if err != nil {
			return nil, err
		}
		if err := session.Permits(proxy); err != nil {
			return nil, err
		}
		return session, nil
	}
}
