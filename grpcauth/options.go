package grpcauth

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Option is an option of the interceptors.
type Option func(*interceptor) error

// WithLogger sets the logger; the default is slog.Default(). The interceptors
// log "call refused" for a rejected call, unless the validator has logged it,
// and "session ended" for a session that ended before its call. Both are at Info,
// or at Warn for an error that [Status] does not know. They are limited to a burst
// of 10 and then one a second, except for sessions that the validator ended.
// "handler panicked" and "AuthFunc panicked", for streams only, are at Error.
func WithLogger(log *slog.Logger) Option {
	return func(i *interceptor) error {
		if log == nil {
			return errors.New("WithLogger: the logger is nil; slog.New(slog.DiscardHandler) logs nothing")
		}
		i.log = log
		return nil
	}
}

// WithHandlerGoroutines runs the handler of each stream in a goroutine of its own. The
// stream interceptor then returns at the end of the session even if the handler does not:
// the interceptors around it see the status at once and can change it, and a handler that
// ignores the end counts neither for grpc.MaxConcurrentStreams nor for
// Server.GracefulStop. Each stream takes more memory for that. The peer learns of the end
// at once with and without this option.
//
// The interceptor does so in any case if it cannot end a call of the server's transport
// otherwise, as with a transport that is not of grpc-go.
func WithHandlerGoroutines() Option {
	return func(i *interceptor) error {
		i.separate = true
		return nil
	}
}

// WithOpenServices lets every peer call the named services without a token. A
// name is the full name of one service, such as "grpc.health.v1.Health" or
// "grpc.reflection.v1.ServerReflection". Handlers of open services find no
// identity in the context.
func WithOpenServices(names ...string) Option {
	return pass("WithOpenServices", names)
}

// WithServicesGuardedElsewhere says that another interceptor of the same server
// authenticates the calls of the named services, such as that of package xdsauth for
// "envoy.service.discovery.v3.AggregatedDiscoveryService". This interceptor does not
// guard them and cannot tell whether the other one exists: if it is missing, every peer
// can call them. Names are as for [WithOpenServices], and no service may be in both.
func WithServicesGuardedElsewhere(names ...string) Option {
	return pass("WithServicesGuardedElsewhere", names)
}

// pass returns an option, with its name for errors, that passes on the calls of services.
func pass(option string, names []string) Option {
	return func(i *interceptor) error {
		for _, name := range names {
			if name == "" || strings.Contains(name, "/") {
				return fmt.Errorf("%s: %q is not a service, want a name such as grpc.health.v1.Health", option, name)
			}
			if other, taken := i.passed[name]; taken && other != option {
				return fmt.Errorf("%s: %s is also in %s, want it in one of them", option, name, other)
			}
			i.passed[name] = option
		}
		return nil
	}
}

// passes reports whether the calls of a method need no token here.
func (i *interceptor) passes(method string) bool {
	_, passed := i.passed[serviceOf(method)]
	return passed
}

// serviceOf returns the service in a full method name, parsed as grpc.Server does.
func serviceOf(method string) string {
	method = strings.TrimPrefix(method, "/")
	return method[:max(strings.LastIndex(method, "/"), 0)]
}
