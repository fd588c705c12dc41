package replica

import (
	"cmp"
	"strings"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

const (
	minRetry = 50 * time.Millisecond // after the first failed read; doubles each time
	maxRetry = 500 * time.Millisecond

	// After more changes than manyChanges, one read covers all scopes, at most once
	// in manyInterval.
	manyChanges  = 100
	manyInterval = time.Second

	knownInterval   = time.Second // between reads of one scope that tokens cause
	unknownInterval = 100 * time.Millisecond
)

// job is a requested read.
type job struct {
	since  time.Time     // time of the request: the oldest goes first
	wanted bool          // not only by waiting tokens
	due    time.Time     // no earlier
	retry  time.Duration // the pause after the latest failure
	demand *demand       // of waiting tokens, or nil

	reading bool // a read has begun, and needs the job again if it fails
}

func (j *job) want(now time.Time) {
	if !j.wanted {
		j.wanted, j.since = true, now
	}
}

// pause delays the next read: each time for longer, and for at least the given time.
func (j *job) pause(atLeast time.Duration) {
	j.retry = min(max(2*j.retry, minRetry), maxRetry)
	j.due = time.Now().Add(max(j.retry, atLeast))
}

// again requests the read once more, after a pause.
func (j *job) again(atLeast time.Duration) {
	j.pause(atLeast)
	j.want(time.Now())
}

// forsaken forgets the tokens that no longer wait, and reports whether the read is
// no longer requested.
func (j *job) forsaken() bool {
	for j.demand != nil && j.demand.waiters == 0 {
		j.demand = j.demand.also
	}
	return !j.wanted && j.demand == nil
}

// read is a read to make now.
type read struct {
	scope keystore.Scope // AllScopes: all of the family
	swept bool           // by the sweep, requested or not
}

// job returns the job of a scope. The caller holds mu.
func (f *Follower) job(scope keystore.Scope) *job {
	j := f.jobs[scope]
	if j == nil {
		j = &job{}
		f.jobs[scope] = j
	}
	return j
}

// next returns the read to make now: of the reads that are due, the one requested
// first, and of these that with the first scope by name. If many scopes have changed, it is
// the read of all scopes. If no read is due, next returns how long to wait. The caller holds
// mu.
func (f *Follower) next(now time.Time) (r read, wait time.Duration) {
	var first *job
	wait = fullInterval
	consider := func(j *job, due time.Time, scope keystore.Scope) {
		if due.After(now) {
			wait = min(wait, due.Sub(now))
		} else if first == nil || cmp.Or(j.since.Compare(first.since), strings.Compare(string(scope), string(r.scope))) < 0 {
			first, r.scope = j, scope
		}
	}
	switch {
	case f.running[keystore.AllScopes] != nil:
	case f.all.wanted:
		consider(f.all, f.all.due, keystore.AllScopes)
	default:
		f.all.since = f.fullDue
		consider(f.all, f.fullDue, keystore.AllScopes)
	}
	singles := len(f.running)
	if f.running[keystore.AllScopes] != nil {
		singles--
	}
	changes := 0
	mayBegin := singles < maxSingle && f.current.Load() != nil // else there is no state to add one scope to
	if mayBegin {
		for scope, j := range f.jobs {
			if j.reading {
				continue
			}
			if j.forsaken() {
				delete(f.jobs, scope)
				continue
			}
			due := j.due
			if !j.wanted {
				due = f.allowedAt(scope, now)
			}
			if j.wanted && !due.After(now) {
				changes++
			}
			consider(j, due, scope)
		}
	}
	if changes > manyChanges && !f.failing && f.running[keystore.AllScopes] == nil && now.Sub(f.fullRead) >= manyInterval {
		return read{scope: keystore.AllScopes}, 0
	}
	if mayBegin && (first == nil || f.jobLast && first != f.all) {
		if scope, ok := f.nextOfSweep(); ok {
			f.jobLast = false
			return read{scope, true}, 0
		}
	}
	if first != nil {
		wait, f.jobLast = 0, first != f.all
	}
	return r, wait
}

// sweepKnown adds every known scope to the sweep. The caller holds mu.
func (f *Follower) sweepKnown() {
	left := make(map[keystore.Scope]bool, len(f.sweep)) // these stay first
	for _, scope := range f.sweep {
		left[scope] = true
	}
	for scope := range f.current.Load().scopes.all() {
		if !left[scope] {
			f.sweep = append(f.sweep, scope)
		}
	}
}

// nextOfSweep returns the next scope of the sweep. The caller holds mu.
func (f *Follower) nextOfSweep() (keystore.Scope, bool) {
	for len(f.sweep) > 0 {
		scope := f.sweep[0]
		f.sweep = f.sweep[1:]
		if j := f.jobs[scope]; j == nil || !j.wanted && !j.reading { // else its job reads it
			return scope, true
		}
	}
	return "", false
}

// allowedAt returns when tokens may cause a read of the scope. The caller holds
// mu.
func (f *Follower) allowedAt(scope keystore.Scope, now time.Time) time.Time {
	due := now
	if last, ok := f.peerRead[scope]; ok {
		due = last.Add(knownInterval)
	}
	if next := f.unknown.Add(unknownInterval); !f.known(scope) && next.After(due) {
		due = next
	}
	return due
}

func (f *Follower) known(scope keystore.Scope) bool {
	s := f.current.Load()
	return s != nil && s.scopes.get(scope) != nil
}
