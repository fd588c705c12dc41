// Package sources follows sources of public keys. It reads each of them on its own
// schedule, and keeps what the last good read has found.
package sources

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/internal/limit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// EveryScope stands for every scope.
const EveryScope = keystore.AllScopes

// Place is a source, and whose tokens its keys verify.
type Place struct {
	Scope  keystore.Scope // or EveryScope
	Source signing.Source
}

// Follower follows sources until Close. Each has one goroutine, except for fixed ones.
type Follower struct {
	sources map[keystore.Scope][]*Source
	limit   time.Duration // the shorter limit of staleness
	waiting *limit.Gate
	on      Events
	state   atomic.Pointer[State]

	ended context.Context // done when Close is called
	stop  context.CancelFunc
	done  sync.WaitGroup // of the goroutines that use the sources

	mu      sync.Mutex
	updated chan struct{} // closed when a read has ended
}

// Events are the callbacks of a follower. It calls them on the goroutine of the source.
type Events struct {
	// Changed is called after a read has found a change.
	Changed func(Change)

	// Reads is called when reads of a source start to fail and, with nil, when they
	// work again.
	Reads func(*Source, error)
}

// Change says what has changed in a source. The kids are sorted.
type Change struct {
	Source   *Source
	First    bool     // this was the first read
	Added    []string // kids
	Removed  []string
	Replaced []string // kids that have another key now
	Empty    bool     // the source has no key now
	Problems []string // new ones
}

// New returns a follower that does not read yet, except for fixed sources. waiting
// bounds the tokens that wait.
func New(places []Place, staleness time.Duration, waiting *limit.Gate) *Follower {
	ctx, stop := context.WithCancel(context.Background())
	f := &Follower{sources: make(map[keystore.Scope][]*Source), limit: staleness, waiting: waiting,
		ended: ctx, stop: stop, updated: make(chan struct{})}
	for _, p := range places {
		s := newSource(p)
		if fixed, ok := p.Source.(*signing.Fixed); ok {
			keys, _ := fixed.Read(ctx)
			s.take(keys)
			s.reading.Store(&reading{confirmed: time.Now()})
			s.ended = 1
		}
		f.sources[p.Scope] = append(f.sources[p.Scope], s)
	}
	state := &State{make(map[keystore.Scope]map[string][]*Held)}
	for scope, all := range f.sources {
		state.held[scope] = heldBy(all)
	}
	f.state.Store(state)
	return f
}

// Start begins to read.
func (f *Follower) Start(on Events) {
	f.on = on
	for _, all := range f.sources {
		for _, s := range all {
			if _, ok := s.Source.(*signing.Fixed); !ok {
				f.done.Go(func() { f.run(s) })
			}
		}
	}
}

// Close stops the goroutines and waits until no source is in use, at most readTimeout if
// a source ignores its context.
func (f *Follower) Close() {
	f.stop()
	unused := make(chan struct{})
	go func() { f.done.Wait(); close(unused) }()
	select {
	case <-unused:
	case <-time.After(readTimeout):
	}
}

// State returns the current state.
func (f *Follower) State() *State { return f.state.Load() }

// Staleness returns the time since the oldest of the latest good reads began, or false if
// a source was never read. Fixed sources are always current.
func (f *Follower) Staleness() (oldest time.Duration, read bool) {
	for _, all := range f.sources {
		for _, s := range all {
			r := s.reading.Load()
			if r.confirmed.IsZero() {
				return 0, false
			}
			if _, ok := s.Source.(*signing.Fixed); !ok {
				oldest = max(oldest, time.Since(r.confirmed))
			}
		}
	}
	return oldest, true
}

// run reads a source until Close.
func (f *Follower) run(s *Source) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for f.ended.Err() == nil {
		s.begin(time.Now())
		keys, err := s.read(f.ended, f.done.Go)
		if f.ended.Err() != nil {
			return
		}
		f.end(s, keys, err)
		if !f.pause(s, timer) {
			return
		}
	}
}

// pause waits until the next read is due. It returns false if there is none.
func (f *Follower) pause(s *Source, timer *time.Timer) bool {
	for {
		s.mu.Lock()
		next, never := s.next(), s.due.IsZero() && s.onDemand == 0
		s.mu.Unlock()
		if never {
			return false
		}
		var due <-chan time.Time
		if !next.IsZero() {
			wait := time.Until(next)
			if wait <= 0 {
				return true
			}
			timer.Reset(wait)
			due = timer.C
		}
		select {
		case <-due:
			return true
		case <-s.wake:
		case <-f.ended.Done():
			return false
		}
	}
}

// end takes what a read has found.
func (f *Follower) end(s *Source, keys signing.SourceKeys, err error) {
	var change Change
	if err == nil {
		f.mu.Lock()
		if change = s.take(keys); change.keys() {
			f.state.Store(f.state.Load().with(s.Scope, f.sources[s.Scope]))
		}
		f.mu.Unlock()
		change.First = s.reading.Load().confirmed.IsZero()
	}
	s.reads.count(err)
	s.finish(keys, err, f.limit)
	f.mu.Lock()
	close(f.updated)
	f.updated = make(chan struct{})
	f.mu.Unlock()

	if s.failing != (err != nil) {
		s.failing = err != nil
		f.on.Reads(s, err)
	}
	if change.keys() || change.First || len(change.Problems) > 0 {
		f.on.Changed(change)
	}
}

// keys reports whether keys have changed.
func (c *Change) keys() bool { return len(c.Added)+len(c.Removed)+len(c.Replaced) > 0 }

// take replaces what the source holds. A key that has not changed keeps its pointer.
func (s *Source) take(keys signing.SourceKeys) Change {
	c := Change{Source: s, Empty: true}
	var problems []string
	for _, p := range keys.Problems {
		if p != nil {
			problems = append(problems, p.Error())
		}
	}
	next := make(map[string]*Held, len(keys.Keys))
	for _, kid := range slices.Sorted(maps.Keys(keys.Keys)) {
		key, err := keys.Keys[kid], token.CheckKeyID(kid)
		switch {
		case err == nil && key.Bits() == 0:
			err = fmt.Errorf("the key with kid %q is nil", kid)
		case err == nil && s.chosen && !slices.Contains(s.kids, kid):
			err = fmt.Errorf("there is a key with kid %.64q, which is none of the source's", kid)
		}
		if err != nil {
			problems = append(problems, err.Error())
			continue
		}
		c.Empty = false
		h := &Held{Source: s, Key: key, Chosen: keys.Chosen || s.chosen}
		switch before := s.held[kid]; {
		case before == nil || before.Key == nil:
			c.Added = append(c.Added, kid)
		case !before.Key.Equal(key) || before.Chosen != h.Chosen:
			c.Replaced = append(c.Replaced, kid)
		default:
			h.Key = before.Key
		}
		next[kid] = h
	}
	for _, kid := range slices.Sorted(maps.Keys(s.held)) {
		if next[kid] == nil {
			c.Removed = append(c.Removed, kid)
		}
	}
	s.held = next
	for _, p := range problems {
		if !slices.Contains(s.problems, p) && !slices.Contains(c.Problems, p) {
			c.Problems = append(c.Problems, p)
		}
	}
	s.problems = problems
	return c
}

// MayHave reports whether a source may have a key with a kid for the tokens of a scope,
// now or later.
func (f *Follower) MayHave(scope keystore.Scope, kid string) bool {
	for range f.candidates(scope, kid) {
		return true
	}
	return false
}

// candidates yields the sources that may have a key with a kid for the tokens of a scope.
func (f *Follower) candidates(scope keystore.Scope, kid string) iter.Seq[*Source] {
	return func(yield func(*Source) bool) {
		for _, place := range [...]keystore.Scope{scope, EveryScope} {
			for _, s := range f.sources[place] {
				if s.mayHave(kid) && !yield(s) {
					return
				}
			}
			if scope == EveryScope {
				return
			}
		}
	}
}
