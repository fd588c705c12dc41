package httpapi

import (
	"errors"
	"slices"
)

// typeDataplane is the type of a proxy that is neither an ingress nor an egress.
const typeDataplane = "dataplane"

// Rules say which requests for tokens are good, where the versions of Kuma disagree.
// Choose a ready value, [AsKuma210] or [AsKuma30], and pass it to [WithRules].
//
// The zero Rules are those of AsKuma30.
type Rules struct {
	// Types lists the types of proxy that a dataplane token may name. Empty means
	// "dataplane" only. A request without a type is good under all rules.
	Types []string

	// ScopeRequired refuses a request for a zone token without a scope. If it is false,
	// such a request is one for scope cp.
	ScopeRequired bool
}

// AsKuma210 are the rules of Kuma 2.10 to 2.14: types dataplane, ingress and egress, and no
// zone token without a scope.
//
// Those versions make a token without a scope if the request has an empty list. Such a
// token opens nothing, so the request is refused, as under all rules.
func AsKuma210() Rules {
	return Rules{Types: []string{typeDataplane, "ingress", "egress"}, ScopeRequired: true}
}

// AsKuma30 are the rules of Kuma 3: type dataplane only, and a request for a zone token
// without a scope is one for scope cp.
//
// Kuma 3 makes a token without a scope instead, which opens nothing. kumactl sends such a
// request for the token of a zone control plane, which needs scope cp.
func AsKuma30() Rules {
	return Rules{Types: []string{typeDataplane}}
}

// WithRules sets which requests for tokens are good. Without it the zero [Rules] hold.
func WithRules(rules Rules) Option {
	rules.Types = slices.Clone(rules.Types)
	return func(h *handler) error {
		if slices.Contains(rules.Types, "") {
			return errors.New(`WithRules: a type is empty (the usual one is "dataplane")`)
		}
		h.rules = rules
		return nil
	}
}

// accepts reports whether a token may name a type of proxy.
func (r Rules) accepts(proxyType string) bool {
	if proxyType == "" {
		return true
	}
	if len(r.Types) == 0 {
		return proxyType == typeDataplane
	}
	return slices.Contains(r.Types, proxyType)
}
