package grpcauth

import "context"

type identityKey struct{}

// NewContext returns a context that carries an identity, for [FromContext]. The
// interceptors call it. You need it only without an interceptor, as in the test of
// a handler.
func NewContext(ctx context.Context, identity Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, identity)
}

// FromContext returns the identity of the caller from the context of a call, as
// the given type: FromContext[zone.Verified](ctx) with the AuthFunc [Zone], or
// FromContext[Identity](ctx) with any. It returns false if there is no identity,
// as in open services, or if it has another type.
func FromContext[I Identity](ctx context.Context) (I, bool) {
	identity, ok := ctx.Value(identityKey{}).(I)
	return identity, ok
}
