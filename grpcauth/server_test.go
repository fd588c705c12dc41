package grpcauth_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/grpcauth/internal/loopback"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

const (
	patience = 20 * time.Second // for what ought to happen at once
	west     = "west"
)

// global is a global control plane: a store with a zone key, a validator that follows it, and
// a server with the services that a test gives it.
type global struct {
	tb        testing.TB
	store     *outageStore
	issuer    zone.Issuer
	validator zone.Validator
	log       *logtest.Buffer

	service testService
	around  []grpc.StreamServerInterceptor // outside of the authentication
	options []grpc.ServerOption
	server  *grpc.Server
	conn    *grpc.ClientConn
}

func newGlobal(tb testing.TB, options ...zone.ValidatorOption) *global {
	g := &global{tb: tb, store: &outageStore{Memory: keystore.NewMemory()}, log: &logtest.Buffer{}}
	g.addKey(1, zoneKey())
	var err error
	g.issuer, err = zone.NewIssuer(g.store.Memory)
	require.NoError(tb, err)
	options = append([]zone.ValidatorOption{zone.WithLogger(g.log.Logger()), zone.WithLeeway(0)}, options...)
	g.validator, err = zone.NewValidator(g.store, options...)
	require.NoError(tb, err)
	tb.Cleanup(func() { g.validator.Close() })
	return g
}

var zoneKey = sync.OnceValue(generate)

func generate() *signing.PrivateKey {
	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		panic(err)
	}
	return key
}

func (g *global) addKey(serial signing.Serial, key *signing.PrivateKey) {
	pem, err := key.PEM()
	require.NoError(g.tb, err)
	_, err = g.store.Create(context.Background(),
		keystore.Record{Scope: keystore.Global, Name: signing.ZoneKeys().KeyName(serial), Data: pem})
	require.NoError(g.tb, err)
}

// issue makes a token of zone west for its control plane.
func (g *global) issue(validFor time.Duration) string {
	issued, err := g.issuer.Issue(context.Background(), token.Zone{Zone: west, Scope: []string{zone.ScopeCP}}, validFor)
	require.NoError(g.tb, err)
	return issued.Token
}

func (g *global) removeKey(serial signing.Serial) {
	require.NoError(g.tb, g.store.Delete(context.Background(), keystore.Global, signing.ZoneKeys().KeyName(serial)))
}

func (g *global) revoke(raw string) {
	require.NoError(g.tb, zone.Revoke(context.Background(), g.store, idOf(g.tb, raw)))
}

// cutOff revokes all tokens of zone west that were issued so far.
func (g *global) cutOff() {
	_, err := zone.CutOff(context.Background(), g.store, zone.Cutoff{Before: time.Now().Add(token.Skew), Zone: west})
	require.NoError(g.tb, err)
}

func idOf(tb testing.TB, raw string) string {
	unverified, err := token.ParseUnverified(raw)
	require.NoError(tb, err)
	claims, err := unverified.Claims()
	require.NoError(tb, err)
	return claims.ID
}

// serve starts the server, with an authenticator, and connects to it.
func (g *global) serve(auth grpcauth.AuthFunc, options ...grpcauth.Option) {
	options = append([]grpcauth.Option{grpcauth.WithLogger(g.log.Logger())}, options...)
	guards, err := grpcauth.ServerOptions(auth, append(options, way()...)...)
	require.NoError(g.tb, err)
	all := append(g.options, grpc.ChainStreamInterceptor(g.around...))
	address := loopback.Server(g.tb, func(s *grpc.Server) {
		g.server = s
		testpb.RegisterTestServiceServer(s, &g.service)
		healthpb.RegisterHealthServer(s, health.NewServer())
		reflection.Register(s)
	}, append(all, guards...)...)
	g.conn = loopback.Client(g.tb, address)
}

// connect returns when there is a connection, so that the next call takes no longer than
// others do.
func (g *global) connect() {
	g.conn.Connect()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for state := g.conn.GetState(); state != connectivity.Ready; state = g.conn.GetState() {
		require.True(g.tb, g.conn.WaitForStateChange(ctx, state), "no connection, the last state is %s", state)
	}
}

func (g *global) client() testpb.TestServiceClient { return testpb.NewTestServiceClient(g.conn) }

// open opens a stream as zone west.
func (g *global) open(raw string) testpb.TestService_FullDuplexCallClient {
	stream, err := g.client().FullDuplexCall(asWest(g.tb, raw))
	require.NoError(g.tb, err)
	return stream
}

// asWest is a context with the metadata that zone west sends.
func asWest(tb testing.TB, raw string) context.Context {
	return with(tb, "authorization", raw, "client-id", west)
}

// with is a context with outgoing metadata that ends when the test runs out of patience.
func with(tb testing.TB, pairs ...string) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

// endOf receives until a stream ends, and returns how it did.
func endOf(stream testpb.TestService_FullDuplexCallClient) *status.Status {
	for {
		if _, err := stream.Recv(); err != nil {
			return status.Convert(err)
		}
	}
}

// testService is what handlers of the tests make it.
type testService struct {
	testpb.UnimplementedTestServiceServer
	unary  func(context.Context) error
	stream func(testpb.TestService_FullDuplexCallServer) error
}

func (s *testService) EmptyCall(ctx context.Context, _ *testpb.Empty) (*testpb.Empty, error) {
	if err := s.unary(ctx); err != nil {
		return nil, err
	}
	return &testpb.Empty{}, nil
}

func (s *testService) FullDuplexCall(stream testpb.TestService_FullDuplexCallServer) error {
	return s.stream(stream)
}

// outageStore is a memory store that cannot be read while it is down.
type outageStore struct {
	*keystore.Memory
	down atomic.Bool
}

var errDown = errors.New("the store is down")

func (s *outageStore) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if s.down.Load() {
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

// byZone authenticates the control planes of zones.
func byZone(g *global) grpcauth.AuthFunc {
	return grpcauth.Zone(zone.NewAuthenticator(g.validator), zone.ScopeCP)
}
