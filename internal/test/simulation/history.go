package simulation

import (
	"fmt"
	"slices"
	"time"
)

// History is what was seen of a deployment from outside. Times are from its beginning on a
// clock that is always right, unless they say otherwise.
type History struct {
	Settings Settings
	Faults   []Fault
	Keys     []Key
	Tokens   []Token
	Changes  []Change
	Answers  []Answer
	Sessions []Session
	Started  []Start
	Clocks   []Clock
	End      time.Duration // nothing has failed for a minute then

	wrong []string // as Judge has found
}

// Key is a record of a signing key that the store has created.
type Key struct {
	Serial int
	Made   time.Duration
}

// Token is a token that was issued or renewed.
type Token struct {
	Number     int
	Lineage    int // the number of the first one
	Replica    int
	Start, End time.Duration // of the call
	Serial     int           // of its key
	Name       string

	// What it says, from the beginning of the simulation.
	Made, IssuedAt, NotBefore, ExpiresAt time.Duration
}

// Change is an operator's change of what is good.
type Change struct {
	What       What
	Start, End time.Duration // of the call
	Done       bool          // the call has succeeded; otherwise nobody knows
	Lineage    int           // for Revoked and Restored
	Serial     int           // for KeyRemoved
	Name       string        // of the proxy, for CutOff and Uncut; empty: all proxies
	Before     time.Duration // for CutOff, Uncut and Pruned: the moment, on the right clock
	Lifetime   time.Duration // for Pruned: of tokens, as the operator says
}

// bad reports whether a change is for the worse of a token.
func (c Change) bad(t *Token) bool {
	return c.What == Revoked && c.Lineage == t.Lineage || c.What == KeyRemoved && c.Serial == t.Serial ||
		c.What == Pruned && t.Made < c.Before || c.What == CutOff && c.names(t) && t.IssuedAt < c.Before
}

// floor is the highest that a pruning may leave: for the leeway and for clocks that differ, it
// is a quarter of an hour lower than the lifetime says.
func (c Change) floor() time.Duration { return c.End - c.Lifetime - 15*time.Minute }

func (c Change) names(t *Token) bool { return c.Name == "" || c.Name == t.Name }

// undoes reports whether a change takes another one back. The later cutoff of a name counts.
func (c Change) undoes(bad Change) bool {
	return bad.What == Revoked && c.What == Restored && c.Lineage == bad.Lineage ||
		bad.What == CutOff && c.What == Uncut && c.Name == bad.Name && c.Before >= bad.Before
}

// What is a kind of Change.
type What string

// The kinds of Change.
const (
	Revoked        What = "revoked"
	Restored       What = "restored"
	KeyRemoved     What = "key removed"
	CutOff         What = "cut off"
	Uncut          What = "cutoff removed"
	Pruned         What = "pruned" // ids from before the floor are revoked
	MadeGlobalList What = "global list made"
)

// Class is the class of an answer, or of the end of a session.
type Class string

// The classes. The last two are of sessions only.
const (
	Accepted    Class = "accepted"
	Invalid     Class = "invalid"
	Unavailable Class = "unavailable"
	Expired     Class = "expired"
	Closed      Class = "closed"
)

// Answer is the answer of a replica about a token.
type Answer struct {
	Replica    int
	Token      int // its number
	Start, End time.Duration
	Class      Class
	Reason     string
}

// Session is a context that was bound to a token.
type Session struct {
	Replica    int
	Token      int
	Start, End time.Duration
	Cause      Class // why it ended
	Reason     string
}

// Start is when a replica began to validate.
type Start struct {
	Replica int
	At      time.Duration
}

// Clock says how a replica's wall clock goes from a moment on. Before the first one it is
// right.
type Clock struct {
	Replica int
	At      time.Duration
	Ahead   time.Duration // at that moment
	PerHour time.Duration // what it gains
}

// ahead returns by how much the clock of a replica is ahead at a moment.
func (h *History) ahead(replica int, at time.Duration) (ahead time.Duration) {
	for _, c := range h.Clocks {
		if c.Replica == replica && c.At <= at {
			ahead = c.Ahead + time.Duration(float64(c.PerHour)*(at-c.At).Hours())
		}
	}
	return ahead
}

// changesOfClock returns the moments from one to another at which a clock was set, and those
// just before: what happens at the same moment may be before or after.
func (h *History) changesOfClock(replica int, from, to time.Duration) (moments []time.Duration) {
	for _, c := range h.Clocks {
		if c.Replica == replica && from <= c.At && c.At <= to {
			moments = append(moments, c.At-1, c.At)
		}
	}
	return moments
}

// furthest returns by how much a clock was ahead at most between two moments.
func (h *History) furthest(replica int, from, to time.Duration) (ahead time.Duration) {
	ahead = h.ahead(replica, from)
	for _, at := range append(h.changesOfClock(replica, from, to), to) {
		ahead = max(ahead, h.ahead(replica, at))
	}
	return ahead + time.Microsecond // for what is lost where a drift is computed
}

// clock returns what a replica's clock showed between two moments, at least and at most.
func (h *History) clock(replica int, from, to time.Duration) (early, late time.Duration) {
	early, late = never, -never
	for _, at := range append(h.changesOfClock(replica, from, to), from, to) {
		early, late = min(early, at+h.ahead(replica, at)), max(late, at+h.ahead(replica, at))
	}
	return early, late
}

// token returns the token with a number.
func (h *History) token(number int) *Token {
	return &h.Tokens[slices.IndexFunc(h.Tokens, func(t Token) bool { return t.Number == number })]
}

// made returns when a key was there.
func (h *History) made(serial int) time.Duration {
	return h.Keys[slices.IndexFunc(h.Keys, func(k Key) bool { return k.Serial == serial })].Made
}

// started returns when a replica last began to validate.
func (h *History) started(replica int, by time.Duration) (at time.Duration) {
	for _, s := range h.Started {
		if s.Replica == replica && s.At <= by {
			at = max(at, s.At)
		}
	}
	return at
}

// restarted reports whether a replica was closed at a moment. It may wait for a call of the
// store before it begins again.
func (h *History) restarted(replica int, at time.Duration) bool {
	return slices.ContainsFunc(h.Started, func(s Start) bool { return s.Replica == replica && s.At >= at && s.At < at+tail })
}

// faults returns how long faults of some kinds lasted for a replica, each with its tail.
func (h *History) faults(kinds []string, replica int, from, to time.Duration) (sum time.Duration) {
	for _, f := range h.Faults {
		if slices.Contains(kinds, f.Kind) && (f.Replica == replica || ofRecords(f.Kind)) {
			after := check
			if slices.Contains(hangs, f.Kind) {
				after = tail
			}
			sum += max(0, min(to, time.Duration(f.At+f.For)+after)-max(from, time.Duration(f.At)))
		}
	}
	return sum
}

// lagged returns until when a replica may have read a state from before a moment, or 0.
func (h *History) lagged(replica int, moment, at time.Duration) (until time.Duration) {
	for _, f := range h.Faults {
		if f.Kind == faultLag && f.Replica == replica && time.Duration(f.At) < at && moment > time.Duration(f.At-f.Lag)-check {
			until = max(until, time.Duration(f.At+f.For)+check)
		}
	}
	return until
}

// rule notes that a rule was broken, and by what.
func (h *History) rule(name string, broken bool, by ...any) {
	if broken {
		for i, x := range by {
			if c, ok := x.(*Change); ok && c != nil {
				by[i] = *c
			}
		}
		h.wrong = append(h.wrong, name+": "+fmt.Sprintf("%+v", by))
	}
}

// interval is the longest time between reads of everything.
func (h *History) interval() time.Duration {
	return min(fullRead, max(time.Duration(min(h.Settings.MaxStale, h.Settings.SessionMaxStale)), check))
}
