package main

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/token"
)

func TestTheAdminAPIAnswersOnlyToItsSecret(t *testing.T) {
	t.Parallel()
	cp := start(t)
	secret := strings.TrimSpace(string(cp.read(t, "admin.secret")))
	cp.requireDenied(t, "", "x", secret[1:], secret+"x")

	_, err := cp.api.IssueZone(t.Context(), token.Zone{Zone: "west", Scope: []string{"cp"}}, time.Hour)
	require.NoError(t, err)
	code, answer := cp.request(t, cp.web, "GET", "/metrics", "")
	require.Equal(t, http.StatusOK, code)
	require.Contains(t, answer, `meshpass_issuances_total{class="issued",kind="zone",mesh="",reason=""} 1`)
}

func TestAnEmptySecretOpensNothing(t *testing.T) {
	t.Parallel()
	cp := prepare(t)
	cp.write(t, "admin.secret", "\n")
	cp.start(t)
	cp.requireDenied(t, "", "x")
}

func (cp *controlPlane) requireDenied(t *testing.T, secrets ...string) {
	for _, secret := range secrets {
		client := cp.clientWith(secret)
		for _, request := range [][2]string{{"POST", "/tokens/dataplane"}, {"PUT", "/configuration"}, {"GET", "/metrics"}, {"GET", "/"}} {
			code, _ := cp.request(t, client, request[0], request[1], "")
			require.Equal(t, http.StatusUnauthorized, code, "secret %q: %s", secret, request)
		}
	}
}

func TestWhatIsNoConfigurationIsRefused(t *testing.T) {
	t.Parallel()
	cp := start(t)
	for _, document := range []string{``, `{`, `{"resource": []}`, `{"resources": [{"@type": "type.googleapis.com/none.Such"}]}`,
		`{"resources": [{"@type": "type.googleapis.com/envoy.config.core.v3.Node"}]}`} {
		code, answer := cp.request(t, cp.web, "PUT", "/configuration", document)
		require.Equal(t, http.StatusBadRequest, code, document)
		require.NotEmpty(t, answer)
	}
}

func TestAZoneFollowsTheConfigurationUntilItsTokenIsRevoked(t *testing.T) {
	t.Parallel()
	cp := start(t)
	conn, err := grpc.NewClient(cp.streams, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: cp.roots})))
	require.NoError(t, err)
	defer conn.Close()
	issued, err := cp.api.IssueZone(t.Context(), token.Zone{Zone: "west", Scope: []string{"cp"}}, time.Hour)
	require.NoError(t, err)

	zone := openStream(t, conn, "minimal.ZoneDiscoveryService", issued.Token)
	for _, document := range []string{"backend.json", "backend.json"} {
		code, answer := cp.request(t, cp.web, "PUT", "/configuration", string(cp.read(t, document)))
		require.Equal(t, http.StatusOK, code, answer)
		var got discovery.DiscoveryResponse
		require.NoError(t, zone.RecvMsg(&got))
		require.Len(t, got.GetResources(), 1)
		require.NoError(t, zone.SendMsg(&discovery.DiscoveryRequest{TypeUrl: resource.ClusterType,
			VersionInfo: got.GetVersionInfo(), ResponseNonce: got.GetNonce()}))
	}
	require.NoError(t, cp.api.RevokeZone(t.Context(), issued.ID))
	require.Equal(t, codes.Unauthenticated, status.Code(zone.RecvMsg(&discovery.DiscoveryResponse{})))
}

func TestNeitherKindOfTokenOpensTheServiceOfTheOther(t *testing.T) {
	t.Parallel()
	cp := start(t)
	conn, err := grpc.NewClient(cp.streams, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: cp.roots})))
	require.NoError(t, err)
	defer conn.Close()
	ofZone, err := cp.api.IssueZone(t.Context(), token.Zone{Zone: "west", Scope: []string{"cp"}}, time.Hour)
	require.NoError(t, err)
	ofProxy := cp.issue(t, time.Hour)
	for service, raw := range map[string]string{
		"minimal.ZoneDiscoveryService":                               ofProxy.Token,
		discovery.AggregatedDiscoveryService_ServiceDesc.ServiceName: ofZone.Token,
	} {
		stream := openStream(t, conn, service, raw)
		require.Equal(t, codes.Unauthenticated, status.Code(stream.RecvMsg(&discovery.DiscoveryResponse{})), service)
	}
}

func TestTheKeysRotateOnTheScheduleOfTheSettings(t *testing.T) {
	t.Parallel()
	cp := start(t, "every: 720h", "every: 1s", "publishdelay: 1m", "publishdelay: 0s")
	for _, kind := range []string{"kind=dataplane mesh=default", "kind=zone"} {
		cp.log.rewind()
		cp.log.await(t, "audit: done", `action="add key"`, kind, "kid=2")
	}
}

// openStream opens a stream of state-of-the-world xDS as zone west and as node
// default.client-1, and asks for clusters.
func openStream(t *testing.T, conn *grpc.ClientConn, service, raw string) grpc.ClientStream {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+raw, "client-id", "west")
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/"+service+"/StreamAggregatedResources")
	require.NoError(t, err)
	err = stream.SendMsg(&discovery.DiscoveryRequest{Node: &corev3.Node{Id: "default.client-1"}, TypeUrl: resource.ClusterType})
	if !errors.Is(err, io.EOF) { // which means that RecvMsg has the status of a refusal
		require.NoError(t, err)
	}
	return stream
}
