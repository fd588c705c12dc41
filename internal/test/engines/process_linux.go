package engines

import (
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

// pause stops a process where it is, until resume.
func pause(tb testing.TB, pid int) {
	tb.Helper()
	check(tb, syscall.Kill(pid, syscall.SIGSTOP))
}

// resume lets a process go on, which may just have ended.
func resume(pid int) { _ = syscall.Kill(pid, syscall.SIGCONT) }
