//go:build cgo

package hsm

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"

	"github.com/ThalesGroup/crypto11"
	"github.com/miekg/pkcs11"

	"github.com/meshpass/meshpass/signing"
)

// NewKey makes an RSA key in a PKCS#11 token and returns its public half. The key signs,
// does nothing else, and cannot be read.
func NewKey(token *crypto11.Context, label string) (*signing.PublicKey, error) {
	id := make([]byte, 16)
	_, _ = rand.Read(id) // never fails
	public, err := crypto11.NewAttributeSetWithIDAndLabel(id, []byte(label))
	if err != nil {
		return nil, err
	}
	private := public.Copy()
	public.AddIfNotPresent([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_ENCRYPT, false),
	})
	private.AddIfNotPresent([]*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_SENSITIVE, true),
		pkcs11.NewAttribute(pkcs11.CKA_EXTRACTABLE, false),
		pkcs11.NewAttribute(pkcs11.CKA_DECRYPT, false),
	})
	key, err := token.GenerateRSAKeyPairWithAttributes(public, private, signing.DefaultBits)
	if err != nil {
		return nil, err
	}
	return publicHalf(key)
}

func publicHalf(key crypto11.Signer) (*signing.PublicKey, error) {
	public, ok := key.Public().(*rsa.PublicKey)
	if !ok {
		return nil, fmt.Errorf("the key is no RSA key: %T", key.Public())
	}
	return signing.NewPublicKey(public)
}

// Find returns the key of a PKCS#11 token that has the public half. The error matches
// signing.ErrNoSigner if there is none.
func Find(token *crypto11.Context, public *signing.PublicKey) (crypto11.Signer, error) {
	keys, err := token.FindAllKeyPairs()
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		if half, err := publicHalf(key); err == nil && half.Equal(public) {
			return key, nil
		}
	}
	return nil, fmt.Errorf("%w: not in the PKCS#11 token", signing.ErrNoSigner)
}

// Signers has the keys of a PKCS#11 token, also those that are made later.
func Signers(token *crypto11.Context) signing.Signers {
	return func(_ context.Context, public *signing.PublicKey) (*signing.PrivateKey, error) {
		key, err := Find(token, public)
		if err != nil {
			return nil, err
		}
		return signing.NewPrivateKey(key)
	}
}
