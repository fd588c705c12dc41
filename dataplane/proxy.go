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

	// Inbounds holds the tags (name to value) of each inbound. A gateway has one
	// inbound with its tags.
	Inbounds []map[string]string

	Workload string

	// Type is "dataplane", "ingress" or another type. Empty means "dataplane".
	Type string
}

const typeDataplane = "dataplane"

// Permits reports whether the proxy may use the token, as Kuma documents it. Use
// it unless you need [Verified.PermitsStrictly].
//
// The mesh must be that of the token. Name, workload and type must be equal if
// the token has them. For each tag of the token, at least one inbound must
// carry the tag, and every inbound that carries it must have a value that the
// token allows. A tag without values allows nothing. The token restricts nothing
// else.
//
// The error matches token.ErrNotPermitted and names the difference.
func (t Verified) Permits(proxy Proxy) error {
	return t.permits(proxy, allInbounds)
}

// PermitsStrictly is [Verified.Permits] with a stricter rule for tags: every
// inbound must carry every tag of the token, with a value that the token
// allows. Use it if the server must not serve an inbound without the tag. A token
// with tags then refuses a proxy without inbounds.
func (t Verified) PermitsStrictly(proxy Proxy) error {
	return t.permits(proxy, eachInbound)
}

func (t Verified) permits(proxy Proxy, checkTag func(inbounds []map[string]string, tag string, allowed []string) error) error {
	if t.live == nil {
		return fmt.Errorf("%w: the Verified is empty (was an error of Validate ignored?)", token.ErrNotPermitted)
	}
	claims := &t.live.Claims().Dataplane
	for _, c := range [...]struct{ what, token, proxy string }{
		{"mesh", claims.Mesh, proxy.Mesh},
		{"name", claims.Name, proxy.Name},
		{"workload", claims.Workload, proxy.Workload},
		{"type", claims.Type, orDataplane(proxy.Type)},
	} {
		if c.token != "" && c.token != c.proxy {
			return fmt.Errorf("%w: the token's %s is %.64q, the proxy's is %.64q", token.ErrNotPermitted, c.what, c.token, c.proxy)
		}
	}
	for _, tag := range slices.Sorted(maps.Keys(claims.Tags)) {
		if err := checkTag(proxy.Inbounds, tag, claims.Tags[tag]); err != nil {
			return fmt.Errorf("%w: %w", token.ErrNotPermitted, err)
		}
	}
	return nil
}

func orDataplane(proxyType string) string {
	if proxyType == "" {
		return typeDataplane
	}
	return proxyType
}

func allInbounds(inbounds []map[string]string, tag string, allowed []string) error {
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
		return fmt.Errorf("the proxy lacks the tag %.64q", tag)
	}
	return nil
}

func eachInbound(inbounds []map[string]string, tag string, allowed []string) error {
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
