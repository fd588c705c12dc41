// Package jitter draws the random parts of pauses, which keep processes from acting at the
// same moment, and writers that collided from colliding again.
package jitter

import (
	"math/rand/v2"
	"sync/atomic"
	"time"
)

// fromClock is set while N takes its durations from the clock.
var fromClock atomic.Bool

// N returns a random duration of at least 0 and less than limit, which must be more than 0.
func N(limit time.Duration) time.Duration {
	if fromClock.Load() {
		// One step of a generator whose state is the time; neighbouring times give unlike results.
		return time.Duration(rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0)).Int64N(int64(limit)))
	}
	return rand.N(limit)
}

// FromClock makes N a function of the time, until restore is called. It is for simulated
// time only (testing/synctest): a simulation that is repeated then takes the same course.
func FromClock() (restore func()) {
	fromClock.Store(true)
	return func() { fromClock.Store(false) }
}
