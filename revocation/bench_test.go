package revocation_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

// timings are interleaved measurements of one operation.
type timings []time.Duration

func (t *timings) measure(f func()) {
	start := time.Now()
	f()
	*t = append(*t, time.Since(start))
}

func (t timings) median() float64 {
	slices.Sort(t)
	return float64(t[len(t)/2])
}

// BenchmarkParse reads a list of a million UUIDs, beside the plainest way to do it:
// split at commas, trim, and put the strings into a map.
func BenchmarkParse(b *testing.B) {
	uuids := millionUUIDs()
	for name, data := range map[string][]byte{
		"1000000UUIDs":    uuids,
		"1000000OtherIDs": []byte("x" + strings.ReplaceAll(string(uuids), ",", "\r\n,x")),
	} {
		b.Run(name, func(b *testing.B) {
			var parse, plain timings
			for b.Loop() {
				parse.measure(func() {
					_, err := revocation.Parse(data)
					require.NoError(b, err)
				})
				plain.measure(func() {
					set := make(map[string]struct{})
					for _, id := range strings.Split(string(data), ",") {
						set[strings.TrimSpace(id)] = struct{}{}
					}
				})
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(len(data))/1e6/(parse.median()/1e9), "MB/s")
			b.ReportMetric(parse.median()/plain.median(), "x-plain")
		})
	}
}

// BenchmarkContains looks ids up in a list of a million and in an empty one, beside
// the RSA-2048 verification of a token of 650 bytes, which comes before each lookup.
func BenchmarkContains(b *testing.B) {
	const batch = 1000
	data := millionUUIDs()
	full, err := revocation.Parse(data)
	require.NoError(b, err)
	empty, err := revocation.Parse(nil)
	require.NoError(b, err)

	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(b, err)
	token := make([]byte, 650)
	sum := sha256.Sum256(token)
	signature, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, sum[:])
	require.NoError(b, err)

	source := mathrand.New(mathrand.NewPCG(5, 6))
	hits, misses := make([]string, batch), make([]string, batch)
	lookUp := func(list *revocation.List, ids []string, want bool) {
		for _, id := range ids {
			if list.Contains(id) != want {
				b.Fatalf("%s: want %v", id, want)
			}
		}
	}
	var verify, hit, miss, none timings
	for b.Loop() {
		for i := range batch {
			at := source.IntN(million) * 37
			hits[i], misses[i] = string(data[at:at+36]), randomUUID(source)
		}
		verify.measure(func() {
			sum := sha256.Sum256(token)
			require.NoError(b, rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature))
		})
		hit.measure(func() { lookUp(full, hits, true) })
		none.measure(func() { lookUp(empty, misses, false) })
		miss.measure(func() { lookUp(full, misses, false) })
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(hit.median()/batch, "ns/hit")
	b.ReportMetric(miss.median()/batch, "ns/miss")
	b.ReportMetric(none.median()/batch, "ns/empty")
	b.ReportMetric(hit.median()/batch/verify.median(), "hit/verify")
	b.ReportMetric(miss.median()/batch/verify.median(), "miss/verify")
}

// BenchmarkAdd adds an id to a list of a million in memory and removes it again,
// beside reading the list.
func BenchmarkAdd(b *testing.B) {
	store, ref := keystore.NewMemory(), revocation.Zone()
	put(b, store, ref, string(millionUUIDs()))
	var addition, removal, load timings
	for b.Loop() {
		addition.measure(func() { require.NoError(b, ref.Add(b.Context(), store, someUUID)) })
		load.measure(func() {
			_, err := ref.Load(b.Context(), store)
			require.NoError(b, err)
		})
		removal.measure(func() { require.NoError(b, ref.Remove(b.Context(), store, someUUID)) })
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(addition.median()/load.median(), "add/load")
	b.ReportMetric(removal.median()/load.median(), "remove/load")
}

// BenchmarkMissingFrom compares a list of a million ids with a later state of it.
func BenchmarkMissingFrom(b *testing.B) {
	list, err := revocation.Parse(millionUUIDs())
	require.NoError(b, err)
	later, err := revocation.Parse(millionUUIDs()[37:])
	require.NoError(b, err)
	for b.Loop() {
		if n := list.MissingFrom(later); n != 1 {
			b.Fatal(n)
		}
	}
}
