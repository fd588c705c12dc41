package replica

import (
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
	unreadable map[string]time.Time // since when, by kid

	problems []string // as text, to log each once

	// From reads of this scope alone, or nil. Each read replaces it in place, since
	// a new state would need a copy of the map of all scopes.
	own atomic.Pointer[reading]

	records []keystore.Record // parsed, without their Data
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
func (f *Family) parse(scope keystore.Scope, records []keystore.Record, prev *content, now time.Time) *content {
	if prev == nil {
		prev = &content{}
	} else if slices.EqualFunc(records, prev.records, keystore.Record.Unchanged) {
		return prev
	}
	next := &content{lists: make(map[keystore.Scope]*list), records: make([]keystore.Record, len(records))}
	for i, r := range records {
		next.records[i] = r.WithoutData()
	}
	var keys []keystore.Record
	for _, r := range records {
		kind, mesh, ok := revocation.ParseName(r.Name)
		if !ok || kind != f.Kind {
			keys = append(keys, r)
			continue
		}
		owner := keystore.Scope(mesh)
		if r.Scope != scope || (scope != keystore.Global && owner != scope) {
			next.problems = append(next.problems, fmt.Sprintf("revocation list %q in scope %q belongs to another scope and is ignored", r.Name, r.Scope))
			continue
		}
		l := prev.lists[owner]
		if l == nil || !r.Unchanged(l.record) {
			ids, err := revocation.Parse(r.Data)
			if err != nil {
				err = fmt.Errorf("revocation list %q in scope %q: %w", r.Name, r.Scope, err)
			}
			since := now
			if l != nil && l.err != nil {
				since = l.since
			}
			l = &list{record: r.WithoutData(), ids: ids, err: err, since: since}
		}
		next.lists[owner] = l
		if l.err != nil {
			next.problems = append(next.problems, l.err.Error())
		} else {
			for _, p := range l.ids.Problems() {
				next.problems = append(next.problems, fmt.Sprintf("revocation list %q in scope %q: %v", r.Name, r.Scope, p))
			}
		}
	}
	if series, ok := f.Keys(scope); ok {
		next.keys = series.PublicSet(keys, prev.keys)
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
			next.problems = append(next.problems, p.Error())
		}
	} else {
		for _, r := range keys {
			next.problems = append(next.problems, fmt.Sprintf("record %q in scope %q is ignored: no %s key belongs in that scope", r.Name, r.Scope, f.Kind))
		}
	}
	return next
}
