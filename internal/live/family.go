// Package live holds what dataplane and zone tokens share: the state that
// follows a store, the checks on a token in their order, bound contexts, and
// the signing keys. Packages dataplane and zone supply a [Family] and wrap the
// results in their own types.
package live

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

	// ListPrefix starts the names of the revocation lists.
	ListPrefix string

	// Keys returns the series of keys for the tokens of a scope. It returns
	// false if no token of this family belongs to the scope.
	Keys func(keystore.Scope) (signing.Series, bool)

	// ListOwner returns the scope whose tokens the revocation list with this
	// record name revokes. It returns false if the name is not that of a list.
	ListOwner func(name string) (keystore.Scope, bool)
}
