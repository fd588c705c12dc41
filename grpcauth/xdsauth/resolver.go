package xdsauth

import (
	"context"
	"fmt"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
)

// Resolver returns the proxy for a node, as the control plane knows it. The
// interceptor calls it for every request with a node; the node always has an id. It
// must be safe for concurrent use. The context is that of the stream.
//
// An error that matches token.ErrNotPermitted, for example because there is no such
// proxy, ends the stream as PermissionDenied. Any other error means that the lookup
// failed. It ends the stream as Unavailable, so that the proxy retries.
type Resolver func(ctx context.Context, node *corev3.Node) (dataplane.Proxy, error)

// The fields of a node's metadata that [ResolveNode] reads.
const (
	MetadataMesh     = "dataplane.mesh"      // string, optional; must be the mesh of the node id
	MetadataName     = "dataplane.name"      // string, optional; must be the name of the node id
	MetadataTags     = "dataplane.tags"      // struct: tag name to a value, or to a list of values
	MetadataWorkload = "dataplane.workload"  // string
	MetadataType     = "dataplane.proxyType" // string; "dataplane" if absent
)

const (
	maxTags     = 128
	maxInbounds = 128
)

// ResolveNode trusts the node's description of itself: it verifies only what the
// token restricts. A control plane that has records of its proxies should look them
// up instead.
//
// The node id is the mesh, a dot and the name. The name may contain dots, but the
// mesh may not: "a.b.c" is always proxy b.c of mesh a, never c of mesh a.b. If the
// names of your meshes have dots, write your own resolver. The tags are in the
// node's metadata, in the fields above: at most 128 tags, each a value or a list of
// 1 to 128 values. A single value applies to every inbound. Each value of a list
// applies to one inbound, in order; there are as many inbounds as the longest list
// has values.
//
// The error matches token.ErrNotPermitted if the id or the metadata is
// malformed, or if they contradict each other.
func ResolveNode(_ context.Context, node *corev3.Node) (dataplane.Proxy, error) {
	mesh, name, _ := strings.Cut(node.GetId(), ".")
	if mesh == "" || name == "" {
		return dataplane.Proxy{}, notPermitted("the node id %s is not a mesh, a dot and a name", quote(node.GetId()))
	}
	fields := node.GetMetadata().GetFields()
	for field, id := range map[string]string{MetadataMesh: mesh, MetadataName: name} {
		said, err := stringIn(fields, field)
		if err != nil {
			return dataplane.Proxy{}, err
		}
		if said != "" && said != id {
			return dataplane.Proxy{}, notPermitted("metadata %q is %s, the node id says %s", field, quote(said), quote(id))
		}
	}
	proxy := dataplane.Proxy{Mesh: mesh, Name: name}
	var err error
	if proxy.Workload, err = stringIn(fields, MetadataWorkload); err != nil {
		return dataplane.Proxy{}, err
	}
	if proxy.Type, err = stringIn(fields, MetadataType); err != nil {
		return dataplane.Proxy{}, err
	}
	if proxy.Inbounds, err = inboundsIn(fields); err != nil {
		return dataplane.Proxy{}, err
	}
	return proxy, nil
}

// stringIn returns a field of the metadata, or "" if it is absent.
func stringIn(fields map[string]*structpb.Value, field string) (string, error) {
	value, ok := fields[field]
	if !ok {
		return "", nil
	}
	text, ok := value.GetKind().(*structpb.Value_StringValue)
	if !ok {
		return "", notPermitted("metadata %q is not a string", field)
	}
	return text.StringValue, nil
}

func inboundsIn(fields map[string]*structpb.Value) ([]map[string]string, error) {
	value, ok := fields[MetadataTags]
	if !ok {
		return nil, nil
	}
	tags, ok := value.GetKind().(*structpb.Value_StructValue)
	if !ok {
		return nil, notPermitted("metadata %q is not a struct", MetadataTags)
	}
	if n := len(tags.StructValue.GetFields()); n > maxTags {
		return nil, notPermitted("metadata %q has %d tags, the maximum is %d", MetadataTags, n, maxTags)
	}
	count := 1
	for tag, value := range tags.StructValue.GetFields() {
		if list := value.GetListValue(); list != nil {
			if n := len(list.GetValues()); n == 0 || n > maxInbounds {
				return nil, notPermitted("tag %s has %d values, want 1 to %d", quote(tag), n, maxInbounds)
			}
			count = max(count, len(list.GetValues()))
		}
	}
	inbounds := make([]map[string]string, count)
	for i := range inbounds {
		inbounds[i] = make(map[string]string)
		for tag, value := range tags.StructValue.GetFields() {
			if list := value.GetListValue(); list != nil {
				if i >= len(list.GetValues()) {
					continue
				}
				value = list.GetValues()[i]
			}
			text, ok := value.GetKind().(*structpb.Value_StringValue)
			if !ok {
				return nil, notPermitted("tag %s has a value that is not a string", quote(tag))
			}
			inbounds[i][tag] = text.StringValue
		}
	}
	return inbounds, nil
}

func notPermitted(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{token.ErrNotPermitted}, args...)...)
}

// quote escapes and truncates text from a peer, for errors.
func quote(text string) string { return fmt.Sprintf("%q", shorten(text)) }

func shorten(text string) string {
	const limit = 64
	if len(text) > limit {
		return text[:limit] + "..."
	}
	return text
}
