package token_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

// FuzzParseUnverified holds what is accepted against encoding/base64: each part
// has to come back byte for byte.
func FuzzParseUnverified(f *testing.F) {
	f.Add(sample)
	f.Add(compact(goodHeader, goodPayload))
	for _, c := range malformed() {
		if len(c.raw) < 2*token.MaxSize {
			f.Add(c.raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := token.ParseUnverified(raw)
		if err != nil {
			require.ErrorIs(t, err, token.ErrMalformed)
			return
		}
		require.LessOrEqual(t, len(raw), token.MaxSize)
		parts := strings.Split(raw, ".")
		require.Len(t, parts, 3)
		for _, part := range parts {
			decoded, err := base64.RawURLEncoding.Strict().DecodeString(part)
			require.NoError(t, err)
			require.NotEmpty(t, decoded)
			require.Equal(t, part, base64.RawURLEncoding.EncodeToString(decoded))
		}
		require.Equal(t, parts[0], u.EncodedHeader())
		require.Equal(t, parts[0]+"."+parts[1], u.SigningInput())
		require.Equal(t, parts[2], base64.RawURLEncoding.EncodeToString(u.AppendSignature(nil)))
		if _, err := u.Header(); err != nil {
			require.ErrorIs(t, err, token.ErrHeader)
		}
		if _, err := u.Claims(); err != nil {
			require.ErrorIs(t, err, token.ErrClaims)
		}
	})
}

// FuzzHeader holds what is accepted against encoding/json.
func FuzzHeader(f *testing.F) {
	for _, header := range []string{
		goodHeader,
		`{"alg":"RS256","kid":"1"}`,
		`{"alg":"RS256","kid":"1","typ":"jwt"}`,
		`{"alg":"RS256","kid":"1","typ":"at+jwt"}`,
		`{"ALG":"RS256","kid":"1"}`,
		`{"alg":"none","kid":"1"}`,
		`{"alg":"RS256","alg":"RS256","kid":"1"}`,
		`{"alg":"RS256","kid":"\u0000"}`,
		`{"alg":"RS256","kid":"1","crit":["foo"]}`,
		`{"alg":"RS256","kid":"1","b64":false}`,
		`{"alg":"RS256","kid":"1","x5t#S256":[{"a":-1.5e+7,"b":null}]}`,
		`{"alg":"RS256","\u212aid":"1","kid":"\ud83d\ude00"}`,
	} {
		f.Add([]byte(header))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		raw := compact(string(text), goodPayload)
		if len(text) == 0 || len(raw) > token.MaxSize {
			return
		}
		u, err := token.ParseUnverified(raw)
		require.NoError(t, err)
		header, err := u.Header()
		if err != nil {
			require.ErrorIs(t, err, token.ErrHeader)
			return
		}
		members := strictMembers(t, text)
		require.Equal(t, "RS256", asString(t, members["alg"]))
		require.Equal(t, header.KeyID, asString(t, members["kid"]))
		require.NotEmpty(t, header.KeyID)
		require.LessOrEqual(t, len(header.KeyID), token.MaxKeyIDLength)
		require.Equal(t, -1, strings.IndexFunc(header.KeyID, func(r rune) bool { return r < ' ' || r > '~' }))
		for name := range members {
			if name == "alg" || name == "kid" || name == "typ" {
				continue
			}
			for _, known := range []string{"alg", "kid", "typ", "crit", "b64", "zip", "enc", "cty", "jku", "jwk", "x5u", "x5c"} {
				require.False(t, strings.EqualFold(name, known), "%q was accepted", name)
			}
		}
		if typ, there := members["typ"]; there {
			require.Equal(t, "JWT", strings.ToUpper(asString(t, typ)))
		}
	})
}

// FuzzClaims holds what is accepted against encoding/json, claim by claim.
func FuzzClaims(f *testing.F) {
	for _, payload := range []string{
		goodPayload,
		`{"Name":"dp-1","Mesh":"default","Tags":{"a":["1","2"],"b":[],"c":null},"Type":"","Workload":"w","exp":3,"nbf":1,"iat":2,"jti":"j"}`,
		`{"name":"dp-1","mesh":"default","tags":{},"type":"t","workload":null}`,
		`{"Zone":"west","Scope":["cp"],"exp":1669546939.75,"nbf":0,"jti":"6baf2c90-0e86-4c62-97a7-7835855834bc"}`,
		`{"zone":"west","scope":null,"exp":null,"jti":""}`,
		`{"Mesh":"m","mesh":"m"}`,
		`{"Mesh":"m","MESH":"m"}`,
		`{"Mesh":"m","` + "\u017fcope" + `":["cp"]}`,
		`{"Mesh":"m","Zone":"z"}`,
		`{"Mesh":"m","exp":1e3}`,
		`{"Mesh":"m","exp":9223372036854775808}`,
		`{"Mesh":"m","exp":253402300799}`,
		`{"Mesh":"m","jti":"a,b"}`,
		`{"Mesh":"\ud83d\ude00\u0000\/"}`,
		`{"Mesh":"\ud800"}`,
		"{\"Mesh\":\"\xff\"}",
		`{"Mesh":"m","x":[[[[[[[[]]]]]]]]}`,
		`{"Mesh":"m","x":{"y":1,"y":2}}`,
		`{"Mesh":"m"}{}`,
		"\ufeff" + `{"Mesh":"m"}`,
	} {
		f.Add([]byte(payload))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		raw := compact(goodHeader, string(text))
		if len(text) == 0 || len(raw) > token.MaxSize {
			return
		}
		u, err := token.ParseUnverified(raw)
		require.NoError(t, err)
		claims, err := u.Claims()
		if err != nil {
			require.ErrorIs(t, err, token.ErrClaims)
			return
		}
		members := strictMembers(t, text)
		claim := func(name string) json.RawMessage {
			var found json.RawMessage
			for spelling, value := range members {
				if !strings.EqualFold(spelling, name) {
					continue
				}
				require.True(t, spelling == name || spelling == strings.ToLower(name), "%q was accepted", spelling)
				require.Nil(t, found, "%s was accepted twice", name)
				found = value
			}
			return found
		}
		require.Equal(t, claims.Dataplane.Mesh, asString(t, claim("Mesh")))
		require.Equal(t, claims.Dataplane.Name, asString(t, claim("Name")))
		require.Equal(t, claims.Dataplane.Type, asString(t, claim("Type")))
		require.Equal(t, claims.Dataplane.Workload, asString(t, claim("Workload")))
		require.Equal(t, claims.Zone.Zone, asString(t, claim("Zone")))
		require.Equal(t, claims.ID, asString(t, claim("jti")))
		require.True(t, claims.ExpiresAt.Equal(asTime(t, claim("exp"))))
		require.True(t, claims.NotBefore.Equal(asTime(t, claim("nbf"))))
		require.True(t, claims.IssuedAt.Equal(asTime(t, claim("iat"))))
		require.NotEqual(t, claims.Dataplane.Mesh == "", claims.Zone.Zone == "")

		var tags map[string][]string
		if value := claim("Tags"); value != nil {
			require.NoError(t, json.Unmarshal(value, &tags))
		}
		require.Len(t, claims.Dataplane.Tags, len(tags))
		for name, values := range tags {
			got, there := claims.Dataplane.Tags[name]
			require.True(t, there)
			require.Len(t, got, len(values))
			for i := range values {
				require.Equal(t, values[i], got[i])
			}
		}
		var scope []string
		if value := claim("Scope"); value != nil {
			require.NoError(t, json.Unmarshal(value, &scope))
		}
		require.Len(t, claims.Zone.Scope, len(scope))
		for i := range scope {
			require.Equal(t, scope[i], claims.Zone.Scope[i])
		}
	})
}

// FuzzEncode holds that what is encoded is read back as it was.
func FuzzEncode(f *testing.F) {
	f.Add("1", "default", "dp-1", "", "", "", "", "a", "1", "2", "jti", int64(1669546939), int64(1666954639), int64(0), true, false)
	f.Add("1", "", "", "", "", "west", "cp", "", "", "", "jti", int64(3), int64(1), int64(2), false, true)
	f.Add("\x7f", "\xff", "<", "&", "\u2028", "", "", "\x00", "\ufffd", "\"", "a,b", int64(-1), int64(1<<62), int64(253402300799), true, true)
	f.Fuzz(func(t *testing.T, keyID, mesh, name, typ, workload, zone, scope, tag, value, value2, id string, exp, nbf, iat int64, withTags, withScope bool) {
		claims := token.Claims{
			Registered: token.Registered{ID: id, ExpiresAt: time.Unix(exp, 5), NotBefore: time.Unix(nbf, 999999999), IssuedAt: time.Unix(iat, 0)},
			Dataplane:  token.Dataplane{Mesh: mesh, Name: name, Type: typ, Workload: workload},
			Zone:       token.Zone{Zone: zone},
		}
		if withTags {
			claims.Dataplane.Tags = map[string][]string{tag: {value, value2}, value: {tag}}
		}
		if withScope {
			claims.Zone.Scope = []string{scope, value}
		}
		signed := ""
		raw, err := token.Encode(keyID, claims, func(signingInput []byte) ([]byte, error) {
			signed = string(signingInput)
			return make([]byte, 256), nil
		})
		if err != nil {
			require.ErrorIs(t, err, token.ErrNotIssuable)
			require.Empty(t, signed, "something was signed")
			return
		}
		u, err := token.ParseUnverified(raw)
		require.NoError(t, err)
		require.Equal(t, signed, u.SigningInput())
		header, err := u.Header()
		require.NoError(t, err)
		require.Equal(t, keyID, header.KeyID)
		got, err := u.Claims()
		require.NoError(t, err)
		require.Equal(t, wholeSeconds(claims), got)
	})
}

// strictMembers returns the members of an object, after encoding/json has found
// nothing in it that a strict decoder has to refuse.
func strictMembers(t *testing.T, text []byte) map[string]json.RawMessage {
	require.True(t, utf8.Valid(text))
	require.True(t, json.Valid(text))
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	requireNoNameTwice(t, decoder, 0)
	_, err := decoder.Token()
	require.True(t, errors.Is(err, io.EOF), "something follows the object")
	var members map[string]json.RawMessage
	require.NoError(t, json.Unmarshal(text, &members))
	return members
}

func requireNoNameTwice(t *testing.T, decoder *json.Decoder, depth int) {
	next, err := decoder.Token()
	require.NoError(t, err)
	if next != json.Delim('{') && next != json.Delim('[') {
		return
	}
	require.Less(t, depth, 8, "too deep")
	seen := map[json.Token]bool{}
	for decoder.More() {
		if next == json.Delim('{') {
			name, err := decoder.Token()
			require.NoError(t, err)
			require.False(t, seen[name], "%q stands twice", name)
			seen[name] = true
		}
		requireNoNameTwice(t, decoder, depth+1)
	}
	_, err = decoder.Token()
	require.NoError(t, err)
}

func asString(t *testing.T, value json.RawMessage) string {
	var s *string
	if value == nil {
		return ""
	}
	require.NoError(t, json.Unmarshal(value, &s))
	if s == nil {
		return ""
	}
	return *s
}

func asTime(t *testing.T, value json.RawMessage) time.Time {
	if value == nil || string(value) == "null" {
		return time.Time{}
	}
	number, ok := new(big.Rat).SetString(string(value))
	require.True(t, ok)
	seconds := new(big.Int).Quo(number.Num(), number.Denom())
	require.True(t, seconds.IsInt64())
	assert.GreaterOrEqual(t, seconds.Sign(), 0)
	return time.Unix(seconds.Int64(), 0).UTC()
}
