package signing_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"log"

	"github.com/meshpass/meshpass/signing"
)

// kmsSigner stands for the client of a KMS or HSM. It signs a SHA-256 digest with
// PKCS#1 v1.5 padding, and the private key never leaves the service.
type kmsSigner struct {
	service *rsa.PrivateKey // a real client calls the service instead
}

func (s kmsSigner) Public() crypto.PublicKey { return s.service.Public() }

func (s kmsSigner) Sign(_ io.Reader, digest []byte, options crypto.SignerOpts) ([]byte, error) {
	return rsa.SignPKCS1v15(rand.Reader, s.service, options.HashFunc(), digest)
}

// A key in a KMS or HSM signs, and cannot be read or stored. dataplane.AddExternalKey stores
// its public half, and dataplane.WithSigners gives it to an issuer. Without a store,
// dataplane.NewOfflineIssuer signs with it, and validators are given its public half.
func ExampleNewPrivateKey() {
	service, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	key, err := signing.NewPrivateKey(kmsSigner{service})
	if err != nil {
		log.Fatal(err)
	}
	signature, err := key.Sign([]byte("header.payload"))
	if err != nil {
		log.Fatal(err)
	}

	public := key.Public() // for dataplane.AddExternalKey, or a file: public.PEM()
	fmt.Println("verified:", public.Verify([]byte("header.payload"), signature) == nil)
	_, err = key.PEM()
	fmt.Println("not storable:", errors.Is(err, signing.ErrKey))

	// Output:
	// verified: true
	// not storable: true
}
