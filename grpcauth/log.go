package grpcauth

import (
	"context"
	"fmt"
	"log/slog"

	"google.golang.org/grpc/peer"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/internal/caller"
)

// logRefusal logs a rejected call, unless a validator has logged it.
func (i *interceptor) logRefusal(ctx context.Context, method string, reason error) {
	i.callers.Refused(ctx, "call refused", reason, call(ctx, method, reason)...)
}

// logEnd logs a session that ended before its call.
func (i *interceptor) logEnd(ctx context.Context, method string, identity Identity, reason error) {
	i.callers.Ended(ctx, identity, reason, call(ctx, method, reason)...)
}

func call(ctx context.Context, method string, reason error) []slog.Attr {
	return append(attrs(ctx, method), slog.String("code", Status(reason).Code().String()))
}

// logPanic logs the stack of a panic in a handler or an AuthFunc, which is lost when the
// panic continues in another goroutine.
func (i *interceptor) logPanic(ctx context.Context, what, method string, value any, stack []byte) {
	attrs := append(attrs(ctx, method), slog.String("panic", fmt.Sprint(value)), slog.String("stack", string(stack)))
	i.log.LogAttrs(ctx, slog.LevelError, what+" panicked", attrs...)
}

// withAddress names the peer in audit events about its token.
func withAddress(ctx context.Context) context.Context {
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		return audit.WithAddress(ctx, p.Addr.String())
	}
	return ctx
}

func attrs(ctx context.Context, method string) []slog.Attr {
	attrs := []slog.Attr{slog.String("method", caller.Shorten(method))}
	if p, ok := peer.FromContext(ctx); ok && p.Addr != nil {
		attrs = append(attrs, slog.String("peer", p.Addr.String()))
	}
	return attrs
}
