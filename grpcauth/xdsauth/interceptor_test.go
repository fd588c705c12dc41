package xdsauth_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	clusterservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/dataplane/insecure"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// inBoth runs a test with both variants of the protocol.
func inBoth(t *testing.T, test func(t *testing.T, v variant)) {
	for _, v := range variants {
		t.Run(v.name, func(t *testing.T) { test(t, v) })
	}
}

func TestAProxyWithAGoodTokenIsServedAndKnown(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z := newZoneCP(t)
		raw := z.issue(token.Dataplane{Name: "dp-1"}, time.Hour)
		known := make(chan string, 1)
		opened := func(ctx context.Context, _ int64, _ string) error {
			verified, ok := grpcauth.FromContext[dataplane.Verified](ctx)
			if !ok {
				return errors.New("not found")
			}
			known <- verified.Registered().ID
			return nil
		}
		z.callbacks = serverv3.CallbackFuncs{StreamOpenFunc: opened, DeltaStreamOpenFunc: opened}
		z.serve()
		for _, authorization := range []string{raw, "Bearer " + raw} {
			p := z.welcome(v, authorization, node("default.dp-1", nil))
			assert.Equal(t, idOf(t, raw), receive(t, known))
			z.publish("2")
			cluster, err := p.receive()
			require.NoError(t, err)
			assert.Equal(t, "version-2", cluster)
			z.publish("1")
		}
	})
}

func TestAStreamWithoutAGoodTokenEndsBeforeItsFirstRequest(t *testing.T) {
	z := newZoneCP(t)
	good := z.issue(token.Dataplane{Name: "dp-1"}, time.Hour)
	revoked := z.issue(token.Dataplane{Name: "dp-1"}, time.Hour)
	z.revoke(revoked)
	require.Eventually(t, func() bool {
		_, err := z.validator.Validate(context.Background(), "default", revoked)
		return errors.Is(err, token.ErrRevoked)
	}, patience, time.Millisecond)
	_, err := zone.EnsureKey(context.Background(), z.store)
	require.NoError(t, err)
	zones, err := zone.NewIssuer(z.store)
	require.NoError(t, err)
	ofZone, err := zones.Issue(context.Background(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	require.NoError(t, err)
	parts := strings.Split(good, ".")
	opened := make(chan struct{}, 100)
	z.callbacks.StreamOpenFunc = func(context.Context, int64, string) error { opened <- struct{}{}; return nil }
	z.callbacks.DeltaStreamOpenFunc = z.callbacks.StreamOpenFunc
	z.serve(xdsauth.WithFirstRequestTimeout(time.Hour))
	for name, values := range map[string][]string{
		"none":                         nil,
		"two":                          {good, good},
		"of another scheme":            {"Basic " + good},
		"that is nonsense":             {"nonsense"},
		"with claims that are no JSON": {parts[0] + ".bm9uZQ." + parts[2]},
		"with another's signature":     {strings.Join(parts[:2], ".") + "." + strings.Split(revoked, ".")[2]},
		"that is a zone's":             {ofZone.Token},
		"that is revoked":              {revoked},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, v variant) {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				defer cancel()
				for _, value := range values {
					ctx = metadata.AppendToOutgoingContext(ctx, "authorization", value)
				}
				p, err := v.open(ctx, z.conn)
				require.NoError(t, err)
				got := endOf(p)
				assert.Equal(t, codes.Unauthenticated, got.Code())
				assert.Equal(t, "the credentials were not accepted", got.Message())
			})
		})
	}
	assert.Empty(t, opened, "the server saw a stream")
	assert.NotContains(t, z.log.String(), parts[1])
}

func TestATokenIsHeldAgainstTheNode(t *testing.T) {
	service := func(values ...string) map[string][]string { return map[string][]string{"service": values} }
	type tags = map[string]string
	labelled := func(labels map[string]string) *corev3.Node {
		return described(dataplane.Proxy{Mesh: "default", Name: "dp-1", Labels: labels})
	}
	strict := dataplane.AsKuma210()
	strict.Tags = dataplane.TagsOnEachInbound
	const welcome, away = codes.OK, codes.PermissionDenied
	for name, c := range map[string]struct {
		claims       token.Dataplane
		node         *corev3.Node
		want, strict codes.Code
		reason       string
	}{
		"mesh only, any in the mesh":   {token.Dataplane{}, dp1(tags{"a": "b"}), welcome, welcome, ""},
		"mesh only, in another mesh":   {token.Dataplane{}, node("other.dp-7", nil), away, away, `mesh is \"default\"`},
		"its name":                     {token.Dataplane{Name: "dp-1"}, node("default.dp-1", nil), welcome, welcome, ""},
		"a name with dots":             {token.Dataplane{Name: "dp-1.ns"}, node("default.dp-1.ns", nil), welcome, welcome, ""},
		"another name":                 {token.Dataplane{Name: "dp-1"}, node("default.dp-2", nil), away, away, `the token's name is \"dp-1\", the proxy's is \"dp-2\"`},
		"allowed values":               {token.Dataplane{Tags: service("backend", "backend-admin")}, dp1(tags{"service": "backend"}, tags{"service": "backend-admin"}), welcome, welcome, ""},
		"a value that is not allowed":  {token.Dataplane{Tags: service("backend")}, dp1(tags{"service": "backend"}, tags{"service": "backend-admin"}), away, away, "backend-admin"},
		"an inbound without the tag":   {token.Dataplane{Tags: service("backend")}, dp1(tags{"service": "backend", "port": "1"}, tags{"port": "2"}), welcome, away, ""},
		"two tags":                     {token.Dataplane{Tags: map[string][]string{"svc": {"a", "b"}, "ver": {"1", "2"}}}, dp1(tags{"svc": "a", "ver": "2"}), welcome, welcome, ""},
		"a tag that the proxy lacks":   {token.Dataplane{Tags: service("backend")}, dp1(tags{"other": "backend"}), away, away, `lacks the tag`},
		"tags and no metadata":         {token.Dataplane{Tags: service("backend")}, node("default.dp-1", nil), away, away, `lacks the tag`},
		"its workload":                 {token.Dataplane{Workload: "w"}, labelled(tags{"kuma.io/workload": "w"}), welcome, welcome, ""},
		"another workload":             {token.Dataplane{Workload: "w"}, labelled(tags{"kuma.io/workload": "x"}), away, away, "workload"},
		"no workload":                  {token.Dataplane{Workload: "w"}, node("default.dp-1", nil), away, away, "workload"},
		"an ingress as such":           {token.Dataplane{Type: "ingress"}, node("default.dp-1", map[string]any{"dataplane.proxyType": "ingress"}), welcome, welcome, ""},
		"a dataplane as an ingress":    {token.Dataplane{}, node("default.dp-1", map[string]any{"dataplane.proxyType": "ingress"}), away, away, "type"},
		"an ingress's, of a dataplane": {token.Dataplane{Type: "ingress"}, node("default.dp-1", nil), away, away, "type"},
		"no node":                      {token.Dataplane{}, nil, away, away, "no node id"},
		"no node id":                   {token.Dataplane{}, node("", nil), away, away, "no node id"},
		"an id without a dot":          {token.Dataplane{}, node("default", nil), away, away, "a mesh, a dot and a name"},
		"an id without a mesh":         {token.Dataplane{}, node(".dp-1", nil), away, away, "a mesh, a dot and a name"},
		"the resource of another name": {token.Dataplane{}, node("default.dp-1", map[string]any{"dataplane.resource": dataplaneJSON(dataplane.Proxy{Mesh: "default", Name: "dp-2"})}), away, away, `its name is \"dp-2\"`},
		"the resource of another mesh": {token.Dataplane{}, node("default.dp-1", map[string]any{"dataplane.resource": dataplaneJSON(dataplane.Proxy{Mesh: "other", Name: "dp-1"})}), away, away, `its mesh is \"other\"`},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, v variant) {
				for mode, rule := range map[string]struct {
					boundary dataplane.Boundary
					want     codes.Code
				}{"documented": {dataplane.AsKuma210(), c.want}, "strict": {strict, c.strict}} {
					z := newZoneCP(t, dataplane.WithBoundary(rule.boundary))
					z.serve()
					raw := z.issue(c.claims, time.Hour)
					p := z.open(v, raw)
					require.NoError(t, p.request(c.node))
					_, err := p.receive()
					assert.Equal(t, rule.want, status.Code(err), mode)
					if c.reason != "" {
						assert.Contains(t, z.log.String(), c.reason)
						assert.Equal(t, "the credentials do not permit this", status.Convert(err).Message())
					}
					assert.NotContains(t, z.log.String(), raw)
				}
			})
		})
	}
}

func TestTheServerSeesNoRequestThatWasTurnedAway(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z := newZoneCP(t)
		requests := make(chan string, 10)
		z.callbacks = serverv3.CallbackFuncs{
			StreamRequestFunc:      func(_ int64, r *discoveryv3.DiscoveryRequest) error { requests <- r.Node.GetId(); return nil },
			StreamDeltaRequestFunc: func(_ int64, r *discoveryv3.DeltaDiscoveryRequest) error { requests <- r.Node.GetId(); return nil },
		}
		z.serve()
		p := z.open(v, z.issue(token.Dataplane{Name: "dp-1"}, time.Hour))
		require.NoError(t, p.request(node("default.dp-2", nil)))
		require.Equal(t, codes.PermissionDenied, endOf(p).Code())
		assert.Empty(t, requests)
	})
}

func TestAStreamStaysWithItsNode(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		for name, c := range map[string]struct {
			later *corev3.Node
			want  codes.Code
		}{
			"none":                         {nil, codes.OK},
			"the same":                     {dp1(map[string]string{"service": "backend"}), codes.OK},
			"another name":                 {node("default.dp-2", nil), codes.PermissionDenied},
			"another mesh":                 {node("other.dp-1", nil), codes.PermissionDenied},
			"one without an id":            {node("", nil), codes.PermissionDenied},
			"the same with different tags": {dp1(map[string]string{"service": "database"}), codes.PermissionDenied},
		} {
			t.Run(name, func(t *testing.T) {
				z := newZoneCP(t)
				z.serve()
				raw := z.issue(token.Dataplane{Tags: map[string][]string{"service": {"backend"}}}, time.Hour)
				p := z.welcome(v, raw, dp1(map[string]string{"service": "backend"}))
				require.NoError(t, p.request(c.later))
				if c.want != codes.OK {
					assert.Equal(t, c.want, endOf(p).Code())
					return
				}
				z.publish("2")
				for cluster := ""; cluster != "version-2"; { // the server may answer the later request too
					var err error
					cluster, err = p.receive()
					require.NoError(t, err)
				}
			})
		}
	})
}

func TestAnIdleStreamEndsWithItsToken(t *testing.T) {
	const cutoffsUnreadable = "the cutoffs of its mesh unreadable"
	for name, c := range map[string]struct {
		end    func(z *zoneCP, raw string)
		code   codes.Code
		reason string
	}{
		"revoked":          {func(z *zoneCP, raw string) { z.revoke(raw) }, codes.Unauthenticated, "token revoked"},
		"cut off":          {func(z *zoneCP, _ string) { z.cutOff("dp-1") }, codes.Unauthenticated, "tokens with the name"},
		"its key removed":  {func(z *zoneCP, _ string) { removeKey(z.tb, z.store, "default", 1) }, codes.Unauthenticated, "unknown signing key"},
		"expired":          {func(*zoneCP, string) {}, codes.Unauthenticated, "token expired"},
		"validator closed": {func(z *zoneCP, _ string) { require.NoError(z.tb, z.validator.Close()) }, codes.Unavailable, "validator closed"},
		"nobody can know": {func(z *zoneCP, _ string) {
			z.store.down.Store(true)
			z.revoke(z.issue(token.Dataplane{}, time.Hour)) // to be read, which fails
		}, codes.Unavailable, "token could not be checked"},
		cutoffsUnreadable: {func(z *zoneCP, _ string) {
			cutoffs := revocation.DataplaneCutoffs("default")
			_, err := z.store.Create(context.Background(), keystore.Record{Scope: cutoffs.Scope, Name: cutoffs.Name, Data: []byte("{}")})
			require.NoError(z.tb, err)
		}, codes.Unavailable, "token could not be checked"},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, v variant) {
				z := newZoneCP(t, dataplane.WithSessionMaxStale(0))
				closed := make(chan struct{}, 2)
				z.callbacks.StreamClosedFunc = func(int64, *corev3.Node) { closed <- struct{}{} }
				z.callbacks.DeltaStreamClosedFunc = z.callbacks.StreamClosedFunc
				z.serve()
				other := z.welcome(v, z.issue(token.Dataplane{Mesh: "other"}, time.Hour), node("other.dp-1", nil))
				validFor := time.Hour
				if name == "expired" { // its time begins when there is a connection
					validFor = 3 * time.Second
				}
				raw := z.issue(token.Dataplane{Name: "dp-1"}, validFor)
				p := z.welcome(v, raw, node("default.dp-1", nil))
				c.end(z, raw)
				assert.Equal(t, c.code, endOf(p).Code())
				receive(t, closed) // the server has let go of the stream
				require.Eventually(t, func() bool {
					return z.log.Count("level=INFO", "session ended", c.reason, "mesh=default", "name=dp-1", "jti="+idOf(t, raw)) == 1
				}, patience, time.Millisecond)
				if c.code == codes.Unauthenticated || name == cutoffsUnreadable {
					z.publish("2")
					cluster, err := other.receive()
					require.NoError(t, err, "others go on")
					assert.Equal(t, "version-2", cluster)
				}
			})
		})
	}
}

func TestAServerThatDoesNotHeedTheEndIsLeftBehind(t *testing.T) {
	z := newZoneCP(t)
	stubborn := &stubbornServer{release: make(chan struct{}), left: make(chan error, 1)}
	guards := guardsOf(t, dataplane.NewAuthenticator(z.validator), xdsauth.WithLogger(z.log.Logger()))
	z.serveXDS(stubborn, guards)
	raw := z.issue(token.Dataplane{Name: "dp-1"}, time.Hour)
	p := z.open(variants[0], raw)
	require.NoError(t, p.request(node("default.dp-1", nil)))
	_, err := p.receive()
	require.NoError(t, err)
	z.revoke(raw)
	assert.Equal(t, codes.Unauthenticated, endOf(p).Code())
	close(stubborn.release)
	assert.Equal(t, codes.Unauthenticated, status.Code(receive(t, stubborn.left)), "what it is told when it sends")
}

// stubbornServer takes one request, and then heeds nothing.
type stubbornServer struct {
	serverv3.Server
	release chan struct{}
	left    chan error
}

func (s *stubbornServer) StreamAggregatedResources(stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	if _, err := stream.Recv(); err != nil {
		return err
	}
	cluster, err := clusterResponse()
	if err != nil {
		return err
	}
	if err := stream.Send(cluster); err != nil {
		return err
	}
	<-s.release
	s.left <- stream.Send(cluster)
	return nil
}

func TestAStreamWithoutARequestEndsSoonAndOneWithARequestStays(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z := newZoneCP(t)
		sent := make(chan struct{}) // the first request: the timeout is none for a busy client
		guards := guardsOf(t, after{dataplane.NewAuthenticator(z.validator), sent},
			xdsauth.WithLogger(z.log.Logger()), xdsauth.WithFirstRequestTimeout(time.Second))
		z.serveXDS(serverv3.NewServer(context.Background(), z.snapshots, z.callbacks), guards)
		raw := z.issue(token.Dataplane{}, time.Hour)
		speaking := z.open(v, raw)
		require.NoError(t, speaking.request(node("default.dp-1", nil)))
		close(sent)
		_, err := speaking.receive()
		require.NoError(t, err)
		silent := z.open(v, raw) // and so its time is over later than it would be for the other
		assert.Equal(t, codes.Unauthenticated, endOf(silent).Code())
		require.Eventually(t, func() bool { return z.log.Count("session ended", "no request within 1s") == 1 }, patience, time.Millisecond)
		z.publish("2")
		cluster, err := speaking.receive()
		require.NoError(t, err)
		assert.Equal(t, "version-2", cluster)
	})
}

// after authenticates nobody before a channel is closed.
type after struct {
	dataplane.Authenticator
	closed <-chan struct{}
}

func (a after) Authenticate(ctx context.Context, raw string) (dataplane.Session, error) {
	<-a.closed
	return a.Authenticator.Authenticate(ctx, raw)
}

func TestTheOperatorsResolverDecidesWhatANodeIs(t *testing.T) {
	for name, c := range map[string]struct {
		resolve xdsauth.Resolver
		want    codes.Code
	}{
		"another record than the node says": {func(context.Context, *corev3.Node) (dataplane.Proxy, error) {
			return dataplane.Proxy{Mesh: "default", Name: "dp-1"}, nil
		}, codes.OK},
		"a proxy that the token does not permit": {func(context.Context, *corev3.Node) (dataplane.Proxy, error) {
			return dataplane.Proxy{Mesh: "default", Name: "dp-9"}, nil
		}, codes.PermissionDenied},
		"no such proxy": {func(context.Context, *corev3.Node) (dataplane.Proxy, error) {
			return dataplane.Proxy{}, fmt.Errorf("%w: no such proxy", token.ErrNotPermitted)
		}, codes.PermissionDenied},
		"nothing, with no error": {func(context.Context, *corev3.Node) (dataplane.Proxy, error) {
			return dataplane.Proxy{}, nil
		}, codes.PermissionDenied},
		"an outage": {func(context.Context, *corev3.Node) (dataplane.Proxy, error) {
			return dataplane.Proxy{}, errors.New("no database")
		}, codes.Unavailable},
		"nothing in time": {func(ctx context.Context, _ *corev3.Node) (dataplane.Proxy, error) {
			<-ctx.Done()
			return dataplane.Proxy{}, ctx.Err()
		}, codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, v variant) {
				z := newZoneCP(t)
				options := []xdsauth.Option{xdsauth.WithResolver(c.resolve)}
				sent := make(chan struct{})
				if name == "nothing in time" {
					options = append(options, xdsauth.WithFirstRequestTimeout(50*time.Millisecond))
				}
				guards := guardsOf(t, after{dataplane.NewAuthenticator(z.validator), sent}, append(options, xdsauth.WithLogger(z.log.Logger()))...)
				z.serveXDS(serverv3.NewServer(context.Background(), z.snapshots, z.callbacks), guards)
				p := z.open(v, z.issue(token.Dataplane{Name: "dp-1"}, time.Hour))
				require.NoError(t, p.request(node("anything", nil)))
				close(sent)
				_, err := p.receive()
				assert.Equal(t, c.want, status.Code(err))
			})
		})
	}
}

func TestNobodyWithoutAGoodTokenMakesTheResolverWork(t *testing.T) {
	z := newZoneCP(t)
	asked := make(chan struct{}, 10)
	z.serve(xdsauth.WithResolver(func(ctx context.Context, n *corev3.Node) (dataplane.Proxy, error) {
		asked <- struct{}{}
		return xdsauth.ResolveNode(ctx, n)
	}))
	p := z.open(variants[0], "nonsense")
	_ = p.request(node("default.dp-1", nil)) // io.EOF if the stream has ended
	require.Equal(t, codes.Unauthenticated, endOf(p).Code())
	assert.Empty(t, asked)
}

func TestServicesThatAreNotAggregatedAreGuardedToo(t *testing.T) {
	z := newZoneCP(t)
	z.serve()
	raw := z.issue(token.Dataplane{Name: "dp-1"}, time.Hour)
	for id, want := range map[string]codes.Code{"default.dp-1": codes.OK, "default.dp-2": codes.PermissionDenied} {
		ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(context.Background(), "authorization", raw), patience)
		defer cancel()
		stream, err := clusterservicev3.NewClusterDiscoveryServiceClient(z.conn).StreamClusters(ctx)
		require.NoError(t, err)
		require.NoError(t, stream.Send(&discoveryv3.DiscoveryRequest{Node: node(id, nil)}))
		_, err = stream.Recv()
		assert.Equal(t, want, status.Code(err))
	}
}

func TestOtherServicesAreRefusedUnlessLeftOpen(t *testing.T) {
	z := newZoneCP(t)
	raw := z.issue(token.Dataplane{}, time.Hour)
	for name, c := range map[string]struct {
		raw     string
		options []xdsauth.Option
		want    codes.Code
	}{
		"without a token": {"", nil, codes.Unauthenticated},
		"with a token":    {raw, nil, codes.PermissionDenied},
		"left open":       {"", []xdsauth.Option{xdsauth.WithOpenServices("grpc.health.v1.Health")}, codes.OK},
	} {
		t.Run(name, func(t *testing.T) {
			z.serve(c.options...)
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			if c.raw != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", c.raw)
			}
			watch, err := healthpb.NewHealthClient(z.conn).Watch(ctx, &healthpb.HealthCheckRequest{})
			require.NoError(t, err)
			_, err = watch.Recv()
			assert.Equal(t, c.want, status.Code(err))
		})
	}
}

func TestAnInsecureServerTakesProxiesWithoutATokenAndStillHoldsThemToTheirNode(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z := newZoneCP(t)
		guards := guardsOf(t, insecure.Authenticator{}, xdsauth.WithLogger(z.log.Logger()))
		z.serveXDS(serverv3.NewServer(context.Background(), z.snapshots, z.callbacks), guards)
		p, err := v.open(t.Context(), z.conn)
		require.NoError(t, err)
		require.NoError(t, p.request(node("default.dp-1", nil)))
		cluster, err := p.receive()
		require.NoError(t, err)
		assert.Equal(t, "version-1", cluster)
		require.NoError(t, p.request(node("default.dp-2", nil)))
		assert.Equal(t, codes.PermissionDenied, endOf(p).Code())

		p, err = v.open(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Basic nonsense"), z.conn)
		require.NoError(t, err)
		assert.Equal(t, codes.Unauthenticated, endOf(p).Code(), "what is no token in either form is refused in any case")
	})
}

func TestUnusableArgumentsAreRefused(t *testing.T) {
	z := newZoneCP(t)
	_, err := xdsauth.StreamServerInterceptor(nil)
	require.ErrorContains(t, err, "authenticator is nil")
	for want, option := range map[string]xdsauth.Option{
		"resolver is nil":           xdsauth.WithResolver(nil),
		"lookup is nil":             xdsauth.WithStoredProxies(nil),
		"the authenticator is nil":  xdsauth.WithZoneProxies(nil, "west"),
		"name of the zone is empty": xdsauth.WithZoneProxies(newZoneTokens(t).authenticator, ""),
		"0s, want more than 0":      xdsauth.WithFirstRequestTimeout(0),
		"-1s, want more than 0":     xdsauth.WithFirstRequestTimeout(-time.Second),
		"logger is nil":             xdsauth.WithLogger(nil),
		"is not a service":          xdsauth.WithOpenServices("/health"),
	} {
		_, err := xdsauth.StreamServerInterceptor(dataplane.NewAuthenticator(z.validator), option)
		require.ErrorContains(t, err, want)
	}
}

func TestOneTokenOfManyStreamsEndsAllOfThem(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z := newZoneCP(t)
		z.serve()
		raw := z.issue(token.Dataplane{}, time.Hour)
		var proxies []proxy
		for i := range 50 {
			proxies = append(proxies, z.welcome(v, raw, node(fmt.Sprintf("default.dp-%d", i), nil)))
		}
		z.revoke(raw)
		for _, p := range proxies {
			assert.Equal(t, codes.Unauthenticated, endOf(p).Code())
		}
	})
}

func TestStreamsThatEndedLeaveNothingBehind(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z := newZoneCP(t)
		z.serve()
		open := func(raw string) (proxy, context.CancelFunc) {
			ctx, leave := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "authorization", raw))
			p, err := v.open(ctx, z.conn)
			require.NoError(t, err)
			require.NoError(t, p.request(node("default.dp-1", nil)))
			_, err = p.receive()
			require.NoError(t, err)
			return p, leave
		}
		sessions := func() int { return z.validator.Usage()[0].Sessions }
		kept := z.issue(token.Dataplane{}, time.Hour)
		_, leave := open(kept)
		leave()
		require.Eventually(t, func() bool { return sessions() == 0 }, patience, time.Millisecond)
		before := runtime.NumGoroutine()
		for i := range 1000 {
			switch {
			case i%10 == 0: // the session ends
				raw := z.issue(token.Dataplane{}, time.Hour)
				p, leave := open(raw)
				z.revoke(raw)
				require.Equal(t, codes.Unauthenticated, endOf(p).Code())
				leave()
			case i%10 == 1: // the node is not permitted
				p, leave := open(kept)
				_ = p.request(node("default.dp-2", nil))
				require.Equal(t, codes.PermissionDenied, endOf(p).Code())
				leave()
			default: // the proxy leaves
				_, leave := open(kept)
				leave()
			}
		}
		require.Eventually(t, func() bool { return sessions() == 0 }, patience, time.Millisecond)
		require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+5 }, patience, 10*time.Millisecond)
	})
}

func TestAStreamThatRacesWithItsEndIsUnharmed(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z := newZoneCP(t)
		z.serve()
		var proxies sync.WaitGroup
		for i := range 50 {
			raw := z.issue(token.Dataplane{}, time.Hour)
			p := z.open(v, raw)
			proxies.Go(func() {
				_ = p.request(node(fmt.Sprintf("default.dp-%d", i), nil))
				// Few enough that requests and responses fit into the windows of the stream
				// unread: gRPC delivers the end of a stream after the responses before it.
				for range 200 {
					if err := p.request(nil); err != nil {
						assert.Equal(t, io.EOF, err)
						break
					}
				}
				assert.Equal(t, codes.Unauthenticated, endOf(p).Code())
			})
			z.revoke(raw)
		}
		proxies.Wait()
	})
}

func clusterResponse() (*discoveryv3.DiscoveryResponse, error) {
	cluster, err := anypb.New(&clusterv3.Cluster{Name: "version-1"})
	return &discoveryv3.DiscoveryResponse{TypeUrl: resourcev3.ClusterType, Resources: []*anypb.Any{cluster}}, err
}
