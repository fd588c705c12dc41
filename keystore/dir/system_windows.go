package dir

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"unsafe"
)

// On Windows a folder holds no named pipes, and only a folder can be read as one.
const (
	openNonblock = 0
	openFolder   = 0
)

// https://learn.microsoft.com/windows/win32/debug/system-error-codes
const (
	errorWriteProtect  = syscall.Errno(19)
	errorLockViolation = syscall.Errno(33)
)

func isReadOnly(err error) bool {
	return errors.Is(err, errorWriteProtect) || errors.Is(err, fs.ErrPermission)
}

// mayWrite returns false, since an answer would not hold for each kind of file.
func mayWrite(string) bool { return false }

// syncFolder closes the folder. Windows cannot sync the names in a folder; it keeps
// them in its journal.
func syncFolder(folder *os.File, err error) error {
	if err != nil {
		return err
	}
	return folder.Close()
}

// https://learn.microsoft.com/windows/win32/api/fileapi/nf-fileapi-lockfileex
var (
	kernel32         = syscall.NewLazyDLL("kernel32.dll")
	procLockFileEx   = kernel32.NewProc("LockFileEx")
	procUnlockFileEx = kernel32.NewProc("UnlockFileEx")
)

const (
	lockfileFailImmediately = 1
	lockfileExclusiveLock   = 2
)

func lockNow(f *os.File, exclusive bool) error {
	flags := uintptr(lockfileFailImmediately)
	if exclusive {
		flags |= lockfileExclusiveLock
	}
	err := onFirstByte(f, func(handle uintptr, overlapped *syscall.Overlapped) (uintptr, error) {
		ok, _, err := procLockFileEx.Call(handle, flags, 0, 1, 0, uintptr(unsafe.Pointer(overlapped)))
		return ok, err
	})
	if errors.Is(err, errorLockViolation) {
		return errLocked
	}
	return err
}

func unlockNow(f *os.File) error {
	return onFirstByte(f, func(handle uintptr, overlapped *syscall.Overlapped) (uintptr, error) {
		ok, _, err := procUnlockFileEx.Call(handle, 0, 1, 0, uintptr(unsafe.Pointer(overlapped)))
		return ok, err
	})
}

// onFirstByte calls a function that returns 0 and an error if it fails.
func onFirstByte(f *os.File, call func(handle uintptr, overlapped *syscall.Overlapped) (uintptr, error)) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = conn.Control(func(handle uintptr) {
		if ok, err := call(handle, new(syscall.Overlapped)); ok == 0 {
			callErr = &os.PathError{Op: "lock", Path: f.Name(), Err: err}
		}
	})
	if callErr != nil {
		return callErr
	}
	return err
}
