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

	maxFailures = 16                    // reads that fail in a row, before the store is spared
	failurePace = 50 * time.Millisecond // between reads from then on
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
	sweep    []keystore.Scope             // to be read by themselves instead, whether they changed or not
	peerRead map[keystore.Scope]time.Time // when tokens last caused a read of a scope
	unknown  time.Time                    // when they last caused one of a scope not known to exist

	// Used by the reading goroutine only:
	fullRead time.Time // when the latest complete read began
	fullDue  time.Time
	failing  bool        // the latest read of all scopes failed
	partly   atomic.Bool // while single scopes could be read
	jobLast  bool        // the latest read of one scope was not of the sweep
	failed   int         // reads, since one has succeeded
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
		f.all.want(now)
		if f.partly.Load() && f.all.due.After(now) {
			f.sweepKnown()
		}
	case f.family.Within != keystore.AllScopes && f.family.Within != scope:
	case keystore.CheckScope(scope) == nil: // else the scope cannot be read
		f.job(scope, now).want(now)
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

// run makes the reads that are due, until ctx ends.
func (f *follower) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		r, wait := f.next(time.Now())
		if wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
			case <-f.wake:
			case <-timer.C:
			}
			continue
		}
		if r.scope == keystore.AllScopes {
			f.readAll(ctx)
		} else {
			f.readScope(ctx, r)
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
	f.fullRead, f.fullDue = now, now.Add(fullInterval-rand.N(fullInterval/10))
	if err != nil {
		next := *prev
		next.full.failed, next.full.err = now, err
		f.publish(&next)
		f.goOnOneByOne(pending, time.Since(now), err)
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
		f.sweep = nil
		f.mu.Unlock()
		f.partly.Store(false)
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
// to their usual interval, with pauses of twice the time that they take.
func (f *follower) goOnOneByOne(pending map[keystore.Scope]*job, took time.Duration, err error) {
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
		if j.forsaken() {
			continue
		}
		if added := f.jobs[scope]; added != nil { // requested again meanwhile
			j.wanted = j.wanted || added.wanted
			if added.demand != nil {
				added.demand.also, j.demand = j.demand, added.demand
			}
		}
		f.jobs[scope] = j
	}
	global := f.job(keystore.Global, now)
	global.want(now)
	global.since = time.Time{} // first, since the tokens of all scopes depend on it
	if !f.partly.Load() {
		f.all.again(0)
		for scope := range f.current.Load().scopes { // a random one: the global scope may be what cannot be read
			f.sweep = []keystore.Scope{scope}
			break
		}
		return
	}
	f.all.pause(2 * took) // the scope may hang for as long, and the others must be read too
	f.sweepKnown()
}

// readScope reads one scope of the family.
func (f *follower) readScope(ctx context.Context, r read) {
	scope, now := r.scope, time.Now()
	f.mu.Lock()
	if r.swept {
		f.job(scope, now)
	}
	j := f.jobs[scope]
	if j == nil { // all waiting tokens have left
		f.mu.Unlock()
		return
	}
	wanted, waits := j.wanted, j.demand
	j.wanted, j.demand, j.reading = false, nil, true
	waits.begin(now)
	if !wanted && !r.swept {
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
		if wanted || prev != nil { // else only a peer knows of the scope, and it is not read again soon
			f.publish(current.withReading(scope, reading{failed: now, err: err}))
		}
		f.mu.Lock()
		// All tokens of the scope depend on it: it is read again soon, by itself if
		// complete reads fail because of another scope.
		switch partly := f.partly.Load(); {
		case partly && (wanted || prev != nil):
			// A scope whose reads hang must not keep the others from being read: while
			// those can be read, it pauses for as long as its read took.
			j.again(time.Since(now))
		case wanted:
			j.again(0)
		case prev != nil && !f.all.wanted:
			f.all.again(0)
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

// unavailable wraps an error with token.ErrUnavailable.
func unavailable(err error) error {
	if err == nil || errors.Is(err, token.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", token.ErrUnavailable, err)
}
