package replica

import (
	"sync/atomic"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/signing"
)

// reads counts the reads that have ended.
type reads struct{ total, failed atomic.Uint64 }

func (r *reads) now() observe.Reads {
	failed := r.failed.Load() // first, so that it is never more than the total
	return observe.Reads{Total: r.total.Load(), Failed: failed}
}

func (f *Follower) count(a answer) {
	r := &f.single
	if a.scope == keystore.AllScopes {
		r = &f.complete
	}
	r.total.Add(1)
	if a.err != nil {
		r.failed.Add(1)
	}
}

// Reads counts the reads of all scopes at once, and those of one scope.
func (f *Follower) Reads() (complete, single observe.Reads) { return f.complete.now(), f.single.now() }

// Has reports whether the store has records in a scope. It is true for no scope of a nil
// State.
func (s *State) Has(scope keystore.Scope) bool { return s != nil && s.scopes.get(scope) != nil }

// Keys calls each with every key of the store, readable or not.
func (s *State) Keys(each func(keystore.Scope, signing.Key)) {
	for scope, c := range s.scopes.all() {
		if c.keys == nil {
			continue
		}
		for _, key := range c.keys.Keys() {
			each(scope, key)
		}
	}
}

// Meshes returns what the store has for the tokens of each scope, apart from keys.
func (s *State) Meshes() []observe.Mesh {
	of := make(map[keystore.Scope]observe.Mesh)
	for scope, c := range s.scopes.all() {
		if len(c.problems) > 0 || c.keys != nil {
			m := of[scope]
			m.Problems += len(c.problems)
			of[scope] = m
		}
		for _, lists := range [...]map[listID]*list{c.lists, c.strays} {
			for id, l := range lists {
				m := of[id.owner]
				m.Revoked = max(m.Revoked, l.ids.Len())
				m.Cutoffs = max(m.Cutoffs, l.cutoffs.Len())
				of[id.owner] = m
			}
		}
	}
	meshes := make([]observe.Mesh, 0, len(of))
	for scope, m := range of {
		m.Name = string(scope)
		meshes = append(meshes, m)
	}
	return meshes
}
