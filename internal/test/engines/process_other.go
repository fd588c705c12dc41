//go:build !linux

package engines

import (
	"os/exec"
	"testing"
)

// detach is for servers that are started on Linux only.
func detach(*exec.Cmd, owner) {}

// pause is for Linux only.
func pause(tb testing.TB, _ int) { missing(tb, "the tests pause servers on Linux only") }

func resume(int) {}
