package live

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Verified is a token that a validator has accepted. It is immutable,
// except for where its use is counted, and only a validator makes one.
type Verified struct {
	validator *Validator
	claims    token.Claims
	scope     keystore.Scope
	keyID     string
	key       *signing.PublicKey
	ofStore   bool // the key is from the store, which may remove it
	use       atomic.Pointer[keyUse]
}

// Claims returns the claims of the token. They must not be changed.
func (t *Verified) Claims() *token.Claims { return &t.claims }

// KeyID returns the kid of the key that signed the token.
func (t *Verified) KeyID() string { return t.keyID }

// Bind returns a context that ends with the token, with the reason as its
// cause, and a function that releases it.
func (t *Verified) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	return t.validator.sessions.bind(ctx, t, t.recheck)
}

// recheck returns why an accepted token is no longer good for a session, or
// nil.
func (t *Verified) recheck() error {
	v := t.validator
	if err := v.checkTimes(&t.claims, v.config.now()); err != nil {
		return err
	}
	if v.follower == nil {
		return nil
	}
	s := v.follower.current.Load()
	if own := s.scopes[t.scope]; t.ofStore && (own == nil || !own.has(t.keyID, t.key)) {
		return fmt.Errorf("%w: key %q was removed", token.ErrUnknownKey, t.keyID)
	}
	if revoked, _ := s.revoked(t.scope, t.claims.ID); revoked {
		return fmt.Errorf("%w: jti %q is on the revocation list", token.ErrRevoked, t.claims.ID)
	}
	kid := t.keyID
	if !t.ofStore {
		kid = ""
	}
	if age, cause := s.unknowable(t.scope, kid, time.Now()); age > v.config.sessionMaxStale {
		return tooStale(age, v.config.sessionMaxStale, cause)
	}
	return nil
}
