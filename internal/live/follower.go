package live

import (
	"cmp"
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
	maxHanging   = 4                // reads that have failed so and still not returned

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
//
// There are two kinds of read: of all scopes at once, and of one scope. What is
// due goes first come, first served, and a read that fails is put off by itself, so
// that a scope that cannot be read keeps no other from being read. While the scopes
// cannot be read all at once, they are read one by one.
type follower struct {
	family *Family
	store  keystore.KeyStore
	prefix string // of the names that are read

	// Both are called on the reading goroutine: published after every new state of a
	// scope, reads when reading everything begins to fail and, with nil, when it works
	// again.
	published func(scope keystore.Scope, prev, next *scopeState)
	reads     func(error)

	current atomic.Pointer[state] // nil before the first read has ended
	ended   context.Context       // of everything that follows the store
	stop    context.CancelFunc
	done    sync.WaitGroup // of the goroutines that use the store
	hanging atomic.Int32   // calls of the store that have not returned
	wake    chan struct{}

	waiting atomic.Int32 // tokens that wait for a read

	mu       sync.Mutex
	updated  chan struct{} // closed by the next state
	all      *job          // the read of all scopes
	jobs     map[keystore.Scope]*job
	peerRead map[keystore.Scope]time.Time // when tokens last caused a read of a scope
	unknown  time.Time                    // when they last did of a scope not known to exist

	// Of the reading goroutine alone:
	fullDue time.Time
	failing bool // the latest read of all scopes failed
	partly  bool // and yet single scopes could be read since
}

// job is a read that is to be made.
type job struct {
	since  time.Time     // when it was asked for: the oldest goes first
	wanted bool          // not only by tokens that wait
	due    time.Time     // not before
	retry  time.Duration // the pause after the latest failure
	demand *demand       // of tokens that wait; nil: none
}

// demand is shared by all tokens that wait for the same read.
type demand struct {
	done    chan struct{}
	waiters int
	err     error // set before done is closed
}

// follow starts to follow a store; close ends it.
func follow(family *Family, store keystore.KeyStore, prefix string, published func(scope keystore.Scope, prev, next *scopeState), reads func(error)) *follower {
	ctx, stop := context.WithCancel(context.Background())
	f := &follower{
		family:    family,
		store:     store,
		prefix:    prefix,
		published: published,
		reads:     reads,
		ended:     ctx,
		stop:      stop,
		wake:      make(chan struct{}, 1),
		updated:   make(chan struct{}),
		all:       &job{wanted: true}, // the first read does not wait for the watch
		jobs:      make(map[keystore.Scope]*job),
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
	now := time.Now()
	switch {
	case scope == keystore.AllScopes:
		due := now.Add(f.all.retry)
		if !f.all.wanted || due.Before(f.all.due) {
			f.all.due = due
		}
		f.all.want(now)
	case f.family.Within != keystore.AllScopes && f.family.Within != scope:
	case keystore.CheckScope(scope) == nil: // what is no scope cannot be read
		f.job(scope, now).want(now)
	}
	f.mu.Unlock()
	f.signal()
}

func (j *job) want(now time.Time) {
	if !j.wanted {
		j.wanted, j.since = true, now
	}
}

// again wants the read once more, after a pause that grows.
func (j *job) again() {
	now := time.Now()
	j.retry = min(max(2*j.retry, minRetry), maxRetry)
	j.due = now.Add(j.retry)
	j.want(now)
}

// finish tells the tokens that waited how the read ended.
func (d *demand) finish(err error) {
	if d != nil {
		d.err = err
		close(d.done)
	}
}

// job returns the job of a scope. The caller holds mu.
func (f *follower) job(scope keystore.Scope, now time.Time) *job {
	j := f.jobs[scope]
	if j == nil {
		j = &job{since: now}
		f.jobs[scope] = j
	}
	return j
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
		scope, all, wait := f.next(time.Now())
		switch {
		case all:
			f.readAll(ctx)
			continue
		case wait == 0:
			f.readScope(ctx, scope)
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

// next picks the read that is due and was asked for first: of all scopes, or of
// one. Where nothing is due it says for how long.
func (f *follower) next(now time.Time) (scope keystore.Scope, all bool, wait time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var first *job
	wait = fullInterval
	consider := func(j *job, due time.Time) bool {
		if due.After(now) {
			wait = min(wait, due.Sub(now))
			return false
		}
		if first != nil && !j.since.Before(first.since) {
			return false
		}
		first = j
		return true
	}
	if f.all.wanted {
		all = consider(f.all, f.all.due)
	} else if all = !f.fullDue.After(now); all {
		f.all.since = f.fullDue
		first = f.all
	} else {
		wait = f.fullDue.Sub(now)
	}
	if f.current.Load() == nil {
		if all {
			return "", true, 0
		}
		return "", false, wait // there is nothing yet to which one scope could be added
	}
	for s, j := range f.jobs {
		due := j.due
		if !j.wanted {
			if j.demand == nil { // those who waited have left
				delete(f.jobs, s)
				continue
			}
			due = f.allowedAt(s, now)
		}
		if consider(j, due) {
			scope, all = s, false
		}
	}
	if first != nil {
		wait = 0
	}
	return scope, all, wait
}

// allowedAt is when tokens may cause a read of the scope. The caller holds mu.
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
func (f *follower) readAll(ctx context.Context) {
	now := time.Now()
	f.mu.Lock()
	f.all.wanted = false
	pending := f.jobs // this read does for everybody who has asked for one
	f.jobs = make(map[keystore.Scope]*job)
	for scope, at := range f.peerRead {
		if now.Sub(at) > knownInterval {
			delete(f.peerRead, scope)
		}
	}
	f.mu.Unlock()

	records, err := f.list(ctx, f.family.Within)
	if ctx.Err() != nil {
		return // those who wait see it too
	}
	prev := f.current.Load()
	if prev == nil {
		prev = &state{}
	}
	f.fullDue = now.Add(fullInterval - rand.N(fullInterval/10))
	if err != nil {
		next := *prev
		next.full.failed, next.full.err = now, err
		f.publish(&next)
		f.goOnOneByOne(pending, err)
	} else {
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
		for _, j := range pending {
			j.demand.finish(nil)
		}
		f.mu.Lock()
		f.all.retry, f.all.due = 0, now
		f.mu.Unlock()
		f.partly = false
	}
	if f.failing != (err != nil) {
		f.failing = err != nil
		f.reads(err)
	}
}

// goOnOneByOne sets what is read after a read of all scopes has failed: again all of
// them, and meanwhile those that were asked for, one by one. Once a single
// scope could be read, the store is there and something in it cannot be read: then
// every scope that we know is read by itself, and all at once only as often as ever.
func (f *follower) goOnOneByOne(pending map[keystore.Scope]*job, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.family.Within != keystore.AllScopes {
		f.all.again()
		for _, j := range pending {
			j.demand.finish(err)
		}
		return
	}
	now := time.Now()
	for scope, j := range pending {
		j.demand.finish(err)
		if j.wanted {
			added := f.job(scope, j.since)
			added.want(j.since)
			added.retry, added.due = j.retry, j.due
		}
	}
	f.job(keystore.Global, now).want(now)
	if !f.partly {
		f.all.again()
		return
	}
	for scope := range f.current.Load().scopes {
		f.job(scope, now).want(now)
	}
}

// readScope reads one scope of the family.
func (f *follower) readScope(ctx context.Context, scope keystore.Scope) {
	now := time.Now()
	f.mu.Lock()
	j := f.jobs[scope]
	wanted, waits := j.wanted, j.demand
	j.wanted, j.demand = false, nil
	if !wanted {
		f.peerRead[scope] = now
		if !f.known(scope) {
			f.unknown = now
		}
	}
	f.mu.Unlock()

	records, err := f.list(ctx, scope)
	if ctx.Err() != nil {
		return
	}
	current := f.current.Load()
	prev := current.scopes[scope]
	switch {
	case err != nil:
		f.publish(current.withReading(scope, reading{failed: now, err: err}))
		f.mu.Lock()
		if wanted {
			j.again()
		} else if prev != nil && !f.failing {
			// Others rest on this scope too. What a peer asked for is not repeated by
			// itself, but everything is read again soon.
			f.all.again()
		}
		f.mu.Unlock()
	case len(records) > 0:
		next := *f.family.parse(scope, records, prev, now)
		next.own.confirmed = now
		f.publish(current.with(scope, &next))
		f.published(scope, prev, &next)
	default:
		f.publish(current.with(scope, nil).withReading(scope, reading{confirmed: now}))
		if prev != nil {
			f.published(scope, prev, nil)
		}
	}
	waits.finish(err)
	if err == nil {
		f.mu.Lock()
		j.retry, j.due = 0, now
		if f.failing && !f.partly { // the store is there
			f.partly = true
			f.all.want(now)
			f.all.due = now
		}
		f.mu.Unlock()
	}
}

// list reads the family's records of a scope. A call of the store that does not
// return in time is left alone.
func (f *follower) list(ctx context.Context, scope keystore.Scope) ([]keystore.Record, error) {
	if f.hanging.Load() >= maxHanging {
		return nil, fmt.Errorf("%d earlier reads have not returned", maxHanging)
	}
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	type answer struct {
		records []keystore.Record
		err     error
	}
	answered := make(chan answer, 1)
	f.hanging.Add(1)
	f.done.Go(func() {
		defer f.hanging.Add(-1)
		records, err := f.store.List(ctx, scope, f.prefix)
		answered <- answer{records, err}
	})
	select {
	case a := <-answered:
		if a.err == nil {
			a.err = cmp.Or(ctx.Err(), checkOrder(a.records)) // an answer after the limit may be of any age
		}
		return a.records, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("the store did not answer within %s: %w", readTimeout, ctx.Err())
	}
}

// publish makes a state the current one.
func (f *follower) publish(s *state) {
	f.current.Store(s)
	f.mu.Lock()
	close(f.updated)
	f.updated = make(chan struct{})
	f.mu.Unlock()
}

// loaded returns the state, waiting for the first read if it has not ended.
func (f *follower) loaded(ctx context.Context) (*state, error) {
	if s := f.current.Load(); s != nil {
		return s, nil
	}
	leave, err := f.enter()
	if err != nil {
		return nil, err
	}
	defer leave()
	err = f.await(ctx, nil, func() bool { return f.current.Load() != nil })
	return f.current.Load(), err
}

// reread waits for a read of the scope that begins after the call, or for enough
// to say that nothing more is needed. Without such a read, or when it fails, the
// error is of class token.ErrUnavailable.
func (f *follower) reread(ctx context.Context, scope keystore.Scope, enough func() bool) error {
	leave, err := f.enter()
	if err != nil {
		return err
	}
	defer leave()
	f.mu.Lock()
	j := f.job(scope, time.Now())
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

	err = f.await(ctx, d, enough)

	f.mu.Lock()
	d.waiters--
	if j := f.jobs[scope]; d.waiters == 0 && j != nil && j.demand == d {
		j.demand = nil // nobody waits for it any more
	}
	f.mu.Unlock()
	return err
}

// enter counts a token that waits, unless there are too many.
func (f *follower) enter() (leave func(), err error) {
	if f.waiting.Add(1) > maxWaiting {
		f.waiting.Add(-1)
		return nil, fmt.Errorf("%w: too many tokens wait for the store to be read", token.ErrUnavailable)
	}
	return func() { f.waiting.Add(-1) }, nil
}

// await waits for a read to be done, or for enough to be true of a new state, for
// peerWait at most.
func (f *follower) await(ctx context.Context, d *demand, enough func() bool) error {
	var done chan struct{} // of no demand: never
	if d != nil {
		done = d.done
	}
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
			if d.err != nil {
				return fmt.Errorf("%w: a read of the store failed: %w", token.ErrUnavailable, d.err)
			}
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
