package replica

import (
	"cmp"
	"hash/maphash"
	"iter"
	"math/rand/v2"
	"slices"

	"github.com/meshpass/meshpass/keystore"
)

// width is the number of parts of a scopes, and of parts of each part. A change of one scope
// copies one part of a part, and the pointers on the way to it: about as much with 1,000
// meshes as with 100,000.
const width = 64

// scopes holds the content of each scope that has records. It is immutable, as a State is.
type scopes struct {
	global *content // apart, since the tokens of every mesh depend on it
	meshes *[width]*[width][]mesh
	len    int
}

// mesh is an entry of a part, which is sorted by name. A map would take twice the memory.
type mesh struct {
	name    keystore.Scope
	content *content
}

var placeSeed = maphash.MakeSeed()

// placeOf returns the part that has a mesh, and the part of that.
func placeOf(name keystore.Scope) (i, j int) {
	sum := maphash.String(placeSeed, string(name))
	return int(sum % width), int(sum / width % width)
}

func find(part []mesh, name keystore.Scope) (at int, ok bool) {
	return slices.BinarySearchFunc(part, name, func(m mesh, name keystore.Scope) int { return cmp.Compare(m.name, name) })
}

// get returns the content of a scope, or nil if it has no records.
func (s scopes) get(scope keystore.Scope) *content {
	switch {
	case scope == keystore.Global:
		return s.global
	case s.meshes == nil:
		return nil
	}
	i, j := placeOf(scope)
	if s.meshes[i] == nil {
		return nil
	}
	part := s.meshes[i][j]
	at, ok := find(part, scope)
	if !ok {
		return nil
	}
	return part[at].content
}

// all yields each scope and its content, beginning with a random mesh.
func (s scopes) all() iter.Seq2[keystore.Scope, *content] {
	return func(yield func(keystore.Scope, *content) bool) {
		if s.meshes != nil {
			first := rand.IntN(width * width)
			for n := range width * width {
				at := (first + n) % (width * width)
				if s.meshes[at/width] == nil {
					continue
				}
				for _, m := range s.meshes[at/width][at%width] {
					if !yield(m.name, m.content) {
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

// edit is a scopes under construction. It starts as another one, of which it copies what it
// changes.
type edit struct {
	scopes
	copied [width]uint64 // a bit for each part of a part
}

func (s scopes) edit() *edit {
	e := &edit{scopes: s}
	e.meshes = new([width]*[width][]mesh)
	if s.meshes != nil {
		*e.meshes = *s.meshes
	}
	return e
}

// part returns a part of a part that may be changed.
func (e *edit) part(i, j int) *[]mesh {
	if e.copied[i] == 0 {
		before := e.meshes[i]
		e.meshes[i] = new([width][]mesh)
		if before != nil {
			*e.meshes[i] = *before
		}
	}
	part := &e.meshes[i][j]
	if e.copied[i]&(1<<j) == 0 {
		e.copied[i] |= 1 << j
		*part = append(make([]mesh, 0, len(*part)+1), *part...) // most often one is replaced or added
	}
	return part
}

// put replaces the content of a scope. With nil the scope has no records.
func (e *edit) put(scope keystore.Scope, next *content) {
	before := e.get(scope)
	if before != nil {
		e.len--
	}
	if next != nil {
		e.len++
	}
	if scope == keystore.Global {
		e.global = next
		return
	}
	if before == nil && next == nil {
		return
	}
	part := e.part(placeOf(scope))
	at, there := find(*part, scope)
	switch {
	case next == nil:
		*part = slices.Delete(*part, at, at+1)
	case there:
		(*part)[at].content = next
	default:
		*part = slices.Insert(*part, at, mesh{scope, next})
	}
}
