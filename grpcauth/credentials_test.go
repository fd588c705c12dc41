package grpcauth_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/grpcauth/internal/loopback"
	"github.com/meshpass/meshpass/token"
)

const sent = "aaa.bbb.ccc"

func TestCredentialsSendTheTokenBareOrAfterBearer(t *testing.T) {
	file := tokenFile(t, "\n\t "+sent+" \r\n")
	for name, c := range map[string]struct {
		creds func() (credentials.PerRPCCredentials, error)
		want  string
	}{
		"a file": {func() (credentials.PerRPCCredentials, error) { return grpcauth.NewTokenFileCredentials(file) }, sent},
		"a file after Bearer": {func() (credentials.PerRPCCredentials, error) {
			return grpcauth.NewTokenFileCredentials(file, grpcauth.WithBearer())
		}, "Bearer " + sent},
		"inline": {func() (credentials.PerRPCCredentials, error) { return grpcauth.NewTokenCredentials(sent + "\n") }, sent},
		"inline after Bearer": {func() (credentials.PerRPCCredentials, error) {
			return grpcauth.NewTokenCredentials(sent, grpcauth.WithBearer())
		}, "Bearer " + sent},
	} {
		t.Run(name, func(t *testing.T) {
			creds, err := c.creds()
			require.NoError(t, err)
			address, got := echo(t)
			for _, how := range []struct {
				dial []grpc.DialOption
				call []grpc.CallOption
			}{
				{dial: []grpc.DialOption{grpc.WithPerRPCCredentials(creds)}},
				{call: []grpc.CallOption{grpc.PerRPCCredentials(creds)}},
			} {
				client := testpb.NewTestServiceClient(loopback.Client(t, address, how.dial...))
				_, err = client.EmptyCall(with(t), &testpb.Empty{}, how.call...)
				require.NoError(t, err)
				assert.Equal(t, []string{c.want}, receive(t, got))
			}
		})
	}
}

func TestAReplacedTokenFileCountsFromTheNextCallOn(t *testing.T) {
	file := tokenFile(t, sent)
	creds, err := grpcauth.NewTokenFileCredentials(file)
	require.NoError(t, err)
	address, got := echo(t)
	client := testpb.NewTestServiceClient(loopback.Client(t, address, grpc.WithPerRPCCredentials(creds)))
	call := func() error {
		_, err := client.EmptyCall(with(t), &testpb.Empty{})
		return err
	}
	require.NoError(t, call())
	assert.Equal(t, []string{sent}, receive(t, got))

	require.NoError(t, os.WriteFile(file+".new", []byte("ddd.eee.fff"), 0o600))
	require.NoError(t, os.Rename(file+".new", file))
	require.NoError(t, call())
	assert.Equal(t, []string{"ddd.eee.fff"}, receive(t, got))

	require.NoError(t, os.Remove(file))
	assert.Equal(t, codes.Unavailable, status.Code(call()), "a removed file is noticed too")
	require.NoError(t, os.WriteFile(file, []byte(sent), 0o600))
	require.NoError(t, call())
}

func TestACallWithoutATokenInTheFileFailsAsUnavailableOnlyIfAskingAgainMayHelp(t *testing.T) {
	folder := t.TempDir()
	for name, c := range map[string]struct {
		file, want string
		code       codes.Code
	}{
		"there is no file":         {filepath.Join(folder, "absent"), "no such file", codes.Unavailable},
		"it is a folder":           {folder, "is not a regular file", codes.Unavailable},
		"it is empty":              {tokenFile(t, ""), "empty", codes.Unavailable},
		"it is white space":        {tokenFile(t, " \n\n"), "empty", codes.Unavailable},
		"it has more than a token": {tokenFile(t, strings.Repeat("a", token.MaxSize+1)), "8193 bytes", codes.Unauthenticated},
		"it is huge":               {tokenFile(t, strings.Repeat("a", 1<<20)), "longer than a token", codes.Unauthenticated},
		"it has two lines":         {tokenFile(t, sent+"\n"+sent), "byte 12 of the token", codes.Unauthenticated},
		"it is binary":             {tokenFile(t, sent+"\x00"), "byte 12 of the token", codes.Unauthenticated},
		"it is not ASCII":          {tokenFile(t, sent+"é"), "byte 12 of the token", codes.Unauthenticated},
		"it is UTF-16":             {tokenFile(t, "\xff\xfea\x00a\x00a\x00"), "save it as UTF-8", codes.Unauthenticated},
		"it is UTF-16, no mark":    {tokenFile(t, "\x00a\x00a\x00a"), "save it as UTF-8", codes.Unauthenticated},
	} {
		t.Run(name, func(t *testing.T) {
			creds, err := grpcauth.NewTokenFileCredentials(c.file, grpcauth.WithInsecureTransport())
			require.NoError(t, err)
			_, err = creds.GetRequestMetadata(context.Background())
			assert.Equal(t, c.code, status.Code(err))
			assert.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), sent)

			_, err = testpb.NewTestServiceClient(plain(t, creds)).EmptyCall(with(t), &testpb.Empty{})
			assert.Equal(t, c.code, status.Code(err))
			assert.ErrorContains(t, err, c.want, "grpc passes it on")
		})
	}
}

func TestAsManyBytesAsATokenMayHaveAreSentWithoutWhatAnEditorPutAroundThem(t *testing.T) {
	longest := strings.Repeat("a", token.MaxSize)
	creds, err := grpcauth.NewTokenFileCredentials(tokenFile(t, "\ufeff"+longest+"\r\n"), grpcauth.WithInsecureTransport())
	require.NoError(t, err)
	md, err := creds.GetRequestMetadata(context.Background())
	require.NoError(t, err)
	assert.Equal(t, longest, md["authorization"])
}

func TestRetriesFindATokenThatComesLater(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	creds, err := grpcauth.NewTokenFileCredentials(file)
	require.NoError(t, err)
	address, got := echo(t)
	attempts := &attempts{second: func() { assert.NoError(t, os.WriteFile(file, []byte(sent), 0o600)) }}
	client := testpb.NewTestServiceClient(loopback.Client(t, address, grpc.WithPerRPCCredentials(creds),
		grpc.WithStatsHandler(attempts), grpc.WithDefaultServiceConfig(`{"methodConfig": [{"name": [{}], "retryPolicy": {
			"maxAttempts": 5, "initialBackoff": "0.01s", "maxBackoff": "0.01s", "backoffMultiplier": 1,
			"retryableStatusCodes": ["UNAVAILABLE"]}}]}`)))
	_, err = client.EmptyCall(with(t), &testpb.Empty{})
	require.NoError(t, err)
	assert.Equal(t, []string{sent}, receive(t, got))
	assert.GreaterOrEqual(t, attempts.begun.Load(), int32(2))
}

// attempts counts the attempts at a call.
type attempts struct {
	begun  atomic.Int32
	second func()
}

func (a *attempts) HandleRPC(_ context.Context, s stats.RPCStats) {
	if _, ok := s.(*stats.Begin); ok && a.begun.Add(1) == 2 {
		a.second()
	}
}
func (a *attempts) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (a *attempts) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (a *attempts) HandleConn(context.Context, stats.ConnStats)                       {}

func TestATokenDoesNotTravelWithoutTLSUnlessToldTo(t *testing.T) {
	creds, err := grpcauth.NewTokenCredentials(sent)
	require.NoError(t, err)
	require.True(t, creds.RequireTransportSecurity())
	_, err = grpc.NewClient("passthrough:///nowhere", grpc.WithPerRPCCredentials(creds),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.ErrorContains(t, err, "transport level security")
	_, err = creds.GetRequestMetadata(context.Background())
	require.Equal(t, codes.Unauthenticated, status.Code(err), "asked directly")

	without := plain(t, nil)
	_, err = testpb.NewTestServiceClient(without).EmptyCall(with(t), &testpb.Empty{}, grpc.PerRPCCredentials(creds))
	require.Equal(t, codes.Unauthenticated, status.Code(err), "as an option of one call")

	creds, err = grpcauth.NewTokenCredentials(sent, grpcauth.WithInsecureTransport())
	require.NoError(t, err)
	_, err = testpb.NewTestServiceClient(plain(t, creds)).EmptyCall(with(t), &testpb.Empty{})
	require.NoError(t, err)
}

func TestUnusableArgumentsOfCredentialsAreRefused(t *testing.T) {
	_, err := grpcauth.NewTokenFileCredentials("")
	require.ErrorContains(t, err, "no name")
	g := newGlobal(t)
	raw := g.issue(time.Hour)
	_, err = grpcauth.NewTokenFileCredentials(raw + "\n")
	require.EqualError(t, err, "grpcauth: the name of the token file is a token, want a path; NewTokenCredentials takes a token")
	for raw, want := range map[string]string{
		"":                                   "empty",
		" \n":                                "empty",
		"aaa bbb":                            "byte 4",
		strings.Repeat("a", token.MaxSize+1): "8193 bytes",
	} {
		_, err := grpcauth.NewTokenCredentials(raw)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "aaa")
	}
}

func TestCredentialsPrintNoToken(t *testing.T) {
	inline, err := grpcauth.NewTokenCredentials(sent)
	require.NoError(t, err)
	file, err := grpcauth.NewTokenFileCredentials(tokenFile(t, sent))
	require.NoError(t, err)
	for _, creds := range []credentials.PerRPCCredentials{inline, file} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+" "+verb+"\n", creds, []any{creds})
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("connecting", "credentials", creds)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("connecting", "credentials", creds)
		text, err := json.Marshal(creds)
		require.NoError(t, err)
		out.Write(text)
		assert.NotContains(t, out.String(), "aaa")
		assert.NotContains(t, out.String(), fmt.Sprintf("%x", "aaa"))
	}
}

func tokenFile(t *testing.T, content string) string {
	path := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// echo serves over TLS, and tells what authorization calls bring.
func echo(t *testing.T) (address string, got <-chan []string) {
	values := make(chan []string, 10)
	service := &testService{unary: func(ctx context.Context) error {
		values <- metadata.ValueFromIncomingContext(ctx, "authorization")
		return nil
	}}
	return loopback.Server(t, func(s *grpc.Server) { testpb.RegisterTestServiceServer(s, service) }), values
}

// plain connects to a server without TLS, with credentials if there are any.
func plain(t *testing.T, creds credentials.PerRPCCredentials) *grpc.ClientConn {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	testpb.RegisterTestServiceServer(server, &testService{unary: func(context.Context) error { return nil }})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if creds != nil {
		options = append(options, grpc.WithPerRPCCredentials(creds))
	}
	conn, err := grpc.NewClient(listener.Addr().String(), options...)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestAServerTakesWhatCredentialsSendAndAReplacedFileReconnects(t *testing.T) {
	g := newGlobal(t)
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		if err := stream.Send(&testpb.StreamingOutputCallResponse{}); err != nil {
			return err
		}
		<-stream.Context().Done()
		return nil
	}
	g.serve(byZone(g))
	first := g.issue(time.Hour)
	file := tokenFile(t, first+"\n")
	creds, err := grpcauth.NewTokenFileCredentials(file, grpcauth.WithBearer())
	require.NoError(t, err)
	open := func() testpb.TestService_FullDuplexCallClient {
		stream, err := g.client().FullDuplexCall(with(t, "client-id", west), grpc.PerRPCCredentials(creds))
		require.NoError(t, err)
		return stream
	}
	stream := open()
	_, err = stream.Recv()
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, []byte(g.issue(time.Hour)), 0o600))
	g.revoke(first)
	require.Equal(t, codes.Unauthenticated, endOf(stream).Code())
	_, err = open().Recv()
	require.NoError(t, err)
}
