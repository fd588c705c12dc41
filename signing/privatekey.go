package signing

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"math/bits"
)

// DefaultBits is the default size of new keys, in bits of the modulus. A
// control plane verifies far more often than it signs, and verifying with 3072
// or 4096 bits takes 6 to 10 times as long as with 2048, for which crypto/rsa
// has assembly. 2048 is the minimum of RFC 7518, section 3.3, and is not known
// to be weak.
const DefaultBits = 2048

const wantedPrivate = "an RSA private key: PEM of type RSA PRIVATE KEY or PRIVATE KEY, or the DER of PKCS#1"

// PrivateKey is an RSA key that signs. It is immutable and safe for concurrent
// use. When printed, logged or marshalled, it shows only its size and
// fingerprint. The zero value holds no key and signs nothing.
type PrivateKey struct {
	public *PublicKey

	// The secret is in functions instead of fields: reflection, as in fmt, reads
	// unexported fields and bypasses methods, but cannot look into a function.
	sign func(ctx context.Context, signingInput []byte) ([]byte, error)
	pem  func() ([]byte, error)
}

// Generate returns a new key of 2048, 3072 or 4096 bits; see [DefaultBits]. It
// takes from a tenth of a second to some seconds. For any other size the error
// matches [ErrKey].
func Generate(bits int) (*PrivateKey, error) {
	switch bits {
	case 2048, 3072, 4096:
	default:
		return nil, fmt.Errorf("%w: cannot generate %d bits, want 2048, 3072 or 4096", ErrKey, bits)
	}
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		return nil, fmt.Errorf("generating an RSA key of %d bits: %w", bits, err)
	}
	return newPrivateKey(key)
}

// NewPrivateKey returns a key from an *rsa.PrivateKey, which it copies and
// validates, or from another signer with an RSA key, such as one in a KMS or
// HSM. Such a signer must be safe for concurrent use: up to 32 of its calls run at
// once. Each of its signatures is verified before use, which takes a thirtieth of the
// time of a signature in memory.
//
// A key in a KMS or HSM cannot be stored, so AddKey refuses it. AddExternalKey stores
// its public half, and WithSigners gives the key to issuers. Or use it without a store:
// NewOfflineIssuer signs with it, and validators get its public half with WithPublicKey.
//
// The error matches [ErrKey] if [NewPublicKey] would not accept the key, if it
// has more than two primes, or if it is not valid.
func NewPrivateKey(s crypto.Signer) (*PrivateKey, error) {
	const wanted = "an RSA private key, or a signer that holds one"
	if s == nil {
		return nil, unusable("nil", wanted)
	}
	if key, ok := s.(*rsa.PrivateKey); ok {
		if key == nil {
			return nil, unusable("nil", wanted)
		}
		return newPrivateKey(copyPrivateKey(key))
	}
	rsaPublic, ok := s.Public().(*rsa.PublicKey)
	if !ok {
		return nil, unusable(fmt.Sprintf("a signer whose public key is of type %T", s.Public()), wanted)
	}
	public, err := NewPublicKey(rsaPublic)
	if err != nil {
		return nil, err
	}
	return &PrivateKey{
		public: public,
		sign:   newExternal(s, public).sign,
		pem: func() ([]byte, error) {
			return nil, fmt.Errorf("%w: a key in a KMS or HSM cannot be stored; AddExternalKey stores its public half, and WithSigners gives it to issuers", ErrKey)
		},
	}, nil
}

// copyPrivateKey copies the numbers of a key without its precomputed values,
// which may not match. Missing numbers stay missing.
func copyPrivateKey(key *rsa.PrivateKey) *rsa.PrivateKey {
	number := func(n *big.Int) *big.Int {
		if n == nil {
			return nil
		}
		return new(big.Int).Set(n)
	}
	c := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: number(key.N), E: key.E}, D: number(key.D)}
	for _, prime := range key.Primes {
		c.Primes = append(c.Primes, number(prime))
	}
	return c
}

// newPrivateKey validates key and keeps it; the caller must not use it any
// more.
func newPrivateKey(key *rsa.PrivateKey) (*PrivateKey, error) {
	public, err := NewPublicKey(&key.PublicKey)
	if err != nil {
		return nil, err
	}
	if len(key.Primes) != 2 {
		return nil, unusable(fmt.Sprintf("an RSA private key with %d primes", len(key.Primes)), "two")
	}
	for _, n := range append([]*big.Int{key.D}, key.Primes...) {
		if n == nil || n.Sign() <= 0 {
			return nil, unusable("an RSA private key with a missing or non-positive number", "positive numbers")
		}
	}
	// Check sizes before any arithmetic whose cost grows with the numbers.
	if spare := key.Primes[0].BitLen() + key.Primes[1].BitLen() - public.Bits(); spare < 0 || spare > 1 || key.D.BitLen() > public.Bits() {
		return nil, unusable("an RSA private key whose numbers do not match", "a valid one")
	}
	key.Precompute()
	if err := key.Validate(); err != nil {
		return nil, unusable("an RSA private key that is not valid ("+err.Error()+")", "a valid one")
	}
	return &PrivateKey{
		public: public,
		sign: func(_ context.Context, signingInput []byte) ([]byte, error) {
			signature, err := signRS256(key, signingInput)
			if err != nil {
				return nil, fmt.Errorf("signing with the key %s: %w", public.Fingerprint(), err)
			}
			return signature, nil
		},
		pem: func() ([]byte, error) {
			return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}), nil
		},
	}, nil
}

// ParsePrivateKey parses an unencrypted RSA private key: a PEM block of type
// RSA PRIVATE KEY (PKCS#1, RFC 8017, appendix A.1.2) or PRIVATE KEY (PKCS#8,
// RFC 5208), or the raw DER of PKCS#1. Around the PEM block, white space and a byte
// order mark are accepted as in [token.PlainText], and CRLF line ends in it. Anything
// else around it, or after the DER, is rejected. The error matches [ErrKey] and contains
// no part of data.
func ParsePrivateKey(data []byte) (*PrivateKey, error) {
	der, err := openPrivateKey(data)
	if err != nil {
		return nil, err
	}
	return parsePKCS1PrivateKey(der)
}

// openPrivateKey returns the PKCS#1 DER in the encoding of a private key, unchecked.
func openPrivateKey(data []byte) ([]byte, error) {
	what, der, inPEM, err := open(data, wantedPrivate)
	switch {
	case err != nil:
		return nil, err
	case what == pkcs1PrivateKey:
		return der, nil
	case what == pkcs8PrivateKey && inPEM:
		return openPKCS8(der)
	case what == pkcs8PrivateKey:
		return nil, unusable(string(what)+" as raw DER", wantedPrivate)
	case what == pkcs1PublicKey || what == pkixPublicKey:
		return nil, unusable(string(what)+" where a private key belongs", wantedPrivate)
	}
	return nil, unusable(string(what), wantedPrivate)
}

// parsePublicHalf reads the public half of a private key in a form that ParsePrivateKey
// reads, at a small part of its cost. It checks the encoding and the public half, and not
// whether the private half is valid or belongs to it.
func parsePublicHalf(data []byte) (*PublicKey, error) {
	if key := commonPublicHalf(data); key != nil {
		return key, nil
	}
	return anyPublicHalf(data)
}

// anyPublicHalf is parsePublicHalf for every encoding.
func anyPublicHalf(data []byte) (*PublicKey, error) {
	der, err := openPrivateKey(data)
	if err != nil {
		return nil, err
	}
	var elements []asn1.RawValue
	if rest, err := asn1.Unmarshal(der, &elements); err != nil || len(rest) > 0 || len(elements) < 9 {
		return nil, damagedPKCS1()
	}
	var numbers [9][]byte // RFC 8017, appendix A.1.2: version, n, e, d, p, q and three CRT values
	for i := range numbers {
		var ok bool
		if numbers[i], ok = unsigned(elements[i]); !ok {
			return nil, damagedPKCS1()
		}
	}
	switch version := numbers[0]; {
	case len(version) > 0:
		return nil, unusable("an RSA private key of another version (1 has more than two primes)", "version 0")
	case len(elements) > len(numbers):
		return nil, unusable("an RSA private key with extra content", wantedPrivate)
	}
	for _, n := range numbers[3:] {
		if len(n) == 0 {
			return nil, unusable("an RSA private key with a missing or non-positive number", "positive numbers")
		}
	}
	return newPublicKey(new(big.Int).SetBytes(numbers[1]), new(big.Int).SetBytes(numbers[2]))
}

// The lines around a key as this package writes it.
const (
	commonBegin = "-----BEGIN RSA PRIVATE KEY-----\n"
	commonEnd   = "\n-----END RSA PRIVATE KEY-----"
)

// commonPublicHalf is parsePublicHalf for the encoding that all tools write, of a key of up to
// 4096 bits. It returns nil for any other: that may be good too, or its fault has to be
// described. It takes an eighth of the time and makes nothing but the result.
func commonPublicHalf(data []byte) *PublicKey {
	text, begins := bytes.CutPrefix(data, []byte(commonBegin))
	text, ends := bytes.CutSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte(commonEnd))
	var room [2400]byte
	if !begins || !ends || base64.StdEncoding.DecodedLen(len(text)) > len(room) {
		return nil
	}
	n, err := base64.StdEncoding.Decode(room[:], text) // which skips line ends
	if err != nil {
		return nil
	}
	der, rest, ok := commonElement(room[:n], 0x30) // SEQUENCE, RFC 8017, appendix A.1.2
	if !ok || len(rest) > 0 {
		return nil
	}
	var numbers [9][]byte
	for i := range numbers {
		if numbers[i], der, ok = commonElement(der, asn1.TagInteger); !ok {
			return nil
		}
		if numbers[i], ok = unsignedBytes(numbers[i]); !ok || len(numbers[i]) == 0 != (i == 0) { // version 0
			return nil
		}
	}
	modulus, exponent := numbers[1], numbers[2]
	if len(der) > 0 || !bytes.Equal(exponent, []byte{1, 0, 1}) {
		return nil
	}
	if n := len(modulus); n < MinBits/8 || n > MaxBits/8 || modulus[0] < 0x80 || modulus[n-1]&1 == 0 {
		return nil
	}
	return hold(wordsOf(modulus))
}

// commonElement returns the content of the first element in DER, if it has a tag, fewer than
// 65,536 bytes and no form of length but the shortest.
func commonElement(der []byte, tag byte) (content, rest []byte, ok bool) {
	if len(der) < 2 || der[0] != tag {
		return nil, nil, false
	}
	size, at := int(der[1]), 2
	switch {
	case size < 0x80:
	case size == 0x81 && len(der) > 2 && der[2] >= 0x80:
		size, at = int(der[2]), 3
	case size == 0x82 && len(der) > 3 && der[2] > 0:
		size, at = int(der[2])<<8|int(der[3]), 4
	default:
		return nil, nil, false
	}
	if len(der)-at < size {
		return nil, nil, false
	}
	return der[at : at+size], der[at+size:], true
}

// wordsOf returns a big-endian number as math/big has it, in no more memory than it needs.
func wordsOf(number []byte) []big.Word {
	const bytesOfWord = bits.UintSize / 8
	words := make([]big.Word, 0, (len(number)+bytesOfWord-1)/bytesOfWord)
	for rest := number; len(rest) > 0; {
		at := max(0, len(rest)-bytesOfWord)
		word := big.Word(0)
		for _, b := range rest[at:] {
			word = word<<8 | big.Word(b)
		}
		words, rest = append(words, word), rest[:at]
	}
	return words
}

// unsigned returns the bytes of an INTEGER in DER that is not negative, without leading
// zeros.
func unsigned(v asn1.RawValue) ([]byte, bool) {
	if v.Class != asn1.ClassUniversal || v.Tag != asn1.TagInteger || v.IsCompound {
		return nil, false
	}
	return unsignedBytes(v.Bytes)
}

// unsignedBytes is unsigned for the content of the INTEGER.
func unsignedBytes(n []byte) ([]byte, bool) {
	if len(n) == 0 || n[0] >= 0x80 {
		return nil, false
	}
	if n[0] > 0 {
		return n, true
	}
	return n[1:], len(n) == 1 || n[1] >= 0x80 // else the zero is superfluous
}

func damagedPKCS1() error { return unusable("a damaged RSA private key (PKCS#1)", wantedPrivate) }

func parsePKCS1PrivateKey(der []byte) (*PrivateKey, error) {
	// x509.ParsePKCS1PrivateKey computes with the numbers before we can check
	// their size, and accepts truncated keys.
	var numbers struct {
		Version                     int
		N, E, D, P, Q, Dp, Dq, Qinv *big.Int
	}
	if _, err := asn1.Unmarshal(der, &numbers); err != nil {
		return nil, damagedPKCS1()
	}
	if numbers.Version != 0 {
		return nil, unusable(fmt.Sprintf("an RSA private key of version %d (1 has more than two primes)", numbers.Version), "version 0")
	}
	public, err := newPublicKey(numbers.N, numbers.E)
	if err != nil {
		return nil, err
	}
	for _, n := range []*big.Int{numbers.Dp, numbers.Dq, numbers.Qinv} {
		if n.Sign() <= 0 { // crypto/rsa ignores the sign
			return nil, unusable("an RSA private key with a CRT value that is not positive", "positive numbers")
		}
	}
	key := &rsa.PrivateKey{
		PublicKey:   *public.key,
		D:           numbers.D,
		Primes:      []*big.Int{numbers.P, numbers.Q},
		Precomputed: rsa.PrecomputedValues{Dp: numbers.Dp, Dq: numbers.Dq, Qinv: numbers.Qinv},
	}
	private, err := newPrivateKey(key)
	if err != nil {
		return nil, err
	}
	// The encoding may have extra or contradictory content.
	if !bytes.Equal(x509.MarshalPKCS1PrivateKey(key), der) {
		return nil, unusable("an RSA private key with extra content", wantedPrivate)
	}
	return private, nil
}

// openPKCS8 returns the PKCS#1 DER of an RSA key in PKCS#8, unchecked.
func openPKCS8(der []byte) ([]byte, error) {
	var info struct {
		Version    int
		Algorithm  pkix.AlgorithmIdentifier
		PrivateKey []byte
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, unusable("a damaged private key (PKCS#8)", wantedPrivate)
	}
	if !info.Algorithm.Algorithm.Equal(oidRSA) {
		return nil, unusable("a private key "+describeAlgorithm(info.Algorithm.Algorithm), wantedPrivate)
	}
	info.Version = 0
	info.Algorithm = pkix.AlgorithmIdentifier{Algorithm: oidRSA, Parameters: asn1.NullRawValue}
	canonical, err := asn1.Marshal(info)
	if err != nil || !bytes.Equal(canonical, der) {
		return nil, unusable("a private key (PKCS#8) with attributes or other extra content", wantedPrivate)
	}
	return info.PrivateKey, nil
}

// Public returns the public half, always the same pointer. It is nil for the
// zero value.
func (k *PrivateKey) Public() *PublicKey {
	if k == nil {
		return nil
	}
	return k.public
}

// Sign is [PrivateKey.SignContext] with a context that never ends.
func (k *PrivateKey) Sign(signingInput []byte) ([]byte, error) {
	return k.SignContext(context.Background(), signingInput)
}

// SignContext returns the RS256 signature over signingInput, which is as long as the
// modulus. It takes about a millisecond for an RSA-2048 key in memory, and then ignores
// ctx.
//
// A KMS or HSM signer may block for longer. SignContext then returns when ctx ends. The
// call of the signer goes on, since a crypto.Signer has no context; at most 32 calls
// of a key run at once, and further ones wait. The error matches
// [token.ErrUnavailable] and wraps the signer's if the signer fails, and the context's if
// that ends first. It matches [ErrKey] if the signer returns a wrong signature.
func (k *PrivateKey) SignContext(ctx context.Context, signingInput []byte) ([]byte, error) {
	if k.isZero() {
		return nil, unusable("no key", "a private key that was parsed or generated")
	}
	return k.sign(ctx, signingInput)
}

// PEM returns the unencrypted key as a PEM block of type RSA PRIVATE KEY
// (PKCS#1), the form in which signing keys are stored. The error matches
// [ErrKey] for a KMS or HSM signer.
func (k *PrivateKey) PEM() ([]byte, error) {
	if k.isZero() {
		return nil, unusable("no key", "a private key that was parsed or generated")
	}
	return k.pem()
}

func (k *PrivateKey) isZero() bool { return k == nil || k.sign == nil }

// redacted is the only text that a private key ever prints.
func (k *PrivateKey) redacted() string {
	if k.isZero() {
		return "no private key"
	}
	return fmt.Sprintf("RSA private key of %d bits, %s (redacted)", k.public.Bits(), k.public.Fingerprint())
}

// Format prints the size and fingerprint of the key under every verb.
func (k PrivateKey) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, k.redacted()) }

// LogValue logs the size and fingerprint of the key.
func (k PrivateKey) LogValue() slog.Value { return slog.StringValue(k.redacted()) }

// MarshalText returns the size and fingerprint of the key, for encoding/json
// and others. To get the key itself, use [PrivateKey.PEM].
func (k PrivateKey) MarshalText() ([]byte, error) { return []byte(k.redacted()), nil }
