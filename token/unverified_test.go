package token_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

// sample is the zone token of Kuma's documentation. The key that signed it is
// not public.
const sample = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEiLCJ0eXAiOiJKV1QifQ" +
	".eyJab25lIjoid2VzdCIsIlNjb3BlIjpbImNwIl0sImV4cCI6MTY2OTU0NjkzOSwibmJmIjoxNjY2OTU0NjM5LCJpYXQiOjE2NjY5NTQ5MzksImp0aSI6IjZiYWYyYzkwLTBlODYtNGM2Mi05N2E3LTc4MzU4NTU4MzRiYyJ9" +
	".DJfA0M6uUfO4oytp8jHtzngiVggQWQR88YQxWVU1ujc0Zv-XStRDwvpdEoFGOzWVn4EUfI3gcv9qS2MxqIzQjJ83k5Jq85w4hkPyLGr-0jNS1UZF6yXz7lB_As8f91gMVHbRAoFuoybV5ndDtfYzwZknyzott7doxk-SjTes2GDvpg0-kFNGc4MBR2EprGl7YKO0vhFxQljn5AyCAhmAA7-PM7WRCzhmS-pUXacfZtP2VulWYhmTAuLPnkJrJN-ZWPkIpnV1MZmsgWbzTpnW-PhmCMQfD5m2im1c_3OlFwa9P9rZQQhdhbTp0ofMvW-cdCAcG_lOJI5j60cqPh2DGg"

const (
	goodHeader  = `{"alg":"RS256","kid":"1","typ":"JWT"}`
	goodPayload = `{"Mesh":"default","exp":1669546939,"jti":"a"}`
)

// compact writes a token whose signature is no signature, which nothing in this
// package looks at.
func compact(header, payload string) string {
	encode := base64.RawURLEncoding.EncodeToString
	return encode([]byte(header)) + "." + encode([]byte(payload)) + "." + encode([]byte("signature"))
}

func parse(t testing.TB, header, payload string) token.Unverified {
	t.Helper()
	u, err := token.ParseUnverified(compact(header, payload))
	require.NoError(t, err)
	return u
}

// malformed are texts that are no compact token, with a piece of the reason.
func malformed() map[string]struct{ raw, reason string } {
	parts := strings.Split(compact(goodHeader, goodPayload), ".")
	header, payload, signature := parts[0], parts[1], parts[2]
	join := func(parts ...string) string { return strings.Join(parts, ".") }
	return map[string]struct{ raw, reason string }{
		"nothing":                                {"", "fewer than three parts"},
		"one part":                               {header, "fewer than three parts"},
		"two parts":                              {join(header, payload), "fewer than three parts"},
		"four parts":                             {join(header, payload, signature, signature), "more than three parts"},
		"the five parts of a JWE":                {join(header, "", "aaaa", payload, signature), "more than three parts"},
		"a dot before":                           {"." + join(header, payload, signature), "more than three parts"},
		"a dot after":                            {join(header, payload, signature) + ".", "more than three parts"},
		"two dots":                               {"..", "header is empty"},
		"an empty header":                        {join("", payload, signature), "header is empty"},
		"an empty payload":                       {join(header, "", signature), "payload is empty"},
		"an empty signature":                     {join(header, payload, ""), "signature is empty"},
		"ten million dots":                       {strings.Repeat(".", 10_000_000), "longer than 8192 bytes"},
		"16 MiB of a":                            {strings.Repeat("a", 16<<20), "longer than 8192 bytes"},
		"a header of one megabyte":               {join(strings.Repeat("a", 1<<20), payload, signature), "longer than 8192 bytes"},
		"a payload of one megabyte":              {join(header, strings.Repeat("a", 1<<20), signature), "longer than 8192 bytes"},
		"one byte too many":                      {join("aaaa", "aaaa", strings.Repeat("a", token.MaxSize-9)), "longer than 8192 bytes"},
		"a header with padding":                  {join("eyJh0A==", payload, signature), "header has a character other than"},
		"a payload with padding":                 {join(header, "e30=", signature), "payload has a character other than"},
		"a signature with padding":               {join(header, payload, "AA=="), "signature has a character other than"},
		"a signature with a plus":                {join(header, payload, "ab+d"), "signature has a character other than"},
		"a signature with a slash":               {join(header, payload, "ab/d"), "signature has a character other than"},
		"a long signature with a slash in it":    {join(header, payload, "abcdefghijklm/op"), "signature has a character other than"},
		"a signature with CR inside":             {join(header, payload, "ab\rcd"), "signature has a character other than"},
		"a signature with LF inside":             {join(header, payload, "ab\ncd"), "signature has a character other than"},
		"a signature with CR LF at the end":      {join(header, payload, signature) + "\r\n", "signature has a character other than"},
		"a signature with NUL inside":            {join(header, payload, "ab\x00d"), "signature has a character other than"},
		"a signature with a letter beyond ASCII": {join(header, payload, "abéd"), "signature has a character other than"},
		"a signature of invalid UTF-8":           {join(header, payload, "ab\xff\xfe"), "signature has a character other than"},
		"a space before":                         {" " + join(header, payload, signature), "header has a character other than"},
		"a space after":                          {join(header, payload, signature) + " ", "signature has a character other than"},
		"a line end between parts":               {join(header+"\n", payload, signature), "header has a character other than"},
		"a Bearer prefix":                        {"Bearer " + join(header, payload, signature), "header has a character other than"},
		"a header with four spare bits set":      {join("AB", payload, signature), "header ends in spare bits"},
		"a payload with two spare bits set":      {join(header, "AAB", signature), "payload ends in spare bits"},
		"a signature with four spare bits set":   {join(header, payload, "AB"), "signature ends in spare bits"},
		"a signature with two spare bits set":    {join(header, payload, "AAB"), "signature ends in spare bits"},
		"a signature with a lone last character": {join(header, payload, "AAAAA"), "signature has a length"},
		"flattened JSON serialisation": {
			`{"payload":"` + payload + `","protected":"` + header + `","signature":"` + signature + `"}`, "fewer than three parts"},
		"general JSON serialisation with two signatures": {
			`{"payload":"` + payload + `","signatures":[{"protected":"` + header + `","signature":"` + signature + `"},{"signature":"` + signature + `"}]}`,
			"fewer than three parts"},
		"JSON around a token that is good": {
			`{"token":"` + join(header, payload, signature) + `"}`, "header has a character other than"},
		"a quoted token": {`"` + join(header, payload, signature) + `"`, "header has a character other than"},
	}
}

func TestParseUnverifiedRefusesATextThatIsNoCompactToken(t *testing.T) {
	for name, c := range malformed() {
		t.Run(name, func(t *testing.T) {
			u, err := token.ParseUnverified(c.raw)
			require.ErrorIs(t, err, token.ErrMalformed)
			assert.ErrorIs(t, err, token.ErrInvalid)
			assert.ErrorContains(t, err, c.reason)
			assert.Equal(t, token.Unverified{}, u)
		})
	}
}

func TestParseUnverifiedRefusesAMalformedTokenWithoutAllocating(t *testing.T) {
	for name, c := range malformed() {
		t.Run(name, func(t *testing.T) {
			assert.Zero(t, testing.AllocsPerRun(100, func() {
				if _, err := token.ParseUnverified(c.raw); err == nil {
					t.Error("accepted")
				}
			}))
		})
	}
}

func TestParseUnverifiedRefusesEverySpellingOfTheSampleButOne(t *testing.T) {
	for i := range len(sample) {
		for _, c := range []string{"=", "+", "/", " ", "\n", "\r", "\t", "\x00", "\x80", ".", "%"} {
			_, err := token.ParseUnverified(sample[:i] + c + sample[i:])
			require.ErrorIs(t, err, token.ErrMalformed, "%q before byte %d", c, i)
		}
	}
}

func TestParseUnverifiedJudgesTheLastCharacterOfAPartAsStrictBase64Does(t *testing.T) {
	for _, start := range []string{"", "A", "AA", "AAA", "AAAAAAA", "AAAAAAAA", "AAAAAAAAA"} {
		for c := range 256 {
			if c == '\r' || c == '\n' || c == '.' {
				continue // encoding/base64 skips line ends, and a dot ends the part
			}
			part := start + string([]byte{byte(c)})
			_, want := base64.RawURLEncoding.Strict().DecodeString(part)
			for _, raw := range []string{part + ".AAAA.AAAA", "AAAA." + part + ".AAAA", "AAAA.AAAA." + part} {
				_, err := token.ParseUnverified(raw)
				assert.Equal(t, want == nil, err == nil, "%q", raw)
			}
		}
	}
}

func TestParseUnverifiedReadsATokenOfExactlyMaxSize(t *testing.T) {
	raw := "aaaa.aaaa." + strings.Repeat("A", token.MaxSize-10)
	require.Len(t, raw, token.MaxSize)
	u, err := token.ParseUnverified(raw)
	require.NoError(t, err)
	assert.Len(t, u.AppendSignature(nil), (token.MaxSize-10)*3/4)
}

func TestParseUnverifiedTakesATokenApartAtItsDots(t *testing.T) {
	u, err := token.ParseUnverified(sample)
	require.NoError(t, err)
	last := strings.LastIndexByte(sample, '.')
	assert.Equal(t, "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEiLCJ0eXAiOiJKV1QifQ", u.EncodedHeader())
	assert.Equal(t, sample[:last], u.SigningInput())
	assert.Equal(t, sample[last+1:], base64.RawURLEncoding.EncodeToString(u.AppendSignature(nil)))
	assert.Len(t, u.AppendSignature(nil), 256)
}

func TestAppendSignatureChangesNothingAroundIt(t *testing.T) {
	for n := range 24 { // every length of the end that is not a multiple of 3 bytes
		want := bytes.Repeat([]byte{0xab}, n+1)
		u, err := token.ParseUnverified("e30.e30." + base64.RawURLEncoding.EncodeToString(want))
		require.NoError(t, err)
		buffer := bytes.Repeat([]byte{'x'}, 40)
		got := u.AppendSignature(buffer[:8])
		assert.Equal(t, append([]byte("xxxxxxxx"), want...), got)
		assert.Same(t, &buffer[0], &got[0], "there is room")
		assert.Equal(t, strings.Repeat("x", 40-len(got)), string(buffer[len(got):]))
		assert.Equal(t, want, u.AppendSignature(nil))
	}
}

func TestUnverifiedZeroValueIsEmptyAndPanicsNowhere(t *testing.T) {
	var u token.Unverified
	assert.Empty(t, u.EncodedHeader())
	assert.Empty(t, u.SigningInput())
	assert.Empty(t, u.AppendSignature(nil))
	_, err := u.Header()
	assert.ErrorIs(t, err, token.ErrHeader)
	_, err = u.Claims()
	assert.ErrorIs(t, err, token.ErrClaims)
}

func TestUnverifiedIsNeverPrinted(t *testing.T) {
	u, err := token.ParseUnverified(sample)
	require.NoError(t, err)
	type holder struct {
		Exported   token.Unverified
		unexported token.Unverified
	}
	var out strings.Builder
	for _, verb := range "vsqxXdobcUtefgGpTw" {
		for _, flag := range []string{"", "+", "#", " ", "-40", ".3"} {
			format := "%" + flag + string(verb) + "\n"
			fmt.Fprintf(&out, format, u)
			fmt.Fprintf(&out, format, &u)
			fmt.Fprintf(&out, format, []token.Unverified{u})
			fmt.Fprintf(&out, format, map[string]token.Unverified{"u": u})
			fmt.Fprintf(&out, format, holder{u, u})
			fmt.Fprintf(&out, format, &holder{u, u})
		}
	}
	fmt.Fprintln(&out, u, fmt.Errorf("token %v", u))
	slog.New(slog.NewTextHandler(&out, nil)).Info("text", "u", u, "in", holder{u, u})
	slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "u", u, "in", holder{u, u})
	encoded, err := json.Marshal(holder{u, u})
	require.NoError(t, err)
	out.Write(encoded)

	for _, part := range strings.Split(sample, ".") {
		for _, format := range []string{"%s", "%x", "%X", "% x", "% X", "%d"} {
			leak := strings.Trim(fmt.Sprintf(format, []byte(part[:12])), "[]")
			assert.False(t, strings.Contains(out.String(), leak), "%s is in the output", leak)
		}
	}
	assert.Contains(t, out.String(), "token.Unverified")
	assert.Equal(t, "token.Unverified", fmt.Sprintf("%v", u))
	assert.Equal(t, "token.Unverified", fmt.Sprintf("%#v", u))
	assert.Equal(t, "token.Unverified", u.LogValue().String())
}
