package storetest

import (
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// ARevocationEndsASessionOfAnotherReplica revokes tokens one after the other on
// one replica, each bound to a session on another. Every session must end; how
// long it takes is what [BenchmarkRevocation] measures.
func ARevocationEndsASessionOfAnotherReplica(t *testing.T, open Opener) {
	took := revoke(t, open, 20)
	if worst := slices.Max(took); worst > patience {
		t.Errorf("a revocation took %s to reach its session, want at most %s", worst, patience)
	}
}

// BenchmarkRevocation prints the median, the 99th percentile and the maximum of
// the time from the call of Revoke on one replica until a session on another one
// ends, over 500 revocations.
func BenchmarkRevocation(b *testing.B, open Opener) {
	var took []time.Duration
	for b.Loop() {
		took = append(took, revoke(b, open, 500)...)
	}
	slices.Sort(took)
	b.ReportMetric(0, "ns/op")
	for name, at := range map[string]int{"p50-ms": len(took) / 2, "p99-ms": len(took) * 99 / 100, "max-ms": len(took) - 1} {
		b.ReportMetric(milliseconds(took[at]), name)
	}
}

// revoke revokes n tokens and returns how long each took to reach its session.
func revoke(tb testing.TB, open Opener, n int) []time.Duration {
	tb.Helper()
	ctx := audit.WithLogger(tb.Context(), discard)
	store := open(tb)
	issuer, validator := issuerAndValidator(tb, store, open(tb), "default")
	took := make([]time.Duration, n)
	for i := range took {
		issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: fmt.Sprint("dp-", i)}, day)
		must(tb, err)
		verified, err := validator.Validate(ctx, "default", issued.Token)
		must(tb, err)
		bound, stop := verified.Bind(ctx)
		began := time.Now()
		must(tb, dataplane.Revoke(ctx, store, "default", verified.Registered().ID))
		wantEnd(tb, bound, token.ErrRevoked)
		took[i] = time.Since(began)
		stop()
	}
	return took
}

// issuerAndValidator makes sure that a mesh has a key, and returns an issuer on one
// replica and a validator on another that knows the key. It stores a key of the test
// process, since generating one takes longer than all that is tested with it.
func issuerAndValidator(tb testing.TB, store, other keystore.KeyStore, mesh string) (dataplane.Issuer, dataplane.Validator) {
	tb.Helper()
	pem, err := privateKey(tb, forge.Key()).PEM()
	must(tb, err)
	_, err = store.Create(tb.Context(), keystore.Record{Scope: keystore.Scope(mesh), Name: signing.DataplaneKeys(mesh).KeyName(1), Data: pem})
	if !errors.Is(err, keystore.ErrExists) { // of an earlier call
		must(tb, err)
	}
	issuer, err := dataplane.NewIssuer(store, quiet)
	must(tb, err)
	validator := newValidator(tb, other)
	issued, err := issuer.Issue(tb.Context(), token.Dataplane{Mesh: mesh}, day)
	must(tb, err)
	eventually(tb, "the validator knows the key", func() (dataplane.Verified, error) {
		return validator.Validate(tb.Context(), mesh, issued.Token)
	})
	return issuer, validator
}

func privateKey(tb testing.TB, key *rsa.PrivateKey) *signing.PrivateKey {
	tb.Helper()
	private, err := signing.NewPrivateKey(key)
	must(tb, err)
	return private
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
