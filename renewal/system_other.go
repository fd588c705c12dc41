//go:build !unix

package renewal

import (
	"errors"
	"io/fs"
	"os"
)

const openFlags = 0

// renamesOpenFiles: a file may be renamed, and replaced, while it is open.
const renamesOpenFiles = false

// locks: package syscall has no lock that works on every such system.
const locks = false

func lock(*os.File) error { return nil }

func isForbidden(err error) bool { return errors.Is(err, fs.ErrPermission) }

// syncFolder does nothing: Windows keeps the names in its journal.
func syncFolder(*os.File) error { return nil }
