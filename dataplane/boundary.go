package dataplane

import (
	"errors"
	"fmt"
	"slices"
)

// Boundary says what a token is compared with when a proxy connects: see
// [Verified.Permits]. The versions of Kuma disagree about it. Choose a ready value,
// [AsKuma210], [AsKuma214] or [AsKuma30], and pass it to [WithBoundary]; change a field
// where you need another rule.
//
// The zero Boundary is the default. It compares tags with inbounds. It refuses a token
// with tags if the proxy has labels, a token without a workload if the proxy has one,
// and every type other than "dataplane", with an error that names WithBoundary.
type Boundary struct {
	// Tags says what the tags of a token are compared with. The form in which a proxy
	// describes itself never changes that.
	Tags TagRule

	// WorkloadOptional accepts a token without a workload where the proxy has one. If
	// it is false, such a proxy needs a token that names its workload. Leave it false
	// where certificates or policies rest on the workload: with a token that does not
	// name it, a proxy can claim any.
	WorkloadOptional bool

	// Types lists the types of proxy that may connect with a dataplane token. Empty
	// means "dataplane" only. A type other than "dataplane" must also be the Type of
	// the token.
	Types []string
}

// TagRule says what the tags of a token are compared with.
type TagRule int

const (
	// TagsUndecided is TagsOnInbounds, but refuses a token with tags if the proxy has
	// labels.
	TagsUndecided TagRule = iota

	// TagsOnInbounds is the rule of Kuma 2. At least one inbound must have each tag of
	// the token, and every inbound that has it must have a value that the token allows.
	TagsOnInbounds

	// TagsOnEachInbound is stricter than Kuma 2: every inbound must have each tag of
	// the token, with a value that the token allows. A proxy without inbounds is
	// refused. Use it if the server must not serve an inbound without the tag.
	TagsOnEachInbound

	// TagsOnLabels is the rule of Kuma 3: each tag of the token must be a label of the
	// proxy, with a value that the token allows. Inbounds do not count.
	TagsOnLabels
)

// AsKuma210 is the boundary of Kuma 2.10 to 2.13.9, 2.14.0 and 2.14.1: tags on
// inbounds, no duty to name the workload.
//
// Those versions do not compare the type of a token, and before 2.13 not its workload.
// With this boundary both are compared, and an ingress or egress needs a token of that
// type.
func AsKuma210() Boundary {
	return Boundary{Tags: TagsOnInbounds, WorkloadOptional: true, Types: kuma2Types()}
}

// AsKuma214 is the boundary of Kuma 2.13.10, 2.14.2 and later versions of 2.13 and
// 2.14. It is [AsKuma210], but a proxy with a workload needs a token that names it.
//
// Kuma asks for that only where the identity of the proxy rests on its workload, which
// is the default on Universal. Set WorkloadOptional if that is not so in your mesh.
func AsKuma214() Boundary {
	return Boundary{Tags: TagsOnInbounds, Types: kuma2Types()}
}

// AsKuma30 is the boundary of Kuma 3: tags on labels, a proxy with a workload needs a
// token that names it, and "dataplane" is the only type. An ingress or egress is
// refused, whatever its token says. For WorkloadOptional see [AsKuma214].
func AsKuma30() Boundary {
	return Boundary{Tags: TagsOnLabels, Types: []string{typeDataplane}}
}

func kuma2Types() []string { return []string{typeDataplane, "ingress", "egress"} }

// WithBoundary sets what tokens are compared with by [Verified.Permits]. Without it
// the zero [Boundary] holds.
func WithBoundary(boundary Boundary) ValidatorOption {
	boundary.Types = slices.Clone(boundary.Types)
	return validatorOption(func(c *validatorConfig) error {
		if boundary.Tags < TagsUndecided || boundary.Tags > TagsOnLabels {
			return fmt.Errorf("WithBoundary: there is no TagRule %d", boundary.Tags)
		}
		if slices.Contains(boundary.Types, "") {
			return errors.New(`WithBoundary: a type is empty (the usual one is "dataplane")`)
		}
		c.boundary = &boundary
		return nil
	})
}

// accepts reports whether proxies of a type may connect at all.
func (b *Boundary) accepts(proxyType string) bool {
	if len(b.Types) == 0 {
		return proxyType == typeDataplane
	}
	return slices.Contains(b.Types, proxyType)
}
