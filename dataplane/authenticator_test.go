package dataplane_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

func TestAuthenticatorTakesTokensOfEveryMeshForThatMeshOnly(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	putKey(t, store, "other", 1, testKey(1))
	issuer := newIssuer(t, store, quiet)
	authenticator := dataplane.NewAuthenticator(newValidator(t, store))
	for _, mesh := range []string{"default", "other"} {
		raw := issue(t, issuer, mesh, day)
		session, err := authenticator.Authenticate(t.Context(), raw)
		require.NoError(t, err)
		assert.IsType(t, dataplane.Verified{}, session)
		assert.NoError(t, session.Permits(dataplane.Proxy{Mesh: mesh, Name: "dp-1"}))
		assert.ErrorIs(t, session.Permits(dataplane.Proxy{Mesh: "third", Name: "dp-1"}), token.ErrNotPermitted)

		ctx, release := session.Bind(t.Context())
		defer release()
		_, claims := inside(t, raw)
		require.NoError(t, dataplane.Revoke(t.Context(), store, mesh, claims.ID))
		<-ctx.Done()
		_, err = authenticator.Authenticate(t.Context(), raw)
		assert.ErrorIs(t, err, token.ErrRevoked)
	}
}

func TestAuthenticatorRefusesWhatIsNoDataplaneToken(t *testing.T) {
	var log logtest.Buffer
	authenticator := dataplane.NewAuthenticator(newValidator(t, keystore.NewMemory(), dataplane.WithLogger(log.Logger())))
	for name, raw := range map[string]string{
		"nothing":      "",
		"no token":     "not a token",
		"a zone token": signPayload(t, testKey(0), "1", `{"Zone":"west","Scope":["cp"],"exp":4102444800,"jti":"1"}`),
		"an own mesh":  signPayload(t, testKey(0), "1", `{"Mesh":"made-up","exp":4102444800,"jti":"1"}`),
	} {
		session, err := authenticator.Authenticate(t.Context(), raw)
		assert.ErrorIs(t, err, token.ErrInvalid, name)
		assert.Nil(t, session, name)
	}
	assert.Equal(t, 4, log.Count("token refused"))
	assert.Nil(t, dataplane.NewAuthenticator(nil))
}
