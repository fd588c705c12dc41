package signing_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func TestVerifyAcceptsTheSignatureInRFC7515AppendixA2(t *testing.T) {
	decode := func(text string) []byte {
		data, err := base64.RawURLEncoding.DecodeString(text)
		require.NoError(t, err)
		return data
	}
	key, err := signing.NewPublicKey(&rsa.PublicKey{E: 65537, N: new(big.Int).SetBytes(decode(
		"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_" +
			"YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qC" +
			"o5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"))})
	require.NoError(t, err)
	signature := decode("cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKB" +
		"YNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7no" +
		"OPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw")
	signingInput := "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"

	assert.NoError(t, key.Verify([]byte(signingInput), signature))
	assert.ErrorIs(t, key.Verify([]byte(signingInput+"A"), signature), token.ErrSignature)
}

func TestSignAgreesWithCryptoRSA(t *testing.T) {
	raw, message := firstRSA(), []byte("header.payload")
	digest := sha256.Sum256(message)
	key := newPrivateKey(t, raw)

	ours, err := key.Sign(message)
	require.NoError(t, err)
	theirs, err := rsa.SignPKCS1v15(rand.Reader, raw, crypto.SHA256, digest[:])
	require.NoError(t, err)

	assert.Equal(t, theirs, ours, "PKCS #1 v1.5 signatures are deterministic")
	assert.NoError(t, rsa.VerifyPKCS1v15(&raw.PublicKey, crypto.SHA256, digest[:], ours))
	assert.NoError(t, key.Public().Verify(message, theirs))
}

func TestVerifyAcceptsOnlyTheSignatureOverTheseBytesByThisKey(t *testing.T) {
	raw, message := firstRSA(), []byte("header.payload")
	key, other := newPrivateKey(t, raw), newPrivateKey(t, secondRSA())
	signature, err := key.Sign(message)
	require.NoError(t, err)
	digest := sha256.Sum256(message)
	flipped := append([]byte(nil), signature...)
	flipped[100] ^= 1
	sha512, err := rsa.SignPKCS1v15(rand.Reader, raw, crypto.SHA512, make([]byte, 64))
	require.NoError(t, err)
	pss, err := rsa.SignPSS(rand.Reader, raw, crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
	require.NoError(t, err)
	above := new(big.Int).Add(new(big.Int).SetBytes(signature), raw.N)

	for name, signature := range map[string][]byte{
		"no signature":                nil,
		"an empty signature":          {},
		"one byte":                    {1},
		"all zeros":                   make([]byte, 256),
		"a flipped bit":               flipped,
		"cut short":                   signature[:255],
		"a byte added":                append(append([]byte(nil), signature...), 0),
		"a zero byte before":          append([]byte{0}, signature...),
		"the modulus added":           above.Bytes(),
		"PSS":                         pss,
		"SHA-512":                     sha512,
		"the digest instead of a sum": digest[:],
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, token.ErrSignature, key.Public().Verify(message, signature))
		})
	}
	assert.Equal(t, token.ErrSignature, other.Public().Verify(message, signature), "another key")
	assert.Equal(t, token.ErrSignature, key.Public().Verify(append(message, '.'), signature), "another message")
	assert.Equal(t, token.ErrSignature, key.Public().Verify(nil, signature), "no message")
	assert.NoError(t, key.Public().Verify(message, signature))
}
