package signing

import (
	"errors"
	"fmt"
)

// The errors of this package; match them with errors.Is. Their text says what
// was found and what was wanted, and never contains any part of a key.
var (
	// ErrKey says that something is not a key that can be used here: it cannot be
	// read, is of another algorithm or size, or its record is misnamed.
	ErrKey = errors.New("unusable key")

	// ErrNoKey says that a series has no key with the serial asked for, or no
	// private key at all.
	ErrNoKey = errors.New("no such signing key")

	// ErrInUse says that a key must not be removed yet.
	ErrInUse = errors.New("signing key is in use")

	// ErrNotKey says that a record's name is not a signing key's at all, but that
	// of something else that is kept in the same scope.
	ErrNotKey = errors.New("not the name of a signing key")
)

// unusable says why a key was refused.
func unusable(found, wanted string) error {
	return fmt.Errorf("%w: found %s, wanted %s", ErrKey, found, wanted)
}
