package live

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/meshpass/meshpass/internal/expiry"
	"github.com/meshpass/meshpass/internal/jitter"
	"github.com/meshpass/meshpass/internal/offer"
	"github.com/meshpass/meshpass/internal/replica"
	"github.com/meshpass/meshpass/internal/sources"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

// sessionCheck is the interval at which one timer checks for all sessions whether
// the wall clock has jumped and whether the state is too old.
const sessionCheck = time.Second

// sessions holds the contexts that are bound to verified tokens. Indexes by token
// id, key and expiry find the sessions that an event ends, so that a change costs
// only as much as the sessions that it affects. One timer serves all of them; no
// session has a goroutine.
type sessions struct {
	jitter time.Duration

	// knowable says why sessions of a key could not be checked for too long.
	knowable func(scope keystore.Scope, key signer, now time.Time) error

	mu     sync.Mutex
	closed bool
	ids    byScope[string, *session] // one session of each ring
	keys   byScope[signer, *keySessions]
	queue  *expiry.Queue[*session]

	cursors map[*cursor]struct{} // of listings that go on
}

// keySessions holds the sessions of one key.
type keySessions struct {
	newest *session // of their ring, in which older ones follow it
	count  int
}

// session is one bound context. It is in the expiry queue and in two rings: of the
// sessions with the same token id, if it has one, and of those with the same key.
type session struct {
	expiry.Entry
	token *Verified
	end   context.CancelCauseFunc
	links [kindsOfRing]links
}

// ExpiresAt implements [expiry.Item].
func (x *session) ExpiresAt() time.Time { return x.token.ExpiresAt() }

func newSessions(config *Config) *sessions {
	s := &sessions{
		jitter:  config.sessionJitter,
		ids:     make(byScope[string, *session]),
		keys:    make(byScope[signer, *keySessions]),
		cursors: make(map[*cursor]struct{}),
	}
	s.queue = expiry.New[*session](config.Now, sessionCheck, s.check)
	return s
}

// bind returns a context that ends with the token: a new one, unless the parent is offered.
// It first adds the session to the indexes and then checks the token again, so that it
// misses no change since the validation.
func (s *sessions) bind(parent context.Context, t *Verified) (context.Context, context.CancelFunc) {
	ctx, end, offered := offer.Take(parent)
	if !offered {
		ctx, end = context.WithCancelCause(parent)
	}
	x := &session{token: t, end: end}
	s.add(x)
	if err := t.recheck(); err != nil {
		s.remove(x)
		end(err)
	}
	return ctx, x.stop
}

// stop ends a session at the request of its caller.
func (x *session) stop() {
	x.token.validator.sessions.remove(x)
	x.end(nil)
}

// add adds a session to the indexes, unless the validator is closed: then recheck says so.
func (s *sessions) add(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	var early time.Duration
	// At most half of the time left, so that a token that soon expires still gets a session.
	if limit := min(s.jitter, s.queue.Left(x)/2); limit > 0 {
		early = jitter.N(limit)
	}
	s.queue.Add(x, early)

	t := x.token
	if id := t.Untagged().ID; id != "" {
		same := s.ids[t.scope()][id]
		x.join(sameID, same)
		if same == nil {
			s.ids.put(t.scope(), id, x)
		}
	}
	k := s.keys[t.scope()][t.signer]
	if k == nil {
		k = &keySessions{}
		s.keys.put(t.scope(), t.signer, k)
	}
	x.join(sameKey, k.newest)
	k.newest = x
	k.count++
}

// remove removes a session from all indexes. Removing it twice is no error.
func (s *sessions) remove(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(x)
}

// drop removes sessions from all indexes. The caller holds mu, and ends them
// afterwards.
func (s *sessions) drop(all ...*session) {
	for _, x := range all {
		if s.queue.Remove(x) {
			s.unlink(x)
		}
	}
}

// unlink removes a session that has left the queue from the other indexes. The caller
// holds mu.
func (s *sessions) unlink(x *session) {
	t := x.token
	if id := t.Untagged().ID; id != "" {
		if other := x.leave(sameID); other != nil {
			s.ids.put(t.scope(), id, other)
		} else {
			s.ids.remove(t.scope(), id)
		}
	}
	k := s.keys[t.scope()][t.signer]
	for c := range s.cursors {
		c.pass(x, k)
	}
	if older := x.leave(sameKey); x == k.newest {
		k.newest = older
	}
	k.count--
	if k.newest == nil {
		s.keys.remove(t.scope(), t.signer)
	}
}

// ending holds sessions that end for the same reason.
type ending struct {
	sessions []*session
	reason   error
}

// endAll ends dropped sessions. The caller must not hold mu, since ending a
// context may run other code.
func endAll(endings []ending) {
	for _, e := range endings {
		for _, x := range e.sessions {
			x.end(e.reason)
		}
	}
}

// keysChanged ends the sessions of a scope, or of every scope, whose keys are no longer
// good.
func (s *sessions) keysChanged(scope keystore.Scope, check func(keystore.Scope, signer) error) {
	s.mu.Lock()
	var ended []ending
	end := func(of keystore.Scope) {
		ended = append(ended, s.dropWithKeys(of, func(key signer) error {
			if err := check(of, key); errors.Is(err, token.ErrInvalid) {
				return err
			}
			return nil
		})...)
	}
	if scope != sources.EveryScope {
		end(scope)
	} else {
		for of := range s.keys {
			end(of)
		}
	}
	s.mu.Unlock()
	endAll(ended)
}

// dropWithKeys drops the sessions of each key of a scope for which reason returns
// an error. The caller holds mu.
func (s *sessions) dropWithKeys(scope keystore.Scope, reason func(signer) error) (ended []ending) {
	for key, k := range s.keys[scope] {
		if err := reason(key); err != nil {
			ended = append(ended, ending{k.newest.ring(sameKey, k.count), err})
		}
	}
	for _, e := range ended {
		s.drop(e.sessions...)
	}
	return ended
}

// listChanged ends the sessions of a scope whose token ids are on a list, which may be the
// part of one that is new.
func (s *sessions) listChanged(scope keystore.Scope, list *revocation.List, state *replica.State) {
	s.mu.Lock()
	var ended []ending
	end := func(x *session) {
		if err := x.token.checkRevoked(state); errors.Is(err, token.ErrInvalid) {
			ended = append(ended, ending{x.ring(sameID, 1), err})
		}
	}
	ids := s.ids[scope]
	if list.Len() < len(ids)/8 { // iterate over the shorter of the two
		for _, id := range list.IDs() {
			if x := ids[id]; x != nil {
				end(x)
			}
		}
	} else {
		for id, x := range ids {
			if list.Contains(id) {
				end(x)
			}
		}
	}
	for _, e := range ended {
		s.drop(e.sessions...)
	}
	s.mu.Unlock()
	endAll(ended)
}

// cutoffsChanged ends the sessions of a scope that a cutoff revokes.
func (s *sessions) cutoffsChanged(scope keystore.Scope, state *replica.State) {
	s.mu.Lock()
	var ended []ending
	for _, k := range s.keys[scope] {
		for _, x := range k.newest.ring(sameKey, k.count) {
			if err := x.token.checkRevoked(state); errors.Is(err, token.ErrInvalid) {
				ended = append(ended, ending{[]*session{x}, err})
			}
		}
	}
	for _, e := range ended {
		s.drop(e.sessions...)
	}
	s.mu.Unlock()
	endAll(ended)
}

// close ends all sessions. Later ones end at once.
func (s *sessions) close() {
	s.mu.Lock()
	s.closed = true
	ended := s.queue.Clear()
	s.ids, s.keys = nil, nil
	for c := range s.cursors {
		c.next = nil
	}
	s.mu.Unlock()
	endAll([]ending{{ended, token.ErrClosed}})
}

// open calls count with the number of open sessions of each key.
func (s *sessions) open(count func(scope keystore.Scope, kid string, n int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for scope, keys := range s.keys {
		for key, k := range keys {
			count(scope, key.kid, k.count)
		}
	}
}

// check ends the sessions that have expired, and those whose tokens could not be
// checked for too long.
func (s *sessions) check() {
	s.mu.Lock()
	expired := s.queue.Expired()
	for _, x := range expired {
		s.unlink(x)
	}
	var unknown []ending
	now := time.Now()
	for scope := range s.keys {
		unknown = append(unknown, s.dropWithKeys(scope, func(key signer) error { return s.knowable(scope, key, now) })...)
	}
	s.queue.Arm()
	s.mu.Unlock()
	for _, x := range expired {
		x.end(expiredError(x.token.Untagged()))
	}
	endAll(unknown)
}
