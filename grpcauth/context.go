package grpcauth

import "context"

type identityKey struct{}

// NewContext returns a context that carries an identity, for [FromContext]. The
// interceptors do this; others need it where they stand in for them, as in the tests of a
// handler.
func NewContext(ctx context.Context, identity Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, identity)
}

// FromContext returns the identity that a call was authenticated with, given the context of
// the call, as the type that it has: FromContext[zone.Verified](ctx) with the
// authenticator [Zone]; FromContext[Identity](ctx) takes any. It is false where
// there is none, as in services that were left open, or where it is of another type.
func FromContext[I Identity](ctx context.Context) (I, bool) {
	identity, ok := ctx.Value(identityKey{}).(I)
	return identity, ok
}
