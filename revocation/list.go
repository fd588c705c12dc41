// Package revocation holds lists of revoked token ids.
//
// A token is revoked by adding its id, the jti claim (RFC 7519, section 4.1.7),
// to a list: there is one list for the dataplane tokens of each mesh and one
// for all zone tokens. A list is one record in a KeyStore. Its data is text:
// ids separated by commas. [Parse] reads it, [List.Contains] answers from
// memory, and a [Ref] names the record and changes it.
//
// # Format
//
// Lists are also written by hand and by other programs, so the parser is
// lenient where that is safe. Ids may be separated by any number of commas,
// Unicode white space characters (line ends, tabs, no-break spaces) and byte
// order marks. The text between separators is an item. An item of 1 to 256
// visible ASCII characters is an id, and is revoked, whatever else the list
// holds. Any other item revokes nothing, and [List.Problems] reports it. A list
// that has items but no id, such as a file saved as UTF-16, is [ErrUnreadable]:
// no token can be checked against it. So is an encrypted record of package
// sealed, although its first item looks like an id.
//
// Ids are compared byte for byte. A UUID in upper case, in braces or after
// "urn:uuid:" differs from the canonical lower case form (RFC 9562, section 4)
// that issued tokens carry.
//
// # Lists in another form
//
// An item that looks like a list in another form is a problem too: JSON, ids in
// quotes, ids separated by semicolons or bars, ids after "ids=", base64 of a list, or
// ids with the two characters of a \n between them. The author of such a list wants to
// revoke the ids in it. So the item itself is revoked, and also everything in it that
// looks like an id. Other implementations read it as it is written: repair the list.
//
// This package writes lists with one comma between two ids and nothing else, so
// that implementations that only split at commas can read them too. If the first
// id looks like the start of an encrypted record, the list starts with a comma.
package revocation

import (
	"bytes"
	"errors"
	"fmt"
	"math/bits"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/meshpass/meshpass/token"
)

var (
	// ErrUnreadable: a list has content but no id. The text of the error says
	// what was found. Such a list must not be treated as empty.
	ErrUnreadable = errors.New("revocation: unreadable list")

	// ErrID: an id cannot be on a list. It is not 1 to 256 visible ASCII
	// characters without a comma. No token that a validator accepts has such an
	// id.
	ErrID = errors.New("revocation: unusable id")
)

// sealedPrefix begins every record that package sealed has encrypted.
const sealedPrefix = "meshpass-sealed-"

// maxProblems is the maximum number of malformed items that a list describes.
const maxProblems = 10

// List is a set of revoked ids. It is immutable and safe for concurrent use.
// The nil *List and the zero List are the empty list.
//
// A List uses at most 24 bytes for a canonical UUID, and for any other id the
// length of its text plus some 50 bytes.
type List struct {
	// base, if not nil, is the list that most of the ids were parsed for; see
	// ParseNext. It has no base itself. Fields other than base are about the ids that
	// it lacks.
	base *List

	// table is a hash table of the UUIDs with open addressing and linear
	// probing. At most three of four slots are taken. The nil UUID marks a free
	// slot and is itself kept in nilUUID.
	table   []uuid
	uuids   int // taken slots
	nilUUID bool

	others map[string]struct{} // ids that are not canonical UUIDs

	malformed int     // of all items, also those of base
	problems  []error // about the first maxProblems malformed items

	source source
}

// Parse parses a list in the format described in the package comment. Data
// without items is the empty list. The list does not keep data.
//
// The only error is [ErrUnreadable]. Other malformed items are not an error;
// see [List.Problems].
func Parse(data []byte) (*List, error) {
	if bytes.HasPrefix(data, []byte(sealedPrefix)) {
		return nil, fmt.Errorf("%w: package keystore/sealed has encrypted it", ErrUnreadable)
	}
	room := roomFor(data)
	l := newList(room)
	l.parse(data, 0)
	if l.Len() == 0 && l.malformed > 0 {
		if _, err := token.PlainText(data); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreadable, err)
		}
		return nil, fmt.Errorf("%w: none of its %d items is an id; %w", ErrUnreadable, l.malformed, l.problems[0])
	}
	if 9*l.uuids < 8*room { // else the table would exceed 24 bytes per id
		l.resize(l.uuids)
	}
	l.source = sourceOf(data)
	return l, nil
}

// parse adds the items in data from an offset on. The table must have room.
func (l *List) parse(data []byte, offset int) {
	var uuids [32]uuid
	for at := offset; ; {
		n := 0
		for ; n < len(uuids); n++ {
			u, ok := leadingUUID(data[at:])
			if !ok {
				break
			}
			uuids[n] = u
			at = min(at+len(layout)+1, len(data)) // after the comma
		}
		if l.addUUIDs(uuids[:n]); n == len(uuids) {
			continue
		}
		start, end := nextItem(data, at)
		if start == end {
			return
		}
		l.addItem(start, data[start:end])
		at = end
		if at < len(data) {
			at += separator(data[at:])
		}
	}
}

// addItem adds an item of a list at an offset.
func (l *List) addItem(offset int, item []byte) {
	if u, ok := parseUUID(item); ok {
		l.addUUID(u)
		return
	}
	ids, form := otherForm(item)
	for _, id := range ids { // what a reader takes for ids must not be without effect
		add(l, id)
	}
	switch {
	case form != "":
		l.report(offset, fmt.Sprintf("%s looks like %s, want ids separated by commas; its parts are revoked too", excerpt(item), form))
	case !wellFormed(item):
		l.report(offset, fault(item))
	}
	if wellFormed(item) {
		add(l, item)
	}
}

// report counts an item with a problem, and describes the first few.
func (l *List) report(offset int, problem string) {
	if l.malformed++; l.malformed <= maxProblems {
		l.problems = append(l.problems, fmt.Errorf("item at offset %d: %s", offset, problem))
	}
}

// Contains reports whether id is on the list, byte for byte. It does not
// allocate.
func (l *List) Contains(id string) bool { return contains(l, id) }

// Len returns the number of ids on the list, without duplicates.
func (l *List) Len() int {
	if l == nil {
		return 0
	}
	n := l.uuids + len(l.others) + l.base.Len()
	if l.nilUUID {
		n++
	}
	return n
}

// IDs returns the ids on the list, without duplicates, sorted bytewise. Each
// call allocates a new slice, some 64 bytes per id.
func (l *List) IDs() []string {
	if l == nil {
		return nil
	}
	ids := make([]string, 0, l.Len())
	for part := l; part != nil; part = part.base {
		for _, u := range part.table {
			if u != (uuid{}) {
				ids = append(ids, u.text())
			}
		}
		if part.nilUUID {
			ids = append(ids, uuid{}.text())
		}
		for id := range part.others {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// MissingFrom counts the ids of the list that are not on other. If other is a
// later version of the list, these were restored.
func (l *List) MissingFrom(other *List) (n int) {
	if l.growsTo(other) {
		return 0
	}
	for part := l; part != nil; part = part.base {
		for _, u := range part.table {
			if u != (uuid{}) && !other.has(u) {
				n++
			}
		}
		if part.nilUUID && !other.hasNil() {
			n++
		}
		for id := range part.others {
			if !other.Contains(id) {
				n++
			}
		}
	}
	return n
}

// MissingBefore counts those of the ids that MissingFrom counts which are UUIDs of version 7
// from before a moment. If the moment is the floor that [Prune] has left, they are still
// revoked.
func (l *List) MissingBefore(moment time.Time, other *List) (n int) {
	if l.growsTo(other) {
		return 0
	}
	for part := l; part != nil; part = part.base {
		for _, u := range part.table {
			if made, ok := u.made(); ok && made.Before(moment) && !other.has(u) {
				n++
			}
		}
	}
	return n
}

// Problems describes the malformed items, which revoke nothing: the offset in
// bytes from the start of the list, the fault, and the first 32 bytes, quoted.
// It describes the first ten; one more error counts the rest.
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

// Format encodes a list of ids, in the given order and without duplicates, with
// one comma between two ids. Without ids the list is empty. The error matches
// [ErrID] for an id that [Parse] would not read back.
func Format(ids []string) ([]byte, error) {
	if err := checkIDs(ids); err != nil {
		return nil, err
	}
	data, _ := rewrite(nil, nil, ids)
	return data, nil
}

// rewrite encodes the list in data as Format does, without some ids and with
// others appended. Malformed items stay in place, so that an operator can repair
// them. It also returns the ids that it wrote.
func rewrite(data []byte, without *List, with []string) ([]byte, *List) {
	size := len(data)
	for _, id := range with {
		size += len(id) + 1
	}
	out := make([]byte, 0, size)
	written := newList(roomFor(data) + len(with))
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
	// Parse would take a list that begins with such an item for an encrypted one.
	if len(data) > 0 || strings.HasPrefix(string(item), sealedPrefix) {
		data = append(data, ',')
	}
	return append(data, item...)
}

// newList returns an empty list with room for the given number of UUIDs.
func newList(uuids int) *List {
	l := &List{others: make(map[string]struct{})}
	l.resize(uuids)
	return l
}

// resize gives the table room for the given number of UUIDs, including those in
// it.
func (l *List) resize(uuids int) {
	old := l.table
	l.table = make([]uuid, uuids+uuids/3+1) // at least one free slot, so that probing ends
	for _, u := range old {
		if u != (uuid{}) {
			slot, _ := l.find(u)
			l.table[slot] = u
		}
	}
}

// find returns the slot of a UUID, or the free slot for it. It needs at least
// one slot.
func (l *List) find(u uuid) (slot int, found bool) { return l.findFrom(l.start(u), u) }

// start returns the slot at which the search for a UUID starts.
func (l *List) start(u uuid) int {
	// The high word of the product maps the hash to a table of any length.
	start, _ := bits.Mul64(u.hash(), uint64(len(l.table)))
	return int(start)
}

// findFrom is find with the result of start.
func (l *List) findFrom(slot int, u uuid) (int, bool) {
	for {
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
		return found || contains(l.base, id)
	case u == uuid{}:
		return l.hasNil()
	}
	return l.has(u)
}

// has reports whether a UUID other than the nil UUID is on the list.
func (l *List) has(u uuid) bool {
	for part := l; part != nil; part = part.base {
		if part.uuids == 0 {
			continue
		}
		if _, found := part.find(u); found {
			return true
		}
	}
	return false
}

// hasNil reports whether the nil UUID is on the list.
func (l *List) hasNil() bool { return l != nil && (l.nilUUID || l.base.hasNil()) }

// add adds a well-formed id to a list under construction and reports whether it
// is new. The table must have room.
func add[T text](l *List, id T) bool {
	if u, ok := parseUUID(id); ok {
		return l.addUUID(u)
	}
	if contains(l, id) {
		return false
	}
	l.others[string(id)] = struct{}{}
	return true
}

// addUUID is add for an id that is a UUID.
func (l *List) addUUID(u uuid) bool {
	if u == (uuid{}) {
		isNew := !l.hasNil()
		l.nilUUID = l.nilUUID || isNew
		return isNew
	}
	if l.base.has(u) {
		return false
	}
	slot, found := l.find(u)
	if !found {
		l.table[slot] = u
		l.uuids++
	}
	return !found
}

// addUUIDs adds UUIDs. It first looks at all their slots: the processor fetches them at the
// same time, where a table does not fit into its caches.
func (l *List) addUUIDs(uuids []uuid) {
	var starts [32]int
	var seen uint64
	for i, u := range uuids {
		starts[i] = l.start(u)
		seen |= l.table[starts[i]].low
	}
	for i, u := range uuids {
		if u == (uuid{}) || l.base != nil {
			l.addUUID(u)
		} else if slot, found := l.findFrom(starts[i], u); !found {
			l.table[slot] = u
			l.uuids++
		}
	}
	runtime.KeepAlive(seen)
}

// roomFor returns the most UUIDs that can be in the text of a list: there is at least one
// other character between two of them, whatever the form of the list.
func roomFor(data []byte) int { return (len(data) + 1) / (len(layout) + 1) }
