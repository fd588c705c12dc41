package grpcauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"google.golang.org/grpc/peer"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// logRefusal logs a rejected call. The rate is limited, since any peer can cause
// it. It leaves out rejections that a validator has logged.
func (i *interceptor) logRefusal(ctx context.Context, method string, reason error) {
	if !ofValidator(reason) {
		i.refusals.Report(ctx, level(reason), "call refused", attrs(ctx, method, nil, reason)...)
	}
}

// logEnd logs a session that ended before its call. The rate is limited for ends
// that a peer can cause, but not for ends that an operator causes.
func (i *interceptor) logEnd(ctx context.Context, method string, identity Identity, reason error) {
	log := i.log.LogAttrs
	if !ofValidator(reason) {
		log = i.refusals.Report
	}
	log(ctx, level(reason), "session ended", attrs(ctx, method, identity, reason)...)
}

func level(reason error) slog.Level {
	if Status(reason) == unavailable && !ofValidator(reason) {
		return slog.LevelWarn // the peer did not cause it
	}
	return slog.LevelInfo
}

func attrs(ctx context.Context, method string, identity Identity, reason error) []slog.Attr {
	attrs := append(call(ctx, method), slog.String("code", Status(reason).Code().String()), slog.String("reason", reason.Error()))
	return append(attrs, describe(identity)...)
}

// logPanic logs the stack of a panic in a handler, which is lost when the panic
// continues.
func (i *interceptor) logPanic(ctx context.Context, method string, value any, stack []byte) {
	attrs := append(call(ctx, method), slog.String("panic", fmt.Sprint(value)), slog.String("stack", string(stack)))
	i.log.LogAttrs(ctx, slog.LevelError, "handler panicked", attrs...)
}

// ofValidator reports whether an error is one that validators return and log.
func ofValidator(err error) bool {
	if errors.Is(err, ErrUnauthenticated) || errors.Is(err, token.ErrNotPermitted) {
		return false
	}
	return errors.Is(err, token.ErrInvalid) || errors.Is(err, token.ErrUnavailable)
}

func call(ctx context.Context, method string) []slog.Attr {
	attrs := []slog.Attr{slog.String("method", shorten(method))}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		attrs = append(attrs, slog.String("peer", p.Addr.String()))
	}
	return attrs
}

// describe returns log attributes for an identity.
func describe(identity Identity) []slog.Attr {
	switch i := identity.(type) {
	case zone.Verified:
		return []slog.Attr{slog.String("zone", shorten(i.Claims().Zone)),
			slog.String("kid", i.KeyID()), slog.String("jti", i.Registered().ID)}
	case dataplane.Verified:
		return []slog.Attr{slog.String("mesh", shorten(i.Claims().Mesh)), slog.String("name", shorten(i.Claims().Name)),
			slog.String("kid", i.KeyID()), slog.String("jti", i.Registered().ID)}
	case slog.LogValuer:
		value := i.LogValue().Resolve()
		if value.Kind() == slog.KindGroup {
			return value.Group()
		}
		return []slog.Attr{slog.Any("identity", value)}
	}
	return nil
}

// shorten truncates a name that a peer sent.
func shorten(name string) string {
	const limit = 128
	if len(name) > limit {
		return name[:limit] + "..."
	}
	return name
}
