package xdsauth_test

import (
	"context"
	"errors"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/token"
)

// lookup finds the one stored proxy, if there is one.
func lookup(stored *dataplane.Proxy) func(context.Context, string, string) (dataplane.Proxy, error) {
	return func(_ context.Context, mesh, name string) (dataplane.Proxy, error) {
		if stored == nil || stored.Mesh != mesh || stored.Name != name {
			return dataplane.Proxy{}, xdsauth.ErrNotStored
		}
		return *stored, nil
	}
}

func TestATokenMustPermitTheStoredProxyToo(t *testing.T) {
	labelled := func(team, workload string) *dataplane.Proxy {
		p := dataplane.Proxy{Mesh: "default", Name: "dp-1", Labels: map[string]string{"team": team}}
		if workload != "" {
			p.Labels["kuma.io/workload"] = workload
		}
		return &p
	}
	ingress := labelled("web", "")
	ingress.Type = "ingress"
	otherwise := func(proxy dataplane.Proxy, err error) func(context.Context, string, string) (dataplane.Proxy, error) {
		return func(context.Context, string, string) (dataplane.Proxy, error) { return proxy, err }
	}
	web := token.Dataplane{Tags: map[string][]string{"team": {"web"}}}
	bare := node("default.dp-1", nil)
	for name, c := range map[string]struct {
		claims token.Dataplane
		node   *corev3.Node
		lookup func(context.Context, string, string) (dataplane.Proxy, error)
		want   codes.Code
		reason string
	}{
		"both are permitted":                         {web, described(*labelled("web", "")), lookup(labelled("web", "")), codes.OK, ""},
		"the stored one alone is permitted":          {web, described(*labelled("db", "")), lookup(labelled("web", "")), codes.PermissionDenied, `\"db\"`},
		"the node's alone is permitted":              {web, described(*labelled("web", "")), lookup(labelled("db", "")), codes.PermissionDenied, `\"db\"`},
		"the node hides the workload":                {web, described(*labelled("web", "")), lookup(labelled("web", "w")), codes.PermissionDenied, "the token names none"},
		"nothing is stored":                          {web, described(*labelled("web", "")), lookup(nil), codes.OK, ""},
		"nothing is stored, and the node's is not":   {web, described(*labelled("db", "")), lookup(nil), codes.PermissionDenied, `\"db\"`},
		"no resource, the stored one is permitted":   {web, bare, lookup(labelled("web", "")), codes.OK, ""},
		"no resource, the stored one is not":         {web, bare, lookup(labelled("db", "")), codes.PermissionDenied, `\"db\"`},
		"no resource, the stored one has a workload": {token.Dataplane{}, bare, lookup(labelled("web", "w")), codes.PermissionDenied, "the token names none"},
		"no resource, nothing is stored":             {web, bare, lookup(nil), codes.PermissionDenied, "no such proxy is stored"},
		"another proxy is stored": {web, node("default.dp-2", nil), lookup(labelled("web", "")),
			codes.PermissionDenied, "no such proxy is stored"},
		"the node claims another type":             {web, node("default.dp-1", map[string]any{"dataplane.proxyType": "ingress"}), lookup(labelled("web", "")), codes.PermissionDenied, `stored proxy is of type \"dataplane\"`},
		"the stored one has another type":          {web, described(*labelled("web", "")), lookup(ingress), codes.PermissionDenied, `stored proxy is of type \"ingress\"`},
		"a malformed resource does not fall back":  {web, ofDP1("{}"), lookup(labelled("web", "")), codes.PermissionDenied, "its type is"},
		"the lookup fails":                         {web, described(*labelled("web", "")), otherwise(dataplane.Proxy{}, errors.New("no database")), codes.Unavailable, "no database"},
		"the lookup returns nothing, and no error": {web, bare, otherwise(dataplane.Proxy{}, nil), codes.Unavailable, `returned proxy \"\"`},
		"the lookup refuses":                       {web, bare, otherwise(dataplane.Proxy{}, token.ErrNotPermitted), codes.PermissionDenied, ""},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, v variant) {
				z := newZoneCP(t, dataplane.WithBoundary(dataplane.AsKuma30()))
				z.serve(xdsauth.WithStoredProxies(c.lookup))
				p := z.open(v, z.issue(c.claims, time.Hour))
				require.NoError(t, p.request(c.node))
				_, err := p.receive()
				require.Equal(t, c.want, status.Code(err), "%v", err)
				assert.Contains(t, z.log.String(), c.reason)
			})
		})
	}
}

func TestWhatIsStoredIsComparedAgainWithEveryNode(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z := newZoneCP(t, dataplane.WithBoundary(dataplane.AsKuma30()))
		answers := make(chan string, 2)
		answers <- "web"
		answers <- "db"
		z.serve(xdsauth.WithStoredProxies(func(_ context.Context, mesh, name string) (dataplane.Proxy, error) {
			return dataplane.Proxy{Mesh: mesh, Name: name, Labels: map[string]string{"team": <-answers}}, nil
		}))
		p := z.welcome(v, z.issue(token.Dataplane{Tags: map[string][]string{"team": {"web"}}}, time.Hour), node("default.dp-1", nil))
		require.NoError(t, p.request(node("default.dp-1", nil)))
		require.Equal(t, codes.PermissionDenied, endOf(p).Code())
	})
}

func TestAServerHasOneResolver(t *testing.T) {
	z := newZoneCP(t)
	_, err := xdsauth.StreamServerInterceptor(dataplane.NewAuthenticator(z.validator),
		xdsauth.WithStoredProxies(lookup(nil)), xdsauth.WithResolver(xdsauth.ResolveNode))
	require.ErrorContains(t, err, "only one of them")
}
