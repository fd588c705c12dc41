package signing_test

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/signing"
)

// The keys of these tests are made when they run; nobody's key is kept here.
var (
	firstRSA  = sync.OnceValue(newRSA)
	secondRSA = sync.OnceValue(newRSA)

	firstEncoded  = sync.OnceValue(func() encoded { return encode(firstRSA()) })
	secondEncoded = sync.OnceValue(func() encoded { return encode(secondRSA()) })
)

func newRSA() *rsa.PrivateKey {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		panic(err)
	}
	return key
}

// encoded is a key pair as records hold it.
type encoded struct{ private, public []byte }

func encode(key *rsa.PrivateKey) encoded {
	private, err := signing.NewPrivateKey(key)
	if err != nil {
		panic(err)
	}
	privatePEM, err := private.PEM()
	if err != nil {
		panic(err)
	}
	return encoded{privatePEM, private.Public().PEM()}
}

func newPrivateKey(t testing.TB, key *rsa.PrivateKey) *signing.PrivateKey {
	t.Helper()
	private, err := signing.NewPrivateKey(key)
	require.NoError(t, err)
	return private
}

// handMade is an RSA key of any shape, made without crypto/rsa, which refuses
// to make some of them.
func handMade(t testing.TB, bits, primes int, exponent int64) *rsa.PrivateKey {
	t.Helper()
	one := big.NewInt(1)
	for {
		key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: big.NewInt(1), E: int(exponent)}, D: new(big.Int)}
		totient := big.NewInt(1)
		for i := range primes {
			prime := newPrime(t, bits/primes+(i+bits%primes)/primes)
			key.Primes = append(key.Primes, prime)
			key.N.Mul(key.N, prime)
			totient.Mul(totient, new(big.Int).Sub(prime, one))
		}
		if key.N.BitLen() == bits && key.D.ModInverse(big.NewInt(exponent), totient) != nil {
			return key
		}
	}
}

func newPrime(t testing.TB, bits int) *big.Int {
	t.Helper()
	for {
		n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits)))
		require.NoError(t, err)
		n.SetBit(n, bits-1, 1).SetBit(n, bits-2, 1).SetBit(n, 0, 1)
		if n.ProbablyPrime(10) {
			return n
		}
	}
}

// ofPrimes is an RSA key of 2048 bits whose primes have so many bits.
func ofPrimes(t testing.TB, pBits, qBits int) *rsa.PrivateKey {
	t.Helper()
	prime := func(bits int) *big.Int {
		for {
			if n := oddNumber(t, bits); n.ProbablyPrime(10) {
				return n
			}
		}
	}
	one := big.NewInt(1)
	for {
		p, q := prime(pBits), prime(qBits)
		key := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: new(big.Int).Mul(p, q), E: 65537}, D: new(big.Int), Primes: []*big.Int{p, q}}
		totient := new(big.Int).Mul(new(big.Int).Sub(p, one), new(big.Int).Sub(q, one))
		if key.N.BitLen() == 2048 && key.D.ModInverse(big.NewInt(65537), totient) != nil {
			return key
		}
	}
}

type otherPrime struct{ Prime, Exponent, Coefficient *big.Int }

type pkcs1Numbers struct {
	Version                     int
	N, E, D, P, Q, Dp, Dq, Qinv *big.Int
	Others                      []otherPrime `asn1:"optional,omitempty"`
}

// numbersOf is a key as RFC 8017, appendix A.1.2 writes it.
func numbersOf(key *rsa.PrivateKey) pkcs1Numbers {
	reduced := func(prime *big.Int) *big.Int {
		return new(big.Int).Mod(key.D, new(big.Int).Sub(prime, big.NewInt(1)))
	}
	p, q := key.Primes[0], key.Primes[1]
	numbers := pkcs1Numbers{N: key.N, E: big.NewInt(int64(key.E)), D: key.D, P: p, Q: q,
		Dp: reduced(p), Dq: reduced(q), Qinv: new(big.Int).ModInverse(q, p)}
	product := new(big.Int).Mul(p, q)
	for _, prime := range key.Primes[2:] {
		numbers.Version = 1
		numbers.Others = append(numbers.Others, otherPrime{prime, reduced(prime), new(big.Int).ModInverse(product, prime)})
		product = new(big.Int).Mul(product, prime)
	}
	return numbers
}

func der(t testing.TB, value any) []byte {
	t.Helper()
	data, err := asn1.Marshal(value)
	require.NoError(t, err)
	return data
}

func pemBlock(label string, content []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: label, Bytes: content})
}

// oddNumber has just so many bits.
func oddNumber(t testing.TB, bits int) *big.Int {
	t.Helper()
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), uint(bits)))
	require.NoError(t, err)
	return n.SetBit(n, bits-1, 1).SetBit(n, 0, 1)
}

type publicNumbers struct{ N, E *big.Int }
