package replica

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

// The limits on reads of the store.
const (
	fullInterval = 30 * time.Second       // between complete reads, even if a watch announces no change
	minInterval  = 250 * time.Millisecond // the shortest, for a short limit of staleness
	zeroInterval = time.Second            // for the limit 0

	readTimeout = 5 * time.Second // a longer read has failed
	maxHanging  = 4               // reads that timed out and have not returned yet

	maxFailures = 16                    // reads that fail in a row before reads slow down
	failurePace = 50 * time.Millisecond // between reads after that
)

// Follower keeps the state of a family up to date with its store. One goroutine
// makes all reads, one after the other, so that older data never overwrites newer
// data.
//
// A read covers either all scopes or one. The follower makes the reads that are due
// in the order of their requests. Each scope whose read fails backs off separately,
// so that it blocks no other. While reads of all scopes at once fail, the follower
// reads the scopes one by one, in turns with the requested reads.
type Follower struct {
	family   *Family
	store    keystore.KeyStore
	prefix   string        // of the names to read
	maxStale time.Duration // a store that cannot be read must be noticed within it
	on       Events

	current atomic.Pointer[State] // nil before the first read has ended
	ended   context.Context       // done when Close is called
	stop    context.CancelFunc
	done    sync.WaitGroup // of the goroutines that use the store
	hanging atomic.Int32   // calls of the store that have not returned
	wake    chan struct{}

	waiting atomic.Int32 // tokens that wait for a read

	mu       sync.Mutex
	updated  chan struct{} // closed when the next state is published
	all      *job          // the read of all scopes
	jobs     map[keystore.Scope]*job
	sweep    []keystore.Scope             // to read one by one, changed or not, while complete reads fail
	peerRead map[keystore.Scope]time.Time // when tokens last caused a read of a scope
	unknown  time.Time                    // when tokens last caused a read of an unknown scope

	// Used by the reading goroutine only:
	fullRead time.Time // when the latest complete read began
	fullDue  time.Time
	failing  bool        // the latest read of all scopes failed
	partly   atomic.Bool // meanwhile reads of single scopes succeed
	jobLast  bool        // the latest read of one scope was not of the sweep
	failed   int         // reads since the last successful one
}

// Events are the callbacks of a follower. It calls them on its reading goroutine.
type Events struct {
	// Changed is called after a read has found that a scope has changed.
	Changed func(Change)

	// Reads is called when complete reads start to fail and, with nil, when they
	// work again.
	Reads func(error)
}

// Follow follows a store until Close. It reads the records whose names begin with
// prefix: all records of the family, or only its lists. It notices within maxStale,
// or within half a minute if that is shorter, that the store can no longer be read
// or that the watch has stopped silently.
func Follow(family *Family, store keystore.KeyStore, prefix string, maxStale time.Duration, on Events) *Follower {
	ctx, stop := context.WithCancel(context.Background())
	f := &Follower{
		family:   family,
		store:    store,
		prefix:   prefix,
		maxStale: maxStale,
		on:       on,
		ended:    ctx,
		stop:     stop,
		wake:     make(chan struct{}, 1),
		updated:  make(chan struct{}),
		all:      &job{wanted: true}, // the first read does not wait for the watch
		jobs:     make(map[keystore.Scope]*job),
		peerRead: make(map[keystore.Scope]time.Time),
	}
	f.done.Go(func() { keystore.Follow(ctx, store, f.note) })
	f.done.Go(func() { f.run(ctx) })
	return f
}

// Close stops the goroutines and waits until the store is no longer in use, at
// most readTimeout if the store ignores its context.
func (f *Follower) Close() {
	f.stop()
	unused := make(chan struct{})
	go func() { f.done.Wait(); close(unused) }()
	select {
	case <-unused:
	case <-time.After(readTimeout):
	}
}

// note records an announced change.
func (f *Follower) note(scope keystore.Scope) {
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

func (f *Follower) signal() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// run makes the reads that are due, until ctx ends.
func (f *Follower) run(ctx context.Context) {
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
		if f.failed > maxFailures { // each scope backs off separately, but there may be thousands
			timer.Reset(failurePace)
			select {
			case <-ctx.Done():
			case <-timer.C:
			}
		}
	}
}

// readAll reads every scope of the family.
func (f *Follower) readAll(ctx context.Context) {
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
		prev = &State{overdue: f.overdue()}
	}
	interval := f.interval()
	f.fullRead, f.fullDue = now, now.Add(interval-rand.N(interval/10))
	if err != nil {
		next := *prev
		next.full.failed, next.full.err = now, err
		f.publish(&next)
		f.goOnOneByOne(pending, time.Since(now), err)
	} else {
		next := &State{scopes: make(map[keystore.Scope]*content), full: reading{confirmed: now}, overdue: f.overdue()}
		for scope, group := range split(records) {
			next.scopes[scope] = f.family.parse(scope, group, prev.scopes[scope], now)
		}
		f.publish(next)
		for scope, s := range next.scopes {
			if s != prev.scopes[scope] {
				f.changed(scope, prev.scopes[scope], s)
			}
		}
		for scope, s := range prev.scopes {
			if next.scopes[scope] == nil {
				f.changed(scope, s, nil)
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
		f.on.Reads(err)
	}
}

// interval returns the time between complete reads: short enough that two of them fit
// into maxStale.
func (f *Follower) interval() time.Duration {
	if f.maxStale == 0 {
		return zeroInterval
	}
	return min(max(f.maxStale/2, minInterval), fullInterval)
}

// overdue returns the age of a state at which its next read should have ended.
func (f *Follower) overdue() time.Duration {
	interval := f.interval()
	if interval < fullInterval {
		return max(f.maxStale, 2*interval)
	}
	return interval + readTimeout
}

// goOnOneByOne schedules reads after a complete read has failed: another complete
// read, and meanwhile a read of each requested scope. Once a single scope could be
// read, the store works, but it has a record that cannot be read. From then on the
// follower reads every known scope separately, and complete reads return to their
// usual interval, with pauses of at least twice the time that they take.
func (f *Follower) goOnOneByOne(pending map[keystore.Scope]*job, took time.Duration, err error) {
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
	global.since = time.Time{} // goes first, since the tokens of all scopes depend on it
	if !f.partly.Load() {
		f.all.again(0)
		for scope := range f.current.Load().scopes { // a random one, since the global scope may be the unreadable one
			f.sweep = []keystore.Scope{scope}
			break
		}
		return
	}
	f.all.pause(2 * took) // leaves time for the other scopes, even if one hangs
	if f.fullDue.Before(f.all.due) {
		f.fullDue = f.all.due
	}
	f.sweepKnown()
}

// readScope reads one scope of the family.
func (f *Follower) readScope(ctx context.Context, r read) {
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
		if wanted || prev != nil { // else only a peer named the scope, and it is not read again soon
			f.publish(current.withReading(scope, reading{failed: now, err: err}))
		}
		f.mu.Lock()
		// All tokens of the scope depend on this read, so retry soon. If complete reads
		// fail because of another scope, retry this scope alone.
		switch partly := f.partly.Load(); {
		case partly && (wanted || prev != nil):
			// A scope whose reads hang must not block the others: it pauses for as long
			// as its read took.
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
		f.changed(scope, prev, next)
	default:
		f.publish(current.with(scope, nil).withReading(scope, reading{confirmed: now}))
		if prev != nil {
			f.changed(scope, prev, nil)
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
	if f.failing && !f.partly.Load() { // the store works
		f.partly.Store(true)
		f.all.want(now)
		f.all.due = now
	}
}

// count counts the reads that fail in a row.
func (f *Follower) count(err error) {
	f.failed++
	if err == nil {
		f.failed = 0
	}
}

// list reads the family's records of a scope. It abandons a call that does not
// return within readTimeout.
func (f *Follower) list(ctx context.Context, scope keystore.Scope) ([]keystore.Record, error) {
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
			a.err = cmp.Or(ctx.Err(), checkOrder(a.records)) // a late answer may be old
		}
		return a.records, a.err
	case <-ctx.Done():
		return nil, fmt.Errorf("the store did not answer within %s: %w", readTimeout, ctx.Err())
	}
}

// changed tells the owner that a scope has changed.
func (f *Follower) changed(scope keystore.Scope, prev, next *content) {
	f.on.Changed(Change{Scope: scope, State: f.current.Load(), prev: prev, next: next})
}

// State returns the current state, or nil before the first read has ended.
func (f *Follower) State() *State { return f.current.Load() }

// Staleness returns the time since the last successful complete read began, or false
// if there was none.
func (f *Follower) Staleness() (time.Duration, bool) {
	s := f.current.Load()
	if s == nil || s.full.confirmed.IsZero() {
		return 0, false
	}
	return time.Since(s.full.confirmed), true
}

// publish replaces the current state.
func (f *Follower) publish(s *State) {
	f.current.Store(s)
	f.mu.Lock()
	close(f.updated)
	f.updated = make(chan struct{})
	f.mu.Unlock()
}

// checkOrder rejects records that are not sorted as KeyStore.List requires. This
// also finds duplicate records.
func checkOrder(records []keystore.Record) error {
	for i := 1; i < len(records); i++ {
		a, b := records[i-1], records[i]
		if keystore.CompareRecords(a, b) >= 0 {
			return fmt.Errorf("the store listed %q after %q: want every record once, sorted by scope and name", b.Name, a.Name)
		}
	}
	return nil
}

// split groups the records of a complete read by scope.
func split(records []keystore.Record) map[keystore.Scope][]keystore.Record {
	groups := make(map[keystore.Scope][]keystore.Record)
	for _, r := range records {
		groups[r.Scope] = append(groups[r.Scope], r)
	}
	return groups
}
