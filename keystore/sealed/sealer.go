package sealed

import (
	"context"

	"github.com/meshpass/meshpass/keystore"
)

// Sealer encrypts data keys with a key-encryption key, such as one in a KMS. Its methods
// are called concurrently. Seal and Open return when ctx ends.
//
// The scope and the name of the record are the encryption context, or the additional
// authenticated data, of a KMS. The empty scope is the global one.
type Sealer interface {
	// Seal encrypts a data key of 32 bytes for one record and returns 1 to 8,192
	// bytes.
	Seal(ctx context.Context, dataKey []byte, scope keystore.Scope, name string) (sealed []byte, err error)

	// Open returns the data key that Seal encrypted for this scope and name. Otherwise it
	// returns an error. The error matches ErrNoKey if the Sealer does not have the
	// key-encryption key, and ErrAltered if sealed is certainly not what Seal returned for
	// this scope and name.
	Open(ctx context.Context, sealed []byte, scope keystore.Scope, name string) (dataKey []byte, err error)

	// Current reports whether a data key was sealed under the key-encryption key that Seal
	// uses now. Reseal calls it once for each record, so it should not call a KMS. If the
	// KMS replaces keys behind one name, Current returns true.
	Current(sealed []byte) bool
}
