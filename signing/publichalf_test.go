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
	"slices"
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
		"2040 bits":           {number(2040, 1), big.NewInt(65537), 0, big.NewInt(3)},
		"almost 2048 bits":    {number(2048, -1), big.NewInt(65537), 0, big.NewInt(3)},
		"2047 bits":           {number(2047, 1), big.NewInt(65537), 0, big.NewInt(3)},
		"2048 bits":           {number(2048, 1), big.NewInt(65537), 0, big.NewInt(3)},
		"2049 bits":           {number(2049, 1), big.NewInt(65537), 0, big.NewInt(3)},
		"2056 bits":           {number(2056, 1), big.NewInt(65537), 0, big.NewInt(3)},
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

func TestPublicHalfIsReadFromTheShortestFormOfEachLengthAlone(t *testing.T) {
	modulus := new(big.Int).Lsh(big.NewInt(1), 2047)
	start, err := asn1.Marshal(struct {
		Version    int
		N, E, D, P *big.Int
	}{0, modulus.Add(modulus, big.NewInt(1)), big.NewInt(65537), big.NewInt(3), big.NewInt(3)})
	require.NoError(t, err)
	var sequence asn1.RawValue
	_, err = asn1.Unmarshal(start, &sequence)
	require.NoError(t, err)
	wrap := func(content []byte) []byte {
		der, err := asn1.Marshal(asn1.RawValue{Tag: asn1.TagSequence, IsCompound: true, Bytes: content})
		require.NoError(t, err)
		return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der})
	}
	content := func(size int) []byte { return bytes.Repeat([]byte{1}, size) }
	three := []byte{asn1.TagInteger, 1, 3}
	for name, c := range map[string]struct {
		length  []byte
		content []byte
		good    bool
	}{
		"1 byte":                 {[]byte{1}, content(1), true},
		"127 bytes":              {[]byte{127}, content(127), true},
		"128 bytes":              {[]byte{0x81, 128}, content(128), true},
		"255 bytes":              {[]byte{0x81, 255}, content(255), true},
		"256 bytes":              {[]byte{0x82, 1, 0}, content(256), true},
		"1 byte, too long":       {[]byte{0x81, 1}, content(1), false},
		"127 bytes, too long":    {[]byte{0x81, 127}, content(127), false},
		"128 bytes, indefinite":  {[]byte{0x80}, content(128), false},
		"255 bytes, too long":    {[]byte{0x82, 0, 255}, content(255), false},
		"a length of three more": {[]byte{0x83, 0, 1, 0}, content(256), false},
		"127":                    {[]byte{1}, []byte{0x7f}, true},
		"128":                    {[]byte{2}, []byte{0, 0x80}, true},
		"-128":                   {[]byte{1}, []byte{0x80}, false},
		"127 with a zero":        {[]byte{2}, []byte{0, 0x7f}, false},
		"0":                      {[]byte{1}, []byte{0}, false},
		"nothing":                {[]byte{0}, nil, false},
	} {
		element := bytes.Join([][]byte{{asn1.TagInteger}, c.length, c.content}, nil)
		data := bytes.Join([][]byte{sequence.Bytes, element, three, three, three}, nil)
		long, err := anyPublicHalf(wrap(data))
		short := commonPublicHalf(wrap(data))
		if c.good {
			require.NoError(t, err, name)
			require.NotNil(t, short, name)
			require.True(t, short.Equal(long), name)
		} else {
			require.ErrorIs(t, err, ErrKey, name)
			require.Nil(t, short, name)
		}
		for at := range data {
			require.Nil(t, commonPublicHalf(wrap(data[:at])), "cut after %d bytes", at)
			_, err := anyPublicHalf(wrap(data[:at]))
			require.ErrorIs(t, err, ErrKey)
		}
	}
}

func TestPublicHalfOfAKeyWithAWrongNumberSaysWhatIsWrong(t *testing.T) {
	key, err := Generate(MinBits)
	require.NoError(t, err)
	good, err := key.PEM()
	require.NoError(t, err)
	block, _ := pem.Decode(good)
	var elements []asn1.RawValue
	_, err = asn1.Unmarshal(block.Bytes, &elements)
	require.NoError(t, err)
	const damaged = "a damaged RSA private key (PKCS#1)"
	for name, c := range map[string]struct {
		at      int
		element []byte
		says    string
	}{
		"an OCTET STRING":       {8, []byte{asn1.TagOctetString, 1, 3}, damaged},
		"of a context":          {8, []byte{asn1.ClassContextSpecific<<6 | asn1.TagInteger, 1, 3}, damaged},
		"made of elements":      {8, []byte{0x20 | asn1.TagInteger, 3, asn1.TagInteger, 1, 3}, damaged},
		"a negative INTEGER":    {8, []byte{asn1.TagInteger, 1, 0x80}, damaged},
		"an INTEGER of nothing": {8, []byte{asn1.TagInteger, 0}, damaged},
		"zero":                  {3, []byte{asn1.TagInteger, 1, 0}, "a missing or non-positive number"},
		"an exponent of zero":   {2, []byte{asn1.TagInteger, 1, 0}, "the public exponent 0"},
		"version 1":             {0, []byte{asn1.TagInteger, 1, 1}, "another version"},
	} {
		changed := slices.Clone(elements)
		changed[c.at] = asn1.RawValue{FullBytes: c.element}
		der, err := asn1.Marshal(changed)
		require.NoError(t, err)
		_, err = parsePublicHalf(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: der}))
		require.ErrorIs(t, err, ErrKey, name)
		require.ErrorContains(t, err, c.says, name)
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
