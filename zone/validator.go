package zone

import (
	"context"
	"fmt"
	"time"

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

	// Usage tells what this process has seen of each key since the validator was
	// made: how many tokens of it were accepted, when last, and how many sessions are open. A
	// key that was removed is left out, as is one that was never used.
	Usage() []KeyUse

	// Staleness is the age of what answers rest on: how long ago the store last
	// confirmed all of it. While the store can be read that is less than about 30
	// seconds, also when nothing changes. It is 0 without a store, and false before the
	// first read.
	Staleness() (time.Duration, bool)

	// Close ends every session that is bound to a token with token.ErrClosed as
	// its cause, ends the following of the store, and waits until the store is no longer
	// used. From then on every token is answered with token.ErrClosed.
	Close() error
}

// KeyUse is what one process has seen of one key. It is plain data, so that the
// reports of several processes can be put together.
type KeyUse = live.KeyUse

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

func (v validator) Usage() []KeyUse                  { return v.live.Usage() }
func (v validator) Staleness() (time.Duration, bool) { return v.live.Staleness() }
func (v validator) Close() error                     { return v.live.Close() }

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

// Bind returns a context that ends when the token does, and a function that
// releases it, to be called when whatever runs under it is over. The context
// ends as soon as the validator knows that
//
//   - the token has expired (token.ErrExpired), by the wall clock or by the time that has
//     passed since it was bound, whichever is first;
//   - its id is on a revocation list (token.ErrRevoked);
//   - the key that signed it was removed or replaced (token.ErrUnknownKey);
//   - for longer than WithSessionMaxStale nobody could know (token.ErrUnavailable);
//   - the validator was closed (token.ErrClosed);
//
// with an error that matches as its cause (context.Cause). What happened between
// validating and binding counts: the context has ended already then. It also
// ends with ctx.
//
// A bound context costs no goroutine and is not polled; hundreds of thousands are a
// normal number.
func (t Verified) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.live == nil {
		ctx, end := context.WithCancelCause(ctx)
		end(fmt.Errorf("%w: there is no token", token.ErrInvalid))
		return ctx, func() {}
	}
	return t.live.Bind(ctx)
}
