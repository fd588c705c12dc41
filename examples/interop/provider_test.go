package interop_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/examples/interop"
	"github.com/meshpass/meshpass/jwks"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

const (
	provider = "https://id.example.com"
	audience = "mesh.example.com"
)

// providerTokens are tokens of a provider: how each differs from a good one, and which
// error it gets. The demands have typ at+jwt (RFC 9068).
var providerTokens = map[string]struct {
	changes map[string]any // a claim that is nil is absent
	typ     string
	want    error
}{
	"good":                      {nil, "at+jwt", nil},
	"for several":               {map[string]any{"aud": []string{"shop.example.com", audience}}, "AT+JWT", nil},
	"with other claims":         {map[string]any{"sub": "dp-1", "name": "Alice", "scope": "openid"}, "application/at+jwt", nil},
	"of another issuer":         {map[string]any{"iss": "https://evil.example.com"}, "at+jwt", token.ErrIssuer},
	"of nearly the issuer":      {map[string]any{"iss": provider + "/"}, "at+jwt", token.ErrIssuer},
	"of no issuer":              {map[string]any{"iss": nil}, "at+jwt", token.ErrIssuer},
	"for another audience":      {map[string]any{"aud": "shop.example.com"}, "at+jwt", token.ErrAudience},
	"for other audiences":       {map[string]any{"aud": []string{"shop.example.com", audience + "/"}}, "at+jwt", token.ErrAudience},
	"for no audience":           {map[string]any{"aud": nil}, "at+jwt", token.ErrAudience},
	"of type JWT":               {nil, "JWT", token.ErrHeader},
	"of type logout+jwt":        {nil, "logout+jwt", token.ErrHeader},
	"expired":                   {map[string]any{"exp": time.Now().Add(-time.Hour).Unix()}, "at+jwt", token.ErrExpired},
	"with claims in lower case": {map[string]any{"Mesh": nil, "Zone": nil, "mesh": "default"}, "at+jwt", token.ErrClaims},
}

// providerOf signs tokens, in the order of the keys of providerTokens, and publishes a key
// set.
type providerOf func(t *testing.T, key interop.Key, tokens []joseToken) (signed []string, keySet []byte)

var providers = map[string]providerOf{
	"golang-jwt, with a set of ours": func(t *testing.T, key interop.Key, tokens []joseToken) (signed []string, keySet []byte) {
		for _, want := range tokens {
			unsigned := jwt.NewWithClaims(jwt.SigningMethodRS256, jwt.MapClaims(want.Payload))
			unsigned.Header["kid"], unsigned.Header["typ"] = key.ID, want.Type
			raw, err := unsigned.SignedString(key.RSA)
			require.NoError(t, err)
			signed = append(signed, raw)
		}
		keySet, err := key.JWKS()
		require.NoError(t, err)
		return signed, keySet
	},
	"go-jose": func(t *testing.T, key interop.Key, tokens []joseToken) (signed []string, keySet []byte) {
		own := jose.JSONWebKey{Key: key.RSA, KeyID: key.ID, Algorithm: "RS256", Use: "sig"}
		for _, want := range tokens {
			signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: own}, (&jose.SignerOptions{}).WithType(jose.ContentType(want.Type)))
			require.NoError(t, err)
			raw, err := josejwt.Signed(signer).Claims(want.Payload).Serialize()
			require.NoError(t, err)
			signed = append(signed, raw)
		}
		keySet, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{own.Public()}})
		require.NoError(t, err)
		return signed, keySet
	},
	"jose": func(t *testing.T, key interop.Key, tokens []joseToken) (signed []string, keySet []byte) {
		reply := runJose(t, joseFolder(t), key, tokens, []string{})
		return reply.Signed, reply.KeySet
	},
}

func TestTokensOfAProviderAreValidatedWithTheKeysAtItsURL(t *testing.T) {
	names := slices.Sorted(maps.Keys(providerTokens))
	for software, sign := range providers {
		for kind, own := range map[string]map[string]any{
			"dataplane": {"Mesh": "default", "Name": "dp-1", "Tags": map[string][]string{"kuma.io/service": {"backend"}}},
			"zone":      {"Zone": "west", "Scope": []string{"cp"}},
		} {
			t.Run(software+"/"+kind, func(t *testing.T) {
				key := interop.Key{ID: "2026-11", RSA: rsaKey(t, 2048)}
				var tokens []joseToken
				for _, name := range names {
					payload := map[string]any{"iss": provider, "aud": audience, "jti": "1", "exp": time.Now().Add(time.Hour).Unix()}
					maps.Copy(payload, own)
					maps.Copy(payload, providerTokens[name].changes)
					maps.DeleteFunc(payload, func(_ string, value any) bool { return value == nil })
					tokens = append(tokens, joseToken{payload, providerTokens[name].typ})
				}
				signed, keySet := sign(t, key, tokens)
				server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(keySet) }))
				defer server.Close()
				source, err := jwks.URL(server.URL, token.Demands{Issuer: provider, Audience: audience, Type: "at+jwt"}, jwks.WithHTTPClient(server.Client()))
				require.NoError(t, err)
				dataplanes, err := dataplane.NewOfflineValidator(dataplane.WithSource("default", source), dataplane.WithLogger(quiet))
				require.NoError(t, err)
				defer dataplanes.Close()
				zones, err := zone.NewOfflineValidator(zone.WithSource(source), zone.WithLogger(quiet))
				require.NoError(t, err)
				defer zones.Close()
				require.Eventually(t, func() bool {
					_, byDataplanes := dataplanes.Staleness()
					_, byZones := zones.Staleness()
					return byDataplanes && byZones
				}, time.Minute, time.Millisecond, "the keys are read")
				for i, name := range names {
					if kind == "zone" {
						_, err = zones.Validate(t.Context(), "west", zone.ScopeCP, signed[i])
					} else {
						_, err = dataplanes.Validate(t.Context(), "default", signed[i])
					}
					if want := providerTokens[name].want; want != nil {
						require.ErrorIs(t, err, want, name)
					} else {
						require.NoError(t, err, name)
					}
				}
			})
		}
	}
}
