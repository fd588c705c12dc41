package serviceaccount_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/dataplane/serviceaccount"
	"github.com/meshpass/meshpass/token"
)

func TestAuthenticatorHoldsTheProxysPodAgainstTheToken(t *testing.T) {
	v := open(t, good())
	defer v.Close()
	raw := unsigned(nil)
	verified, err := v.Validate(t.Context(), raw)
	require.NoError(t, err)
	pods := map[string]serviceaccount.Pod{"dp-1": verified.Pod(), "dp-2": {Namespace: "other", ServiceAccount: "other"}}
	authenticator, err := serviceaccount.NewAuthenticator(v, func(proxy dataplane.Proxy) (serviceaccount.Pod, error) {
		pod, ok := pods[proxy.Name]
		if !ok {
			return serviceaccount.Pod{}, fmt.Errorf("%w: there is no such proxy", token.ErrNotPermitted)
		}
		return pod, nil
	})
	require.NoError(t, err)

	session, err := authenticator.Authenticate(t.Context(), raw)
	require.NoError(t, err)
	require.NoError(t, session.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-1"}))
	require.ErrorIs(t, session.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-2"}), token.ErrNotPermitted)
	require.ErrorContains(t, session.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-3"}), "no such proxy")
	ctx, release := session.Bind(t.Context())
	defer release()
	require.NoError(t, ctx.Err())
	require.NoError(t, v.Close())
	<-ctx.Done()
	require.ErrorIs(t, context.Cause(ctx), token.ErrClosed)

	session, err = authenticator.Authenticate(t.Context(), "")
	require.ErrorIs(t, err, token.ErrUnavailable, "the validator is closed")
	require.Nil(t, session)
}

func TestAuthenticatorNeedsAValidatorAndALookup(t *testing.T) {
	_, err := serviceaccount.NewAuthenticator(nil, func(dataplane.Proxy) (serviceaccount.Pod, error) { return serviceaccount.Pod{}, nil })
	require.ErrorContains(t, err, "validator is nil")
	_, err = serviceaccount.NewAuthenticator(open(t, good()), nil)
	require.ErrorContains(t, err, "looks up Pods is nil")
}
