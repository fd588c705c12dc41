package replica

import (
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

// Change says what has changed in one scope.
type Change struct {
	Scope keystore.Scope
	State *State // with the change

	prev, next *content // nil: no records
}

// Problems describes the new problems of the scope: records that cannot be read,
// are misnamed or contradict each other.
func (c Change) Problems() []string {
	return missing(c.next.allProblems(), c.prev.allProblems())
}

// KeyIDs returns the kids of all keys that the scope has now, readable or not.
func (c Change) KeyIDs() []string { return c.next.keyIDs() }

// Keys returns the kids of the keys that were added and removed. In a scope that is
// new, no key counts as added.
func (c Change) Keys() (added, removed []string) {
	if c.prev == nil {
		return nil, nil
	}
	before, now := c.prev.keyIDs(), c.next.keyIDs()
	return missing(now, before), missing(before, now)
}

// missing returns the texts that are not among others, each once.
func missing(texts, others []string) []string {
	if len(texts) == 0 {
		return nil
	}
	known := make(map[string]bool, len(others))
	for _, other := range others {
		known[other] = true
	}
	var found []string
	for _, text := range texts {
		if !known[text] {
			known[text] = true
			found = append(found, text)
		}
	}
	return found
}

// List is a revocation list.
type List struct {
	Owner keystore.Scope // whose tokens it revokes
	*revocation.List
}

// Lists returns the readable lists of ids that are new or have changed, and the scopes
// whose cutoffs have changed.
func (c Change) Lists() (lists []List, cutoffs []keystore.Scope) {
	if c.next == nil {
		return nil, nil
	}
	for id, l := range c.next.lists {
		switch {
		case l.err != nil || c.prev != nil && c.prev.lists[id] == l:
		case id.cutoffs:
			cutoffs = append(cutoffs, id.owner)
		default:
			lists = append(lists, List{id.owner, l.ids})
		}
	}
	return lists, cutoffs
}

// Restored returns the number of ids that are gone from each list. It leaves out
// lists that have lost none, or that cannot be read.
func (c Change) Restored() []int {
	var counts []int
	if c.prev == nil {
		return nil
	}
	for id, l := range c.prev.lists {
		var now *list
		if c.next != nil {
			now = c.next.lists[id]
		}
		if n := l.missingFrom(now); n > 0 {
			counts = append(counts, n)
		}
	}
	return counts
}

func (c *content) allProblems() []string {
	if c == nil {
		return nil
	}
	return c.problems
}

func (c *content) keyIDs() []string {
	if c == nil || c.keys == nil {
		return nil
	}
	var kids []string
	for _, key := range c.keys.Keys() {
		kids = append(kids, key.Serial.KeyID())
	}
	return kids
}
