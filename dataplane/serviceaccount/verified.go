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
// A bound context uses no goroutine, and nothing looks at it until its token expires.
func (t Verified) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	bound, end := context.WithCancelCause(ctx)
	if t.review == nil {
		end(fmt.Errorf("%w: there is no token", token.ErrInvalid))
		return bound, func() {}
	}
	s := &session{of: &t.review.validator.sessions, expires: t.review.expires, end: end}
	s.of.add(s)
	return bound, func() { s.release(nil) }
}

const (
	// clockCheck is the interval at which one timer checks, for all sessions, whether
	// the wall clock has jumped.
	clockCheck = 10 * time.Second

	// clockJump is the smallest difference between the wall clock and the monotonic
	// clock that counts as a jump.
	clockJump = 100 * time.Millisecond
)

// session is a bound context.
type session struct {
	of       *sessions
	end      context.CancelCauseFunc
	expires  time.Time   // by the wall clock
	deadline time.Time   // by the monotonic clock: when the timer fires
	timer    *time.Timer // nil if it had expired at once
}

func (s *session) expire() {
	s.release(fmt.Errorf("%w at %s", token.ErrExpired, s.expires.Format(time.RFC3339)))
}

func (s *session) release(reason error) {
	s.of.remove(s)
	s.end(reason)
}

// sessions holds the open sessions of a validator.
type sessions struct {
	now func() time.Time // the wall clock

	mu     sync.Mutex
	closed bool
	open   map[*session]struct{}
	timer  *time.Timer // nil while there is no session

	wall, monotonic time.Time // the two clocks when they last agreed, or at a session's start if the first had been put back
}

// add opens a session, or ends its context.
func (x *sessions) add(s *session) {
	x.mu.Lock()
	wall, monotonic := x.now().Round(0), time.Now() // Round strips the monotonic reading
	left := s.expires.Sub(wall)
	closed := x.closed
	if !closed && left > 0 {
		if x.timer == nil {
			x.open = make(map[*session]struct{})
			x.wall, x.monotonic = wall, monotonic
			x.timer = time.AfterFunc(clockCheck, x.checkClock)
		}
		if x.ahead(wall, monotonic) < 0 { // if the clock was put back just now, the next check sees it put right
			x.wall, x.monotonic = wall, monotonic
		}
		x.open[s] = struct{}{}
		s.deadline = monotonic.Add(left)
		s.timer = time.AfterFunc(left, s.expire)
	}
	x.mu.Unlock()
	switch { // mu is not held, since ending a context may run other code
	case closed:
		s.end(token.ErrClosed)
	case left <= 0:
		s.expire()
	}
}

// remove forgets a session. Removing it twice is no error.
func (x *sessions) remove(s *session) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if s.timer != nil {
		s.timer.Stop()
	}
	delete(x.open, s)
}

// ahead returns how far the wall clock has come ahead since the two agreed.
func (x *sessions) ahead(wall, monotonic time.Time) time.Duration {
	return wall.Sub(x.wall) - monotonic.Sub(x.monotonic)
}

// checkClock brings the ends of sessions forward if the wall clock has jumped ahead.
// If it has jumped back they stay, so that no session lives longer.
func (x *sessions) checkClock() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.open) == 0 {
		x.timer = nil
		return
	}
	wall, monotonic := x.now().Round(0), time.Now()
	ahead := x.ahead(wall, monotonic)
	if ahead > clockJump {
		for s := range x.open {
			left := min(s.expires.Sub(wall), s.deadline.Sub(monotonic))
			s.deadline = monotonic.Add(left)
			s.timer.Reset(left)
		}
	}
	if ahead.Abs() > clockJump {
		x.wall, x.monotonic = wall, monotonic
	}
	x.timer.Reset(clockCheck)
}

// close ends all sessions; later ones end at once.
func (x *sessions) close() {
	x.mu.Lock()
	x.closed = true
	open := x.open
	x.open = nil
	for s := range open {
		s.timer.Stop()
	}
	x.mu.Unlock()
	for s := range open {
		s.end(token.ErrClosed)
	}
}
