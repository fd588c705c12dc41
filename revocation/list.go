// Package revocation holds lists of revoked token ids.
//
// A token is taken back by putting its id, the jti claim (RFC 7519, section
// 4.1.7), on the list of its kind: one list for the dataplane tokens of each
// mesh, one for all zone tokens. A list is one record in a KeyStore, whose data
// is text: ids separated by commas. [Parse] reads it, [List.Contains] answers
// from memory, and a [Ref] says where a list is kept and changes it there.
//
// # What a list may look like
//
// Lists are also written by hand and by other programs, so reading is lenient
// where leniency is safe. Ids may be separated by commas, by any Unicode white
// space (line ends, tabs, no-break spaces) and by byte order marks, in any
// number; what is between them is an item. An item of 1 to 256 visible ASCII
// characters is an id, and it is revoked, whatever else the list holds. Any other
// item revokes nothing and is reported by [List.Problems]. A list that has items
// but not one id among them, such as a file saved as UTF-16, is [ErrUnreadable]:
// nothing can be said about any token then.
//
// Ids are compared byte for byte, as they are written. A UUID in upper case, in
// braces or after "urn:uuid:" is another id than the one in the canonical lower
// case form (RFC 9562, section 4) that issued tokens carry.
//
// What this package writes has one comma between two ids and nothing else, which
// implementations that split at commas alone read too.
package revocation

import (
	"errors"
	"fmt"
	"math/bits"
	"slices"
)

var (
	// ErrUnreadable says that a list has content but not one id in it. The text
	// says what was found. It must not be taken for an empty list.
	ErrUnreadable = errors.New("revocation: unreadable list")

	// ErrID says that an id cannot be on a list: it is not 1 to 256 visible ASCII
	// characters without a comma. No token that a validator accepts has such an id.
	ErrID = errors.New("revocation: unusable id")
)

// maxProblems is how many malformed items of a list are described one by one.
const maxProblems = 10

// List is a set of revoked ids. It does not change and may be used by any number
// of goroutines at once. The nil *List and the zero List are the empty list.
//
// Of a UUID in its canonical form a List keeps at most 24 bytes, of any other
// id its text and some 50 bytes.
type List struct {
	// table is a hash table of the UUIDs in open addressing with linear probing.
	// At most three of four slots are taken; the nil UUID marks a free one and
	// is itself kept in nilUUID.
	table   []uuid
	uuids   int // taken slots
	nilUUID bool

	others map[string]struct{} // the ids that are no canonical UUIDs

	malformed int
	problems  []error // the first maxProblems of the malformed items
}

// Parse reads a list in the form that the package comment describes. Data
// without any item is the empty list. The list keeps nothing of data.
//
// Malformed items are no error, see [List.Problems]. The only error is
// [ErrUnreadable].
func Parse(data []byte) (*List, error) {
	uuids := countUUIDs(data)
	l := newList(uuids)
	for offset, item := range items(data) {
		if wellFormed(item) {
			add(l, item)
			continue
		}
		if l.malformed++; l.malformed <= maxProblems {
			l.problems = append(l.problems, fmt.Errorf("item at offset %d: %s", offset, fault(item)))
		}
	}
	if l.Len() == 0 && l.malformed > 0 {
		if looksLikeUTF16(data) {
			return nil, fmt.Errorf("%w: its %d bytes look like UTF-16, want UTF-8 or ASCII", ErrUnreadable, len(data))
		}
		return nil, fmt.Errorf("%w: none of its %d items is an id; %w", ErrUnreadable, l.malformed, l.problems[0])
	}
	if 9*l.uuids < 8*uuids { // so many are repeated that they would take more than 24 bytes each
		l.resize(l.uuids)
	}
	return l, nil
}

// Contains reports whether id is on the list, byte for byte. It allocates nothing.
func (l *List) Contains(id string) bool { return contains(l, id) }

// Len returns how many ids are on the list; one that was written twice counts
// once.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	n := l.uuids + len(l.others)
	if l.nilUUID {
		n++
	}
	return n
}

// IDs returns the ids of the list, each once, sorted bytewise. It makes a new
// slice each time, some 64 bytes for each id.
func (l *List) IDs() []string {
	if l == nil {
		return nil
	}
	ids := make([]string, 0, l.Len())
	for _, u := range l.table {
		if u != (uuid{}) {
			ids = append(ids, u.text())
		}
	}
	if l.nilUUID {
		ids = append(ids, uuid{}.text())
	}
	for id := range l.others {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Problems describes the items that are no ids and so revoke nothing: where each
// begins, in bytes from the start of the list, what is wrong with it, and its
// first 32 bytes, quoted. The first ten are described, and one more error says how
// many others there are.
func (l *List) Problems() []error {
	if l == nil {
		return nil
	}
	problems := slices.Clone(l.problems)
	if more := l.malformed - len(problems); more > 0 {
		problems = append(problems, fmt.Errorf("and %d more malformed items", more))
	}
	return problems
}

// Format writes a list of ids: in the order given, each once, with one comma
// between two and nothing else. No ids make an empty list. An id that [Parse]
// would not read back is refused with [ErrID].
func Format(ids []string) ([]byte, error) {
	if err := checkIDs(ids); err != nil {
		return nil, err
	}
	data, _ := rewrite(nil, nil, ids)
	return data, nil
}

// rewrite writes the list in data anew, as Format does, without some ids and with
// others after them. Malformed items stay where they are: they may be ids that a
// person can still repair. It returns the ids it wrote, too.
func rewrite(data []byte, without *List, with []string) ([]byte, *List) {
	size := len(data)
	for _, id := range with {
		size += len(id) + 1
	}
	out := make([]byte, 0, size)
	written := newList(countUUIDs(data) + len(with))
	for _, item := range items(data) {
		if wellFormed(item) && (contains(without, item) || !add(written, item)) {
			continue
		}
		out = appendItem(out, item)
	}
	for _, id := range with {
		if add(written, id) {
			out = appendItem(out, id)
		}
	}
	return out, written
}

func appendItem[T text](data []byte, item T) []byte {
	if len(data) > 0 {
		data = append(data, ',')
	}
	return append(data, item...)
}

// newList returns an empty list with room for a number of UUIDs.
func newList(uuids int) *List {
	l := &List{others: make(map[string]struct{})}
	l.resize(uuids)
	return l
}

// resize gives the table room for a number of UUIDs, those in it included.
func (l *List) resize(uuids int) {
	old := l.table
	l.table = make([]uuid, uuids+uuids/3+1) // one slot is always free, so that probing ends
	for _, u := range old {
		if u != (uuid{}) {
			slot, _ := l.find(u)
			l.table[slot] = u
		}
	}
}

// find returns the slot of a UUID, or the free one in which it would be. The
// table has at least one slot.
func (l *List) find(u uuid) (slot int, found bool) {
	// The high word of the product spreads the hash over a table of any length.
	start, _ := bits.Mul64(u.hash(), uint64(len(l.table)))
	for slot = int(start); ; {
		switch l.table[slot] {
		case u:
			return slot, true
		case uuid{}:
			return slot, false
		}
		if slot++; slot == len(l.table) {
			slot = 0
		}
	}
}

func contains[T text](l *List, id T) bool {
	if l == nil {
		return false
	}
	u, ok := parseUUID(id)
	switch {
	case !ok:
		_, found := l.others[string(id)]
		return found
	case u == uuid{}:
		return l.nilUUID
	case l.uuids == 0:
		return false
	}
	_, found := l.find(u)
	return found
}

// add puts a well-formed id on a list that is being made and reports whether it
// was not there yet. The table must have room.
func add[T text](l *List, id T) bool {
	u, ok := parseUUID(id)
	switch {
	case !ok:
		if _, found := l.others[string(id)]; found {
			return false
		}
		l.others[string(id)] = struct{}{}
		return true
	case u == uuid{}:
		isNew := !l.nilUUID
		l.nilUUID = true
		return isNew
	}
	slot, found := l.find(u)
	if !found {
		l.table[slot] = u
		l.uuids++
	}
	return !found
}

func countUUIDs(data []byte) (n int) {
	for _, item := range items(data) {
		if groupedAsUUID(item) {
			n++
		}
	}
	return n
}
