package interop_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/examples/interop"
	"github.com/meshpass/meshpass/jwks"
	"github.com/meshpass/meshpass/signing"
)

func rsaKey(t testing.TB, bits int) *rsa.PrivateKey {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	require.NoError(t, err)
	return key
}

func TestGoJOSEReadsTheKeySetsThatWeWriteAndTheReverse(t *testing.T) {
	private := map[string]*rsa.PrivateKey{"1": rsaKey(t, 2048), "10": rsaKey(t, 3072), ` "west" <&> `: rsaKey(t, 4096)}
	public := map[string]*signing.PublicKey{}
	var theirs jose.JSONWebKeySet
	for kid, key := range private {
		var err error
		public[kid], err = signing.NewPublicKey(&key.PublicKey)
		require.NoError(t, err)
		theirs.Keys = append(theirs.Keys, jose.JSONWebKey{Key: &key.PublicKey, KeyID: kid, Algorithm: "RS256", Use: "sig"})
	}
	text, err := jwks.Format(public)
	require.NoError(t, err)
	var read jose.JSONWebKeySet
	require.NoError(t, json.Unmarshal(text, &read))
	require.Len(t, read.Keys, len(private))
	for _, key := range read.Keys {
		require.Equal(t, &private[key.KeyID].PublicKey, key.Key)
		require.Equal(t, "RS256 sig", key.Algorithm+" "+key.Use)
		require.True(t, key.Valid())
	}

	// What they write besides is passed over: a private key, one for another purpose.
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	theirs.Keys = append(theirs.Keys, jose.JSONWebKey{Key: private["1"], KeyID: "private"}, jose.JSONWebKey{Key: &other.PublicKey, KeyID: "EC"})
	text, err = json.Marshal(theirs)
	require.NoError(t, err)
	set, err := jwks.Parse(text)
	require.NoError(t, err)
	require.Len(t, set.Problems, 2)
	require.Len(t, set.Keys, len(public))
	for kid, key := range public {
		require.True(t, key.Equal(set.Keys[kid]), kid)
	}
}

func TestJoseWritesAKeySetThatWeRead(t *testing.T) {
	key := interop.Key{ID: "west-1", RSA: rsaKey(t, 2048)}
	reply := runJose(t, joseFolder(t), key, []joseToken{}, []string{})
	set, err := jwks.Parse(reply.KeySet)
	require.NoError(t, err)
	require.Empty(t, set.Problems)
	require.True(t, key.RSA.PublicKey.Equal(set.Keys["west-1"].RSA()))
}

// FuzzKeySetAgainstGoJOSE holds each key that we accept against what go-jose reads in the
// same place.
func FuzzKeySetAgainstGoJOSE(f *testing.F) {
	key := rsaKey(f, 2048)
	for _, k := range []jose.JSONWebKey{
		{Key: &key.PublicKey, KeyID: "1"}, {Key: &key.PublicKey, KeyID: "1", Algorithm: "RS256", Use: "sig"},
		{Key: &key.PublicKey, KeyID: "1", Use: "enc"}, {Key: key, KeyID: "1"}, {Key: []byte("secret"), KeyID: "1"},
	} {
		text, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{k, {Key: &key.PublicKey, KeyID: "2"}}})
		require.NoError(f, err)
		f.Add(string(text))
		f.Add(strings.Replace(string(text), `"kty":"RSA"`, `"kty":"RSA","own":1e999,"x":0,"crv":[]`, 1))
	}
	f.Fuzz(func(t *testing.T, text string) {
		set, err := jwks.Parse([]byte(text))
		if err != nil {
			return
		}
		var document map[string]json.RawMessage // a struct would take "KEYS" too
		require.NoError(t, json.Unmarshal([]byte(text), &document))
		var keys []json.RawMessage
		require.NoError(t, json.Unmarshal(document["keys"], &keys))
		found := 0
		for _, raw := range keys {
			var members map[string]json.RawMessage // a number may be one that no float64 holds
			if json.Unmarshal(raw, &members) != nil {
				continue
			}
			var kid string
			if json.Unmarshal(members["kid"], &kid) != nil {
				continue
			}
			if set.Keys[kid] == nil {
				continue
			}
			found++
			for _, other := range []string{"x5u", "x5c", "x5t", "x5t#S256", "crv", "x", "y"} { // go-jose looks into them
				delete(members, other)
			}
			raw, err := json.Marshal(members)
			require.NoError(t, err)
			var theirs jose.JSONWebKey
			require.NoError(t, json.Unmarshal(raw, &theirs))
			require.True(t, theirs.IsPublic())
			require.Equal(t, kid, theirs.KeyID)
			require.Equal(t, set.Keys[kid].RSA(), theirs.Key)
		}
		require.Equal(t, len(set.Keys), found)
	})
}
