package replica

import (
	"time"

	"github.com/meshpass/meshpass/keystore"
)

// Issuing says which records concern an issuer of the tokens of one scope. The records are
// without their Data.
type Issuing struct {
	Records []keystore.Record // of the scope; not to be changed
	Cutoffs []keystore.Record // those of them, and of the global scope, that hold cutoffs of its tokens
}

// Issuing returns what is known for an issuer. It returns false if the store should be
// asked instead: a record cannot be read, or the latest read has failed or is overdue.
func (f *Follower) Issuing(scope keystore.Scope) (in Issuing, ok bool) {
	s := f.current.Load()
	if s == nil {
		return in, false
	}
	now, own := time.Now(), s.scopes.get(scope)
	if own == nil || len(own.reasons) > 0 || s.reading(scope, now).staleness(now, s.overdue) > 0 {
		return in, false
	}
	in.Records = own.records
	for _, l := range s.lists(listID{scope, true}) {
		if l == nil {
			continue
		}
		if l.err != nil {
			return in, false
		}
		in.Cutoffs = append(in.Cutoffs, l.record)
	}
	return in, true
}
