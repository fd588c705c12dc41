// Package replica follows a store. It keeps the public halves of the signing keys
// and the revocation lists of one kind of token in memory, parsed and up to date.
//
// A [Follower] reads the store in the background. A [State] is what it has read. It
// tells whether the key that signed a token is still there, whether the token's id
// is revoked, and how current these answers are.
package replica

import (
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Family describes one kind of token by its records. Each family has its own
// tokens, keys and lists.
type Family struct {
	Kind token.Kind

	// Within is the scope that holds the records: AllScopes or Global.
	Within keystore.Scope

	// Prefix starts the name of each record. Other records are not read, since a
	// store may hold secrets of other applications.
	Prefix string

	// Keys returns the series of keys for the tokens of a scope. It returns
	// false if no token of this family belongs to the scope.
	Keys func(keystore.Scope) (signing.Series, bool)
}
