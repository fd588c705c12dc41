package replica

import (
	"time"

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

// List is a revocation list, or the part of one that is new.
type List struct {
	Owner keystore.Scope // whose tokens it revokes
	*revocation.List
}

// Lists returns the ids of the readable lists that are new or have changed, of those to
// which ids were appended only these, and the scopes whose cutoffs have changed.
func (c Change) Lists() (lists []List, cutoffs []keystore.Scope) {
	if c.next == nil {
		return nil, nil
	}
	for id, l := range c.next.lists {
		var before *list
		if c.prev != nil {
			before = c.prev.lists[id]
		}
		switch {
		case l.err != nil || before == l:
		case id.cutoffs:
			cutoffs = append(cutoffs, id.owner)
		default:
			lists = append(lists, List{id.owner, l.ids.Since(idsOf(before))})
		}
	}
	return lists, cutoffs
}

// Restored returns the number of ids that are gone from each list: those whose tokens are
// valid again, and those that stay revoked, since they are from before the floor among the
// cutoffs. It leaves out lists that have lost none, or that cannot be read.
func (c Change) Restored() (restored, pruned []int) {
	if c.prev == nil {
		return nil, nil
	}
	for id, l := range c.prev.lists {
		var now *list
		if c.next != nil {
			now = c.next.lists[id]
		}
		all, below := l.missingFrom(now, c.State.floor(id.owner))
		if all > below {
			restored = append(restored, all-below)
		}
		if below > 0 {
			pruned = append(pruned, below)
		}
	}
	return restored, pruned
}

// Uncut is what cutoffs revoked that are gone.
type Uncut struct {
	Name  string   // of the record
	Texts []string // about each cutoff, and about a floor that is gone or lower
}

// Uncut returns the cutoffs that are gone from each record, unless another record has
// them, or another record of the same tokens cannot be read.
func (c Change) Uncut() (all []Uncut) {
	if c.prev == nil {
		return nil
	}
	for id, l := range c.prev.lists {
		var now []*revocation.Cutoffs
		unreadable := false
		for _, other := range c.State.lists(id) {
			if other != nil {
				now = append(now, other.cutoffs)
				unreadable = unreadable || other.err != nil
			}
		}
		if unreadable {
			continue
		}
		gone := Uncut{Name: l.record.Name}
		for _, cutoff := range l.cutoffs.Lacking(now...) {
			gone.Texts = append(gone.Texts, cutoff.String())
		}
		if floor := l.cutoffs.Floor(); c.State.floor(id.owner).Before(floor) {
			gone.Texts = append(gone.Texts, "ids of version 7 from before "+floor.Format(time.RFC3339))
		}
		if len(gone.Texts) > 0 {
			all = append(all, gone)
		}
	}
	return all
}

// floor returns the moment before which every id of version 7 of an owner's tokens is
// revoked, or the zero time.
func (s *State) floor(owner keystore.Scope) (latest time.Time) {
	for _, l := range s.lists(listID{owner, true}) {
		if l != nil && l.cutoffs.Floor().After(latest) {
			latest = l.cutoffs.Floor()
		}
	}
	return latest
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
