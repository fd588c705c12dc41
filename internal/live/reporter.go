package live

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// reporter logs events that any peer can cause, at a limited rate: a burst of
// reportBurst messages, then one a second. Each message has the number of those
// suppressed before it.
type reporter struct {
	log *slog.Logger

	mu      sync.Mutex
	tokens  float64
	at      time.Time
	skipped int
}

const reportBurst = 10

func newReporter(log *slog.Logger) *reporter {
	return &reporter{log: log, tokens: reportBurst, at: time.Now()}
}

func (r *reporter) report(ctx context.Context, level slog.Level, message string, attrs ...slog.Attr) {
	if !r.log.Enabled(ctx, level) {
		return
	}
	r.mu.Lock()
	now := time.Now()
	r.tokens = min(reportBurst, r.tokens+now.Sub(r.at).Seconds())
	r.at = now
	if r.tokens < 1 {
		r.skipped++
		r.mu.Unlock()
		return
	}
	r.tokens--
	skipped := r.skipped
	r.skipped = 0
	r.mu.Unlock()
	if skipped > 0 {
		attrs = append(attrs, slog.Int("left_out", skipped))
	}
	r.log.LogAttrs(ctx, level, message, attrs...)
}
