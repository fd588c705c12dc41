package signing

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	mathrand "math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPublicHalfIsTheSameByTheShortWayAsByTheLongOne(t *testing.T) {
	key, err := Generate(MinBits)
	require.NoError(t, err)
	good, err := key.PEM()
	require.NoError(t, err)
	short := commonPublicHalf(good)
	require.NotNil(t, short, "the encoding that this package writes takes the short way")
	require.True(t, short.Equal(key.Public()))
	same := func(data []byte) {
		t.Helper()
		if short := commonPublicHalf(data); short != nil {
			long, err := anyPublicHalf(data)
			require.NoError(t, err, "%q", data)
			require.True(t, short.Equal(long), "%q", data)
		}
	}
	random := mathrand.New(mathrand.NewPCG(5, 6))
	block, _ := pem.Decode(good)
	encode := func(der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})
	}
	bytesThatMatter := []byte{0, 1, 2, 3, 0x7f, 0x80, 0x81, 0x82, 0x83, 0xff, '\n', '\r', ' ', '=', '-', 'A', '/'}
	for at := range good {
		for range 2 {
			data := bytes.Clone(good)
			data[at] = bytesThatMatter[random.IntN(len(bytesThatMatter))]
			same(data)
		}
		same(good[:at])
		same(good[at:])
	}
	for at := range block.Bytes {
		for range 4 {
			der := bytes.Clone(block.Bytes)
			der[at] = bytesThatMatter[random.IntN(10)]
			same(encode(der))
		}
		same(encode(block.Bytes[:at]))
		same(encode(append(bytes.Clone(block.Bytes[:at]), block.Bytes[min(at+1, len(block.Bytes)):]...)))
	}
}

func TestPublicHalfOfUnusualNumbersIsTheSameByBothWays(t *testing.T) {
	number := func(bits uint, odd int64) *big.Int {
		n := new(big.Int).Lsh(big.NewInt(1), bits-1)
		return n.Add(n, big.NewInt(odd))
	}
	for name, c := range map[string]struct {
		modulus, exponent *big.Int
		version           int
		other             *big.Int
	}{
		"2047 bits":           {number(2047, 1), big.NewInt(65537), 0, big.NewInt(3)},
		"2048 bits":           {number(2048, 1), big.NewInt(65537), 0, big.NewInt(3)},
		"2049 bits":           {number(2049, 1), big.NewInt(65537), 0, big.NewInt(3)},
		"8192 bits":           {number(8192, 1), big.NewInt(65537), 0, big.NewInt(3)},
		"8200 bits":           {number(8200, 1), big.NewInt(65537), 0, big.NewInt(3)},
		"even":                {number(2048, 2), big.NewInt(65537), 0, big.NewInt(3)},
		"exponent 3":          {number(2048, 1), big.NewInt(3), 0, big.NewInt(3)},
		"another version":     {number(2048, 1), big.NewInt(65537), 1, big.NewInt(3)},
		"a missing number":    {number(2048, 1), big.NewInt(65537), 0, new(big.Int)},
		"a negative number":   {number(2048, 1), big.NewInt(65537), 0, big.NewInt(-3)},
		"a negative modulus":  {new(big.Int).Neg(number(2048, 1)), big.NewInt(65537), 0, big.NewInt(3)},
		"a negative exponent": {number(2048, 1), big.NewInt(-65537), 0, big.NewInt(3)},
	} {
		der, err := asn1.Marshal(struct {
			Version                     int
			N, E, D, P, Q, Dp, Dq, Qinv *big.Int
		}{c.version, c.modulus, c.exponent, c.other, c.other, c.other, c.other, c.other, c.other})
		require.NoError(t, err)
		data := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})
		long, err := anyPublicHalf(data)
		short := commonPublicHalf(data)
		if err != nil {
			require.Nil(t, short, name)
		} else if short != nil {
			require.True(t, short.Equal(long), name)
		}
	}
}

func TestPublicHalfOfAKeyOf4096BitsTakesTheShortWay(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 4096)
	require.NoError(t, err)
	data := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})
	short := commonPublicHalf(data)
	require.NotNil(t, short)
	require.True(t, short.key.Equal(&key.PublicKey))
	require.Equal(t, 4096, short.Bits())
}
