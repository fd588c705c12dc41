package engines

import (
	"errors"
	"os/exec"
	"syscall"
	"testing"
)

// detach makes cmd run as the owner, in a session of its own.
func detach(cmd *exec.Cmd, as owner) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if as.switched {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.uid, Gid: as.gid}
	}
}

// pause stops a process where it is, until resume. One that has just ended is no longer in
// the way.
func pause(tb testing.TB, pid int) {
	tb.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); !errors.Is(err, syscall.ESRCH) {
		check(tb, err)
	}
}

// resume lets a process go on, which may just have ended.
func resume(pid int) { _ = syscall.Kill(pid, syscall.SIGCONT) }
