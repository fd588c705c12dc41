package grpcauth

import (
	"context"

	"github.com/meshpass/meshpass/zone"
)

// Identity is an authenticated caller, such as a zone.Verified or a
// dataplane.Verified. If it implements slog.LogValuer, the interceptors log
// that value, which must not contain the token.
type Identity interface {
	// Bind returns a context that ends when the identity is no longer valid,
	// with the reason as its cause (context.Cause), and at the latest when ctx
	// ends. It also returns a function that releases the context, which the
	// interceptor calls once when the call is over.
	Bind(ctx context.Context) (context.Context, context.CancelFunc)
}

// Authenticator authenticates a call at its start. The context is that of the
// call, with the incoming metadata and the peer. The method is the full name,
// such as "/grpc.health.v1.Health/Check". It must be safe for concurrent use,
// and should return when the context ends.
//
// [Status] maps an error to the status for the peer. Errors that match
// token.ErrInvalid or token.ErrUnavailable are assumed to be logged by a
// validator. The interceptor logs all others, and those that match
// [ErrUnauthenticated] or token.ErrNotPermitted.
type Authenticator func(ctx context.Context, method string) (Identity, error)

// Zone returns an authenticator for zones. The metadata "client-id" names the
// zone. The token in the metadata "authorization" must be valid for that zone
// and for the scope, such as zone.ScopeCP. The identity is a zone.Verified.
//
// If the validator is nil or the scope empty, the result is nil, which the
// interceptors reject with an error.
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
