//go:build unix

package main

import (
	"syscall"
	"time"
)

// cpuTime returns how many seconds of processor time this process has used, user and system.
func cpuTime() (float64, error) {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return 0, err
	}
	return (time.Duration(usage.Utime.Nano()) + time.Duration(usage.Stime.Nano())).Seconds(), nil
}
