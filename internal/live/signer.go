package live

import (
	"time"

	"github.com/meshpass/meshpass/internal/replica"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// signer is the key that signed a token, under the kid that the token names. A
// configured key may have several kids.
type signer struct {
	kid     string
	key     *signing.PublicKey
	ofStore bool // else it is configured, and no record is about it
}

// check returns why the tokens of the key are no longer good, or cannot be checked. It
// is nil for a configured key.
func (k signer) check(s *replica.State, scope keystore.Scope) error {
	if !k.ofStore {
		return nil
	}
	return s.CheckKey(scope, k.kid, k.key)
}

// checkKnowable is the CheckKnowable of a state for sessions of the key.
func (k signer) checkKnowable(s *replica.State, scope keystore.Scope, now time.Time, limit time.Duration) error {
	kid := k.kid
	if !k.ofStore { // a record of the same kid is about another key
		kid = ""
	}
	return s.CheckKnowable(scope, kid, now, limit)
}
