package replica

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
)

// content is what one scope holds.
type content struct {
	keys       *signing.PublicSet // nil if the scope can have no keys
	lists      map[keystore.Scope]*list
	strays     map[keystore.Scope]*list // of other scopes, found here because they do not say their scope
	unreadable map[string]time.Time     // since when, by kid

	problems []string // as text, to log each once

	// From reads of this scope alone, or nil. Each read replaces it in place, since
	// a new state would need a copy of the map of all scopes.
	own atomic.Pointer[reading]

	records []keystore.Record // parsed, without their Data
	reasons []string          // why other records cannot be read
}

// found is what a read of a scope has found.
type found struct {
	records    []keystore.Record
	unreadable []*keystore.Error // records that are there and cannot be read
}

// list is one revocation list. ids is nil if err is set.
type list struct {
	record keystore.Record // without its Data
	ids    *revocation.List
	err    error
	since  time.Time // of the first err, on the monotonic clock
}

// missingFrom counts the ids of the list that are not on a later one, which may be
// nil. If either list cannot be read, the result is 0.
func (l *list) missingFrom(later *list) int {
	switch {
	case l == later || later != nil && later.err != nil:
		return 0
	case later == nil:
		return l.ids.Len()
	}
	return l.ids.MissingFrom(later.ids)
}

// parse parses the records of a scope. It reuses the unchanged parts of prev, so
// that keys keep their pointers and no record is parsed twice. If nothing has
// changed, it returns prev.
func (f *Family) parse(scope keystore.Scope, in found, prev *content, now time.Time) *content {
	var reasons []string
	for _, err := range in.unreadable {
		reasons = append(reasons, err.Error())
	}
	if prev == nil {
		prev = &content{}
	} else if slices.EqualFunc(in.records, prev.records, keystore.Record.Unchanged) && slices.Equal(reasons, prev.reasons) {
		return prev
	}
	next := &content{lists: make(map[keystore.Scope]*list), records: make([]keystore.Record, len(in.records)), reasons: reasons}
	var keys found
	for i, r := range in.records {
		next.records[i] = r.WithoutData()
		if owner, ok := f.owner(r.Name); ok {
			next.addList(scope, owner, r, nil, prev, now)
		} else {
			keys.records = append(keys.records, r)
		}
	}
	for _, err := range in.unreadable {
		if owner, ok := f.owner(err.Name); ok {
			next.addList(scope, owner, keystore.Record{Scope: err.Scope, Name: err.Name}, err, prev, now)
		} else {
			keys.unreadable = append(keys.unreadable, err)
		}
	}
	f.parseKeys(scope, keys, prev, next, now)
	return next
}

// owner returns the scope whose tokens a list revokes, by the name of the list.
func (f *Family) owner(name string) (keystore.Scope, bool) {
	kind, mesh, ok := revocation.ParseName(name)
	return keystore.Scope(mesh), ok && kind == f.Kind
}

// addList adds the list in a record, which the store could not read if unreadable is not
// nil.
func (c *content) addList(scope, owner keystore.Scope, r keystore.Record, unreadable error, prev *content, now time.Time) {
	lists, before := c.lists, prev.lists[owner]
	if r.Scope != scope || scope != keystore.Global && owner != scope {
		if !errors.Is(unreadable, keystore.ErrScopeUnknown) {
			c.report("revocation list %q in scope %q belongs to another scope and is ignored", r.Name, r.Scope)
			return
		}
		if c.strays == nil {
			c.strays = make(map[keystore.Scope]*list)
		}
		lists, before = c.strays, prev.strays[owner]
	}
	l := before
	if l == nil || unreadable != nil || !r.Unchanged(l.record) {
		l = &list{record: r.WithoutData(), err: unreadable, since: now}
		if unreadable == nil {
			l.ids, l.err = revocation.Parse(r.Data)
		}
		if l.err != nil {
			l.err = fmt.Errorf("revocation list %q in scope %q: %w", r.Name, r.Scope, l.err)
			if before != nil && before.err != nil {
				l.since = before.since
			}
		}
	}
	lists[owner] = l
	if l.err != nil {
		c.report("%w", l.err)
		return
	}
	for _, p := range l.ids.Problems() {
		c.report("revocation list %q in scope %q: %w", r.Name, r.Scope, p)
	}
}

func (f *Family) parseKeys(scope keystore.Scope, in found, prev, next *content, now time.Time) {
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
			since = now
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
