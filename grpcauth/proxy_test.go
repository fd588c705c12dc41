package grpcauth_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	testpb "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/grpcauth"
	"github.com/meshpass/meshpass/token"
)

func TestProxyAuthenticatesAProxyThatItsTokenPermitsAndEndsItsStreams(t *testing.T) {
	g := newGlobal(t)
	_, err := dataplane.EnsureKey(t.Context(), g.store.Memory, "default")
	require.NoError(t, err)
	issuer, err := dataplane.NewIssuer(g.store.Memory, dataplane.WithLogger(g.log.Logger()))
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	require.NoError(t, err)
	validator, err := dataplane.NewValidator(g.store, dataplane.WithLogger(g.log.Logger()))
	require.NoError(t, err)
	defer validator.Close()

	// The metadata "proxy" says who connects.
	describe := func(ctx context.Context, method string) (dataplane.Proxy, error) {
		names := metadata.ValueFromIncomingContext(ctx, "proxy")
		if len(names) != 1 {
			return dataplane.Proxy{}, errors.New("it is not said which proxy calls " + method)
		}
		return dataplane.Proxy{Mesh: "default", Name: names[0]}, nil
	}
	caller := make(chan string, 1)
	g.service.unary = func(ctx context.Context) error {
		verified, ok := grpcauth.FromContext[dataplane.Verified](ctx)
		assert.True(t, ok)
		caller <- verified.Claims().Name
		return nil
	}
	opened := make(chan struct{})
	g.service.stream = func(stream testpb.TestService_FullDuplexCallServer) error {
		close(opened)
		<-stream.Context().Done()
		return nil
	}
	g.serve(grpcauth.Proxy(dataplane.NewAuthenticator(validator), describe))

	_, err = g.client().EmptyCall(with(t, "authorization", "Bearer "+issued.Token, "proxy", "dp-1"), &testpb.Empty{})
	require.NoError(t, err)
	assert.Equal(t, "dp-1", <-caller)

	for name, c := range map[string]struct {
		metadata []string
		code     codes.Code
		reason   string
	}{
		"another proxy":            {[]string{"authorization", issued.Token, "proxy", "dp-2"}, codes.PermissionDenied, `the proxy's is \"dp-2\"`},
		"no token":                 {[]string{"proxy", "dp-1"}, codes.Unauthenticated, "no metadata"},
		"another token":            {[]string{"authorization", g.issue(time.Hour), "proxy", "dp-1"}, codes.Unauthenticated, "token refused"},
		"a proxy that is not said": {[]string{"authorization", issued.Token}, codes.Unavailable, "which proxy calls"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := g.client().EmptyCall(with(t, c.metadata...), &testpb.Empty{})
			assert.Equal(t, c.code, status.Code(err))
			assert.NotZero(t, g.log.Count(c.reason))
		})
	}

	stream, err := g.client().FullDuplexCall(with(t, "authorization", issued.Token, "proxy", "dp-1"))
	require.NoError(t, err)
	<-opened
	require.NoError(t, dataplane.Revoke(t.Context(), g.store.Memory, "default", issued.ID))
	assert.Equal(t, codes.Unauthenticated, endOf(stream).Code())

	assert.Nil(t, grpcauth.Proxy(nil, describe), "the interceptors refuse it")
	assert.Nil(t, grpcauth.Proxy(dataplane.NewAuthenticator(validator), nil))
}
