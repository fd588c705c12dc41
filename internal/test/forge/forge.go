// Package forge makes tokens that no honest issuer makes, for the tests of code that
// must refuse them: any text as header and payload, any spelling of the parts, any
// signature. It knows nothing of what the other packages accept.
package forge

import (
	"crypto"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" // for crypto.SHA1
	"crypto/sha256"
	_ "crypto/sha512" // for crypto.SHA384 and crypto.SHA512
	"encoding/base64"
	"math/big"
	"strings"
	"sync"
)

// Key returns an RSA key of 2048 bits, the same at each call.
var Key = sync.OnceValue(func() *rsa.PrivateKey { return generate(2048) })

// OtherKey returns a second RSA key of 2048 bits, the same at each call.
var OtherKey = sync.OnceValue(func() *rsa.PrivateKey { return generate(2048) })

// ShortKey returns an RSA key of 1024 bits, the same at each call.
var ShortKey = sync.OnceValue(func() *rsa.PrivateKey { return generate(1024) })

func generate(bits int) *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		panic(err)
	}
	return key
}

// Signer makes the signature over a signing input (RFC 7515, section 5.1). It
// panics where it cannot.
type Signer func(signingInput []byte) []byte

// Token makes a compact token of the texts of its header and payload.
func Token(header, payload string, sign Signer) string {
	return Parts(Encode(header), Encode(payload), sign)
}

// Parts makes a compact token of a header and a payload that are encoded already,
// in whatever way. The signature is over what is given.
func Parts(header, payload string, sign Signer) string {
	signingInput := header + "." + payload
	return signingInput + "." + Encode(string(sign([]byte(signingInput))))
}

// Encode returns the canonical, unpadded base64url text (RFC 4648, section 5).
func Encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// Signature returns a signer that signs nothing and always gives the same bytes.
func Signature(signature []byte) Signer {
	return func([]byte) []byte { return signature }
}

// RS256 signs as a token ought to be signed (RFC 7518, section 3.3).
func RS256(key *rsa.PrivateKey) Signer { return PKCS1(key, crypto.SHA256) }

// PKCS1 signs with RSASSA-PKCS1-v1_5 and a hash of choice.
func PKCS1(key *rsa.PrivateKey, hash crypto.Hash) Signer {
	return func(signingInput []byte) []byte {
		signature, err := rsa.SignPKCS1v15(nil, key, hash, Digest(hash, signingInput))
		if err != nil {
			panic(err)
		}
		return signature
	}
}

// PSS signs with RSASSA-PSS and a hash of choice (RFC 7518, section 3.5).
func PSS(key *rsa.PrivateKey, hash crypto.Hash) Signer {
	return func(signingInput []byte) []byte {
		options := &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash}
		signature, err := rsa.SignPSS(rand.Reader, key, hash, Digest(hash, signingInput), options)
		if err != nil {
			panic(err)
		}
		return signature
	}
}

// HS256 makes an HMAC with SHA-256 (RFC 7518, section 3.2).
func HS256(secret []byte) Signer {
	return func(signingInput []byte) []byte {
		mac := hmac.New(sha256.New, secret)
		mac.Write(signingInput)
		return mac.Sum(nil)
	}
}

// Raw applies the private key to a whole encoded message (RFC 8017, section 9.2),
// as long as the modulus, that encode makes of the SHA-256 digest.
func Raw(key *rsa.PrivateKey, encode func(digest []byte) []byte) Signer {
	return func(signingInput []byte) []byte {
		message := new(big.Int).SetBytes(encode(Digest(crypto.SHA256, signingInput)))
		return message.Exp(message, key.D, key.N).FillBytes(make([]byte, key.Size()))
	}
}

// Changed alters what another signer makes.
func Changed(sign Signer, change func(signature []byte) []byte) Signer {
	return func(signingInput []byte) []byte { return change(sign(signingInput)) }
}

// Over signs something made of the signing input instead of it.
func Over(change func(signingInput string) string, sign Signer) Signer {
	return func(signingInput []byte) []byte { return sign([]byte(change(string(signingInput)))) }
}

// Digest returns the hash of a text.
func Digest(hash crypto.Hash, text []byte) []byte {
	h := hash.New()
	h.Write(text)
	return h.Sum(nil)
}

// Object is a JSON object, member by member. Nothing about it needs to be right: names
// may stand twice, values may be any text.
type Object []Member

// Member is a name, without the quotes around it, and a value, both as they are to be
// written.
type Member struct{ Name, Value string }

// With replaces the value of the first member with that name, or appends one.
func (o Object) With(name, value string) Object {
	changed := append(Object(nil), o...)
	for i := range changed {
		if changed[i].Name == name {
			changed[i].Value = value
			return changed
		}
	}
	return append(changed, Member{name, value})
}

// And appends a member, also if its name is there.
func (o Object) And(name, value string) Object {
	return append(append(Object(nil), o...), Member{name, value})
}

// Before puts a member first.
func (o Object) Before(name, value string) Object {
	return append(Object{{name, value}}, o...)
}

// Without removes the members with that name.
func (o Object) Without(name string) Object {
	var changed Object
	for _, m := range o {
		if m.Name != name {
			changed = append(changed, m)
		}
	}
	return changed
}

// Renamed spells a name in another way.
func (o Object) Renamed(name, spelling string) Object {
	changed := append(Object(nil), o...)
	for i := range changed {
		if changed[i].Name == name {
			changed[i].Name = spelling
		}
	}
	return changed
}

// String returns the object's text.
func (o Object) String() string {
	members := make([]string, len(o))
	for i, m := range o {
		members[i] = `"` + m.Name + `":` + m.Value
	}
	return "{" + strings.Join(members, ",") + "}"
}
