//go:build unix

package storetest

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// signedAtOnce is how many tokens each core signs before the next operation has its turn.
const signedAtOnce = 20

// BenchmarkIssue prints how many tokens a second are issued on one core, two and so on, as
// many goroutines as cores at a time: by an issuer that reads the store for each token, by
// one that has a validator, and as raw signatures with the same key. They run in turns. The
// ratios by the clock are of the medians. Those of the processor time of this process are of
// the turns with the least: other load makes it more, never less.
func BenchmarkIssue(b *testing.B, open Opener) {
	key, err := rsa.GenerateKey(rand.Reader, signing.DefaultBits)
	must(b, err)
	private, err := signing.NewPrivateKey(key)
	must(b, err)
	pem, err := private.PEM()
	must(b, err)
	const mesh = "issuing"
	store := open(b)
	_, err = store.Create(b.Context(), keystore.Record{Scope: mesh, Name: signing.DataplaneKeys(mesh).KeyName(1), Data: pem})
	must(b, err)

	validator := readyValidator(b, store)
	defer validator.Close()
	reading, err := dataplane.NewIssuer(store, quiet)
	must(b, err)
	following, err := dataplane.NewIssuer(store, quiet, dataplane.WithValidator(validator))
	must(b, err)
	claims := token.Dataplane{Mesh: mesh, Name: "backend-7d9c5b6f4-x2x9q",
		Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}}}
	issued, err := following.Issue(b.Context(), claims, time.Hour)
	must(b, err)
	unverified, err := token.ParseUnverified(issued.Token)
	must(b, err)
	input := []byte(unverified.SigningInput())
	digest := sha256.Sum256(input)
	must(b, rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, digest[:], unverified.AppendSignature(nil)))

	raw := func() {
		digest := sha256.Sum256(input)
		_, err := rsa.SignPKCS1v15(nil, key, crypto.SHA256, digest[:])
		must(b, err)
	}
	by := func(issuer dataplane.Issuer) func() {
		return func() { _, err := issuer.Issue(b.Context(), claims, time.Hour); must(b, err) }
	}
	for cores := 1; cores <= runtime.NumCPU(); cores *= 2 {
		b.Run(fmt.Sprint("cores=", cores), func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			var signed, read, followed figures
			for b.Loop() {
				signed.measure(onEach(cores, raw))
				read.measure(onEach(cores, by(reading)))
				followed.measure(onEach(cores, by(following)))
			}
			each := float64(cores * signedAtOnce)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(each/median(signed.clock)*1000, "raw/s")
			b.ReportMetric(each/median(read.clock)*1000, "reading/s")
			b.ReportMetric(each/median(followed.clock)*1000, "following/s")
			b.ReportMetric(median(read.clock)/median(signed.clock), "reading-x-raw")
			b.ReportMetric(median(followed.clock)/median(signed.clock), "following-x-raw")
			b.ReportMetric(slices.Min(read.processor)/slices.Min(signed.processor), "reading-cpu-x-raw")
			b.ReportMetric(slices.Min(followed.processor)/slices.Min(signed.processor), "following-cpu-x-raw")
		})
	}
}

// onEach returns a function that does something signedAtOnce times on each core.
func onEach(cores int, do func()) func() {
	return func() {
		var all sync.WaitGroup
		for range cores {
			all.Go(func() {
				for range signedAtOnce {
					do()
				}
			})
		}
		all.Wait()
	}
}
