package jwks_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"reflect"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/strictjson"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/jwks"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// FuzzParse holds what is read against encoding/json and a second reading of the rules:
// of a set that is accepted, exactly the usable keys are used. Strict JSON with an array of
// keys is a set.
func FuzzParse(f *testing.F) {
	for _, changes := range []members{nil, {"use": "sig", "alg": "RS256", "key_ops": []string{"verify"}}, {"use": "enc"}, {"alg": nil, "use": nil}, {"key_ops": []any{}}, {"d": "AA"}, {"e": "Aw"}, {"kid": 1}, {"kty": "oct", "k": "AA"}} {
		f.Add(setOf(jwk("a", forge.Key(), changes)))
		f.Add(setOf(jwk("a", forge.Key(), changes), jwk("a", forge.OtherKey(), nil), jwk("b", forge.OtherKey(), changes)))
	}
	null := json.RawMessage("null")
	for _, changes := range []members{{"d": null}, {"key_ops": ""}, {"key_ops": []any{"verify", 1}}, {"key_ops": null, "use": "", "alg": ""}, {"kid": ""}, {"kty": null}, {"n": null}} {
		f.Add(setOf(jwk("a", forge.Key(), changes)))
	}
	f.Add(`{"keys":[{"kty":"RSA","kid":"\u0061","use":null,"n":"A\n","e":"AQAB"},1,[],"a"],"own":{"a":[1e3]}}`)
	f.Add(setOf(jwk("a", forge.Key(), members{"own": json.RawMessage("1e999")}), json.RawMessage("1e999"))) // no float64 holds it
	f.Fuzz(func(t *testing.T, text string) {
		set, err := jwks.Parse([]byte(text))
		if err != nil {
			require.Empty(t, set)
			elements := jwks.MaxKeys + 1
			r := strictjson.NewReader(text)
			notStrict := r.Document(func(name string) error {
				if name != "keys" || r.Peek() != '[' {
					return r.Skip()
				}
				elements = 0
				return r.Array(func() error { elements++; return r.Skip() })
			})
			require.False(t, notStrict == nil && elements <= jwks.MaxKeys && len(text) <= jwks.MaxSize, "%v", err)
			return
		}
		var document map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(text), &document))
		var entries []any
		decoder := json.NewDecoder(bytes.NewReader(document["keys"]))
		decoder.UseNumber()
		require.NoError(t, decoder.Decode(&entries))
		want := map[string]*big.Int{}
		times := map[string]int{}
		for _, e := range entries {
			m, _ := e.(map[string]any)
			kid, _ := m["kid"].(string)
			times[kid]++
			if modulus := usable(m); modulus != nil {
				want[kid] = modulus
			}
		}
		for kid, n := range times {
			if n > 1 {
				delete(want, kid)
			}
		}
		require.Len(t, set.Keys, len(want))
		for kid, modulus := range want {
			require.Zero(t, modulus.Cmp(set.Keys[kid].RSA().N), kid)
		}
		require.Len(t, set.Problems, min(16, len(entries)-len(want)))
		for _, problem := range set.Problems {
			require.ErrorIs(t, problem, signing.ErrKey)
			require.Less(t, len(problem.Error()), 1500)
		}

		again, err := jwks.Format(set.Keys)
		require.NoError(t, err)
		read, err := jwks.Parse(again)
		require.NoError(t, err)
		require.Empty(t, read.Problems)
		require.Equal(t, kids(set.Keys), kids(read.Keys))
	})
}

// usable returns the modulus of a key that may be used, if no other has its kid.
func usable(m map[string]any) *big.Int {
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, found := m[name]; found {
			return nil
		}
	}
	is := func(name string, wants ...any) bool {
		value := m[name]
		return slices.ContainsFunc(wants, func(want any) bool { return reflect.DeepEqual(value, want) })
	}
	if !is("kty", "RSA") || !is("e", "AQAB") || !is("use", nil, "", "sig") || !is("alg", nil, "", "RS256") {
		return nil
	}
	switch ops := m["key_ops"].(type) {
	case nil:
	case []any:
		verify := false
		for _, op := range ops {
			text, isText := op.(string)
			if !isText {
				return nil
			}
			verify = verify || text == "verify"
		}
		if !verify {
			return nil
		}
	default:
		return nil
	}
	kid, _ := m["kid"].(string)
	text, _ := m["n"].(string)
	bytes, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if token.CheckKeyID(kid) != nil || err != nil || base64.RawURLEncoding.EncodedLen(len(bytes)) != len(text) || len(bytes) == 0 || bytes[0] == 0 {
		return nil
	}
	modulus := new(big.Int).SetBytes(bytes)
	if modulus.BitLen() < 2048 || modulus.BitLen() > 8192 || modulus.Bit(0) == 0 {
		return nil
	}
	return modulus
}
