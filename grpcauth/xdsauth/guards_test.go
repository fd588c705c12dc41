package xdsauth_test

import (
	"context"
	"testing"
	"time"

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

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// A server for zones and for proxies: each of the two guards passes by the services of the
// other. The service for zones is here the health service of grpc.
func TestTwoGuardsOfOneServerEachGuardTheirServices(t *testing.T) {
	z := newZoneCP(t)
	zones := keystore.NewMemory()
	_, err := zone.EnsureKey(t.Context(), zones)
	require.NoError(t, err)
	issuer, err := zone.NewIssuer(zones, zone.WithLogger(z.log.Logger()))
	require.NoError(t, err)
	ofZone, err := issuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	require.NoError(t, err)
	validator, err := zone.NewValidator(zones, zone.WithLogger(z.log.Logger()))
	require.NoError(t, err)
	defer validator.Close()

	const forZones, ads, cds = "grpc.health.v1.Health", "envoy.service.discovery.v3.AggregatedDiscoveryService", "envoy.service.cluster.v3.ClusterDiscoveryService"
	guards, err := grpcauth.ServerOptions(grpcauth.Zone(zone.NewAuthenticator(validator), zone.ScopeCP),
		grpcauth.WithLogger(z.log.Logger()), grpcauth.WithServicesGuardedElsewhere(ads, cds))
	require.NoError(t, err)
	ofProxies := guardsOf(t, dataplane.NewAuthenticator(z.validator),
		xdsauth.WithLogger(z.log.Logger()), xdsauth.WithServicesGuardedElsewhere(forZones))
	z.serveXDS(serverv3.NewServer(context.Background(), z.snapshots, z.callbacks), append(guards, ofProxies...))

	for name, c := range map[string]struct {
		raw            string
		zones, proxies codes.Code
	}{
		"a zone":  {ofZone.Token, codes.OK, codes.Unauthenticated},
		"a proxy": {z.issue(token.Dataplane{Name: "dp-1"}, time.Hour), codes.Unauthenticated, codes.OK},
		"neither": {"", codes.Unauthenticated, codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(metadata.AppendToOutgoingContext(t.Context(), "client-id", "west"), patience)
			defer cancel()
			if c.raw != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", c.raw)
			}
			_, err := healthpb.NewHealthClient(z.conn).Check(ctx, &healthpb.HealthCheckRequest{})
			assert.Equal(t, c.zones, status.Code(err), "a unary call for zones")
			watch, err := healthpb.NewHealthClient(z.conn).Watch(ctx, &healthpb.HealthCheckRequest{})
			require.NoError(t, err)
			_, err = watch.Recv()
			assert.Equal(t, c.zones, status.Code(err), "a stream for zones")

			_, err = clusterservicev3.NewClusterDiscoveryServiceClient(z.conn).FetchClusters(ctx,
				&discoveryv3.DiscoveryRequest{Node: node("default.dp-1", nil), TypeUrl: resourcev3.ClusterType})
			assert.Equal(t, c.proxies, status.Code(err), "a unary call for proxies")
			stream, err := variants[0].open(ctx, z.conn)
			require.NoError(t, err)
			_ = stream.request(node("default.dp-1", nil)) // it fails if the stream has ended, which receive says
			_, err = stream.receive()
			assert.Equal(t, c.proxies, status.Code(err), "a stream for proxies")
		})
	}
}
