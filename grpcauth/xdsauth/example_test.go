package xdsauth_test

import (
	"context"
	"fmt"
	"log"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// A control plane puts the interceptors in front of go-control-plane's server.
func Example() {
	store := keystore.NewMemory()
	validator, err := dataplane.NewValidator(store, dataplane.WithBoundary(dataplane.AsKuma30()))
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()

	options, err := xdsauth.ServerOptions(dataplane.NewAuthenticator(validator),
		xdsauth.WithFirstRequestTimeout(5*time.Second),
		xdsauth.WithOpenServices("grpc.health.v1.Health"))
	if err != nil {
		log.Fatal(err)
	}
	cache := cachev3.NewSnapshotCache(true, cachev3.IDHash{}, nil)
	server := grpc.NewServer(options...) // and grpc.Creds, for TLS
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, serverv3.NewServer(context.Background(), cache, nil))
	defer server.Stop()
	for service := range server.GetServiceInfo() {
		fmt.Println(service)
	}
	// Output: envoy.service.discovery.v3.AggregatedDiscoveryService
}

// A control plane that has records of its proxies looks them up, and takes only the
// name from the node.
func ExampleWithResolver() {
	records := map[string]dataplane.Proxy{
		"default.dp-1": {Mesh: "default", Name: "dp-1", Inbounds: []map[string]string{{"kuma.io/service": "backend"}}},
	}
	resolve := func(_ context.Context, node *corev3.Node) (dataplane.Proxy, error) {
		proxy, ok := records[node.GetId()]
		if !ok {
			return dataplane.Proxy{}, fmt.Errorf("%w: there is no such proxy", token.ErrNotPermitted)
		}
		return proxy, nil
	}
	validator, err := dataplane.NewValidator(keystore.NewMemory())
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	_, err = xdsauth.ServerOptions(dataplane.NewAuthenticator(validator), xdsauth.WithResolver(resolve))
	fmt.Println(err)
	// Output: <nil>
}

// A control plane that stores its proxies compares a token with the stored one too.
func ExampleWithStoredProxies() {
	type key struct{ mesh, name string }
	records := map[key]dataplane.Proxy{
		{"default", "dp-1"}: {Mesh: "default", Name: "dp-1", Labels: map[string]string{"kuma.io/workload": "backend"}},
	}
	lookup := func(_ context.Context, mesh, name string) (dataplane.Proxy, error) {
		proxy, ok := records[key{mesh, name}]
		if !ok {
			return dataplane.Proxy{}, xdsauth.ErrNotStored
		}
		return proxy, nil
	}
	validator, err := dataplane.NewValidator(keystore.NewMemory(), dataplane.WithBoundary(dataplane.AsKuma30()))
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	_, err = xdsauth.ServerOptions(dataplane.NewAuthenticator(validator), xdsauth.WithStoredProxies(lookup))
	fmt.Println(err)
	// Output: <nil>
}

// A zone of Kuma 2 has proxies with dataplane tokens, and an ingress and an egress with
// zone tokens.
func ExampleWithZoneProxies() {
	keys, publicZoneKeys := keystore.NewMemory(), keystore.NewMemory()
	dataplanes, err := dataplane.NewValidator(keys, dataplane.WithBoundary(dataplane.AsKuma214()))
	if err != nil {
		log.Fatal(err)
	}
	defer dataplanes.Close()
	zones, err := zone.NewValidator(publicZoneKeys)
	if err != nil {
		log.Fatal(err)
	}
	defer zones.Close()
	_, err = xdsauth.ServerOptions(dataplane.NewAuthenticator(dataplanes),
		xdsauth.WithZoneProxies(zone.NewAuthenticator(zones), "west"))
	fmt.Println(err)
	// Output: <nil>
}

// What a node's id and metadata say by default.
func ExampleResolveNode() {
	metadata, err := structpb.NewStruct(map[string]any{
		xdsauth.MetadataResource: `{
			"type": "Dataplane", "mesh": "default", "name": "backend-1.ns",
			"labels": {"kuma.io/workload": "backend"},
			"networking": {"address": "10.0.0.1", "inbound": [
				{"port": 8080, "tags": {"kuma.io/service": "backend"}},
				{"port": 9090, "tags": {"kuma.io/service": "backend-admin"}}]}
		}`,
	})
	if err != nil {
		log.Fatal(err)
	}
	proxy, err := xdsauth.ResolveNode(context.Background(), &corev3.Node{Id: "default.backend-1.ns", Metadata: metadata})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(proxy.Mesh, proxy.Name, proxy.Labels)
	for _, tags := range proxy.Inbounds {
		fmt.Println(tags)
	}
	// Output:
	// default backend-1.ns map[kuma.io/workload:backend]
	// map[kuma.io/service:backend]
	// map[kuma.io/service:backend-admin]
}
