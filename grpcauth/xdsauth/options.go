package xdsauth

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
)

// Option is an option of [StreamServerInterceptor].
type Option func(*authenticator) error

// WithResolver sets how a node becomes the proxy that the token must permit. The
// default is [ResolveNode], which believes what the node says of itself.
func WithResolver(resolve Resolver) Option {
	return func(a *authenticator) error {
		if resolve == nil {
			return errors.New("WithResolver: the resolver is nil")
		}
		a.resolve = resolve
		return nil
	}
}

// WithStrictTags asks of each inbound by itself that it has the token's tags, with
// dataplane.Verified.PermitsStrictly. The default is Permits.
func WithStrictTags() Option {
	return func(a *authenticator) error {
		a.permits = dataplane.Verified.PermitsStrictly
		return nil
	}
}

// WithFirstRequestTimeout sets for how long a stream waits for its first request, and for that to be
// resolved: 10 seconds by default. Then it ends as Unauthenticated.
func WithFirstRequestTimeout(limit time.Duration) Option {
	return func(a *authenticator) error {
		if limit <= 0 {
			return fmt.Errorf("WithFirstRequestTimeout: %s, want more than 0", limit)
		}
		a.timeout = limit
		return nil
	}
}

// WithLogger is grpcauth.WithLogger.
func WithLogger(log *slog.Logger) Option {
	return func(a *authenticator) error {
		a.options = append(a.options, grpcauth.WithLogger(log))
		return nil
	}
}

// WithOpenServices is grpcauth.WithOpenServices, for other services on the same server.
func WithOpenServices(names ...string) Option {
	return func(a *authenticator) error {
		a.options = append(a.options, grpcauth.WithOpenServices(names...))
		return nil
	}
}
