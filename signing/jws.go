package signing

import (
	"crypto"
	"crypto/rsa"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// This is the only file that imports jwx, and it uses only these two functions.
// To move to another library, or another major version of jwx, edit this file.
//
// The signer and the verifier are taken once, so that later changes to jwx's
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

// verifyRS256 returns nil if the signature is good. It passes the key as it is,
// not as a jwk.Key, which jwx would convert for each token.
func verifyRS256(key *rsa.PublicKey, signingInput, signature []byte) error {
	return rs256Verifier.Verify(signingInput, signature, key)
}
