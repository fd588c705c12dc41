package serviceaccount

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/meshpass/meshpass/token"
)

// Verified is a token that the API server has authenticated for a [Validator]:
// holding one proves that it was asked. It is immutable, and does not hold the
// token. The zero Verified permits nothing.
type Verified struct{ review *review }

// Pod returns what the API server said the token is for: always a namespace and a
// service account; name and UID of the Pod, and its node, if the token is bound to
// them.
func (t Verified) Pod() Pod {
	if t.review == nil {
		return Pod{}
	}
	return t.review.pod
}

// Audiences returns those of the validator's audiences that the token is for, at
// least one.
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

// ID returns the token's jti, which the API server's audit log has as well. It is
// "" for a token of Kubernetes 1.29 or older.
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
// its resources, to be called when the work under the context is done. The
// context ends, with a matching error as its cause (context.Cause), in these
// cases:
//
//   - token.ErrExpired: the token has expired, by the wall clock or by the time
//     since Bind, whichever comes first. A jump of the wall clock is noticed
//     within 10 seconds;
//   - token.ErrClosed: the validator was closed.
//
// It also ends with ctx. It does not end when the Pod or the account is deleted:
// Kubernetes announces no such thing to those who review tokens. Where that
// matters, validate the token again from time to time; within the validator's
// cache that costs nothing.
//
// A bound context uses no goroutine, and nothing looks at it until its token expires.
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
