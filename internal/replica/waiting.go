package replica

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

const (
	peerWait   = time.Second            // the longest wait of a token for a read
	peerGrace  = 250 * time.Millisecond // extra, for a read that began less than this ago
	beginGrace = 10 * time.Millisecond  // extra, for a read that has not begun
)

// demand is shared by all tokens that wait for the same read.
type demand struct {
	done    chan struct{}
	began   atomic.Pointer[time.Time] // start of the read; nil before
	waiters int
	err     error   // set before done is closed
	also    *demand // an older demand that the same read serves
}

// beginning returns when the read began, or nil if it has not or if d is nil.
func (d *demand) beginning() *time.Time {
	if d == nil {
		return nil
	}
	return d.began.Load()
}

// begin reports that the read begins.
func (d *demand) begin(now time.Time) {
	for ; d != nil; d = d.also {
		d.began.Store(&now)
	}
}

// finish reports the result of the read to the waiting tokens.
func (d *demand) finish(err error) {
	for ; d != nil; d = d.also {
		d.err = err
		close(d.done)
	}
}

// Loaded returns the state. It waits for the first read to end.
func (f *Follower) Loaded(ctx context.Context) (*State, error) {
	if s := f.current.Load(); s != nil {
		return s, nil
	}
	leave, ok := f.waiting.Enter()
	if !ok {
		return nil, errTooMany
	}
	defer leave()
	err := f.await(ctx, nil, func() bool { return f.current.Load() != nil })
	return f.current.Load(), err
}

// MayRead reports whether a read of this scope alone may succeed although the latest
// complete read failed.
func (f *Follower) MayRead(scope keystore.Scope) bool {
	return f.partly.Load() || f.current.Load().reading(scope, time.Now()).confirmed.IsZero()
}

// Reread waits for a read of the scope that starts after the call, or until
// enough returns true for a new state. If there is no such read, or it fails,
// the error matches token.ErrUnavailable.
func (f *Follower) Reread(ctx context.Context, scope keystore.Scope, enough func() bool) error {
	leave, ok := f.waiting.Enter()
	if !ok {
		return errTooMany
	}
	defer leave()
	f.mu.Lock()
	j := f.job(scope)
	if j.demand == nil {
		j.demand = &demand{done: make(chan struct{})}
		if !j.wanted {
			j.since = time.Now()
		}
	}
	d := j.demand
	d.waiters++
	f.mu.Unlock()
	f.signal()

	err := f.await(ctx, d, enough)

	f.mu.Lock()
	d.waiters--
	if j := f.jobs[scope]; j != nil && j.forsaken() && !j.reading { // next does not run while a read hangs
		delete(f.jobs, scope)
	}
	f.mu.Unlock()
	return err
}

var errTooMany = fmt.Errorf("%w: too many tokens are waiting for a read of the store", token.ErrUnavailable)

// await waits until the read of d is done or enough returns true, for at most
// peerWait. If the rate limit on reads has delayed the read until then, await adds
// peerGrace. A nil d stands for no particular read.
func (f *Follower) await(ctx context.Context, d *demand, enough func() bool) error {
	var done chan struct{} // nil blocks forever
	if d != nil {
		done = d.done
	}
	start, timer := time.Now(), time.NewTimer(peerWait)
	last := false // after the wait for the read to begin
	for {
		f.mu.Lock()
		updated := f.updated
		f.mu.Unlock()
		if enough() {
			return nil
		}
		select {
		case <-done:
			if d.err != nil {
				return fmt.Errorf("%w: a read of the store failed: %w", token.ErrUnavailable, d.err)
			}
			return nil
		case <-updated:
		case now := <-timer.C:
			began := d.beginning()
			if d != nil && began == nil && !last { // the read may be due right now
				last = true
				timer.Reset(beginGrace)
				continue
			}
			if began != nil { // of the latest read, if an earlier one failed
				if left := min(peerGrace-now.Sub(*began), peerWait+peerGrace-now.Sub(start)); left > 0 {
					timer.Reset(left)
					continue
				}
			}
			return fmt.Errorf("%w: the store was not read within %s", token.ErrUnavailable, peerWait)
		case <-ctx.Done():
			return unavailable(context.Cause(ctx))
		case <-f.ended.Done():
			return token.ErrClosed
		}
	}
}
