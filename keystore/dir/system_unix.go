//go:build unix

package dir

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

const (
	// openNonblock keeps the opening of a named pipe from waiting for its writer.
	openNonblock = syscall.O_NONBLOCK

	// openFolder refuses anything but a folder, without opening it.
	openFolder = syscall.O_DIRECTORY | syscall.O_NONBLOCK
)

func isReadOnly(err error) bool {
	return errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission)
}

// mayWrite reports whether this process may make files in a folder.
func mayWrite(folder string) bool {
	const write, search = 2, 1
	return syscall.Access(folder, write|search) == nil
}

// syncFolder brings the names in the folder to the disk, and closes the folder.
func syncFolder(folder *os.File, err error) error {
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func lockNow(f *os.File, exclusive bool) error {
	how := syscall.LOCK_SH
	if exclusive {
		how = syscall.LOCK_EX
	}
	err := flock(f, how|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}

func unlockNow(f *os.File) error {
	return flock(f, syscall.LOCK_UN)
}

func flock(f *os.File, how int) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var lockErr error
	err = conn.Control(func(fd uintptr) {
		for {
			if lockErr = syscall.Flock(int(fd), how); lockErr != syscall.EINTR {
				return
			}
		}
	})
	if lockErr != nil {
		return &os.PathError{Op: "flock", Path: f.Name(), Err: lockErr}
	}
	return err
}
