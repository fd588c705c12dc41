package main

import (
	"context"
	"log/slog"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
)

// registerADS serves the configuration of a mesh to its proxies. All proxies get the same
// single cluster, since configuration is not the topic of this example.
func registerADS(ctx context.Context, server *grpc.Server, mesh string, log *slog.Logger) error {
	snapshot, err := cachev3.NewSnapshot("1", map[resourcev3.Type][]types.Resource{
		resourcev3.ClusterType: {&clusterv3.Cluster{Name: "backend"}},
	})
	if err != nil {
		return err
	}
	snapshots := cachev3.NewSnapshotCache(true, byMesh{}, nil)
	if err := snapshots.SetSnapshot(ctx, mesh, snapshot); err != nil {
		return err
	}
	opened := func(ctx context.Context, _ int64, _ string) error {
		if verified, ok := grpcauth.FromContext[dataplane.Verified](ctx); ok {
			log.Info("proxy authenticated", "mesh", verified.Claims().Mesh, "name", verified.Claims().Name,
				"kid", verified.KeyID(), "jti", verified.Registered().ID)
		}
		return nil
	}
	callbacks := serverv3.CallbackFuncs{StreamOpenFunc: opened, DeltaStreamOpenFunc: opened}
	// If this context ended, streams would end with status OK. The gRPC server ends them instead.
	xds := serverv3.NewServer(context.WithoutCancel(ctx), snapshots, callbacks)
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, xds)
	return nil
}

// byMesh gives all nodes of a mesh the same snapshot. The token already permits the node, so
// its id begins with the mesh of the token.
type byMesh struct{}

// ID implements cachev3.NodeHash.
func (byMesh) ID(node *corev3.Node) string {
	mesh, _, _ := strings.Cut(node.GetId(), ".")
	return mesh
}
