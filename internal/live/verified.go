package live

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/internal/keylife"
	"github.com/meshpass/meshpass/internal/replica"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// Verified is a token that a validator has accepted. Only a validator makes one.
// It is immutable, except for the counter of its use.
type Verified struct {
	validator *Validator
	claims    token.PackedClaims
	renewed   bool // it is not the first of its lineage
	signer    signer
	use       atomic.Pointer[keyUse]
}

// Claims returns the claims of the token. The tags are a new map each time.
func (t *Verified) Claims() token.Claims { return t.claims.Unpack() }

// Untagged returns the claims without the tags. Do not decide with them what a proxy may
// do. The caller must not change them.
func (t *Verified) Untagged() *token.Claims { return &t.claims.Untagged }

// KeyID returns the kid of the key that signed the token.
func (t *Verified) KeyID() string { return t.signer.kid }

// ExpiresAt returns when sessions of the token end: its exp plus the leeway.
func (t *Verified) ExpiresAt() time.Time {
	return t.Untagged().ExpiresAt.Add(t.validator.config.leeway)
}

// Lifetime returns for how long the token was made valid.
func (t *Verified) Lifetime() time.Duration {
	claims := t.Untagged()
	return claims.ExpiresAt.Sub(keylife.Made(claims, t.validator.config.Now()))
}

// scope returns the scope of the token's key and lists. It is true of accepted tokens only.
func (t *Verified) scope() keystore.Scope {
	return keystore.Scope(t.claims.Untagged.Dataplane.Mesh) // empty in zone tokens: keystore.Global
}

// Bind returns a context that ends with the token, with the reason as its
// cause, and a function that releases it.
func (t *Verified) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	return t.validator.sessions.bind(ctx, t)
}

// check checks an accepted token against what is known. The error is of class
// token.ErrInvalid if its key is gone or it is revoked, and of class
// token.ErrUnavailable if that cannot be known.
func (t *Verified) check(now known) error {
	unknown := t.validator.checkKey(now, t.scope(), t.signer)
	if errors.Is(unknown, token.ErrInvalid) || now.store == nil {
		return unknown
	}
	if err := t.checkRevoked(now.store); err != nil {
		return err
	}
	return unknown
}

// checkRevoked is the CheckRevoked of a state for the token.
func (t *Verified) checkRevoked(s *replica.State) error {
	return s.CheckRevoked(t.scope(), t.signer.kid, t.Untagged())
}

// recheck returns why an accepted token is no longer good for a session, or
// nil.
func (t *Verified) recheck() error {
	v := t.validator
	if v.closed.Load() {
		return token.ErrClosed
	}
	if err := v.checkTimes(t.Untagged(), v.config.Now()); err != nil {
		return err
	}
	age := t.signer.source.Age()
	now := v.known()
	if err := t.check(now); errors.Is(err, token.ErrInvalid) {
		return err
	}
	return v.checkKnowable(now.store, age, t.scope(), t.signer, time.Now())
}

// Presented returns the token as an issuer takes it to renew it.
func (t *Verified) Presented() keylife.Presented {
	claims := t.Claims()
	return keylife.Presented{
		Claims:   &claims,
		Others:   t.claims.Others,
		Scope:    t.scope(),
		Key:      t.signer.key,
		KeyID:    t.signer.kid,
		OfSource: t.signer.source != nil,
		Recheck:  t.recheck,
		Notice:   func(ctx context.Context) bool { return t.validator.notice(ctx, t, true) },
		Count:    func(ctx context.Context, nbf time.Time) bool { return t.validator.count(ctx, t, nbf) },
	}
}
