//go:build unix

package renewal

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// openFlags follow no link, and wait for no writer of a named pipe.
const openFlags = syscall.O_NOFOLLOW | syscall.O_NONBLOCK

// renamesOpenFiles: a file may be renamed, and replaced, while it is open.
const renamesOpenFiles = true

// locks: lock works.
const locks = true

// lock locks a file until it is closed, or returns ErrBusy. A file system that cannot
// lock does not keep two Keepers apart.
func lock(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		for {
			if failed = syscall.Flock(int(fd), syscall.LOCK_EX|syscall.LOCK_NB); failed != syscall.EINTR {
				return
			}
		}
	})
	if errors.Is(failed, syscall.EWOULDBLOCK) {
		return ErrBusy
	}
	return err
}

// isForbidden reports whether an error stays until an administrator changes something.
func isForbidden(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

// syncFolder brings the names in a folder to the disk.
func syncFolder(folder *os.File) error { return folder.Sync() }
