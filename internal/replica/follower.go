package replica

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/internal/jitter"
	"github.com/meshpass/meshpass/internal/limit"
	"github.com/meshpass/meshpass/keystore"
)

// The limits on reads of the store.
const (
	fullInterval = 30 * time.Second       // between complete reads, even if a watch announces no change
	minInterval  = 250 * time.Millisecond // the shortest, for a short limit of staleness
	zeroInterval = time.Second            // for the limit 0

	readTimeout = 5 * time.Second        // a read that makes no progress for longer has failed
	longRead    = 250 * time.Millisecond // a longer read goes on beside others
	maxSingle   = 3                      // reads of single scopes at the same time

	// Calls of the store that have not returned, timed out or not. A single scope has one
	// of them at most, so that it leaves some for the others.
	maxHanging    = 8
	maxHangingAll = 2 // of all scopes at once

	maxFailures = 16                    // reads that fail in a row before reads slow down
	failurePace = 50 * time.Millisecond // between reads after that
)

// Follower keeps the state of a family up to date with its store. One goroutine begins
// all reads and takes their answers. It waits for each read, but not for long ones: they
// go on beside others, so that a scope whose reads are slow or hang delays no other.
// Older data never overwrites newer data: an answer counts only if its read began after
// the latest one whose answer was taken.
//
// A read covers either all scopes or one. The follower makes the reads that are due
// in the order of their requests. Each scope whose read fails backs off separately,
// so that it blocks no other. While reads of all scopes at once fail, the follower
// reads the scopes one by one, in turns with the requested reads.
type Follower struct {
	family   *Family
	store    keystore.KeyStore
	prefixes []string      // of the names to read
	maxStale time.Duration // a store that cannot be read must be noticed within it
	on       Events

	current atomic.Pointer[State] // nil before the first read has ended
	ended   context.Context       // done when Close is called
	stop    context.CancelFunc
	done    sync.WaitGroup // of the goroutines that use the store
	wake    chan struct{}
	answers chan answer

	waiting *limit.Gate // of tokens that wait for a read

	complete, single reads

	mu       sync.Mutex
	updated  chan struct{} // closed when the next state is published
	all      *job          // the read of all scopes
	jobs     map[keystore.Scope]*job
	sweep    []keystore.Scope             // to read one by one, changed or not, while complete reads fail
	hanging  map[keystore.Scope]int       // calls of the store that have not returned
	peerRead map[keystore.Scope]time.Time // when tokens last caused a read of a scope
	unknown  time.Time                    // when tokens last caused a read of an unknown scope

	// Used by the reading goroutine only:
	running  map[keystore.Scope]*running
	emptied  map[keystore.Scope]bool // found without records while a complete read goes on
	fullRead time.Time               // when the latest complete read began
	fullTook time.Duration
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

// Follow follows a store until Close. It reads the records whose names begin with one of
// the prefixes: all records of the family, or only its lists. No prefix begins with
// another. It notices within maxStale, or within half a minute if that is shorter, that
// the store can no longer be read or that the watch has stopped silently.
func Follow(family *Family, store keystore.KeyStore, prefixes []string, maxStale time.Duration, waiting *limit.Gate, on Events) *Follower {
	ctx, stop := context.WithCancel(context.Background())
	f := &Follower{
		family:   family,
		store:    store,
		prefixes: prefixes,
		maxStale: maxStale,
		waiting:  waiting,
		on:       on,
		fullTook: fullInterval, // so that the pause after the first read is as long as that read
		ended:    ctx,
		stop:     stop,
		wake:     make(chan struct{}, 1),
		answers:  make(chan answer),
		running:  make(map[keystore.Scope]*running),
		updated:  make(chan struct{}),
		all:      &job{}, // due at once: the first read does not wait for the watch
		jobs:     make(map[keystore.Scope]*job),
		hanging:  make(map[keystore.Scope]int),
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
		f.job(scope).want(now)
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

// running is a read that has begun.
type running struct {
	scope keystore.Scope // AllScopes: all of the family
	began time.Time

	// Of a complete read:
	pending map[keystore.Scope]*job // the requests that it answers
	partly  bool                    // single scopes could be read when it began

	// Of a read of one scope:
	job    *job
	wanted bool
	waits  *demand
}

// answer is what a read has found, or why it failed.
type answer struct {
	*running
	found  found  // by a read of one scope
	parts  []part // found by a complete read
	mayLag bool
	err    error
}

// confirmed is the reading of an answer without an error.
func (a *answer) confirmed() reading { return reading{confirmed: a.began, mayLag: a.mayLag} }

// part is what a complete read has found in one scope. It is parsed while the read goes on,
// so that the store's answer need not be kept.
type part struct {
	scope keystore.Scope
	next  *content
}

// run makes the reads that are due, until ctx ends.
func (f *Follower) run(ctx context.Context) {
	timer := time.NewTimer(0)
	for ctx.Err() == nil {
		var begun *running
		wake := f.wake
		f.mu.Lock()
		r, wait := f.next(time.Now())
		if wait == 0 {
			begun = f.begin(ctx, r)
			wait, wake = longRead, nil
		}
		f.mu.Unlock()
		timer.Reset(wait)
		for waiting := true; waiting; {
			select {
			case <-ctx.Done(): // waiting tokens see f.ended
				return
			case <-wake:
				waiting = false
			case <-timer.C:
				waiting = false
				if begun != nil {
					f.goOn(begun)
				}
			case a := <-f.answers:
				f.end(a)
				waiting = begun != nil && a.running != begun
			}
		}
		if begun != nil && f.failed > maxFailures { // each scope backs off separately, but there may be thousands
			timer.Reset(failurePace)
			for paused := true; paused; {
				select {
				case <-ctx.Done():
					return
				case <-timer.C:
					paused = false
				case a := <-f.answers:
					f.end(a)
				}
			}
		}
	}
}

// begin begins a read. The caller holds mu.
func (f *Follower) begin(ctx context.Context, r read) *running {
	b := &running{scope: r.scope, began: time.Now()}
	if b.scope == keystore.AllScopes {
		f.all.wanted = false
		f.emptied = make(map[keystore.Scope]bool)
		b.partly = f.partly.Load()
		b.pending = f.jobs // this read answers all requests
		f.jobs = make(map[keystore.Scope]*job)
		for scope, j := range b.pending {
			if j.reading {
				f.jobs[scope] = j
				delete(b.pending, scope)
				continue
			}
			j.demand.begin(b.began)
		}
		for scope, at := range f.peerRead {
			if b.began.Sub(at) > knownInterval {
				delete(f.peerRead, scope)
			}
		}
	} else {
		b.job = f.job(b.scope)
		b.wanted, b.waits = b.job.wanted, b.job.demand
		b.job.wanted, b.job.demand, b.job.reading = false, nil, true
		b.waits.begin(b.began)
		if !b.wanted && !r.swept {
			f.peerRead[b.scope] = b.began
			if !f.known(b.scope) {
				f.unknown = b.began
			}
		}
	}
	f.running[b.scope] = b
	f.list(ctx, b)
	return b
}

// goOn lets a read that takes long go on beside others.
func (f *Follower) goOn(b *running) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restore(b.pending)
	b.pending = nil
}

// end takes the answer of a read.
func (f *Follower) end(a answer) {
	delete(f.running, a.scope)
	f.count(a)
	f.failed++
	if a.err == nil {
		f.failed = 0
	}
	if a.scope == keystore.AllScopes {
		f.endAll(a)
	} else {
		f.endScope(a)
	}
}

// endAll takes the answer of a read of all scopes.
func (f *Follower) endAll(a answer) {
	prev := f.current.Load()
	if prev == nil {
		prev = &State{overdue: f.overdue()}
	}
	ended := time.Now()
	interval, took := f.interval(), ended.Sub(a.began)
	pause := min(took, f.fullTook, interval) // of two reads, since a single one that hung must not delay the next change
	f.fullTook = took
	f.fullRead, f.fullDue = a.began, later(a.began.Add(interval-jitter.N(interval/10)), ended.Add(pause))
	if a.err != nil {
		next := *prev
		next.full.failed, next.full.err = a.began, a.err
		f.publish(&next)
		f.goOnOneByOne(a.running, took, a.err)
	} else {
		next, changed := f.merge(prev, a.parts, a.confirmed())
		f.publish(next)
		for _, scope := range changed {
			f.changed(scope, prev.scopes.get(scope), next.scopes.get(scope))
		}
		for _, j := range a.pending {
			j.demand.finish(nil)
		}
		f.mu.Lock()
		f.all.retry, f.all.due = 0, ended.Add(pause)
		f.sweep = nil
		f.mu.Unlock()
		f.partly.Store(false)
	}
	if f.failing != (a.err != nil) {
		f.failing = a.err != nil
		f.on.Reads(a.err)
	}
}

// merge returns the state after a successful read of all scopes, and the scopes that have
// changed. What a read of a single scope has confirmed since the beginning is newer and
// stays.
func (f *Follower) merge(prev *State, found []part, full reading) (next *State, changed []keystore.Scope) {
	newer := func(scope keystore.Scope, own reading) bool {
		return f.emptied[scope] || own.confirmed.After(full.confirmed)
	}
	edit := prev.scopes.edit()
	unseen := prev.scopes.len
	for _, p := range found {
		before := prev.scopes.get(p.scope)
		if before != nil {
			unseen--
		}
		// A read of the scope alone may have found the same meanwhile.
		if before != nil && p.next.same(before) || newer(p.scope, prev.own(p.scope)) {
			continue
		}
		edit.put(p.scope, p.next)
		changed = append(changed, p.scope)
	}
	if unseen > 0 {
		seen := make(map[keystore.Scope]bool, len(found))
		for _, p := range found {
			seen[p.scope] = true
		}
		for scope := range prev.scopes.all() {
			if !seen[scope] && !newer(scope, prev.own(scope)) {
				edit.put(scope, nil)
				changed = append(changed, scope)
			}
		}
	}
	next = &State{scopes: edit.scopes, strays: prev.strays, full: full, overdue: f.overdue()}
	if len(changed) > 0 {
		next.findStrays()
	}
	for scope, r := range prev.empty {
		if newer(scope, r) {
			if next.empty == nil {
				next.empty = make(map[keystore.Scope]reading)
			}
			next.empty[scope] = r
		}
	}
	return next, changed
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
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
func (f *Follower) goOnOneByOne(failed *running, took time.Duration, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.family.Within != keystore.AllScopes {
		f.all.again(0)
		for _, j := range failed.pending {
			j.demand.finish(err)
		}
		return
	}
	f.restore(failed.pending)
	now := time.Now()
	global := f.job(keystore.Global)
	global.want(now)
	global.since = time.Time{} // goes first, since the tokens of all scopes depend on it
	switch {
	case !f.partly.Load():
		f.all.again(0)
		for scope := range f.current.Load().scopes.all() { // a random one, since the global scope may be the unreadable one
			f.sweep = []keystore.Scope{scope}
			break
		}
		return
	case !failed.partly: // the store came back while this read hung
		f.all.again(0)
		return
	}
	f.all.pause(2 * took) // leaves time for the other scopes, even if one hangs
	if f.fullDue.Before(f.all.due) {
		f.fullDue = f.all.due
	}
	f.sweepKnown()
}

// restore requests reads again that a complete read has not answered. The caller holds
// mu.
func (f *Follower) restore(pending map[keystore.Scope]*job) {
	for scope, j := range pending {
		if added := f.jobs[scope]; added != nil { // requested again meanwhile
			j.wanted = j.wanted || added.wanted
			if added.demand != nil {
				added.demand.also, j.demand = j.demand, added.demand
			}
		}
		f.jobs[scope] = j
	}
}

// endScope takes the answer of a read of one scope.
func (f *Follower) endScope(a answer) {
	scope, j := a.scope, a.job
	current := f.current.Load()
	prev := current.scopes.get(scope)
	confirmed := a.confirmed()
	switch {
	case a.err != nil:
		if a.wanted || prev != nil { // else only a peer named the scope, and it is not read again soon
			f.publish(current.withReading(scope, reading{failed: a.began, err: a.err}))
		}
		f.mu.Lock()
		// All tokens of the scope depend on this read, so retry soon. If complete reads
		// fail because of another scope, retry this scope alone.
		switch partly := f.partly.Load(); {
		case partly && (a.wanted || prev != nil):
			// A scope whose reads hang takes no more than half of the time.
			j.again(time.Since(a.began))
		case a.wanted:
			j.again(0)
		case prev != nil && !f.all.wanted:
			f.all.again(0)
		}
		f.mu.Unlock()
	case current.full.confirmed.After(a.began): // a complete read has overtaken this one
	case len(a.found.records)+len(a.found.unreadable) > 0:
		next := f.family.parse(scope, a.found, prev, current.confirmed(scope, a.began))
		if next == prev {
			f.publish(current.withReading(scope, confirmed))
			break
		}
		f.publish(current.with(scope, next).withReading(scope, confirmed))
		f.changed(scope, prev, next)
	default:
		f.publish(current.with(scope, nil).withReading(scope, confirmed))
		if all := f.running[keystore.AllScopes]; all != nil && a.began.After(all.began) && (a.wanted || prev != nil) {
			f.emptied[scope] = true // a State forgets it if there are more than maxEmpty
		}
		if prev != nil {
			f.changed(scope, prev, nil)
		}
	}
	a.waits.finish(a.err)
	f.mu.Lock()
	defer f.mu.Unlock()
	j.reading = false
	if a.err != nil {
		return
	}
	j.retry, j.due = 0, a.began
	if f.failing && !f.partly.Load() { // the store works
		f.partly.Store(true)
		f.all.due = a.began // it is wanted, or goes on
	}
}

// list begins to read the family's records of a scope. The answer comes from the store,
// or says that the call has neither returned nor made progress for readTimeout. Such a
// call is abandoned. The caller holds mu.
func (f *Follower) list(ctx context.Context, b *running) {
	var given atomic.Bool
	answered := func(a answer) { // the first one counts
		if given.Swap(true) {
			return
		}
		a.running = b
		select {
		case f.answers <- a:
		case <-f.ended.Done():
		}
	}
	scope, most := b.scope, 1
	if scope == keystore.AllScopes {
		scope, most = f.family.Within, maxHangingAll
	}
	all := 0
	for _, n := range f.hanging {
		all += n
	}
	if own := f.hanging[b.scope]; own >= most || all >= maxHanging {
		f.done.Go(func() {
			answered(answer{err: fmt.Errorf("earlier reads have not returned: %d of the same records, %d in all", own, all)})
		})
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	limit := time.AfterFunc(readTimeout, func() {
		answered(answer{err: fmt.Errorf("the store did not answer within %s: %w", readTimeout, context.DeadlineExceeded)})
		cancel() // afterwards, since an answer that comes this late may be old
	})
	progressed := func() { limit.Reset(readTimeout) }
	f.hanging[b.scope]++
	f.done.Go(func() {
		defer cancel()
		a := answer{}
		ctx, mayLag := keystore.WithLag(keystore.WithProgress(ctx, progressed))
		if b.scope == keystore.AllScopes {
			a.parts, a.err = f.readAll(ctx, progressed)
		} else {
			a.found, a.err = f.read(ctx, scope)
		}
		limit.Stop()
		f.returned(b.scope)
		a.mayLag = mayLag()
		answered(a)
	})
}

// readAll lists and parses the records of all scopes of the family.
func (f *Follower) readAll(ctx context.Context, progressed func()) (parts []part, err error) {
	seen := make(map[keystore.Scope]bool)
	began := time.Now()
	take := func(scope keystore.Scope, in found) error {
		if err := checkListed(scope, in); err != nil {
			return err
		}
		if seen[scope] {
			return fmt.Errorf("the store listed scope %q twice: want its records together", scope)
		}
		seen[scope] = true
		var prev *content
		confirmed := began
		if s := f.current.Load(); s != nil {
			prev, confirmed = s.scopes.get(scope), s.confirmed(scope, began)
		}
		parts = append(parts, part{scope, f.family.parse(scope, in, prev, confirmed)})
		progressed()
		return ctx.Err()
	}
	if f.family.Within != keystore.AllScopes {
		in, err := f.read(ctx, f.family.Within)
		if err == nil && len(in.records)+len(in.unreadable) > 0 {
			err = take(f.family.Within, in)
		}
		return parts, err
	}
	store, prefix := f.store, f.prefixes[0]
	if len(f.prefixes) > 1 {
		store = severalPrefixes{f.store, f}
	}
	err = keystore.ListScopes(ctx, store, prefix, func() keystore.EachScope {
		clear(seen)
		parts = parts[:0]
		return func(scope keystore.Scope, records []keystore.Record, unreadable []*keystore.Error) error {
			return take(scope, found{records, unreadable})
		}
	})
	return parts, err
}

// severalPrefixes is a store whose List returns the names with each prefix of a follower.
type severalPrefixes struct {
	keystore.KeyStore
	f *Follower
}

func (s severalPrefixes) List(ctx context.Context, scope keystore.Scope, _ string) ([]keystore.Record, error) {
	in, err := s.f.read(ctx, scope)
	return in.records, cmp.Or(err, keystore.Unreadable(in.unreadable))
}

// read lists the records of a scope with each prefix.
func (f *Follower) read(ctx context.Context, scope keystore.Scope) (in found, err error) {
	for _, prefix := range f.prefixes {
		records, err := f.store.List(ctx, scope, prefix)
		unreadable, err := keystore.SplitUnreadable(err)
		if err = cmp.Or(err, checkListed(scope, found{records, unreadable})); err != nil {
			return found{}, err
		}
		in.records = append(in.records, records...)
		in.unreadable = append(in.unreadable, unreadable...)
	}
	slices.SortFunc(in.records, keystore.CompareRecords) // those of several prefixes
	return in, nil
}

// returned notes that a call of the store has returned.
func (f *Follower) returned(scope keystore.Scope) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hanging[scope]--; f.hanging[scope] == 0 {
		delete(f.hanging, scope)
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

// checkListed rejects records of a scope, or of all, that are not those or not sorted as
// KeyStore.List requires. This also finds duplicate records. To pass over a record that the
// store gives in the wrong scope could be to pass over what revokes a token.
func checkListed(scope keystore.Scope, in found) error {
	foreign := func(of keystore.Scope) bool { return of != scope && scope != keystore.AllScopes }
	for i, r := range in.records {
		if foreign(r.Scope) {
			return fmt.Errorf("the store listed %q of scope %q in scope %q", r.Name, r.Scope, scope)
		}
		if i > 0 && keystore.CompareRecords(in.records[i-1], r) >= 0 {
			return fmt.Errorf("the store listed %q after %q: want every record once, sorted by scope and name", r.Name, in.records[i-1].Name)
		}
	}
	for _, err := range in.unreadable {
		if foreign(err.Scope) && !errors.Is(err, keystore.ErrScopeUnknown) {
			return fmt.Errorf("the store listed the unreadable %q of scope %q in scope %q", err.Name, err.Scope, scope)
		}
	}
	return nil
}
