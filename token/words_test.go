package token_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

// under reads the claims of a payload under demands.
func under(t *testing.T, payload string, d token.Demands) (claims token.Claims, others bool, err error) {
	t.Helper()
	u, err := token.ParseUnverified(compact(goodHeader, payload))
	require.NoError(t, err)
	packed, err := u.PackedClaims(d)
	return packed.Untagged, packed.Others, err
}

func TestADemandThatIsNotMetSaysWhatTheTokenHasInstead(t *testing.T) {
	d := token.Demands{Issuer: "https://idp", Audience: "mesh"}
	long := strings.Repeat("x", 65)
	for rest, want := range map[string]string{
		`"aud":"mesh"`:                                        `token from another issuer: iss is missing, want "https://idp"`,
		`"iss":"","aud":"mesh"`:                               `iss is missing, want "https://idp"`,
		`"iss":"https://other","aud":"mesh"`:                  `iss is "https://other", want "https://idp"`,
		`"iss":"` + long + `","aud":"mesh"`:                   `iss is "` + long[:64] + `...", want "https://idp"`,
		`"iss":"` + long[:64] + `","aud":"mesh"`:              `iss is "` + long[:64] + `", want "https://idp"`,
		`"iss":"https://idp"`:                                 `aud is missing, want "mesh"`,
		`"iss":"https://idp","aud":""`:                        `aud is missing, want "mesh"`,
		`"iss":"https://idp","aud":[]`:                        `aud is missing, want "mesh"`,
		`"iss":"https://idp","aud":"other"`:                   `aud is "other", want "mesh"`,
		`"iss":"https://idp","aud":["a"]`:                     `aud has 1 values, ["a"] first, without "mesh"`,
		`"iss":"https://idp","aud":["a","b","c","d"]`:         `aud has 4 values, ["a" "b" "c" "d"] first, without "mesh"`,
		`"iss":"https://idp","aud":["a","b","c","d","e","f"]`: `aud has 6 values, ["a" "b" "c" "d"] first, without "mesh"`,
	} {
		_, _, err := under(t, `{"Mesh":"default",`+rest+`}`, d)
		if strings.Contains(want, "token from") {
			want = strings.TrimPrefix(want, "token from another issuer: ")
		}
		require.ErrorContains(t, err, want, rest)
		if strings.Contains(want, "aud") {
			require.ErrorIs(t, err, token.ErrAudience)
		} else {
			require.ErrorIs(t, err, token.ErrIssuer)
		}
	}
	for _, rest := range []string{`"iss":"https://idp","aud":"mesh"`, `"iss":"https://idp","aud":["a","mesh"]`} {
		_, others, err := under(t, `{"Mesh":"default",`+rest+`}`, d)
		require.NoError(t, err)
		assert.False(t, others, "what is demanded is known")
	}
	_, _, err := under(t, `{"Mesh":"default"}`, token.Demands{})
	assert.NoError(t, err, "nothing is demanded")
}

func TestPackedClaimsTellWhetherATokenHasClaimsThatAreIgnored(t *testing.T) {
	for payload, want := range map[string]bool{
		`{"Mesh":"default"}`: false, `{"Mesh":"default","Node":"n-1"}`: true, `{"Mesh":"default","iss":"me"}`: true,
		`{"Mesh":"default","name":"dp-1"}`: true,
	} {
		_, others, err := under(t, payload, token.Demands{})
		require.NoError(t, err)
		assert.Equal(t, want, others, payload)
	}
	_, others, err := under(t, `{"Mesh":"default","name":"dp-1"}`, token.Demands{LowerCase: true})
	require.NoError(t, err)
	assert.False(t, others)
}

func TestTimesReachToTheEndOfTheYear9999(t *testing.T) {
	claims, _, err := under(t, `{"Mesh":"default","exp":253402300799,"jti":""}`, token.Demands{})
	require.NoError(t, err)
	assert.Equal(t, time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), claims.ExpiresAt)
	for _, exp := range []string{"253402300800", "2534023007990", "99999999999999999999999999", "253402300800.5"} {
		_, _, err := under(t, `{"Mesh":"default","exp":`+exp+`}`, token.Demands{})
		require.ErrorContains(t, err, "is after the year 9999", exp)
	}
	_, _, err = under(t, `{"Mesh":"default","jti":1}`, token.Demands{})
	require.ErrorContains(t, err, "claim jti: ")
}

func TestErrorsQuoteAtMost64BytesOfAToken(t *testing.T) {
	for n, want := range map[int]string{63: strings.Repeat("1", 63), 64: strings.Repeat("1", 64), 65: strings.Repeat("1", 64) + "...", 500: strings.Repeat("1", 64) + "..."} {
		_, _, err := under(t, `{"Mesh":"default","exp":`+strings.Repeat("1", n)+`}`, token.Demands{})
		require.ErrorContains(t, err, fmt.Sprintf("claim exp: %q is after", want))
	}
}

func TestTypMayHaveThePrefixOfAMediaType(t *testing.T) {
	for typ, good := range map[string]bool{
		"at+jwt": true, "AT+JWT": true, "application/at+jwt": true, "Application/AT+jwt": true,
		"application/": false, "application": false, "x": false, "application/application/at+jwt": false, "application/at+jwt/": false, "/at+jwt": false, "text/at+jwt": false,
	} {
		for _, want := range []string{"at+jwt", "application/at+jwt"} {
			err := token.Header{Type: typ}.CheckType(token.Demands{Type: want})
			assert.Equal(t, good, err == nil, "%q, want %q", typ, want)
		}
	}
	for _, rest := range []string{"a/b", "/b", "a/"} {
		assert.Error(t, token.Header{Type: "application/" + rest}.CheckType(token.Demands{Type: rest}), "%q is the short form of no other", rest)
		assert.Error(t, token.Header{Type: rest}.CheckType(token.Demands{Type: "application/" + rest}), rest)
	}
	assert.NoError(t, token.Header{Type: "a"}.CheckType(token.Demands{Type: "application/a"}))
	assert.NoError(t, token.Header{Type: "application/a"}.CheckType(token.Demands{Type: "a"}))
	assert.ErrorContains(t, token.Header{}.CheckType(token.Demands{Type: "at+jwt"}), `typ is missing, want "at+jwt"`)
	assert.ErrorContains(t, token.Header{Type: "JWT"}.CheckType(token.Demands{Type: "at+jwt"}), `typ is "JWT", want "at+jwt"`)
	assert.ErrorContains(t, token.Header{Type: "at+jwt"}.CheckType(token.Demands{}), `typ is "at+jwt", want "JWT" or no typ`)
	assert.NoError(t, token.Header{}.CheckType(token.Demands{}))
}

func TestKeyIDsHavePrintableASCIIAlone(t *testing.T) {
	for _, kid := range []string{" ", "~", "a b"} {
		assert.NoError(t, token.CheckKeyID(kid), "%q", kid)
	}
	for _, kid := range []string{"", "\x1f", "\x7f", "a\x1fb", "é"} {
		assert.Error(t, token.CheckKeyID(kid), "%q", kid)
	}
}

func TestPlainTextTellsUTF16AndUTF32FromWhatIsNeither(t *testing.T) {
	for _, wide := range []string{
		"\xfe\xff", "\xff\xfe", "\xff\xfea\x00", "\xfe\xff\x00a", "\xff\xfe\x00\x00", "\x00\x00\xfe\xff", // marks
		"a\x00b\x00", "\x00a\x00b", "a\x00\x00\x00", "\x00\x00\x00a", "a\x00\x00\x00b\x00\x00\x00", "\x00\x00a\x00",
		"\x00abc", // the second is U+6263
	} {
		_, err := token.PlainText([]byte(wide))
		assert.ErrorIs(t, err, token.ErrEncoding, "%q", wide)
	}
	for _, other := range []string{
		"", "a", "\x00", "\x00a", "a\x00", "\x00a\x00", "a\x00b", "ab\x00\x00", "ab\x00c", "\x00\x00\x00\x00", "\x00\x00ab", "\x00\x00\xfea", "\x00\x00a\xff", "\xfe", "\xff\xff",
	} {
		_, err := token.PlainText([]byte(other))
		assert.NoError(t, err, "%q", other)
	}
}

func TestReasonsHaveTheirNamesAndClasses(t *testing.T) {
	for reason, want := range map[token.Reason]string{
		token.ReasonNone: "none", token.ReasonMalformed: "malformed", token.ReasonHeader: "header", token.ReasonUnknownKey: "unknown_key",
		token.ReasonSignature: "signature", token.ReasonClaims: "claims", token.ReasonIssuer: "issuer", token.ReasonAudience: "audience",
		token.ReasonKind: "kind", token.ReasonRevoked: "revoked", token.ReasonExpired: "expired", token.ReasonNotYetValid: "not_yet_valid",
		token.ReasonLifetime: "lifetime", token.ReasonInvalid: "invalid", token.ReasonNotPermitted: "not_permitted", token.ReasonScope: "scope",
		token.ReasonClosed: "closed", token.ReasonUnavailable: "unavailable", token.ReasonLineage: "lineage", token.ReasonNotIssuable: "not_issuable",
		token.ReasonIssuingDisabled: "issuing_disabled", token.ReasonDenied: "denied", token.ReasonSigner: "signer", token.ReasonOther: "other",
		-1: "other", token.ReasonOther + 1: "other", 1000: "other",
	} {
		assert.Equal(t, want, reason.String())
	}
	for _, reason := range []token.Reason{token.ReasonNone, token.ReasonLineage, token.ReasonNotIssuable, token.ReasonIssuingDisabled, token.ReasonDenied,
		token.ReasonSigner, token.ReasonOther, token.ReasonOther + 1, -1} {
		assert.Equal(t, token.Unclassified, reason.Class(), reason)
	}
	assert.Equal(t, token.Unavailable, token.ReasonClosed.Class())
	assert.Equal(t, token.NotPermitted, token.ReasonScope.Class())
	assert.EqualError(t, token.ErrClosed, "validator closed")
	assert.EqualError(t, token.ErrLineage, "token cannot be renewed")
}

func TestAPartOfATokenThatIsMalformedIsNamed(t *testing.T) {
	good := []string{"eyJh", "eyJi", "c2ln"}
	for number, name := range []string{"header", "payload", "signature"} {
		for text, want := range map[string]string{
			"": "%s is empty", "abc!": "%s has a character other than A-Z, a-z, 0-9, '-' and '_'", "abcde": "%s has a length that no base64url text has", "ab": "%s ends in spare bits that are not zero",
			"abcdefg!": "%s has a character other than A-Z, a-z, 0-9, '-' and '_'", "!abcdefg": "%s has a character other than A-Z, a-z, 0-9, '-' and '_'",
		} {
			parts := append([]string(nil), good...)
			parts[number] = text
			_, err := token.ParseUnverified(strings.Join(parts, "."))
			require.EqualError(t, err, token.ErrMalformed.Error()+": "+fmt.Sprintf(want, name), "%q", parts)
		}
	}
	for raw, want := range map[string]string{
		"a.b": "fewer than three parts, want header.payload.signature", "eyJh.eyJi.c2ln.": "more than three parts, want header.payload.signature",
		"eyJh.eyJi..c2ln": "more than three parts, want header.payload.signature", strings.Repeat("a", token.MaxSize+1): "longer than 8192 bytes",
	} {
		_, err := token.ParseUnverified(raw)
		require.EqualError(t, err, token.ErrMalformed.Error()+": "+want)
	}
}
