package serviceaccount

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
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
// A bound context uses no goroutine.
func (t Verified) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	bound, end := context.WithCancelCause(ctx)
	if t.review == nil {
		end(fmt.Errorf("%w: there is no token", token.ErrInvalid))
		return bound, func() {}
	}
	s := &session{review: t.review, ctx: bound, end: end}
	s.expires = time.Now().Add(t.review.expires.Sub(t.review.validator.config.now().Round(0)))
	s.timer = time.AfterFunc(sessionCheck, s.check)
	if !t.review.validator.sessions.add(s) {
		end(token.ErrClosed)
	}
	s.check()
	return bound, func() { s.release(nil) }
}

// sessionCheck is the interval at which a session looks at the wall clock, which
// may have jumped.
const sessionCheck = 10 * time.Second

// session is a bound context.
type session struct {
	review  *review
	ctx     context.Context
	end     context.CancelCauseFunc
	expires time.Time // by the monotonic clock
	timer   *time.Timer
}

// check ends the session if the token has expired, and otherwise comes back.
func (s *session) check() {
	v := s.review.validator
	left := min(s.review.expires.Sub(v.config.now().Round(0)), time.Until(s.expires))
	switch {
	case s.ctx.Err() != nil:
		s.release(nil)
	case left <= 0:
		s.release(fmt.Errorf("%w at %s", token.ErrExpired, s.review.expires.Format(time.RFC3339)))
	default:
		s.timer.Reset(min(left, sessionCheck))
	}
}

func (s *session) release(reason error) {
	s.timer.Stop()
	s.review.validator.sessions.remove(s)
	s.end(reason)
}

// sessions holds the open sessions of a validator, for its Close.
type sessions struct {
	mu     sync.Mutex
	closed bool
	open   map[*session]struct{}
}

func (x *sessions) add(s *session) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return false
	}
	if x.open == nil {
		x.open = make(map[*session]struct{})
	}
	x.open[s] = struct{}{}
	return true
}

func (x *sessions) remove(s *session) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.open, s)
}

// close ends all sessions; later ones end at once.
func (x *sessions) close() {
	x.mu.Lock()
	x.closed = true
	open := x.open
	x.open = nil
	x.mu.Unlock()
	for s := range open { // mu is not held, since ending a context may run other code
		s.end(token.ErrClosed)
		s.timer.Stop()
	}
}
