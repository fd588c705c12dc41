package signing_test

import (
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"math/big"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/signing"
)

func TestPublicKeyMayHaveAnySizeFrom2048To8192Bits(t *testing.T) {
	for _, bits := range []int{signing.MinBits, 2049, 3072, 4096, 8191, signing.MaxBits} {
		key, err := signing.NewPublicKey(&rsa.PublicKey{N: oddNumber(t, bits), E: 65537})
		require.NoError(t, err, bits)
		assert.Equal(t, bits, key.Bits())
		again, err := signing.ParsePublicKey(key.PKIX())
		require.NoError(t, err, bits)
		assert.True(t, again.Equal(key))
	}
}

func TestNewPublicKeyRefusesWhatCouldNotVerify(t *testing.T) {
	n := firstRSA().N
	for name, key := range map[string]*rsa.PublicKey{
		"nil":                nil,
		"no modulus":         {E: 65537},
		"a zero modulus":     {N: new(big.Int), E: 65537},
		"a negative modulus": {N: new(big.Int).Neg(n), E: 65537},
		"an even modulus":    {N: new(big.Int).Sub(n, big.NewInt(1)), E: 65537},
		"2047 bits":          {N: oddNumber(t, 2047), E: 65537},
		"8193 bits":          {N: oddNumber(t, 8193), E: 65537},
		"exponent 0":         {N: n},
		"exponent 1":         {N: n, E: 1},
		"exponent 3":         {N: n, E: 3},
		"exponent 65536":     {N: n, E: 65536},
		"exponent -65537":    {N: n, E: -65537},
		"exponent 65539":     {N: n, E: 65539},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := signing.NewPublicKey(key)
			assert.ErrorIs(t, err, signing.ErrKey)
			assert.Nil(t, got)
		})
	}
}

func TestPublicKeyIsIndependentOfTheOneThatItWasMadeFrom(t *testing.T) {
	source := &rsa.PublicKey{N: new(big.Int).Set(firstRSA().N), E: 65537}
	key, err := signing.NewPublicKey(source)
	require.NoError(t, err)
	source.N.SetInt64(1)
	key.RSA().N.SetInt64(1)
	assert.True(t, key.RSA().Equal(&firstRSA().PublicKey))
}

func TestPublicKeysAreEqualIfTheirNumbersAre(t *testing.T) {
	first, again, second := newPrivateKey(t, firstRSA()).Public(), newPrivateKey(t, firstRSA()).Public(), newPrivateKey(t, secondRSA()).Public()
	assert.True(t, first.Equal(first))
	assert.True(t, first.Equal(again))
	assert.False(t, first.Equal(second))
}

func TestFingerprintIsTheDigestOfThePKIXEncoding(t *testing.T) {
	der, err := x509.MarshalPKIXPublicKey(&firstRSA().PublicKey)
	require.NoError(t, err)
	sum := sha256.Sum256(der)
	key := newPrivateKey(t, firstRSA())
	assert.Equal(t, "SHA256:"+base64.RawStdEncoding.EncodeToString(sum[:]), key.Public().Fingerprint())
}
