package live

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// The bounds of what is read, when, and for whom.
const (
	fullInterval = 30 * time.Second // everything is read at least this often, whatever a watch says
	readTimeout  = 5 * time.Second  // a read that takes longer has failed

	minRetry = 50 * time.Millisecond // after a failed read, doubling
	maxRetry = 500 * time.Millisecond

	peerWait        = time.Second // the longest that a token waits for a read
	maxWaiting      = 1024        // tokens waiting at once
	knownInterval   = time.Second // between reads of one scope that tokens cause
	unknownInterval = 100 * time.Millisecond
)

// follower keeps the state of a family up to date with its store. All reads are
// made by one goroutine, one after the other, so that what is newer never gets
// overwritten by what is older.
type follower struct {
	family *Family
	store  keystore.KeyStore

	// Both are called on the reading goroutine: published after every new state,
	// reads when reading begins to fail and, with nil, when it works again.
	published func(scope keystore.Scope, prev, next *scopeState)
	reads     func(error)

	current atomic.Pointer[state] // nil before the first successful read
	first   chan struct{}         // closed when the first read has ended, well or not
	ended   context.Context       // of everything that follows the store
	stop    context.CancelFunc
	done    sync.WaitGroup // of the goroutines that use the store
	wake    chan struct{}

	waiting atomic.Int32 // tokens that wait for a read

	mu       sync.Mutex
	updated  chan struct{}                // closed by the next state
	all      bool                         // everything may have changed
	changed  map[keystore.Scope]struct{}  // these may have
	demands  map[keystore.Scope]*demand   // reads that tokens wait for
	lastErr  error                        // how the latest read ended
	peerRead map[keystore.Scope]time.Time // when tokens last caused a read of a scope
	unknown  time.Time                    // when they last did of a scope not known to exist

	// Of the reading goroutine alone:
	fullDue time.Time
	retryAt time.Time
	retry   time.Duration
}

// demand is a read of a scope that has not begun. It is shared by all who ask
// for it until it begins.
type demand struct {
	done    chan struct{}
	waiters int
	err     error // set before done is closed
}

// follow starts to follow a store; stop ends it.
func follow(family *Family, store keystore.KeyStore, published func(scope keystore.Scope, prev, next *scopeState), reads func(error)) *follower {
	ctx, stop := context.WithCancel(context.Background())
	f := &follower{
		family:    family,
		store:     store,
		published: published,
		reads:     reads,
		first:     make(chan struct{}),
		updated:   make(chan struct{}),
		ended:     ctx,
		stop:      stop,
		wake:      make(chan struct{}, 1),
		all:       true, // the first read does not wait for the watch
		changed:   make(map[keystore.Scope]struct{}),
		demands:   make(map[keystore.Scope]*demand),
		peerRead:  make(map[keystore.Scope]time.Time),
	}
	f.done.Go(func() { keystore.Follow(ctx, store, f.note) })
	f.done.Go(func() { f.run(ctx) })
	return f
}

// close ends everything and waits until the store is no longer used. A store
// returns promptly when its context ends; one that does not is waited for no
// longer than a read may take.
func (f *follower) close() {
	f.stop()
	unused := make(chan struct{})
	go func() { f.done.Wait(); close(unused) }()
	select {
	case <-unused:
	case <-time.After(readTimeout):
	}
}

// note takes an announced change.
func (f *follower) note(scope keystore.Scope) {
	f.mu.Lock()
	switch {
	case scope == keystore.AllScopes:
		f.all = true
	case f.family.Within == keystore.AllScopes || f.family.Within == scope:
		f.changed[scope] = struct{}{}
	}
	f.mu.Unlock()
	f.signal()
}

func (f *follower) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run reads what is due until ctx ends.
func (f *follower) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		now := time.Now()
		if f.fullIsDue(now) {
			f.readAll(ctx, now)
			continue
		}
		scope, wait, ok := f.nextScope(now)
		if ok {
			f.readScope(ctx, scope, now)
			continue
		}
		timer.Reset(wait)
		select {
		case <-ctx.Done():
		case <-f.wake:
		case <-timer.C:
		}
	}
}

func (f *follower) fullIsDue(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return !now.Before(f.retryAt) && (f.all || !now.Before(f.fullDue))
}

// nextScope picks a scope to read now, or says for how long there is none.
func (f *follower) nextScope(now time.Time) (scope keystore.Scope, wait time.Duration, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	wait = max(f.fullDue.Sub(now), f.retryAt.Sub(now))
	if f.all || len(f.changed) > 0 {
		wait = f.retryAt.Sub(now)
		if wait <= 0 {
			for scope := range f.changed {
				return scope, 0, true
			}
		}
	}
	if f.current.Load() == nil {
		return "", wait, false // there is nothing yet to which one scope could be added
	}
	for scope := range f.demands {
		due := f.allowedAt(scope, now)
		if !due.After(now) {
			f.peerRead[scope] = now
			if !f.known(scope) {
				f.unknown = now
			}
			return scope, 0, true
		}
		wait = min(wait, due.Sub(now))
	}
	return "", wait, false
}

// allowedAt is when a token may cause a read of the scope. The caller holds mu.
func (f *follower) allowedAt(scope keystore.Scope, now time.Time) time.Time {
	due := now
	if last, ok := f.peerRead[scope]; ok {
		due = last.Add(knownInterval)
	}
	if next := f.unknown.Add(unknownInterval); !f.known(scope) && next.After(due) {
		due = next
	}
	return due
}

func (f *follower) known(scope keystore.Scope) bool {
	s := f.current.Load()
	return s != nil && s.scopes[scope] != nil
}

// readAll reads every scope of the family.
func (f *follower) readAll(ctx context.Context, now time.Time) {
	f.mu.Lock()
	f.all = false
	clear(f.changed)
	for scope, at := range f.peerRead {
		if now.Sub(at) > knownInterval {
			delete(f.peerRead, scope)
		}
	}
	satisfied := f.demands
	f.demands = make(map[keystore.Scope]*demand)
	f.mu.Unlock()

	records, err := f.list(ctx, f.family.Within)
	prev := f.current.Load()
	if err != nil {
		f.mu.Lock()
		f.all = true
		f.mu.Unlock()
		if prev != nil {
			next := *prev
			next.full.failed, next.full.err = now, err
			f.publish(&next)
		}
		f.finish(satisfied, err)
		f.setRetry(err)
		return
	}

	f.fullDue = now.Add(fullInterval - rand.N(fullInterval/10))
	if prev == nil {
		prev = &state{}
	}
	next := &state{scopes: make(map[keystore.Scope]*scopeState), full: reading{confirmed: now}}
	for scope, group := range split(records) {
		next.scopes[scope] = f.family.parse(scope, group, prev.scopes[scope], now)
	}
	f.publish(next)
	for scope, s := range next.scopes {
		if s != prev.scopes[scope] {
			f.published(scope, prev.scopes[scope], s)
		}
	}
	for scope, s := range prev.scopes {
		if next.scopes[scope] == nil {
			f.published(scope, s, nil)
		}
	}
	f.finish(satisfied, nil)
	f.setRetry(nil)
}

// readScope reads one scope of the family.
func (f *follower) readScope(ctx context.Context, scope keystore.Scope, now time.Time) {
	f.mu.Lock()
	_, announced := f.changed[scope]
	delete(f.changed, scope)
	satisfied := map[keystore.Scope]*demand{}
	if d := f.demands[scope]; d != nil {
		satisfied[scope] = d
		delete(f.demands, scope)
	}
	f.mu.Unlock()

	current := f.current.Load()
	prev := current.scopes[scope]
	records, err := f.list(ctx, scope)
	if err != nil {
		if announced { // what only a token asked for is not repeated, and holds up nothing
			f.note(scope)
			f.setRetry(err)
		}
		if prev != nil {
			next := *prev
			next.own.failed, next.own.err = now, err
			f.publish(current.with(scope, &next))
		}
		f.finish(satisfied, err)
		return
	}
	var next *scopeState
	if len(records) > 0 {
		parsed := *f.family.parse(scope, records, prev, now)
		parsed.own.confirmed = now
		next = &parsed
	}
	if prev != nil || next != nil {
		f.publish(current.with(scope, next))
		f.published(scope, prev, next)
	}
	f.finish(satisfied, nil)
	if announced {
		f.setRetry(nil)
	}
}

// list reads the family's records of a scope.
func (f *follower) list(ctx context.Context, scope keystore.Scope) ([]keystore.Record, error) {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	records, err := f.store.List(ctx, scope, f.family.Prefix)
	if err == nil {
		err = ctx.Err() // an answer after the limit may be of any age
	}
	return records, err
}

// publish makes a state the current one.
func (f *follower) publish(s *state) {
	f.current.Store(s)
	f.mu.Lock()
	close(f.updated)
	f.updated = make(chan struct{})
	f.mu.Unlock()
}

// finish tells those who waited for a read how it ended.
func (f *follower) finish(satisfied map[keystore.Scope]*demand, err error) {
	if f.ended.Err() != nil {
		err = token.ErrClosed
	}
	for _, d := range satisfied {
		d.err = err
		close(d.done)
	}
}

// setRetry sets when the next read may be tried, after one that ended so.
func (f *follower) setRetry(err error) {
	if f.ended.Err() != nil {
		return
	}
	f.mu.Lock()
	turned := (err == nil) != (f.lastErr == nil)
	f.lastErr = err
	f.mu.Unlock()
	if err == nil {
		f.retry, f.retryAt = 0, time.Time{}
	} else {
		f.retry = min(max(2*f.retry, minRetry), maxRetry)
		f.retryAt = time.Now().Add(f.retry)
	}
	select {
	case <-f.first:
	default:
		close(f.first)
	}
	if turned {
		f.reads(err)
	}
}

// loaded returns the state, waiting for the first read if it has not ended.
func (f *follower) loaded(ctx context.Context) (*state, error) {
	if s := f.current.Load(); s != nil {
		return s, nil
	}
	if err := f.await(ctx, f.first, f.isLoaded); err != nil {
		return nil, err
	}
	if s := f.current.Load(); s != nil {
		return s, nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return nil, unavailable(f.lastErr)
}

func (f *follower) isLoaded() bool { return f.current.Load() != nil }

// reread waits for a read of the scope that begins after the call, or for enough
// to say that nothing more is needed. Without such a read, or when it fails, the
// error is of class token.ErrUnavailable.
func (f *follower) reread(ctx context.Context, scope keystore.Scope, enough func() bool) error {
	f.mu.Lock()
	d := f.demands[scope]
	if d == nil {
		d = &demand{done: make(chan struct{})}
		f.demands[scope] = d
	}
	d.waiters++
	f.mu.Unlock()
	f.signal()

	err := f.await(ctx, d.done, enough)

	f.mu.Lock()
	d.waiters--
	if d.waiters == 0 && f.demands[scope] == d {
		delete(f.demands, scope) // nobody waits for it any more
	}
	f.mu.Unlock()
	if err != nil || enough() {
		return err
	}
	return unavailable(d.err)
}

// await waits for a channel to close or for enough to be true of a new state, for
// peerWait at most.
func (f *follower) await(ctx context.Context, done <-chan struct{}, enough func() bool) error {
	if f.waiting.Add(1) > maxWaiting {
		f.waiting.Add(-1)
		return fmt.Errorf("%w: too many tokens wait for the store to be read", token.ErrUnavailable)
	}
	defer f.waiting.Add(-1)
	timer := time.NewTimer(peerWait)
	defer timer.Stop()
	for {
		f.mu.Lock()
		updated := f.updated
		f.mu.Unlock()
		if enough() {
			return nil
		}
		select {
		case <-done:
			return nil
		case <-updated:
		case <-timer.C:
			return fmt.Errorf("%w: the store was not read within %s", token.ErrUnavailable, peerWait)
		case <-ctx.Done():
			return unavailable(context.Cause(ctx))
		case <-f.ended.Done():
			return token.ErrClosed
		}
	}
}

// unavailable puts an error into the class of what could not be known.
func unavailable(err error) error {
	if err == nil || errors.Is(err, token.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", token.ErrUnavailable, err)
}
