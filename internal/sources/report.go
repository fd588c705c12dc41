package sources

import (
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/signing"
)

// reads counts the reads that have ended.
type reads struct{ total, failed atomic.Uint64 }

func (r *reads) count(err error) {
	r.total.Add(1)
	if err != nil {
		r.failed.Add(1)
	}
}

// Report returns how current the sources are, except for fixed ones, in no order.
func (f *Follower) Report() (all []observe.Source) {
	for scope, sources := range f.sources {
		for _, s := range sources {
			if _, fixed := s.Source.(*signing.Fixed); fixed {
				continue
			}
			of := observe.Source{Name: s.name, Reads: observe.Reads{Failed: s.reads.failed.Load(), Total: s.reads.total.Load()}}
			if scope != EveryScope {
				of.Mesh = string(scope)
			}
			if confirmed := s.reading.Load().confirmed; !confirmed.IsZero() {
				of.Loaded, of.Staleness = true, time.Since(confirmed)
			}
			all = append(all, of)
		}
	}
	return all
}
