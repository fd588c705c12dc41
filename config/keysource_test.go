package config_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/jwks"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

const keySources = "meshpass.keySources"

var otherRSA = sync.OnceValue(func() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
})

func otherPublic(t *testing.T) *signing.PublicKey {
	t.Helper()
	key, err := signing.NewPublicKey(&otherRSA().PublicKey)
	require.NoError(t, err)
	return key
}

func keySet(t *testing.T, kid string) string {
	t.Helper()
	set, err := jwks.Format(map[string]*signing.PublicKey{kid: otherPublic(t)})
	require.NoError(t, err)
	return string(set)
}

func newProxies(t *testing.T, c config.Config) *config.ProxyAuthenticator {
	t.Helper()
	proxies, err := c.NewProxyAuthenticator(keystore.NewMemory(), config.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, proxies.Close()) })
	return proxies
}

func TestAKeyFileIsReadAgainWhenItChanges(t *testing.T) {
	path := inFile(t, publicPEM())
	c := read(t, set(dpKeys, list{object{"kid": kid, "mesh": "default", "keyFile": path}}))
	issuer, err := dataplane.NewOfflineIssuer(testKey(), kid)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
		require.NoError(t, err)
		validator := newProxies(t, c).Validator
		verified, err := validator.Validate(t.Context(), "default", issued.Token)
		require.NoError(t, err)
		session, stop := verified.Bind(t.Context())
		defer stop()

		require.NoError(t, os.WriteFile(path+".new", otherPublic(t).PEM(), 0o600))
		require.NoError(t, os.Rename(path+".new", path))
		time.Sleep(time.Second)
		synctest.Wait()
		assert.ErrorIs(t, context.Cause(session), token.ErrUnknownKey)
		_, err = validator.Validate(t.Context(), "default", issued.Token)
		assert.ErrorIs(t, err, token.ErrSignature)
	})
}

func TestKeySourcesVerifyTheTokensThatSayWhatTheyDemand(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(keySet(t, "idp"))) }))
	defer server.Close()
	issuer, audience := "https://idp.example.com", "mesh"
	demands := func(o object) object {
		o["tokens"], o["issuer"], o["audience"], o["type"] = "dataplane", issuer, audience, "at+jwt"
		return o
	}
	pem := string(otherPublic(t).PEM())
	for name, source := range map[string]object{
		"a URL":                  demands(object{"jwksURL": server.URL, "everyMesh": true}),
		"a file with a set":      demands(object{"jwksFile": inFile(t, keySet(t, "idp")), "mesh": "default"}),
		"a file with a key":      demands(object{"keyFile": inFile(t, pem), "kid": "idp", "mesh": "default"}),
		"a key":                  demands(object{"key": pem, "kid": "idp", "everyMesh": true}),
		"a key whose kid is one": demands(object{"key": pem, "kid": "idp", "mesh": "default"}),
	} {
		t.Run(name, func(t *testing.T) {
			validator := newProxies(t, read(t, set(keySources, list{source}))).Validator
			require.Eventually(t, func() bool {
				return !slices.ContainsFunc(validator.Report().Sources, func(s observe.Source) bool { return !s.Loaded })
			}, time.Minute, time.Millisecond)
			for payload, want := range map[string]error{
				`"iss":"https://idp.example.com","aud":"mesh","name":"a user"`: nil,
				`"iss":"https://idp.example.com","aud":"shop"`:                 token.ErrAudience,
				`"iss":"https://idp.example.net","aud":"mesh"`:                 token.ErrIssuer,
			} {
				raw := forge.Token(`{"alg":"RS256","kid":"idp","typ":"at+jwt"}`, `{"Mesh":"default","jti":"a","exp":4000000000,`+payload+`}`, forge.RS256(otherRSA()))
				_, err := validator.Validate(t.Context(), "default", raw)
				if want == nil {
					assert.NoError(t, err, payload)
				} else {
					assert.ErrorIs(t, err, want, payload)
				}
			}
		})
	}
}

func TestKeySourcesOfZonesServeBothValidatorsOfZoneTokens(t *testing.T) {
	c := read(t, set(keySources, list{object{"tokens": "zone", "jwksFile": inFile(t, keySet(t, "idp"))}}))
	c.Multizone.Global.KDS.Auth.Type = config.TypeZoneToken
	c.Multizone.Global.KDS.Auth.ZoneToken.Validator.UseSecrets = false
	raw := forge.Token(`{"alg":"RS256","kid":"idp"}`, `{"Zone":"west","Scope":["cp","ingress"],"jti":"a","exp":4000000000}`, forge.RS256(otherRSA()))
	for scope, create := range map[string]func(keystore.KeyStore, ...zone.ValidatorOption) (zone.Validator, error){
		zone.ScopeCP: c.NewKDSValidator, zone.ScopeIngress: c.NewZoneProxyValidator,
	} {
		validator, err := create(keystore.NewMemory(), zone.WithLogger(slog.New(slog.DiscardHandler)))
		require.NoError(t, err)
		defer validator.Close()
		_, err = validator.Validate(t.Context(), "west", scope, raw)
		assert.NoError(t, err, scope)
	}
}

func TestKeySourcesThatMakeNoSenseAreRefused(t *testing.T) {
	pem, missing := publicPEM(), filepath.Join(t.TempDir(), "missing")
	with := func(pairs ...any) string {
		o := object{"tokens": "dataplane", "everyMesh": true, "kid": "a", "key": pem}
		for i := 0; i < len(pairs); i += 2 {
			if o[pairs[i].(string)] = pairs[i+1]; pairs[i+1] == nil {
				delete(o, pairs[i].(string))
			}
		}
		return set(keySources, list{o})
	}
	ofSet := func(pairs ...any) string { return with(append([]any{"kid", nil, "key", nil}, pairs...)...) }
	read(t, with())
	for document, says := range map[string]string{
		with("tokens", nil):                   `keySources[0].tokens: found "", want one of dataplane, zone`,
		with("tokens", "zone"):                "zone tokens belong to no mesh",
		with("everyMesh", nil):                "want a mesh, or everyMesh",
		with("mesh", "default"):               "want a mesh, or everyMesh",
		with("mesh", "a/b", "everyMesh", nil): "keySources[0].mesh: ",
		with("kid", nil):                      "kid is empty",
		with("key", nil):                      "want one of jwksURL, jwksFile, keyFile and key",
		with("keyFile", "/k"):                 "want one of jwksURL, jwksFile, keyFile and key",
		with("anyIssuer", true):               "anyIssuer and anyAudience belong to jwksURL",
		with("key", privatePEM(t)):            "an RSA private key",
		with("everyMesh", "yes"):              "keySources[0].everyMesh: found a string, want a boolean",
		with("issuer", 1):                     "keySources[0].issuer: found a number, want a string",
		with("jwksUrl", "https://a"):          `keySources[0]: there is no setting "jwksUrl"`,
		set(keySources, object{}):             "keySources: found an object, want a list",
		set(keySources, list{1}):              "keySources[0]: found a number, want an object",
		ofSet("jwksFile", missing):            "jwksFile: ",
		ofSet("jwksFile", inFile(t, "{}")):    "jwksFile: ",
		ofSet("jwksFile", pem):                "it holds a key, want the path of a file",
		ofSet("jwksFile", `{"keys":[{"kty":"oct","k":"S3CR3T"}]}`):                                        "it holds a key, want the path of a file",
		ofSet("jwksFile", "https://idp.example.com/?a=S3CR3T"):                                            "it is a URL, want the path of a file",
		with("key", nil, "keyFile", `{"kty":"oct","k":"S3CR3T"}`):                                         "it holds a key, want the path of a file",
		ofSet("jwksFile", missing, "kid", 7):                                                              "kid belongs to key and keyFile",
		ofSet("jwksURL", "http://idp.example.com", "issuer", "a", "audience", "b"):                        "jwksURL: ",
		ofSet("jwksURL", "https://idp.example.com", "issuer", "a"):                                        "jwksURL: ",
		ofSet("jwksURL", "https://idp.example.com", "issuer", "a", "anyIssuer", true, "audience", "mesh"): "want an issuer or anyIssuer",
	} {
		_, err := config.Read([]byte(document), nil)
		assert.ErrorContains(t, err, says, document)
		assert.NotContains(t, err.Error(), "S3CR3T")
	}
	read(t, ofSet("jwksURL", "https://idp.example.com", "anyIssuer", true, "anyAudience", true))

	o := object{"tokens": "dataplane", "everyMesh": true, "kid": "a", "key": pem}
	_, err := config.Read([]byte(set(keySources, list{o, o})), nil)
	assert.ErrorContains(t, err, "keySources[1]: meshpass.keySources[0] has the same kid")

	o = object{"tokens": "zone", "kid": "a", "key": pem}
	_, err = config.Read([]byte(set(keySources, list{o, o})), nil)
	assert.EqualError(t, err, "config: meshpass.keySources[1]: meshpass.keySources[0] has the same kid")

	ofSetAt := func(place string, is any, audience string) object {
		return object{"tokens": "dataplane", place: is, "jwksURL": "https://idp.example.com", "issuer": "a", "audience": audience}
	}
	one := ofSetAt("mesh", "default", "b")
	for _, other := range []object{ofSetAt("mesh", "default", "c"), ofSetAt("everyMesh", true, "b")} {
		for _, both := range []list{{one, other}, {other, one}} {
			_, err = config.Read([]byte(set(keySources, both)), nil)
			assert.ErrorContains(t, err, "keySources[1]: meshpass.keySources[0] has the same key set for the same tokens")
		}
	}
	read(t, set(keySources, list{one, ofSetAt("mesh", "other", "b")}))
}
