package main

import (
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// serveGlobal serves zones in this process, with a certificate of a name.
func serveGlobal(t *testing.T, ca *authority, name string, auth *zoneAuthentication, store keystore.KeyStore) (address string) {
	file := filepath.Join(t.TempDir(), "server.pem")
	require.NoError(t, ca.issue(name, file))
	creds, err := serverTLS(file)
	require.NoError(t, err)
	guards, err := grpcauth.ServerOptions(auth.authenticate, grpcauth.WithLogger(quiet))
	require.NoError(t, err)
	published := newPublisher(store, quiet)
	ctx, cancel := context.WithCancel(context.Background())
	followed := make(chan error, 1)
	go func() { followed <- published.run(ctx) }()
	server := grpc.NewServer(serverOptions(creds, guards)...)
	server.RegisterService(&zoneSyncDesc, &globalServer{published, quiet})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		cancel()
		require.NoError(t, <-followed)
	})
	return listener.Addr().String()
}

// authorityIn makes a CA, with its certificate in a file.
func authorityIn(t *testing.T) (ca *authority, file string) {
	file = filepath.Join(t.TempDir(), "ca.pem")
	ca, err := newAuthority(file)
	require.NoError(t, err)
	return ca, file
}

// zoneClient is that of zone west, whose store nobody else writes.
func zoneClient(t *testing.T, address, caFile, tokenFile string) *globalClient {
	creds, err := clientTLS(caFile, globalName)
	require.NoError(t, err)
	return &globalClient{zone: "west", address: address, creds: creds, tokenFile: tokenFile, store: keystore.NewMemory(), log: quiet}
}

func TestZoneDoesNotTalkToAGlobalThatItsCADoesNotVouchFor(t *testing.T) {
	auth, _ := zoneAuth(t, authNone)
	ca, caFile := authorityIn(t)
	_, otherFile := authorityIn(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	address := serveGlobal(t, ca, globalName, auth, globalStore(t))
	stream, err := zoneClient(t, address, caFile, "").open(ctx)
	require.NoError(t, err)
	stream.release()
	_, err = zoneClient(t, address, otherFile, "").open(ctx)
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.ErrorContains(t, err, "certificate")

	posing := serveGlobal(t, ca, zoneName("east"), auth, globalStore(t))
	_, err = zoneClient(t, posing, caFile, "").open(ctx)
	require.ErrorContains(t, err, zoneName("east"), "another zone's certificate will not do")
}

func TestACutoffAtTheGlobalEndsSessionsInAZoneOnceTheZoneHasIt(t *testing.T) {
	auth, _ := zoneAuth(t, authNone)
	ca, caFile := authorityIn(t)
	global := globalStore(t)
	client := zoneClient(t, serveGlobal(t, ca, globalName, auth, global), caFile, "")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- client.run(ctx) }()

	proxies, err := dataplane.NewIssuer(global)
	require.NoError(t, err)
	zones, err := zone.NewIssuer(global)
	require.NoError(t, err)
	ofProxy, err := proxies.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	require.NoError(t, err)
	ofIngress, err := zones.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeIngress}}, time.Hour)
	require.NoError(t, err)
	byMesh, err := dataplane.NewValidator(client.store, dataplane.WithLogger(quiet))
	require.NoError(t, err)
	defer byMesh.Close()
	byZone, err := zone.NewValidator(client.store, zone.WithLogger(quiet))
	require.NoError(t, err)
	defer byZone.Close()
	var proxy dataplane.Verified
	var ingress zone.Verified
	validate := func() bool {
		var errProxy, errIngress error
		proxy, errProxy = byMesh.Validate(ctx, "default", ofProxy.Token)
		ingress, errIngress = byZone.Validate(ctx, "west", zone.ScopeIngress, ofIngress.Token)
		return errProxy == nil && errIngress == nil
	}
	require.Eventually(t, validate, time.Minute, 10*time.Millisecond)
	sessionOfProxy, release := proxy.Bind(ctx)
	defer release()
	sessionOfIngress, release := ingress.Bind(ctx)
	defer release()

	cutoff, err := dataplane.CutOff(ctx, global, "default", dataplane.Cutoff{Before: time.Now().Add(token.Skew), Name: "dp-1"})
	require.NoError(t, err)
	<-sessionOfProxy.Done()
	require.ErrorIs(t, context.Cause(sessionOfProxy), token.ErrRevoked)
	require.NoError(t, sessionOfIngress.Err())
	cutoffOfZone, err := zone.CutOff(ctx, global, zone.Cutoff{Before: time.Now().Add(token.Skew), Zone: "west"})
	require.NoError(t, err)
	<-sessionOfIngress.Done()
	require.ErrorIs(t, context.Cause(sessionOfIngress), token.ErrRevoked)

	require.NoError(t, dataplane.RemoveCutoff(ctx, global, "default", cutoff))
	require.NoError(t, zone.RemoveCutoff(ctx, global, cutoffOfZone))
	require.Eventually(t, validate, time.Minute, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-ended)
}

func TestZoneKeepsItsStreamWhenABadTokenReplacesAGoodOne(t *testing.T) {
	auth, raw := zoneAuth(t, authCPToken)
	ca, caFile := authorityIn(t)
	address := serveGlobal(t, ca, globalName, auth, globalStore(t))
	tokenFile := filepath.Join(t.TempDir(), "token")
	require.NoError(t, replaceFile(tokenFile, raw))
	refused := make(chan string, 1)
	client := zoneClient(t, address, caFile, tokenFile)
	client.log = logMessages(refused, "no stream from the global control plane")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- client.run(ctx) }()
	require.Eventually(t, client.connected.Load, time.Minute, 10*time.Millisecond)

	require.NoError(t, replaceFile(tokenFile, "bad"))
	select {
	case <-refused:
	case <-ctx.Done():
		require.FailNow(t, "the bad token was not tried")
	}
	require.True(t, client.connected.Load())
	cancel()
	require.NoError(t, <-ended)
}

// logMessages is a logger that hands on the messages that are wanted.
func logMessages(to chan<- string, wanted string) *slog.Logger {
	return slog.New(messages{slog.DiscardHandler, to, wanted})
}

type messages struct {
	slog.Handler
	to     chan<- string
	wanted string
}

func (messages) Enabled(context.Context, slog.Level) bool { return true }

func (m messages) Handle(_ context.Context, r slog.Record) error {
	if r.Message == m.wanted {
		select {
		case m.to <- r.Message:
		default:
		}
	}
	return nil
}
