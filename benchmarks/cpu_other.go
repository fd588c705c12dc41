//go:build !unix

package main

import "errors"

func cpuTime() (float64, error) {
	return 0, errors.New("on this system the processor time of a process is not read")
}
