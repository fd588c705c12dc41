package replica

import (
	"hash/maphash"
	"iter"
	"maps"
	"math/rand/v2"

	"github.com/meshpass/meshpass/keystore"
)

// shards is the number of parts of a scopes. A change of one scope copies one part and the
// pointers to all.
const shards = 256

// scopes holds the content of each scope that has records. It is immutable, as a State is.
type scopes struct {
	global *content // apart, since the tokens of every mesh depend on it
	meshes *[shards]map[keystore.Scope]*content
	len    int
}

var (
	noMeshes  [shards]map[keystore.Scope]*content
	shardSeed = maphash.MakeSeed()
)

func shardOf(mesh keystore.Scope) int { return int(maphash.String(shardSeed, string(mesh)) % shards) }

// get returns the content of a scope, or nil if it has no records.
func (s scopes) get(scope keystore.Scope) *content {
	switch {
	case scope == keystore.Global:
		return s.global
	case s.meshes == nil:
		return nil
	}
	return s.meshes[shardOf(scope)][scope]
}

// all yields each scope and its content, beginning with a random mesh.
func (s scopes) all() iter.Seq2[keystore.Scope, *content] {
	return func(yield func(keystore.Scope, *content) bool) {
		if s.meshes != nil {
			first := rand.IntN(shards)
			for i := range shards {
				for scope, c := range s.meshes[(first+i)%shards] {
					if !yield(scope, c) {
						return
					}
				}
			}
		}
		if s.global != nil {
			yield(keystore.Global, s.global)
		}
	}
}

// edit is a scopes under construction. It starts as another one, whose shards it copies
// when it changes them.
type edit struct {
	scopes
	copied [shards]bool
}

func (s scopes) edit() *edit {
	e := &edit{scopes: s}
	if s.meshes == nil {
		s.meshes = &noMeshes
	}
	meshes := *s.meshes
	e.meshes = &meshes
	return e
}

// put replaces the content of a scope. With nil the scope has no records.
func (e *edit) put(scope keystore.Scope, next *content) {
	if e.get(scope) != nil {
		e.len--
	}
	if next != nil {
		e.len++
	}
	if scope == keystore.Global {
		e.global = next
		return
	}
	i := shardOf(scope)
	if !e.copied[i] {
		e.copied[i], e.meshes[i] = true, maps.Clone(e.meshes[i])
	}
	switch {
	case next == nil:
		delete(e.meshes[i], scope)
	case e.meshes[i] == nil:
		e.meshes[i] = map[keystore.Scope]*content{scope: next}
	default:
		e.meshes[i][scope] = next
	}
}
