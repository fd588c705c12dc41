package zone

import (
	"context"
	"fmt"

	"github.com/meshpass/meshpass/internal/live"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// Validator decides whether zone tokens are good. It is safe for concurrent use.
type Validator interface {
	// Validate decides whether a token is good, now, for the zone that whoever presents
	// it says to be, and for the scope in which it wants to act, such as [ScopeCP]. It
	// answers from memory. Only a token with an unknown serial number waits, at most a
	// second and not beyond ctx, until the store has been read once more; so does
	// every token before the first read.
	//
	// An error matches token.ErrInvalid, and the error for the check that refused, if the
	// token is definitely not good, and token.ErrUnavailable if that could not be found
	// out. Tell a peer no more than which of the two it is.
	Validate(ctx context.Context, zone, scope, raw string) (Verified, error)

	// Close ends the following of the store and waits until it is no longer used.
	// From then on every token is answered with token.ErrClosed.
	Close() error
}

// NewValidator returns a validator with the keys and the revocations in a store.
// It reads in the background and follows the store's changes until Close.
func NewValidator(store keystore.KeyStore, options ...ValidatorOption) (Validator, error) {
	v, err := live.NewValidator(family, store, options)
	if err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	return validator{v}, nil
}

// NewOfflineValidator returns a validator that has its configured keys and no
// store. It cannot know of any revocation: a token that it accepts once, it accepts
// until the token expires. At least one key must be configured.
func NewOfflineValidator(options ...ValidatorOption) (Validator, error) {
	v, err := live.NewOfflineValidator(family, options)
	if err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	return validator{v}, nil
}

type validator struct{ live *live.Validator }

func (v validator) Validate(ctx context.Context, zone, scope, raw string) (Verified, error) {
	verified, err := v.live.Validate(ctx, live.Want{Scope: keystore.Global, Zone: zone, ZoneScope: scope}, raw)
	if err != nil {
		return Verified{}, err
	}
	return Verified{verified}, nil
}

func (v validator) Close() error { return v.live.Close() }

// Verified is a token that a [Validator] accepted: to hold one proves that its checks were
// made. It does not change. The zero Verified is no token.
type Verified struct{ live *live.Verified }

// Claims returns what the token says of its zone, as a copy.
func (t Verified) Claims() token.Zone {
	if t.live == nil {
		return token.Zone{}
	}
	return t.live.Claims().Zone.Clone()
}

// Registered returns the token's id and times.
func (t Verified) Registered() token.Registered {
	if t.live == nil {
		return token.Registered{}
	}
	return t.live.Claims().Registered
}

// KeyID returns the kid of the key that signed the token.
func (t Verified) KeyID() string {
	if t.live == nil {
		return ""
	}
	return t.live.KeyID()
}
