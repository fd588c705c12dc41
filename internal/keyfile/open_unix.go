//go:build unix

package keyfile

import "syscall"

// dontWait opens a named pipe without waiting for its writer.
const dontWait = syscall.O_NONBLOCK
