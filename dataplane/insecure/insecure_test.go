package insecure_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/dataplane/insecure"
)

func TestEveryProxyIsLetInWithAnyCredentialOrNone(t *testing.T) {
	for _, credential := range []string{"", "anything", "a.b.c"} {
		session, err := insecure.Authenticator{}.Authenticate(t.Context(), credential)
		require.NoError(t, err)
		for _, proxy := range []dataplane.Proxy{{}, {Mesh: "default", Name: "dp-1", Type: "ingress"}} {
			assert.NoError(t, session.Permits(proxy))
		}
	}
}

func TestASessionEndsWithItsContextAlone(t *testing.T) {
	session, err := insecure.Authenticator{}.Authenticate(t.Context(), "")
	require.NoError(t, err)
	parent, end := context.WithCancel(t.Context())
	ctx, release := session.Bind(parent)
	defer release()
	assert.NoError(t, ctx.Err())
	end()
	assert.ErrorIs(t, ctx.Err(), context.Canceled)
}

func ExampleAuthenticator() {
	var authenticator dataplane.Authenticator = insecure.Authenticator{}
	session, err := authenticator.Authenticate(context.Background(), "")
	fmt.Println(session.Permits(dataplane.Proxy{Mesh: "default", Name: "whoever"}), err)
	// Output: <nil> <nil>
}
