package jwks_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/jwks"
	"github.com/meshpass/meshpass/signing"
)

// members are those of a JSON Web Key. A nil one is left out.
type members map[string]any

// jwk returns a usable key, with some members changed.
func jwk(kid string, key *rsa.PrivateKey, changes members) members {
	m := members{"kty": "RSA", "kid": kid, "n": forge.Encode(string(key.N.Bytes())), "e": "AQAB"}
	maps.Copy(m, changes)
	maps.DeleteFunc(m, func(_ string, value any) bool { return value == nil })
	return m
}

// setOf returns a set of members or other values.
func setOf(keys ...any) string {
	text, err := json.Marshal(map[string]any{"keys": append([]any{}, keys...)})
	if err != nil {
		panic(err)
	}
	return string(text)
}

func public(t testing.TB, key *rsa.PrivateKey) *signing.PublicKey {
	t.Helper()
	public, err := signing.NewPublicKey(&key.PublicKey)
	require.NoError(t, err)
	return public
}

func kids(keys map[string]*signing.PublicKey) []string {
	return slices.Sorted(maps.Keys(keys))
}

func TestAKeyIsUsableAsItStandsInTheSet(t *testing.T) {
	for name, changes := range map[string]members{
		"with what is required":            nil,
		"for signatures":                   {"use": "sig"},
		"to verify":                        {"key_ops": []string{"sign", "verify"}},
		"for RS256":                        {"alg": "RS256", "use": "sig", "key_ops": []string{"verify"}},
		"with members that mean nothing":   {"x5c": []string{"MII"}, "x5t": "a", "D": "not d", "ext": true, "own": members{"a": []int{1}}},
		"with null for what may be absent": {"use": json.RawMessage("null"), "alg": json.RawMessage("null"), "key_ops": json.RawMessage("null")},
	} {
		set, err := jwks.Parse([]byte(setOf(jwk("a", forge.Key(), changes))))
		require.NoError(t, err, name)
		require.Empty(t, set.Problems, name)
		require.Equal(t, []string{"a"}, kids(set.Keys), name)
		require.True(t, set.Keys["a"].Equal(public(t, forge.Key())), name)
	}
}

func TestAKeyIsUsableWithTheSmallestAndTheLargestModulus(t *testing.T) {
	for _, bits := range []int{signing.MinBits, signing.MaxBits} {
		modulus := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		modulus.SetBit(modulus, 0, 1)
		set, err := jwks.Parse([]byte(setOf(jwk("a", forge.Key(), members{"n": forge.Encode(string(modulus.Bytes()))}))))
		require.NoError(t, err)
		require.Equal(t, bits, set.Keys["a"].Bits())
	}
}

func TestAnUnusableKeyIsReportedAndAffectsNoOther(t *testing.T) {
	n := forge.Encode(string(forge.Key().N.Bytes()))
	short := forge.Encode(string(forge.ShortKey().N.Bytes()))
	even := new(big.Int).Sub(forge.Key().N, big.NewInt(1))
	long := new(big.Int).Lsh(forge.Key().N, signing.MaxBits)
	for name, c := range map[string]struct {
		key  any
		want string
	}{
		"an EC key":                {members{"kty": "EC", "kid": "b", "crv": "P-256", "x": "AA", "y": "AA"}, `keys[1] with kid "b": unusable key: found kty "EC", wanted "RSA"`},
		"an Ed25519 key":           {members{"kty": "OKP", "kid": "b", "crv": "Ed25519", "x": "AA"}, `found kty "OKP"`},
		"no kty":                   {jwk("b", forge.Key(), members{"kty": nil}), "found no kty"},
		"kty in another case":      {jwk("b", forge.Key(), members{"kty": "rsa"}), `found kty "rsa"`},
		"for encryption":           {jwk("b", forge.Key(), members{"use": "enc"}), `found use "enc"`},
		"only to encrypt":          {jwk("b", forge.Key(), members{"key_ops": []string{"encrypt"}}), `found key_ops without "verify"`},
		"for nothing":              {jwk("b", forge.Key(), members{"key_ops": []string{}}), `found key_ops without "verify"`},
		"for PSS":                  {jwk("b", forge.Key(), members{"alg": "PS256"}), `found alg "PS256"`},
		"for another hash":         {jwk("b", forge.Key(), members{"alg": "RS512"}), `found alg "RS512"`},
		"no kid":                   {jwk("b", forge.Key(), members{"kid": nil}), "keys[1]: unusable key: kid is empty"},
		"an empty kid":             {jwk("", forge.Key(), nil), "kid is empty"},
		"a kid with a line end":    {jwk("b\n", forge.Key(), nil), `keys[1] with kid "b\n": unusable key: kid is "b\n"`},
		"a kid that is too long":   {jwk(strings.Repeat("b", 257), forge.Key(), nil), "kid has 257 bytes, want at most 256"},
		"a kid that is a number":   {jwk("", forge.Key(), members{"kid": 1}), "found another type of value in kid, wanted a string"},
		"key_ops that is a string": {jwk("b", forge.Key(), members{"key_ops": "verify"}), "found another type of value in key_ops, wanted an array"},
		"key_ops of numbers":       {jwk("b", forge.Key(), members{"key_ops": []any{1, "verify"}}), "found another type of value among key_ops"},
		"no object":                {"b", "keys[1]: unusable key: found no JSON object"},
		"null":                     {nil, "keys[1]: unusable key: found no JSON object"},
		"no n":                     {jwk("b", forge.Key(), members{"n": nil}), "an RSA key of 0 bits"},
		"n of 1024 bits":           {jwk("b", forge.Key(), members{"n": short}), "an RSA key of 1024 bits, wanted one of 2048 to 8192"},
		"n that is too long":       {jwk("b", forge.Key(), members{"n": forge.Encode(string(long.Bytes()))}), "an RSA key of 10240 bits"},
		"n that is even":           {jwk("b", forge.Key(), members{"n": forge.Encode(string(even.Bytes()))}), "even modulus"},
		"n with leading zeros":     {jwk("b", forge.Key(), members{"n": forge.Encode("\x00" + string(forge.Key().N.Bytes()))}), "found n with leading zeros"},
		"n with padding":           {jwk("b", forge.Key(), members{"n": n + "="}), "found n in another encoding"},
		"n with a line end":        {jwk("b", forge.Key(), members{"n": n + "\n"}), "found n in another encoding"},
		"n with spare bits":        {jwk("b", forge.Key(), members{"n": spareBits(n)}), "found n in another encoding"},
		"n in another alphabet":    {jwk("b", forge.Key(), members{"n": base64.RawStdEncoding.EncodeToString(append([]byte{0xff, 0xff}, forge.Key().N.Bytes()...))}), "found n in another encoding"},
		"n that is a number":       {jwk("b", forge.Key(), members{"n": 5}), "found another type of value in n"},
		"no e":                     {jwk("b", forge.Key(), members{"e": nil}), "found no e"},
		"e of 3":                   {jwk("b", forge.Key(), members{"e": "Aw"}), `found e "Aw", wanted "AQAB", which is 65537`},
		"e with leading zeros":     {jwk("b", forge.Key(), members{"e": "AAEAAQ"}), `found e "AAEAAQ"`},
	} {
		set, err := jwks.Parse([]byte(setOf(jwk("a", forge.OtherKey(), nil), c.key, jwk("c", forge.OtherKey(), nil))))
		require.NoError(t, err, name)
		require.Equal(t, []string{"a", "c"}, kids(set.Keys), name)
		require.Len(t, set.Problems, 1, name)
		require.ErrorIs(t, set.Problems[0], signing.ErrKey, name)
		require.ErrorContains(t, set.Problems[0], c.want, name)
	}
}

// spareBits sets the last bit of a text in base64url, which encodes nothing in a modulus of
// 2048 bits.
func spareBits(text string) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	last := strings.IndexByte(alphabet, text[len(text)-1])
	return text[:len(text)-1] + alphabet[last+1:last+2]
}

func TestASecretKeyIsRefusedByNameAndNotQuoted(t *testing.T) {
	key := forge.Key()
	secrets := map[string]string{
		"d": forge.Encode(string(key.D.Bytes())), "p": forge.Encode(string(key.Primes[0].Bytes())), "q": forge.Encode(string(key.Primes[1].Bytes())),
		"dp": forge.Encode(string(key.Precomputed.Dp.Bytes())), "dq": forge.Encode(string(key.Precomputed.Dq.Bytes())), "qi": forge.Encode(string(key.Precomputed.Qinv.Bytes())),
	}
	whole := members{}
	for name, value := range secrets {
		whole[name] = value
	}
	elliptic, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	d, err := elliptic.Bytes()
	require.NoError(t, err)
	secrets["EC"], secrets["oct"] = forge.Encode(string(d)), "c2VjcmV0LXRoYXQtc2lnbnM"
	keys := map[string]members{
		"a whole key": jwk("a", key, whole),
		"oct":         {"kty": "oct", "kid": "a", "k": secrets["oct"], "alg": "HS256"},
		"EC":          {"kty": "EC", "kid": "a", "crv": "P-256", "d": secrets["EC"]},
		"RSA with k":  jwk("a", key, members{"k": secrets["oct"]}),
		"d is null":   jwk("a", key, members{"d": json.RawMessage("null")}),
		"oth":         jwk("a", key, members{"oth": []members{{"r": secrets["p"]}}}),
	}
	for name, value := range whole {
		keys[name] = jwk("a", key, members{name: value})
	}
	for name, m := range keys {
		// Alone, twice, and where the text is cut short within the key.
		whole := setOf(m, m)
		for _, text := range []string{setOf(m), whole, whole[:len(whole)-20], strings.Replace(whole, `","`, `" "`, 3)} {
			set, err := jwks.Parse([]byte(text))
			require.Empty(t, set.Keys, name)
			said := fmt.Sprint(set, err)
			for _, secret := range secrets {
				require.NotContains(t, said, secret[:8], name)
			}
			if err != nil {
				continue
			}
			for _, problem := range set.Problems {
				require.Regexp(t, "found a (private|symmetric) key .*must stay secret", problem.Error(), name)
			}
		}
	}
}

func TestAKidThatStandsTwiceIsNotUsable(t *testing.T) {
	enc := jwk("a", forge.OtherKey(), members{"use": "enc"})
	ec := members{"kty": "EC", "kid": "a"}
	for name, second := range map[string]members{"another key": jwk("a", forge.OtherKey(), nil), "the same key": jwk("a", forge.Key(), nil), "for encryption": enc, "an EC key": ec} {
		for _, text := range []string{setOf(jwk("a", forge.Key(), nil), second, jwk("b", forge.Key(), nil)), setOf(second, jwk("a", forge.Key(), nil), jwk("b", forge.Key(), nil))} {
			set, err := jwks.Parse([]byte(text))
			require.NoError(t, err, name)
			require.Equal(t, []string{"b"}, kids(set.Keys), name)
			require.Len(t, set.Problems, 2, name)
			require.Contains(t, fmt.Sprint(set.Problems), "found its kid 2 times in the set", name)
		}
	}
}

func TestProblemsAreBoundedAndEscaped(t *testing.T) {
	keys := make([]any, jwks.MaxKeys)
	for i := range keys {
		keys[i] = members{"kty": strings.Repeat("\u202e", 100), "kid": strings.Repeat("\x1b[31m\n", 30)}
	}
	keys[500] = jwk("a", forge.Key(), nil)
	set, err := jwks.Parse([]byte(setOf(keys...)))
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, kids(set.Keys))
	require.Len(t, set.Problems, 16)
	require.EqualError(t, set.Problems[15], "unusable key: 1008 more keys", "1023 less the 15 before it")
	for _, problem := range set.Problems {
		require.Regexp(t, `^[ -~]{1,1000}$`, problem.Error())
	}
}

func TestASetThatIsNotStrictJSONIsRefusedAsAWhole(t *testing.T) {
	good := setOf(jwk("a", forge.Key(), nil))
	full := make([]any, jwks.MaxKeys)
	for i := range full {
		full[i] = members{}
	}
	for name, c := range map[string]struct{ text, want string }{
		"empty":                       {"", "key set: the text ends at byte 0, want a JSON object"},
		"HTML":                        {"<!DOCTYPE html>", `'<' at byte 0, want a JSON object`},
		"an array":                    {"[]", "want a JSON object"},
		"a single key":                {`{"kty":"RSA"}`, `"keys" is missing`},
		"Keys in another case":        {`{"Keys":[]}`, `"keys" is missing`},
		"keys that is null":           {`{"keys":null}`, "want a JSON array"},
		"keys that is an object":      {`{"keys":{}}`, "want a JSON array"},
		"keys twice":                  {`{"keys":[],"keys":[]}`, `name "keys" appears twice`},
		"a name twice in a key":       {`{"keys":[{"kty":"RSA","kid":"a","kid":"b"}]}`, `name "kid" appears twice`},
		"an escaped name twice":       {`{"keys":[{"use":"enc","\u0075se":"sig"}]}`, `name "use" appears twice`},
		"a name twice elsewhere":      {`{"keys":[],"own":{"a":1,"a":2}}`, `name "a" appears twice`},
		"text after it":               {good + "x", "want nothing after the JSON object"},
		"another set after it":        {good + good, "want nothing after the JSON object"},
		"cut short":                   {good[:len(good)-1], "the text ends"},
		"a byte order mark":           {"\ufeff" + good, "byte order mark"},
		"not UTF-8":                   {strings.Replace(good, `"a"`, "\"\xff\"", 1), "not valid UTF-8"},
		"UTF-16":                      {"{\x00}\x00", `'\x00' at byte 1`},
		"too deep":                    {`{"keys":[],"own":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + "}", "more than 8 levels deep"},
		"deep within a key":           {`{"keys":[{"own":` + strings.Repeat("[", 100000), "more than 8 levels deep"},
		"one key more than the most":  {setOf(append(full, members{})...), "more than 1024 keys"},
		"one byte more than the most": {good + strings.Repeat(" ", jwks.MaxSize-len(good)+1), "key set of more than 1048576 bytes"},
	} {
		set, err := jwks.Parse([]byte(c.text))
		require.ErrorContains(t, err, c.want, name)
		require.Empty(t, set, name)
	}
	for name, text := range map[string]string{"many keys": setOf(full...), "many bytes": good + strings.Repeat(" ", jwks.MaxSize-len(good)), "none": `{"keys":[]}`, "more members": `{"issuer":"a","keys":[]}`} {
		_, err := jwks.Parse([]byte(text))
		require.NoError(t, err, name)
	}
}

func TestASetIsReadAsItWasWritten(t *testing.T) {
	keys := map[string]*signing.PublicKey{}
	for i, kid := range []string{"1", "2", "9", "10", "west-1", ` "quoted" \ <&> `, strings.Repeat("k", 256)} {
		keys[kid] = public(t, []*rsa.PrivateKey{forge.Key(), forge.OtherKey()}[i%2])
	}
	text, err := jwks.Format(keys)
	require.NoError(t, err)
	again, err := jwks.Format(maps.Clone(keys))
	require.NoError(t, err)
	require.Equal(t, text, again)
	require.NotContains(t, string(text), "\n")
	require.Less(t, strings.Index(string(text), `"9"`), strings.Index(string(text), `"10"`), "serials ascend")

	set, err := jwks.Parse(text)
	require.NoError(t, err)
	require.Empty(t, set.Problems)
	require.Equal(t, kids(keys), kids(set.Keys))
	for kid, key := range keys {
		require.True(t, set.Keys[kid].Equal(key), kid)
	}
}

func TestASetIsWrittenOfPublicHalvesAlone(t *testing.T) {
	private, err := signing.NewPrivateKey(forge.Key())
	require.NoError(t, err)
	text, err := jwks.Format(map[string]*signing.PublicKey{"1": private.Public()})
	require.NoError(t, err)
	require.JSONEq(t, setOf(jwk("1", forge.Key(), members{"use": "sig", "alg": "RS256"})), string(text))
	empty, err := jwks.Format(nil)
	require.NoError(t, err)
	require.Equal(t, `{"keys":[]}`, string(empty))
}

func TestASetThatCouldNotBeReadIsNotWritten(t *testing.T) {
	key := public(t, forge.Key())
	many := map[string]*signing.PublicKey{}
	for i := range jwks.MaxKeys + 1 {
		many[fmt.Sprint(i)] = key
	}
	modulus := new(big.Int).Lsh(big.NewInt(1), signing.MaxBits-1)
	large, err := signing.NewPublicKey(&rsa.PublicKey{N: modulus.SetBit(modulus, 0, 1), E: 65537})
	require.NoError(t, err)
	big := map[string]*signing.PublicKey{}
	for i := range 800 {
		big[fmt.Sprint(i)] = large
	}
	for want, keys := range map[string]map[string]*signing.PublicKey{
		"kid is empty":                 {"": key},
		"printable ASCII":              {"\u00e9": key},
		`kid "1" has no key`:           {"1": nil},
		`kid "2" has no key`:           {"2": {}},
		"1025 keys, want at most 1024": many,
		"bytes, want at most 1048576":  big,
	} {
		_, err := jwks.Format(keys)
		require.ErrorContains(t, err, want)
	}
}
