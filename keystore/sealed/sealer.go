package sealed

import (
	"context"

	"github.com/meshpass/meshpass/keystore"
)

// Sealer encrypts data keys with a key-encryption key, such as one in a KMS. Its
// methods are called concurrently. Seal and Open return when ctx ends.
//
// The scope and the name of the record are what a KMS calls encryption context or
// additional authenticated data. The empty scope is the global one.
type Sealer interface {
	// Seal encrypts a data key of 32 bytes for one record and returns 1 to 8,192
	// bytes.
	Seal(ctx context.Context, dataKey []byte, scope keystore.Scope, name string) (sealed []byte, err error)

	// Open returns the data key that Seal encrypted for this scope and name. For
	// anything else it returns an error: one that matches ErrNoKey if it was sealed
	// under a key-encryption key that the Sealer does not have, and ErrAltered if it is
	// certain that it was not sealed so.
	Open(ctx context.Context, sealed []byte, scope keystore.Scope, name string) (dataKey []byte, err error)

	// Current says whether a data key was sealed under the key-encryption key that
	// Seal uses now. Reseal asks it, once for each record; it should not call a KMS. A
	// KMS that replaces a key behind one name lets it return true.
	Current(sealed []byte) bool
}
