package revocation

import (
	"hash/maphash"
	"maps"
	"sync/atomic"
)

// source says from what a list was parsed. It is zero if the list was not parsed.
type source struct {
	size   int    // of the data
	sum    uint64 // of the data, with sourceSeed
	number uint64 // of the list, from 1 on, unique in the process

	// If ParseNext has only parsed what was appended:
	extends uint64 // the number of the earlier list
	added   *List  // the ids that the earlier list lacks
}

var (
	// sourceSeed differs between processes, so that the author of a list cannot choose
	// another one with the same sum.
	sourceSeed = maphash.MakeSeed()

	parsed atomic.Uint64 // how many lists were
)

func sourceOf(data []byte) source {
	return source{size: len(data), sum: maphash.Bytes(sourceSeed, data), number: parsed.Add(1)}
}

// ParseNext is [Parse] for a later version of the list l, which may be nil. If data begins
// with all that l was parsed from, as it does after ids were appended, ParseNext parses only
// the rest, and the new list shares the memory of l. It compares a keyed hash of 64 bits to
// tell that the beginning is the same.
func (l *List) ParseNext(data []byte) (*List, error) {
	if l.Len() == 0 || l.source.number == 0 || !endsItem(data, l.source.size) {
		return Parse(data)
	}
	var sum maphash.Hash
	sum.SetSeed(sourceSeed)
	before, rest := data[:l.source.size], data[l.source.size:]
	if sum.Write(before); sum.Sum64() != l.source.sum {
		return Parse(data)
	}
	if len(rest) == 0 {
		return l, nil
	}
	sum.Write(rest)

	added := newList(roomFor(rest))
	added.base = l
	added.malformed, added.problems = l.malformed, l.Problems()[:len(l.problems)]
	added.parse(data, len(before))
	next := l.with(added)
	next.malformed, next.problems = added.malformed, added.problems
	added.base, added.malformed, added.problems = nil, 0, nil
	next.source = source{len(data), sum.Sum64(), parsed.Add(1), l.source.number, added}
	return next, nil
}

// endsItem reports whether no item of a list goes on after its first size bytes, of which
// there is at least one.
func endsItem(data []byte, size int) bool {
	return len(data) == size ||
		len(data) > size && (separator(data[size:]) > 0 || separator(data[size-1:size]) > 0)
}

// maxBeside limits the ids beside the base of a list: one for so many ids of the base. To
// append an id, these few are copied and not the base.
const maxBeside = 16

// with returns a list with the ids of l and those of added, which l lacks.
func (l *List) with(added *List) *List {
	base, parts := l, []*List{added}
	if l.base != nil {
		base, parts = l.base, []*List{added, l}
	}
	uuids, beside := 0, 0
	for _, part := range parts {
		uuids += part.uuids
		beside += part.uuids + len(part.others)
	}
	if beside > base.Len()/maxBeside {
		uuids += base.uuids
		base, parts = nil, append(parts, base)
	}
	next := newList(uuids)
	next.base = base
	for _, part := range parts {
		for _, u := range part.table {
			if u != (uuid{}) {
				next.addUUID(u)
			}
		}
		next.nilUUID = next.nilUUID || part.nilUUID
		maps.Copy(next.others, part.others)
	}
	return next
}

// growsTo reports whether a later list is sure to have all ids of l.
func (l *List) growsTo(later *List) bool {
	return l != nil && later != nil && (l == later || l.source.number != 0 && later.source.extends == l.source.number)
}

// Since returns the ids on the list that are not on an earlier one, if [List.ParseNext] has
// made l of that one by parsing what was appended. It returns l itself if it would have to
// compare the two. Either list may be nil.
func (l *List) Since(earlier *List) *List {
	switch {
	case !earlier.growsTo(l):
		return l
	case l == earlier:
		return nil
	}
	return l.source.added
}
