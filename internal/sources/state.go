package sources

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// State is what all sources hold. It is immutable.
type State struct {
	held map[keystore.Scope]map[string][]*Held // by the scope of the source, and kid
}

// Held is a key of a source.
type Held struct {
	Source *Source
	Key    *signing.PublicKey // nil: the source was never read
	Chosen bool               // an operator chose the kid
}

// Find returns the key with a kid for the tokens of a scope, or nil if no source has one.
// A chosen kid goes before another, and one for the scope alone before one for every
// scope. Then the error matches token.ErrUnknownKey if several sources have the kid, and
// token.ErrUnavailable if its source was never read; the key is one of these sources'.
func (s *State) Find(scope keystore.Scope, kid string) (*Held, error) {
	if len(s.held) == 0 {
		return nil, nil // the usual case, inlined
	}
	return s.find(scope, kid)
}

func (s *State) find(scope keystore.Scope, kid string) (*Held, error) {
	levels := s.levels(scope, kid)
	for _, level := range levels {
		var found *Held
		for _, h := range level {
			if h.Chosen && found != nil {
				return found, rivals(kid, found, h)
			} else if h.Chosen {
				found = h
			}
		}
		if found != nil {
			return found, found.known()
		}
	}
	var found *Held
	for _, level := range levels {
		for _, h := range level {
			if found != nil {
				return found, rivals(kid, found, h)
			}
			found = h
		}
	}
	if found == nil {
		return nil, nil
	}
	return found, found.known()
}

// Hidden returns the names of the sources whose keys with a kid are not used for the
// tokens of a scope, since another source has the kid too. Keys for every scope are
// left out where a chosen one for the scope alone goes before them.
func (s *State) Hidden(scope keystore.Scope, kid string) string {
	used, err := s.Find(scope, kid)
	rivals := errors.Is(err, token.ErrUnknownKey) // otherwise one is used, or will be once it was read
	var names []string
	for _, level := range s.levels(scope, kid) {
		for _, h := range level {
			if rivals || h != used && !h.Chosen {
				names = append(names, h.Source.String())
			}
		}
	}
	if len(names) == 1 && used != nil && names[0] == used.Source.String() {
		return ""
	}
	return strings.Join(names, ", ")
}

// Scopes returns the scopes for which a source of their own has a kid.
func (s *State) Scopes(kid string) (scopes []keystore.Scope) {
	for scope, held := range s.held {
		if len(held[kid]) > 0 {
			scopes = append(scopes, scope)
		}
	}
	return scopes
}

// levels returns the keys of a kid for one scope alone, and for every scope.
func (s *State) levels(scope keystore.Scope, kid string) (levels [2][]*Held) {
	if scope != EveryScope {
		levels[0] = s.held[scope][kid]
	}
	levels[1] = s.held[EveryScope][kid]
	return levels
}

func rivals(kid string, a, b *Held) error {
	return fmt.Errorf("%w: the key with kid %.64q is not used: both %s and %s have one", token.ErrUnknownKey, kid, a.Source, b.Source)
}

func (h *Held) known() error {
	if h.Key != nil {
		return nil
	}
	return h.Source.neverRead()
}

// Has reports whether a source is for a scope alone.
func (s *State) Has(scope keystore.Scope) bool {
	_, ok := s.held[scope]
	return ok && scope != EveryScope
}

// Keys calls each with every kid that a source has, in the scope of the source.
func (s *State) Keys(each func(scope keystore.Scope, kid string)) {
	for scope, kids := range s.held {
		for kid := range kids {
			each(scope, kid)
		}
	}
}

// with returns a state with what the sources of a scope hold now.
func (s *State) with(scope keystore.Scope, all []*Source) *State {
	next := &State{maps.Clone(s.held)}
	next.held[scope] = heldBy(all)
	return next
}

// heldBy returns what sources hold, by kid.
func heldBy(all []*Source) map[string][]*Held {
	held := make(map[string][]*Held)
	for _, source := range all {
		for kid, h := range source.held {
			held[kid] = append(held[kid], h)
		}
	}
	return held
}
