package signing_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func TestGenerateMakesKeysThatSignAndReadBack(t *testing.T) {
	for _, bits := range []int{2048, 3072, 4096} {
		t.Run(fmt.Sprint(bits), func(t *testing.T) {
			if bits > signing.DefaultBits && testing.Short() {
				t.Skip("takes seconds")
			}
			key, err := signing.Generate(bits)
			require.NoError(t, err)
			assert.Equal(t, bits, key.Public().Bits())
			assert.Equal(t, 65537, key.Public().RSA().E)
			signature, err := key.Sign([]byte("message"))
			require.NoError(t, err)
			assert.Len(t, signature, bits/8)
			assert.NoError(t, key.Public().Verify([]byte("message"), signature))

			encoded, err := key.PEM()
			require.NoError(t, err)
			assert.True(t, strings.HasPrefix(string(encoded), "-----BEGIN RSA PRIVATE KEY-----\n"))
			again, err := signing.ParsePrivateKey(encoded)
			require.NoError(t, err)
			assert.True(t, again.Public().Equal(key.Public()))
		})
	}
}

func TestGenerateRefusesEveryOtherSize(t *testing.T) {
	for _, bits := range []int{-1, 0, 1, 512, 1024, 2047, 2049, 2560, 4097, 8192, 1 << 30} {
		key, err := signing.Generate(bits)
		assert.ErrorIs(t, err, signing.ErrKey, bits)
		assert.ErrorContains(t, err, "2048, 3072 or 4096", bits)
		assert.Nil(t, key, bits)
	}
}

func TestPrivateKeyIsIndependentOfTheOneThatItWasMadeFrom(t *testing.T) {
	raw := numbersOf(firstRSA())
	clone := func(n *big.Int) *big.Int { return new(big.Int).Set(n) }
	source := &rsa.PrivateKey{PublicKey: rsa.PublicKey{N: clone(raw.N), E: 65537}, D: clone(raw.D), Primes: []*big.Int{clone(raw.P), clone(raw.Q)}}
	key, err := signing.NewPrivateKey(source)
	require.NoError(t, err)
	assert.Nil(t, source.Precomputed.Dp, "the caller's key is not written to")
	before, err := key.PEM()
	require.NoError(t, err)

	for _, n := range append(source.Primes, source.D, source.N) {
		n.SetInt64(4)
	}
	key.Public().RSA().N.SetInt64(4)

	after, err := key.PEM()
	require.NoError(t, err)
	assert.Equal(t, before, after)
	signature, err := key.Sign([]byte("message"))
	require.NoError(t, err)
	assert.NoError(t, newPrivateKey(t, firstRSA()).Public().Verify([]byte("message"), signature))
}

func TestNewPrivateKeyRefusesWhatIsNoUsableRSAKey(t *testing.T) {
	good := firstRSA()
	with := func(change func(*rsa.PrivateKey)) *rsa.PrivateKey {
		changed := &rsa.PrivateKey{PublicKey: good.PublicKey, D: good.D, Primes: []*big.Int{good.Primes[0], good.Primes[1]}}
		change(changed)
		return changed
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)

	for name, c := range map[string]struct {
		signer crypto.Signer
		says   string
	}{
		"nil":                      {nil, "found nil"},
		"a nil key":                {(*rsa.PrivateKey)(nil), "found nil"},
		"the zero key":             {&rsa.PrivateKey{}, "found nil"},
		"an EC key":                {ec, "*ecdsa.PublicKey"},
		"no private exponent":      {with(func(k *rsa.PrivateKey) { k.D = nil }), "missing or non-positive"},
		"a negative exponent":      {with(func(k *rsa.PrivateKey) { k.D = new(big.Int).Neg(k.D) }), "missing or non-positive"},
		"no primes":                {with(func(k *rsa.PrivateKey) { k.Primes = nil }), "with 0 primes"},
		"nil primes":               {with(func(k *rsa.PrivateKey) { k.Primes = make([]*big.Int, 2) }), "missing or non-positive"},
		"one prime":                {with(func(k *rsa.PrivateKey) { k.Primes = k.Primes[:1] }), "with 1 primes"},
		"three primes":             {handMade(t, 2048, 3, 65537), "with 3 primes"},
		"a prime of one":           {with(func(k *rsa.PrivateKey) { k.Primes = []*big.Int{big.NewInt(1), k.N} }), "not valid"},
		"the same prime twice":     {with(func(k *rsa.PrivateKey) { k.Primes[1] = k.Primes[0] }), "not valid"},
		"another key's modulus":    {with(func(k *rsa.PrivateKey) { k.N = secondRSA().N }), "not valid"},
		"an exponent that is even": {with(func(k *rsa.PrivateKey) { k.D = new(big.Int).Add(k.D, big.NewInt(1)) }), "not valid"},
		"a short key":              {handMade(t, 1024, 2, 65537), "1024 bits"},
		"exponent 3":               {handMade(t, 2048, 2, 3), "the public exponent 3"},
		"a signer without a key":   {signer{}, "a signer whose public key is of type <nil>"},
		"a signer with a nil key":  {signer{public: (*rsa.PublicKey)(nil)}, "found nil"},
		"a signer with an EC key":  {signer{public: &ec.PublicKey}, "*ecdsa.PublicKey"},
		"a signer with a weak key": {signer{public: &handMade(t, 1024, 2, 65537).PublicKey}, "1024 bits"},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := signing.NewPrivateKey(c.signer)
			require.ErrorIs(t, err, signing.ErrKey)
			assert.ErrorContains(t, err, c.says)
			assert.Nil(t, key)
		})
	}
}

// withLongExponent returns a key whose private exponent is as long as its modulus, and less. Not every
// modulus has one.
func withLongExponent(t *testing.T) pkcs1Numbers {
	one := big.NewInt(1)
	for key := firstRSA(); ; key = ofPrimes(t, 1024, 1024) {
		numbers := numbersOf(key)
		p1, q1 := new(big.Int).Sub(numbers.P, one), new(big.Int).Sub(numbers.Q, one)
		period := new(big.Int).Mul(p1, q1)
		period.Div(period, new(big.Int).GCD(nil, nil, p1, q1)) // exponents that differ by this do the same
		for numbers.D.BitLen() < 2048 {
			numbers.D = new(big.Int).Add(numbers.D, period)
		}
		if numbers.D.Cmp(numbers.N) < 0 {
			return numbers
		}
	}
}

func TestPrivateKeyMayHaveNumbersOfUnusualLengths(t *testing.T) {
	for name, numbers := range map[string]pkcs1Numbers{
		"a private exponent as long as the modulus":    withLongExponent(t),
		"primes that differ in length":                 numbersOf(ofPrimes(t, 1100, 948)),
		"primes that together are longer than modulus": numbersOf(ofPrimes(t, 1025, 1024)),
	} {
		t.Run(name, func(t *testing.T) {
			key, err := signing.ParsePrivateKey(der(t, numbers))
			require.NoError(t, err)
			signature, err := key.Sign([]byte("message"))
			require.NoError(t, err)
			public, err := signing.NewPublicKey(&rsa.PublicKey{N: numbers.N, E: 65537})
			require.NoError(t, err)
			assert.NoError(t, public.Verify([]byte("message"), signature))
		})
	}
}

func TestPrivateKeyWithPrimesOfWrongLengthIsNotComputedWith(t *testing.T) {
	for bits, says := range map[int]string{1023: "do not match", 1024: "not valid", 1025: "not valid", 1026: "do not match"} {
		numbers := numbersOf(firstRSA())
		numbers.P = oddNumber(t, bits)
		_, err := signing.ParsePrivateKey(der(t, numbers))
		assert.ErrorIs(t, err, signing.ErrKey, bits)
		assert.ErrorContains(t, err, says, bits)
	}
}

// signer stands for a KMS or an HSM: it signs, and its key cannot be read.
type signer struct {
	public crypto.PublicKey
	sign   func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error)
}

func (s signer) Public() crypto.PublicKey { return s.public }

func (s signer) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	return s.sign(random, digest, opts)
}

func TestSignerFromElsewhereSigns(t *testing.T) {
	key, err := signing.NewPrivateKey(signer{&firstRSA().PublicKey, firstRSA().Sign})
	require.NoError(t, err)
	signature, err := key.Sign([]byte("message"))
	require.NoError(t, err)
	assert.NoError(t, newPrivateKey(t, firstRSA()).Public().Verify([]byte("message"), signature))

	_, err = key.PEM()
	assert.ErrorIs(t, err, signing.ErrKey)
	assert.ErrorContains(t, err, "cannot be stored")
}

func TestSignerFromElsewhereWithAWrongSignatureIsRefused(t *testing.T) {
	for name, sign := range map[string]func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error){
		"by another key": secondRSA().Sign,
		"over another digest": func(r io.Reader, d []byte, o crypto.SignerOpts) ([]byte, error) {
			return firstRSA().Sign(r, make([]byte, 32), o)
		},
		"nothing and no error": func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, nil },
		"PSS instead of PKCS#1": func(r io.Reader, d []byte, _ crypto.SignerOpts) ([]byte, error) {
			return rsa.SignPSS(r, firstRSA(), crypto.SHA256, d, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			key, err := signing.NewPrivateKey(signer{&firstRSA().PublicKey, sign})
			require.NoError(t, err)
			signature, err := key.Sign([]byte("message"))
			assert.ErrorIs(t, err, signing.ErrKey)
			assert.ErrorContains(t, err, key.Public().Fingerprint())
			assert.NotErrorIs(t, err, token.ErrInvalid, "it is no refusal of a token")
			assert.Nil(t, signature)
		})
	}
}

func TestSignerFromElsewherePassesItsErrorOn(t *testing.T) {
	unreachable := errors.New("KMS cannot be reached")
	key, err := signing.NewPrivateKey(signer{&firstRSA().PublicKey,
		func(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) { return nil, unreachable }})
	require.NoError(t, err)
	_, err = key.Sign([]byte("message"))
	assert.ErrorIs(t, err, unreachable)
}

func TestKeysOfZeroValueAreRefusedAndNeverPanic(t *testing.T) {
	for _, key := range []*signing.PrivateKey{nil, {}} {
		_, err := key.Sign([]byte("message"))
		assert.ErrorIs(t, err, signing.ErrKey)
		_, err = key.PEM()
		assert.ErrorIs(t, err, signing.ErrKey)
		assert.Nil(t, key.Public())
	}
	assert.Equal(t, "no private key", fmt.Sprint(signing.PrivateKey{}))
	good := newPrivateKey(t, firstRSA()).Public()
	for _, key := range []*signing.PublicKey{nil, {}} {
		assert.Equal(t, token.ErrSignature, key.Verify([]byte("message"), make([]byte, 256)))
		assert.Nil(t, key.PEM())
		assert.Nil(t, key.PKIX())
		assert.Nil(t, key.RSA())
		assert.Zero(t, key.Bits())
		assert.Empty(t, key.Fingerprint())
		assert.False(t, key.Equal(key))
		assert.False(t, key.Equal(good))
		assert.False(t, good.Equal(key))
	}
}

func TestPrivateKeyServesManyGoroutines(t *testing.T) {
	key := newPrivateKey(t, firstRSA())
	var group sync.WaitGroup
	for i := range 16 {
		group.Go(func() {
			message := fmt.Append(nil, i)
			signature, err := key.Sign(message)
			assert.NoError(t, err)
			assert.NoError(t, key.Public().Verify(message, signature))
			encoded, err := key.PEM()
			assert.NoError(t, err)
			assert.NotEmpty(t, encoded)
			assert.NotEmpty(t, key.Public().Fingerprint())
			assert.NotEmpty(t, fmt.Sprint(key))
		})
	}
	group.Wait()
}

// holder has a key where fmt goes past the key's methods, by reflection.
type holder struct {
	value    signing.PrivateKey
	pointer  *signing.PrivateKey
	Exported signing.PrivateKey
	Pointer  *signing.PrivateKey
	any      any
	list     []signing.PrivateKey
	pointers []*signing.PrivateKey
	mapped   map[string]signing.PrivateKey
}

func TestPrivateKeyIsNeverPrinted(t *testing.T) {
	key := newPrivateKey(t, firstRSA())
	public := key.Public().Fingerprint()
	nested := holder{*key, key, *key, key, *key, []signing.PrivateKey{*key}, []*signing.PrivateKey{key}, map[string]signing.PrivateKey{"k": *key}}
	subjects := map[string]any{
		"value": *key, "pointer": key, "nested": nested, "pointer to nested": &nested,
		"list": nested.list, "list of pointers": nested.pointers, "map": nested.mapped, "error": fmt.Errorf("key %v", key),
	}

	for name, subject := range subjects {
		t.Run("under any verb of fmt, a "+name, func(t *testing.T) {
			for verb := 'A'; verb <= 'z'; verb++ {
				for _, flags := range []string{"", "+", "#", "-", " ", "0", "+#", "300.200", "#.99"} {
					assertNoSecret(t, fmt.Sprintf("%"+flags+string(verb), subject))
				}
			}
			assertNoSecret(t, fmt.Sprintln(subject))
		})
		t.Run("in slog, a "+name, func(t *testing.T) {
			var out bytes.Buffer
			slog.New(slog.NewTextHandler(&out, nil)).Info("text", "key", subject)
			slog.New(slog.NewJSONHandler(&out, nil)).Info("json", "key", subject)
			assertNoSecret(t, out.String())
		})
		t.Run("in encoding/json, a "+name, func(t *testing.T) {
			encoded, err := json.Marshal(subject)
			require.NoError(t, err)
			assertNoSecret(t, string(encoded))
		})
	}

	t.Run("and what is printed instead tells which key it is", func(t *testing.T) {
		want := "RSA private key of 2048 bits, " + public + " (redacted)"
		for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			assert.Equal(t, want, fmt.Sprintf(format, *key), format)
			assert.Equal(t, want, fmt.Sprintf(format, key), format)
		}
		for _, subject := range []any{*key, key} {
			encoded, err := json.Marshal(map[string]any{"key": subject})
			require.NoError(t, err)
			var decoded map[string]string
			require.NoError(t, json.Unmarshal(encoded, &decoded))
			assert.Equal(t, want, decoded["key"])
			var out bytes.Buffer
			slog.New(slog.NewTextHandler(&out, nil)).Info("", "key", subject)
			assert.Contains(t, out.String(), want)
		}
	})
}

func TestPrivateKeyHidesItsNumbersFromReflection(t *testing.T) {
	key := newPrivateKey(t, firstRSA())
	modulus := false
	secret := numbersOf(firstRSA())
	var look func(reflect.Value, int)
	look = func(v reflect.Value, depth int) {
		require.Less(t, depth, 50)
		switch v.Kind() {
		case reflect.Pointer, reflect.Interface:
			if !v.IsNil() {
				look(v.Elem(), depth+1)
			}
		case reflect.Struct:
			for i := range v.NumField() {
				look(v.Field(i), depth+1)
			}
		case reflect.Slice:
			if v.Type().Elem().Kind() != reflect.Uint {
				require.Zero(t, v.Len(), "a %s that this test does not know", v.Type())
				return
			}
			words := make([]big.Word, v.Len())
			for i := range words {
				words[i] = big.Word(v.Index(i).Uint())
			}
			n := new(big.Int).SetBits(words)
			modulus = modulus || n.Cmp(secret.N) == 0
			for _, s := range []*big.Int{secret.D, secret.P, secret.Q, secret.Dp, secret.Dq, secret.Qinv} {
				assert.NotZero(t, n.Cmp(s))
			}
		case reflect.Func, reflect.Bool, reflect.Int:
		default:
			t.Fatalf("a %s that this test does not know", v.Type())
		}
	}
	look(reflect.ValueOf(key), 0)
	assert.True(t, modulus, "the public half is found, so the search works")
}

// secretTexts is how the private numbers of firstRSA begin, in every notation.
var secretTexts = sync.OnceValue(func() []string {
	numbers := numbersOf(firstRSA())
	const enough = 12
	texts := []string{}
	for _, n := range []*big.Int{numbers.D, numbers.P, numbers.Q, numbers.Dp, numbers.Dq, numbers.Qinv} {
		for _, base := range []int{8, 10, 16} {
			texts = append(texts, n.Text(base)[:enough], strings.ToUpper(n.Text(base)[:enough]))
		}
		texts = append(texts,
			n.Text(2)[:64],
			string(n.Bytes()[:enough]),
			base64.StdEncoding.EncodeToString(n.Bytes())[:enough],
			strings.Trim(fmt.Sprint(n.Bytes()[:enough]), "[]"),
			strings.Trim(fmt.Sprint(n.Bits()[:1]), "[]"),
			fmt.Sprintf("%x", uint(n.Bits()[0])))
	}
	block, _ := pem.Decode(firstEncoded().private)
	texts = append(texts, base64.StdEncoding.EncodeToString(block.Bytes[300:330]), "BEGIN RSA PRIVATE")
	for line := range strings.Lines(string(firstEncoded().private)) {
		if !strings.HasPrefix(line, "-----") {
			texts = append(texts, strings.TrimSpace(line))
		}
	}
	return texts
})

func assertNoSecret(t *testing.T, printed string) {
	t.Helper()
	for _, text := range secretTexts() {
		if strings.Contains(printed, text) {
			t.Fatalf("a private number was printed: %.200q", printed)
		}
	}
}
