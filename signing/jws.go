package signing

import (
	"crypto"
	"crypto/rsa"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// This is the only file that imports jwx, and these two functions are all that
// is used of it: moving to another library, or to another major version of jwx,
// is an edit of this file.
//
// Taking the signer and the verifier once keeps later changes to jwx's
// process-wide registry from changing what a signature means here.
var (
	rs256Signer   = must(jws.NewSigner(jwa.RS256))
	rs256Verifier = must(jws.NewVerifier(jwa.RS256))
)

// must stops the program at its start: jwx has RS256, unless another package
// has taken it out of the registry before.
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

// verifyRS256 returns nil if key's owner signed signingInput. The key is given
// as it is, not as a jwk.Key, which jwx would convert anew for each token.
func verifyRS256(key *rsa.PublicKey, signingInput, signature []byte) error {
	return rs256Verifier.Verify(signingInput, signature, key)
}
