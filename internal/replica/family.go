// Package replica keeps what a store holds parsed in memory, and up to date: the
// public halves of the signing keys and the revocation lists of one kind of token.
//
// A [Follower] reads the store in the background. A [State] is what it has read,
// and says what that means for a token: whether the key that signed it is still
// there, whether its id is revoked, and since when that could not be known.
package replica

import (
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Family describes one kind of token by its records. Tokens, keys and lists of
// one family mean nothing to another.
type Family struct {
	Kind token.Kind

	// Within is the scope that holds the records: AllScopes or Global.
	Within keystore.Scope

	// Prefix starts the name of each record. Nothing else is read, since a
	// store may hold secrets of other applications.
	Prefix string

	// Keys returns the series of keys for the tokens of a scope. It returns
	// false if no token of this family belongs to the scope.
	Keys func(keystore.Scope) (signing.Series, bool)
}
