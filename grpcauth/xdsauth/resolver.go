package xdsauth

import (
	"context"
	"errors"
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

// The fields of a node's metadata that [ResolveNode] reads. kuma-dp sends them.
const (
	// MetadataResource is the proxy's own resource, a string: a Dataplane in JSON, or in
	// YAML.
	MetadataResource = "dataplane.resource"
	// MetadataType is the type of the proxy, a string; "dataplane" if absent.
	MetadataType = "dataplane.proxyType"
)

// ResolveNode trusts the node's description of itself: it verifies only what the
// token restricts. A control plane that stores its proxies uses [WithStoredProxies]
// instead, or looks them up in a [Resolver].
//
// The node id is the mesh, a dot and the name. The name may contain dots, but the
// mesh may not: "a.b.c" is always proxy b.c of mesh a, never c of mesh a.b. If the
// names of your meshes have dots, write your own resolver.
//
// The metadata may have the fields [MetadataResource] and [MetadataType]. Mesh and name
// of the resource must be those of the node id. Its labels become Proxy.Labels, and
// with them the workload. The tags of its inbounds, and of its gateway as one more,
// become Proxy.Inbounds. Without a resource the proxy has neither. What the tags of the
// token are compared with is the business of dataplane.WithBoundary.
//
// The error matches token.ErrNotPermitted if the id, the metadata or the resource is
// malformed, or if they contradict each other. A resource has at most 256 KiB, 32
// levels, 128 inbounds, 128 labels, and 128 tags an inbound. It may have fields that
// ResolveNode does not read, but no field twice, and none that differs from one it
// reads only in case. YAML may have no anchors, aliases or tags. U+0085, U+2028 and U+2029
// must be escaped, since YAML 1.1 takes them for line ends.
func ResolveNode(_ context.Context, node *corev3.Node) (dataplane.Proxy, error) {
	proxy, _, err := describe(node)
	return proxy, err
}

// describe is ResolveNode. It also reports whether the node has a resource.
func describe(node *corev3.Node) (proxy dataplane.Proxy, hasResource bool, err error) {
	mesh, name, _ := strings.Cut(node.GetId(), ".")
	if mesh == "" || name == "" {
		return dataplane.Proxy{}, false, notPermitted("the node id %s is not a mesh, a dot and a name", quote(node.GetId()))
	}
	proxy = dataplane.Proxy{Mesh: mesh, Name: name}
	if proxy.Type, err = stringIn(node, MetadataType); err != nil {
		return dataplane.Proxy{}, false, err
	}
	own, hasResource, err := resourceOf(node, "Dataplane", mesh, name)
	if err != nil {
		return dataplane.Proxy{}, false, err
	}
	proxy.Inbounds, proxy.Labels = own.inbounds, own.labels
	return proxy, hasResource, nil
}

// resourceOf returns the resource in a node's metadata, if there is one, which must be
// of that type, mesh and name.
func resourceOf(node *corev3.Node, kind, mesh, name string) (own resource, ok bool, err error) {
	if _, ok := node.GetMetadata().GetFields()[MetadataResource]; !ok {
		return resource{}, false, nil
	}
	text, err := stringIn(node, MetadataResource)
	if err != nil {
		return resource{}, false, err
	}
	if own, err = parseResource(text); err != nil {
		return resource{}, false, notPermitted("metadata %q: %w", MetadataResource, err)
	}
	for _, c := range [...]struct{ what, resource, want string }{
		{"type", own.kind, kind}, {"mesh", own.mesh, mesh}, {"name", own.name, name},
	} {
		if c.resource != c.want {
			return resource{}, false, notPermitted("metadata %q: its %s is %s, want %s as of node %s",
				MetadataResource, c.what, quote(c.resource), quote(c.want), quote(node.GetId()))
		}
	}
	return own, true, nil
}

// ErrNotStored is the error of a lookup for [WithStoredProxies] if no such proxy is
// stored.
var ErrNotStored = errors.New("no such proxy is stored")

// stored resolves a node to the proxies that its token must permit: the one that the
// node describes with a resource, and the one that is stored.
func stored(lookup func(ctx context.Context, mesh, name string) (dataplane.Proxy, error)) func(context.Context, *corev3.Node) ([]dataplane.Proxy, error) {
	return func(ctx context.Context, node *corev3.Node) ([]dataplane.Proxy, error) {
		said, hasResource, err := describe(node)
		if err != nil {
			return nil, err
		}
		found, err := lookup(ctx, said.Mesh, said.Name)
		switch {
		case errors.Is(err, ErrNotStored) && hasResource:
			return []dataplane.Proxy{said}, nil
		case errors.Is(err, ErrNotStored):
			return nil, notPermitted("%w, and the node's metadata has no %q", err, MetadataResource)
		case err != nil:
			return nil, err
		case found.Mesh != said.Mesh || found.Name != said.Name:
			return nil, fmt.Errorf("the lookup of proxy %s in mesh %s returned proxy %s in mesh %s",
				quote(said.Name), quote(said.Mesh), quote(found.Name), quote(found.Mesh))
		case typeOf(said) != typeOf(found):
			return nil, notPermitted("metadata %q is %s, the stored proxy is of type %s", MetadataType, quote(typeOf(said)), quote(typeOf(found)))
		case hasResource:
			return []dataplane.Proxy{said, found}, nil
		}
		return []dataplane.Proxy{found}, nil
	}
}

func typeOf(proxy dataplane.Proxy) string {
	if proxy.Type == "" {
		return "dataplane"
	}
	return proxy.Type
}

// stringIn returns a field of a node's metadata, or "" if it is absent.
func stringIn(node *corev3.Node, field string) (string, error) {
	value, ok := node.GetMetadata().GetFields()[field]
	if !ok {
		return "", nil
	}
	text, ok := value.GetKind().(*structpb.Value_StringValue)
	if !ok {
		return "", notPermitted("metadata %q is not a string", field)
	}
	return text.StringValue, nil
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
