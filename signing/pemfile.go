package signing

import (
	"context"
	"fmt"
	"time"

	"github.com/meshpass/meshpass/internal/keyfile"
	"github.com/meshpass/meshpass/token"
)

const (
	// maxKeyFile is the maximum size of a key file, in bytes. The largest key has a few
	// thousand.
	maxKeyFile = 64 << 10

	// fileInterval is the time between two reads of a file.
	fileInterval = 500 * time.Millisecond
)

// File is a [Source] of one public key in a file. [PEMFile] makes one.
type File struct {
	kid, path string
	demands   token.Demands
}

var _ ChosenSource = (*File)(nil)

// PEMFile returns a source of the public key in a file, in a form that [ParsePublicKey]
// reads, of at most 64 KiB. The operator chose the kid. A validator reads the file every
// 500 ms, whatever its time of modification. To replace the key, rename another file
// over it: what is read from a half-written file is an error or, in the worst case,
// another key.
//
// PEMFile does not read the file. The error is about a kid that token.CheckKeyID refuses,
// an empty path, or a path that is in fact a key or a URL, which the error does not
// contain.
func PEMFile(kid, path string, demands token.Demands) (*File, error) {
	if err := token.CheckKeyID(kid); err != nil {
		return nil, fmt.Errorf("signing: public key: %w", err)
	}
	if path == "" {
		return nil, fmt.Errorf("signing: public key %q: the path of its file is empty", kid)
	}
	if err := keyfile.CheckPath(path); err != nil {
		return nil, fmt.Errorf("signing: public key %q: the path of its file: %w", kid, err)
	}
	return &File{kid, path, demands}, nil
}

// Read implements [Source]. The error names the file and contains none of its content. It
// matches [ErrKey] if there is no public key in the file.
func (f *File) Read(context.Context) (SourceKeys, error) {
	keys := SourceKeys{Chosen: true, Refresh: fileInterval}
	key, err := readPublicKey(f.path)
	if err != nil {
		return keys, err
	}
	keys.Keys = map[string]*PublicKey{f.kid: key}
	return keys, nil
}

// Demands implements [Source].
func (f *File) Demands() token.Demands { return f.demands }

// KeyIDs implements [ChosenSource].
func (f *File) KeyIDs() []string { return []string{f.kid} }

// String implements [Source]. It returns the path.
func (f *File) String() string { return f.path }

func readPublicKey(path string) (*PublicKey, error) {
	data, err := keyfile.Read(path, maxKeyFile)
	if err != nil {
		return nil, err
	}
	if len(data) > maxKeyFile {
		return nil, fmt.Errorf("%s has more than %d bytes, more than any key", path, maxKeyFile)
	}
	key, err := ParsePublicKey(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}
