package dataplane_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// The benchmarks measure against the raw operation on the same input: one
// signature check or one signature with crypto/rsa and crypto/sha256. Both run in
// turns, in the same benchmark, and the ratio of the medians is what counts.

func BenchmarkValidateFirstSight(b *testing.B) {
	bench := newBench(b)
	inTurns(b, bench.rawVerify, bench.validate)
	reportAllocs(b, bench.validate)
}

func BenchmarkValidateWithAMillionRevokedIDs(b *testing.B) {
	bench := newBench(b)
	full := newBench(b)
	full.revokeAMillion(b)
	inTurns(b, bench.validate, full.validate) // the same as with none
	reportAllocs(b, full.validate)
}

func BenchmarkIssue(b *testing.B) {
	bench := newBench(b)
	inTurns(b, bench.rawSign, bench.issue)
	reportAllocs(b, bench.issue)
}

func BenchmarkRefuseSixteenMiB(b *testing.B) {
	bench := newBench(b)
	huge := strings.Repeat("a", 16<<20)
	refuse := func() {
		if _, err := bench.validator.Validate(bench.ctx, "default", huge); err == nil {
			b.Fatal("accepted")
		}
	}
	for b.Loop() {
		refuse()
	}
	reportAllocs(b, refuse)
}

// bench has a validator and an issuer on a store with one RSA-2048 key, and the
// reference token: a name, and one tag with two values.
type bench struct {
	ctx       context.Context
	tb        testing.TB
	store     *keystore.Memory
	issuer    dataplane.Issuer
	validator dataplane.Validator
	claims    token.Dataplane
	raw       string

	private *rsa.PrivateKey
	input   []byte
	sig     []byte
}

func newBench(tb testing.TB) *bench {
	quiet := dataplane.WithLogger(slog.New(slog.DiscardHandler))
	s := &bench{ctx: context.Background(), tb: tb, store: keystore.NewMemory(), claims: token.Dataplane{
		Mesh: "default", Name: "backend-7d9c5b6f4-x2x9q",
		Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}},
	}}
	_, err := dataplane.EnsureKey(s.ctx, s.store, "default")
	require.NoError(tb, err)
	s.issuer, err = dataplane.NewIssuer(s.store, quiet)
	require.NoError(tb, err)
	s.validator, err = dataplane.NewValidator(s.store, quiet)
	require.NoError(tb, err)
	tb.Cleanup(func() { s.validator.Close() })
	s.raw, err = s.issuer.Issue(s.ctx, s.claims, time.Hour)
	require.NoError(tb, err)
	_, err = s.validator.Validate(s.ctx, "default", s.raw) // after the first read
	require.NoError(tb, err)

	record, err := s.store.Get(s.ctx, "default", signing.DataplaneKeys("default").KeyName(1))
	require.NoError(tb, err)
	block, _ := pem.Decode(record.Data)
	s.private, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	require.NoError(tb, err)
	at := strings.LastIndex(s.raw, ".")
	s.input = []byte(s.raw[:at])
	s.sig, err = base64.RawURLEncoding.DecodeString(s.raw[at+1:])
	require.NoError(tb, err)
	return s
}

func (s *bench) rawVerify() {
	digest := sha256.Sum256(s.input)
	if err := rsa.VerifyPKCS1v15(&s.private.PublicKey, crypto.SHA256, digest[:], s.sig); err != nil {
		s.tb.Fatal(err)
	}
}

func (s *bench) validate() {
	if _, err := s.validator.Validate(s.ctx, "default", s.raw); err != nil {
		s.tb.Fatal(err)
	}
}

func (s *bench) rawSign() {
	digest := sha256.Sum256(s.input)
	if _, err := rsa.SignPKCS1v15(rand.Reader, s.private, crypto.SHA256, digest[:]); err != nil {
		s.tb.Fatal(err)
	}
}

func (s *bench) issue() {
	if _, err := s.issuer.Issue(s.ctx, s.claims, time.Hour); err != nil {
		s.tb.Fatal(err)
	}
}

// revokeAMillion stores a list of a million ids, and waits for it to be heeded.
func (s *bench) revokeAMillion(tb testing.TB) {
	var list strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&list, "%08x-0000-4000-8000-%012x,", i, i*7)
	}
	other, err := s.issuer.Issue(s.ctx, s.claims, time.Hour)
	require.NoError(tb, err)
	unverified, err := token.ParseUnverified(other)
	require.NoError(tb, err)
	inside, err := unverified.Claims()
	require.NoError(tb, err)
	list.WriteString(inside.ID)
	_, err = s.store.Create(s.ctx, keystore.Record{
		Scope: "default", Name: "dataplane-token-revocations-default", Data: []byte(list.String())})
	require.NoError(tb, err)
	require.Eventually(tb, func() bool {
		_, err := s.validator.Validate(s.ctx, "default", other)
		return err != nil
	}, time.Minute, 10*time.Millisecond)
}

// inTurns measures two operations alternately and reports the medians of both, in
// microseconds, and their ratio.
func inTurns(b *testing.B, raw, ours func()) {
	var raws, own []time.Duration
	for b.Loop() {
		start := time.Now()
		raw()
		middle := time.Now()
		ours()
		own = append(own, time.Since(middle))
		raws = append(raws, middle.Sub(start))
	}
	b.ReportMetric(0, "ns/op") // of both together: tells nothing
	b.ReportMetric(median(raws).Seconds()*1e6, "raw-us")
	b.ReportMetric(median(own).Seconds()*1e6, "ours-us")
	b.ReportMetric(float64(median(own))/float64(median(raws)), "x-raw")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func reportAllocs(b *testing.B, f func()) {
	b.ReportMetric(testing.AllocsPerRun(100, f), "allocs")
}
