package xdsauth_test

import (
	"context"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/dataplane/insecure"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/internal/test/kumacases"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// answer opens a stream with values of "authorization" and a node, and returns how the
// server answers.
func (z *zoneCP) answer(v variant, n *corev3.Node, authorization ...string) codes.Code {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	z.tb.Cleanup(cancel)
	for _, value := range authorization {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
	}
	p, err := v.open(ctx, z.conn)
	require.NoError(z.tb, err)
	_ = p.request(n) // io.EOF if the stream has ended
	_, err = p.receive()
	return status.Code(err)
}

func TestKumaOnTheWireATokenIsBareAndStandsOnceForAStream(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z := newZoneCP(t)
		z.serve()
		raw, n := z.issue(token.Dataplane{}, time.Hour), node("default.dp-1", nil)
		assert.Equal(t, codes.OK, z.answer(v, n, raw))
		assert.Equal(t, codes.OK, z.answer(v, n, "Bearer "+raw), "Kuma takes this for a part of the token")
		assert.Equal(t, codes.Unauthenticated, z.answer(v, n, raw, raw))
		assert.Equal(t, codes.Unauthenticated, z.answer(v, n))

		p := z.welcome(v, raw, n)
		require.NoError(t, p.request(nil), "later requests have neither the token nor, from 3.0 on, the node")
		z.publish("2")
		for cluster := ""; cluster != "version-2"; {
			var err error
			cluster, err = p.receive()
			require.NoError(t, err)
		}
	})
}

func TestKumaTheResourceIsReadInTheFormsOf2And3AndTheOperatorSaysWhichCounts(t *testing.T) {
	in2 := described(dataplane.Proxy{Mesh: "default", Name: "dp-1", Inbounds: []map[string]string{{"team": "web"}}})
	in3 := described(dataplane.Proxy{Mesh: "default", Name: "dp-1", Labels: map[string]string{"team": "web"}, Inbounds: []map[string]string{nil}})
	inBoth(t, func(t *testing.T, v variant) {
		for _, c := range []struct {
			boundary dataplane.Boundary
			node     *corev3.Node
			want     codes.Code
		}{
			{dataplane.AsKuma210(), in2, codes.OK},
			{dataplane.AsKuma210(), in3, codes.PermissionDenied},
			{dataplane.AsKuma214(), in2, codes.OK},
			{dataplane.AsKuma30(), in3, codes.OK},
			{dataplane.AsKuma30(), in2, codes.PermissionDenied},
			{dataplane.Boundary{}, in2, codes.OK},
			{dataplane.Boundary{}, in3, codes.PermissionDenied},
		} {
			z := newZoneCP(t, dataplane.WithBoundary(c.boundary))
			z.serve()
			raw := z.issue(token.Dataplane{Tags: map[string][]string{"team": {"web"}}}, time.Hour)
			assert.Equal(t, c.want, z.answer(v, c.node, raw), "%+v: %s", c.boundary, c.node)
		}
	})
}

func TestKumaZoneProxiesHaveZoneTokensIn2AndDataplaneTokensIn3(t *testing.T) {
	ordinary := withFields(`,"networking":{"address":"10.0.0.1",
		"listeners":[{"type":"ZoneIngress","address":"10.0.0.1","port":10001}]}`)
	inBoth(t, func(t *testing.T, v variant) {
		zones := newZoneTokens(t)
		z := newZoneCP(t, dataplane.WithBoundary(dataplane.AsKuma214()))
		z.serve(xdsauth.WithZoneProxies(zones.authenticator, "west"))
		assert.Equal(t, codes.OK, z.answer(v, zoneProxy("zi-1", "ingress", ""), zones.issue("west", time.Hour, "ingress")))

		z = newZoneCP(t, dataplane.WithBoundary(dataplane.AsKuma30()))
		z.serve()
		assert.Equal(t, codes.OK, z.answer(v, ordinary, z.issue(token.Dataplane{Name: "dp-1"}, time.Hour)))
		assert.Equal(t, codes.Unauthenticated, z.answer(v, zoneProxy("zi-1", "ingress", ""), zones.issue("west", time.Hour, "ingress")))
		assert.Equal(t, codes.PermissionDenied, z.answer(v, zoneProxy("zi-1", "ingress", ""), z.issue(token.Dataplane{Type: "ingress"}, time.Hour)))
	})
}

func TestKumaTheScopeCpAuthenticatesAZoneControlPlaneAndIngressAndEgressTheirProxies(t *testing.T) {
	zones := newZoneTokens(t)
	controlPlane := func(raw string) error {
		ctx := metadata.NewIncomingContext(t.Context(), metadata.Pairs("authorization", raw, "client-id", "west"))
		_, err := grpcauth.Zone(zones.authenticator, zone.ScopeCP)(ctx, "/any")
		return err
	}
	require.NoError(t, controlPlane(zones.issue("west", time.Hour, "cp")))
	for _, scope := range []string{"ingress", "egress"} {
		require.ErrorIs(t, controlPlane(zones.issue("west", time.Hour, scope)), token.ErrNotPermitted, scope)
		session, err := zones.authenticator.Authenticate(t.Context(), zones.issue("west", time.Hour, scope))
		require.NoError(t, err)
		require.NoError(t, session.Permits(zone.Peer{Zone: "west", Scope: scope}))
		require.ErrorIs(t, session.Permits(zone.Peer{Zone: "west", Scope: zone.ScopeCP}), token.ErrNotPermitted)
	}
}

// The cases of Kuma's tests that are about a stream. The rest are in package dataplane.
func TestTheCasesOfKumasOwnTestsAreAsTheDocumentSays(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		outcomes := map[string]kumacases.Outcome{}
		said := func(id string, kuma bool, code codes.Code) {
			require.Contains(t, []codes.Code{codes.OK, codes.Unauthenticated, codes.PermissionDenied}, code, id)
			outcomes[id] = kumacases.Outcome{Kuma: kuma, Meshpass: code == codes.OK}
		}
		services := []map[string]string{{"kuma.io/service": "web", "kuma.io/protocol": "http"}}
		web := dataplane.Proxy{Mesh: "default", Name: "web-01", Inbounds: services}
		bare := node("default.web-01", nil)
		zones := newZoneTokens(t)

		z := newZoneCP(t, dataplane.WithBoundary(dataplane.AsKuma210()))
		pass := z.issue(token.Dataplane{}, time.Hour)
		z.serve(xdsauth.WithStoredProxies(lookup(&web)), xdsauth.WithZoneProxies(zones.authenticator, "zone-1"))
		said("X1", true, z.answer(v, bare, pass))
		p := z.welcome(v, pass, bare)
		require.NoError(t, p.request(node("default.web-02", nil)))
		said("X3", false, endOf(p).Code())
		p = z.welcome(v, pass, bare)
		require.NoError(t, p.request(nil))
		z.publish("2")
		_, err := p.receive()
		said("X4", true, status.Code(err))
		said("X5", false, z.answer(v, node("default.web-02", nil), pass))
		said("X6", false, z.answer(v, bare, "invalid"))
		said("X9", true, z.answer(v, zoneProxy("ingress", "ingress", ""), zones.issue("zone-1", time.Hour, "ingress")))
		said("X10", true, z.answer(v, zoneProxy("egress", "egress", ""), zones.issue("zone-1", time.Hour, "egress")))
		said("X11", true, z.answer(v, zoneProxy("zi-1", "ingress", `{"type":"ZoneIngress","name":"zi-1","networking":{"address":"127.0.0.1"}}`),
			zones.issue("zone-1", time.Hour, "ingress")))
		said("X15", true, z.answer(v, node("default.web-01", map[string]any{
			"dataplane.resource": `{"type":"ZoneIngress","name":"ingress-01","networking":{"address":"127.0.0.1","port":10001}}`}), pass))

		z.serve(xdsauth.WithStoredProxies(lookup(nil)))
		said("X2", true, z.answer(v, described(web), pass))

		// The token permits what is sent, and not what is stored.
		db := web
		db.Inbounds = []map[string]string{{"kuma.io/service": "db"}}
		z.serve(xdsauth.WithStoredProxies(lookup(&db)))
		said("X18", false, z.answer(v, described(web), z.issue(token.Dataplane{Tags: map[string][]string{"kuma.io/service": {"web"}}}, time.Hour)))

		z = newZoneCP(t, dataplane.WithBoundary(dataplane.AsKuma30()))
		pass = z.issue(token.Dataplane{}, time.Hour)
		z.serve(xdsauth.WithStoredProxies(lookup(&web)))
		for id, as := range map[string][2]string{"X7": {"ingress", "X16"}, "X8": {"egress", "X17"}} {
			said(id, false, z.answer(v, node("default.web-01", map[string]any{"dataplane.proxyType": as[0]}), pass))
			said(as[1], false, z.answer(v, node("default.web-01", map[string]any{"dataplane.proxyType": as[0],
				"dataplane.resource": `{"type":"Zone` + map[string]string{"ingress": "Ingress", "egress": "Egress"}[as[0]] + `","name":"web-01","networking":{"address":"127.0.0.1","port":10001}}`}), pass))
		}

		guards := guardsOf(t, insecure.Authenticator{},
			xdsauth.WithZoneProxies(zones.authenticator, "zone-1"), xdsauth.WithLogger(z.log.Logger()))
		z.serveXDS(serverv3.NewServer(t.Context(), z.snapshots, z.callbacks), guards)
		said("X12", true, z.answer(v, zoneProxy("zi-1", "ingress", ""), "some-random-token"))
		said("X13", true, z.answer(v, zoneProxy("ze-1", "egress", ""), "some-random-token"))
		said("X14", false, z.answer(v, ofDP1(`{"type":"Mesh","mesh":"default","name":"dp-1"}`), "some-random-token"))

		kumacases.Check(t, "../../docs/kuma.md", "X", outcomes)
	})
}
