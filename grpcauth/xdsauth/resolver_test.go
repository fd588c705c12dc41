package xdsauth_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/token"
)

func TestANodeIsReadFromItsIDAndMetadata(t *testing.T) {
	tags := func(tags map[string]any) map[string]any { return map[string]any{"dataplane.tags": tags} }
	for name, c := range map[string]struct {
		node *corev3.Node
		want dataplane.Proxy
	}{
		"an id alone":          {&corev3.Node{Id: "default.dp-1"}, dataplane.Proxy{Mesh: "default", Name: "dp-1"}},
		"an id with more dots": {&corev3.Node{Id: "default.dp-1.ns.x"}, dataplane.Proxy{Mesh: "default", Name: "dp-1.ns.x"}},
		"everything": {node("default.dp-1", map[string]any{
			"dataplane.mesh": "default", "dataplane.name": "dp-1", "dataplane.workload": "w", "dataplane.proxyType": "ingress",
			"dataplane.tags": map[string]any{"a": "1"}, "other": 7.5}),
			dataplane.Proxy{Mesh: "default", Name: "dp-1", Workload: "w", Type: "ingress", Inbounds: []map[string]string{{"a": "1"}}}},
		"no tags": {node("default.dp-1", tags(nil)), dataplane.Proxy{Mesh: "default", Name: "dp-1", Inbounds: []map[string]string{{}}}},
		"lists": {node("default.dp-1", tags(map[string]any{"a": []any{"1", "2", "3"}, "b": []any{"1"}, "c": "1"})),
			dataplane.Proxy{Mesh: "default", Name: "dp-1", Inbounds: []map[string]string{{"a": "1", "b": "1", "c": "1"}, {"a": "2", "c": "1"}, {"a": "3", "c": "1"}}}},
	} {
		t.Run(name, func(t *testing.T) {
			proxy, err := xdsauth.ResolveNode(context.Background(), c.node)
			require.NoError(t, err)
			assert.Equal(t, c.want, proxy)
		})
	}
}

func TestANodeThatMakesNoSenseIsTurnedAway(t *testing.T) {
	many := map[string]any{}
	var long []any
	for i := range 129 {
		many[fmt.Sprint(i)] = "x"
		long = append(long, "x")
	}
	field := func(name string, value any) *corev3.Node { return node("default.dp-1", map[string]any{name: value}) }
	for name, c := range map[string]struct {
		node *corev3.Node
		want string
	}{
		"no node":                 {nil, `the node id "" is not`},
		"an empty id":             {&corev3.Node{}, `the node id "" is not`},
		"no dot":                  {&corev3.Node{Id: "default"}, `"default" is not`},
		"no mesh":                 {&corev3.Node{Id: ".dp-1"}, `".dp-1" is not`},
		"no name":                 {&corev3.Node{Id: "default."}, `"default." is not`},
		"control characters":      {&corev3.Node{Id: "a\nb"}, `"a\nb" is not`},
		"a long id":               {&corev3.Node{Id: strings.Repeat("a", 1000)}, strings.Repeat("a", 64) + `..." is not`},
		"another mesh":            {field("dataplane.mesh", "other"), `"dataplane.mesh" is "other", the node id says "default"`},
		"another name":            {field("dataplane.name", "dp-2"), `"dataplane.name" is "dp-2", the node id says "dp-1"`},
		"a mesh that is a number": {field("dataplane.mesh", 7), `"dataplane.mesh" is not a string`},
		"a workload that is null": {field("dataplane.workload", nil), `"dataplane.workload" is not a string`},
		"a type that is a list":   {field("dataplane.proxyType", []any{"ingress"}), `"dataplane.proxyType" is not a string`},
		"tags that are a list":    {field("dataplane.tags", []any{"a"}), `"dataplane.tags" is not a struct`},
		"a tag that is a number":  {field("dataplane.tags", map[string]any{"a": 1}), `tag "a" has a value that is not a string`},
		"a list with a bool":      {field("dataplane.tags", map[string]any{"a": []any{"x", true}}), `tag "a" has a value that is not a string`},
		"a list without values":   {field("dataplane.tags", map[string]any{"a": []any{}}), `tag "a" has 0 values`},
		"a long list":             {field("dataplane.tags", map[string]any{"a": long}), `tag "a" has 129 values`},
		"many tags":               {field("dataplane.tags", many), "has 129 tags"},
	} {
		t.Run(name, func(t *testing.T) {
			proxy, err := xdsauth.ResolveNode(context.Background(), c.node)
			require.ErrorIs(t, err, token.ErrNotPermitted)
			require.ErrorContains(t, err, c.want)
			assert.Empty(t, proxy)
		})
	}
}

func FuzzNoNodeResolvesToAnotherMeshOrNameThanItsIDHas(f *testing.F) {
	for _, n := range []*corev3.Node{
		node("default.dp-1", map[string]any{"dataplane.tags": map[string]any{"a": []any{"1", "2"}}, "dataplane.name": "dp-1"}),
		node("default.dp-1.x", map[string]any{"dataplane.mesh": "other"}),
	} {
		data, err := proto.Marshal(n)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var n corev3.Node
		if proto.Unmarshal(data, &n) != nil {
			return
		}
		proxy, err := xdsauth.ResolveNode(context.Background(), &n)
		if err != nil {
			require.ErrorIs(t, err, token.ErrNotPermitted)
			return
		}
		require.Equal(t, n.Id, proxy.Mesh+"."+proxy.Name)
		require.NotContains(t, proxy.Mesh, ".")
		require.LessOrEqual(t, len(proxy.Inbounds), 128)
	})
}
