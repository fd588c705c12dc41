package serviceaccount

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// limiter is a token bucket: it allows a burst of size events, then perSecond. It
// is not safe for concurrent use.
type limiter struct {
	size, perSecond float64
	spent           float64
	at              time.Time
}

func (l *limiter) allow(now time.Time) bool {
	l.spent = max(0, l.spent-now.Sub(l.at).Seconds()*l.perSecond)
	l.at = now
	if l.spent > l.size-1 {
		return false
	}
	l.spent++
	return true
}

// reporter logs events that any peer can cause, at a limited rate. Each message
// has the number of those suppressed before it.
type reporter struct {
	log *slog.Logger

	mu      sync.Mutex
	limit   limiter
	leftOut int
}

func newReporter(log *slog.Logger) *reporter {
	return &reporter{log: log, limit: limiter{size: 10, perSecond: 1}}
}

func (r *reporter) report(ctx context.Context, level slog.Level, message string, attrs ...slog.Attr) {
	if !r.log.Enabled(ctx, level) {
		return
	}
	r.mu.Lock()
	if !r.limit.allow(time.Now()) {
		r.leftOut++
		r.mu.Unlock()
		return
	}
	leftOut := r.leftOut
	r.leftOut = 0
	r.mu.Unlock()
	if leftOut > 0 {
		attrs = append(attrs, slog.Int("left_out", leftOut))
	}
	r.log.LogAttrs(ctx, level, message, attrs...)
}
