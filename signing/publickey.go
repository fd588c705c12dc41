package signing

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"

	"github.com/meshpass/meshpass/token"
)

// The accepted key sizes, in bits of the modulus. The minimum is that of
// RFC 7518, section 3.3; the maximum limits the cost of verifying.
const (
	MinBits = 2048
	MaxBits = 8192
)

// publicExponent is the only one accepted. All common tools use it.
const publicExponent = 65537

const wantedPublic = "an RSA public key: PEM of type RSA PUBLIC KEY or PUBLIC KEY, or the DER of either"

// PublicKey is an RSA public key that verifies signatures. It is immutable and
// safe for concurrent use. The zero value holds no key and verifies nothing.
type PublicKey struct {
	key *rsa.PublicKey // in memory of this key; see held
}

// held is a public key in one piece of memory, since a validator may have 300,000.
type held struct {
	PublicKey
	rsa     rsa.PublicKey
	modulus big.Int
}

// hold returns the key with a modulus, whose memory it takes over.
func hold(modulus []big.Word) *PublicKey {
	h := &held{}
	h.modulus.SetBits(modulus)
	h.rsa = rsa.PublicKey{N: &h.modulus, E: publicExponent}
	h.key = &h.rsa
	return &h.PublicKey
}

// NewPublicKey returns a copy of an RSA public key. The error matches [ErrKey]
// if the modulus does not have [MinBits] to [MaxBits] bits or the exponent is
// not 65537.
func NewPublicKey(key *rsa.PublicKey) (*PublicKey, error) {
	if key == nil || key.N == nil {
		return nil, unusable("nil", "an RSA public key")
	}
	return newPublicKey(key.N, big.NewInt(int64(key.E)))
}

// newPublicKey copies the numbers of a public key, if they are acceptable.
func newPublicKey(modulus, exponent *big.Int) (*PublicKey, error) {
	if modulus.Sign() < 0 {
		return nil, unusable("an RSA key with a negative modulus", "the product of two odd primes")
	}
	if bits := modulus.BitLen(); bits < MinBits || bits > MaxBits {
		return nil, unusable(fmt.Sprintf("an RSA key of %d bits", bits), fmt.Sprintf("one of %d to %d", MinBits, MaxBits))
	}
	if modulus.Bit(0) == 0 {
		return nil, unusable("an RSA key with an even modulus", "the product of two odd primes")
	}
	if exponent.Cmp(big.NewInt(publicExponent)) != 0 {
		found := fmt.Sprintf("a public exponent of %d bits", exponent.BitLen())
		if exponent.IsInt64() {
			found = fmt.Sprintf("the public exponent %d", exponent)
		}
		return nil, unusable("an RSA key with "+found, fmt.Sprint(publicExponent))
	}
	return hold(slices.Clone(modulus.Bits())), nil
}

// ParsePublicKey parses an RSA public key: a PEM block of type RSA PUBLIC KEY
// (PKCS#1, RFC 8017, appendix A.1.1) or PUBLIC KEY (PKIX, RFC 5280,
// section 4.1), or the raw DER of either. Around the PEM block, white space and a byte
// order mark are accepted as in [token.PlainText], and CRLF line ends in it. Anything
// else around it, or after the DER, is rejected. The error matches [ErrKey]; for a
// private key its text says so.
func ParsePublicKey(data []byte) (*PublicKey, error) {
	what, der, _, err := open(data, wantedPublic)
	switch {
	case err != nil:
		return nil, err
	case what == pkcs1PublicKey:
		return parsePKCS1PublicKey(der)
	case what == pkixPublicKey:
		return parsePKIXPublicKey(der)
	case what.private():
		return nil, unusable(string(what)+" where a public key belongs (it must stay secret)", wantedPublic)
	}
	return nil, unusable(string(what), wantedPublic)
}

func parsePKCS1PublicKey(der []byte) (*PublicKey, error) {
	// x509.ParsePKCS1PublicKey does not report a large exponent.
	var numbers struct{ N, E *big.Int }
	if _, err := asn1.Unmarshal(der, &numbers); err != nil {
		return nil, unusable("a damaged RSA public key (PKCS#1)", wantedPublic)
	}
	key, err := newPublicKey(numbers.N, numbers.E)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(x509.MarshalPKCS1PublicKey(key.key), der) {
		return nil, unusable("an RSA public key with extra content", wantedPublic)
	}
	return key, nil
}

func parsePKIXPublicKey(der []byte) (*PublicKey, error) {
	var info struct {
		Algorithm pkix.AlgorithmIdentifier
		PublicKey asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &info); err != nil {
		return nil, unusable("a damaged public key (PKIX)", wantedPublic)
	}
	if !info.Algorithm.Algorithm.Equal(oidRSA) {
		return nil, unusable("a public key "+describeAlgorithm(info.Algorithm.Algorithm), wantedPublic)
	}
	key, err := parsePKCS1PublicKey(info.PublicKey.Bytes)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(key.pkix(), der) {
		return nil, unusable("a public key (PKIX) with extra content", wantedPublic)
	}
	return key, nil
}

// Verify returns nil if signature is the RS256 signature over signingInput with
// this key, and [token.ErrSignature] otherwise.
func (k *PublicKey) Verify(signingInput, signature []byte) error {
	if k.isZero() || verifyRS256(k.key, signingInput, signature) != nil {
		return token.ErrSignature
	}
	return nil
}

// PEM returns the key as a PEM block of type RSA PUBLIC KEY (PKCS#1), the form
// in which public keys are stored. It returns nil for the zero value.
func (k *PublicKey) PEM() []byte {
	if k.isZero() {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(k.key)})
}

// PKIX returns the key as a PEM block of type PUBLIC KEY, the form that most
// other tools read. It returns nil for the zero value.
func (k *PublicKey) PKIX() []byte {
	if k.isZero() {
		return nil
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: k.pkix()})
}

func (k *PublicKey) pkix() []byte {
	der, err := x509.MarshalPKIXPublicKey(k.key)
	if err != nil {
		return nil // impossible for RSA
	}
	return der
}

// RSA returns a copy of the key for crypto/rsa, or nil for the zero value.
func (k *PublicKey) RSA() *rsa.PublicKey {
	if k.isZero() {
		return nil
	}
	return &rsa.PublicKey{N: new(big.Int).Set(k.key.N), E: k.key.E}
}

// Bits returns the length of the modulus in bits, from [MinBits] to [MaxBits].
// It is 0 for the zero value.
func (k *PublicKey) Bits() int {
	if k.isZero() {
		return 0
	}
	return k.key.N.BitLen()
}

// Equal reports whether both keys are the same. The zero value equals nothing.
func (k *PublicKey) Equal(other *PublicKey) bool {
	return !k.isZero() && !other.isZero() && k.key.Equal(other.key)
}

// Fingerprint identifies the key for people and logs: "SHA256:" and the
// unpadded base64 of the SHA-256 digest of the key's PKIX DER. It is not
// secret. It is empty for the zero value.
func (k *PublicKey) Fingerprint() string {
	if k.isZero() {
		return ""
	}
	sum := sha256.Sum256(k.pkix())
	return "SHA256:" + base64.RawStdEncoding.EncodeToString(sum[:])
}

func (k *PublicKey) isZero() bool { return k == nil || k.key == nil }
