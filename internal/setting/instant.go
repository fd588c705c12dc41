package setting

import "time"

// Instant is a moment on the system's monotonic clock. To read it takes half as long as
// time.Now.
type Instant time.Duration

var started = time.Now()

// Now returns the present instant.
func Now() Instant { return Instant(time.Since(started)) }

// Until returns the time from the instant to a reading of time.Now.
func (i Instant) Until(now time.Time) time.Duration { return now.Sub(started) - time.Duration(i) }
