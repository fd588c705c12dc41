package signing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	// Read reads all keys. It returns when ctx ends, which is after five seconds at the
	// latest. An error means that the keys could not be read; it contains no secret. Of
	// the SourceKeys only Refresh and OnDemand count then. Keys that are read are
	// believed, even if there are none.
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
	// validator reads at least twice within its shorter limit of staleness, as far as
	// OnDemand allows. Zero means that the keys never change, or after an error, that
	// the validator tries again after half a second, and later every ten seconds.
	Refresh time.Duration

	// OnDemand is the time, counted from the start of this read, after which a token
	// with an unknown kid may cause the next one. Zero means that no token does.
	OnDemand time.Duration
}

// ChosenSource is a [Source] whose kids an operator chose, so that they are known before
// the first read. It has no other keys, and its SourceKeys are Chosen. A validator
// refuses a kid that two such sources have.
type ChosenSource interface {
	Source

	// KeyIDs returns the kids. They do not change.
	KeyIDs() []string
}

// Fixed is a [Source] of keys that never change. [FixedSource] makes one.
type Fixed struct {
	keys    map[string]*PublicKey
	demands token.Demands
}

var _ ChosenSource = (*Fixed)(nil)

// FixedSource returns a source of public keys, by kid, that never change. An operator
// chose the kids. The error is about a kid that token.CheckKeyID refuses, a nil key or
// no key at all.
func FixedSource(keys map[string]*PublicKey, demands token.Demands) (*Fixed, error) {
	if len(keys) == 0 {
		return nil, errors.New("signing: a source without a public key")
	}
	for _, kid := range slices.Sorted(maps.Keys(keys)) {
		if err := token.CheckKeyID(kid); err != nil {
			return nil, fmt.Errorf("signing: public key: %w", err)
		}
		if keys[kid].isZero() {
			return nil, fmt.Errorf("signing: public key %q: the key is nil", kid)
		}
	}
	return &Fixed{maps.Clone(keys), demands}, nil
}

// Read implements [Source]. It does not block, and returns no error.
func (f *Fixed) Read(context.Context) (SourceKeys, error) {
	return SourceKeys{Keys: maps.Clone(f.keys), Chosen: true}, nil
}

// Demands implements [Source].
func (f *Fixed) Demands() token.Demands { return f.demands }

// KeyIDs implements [ChosenSource]. The kids are sorted.
func (f *Fixed) KeyIDs() []string { return slices.Sorted(maps.Keys(f.keys)) }

// String implements [Source].
func (f *Fixed) String() string { return "configured public keys" }
