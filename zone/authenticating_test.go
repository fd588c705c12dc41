package zone_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestAuthenticatorTakesATokenAgainAndAgain(t *testing.T) {
	authenticator := zone.NewAuthenticator(newOfflineValidator(t, zone.WithPublicKey("key-1", testKey(0).Public())))
	raw := issueCP(t, newOfflineIssuer(t, testKey(0), "key-1"))
	for range 3 {
		session, err := authenticator.Authenticate(t.Context(), raw)
		assert.NoError(t, err)
		assert.NoError(t, session.Permits(zone.Peer{Zone: "west", Scope: zone.ScopeCP}))
	}
}

func TestARefusalForAnUnknownKeyOfZonesNamesNoMesh(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, 1, testKey(0))
	err := check(t, newValidator(t, store), issueCP(t, newOfflineIssuer(t, testKey(0), "7")))
	assert.ErrorIs(t, err, token.ErrUnknownKey)
	assert.ErrorContains(t, err, `there is no key with kid "7"; if it was removed`)
}
