package live

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// state is the parsed content of the store. It is immutable, except that it
// learns of later reads of one scope that found the same: each read that finds a
// change makes a new one.
type state struct {
	scopes map[keystore.Scope]*scopeState // only scopes that have records
	full   reading                        // of the latest reads of all scopes
	empty  map[keystore.Scope]reading     // of scopes without records, from reads of one scope
}

// maxEmpty limits how many scopes without records are remembered, since peers
// may choose their names.
const maxEmpty = 1024

// scopeState is the content of one scope.
type scopeState struct {
	keys       *signing.PublicSet // nil if the scope can have no keys
	lists      map[keystore.Scope]*list
	unreadable map[string]time.Time // since when, by kid

	problems []string // as text, to log each once

	// From reads of this scope alone, or nil. It is replaced in place: a new state
	// for each would take a copy of the map of all scopes.
	own atomic.Pointer[reading]

	records []recordID // the records that were parsed
}

// recordID identifies one version of a record.
type recordID struct {
	name, version string
	created       int64
}

// list is one revocation list. ids is nil if err is set.
type list struct {
	version string
	created int64 // nanoseconds since 1970
	ids     *revocation.List
	err     error
	since   time.Time // when err was first seen, on the monotonic clock
}

// missingFrom returns how many ids of the list are not on a later one, which is
// nil if there is none. An unreadable list has no ids of which that can be said.
func (l *list) missingFrom(later *list) int {
	switch {
	case l == later || later != nil && later.err != nil:
		return 0
	case later == nil:
		return l.ids.Len()
	}
	return l.ids.MissingFrom(later.ids)
}

// reading holds when the store last confirmed a state and when a read last
// failed. Both are the times at which the read began, on the monotonic clock.
type reading struct {
	confirmed, failed time.Time
	err               error // of the failed read
}

func (r reading) merge(o reading) reading {
	if o.confirmed.After(r.confirmed) {
		r.confirmed = o.confirmed
	}
	if o.failed.After(r.failed) {
		r.failed, r.err = o.failed, o.err
	}
	return r
}

// staleness returns the time since the store last confirmed the state, if a
// read has failed or is overdue since. It is 0 as long as reads succeed. A
// state that was never confirmed is infinitely old.
func (r reading) staleness(now time.Time) time.Duration {
	if r.confirmed.IsZero() {
		return math.MaxInt64
	}
	age := now.Sub(r.confirmed)
	if !r.failed.After(r.confirmed) && age <= fullInterval+readTimeout {
		return 0
	}
	return age
}

// tooStale returns an error matching token.ErrUnavailable if the state is older
// than the limit.
func (r reading) tooStale(now time.Time, limit time.Duration) error {
	age := r.staleness(now)
	switch {
	case r.confirmed.IsZero():
		return fmt.Errorf("%w: the store was never read: %w", token.ErrUnavailable, r.cause())
	case age > limit:
		return tooStale(age, limit, r.cause())
	}
	return nil
}

func tooStale(age, limit time.Duration, cause error) error {
	return fmt.Errorf("%w: not confirmed for %s, over the limit of %s: %w",
		token.ErrUnavailable, age.Round(time.Millisecond), limit, cause)
}

// cause returns why the store was not read.
func (r reading) cause() error {
	if r.err == nil {
		return errors.New("a read is overdue")
	}
	return r.err
}

// reading returns how current the answers for a scope are, which is the oldest
// of the reads that they depend on.
func (s *state) reading(scope keystore.Scope, now time.Time) reading {
	own := s.full.merge(s.own(scope))
	// Lists in the global scope count for every mesh.
	global := s.full.merge(s.own(keystore.Global))
	if global.staleness(now) > own.staleness(now) {
		return global
	}
	return own
}

// own returns the latest reads of a scope alone.
func (s *state) own(scope keystore.Scope) reading {
	own := s.scopes[scope]
	if own == nil {
		return s.empty[scope]
	}
	if r := own.own.Load(); r != nil {
		return *r
	}
	return reading{}
}

// find returns the key with a kid for the tokens of a scope. The error is
// signing.ErrNoKey, or why an existing key cannot be used.
func (s *state) find(scope keystore.Scope, kid string) (*signing.PublicKey, error) {
	own := s.scopes[scope]
	if own == nil || own.keys == nil {
		return nil, signing.ErrNoKey
	}
	return own.keys.Find(kid)
}

// has reports whether the scope still has the key. A key that can no longer be
// read counts as present.
func (s *scopeState) has(kid string, key *signing.PublicKey) bool {
	if s.keys == nil {
		return false
	}
	now, err := s.keys.Find(kid)
	if err != nil {
		return !errors.Is(err, signing.ErrNoKey)
	}
	return now.Equal(key)
}

// revoked reports whether an id is on a list that applies to the scope. The
// error means that one of the lists cannot be read; an id on another list is
// revoked all the same.
func (s *state) revoked(scope keystore.Scope, id string) (bool, error) {
	var unreadable error
	for _, place := range [...]keystore.Scope{scope, keystore.Global} {
		holder := s.scopes[place]
		if holder == nil {
			continue
		}
		l := holder.lists[scope]
		switch {
		case l == nil:
		case l.err != nil:
			unreadable = l.err
		case l.ids.Contains(id):
			return true, nil
		}
	}
	return false, unreadable
}

// check returns token.ErrUnknownKey if the key that verified a token is gone,
// token.ErrRevoked if the token's id is on a list that counts for its scope, or
// an error of class token.ErrUnavailable if one of them is unreadable.
func (s *state) check(t *Verified) error {
	var unreadable error
	if t.ofStore {
		key, err := s.find(t.scope, t.keyID)
		switch {
		case errors.Is(err, signing.ErrNoKey) || err == nil && key != t.key && !key.Equal(t.key):
			return fmt.Errorf("%w: key %q was removed", token.ErrUnknownKey, t.keyID)
		case err != nil:
			unreadable = err
		}
	}
	if id := t.claims.ID; id != "" {
		revoked, err := s.revoked(t.scope, id)
		if revoked {
			return fmt.Errorf("%w: jti %q is on the revocation list", token.ErrRevoked, id)
		}
		unreadable = cmp.Or(err, unreadable)
	}
	return unavailable(unreadable)
}

// unknowable returns for how long, and why, the validity of open sessions of a
// scope has been unknown: the store, a list, or the record of the key with this
// kid cannot be read. kid is empty for a key that is not from the store.
func (s *state) unknowable(scope keystore.Scope, kid string, now time.Time) (time.Duration, error) {
	r := s.reading(scope, now)
	age, err := r.staleness(now), r.cause()
	for _, place := range [...]keystore.Scope{scope, keystore.Global} {
		holder := s.scopes[place]
		if holder == nil {
			continue
		}
		if l := holder.lists[scope]; l != nil && l.err != nil && now.Sub(l.since) > age {
			age, err = now.Sub(l.since), l.err
		}
	}
	if own := s.scopes[scope]; own != nil && kid != "" {
		if since, ok := own.unreadable[kid]; ok && now.Sub(since) > age {
			_, err = own.keys.Find(kid)
			age = now.Sub(since)
		}
	}
	return age, err
}

// with returns a state in which one scope is replaced, or removed if next is
// nil.
func (s *state) with(scope keystore.Scope, next *scopeState) *state {
	scopes := maps.Clone(s.scopes)
	if scopes == nil { // no read of all scopes has succeeded
		scopes = make(map[keystore.Scope]*scopeState)
	}
	if next == nil {
		delete(scopes, scope)
	} else {
		scopes[scope] = next
	}
	return &state{scopes: scopes, full: s.full, empty: s.empty}
}

// withReading returns a state with one more read of a scope alone, which has
// failed or found what the state holds.
func (s *state) withReading(scope keystore.Scope, r reading) *state {
	if own := s.scopes[scope]; own != nil {
		r = s.own(scope).merge(r)
		own.own.Store(&r)
		return s
	}
	next := *s
	next.empty = maps.Clone(s.empty)
	if next.empty == nil {
		next.empty = make(map[keystore.Scope]reading)
	}
	if len(next.empty) >= maxEmpty {
		for other := range next.empty {
			if other != keystore.Global {
				delete(next.empty, other)
				break
			}
		}
	}
	next.empty[scope] = s.empty[scope].merge(r)
	return &next
}

// parse parses the records of a scope. It reuses the unchanged parts of prev,
// so that keys keep their identity and nothing is parsed twice. If nothing has
// changed it returns prev itself.
func (f *Family) parse(scope keystore.Scope, records []keystore.Record, prev *scopeState, now time.Time) *scopeState {
	ids := make([]recordID, len(records))
	versioned := true
	for i, r := range records {
		ids[i] = recordID{r.Name, r.Version, r.Created.UnixNano()}
		versioned = versioned && r.Version != ""
	}
	if prev == nil {
		prev = &scopeState{}
	} else if versioned && slices.Equal(ids, prev.records) {
		return prev
	}
	next := &scopeState{lists: make(map[keystore.Scope]*list), records: ids}
	var keys []keystore.Record
	for _, r := range records {
		owner, ok := f.ListOwner(r.Name)
		if !ok {
			keys = append(keys, r)
			continue
		}
		if r.Scope != scope || (scope != keystore.Global && owner != scope) {
			next.problems = append(next.problems, fmt.Sprintf("revocation list %q in scope %q is not the scope's own and is ignored", r.Name, r.Scope))
			continue
		}
		l := prev.lists[owner]
		// Without a Version a change cannot be detected.
		if l == nil || r.Version == "" || l.version != r.Version || l.created != r.Created.UnixNano() {
			ids, err := revocation.Parse(r.Data)
			if err != nil {
				err = fmt.Errorf("revocation list %q in scope %q: %w", r.Name, r.Scope, err)
			}
			since := now
			if l != nil && l.err != nil {
				since = l.since
			}
			l = &list{version: r.Version, created: r.Created.UnixNano(), ids: ids, err: err, since: since}
		}
		next.lists[owner] = l
		if l.err != nil {
			next.problems = append(next.problems, l.err.Error())
		} else {
			for _, p := range l.ids.Problems() {
				next.problems = append(next.problems, fmt.Sprintf("revocation list %q in scope %q: %v", r.Name, r.Scope, p))
			}
		}
	}
	if series, ok := f.Keys(scope); ok {
		next.keys = series.PublicSet(keys, prev.keys)
		for _, key := range next.keys.Keys() {
			if key.Err == nil {
				continue
			}
			kid := key.Serial.KeyID()
			since, ok := prev.unreadable[kid]
			if !ok {
				since = now
			}
			if next.unreadable == nil {
				next.unreadable = make(map[string]time.Time)
			}
			next.unreadable[kid] = since
		}
		for _, p := range next.keys.Problems() {
			next.problems = append(next.problems, p.Error())
		}
	} else {
		for _, r := range keys {
			next.problems = append(next.problems, fmt.Sprintf("record %q in scope %q: no %s key belongs to that scope; it is ignored", r.Name, r.Scope, f.Kind))
		}
	}
	return next
}

// checkOrder rejects a result that is not in the order the store must return.
// This finds duplicate records, of which one would be lost.
func checkOrder(records []keystore.Record) error {
	for i := 1; i < len(records); i++ {
		a, b := &records[i-1], &records[i]
		if cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Name, b.Name)) >= 0 {
			return fmt.Errorf("the store listed %q after %q: want every record once, sorted by scope and name", b.Name, a.Name)
		}
	}
	return nil
}

// split groups the records of a complete read by scope.
func split(records []keystore.Record) map[keystore.Scope][]keystore.Record {
	groups := make(map[keystore.Scope][]keystore.Record)
	for _, r := range records {
		groups[r.Scope] = append(groups[r.Scope], r)
	}
	return groups
}
