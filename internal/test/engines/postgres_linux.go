package engines

import (
	"os/exec"
	"syscall"
)

// detach makes cmd run as the owner, in a session of its own.
func detach(cmd *exec.Cmd, as owner) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if as.switched {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.uid, Gid: as.gid}
	}
}
