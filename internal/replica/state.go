package replica

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// State is the parsed content of a store. It is immutable, except that later reads
// of one scope may confirm it. A read that finds a change makes a new State.
type State struct {
	scopes scopes
	strays map[listID]*list           // of all contents
	full   reading                    // of the latest reads of all scopes
	empty  map[keystore.Scope]reading // of scopes without records, from reads of one scope

	overdue time.Duration // the age at which a read of all scopes should have ended
}

// maxEmpty limits how many scopes without records a state remembers, since peers
// choose their names.
const maxEmpty = 1024

// reading returns how current the answers for a scope are: the oldest of the reads
// that they depend on.
func (s *State) reading(scope keystore.Scope, now time.Time) reading {
	if !s.readAlone(scope) && !s.readAlone(keystore.Global) {
		return s.full
	}
	own := s.full.merge(s.own(scope))
	// Lists in the global scope count for every mesh.
	global := s.full.merge(s.own(keystore.Global))
	if global.staleness(now, s.overdue) > own.staleness(now, s.overdue) {
		return global
	}
	return own
}

// readAlone reports whether there may have been a read of a scope alone.
func (s *State) readAlone(scope keystore.Scope) bool {
	if own := s.scopes.get(scope); own != nil {
		return own.own.Load() != nil
	}
	return len(s.empty) > 0
}

// own returns the latest reads of a scope alone.
func (s *State) own(scope keystore.Scope) reading {
	own := s.scopes.get(scope)
	if own == nil {
		return s.empty[scope]
	}
	if r := own.own.Load(); r != nil {
		return *r
	}
	return reading{}
}

// confirmed returns when the store last confirmed the state of a scope, or the given time
// if it never has.
func (s *State) confirmed(scope keystore.Scope, never time.Time) time.Time {
	if r := s.full.merge(s.own(scope)); !r.confirmed.IsZero() {
		return r.confirmed
	}
	return never
}

// Key returns the key with a kid for the tokens of a scope. The error matches
// signing.ErrNoKey if there is no such key, or says why the key cannot be used.
func (s *State) Key(scope keystore.Scope, kid string) (*signing.PublicKey, error) {
	own := s.scopes.get(scope)
	if own == nil || own.keys == nil {
		return nil, signing.ErrNoKey
	}
	return own.keys.Find(kid)
}

// Known returns an error of class token.ErrUnavailable if the keys of a scope were never
// read.
func (s *State) Known(scope keystore.Scope) error {
	r := s.full.merge(s.own(scope))
	if !r.confirmed.IsZero() {
		return nil
	}
	return fmt.Errorf("%w: the store was never read: %w", token.ErrUnavailable, r.cause())
}

// MayLag reports whether the keys of a scope are those of an answer of the store that may lack
// what was written before.
func (s *State) MayLag(scope keystore.Scope) bool { return s.full.merge(s.own(scope)).mayLag }

// ScopesWith returns the scopes that have a key with a kid, readable or not.
func (s *State) ScopesWith(kid string) []keystore.Scope {
	var found []keystore.Scope
	for scope := range s.scopes.all() {
		if _, err := s.Key(scope, kid); !errors.Is(err, signing.ErrNoKey) {
			found = append(found, scope)
		}
	}
	return found
}

// CheckRevoked returns token.ErrRevoked if a record that applies to the tokens of a scope
// revokes a token with these claims, signed by the key with this kid, and an error of
// class token.ErrUnavailable if such a record cannot be read. A token that one of them
// revokes is revoked even if the others cannot be read. An empty id is on no list.
func (s *State) CheckRevoked(scope keystore.Scope, kid string, claims *token.Claims) error {
	var unreadable error
	for _, l := range s.lists(listID{scope, false}) {
		switch {
		case l == nil || claims.ID == "":
		case l.err != nil:
			unreadable = l.err
		case l.ids.Contains(claims.ID):
			return fmt.Errorf("%w: jti %q is on the revocation list", token.ErrRevoked, claims.ID)
		}
	}
	for _, l := range s.lists(listID{scope, true}) {
		switch {
		case l == nil:
		case l.err != nil:
			unreadable = l.err
		default:
			if why := l.cutoffs.Check(kid, claims); why != "" {
				return fmt.Errorf("%w: %s", token.ErrRevoked, why)
			}
		}
	}
	return unavailable(unreadable)
}

// lists returns the records of a name that apply to the tokens of their owner: the one in
// the owner's scope, the one in the global scope, and an unreadable one that does not say
// its scope. Each is nil if there is none.
func (s *State) lists(id listID) (lists [3]*list) {
	for i, place := range [...]keystore.Scope{id.owner, keystore.Global} {
		if holder := s.scopes.get(place); holder != nil {
			lists[i] = holder.lists[id]
		}
	}
	lists[2] = s.strays[id]
	return lists
}

// findStrays finds the lists that do not say their scope, after a change of contents.
func (s *State) findStrays() {
	s.strays = nil
	for _, holder := range s.scopes.all() {
		for id, l := range holder.strays {
			if s.strays == nil {
				s.strays = make(map[listID]*list)
			}
			s.strays[id] = l
		}
	}
}

// CheckAge returns an error of class token.ErrUnavailable if the store last
// confirmed the state of a scope longer than limit ago, or never. A state ages only
// after a read has failed or while one is overdue.
func (s *State) CheckAge(scope keystore.Scope, now time.Time, limit time.Duration) error {
	r := s.reading(scope, now)
	if r.confirmed.IsZero() {
		return fmt.Errorf("%w: the store was never read: %w", token.ErrUnavailable, r.cause())
	}
	return tooOld(r.staleness(now, s.overdue), limit, r.cause())
}

// CheckKnowable returns an error of class token.ErrUnavailable if open sessions of a
// scope could not be checked for longer than limit: the store, a list, or the record
// of the key with this kid could not be read. kid is empty for a key that is not
// from the store.
func (s *State) CheckKnowable(scope keystore.Scope, kid string, now time.Time, limit time.Duration) error {
	r := s.reading(scope, now)
	age, cause := r.staleness(now, s.overdue), r.cause()
	for _, cutoffs := range [...]bool{false, true} {
		for _, l := range s.lists(listID{scope, cutoffs}) {
			if l != nil && l.err != nil && now.Sub(l.since) > age {
				age, cause = now.Sub(l.since), l.err
			}
		}
	}
	if own := s.scopes.get(scope); own != nil {
		if since, ok := own.unreadable[kid]; ok && now.Sub(since) > age {
			_, cause = own.keys.Find(kid)
			age = now.Sub(since)
		}
	}
	return tooOld(age, limit, cause)
}

func tooOld(age, limit time.Duration, cause error) error {
	if age <= limit {
		return nil
	}
	return fmt.Errorf("%w: not confirmed for %s, the limit is %s: %w",
		token.ErrUnavailable, age.Round(time.Millisecond), limit, cause)
}

// unavailable wraps an error with token.ErrUnavailable.
func unavailable(err error) error {
	if err == nil || errors.Is(err, token.ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", token.ErrUnavailable, err)
}

// with returns a state in which one scope is replaced, or removed if next is
// nil.
func (s *State) with(scope keystore.Scope, next *content) *State {
	edit := s.scopes.edit()
	edit.put(scope, next)
	replaced := &State{scopes: edit.scopes, strays: s.strays, full: s.full, empty: s.empty, overdue: s.overdue}
	if prev := s.scopes.get(scope); prev != nil && len(prev.strays) > 0 || next != nil && len(next.strays) > 0 {
		replaced.findStrays()
	}
	return replaced
}

// withReading returns a state with one more read of a single scope. That read has
// failed, or has found no change.
func (s *State) withReading(scope keystore.Scope, r reading) *State {
	if own := s.scopes.get(scope); own != nil {
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
