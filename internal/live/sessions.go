package live

import (
	"container/heap"
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const (
	// sessionCheck is the interval at which one timer checks, for all sessions,
	// whether the wall clock has jumped and whether the state is too old.
	sessionCheck = time.Second

	// clockJump is the smallest difference between the wall clock and the
	// monotonic clock that counts as a jump.
	clockJump = 100 * time.Millisecond
)

// sessions holds the contexts that are bound to verified tokens. They are
// indexed by the events that end them (the token's id, its key, and its
// expiry), so that a change costs only as much as the sessions it affects. One
// timer serves all of them; none has a goroutine of its own.
type sessions struct {
	wallClock func() time.Time
	leeway    time.Duration
	jitter    time.Duration
	maxStale  time.Duration
	stale     func(scope keystore.Scope, kid string) (time.Duration, error) // nil: there is no store

	epoch time.Time // start of the monotonic times below
	wall  time.Time // the wall clock at epoch

	mu      sync.Mutex
	closed  bool
	ids     map[keystore.Scope]map[string]*session // heads of the linked lists
	keys    map[keystore.Scope]map[keyID]*keySessions
	queue   expiryQueue
	timer   *time.Timer   // nil while there is no session
	due     time.Duration // when it fires
	drifted time.Duration // how far the wall clock was ahead at the last check, or at the binding of a session since
}

// keyID is a key and the kid that names it: a configured key may have several.
type keyID struct {
	kid string
	key *signing.PublicKey
}

// keySessions holds the sessions of one key.
type keySessions struct {
	kid     string
	ofStore bool // the key can be removed
	first   *session
	count   int
}

// session is one bound context. It is a member of two linked lists and of the
// expiry queue.
type session struct {
	token   *Verified
	end     context.CancelCauseFunc
	at      time.Duration // when it expires, in monotonic time
	early   uint32        // the jitter subtracted from at, in milliseconds
	index   int32         // in the queue, or gone
	sameID  links
	sameKey links
}

func (x *session) jitter() time.Duration { return time.Duration(x.early) * time.Millisecond }

type links struct{ prev, next *session }

// maxLeft keeps times in the queue from overflowing; no process runs for so
// long.
const maxLeft = 100 * 365 * 24 * time.Hour

const gone = -1

func newSessions(config *validatorConfig, stale func(scope keystore.Scope, kid string) (time.Duration, error)) *sessions {
	return &sessions{
		wallClock: config.now,
		leeway:    config.leeway,
		jitter:    config.sessionJitter,
		maxStale:  config.sessionMaxStale,
		stale:     stale,
		epoch:     time.Now(),
		wall:      config.now(),
		ids:       make(map[keystore.Scope]map[string]*session),
		keys:      make(map[keystore.Scope]map[keyID]*keySessions),
	}
}

// bind returns a context that ends with the token. recheck reports whether the
// token is still good. It runs after the session is in the indexes, so that no
// change since the validation is missed.
func (s *sessions) bind(parent context.Context, t *Verified, recheck func() error) (context.Context, context.CancelFunc) {
	ctx, end := context.WithCancelCause(parent)
	x := &session{token: t, end: end}
	if !s.add(x) {
		end(token.ErrClosed)
		return ctx, func() {}
	}
	if err := recheck(); err != nil {
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
	left := s.left(x)
	if s.jitter > 0 && left > 1 {
		// At most half of the time left, so that a token about to expire still
		// gets a session.
		x.early = uint32(rand.N(min(s.jitter, left/2)).Milliseconds())
	}
	now := s.monotonic()
	x.at = now + left - x.jitter()
	heap.Push(&s.queue, x)
	s.drifted = min(s.drifted, s.ahead(now)) // if the clock was put back just now, the next check sees it put right

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
		k = &keySessions{kid: t.keyID, ofStore: t.ofStore}
		keys[id] = k
	}
	x.sameKey.next = k.first
	if k.first != nil {
		k.first.sameKey.prev = x
	}
	k.first = x
	k.count++
	s.arm(now)
	return true
}

// remove removes a session from all indexes. Removing it twice is no error.
func (s *sessions) remove(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(x)
}

// drop does the work of remove. The caller holds mu.
func (s *sessions) drop(x *session) {
	if x.index == gone {
		return
	}
	heap.Remove(&s.queue, int(x.index))
	x.index = gone

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

// endAll ends sessions that were dropped. The caller must not hold mu, since
// ending a context may run other code.
func endAll(ended []*session, reason error) {
	for _, x := range ended {
		x.end(reason)
	}
}

// keysChanged ends the sessions whose keys are no longer in a scope.
func (s *sessions) keysChanged(scope keystore.Scope, still func(kid string, key *signing.PublicKey) bool) {
	s.mu.Lock()
	var removed []*keySessions
	var ended [][]*session
	for key, k := range s.keys[scope] {
		if k.ofStore && !still(k.kid, key.key) {
			removed = append(removed, k)
			ended = append(ended, k.all())
		}
	}
	for _, all := range ended {
		for _, x := range all {
			s.drop(x)
		}
	}
	s.mu.Unlock()
	for i, all := range ended {
		endAll(all, fmt.Errorf("%w: key %q was removed", token.ErrUnknownKey, removed[i].kid))
	}
}

func (k *keySessions) all() []*session {
	all := make([]*session, 0, k.count)
	for x := k.first; x != nil; x = x.sameKey.next {
		all = append(all, x)
	}
	return all
}

// listChanged ends the sessions of a scope whose ids are on a list.
func (s *sessions) listChanged(scope keystore.Scope, list *revocation.List) {
	s.mu.Lock()
	ids := s.ids[scope]
	var firsts []*session
	if list.Len() < len(ids)/8 { // iterate over the shorter of the two
		for _, id := range list.IDs() {
			if x := ids[id]; x != nil {
				firsts = append(firsts, x)
			}
		}
	} else {
		for id, x := range ids {
			if list.Contains(id) {
				firsts = append(firsts, x)
			}
		}
	}
	var ended []*session
	for _, x := range firsts {
		for ; x != nil; x = x.sameID.next {
			ended = append(ended, x)
		}
	}
	for _, x := range ended {
		s.drop(x)
	}
	s.mu.Unlock()
	for _, x := range ended {
		x.end(fmt.Errorf("%w: jti %q is on the revocation list", token.ErrRevoked, x.token.claims.ID))
	}
}

// close ends all sessions; later ones end at once.
func (s *sessions) close() {
	s.mu.Lock()
	s.closed = true
	ended := s.queue
	s.queue = nil
	for _, x := range ended {
		x.index = gone
	}
	s.ids, s.keys = nil, nil
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	endAll(ended, token.ErrClosed)
}

// open calls count with the number of sessions of each key.
func (s *sessions) open(count func(scope keystore.Scope, kid string, n int)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for scope, keys := range s.keys {
		for _, k := range keys {
			count(scope, k.kid, k.count)
		}
	}
}

func (s *sessions) monotonic() time.Duration { return time.Since(s.epoch) }

// ahead returns how far the wall clock is ahead of the monotonic clock, counted
// from epoch.
func (s *sessions) ahead(now time.Duration) time.Duration {
	return s.wallClock().Round(0).Sub(s.wall.Round(0)) - now
}

// left returns for how long a token is still valid by the wall clock.
func (s *sessions) left(x *session) time.Duration {
	// Round strips the monotonic reading, so that wall clock times are
	// compared.
	return min(x.token.claims.ExpiresAt.Add(s.leeway).Sub(s.wallClock().Round(0)), maxLeft)
}

// arm sets the timer for the next expiry or the next check, whichever is first.
// The caller holds mu.
func (s *sessions) arm(now time.Duration) {
	if len(s.queue) == 0 {
		return // the timer fires once more and finds no session
	}
	due := min(s.queue[0].at, now+sessionCheck)
	switch {
	case s.timer == nil:
		s.timer = time.AfterFunc(max(due-now, 0), s.check)
	case due < s.due:
		s.timer.Reset(max(due-now, 0))
	default:
		return
	}
	s.due = due
}

// check ends the sessions that have expired by either clock, and those whose
// state is too old.
func (s *sessions) check() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	now := s.monotonic()
	ahead := s.ahead(now)
	if ahead > s.drifted+clockJump {
		// A jump forward: tokens that expire earlier by the wall clock end
		// earlier. After a jump back the times stay, so that no token lives
		// longer.
		for _, x := range s.queue {
			x.at = min(x.at, now+s.left(x)-x.jitter())
		}
		heap.Init(&s.queue)
	}
	if ahead > s.drifted+clockJump || ahead < s.drifted-clockJump {
		s.drifted = ahead
	}
	var expired []*session
	for len(s.queue) > 0 && s.queue[0].at <= now {
		x := s.queue[0]
		s.drop(x)
		expired = append(expired, x)
	}
	type ending struct {
		sessions []*session
		reason   error
	}
	var stale []ending
	if s.stale != nil {
		for scope, keys := range s.keys {
			for id, k := range keys {
				kid := id.kid
				if !k.ofStore {
					kid = ""
				}
				if age, cause := s.stale(scope, kid); age > s.maxStale {
					stale = append(stale, ending{k.all(), tooStale(age, s.maxStale, cause)})
				}
			}
		}
		for _, e := range stale {
			for _, x := range e.sessions {
				s.drop(x)
			}
		}
	}
	s.due = math.MaxInt64 // the one timer has fired
	s.arm(now)
	s.mu.Unlock()
	for _, x := range expired {
		x.end(fmt.Errorf("%w at %s", token.ErrExpired, x.token.claims.ExpiresAt.Format(time.RFC3339)))
	}
	for _, e := range stale {
		endAll(e.sessions, e.reason)
	}
}

// expiryQueue is a heap of sessions, ordered by expiry.
type expiryQueue []*session

func (q expiryQueue) Len() int           { return len(q) }
func (q expiryQueue) Less(i, j int) bool { return q[i].at < q[j].at }
func (q expiryQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = int32(i), int32(j)
}

func (q *expiryQueue) Push(x any) {
	s := x.(*session)
	s.index = int32(len(*q))
	*q = append(*q, s)
}

func (q *expiryQueue) Pop() any {
	last := len(*q) - 1
	s := (*q)[last]
	(*q)[last] = nil
	*q = (*q)[:last]
	return s
}
