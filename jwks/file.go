package jwks

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/meshpass/meshpass/internal/keyfile"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// fileRefresh is the time between two reads of a file.
const fileRefresh = 500 * time.Millisecond

// File returns the key set in a file as a source of keys. Validators read the file every
// 500 ms, whatever its time of modification. To replace it, rename another file over it:
// a half-written set is not JSON, so a read of it fails. A read of a missing or empty
// file fails too: only {"keys":[]} has no keys.
//
// The file is a regular one, or a link to one, with a set as [Parse] wants it. A byte
// order mark is skipped. The demands may be empty. File itself reads nothing. A path that is in
// fact a key set or a URL is printed nowhere: each read fails.
func File(path string, demands token.Demands) signing.Source {
	if err := keyfile.CheckPath(path); err != nil {
		return &file{path: "a key set without a path", demands: demands, fault: fmt.Errorf("jwks: the path of the file: %w", err)}
	}
	return &file{path: path, demands: demands}
}

// file is a source of the keys in a file.
type file struct {
	path    string
	demands token.Demands
	fault   error // of the path

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
	if f.fault != nil {
		return Set{}, f.fault
	}
	data, err := keyfile.Read(f.path, MaxSize)
	if err != nil {
		return Set{}, err
	}
	if len(data) > MaxSize { // before white space is trimmed
		return Set{}, errTooLarge
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
