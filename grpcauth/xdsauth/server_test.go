package xdsauth_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	clusterservicev3 "github.com/envoyproxy/go-control-plane/envoy/service/cluster/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	cachev3 "github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	resourcev3 "github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	serverv3 "github.com/envoyproxy/go-control-plane/pkg/server/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth/internal/loopback"
	"github.com/meshpass/meshpass/grpcauth/xdsauth"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const patience = 20 * time.Second // for what ought to happen at once

// zoneCP is a zone control plane: a store with a key of mesh default, a validator that
// follows it, and an xDS server with a snapshot that is the same for every proxy.
type zoneCP struct {
	tb        testing.TB
	store     *outageStore
	issuer    dataplane.Issuer
	validator dataplane.Validator
	log       *logtest.Buffer

	snapshots cachev3.SnapshotCache
	callbacks serverv3.CallbackFuncs
	conn      *grpc.ClientConn
}

func newZoneCP(tb testing.TB, options ...dataplane.ValidatorOption) *zoneCP {
	z := &zoneCP{tb: tb, store: &outageStore{Memory: keystore.NewMemory()}, log: &logtest.Buffer{}}
	addKey(tb, z.store, "default", 1, meshKey())
	addKey(tb, z.store, "other", 1, otherMeshKey())
	var err error
	z.issuer, err = dataplane.NewIssuer(z.store.Memory, dataplane.WithLogger(z.log.Logger()))
	require.NoError(tb, err)
	options = append([]dataplane.ValidatorOption{dataplane.WithLogger(z.log.Logger()), dataplane.WithLeeway(0)}, options...)
	z.validator, err = dataplane.NewValidator(z.store, options...)
	require.NoError(tb, err)
	tb.Cleanup(func() { z.validator.Close() })
	z.snapshots = cachev3.NewSnapshotCache(false, everyNode{}, nil)
	z.publish("1")
	return z
}

var (
	meshKey      = sync.OnceValue(generate)
	otherMeshKey = sync.OnceValue(generate)
)

func generate() *signing.PrivateKey {
	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		panic(err)
	}
	return key
}

func addKey(tb testing.TB, store keystore.KeyStore, mesh string, serial signing.Serial, key *signing.PrivateKey) {
	pem, err := key.PEM()
	require.NoError(tb, err)
	_, err = store.Create(context.Background(),
		keystore.Record{Scope: keystore.Scope(mesh), Name: signing.DataplaneKeys(mesh).KeyName(serial), Data: pem})
	require.NoError(tb, err)
}

func removeKey(tb testing.TB, store keystore.KeyStore, mesh string, serial signing.Serial) {
	require.NoError(tb, store.Delete(context.Background(), keystore.Scope(mesh), signing.DataplaneKeys(mesh).KeyName(serial)))
}

// publish gives all proxies a cluster of the version's name.
func (z *zoneCP) publish(version string) {
	snapshot, err := cachev3.NewSnapshot(version, map[resourcev3.Type][]types.Resource{
		resourcev3.ClusterType: {&clusterv3.Cluster{Name: "version-" + version}},
	})
	require.NoError(z.tb, err)
	require.NoError(z.tb, z.snapshots.SetSnapshot(context.Background(), "every", snapshot))
}

// everyNode serves every node the same.
type everyNode struct{}

func (everyNode) ID(*corev3.Node) string { return "every" }

// issue makes a token of mesh default.
func (z *zoneCP) issue(claims token.Dataplane, validFor time.Duration) string {
	if claims.Mesh == "" {
		claims.Mesh = "default"
	}
	issued, err := z.issuer.Issue(context.Background(), claims, validFor)
	require.NoError(z.tb, err)
	return issued.Token
}

func (z *zoneCP) revoke(raw string) {
	require.NoError(z.tb, dataplane.Revoke(context.Background(), z.store, "default", idOf(z.tb, raw)))
}

// cutOff revokes all tokens of a proxy that were issued so far.
func (z *zoneCP) cutOff(name string) {
	_, err := dataplane.CutOff(context.Background(), z.store, "default", dataplane.Cutoff{Before: time.Now().Add(token.Skew), Name: name})
	require.NoError(z.tb, err)
}

func idOf(tb testing.TB, raw string) string {
	unverified, err := token.ParseUnverified(raw)
	require.NoError(tb, err)
	claims, err := unverified.Claims()
	require.NoError(tb, err)
	return claims.ID
}

// serve starts go-control-plane's server and connects to it.
func (z *zoneCP) serve(options ...xdsauth.Option) {
	options = append([]xdsauth.Option{xdsauth.WithLogger(z.log.Logger())}, options...)
	guards := guardsOf(z.tb, dataplane.NewAuthenticator(z.validator), options...)
	server := serverv3.NewServer(context.Background(), z.snapshots, z.callbacks)
	z.serveXDS(server, guards)
}

func (z *zoneCP) serveXDS(server serverv3.Server, options []grpc.ServerOption) {
	address := loopback.Server(z.tb, func(s *grpc.Server) {
		discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, server)
		clusterservicev3.RegisterClusterDiscoveryServiceServer(s, server)
		healthpb.RegisterHealthServer(s, health.NewServer())
	}, options...)
	z.conn = loopback.Client(z.tb, address)
}

// proxy is an open stream of either variant of the protocol.
type proxy interface {
	// request asks for clusters, as a node, which may be nil.
	request(node *corev3.Node) error
	// receive returns the name of the cluster that comes, and acknowledges it.
	receive() (string, error)
}

type variant struct {
	name string
	open func(ctx context.Context, conn *grpc.ClientConn) (proxy, error)
}

var variants = []variant{
	{"state of the world", func(ctx context.Context, conn *grpc.ClientConn) (proxy, error) {
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
		return &sotwProxy{stream}, err
	}},
	{"delta", func(ctx context.Context, conn *grpc.ClientConn) (proxy, error) {
		stream, err := discoveryv3.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
		return &deltaProxy{stream}, err
	}},
}

type sotwProxy struct {
	stream discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesClient
}

func (p *sotwProxy) request(node *corev3.Node) error {
	return p.stream.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: resourcev3.ClusterType})
}

func (p *sotwProxy) receive() (string, error) {
	response, err := p.stream.Recv()
	if err != nil {
		return "", err
	}
	_ = p.stream.Send(&discoveryv3.DiscoveryRequest{TypeUrl: resourcev3.ClusterType,
		VersionInfo: response.VersionInfo, ResponseNonce: response.Nonce})
	return clusterIn(response.Resources[0].Value)
}

type deltaProxy struct {
	stream discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
}

func (p *deltaProxy) request(node *corev3.Node) error {
	return p.stream.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: resourcev3.ClusterType})
}

func (p *deltaProxy) receive() (string, error) {
	response, err := p.stream.Recv()
	if err != nil {
		return "", err
	}
	_ = p.stream.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: resourcev3.ClusterType, ResponseNonce: response.Nonce})
	if len(response.Resources) == 0 {
		return "", nil // nothing new
	}
	return clusterIn(response.Resources[0].Resource.Value)
}

func clusterIn(data []byte) (string, error) {
	var cluster clusterv3.Cluster
	err := proto.Unmarshal(data, &cluster)
	return cluster.Name, err
}

// open opens a stream with a token, which may be empty.
func (z *zoneCP) open(v variant, raw string) proxy {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	z.tb.Cleanup(cancel)
	if raw != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", raw)
	}
	p, err := v.open(ctx, z.conn)
	require.NoError(z.tb, err)
	return p
}

// welcome opens a stream as a node and receives the first cluster.
func (z *zoneCP) welcome(v variant, raw string, node *corev3.Node) proxy {
	p := z.open(v, raw)
	require.NoError(z.tb, p.request(node))
	cluster, err := p.receive()
	require.NoError(z.tb, err)
	require.Equal(z.tb, "version-1", cluster)
	return p
}

// endOf receives until a stream ends, and returns how it did.
func endOf(p proxy) *status.Status {
	for {
		if _, err := p.receive(); err != nil {
			return status.Convert(err)
		}
	}
}

// node is that of a proxy in mesh default, with metadata.
func node(id string, fields map[string]any) *corev3.Node {
	metadata, err := structpb.NewStruct(fields)
	if err != nil {
		panic(err)
	}
	return &corev3.Node{Id: id, Metadata: metadata}
}

// described is the node of a proxy, with what kuma-dp sends about it.
func described(proxy dataplane.Proxy) *corev3.Node {
	fields := map[string]any{xdsauth.MetadataResource: dataplaneJSON(proxy)}
	if proxy.Type != "" {
		fields[xdsauth.MetadataType] = proxy.Type
	}
	return node(proxy.Mesh+"."+proxy.Name, fields)
}

// dataplaneJSON is the resource of a proxy.
func dataplaneJSON(proxy dataplane.Proxy) string {
	inbounds := []any{}
	for _, tags := range proxy.Inbounds {
		inbounds = append(inbounds, map[string]any{"port": 8080, "tags": tags})
	}
	resource := map[string]any{"type": "Dataplane", "mesh": proxy.Mesh, "name": proxy.Name,
		"creationTime": "0001-01-01T00:00:00Z", "modificationTime": "0001-01-01T00:00:00Z",
		"networking": map[string]any{"address": "127.0.0.1", "inbound": inbounds}}
	if proxy.Labels != nil {
		resource["labels"] = proxy.Labels
	}
	text, err := json.Marshal(resource)
	if err != nil {
		panic(err)
	}
	return string(text)
}

// dp1 is the node of proxy dp-1 in mesh default, with the tags of its inbounds.
func dp1(inbounds ...map[string]string) *corev3.Node {
	return described(dataplane.Proxy{Mesh: "default", Name: "dp-1", Inbounds: inbounds})
}

// outageStore is a memory store that cannot be read while it is down.
type outageStore struct {
	*keystore.Memory
	down   atomic.Bool
	failed atomic.Int64 // reads
}

var errDown = errors.New("the store is down")

func (s *outageStore) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if s.down.Load() {
		s.failed.Add(1)
		return nil, errDown
	}
	return s.Memory.List(ctx, scope, prefix)
}

func (s *outageStore) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin) // by way of List
}

// receive waits for something that ought to come.
func receive[T any](tb testing.TB, from <-chan T) T {
	tb.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		require.FailNow(tb, "nothing came")
		panic("unreachable")
	}
}
