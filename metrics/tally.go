// Package metrics counts what validators and issuers report, for a monitoring system. Its
// modules prommetrics and otelmetrics do the rest for Prometheus and OpenTelemetry: use one
// of them, and this package only to write a third.
//
// A [Tally] is an observer. It counts outcomes, takes the reports of the validators, and
// gives all of it as values of [Instruments]:
//
//	tally := metrics.NewTally()
//	validator, err := dataplane.NewValidator(store, dataplane.WithObserver(tally))
//	for value := range tally.Values() {
//		fmt.Println(value.Instrument.Name, value.Attributes, value.Value)
//	}
//
// Peers do not make it grow: it has a counter for each mesh of the store, and for each
// reason.
package metrics

import (
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/token"
)

// Tally counts outcomes and gathers reports. It is an observe.Observer and an
// observe.Attacher, and safe for concurrent use. [NewTally] makes one.
type Tally struct {
	counts [observe.Fork + 1][kinds]counts // by operation

	mu        sync.Mutex
	reporters []*observe.Reporter     // pointers, to find them again
	past      map[token.Kind]*reports // the counts of closed validators
}

// counts counts outcomes by mesh and reason.
type counts struct {
	mu     sync.RWMutex
	meshes map[string]*[token.ReasonOther + 1]atomic.Uint64
}

// NewTally returns an empty tally.
func NewTally() *Tally { return &Tally{past: make(map[token.Kind]*reports)} }

// Observe implements observe.Observer.
func (t *Tally) Observe(o observe.Outcome) {
	if o.Operation < 0 || int(o.Operation) >= len(t.counts) { // of a later version
		return
	}
	t.counts[o.Operation][numberOf(o.Kind)].of(o.Mesh)[min(o.Reason, token.ReasonOther)].Add(1)
}

func (c *counts) of(mesh string) *[token.ReasonOther + 1]atomic.Uint64 {
	c.mu.RLock()
	of := c.meshes[mesh]
	c.mu.RUnlock()
	if of != nil {
		return of
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if of = c.meshes[mesh]; of == nil {
		if c.meshes == nil {
			c.meshes = make(map[string]*[token.ReasonOther + 1]atomic.Uint64)
		}
		of = new([token.ReasonOther + 1]atomic.Uint64)
		c.meshes[mesh] = of
	}
	return of
}

// values emits the count of each reason that has occurred.
func (c *counts) values(emit func(*Instrument, float64, ...string), operation observe.Operation, kind token.Kind) {
	c.mu.RLock()
	meshes := maps.Clone(c.meshes) // emit may take long, and Observe must not wait for it
	c.mu.RUnlock()
	for mesh, reasons := range meshes {
		for r := range reasons {
			reason, n := token.Reason(r), reasons[r].Load()
			if n == 0 {
				continue
			}
			name := ""
			if reason != token.ReasonNone {
				name = reason.String()
			}
			switch operation {
			case observe.Validate:
				emit(validations, float64(n), string(kind), mesh, classOf(operation, reason).name(operation), name)
			case observe.Issue:
				emit(issuances, float64(n), string(kind), mesh, classOf(operation, reason).name(operation), name)
			case observe.Permit:
				emit(permitRefusals, float64(n), string(kind), mesh)
			case observe.Renew:
				emit(renewals, float64(n), string(kind), mesh, classOf(operation, reason).name(operation), name)
			case observe.Fork:
				emit(forks, float64(n), string(kind), mesh)
			}
		}
	}
}

// Attach implements observe.Attacher.
func (t *Tally) Attach(r observe.Reporter) (detach func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	at := &r
	t.reporters = append(t.reporters, at)
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		i := slices.Index(t.reporters, at)
		if i < 0 {
			return
		}
		t.reporters = slices.Delete(t.reporters, i, i+1)
		last := r.Report()
		of(t.past, last.Kind).count(last)
	}
}

// Value is the present value of an instrument for one set of attributes.
type Value struct {
	Instrument *Instrument
	Value      float64
	Attributes []string // in the order of Instrument.Attributes
}

// Values returns the present values, after it has asked each validator for a report. If
// several validators of a kind have reported, their counts are added up, and of what they
// found in their stores the larger number counts. What closed validators have counted
// is added to what open ones of the same kind report.
func (t *Tally) Values() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		going := true
		emit := func(i *Instrument, value float64, attributes ...string) {
			going = going && yield(Value{i, value, attributes})
		}
		for _, kind := range [...]token.Kind{token.KindDataplane, token.KindZone} {
			for operation := range t.counts {
				t.counts[operation][numberOf(kind)].values(emit, observe.Operation(operation), kind)
			}
		}
		for kind, all := range t.reports() {
			all.values(emit, string(kind))
		}
	}
}

func (t *Tally) reports() map[token.Kind]*reports {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make(map[token.Kind]*reports)
	for _, reporter := range t.reporters {
		r := (*reporter).Report()
		of(all, r.Kind).add(r)
	}
	for kind, present := range all {
		if past := t.past[kind]; past != nil {
			present.addCounts(past)
		}
	}
	return all
}
