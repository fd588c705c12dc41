package token_test

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

func TestEncodeWritesWhatOtherIssuersWrite(t *testing.T) {
	at := func(seconds int64) time.Time { return time.Unix(seconds, 0) }
	for name, c := range map[string]struct {
		keyID           string
		claims          token.Claims
		header, payload string
	}{
		"the reference token": {"1", referenceClaims(), goodHeader,
			`{"Name":"dp-1","Mesh":"default","Tags":{"kuma.io/service":["backend","backend-admin"]},"Type":"","Workload":"","exp":1669546939,"nbf":1666954639,"iat":1666954939,"jti":"6baf2c90-0e86-4c62-97a7-7835855834bc"}`},
		"a mesh alone": {"key-1",
			token.Claims{Registered: token.Registered{ID: "j", ExpiresAt: at(1)}, Dataplane: token.Dataplane{Mesh: "m"}},
			`{"alg":"RS256","kid":"key-1","typ":"JWT"}`,
			`{"Name":"","Mesh":"m","Tags":{},"Type":"","Workload":"","exp":1,"jti":"j"}`},
		"tags in the order of their names": {"1",
			token.Claims{Registered: token.Registered{ID: "j", ExpiresAt: at(1)},
				Dataplane: token.Dataplane{Mesh: "m", Type: "t", Workload: "w", Tags: map[string][]string{"b": {"2", "1"}, "a": {""}}}},
			goodHeader,
			`{"Name":"","Mesh":"m","Tags":{"a":[""],"b":["2","1"]},"Type":"t","Workload":"w","exp":1,"jti":"j"}`},
		"a zone": {"1",
			token.Claims{Registered: token.Registered{ID: "j", ExpiresAt: at(3), NotBefore: at(1), IssuedAt: at(2)},
				Zone: token.Zone{Zone: "west", Scope: []string{"cp", "egress"}}},
			goodHeader,
			`{"Zone":"west","Scope":["cp","egress"],"exp":3,"nbf":1,"iat":2,"jti":"j"}`},
		"fractions of a second cut off": {"1",
			token.Claims{Registered: token.Registered{ID: "j", ExpiresAt: time.Unix(3, 999999999), NotBefore: time.Unix(0, 1), IssuedAt: at(0)},
				Zone: token.Zone{Zone: "west", Scope: []string{"cp"}}},
			goodHeader,
			`{"Zone":"west","Scope":["cp"],"exp":3,"nbf":0,"iat":0,"jti":"j"}`},
		"characters that need an escape": {`<"&">`,
			token.Claims{Registered: token.Registered{ID: `"\`, ExpiresAt: at(1)}, Dataplane: token.Dataplane{Mesh: "<\"é>"}},
			`{"alg":"RS256","kid":"\u003c\"\u0026\"\u003e","typ":"JWT"}`,
			`{"Name":"","Mesh":"\u003c\"é\u003e","Tags":{},"Type":"","Workload":"","exp":1,"jti":"\"\\"}`},
	} {
		t.Run(name, func(t *testing.T) {
			raw, err := token.Encode(c.keyID, c.claims, func([]byte) ([]byte, error) { return []byte("signature"), nil })
			require.NoError(t, err)
			assert.Equal(t, compact(c.header, c.payload), raw)

			u, err := token.ParseUnverified(raw)
			require.NoError(t, err)
			header, err := u.Header()
			require.NoError(t, err)
			assert.Equal(t, c.keyID, header.KeyID)
			got, err := u.Claims()
			require.NoError(t, err)
			assert.Equal(t, wholeSeconds(c.claims), got)
		})
	}
}

// wholeSeconds is what is left of claims once they were written and read.
func wholeSeconds(c token.Claims) token.Claims {
	whole := func(t time.Time) time.Time {
		if t.IsZero() {
			return time.Time{}
		}
		return time.Unix(t.Unix(), 0).UTC()
	}
	c.IssuedAt, c.NotBefore, c.ExpiresAt = whole(c.IssuedAt), whole(c.NotBefore), whole(c.ExpiresAt)
	if len(c.Dataplane.Tags) == 0 {
		c.Dataplane.Tags = nil
	}
	if len(c.Zone.Scope) == 0 {
		c.Zone.Scope = nil
	}
	return c
}

func TestEncodeMakesTheDocumentationsSampleByteForByte(t *testing.T) {
	u, err := token.ParseUnverified(sample)
	require.NoError(t, err)
	claims, err := u.Claims()
	require.NoError(t, err)
	raw, err := token.Encode("1", claims, func(signingInput []byte) ([]byte, error) {
		assert.Equal(t, u.SigningInput(), string(signingInput))
		return u.AppendSignature(nil), nil
	})
	require.NoError(t, err)
	assert.Equal(t, sample, raw)
}

func TestEncodeMakesATokenThatVerifiesUnderItsKey(t *testing.T) {
	sign, key := signer(t)
	raw, err := token.Encode("1", referenceClaims(), sign)
	require.NoError(t, err)
	u, err := token.ParseUnverified(raw)
	require.NoError(t, err)
	digest := sha256.Sum256([]byte(u.SigningInput()))
	assert.NoError(t, rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], u.AppendSignature(nil)))
}

func TestEncodeSignsNothingThatWouldBeRefused(t *testing.T) {
	zone := func(c *token.Claims) {
		c.Dataplane = token.Dataplane{}
		c.Zone = token.Zone{Zone: "west", Scope: []string{"cp"}}
	}
	for name, c := range map[string]struct {
		keyID  string
		change func(*token.Claims)
		reason string
	}{
		"no claims at all":                {"1", func(c *token.Claims) { *c = token.Claims{} }, "neither a mesh nor a zone"},
		"an empty mesh":                   {"1", func(c *token.Claims) { c.Dataplane.Mesh = "" }, "neither a mesh nor a zone"},
		"an empty zone":                   {"1", func(c *token.Claims) { zone(c); c.Zone.Zone = "" }, "neither a mesh nor a zone"},
		"both kinds":                      {"1", func(c *token.Claims) { c.Zone = token.Zone{Zone: "west", Scope: []string{"cp"}} }, "do not belong in a zone token"},
		"a zone with a name":              {"1", func(c *token.Claims) { zone(c); c.Dataplane.Name = "n" }, "do not belong in a zone token"},
		"a zone with tags":                {"1", func(c *token.Claims) { zone(c); c.Dataplane.Tags = map[string][]string{"a": {"1"}} }, "do not belong in a zone token"},
		"a zone with a type":              {"1", func(c *token.Claims) { zone(c); c.Dataplane.Type = "t" }, "do not belong in a zone token"},
		"a zone with a workload":          {"1", func(c *token.Claims) { zone(c); c.Dataplane.Workload = "w" }, "do not belong in a zone token"},
		"a mesh with a scope":             {"1", func(c *token.Claims) { c.Zone.Scope = []string{"cp"} }, "a scope does not belong in a dataplane token"},
		"a zone without scopes":           {"1", func(c *token.Claims) { zone(c); c.Zone.Scope = nil }, "without a scope"},
		"a zone with an empty scope list": {"1", func(c *token.Claims) { zone(c); c.Zone.Scope = []string{} }, "without a scope"},
		"a scope that is empty":           {"1", func(c *token.Claims) { zone(c); c.Zone.Scope = []string{"cp", ""} }, "a scope is empty"},
		"a tag with an empty list":        {"1", func(c *token.Claims) { c.Dataplane.Tags = map[string][]string{"a": {}} }, `tag "a" has an empty list`},
		"a tag with no list":              {"1", func(c *token.Claims) { c.Dataplane.Tags = map[string][]string{"a": nil} }, `tag "a" has an empty list`},
		"a mesh that is not UTF-8":        {"1", func(c *token.Claims) { c.Dataplane.Mesh = "\xff" }, `"\xff" is not valid UTF-8`},
		"a name that is not UTF-8":        {"1", func(c *token.Claims) { c.Dataplane.Name = "\xc3" }, `"\xc3" is not valid UTF-8`},
		"a type that is not UTF-8":        {"1", func(c *token.Claims) { c.Dataplane.Type = "\xff" }, "is not valid UTF-8"},
		"a workload that is not UTF-8":    {"1", func(c *token.Claims) { c.Dataplane.Workload = "\xed\xa0\x80" }, "is not valid UTF-8"},
		"a tag name that is not UTF-8":    {"1", func(c *token.Claims) { c.Dataplane.Tags = map[string][]string{"\xff": {"1"}} }, "is not valid UTF-8"},
		"a tag value that is not UTF-8":   {"1", func(c *token.Claims) { c.Dataplane.Tags = map[string][]string{"a": {"1", "\xff"}} }, "is not valid UTF-8"},
		"a zone that is not UTF-8":        {"1", func(c *token.Claims) { zone(c); c.Zone.Zone = "\xff" }, "is not valid UTF-8"},
		"a scope that is not UTF-8":       {"1", func(c *token.Claims) { zone(c); c.Zone.Scope = []string{"\xff"} }, "is not valid UTF-8"},
		"no jti":                          {"1", func(c *token.Claims) { c.ID = "" }, "jti is missing"},
		"a jti with a comma":              {"1", func(c *token.Claims) { c.ID = "a,b" }, `claim jti: "a,b"`},
		"a jti with a space":              {"1", func(c *token.Claims) { c.ID = "a b" }, `claim jti: "a b"`},
		"a jti that is not UTF-8":         {"1", func(c *token.Claims) { c.ID = "\xff" }, "claim jti"},
		"a jti of 257 characters":         {"1", func(c *token.Claims) { c.ID = strings.Repeat("j", 257) }, "claim jti: 257 bytes"},
		"no exp":                          {"1", func(c *token.Claims) { c.ExpiresAt = time.Time{} }, "exp is missing"},
		"exp at nbf":                      {"1", func(c *token.Claims) { c.NotBefore = c.ExpiresAt }, "exp 1669546939 is not after nbf 1669546939"},
		"exp less than a second after nbf": {"1", func(c *token.Claims) {
			c.NotBefore = c.ExpiresAt
			c.ExpiresAt = c.ExpiresAt.Add(999 * time.Millisecond)
		}, "is not after nbf"},
		"exp before nbf":          {"1", func(c *token.Claims) { c.NotBefore = c.ExpiresAt.Add(time.Hour) }, "is not after nbf"},
		"exp at 0":                {"1", func(c *token.Claims) { c.ExpiresAt, c.NotBefore = time.Unix(0, 5), time.Time{} }, "claim exp: 0"},
		"exp before 1970":         {"1", func(c *token.Claims) { c.ExpiresAt, c.NotBefore = time.Unix(-5, 0), time.Time{} }, `claim exp: "-5" is negative`},
		"exp in the year 10000":   {"1", func(c *token.Claims) { c.ExpiresAt = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC) }, "after the year 9999"},
		"exp at the end of time":  {"1", func(c *token.Claims) { c.ExpiresAt = time.Unix(1<<63-1, 0) }, "after the year 9999"},
		"nbf before 1970":         {"1", func(c *token.Claims) { c.NotBefore = time.Unix(-1, 5) }, `claim nbf: "-1" is negative`},
		"iat before 1970":         {"1", func(c *token.Claims) { c.IssuedAt = time.Unix(-1, 0) }, `claim iat: "-1" is negative`},
		"iat in the year 10000":   {"1", func(c *token.Claims) { c.IssuedAt = time.Unix(253402300800, 0) }, "after the year 9999"},
		"no kid":                  {"", func(*token.Claims) {}, "kid is empty"},
		"a kid of 257 characters": {strings.Repeat("k", 257), func(*token.Claims) {}, "kid has 257 bytes"},
		"a kid with a line end":   {"1\n", func(*token.Claims) {}, `kid is "1\n"`},
		"a kid beyond ASCII":      {"é", func(*token.Claims) {}, `kid is "é"`},
		"a kid that is not UTF-8": {"\xff", func(*token.Claims) {}, "kid is"},
		"a token over 8 KiB":      {"1", func(c *token.Claims) { c.Dataplane.Name = strings.Repeat("n", 6000) }, "want at most 8192"},
		"a token far over 8 KiB":  {"1", func(c *token.Claims) { c.Dataplane.Name = strings.Repeat("n", 1<<20) }, "want at most 8192"},
	} {
		t.Run(name, func(t *testing.T) {
			claims := referenceClaims()
			c.change(&claims)
			raw, err := token.Encode(c.keyID, claims, func([]byte) ([]byte, error) {
				t.Error("something was signed")
				return []byte("signature"), nil
			})
			require.ErrorIs(t, err, token.ErrNotIssuable)
			assert.NotErrorIs(t, err, token.ErrInvalid)
			assert.ErrorContains(t, err, c.reason)
			assert.Less(t, len(err.Error()), 400)
			assert.Empty(t, raw)
		})
	}
}

func TestEncodeNeedsASigningFunction(t *testing.T) {
	_, err := token.Encode("1", referenceClaims(), nil)
	assert.ErrorIs(t, err, token.ErrNotIssuable)
}

func TestEncodePassesOnAnErrorOfTheSigningFunction(t *testing.T) {
	unplugged := errors.New("HSM unplugged")
	raw, err := token.Encode("1", referenceClaims(), func([]byte) ([]byte, error) { return []byte("half"), unplugged })
	assert.ErrorIs(t, err, unplugged)
	assert.NotErrorIs(t, err, token.ErrNotIssuable)
	assert.Empty(t, raw)
}

func TestEncodeRefusesASignatureThatIsEmptyOrTooLong(t *testing.T) {
	for name, signature := range map[string][]byte{"empty": {}, "nil": nil, "too long": make([]byte, 6144)} {
		t.Run(name, func(t *testing.T) {
			raw, err := token.Encode("1", referenceClaims(), func([]byte) ([]byte, error) { return signature, nil })
			assert.ErrorIs(t, err, token.ErrNotIssuable)
			assert.Empty(t, raw)
		})
	}
}

func TestEncodeMakesTheLargestToken(t *testing.T) {
	signed := 0
	sign := func([]byte) ([]byte, error) { signed++; return make([]byte, 256), nil }
	claims := referenceClaims()
	var largest string
	for n := 5500; ; n++ {
		claims.Dataplane.Name = strings.Repeat("n", n)
		before := signed
		raw, err := token.Encode("1", claims, sign)
		if err != nil {
			require.ErrorIs(t, err, token.ErrNotIssuable)
			require.Equal(t, before, signed, "one that is too large is not signed")
			break
		}
		largest = raw
	}
	assert.InDelta(t, token.MaxSize, len(largest), 1)
	_, err := token.ParseUnverified(largest)
	assert.NoError(t, err)
}

func TestEncodeIsNotChangedByASigningFunctionThatScribbles(t *testing.T) {
	raw, err := token.Encode("1", referenceClaims(), func(signingInput []byte) ([]byte, error) {
		clear(signingInput)
		return append(signingInput, "signature"...)[len(signingInput):], nil
	})
	require.NoError(t, err)
	assert.True(t, strings.HasPrefix(raw, base64.RawURLEncoding.EncodeToString([]byte(goodHeader))+"."))
}

func TestEncodeLeavesTheCallersClaimsAlone(t *testing.T) {
	claims := referenceClaims()
	tags := maps.Clone(claims.Dataplane.Tags)
	_, err := token.Encode("1", claims, func([]byte) ([]byte, error) { return []byte("signature"), nil })
	require.NoError(t, err)
	assert.Equal(t, tags, claims.Dataplane.Tags)
	assert.Equal(t, referenceClaims(), claims)
}
