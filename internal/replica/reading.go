package replica

import (
	"errors"
	"math"
	"time"
)

// reading holds when the store last confirmed a state and when a read last
// failed: the times at which these reads began, on the monotonic clock.
type reading struct {
	confirmed, failed time.Time
	mayLag            bool  // what was confirmed is the answer of a store that may be behind
	err               error // of the failed read
}

func (r reading) merge(o reading) reading {
	if !o.confirmed.Before(r.confirmed) {
		r.confirmed, r.mayLag = o.confirmed, o.mayLag
	}
	if o.failed.After(r.failed) {
		r.failed, r.err = o.failed, o.err
	}
	return r
}

// staleness returns the time since the store last confirmed the state, if a read
// has since failed or the time is over overdue, and otherwise 0. A state that was
// never confirmed is infinitely old.
func (r reading) staleness(now time.Time, overdue time.Duration) time.Duration {
	if r.confirmed.IsZero() {
		return math.MaxInt64
	}
	age := now.Sub(r.confirmed)
	if !r.failed.After(r.confirmed) && age <= overdue {
		return 0
	}
	return age
}

var errOverdue = errors.New("a read is overdue")

// cause returns why the store was not read.
func (r reading) cause() error {
	if r.err == nil {
		return errOverdue
	}
	return r.err
}
