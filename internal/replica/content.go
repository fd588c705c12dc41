package replica

import (
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// content is what one scope holds.
type content struct {
	keys       *signing.PublicSet // nil if the scope can have no keys
	lists      map[listID]*list
	strays     map[listID]*list     // of other scopes, found here because they do not say their scope
	unreadable map[string]time.Time // since when, by kid

	problems []string // as text, to log each once

	// From reads of this scope alone, or nil. Each read replaces it in place, since
	// a new state would need a copy of the map of all scopes.
	own atomic.Pointer[reading]

	versions uint64   // of the records; see versionsOf
	reasons  []string // why other records cannot be read
}

// found is what a read has found.
type found struct {
	records    []keystore.Record // by scope and name
	unreadable []*keystore.Error // records that are there and cannot be read
}

// listID names a record that revokes tokens.
type listID struct {
	owner   keystore.Scope // whose tokens it revokes
	cutoffs bool           // it holds cutoffs, and not ids
}

// list is one record that revokes tokens. If err is set, both ids and cutoffs are nil.
type list struct {
	record  keystore.Record // without its Data
	ids     *revocation.List
	cutoffs *revocation.Cutoffs
	err     error
	since   time.Time // it may be as err says; on the monotonic clock
}

// read parses the data of the record, whose earlier version was before.
func (l *list) read(kind token.Kind, id listID, data []byte, before *revocation.List) {
	if id.cutoffs {
		l.cutoffs, l.err = revocation.ParseCutoffs(kind, data)
	} else {
		l.ids, l.err = before.ParseNext(data)
	}
}

// idsOf returns the ids of a list that may be nil.
func idsOf(l *list) *revocation.List {
	if l == nil {
		return nil
	}
	return l.ids
}

// describe names a record that revokes tokens, for the log.
func describe(id listID, r keystore.Record) string {
	what := "revocation list"
	if id.cutoffs {
		what = "list of cutoffs"
	}
	return fmt.Sprintf("%s %q in scope %q", what, r.Name, r.Scope)
}

// missingFrom counts the ids of the list that are not on a later one, which may be nil, and
// those of them that are below a floor. If either list cannot be read, the result is 0.
func (l *list) missingFrom(later *list, floor time.Time) (all, below int) {
	if l == later || later != nil && later.err != nil {
		return 0, 0
	}
	ids := idsOf(later)
	return l.ids.MissingFrom(ids), l.ids.MissingBefore(floor, ids)
}

// parse parses the records of a scope. It reuses the unchanged parts of prev, so
// that keys keep their pointers and no record is parsed twice. If nothing has
// changed, it returns prev. A record that cannot be read any more is unreadable since
// prev was last confirmed.
func (f *Family) parse(scope keystore.Scope, in found, prev *content, confirmed time.Time) *content {
	var reasons []string
	for _, err := range in.unreadable {
		reasons = append(reasons, err.Error())
	}
	next := &content{versions: versionsOf(in.records), reasons: reasons}
	if prev == nil {
		prev = &content{}
	} else if next.same(prev) {
		return prev
	}
	keys := found{records: make([]keystore.Record, 0, len(in.records))}
	for _, r := range in.records {
		if id, ok := f.listID(r.Name); ok {
			next.addList(f.Kind, scope, id, r, nil, prev, confirmed)
		} else {
			keys.records = append(keys.records, r)
		}
	}
	for _, err := range in.unreadable {
		if id, ok := f.listID(err.Name); ok {
			next.addList(f.Kind, scope, id, keystore.Record{Scope: err.Scope, Name: err.Name}, err, prev, confirmed)
		} else {
			keys.unreadable = append(keys.unreadable, err)
		}
	}
	f.parseKeys(scope, keys, prev, next, confirmed)
	return next
}

var versionsSeed = maphash.MakeSeed()

// versionsOf returns a keyed hash of the names, versions and times of creation of records. It
// is 0 if a record has no version: then it may change unnoticed. The hash takes the place
// of the records themselves, which would be a fifth of the memory of a state.
func versionsOf(records []keystore.Record) uint64 {
	var sum maphash.Hash
	sum.SetSeed(versionsSeed)
	for _, r := range records {
		if r.Version == "" {
			return 0
		}
		maphash.WriteComparable(&sum, r.Name)
		maphash.WriteComparable(&sum, r.Version)
		maphash.WriteComparable(&sum, [2]int64{r.Created.Unix(), int64(r.Created.Nanosecond())})
	}
	return max(sum.Sum64(), 1)
}

// same reports whether two contents are sure to be of the same records.
func (c *content) same(other *content) bool {
	return c.versions != 0 && c.versions == other.versions && slices.Equal(c.reasons, other.reasons)
}

// listID tells by its name what a record revokes.
func (f *Family) listID(name string) (listID, bool) {
	if kind, mesh, ok := revocation.ParseName(name); ok && kind == f.Kind {
		return listID{keystore.Scope(mesh), false}, true
	}
	kind, mesh, ok := revocation.ParseCutoffsName(name)
	return listID{keystore.Scope(mesh), true}, ok && kind == f.Kind
}

// addList adds the list in a record, which the store could not read if unreadable is not
// nil.
func (c *content) addList(kind token.Kind, scope keystore.Scope, id listID, r keystore.Record, unreadable error, prev *content, confirmed time.Time) {
	lists, before := c.lists, prev.lists[id]
	if r.Scope != scope || scope != keystore.Global && id.owner != scope {
		if !errors.Is(unreadable, keystore.ErrScopeUnknown) {
			c.report("%s belongs to another scope and is ignored", describe(id, r))
			return
		}
		if c.strays == nil {
			c.strays = make(map[listID]*list)
		}
		lists, before = c.strays, prev.strays[id]
	}
	l := before
	if l == nil || unreadable != nil || !r.Unchanged(l.record) {
		l = &list{record: r.WithoutData(), err: unreadable, since: confirmed}
		if unreadable == nil {
			l.read(kind, id, r.Data, idsOf(before))
		}
		if l.err != nil {
			l.err = fmt.Errorf("%s: %w", describe(id, r), l.err)
			if before != nil && before.err != nil {
				l.since = before.since
			}
		}
	}
	if lists == nil {
		lists = make(map[listID]*list)
		c.lists = lists
	}
	lists[id] = l
	if l.err != nil {
		c.report("%w", l.err)
		return
	}
	for _, p := range l.ids.Problems() {
		c.report("%s: %w", describe(id, r), p)
	}
}

func (f *Family) parseKeys(scope keystore.Scope, in found, prev, next *content, confirmed time.Time) {
	series, ok := f.Keys(scope)
	if !ok {
		for _, r := range in.records {
			next.report("record %q in scope %q is ignored: no %s key belongs in that scope", r.Name, r.Scope, f.Kind)
		}
		for _, err := range in.unreadable {
			next.report("%w", err)
		}
		return
	}
	next.keys = series.PublicSet(in.records, in.unreadable, prev.keys)
	for _, key := range next.keys.Keys() {
		if key.Err == nil {
			continue
		}
		kid := key.Serial.KeyID()
		since, ok := prev.unreadable[kid]
		if !ok {
			since = confirmed
		}
		if next.unreadable == nil {
			next.unreadable = make(map[string]time.Time)
		}
		next.unreadable[kid] = since
	}
	for _, p := range next.keys.Problems() {
		next.report("%w", p)
	}
}

// report adds a problem for the log.
func (c *content) report(format string, args ...any) {
	c.problems = append(c.problems, fmt.Errorf(format, args...).Error())
}
