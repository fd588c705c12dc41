package histories

import "golang.org/x/sys/unix"

// now returns the time in nanoseconds on the monotonic clock of the machine, which is the
// same for all processes.
func now() int64 {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &t); err != nil {
		panic(err)
	}
	return t.Nano()
}
