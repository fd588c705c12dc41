package jwks

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// fileRefresh is the time between two reads of a file.
const fileRefresh = 500 * time.Millisecond

// File returns the key set in a file as a source of keys. Validators read the file every
// 500 ms, so a change is in force within a second. It is noticed by the content, so a
// file may be replaced, mounted anew or written in place. Replace it by renaming: the
// half of a set that is being written is not JSON, and a read of it fails. A file that is
// missing or empty is a failed read too, and no set without keys.
//
// The file must be a regular one, or a link to one. A byte order mark is skipped. What
// else it must be is said at [Parse]. The demands may be empty.
//
// The first read by a validator tells whether the file can be read: File does not read.
func File(path string, demands token.Demands) signing.Source {
	return &file{path: path, demands: demands}
}

// file is a source of the keys in a file.
type file struct {
	path    string
	demands token.Demands

	mu     sync.Mutex
	digest [sha256.Size]byte
	set    Set // what was parsed last, or zero
}

func (f *file) Demands() token.Demands { return f.demands }
func (f *file) String() string         { return f.path }

func (f *file) Read(context.Context) (signing.SourceKeys, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	set, err := f.read()
	return signing.SourceKeys{Keys: set.Keys, Problems: set.Problems, Refresh: fileRefresh, OnDemand: fileRefresh}, err
}

// read returns the set in the file.
func (f *file) read() (Set, error) {
	data, err := readFile(f.path)
	if err != nil {
		return Set{}, err
	}
	digest := sha256.Sum256(data)
	if f.set.Keys != nil && digest == f.digest {
		return f.set, nil
	}
	text, err := token.PlainText(data)
	if err != nil {
		return Set{}, fmt.Errorf("key set: %w", err)
	}
	set, err := Parse(text)
	if err != nil {
		return Set{}, err
	}
	set.keep(f.set)
	f.digest, f.set = digest, set
	return set, nil
}

// keep takes the keys that have not changed from an earlier set, so that callers can
// compare keys by pointer.
func (s Set) keep(earlier Set) {
	for kid, key := range s.Keys {
		if before := earlier.Keys[kid]; before.Equal(key) {
			s.Keys[kid] = before
		}
	}
}

// readFile reads a regular file that is not larger than a set may be.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path) // opening a pipe would wait for a writer
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if len(data) > MaxSize { // before white space is trimmed
		return nil, errTooLarge
	}
	return data, err
}
