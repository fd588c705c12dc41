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

// backoff is the pause between attempts, which doubles from one to the next, with jitter.
// The zero value is ready.
type backoff struct{ next time.Duration }

// wait waits before the next attempt, until ctx ends at the latest.
func (b *backoff) wait(ctx context.Context) {
	b.next = min(max(2*b.next, minPause), maxPause)
	select {
	case <-ctx.Done():
	case <-time.After(b.next/2 + rand.N(b.next/2)):
	}
}

// reset says that an attempt succeeded.
func (b *backoff) reset() { b.next = 0 }
