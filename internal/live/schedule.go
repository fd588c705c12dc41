package live

import (
	"time"

	"github.com/meshpass/meshpass/keystore"
)

const (
	minRetry = 50 * time.Millisecond // after a failed read, doubling
	maxRetry = 500 * time.Millisecond

	// More changes than this are read with all scopes at once, if that was not
	// done within the interval.
	manyChanges  = 100
	manyInterval = time.Second

	knownInterval   = time.Second // between reads of one scope that tokens cause
	unknownInterval = 100 * time.Millisecond
)

// job is a requested read.
type job struct {
	since  time.Time     // time of the request: the oldest goes first
	wanted bool          // by more than waiting tokens
	due    time.Time     // not before
	retry  time.Duration // the pause after the latest failure
	demand *demand       // of waiting tokens, or nil

	reading bool // by readScope, which needs the job again if the read fails
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

// job returns the job of a scope. The caller holds mu.
func (f *follower) job(scope keystore.Scope, now time.Time) *job {
	j := f.jobs[scope]
	if j == nil {
		j = &job{since: now}
		f.jobs[scope] = j
	}
	return j
}

// next returns the read to make now, of those that are due the one requested
// first: of all scopes, or of one. If many scopes have changed, that is the read
// of all. If none is due, it returns how long to wait.
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
	changes := 0
	for s, j := range f.jobs {
		due := j.due
		if !j.wanted {
			if j.demand == nil { // all waiting tokens have left
				delete(f.jobs, s)
				continue
			}
			due = f.allowedAt(s, now)
		}
		if j.wanted && !due.After(now) {
			changes++
		}
		if consider(j, due) {
			scope, all = s, false
		}
	}
	if changes > manyChanges && !f.failing && now.Sub(f.fullRead) >= manyInterval {
		return "", true, 0
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
