package xdsauth

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
)

// Option is an option of [StreamServerInterceptor] and [UnaryServerInterceptor].
type Option func(*authenticator) error

// WithResolver sets the function that turns a node into the proxy that the token
// must permit. The default is [ResolveNode], which trusts the node's description of
// itself.
func WithResolver(resolve Resolver) Option {
	return func(a *authenticator) error {
		if resolve == nil {
			return errors.New("WithResolver: the resolver is nil")
		}
		a.resolve = resolve
		return nil
	}
}

// WithStrictTags requires every inbound to carry the tags of a dataplane token: it
// uses dataplane.Verified.PermitsStrictly instead of Permits. For credentials that
// are not dataplane tokens, the interceptors still use Permits.
func WithStrictTags() Option {
	return func(a *authenticator) error {
		a.permits = func(s dataplane.Session, proxy dataplane.Proxy) error {
			if verified, ok := s.(dataplane.Verified); ok {
				return verified.PermitsStrictly(proxy)
			}
			return s.Permits(proxy)
		}
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

// WithOpenServices lets every peer call other services on the same server, as
// grpcauth.WithOpenServices does.
func WithOpenServices(names ...string) Option {
	return func(a *authenticator) error {
		a.options = append(a.options, grpcauth.WithOpenServices(names...))
		return nil
	}
}
