package xdsauth_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/proto"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/token"
)

// ofDP1 is the node default.dp-1 with a text for a resource.
func ofDP1(text string) *corev3.Node {
	return node("default.dp-1", map[string]any{"dataplane.resource": text})
}

// withFields is the resource of default.dp-1 with more fields, in JSON.
func withFields(fields string) *corev3.Node {
	return ofDP1(`{"type":"Dataplane","mesh":"default","name":"dp-1"` + fields + `}`)
}

func TestANodeIsReadFromItsIDAndResource(t *testing.T) {
	type tags = map[string]string
	bare := dataplane.Proxy{Mesh: "default", Name: "dp-1"}
	with := func(change func(*dataplane.Proxy)) dataplane.Proxy {
		proxy := bare
		change(&proxy)
		return proxy
	}
	for name, c := range map[string]struct {
		node *corev3.Node
		want dataplane.Proxy
	}{
		"an id alone":          {&corev3.Node{Id: "default.dp-1"}, bare},
		"an id with more dots": {&corev3.Node{Id: "default.dp-1.ns.x"}, dataplane.Proxy{Mesh: "default", Name: "dp-1.ns.x"}},
		"a type":               {node("default.dp-1", map[string]any{"dataplane.proxyType": "ingress", "other": 7.5}), with(func(p *dataplane.Proxy) { p.Type = "ingress" })},
		"a resource with neither inbounds nor labels, as kuma-dp sends it": {
			withFields(`,"creationTime":"0001-01-01T00:00:00Z","modificationTime":"0001-01-01T00:00:00Z","kri":"kri_dp_demo___sample_"`), bare},
		"inbounds": {withFields(`,"networking":{"address":"10.0.0.1","inbound":[
			{"port":8080,"servicePort":80,"tags":{"kuma.io/service":"web"}},{"port":9090,"tags":{"kuma.io/service":"admin","v":"1"}}],
			"outbound":[{"port":1,"tags":{"kuma.io/service":"backend"}}]}`),
			with(func(p *dataplane.Proxy) {
				p.Inbounds = []tags{{"kuma.io/service": "web"}, {"kuma.io/service": "admin", "v": "1"}}
			})},
		"a gateway": {withFields(`,"networking":{"gateway":{"type":"BUILTIN","tags":{"kuma.io/service":"edge"}}}`),
			with(func(p *dataplane.Proxy) { p.Inbounds = []tags{{"kuma.io/service": "edge"}} })},
		"a gateway beside an inbound": {withFields(`,"networking":{"gateway":{"tags":{"a":"1"}},"inbound":[{"tags":{"a":"2"}}]}`),
			with(func(p *dataplane.Proxy) { p.Inbounds = []tags{{"a": "2"}, {"a": "1"}} })},
		"labels": {withFields(`,"labels":{"kuma.io/workload":"w","team":"x"},"networking":{"inbound":[{"port":8080,"protocol":"http"}]}`),
			with(func(p *dataplane.Proxy) {
				p.Labels, p.Inbounds = tags{"kuma.io/workload": "w", "team": "x"}, []tags{nil}
			})},
		"nulls": {withFields(`,"labels":null,"networking":{"inbound":null,"gateway":null}`), bare},
		"escaped JSON": {withFields(`,"labels":{"\u0061":"\u00e9"}`),
			with(func(p *dataplane.Proxy) { p.Labels = tags{"a": "é"} })},
		"white space around": {ofDP1("\n\t " + `{"type":"Dataplane","mesh":"default","name":"dp-1"}` + "\r\n"), bare},
		"YAML": {ofDP1(`# from the file
type: Dataplane
mesh: default
name: "dp-1"
labels: {team: x, flag: "yes"}
networking:
  address: 10.0.0.1
  inbound:
    - port: 8080
      tags:
        kuma.io/service: web
    - port: 9090
      tags: {kuma.io/service: 'admin'}
`), with(func(p *dataplane.Proxy) {
			p.Inbounds = []tags{{"kuma.io/service": "web"}, {"kuma.io/service": "admin"}}
			p.Labels = tags{"team": "x", "flag": "yes"}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			proxy, err := xdsauth.ResolveNode(context.Background(), c.node)
			require.NoError(t, err)
			assert.Equal(t, c.want, proxy)
		})
	}
}

func TestANodeThatMakesNoSenseIsTurnedAway(t *testing.T) {
	field := func(name string, value any) *corev3.Node { return node("default.dp-1", map[string]any{name: value}) }
	many := func(n int, format string) string {
		var texts []string
		for i := range n {
			texts = append(texts, fmt.Sprintf(format, i))
		}
		return strings.Join(texts, ",")
	}
	yaml := func(rest string) *corev3.Node { return ofDP1("type: Dataplane\nmesh: default\nname: dp-1\n" + rest) }
	for name, c := range map[string]struct {
		node *corev3.Node
		want string
	}{
		"no id":                       {&corev3.Node{}, `"" is not`},
		"no dot":                      {&corev3.Node{Id: "dp-1"}, `"dp-1" is not`},
		"no mesh":                     {&corev3.Node{Id: ".dp-1"}, `".dp-1" is not`},
		"no name":                     {&corev3.Node{Id: "default."}, `"default." is not`},
		"a long id":                   {&corev3.Node{Id: strings.Repeat("a", 1000)}, strings.Repeat("a", 64) + `..." is not`},
		"a type that is a list":       {field("dataplane.proxyType", []any{"ingress"}), `"dataplane.proxyType" is not a string`},
		"a resource that is a struct": {field("dataplane.resource", map[string]any{"type": "Dataplane"}), `"dataplane.resource" is not a string`},
		"a resource that is null":     {field("dataplane.resource", nil), `"dataplane.resource" is not a string`},
		"an empty resource":           {ofDP1(""), "not valid YAML"},
		"a comment":                   {ofDP1("# nothing"), "not valid YAML"},
		"a word":                      {ofDP1("Dataplane"), "not an object"},
		"a list":                      {ofDP1("[]"), "not an object"},
		"a large resource":            {withFields(`,"x":"` + strings.Repeat("x", 256<<10) + `"`), "bytes long, the maximum is 262144"},

		"another mesh":     {ofDP1(`{"type":"Dataplane","mesh":"other","name":"dp-1"}`), `its mesh is "other", want "default"`},
		"no mesh in it":    {ofDP1(`{"type":"Dataplane","name":"dp-1"}`), `its mesh is "", want "default"`},
		"another name":     {ofDP1(`{"type":"Dataplane","mesh":"default","name":"dp-2"}`), `its name is "dp-2", want "dp-1"`},
		"no name in it":    {ofDP1(`{"type":"Dataplane","mesh":"default"}`), `its name is "", want "dp-1"`},
		"no type":          {ofDP1(`{"mesh":"default","name":"dp-1"}`), `its type is "", want "Dataplane"`},
		"another type":     {ofDP1(`{"type":"ZoneIngress","mesh":"default","name":"dp-1"}`), `its type is "ZoneIngress", want "Dataplane"`},
		"type as a number": {ofDP1(`{"type":1,"mesh":"default","name":"dp-1"}`), `"type" is not a string`},

		"truncated JSON":               {ofDP1(`{"type":"Dataplane","mesh":"default","name":"dp-1"`), "not valid JSON"},
		"two values of JSON":           {ofDP1(`{"type":"Dataplane","mesh":"default","name":"dp-1"}{}`), "not valid JSON"},
		"a name twice":                 {withFields(`,"name":"dp-1"`), `it has the field "name" twice`},
		"labels twice":                 {withFields(`,"labels":{"a":"1"},"labels":{"a":"2"}`), `it has the field "labels" twice`},
		"a label twice":                {withFields(`,"labels":{"a":"1","\u0061":"2"}`), `it has the field "a" twice`},
		"a name in another case":       {withFields(`,"NAME":"dp-2"`), `it has the field "NAME", which is spelled "name"`},
		"labels with a long s":         {withFields(`,"label\u017f":{"a":"1"}`), `which is spelled "labels"`},
		"networking in another case":   {withFields(`,"Networking":{}`), `which is spelled "networking"`},
		"tags in another case":         {withFields(`,"networking":{"inbound":[{"Tags":{"a":"1"}}]}`), `which is spelled "tags"`},
		"a specification":              {withFields(`,"spec":{"networking":{}}`), `has the field "spec"`},
		"labels that are a list":       {withFields(`,"labels":["a"]`), `"labels" is not an object`},
		"a label that is a number":     {withFields(`,"labels":{"a":1}`), `"labels" has a value that is not a string, for "a"`},
		"a label that is null":         {withFields(`,"labels":{"a":null}`), `for "a"`},
		"many labels":                  {withFields(`,"labels":{` + many(129, `"%d":"x"`) + `}`), `"labels" has 129 names`},
		"networking that is a string":  {withFields(`,"networking":"x"`), `"networking" is not an object`},
		"inbounds that are an object":  {withFields(`,"networking":{"inbound":{}}`), `"inbound" is not a list`},
		"an inbound that is null":      {withFields(`,"networking":{"inbound":[null]}`), `an inbound is not an object`},
		"many inbounds":                {withFields(`,"networking":{"inbound":[` + many(129, `{"port":%d}`) + `]}`), `it has 129 inbounds`},
		"a tag that is a list":         {withFields(`,"networking":{"inbound":[{"tags":{"a":["1"]}}]}`), `"tags" has a value that is not a string, for "a"`},
		"many tags":                    {withFields(`,"networking":{"inbound":[{"tags":{` + many(129, `"%d":"x"`) + `}}]}`), `"tags" has 129 names`},
		"a gateway that is a list":     {withFields(`,"networking":{"gateway":[]}`), `"gateway" is not an object`},
		"a gateway's tag in disguise":  {withFields(`,"networking":{"gateway":{"tags":{"a":true}}}`), `for "a"`},
		"deep JSON":                    {withFields(`,"x":` + strings.Repeat("[", 40) + strings.Repeat("]", 40)), "nested more than 32 levels"},
		"very deep JSON":               {withFields(`,"x":` + strings.Repeat("[", 100_000)), "not valid JSON"},
		"deep YAML":                    {yaml("x: " + strings.Repeat("[", 40) + strings.Repeat("]", 40)), "nested more than 32 levels"},
		"very deep YAML":               {yaml("x: " + strings.Repeat("[", 100_000)), "not valid YAML"},
		"two documents of YAML":        {yaml("---\nname: dp-2\n"), "more than one YAML document"},
		"an anchor and an alias":       {yaml("x: &x {a: b}\nlabels: *x\n"), "anchors, aliases and tags"},
		"a merged object":              {yaml("labels: {<<: {a: b}}\n"), "a field whose name is not a string"},
		"a YAML tag":                   {yaml("labels: {a: !!str 1}\n"), "anchors, aliases and tags"},
		"a YAML name twice":            {yaml("name: dp-1\n"), `it has the field "name" twice`},
		"a YAML label that is a bool":  {yaml("labels: {a: true}\n"), `for "a"`},
		"a bool of YAML 1.1":           {yaml("labels: {a: On}\n"), `for "a"`},
		"a YAML label that is a float": {yaml("labels: {a: 1.0}\n"), `for "a"`},
		"a field whose name is a list": {yaml("? [a]\n: b\n"), "a field whose name is not a string"},
		"merged fields, with a name that is tagged as nothing": {yaml("! \"<<\": {labels: {a: b}}\n"), `the field "<<"`},
		"merged fields of an inbound":                          {yaml("networking: {inbound: [{! '<<': {tags: {a: b}}}]}\n"), `the field "<<"`},
		"merged fields in JSON":                                {withFields(`,"<<":{"labels":{"a":"b"}}`), `the field "<<"`},
		"a line end of YAML 1.1 in a tag":                      {withFields(`,"labels":{"a":"b` + "\u0085" + `c"}`), "it has U+0085"},
		"a line end of YAML 1.1 after a comment":               {yaml("# as before\u2028labels: {a: b}\n"), "it has U+2028"},
		"a line end of YAML 1.1 in a field that is not read":   {withFields(`,"x":"` + "\u2029" + `"`), "it has U+2029"},
		"a field whose name is a bool":                         {yaml("labels: {y: a}\n"), "a field whose name is not a string"},
	} {
		t.Run(name, func(t *testing.T) {
			proxy, err := xdsauth.ResolveNode(context.Background(), c.node)
			require.ErrorIs(t, err, token.ErrNotPermitted)
			require.ErrorContains(t, err, c.want)
			assert.Less(t, len(err.Error()), 1000)
			assert.Empty(t, proxy)
		})
	}
}

func FuzzNoNodeResolvesToAnotherMeshOrNameThanItsIDHas(f *testing.F) {
	for _, n := range []*corev3.Node{
		dp1(map[string]string{"a": "1"}, map[string]string{"a": "2"}),
		withFields(`,"labels":{"kuma.io/workload":"w"},"networking":{"gateway":{"tags":{"a":"1"}}}`),
		ofDP1("type: Dataplane\nmesh: default\nname: dp-1\nlabels: {a: b}\nnetworking:\n  inbound:\n  - tags: {a: 'yes'}\n"),
		node("default.dp-1.x", map[string]any{"dataplane.proxyType": "ingress"}),
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
		require.NotEmpty(t, proxy.Name)
		require.Equal(t, n.GetMetadata().GetFields()["dataplane.proxyType"].GetStringValue(), proxy.Type)
		require.LessOrEqual(t, len(proxy.Inbounds), 129) // with a gateway
	})
}

// A server may read the resource again, with the usual parsers, which fold case and take
// the last of two fields. It must not find another proxy than the token was compared with.
func FuzzTheUsualParsersFindNoOtherProxyInAResource(f *testing.F) {
	for _, text := range []string{
		dataplaneJSON(dataplane.Proxy{Mesh: "default", Name: "dp-1", Inbounds: []map[string]string{{"a": "1"}, {"a": "2"}}, Labels: map[string]string{"b": "\u2028<"}}),
		`{"type":"Dataplane","mesh":"default","name":"dp-1","labels":null,"networking":{"gateway":{"tags":{"a":"1"}}}}`,
		`{"type":"Dataplane","mesh":"default","name":"dp-1","networking":{"inbound":[{"tags":{"\ud800":"\udc00"}}]}}`,
		"type: Dataplane\nmesh: default\nname: dp-1\nlabels: {a: 'b', \"c\": on}\nnetworking:\n  inbound:\n  - tags: {a: 'yes', b: |-\n      two\n      lines\n     }\n",
		"{type: Dataplane, mesh: default, name: dp-1}",
		`{"type":"Dataplane","mesh":"default","name":"dp-1","labels":{"a":"b ` + "\u0085" + `c","\u2028":"\u0085"}}`,
		"type: Dataplane\nmesh: default\nname: dp-1 # of shop\u2029labels: {a: b}\n",
		"type: Dataplane\nmesh: default\nname: dp-1\nNAME: dp-2\nlabels: &x {a: b}\n",
	} {
		f.Add(text)
	}
	type tags = map[string]string
	type dataplaneResource struct {
		Type, Mesh, Name string
		Labels           tags
		Networking       struct {
			Inbound []struct{ Tags tags }
			Gateway *struct{ Tags tags }
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) {
			return // no string of protobuf
		}
		proxy, err := xdsauth.ResolveNode(context.Background(), ofDP1(text))
		if err != nil {
			require.ErrorIs(t, err, token.ErrNotPermitted)
			return
		}
		for name, parse := range map[string]func([]byte, any) error{"JSON": json.Unmarshal, "YAML": yaml.Unmarshal} {
			var other dataplaneResource
			if parse([]byte(text), &other) != nil {
				continue // as with YAML that is read as JSON
			}
			require.Equal(t, [3]string{"Dataplane", proxy.Mesh, proxy.Name}, [3]string{other.Type, other.Mesh, other.Name}, name)
			sameTags(t, proxy.Labels, other.Labels)
			inbounds := other.Networking.Inbound
			if other.Networking.Gateway != nil {
				inbounds = append(inbounds, *other.Networking.Gateway)
			}
			require.Len(t, proxy.Inbounds, len(inbounds), name)
			for i := range inbounds {
				sameTags(t, proxy.Inbounds[i], inbounds[i].Tags)
			}
		}
	})
}

// sameTags takes none and an empty map for the same.
func sameTags(t *testing.T, want, got map[string]string) {
	require.Len(t, got, len(want))
	for name, value := range want {
		require.Equal(t, value, got[name])
	}
}

func BenchmarkResolveNode(b *testing.B) {
	var inbounds, outbounds []string
	for i := range 3 {
		inbounds = append(inbounds, fmt.Sprintf(`{"port":%d,"servicePort":80,"tags":{"kuma.io/service":"web-%d","kuma.io/protocol":"http"}}`, 8080+i, i))
	}
	for i := range 20 {
		outbounds = append(outbounds, fmt.Sprintf(`{"port":%d,"tags":{"kuma.io/service":"backend-%d"}}`, 10000+i, i))
	}
	n := withFields(`,"labels":{"kuma.io/workload":"w"},"networking":{"inbound":[` + strings.Join(inbounds, ",") + `],"outbound":[` + strings.Join(outbounds, ",") + `]}`)
	b.SetBytes(int64(len(n.Metadata.Fields["dataplane.resource"].GetStringValue())))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := xdsauth.ResolveNode(context.Background(), n); err != nil {
			b.Fatal(err)
		}
	}
}
