package simulation

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// Span is a duration that is text in JSON, such as 1m2.5s.
type Span time.Duration

// MarshalText implements [encoding.TextMarshaler].
func (s Span) MarshalText() ([]byte, error) { return []byte(time.Duration(s).String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Span) UnmarshalText(text []byte) error {
	d, err := time.ParseDuration(string(text))
	*s = Span(d)
	return err
}

// Plan is all that a simulation depends on: the settings of the deployment, what happens
// in it, and what fails. Events and faults may be left out of a plan in any combination:
// an event that needs another one, such as the token that it issues, does nothing then.
type Plan struct {
	About    string `json:",omitempty"` // of a plan that is kept: what it has shown
	Seed     uint64 // of the delays of the store
	Settings Settings
	Events   []Event
	Faults   []Fault
}

// Settings are those of a deployment.
type Settings struct {
	Replicas        int
	Cache           bool // replicas remember verified tokens
	MaxStale        Span
	SessionMaxStale Span
	PublishDelay    Span `json:",omitempty"`
	MaxLifetime     Span `json:",omitempty"` // with it the replicas also rotate the keys
	RotateEvery     Span `json:",omitempty"`
}

// Event is something that a user, a proxy or an operator does, by one replica.
type Event struct {
	At      Span
	Do      string
	Replica int
	Token   int    `json:",omitempty"` // which, by number
	Of      int    `json:",omitempty"` // the token that is renewed
	Key     int    `json:",omitempty"` // its serial
	Name    string `json:",omitempty"` // of the proxy, or "" for the whole mesh
	For     Span   `json:",omitempty"` // the lifetime, or 0 to renew for as long as before; the pause before Bind; by how much a clock jumps
	Global  bool   `json:",omitempty"` // in the global scope
}

// What an Event may do.
const (
	doIssue      = "issue"
	doRenew      = "renew"
	doValidate   = "validate" // Token, or all if it is 0
	doBind       = "bind"     // validates and binds
	doRevoke     = "revoke"
	doRestore    = "restore"
	doMakeGlobal = "make the global list"
	doAddKey     = "add a key"
	doRemoveKey  = "remove a key"
	doCutOff     = "cut off until now"
	doUncut      = "remove the cutoff"
	doPrune      = "prune"
	doJump       = "clock jumps"
	doDrift      = "clock drifts" // For: by how much in an hour
	doRestart    = "restart"
)

// Fault is something that does not work for a while.
type Fault struct {
	At, For Span
	Kind    string
	Replica int  // for which; those of records are for all
	Lag     Span `json:",omitempty"` // by how much what the replica reads is older
	Key     int  `json:",omitempty"` // which is unreadable
}

// Kinds of Fault.
const (
	faultDown    = "down"    // calls of the store fail; a write may have been made all the same
	faultHang    = "hang"    // calls do not return before their context ends
	faultDeaf    = "deaf"    // calls do not return, whatever their context
	faultPartial = "partial" // a list returns some records and an error
	faultAll     = "all"     // a list of all scopes fails, one of a single scope does not
	faultSlow    = "slow"    // calls take seconds
	faultLag     = "lag"     // lists are those of some time ago
	faultLost    = "lost"    // the watch ends, and cannot be begun again
	faultSilent  = "silent"  // the watch announces nothing

	faultKey     = "unreadable key"
	faultList    = "unreadable list"
	faultCutoffs = "unreadable cutoffs"
)

// draw draws from a seed.
type draw struct{ *rand.Rand }

func (d draw) chance(of int) bool { return d.IntN(of) == 0 }

// between returns a duration between two, short ones as likely as long ones.
func (d draw) between(low, high time.Duration) Span {
	return Span(float64(low) * math.Pow(float64(high)/float64(low), d.Float64()))
}

func pick[T any](d draw, from ...T) T { return from[d.IntN(len(from))] }

// NewPlan returns the plan of a seed.
func NewPlan(seed uint64) Plan {
	d := draw{rand.New(rand.NewPCG(seed, 1))}
	p := Plan{Seed: seed, Settings: Settings{Replicas: 2 + d.IntN(2), Cache: !d.chance(3)}}
	s := &p.Settings
	s.MaxStale = pick(d, Span(0), Span(2*time.Second), Span(8*time.Second), Span(20*time.Second), Span(time.Hour), Span(time.Hour))
	s.SessionMaxStale = pick(d, s.MaxStale, s.MaxStale, Span(5*time.Second), Span(time.Hour))
	if d.chance(4) {
		s.PublishDelay = pick(d, Span(3*time.Second), Span(20*time.Second))
	}
	if d.chance(16) { // it makes keys, which takes long
		s.MaxLifetime, s.RotateEvery = Span(2*time.Minute), Span(3*time.Minute)
	}
	g := generator{draw: d, plan: &p, key: 1}
	for g.at = time.Second; len(p.Events) < 110; {
		g.pass()
		g.next()
	}
	p.sort()
	return p
}

// sort puts the events in the order in which they happen.
func (p *Plan) sort() {
	slices.SortStableFunc(p.Events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
}

// generator makes a plan.
type generator struct {
	draw
	plan   *Plan
	at     time.Duration
	tokens int // issued
	key    int // the newest, if all went well
}

// pass lets time pass: mostly little, so that much happens at once.
func (g *generator) pass() {
	switch n := g.IntN(100); {
	case n < 55:
		g.at += time.Duration(g.between(time.Millisecond, time.Second))
	case n < 90:
		g.at += time.Duration(g.between(time.Second, 10*time.Second))
	case n < 99:
		g.at += time.Duration(g.between(10*time.Second, time.Minute))
	case g.plan.Settings.MaxStale > Span(time.Minute):
		g.at += 20 * time.Minute
	}
	g.at += time.Duration(g.IntN(1000)) // no two events at the same moment
}

func (g *generator) add(e Event) {
	e.At, e.Replica = Span(g.at), g.IntN(g.plan.Settings.Replicas)
	g.plan.Events = append(g.plan.Events, e)
}

func (g *generator) fault(f Fault) {
	f.At = Span(g.at)
	g.plan.Faults = append(g.plan.Faults, f)
}

// later adds an event some time after the present.
func (g *generator) later(low, high time.Duration, e Event) {
	g.laterBy(g.IntN(g.plan.Settings.Replicas), low, high, e)
}

// laterBy is later for an event of one replica.
func (g *generator) laterBy(replica int, low, high time.Duration, e Event) {
	e.At, e.Replica = Span(g.at)+g.between(low, high), replica
	g.plan.Events = append(g.plan.Events, e)
	g.plan.sort()
}

// token returns one of the tokens, mostly a young one.
func (g *generator) token() int {
	return max(1, g.tokens-int(float64(g.tokens)*g.Float64()*g.Float64()))
}

var proxies = []string{"dp-1", "dp-2", "dp-3"}

// aftermath adds what may show that a change was not heeded.
func (g *generator) aftermath(token int) {
	for range 1 + g.IntN(3) {
		g.later(500*time.Millisecond, time.Minute, Event{Do: doValidate, Token: token})
	}
}

func (g *generator) next() {
	if g.tokens < 3 {
		g.issue()
		return
	}
	steps := []struct {
		often int
		do    func()
	}{
		{7, g.issue},
		{3, func() { g.add(g.renewing()) }},
		{12, func() { g.add(Event{Do: doValidate, Token: g.token()}) }},
		{5, func() { g.add(Event{Do: doValidate}) }},
		{10, func() { g.add(Event{Do: doBind, Token: g.token(), For: g.between(time.Microsecond, 5*time.Second)}) }},
		{8, g.revoke},
		{3, g.restore},
		{1, func() { g.add(Event{Do: doMakeGlobal}) }},
		{3, func() { g.add(Event{Do: doAddKey}); g.key++; g.later(time.Millisecond, time.Second, g.issuing()) }},
		{3, g.removeKey},
		{4, g.cutOff},
		{2, func() { g.add(Event{Do: doUncut, Name: pick(g.draw, proxies...)}) }},
		{2, func() {
			g.add(Event{Do: doPrune, For: g.between(time.Second, 10*time.Minute)})
			g.later(time.Second, 10*time.Second, Event{Do: doValidate})
		}},
		{2, g.jump},
		{1, func() { g.add(Event{Do: doDrift, For: Span(g.IntN(7_200_000)-3_600_000) * 1000}) }}, // ms
		{2, func() { g.add(Event{Do: doRestart}) }},
		{10, g.fail},
	}
	all := 0
	for _, s := range steps {
		all += s.often
	}
	n := g.IntN(all)
	for _, s := range steps {
		if n -= s.often; n < 0 {
			s.do()
			return
		}
	}
}

func (g *generator) lifetime() Span {
	if limit := g.plan.Settings.MaxLifetime; limit > 0 {
		return g.between(time.Second, time.Duration(limit))
	}
	return g.between(2*time.Second, 10*time.Hour)
}

func (g *generator) issuing() Event {
	g.tokens++
	return Event{Do: doIssue, Token: g.tokens, Name: pick(g.draw, proxies...), For: g.lifetime()}
}

func (g *generator) issue() {
	e := g.issuing()
	g.add(e)
	g.later(300*time.Millisecond, 2*time.Second, Event{Do: doBind, Token: e.Token, For: g.between(time.Microsecond, 3*time.Second)})
}

func (g *generator) renewing() Event {
	e := Event{Do: doRenew, Of: g.token()}
	g.tokens++
	e.Token = g.tokens
	if g.chance(2) {
		e.For = g.lifetime()
	}
	return e
}

// revoke revokes one token or, at the same time, several.
func (g *generator) revoke() {
	for range pick(g.draw, 1, 1, 2, 4) {
		token := g.token()
		g.add(Event{Do: doRevoke, Token: token})
		g.aftermath(token)
		g.at += time.Duration(g.between(time.Microsecond, 50*time.Millisecond))
	}
}

// restore makes a token good again, and perhaps takes it back once more.
func (g *generator) restore() {
	token := g.token()
	g.add(Event{Do: doRestore, Token: token})
	if g.chance(2) {
		g.later(time.Second, 5*time.Second, Event{Do: doBind, Token: token, For: g.between(time.Microsecond, time.Second)})
		g.later(6*time.Second, 20*time.Second, Event{Do: doRevoke, Token: token})
	}
}

func (g *generator) removeKey() {
	g.add(Event{Do: doRemoveKey, Key: max(1, g.key-g.IntN(3))})
	g.later(100*time.Millisecond, time.Second, g.renewing())
	g.later(time.Second, 10*time.Second, Event{Do: doValidate})
	if g.chance(2) {
		g.later(time.Second, 3*time.Second, Event{Do: doAddKey})
		g.key++
	}
}

func (g *generator) cutOff() {
	name := pick(g.draw, append(proxies, "")...)
	g.add(Event{Do: doCutOff, Name: name, Global: g.chance(3)})
	g.later(500*time.Millisecond, 10*time.Second, Event{Do: doValidate})
	g.later(time.Millisecond, 5*time.Second, g.issuing())
	g.later(100*time.Millisecond, time.Second, g.renewing())
	if name == "" || g.chance(3) {
		g.later(2*time.Second, time.Minute, Event{Do: doUncut, Name: name})
	}
}

// jump sets a clock forward or back. By more than the skew it is put right again.
func (g *generator) jump() {
	by := Span(g.IntN(160)-80) * Span(time.Second)
	if g.chance(3) {
		by = pick(g.draw, Span(1), -1) * g.between(time.Minute, 2*time.Hour)
		g.later(time.Second, 30*time.Second, Event{Do: doJump})
	}
	g.add(Event{Do: doJump, For: by})
}

// fail begins a fault. What happens while it lasts and just after it matters most.
func (g *generator) fail() {
	f := Fault{Replica: g.IntN(g.plan.Settings.Replicas), For: g.between(100*time.Millisecond, 100*time.Second)}
	f.Kind = pick(g.draw, faultDown, faultDown, faultHang, faultDeaf, faultPartial, faultAll, faultSlow, faultLag, faultLost, faultSilent, faultSilent, faultKey, faultList, faultCutoffs)
	switch f.Kind {
	case faultDeaf:
		f.For = min(f.For, Span(20*time.Second))
	case faultLag:
		f.Lag = g.between(100*time.Millisecond, 30*time.Second)
	case faultKey:
		f.Key, f.Replica = max(1, g.key-g.IntN(2)), 0
		f.For = min(f.For, Span(30*time.Second))
		g.later(time.Millisecond, time.Second, g.issuing())
	case faultList, faultCutoffs:
		f.Replica, f.For = 0, min(f.For, Span(30*time.Second))
	}
	g.fault(f)
	token, end := g.token(), time.Duration(f.For)
	g.laterBy((f.Replica+1)%g.plan.Settings.Replicas, time.Millisecond, end, Event{Do: doRevoke, Token: token})
	g.later(end/2, end, Event{Do: doValidate, Token: token})
	g.later(end, end+2*time.Second, Event{Do: doValidate})
	g.laterBy(f.Replica, end+3*time.Second, end+30*time.Second, Event{Do: doValidate, Token: token})
	for range 4 { // while the replica finds out that the store is back
		g.laterBy(f.Replica, end, end+600*time.Millisecond, Event{Do: doValidate, Token: token})
	}
}

func (e Event) String() string {
	return fmt.Sprintf("%s by %d token %d of %d key %d name %q for %s global %t", e.Do, e.Replica, e.Token, e.Of, e.Key, e.Name, time.Duration(e.For), e.Global)
}
