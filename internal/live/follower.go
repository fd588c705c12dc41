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

// The limits on reads of the store.
const (
	fullInterval = 30 * time.Second // of complete reads, even if a watch announces no change
	readTimeout  = 5 * time.Second  // after which a read has failed
	maxHanging   = 4                // reads that timed out and have not returned yet

	minRetry = 50 * time.Millisecond // after a failed read, doubling
	maxRetry = 500 * time.Millisecond

	maxFailures = 16                    // reads that fail in a row, before the store is spared
	failurePace = 50 * time.Millisecond // between reads from then on

	peerWait        = time.Second            // the longest wait of a token for a read
	peerGrace       = 250 * time.Millisecond // more, for a read that has begun no longer ago
	beginGrace      = 10 * time.Millisecond  // more, for a read that has not begun
	maxWaiting      = 1024                   // tokens waiting at once
	knownInterval   = time.Second            // between reads of one scope that tokens cause
	unknownInterval = 100 * time.Millisecond
)

// follower keeps the state of a family up to date with its store. One goroutine
// makes all reads, one after the other, so that newer data is never overwritten
// by older.
//
// A read covers either all scopes or one. Reads that are due are made in the
// order of the requests. A failed read is delayed by itself, so that a scope
// that cannot be read blocks no other. While reading all scopes at once fails,
// they are read one by one, in turns with the reads that are requested.
type follower struct {
	family *Family
	store  keystore.KeyStore
	prefix string // of the names that are read

	// Both are called on the reading goroutine: published after every new state
	// of a scope; reads when complete reads start to fail and, with nil, when
	// they work again.
	published func(scope keystore.Scope, prev, next *scopeState)
	reads     func(error)

	current atomic.Pointer[state] // nil before the first read has ended
	ended   context.Context       // done when close is called
	stop    context.CancelFunc
	done    sync.WaitGroup // of the goroutines that use the store
	hanging atomic.Int32   // calls of the store that have not returned
	wake    chan struct{}

	waiting atomic.Int32 // tokens that wait for a read

	mu       sync.Mutex
	updated  chan struct{} // closed when the next state is published
	all      *job          // the read of all scopes
	jobs     map[keystore.Scope]*job
	peerRead map[keystore.Scope]time.Time // when tokens last caused a read of a scope
	unknown  time.Time                    // when they last caused one of a scope not known to exist

	// Used by the reading goroutine only:
	fullDue time.Time
	failing bool             // the latest read of all scopes failed
	partly  atomic.Bool      // while single scopes could be read
	sweep   []keystore.Scope // to be read by themselves instead, whether they changed or not
	jobLast bool             // the latest read of one scope was not of the sweep
	failed  int              // reads, since one has succeeded
}

// job is a requested read.
type job struct {
	since  time.Time     // time of the request: the oldest goes first
	wanted bool          // by more than waiting tokens
	due    time.Time     // not before
	retry  time.Duration // the pause after the latest failure
	demand *demand       // of waiting tokens, or nil

	reading bool // by readScope, which needs the job again if the read fails
}

// demand is shared by all tokens that wait for the same read.
type demand struct {
	done    chan struct{}
	began   atomic.Pointer[time.Time] // the read; nil before
	waiters int
	err     error   // set before done is closed
	also    *demand // an older one, which the same read serves
}

// follow starts to follow a store, until close.
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

// close stops the goroutines and waits until the store is no longer in use, at
// most readTimeout if the store ignores its context.
func (f *follower) close() {
	f.stop()
	unused := make(chan struct{})
	go func() { f.done.Wait(); close(unused) }()
	select {
	case <-unused:
	case <-time.After(readTimeout):
	}
}

// note records an announced change.
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
	case keystore.CheckScope(scope) == nil: // else the scope cannot be read
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

// again requests the read once more, after a growing pause of at least the given
// time.
func (j *job) again(atLeast time.Duration) {
	now := time.Now()
	j.retry = min(max(2*j.retry, minRetry), maxRetry)
	j.due = now.Add(max(j.retry, atLeast))
	j.want(now)
}

// beginning returns when the read began, or nil if it has not, or if there is none.
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

// run makes the reads that are due, until ctx ends.
func (f *follower) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		scope, all, wait := f.next(time.Now())
		if wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
			case <-f.wake:
			case <-timer.C:
			}
			continue
		}
		if all {
			f.readAll(ctx)
		} else {
			f.readScope(ctx, scope)
		}
		if f.failed > maxFailures { // each scope is delayed by itself, but there may be thousands
			timer.Reset(failurePace)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
		}
	}
}

// next returns the read to make now, of those that are due the one requested
// first: of all scopes, or of one. If none is due, it returns how long to wait.
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
		return "", false, wait // one scope can be added only to a complete read
	}
	for s, j := range f.jobs {
		due := j.due
		if !j.wanted {
			if j.demand == nil { // all waiting tokens have left
				delete(f.jobs, s)
				continue
			}
			due = f.allowedAt(s, now)
		}
		if consider(j, due) {
			scope, all = s, false
		}
	}
	if first == nil || f.jobLast && !all {
		if swept, ok := f.nextOfSweep(now); ok {
			f.jobLast = false
			return swept, false, 0
		}
	}
	if first != nil {
		wait, f.jobLast = 0, !all
	}
	return scope, all, wait
}

// nextOfSweep requests the read of the next scope of the sweep. The caller holds
// mu.
func (f *follower) nextOfSweep(now time.Time) (keystore.Scope, bool) {
	for len(f.sweep) > 0 {
		scope := f.sweep[0]
		f.sweep = f.sweep[1:]
		if j := f.job(scope, now); !j.wanted { // else it will be read anyway
			j.want(now)
			return scope, true
		}
	}
	return "", false
}

// allowedAt returns when tokens may cause a read of the scope. The caller holds
// mu.
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
	pending := f.jobs // this read answers all requests
	f.jobs = make(map[keystore.Scope]*job)
	for _, j := range pending {
		j.demand.begin(now)
	}
	for scope, at := range f.peerRead {
		if now.Sub(at) > knownInterval {
			delete(f.peerRead, scope)
		}
	}
	f.mu.Unlock()

	records, err := f.list(ctx, f.family.Within)
	f.count(err)
	if ctx.Err() != nil {
		return // waiting tokens see f.ended
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
		f.partly.Store(false)
		f.sweep = nil
	}
	if f.failing != (err != nil) {
		f.failing = err != nil
		f.reads(err)
	}
}

// goOnOneByOne schedules reads after a complete read has failed: another
// complete one, and meanwhile each requested scope by itself. Once a single
// scope could be read, the store works but some record in it cannot be read.
// From then on every known scope is read by itself, and complete reads return
// to their usual interval.
func (f *follower) goOnOneByOne(pending map[keystore.Scope]*job, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.family.Within != keystore.AllScopes {
		f.all.again(0)
		for _, j := range pending {
			j.demand.finish(err)
		}
		return
	}
	now := time.Now()
	for scope, j := range pending {
		if added := f.jobs[scope]; added != nil { // requested again meanwhile
			j.wanted = j.wanted || added.wanted
			if added.demand != nil {
				added.demand.also, j.demand = j.demand, added.demand
			}
		}
		f.jobs[scope] = j
	}
	f.job(keystore.Global, now).want(now)
	if !f.partly.Load() {
		f.all.again(0)
		return
	}
	left := make(map[keystore.Scope]bool, len(f.sweep)) // they come first
	for _, scope := range f.sweep {
		left[scope] = true
	}
	for scope := range f.current.Load().scopes {
		if !left[scope] {
			f.sweep = append(f.sweep, scope)
		}
	}
}

// readScope reads one scope of the family.
func (f *follower) readScope(ctx context.Context, scope keystore.Scope) {
	now := time.Now()
	f.mu.Lock()
	j := f.jobs[scope]
	if j == nil { // all waiting tokens have left
		f.mu.Unlock()
		return
	}
	wanted, waits := j.wanted, j.demand
	j.wanted, j.demand, j.reading = false, nil, true
	waits.begin(now)
	if !wanted {
		f.peerRead[scope] = now
		if !f.known(scope) {
			f.unknown = now
		}
	}
	f.mu.Unlock()

	records, err := f.list(ctx, scope)
	f.count(err)
	if ctx.Err() != nil {
		return
	}
	current := f.current.Load()
	prev := current.scopes[scope]
	switch {
	case err != nil:
		f.publish(current.withReading(scope, reading{failed: now, err: err}))
		f.mu.Lock()
		// A scope whose reads hang must not keep the others from being read: while
		// those can be read, it pauses for as long as its read took.
		took := time.Since(now)
		if wanted && f.partly.Load() {
			j.again(took)
		} else if wanted {
			j.again(0)
		} else if prev != nil {
			// All tokens of the scope depend on it: it is read again soon, by
			// itself if complete reads fail because of another scope.
			if f.partly.Load() {
				j.again(took)
			} else if !f.all.wanted {
				f.all.again(0)
			}
		}
		f.mu.Unlock()
	case len(records) > 0:
		next := f.family.parse(scope, records, prev, now)
		if next == prev {
			f.publish(current.withReading(scope, reading{confirmed: now}))
			break
		}
		f.publish(current.with(scope, next).withReading(scope, reading{confirmed: now}))
		f.published(scope, prev, next)
	default:
		f.publish(current.with(scope, nil).withReading(scope, reading{confirmed: now}))
		if prev != nil {
			f.published(scope, prev, nil)
		}
	}
	waits.finish(err)
	f.mu.Lock()
	defer f.mu.Unlock()
	j.reading = false
	if err != nil {
		return
	}
	j.retry, j.due = 0, now
	if f.failing && !f.partly.Load() { // the store is there
		f.partly.Store(true)
		f.all.want(now)
		f.all.due = now
	}
}

// count counts the reads that fail in a row.
func (f *follower) count(err error) {
	f.failed++
	if err == nil {
		f.failed = 0
	}
}

// list reads the family's records of a scope. It abandons a call that does not
// return within readTimeout.
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
		switch {
		case a.err == nil:
			a.err = cmp.Or(ctx.Err(), checkOrder(a.records)) // a late answer may be of any age
		case scope != keystore.AllScopes && errors.Is(a.err, keystore.ErrName):
			return nil, nil // the store's engine cannot hold records of such a mesh
		}
		return a.records, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("the store did not answer within %s: %w", readTimeout, ctx.Err())
	}
}

// publish replaces the current state.
func (f *follower) publish(s *state) {
	f.current.Store(s)
	f.mu.Lock()
	close(f.updated)
	f.updated = make(chan struct{})
	f.mu.Unlock()
}

// mayRead reports whether a read of the scope by itself may succeed although the
// latest complete read failed.
func (f *follower) mayRead(scope keystore.Scope) bool {
	return f.partly.Load() || f.current.Load().reading(scope, time.Now()).confirmed.IsZero()
}

// loaded returns the state. It waits for the first read to end.
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

// reread waits for a read of the scope that starts after the call, or until
// enough returns true for a new state. If there is no such read, or it fails,
// the error matches token.ErrUnavailable.
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
	if j := f.jobs[scope]; j != nil {
		for j.demand != nil && j.demand.waiters == 0 { // no token waits for it any more
			j.demand = j.demand.also
		}
		if j.demand == nil && !j.wanted && !j.reading { // not left to next, which does not run while a read hangs
			delete(f.jobs, scope)
		}
	}
	f.mu.Unlock()
	return err
}

// enter counts a waiting token, up to maxWaiting.
func (f *follower) enter() (leave func(), err error) {
	if f.waiting.Add(1) > maxWaiting {
		f.waiting.Add(-1)
		return nil, fmt.Errorf("%w: too many tokens wait for the store to be read", token.ErrUnavailable)
	}
	return func() { f.waiting.Add(-1) }, nil
}

// await waits until the read of d is done or enough returns true, for at most
// peerWait. A read that begins only then, since tokens have caused one a
// knownInterval ago, is given peerGrace. A nil d stands for no particular read.
func (f *follower) await(ctx context.Context, d *demand, enough func() bool) error {
	var done chan struct{} // nil blocks forever
	if d != nil {
		done = d.done
	}
	timer := time.NewTimer(peerWait)
	defer timer.Stop()
	last := false // the wait for the read to begin
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
			if d != nil && began == nil && !last { // it may be due at this very moment
				last = true
				timer.Reset(beginGrace)
				continue
			}
			if began != nil && now.Sub(*began) < peerGrace {
				timer.Reset(peerGrace - now.Sub(*began))
				continue
			}
			return fmt.Errorf("%w: the store was not read within %s", token.ErrUnavailable, peerWait)
		case <-ctx.Done():
			return unavailable(context.Cause(ctx))
		case <-f.ended.Done():
			return token.ErrClosed
		}
	}
}

// unavailable wraps an error with token.ErrUnavailable.
func unavailable(err error) error {
	if err == nil || errors.Is(err, token.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", token.ErrUnavailable, err)
}
