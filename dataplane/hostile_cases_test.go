package dataplane_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// hostileNow is the time on the validator's clock, in seconds since 1970.
const hostileNow = 1_769_546_939

// hostileCase is a token and the answer that it must get. Where nothing else is
// said it is presented in mesh "default" and signed with the key that it names.
type hostileCase struct {
	name    string
	raw     string
	mesh    string // asked for
	want    error  // nil: accepted
	reads   bool   // whether validating it makes the store be read, once
	options []dataplane.ValidatorOption
}

func hostileAccepted(name, raw string) hostileCase {
	return hostileCase{name: name, raw: raw, mesh: "default"}
}

func hostileRefused(want error, name, raw string) hostileCase {
	return hostileCase{name: name, raw: raw, mesh: "default", want: want}
}

func (c hostileCase) askedFor(mesh string) hostileCase { c.mesh = mesh; return c }

func (c hostileCase) causingARead() hostileCase { c.reads = true; return c }

func (c hostileCase) under(options ...dataplane.ValidatorOption) hostileCase {
	c.options = append(c.options, options...)
	return c
}

// The header and the payload of a token against which nothing can be said.
var (
	hostileHeader = forge.Object{{Name: "alg", Value: `"RS256"`}, {Name: "kid", Value: `"1"`}, {Name: "typ", Value: `"JWT"`}}

	hostilePayload = forge.Object{
		{Name: "Name", Value: `"dp-1"`},
		{Name: "Mesh", Value: `"default"`},
		{Name: "Tags", Value: `{"kuma.io/service":["backend"]}`},
		{Name: "Type", Value: `""`},
		{Name: "Workload", Value: `""`},
		{Name: "exp", Value: hostileAt(3600)},
		{Name: "nbf", Value: hostileAt(-300)},
		{Name: "iat", Value: hostileAt(-300)},
		{Name: "jti", Value: `"6baf2c90-0e86-4c62-97a7-7835855834bc"`},
	}

	hostileZonePayload = hostilePayload.Without("Name").Without("Mesh").Without("Tags").Without("Type").Without("Workload").
				And("Zone", `"west"`).And("Scope", `["cp"]`)
)

// hostileAt is a time in a token, in seconds from now.
func hostileAt(seconds int) string { return strconv.Itoa(hostileNow + seconds) }

// hostileWithHeader is a token that has another header and is signed under it.
func hostileWithHeader(header string) string {
	return forge.Token(header, hostilePayload.String(), forge.RS256(forge.Key()))
}

// hostileWithPayload is a token that has another payload and is signed over it.
func hostileWithPayload(payload string) string {
	return forge.Token(hostileHeader.String(), payload, forge.RS256(forge.Key()))
}

// hostileWithParts is a token whose header and payload are spelled as given, and
// which is signed over just that.
func hostileWithParts(header, payload string) string {
	return forge.Parts(header, payload, forge.RS256(forge.Key()))
}

// hostileWithSignature is a token that has another signature.
func hostileWithSignature(sign forge.Signer) string {
	return forge.Token(hostileHeader.String(), hostilePayload.String(), sign)
}

func hostilePublic(key *rsa.PrivateKey) *signing.PublicKey {
	public, err := signing.NewPublicKey(&key.PublicKey)
	if err != nil {
		panic(err)
	}
	return public
}

func hostileCases(url string) []hostileCase {
	return slices.Concat(
		hostileForms(),
		hostileAlgorithms(),
		hostileKeyIDs(),
		hostileHeaders(url),
		hostileHeaderTexts(),
		hostileSignatures(),
		hostileKeys(),
		hostilePayloads(),
		hostileSpellings(),
		hostileClaims(),
		hostileTimes(),
		hostileLifetimes(),
		hostileScopes(),
		hostilePriorities(),
	)
}

func hostileForms() []hostileCase {
	good := hostileWithPayload(hostilePayload.String())
	parts := strings.Split(good, ".")
	header, payload, signature := parts[0], parts[1], parts[2]
	signed := forge.RS256(forge.Key())
	longHeader := hostileHeader.And("x", `"`+strings.Repeat("a", 1<<20)+`"`).String()
	longPayload := hostilePayload.And("x", `"`+strings.Repeat("a", 1<<20)+`"`).String()

	// Texts whose base64 has four, two and no spare bits.
	fourSpare, twoSpare, noneSpare := hostileSpaced(hostileHeader, 1), hostileSpaced(hostileHeader, 2), hostileSpaced(hostileHeader, 0)
	payloadSpare := hostileSpaced(hostilePayload, 1)

	cases := []hostileCase{
		hostileAccepted("a token against which nothing can be said", good),
		hostileAccepted("a header with spare bits that are zero", forge.Token(fourSpare, hostilePayload.String(), signed)),
		hostileAccepted("a token of exactly 8192 bytes", hostileOfSize(8192)),

		hostileRefused(token.ErrMalformed, "a token of 8193 bytes", hostileOfSize(8193)),
		hostileRefused(token.ErrMalformed, "nothing at all", ""),
		hostileRefused(token.ErrMalformed, "one letter", "a"),
		hostileRefused(token.ErrMalformed, "one NUL", "\x00"),
		hostileRefused(token.ErrMalformed, "one dot", "."),
		hostileRefused(token.ErrMalformed, "two dots", ".."),
		hostileRefused(token.ErrMalformed, "three dots", "..."),
		hostileRefused(token.ErrMalformed, "ten million dots", strings.Repeat(".", 10_000_000)),
		hostileRefused(token.ErrMalformed, "8192 dots", strings.Repeat(".", 8192)),
		hostileRefused(token.ErrMalformed, "16 MiB of the letter a", strings.Repeat("a", 16<<20)),
		hostileRefused(token.ErrMalformed, "8192 letters a", strings.Repeat("a", 8192)),
		hostileRefused(token.ErrMalformed, "16 MiB of 0xff", strings.Repeat("\xff", 16<<20)),
		hostileRefused(token.ErrMalformed, "a signed header of one megabyte", hostileWithHeader(longHeader)),
		hostileRefused(token.ErrMalformed, "a signed payload of one megabyte", hostileWithPayload(longPayload)),
		hostileRefused(token.ErrMalformed, "a signature of one megabyte", hostileWithSignature(forge.Signature(make([]byte, 1<<20)))),

		hostileRefused(token.ErrMalformed, "the header alone", header),
		hostileRefused(token.ErrMalformed, "two parts: no signature and no dot before it", header+"."+payload),
		hostileRefused(token.ErrMalformed, "two parts: no header", payload+"."+signature),
		hostileRefused(token.ErrMalformed, "an empty header", "."+payload+"."+signature),
		hostileRefused(token.ErrMalformed, "an empty header that is signed", hostileWithParts("", payload)),
		hostileRefused(token.ErrMalformed, "an empty payload that is signed", hostileWithParts(header, "")),
		hostileRefused(token.ErrMalformed, "an empty signature", header+"."+payload+"."),
		hostileRefused(token.ErrMalformed, "a detached payload (RFC 7515, appendix F)", header+".."+signature),
		hostileRefused(token.ErrMalformed, "a dot after the signature", good+"."),
		hostileRefused(token.ErrMalformed, "a dot before the header", "."+good),
		hostileRefused(token.ErrMalformed, "four parts", good+"."+signature),
		hostileRefused(token.ErrMalformed, "five parts, which a JWE has", header+"."+payload+"."+signature+"."+payload+"."+signature),
		hostileRefused(token.ErrMalformed, "two whole tokens with a dot between", good+"."+good),
		hostileRefused(token.ErrMalformed, "two whole tokens with a comma between", good+","+good),
		hostileRefused(token.ErrMalformed, "two whole tokens with a space between", good+" "+good),
		hostileRefused(token.ErrMalformed, "two whole tokens with a newline between", good+"\n"+good),

		hostileRefused(token.ErrMalformed, "the flattened JSON serialisation",
			`{"payload":"`+payload+`","protected":"`+header+`","signature":"`+signature+`"}`),
		hostileRefused(token.ErrMalformed, "the general JSON serialisation",
			`{"payload":"`+payload+`","signatures":[{"protected":"`+header+`","signature":"`+signature+`"}]}`),
		hostileRefused(token.ErrMalformed, "the general JSON serialisation with two signatures",
			`{"payload":"`+payload+`","signatures":[{"protected":"`+header+`","signature":"AA"},{"protected":"`+header+`","signature":"`+signature+`"}]}`),
		hostileRefused(token.ErrMalformed, "the flattened JSON serialisation with more outer members",
			`{"Mesh":"other","payload":"`+payload+`","protected":"`+header+`","signature":"`+signature+`"}`),
		hostileRefused(token.ErrMalformed, "a valid token inside of a JSON object", `{"token":"`+good+`"}`),
		hostileRefused(token.ErrMalformed, "a valid token as a JSON string", `"`+good+`"`),
		hostileRefused(token.ErrMalformed, "JSON that has two dots", `{"a":"b.c.d"}`),

		hostileRefused(token.ErrMalformed, "Bearer and a valid token", "Bearer "+good),
		hostileRefused(token.ErrMalformed, "a token in single quotes", "'"+good+"'"),
		hostileRefused(token.ErrMalformed, "a byte order mark before the token", "\ufeff"+good),
		hostileRefused(token.ErrMalformed, "a NUL after the token", good+"\x00"),
		hostileRefused(token.ErrMalformed, "a zero width space after the token", good+"\u200b"),
		hostileRefused(token.ErrMalformed, "a fragment after the token", good+"#a"),
		hostileRefused(token.ErrMalformed, "dots that are percent-encoded", strings.Join(parts, "%2E")),
		hostileRefused(token.ErrMalformed, "dots that are full width", strings.Join(parts, "\uff0e")),
		hostileRefused(token.ErrMalformed, "dots that are one dot leaders", strings.Join(parts, "\u2024")),
		hostileRefused(token.ErrMalformed, "a token in UTF-16", hostileUTF16(good)),
		hostileRefused(token.ErrMalformed, "a full width letter in a signed header", hostileWithParts(header+"\uff21", payload)),

		hostileRefused(token.ErrMalformed, "a header that is not encoded", hostileWithParts(hostileHeader.String(), payload)),
		hostileRefused(token.ErrMalformed, "a payload that is not encoded (RFC 7797)", hostileWithParts(header, `{"Mesh":"default"}`)),
		hostileRefused(token.ErrMalformed, "a header of one character more than bytes can make", hostileWithParts(forge.Encode(noneSpare)+"A", payload)),
		hostileRefused(token.ErrMalformed, "a payload of one character", hostileWithParts(header, "A")),
		hostileRefused(token.ErrMalformed, "a signature of one character", header+"."+payload+".A"),

		hostileRefused(token.ErrMalformed, "a header signed with four spare bits set", hostileWithParts(hostileSpareBit(fourSpare), payload)),
		hostileRefused(token.ErrMalformed, "a header signed with two spare bits set", hostileWithParts(hostileSpareBit(twoSpare), payload)),
		hostileRefused(token.ErrMalformed, "a payload signed with spare bits set", hostileWithParts(header, hostileSpareBit(payloadSpare))),
		hostileRefused(token.ErrMalformed, "a signature with spare bits set", header+"."+payload+"."+signature[:len(signature)-1]+
			string(hostileNextLetter(signature[len(signature)-1]))),
		hostileRefused(token.ErrMalformed, "a header signed with its padding", hostileWithParts(forge.Encode(fourSpare)+"==", payload)),
		hostileRefused(token.ErrMalformed, "a payload signed with its padding", hostileWithParts(header, forge.Encode(payloadSpare)+"==")),
		hostileRefused(token.ErrMalformed, "a signature with its padding", good+"=="),
		hostileRefused(token.ErrMalformed, "a signature with one padding character", good+"="),
		hostileRefused(token.ErrMalformed, "a signature with padding that is percent-encoded", good+"%3D%3D"),
		hostileRefused(token.ErrMalformed, "a signature in the standard alphabet", hostileInStandardAlphabet()),
		hostileRefused(token.ErrMalformed, "a signature in hexadecimal digits and colons", header+"."+payload+".00:01:02:03"),
		hostileRefused(token.ErrMalformed, "a header signed in the standard alphabet", hostileWithParts(header+"+/+/", payload)),
		hostileRefused(token.ErrMalformed, "a payload signed in the standard alphabet", hostileWithParts(header, payload+"+/+/")),
	}
	for _, space := range []struct{ name, text string }{
		{"a space", " "}, {"a tab", "\t"}, {"a line feed", "\n"}, {"a carriage return", "\r"}, {"a CRLF", "\r\n"}, {"a no-break space", "\u00a0"},
	} {
		cases = append(cases,
			hostileRefused(token.ErrMalformed, space.name+" before the token", space.text+good),
			hostileRefused(token.ErrMalformed, space.name+" after the token", good+space.text),
			hostileRefused(token.ErrMalformed, space.name+" inside of a signed header", hostileWithParts(header[:8]+space.text+header[8:], payload)),
			hostileRefused(token.ErrMalformed, space.name+" inside of a signed payload", hostileWithParts(header, payload[:8]+space.text+payload[8:])),
			hostileRefused(token.ErrMalformed, space.name+" inside of the signature", header+"."+payload+"."+signature[:8]+space.text+signature[8:]),
		)
	}
	return cases
}

// hostileOfSize is a good token of a size that base64 can make with the
// default header or with one that has a space more.
func hostileOfSize(size int) string {
	for _, header := range []string{hostileHeader.String(), hostileHeader.String() + " "} {
		payload := hostilePayload.And("x", `""`).String()
		for room := 0; ; room++ {
			text := strings.Replace(payload, `"x":""`, `"x":"`+strings.Repeat("x", room)+`"`, 1)
			length := len(forge.Encode(header)) + 1 + len(forge.Encode(text)) + 1 + 342 // of a signature of 256 bytes
			if length == size {
				return hostileWithParts(forge.Encode(header), forge.Encode(text))
			}
			if length > size {
				break
			}
		}
	}
	panic("no token has that size")
}

// hostileSpaced is an object's text with spaces after it, so many that so many bytes
// are left over when it is cut into groups of three.
func hostileSpaced(o forge.Object, left int) string {
	text := o.String()
	for len(text)%3 != left {
		text += " "
	}
	return text
}

// hostileSpareBit encodes a text and sets a bit that stands for nothing.
func hostileSpareBit(text string) string {
	encoded := forge.Encode(text)
	if len(encoded)%4 == 0 {
		panic("no bits are spare")
	}
	last := len(encoded) - 1
	return encoded[:last] + string(hostileNextLetter(encoded[last]))
}

// hostileNextLetter is the base64url letter whose lowest bit is set where it was
// not.
func hostileNextLetter(letter byte) byte {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return alphabet[strings.IndexByte(alphabet, letter)|1]
}

func hostileInStandardAlphabet() string {
	for i := 0; ; i++ {
		raw := hostileWithPayload(hostilePayload.With("jti", strconv.Quote(strconv.Itoa(i))).String())
		dot := strings.LastIndexByte(raw, '.')
		signature := strings.NewReplacer("-", "+", "_", "/").Replace(raw[dot:])
		if signature != raw[dot:] {
			return raw[:dot] + signature
		}
	}
}

func hostileUTF16(text string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		b.Write([]byte{byte(unit), byte(unit >> 8)})
	}
	return b.String()
}

func hostileAlgorithms() []hostileCase {
	var cases []hostileCase
	signed := forge.RS256(forge.Key())
	for _, alg := range []string{"none", "None", "NONE", "nOnE", ""} {
		header := hostileHeader.With("alg", strconv.Quote(alg)).String()
		name := fmt.Sprintf("alg %q", alg)
		cases = append(cases,
			hostileRefused(token.ErrMalformed, name+" without a signature", forge.Token(header, hostilePayload.String(), forge.Signature(nil))),
			hostileRefused(token.ErrHeader, name+" with a signature of one byte", forge.Token(header, hostilePayload.String(), forge.Signature([]byte{0}))),
			hostileRefused(token.ErrHeader, name+" with a valid RS256 signature", forge.Token(header, hostilePayload.String(), signed)),
		)
	}
	for _, alg := range []string{
		`"rs256"`, `"Rs256"`, `"RS256 "`, `" RS256"`, `"RS256\u0000"`, `"RS-256"`, `"RSA256"`, `"RS256,none"`, `"R\u017f256"`, `"\uff32\uff33256"`,
		`"RS1"`, `"RS384"`, `"RS512"`, `"PS256"`, `"PS384"`, `"PS512"`, `"ES256"`, `"ES256K"`, `"EdDSA"`, `"HS256"`, `"HS384"`, `"HS512"`,
		`"RSA1_5"`, `"RSA-OAEP"`, `"dir"`, `"sha256WithRSAEncryption"`,
		`null`, `true`, `256`, `["RS256"]`, `{"RS256":"RS256"}`, `"RS256`, `RS256`, `""""`,
	} {
		cases = append(cases, hostileRefused(token.ErrHeader, "a valid RS256 signature and alg "+alg, hostileWithHeader(hostileHeader.With("alg", alg).String())))
	}
	cases = append(cases,
		hostileAccepted("alg with its letters escaped", hostileWithHeader(hostileHeader.With("alg", `"\u0052\u00532\u00356"`).String())),
		hostileRefused(token.ErrHeader, "no alg", hostileWithHeader(hostileHeader.Without("alg").String())),
		hostileRefused(token.ErrHeader, "alg spelled ALG", hostileWithHeader(hostileHeader.Renamed("alg", "ALG").String())),
		hostileRefused(token.ErrHeader, "alg spelled Alg", hostileWithHeader(hostileHeader.Renamed("alg", "Alg").String())),
		hostileRefused(token.ErrHeader, "alg and ALG none", hostileWithHeader(hostileHeader.And("ALG", `"none"`).String())),
		hostileRefused(token.ErrHeader, "alg twice, RS256 first", hostileWithHeader(hostileHeader.And("alg", `"none"`).String())),
		hostileRefused(token.ErrHeader, "alg twice, RS256 last", hostileWithHeader(hostileHeader.Before("alg", `"none"`).String())),
		hostileRefused(token.ErrHeader, "alg twice, the same", hostileWithHeader(hostileHeader.And("alg", `"RS256"`).String())),
		hostileRefused(token.ErrHeader, "alg twice, once with an escape", hostileWithHeader(hostileHeader.And(`\u0061lg`, `"RS256"`).String())),
		hostileRefused(token.ErrHeader, "alg PS256 with a PSS signature", forge.Token(hostileHeader.With("alg", `"PS256"`).String(), hostilePayload.String(), forge.PSS(forge.Key(), crypto.SHA256))),
		hostileRefused(token.ErrHeader, "alg RS512 with an RS512 signature", forge.Token(hostileHeader.With("alg", `"RS512"`).String(), hostilePayload.String(), forge.PKCS1(forge.Key(), crypto.SHA512))),
	)

	// The public key taken for the secret of an HMAC.
	public := &forge.Key().PublicKey
	pkix, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic(err)
	}
	pkcs1 := x509.MarshalPKCS1PublicKey(public)
	pkcs1PEM := pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: pkcs1})
	pkixPEM := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: pkix})
	for _, secret := range []struct {
		name string
		data []byte
	}{
		{"the public key in PKCS#1 PEM", pkcs1PEM},
		{"the public key in PKIX PEM", pkixPEM},
		{"the trimmed PKCS#1 PEM", bytes.TrimSpace(pkcs1PEM)},
		{"the trimmed PKIX PEM", bytes.TrimSpace(pkixPEM)},
		{"the PKCS#1 DER", pkcs1},
		{"the PKIX DER", pkix},
		{"the modulus", public.N.Bytes()},
		{"an empty key", nil},
		{"the kid", []byte("1")},
	} {
		cases = append(cases,
			hostileRefused(token.ErrHeader, "HS256 keyed with "+secret.name,
				forge.Token(hostileHeader.With("alg", `"HS256"`).String(), hostilePayload.String(), forge.HS256(secret.data))),
			hostileRefused(token.ErrSignature, "RS256, but an HMAC keyed with "+secret.name, hostileWithSignature(forge.HS256(secret.data))),
		)
	}
	return cases
}

func hostileKeyIDs() []hostileCase {
	with := func(kid string) string { return hostileWithHeader(hostileHeader.With("kid", kid).String()) }
	configured := func(kid string) dataplane.ValidatorOption {
		return dataplane.WithPublicKey("default", kid, hostilePublic(forge.Key()))
	}
	long := strings.Repeat("k", token.MaxKeyIDLength)
	cases := []hostileCase{
		hostileRefused(token.ErrHeader, "no kid", hostileWithHeader(hostileHeader.Without("kid").String())),
		hostileRefused(token.ErrHeader, "kid spelled KID", hostileWithHeader(hostileHeader.Renamed("kid", "KID").String())),
		hostileRefused(token.ErrHeader, "kid spelled with a Kelvin sign", hostileWithHeader(hostileHeader.Renamed("kid", "\u212aid").String())),
		hostileRefused(token.ErrHeader, "kid and Kid", hostileWithHeader(hostileHeader.And("Kid", `"2"`).String())),
		hostileRefused(token.ErrHeader, "kid and a kid with a Kelvin sign", hostileWithHeader(hostileHeader.And(`\u212aid`, `"2"`).String())),
		hostileRefused(token.ErrHeader, "kid twice, the right one last", hostileWithHeader(hostileHeader.Before("kid", `"2"`).String())),
		hostileRefused(token.ErrHeader, "kid twice, the right one first", hostileWithHeader(hostileHeader.And("kid", `"2"`).String())),
		hostileRefused(token.ErrHeader, "kid twice, the same", hostileWithHeader(hostileHeader.And("kid", `"1"`).String())),
		hostileRefused(token.ErrMalformed, "a kid of one megabyte", with(`"`+strings.Repeat("1", 1<<20)+`"`)),

		hostileAccepted("a kid with its digit escaped", with(`"\u0031"`)),
		hostileAccepted("a configured kid that is no number", with(`"key-1"`)).under(configured("key-1")),
		hostileAccepted("a configured kid of 256 characters", with(strconv.Quote(long))).under(configured(long)),
		hostileAccepted("a configured kid with spaces around it", with(`" key 1 "`)).under(configured(" key 1 ")),
		hostileAccepted("a configured kid that looks like a path", with(`"../../1"`)).under(configured("../../1")),
		hostileAccepted("a configured kid that is no canonical serial", with(`"01"`)).under(configured("01")),
		hostileRefused(token.ErrUnknownKey, "a configured kid in another case", with(`"KEY-1"`)).under(configured("key-1")),
		hostileRefused(token.ErrUnknownKey, "a configured kid with a space after it", with(`"key-1 "`)).under(configured("key-1")),
		hostileRefused(token.ErrUnknownKey, "a kid that is configured for another mesh", with(`"key-1"`)).
			under(dataplane.WithPublicKey("other", "key-1", hostilePublic(forge.Key()))),
		hostileRefused(token.ErrUnknownKey, "a kid of the store where only configured keys count", hostileWithHeader(hostileHeader.String())).
			under(configured("key-1"), dataplane.WithoutStoreKeys()),
		hostileRefused(token.ErrUnknownKey, "an unknown serial where only configured keys count", with(`"2"`)).
			under(configured("key-1"), dataplane.WithoutStoreKeys()),
		hostileRefused(token.ErrSignature, "a kid of the store that a configured key hides", hostileWithHeader(hostileHeader.String())).
			under(dataplane.WithPublicKey("default", "1", hostilePublic(forge.OtherKey()))),
	}
	for _, kid := range []string{
		`null`, `1`, `1.0`, `-1`, `1e0`, `true`, `false`, `["1"]`, `{"kid":"1"}`, `[]`, `""`,
		`"\u0000"`, `"1\u0000"`, `"\u00001"`, `"1\n"`, `"\t1"`, `"1\u007f"`, `"1\u0085"`, `"cl\u00e9"`, `"\u0661"`, `"\uff11"`, `"1\u200b"`, `"\ufeff1"`,
		`"\ud800"`, "\"1\xff\"", "\"\xc0\xb1\"", "\"1\x00\"", "\"1\n\"", `"1`, `'1'`,
	} {
		cases = append(cases, hostileRefused(token.ErrHeader, "kid is "+kid, with(kid)))
	}
	cases = append(cases, hostileRefused(token.ErrHeader, "a kid of 257 characters", with(strconv.Quote(long+"k"))))
	for _, kid := range []string{
		"../../1", "./1", "/1", "1/", " 1", "1 ", " ", "01", "001", "00", "+1", "-1", "-0", "+0", "1.0", "1.", ".1", "1e0", "0x1", "0b1", "0o1", "1_0", "1,1",
		"9223372036854775808", "18446744073709551617", "99999999999999999999", "-9223372036854775808", "NaN", "*", "%31", "1%00", "$1", "~", "1;1", "' OR 1=1 --",
		"default-1", "-default-1", "dataplane-token-signing-public-key-default-1", "zone-1", "http://127.0.0.1/1", "file:///dev/zero", "${1}", "{{1}}",
	} {
		cases = append(cases, hostileRefused(token.ErrUnknownKey, fmt.Sprintf("the kid %q, which is no serial", kid), with(strconv.Quote(kid))))
	}
	for _, kid := range []string{"0", "2", "10", "11", "9223372036854775807"} {
		cases = append(cases, hostileRefused(token.ErrUnknownKey, "the serial "+kid+", which no key has", with(strconv.Quote(kid))).causingARead())
	}
	return cases
}

func hostileHeaders(url string) []hostileCase {
	and := func(name, value string) string { return hostileWithHeader(hostileHeader.And(name, value).String()) }
	certificate := forge.Encode("certificate")
	jwk := `{"kty":"RSA","kid":"1","alg":"RS256","e":"AQAB","n":"` + forge.Encode(string(forge.OtherKey().N.Bytes())) + `"}`
	var cases []hostileCase
	for _, p := range []struct{ name, value string }{
		{"crit", `["foo"]`}, {"crit", `[]`}, {"crit", `["exp"]`}, {"crit", `["b64"]`}, {"crit", `["crit"]`}, {"crit", `null`}, {"crit", `""`}, {"crit", `{}`},
		{"b64", `false`}, {"b64", `true`}, {"b64", `null`}, {"b64", `"false"`},
		{"jku", `"` + url + `/jwks"`}, {"jku", `null`}, {"jku", `""`},
		{"x5u", `"` + url + `/certificate"`}, {"x5u", `"file:///etc/passwd"`}, {"x5u", `null`},
		{"x5c", `["` + certificate + `"]`}, {"x5c", `[]`}, {"x5c", `null`},
		{"jwk", jwk}, {"jwk", `{}`}, {"jwk", `null`},
		{"zip", `"DEF"`}, {"zip", `null`}, {"zip", `"none"`}, {"enc", `"A256GCM"`}, {"enc", `null`}, {"cty", `"JWT"`}, {"cty", `"json"`}, {"cty", `null`}, {"cty", `""`},
		{"CRIT", `["foo"]`}, {"cRit", `[]`}, {"B64", `false`}, {"JKU", `"` + url + `/jwks"`}, {"j\u212au", `"` + url + `/jwks"`}, {"jw\u212a", jwk}, {`jw\u212a`, jwk},
		{"JWK", jwk}, {"X5u", `"` + url + `/certificate"`}, {"x5C", `[]`}, {"Zip", `"DEF"`}, {"ENC", `"A256GCM"`}, {"Cty", `"JWT"`}, {"Typ", `"JWT"`}, {"TYP", `"JWT"`},
		{`\u0063rit`, `["foo"]`}, {`j\u006bu`, `"` + url + `/jwks"`},
	} {
		cases = append(cases, hostileRefused(token.ErrHeader, "a signed header with "+p.name+" "+hostileShort(p.value), and(p.name, p.value)))
	}
	cases = append(cases,
		hostileRefused(token.ErrHeader, "a key of its own in jwk that did sign",
			forge.Token(hostileHeader.And("jwk", jwk).String(), hostilePayload.String(), forge.RS256(forge.OtherKey()))),
		hostileRefused(token.ErrHeader, "crit and b64 false with the payload signed as it is not encoded",
			forge.Token(hostileHeader.And("crit", `["b64"]`).And("b64", `false`).String(), hostilePayload.String(),
				forge.Over(func(input string) string {
					header, _, _ := strings.Cut(input, ".")
					return header + "." + hostilePayload.String()
				}, forge.RS256(forge.Key())))),
	)
	for _, p := range []struct{ name, value string }{
		{"x5t", `"` + certificate + `"`}, {"x5t#S256", `"` + certificate + `"`}, {"x5t", `null`}, {"iss", `"somebody"`}, {"nobody", `"knows"`}, {"nonce", `1`},
		{"ppt", `"shaken"`}, {"url", `"` + url + `/url"`}, {"epk", `{}`}, {"iv", `"a"`}, {"tag", `"a"`}, {"p2c", `4294967295`}, {"", `""`}, {"crit ", `[]`}, {"cr\u0131t", `[]`},
		{"__proto__", `{"alg":"none"}`}, {"x", `{"alg":"none","crit":["foo"]}`}, {"x", `[[[[[[["deep"]]]]]]]`}, {"x", `-0.0e-999`},
	} {
		cases = append(cases, hostileAccepted(fmt.Sprintf("a signed header with %q %s, which means nothing to us", p.name, hostileShort(p.value)), and(p.name, p.value)))
	}
	cases = append(cases, hostileAccepted("no typ", hostileWithHeader(hostileHeader.Without("typ").String())))
	for _, typ := range []string{`"jwt"`, `"Jwt"`, `"jWt"`, `"\u004aWT"`} {
		cases = append(cases, hostileAccepted("typ "+typ, hostileWithHeader(hostileHeader.With("typ", typ).String())))
	}
	for _, typ := range []string{`"at+jwt"`, `"JWT "`, `" JWT"`, `"application/jwt"`, `"JOSE"`, `"JWE"`, `"jwt\u0000"`, `"\uff2aWT"`, `""`, `1`, `null`, `true`, `["JWT"]`, `{}`} {
		cases = append(cases, hostileRefused(token.ErrHeader, "typ "+typ, hostileWithHeader(hostileHeader.With("typ", typ).String())))
	}
	return append(cases,
		hostileRefused(token.ErrHeader, "typ twice", hostileWithHeader(hostileHeader.And("typ", `"JWT"`).String())),
		hostileRefused(token.ErrHeader, "a header name that nobody knows twice", hostileWithHeader(hostileHeader.And("x", `1`).And("x", `1`).String())),
		hostileRefused(token.ErrHeader, "a name twice inside of a header value", and("x", `{"y":1,"y":1}`)),
		hostileAccepted("header members in another order", hostileWithHeader(`{"typ":"JWT","kid":"1","alg":"RS256"}`)),
		hostileAccepted("white space in the header", hostileWithHeader(" {\t\"alg\" :\r\n\"RS256\" , \"kid\": \"1\" } \n")),
	)
}

// hostileHeaderTexts are headers that are no strict JSON object.
func hostileHeaderTexts() []hostileCase {
	good := hostileHeader.String()
	var cases []hostileCase
	for _, h := range []struct{ name, text string }{
		{"that is not JSON", "alg=RS256; kid=1"},
		{"that is an array", `[` + good + `]`},
		{"that is a string", strconv.Quote(good)},
		{"that is null", `null`},
		{"that is a number", `1`},
		{"that is an empty object", `{}`},
		{"that is white space", ` `},
		{"that ends too early", good[:len(good)-1]},
		{"with a letter after it", good + "x"},
		{"with a NUL after it", good + "\x00"},
		{"with a second object after it", good + good},
		{"with a closing brace after it", good + "}"},
		{"with a comma at its end", `{"alg":"RS256","kid":"1",}`},
		{"with a comma at its beginning", `{,"alg":"RS256","kid":"1"}`},
		{"with a comma missing", `{"alg":"RS256" "kid":"1"}`},
		{"with a colon missing", `{"alg" "RS256","kid":"1"}`},
		{"with single quotes", `{'alg':'RS256','kid':'1'}`},
		{"with names without quotes", `{alg:"RS256",kid:"1"}`},
		{"with a block comment", `{/**/"alg":"RS256","kid":"1"}`},
		{"with a line comment", good + "//"},
		{"with a byte order mark", "\ufeff" + good},
		{"in UTF-16", hostileUTF16(good)},
		{"with a no-break space", "\u00a0" + good},
		{"with invalid UTF-8 in a value", hostileHeader.And("x", "\"\xff\"").String()},
		{"with invalid UTF-8 in a name", hostileHeader.And("\xff", "1").String()},
		{"with a lone surrogate", hostileHeader.And("x", `"\ud83d"`).String()},
		{"with a lone surrogate in a name", hostileHeader.And(`\udc00`, `1`).String()},
		{"with a bare control character", hostileHeader.And("x", "\"\x01\"").String()},
		{"with a bare line feed in a string", hostileHeader.And("x", "\"\n\"").String()},
		{"with an escape that JSON lacks", hostileHeader.And("x", `"\x41"`).String()},
		{"with NaN", hostileHeader.And("x", `NaN`).String()},
		{"with a leading zero", hostileHeader.And("x", `01`).String()},
		{"with True", hostileHeader.And("x", `True`).String()},
		{"of nine levels", hostileHeader.And("x", strings.Repeat("[", 8)+strings.Repeat("]", 8)).String()},
		{"of two thousand levels", hostileHeader.And("x", strings.Repeat("[", 2000)+strings.Repeat("]", 2000)).String()},
		{"of two thousand open brackets", strings.Repeat("[", 2000)},
		{"of objects without an end", strings.Repeat(`{"a":`, 500)},
		{"that is a token", strings.Repeat("a", 20) + "." + strings.Repeat("b", 20) + "." + strings.Repeat("c", 20)},
	} {
		cases = append(cases, hostileRefused(token.ErrHeader, "a signed header "+h.name, hostileWithHeader(h.text)))
	}
	return cases
}

func hostileSignatures() []hostileCase {
	key := forge.Key()
	signed := forge.RS256(key)
	changed := func(change func(signature []byte) []byte) string {
		return hostileWithSignature(forge.Changed(signed, change))
	}
	number := func(change func(s *big.Int) *big.Int) string {
		return changed(func(signature []byte) []byte {
			return change(new(big.Int).SetBytes(signature)).FillBytes(make([]byte, len(signature)))
		})
	}
	over := func(change func(string) string) string { return hostileWithSignature(forge.Over(change, signed)) }
	good := strings.Split(hostileWithPayload(hostilePayload.String()), ".")
	other := strings.Split(hostileWithPayload(hostilePayload.With("Name", `"dp-2"`).String()), ".")

	elliptical, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err)
	}

	cases := []hostileCase{
		hostileRefused(token.ErrSignature, "the first bit of the signature flipped", changed(func(s []byte) []byte { s[0] ^= 0x80; return s })),
		hostileRefused(token.ErrSignature, "the last bit of the signature flipped", changed(func(s []byte) []byte { s[len(s)-1] ^= 1; return s })),
		hostileRefused(token.ErrSignature, "a signature cut by one byte", changed(func(s []byte) []byte { return s[:len(s)-1] })),
		hostileRefused(token.ErrSignature, "a signature of one byte", changed(func(s []byte) []byte { return s[:1] })),
		hostileRefused(token.ErrSignature, "a signature with a zero byte before it", changed(func(s []byte) []byte { return append([]byte{0}, s...) })),
		hostileRefused(token.ErrSignature, "a signature with a zero byte after it", changed(func(s []byte) []byte { return append(s, 0) })),
		hostileRefused(token.ErrSignature, "a signature twice", changed(func(s []byte) []byte { return append(s, s...) })),
		hostileRefused(token.ErrSignature, "a signature backwards", changed(func(s []byte) []byte { slices.Reverse(s); return s })),
		hostileRefused(token.ErrSignature, "a signature encoded twice", changed(func(s []byte) []byte { return []byte(forge.Encode(string(s))) })),
		hostileRefused(token.ErrSignature, "a signature in ASN.1", changed(func(s []byte) []byte { return append([]byte{0x04, 0x82, 0x01, 0x00}, s...) })),
		hostileRefused(token.ErrSignature, "a signature of zeros", hostileWithSignature(forge.Signature(make([]byte, key.Size())))),
		hostileRefused(token.ErrSignature, "the signature 1", number(func(*big.Int) *big.Int { return big.NewInt(1) })),
		hostileRefused(token.ErrSignature, "the modulus for a signature", number(func(*big.Int) *big.Int { return key.N })),
		hostileRefused(token.ErrSignature, "the modulus less 1 for a signature", number(func(*big.Int) *big.Int { return new(big.Int).Sub(key.N, big.NewInt(1)) })),
		hostileRefused(token.ErrSignature, "the signature's negative", number(func(s *big.Int) *big.Int { return s.Sub(key.N, s) })),
		hostileRefused(token.ErrSignature, "a signature of 256 bytes with all bits set", hostileWithSignature(forge.Signature(bytes.Repeat([]byte{0xff}, key.Size())))),
		hostileRefused(token.ErrSignature, "the modulus added to the signature", hostileWithModulusAdded()),

		hostileRefused(token.ErrSignature, "the signature of another key", hostileWithSignature(forge.RS256(forge.OtherKey()))),
		hostileRefused(token.ErrSignature, "the signature of a key of 1024 bits", hostileWithSignature(forge.RS256(forge.ShortKey()))),
		hostileRefused(token.ErrSignature, "the signature of another token", good[0]+"."+good[1]+"."+other[2]),
		hostileRefused(token.ErrSignature, "the payload of another token", good[0]+"."+other[1]+"."+good[2]),
		hostileRefused(token.ErrSignature, "a header with a space added after signing", forge.Encode(hostileHeader.String()+" ")+"."+good[1]+"."+good[2]),
		hostileRefused(token.ErrSignature, "a payload with a space added after signing", good[0]+"."+forge.Encode(hostilePayload.String()+" ")+"."+good[2]),
		hostileRefused(token.ErrSignature, "a payload that is empty after signing", good[0]+"."+forge.Encode("{}")+"."+good[2]),
		hostileRefused(token.ErrSignature, "a signature over the payload alone", over(func(input string) string { _, p, _ := strings.Cut(input, "."); return p })),
		hostileRefused(token.ErrSignature, "a signature over the header alone", over(func(input string) string { h, _, _ := strings.Cut(input, "."); return h })),
		hostileRefused(token.ErrSignature, "a signature over the texts that are not encoded", over(func(string) string { return hostileHeader.String() + "." + hostilePayload.String() })),
		hostileRefused(token.ErrSignature, "a signature over a signing input with a dot after it", over(func(input string) string { return input + "." })),
		hostileRefused(token.ErrSignature, "a signature over header and payload without a dot", over(func(input string) string { return strings.Replace(input, ".", "", 1) })),
		hostileRefused(token.ErrSignature, "a signature over header and payload exchanged", over(func(input string) string { h, p, _ := strings.Cut(input, "."); return p + "." + h })),
		hostileRefused(token.ErrSignature, "a signature over the padded parts", over(func(input string) string { return input + "=" })),
		hostileRefused(token.ErrSignature, "a signature over nothing", over(func(string) string { return "" })),
		hostileRefused(token.ErrSignature, "a signature over the digest", over(func(input string) string {
			digest := sha256.Sum256([]byte(input))
			return string(digest[:])
		})),

		hostileRefused(token.ErrSignature, "an RSA PSS signature", hostileWithSignature(forge.PSS(key, crypto.SHA256))),
		hostileRefused(token.ErrSignature, "a signature with SHA-1", hostileWithSignature(forge.PKCS1(key, crypto.SHA1))),
		hostileRefused(token.ErrSignature, "a signature with SHA-384", hostileWithSignature(forge.PKCS1(key, crypto.SHA384))),
		hostileRefused(token.ErrSignature, "a signature with SHA-512", hostileWithSignature(forge.PKCS1(key, crypto.SHA512))),
		hostileRefused(token.ErrSignature, "an ECDSA signature", hostileWithSignature(func(input []byte) []byte {
			signature, err := ecdsa.SignASN1(rand.Reader, elliptical, forge.Digest(crypto.SHA256, input))
			if err != nil {
				panic(err)
			}
			return signature
		})),
		hostileRefused(token.ErrSignature, "an Ed25519 signature", hostileWithSignature(func(input []byte) []byte { return ed25519.Sign(edwards, input) })),
	}

	// Encoded messages that loose checks of PKCS#1 v1.5 take (RFC 8017, section 9.2).
	info := []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
	padded := func(kind byte, fill byte, tail ...[]byte) []byte {
		message := slices.Concat(tail...)
		padding := bytes.Repeat([]byte{fill}, key.Size()-len(message)-3)
		return slices.Concat([]byte{0, kind}, padding, []byte{0}, message)
	}
	raw := func(encode func(digest []byte) []byte) string { return hostileWithSignature(forge.Raw(key, encode)) }
	return append(cases,
		hostileAccepted("a signature made by hand as PKCS#1 has it", raw(func(d []byte) []byte { return padded(1, 0xff, info, d) })),
		hostileRefused(token.ErrSignature, "an encoded message without NULL parameters", raw(func(d []byte) []byte {
			bare := slices.Concat(info[:1], []byte{0x2f, 0x30, 0x0b}, info[4:15], info[17:])
			return padded(1, 0xff, bare, d)
		})),
		hostileRefused(token.ErrSignature, "an encoded message of the bare digest", raw(func(d []byte) []byte { return padded(1, 0xff, d) })),
		hostileRefused(token.ErrSignature, "an encoded message with garbage after the digest", raw(func(d []byte) []byte {
			message := slices.Concat([]byte{0, 1}, bytes.Repeat([]byte{0xff}, 8), []byte{0}, info, d)
			return append(message, make([]byte, key.Size()-len(message))...)
		})),
		hostileRefused(token.ErrSignature, "an encoded message with garbage in its parameters", raw(func(d []byte) []byte {
			long := slices.Concat([]byte{0x30, 0x35, 0x30, 0x11}, info[4:15], []byte{0x04, 0x04, 1, 2, 3, 4}, info[17:])
			return padded(1, 0xff, long, d)
		})),
		hostileRefused(token.ErrSignature, "an encoded message with a long form of length", raw(func(d []byte) []byte {
			return padded(1, 0xff, []byte{0x30, 0x81, 0x31}, info[2:], d)
		})),
		hostileRefused(token.ErrSignature, "an encoded message of block type 2", raw(func(d []byte) []byte { return padded(2, 0xff, info, d) })),
		hostileRefused(token.ErrSignature, "an encoded message of block type 0", raw(func(d []byte) []byte { return padded(0, 0, info, d) })),
		hostileRefused(token.ErrSignature, "an encoded message with one padding byte that is wrong", raw(func(d []byte) []byte {
			message := padded(1, 0xff, info, d)
			message[100] = 0xfe
			return message
		})),
		hostileRefused(token.ErrSignature, "an encoded message of another digest", raw(func(d []byte) []byte { return padded(1, 0xff, info, make([]byte, len(d))) })),
	)
}

// hostileWithModulusAdded is a token whose signature has the modulus added, and
// still fits: the same number modulo the modulus.
func hostileWithModulusAdded() string {
	key := forge.Key()
	for i := range 100_000 {
		raw := hostileWithPayload(hostilePayload.With("jti", strconv.Quote(strconv.Itoa(i))).String())
		dot := strings.LastIndexByte(raw, '.')
		signature := forge.RS256(key)([]byte(raw[:dot]))
		sum := new(big.Int).Add(new(big.Int).SetBytes(signature), key.N)
		if sum.BitLen() <= 8*key.Size() {
			return raw[:dot+1] + forge.Encode(string(sum.FillBytes(make([]byte, key.Size()))))
		}
	}
	panic("no signature was small enough")
}

// hostileKeys are about keys that are there and must not verify.
func hostileKeys() []hostileCase {
	with := func(kid string, payload forge.Object, sign forge.Signer) string {
		return forge.Token(hostileHeader.With("kid", strconv.Quote(kid)).String(), payload.String(), sign)
	}
	// With the exponent 1 the encoded message is its own signature.
	itself := func(input []byte) []byte {
		info := []byte{0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20}
		tail := slices.Concat([]byte{0}, info, forge.Digest(crypto.SHA256, input))
		return slices.Concat([]byte{0, 1}, bytes.Repeat([]byte{0xff}, forge.Key().Size()-2-len(tail)), tail)
	}
	return []hostileCase{
		hostileRefused(token.ErrUnavailable, "a stored key of 1024 bits that did sign", with(hostileKidShort, hostilePayload, forge.RS256(forge.ShortKey()))),
		hostileRefused(token.ErrUnavailable, "a stored key with the exponent 1 and a signature that anybody can make", with(hostileKidExponent1, hostilePayload, itself)),
		hostileRefused(token.ErrUnavailable, "a stored key with an even exponent", with(hostileKidExponentEven, hostilePayload, itself)),
		hostileRefused(token.ErrUnavailable, "a stored key with an exponent above 2^31", with(hostileKidExponentLarge, hostilePayload, itself)),
		hostileRefused(token.ErrUnavailable, "a stored key of more than 8192 bits", with(hostileKidLong, hostilePayload, itself)),
		hostileRefused(token.ErrUnavailable, "a stored key that is not one", with(hostileKidCorrupt, hostilePayload, itself)),
		hostileRefused(token.ErrSignature, "the key of another mesh with the same kid", with("1", hostilePayload, forge.RS256(forge.OtherKey()))),
		hostileRefused(token.ErrUnknownKey, "the key of another mesh with a kid of its own", with("3", hostilePayload, forge.RS256(forge.OtherKey()))).causingARead(),
		hostileRefused(token.ErrSignature, "the zones' key with the same kid", with("1", hostilePayload.With("Mesh", `"other"`), forge.RS256(forge.Key()))).askedFor("other"),
		hostileRefused(token.ErrUnknownKey, "a zone key with a kid of its own", with("9", hostilePayload, forge.RS256(forge.OtherKey()))).causingARead(),
		hostileRefused(token.ErrUnknownKey, "the key of a record in the mesh that is named after another", with("4", hostilePayload, forge.RS256(forge.OtherKey()))).causingARead(),
		hostileRefused(token.ErrUnknownKey, "the key of a record whose number has a leading zero", with("5", hostilePayload, forge.RS256(forge.OtherKey()))).causingARead(),
		hostileRefused(token.ErrUnknownKey, "the key of a record in the global scope that is named after the mesh", with("6", hostilePayload, forge.RS256(forge.OtherKey()))).causingARead(),
		hostileAccepted("the same key bytes in the mesh asked for", with("1", hostilePayload.With("Mesh", `"default-2"`), forge.RS256(forge.Key()))).askedFor("default-2"),
	}
}

// hostilePayloads are payloads that are no strict JSON object.
func hostilePayloads() []hostileCase {
	good := hostilePayload.String()
	var cases []hostileCase
	for _, p := range []struct{ name, text string }{
		{"that is not JSON", "Mesh=default"},
		{"that is an array", `[` + good + `]`},
		{"that is an empty array", `[]`},
		{"that is a string", strconv.Quote(good)},
		{"that is null", `null`},
		{"that is a number", `1769546939`},
		{"that is true", `true`},
		{"that is an empty object", `{}`},
		{"that is white space", "   "},
		{"that is one NUL", "\x00"},
		{"that is a token", hostileWithHeader(hostileHeader.String())},
		{"that ends too early", good[:len(good)-1]},
		{"that ends inside of a string", good[:len(good)-2]},
		{"with a letter after it", good + "x"},
		{"with a NUL after it", good + "\x00"},
		{"with a form feed after it", good + "\f"},
		{"with a closing brace after it", good + "}"},
		{"with a comma after it", good + ","},
		{"with a second object after it", good + good},
		{"with a second object on the next line", good + "\n" + good},
		{"with a second object after a record separator", "\x1e" + good},
		{"with a comma at its end", good[:len(good)-1] + ",}"},
		{"with a comma at its beginning", "{," + good[1:]},
		{"with two commas", strings.Replace(good, ",", ",,", 1)},
		{"with a semicolon for a comma", strings.Replace(good, ",", ";", 1)},
		{"with an equals sign for a colon", strings.Replace(good, ":", "=", 1)},
		{"with single quotes", strings.ReplaceAll(good, `"`, `'`)},
		{"with a name without quotes", strings.Replace(good, `"Mesh"`, `Mesh`, 1)},
		{"with a block comment", "{/**/" + good[1:]},
		{"with a line comment", good + "//"},
		{"with a hash comment", good + "#"},
		{"with a byte order mark", "\ufeff" + good},
		{"with a byte order mark after it", good + "\ufeff"},
		{"with a no-break space", "\u00a0" + good},
		{"with a line separator outside of a string", good + "\u2028"},
		{"in UTF-16, little endian", hostileUTF16(good)},
		{"in UTF-16 with a byte order mark", "\xff\xfe" + hostileUTF16(good)},
		{"with 0xff in a value", hostilePayload.And("x", "\"\xff\"").String()},
		{"with 0xff in a name", hostilePayload.And("\xff", "1").String()},
		{"with 0xff outside of a string", good + "\xff"},
		{"with an overlong slash", hostilePayload.And("x", "\"\xc0\xaf\"").String()},
		{"with an overlong quote", hostilePayload.And("x", "\"\xc0\xa2\"").String()},
		{"with a surrogate in UTF-8", hostilePayload.And("x", "\"\xed\xa0\x80\"").String()},
		{"with a surrogate pair in UTF-8 (CESU-8)", hostilePayload.And("x", "\"\xed\xa0\xbd\xed\xb8\x80\"").String()},
		{"with a character above U+10FFFF", hostilePayload.And("x", "\"\xf4\x90\x80\x80\"").String()},
		{"with a character cut short", hostilePayload.And("x", "\"\xe2\x82\"").String()},
		{"with Latin-1", hostilePayload.And("x", "\"caf\xe9\"").String()},
		{"with a lone high surrogate", hostilePayload.And("x", `"\ud83d"`).String()},
		{"with a lone low surrogate", hostilePayload.And("x", `"\ude00"`).String()},
		{"with a surrogate pair the wrong way round", hostilePayload.And("x", `"\ude00\ud83d"`).String()},
		{"with two high surrogates", hostilePayload.And("x", `"\ud83d\ud83d"`).String()},
		{"with a lone surrogate in a name", hostilePayload.And(`\ud800`, `1`).String()},
		{"with a lone surrogate in the mesh", hostilePayload.With("Mesh", `"default\ud800"`).String()},
		{"with a bare NUL in a string", hostilePayload.And("x", "\"\x00\"").String()},
		{"with a bare line feed in a string", hostilePayload.And("x", "\"\n\"").String()},
		{"with a bare tab in a name", hostilePayload.And("\t", "1").String()},
		{`with the escape \x41`, hostilePayload.And("x", `"\x41"`).String()},
		{`with the escape \'`, hostilePayload.And("x", `"\'"`).String()},
		{`with the escape \u12`, hostilePayload.And("x", `"\u12"`).String()},
		{`with the escape \u{41}`, hostilePayload.And("x", `"\u{41}"`).String()},
		{`with the escape \U0041`, hostilePayload.And("x", `"\U0041"`).String()},
		{"with a backslash at its end", good[:len(good)-2] + `\"}`},
		{"with NaN", hostilePayload.And("x", `NaN`).String()},
		{"with Infinity", hostilePayload.And("x", `-Infinity`).String()},
		{"with a leading zero", hostilePayload.And("x", `01`).String()},
		{"with a plus sign", hostilePayload.And("x", `+1`).String()},
		{"with a bare minus sign", hostilePayload.And("x", `-`).String()},
		{"with a decimal point and no digit after it", hostilePayload.And("x", `1.`).String()},
		{"with an exponent without digits", hostilePayload.And("x", `1e`).String()},
		{"with a hexadecimal number", hostilePayload.And("x", `0x1`).String()},
		{"with True", hostilePayload.And("x", `True`).String()},
		{"with nul", hostilePayload.And("x", `nul`).String()},
		{"with nulll", hostilePayload.With("Name", `nulll`).String()},
		{"with undefined", hostilePayload.And("x", `undefined`).String()},
		{"with a value missing", hostilePayload.And("x", ``).String()},
		{"with two values", hostilePayload.And("x", `1 2`).String()},
		{"with an array that an object ends", hostilePayload.And("x", `[1}`).String()},
		{"of nine levels", hostilePayload.And("x", strings.Repeat("[", 8)+strings.Repeat("]", 8)).String()},
		{"of nine levels of objects", hostilePayload.And("x", strings.Repeat(`{"y":`, 8)+"1"+strings.Repeat("}", 8)).String()},
		{"of two thousand levels", hostilePayload.And("x", strings.Repeat("[", 2000)+strings.Repeat("]", 2000)).String()},
		{"of five thousand open brackets", strings.Repeat("[", 5000)},
		{"of a thousand objects without an end", strings.Repeat(`{"a":`, 1000)},
		{"with a name that nobody knows twice", hostilePayload.And("x", `1`).And("x", `2`).String()},
		{"with a name twice that is escaped once", hostilePayload.And("x", `1`).And(`\u0078`, `2`).String()},
		{"with an empty name twice", hostilePayload.And("", `1`).And("", `2`).String()},
		{"with a name twice inside of a claim", hostilePayload.And("x", `{"y":1,"y":2}`).String()},
		{"with the first of 500 names twice", hostileManyNames(500).And("n0", `1`).String()},
		{"with the last of 500 names twice", hostileManyNames(500).And("n499", `1`).String()},
	} {
		cases = append(cases, hostileRefused(token.ErrClaims, "a signed payload "+p.name, hostileWithPayload(p.text)))
	}
	deep := forge.Token(hostileHeader.String(), strings.Repeat("[", 100_000), forge.RS256(forge.Key()))
	cases = append(cases, hostileRefused(token.ErrMalformed, "a signed payload of 100,000 levels", deep))

	for _, p := range []struct{ name, text string }{
		{"with white space everywhere", " \t\r\n" + strings.ReplaceAll(strings.ReplaceAll(good, ",", " ,\n"), `":`, "\" \t:\r ") + "\n\n"},
		{"of eight levels", hostilePayload.And("x", strings.Repeat("[", 7)+strings.Repeat("]", 7)).String()},
		{"with a pair of surrogates", hostilePayload.And("x", `"\ud83d\ude00"`).String()},
		{"with U+FFFD, which stands for what was invalid", hostilePayload.And("x", "\"\ufffd\"").String()},
		{"with U+0000 escaped in a claim that nobody knows", hostilePayload.And("x", `"\u0000"`).String()},
		{"with a line separator in a string", hostilePayload.And("x", "\"\u2028\"").String()},
		{"with 500 claims that nobody knows", hostileManyNames(500).String()},
		{"with iss, sub and aud", hostilePayload.And("iss", `"a"`).And("sub", `"b"`).And("aud", `["c"]`).String()},
		{"with a number that no float holds", hostilePayload.And("x", `1e99999`).String()},
		{"with __proto__", hostilePayload.And("__proto__", `{"Mesh":"other"}`).String()},
		{"with another mesh deeper in it", hostilePayload.And("x", `{"Mesh":"other","MESH":"other","exp":0}`).String()},
	} {
		cases = append(cases, hostileAccepted("a signed payload "+p.name, hostileWithPayload(p.text)))
	}
	return cases
}

func hostileManyNames(n int) forge.Object {
	payload := hostilePayload
	for i := range n {
		payload = payload.And(fmt.Sprintf("n%d", i), "0")
	}
	return payload
}

// hostileSpellings are names of claims in spellings that somebody might take for
// them, and claims that stand twice.
func hostileSpellings() []hostileCase {
	var cases []hostileCase
	refuse := func(name string, payload forge.Object) {
		cases = append(cases, hostileRefused(token.ErrClaims, name, hostileWithPayload(payload.String())))
	}
	accept := func(name string, payload forge.Object) {
		cases = append(cases, hostileAccepted(name, hostileWithPayload(payload.String())))
	}
	for _, c := range []struct {
		claim     string
		spellings []string
	}{
		{"Mesh", []string{"MESH", "mEsh", "meSh", "Me\u017fh", "me\u017fh", `M\u0065\u017fh`}},
		{"Name", []string{"NAME", "nAme", "namE"}},
		{"Tags", []string{"TAGS", "tAgs", "Tag\u017f", "tag\u017f", `tag\u017f`}},
		{"Type", []string{"TYPE", "tYpe"}},
		{"Workload", []string{"WORKLOAD", "workLoad", "wor\u212aload", "Wor\u212aload", `WorK\u006coad`}},
		{"exp", []string{"EXP", "Exp", "eXp"}},
		{"nbf", []string{"NBF", "Nbf"}},
		{"iat", []string{"IAT", "Iat"}},
		{"jti", []string{"JTI", "Jti", "JtI"}},
	} {
		claim, spellings := c.claim, c.spellings
		value := hostilePayload[slices.IndexFunc(hostilePayload, func(m forge.Member) bool { return m.Name == claim })].Value
		for _, spelling := range spellings {
			refuse(fmt.Sprintf("claim %s spelled %q", claim, spelling), hostilePayload.Renamed(claim, spelling))
			refuse(fmt.Sprintf("claim %s beside %q", claim, spelling), hostilePayload.And(spelling, value))
			refuse(fmt.Sprintf("claim %s after %q, which is null", claim, spelling), hostilePayload.Before(spelling, "null"))
		}
		refuse(fmt.Sprintf("claim %s twice, the same", claim), hostilePayload.And(claim, value))
		refuse(fmt.Sprintf("claim %s twice, null the second time", claim), hostilePayload.And(claim, "null"))
		refuse(fmt.Sprintf("claim %s twice, null the first time", claim), hostilePayload.Before(claim, "null"))
		refuse(fmt.Sprintf("claim %s twice, once with an escape", claim), hostilePayload.And(fmt.Sprintf(`\u%04x`, claim[0])+claim[1:], value))
		if lower := strings.ToLower(claim); lower != claim {
			accept(fmt.Sprintf("claim %s spelled %q", claim, lower), hostilePayload.Renamed(claim, lower))
			refuse(fmt.Sprintf("claim %s beside %q", claim, lower), hostilePayload.And(lower, value))
			refuse(fmt.Sprintf("claim %s beside %q, which is null", claim, lower), hostilePayload.And(lower, "null"))
		}
	}
	accept("a claim's name with an escape", hostilePayload.Renamed("Mesh", `\u004desh`))
	accept("a name that only looks like Mesh", hostilePayload.And("\u041cesh", `"other"`))
	accept("a name that only begins like Mesh", hostilePayload.And("Mesh ", `"other"`).And("Meshes", `"other"`).And(`Mesh\u0000`, `"other"`))
	accept("a dotless i that does not fold", hostilePayload.And("jt\u0131", `"a"`).And("\u0130at", "1"))
	accept("tags whose names look like claims", hostilePayload.With("Tags", `{"MESH":["a"],"mesh":["a"],"Mesh":["a"],"EXP":["a"]}`))
	refuse("Mesh and Zone", hostilePayload.And("Zone", `"west"`))
	refuse("Mesh and Zone, and nothing but exp and jti beside them", forge.Object{{Name: "Mesh", Value: `"default"`}, {Name: "Zone", Value: `"west"`},
		{Name: "exp", Value: hostileAt(3600)}, {Name: "jti", Value: `"a"`}})
	refuse("Mesh and zone", hostilePayload.And("zone", `"west"`))
	refuse("Mesh, Zone and Scope", hostilePayload.And("Zone", `"west"`).And("Scope", `["cp"]`))
	refuse("Mesh and ZONE", hostilePayload.And("ZONE", `"west"`))
	refuse("Mesh and a Scope", hostilePayload.And("Scope", `["cp"]`))
	refuse("Mesh and a scope that is empty", hostilePayload.And("scope", `[]`))
	refuse("Mesh and a scope with a long s", hostilePayload.And("\u017fcope", `["cp"]`))
	refuse("Mesh and a scope with an escaped long s", hostilePayload.And(`\u017fcope`, `["cp"]`))
	refuse("Mesh and a SCOPE that is null", hostilePayload.And("SCOPE", `null`))
	accept("Mesh and a Zone that is null", hostilePayload.And("Zone", `null`))
	accept("Mesh and a Zone that is empty", hostilePayload.And("Zone", `""`))
	accept("Mesh and a Scope that is null", hostilePayload.And("Scope", `null`))
	return cases
}

// hostileShort is a value as the name of a case has it.
func hostileShort(value string) string {
	if len(value) > 48 {
		return fmt.Sprintf("%s... (%d bytes)", value[:16], len(value))
	}
	return value
}

// hostileClaims are values of claims.
func hostileClaims() []hostileCase {
	var cases []hostileCase
	refuse := func(claim string, values ...string) {
		for _, value := range values {
			cases = append(cases, hostileRefused(token.ErrClaims, claim+" is "+hostileShort(value), hostileWithPayload(hostilePayload.With(claim, value).String())))
		}
	}
	accept := func(claim string, values ...string) {
		for _, value := range values {
			cases = append(cases, hostileAccepted(claim+" is "+hostileShort(value), hostileWithPayload(hostilePayload.With(claim, value).String())))
		}
	}
	now := hostileAt(3600)
	instant := time.Unix(hostileNow+3600, 0).UTC().Format(time.RFC3339)

	refuse("exp",
		`null`, `0`, `0.0`, `0.9`, `-0`, `-0.0`, `-1`, `-`+now, `""`, strconv.Quote(now), strconv.Quote(instant), `1e3`, `1E10`, `1.7e9`, `1e400`, `1e-1`, now+`e0`,
		`NaN`, `Infinity`, `9223372036854775807`, `9223372036854775808`, `18446744073709551616`, hostileWrapped(64), hostileWrapped(32+31), `340282366920938463463374607431768211456`,
		now+`000`, now+`000000000`, `253402300800`, `9`+strings.Repeat("0", 2000), `true`, `false`, `[]`, `{}`, `[`+now+`]`, `{"exp":`+now+`}`,
		`0`+now, `+`+now, now+`.`, `.5`, `0x69788a3b`, now+`n`, `1_769_550_539`, `1,769,550,539`)
	accept("exp", now+`.75`, now+`.0`, now+`.`+strings.Repeat("9", 400), `99999999999`, `253402300799`)
	refuse("nbf", `-1`, `-0`, `""`, strconv.Quote(hostileAt(-300)), `1e3`, `NaN`, `true`, `[]`, `{}`, `253402300800`, `9223372036854775808`, `01`)
	accept("nbf", `null`, `0`, hostileAt(-300)+`.5`)
	refuse("iat", `-1`, `""`, strconv.Quote(hostileAt(-300)), `1e3`, `NaN`, `true`, `[]`, `{}`, `253402300800`, `9223372036854775808`)
	accept("iat", `null`, `0`, hostileAt(60), hostileAt(0)+`.5`)

	refuse("jti", `null`, `""`, `"a,b"`, `","`, `"a,"`, `"a b"`, `" a"`, `"a "`, `"\ta"`, `"a\n"`, `"a\r\nb"`, `"a\u0000"`, `"\u001b[31m"`, `"a\u007f"`, `"caf\u00e9"`, `"a\u200b"`,
		`"a\u00a0"`, `"\ufeffa"`, `"\uff41"`, `"\ud800"`, strconv.Quote(strings.Repeat("a", 257)), strconv.Quote(strings.Repeat("a", 5000)), `1`, `0`, `true`, `["a"]`, `{}`)
	accept("jti", `"a"`, `"0"`, `"null"`, strconv.Quote(strings.Repeat("a", 256)), `"!\"#$%&'()*+-./:;<=>?@[\\]^_{|}~"`, `"\u0061"`)

	refuse("Mesh", `null`, `""`, `1`, `true`, `["default"]`, `{"default":"default"}`, `[]`)
	refuse("Name", `1`, `true`, `["dp-1"]`, `{}`)
	accept("Name", `null`, `""`, `"\ud83d\ude00"`, `"\u0000\u001b[2J"`)
	refuse("Type", `1`, `false`, `[]`, `{}`)
	accept("Type", `null`, `"ingress"`)
	refuse("Workload", `1`, `false`, `[]`, `{}`)
	accept("Workload", `null`, `"w"`)
	refuse("Tags", `[]`, `""`, `1`, `true`, `[{"a":["b"]}]`, `{"a":"b"}`, `{"a":1}`, `{"a":{"b":"c"}}`, `{"a":[1]}`, `{"a":[null]}`, `{"a":[["b"]]}`, `{"a":["b"],"a":["c"]}`,
		`{"a":["b"],"\u0061":["c"]}`, `{"a":["b",]}`, `{"a":["b"],}`, `{"a":[,"b"]}`, `{"a":true}`, `{"a":["\ud800"]}`, `{a:["b"]}`)
	accept("Tags", `null`, `{}`, `{"a":[]}`, `{"a":null}`, `{"a":["b","b"]}`, `{"a":["b"],"A":["c"]}`, `{"":[""]}`)

	cases = append(cases,
		hostileRefused(token.ErrClaims, "no exp", hostileWithPayload(hostilePayload.Without("exp").String())),
		hostileRefused(token.ErrClaims, "no jti", hostileWithPayload(hostilePayload.Without("jti").String())),
		hostileRefused(token.ErrClaims, "no Mesh", hostileWithPayload(hostilePayload.Without("Mesh").String())),
		hostileAccepted("nothing but Mesh, exp and jti", hostileWithPayload(`{"Mesh":"default","exp":`+now+`,"jti":"a"}`)),
		hostileAccepted("no jti where tokens need not be revocable", hostileWithPayload(hostilePayload.Without("jti").String())).
			under(dataplane.WithUnrevocableTokens()),
		hostileRefused(token.ErrClaims, "a jti with a comma where tokens need not be revocable", hostileWithPayload(hostilePayload.With("jti", `"a,b"`).String())).
			under(dataplane.WithUnrevocableTokens()),
		hostileRefused(token.ErrRevoked, "a revoked jti where tokens need not be revocable", hostileWithPayload(hostilePayload.With("jti", `"revoked-in-mesh"`).String())).
			under(dataplane.WithUnrevocableTokens()),
		hostileRefused(token.ErrClaims, "no exp where tokens need not be revocable", hostileWithPayload(hostilePayload.Without("jti").Without("exp").String())).
			under(dataplane.WithUnrevocableTokens()),
	)
	return cases
}

// hostileWrapped is a good exp, if it is read into that many bits.
func hostileWrapped(bits uint) string {
	n := new(big.Int).Lsh(big.NewInt(1), bits)
	return n.Add(n, big.NewInt(hostileNow+3600)).String()
}

func hostileTimes() []hostileCase {
	var cases []hostileCase
	expiring := func(seconds int) string {
		return hostileWithPayload(hostilePayload.With("exp", hostileAt(seconds)).String())
	}
	beginning := func(seconds int) string {
		return hostileWithPayload(hostilePayload.With("nbf", hostileAt(seconds)).String())
	}
	for _, leeway := range []int{0, 1, 30, 120} {
		under := dataplane.WithLeeway(time.Duration(leeway) * time.Second)
		name := fmt.Sprintf("with a leeway of %d s ", leeway)
		cases = append(cases,
			hostileRefused(token.ErrExpired, name+"exp the leeway and a second ago", expiring(-leeway-1)).under(under),
			hostileRefused(token.ErrExpired, name+"exp the leeway ago", expiring(-leeway)).under(under),
			hostileAccepted(name+"exp a second less than the leeway ago", expiring(-leeway+1)).under(under),
			hostileAccepted(name+"nbf a second less than the leeway ahead", beginning(leeway-1)).under(under),
			hostileAccepted(name+"nbf the leeway ahead", beginning(leeway)).under(under),
			hostileRefused(token.ErrNotYetValid, name+"nbf the leeway and a second ahead", beginning(leeway+1)).under(under),
		)
	}
	late := dataplane.WithClock(func() time.Time { return time.Unix(hostileNow, 999_999_999) })
	ahead := dataplane.WithClock(func() time.Time { return time.Unix(hostileNow, 0).In(time.FixedZone("ahead", 14*3600)) })
	return append(cases,
		hostileRefused(token.ErrExpired, "exp 30 s ago by the default leeway", expiring(-30)),
		hostileAccepted("exp 29 s ago by the default leeway", expiring(-29)),
		hostileAccepted("exp 29 s ago, late in the second", expiring(-29)).under(late),
		hostileRefused(token.ErrExpired, "exp 30 s ago, late in the second", expiring(-30)).under(late),
		hostileRefused(token.ErrNotYetValid, "nbf 31 s ahead, late in the second", beginning(31)).under(late),
		hostileRefused(token.ErrExpired, "exp 30 s and a fraction less ago, since fractions are cut off", hostileWithPayload(hostilePayload.With("exp", hostileAt(-30)+".999").String())),
		hostileAccepted("nbf 30 s and a fraction ahead, since fractions are cut off", hostileWithPayload(hostilePayload.With("nbf", hostileAt(30)+".999").String())),
		hostileRefused(token.ErrExpired, "exp 1769546939.75 at 1769546939, which is the same second", hostileWithPayload(hostilePayload.With("exp", "1769546939.75").String())).under(dataplane.WithLeeway(0)),
		hostileRefused(token.ErrExpired, "exp 30 s ago in another time zone", expiring(-30)).under(ahead),
		hostileAccepted("exp 29 s ago in another time zone", expiring(-29)).under(ahead),
		hostileRefused(token.ErrExpired, "exp in 1970", hostileWithPayload(hostilePayload.With("exp", "1").String())),
		hostileRefused(token.ErrNotYetValid, "nbf in the year 9999", hostileWithPayload(hostilePayload.With("nbf", "253402300799").String())),
		hostileRefused(token.ErrExpired, "exp before nbf, both past", hostileWithPayload(hostilePayload.With("exp", hostileAt(-1000)).String())),
		hostileAccepted("iat a minute ahead", hostileWithPayload(hostilePayload.With("iat", hostileAt(60)).String())),
		hostileAccepted("iat a minute ahead and no leeway", hostileWithPayload(hostilePayload.With("iat", hostileAt(60)).String())).
			under(dataplane.WithLeeway(0)),
	)
}

func hostileLifetimes() []hostileCase {
	hour := dataplane.WithMaxLifetime(time.Hour)
	with := func(exp string) string { return hostileWithPayload(hostilePayload.With("exp", exp).String()) } // iat and nbf are 300 s ago
	withoutIat := hostilePayload.Without("iat")
	return []hostileCase{
		hostileAccepted("an hour from iat to exp, which is the maximum", with(hostileAt(3300))).under(hour),
		hostileAccepted("an hour and the five minutes by which iat may be early", with(hostileAt(3600))).under(hour),
		hostileRefused(token.ErrLifetime, "a second more than an hour and five minutes", with(hostileAt(3601))).under(hour),
		hostileRefused(token.ErrLifetime, "an exp in the year 5138 where there is a maximum", with("99999999999")).under(hour),
		hostileRefused(token.ErrLifetime, "an exp in the year 9999 where there is a maximum of a century", with("253402300799")).
			under(dataplane.WithMaxLifetime(100 * 365 * 24 * time.Hour)),
		hostileRefused(token.ErrLifetime, "more years than a time.Duration holds", hostileWithPayload(hostilePayload.With("iat", "1").With("exp", "253402300799").String())).under(hour),
		hostileRefused(token.ErrLifetime, "neither iat nor nbf to count from", hostileWithPayload(withoutIat.Without("nbf").String())).under(hour),
		hostileAccepted("an hour and five minutes from nbf where there is no iat", hostileWithPayload(withoutIat.String())).under(hour),
		hostileRefused(token.ErrLifetime, "a second more from nbf where there is no iat", hostileWithPayload(withoutIat.With("exp", hostileAt(3601)).String())).under(hour),
		hostileAccepted("an exp in the year 5138 where there is no maximum", with("99999999999")),
	}
}

func hostileScopes() []hostileCase {
	good := hostileWithPayload(hostilePayload.String())
	forMesh := func(mesh string) string {
		return hostileWithPayload(hostilePayload.With("Mesh", strconv.Quote(mesh)).String())
	}
	zone := hostileWithPayload(hostileZonePayload.String())
	named := hostileHeader.With("kid", `"key-1"`).String()
	everyMesh := dataplane.WithPublicKeyForEveryMesh("key-1", hostilePublic(forge.Key()))
	signed := forge.RS256(forge.Key())
	cases := []hostileCase{
		hostileRefused(token.ErrKind, "a zone token that the mesh's key signed", zone),
		hostileRefused(token.ErrKind, "a zone token in lower case", hostileWithPayload(hostileZonePayload.Renamed("Zone", "zone").Renamed("Scope", "scope").String())),
		hostileRefused(token.ErrKind, "a zone token with a Mesh that is null", hostileWithPayload(hostileZonePayload.And("Mesh", "null").String())),
		hostileRefused(token.ErrKind, "a zone token with a Mesh that is empty", hostileWithPayload(hostileZonePayload.And("Mesh", `""`).String())),
		hostileRefused(token.ErrKind, "a zone token for a zone that is called like the mesh", hostileWithPayload(hostileZonePayload.With("Zone", `"default"`).String())),
		hostileRefused(token.ErrKind, "a zone token without a scope", hostileWithPayload(hostileZonePayload.Without("Scope").String())),
		hostileRefused(token.ErrKind, "a zone token by a configured key that serves both kinds", forge.Token(named, hostileZonePayload.String(), signed)).under(everyMesh),
		hostileRefused(token.ErrKind, "a zone token presented in another mesh", zone).askedFor("default-2"),
		hostileRefused(token.ErrClaims, "a zone token with a tag", hostileWithPayload(hostileZonePayload.And("Tags", `{"a":["b"]}`).String())),
		hostileRefused(token.ErrClaims, "a zone token with a name", hostileWithPayload(hostileZonePayload.And("Name", `"dp-1"`).String())),

		hostileRefused(token.ErrScope, "a good token presented in a mesh that has the same key", good).askedFor("default-2"),
		hostileRefused(token.ErrScope, "a good token presented in a mesh of the same name in capitals", good).askedFor("Default"),
		hostileRefused(token.ErrSignature, "a good token presented in a mesh that has another key of that kid", good).askedFor("other"),
		hostileRefused(token.ErrUnknownKey, "a good token presented in a mesh that has no key of that kid", good).askedFor("keyless").causingARead(),
		hostileRefused(token.ErrUnknownKey, "a good token presented in a mesh that does not exist", good).askedFor("nowhere").causingARead(),
		hostileAccepted("a token for another mesh by a key for every mesh", forge.Token(named, hostilePayload.With("Mesh", `"nowhere"`).String(), signed)).askedFor("nowhere").under(everyMesh),
		hostileRefused(token.ErrScope, "a token by a key for every mesh presented in another mesh", forge.Token(named, hostilePayload.With("Mesh", `"other"`).String(), signed)).under(everyMesh),
		hostileRefused(token.ErrUnknownKey, "a token for one mesh by a key that is configured for another", forge.Token(named, hostilePayload.String(), signed)).
			under(dataplane.WithPublicKey("default-2", "key-1", hostilePublic(forge.Key()))),
		hostileRefused(token.ErrSignature, "a key for every mesh where the mesh has its own of the same kid", forge.Token(named, hostilePayload.String(), signed)).
			under(everyMesh, dataplane.WithPublicKey("default", "key-1", hostilePublic(forge.OtherKey()))),
	}
	for _, mesh := range []string{"", "*", ".", "..", "../default", "default/", "a/b", "de fault", "default\x00", "default\n", "d\u00e9fault", "-default", strings.Repeat("m", 129), "\xff"} {
		if mesh != "" {
			cases = append(cases, hostileRefused(token.ErrScope, fmt.Sprintf("a token for the mesh %.20q", mesh),
				hostileWithPayload(hostilePayload.With("Mesh", strings.ReplaceAll(strconv.Quote(mesh), `\x`, `\u00`)).String())))
		}
		cases = append(cases,
			hostileRefused(token.ErrScope, fmt.Sprintf("an unknown serial presented in the mesh %.20q", mesh), hostileWithHeader(hostileHeader.With("kid", `"2"`).String())).askedFor(mesh),
			hostileRefused(token.ErrScope, fmt.Sprintf("a good token presented in the mesh %.20q", mesh), good).askedFor(mesh),
		)
	}
	for _, mesh := range []string{"Default", "DEFAULT", "default ", " default", "default-2", "defaul", "default.", "d\u0435fault", "defa\u0301ult", "default\u200b", "other", "default,other"} {
		cases = append(cases, hostileRefused(token.ErrScope, fmt.Sprintf("a token of the default mesh's key for the mesh %q", mesh), forMesh(mesh)))
	}
	return append(cases,
		hostileRefused(token.ErrRevoked, "an id on the mesh's list", hostileWithID("revoked-in-mesh")),
		hostileRefused(token.ErrRevoked, "an id on the mesh's list in the global scope", hostileWithID("revoked-globally")),
		hostileRefused(token.ErrRevoked, "a revoked id with an escape", hostileWithPayload(hostilePayload.With("jti", `"revoked\u002din\u002dmesh"`).String())),
		hostileRefused(token.ErrRevoked, "a revoked id in a token by a configured key", forge.Token(named, hostilePayload.With("jti", `"revoked-in-mesh"`).String(), signed)).under(everyMesh),
		hostileRefused(token.ErrRevoked, "a revoked id where only configured keys count", forge.Token(named, hostilePayload.With("jti", `"revoked-globally"`).String(), signed)).
			under(everyMesh, dataplane.WithoutStoreKeys()),
		hostileAccepted("a revoked id in capitals, which is another id", hostileWithID("REVOKED-IN-MESH")),
		hostileAccepted("an id on another mesh's list", hostileWithID("revoked-in-other")),
		hostileAccepted("an id on the list of zone tokens", hostileWithID("revoked-for-zones")),
		hostileAccepted("an id on a list in the mesh that is named after another mesh", hostileWithID("revoked-by-mistake")),
	)
}

func hostileWithID(id string) string {
	return hostileWithPayload(hostilePayload.With("jti", strconv.Quote(id)).String())
}

// hostilePriorities are wrong in more than one way.
func hostilePriorities() []hostileCase {
	expired := hostilePayload.With("exp", hostileAt(-1000))
	early := hostilePayload.With("nbf", hostileAt(1000))
	unreadable := hostilePayload.With("Mesh", `"unreadable"`) // a mesh whose revocation list nobody can read
	badly := forge.RS256(forge.OtherKey())
	good := forge.RS256(forge.Key())
	header := hostileHeader.String()
	of := func(p forge.Object, sign forge.Signer) string { return forge.Token(header, p.String(), sign) }
	revoked := func(p forge.Object) forge.Object { return p.With("jti", `"revoked-globally"`) }
	return []hostileCase{
		hostileRefused(token.ErrMalformed, "malformed, a wrong alg and expired", forge.Token(hostileHeader.With("alg", `"none"`).String(), expired.String(), good)+"="),
		hostileRefused(token.ErrHeader, "a wrong alg, an unknown key and expired", forge.Token(hostileHeader.With("alg", `"none"`).With("kid", `"2"`).String(), expired.String(), badly)),
		hostileRefused(token.ErrUnknownKey, "an unknown kid, a bad signature and expired", forge.Token(hostileHeader.With("kid", `"x"`).String(), expired.String(), badly)),
		hostileRefused(token.ErrSignature, "a bad signature and expired", of(expired, badly)),
		hostileRefused(token.ErrSignature, "a bad signature and not valid yet", of(early, badly)),
		hostileRefused(token.ErrSignature, "a bad signature and revoked", of(revoked(hostilePayload), badly)),
		hostileRefused(token.ErrSignature, "a bad signature and a payload that is no JSON", forge.Token(header, "{", badly)),
		hostileRefused(token.ErrSignature, "a bad signature and a zone token", of(hostileZonePayload, badly)),
		hostileRefused(token.ErrClaims, "no jti, another mesh and expired", of(expired.Without("jti").With("Mesh", `"other"`), good)),
		hostileRefused(token.ErrClaims, "a zone token without exp", of(hostileZonePayload.Without("exp"), good)),
		hostileRefused(token.ErrKind, "a zone token that is expired and revoked", of(revoked(hostileZonePayload).With("exp", hostileAt(-1000)), good)),
		hostileRefused(token.ErrScope, "another mesh, revoked and expired", of(revoked(expired).With("Mesh", `"other"`), good)),
		hostileRefused(token.ErrRevoked, "revoked and expired", of(revoked(expired), good)),
		hostileRefused(token.ErrRevoked, "revoked and not valid yet", of(revoked(early), good)),
		hostileRefused(token.ErrRevoked, "revoked and living too long", of(revoked(hostilePayload), good)).under(dataplane.WithMaxLifetime(time.Minute)),
		hostileRefused(token.ErrExpired, "expired and living too long", of(expired.With("iat", "1"), good)).under(dataplane.WithMaxLifetime(time.Minute)),

		hostileRefused(token.ErrUnavailable, "good, but the revocation list is unreadable", of(unreadable, good)).askedFor("unreadable"),
		hostileRefused(token.ErrExpired, "expired, and the revocation list is unreadable", of(unreadable.With("exp", hostileAt(-1000)), good)).askedFor("unreadable"),
		hostileRefused(token.ErrNotYetValid, "not valid yet, and the revocation list is unreadable", of(unreadable.With("nbf", hostileAt(1000)), good)).askedFor("unreadable"),
		hostileRefused(token.ErrLifetime, "living too long, and the revocation list is unreadable", of(unreadable, good)).askedFor("unreadable").under(dataplane.WithMaxLifetime(time.Minute)),
		hostileRefused(token.ErrRevoked, "revoked by one list, and the other is unreadable", of(revoked(unreadable), good)).askedFor("unreadable"),
		hostileRefused(token.ErrScope, "another mesh, and the revocation list is unreadable", of(hostilePayload, good)).askedFor("unreadable"),
		hostileRefused(token.ErrKind, "a zone token, and the revocation list is unreadable", of(hostileZonePayload, good)).askedFor("unreadable"),
		hostileRefused(token.ErrClaims, "no exp, and the revocation list is unreadable", of(unreadable.Without("exp"), good)).askedFor("unreadable"),
		hostileRefused(token.ErrSignature, "a bad signature, and the revocation list is unreadable", of(unreadable, badly)).askedFor("unreadable"),
		hostileRefused(token.ErrHeader, "a wrong alg, and the revocation list is unreadable", forge.Token(hostileHeader.With("alg", `"none"`).String(), unreadable.String(), good)).askedFor("unreadable"),
		hostileRefused(token.ErrUnknownKey, "a kid that is no serial, and the revocation list is unreadable", forge.Token(hostileHeader.With("kid", `"x"`).String(), unreadable.String(), good)).askedFor("unreadable"),
		hostileAccepted("no jti and none needed, and the revocation list is unreadable", of(unreadable.Without("jti"), good)).askedFor("unreadable").under(dataplane.WithUnrevocableTokens()),
	}
}
