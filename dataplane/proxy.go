package dataplane

import (
	"fmt"
	"maps"
	"slices"

	"github.com/meshpass/meshpass/token"
)

// Proxy describes, as the control plane knows it, a data plane proxy that connects.
type Proxy struct {
	Mesh string
	Name string

	// Inbounds holds the tags (name to value) of each inbound, as in Kuma 2. A gateway
	// has one inbound with its tags.
	Inbounds []map[string]string

	// Labels holds the labels (name to value) of the proxy.
	Labels map[string]string

	// Workload is the workload of the proxy. If it is empty, the label
	// [LabelWorkload] counts. If both are set, they must be equal.
	Workload string

	// Type is "dataplane", "ingress" or another type. Empty means "dataplane".
	Type string
}

// LabelWorkload is the label that names the workload of a proxy.
const LabelWorkload = "kuma.io/workload"

const typeDataplane = "dataplane"

// Permits reports whether the proxy may use the token, by the [Boundary] of the
// validator:
//
//   - The mesh must be that of the token. Name and workload must be equal if the
//     token has them. The type must be that of the token; a token without a type is
//     for type "dataplane".
//   - The boundary must accept the type of the proxy.
//   - If the proxy has a workload and the token does not name one, the boundary
//     decides.
//   - Each tag of the token must be on the inbounds or among the labels of the proxy,
//     as the boundary says, with a value that the token allows. A tag without values
//     allows nothing.
//
// The token restricts nothing else. The error matches token.ErrNotPermitted and names
// the difference.
func (t Verified) Permits(proxy Proxy) error {
	if t.live == nil {
		return fmt.Errorf("%w: the Verified is empty (was an error of Validate ignored?)", token.ErrNotPermitted)
	}
	claims := t.live.Claims().Dataplane
	if err := t.boundary.permits(&claims, proxy); err != nil {
		return t.live.NotPermitted(err)
	}
	return nil
}

// PermitsUnverified is [Verified.Permits] for claims that no validator has checked. It
// lets no proxy in: anyone can write claims. Tools that say what a control plane would
// make of a token use it.
func (b Boundary) PermitsUnverified(claims token.Dataplane, proxy Proxy) error {
	return b.permits(&claims, proxy)
}

func (b *Boundary) permits(claims *token.Dataplane, proxy Proxy) error {
	workload, labelled := proxy.Workload, proxy.Labels[LabelWorkload]
	switch {
	case workload == "":
		workload = labelled
	case labelled != "" && labelled != workload:
		return fmt.Errorf("%w: the proxy's workload is %.64q, its label %s is %.64q", token.ErrNotPermitted, workload, LabelWorkload, labelled)
	}
	proxyType := orDataplane(proxy.Type)
	for _, c := range [...]struct{ what, token, proxy string }{
		{"mesh", claims.Mesh, proxy.Mesh},
		{"name", claims.Name, proxy.Name},
		{"workload", claims.Workload, workload},
		{"type", orDataplane(claims.Type), proxyType},
	} {
		if c.token != c.proxy && (c.token != "" || c.what == "mesh") {
			return fmt.Errorf("%w: the token's %s is %.64q, the proxy's is %.64q", token.ErrNotPermitted, c.what, c.token, c.proxy)
		}
	}
	if !b.accepts(proxyType) {
		return fmt.Errorf("%w: proxies of type %.64q are not accepted (WithBoundary sets Boundary.Types)", token.ErrNotPermitted, proxyType)
	}
	if claims.Workload == "" && workload != "" && !b.WorkloadOptional {
		return fmt.Errorf("%w: the proxy's workload is %.64q, the token names none (WithBoundary sets Boundary.WorkloadOptional)",
			token.ErrNotPermitted, workload)
	}
	for _, tag := range slices.Sorted(maps.Keys(claims.Tags)) {
		if err := b.Tags.check(proxy, tag, claims.Tags[tag]); err != nil {
			return fmt.Errorf("%w: %w", token.ErrNotPermitted, err)
		}
	}
	return nil
}

// check compares a tag of a token with a proxy.
func (r TagRule) check(proxy Proxy, tag string, allowed []string) error {
	switch {
	case r == TagsOnLabels:
		return onLabels(proxy.Labels, tag, allowed)
	case r == TagsOnEachInbound:
		return onEachInbound(proxy.Inbounds, tag, allowed)
	case r == TagsUndecided && len(proxy.Labels) > 0:
		return fmt.Errorf("the token has the tag %.64q and the proxy has labels: pass WithBoundary to say whether tags are compared with labels (AsKuma30) or inbounds (AsKuma210, AsKuma214)", tag)
	}
	return onInbounds(proxy.Inbounds, tag, allowed)
}

func orDataplane(proxyType string) string {
	if proxyType == "" {
		return typeDataplane
	}
	return proxyType
}

func onInbounds(inbounds []map[string]string, tag string, allowed []string) error {
	has := false
	for _, tags := range inbounds {
		value, ok := tags[tag]
		if !ok {
			continue
		}
		has = true
		if !slices.Contains(allowed, value) {
			return fmt.Errorf("tag %.64q has the value %.64q, the token allows %s", tag, value, some(allowed))
		}
	}
	if !has {
		return fmt.Errorf("the proxy lacks the tag %.64q on its inbounds", tag)
	}
	return nil
}

func onLabels(labels map[string]string, tag string, allowed []string) error {
	value, ok := labels[tag]
	if !ok {
		return fmt.Errorf("the proxy lacks the label %.64q, which is a tag of the token", tag)
	}
	if !slices.Contains(allowed, value) {
		return fmt.Errorf("label %.64q has the value %.64q, the token allows %s", tag, value, some(allowed))
	}
	return nil
}

func onEachInbound(inbounds []map[string]string, tag string, allowed []string) error {
	if len(inbounds) == 0 {
		return fmt.Errorf("the proxy has no inbound, so it lacks the tag %.64q", tag)
	}
	for i, tags := range inbounds {
		value, ok := tags[tag]
		if !ok {
			return fmt.Errorf("inbound %d lacks the tag %.64q", i, tag)
		}
		if !slices.Contains(allowed, value) {
			return fmt.Errorf("inbound %d has tag %.64q with the value %.64q, the token allows %s", i, tag, value, some(allowed))
		}
	}
	return nil
}

// some quotes the first values of a list.
func some(values []string) string {
	const shown = 8
	if len(values) > shown {
		return fmt.Sprintf("%.64q and %d more", values[:shown], len(values)-shown)
	}
	return fmt.Sprintf("%.64q", values)
}
