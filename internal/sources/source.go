package sources

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const (
	readTimeout = 5 * time.Second // a longer read has failed

	minInterval  = 100 * time.Millisecond // between reads, whatever a source says
	zeroInterval = time.Second            // the longest, for the limit 0 of staleness

	minRetry = 500 * time.Millisecond // after the first failed read; doubles each time
	maxRetry = 10 * time.Second
)

// Source is one source of public keys in its place. Its pointer identifies it.
type Source struct {
	Place
	name    string
	demands token.Demands
	kids    []string // of a ChosenSource
	chosen  bool     // it is one

	reading atomic.Pointer[reading]
	reads   reads

	// Used by the reading goroutine, or under the lock of the follower:
	held map[string]*Held

	// Used by the reading goroutine only:
	problems []string // logged
	failing  bool

	wake chan struct{}

	mu       sync.Mutex
	running  bool          // a read goes on
	begun    uint64        // reads
	ended    uint64        // the number of the latest read that has ended
	began    time.Time     // when the latest read began
	hanging  bool          // a call has not returned
	wanted   bool          // by a token
	due      time.Time     // when the next read begins, or zero for never
	interval time.Duration // between good reads
	onDemand time.Duration
	retry    time.Duration
}

// reading says how current the keys of a source are: when the latest good read began,
// less the age of what it has found, and if a read has failed since, when that began. It
// is on the monotonic clock.
type reading struct {
	confirmed, failed time.Time
	err               error         // of the failed read
	overdue           time.Duration // the age at which the next read should have ended, or 0 for never
}

func newSource(p Place) *Source {
	s := &Source{Place: p, name: p.Source.String(), demands: p.Source.Demands(), wake: make(chan struct{}, 1), due: time.Now()}
	if known, ok := p.Source.(signing.ChosenSource); ok {
		s.chosen, s.kids = true, slices.Clone(known.KeyIDs())
		s.held = make(map[string]*Held, len(s.kids))
		for _, kid := range s.kids {
			s.held[kid] = &Held{Source: s, Chosen: true}
		}
	}
	s.reading.Store(&reading{})
	return s
}

// String names the source.
func (s *Source) String() string { return s.name }

// Demands returns what the tokens of the keys must say. The caller must not change it.
func (s *Source) Demands() *token.Demands { return &s.demands }

// mayHave reports whether the source may have a key with a kid, now or later.
func (s *Source) mayHave(kid string) bool { return !s.chosen || slices.Contains(s.kids, kid) }

// Age tells how current the keys of a source are. Take it before the State, so that an
// old state never looks current.
type Age struct {
	source *Source
	at     *reading
}

// Age returns the age now. A nil source never ages.
func (s *Source) Age() Age {
	if s == nil {
		return Age{}
	}
	return Age{s, s.reading.Load()}
}

// Check returns an error of class token.ErrUnavailable if the source could not be read
// for longer than limit. A source ages only after a read has failed or while one is
// overdue.
func (a Age) Check(now time.Time, limit time.Duration) error {
	if a.source == nil {
		return nil
	}
	age, err := a.at.staleness(now)
	if age <= limit {
		return nil
	}
	return fmt.Errorf("%w: the keys of %s are not confirmed for %s, the limit is %s: %w",
		token.ErrUnavailable, a.source, age.Round(time.Millisecond), limit, err)
}

func (r *reading) staleness(now time.Time) (time.Duration, error) {
	switch age := now.Sub(r.confirmed); {
	case r.confirmed.IsZero():
		return math.MaxInt64, r.err
	case !r.failed.IsZero():
		return age, r.err
	case r.overdue > 0 && age > r.overdue:
		return age, errOverdue
	}
	return 0, nil
}

var (
	errOverdue  = errors.New("a read is overdue")
	errNotEnded = errors.New("no read has ended yet")
)

// neverRead is the error about a kid of a source that was never read.
func (s *Source) neverRead() error {
	return unavailable(s, s.reading.Load().err)
}

func unavailable(s *Source, err error) error {
	if err == nil {
		err = errNotEnded
	}
	return fmt.Errorf("%w: the keys of %s could not be read: %w", token.ErrUnavailable, s, err)
}

// read calls the source. The call is abandoned if it does not return in time.
func (s *Source) read(ctx context.Context, start func(func())) (signing.SourceKeys, error) {
	s.mu.Lock()
	hanging := s.hanging
	s.hanging = true
	s.mu.Unlock()
	if hanging {
		return signing.SourceKeys{}, errors.New("an earlier read has not returned")
	}
	type answer struct {
		keys signing.SourceKeys
		err  error
	}
	answers := make(chan answer, 1)
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	start(func() {
		a := answer{err: errors.New("the read ended without an answer")}
		defer func() {
			if p := recover(); p != nil {
				a = answer{err: fmt.Errorf("the read panicked: %v", p)}
			}
			s.mu.Lock()
			s.hanging = false
			s.mu.Unlock()
			answers <- a
		}()
		a.keys, a.err = s.Source.Read(ctx)
	})
	select {
	case a := <-answers:
		if a.err == nil && ctx.Err() != nil { // it may be old
			a.err = ctx.Err()
		}
		return a.keys, a.err
	case <-ctx.Done():
		return signing.SourceKeys{}, fmt.Errorf("it did not answer within %s: %w", readTimeout, ctx.Err())
	}
}

// begin notes that a read begins.
func (s *Source) begin(now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.wanted, s.began = true, false, now
	s.begun++
}

// finish notes that a read has ended, after the state has what it has found: see Age.
// limit is the shorter limit of staleness.
func (s *Source) finish(keys signing.SourceKeys, err error, limit time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.ended = false, s.begun
	overdue := s.schedule(keys, err, limit)
	if err == nil {
		age := max(keys.Age, 0)
		if overdue > 0 {
			overdue += age
		}
		s.reading.Store(&reading{confirmed: s.began.Add(-age), overdue: overdue})
		return
	}
	r := *s.reading.Load()
	r.failed, r.err = s.began, err
	s.reading.Store(&r)
}

// schedule says when the next read begins. It returns the age at which that should have
// ended, or 0 for never. The caller holds mu.
func (s *Source) schedule(keys signing.SourceKeys, err error, limit time.Duration) (overdue time.Duration) {
	now := time.Now()
	took := now.Sub(s.began)
	if err == nil || keys.OnDemand > 0 {
		s.onDemand = max(keys.OnDemand, 0)
	}
	var pause time.Duration
	switch {
	case err == nil && keys.Refresh <= 0:
		s.retry, s.interval, s.due = 0, 0, time.Time{}
		return 0
	case err == nil:
		s.retry, s.interval = 0, s.intervalOf(keys.Refresh, limit)
		pause = s.interval
	case keys.Refresh > 0:
		pause = s.intervalOf(keys.Refresh, limit)
	default:
		s.retry = min(max(2*s.retry, minRetry), maxRetry)
		if pause = s.retry; s.interval > 0 {
			pause = min(pause, s.interval)
		}
		pause = max(pause, s.onDemand)
	}
	s.due = s.began.Add(pause)
	if rest := now.Add(min(took, pause)); rest.After(s.due) {
		s.due = rest
	}
	return min(pause+readTimeout, max(limit, 2*pause))
}

// intervalOf returns the time between reads: short enough that two of them fit into
// limit, as far as onDemand allows.
func (s *Source) intervalOf(refresh, limit time.Duration) time.Duration {
	most := zeroInterval
	if limit > 0 {
		most = limit / 2
	}
	return max(min(refresh, most), minInterval, s.onDemand)
}

// next returns when the next read begins, or zero for never. The caller holds mu.
func (s *Source) next() time.Time {
	if allowed := s.began.Add(s.onDemand); s.wanted && (s.due.IsZero() || allowed.Before(s.due)) {
		return allowed
	}
	return s.due
}
