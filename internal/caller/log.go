package caller

import (
	"context"
	"errors"
	"log/slog"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/limit"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// Log logs refused calls and ended sessions. It assumes that a validator has logged the
// errors that validators return.
type Log struct {
	log      *slog.Logger
	refusals *limit.Reporter
}

// NewLog returns a Log that writes to a logger.
func NewLog(log *slog.Logger) Log { return Log{log, limit.NewReporter(log)} }

// Refused logs a rejected call, with attributes of the call, unless a validator has
// logged the rejection. The rate is limited, since any peer can cause it.
func (l Log) Refused(ctx context.Context, message string, reason error, call ...slog.Attr) {
	if !ofValidator(reason) {
		l.refusals.Report(ctx, level(reason), message, func() []slog.Attr {
			return append(call, slog.String("reason", reason.Error()))
		})
	}
}

// Ended logs a session that ended before its call. The rate is limited for ends that a
// peer can cause, but not for ends that an operator causes.
func (l Log) Ended(ctx context.Context, identity any, reason error, call ...slog.Attr) {
	log := l.log.LogAttrs
	if !ofValidator(reason) {
		log = func(ctx context.Context, level slog.Level, message string, attrs ...slog.Attr) {
			l.refusals.Report(ctx, level, message, func() []slog.Attr { return attrs })
		}
	}
	attrs := append(call, slog.String("reason", reason.Error()))
	log(ctx, level(reason), "session ended", append(attrs, describe(identity)...)...)
}

func level(reason error) slog.Level {
	if ClassOf(reason) == token.Unavailable && !ofValidator(reason) {
		return slog.LevelWarn // the peer did not cause it
	}
	return slog.LevelInfo
}

// ofValidator reports whether an error is one that validators return and log.
func ofValidator(err error) bool {
	if errors.Is(err, ErrUnauthenticated) || errors.Is(err, token.ErrNotPermitted) {
		return false
	}
	return errors.Is(err, token.ErrInvalid) || errors.Is(err, token.ErrUnavailable)
}

// describe returns log attributes for an identity.
func describe(identity any) []slog.Attr {
	switch i := identity.(type) {
	case zone.Verified:
		return []slog.Attr{slog.String("zone", Shorten(i.Claims().Zone)),
			slog.String("kid", i.KeyID()), slog.String("jti", i.Registered().ID)}
	case dataplane.Verified:
		return []slog.Attr{slog.String("mesh", Shorten(i.Claims().Mesh)), slog.String("name", Shorten(i.Claims().Name)),
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

// Shorten truncates a name that a peer sent.
func Shorten(name string) string {
	const limit = 128
	if len(name) > limit {
		return name[:limit] + "..."
	}
	return name
}
