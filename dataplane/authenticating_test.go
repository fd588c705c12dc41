package dataplane_test

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

func TestAuthenticatorSaysWhyItRefusesAToken(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	validator := newValidator(t, store)
	authenticator := dataplane.NewAuthenticator(validator)
	good := issue(t, newIssuer(t, store), "default", day)
	for name, c := range map[string]struct {
		raw  string
		want error
	}{
		"nothing":              {"", token.ErrMalformed},
		"no token":             {"not a token", token.ErrMalformed},
		"a forged token":       {tampered(good), token.ErrSignature},
		"no claims":            {signPayload(t, testKey(0), "1", `[]`), token.ErrClaims},
		"claims of wrong kind": {signPayload(t, testKey(0), "1", `{"Mesh":7}`), token.ErrClaims},
		"no mesh":              {signPayload(t, testKey(0), "1", `{"exp":4102444800,"jti":"1"}`), token.ErrClaims},
		"a zone token":         {signPayload(t, testKey(0), "1", `{"Zone":"west","Scope":["cp"],"exp":4102444800,"jti":"1"}`), token.ErrKind},
		"a mesh without a key": {signPayload(t, testKey(0), "1", `{"Mesh":"made-up","exp":4102444800,"jti":"1"}`), token.ErrUnknownKey},
		"a mesh that is none":  {signPayload(t, testKey(0), "1", `{"Mesh":"a/b","exp":4102444800,"jti":"1"}`), token.ErrScope},
	} {
		for range 2 {
			session, err := authenticator.Authenticate(t.Context(), c.raw)
			assert.ErrorIs(t, err, c.want, name)
			assert.Nil(t, session, name)
		}
	}
	require.NoError(t, validator.Close())
	_, err := authenticator.Authenticate(t.Context(), good)
	assert.ErrorIs(t, err, token.ErrClosed)
}

func TestAuthenticatorHoldsTheTokensOfASourceToItsDemands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		source := newScriptedSource("idp", map[string]int{"a": 1})
		source.demands = token.Demands{Audience: "mesh"}
		authenticator := dataplane.NewAuthenticator(newFollowing(t).start(dataplane.WithSource("default", source)).validator)
		for name, c := range map[string]struct {
			raw  string
			want error
		}{
			"for the mesh":           {idToken(1, "a", "JWT", `"aud":"mesh"`), nil},
			"for a shop":             {idToken(1, "a", "JWT", `"aud":"shop"`), token.ErrAudience},
			"for nobody":             {idToken(1, "a", "JWT", `"iss":"idp"`), token.ErrAudience},
			"a key of the store":     {idToken(0, "1", "JWT", `"aud":"shop"`), nil},
			"claims in lower case":   {signPayload(t, testKey(1), "a", `{"mesh":"default","aud":"mesh","exp":4000000000,"jti":"a"}`), token.ErrClaims},
			"and a key of the store": {signPayload(t, testKey(0), "1", `{"mesh":"default","exp":4000000000,"jti":"a"}`), nil},
		} {
			for range 2 { // at first sight, and remembered
				_, err := authenticator.Authenticate(t.Context(), c.raw)
				assert.ErrorIs(t, err, c.want, name)
			}
		}
	})
}
