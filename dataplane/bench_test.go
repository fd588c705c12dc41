package dataplane_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// The benchmarks measure against the raw operation on the same input: one
// signature check or one signature with crypto/rsa and crypto/sha256. Both run in
// turns, in the same benchmark, and the ratio of the medians is what counts.

func BenchmarkValidateFirstSight(b *testing.B) {
	bench := newBench(b, dataplane.WithCache(0))
	inTurns(b, bench.rawVerify, bench.validateNext)
	reportAllocs(b, bench.validateNext)
}

func BenchmarkValidateFirstSightWithTheCache(b *testing.B) {
	bench := newBench(b, dataplane.WithCache(1)) // none is remembered until its turn comes again
	inTurns(b, bench.rawVerify, bench.validateNext)
	reportAllocs(b, bench.validateNext)
}

func BenchmarkValidateSeenBefore(b *testing.B) {
	bench := newBench(b)
	inTurns(b, bench.rawVerify, bench.validate)
	reportAllocs(b, bench.validate)
}

// BenchmarkAuthenticateSeenBefore does not know the mesh.
func BenchmarkAuthenticateSeenBefore(b *testing.B) {
	bench := newBench(b)
	authenticator := dataplane.NewAuthenticator(bench.validator)
	authenticate := func() {
		if _, err := authenticator.Authenticate(bench.ctx, bench.tokens[bench.next].raw); err != nil {
			b.Fatal(err)
		}
	}
	inTurns(b, bench.rawVerify, authenticate)
	reportAllocs(b, authenticate)
}

func BenchmarkValidateFirstSightWithAMillionRevokedIDs(b *testing.B) {
	bench := newBench(b, dataplane.WithCache(0))
	full := newBench(b, dataplane.WithCache(0))
	full.revokeAMillion(b)
	inTurns(b, bench.validateNext, full.validateNext) // the same as with none
	reportAllocs(b, full.validateNext)
}

func BenchmarkValidateSeenBeforeWithAMillionRevokedIDs(b *testing.B) {
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

// bench has a validator and an issuer on a store with one RSA-2048 key, and two
// thousand of the reference token: a name, and one tag with two values.
type bench struct {
	ctx       context.Context
	tb        testing.TB
	store     *keystore.Memory
	issuer    dataplane.Issuer
	validator dataplane.Validator
	claims    token.Dataplane
	private   *rsa.PrivateKey
	tokens    []benchToken
	next      int
}

// benchToken is a token, and what of it goes into the raw operation.
type benchToken struct {
	raw        string
	input, sig []byte
}

var benchTokens = sync.OnceValue(func() []benchToken {
	var tokens []benchToken
	for _, raw := range makeTokens(2000) {
		at := strings.LastIndex(raw, ".")
		sig, err := base64.RawURLEncoding.DecodeString(raw[at+1:])
		if err != nil {
			panic(err)
		}
		tokens = append(tokens, benchToken{raw, []byte(raw[:at]), sig})
	}
	return tokens
})

func newBench(tb testing.TB, options ...dataplane.ValidatorOption) *bench {
	s := &bench{ctx: context.Background(), tb: tb, store: keystore.NewMemory(), private: testRSA(0), tokens: benchTokens(),
		claims: token.Dataplane{
			Mesh: "default", Name: "backend-7d9c5b6f4-x2x9q",
			Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}},
		}}
	putKey(tb, s.store, "default", 1, testKey(0))
	s.issuer = newIssuer(tb, s.store, quiet)
	s.validator = newValidator(tb, s.store, options...)
	s.validate() // after the first read
	return s
}

func (s *bench) rawVerify() {
	t := &s.tokens[s.next]
	digest := sha256.Sum256(t.input)
	if err := rsa.VerifyPKCS1v15(&s.private.PublicKey, crypto.SHA256, digest[:], t.sig); err != nil {
		s.tb.Fatal(err)
	}
}

// validate checks the same token again.
func (s *bench) validate() {
	if _, err := s.validator.Validate(s.ctx, "default", s.tokens[s.next].raw); err != nil {
		s.tb.Fatal(err)
	}
}

// validateNext checks another token each time.
func (s *bench) validateNext() {
	s.validate()
	s.next = (s.next + 1) % len(s.tokens)
}

func (s *bench) rawSign() {
	digest := sha256.Sum256(s.tokens[s.next].input)
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
	unverified, err := token.ParseUnverified(other.Token)
	require.NoError(tb, err)
	inside, err := unverified.Claims()
	require.NoError(tb, err)
	list.WriteString(inside.ID)
	_, err = s.store.Create(s.ctx, keystore.Record{
		Scope: "default", Name: "dataplane-token-revocations-default", Data: []byte(list.String())})
	require.NoError(tb, err)
	require.Eventually(tb, func() bool {
		_, err := s.validator.Validate(s.ctx, "default", other.Token)
		return err != nil
	}, time.Minute, 10*time.Millisecond)
}

// inTurns measures two operations alternately and reports the medians of both, in
// microseconds, and their ratio. On a busy machine the ratio of the times that a tenth of
// the operations stay below tells more: other programs have not interrupted these.
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
	b.ReportMetric(float64(own[len(own)/10])/float64(raws[len(raws)/10]), "x-raw-p10")
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func reportAllocs(b *testing.B, f func()) {
	b.ReportMetric(testing.AllocsPerRun(100, f), "allocs")
}
