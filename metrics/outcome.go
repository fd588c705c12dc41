package metrics

import (
	"slices"

	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/token"
)

// Index is what a histogram needs to know of an outcome: its operation, its kind and its
// class. It is less than [Indexes], so that an array can hold what belongs to each.
type Index int

// timed are the operations that take time.
var timed = [...]observe.Operation{observe.Validate, observe.Issue, observe.Renew}

// Indexes is the number of indexes.
const Indexes = Index(len(timed) * kinds * int(numClasses))

type class int

const (
	accepted class = iota // or issued
	invalid               // or refused
	notPermitted
	unavailable
	other // or failed
	numClasses
)

// IndexOf returns the index of an outcome, or false for an operation whose duration is not
// measured.
func IndexOf(o observe.Outcome) (Index, bool) {
	at := slices.Index(timed[:], o.Operation)
	if at < 0 {
		return 0, false
	}
	return Index((at*kinds+numberOf(o.Kind))*int(numClasses) + int(classOf(o.Operation, o.Reason))), true
}

const kinds = 2

func numberOf(kind token.Kind) int {
	if kind == token.KindZone {
		return 1
	}
	return 0
}

// Operation returns the operation of the index.
func (i Index) Operation() observe.Operation { return timed[i/Index(kinds*numClasses)] }

// Attributes returns the values of the attributes kind and class.
func (i Index) Attributes() (kind, class string) {
	return string(i.kind()), i.class().name(i.Operation())
}

func (i Index) kind() token.Kind {
	if i/Index(numClasses)%kinds == 1 {
		return token.KindZone
	}
	return token.KindDataplane
}

func (i Index) class() class { return class(i % Index(numClasses)) }

func classOf(operation observe.Operation, r token.Reason) class {
	of := r.Class()
	switch {
	case r == token.ReasonNone:
		return accepted
	case of == token.Unavailable:
		return unavailable
	case operation == observe.Renew && of == token.Invalid:
		return invalid
	case operation == observe.Issue, operation == observe.Renew:
		if r == token.ReasonLineage || r == token.ReasonNotIssuable || r == token.ReasonIssuingDisabled || r == token.ReasonDenied {
			return invalid
		}
		return other
	case of == token.Invalid:
		return invalid
	case of == token.NotPermitted:
		return notPermitted
	}
	return other
}

func (c class) name(operation observe.Operation) string {
	switch operation {
	case observe.Issue:
		return [numClasses]string{"issued", "refused", "", "unavailable", "failed"}[c]
	case observe.Renew:
		return [numClasses]string{"renewed", "refused", "", "unavailable", "failed"}[c]
	}
	return [numClasses]string{"accepted", "invalid", "not_permitted", "unavailable", "other"}[c]
}
