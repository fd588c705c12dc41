package signing

import (
	"context"
	"time"

	"github.com/meshpass/meshpass/token"
)

// Source provides public keys that are not records of a store: of a file, of an identity
// provider. Its keys may change while validators use them. Package jwks has sources for
// JSON Web Key Sets.
//
// A validator reads its sources itself, each with one read at a time. It keeps the last
// keys while reads fail. These age as the state of a store does, but apart from it. All
// methods are safe for concurrent use, since several validators may share a source.
type Source interface {
	// Read reads all keys. It returns when ctx ends. An error means that the keys
	// could not be read; it contains no secret. Keys that are read are believed, even
	// if there are none.
	Read(ctx context.Context) (SourceKeys, error)

	// Demands returns what the tokens of the keys must say. It does not change.
	Demands() token.Demands

	// String names the source in logs and errors, for example by its path. It contains
	// no secret.
	String() string
}

// SourceKeys is what a read of a [Source] has found.
type SourceKeys struct {
	// Keys holds the keys by kid: see token.CheckKeyID.
	Keys map[string]*PublicKey

	// Chosen says that an operator chose the kids. Such a key goes before a key of the
	// store with the same kid. Without it, a kid that the store or another source has
	// too cannot be used.
	Chosen bool

	// Problems says which other keys cannot be used, and why. A validator logs each
	// once.
	Problems []error

	// Age is how long before the start of this read the keys were fetched, where validators
	// share what a source fetches. They are that much staler. A token with an unknown kid
	// that came after the fetch needs the next one.
	Age time.Duration

	// Refresh is the time until the next read, counted from the start of this one. A
	// validator reads at least twice within its shorter limit of staleness. Zero means
	// that the keys never change.
	Refresh time.Duration

	// OnDemand is the time, counted from the start of this read, after which a token
	// with an unknown kid may cause the next one. Zero means that no token does.
	OnDemand time.Duration
}
