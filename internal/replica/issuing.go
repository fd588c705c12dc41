package replica

import (
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// Issuing says what concerns an issuer of the tokens of one scope.
type Issuing struct {
	Keys    *signing.PublicSet
	Cutoffs []keystore.Record // that hold cutoffs of its tokens, without their Data
}

// Issuing returns what is known for an issuer. It returns false if the store should be
// asked instead: a record cannot be read, or the latest read has failed or is overdue.
func (f *Follower) Issuing(scope keystore.Scope) (Issuing, bool) {
	s := f.current.Load()
	if s == nil {
		return Issuing{}, false
	}
	now, own := time.Now(), s.scopes.get(scope)
	if own == nil || own.keys == nil || len(own.reasons) > 0 || s.reading(scope, now).staleness(now, s.overdue) > 0 {
		return Issuing{}, false
	}
	in := Issuing{Keys: own.keys}
	for _, l := range s.lists(listID{scope, true}) {
		if l == nil {
			continue
		}
		if l.err != nil {
			return Issuing{}, false
		}
		in.Cutoffs = append(in.Cutoffs, l.record)
	}
	return in, true
}
