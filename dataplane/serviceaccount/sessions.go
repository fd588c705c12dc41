package serviceaccount

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/meshpass/meshpass/internal/expiry"
	"github.com/meshpass/meshpass/token"
)

// clockCheck is the interval at which one timer checks for all sessions whether the
// wall clock has jumped.
const clockCheck = 10 * time.Second

// session is a bound context.
type session struct {
	expiry.Entry
	review *review
	end    context.CancelCauseFunc
}

// ExpiresAt implements [expiry.Item].
func (x *session) ExpiresAt() time.Time { return x.review.expires }

func (x *session) release(reason error) {
	x.review.validator.sessions.remove(x)
	x.end(reason)
}

func (x *session) expire() {
	x.release(fmt.Errorf("%w at %s", token.ErrExpired, x.review.expires.Format(time.RFC3339)))
}

// sessions holds the open sessions of a validator. It ends contexts without mu,
// since that may run other code.
type sessions struct {
	mu     sync.Mutex
	closed bool
	queue  *expiry.Queue[*session]
}

func newSessions(now func() time.Time) *sessions {
	s := &sessions{}
	s.queue = expiry.New[*session](now, clockCheck, s.check)
	return s
}

// add opens a session, or ends its context.
func (s *sessions) add(x *session) {
	s.mu.Lock()
	closed, expired := s.closed, s.queue.Left(x) <= 0
	if !closed && !expired {
		s.queue.Add(x, 0)
	}
	s.mu.Unlock()
	switch {
	case closed:
		x.end(token.ErrClosed)
	case expired:
		x.expire()
	}
}

// remove forgets a session. Removing it twice is no error.
func (s *sessions) remove(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue.Remove(x)
}

// check ends the sessions that have expired.
func (s *sessions) check() {
	s.mu.Lock()
	expired := s.queue.Expired()
	s.queue.Arm()
	s.mu.Unlock()
	for _, x := range expired {
		x.expire()
	}
}

// close ends all sessions. Later ones end at once.
func (s *sessions) close() {
	s.mu.Lock()
	s.closed = true
	open := s.queue.Clear()
	s.mu.Unlock()
	for _, x := range open {
		x.end(token.ErrClosed)
	}
}
