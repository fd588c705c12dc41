package xdsauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/zone"
)

// Option is an option of [ServerOptions], [StreamServerInterceptor] and
// [UnaryServerInterceptor].
type Option func(*authenticator) error

// WithResolver sets the function that turns a node into the proxy that the token
// must permit. The default is [ResolveNode], which trusts the node's description of
// itself. It cannot be combined with [WithStoredProxies].
func WithResolver(resolve Resolver) Option {
	return func(a *authenticator) error {
		if resolve == nil {
			return errors.New("WithResolver: the resolver is nil")
		}
		return a.setResolver(resolve.one)
	}
}

// WithStoredProxies is for control planes that store their proxies. If a proxy of the
// node's mesh and name is stored, the token must permit the stored proxy too, and not
// only the resource that the node sends (see [ResolveNode]). A node that sends none is
// compared by the stored proxy alone. Its type must be that of the stored proxy. A
// node without a resource whose proxy is not stored is refused.
//
// lookup returns the stored proxy, with that mesh and name, or an error that matches
// [ErrNotStored]. Any other error means that the lookup failed: the stream ends as
// Unavailable. The interceptor calls lookup for every request with a node. It must be
// safe for concurrent use and return when the context, that of the stream, ends.
//
// What is stored later does not end a stream. If your control plane lets a proxy change
// what is stored under its name, check the new description with Permits first.
func WithStoredProxies(lookup func(ctx context.Context, mesh, name string) (dataplane.Proxy, error)) Option {
	return func(a *authenticator) error {
		if lookup == nil {
			return errors.New("WithStoredProxies: the lookup is nil")
		}
		return a.setResolver(stored(lookup))
	}
}

// WithZoneProxies also lets in the zone proxies (ingress and egress) of Kuma 2, which
// have a zone token and a node id without a mesh, such as ".zi-1". Without this option,
// as in Kuma 3, they are refused. zoneName is the name of the zone that the server
// is for.
//
// A credential that says it is a zone token goes to zones, every other one to the
// authenticator of proxies, so a zone proxy without a token is refused in any case.
// The type in the node's metadata, "ingress" or "egress", says which scope the token
// must have. If the metadata has a resource, it must be a ZoneIngress or ZoneEgress of
// that name. A zone token is good for no other node, and a dataplane token for no zone
// proxy. The stream ends with the token, and grpcauth.FromContext has its zone.Verified.
func WithZoneProxies(zones zone.Authenticator, zoneName string) Option {
	return func(a *authenticator) error {
		switch {
		case zones == nil:
			return errors.New("WithZoneProxies: the authenticator is nil")
		case zoneName == "":
			return errors.New("WithZoneProxies: the name of the zone is empty")
		}
		a.zones, a.zoneName = zones, zoneName
		return nil
	}
}

// WithFirstRequestTimeout sets the time in which the first request of a stream must
// arrive and its node be resolved: 10 seconds by default. After that the stream
// ends as Unauthenticated.
func WithFirstRequestTimeout(limit time.Duration) Option {
	return func(a *authenticator) error {
		if limit <= 0 {
			return fmt.Errorf("WithFirstRequestTimeout: %s, want more than 0", limit)
		}
		a.timeout = limit
		return nil
	}
}

// WithLogger sets the logger, as grpcauth.WithLogger does.
func WithLogger(log *slog.Logger) Option {
	return func(a *authenticator) error {
		a.options = append(a.options, grpcauth.WithLogger(log))
		return nil
	}
}

// WithHandlerGoroutines runs the handler of each stream in a goroutine of its own, as
// grpcauth.WithHandlerGoroutines does. The server of go-control-plane does not need it.
func WithHandlerGoroutines() Option {
	return func(a *authenticator) error {
		a.options = append(a.options, grpcauth.WithHandlerGoroutines())
		return nil
	}
}

// WithOpenServices lets every peer call other services on the same server, as
// grpcauth.WithOpenServices does.
func WithOpenServices(names ...string) Option {
	return func(a *authenticator) error {
		a.options = append(a.options, grpcauth.WithOpenServices(names...))
		return nil
	}
}

// WithServicesGuardedElsewhere says that another interceptor of the same server
// authenticates the calls of the named services, as grpcauth.WithServicesGuardedElsewhere
// does. This interceptor does not guard them.
func WithServicesGuardedElsewhere(names ...string) Option {
	return func(a *authenticator) error {
		a.options = append(a.options, grpcauth.WithServicesGuardedElsewhere(names...))
		return nil
	}
}
