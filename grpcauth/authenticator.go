package grpcauth

import (
	"context"

	"github.com/meshpass/meshpass/zone"
)

// Identity is who is calling, as somebody proved it: zone.Verified and
// dataplane.Verified are such. If it is a slog.LogValuer too, the interceptors log that
// value; it must not contain the token.
type Identity interface {
	// Bind returns a context that ends when the identity is no longer good, with the reason as
	// its cause (context.Cause), at the latest when ctx ends; and a function that
	// releases it, which is called once when the call is over.
	Bind(ctx context.Context) (context.Context, context.CancelFunc)
}

// Authenticator decides who is making a call. The context is the call's, with the
// incoming metadata and the peer; the method is its full name, such as
// "/grpc.health.v1.Health/Check". It is called at the start of each call, from many
// goroutines at once, and ought to be done when the context is.
//
// [Status] makes an error into what the peer is told. Errors that match token.ErrInvalid or
// token.ErrUnavailable are taken for those of a validator, which logs them itself; all others, and
// those that match [ErrUnauthenticated] or token.ErrNotPermitted, are logged by the
// interceptor.
type Authenticator func(ctx context.Context, method string) (Identity, error)

// Zone returns an authenticator for zones. The zone is the one that the metadata
// "client-id" names, and the token of the metadata "authorization" must be good for it and
// for the scope, such as zone.ScopeCP. The identity is a zone.Verified.
//
// Without a validator or a scope there is nothing to decide: the authenticator is
// then nil, which the interceptors refuse.
func Zone(validator zone.Validator, scope string) Authenticator {
	if validator == nil || scope == "" {
		return nil
	}
	return func(ctx context.Context, _ string) (Identity, error) {
		raw, err := TokenFromMetadata(ctx)
		if err != nil {
			return nil, err
		}
		name, err := oneValue(ctx, clientIDKey)
		if err != nil {
			return nil, err
		}
		verified, err := validator.Validate(ctx, name, scope, raw)
		if err != nil {
			return nil, err
		}
		return verified, nil
	}
}
