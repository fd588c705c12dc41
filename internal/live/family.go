// Package live is what dataplane and zone tokens have in common: the state that
// follows a store, the checks made on a token in their order, and the life of
// signing keys. Package dataplane and package zone say which kind of token it is
// about, and turn its answers into their own types.
package live

import (
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Family says what sets one kind of token apart: its records. Tokens, keys and
// lists of one family mean nothing to another.
type Family struct {
	Kind token.Kind

	// Within is where its records are: in every scope, or in the global one.
	Within keystore.Scope

	// Prefix begins the name of each of its records. Nothing else is asked for,
	// since a store may hold other people's secrets.
	Prefix string

	// ListPrefix begins the names of its revocation lists.
	ListPrefix string

	// Keys is the series of keys for the tokens of a scope; false means that no
	// token of this family belongs to that scope.
	Keys func(keystore.Scope) (signing.Series, bool)

	// ListOwner is the scope whose tokens the revocation list with this record
	// name takes back; false means that the name is not a list's.
	ListOwner func(name string) (keystore.Scope, bool)
}
