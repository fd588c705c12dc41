package serviceaccount

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/meshpass/meshpass/token"
)

// Verified is a token that the API server has authenticated for a [Validator]. Only
// a validator makes one. It is immutable, and does not hold the token. The zero
// Verified permits nothing.
type Verified struct{ review *review }

// Pod returns what the token is for according to the API server: always a namespace
// and a service account, and if the token is bound to them, name and UID of the Pod
// and its node.
func (t Verified) Pod() Pod {
	if t.review == nil {
		return Pod{}
	}
	return t.review.pod
}

// Audiences returns the validator's audiences that the token is for, at least one.
func (t Verified) Audiences() []string {
	if t.review == nil {
		return nil
	}
	return slices.Clone(t.review.audiences)
}

// ExpiresAt returns the token's exp, in whole seconds and UTC.
func (t Verified) ExpiresAt() time.Time {
	if t.review == nil {
		return time.Time{}
	}
	return t.review.expires
}

// ID returns the token's jti, which the API server's audit log has too. It is ""
// for a token of Kubernetes 1.29 or older.
func (t Verified) ID() string {
	if t.review == nil {
		return ""
	}
	return t.review.id
}

// LogValue returns the Pod and the jti, as a group. It implements
// [slog.LogValuer].
func (t Verified) LogValue() slog.Value {
	pod := t.Pod()
	return slog.GroupValue(
		slog.String("namespace", pod.Namespace),
		slog.String("service_account", pod.ServiceAccount),
		slog.String("pod", pod.Name),
		slog.String("jti", printable(t.ID(), maxNameShown)))
}

// Bind returns a context that ends with the token, and a function that releases
// its resources. Call the function when the work under the context is done. The
// context ends in these cases, with the matching error as its cause
// (context.Cause):
//
//   - token.ErrExpired: the token has expired, by the wall clock or by the time
//     since Bind, whichever comes first. The validator notices a jump of the wall
//     clock within 10 seconds;
//   - token.ErrClosed: the validator was closed.
//
// It also ends with ctx. It does not end when the Pod or the account is deleted:
// Kubernetes does not announce that to users of TokenReview. If that matters,
// validate the token again from time to time; while the validator has the answer in
// its cache, that sends no request.
//
// A bound context uses no goroutine and is not polled.
func (t Verified) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	bound, end := context.WithCancelCause(ctx)
	if t.review == nil {
		end(fmt.Errorf("%w: there is no token", token.ErrInvalid))
		return bound, func() {}
	}
	x := &session{review: t.review, end: end}
	x.review.validator.sessions.add(x)
	return bound, func() { x.release(nil) }
}
