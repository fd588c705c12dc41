// Package limit limits the rate of events, the log messages that any peer can cause, and
// how many goroutines wait.
package limit

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Bucket is a token bucket: it allows a burst of events and then a steady rate. It
// is not safe for concurrent use.
type Bucket struct {
	size, perSecond float64
	spent           float64
	at              time.Time
}

// NewBucket returns a bucket that allows size events at once, and perSecond events
// a second after that.
func NewBucket(size, perSecond float64) Bucket {
	return Bucket{size: size, perSecond: perSecond}
}

// PerSecond returns the steady rate.
func (b *Bucket) PerSecond() float64 { return b.perSecond }

// Allow reports whether an event may happen now, and counts it if so.
func (b *Bucket) Allow(now time.Time) bool {
	b.spent = max(0, b.spent-now.Sub(b.at).Seconds()*b.perSecond)
	b.at = now
	if b.spent > b.size-1 {
		return false
	}
	b.spent++
	return true
}

// Reporter logs at a limited rate: a burst of 10 messages, then one a second. The
// attribute left_out counts the messages that were left out before.
type Reporter struct {
	log *slog.Logger

	mu      sync.Mutex
	bucket  Bucket
	leftOut int
}

// NewReporter returns a reporter for a logger.
func NewReporter(log *slog.Logger) *Reporter {
	return &Reporter{log: log, bucket: NewBucket(10, 1)}
}

// Report logs a message with the attributes that a function makes, or leaves it out. Then
// the function is not called.
func (r *Reporter) Report(ctx context.Context, level slog.Level, message string, attributes func() []slog.Attr) {
	if !r.log.Enabled(ctx, level) {
		return
	}
	r.mu.Lock()
	if !r.bucket.Allow(time.Now()) {
		r.leftOut++
		r.mu.Unlock()
		return
	}
	leftOut := r.leftOut
	r.leftOut = 0
	r.mu.Unlock()
	attrs := attributes()
	if leftOut > 0 {
		attrs = append(attrs, slog.Int("left_out", leftOut))
	}
	r.log.LogAttrs(ctx, level, message, attrs...)
}

// Gate bounds how many goroutines wait at once.
type Gate struct {
	most    int32
	waiting atomic.Int32
}

// NewGate returns a gate for at most most goroutines.
func NewGate(most int32) *Gate { return &Gate{most: most} }

// Enter counts a goroutine until it calls leave. It returns false if there are too many.
func (g *Gate) Enter() (leave func(), ok bool) {
	if g.waiting.Add(1) > g.most {
		g.waiting.Add(-1)
		return nil, false
	}
	return func() { g.waiting.Add(-1) }, true
}
