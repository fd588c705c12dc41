// Package keyfile reads files of public keys and of tokens, and knows a key that stands
// where the path of such a file belongs.
package keyfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// CheckPath returns an error if a path is in fact a key or a URL, since logs and errors
// print paths. A key is PEM, the base64 of PEM, JSON, or a text as long as DER in base64,
// which has no other mark: the shortest private key has 1,500 bytes. The error does not
// quote the path.
func CheckPath(path string) error {
	switch {
	case strings.ContainsAny(path, "\n\r") || strings.HasPrefix(strings.TrimSpace(path), "{") || strings.Contains(path, "-----") || strings.HasPrefix(path, "LS0tLS1C") || len(path) > 1024:
		return errors.New("it holds a key, want the path of a file")
	case strings.Contains(path, "://"):
		return errors.New("it is a URL, want the path of a file")
	}
	return nil
}

// Read returns the content of a file, but at most limit+1 bytes, so that a caller can tell
// that there are more. Anything but a regular file, or a link to one, is an error, which
// names the path. It does not wait for the writer of a named pipe.
func Read(path string, limit int) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|dontWait, 0)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	info, err := file.Stat() // of what was opened: the path may have changed
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	return io.ReadAll(io.LimitReader(file, int64(limit)+1))
}
