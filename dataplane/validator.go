package dataplane

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/meshpass/meshpass/internal/live"
	"github.com/meshpass/meshpass/internal/setting"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/token"
)

// Validator validates dataplane tokens. It is safe for concurrent use. Only this
// package implements it; later versions may add methods.
//
// To test code that uses a Validator, use keystore.NewMemory and an Issuer: only a
// validator makes a [Verified].
type Validator interface {
	// Validate checks a token for a mesh. It answers from memory. It waits for a
	// read of the store only before the first read has ended, for an unknown serial
	// number, and for a mesh that could not be read so far. Each wait lasts at most
	// about one second, or 1.25 seconds if the read has only just begun, and ends
	// with ctx. It also waits for a second at most for a source of keys that may have an
	// unknown kid: see [WithSource]. At most 1,024 tokens wait at a time; more get
	// token.ErrUnavailable.
	//
	// If the token is definitely not good, the error matches token.ErrInvalid and
	// the sentinel of the check that failed. If the token could not be checked, the
	// error matches token.ErrUnavailable. Tell a peer only the class of the error,
	// not the reason: over HTTP ErrInvalid is 401, ErrNotPermitted 403,
	// ErrUnavailable 503.
	Validate(ctx context.Context, mesh, raw string) (Verified, error)

	// Usage returns how this process has used each key since the validator was
	// created: how many tokens it accepted, when it accepted the last one, and how
	// many sessions are open. It leaves out removed keys and unused keys.
	Usage() []KeyUse

	// Sessions yields the token of each open bound context of this process, in no
	// order: once for each context, also if several have the same token. It yields a
	// context that is open from the beginning to the end exactly once, and may leave
	// out one that begins or ends meanwhile. Between two tokens it holds no lock, so
	// the caller may take its time. Sessions may be ranged over more than once.
	Sessions() iter.Seq[Verified]

	// Staleness returns the time since the last complete read of the store
	// began. While the store can be read this is less than about 30 seconds,
	// even if nothing changes. It does not concern sources of keys, which age by
	// themselves (see [WithSource]). Only without a store it is the time since the last
	// good read of the source that was not read for longest; configured keys have 0.
	//
	// It returns false until a complete read has succeeded. A process is ready
	// when Staleness returns true and a duration within its limit, such as that
	// of [WithMaxStale].
	Staleness() (time.Duration, bool)

	// Report returns the present state for monitoring: keys with their use, counts of
	// revocations, reads of the store. It does not block. An observer gets it by itself:
	// see [WithObserver].
	Report() observe.Report

	// Close ends every bound context with token.ErrClosed as its cause, stops
	// following the store and the sources of keys, and waits until they are no longer in
	// use: at most 5 seconds for one that ignores its context. Afterwards Validate
	// returns token.ErrClosed. Close always returns nil and may be called more
	// than once.
	Close() error

	authenticate(ctx context.Context, raw string) (Verified, error)
}

// NewValidator returns a validator that uses the keys and the revocation lists
// of a store. It reads in the background and follows changes until Close.
// NewValidator does not wait for the first read, and does not fail if the store
// cannot be read; see [Validator.Staleness] for readiness. Errors are about the
// arguments.
func NewValidator(store keystore.KeyStore, options ...ValidatorOption) (Validator, error) {
	config, err := configOf(options)
	if err != nil {
		return nil, err
	}
	v, err := live.NewValidator(family, store, config.live)
	if err != nil {
		return nil, fmt.Errorf("dataplane: %w", err)
	}
	return validator{v, config.boundary}, nil
}

// NewOfflineValidator returns a validator without a store. It uses its configured
// public keys and other sources of keys (see [WithSource]), at least one, and follows
// them until Close. It knows no revocations: it accepts a token until the token expires
// or its key is gone.
func NewOfflineValidator(options ...ValidatorOption) (Validator, error) {
	config, err := configOf(options)
	if err != nil {
		return nil, err
	}
	v, err := live.NewOfflineValidator(family, config.live)
	if err != nil {
		return nil, fmt.Errorf("dataplane: %w", err)
	}
	return validator{v, config.boundary}, nil
}

type validatorConfig struct {
	live     live.Config
	boundary *Boundary
}

func configOf(options []ValidatorOption) (validatorConfig, error) {
	config := validatorConfig{live.Defaults(), &Boundary{}}
	if err := setting.Apply(&config, options, ValidatorOption.applyValidator); err != nil {
		return config, fmt.Errorf("dataplane: %w", err)
	}
	return config, nil
}

type validator struct {
	live     *live.Validator
	boundary *Boundary // not changed
}

func (v validator) Validate(ctx context.Context, mesh, raw string) (Verified, error) {
	verified, err := v.live.Validate(ctx, live.Want{Scope: keystore.Scope(mesh)}, raw)
	if err != nil {
		return Verified{}, err
	}
	return Verified{verified, v.boundary}, nil
}

func (v validator) Usage() []KeyUse { return keyUses(v.live.Usage()) }

func (v validator) Sessions() iter.Seq[Verified] {
	return func(yield func(Verified) bool) {
		v.live.Sessions()(func(t *live.Verified) bool { return yield(Verified{t, v.boundary}) })
	}
}

func (v validator) Staleness() (time.Duration, bool) { return v.live.Staleness() }
func (v validator) Report() observe.Report           { return v.live.Report() }
func (v validator) Close() error                     { return v.live.Close() }

// Verified is a token that a [Validator] has accepted: holding one proves that
// the token was checked. It is immutable. The zero Verified holds no token and
// permits nothing.
type Verified struct {
	live     *live.Verified
	boundary *Boundary // of the validator
}

// Claims returns a copy of the claims about the proxy.
func (t Verified) Claims() token.Dataplane {
	if t.live == nil {
		return token.Dataplane{}
	}
	return t.live.Claims().Dataplane
}

// Registered returns the id and the times of the token.
func (t Verified) Registered() token.Registered {
	if t.live == nil {
		return token.Registered{}
	}
	return t.live.Untagged().Registered
}

// KeyID returns the kid of the key that signed the token.
func (t Verified) KeyID() string {
	if t.live == nil {
		return ""
	}
	return t.live.KeyID()
}

// Lifetime returns for how long the token is valid from when it was issued, or renewed, as
// its times tell. If it has neither iat nor nbf, the answer is more than a century.
func (t Verified) Lifetime() time.Duration {
	if t.live == nil {
		return 0
	}
	return t.live.Lifetime()
}

// Bind returns a context that ends with the token, and a function that releases
// its resources. Call the function when the work under the context is done. The
// context ends as soon as the validator knows of one of these, with the matching
// error as its cause (context.Cause):
//
//   - token.ErrExpired: the token has expired, leeway included, by the wall
//     clock or by the time since Bind, whichever comes first;
//   - token.ErrRevoked: the token's id is on a revocation list, or a cutoff revokes it;
//   - token.ErrUnknownKey: the key that signed the token was removed or
//     replaced, or another key has its kid now;
//   - token.ErrUnavailable: the store, a revocation list, the key's record or its
//     source could not be read for longer than [WithSessionMaxStale];
//   - token.ErrClosed: the validator was closed.
//
// If one of these has happened since Validate, the context has already ended.
// It also ends with ctx. The session counts as open until the returned function is
// called or the token ends, even after ctx has ended.
//
// A handler notices the end only if it looks at the context. In gRPC a handler that
// waits in Recv or Send waits on the context of its stream, so passing on the bound
// context is not enough to end an idle stream. The interceptors of package
// grpcauth, and of grpcauth/xdsauth for xDS servers, end the stream itself, as
// package httpauth does for HTTP. The example OwnServer of xdsauth is a handler
// that does it without them.
//
// A bound context uses no goroutine and is not polled; hundreds of thousands
// are a normal number.
func (t Verified) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	if t.live == nil {
		ctx, end := context.WithCancelCause(ctx)
		end(fmt.Errorf("%w: there is no token", token.ErrInvalid))
		return ctx, func() {}
	}
	return t.live.Bind(ctx)
}
