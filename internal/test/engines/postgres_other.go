//go:build !linux

package engines

import "os/exec"

// detach is for servers that are started on Linux only.
func detach(*exec.Cmd, owner) {}
