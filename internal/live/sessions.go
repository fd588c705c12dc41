package live

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/meshpass/meshpass/internal/expiry"
	"github.com/meshpass/meshpass/internal/replica"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
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
	jitter   time.Duration
	maxStale time.Duration
	state    func() *replica.State // nil: there is no store

	mu     sync.Mutex
	closed bool
	ids    map[keystore.Scope]map[string]*session // heads of the linked lists
	keys   map[keystore.Scope]map[keyID]*keySessions
	queue  *expiry.Queue[*session]
}

// keyID is a key and its kid: a configured key may have several kids.
type keyID struct {
	kid string
	key *signing.PublicKey
}

// keySessions holds the sessions of one key.
type keySessions struct {
	ofStore bool // the store can remove the key
	first   *session
	count   int
}

// session is one bound context. It is a member of two linked lists and of the
// expiry queue.
type session struct {
	expiry.Entry
	token   *Verified
	end     context.CancelCauseFunc
	sameID  links
	sameKey links
}

// ExpiresAt implements [expiry.Item].
func (x *session) ExpiresAt() time.Time { return x.token.ExpiresAt() }

type links struct{ prev, next *session }

func newSessions(config *Config) *sessions {
	s := &sessions{
		jitter:   config.sessionJitter,
		maxStale: config.sessionMaxStale,
		ids:      make(map[keystore.Scope]map[string]*session),
		keys:     make(map[keystore.Scope]map[keyID]*keySessions),
	}
	s.queue = expiry.New[*session](config.Now, sessionCheck, s.check)
	return s
}

// bind returns a context that ends with the token. It first adds the session to the
// indexes and then checks the token again, so that it misses no change since the
// validation.
func (s *sessions) bind(parent context.Context, t *Verified) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(parent)
	x := &session{token: t, end: end}
	if !s.add(x) {
		end(token.ErrClosed)
		return ctx, func() {}
	}
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

func (s *sessions) add(x *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	early := time.Duration(0)
	if left := s.queue.Left(x); s.jitter > 0 && left > 1 {
		// At most half of the time left, so that a token that soon expires still
		// gets a session.
		early = rand.N(min(s.jitter, left/2))
	}
	s.queue.Add(x, early)

	t := x.token
	if id := t.claims.ID; id != "" {
		ids := s.ids[t.scope]
		if ids == nil {
			ids = make(map[string]*session)
			s.ids[t.scope] = ids
		}
		x.sameID.next = ids[id]
		if x.sameID.next != nil {
			x.sameID.next.sameID.prev = x
		}
		ids[id] = x
	}
	keys := s.keys[t.scope]
	if keys == nil {
		keys = make(map[keyID]*keySessions)
		s.keys[t.scope] = keys
	}
	id := keyID{t.keyID, t.key}
	k := keys[id]
	if k == nil {
		k = &keySessions{ofStore: t.ofStore}
		keys[id] = k
	}
	x.sameKey.next = k.first
	if k.first != nil {
		k.first.sameKey.prev = x
	}
	k.first = x
	k.count++
	return true
}

// remove removes a session from all indexes. Removing it twice is no error.
func (s *sessions) remove(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queue.Remove(x) {
		s.unlink(x)
	}
}

// drop removes sessions from all indexes. The caller holds mu, and ends them
// afterwards.
func (s *sessions) drop(all []*session) {
	for _, x := range all {
		if s.queue.Remove(x) {
			s.unlink(x)
		}
	}
}

// unlink removes a session that has left the queue from the lists. The caller holds
// mu.
func (s *sessions) unlink(x *session) {
	t := x.token
	if id := t.claims.ID; id != "" {
		if x.sameID.prev == nil && x.sameID.next == nil {
			if ids := s.ids[t.scope]; len(ids) == 1 {
				delete(s.ids, t.scope)
			} else {
				delete(ids, id)
			}
		} else if x.sameID.prev == nil {
			s.ids[t.scope][id] = x.sameID.next
		}
		if p := x.sameID.prev; p != nil {
			p.sameID.next = x.sameID.next
		}
		if n := x.sameID.next; n != nil {
			n.sameID.prev = x.sameID.prev
		}
	}
	keys := s.keys[t.scope]
	k := keys[keyID{t.keyID, t.key}]
	if x.sameKey.prev == nil {
		k.first = x.sameKey.next
	} else {
		x.sameKey.prev.sameKey.next = x.sameKey.next
	}
	if n := x.sameKey.next; n != nil {
		n.sameKey.prev = x.sameKey.prev
	}
	if k.count--; k.count == 0 {
		delete(keys, keyID{t.keyID, t.key})
		if len(keys) == 0 {
			delete(s.keys, t.scope)
		}
	}
	x.sameID, x.sameKey = links{}, links{}
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

// keysChanged ends the sessions whose keys a scope no longer has.
func (s *sessions) keysChanged(scope keystore.Scope, state *replica.State) {
	s.mu.Lock()
	ended := s.dropWithKeys(scope, func(key keyID, ofStore bool) error {
		if !ofStore {
			return nil
		}
		if err := state.CheckKey(scope, key.kid, key.key); errors.Is(err, token.ErrInvalid) {
			return err
		}
		return nil
	})
	s.mu.Unlock()
	endAll(ended)
}

// dropWithKeys drops the sessions of each key of a scope for which reason returns
// an error. The caller holds mu.
func (s *sessions) dropWithKeys(scope keystore.Scope, reason func(key keyID, ofStore bool) error) (ended []ending) {
	for key, k := range s.keys[scope] {
		if err := reason(key, k.ofStore); err != nil {
			ended = append(ended, ending{k.all(), err})
		}
	}
	for _, e := range ended {
		s.drop(e.sessions)
	}
	return ended
}

func (k *keySessions) all() []*session {
	all := make([]*session, 0, k.count)
	for x := k.first; x != nil; x = x.sameKey.next {
		all = append(all, x)
	}
	return all
}

// listChanged ends the sessions of a scope whose token ids are on a list.
func (s *sessions) listChanged(scope keystore.Scope, list *revocation.List, state *replica.State) {
	s.mu.Lock()
	var ended []ending
	end := func(id string, x *session) {
		err := state.CheckID(scope, id)
		if !errors.Is(err, token.ErrInvalid) {
			return
		}
		e := ending{reason: err}
		for ; x != nil; x = x.sameID.next {
			e.sessions = append(e.sessions, x)
		}
		ended = append(ended, e)
	}
	ids := s.ids[scope]
	if list.Len() < len(ids)/8 { // iterate over the shorter of the two
		for _, id := range list.IDs() {
			if x := ids[id]; x != nil {
				end(id, x)
			}
		}
	} else {
		for id, x := range ids {
			if list.Contains(id) {
				end(id, x)
			}
		}
	}
	for _, e := range ended {
		s.drop(e.sessions)
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
	if s.closed {
		s.mu.Unlock()
		return
	}
	expired := s.queue.Expired()
	for _, x := range expired {
		s.unlink(x)
	}
	var unknown []ending
	if s.state != nil {
		state, now := s.state(), time.Now()
		for scope := range s.keys {
			unknown = append(unknown, s.dropWithKeys(scope, func(key keyID, ofStore bool) error {
				kid := key.kid
				if !ofStore {
					kid = ""
				}
				return state.CheckKnowable(scope, kid, now, s.maxStale)
			})...)
		}
	}
	s.queue.Arm()
	s.mu.Unlock()
	for _, x := range expired {
		x.end(expiredError(&x.token.claims))
	}
	endAll(unknown)
}
