package grpcauth_test

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/internal/test/kumacases"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// answer makes a unary call and opens a stream with some metadata. It returns how the
// server answers both, which must be the same.
func (g *global) answer(pairs []string, options ...grpc.CallOption) codes.Code {
	g.tb.Helper()
	_, err := g.client().EmptyCall(with(g.tb, pairs...), &testpb.Empty{}, options...)
	stream, streamErr := g.client().FullDuplexCall(with(g.tb, pairs...), options...)
	if streamErr == nil {
		_, streamErr = stream.Recv()
	}
	require.Equal(g.tb, status.Code(err), status.Code(streamErr), "%v; %v", err, streamErr)
	return status.Code(err)
}

// The cases of Kuma's tests in which a zone control plane connects to the global one.
func TestTheCasesOfKumasOwnTestsOfKDSAreAsTheDocumentSays(t *testing.T) {
	g := newGlobal(t)
	g.service.unary = func(context.Context) error { return nil }
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		return stream.Send(&testpb.StreamingOutputCallResponse{})
	}
	g.serve(byZone(g))

	outcomes := map[string]kumacases.Outcome{}
	// said keeps what a case has come to: Kuma's code, and the one here.
	said := func(id string, kuma, want, code codes.Code) {
		t.Helper()
		require.Equal(t, want, code, id)
		outcomes[id] = kumacases.Outcome{Kuma: kuma == codes.OK, Meshpass: code == codes.OK}
	}
	as := func(zone string, tokens ...string) (pairs []string) {
		for _, raw := range tokens {
			pairs = append(pairs, "authorization", raw)
		}
		return append(pairs, "client-id", zone)
	}
	issue := func(scope ...string) string {
		issued, err := g.issuer.Issue(t.Context(), token.Zone{Zone: west, Scope: scope}, time.Hour)
		require.NoError(t, err)
		return issued.Token
	}
	good := issue(zone.ScopeCP)
	said("K1", codes.OK, codes.OK, g.answer(as(west, good)))
	said("K2", codes.OK, codes.OK, g.answer(as(west, issue("other", zone.ScopeCP))))
	said("K3", codes.OK, codes.OK, g.answer(as(west, "Bearer "+good)))
	said("K4", codes.PermissionDenied, codes.PermissionDenied, g.answer(as("east", good)))
	said("K5", codes.PermissionDenied, codes.PermissionDenied, g.answer(as(west, issue("other"))))
	said("K7", codes.Unauthenticated, codes.Unauthenticated, g.answer(as(west,
		forge.Token(`{"alg":"HS256","typ":"JWT"}`, `{"Zone":"west","TokenSerialNumber":1}`, forge.HS256([]byte("secret"))))))
	said("K8", codes.Unauthenticated, codes.Unauthenticated, g.answer(as(west)))
	said("K9", codes.Unauthenticated, codes.Unauthenticated, g.answer(as(west, good, good)))
	said("K10", codes.Unauthenticated, codes.Unauthenticated, g.answer(as(west, "zone-2-token")))
	said("K11", codes.InvalidArgument, codes.Unauthenticated, g.answer([]string{"authorization", good}))

	// Signed offline, with the key of the test process.
	private, err := signing.NewPrivateKey(forge.Key())
	require.NoError(t, err)
	other, err := signing.NewPrivateKey(forge.OtherKey())
	require.NoError(t, err)
	configured, err := zone.NewOfflineValidator(zone.WithPublicKey("1", private.Public()), zone.WithLogger(g.log.Logger()))
	require.NoError(t, err)
	defer configured.Close()
	offline := func(key *signing.PrivateKey, kid string) string {
		issuer, err := zone.NewOfflineIssuer(key, kid)
		require.NoError(t, err)
		issued, err := issuer.Issue(t.Context(), token.Zone{Zone: west, Scope: []string{zone.ScopeCP}}, time.Hour)
		require.NoError(t, err)
		return issued.Token
	}
	g.serve(grpcauth.Zone(zone.NewAuthenticator(configured), zone.ScopeCP))
	said("K20", codes.OK, codes.OK, g.answer(as(west, offline(private, "1"))))
	said("K21", codes.Unauthenticated, codes.Unauthenticated, g.answer(as(west, offline(other, "1"))))
	said("K22", codes.Unauthenticated, codes.Unauthenticated, g.answer(as(west, offline(private, "2"))))
	// No issuer here makes such a token.
	said("K6", codes.PermissionDenied, codes.PermissionDenied, g.answer(as(west, forge.Token(`{"alg":"RS256","kid":"1","typ":"JWT"}`,
		`{"Zone":"west","Scope":null,"exp":4102444800,"jti":"an-id"}`, forge.RS256(forge.Key())))))

	// An authenticator of the operator's own.
	refuses := func(err error) grpcauth.AuthFunc {
		return func(context.Context, string) (grpcauth.Identity, error) { return nil, err }
	}
	g.serve(refuses(token.ErrNotPermitted))
	said("K12", codes.PermissionDenied, codes.PermissionDenied, g.answer(as(west)))
	g.serve(refuses(status.Error(codes.PermissionDenied, "denied")))
	said("K13", codes.PermissionDenied, codes.Unavailable, g.answer(as(west)))
	g.serve(refuses(errors.New("failed")))
	said("K14", codes.Unauthenticated, codes.Unavailable, g.answer(as(west)))

	// What a zone sends.
	g.serve(byZone(g))
	file := tokenFile(t, good+"\n")
	creds, err := grpcauth.NewTokenFileCredentials(file)
	require.NoError(t, err)
	sends := func(creds credentials.PerRPCCredentials) codes.Code {
		return g.answer([]string{"client-id", west}, grpc.PerRPCCredentials(creds))
	}
	said("K15", codes.OK, codes.OK, sends(creds))
	g.revoke(good)
	require.Eventually(t, func() bool { // one call: the revocation may come between two
		_, err := g.client().EmptyCall(with(t, "client-id", west), &testpb.Empty{}, grpc.PerRPCCredentials(creds))
		return status.Code(err) == codes.Unauthenticated
	}, patience, time.Millisecond)
	require.Equal(t, codes.Unauthenticated, sends(creds))
	require.NoError(t, os.WriteFile(file, []byte(issue(zone.ScopeCP)), 0o600))
	said("K16", codes.OK, codes.OK, sends(creds))
	require.NoError(t, os.WriteFile(file, []byte("\n"), 0o600))
	said("K17", codes.Unauthenticated, codes.Unavailable, sends(creds))
	require.NoError(t, os.Remove(file))
	said("K18", codes.Unauthenticated, codes.Unavailable, sends(creds))
	inline, err := grpcauth.NewTokenCredentials(issue(zone.ScopeCP))
	require.NoError(t, err)
	_, err = inline.GetRequestMetadata(t.Context()) // a context without a connection that is encrypted
	said("K19", codes.Unauthenticated, codes.Unauthenticated, status.Code(err))

	kumacases.Check(t, "../docs/kuma.md", "K", outcomes)
}
