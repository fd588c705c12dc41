package jwks

import (
	"bytes"
	"cmp"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"

	"github.com/meshpass/meshpass/internal/strictjson"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// The limits of a set. A larger one is refused as a whole.
const (
	MaxSize = 1 << 20 // bytes of JSON
	MaxKeys = 1024    // usable or not
)

var errTooLarge = fmt.Errorf("key set of more than %d bytes", MaxSize)

// maxProblems is the maximum number of errors about single keys that a set reports.
const maxProblems = 16

// exponent is 65537 as a JWK has it (RFC 7518, section 6.3.1.2).
const exponent = "AQAB"

// Set is a parsed JSON Web Key Set.
type Set struct {
	// Keys holds the usable keys by kid. It is not nil.
	Keys map[string]*signing.PublicKey

	// Problems says which other keys the set has, and why they are not usable, in the
	// order of the set. Each error matches [signing.ErrKey]. There are at most 16. If
	// more keys are unusable, the last error counts them.
	Problems []error
}

// Parse parses a JSON Web Key Set (RFC 7517, section 5). It refuses a set of more than
// [MaxSize] bytes or [MaxKeys] keys, and JSON that is not UTF-8, has a name twice in an
// object, is more than 8 levels deep or has anything before or after the object. Members
// that it does not know are ignored. A set may be empty, but must have "keys".
//
// A key is usable if
//
//   - kty is "RSA", use is "sig" or absent, key_ops contains "verify" or is absent, and
//     alg is "RS256" or absent
//   - kid is as [token.CheckKeyID] wants it, and no other key of the set has it,
//     whatever that is for
//   - n is a modulus of [signing.MinBits] to [signing.MaxBits] bits and e is 65537, both
//     in base64url without padding and without leading zeros (RFC 7518, section 6.3.1)
//   - it has no private part, since readers of the set could sign with such a key
//
// The others do not affect it: see [Set.Problems]. A member of a private key counts even if
// it is null; any other that is null counts as absent, and so does a use or an alg that is
// an empty string. No error contains a part of a private or symmetric key.
func Parse(data []byte) (Set, error) {
	if len(data) > MaxSize {
		return Set{}, errTooLarge
	}
	var entries []entry
	found := false
	r := strictjson.NewReader(string(data))
	err := r.Document(func(name string) error {
		if name != "keys" {
			return r.Skip()
		}
		found = true
		return r.Array(func() error {
			if len(entries) == MaxKeys {
				return fmt.Errorf("more than %d keys", MaxKeys)
			}
			e, err := readEntry(&r)
			entries = append(entries, e)
			return err
		})
	})
	if err == nil && !found {
		err = errors.New(`"keys" is missing`)
	}
	if err != nil {
		return Set{}, fmt.Errorf("key set: %w", err)
	}
	return choose(entries), nil
}

// choose makes a set of the entries.
func choose(entries []entry) Set {
	set := Set{Keys: map[string]*signing.PublicKey{}}
	times := map[string]int{}
	for _, e := range entries {
		times[e.kid]++
	}
	unusable := 0
	for i, e := range entries {
		key, err := e.publicKey()
		if err == nil && times[e.kid] > 1 {
			err = fmt.Errorf("%w: found its kid %d times in the set, wanted once", signing.ErrKey, times[e.kid])
		}
		if err == nil {
			set.Keys[e.kid] = key
			continue
		}
		if unusable++; unusable <= maxProblems {
			set.Problems = append(set.Problems, fmt.Errorf("%s: %w", e.describe(i), err))
		}
	}
	if unusable > maxProblems {
		set.Problems[maxProblems-1] = fmt.Errorf("%w: %d more keys", signing.ErrKey, unusable-maxProblems+1)
	}
	return set
}

// entry is an element of "keys".
type entry struct {
	kty, kid, use, alg, n, e string

	ops     []string
	hasOps  bool
	private string // the name of a member that must stay secret, or empty
	fault   error  // a member, or all of it, has another type than it should
}

// privateMembers are those that only private and symmetric keys have (RFC 7518,
// sections 6.2.2, 6.3.2 and 6.4.1).
var privateMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"}

// readEntry reads any JSON value. It returns an error only if that is not JSON.
func readEntry(r *strictjson.Reader) (e entry, err error) {
	if r.Peek() != '{' {
		e.fault = unusable("no JSON object", "a JSON Web Key")
		return e, r.Skip()
	}
	members := map[string]*string{"kty": &e.kty, "kid": &e.kid, "use": &e.use, "alg": &e.alg, "n": &e.n, "e": &e.e}
	err = r.Object(func(name string) error {
		member, text := members[name]
		switch {
		case slices.Contains(privateMembers, name):
			e.private = name
			return r.Skip()
		case !text && name != "key_ops":
			return r.Skip()
		case r.Word("null"):
			return nil
		case name == "key_ops":
			return e.readOps(r)
		case r.Peek() != '"':
			e.fault = unusable("another type of value in "+name, "a string")
			return r.Skip()
		}
		*member, err = r.Text()
		return err
	})
	return e, err
}

func (e *entry) readOps(r *strictjson.Reader) error {
	e.hasOps = true
	if r.Peek() != '[' {
		e.fault = unusable("another type of value in key_ops", "an array")
		return r.Skip()
	}
	return r.Array(func() error {
		if r.Peek() != '"' {
			e.fault = unusable("another type of value among key_ops", "strings")
			return r.Skip()
		}
		op, err := r.Text()
		e.ops = append(e.ops, op)
		return err
	})
}

// publicKey returns the key if it is usable by itself.
func (e *entry) publicKey() (*signing.PublicKey, error) {
	switch {
	case e.kty == "oct":
		return nil, unusable("a symmetric key (it must stay secret)", "an RSA public key")
	case e.private != "":
		return nil, unusable(fmt.Sprintf("a private key (it has %q, which must stay secret)", e.private), "an RSA public key")
	case e.fault != nil:
		return nil, e.fault
	case e.kty != "RSA":
		return nil, unusable(describe("kty", e.kty), `"RSA"`)
	case e.use != "" && e.use != "sig":
		return nil, unusable(describe("use", e.use), `"sig" or none`)
	case e.hasOps && !slices.Contains(e.ops, "verify"):
		return nil, unusable(`key_ops without "verify"`, "it among them, or no key_ops")
	case e.alg != "" && e.alg != "RS256":
		return nil, unusable(describe("alg", e.alg), `"RS256" or none`)
	case e.e != exponent:
		return nil, unusable(describe("e", e.e), fmt.Sprintf("%q, which is 65537", exponent))
	}
	if err := token.CheckKeyID(e.kid); err != nil {
		return nil, fmt.Errorf("%w: %w", signing.ErrKey, err)
	}
	// DecodeString skips line ends, and accepts spare bits.
	modulus, err := base64.RawURLEncoding.DecodeString(e.n)
	switch {
	case err != nil || base64.RawURLEncoding.EncodeToString(modulus) != e.n:
		return nil, unusable("n in another encoding", "canonical base64url without padding")
	case len(modulus) > 0 && modulus[0] == 0:
		return nil, unusable("n with leading zeros", "the fewest bytes that hold it")
	}
	return signing.NewPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(modulus), E: 65537})
}

// describe names the entry in an error.
func (e *entry) describe(i int) string {
	if e.kid == "" {
		return fmt.Sprintf("keys[%d]", i)
	}
	return fmt.Sprintf("keys[%d] with kid %+.64q", i, e.kid)
}

func describe(member, value string) string {
	if value == "" {
		return "no " + member
	}
	return fmt.Sprintf("%s %+.64q", member, value)
}

func unusable(found, wanted string) error {
	return fmt.Errorf("%w: found %s, wanted %s", signing.ErrKey, found, wanted)
}

// jwk is a key as we write it (RFC 7517, section 4; RFC 7518, section 6.3.1).
type jwk struct {
	KeyType   string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Modulus   string `json:"n"`
	Exponent  string `json:"e"`
}

// Format returns the keys as a JSON Web Key Set, which [Parse] reads: JSON in one line,
// always the same for the same keys. Serials stand in ascending order. Its media type is
// application/jwk-set+json (RFC 7517, section 8.5.2). The error says which kid or key is
// not usable, or that the set exceeds a limit.
func Format(keys map[string]*signing.PublicKey) ([]byte, error) {
	if len(keys) > MaxKeys {
		return nil, fmt.Errorf("key set: %d keys, want at most %d", len(keys), MaxKeys)
	}
	set := struct {
		Keys []jwk `json:"keys"`
	}{Keys: []jwk{}}
	// Shorter kids first, so that "10" comes after "9".
	for _, kid := range slices.SortedFunc(maps.Keys(keys), func(a, b string) int {
		return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
	}) {
		if err := token.CheckKeyID(kid); err != nil {
			return nil, fmt.Errorf("key set: %w", err)
		}
		numbers := keys[kid].RSA()
		if numbers == nil {
			return nil, fmt.Errorf("key set: kid %.64q has no key", kid)
		}
		set.Keys = append(set.Keys, jwk{"RSA", "sig", "RS256", kid, base64.RawURLEncoding.EncodeToString(numbers.N.Bytes()), exponent})
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(set); err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	if text.Len() > MaxSize {
		return nil, fmt.Errorf("key set: %d bytes, want at most %d", text.Len(), MaxSize)
	}
	return bytes.TrimSuffix(text.Bytes(), []byte("\n")), nil
}
