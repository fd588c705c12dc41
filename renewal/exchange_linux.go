package renewal

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// renameat2 has the number of the system call renameat2(2), which package syscall lacks.
var renameat2 = map[string]uintptr{"386": 353, "amd64": 316, "arm": 382, "arm64": 276, "loong64": 276, "ppc64le": 357, "riscv64": 276, "s390x": 347}

const renameExchange = 2 // RENAME_EXCHANGE

// exchangeFiles exchanges two files of a folder atomically. The error matches
// errors.ErrUnsupported where that is not possible.
func exchangeFiles(folder *os.File, a, b string) error {
	number, known := renameat2[runtime.GOARCH]
	if !known {
		return errors.ErrUnsupported
	}
	from, err := syscall.BytePtrFromString(a)
	if err != nil {
		return err
	}
	to, err := syscall.BytePtrFromString(b)
	if err != nil {
		return err
	}
	conn, err := folder.SyscallConn()
	if err != nil {
		return err
	}
	var errno syscall.Errno
	err = conn.Control(func(fd uintptr) {
		_, _, errno = syscall.Syscall6(number, fd, uintptr(unsafe.Pointer(from)), fd, uintptr(unsafe.Pointer(to)), renameExchange, 0)
	})
	if err != nil {
		return err
	}
	switch errno {
	case 0:
		return nil
	case syscall.ENOSYS, syscall.EINVAL, syscall.ENOTSUP, syscall.EPERM:
		// EPERM: a filter of system calls may not know this one. A rename says whether
		// it is about the folder.
		return errors.ErrUnsupported
	}
	return &os.LinkError{Op: "exchange", Old: a, New: b, Err: errno}
}
