package grpcauth

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
)

// Option is an option of the interceptors.
type Option func(*interceptor) error

// WithLogger sets where to log; slog.Default() is the default. Refused calls are logged at a
// limited rate, unless the validator has logged them; so is the end of each stream whose
// session ended before it did.
func WithLogger(log *slog.Logger) Option {
	return func(i *interceptor) error {
		if log == nil {
			return errors.New("WithLogger: the logger is nil; slog.New(slog.DiscardHandler) logs nothing")
		}
		i.log = log
		return nil
	}
}

// WithOpenServices lets everybody call the services of these names without a token, such
// as "grpc.health.v1.Health" and "grpc.reflection.v1.ServerReflection". A name is the whole
// name of one service. Handlers of open services find no identity in the context.
func WithOpenServices(names ...string) Option {
	return func(i *interceptor) error {
		for _, name := range names {
			if name == "" || strings.Contains(name, "/") {
				return fmt.Errorf("WithOpenServices: %q is no service, want a name such as grpc.health.v1.Health", name)
			}
			i.open[name] = true
		}
		return nil
	}
}

// serviceOf returns the service of a full method name, found as grpc.Server finds it.
func serviceOf(method string) string {
	method = strings.TrimPrefix(method, "/")
	return method[:max(strings.LastIndex(method, "/"), 0)]
}
