package main

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	minPause = 100 * time.Millisecond
	maxPause = 2 * time.Second
)

// backoff is the pause between attempts. It doubles each time, with jitter. The zero value is
// ready to use.
type backoff struct{ next time.Duration }

// wait waits before the next attempt, or until ctx ends.
func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(2*b.next, minPause), maxPause)
	select {
	case <-ctx.Done():
	case <-time.After(b.next/2 + rand.N(b.next/2)):
	}
}

// reset notes that an attempt succeeded.
func (b *backoff) reset() { b.next = 0 }
