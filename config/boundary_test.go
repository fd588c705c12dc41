package config_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
)

// held is a token, and the proxy that it is held against.
type held struct {
	name  string
	token token.Dataplane
	proxy dataplane.Proxy
}

// boundaryCases tell the boundaries apart.
var boundaryCases = []held{
	{"tags, a proxy with inbounds", token.Dataplane{Tags: map[string][]string{"team": {"web"}}},
		dataplane.Proxy{Inbounds: []map[string]string{{"team": "web"}}}},
	{"tags, a proxy with labels", token.Dataplane{Tags: map[string][]string{"team": {"web"}}},
		dataplane.Proxy{Labels: map[string]string{"team": "web"}}},
	{"tags, a proxy with both, and a label of another value", token.Dataplane{Tags: map[string][]string{"team": {"web"}}},
		dataplane.Proxy{Inbounds: []map[string]string{{"team": "web"}}, Labels: map[string]string{"team": "db"}}},
	{"no workload, a proxy with one", token.Dataplane{}, dataplane.Proxy{Labels: map[string]string{"kuma.io/workload": "shop"}}},
	{"type ingress, an ingress", token.Dataplane{Type: "ingress"}, dataplane.Proxy{Type: "ingress"}},
	{"name, a proxy of that name", token.Dataplane{Name: "dp-1"}, dataplane.Proxy{}},
	{"name, a proxy of another name", token.Dataplane{Name: "dp-2"}, dataplane.Proxy{}},
}

// accepted returns which cases the authenticator of a configuration accepts, from the token
// of its issuer to the proxy.
func accepted(t *testing.T, c config.Config, options ...config.Option) []string {
	t.Helper()
	store := newStore(t)
	issuer, err := c.NewDataplaneIssuer(store)
	require.NoError(t, err)
	proxies, err := c.NewProxyAuthenticator(store, append(options, quiet())...)
	require.NoError(t, err)
	defer proxies.Close()
	var names []string
	for _, h := range boundaryCases {
		h.token.Mesh = "default"
		h.proxy.Mesh, h.proxy.Name = "default", "dp-1"
		issued, err := issuer.Issue(t.Context(), h.token, time.Hour)
		require.NoError(t, err)
		session, err := proxies.Authenticate(t.Context(), issued.Token)
		require.NoError(t, err)
		if err := session.Permits(h.proxy); err == nil {
			names = append(names, h.name)
		} else {
			require.ErrorIs(t, err, token.ErrNotPermitted, h.name)
		}
	}
	return names
}

func TestKumaVersionSaysWhatTokensAreComparedWith(t *testing.T) {
	const (
		byInbounds, byLabels, byBoth = "tags, a proxy with inbounds", "tags, a proxy with labels", "tags, a proxy with both, and a label of another value"
		noWorkload, ingress, name    = "no workload, a proxy with one", "type ingress, an ingress", "name, a proxy of that name"
	)
	unsaid := []string{byInbounds, name}
	as210 := []string{byInbounds, byBoth, noWorkload, ingress, name}
	as214 := []string{byInbounds, byBoth, ingress, name}
	as30 := []string{byLabels, name}
	for version, want := range map[string][]string{
		"":    unsaid,
		"2.7": as210, "2.10": as210, "2.12": as210, "2.12.11": as210, "2.13.0": as210, "2.13.9": as210, "2.14.0": as210, "2.14.1": as210,
		"2": as214, "2.13": as214, "2.13.10": as214, "2.13.12": as214, "2.14": as214, "2.14.2": as214, "2.14.7": as214, "2.15.0": as214,
		"3": as30, "3.0": as30, "3.0.1": as30, "3.1": as30,
	} {
		c := read(t, set("meshpass.kumaVersion", version))
		assert.Equal(t, want, accepted(t, c), "version %q", version)
		assert.Equal(t, as30, accepted(t, c, config.WithValidatorOptions(dataplane.WithBoundary(dataplane.AsKuma30()))), "the caller's boundary, version %q", version)
	}
	fromVariable, err := config.Read(nil, variables("MESHPASS_KUMA_VERSION", "3.0"))
	require.NoError(t, err)
	assert.Equal(t, as30, accepted(t, fromVariable))
}
