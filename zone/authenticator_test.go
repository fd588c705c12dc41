package zone_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestAuthenticatorSessionPermitsTheTokensZoneInItsScopesAlone(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, 1, testKey(0))
	issued, err := newIssuer(t, store).Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeEgress, zone.ScopeCP}}, day)
	require.NoError(t, err)
	session, err := zone.NewAuthenticator(newValidator(t, store)).Authenticate(t.Context(), issued.Token)
	require.NoError(t, err)
	assert.Equal(t, issued.ID, session.(zone.Verified).Registered().ID)

	for peer, says := range map[zone.Peer]string{
		{Zone: "west", Scope: zone.ScopeCP}:      "",
		{Zone: "west", Scope: zone.ScopeEgress}:  "",
		{Zone: "west", Scope: zone.ScopeIngress}: `the peer's scope is "ingress", the token's are ["egress" "cp"]`,
		{Zone: "west"}:                           `the peer's scope is ""`,
		{Zone: "east", Scope: zone.ScopeCP}:      `the token's zone is "west", the peer's is "east"`,
		{Zone: "West", Scope: zone.ScopeCP}:      `the peer's is "West"`,
		{Scope: zone.ScopeCP}:                    `the peer's is ""`,
		{}:                                       `the peer's is ""`,
	} {
		t.Run(fmt.Sprint(peer), func(t *testing.T) {
			err := session.Permits(peer)
			if says == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorIs(t, err, token.ErrNotPermitted)
			assert.ErrorContains(t, err, says)
			assert.Equal(t, token.NotPermitted, token.ClassOf(err))
		})
	}
}

func TestVerifiedPermitsNoPeerWithoutAScopeThoughTheTokenHasAnUnnamedOne(t *testing.T) {
	validator := newOfflineValidator(t, zone.WithPublicKey("key-1", testKey(0).Public()))
	verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP,
		signPayload(t, "key-1", `{"Zone":"west","Scope":["cp",""],"exp":4000000000,"jti":"a"}`))
	require.NoError(t, err)
	assert.NoError(t, verified.Permits(zone.Peer{Zone: "west", Scope: zone.ScopeCP}))
	assert.ErrorIs(t, verified.Permits(zone.Peer{Zone: "west"}), token.ErrNotPermitted)
}

func TestAuthenticatorSessionEndsWhenItsTokenIsRevoked(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, 1, testKey(0))
	issued, err := newIssuer(t, store).Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, day)
	require.NoError(t, err)
	session, err := zone.NewAuthenticator(newValidator(t, store)).Authenticate(t.Context(), issued.Token)
	require.NoError(t, err)
	bound, stop := session.Bind(t.Context())
	defer stop()
	require.NoError(t, zone.Revoke(t.Context(), store, issued.ID))
	<-bound.Done()
	assert.ErrorIs(t, context.Cause(bound), token.ErrRevoked)
}

func TestAuthenticatorRefusesWhatIsNoZoneToken(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, 1, testKey(0))
	authenticator := zone.NewAuthenticator(newValidator(t, store))
	good := issueCP(t, newIssuer(t, store))
	for name, c := range map[string]struct {
		credential string
		want       error
	}{
		"nothing":                       {"", token.ErrMalformed},
		"no token":                      {"secret", token.ErrMalformed},
		"a token with another ending":   {good[:len(good)-4] + "AAAA", token.ErrSignature},
		"a token of another key":        {issueCP(t, newOfflineIssuer(t, testKey(1), "1")), token.ErrSignature},
		"a token that names no zone":    {signPayload(t, "1", `{"Mesh":"default","exp":4000000000,"jti":"id"}`), token.ErrKind},
		"a token with no scope at all":  {signPayload(t, "1", `{"Zone":"west","Scope":[],"exp":4000000000,"jti":"id"}`), token.ErrScope},
		"a token with an unnamed scope": {signPayload(t, "1", `{"Zone":"west","Scope":[""],"exp":4000000000,"jti":"id"}`), token.ErrScope},
	} {
		t.Run(name, func(t *testing.T) {
			session, err := authenticator.Authenticate(t.Context(), c.credential)
			assert.ErrorIs(t, err, c.want)
			assert.Nil(t, session)
		})
	}
	assert.Nil(t, zone.NewAuthenticator(nil), "servers refuse it")
	assert.ErrorIs(t, zone.Verified{}.Permits(zone.Peer{Zone: "west", Scope: zone.ScopeCP}), token.ErrNotPermitted)
}
