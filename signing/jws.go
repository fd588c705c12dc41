package signing

import (
	"crypto"
	"crypto/rsa"
	"errors"
	"io"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// This is the only file that imports jwx, and it uses only these two functions.
// To move to another library, or another major version of jwx, edit this file.
//
// The signer and the verifier are created once, so that later changes to jwx's
// process-wide registry have no effect here.
var (
	rs256Signer   = must(jws.NewSigner(jwa.RS256))
	rs256Verifier = must(jws.NewVerifier(jwa.RS256))
)

// must panics at program start if jwx lacks RS256, which happens only if
// another package has removed it from the registry.
func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// signRS256 returns the RS256 signature over signingInput. key is an
// *rsa.PrivateKey, or a signer whose public key is an *rsa.PublicKey.
func signRS256(key crypto.Signer, signingInput []byte) ([]byte, error) {
	return rs256Signer.Sign(signingInput, key)
}

// verifyRS256 returns nil if the signature is good.
func verifyRS256(key *rsa.PublicKey, signingInput, signature []byte) error {
	return rs256Verifier.Verify(signingInput, signature, publicHalf{key})
}

// publicHalf wraps a public key in a crypto.Signer, which jwx uses without a copy.
// For each token jwx would convert a jwk.Key, and copy a bare *rsa.PublicKey by
// reflection, which takes half a per cent of a verification.
type publicHalf struct{ key *rsa.PublicKey }

func (h publicHalf) Public() crypto.PublicKey { return h.key }

func (publicHalf) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("a public key does not sign")
}
