package token_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

// FuzzParseUnverified holds what is accepted, and what is not, against encoding/base64: each
// part has to come back byte for byte.
func FuzzParseUnverified(f *testing.F) {
	f.Add(sample)
	f.Add(compact(goodHeader, goodPayload))
	for _, c := range malformed() {
		if len(c.raw) < 2*token.MaxSize {
			f.Add(c.raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw string) {
		parts := strings.Split(raw, ".")
		good := len(raw) <= token.MaxSize && len(parts) == 3
		for _, part := range parts {
			decoded, err := base64.RawURLEncoding.DecodeString(part)
			good = good && err == nil && len(decoded) > 0 && base64.RawURLEncoding.EncodeToString(decoded) == part
		}
		u, err := token.ParseUnverified(raw)
		require.Equal(t, good, err == nil, "%v", err)
		if err != nil {
			require.ErrorIs(t, err, token.ErrMalformed)
			return
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

// FuzzHeader holds what is read, and what is refused, against encoding/json and a second
// reading of the rules.
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
		want, good := plainHeader(text)
		if err != nil {
			require.ErrorIs(t, err, token.ErrHeader)
			require.False(t, good && !hasReplacement(text), "%v", err)
			return
		}
		require.True(t, good)
		require.Equal(t, want, header)
	})
}

// plainHeader returns a header, and false if it has to be refused.
func plainHeader(text []byte) (h token.Header, good bool) {
	members, good := strictMembers(text)
	for name, value := range members {
		text, isText := asText(value)
		switch name {
		case "alg":
			good = good && text == "RS256"
		case "kid":
			h.KeyID = text
		case "typ":
			h.Type = text
			good = good && isText && strings.EqualFold(text, "JWT")
		default:
			for _, known := range []string{"alg", "kid", "typ", "crit", "b64", "zip", "enc", "cty", "jku", "jwk", "x5u", "x5c"} {
				good = good && !strings.EqualFold(name, known)
			}
		}
	}
	return h, good && members["alg"] != nil && slowIsKeyID(h.KeyID)
}

// FuzzClaims holds what is read, and what is refused, against encoding/json and a second
// reading of the rules, claim by claim.
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
		want, good := plainClaims(text)
		if err != nil {
			require.ErrorIs(t, err, token.ErrClaims)
			require.False(t, good && !hasReplacement(text), "%v", err)
			return
		}
		require.True(t, good)
		require.Equal(t, want, claims)
	})
}

// plainClaims returns claims, and false if they have to be refused.
func plainClaims(text []byte) (c token.Claims, good bool) {
	members, good := strictMembers(text)
	values := map[string]json.RawMessage{} // those that are not null, by the name as we write it
	for _, name := range []string{"Mesh", "Name", "Tags", "Type", "Workload", "Zone", "Scope", "exp", "nbf", "iat", "jti"} {
		times := 0
		for spelling, value := range members {
			if !strings.EqualFold(spelling, name) {
				continue
			}
			times++
			good = good && (spelling == name || spelling == strings.ToLower(name))
			if string(value) != "null" {
				values[name] = value
			}
		}
		good = good && times <= 1
	}
	d, z := &c.Dataplane, &c.Zone
	for name, to := range map[string]*string{"Mesh": &d.Mesh, "Name": &d.Name, "Type": &d.Type, "Workload": &d.Workload, "Zone": &z.Zone, "jti": &c.ID} {
		if value, found := values[name]; found {
			text, isText := asText(value)
			*to = text
			good = good && isText
		}
	}
	for name, to := range map[string]*time.Time{"exp": &c.ExpiresAt, "nbf": &c.NotBefore, "iat": &c.IssuedAt} {
		if value, found := values[name]; found {
			match := slowTime.FindStringSubmatch(string(value))
			if match == nil {
				return c, false
			}
			seconds, err := strconv.ParseInt(match[1], 10, 64)
			good = good && err == nil && seconds <= lastSecond && (name != "exp" || seconds > 0)
			*to = time.Unix(seconds, 0).UTC()
		}
	}
	var tags map[string][]*string // null is no text
	var scope []*string
	if value, found := values["Tags"]; found {
		good = good && json.Unmarshal(value, &tags) == nil
	}
	if value, found := values["Scope"]; found {
		good = good && json.Unmarshal(value, &scope) == nil
	}
	texts := func(list []*string) (texts []string) {
		for _, text := range list {
			good = good && text != nil
			if text != nil {
				texts = append(texts, *text)
			}
		}
		return texts
	}
	for name, list := range tags {
		if d.Tags == nil {
			d.Tags = map[string][]string{}
		}
		d.Tags[name] = texts(list)
	}
	z.Scope = texts(scope)

	ofProxy := d.Mesh != "" && z.Zone == "" && values["Scope"] == nil
	ofZone := z.Zone != "" && d.Mesh+d.Name+d.Type+d.Workload == "" && values["Tags"] == nil
	return c, good && (ofProxy || ofZone) && (c.ID == "" || slowIsID(c.ID))
}

// FuzzEncode holds that what is encoded is read back as it was, and that nothing else is
// refused than what the documentation of Encode says.
func FuzzEncode(f *testing.F) {
	f.Add("1", "default", "dp-1", "", "", "", "", "a", "1", "2", "jti", int64(1669546939), int64(1666954639), int64(0), true, false)
	f.Add("1", "", "", "", "", "west", "cp", "", "", "", "jti", int64(3), int64(1), int64(2), false, true)
	f.Add("key 1", "m", "dp", "", "", "", "", "", "", "", strings.Repeat("i", 256), int64(2), int64(1), int64(0), false, false)
	f.Add("1", "", "", "", "", "west", "cp", "", "egress", "", "jti", int64(253402300799), int64(0), int64(-62135596800), false, true)
	f.Add("1", "", "dp-1", "", "", "west", "cp", "", "egress", "", "jti", int64(1), int64(0), int64(0), false, true)
	f.Add("1", "m", "", "", "", "", "cp", "", "", "", "jti", int64(1), int64(1), int64(0), false, false)
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
		// A longer token may be too large: a character takes up to 6 bytes in JSON, and two texts are there twice.
		if length := len(keyID + mesh + name + typ + workload + zone + scope + tag + value + value2 + id); length <= 450 || err == nil {
			require.Equal(t, issuable(keyID, claims), err == nil, "%v", err)
		}
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

// issuable reports whether a token with the claims can be issued, unless it is too large.
func issuable(keyID string, c token.Claims) bool {
	if !slowIsKeyID(keyID) || !slowIsID(c.ID) {
		return false
	}
	for _, at := range []time.Time{c.ExpiresAt, c.NotBefore, c.IssuedAt} {
		if !at.IsZero() && (at.Unix() < 0 || at.Unix() > lastSecond) {
			return false
		}
	}
	if c.ExpiresAt.IsZero() || c.ExpiresAt.Unix() == 0 || !c.NotBefore.IsZero() && c.NotBefore.Unix() >= c.ExpiresAt.Unix() {
		return false
	}
	d, z := c.Dataplane, c.Zone
	names := append([]string{d.Mesh, d.Name, d.Type, d.Workload, z.Zone}, z.Scope...)
	for tag, values := range d.Tags {
		names = append(append(names, tag), values...)
	}
	for _, name := range names {
		if token.CheckName(name) != nil {
			return false
		}
	}
	ofProxy := d.Mesh != "" && z.Zone == "" && len(z.Scope) == 0
	ofZone := z.Zone != "" && d.Mesh+d.Name+d.Type+d.Workload == "" && len(d.Tags) == 0 && len(z.Scope) > 0 && !slices.Contains(z.Scope, "")
	return ofProxy || ofZone
}

const lastSecond = 253402300799 // of the year 9999

var (
	slowIsKeyID = regexp.MustCompile(`\A[ -~]{1,256}\z`).MatchString
	slowIsID    = regexp.MustCompile(`\A[!-+\--~]{1,256}\z`).MatchString
	slowTime    = regexp.MustCompile(`\A([0-9]+)(?:\.[0-9]+)?\z`)
)

// strictMembers returns the members of an object, as encoding/json reads it, and false if a
// strict reader has to refuse it.
func strictMembers(text []byte) (members map[string]json.RawMessage, strict bool) {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // there are numbers that no float64 holds
	if !utf8.Valid(text) || !json.Valid(text) || !isStrict(decoder, 0, hasReplacement(text)) {
		return nil, false
	}
	return members, json.Unmarshal(text, &members) == nil && members != nil
}

// isStrict reads a value, and returns false if it is too deep, has a name twice or half of a
// surrogate pair, for which encoding/json puts U+FFFD. The text may have others.
func isStrict(from *json.Decoder, depth int, others bool) bool {
	next, _ := from.Token()
	if text, isText := next.(string); isText {
		return others || !strings.ContainsRune(text, utf8.RuneError)
	}
	if next != json.Delim('{') && next != json.Delim('[') {
		return true
	}
	strict := depth < 8
	seen := map[json.Token]bool{}
	for strict && from.More() {
		if next == json.Delim('{') {
			name, _ := from.Token()
			strict = !seen[name] && (others || !strings.ContainsRune(name.(string), utf8.RuneError))
			seen[name] = true
		}
		strict = isStrict(from, depth+1, others) && strict
	}
	_, _ = from.Token()
	return strict
}

// hasReplacement reports whether JSON may have U+FFFD of its own. It is then not known what
// encoding/json has put there.
func hasReplacement(text []byte) bool {
	return bytes.ContainsRune(text, utf8.RuneError) || bytes.Contains(bytes.ToLower(text), []byte(`\ufffd`))
}

// asText returns a string, and false for any other value.
func asText(value json.RawMessage) (text string, isText bool) {
	var read *string
	if json.Unmarshal(value, &read) != nil || read == nil {
		return "", false
	}
	return *read, true
}
