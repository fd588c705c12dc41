package signing_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// signingInput is as long as that of a usual token.
var signingInput = bytes.Repeat([]byte("a"), 300)

// compare runs both operations in turn, each time in the other order, and
// reports the medians' ratio and difference.
func compare(b *testing.B, ours, raw func()) {
	timed := func(operation func()) time.Duration {
		start := time.Now()
		operation()
		return time.Since(start)
	}
	var oursTook, rawTook []time.Duration
	for i := 0; b.Loop(); i++ {
		if i%2 == 0 {
			oursTook = append(oursTook, timed(ours))
			rawTook = append(rawTook, timed(raw))
		} else {
			rawTook = append(rawTook, timed(raw))
			oursTook = append(oursTook, timed(ours))
		}
	}
	slices.Sort(oursTook)
	slices.Sort(rawTook)
	o, r := oursTook[len(oursTook)/2], rawTook[len(rawTook)/2]
	b.ReportMetric(float64(o)/float64(r), "x-raw")
	b.ReportMetric(float64(r), "raw-ns")
	b.ReportMetric(float64(o-r), "added-ns")
}

func BenchmarkVerify(b *testing.B) {
	for _, bits := range []int{2048, 3072, 4096} {
		b.Run(fmt.Sprint(bits), func(b *testing.B) {
			raw, err := rsa.GenerateKey(rand.Reader, bits)
			require.NoError(b, err)
			key := newPrivateKey(b, raw)
			signature, err := key.Sign(signingInput)
			require.NoError(b, err)
			public := key.Public()
			b.ReportAllocs()
			compare(b, func() {
				if public.Verify(signingInput, signature) != nil {
					b.Fatal("not verified")
				}
			}, func() {
				digest := sha256.Sum256(signingInput)
				if rsa.VerifyPKCS1v15(&raw.PublicKey, crypto.SHA256, digest[:], signature) != nil {
					b.Fatal("not verified")
				}
			})
		})
	}
}

func BenchmarkSign(b *testing.B) {
	raw := firstRSA()
	key := newPrivateKey(b, raw)
	compare(b, func() {
		if _, err := key.Sign(signingInput); err != nil {
			b.Fatal(err)
		}
	}, func() { signRaw(b, raw) })
}

func signRaw(b *testing.B, raw *rsa.PrivateKey) {
	digest := sha256.Sum256(signingInput)
	if _, err := rsa.SignPKCS1v15(rand.Reader, raw, crypto.SHA256, digest[:]); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkParsePrivateKey compares with one raw signature.
func BenchmarkParsePrivateKey(b *testing.B) {
	data := firstEncoded().private
	compare(b, func() {
		if _, err := signing.ParsePrivateKey(data); err != nil {
			b.Fatal(err)
		}
	}, func() { signRaw(b, firstRSA()) })
}

// BenchmarkPublicSet reads ten private keys for their public halves, beside CheckedSet,
// which validates them.
func BenchmarkPublicSet(b *testing.B) {
	var records []keystore.Record
	for serial := range signing.Serial(10) {
		records = append(records, in(defaultKeys.KeyName(serial), firstEncoded().private))
	}
	compare(b, func() { defaultKeys.PublicSet(records, nil, nil) }, func() { defaultKeys.CheckedSet(records, nil) })
}

// BenchmarkPublicSetUnchanged compares the read of ten keys of which none has
// changed with the first read of them.
func BenchmarkPublicSetUnchanged(b *testing.B) {
	var records []keystore.Record
	for serial := range signing.Serial(10) {
		records = append(records, in(defaultKeys.KeyName(serial), firstEncoded().private))
	}
	previous := defaultKeys.PublicSet(records, nil, nil)
	compare(b, func() { defaultKeys.PublicSet(records, nil, previous) }, func() { defaultKeys.PublicSet(records, nil, nil) })
}

func BenchmarkFind(b *testing.B) {
	set := defaultKeys.PublicSet([]keystore.Record{in(defaultKeys.KeyName(1), firstEncoded().private)}, nil, nil)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := set.Find("1"); err != nil {
			b.Fatal(err)
		}
	}
}
