package token_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

// referenceClaims are a name and one tag with two values.
func referenceClaims() token.Claims {
	return token.Claims{
		Registered: token.Registered{
			ID:        "6baf2c90-0e86-4c62-97a7-7835855834bc",
			IssuedAt:  time.Unix(1666954939, 0).UTC(),
			NotBefore: time.Unix(1666954639, 0).UTC(),
			ExpiresAt: time.Unix(1669546939, 0).UTC(),
		},
		Dataplane: token.Dataplane{
			Mesh: "default",
			Name: "dp-1",
			Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}},
		},
	}
}

// signer returns what Encode wants, with a fresh RSA-2048 key, and the key.
func signer(t testing.TB) (func([]byte) ([]byte, error), *rsa.PrivateKey) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	return func(signingInput []byte) ([]byte, error) {
		digest := sha256.Sum256(signingInput)
		return rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
	}, key
}

// BenchmarkDecode reports how long the form check, the header and the claims of
// the reference token take beside the verification of its signature.
func BenchmarkDecode(b *testing.B) {
	sign, key := signer(b)
	raw, err := token.Encode("1", referenceClaims(), sign)
	require.NoError(b, err)
	u, err := token.ParseUnverified(raw)
	require.NoError(b, err)
	signature := u.AppendSignature(nil)
	ratio(b, 32,
		func() {
			digest := sha256.Sum256([]byte(u.SigningInput()))
			if rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], signature) != nil {
				b.Fatal("wrong signature")
			}
		},
		func() {
			u, err := token.ParseUnverified(raw)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := u.Header(); err != nil {
				b.Fatal(err)
			}
			if _, err := u.Claims(); err != nil {
				b.Fatal(err)
			}
		})
}

// BenchmarkEncode reports how long making the reference token takes beside the
// signature alone.
func BenchmarkEncode(b *testing.B) {
	sign, _ := signer(b)
	claims := referenceClaims()
	input := []byte(strings.Repeat("a", 300))
	ratio(b, 1,
		func() {
			if _, err := sign(input); err != nil {
				b.Fatal(err)
			}
		},
		func() {
			if _, err := token.Encode("1", claims, sign); err != nil {
				b.Fatal(err)
			}
		})
}

// BenchmarkRefuse16MiB has no raw operation beside it: it reads nothing.
func BenchmarkRefuse16MiB(b *testing.B) {
	raw := strings.Repeat("a", 16<<20)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := token.ParseUnverified(raw); err == nil {
			b.Fatal("accepted")
		}
	}
}

// BenchmarkFormOnly is ParseUnverified of the reference token.
func BenchmarkFormOnly(b *testing.B) {
	sign, _ := signer(b)
	raw, err := token.Encode("1", referenceClaims(), sign)
	require.NoError(b, err)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := token.ParseUnverified(raw); err != nil {
			b.Fatal(err)
		}
	}
}

// ratio runs raw and work in turns and reports the medians and their ratio.
// work is run several times in each turn, so that the clock does not weigh on it.
func ratio(b *testing.B, times int, raw, work func()) {
	var raws, works []time.Duration
	for b.Loop() {
		start := time.Now()
		raw()
		middle := time.Now()
		for range times {
			work()
		}
		raws = append(raws, middle.Sub(start))
		works = append(works, time.Since(middle)/time.Duration(times))
	}
	slices.Sort(raws)
	slices.Sort(works)
	rawMedian, workMedian := raws[len(raws)/2], works[len(works)/2]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(rawMedian), "raw-ns")
	b.ReportMetric(float64(workMedian), "work-ns")
	b.ReportMetric(float64(workMedian)/float64(rawMedian), "x-raw")
	b.ReportMetric(testing.AllocsPerRun(100, work), "allocs")
}
