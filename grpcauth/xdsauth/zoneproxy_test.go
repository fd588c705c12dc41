package xdsauth_test

import (
	"context"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	clusterservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
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
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

var zoneKey = sync.OnceValue(generate)

// zoneTokens issues zone tokens, and authenticates them.
type zoneTokens struct {
	tb            testing.TB
	store         keystore.KeyStore
	issuer        zone.Issuer
	authenticator zone.Authenticator
}

func newZoneTokens(tb testing.TB, options ...zone.ValidatorOption) zoneTokens {
	store := keystore.NewMemory()
	pem, err := zoneKey().PEM()
	require.NoError(tb, err)
	_, err = store.Create(context.Background(), keystore.Record{Name: signing.ZoneKeys().KeyName(1), Data: pem})
	require.NoError(tb, err)
	issuer, err := zone.NewIssuer(store, zone.WithLogger((&logtest.Buffer{}).Logger()))
	require.NoError(tb, err)
	options = append(options, zone.WithLeeway(0), zone.WithLogger((&logtest.Buffer{}).Logger()))
	validator, err := zone.NewValidator(store, options...)
	require.NoError(tb, err)
	tb.Cleanup(func() { validator.Close() })
	return zoneTokens{tb, store, issuer, zone.NewAuthenticator(validator)}
}

func (z zoneTokens) issue(name string, validFor time.Duration, scope ...string) string {
	issued, err := z.issuer.Issue(context.Background(), token.Zone{Zone: name, Scope: scope}, validFor)
	require.NoError(z.tb, err)
	return issued.Token
}

// zoneProxy is the node of a zone proxy, with a resource if it is not empty.
func zoneProxy(name, proxyType, resource string) *corev3.Node {
	fields := map[string]any{}
	if proxyType != "" {
		fields["dataplane.proxyType"] = proxyType
	}
	if resource != "" {
		fields["dataplane.resource"] = resource
	}
	return node("."+name, fields)
}

func TestAZoneTokenIsHeldAgainstTheZoneProxy(t *testing.T) {
	const ingress = `{"type":"ZoneIngress","name":"zi-1","networking":{"address":"10.0.0.1","port":10001}}`
	both := []string{"ingress", "egress"}
	for name, c := range map[string]struct {
		zone   string
		scope  []string
		node   *corev3.Node
		want   codes.Code
		reason string
	}{
		"an ingress":                       {"west", []string{"ingress"}, zoneProxy("zi-1", "ingress", ""), codes.OK, ""},
		"an ingress with its resource":     {"west", both, zoneProxy("zi-1", "ingress", ingress), codes.OK, ""},
		"an egress":                        {"west", []string{"egress"}, zoneProxy("ze-1", "egress", ""), codes.OK, ""},
		"an egress with its resource":      {"west", both, zoneProxy("ze-1", "egress", "type: ZoneEgress\nname: ze-1\nzone: west\n"), codes.OK, ""},
		"a name with dots":                 {"west", both, zoneProxy("zi-1.ns", "ingress", ""), codes.OK, ""},
		"a scope too few":                  {"west", []string{"egress"}, zoneProxy("zi-1", "ingress", ""), codes.PermissionDenied, `scope is \"ingress\"`},
		"the scope of a control plane":     {"west", []string{"cp"}, zoneProxy("zi-1", "ingress", ""), codes.PermissionDenied, `scope is \"ingress\"`},
		"another zone":                     {"east", both, zoneProxy("zi-1", "ingress", ""), codes.PermissionDenied, `the token's zone is \"east\"`},
		"no type":                          {"west", both, zoneProxy("zi-1", "", ""), codes.PermissionDenied, "is an ingress or an egress"},
		"type dataplane":                   {"west", both, zoneProxy("zi-1", "dataplane", ""), codes.PermissionDenied, "is an ingress or an egress"},
		"type cp":                          {"west", []string{"cp"}, zoneProxy("zi-1", "cp", ""), codes.PermissionDenied, "is an ingress or an egress"},
		"a dataplane in a mesh":            {"west", both, node("default.dp-1", nil), codes.PermissionDenied, "zone proxies, which have no mesh"},
		"an ingress in a mesh":             {"west", both, node("default.zi-1", map[string]any{"dataplane.proxyType": "ingress"}), codes.PermissionDenied, "zone proxies, which have no mesh"},
		"no name":                          {"west", both, zoneProxy("", "ingress", ""), codes.PermissionDenied, "zone proxies, which have no mesh"},
		"the resource of another name":     {"west", both, zoneProxy("zi-2", "ingress", ingress), codes.PermissionDenied, `its name is \"zi-1\"`},
		"the resource of an ingress":       {"west", both, zoneProxy("zi-1", "egress", ingress), codes.PermissionDenied, `its type is \"ZoneIngress\"`},
		"the resource of a dataplane":      {"west", both, zoneProxy("dp-1", "ingress", dataplaneJSON(dataplane.Proxy{Mesh: "default", Name: "dp-1"})), codes.PermissionDenied, `its type is \"Dataplane\"`},
		"a resource with a mesh":           {"west", both, zoneProxy("zi-1", "ingress", `{"type":"ZoneIngress","name":"zi-1","mesh":"default"}`), codes.PermissionDenied, `its mesh is \"default\"`},
		"the resource of another zone":     {"west", both, zoneProxy("zi-1", "ingress", `{"type":"ZoneIngress","name":"zi-1","zone":"east"}`), codes.PermissionDenied, `its zone is \"east\"`},
		"a resource that cannot be parsed": {"west", both, zoneProxy("zi-1", "ingress", `{`), codes.PermissionDenied, "not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, v variant) {
				z, zones := newZoneCP(t), newZoneTokens(t)
				z.serve(xdsauth.WithZoneProxies(zones.authenticator, "west"))
				raw := zones.issue(c.zone, time.Hour, c.scope...)
				p := z.open(v, raw)
				require.NoError(t, p.request(c.node))
				_, err := p.receive()
				require.Equal(t, c.want, status.Code(err), "%v", err)
				assert.Contains(t, z.log.String(), c.reason)
				assert.NotContains(t, z.log.String(), raw)
			})
		})
	}
}

func TestADataplaneTokenIsForNoZoneProxyAndTheOtherWayRound(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z, zones := newZoneCP(t, dataplane.WithBoundary(dataplane.AsKuma210())), newZoneTokens(t)
		z.serve(xdsauth.WithZoneProxies(zones.authenticator, "west"))
		p := z.open(v, z.issue(token.Dataplane{Type: "ingress"}, time.Hour))
		require.NoError(t, p.request(zoneProxy("zi-1", "ingress", "")))
		assert.Equal(t, codes.PermissionDenied, endOf(p).Code())

		z.welcome(v, z.issue(token.Dataplane{}, time.Hour), dp1())
		z.welcome(v, zones.issue("west", time.Hour, "ingress"), zoneProxy("zi-1", "ingress", ""))
	})
}

func TestWithoutTheOptionZoneProxiesAreRefused(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z, zones := newZoneCP(t), newZoneTokens(t)
		z.serve()
		p := z.open(v, zones.issue("west", time.Hour, "ingress"))
		_ = p.request(zoneProxy("zi-1", "ingress", "")) // io.EOF if the stream has ended
		assert.Equal(t, codes.Unauthenticated, endOf(p).Code())
	})
}

func TestTheStreamOfAZoneProxyEndsWithItsToken(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z, zones := newZoneCP(t), newZoneTokens(t)
		z.serve(xdsauth.WithZoneProxies(zones.authenticator, "west"))
		revoked, lasting := zones.issue("west", time.Hour, "ingress"), zones.issue("west", time.Hour, "ingress")
		first := z.welcome(v, revoked, zoneProxy("zi-1", "ingress", ""))
		third := z.welcome(v, lasting, zoneProxy("zi-2", "ingress", ""))
		second := z.welcome(v, zones.issue("west", 3*time.Second, "egress"), zoneProxy("ze-1", "egress", ""))

		require.NoError(t, zone.Revoke(t.Context(), zones.store, idOf(t, revoked)))
		assert.Equal(t, codes.Unauthenticated, endOf(first).Code())
		assert.Equal(t, codes.Unauthenticated, endOf(second).Code())
		assert.Contains(t, z.log.String(), "zone=west")

		require.NoError(t, third.request(nil), "a later request may leave the node out")
		z.publish("2")
		for cluster := ""; cluster != "version-2"; {
			var err error
			cluster, err = third.receive()
			require.NoError(t, err)
		}
		require.NoError(t, third.request(zoneProxy("zi-9", "ingress", "")))
		assert.Equal(t, codes.PermissionDenied, endOf(third).Code(), "but it may not change it")
	})
}

func TestTheStreamsOfTheProxiesOfAZoneEndWithACutoff(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z, zones := newZoneCP(t), newZoneTokens(t)
		z.serve(xdsauth.WithZoneProxies(zones.authenticator, "west"))
		ingress := z.welcome(v, zones.issue("west", time.Hour, "ingress"), zoneProxy("zi-1", "ingress", ""))
		egress := z.welcome(v, zones.issue("west", time.Hour, "egress"), zoneProxy("ze-1", "egress", ""))
		_, err := zone.CutOff(t.Context(), zones.store, zone.Cutoff{Before: time.Now().Add(token.Skew), Zone: "west"})
		require.NoError(t, err)
		assert.Equal(t, codes.Unauthenticated, endOf(ingress).Code())
		assert.Equal(t, codes.Unauthenticated, endOf(egress).Code())
		require.Eventually(t, func() bool { return z.log.Count("session ended", "tokens with the zone", "issued before") == 2 }, patience, time.Millisecond)
		z.welcome(v, zones.issue("west", time.Hour, "ingress"), zoneProxy("zi-1", "ingress", ""))
	})
}

func TestAHandlerSeesTheZoneTokenOfAZoneProxy(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z, zones := newZoneCP(t), newZoneTokens(t)
		seen := make(chan string, 1)
		opened := func(ctx context.Context, _ int64, _ string) error {
			verified, _ := grpcauth.FromContext[zone.Verified](ctx)
			seen <- verified.Claims().Zone
			return nil
		}
		z.callbacks = serverv3.CallbackFuncs{StreamOpenFunc: opened, DeltaStreamOpenFunc: opened}
		z.serve(xdsauth.WithZoneProxies(zones.authenticator, "west"))
		z.welcome(v, zones.issue("west", time.Hour, "ingress"), zoneProxy("zi-1", "ingress", ""))
		assert.Equal(t, "west", receive(t, seen))
	})
}

func TestUnaryRequestsOfZoneProxiesAreHeldToTheirTokensToo(t *testing.T) {
	z, zones := newZoneCP(t), newZoneTokens(t)
	option := xdsauth.WithZoneProxies(zones.authenticator, "west")
	guards := guardsOf(t, dataplane.NewAuthenticator(z.validator), option, xdsauth.WithLogger(z.log.Logger()))
	z.serveXDS(serverv3.NewServer(t.Context(), z.snapshots, z.callbacks), guards)
	for proxyType, want := range map[string]codes.Code{"ingress": codes.OK, "egress": codes.PermissionDenied} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", zones.issue("west", time.Hour, "ingress"))
		_, err := clusterservicev3.NewClusterDiscoveryServiceClient(z.conn).FetchClusters(ctx,
			&discoveryv3.DiscoveryRequest{Node: zoneProxy("zp-1", proxyType, ""), TypeUrl: resourcev3.ClusterType})
		assert.Equal(t, want, status.Code(err), proxyType)
	}
}

func TestWhereProxiesNeedNoTokenZoneProxiesDo(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z, zones := newZoneCP(t), newZoneTokens(t)
		guards := guardsOf(t, insecure.Authenticator{},
			xdsauth.WithZoneProxies(zones.authenticator, "west"), xdsauth.WithLogger(z.log.Logger()))
		z.serveXDS(serverv3.NewServer(t.Context(), z.snapshots, z.callbacks), guards)
		z.welcome(v, "", node("default.dp-1", nil))
		z.welcome(v, zones.issue("west", time.Hour, "ingress"), zoneProxy("zi-1", "ingress", ""))
		p := z.open(v, "")
		require.NoError(t, p.request(zoneProxy("zi-1", "ingress", "")))
		assert.Equal(t, codes.PermissionDenied, endOf(p).Code())
	})
}
