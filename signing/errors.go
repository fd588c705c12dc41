package signing

import (
	"errors"
	"fmt"
)

// The errors of this package; match them with errors.Is. Their text says what
// was found and what was wanted, and contains no part of a key.
var (
	// ErrKey: a key cannot be used. It cannot be read, has another algorithm or
	// size, cannot be stored, or its record is misnamed.
	ErrKey = errors.New("unusable key")

	// ErrNoKey: a series has no key with the requested serial, or no key at all
	// that signs.
	ErrNoKey = errors.New("no such signing key")

	// ErrNoSigner: the private half of the key that signs is in a KMS or HSM, and
	// the issuer was given no signer for it. No older key signs in its place.
	ErrNoSigner = errors.New("no signer for the signing key")

	// ErrInUse: a key must not be removed yet.
	ErrInUse = errors.New("signing key is in use")

	// ErrNotKey: the name belongs to another record of the scope, not to a
	// signing key.
	ErrNotKey = errors.New("not the name of a signing key")
)

// unusable returns an ErrKey with the reason.
func unusable(found, wanted string) error {
	return fmt.Errorf("%w: found %s, wanted %s", ErrKey, found, wanted)
}
