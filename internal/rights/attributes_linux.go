package rights

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"syscall"
	"unsafe"
)

const (
	accessList = "system.posix_acl_access" // acl(5)
	label      = "security.selinux"
)

// copyAttributes gives f the access control list, the attributes of users and, if this
// process may set it, the label of old. Other attributes are the system's own.
func copyAttributes(f, old *os.File) error {
	names, err := attributes(old)
	if err != nil {
		return err
	}
	if !slices.Contains(names, accessList) {
		// The folder may have passed one on.
		if err := remove(f, accessList); err != nil {
			return err
		}
	}
	for _, name := range names {
		if name != accessList && name != label && !strings.HasPrefix(name, "user.") {
			continue
		}
		value, err := read(old, syscall.SYS_FGETXATTR, name)
		if err == nil {
			err = set(f, name, value)
		}
		if err != nil && name != label {
			return err
		}
	}
	return nil
}

func attributes(f *os.File) ([]string, error) {
	list, err := read(f, syscall.SYS_FLISTXATTR, "")
	if err != nil {
		return nil, err
	}
	var names []string
	for name := range bytes.SplitSeq(list, []byte{0}) {
		if len(name) > 0 {
			names = append(names, string(name))
		}
	}
	return names, nil
}

// read returns the list of a file's attributes, or one of them. A file system that has
// none has an empty list.
func read(f *os.File, call uintptr, name string) ([]byte, error) {
	value := make([]byte, 64<<10) // the most that Linux takes for each
	var n uintptr
	err := control(f, func(fd uintptr) (errno syscall.Errno) {
		if name == "" {
			n, _, errno = syscall.Syscall(call, fd, uintptr(unsafe.Pointer(&value[0])), uintptr(len(value)))
			return errno
		}
		text := append([]byte(name), 0)
		n, _, errno = syscall.Syscall6(call, fd, uintptr(unsafe.Pointer(&text[0])), uintptr(unsafe.Pointer(&value[0])), uintptr(len(value)), 0, 0)
		return errno
	})
	switch {
	case err == 0:
		return value[:n], nil
	case name == "" && hasNone(err):
		return nil, nil
	}
	return nil, failed("read attribute", f, err)
}

func set(f *os.File, name string, value []byte) error {
	text := append([]byte(name), 0)
	at := append(slices.Clone(value), 0) // so that there is a first byte
	return failed("set attribute", f, control(f, func(fd uintptr) syscall.Errno {
		_, _, errno := syscall.Syscall6(syscall.SYS_FSETXATTR, fd, uintptr(unsafe.Pointer(&text[0])),
			uintptr(unsafe.Pointer(&at[0])), uintptr(len(value)), 0, 0)
		return errno
	}))
}

func remove(f *os.File, name string) error {
	text := append([]byte(name), 0)
	err := control(f, func(fd uintptr) syscall.Errno {
		_, _, errno := syscall.Syscall(syscall.SYS_FREMOVEXATTR, fd, uintptr(unsafe.Pointer(&text[0])), 0)
		return errno
	})
	if hasNone(err) {
		return nil
	}
	return failed("remove attribute", f, err)
}

// hasNone reports whether the file has no such attribute, or the file system has none.
func hasNone(err syscall.Errno) bool {
	return err == syscall.ENODATA || err == syscall.ENOTSUP || err == syscall.ENOSYS
}

func failed(op string, f *os.File, errno syscall.Errno) error {
	if errno == 0 {
		return nil
	}
	return &os.PathError{Op: op, Path: f.Name(), Err: errno}
}

func control(f *os.File, call func(fd uintptr) syscall.Errno) (errno syscall.Errno) {
	conn, err := f.SyscallConn()
	if err == nil {
		err = conn.Control(func(fd uintptr) { errno = call(fd) })
	}
	if err != nil {
		return syscall.EBADF
	}
	return errno
}

// noInodes reports whether no further file fits on the file system, though data may.
func noInodes(file string) bool {
	var stat syscall.Statfs_t
	return syscall.Statfs(file, &stat) == nil && stat.Files > 0 && stat.Ffree == 0
}
