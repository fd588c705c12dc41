package httpauth

import "context"

type identityKey struct{}

// NewContext returns a context that carries an identity, for [FromContext]. The
// middleware calls it. You need it only without the middleware, as in the test of a
// handler.
func NewContext(ctx context.Context, identity Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, identity)
}

// FromContext returns the identity of the caller from the context of a request, as
// the given type: FromContext[zone.Verified](r.Context()) with the AuthFunc [Zone], or
// FromContext[Identity](r.Context()) with any. It returns false if there is no identity,
// or if it has another type.
func FromContext[I Identity](ctx context.Context) (I, bool) {
	identity, ok := ctx.Value(identityKey{}).(I)
	return identity, ok
}
