package grpcauth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc/peer"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// logRefusal tells why a call was refused, at a limited rate, since anybody who can
// connect can cause it. What a validator refused, it has logged.
func (i *interceptor) logRefusal(ctx context.Context, method string, reason error) {
	if ofValidator(reason) {
		return
	}
	if left, ok := i.refusals.allow(time.Now()); ok {
		i.write(ctx, "call refused", method, nil, reason, left)
	}
}

// logEnd tells why a call ended before its time. What the peer itself brought about is
// limited in rate; what an operator does is told of each of the sessions.
func (i *interceptor) logEnd(ctx context.Context, method string, identity Identity, reason error) {
	left, ok := 0, true
	if !ofValidator(reason) {
		left, ok = i.refusals.allow(time.Now())
	}
	if ok {
		i.write(ctx, "session ended", method, identity, reason, left)
	}
}

func (i *interceptor) write(ctx context.Context, message, method string, identity Identity, reason error, leftOut int) {
	level := slog.LevelInfo
	if Status(reason) == unavailable && !ofValidator(reason) {
		level = slog.LevelWarn // it is not the peer's doing
	}
	attrs := append(call(ctx, method), slog.String("code", Status(reason).Code().String()), slog.String("reason", reason.Error()))
	attrs = append(attrs, describe(identity)...)
	if leftOut > 0 {
		attrs = append(attrs, slog.Int("left_out", leftOut))
	}
	i.log.LogAttrs(ctx, level, message, attrs...)
}

// logPanic tells where a handler panicked: the stack is another one where the panic goes on.
func (i *interceptor) logPanic(ctx context.Context, method string, value any, stack []byte) {
	attrs := append(call(ctx, method), slog.String("panic", fmt.Sprint(value)), slog.String("stack", string(stack)))
	i.log.LogAttrs(ctx, slog.LevelError, "handler panicked", attrs...)
}

// ofValidator says whether an error is of the kind that validators return, and log.
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

// describe says who an identity is.
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

// shorten cuts a name that somebody else chose.
func shorten(name string) string {
	const limit = 128
	if len(name) > limit {
		return name[:limit] + "..."
	}
	return name
}

// limiter lets a burst through, then one a second, and counts what it left out.
type limiter struct {
	mu      sync.Mutex
	spent   float64
	at      time.Time
	leftOut int
}

const burst = 10

// allow says whether to go ahead, and how many were left out since it last said so.
func (l *limiter) allow(now time.Time) (leftOut int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.spent = max(0, l.spent-now.Sub(l.at).Seconds())
	l.at = now
	if l.spent > burst-1 {
		l.leftOut++
		return 0, false
	}
	l.spent++
	leftOut, l.leftOut = l.leftOut, 0
	return leftOut, true
}
