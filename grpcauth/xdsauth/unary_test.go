package xdsauth_test

import (
	"context"
	"testing"
	"time"

	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	clusterservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/token"
)

func TestUnaryRequestsAreHeldToTheirTokenAndNode(t *testing.T) {
	z := newZoneCP(t)
	guards := guardsOf(t, dataplane.NewAuthenticator(z.validator), xdsauth.WithLogger(z.log.Logger()))
	z.serveXDS(serverv3.NewServer(context.Background(), z.snapshots, z.callbacks), guards)
	revoked, cutOff := z.issue(token.Dataplane{Name: "dp-1"}, time.Hour), z.issue(token.Dataplane{Name: "dp-1"}, time.Hour)
	z.revoke(revoked)
	z.cutOff("dp-1")
	raw := z.issue(token.Dataplane{Name: "dp-1"}, time.Hour)
	require.Eventually(t, func() bool {
		_, err := z.validator.Validate(t.Context(), "default", cutOff)
		return err != nil
	}, patience, time.Millisecond)

	for name, c := range map[string]struct {
		raw  string
		node *corev3.Node
		want codes.Code
	}{
		"its own node":            {raw, node("default.dp-1", nil), codes.OK},
		"another node":            {raw, node("default.dp-2", nil), codes.PermissionDenied},
		"a node without id":       {raw, node("", nil), codes.PermissionDenied},
		"no node":                 {raw, nil, codes.PermissionDenied},
		"no token":                {"", node("default.dp-1", nil), codes.Unauthenticated},
		"a revoked token":         {revoked, node("default.dp-1", nil), codes.Unauthenticated},
		"a token before a cutoff": {cutOff, node("default.dp-1", nil), codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if c.raw != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", c.raw)
			}
			answer, err := clusterservicev3.NewClusterDiscoveryServiceClient(z.conn).FetchClusters(ctx,
				&discoveryv3.DiscoveryRequest{Node: c.node, TypeUrl: resourcev3.ClusterType})
			require.Equal(t, c.want, status.Code(err))
			assert.Equal(t, c.want == codes.OK, len(answer.GetResources()) == 1)
		})
	}
}

func TestANilOptionIsRefused(t *testing.T) {
	z := newZoneCP(t)
	_, err := xdsauth.StreamServerInterceptor(dataplane.NewAuthenticator(z.validator), nil)
	assert.ErrorContains(t, err, "option is nil")
	_, err = xdsauth.UnaryServerInterceptor(nil)
	assert.ErrorContains(t, err, "authenticator is nil")
}
