package check

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// Violation is one thing that must not happen.
type Violation struct {
	Check  int // 1 to 5
	Text   string
	Events []Event // which show it

	model porcupine.Model
}

func (v Violation) String() string { return fmt.Sprintf("(%d) %s", v.Check, v.Text) }

// Check returns what a history must not hold, in the order of the checks.
func Check(history []Event, bounds Bounds) []Violation {
	x := newIndex(history, bounds)
	x.registers()
	for _, t := range x.tokens {
		x.validations(t)
		x.sessions(t)
	}
	x.answers()
	x.agreement()
	x.serials()
	x.losses()
	slices.SortStableFunc(x.violations, func(a, b Violation) int { return cmp.Compare(a.Check, b.Check) })
	return x.violations
}

// life is what happened to one token.
type life struct {
	issue       Event
	changes     []Event // that revoke it, or make it valid again
	reads       []Event // of its list
	validations []Event
	sessions    []Event
}

func (t *life) of(do Do) (found []Event) {
	for _, e := range t.changes {
		if e.Do == do {
			found = append(found, e)
		}
	}
	return found
}

// all returns the events of a token, by their beginning.
func (t *life) all() []Event {
	all := slices.Concat([]Event{t.issue}, t.changes, t.reads, t.validations, t.sessions)
	slices.SortStableFunc(all, func(a, b Event) int { return cmp.Compare(a.Start, b.Start) })
	return all
}

// fullRead is the longest time between two reads of everything.
const fullRead = 30 * time.Second

// window is a time in which a replica need not be current.
type window struct {
	start, end int64
	still      bool // the process did not run
}

type index struct {
	bounds      Bounds
	first, last int64

	records   map[string][]Event
	tokens    []*life
	keys      []Event // AddKey
	removals  []Event
	rollbacks []Event
	begun     map[string]Event // by process
	gone      map[string]int64
	closing   map[string]int64
	events    []Event
	windows   map[string][]window // by process

	violations []Violation
}

func newIndex(history []Event, bounds Bounds) *index {
	x := &index{
		bounds: bounds, events: history,
		records: map[string][]Event{}, begun: map[string]Event{}, gone: map[string]int64{}, closing: map[string]int64{},
		windows: map[string][]window{},
	}
	type named struct{ mesh, name string }
	ids := map[string]*life{}
	names, kids := map[named][]*life{}, map[named][]*life{}
	x.first = forever
	for _, e := range history {
		x.first = min(x.first, e.Start)
		x.last = max(x.last, e.Start, e.End)
		if e.Do == Issue && e.Outcome == OK {
			t := &life{issue: e}
			x.tokens = append(x.tokens, t)
			ids[e.ID] = t
			names[named{e.Mesh, e.Name}] = append(names[named{e.Mesh, e.Name}], t)
			kids[named{e.Mesh, e.Key}] = append(kids[named{e.Mesh, e.Key}], t)
		}
	}
	for _, e := range history {
		switch e.Do {
		case Get, Create, Update, Delete:
			x.records[e.Record] = append(x.records[e.Record], e)
		case Revoke, Restore:
			if t := ids[e.ID]; t != nil {
				t.changes = append(t.changes, e)
			}
		case CutOff, Uncut:
			for _, t := range names[named{e.Mesh, e.Name}] {
				// A token that is issued while the cutoff is made, or later, is not revoked for
				// sure. One that is issued later is dated at the cutoff.
				if t.issue.Start < e.end() {
					t.changes = append(t.changes, e)
				}
			}
		case RemoveKey:
			x.removals = append(x.removals, e)
			for _, t := range kids[named{e.Mesh, e.Key}] {
				t.changes = append(t.changes, e)
			}
		case AddKey:
			x.keys = append(x.keys, e)
		case Revoked:
			for _, id := range e.Asked {
				if t := ids[id]; t != nil && t.issue.Mesh == e.Mesh {
					read := e
					read.ID = id
					t.reads = append(t.reads, read)
				}
			}
		case Validate, Sweep:
			if t := ids[e.ID]; t != nil {
				t.validations = append(t.validations, e)
			}
		case Session:
			if t := ids[e.ID]; t != nil {
				t.sessions = append(t.sessions, e)
			}
		case Begin:
			x.begun[e.Process] = e
		case Gone:
			x.gone[e.Process] = e.Start
		case Closing:
			x.closing[e.Process] = e.Start
		case Rollback:
			x.rollbacks = append(x.rollbacks, e)
		}
	}
	for process := range x.begun {
		for _, e := range history {
			w := window{start: e.Start, end: e.end()}
			switch {
			case e.Do == Stall && (e.Process == process || e.Process == "*"):
				w.still = true
			case e.Do == Fault && (e.Process == replica(process) || e.Process == "*"):
				if w.end != forever {
					w.end += int64(e.Recovery)
				}
			default:
				continue
			}
			x.windows[process] = append(x.windows[process], w)
		}
	}
	return x
}

func (x *index) report(v Violation) { x.violations = append(x.violations, v) }

// slack is how long after an acknowledgement a change may not be in force on a replica that
// is not cut off.
func (x *index) slack() int64 { return int64(x.bounds.InForce + x.bounds.Grace) }

// due returns from when on a change that was acknowledged is in force on a replica. From the
// end of a fault on the replica has the whole bound again. A stall makes it later by as long as
// the process stood still.
func (x *index) due(process string, acknowledged int64) int64 {
	from, stood, counted := acknowledged, int64(0), int64(0)
	for _, w := range x.windows[process] { // by their beginning
		switch {
		case w.end < from || w.start > from+stood+x.slack():
		case w.still:
			stood += max(0, w.end-max(w.start, from, counted))
			counted = max(counted, w.end)
		default:
			from, stood = max(from, w.end), 0
		}
		if from == forever {
			return forever
		}
	}
	return from + stood + x.slack()
}

// away returns for how long between two moments a replica may have been unable to read its
// store.
func (x *index) away(process string, start, end int64) (long int64) {
	counted := start
	for _, w := range x.windows[process] { // by their beginning
		if until := min(w.end, end); until > max(w.start, counted) {
			long += until - max(w.start, counted)
			counted = until
		}
	}
	return long
}

// stale reports whether a replica may know nothing newer, at a moment, than what it read a limit
// before. It reads everything every 30 s, or twice within the limit: the latest read may have
// begun as long before the store went away.
func (x *index) stale(process string, at int64, limit time.Duration) bool {
	long := x.away(process, at-int64(limit)-x.slack(), at)
	return long > 0 && long > int64(limit-min(fullRead, limit/2))-x.slack()
}

// void returns the end of the last rollback that began before a moment: what was done
// before it may be undone.
func (x *index) void(before int64) (end int64) {
	for _, r := range x.rollbacks {
		if r.Start < before {
			end = max(end, r.end())
		}
	}
	return end
}

// undoes reports whether a later change makes valid again what an earlier one revoked.
func undoes(later, earlier Event) bool {
	switch earlier.Do {
	case Revoke:
		return later.Do == Restore
	case CutOff:
		return later.Do == Uncut
	}
	return false
}

func isCause(e Event) bool { return e.Do == Revoke || e.Do == CutOff || e.Do == RemoveKey }

// stands returns whether a change that revokes a token is in force for sure until a moment:
// it was acknowledged, and nothing may have undone it.
func (x *index) stands(t *life, cause Event, until int64) bool {
	if !isCause(cause) || cause.Outcome != OK || cause.Start <= x.void(until) {
		return false
	}
	if cause.Do == CutOff && t.issue.end() >= cause.Start {
		return false // it may be dated at the cutoff
	}
	for _, undo := range t.changes {
		if undoes(undo, cause) && undo.Outcome != Failed && undo.Start < until && undo.effect() > cause.Start {
			return false
		}
	}
	return true
}

// good returns whether a token is good for sure on a replica, from one moment to another.
func (x *index) good(t *life, process string, from, until int64) bool {
	if t.issue.end() >= from || t.issue.Start <= x.void(until) {
		return false
	}
	if x.void(until) > 0 && x.due(process, t.issue.End) >= from {
		return false // after a rollback a serial is given again, and a replica may have the old key
	}
	for _, cause := range t.changes {
		if !isCause(cause) || cause.Outcome == Failed || cause.Start >= until {
			continue
		}
		undone := false
		for _, undo := range t.changes {
			undone = undone || undoes(undo, cause) && undo.Value == cause.Value && undo.Outcome == OK && undo.Start > cause.effect() && x.due(process, undo.End) < from
		}
		if !undone {
			return false
		}
	}
	return true
}

// validations are the second and third check.
func (x *index) validations(t *life) {
	for _, v := range t.validations {
		switch v.Outcome {
		case Accepted:
			for _, cause := range t.changes {
				if !x.stands(t, cause, v.end()) {
					continue
				}
				due, why := x.due(v.Process, cause.End), "the bound"
				if stale := cause.End + int64(x.begun[v.Process].MaxStale); stale < due {
					due, why = stale, "MaxStale"
				}
				if v.Start > due {
					x.report(x.about(2, t, "%s accepts token %s at %s: %s was acknowledged at %s, and %s has passed at %s",
						v.Process, t.issue.ID, x.at(v.Start), cause.Do, x.at(cause.End), why, x.at(due)))
				}
			}
		case Invalid:
			if x.good(t, v.Process, v.Start, v.end()) {
				x.report(x.about(3, t, "%s refuses token %s at %s (%s), although it is good", v.Process, t.issue.ID, x.at(v.Start), v.Why))
			}
		}
	}
}

// sessions is the fourth check.
func (x *index) sessions(t *life) {
	for _, s := range t.sessions {
		until := s.end()
		if until == forever {
			until = x.last
			if gone, ok := x.gone[s.Process]; ok {
				until = gone
			}
		}
		for _, cause := range t.changes {
			due := x.sessionDue(s, cause)
			if until > due && x.stands(t, cause, due) {
				x.report(x.about(4, t, "a session of token %s on %s, open since %s, outlives %s, which was acknowledged at %s: it is open at %s",
					t.issue.ID, s.Process, x.at(s.Start), cause.Do, x.at(cause.End), x.at(until)))
			}
		}
		if s.Outcome == Ended && !x.mayEnd(t, s) {
			x.report(x.about(4, t, "a session of token %s on %s ends at %s (%s), although the token is good", t.issue.ID, s.Process, x.at(s.End), s.Why))
		}
	}
}

// sessionDue returns when a session must have ended for a cause.
func (x *index) sessionDue(s, cause Event) int64 {
	if cause.End == 0 {
		return forever
	}
	due := x.due(s.Process, max(cause.End, s.Start))
	const look = int64(time.Second) // the interval at which sessions are looked at
	stale := max(cause.End+int64(x.begun[s.Process].SessionMaxStale), s.Start) + look
	for _, w := range x.windows[s.Process] {
		if w.still && w.end >= stale && w.start <= stale {
			stale = w.end
		}
	}
	return min(due, stale+int64(x.bounds.Grace))
}

// mayEnd reports whether the validator may have ended a session.
func (x *index) mayEnd(t *life, s Event) bool {
	switch s.Why {
	case WhyRevoked, WhyKey:
		for _, cause := range t.changes {
			if isCause(cause) && (cause.Do == RemoveKey) != (s.Why == WhyKey) {
				continue
			}
			if isCause(cause) && cause.Outcome != Failed && cause.Start < s.End {
				return !x.good(t, s.Process, s.Start, s.End)
			}
		}
		return t.issue.Start <= x.void(s.End)
	case WhyUnavailable:
		limit := x.begun[s.Process].SessionMaxStale
		return limit < 2*x.bounds.Grace || x.stale(s.Process, s.End, limit) // as in answers
	case WhyClosed:
		closing, ok := x.closing[s.Process]
		return ok && closing <= s.End
	}
	return false
}

// answers is the part of the fifth check that holds throughout: while a replica is not cut
// off, it knows that good tokens are good, and for MaxStale longer if it has read their key
// before. A replica whose MaxStale is no longer than what this machine is given is left out.
func (x *index) answers() {
	for _, t := range x.tokens {
		for _, v := range t.validations {
			begun := x.begun[v.Process]
			if v.Outcome != Unavailable || begun.MaxStale < 2*x.bounds.Grace || v.Start < begun.Start+2*x.slack() {
				continue
			}
			if !x.good(t, v.Process, v.Start, v.end()) {
				continue // a token whose key is gone waits for a read, which a busy machine may make too late
			}
			if !slices.ContainsFunc(x.windows[v.Process], func(w window) bool {
				return w.start <= v.end() && (w.end == forever || w.end+x.slack() >= v.Start)
			}) {
				x.report(x.about(5, t, "%s could not know token %s at %s, although it was not cut off", v.Process, t.issue.ID, x.at(v.Start)))
			} else if x.due(v.Process, max(begun.Start, x.added(t), x.void(v.end()))) < v.Start && !x.stale(v.Process, v.end(), begun.MaxStale) {
				x.report(x.about(5, t, "%s could not know token %s at %s, although it was not cut off for %s", v.Process, t.issue.ID, x.at(v.Start), begun.MaxStale))
			}
		}
	}
}

// added returns when the key of a token was there, or 0 for a key that was there from the beginning.
func (x *index) added(t *life) (at int64) {
	for _, key := range x.keys {
		if key.Mesh == t.issue.Mesh && (key.Key == t.issue.Key || key.Outcome != OK) && key.Start < t.issue.end() {
			at = max(at, min(key.end(), t.issue.end()))
		}
	}
	return at
}

// agreement is the part of the fifth check about all replicas. "Could not know" about a token
// whose key is gone agrees with "invalid": such a token waits for a read, which a busy
// machine may make too late.
func (x *index) agreement() {
	for _, t := range x.tokens {
		var said []Event
		for _, v := range t.validations {
			if v.Do == Sweep {
				said = append(said, v)
			}
		}
		if slices.ContainsFunc(said, func(v Event) bool { return v.Outcome == Invalid && v.Why == WhyKey }) {
			said = slices.DeleteFunc(said, func(v Event) bool { return v.Outcome == Unavailable })
		}
		for _, v := range said {
			if v.Outcome != said[0].Outcome {
				x.report(x.about(5, t, "after all faults %s says that token %s is %s, and %s that it is %s",
					v.Process, t.issue.ID, v.Outcome, said[0].Process, said[0].Outcome))
			}
		}
	}
}

// serials is the part of the fifth check about keys: a serial is given once.
func (x *index) serials() {
	for i, b := range x.keys {
		for _, a := range x.keys[:i] {
			if a.Outcome == OK && b.Outcome == OK && a.Mesh == b.Mesh && a.Key == b.Key && a.Start > x.void(b.end()) {
				x.report(Violation{Check: 5, Events: []Event{a, b}, model: membership(),
					Text: fmt.Sprintf("key %s of mesh %s was added at %s and again at %s", a.Key, a.Mesh, x.at(a.End), x.at(b.End))})
			}
		}
	}
}

// losses is the part of the fifth check about what was acknowledged.
func (x *index) losses() {
	for _, e := range x.events {
		read := e.Do == HasIDs || e.Do == HasCutoffs || e.Do == HasKeys
		if read && e.Outcome != OK {
			x.report(Violation{Check: 5, Events: []Event{e}, model: membership(), Text: fmt.Sprintf("after all faults the store cannot be read: %s", e.Why)})
			continue
		}
		switch e.Do {
		case HasIDs, HasCutoffs:
			what := Revoke
			if e.Do == HasCutoffs {
				what = CutOff
			}
			for _, t := range x.tokens {
				name := t.issue.ID
				if e.Do == HasCutoffs {
					name = t.issue.Name
				}
				for _, cause := range t.changes {
					if t.issue.Mesh == e.Mesh && cause.Do == what && x.stands(t, cause, e.Start) && cause.End < e.Start && !slices.Contains(e.Found, name) {
						x.report(x.about(5, t, "the %s of %s in mesh %s, acknowledged at %s, is lost", what, name, e.Mesh, x.at(cause.End)))
					}
				}
			}
		case HasKeys:
			for _, key := range x.keys {
				removed := slices.ContainsFunc(x.removals, func(r Event) bool { return r.Mesh == key.Mesh && r.Key == key.Key && r.Outcome != Failed })
				if key.Mesh == e.Mesh && key.Outcome == OK && key.Start > x.void(e.Start) && !removed && !slices.Contains(e.Found, key.Key) {
					x.report(Violation{Check: 5, Events: []Event{key, e}, model: membership(),
						Text: fmt.Sprintf("key %s of mesh %s, added at %s, is lost", key.Key, key.Mesh, x.at(key.End))})
				}
			}
		}
	}
}

// about makes a violation of what happened to a token.
func (x *index) about(check int, t *life, format string, args ...any) Violation {
	return Violation{Check: check, Text: fmt.Sprintf(format, args...), Events: t.all(), model: membership()}
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
