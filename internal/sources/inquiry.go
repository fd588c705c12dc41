package sources

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// peerWait is the longest wait of a token for a read.
const peerWait = time.Second

// Inquiry is the question of one token, whose kid no source has: do the sources have it
// now?
type Inquiry struct {
	follower *Follower
	arrived  time.Time // of the token
	deadline time.Time
	asked    []asked
}

// asked is a source that may have the kid, and how many of its reads had begun when the
// token arrived.
type asked struct {
	*Source
	begunBefore uint64
}

// Ask makes a token with a kid, which arrives now, cause reads of the sources that may
// have it, as far as these allow that.
func (f *Follower) Ask(scope keystore.Scope, kid string) Inquiry {
	now := time.Now()
	q := Inquiry{follower: f, arrived: now, deadline: now.Add(peerWait)}
	for s := range f.candidates(scope, kid) {
		q.asked = append(q.asked, asked{s, s.ask(q.deadline)})
	}
	return q
}

// ask makes a token cause a read, if one may begin before the deadline. It returns how
// many reads have begun.
func (s *Source) ask(deadline time.Time) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.onDemand > 0 && !s.began.Add(s.onDemand).After(deadline) {
		s.wanted = true
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return s.begun
}

var errTooMany = fmt.Errorf("%w: too many tokens are waiting for a read of a source of keys", token.ErrUnavailable)

// Await waits until found returns true, or until it is known that no source has the kid.
// If that cannot be known by a second after the token arrived, the error matches
// token.ErrUnavailable.
func (q Inquiry) Await(ctx context.Context, found func() bool) error {
	f := q.follower
	var timer *time.Timer
	for {
		f.mu.Lock()
		updated := f.updated
		f.mu.Unlock()
		if found() {
			return nil
		}
		pending, err := q.missing()
		if !pending {
			return err
		}
		if timer == nil {
			leave, ok := f.waiting.Enter()
			if !ok {
				return errTooMany
			}
			defer leave()
			timer = time.NewTimer(time.Until(q.deadline))
			defer timer.Stop()
		}
		select {
		case <-updated:
		case <-timer.C:
			return fmt.Errorf("%w: a source of keys was not read within %s", token.ErrUnavailable, peerWait)
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", token.ErrUnavailable, context.Cause(ctx))
		case <-f.ended.Done():
			return token.ErrClosed
		}
	}
}

// missing combines the answers of all sources.
func (q Inquiry) missing() (pending bool, err error) {
	for _, s := range q.asked {
		waits, unknown := s.missing(q)
		pending = pending || waits
		err = cmp.Or(err, unknown)
	}
	return pending, err
}

// missing tells whether the source, which does not hold the kid, has none. That is so if
// what it holds is from after the token arrived, or if no token causes a read. The error
// says why it cannot be known. pending means that a read before the deadline will tell.
func (s *asked) missing(q Inquiry) (pending bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.reading.Load()
	failed := !r.failed.IsZero()
	read := s.ended > s.begunBefore && !r.confirmed.Before(q.arrived)
	if s.ended > 0 && s.onDemand == 0 || failed && s.ended > s.begunBefore || read {
		if failed {
			return false, unavailable(s.Source, r.err)
		}
		return false, nil
	}
	if next := s.next(); s.running || !next.IsZero() && !next.After(q.deadline) {
		return true, nil
	}
	if failed {
		return false, unavailable(s.Source, r.err)
	}
	return false, fmt.Errorf("%w: the keys of %s may not be read again so soon", token.ErrUnavailable, s.Source)
}
