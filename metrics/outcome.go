package metrics

import (
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/token"
)

// Index is what a histogram needs to know of an outcome: its operation, its kind and its
// class. It is less than [Indexes], so that an array can hold what belongs to each.
type Index int

// Indexes is the number of indexes.
const Indexes = Index(2 * 2 * numClasses)

type class int

const (
	accepted class = iota // or issued
	invalid               // or refused
	notPermitted
	unavailable
	other // or failed
	numClasses
)

// IndexOf returns the index of an outcome.
func IndexOf(o observe.Outcome) Index {
	return Index(series(o.Operation, o.Kind)*int(numClasses) + int(classOf(o.Operation, o.Reason)))
}

// series numbers the operations and kinds.
func series(operation observe.Operation, kind token.Kind) int {
	n := int(operation&1) * 2
	if kind == token.KindZone {
		n++
	}
	return n
}

// Operation returns the operation of the index.
func (i Index) Operation() observe.Operation { return observe.Operation(i / Index(2*numClasses)) }

// Attributes returns the values of the attributes kind and class.
func (i Index) Attributes() (kind, class string) {
	return string(i.kind()), i.class().name(i.Operation())
}

func (i Index) kind() token.Kind {
	if i/Index(numClasses)%2 == 1 {
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
	case operation == observe.Issue:
		if r == token.ReasonNotIssuable || r == token.ReasonIssuingDisabled || r == token.ReasonDenied {
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
	if operation == observe.Issue {
		return [numClasses]string{"issued", "refused", "", "unavailable", "failed"}[c]
	}
	return [numClasses]string{"accepted", "invalid", "not_permitted", "unavailable", "other"}[c]
}
