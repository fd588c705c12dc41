package storetest

import (
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// promised is how soon a revocation reaches every session, on a machine that is not busy.
const promised = time.Second

// ARevocationEndsASessionOfAnotherReplica revokes tokens of both kinds on one replica, by
// id and by cutoff, each bound to a session on another. Every session must end, of either
// way within the same bound, and so must those of all tokens of a lineage. [BenchmarkRevocation] measures how long that takes.
func ARevocationEndsASessionOfAnotherReplica(t *testing.T, open Opener) {
	ARevocationEndsASessionOnACopy(t, open, open)
}

// ARevocationEndsASessionOnACopy is [ARevocationEndsASessionOfAnotherReplica] for a
// validator on a copy of the data, such as a standby.
func ARevocationEndsASessionOnACopy(t *testing.T, open, openCopy Opener) {
	for _, way := range append(waysOfDataplanes(t, open, openCopy), waysOfZones(t, open, openCopy)...) {
		took := way.measure(t, 5)
		slices.Sort(took)
		t.Logf("%s: the median is %.1f ms, the maximum %.1f ms", way.name, milliseconds(took[len(took)/2]), milliseconds(took[len(took)-1]))
		if worst := took[len(took)-1]; worst > 10*promised {
			t.Errorf("%s took %s to reach its session, want at most %s", way.name, worst, 10*promised)
		}
	}
	aRevokedIDEndsItsLineage(t, open, openCopy)
}

// BenchmarkRevocation prints the median, the 99th percentile and the maximum of
// the time from the call of Revoke, and of CutOff, on one replica until a session on
// another one ends, over 500 tokens each.
func BenchmarkRevocation(b *testing.B, open Opener) {
	ways := waysOfDataplanes(b, open, open)
	took := make([][]time.Duration, len(ways))
	for b.Loop() {
		for i, way := range ways {
			took[i] = append(took[i], way.measure(b, 500)...)
		}
	}
	b.ReportMetric(0, "ns/op")
	for i, prefix := range []string{"", "cutoff-"} {
		sorted := slices.Sorted(slices.Values(took[i]))
		for name, at := range map[string]int{"p50-ms": len(sorted) / 2, "p99-ms": len(sorted) * 99 / 100, "max-ms": len(sorted) - 1} {
			b.ReportMetric(milliseconds(sorted[at]), prefix+name)
		}
	}
}

// way is a way to revoke one token.
type way struct {
	name string

	// session issues a token for a peer, and validates it on the other replica.
	session func(ctx context.Context, peer string) (verified, error)

	revoke func(ctx context.Context, peer, id string) error
}

// verified is a verified token of either kind.
type verified interface {
	Bind(ctx context.Context) (context.Context, context.CancelFunc)
	Registered() token.Registered
}

// measure revokes n tokens and returns how long each took to reach its session.
func (w way) measure(tb testing.TB, n int) []time.Duration {
	tb.Helper()
	ctx := audit.WithLogger(tb.Context(), discard)
	took := make([]time.Duration, n)
	for i := range took {
		peer := fmt.Sprint("peer-", peers.Add(1))
		v, err := w.session(ctx, peer)
		must(tb, err)
		bound, stop := v.Bind(ctx)
		began := time.Now()
		must(tb, w.revoke(ctx, peer, v.Registered().ID))
		wantEnd(tb, bound, token.ErrRevoked)
		took[i] = time.Since(began)
		stop()
	}
	return took
}

var peers atomic.Int64 // that had tokens: a cutoff revokes all tokens of a peer

func waysOfDataplanes(tb testing.TB, open, openOther Opener) []way {
	tb.Helper()
	const mesh = "default"
	store := open(tb)
	issuer, validator := issuerAndValidator(tb, store, openOther(tb), mesh)
	session := func(ctx context.Context, peer string) (verified, error) {
		issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: mesh, Name: peer}, day)
		if err != nil {
			return nil, err
		}
		return validator.Validate(ctx, mesh, issued.Token)
	}
	return []way{
		{"an id of a dataplane token", session, func(ctx context.Context, _, id string) error {
			return dataplane.Revoke(ctx, store, mesh, id)
		}},
		{"a cutoff for a proxy", session, func(ctx context.Context, peer, _ string) error {
			_, err := dataplane.CutOff(ctx, store, mesh, dataplane.Cutoff{Before: time.Now().Add(token.Skew), Name: peer})
			return err
		}},
	}
}

func waysOfZones(tb testing.TB, open, openOther Opener) []way {
	tb.Helper()
	store := open(tb)
	storeKey(tb, store, signing.ZoneKeys())
	issuer, err := zone.NewIssuer(store, zone.WithLogger(discard))
	must(tb, err)
	validator, err := zone.NewValidator(openOther(tb), zone.WithLogger(discard))
	must(tb, err)
	tb.Cleanup(func() { validator.Close() })
	session := func(ctx context.Context, peer string) (verified, error) {
		issued, err := issuer.Issue(ctx, token.Zone{Zone: peer, Scope: []string{zone.ScopeCP}}, day)
		if err != nil {
			return nil, err
		}
		return validator.Validate(ctx, peer, zone.ScopeCP, issued.Token)
	}
	eventually(tb, "the validator knows the key", func() (verified, error) { return session(tb.Context(), "first") })
	return []way{
		{"an id of a zone token", session, func(ctx context.Context, _, id string) error {
			return zone.Revoke(ctx, store, id)
		}},
		{"a cutoff for a zone", session, func(ctx context.Context, peer, _ string) error {
			_, err := zone.CutOff(ctx, store, zone.Cutoff{Before: time.Now().Add(token.Skew), Zone: peer})
			return err
		}},
	}
}

// issuerAndValidator makes sure that a mesh has a key, and returns an issuer on one
// replica and a validator on another that knows the key. It stores a key of the test
// process, since generating one takes longer than all that is tested with it.
func issuerAndValidator(tb testing.TB, store, other keystore.KeyStore, mesh string) (dataplane.Issuer, dataplane.Validator) {
	tb.Helper()
	storeKey(tb, store, signing.DataplaneKeys(mesh))
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

// storeKey stores a key of the test process with serial 1, unless an earlier call did.
func storeKey(tb testing.TB, store keystore.KeyStore, series signing.Series) {
	tb.Helper()
	pem, err := privateKey(tb, forge.Key()).PEM()
	must(tb, err)
	_, err = store.Create(tb.Context(), keystore.Record{Scope: series.Scope(), Name: series.KeyName(1), Data: pem})
	if !errors.Is(err, keystore.ErrExists) {
		must(tb, err)
	}
}

func privateKey(tb testing.TB, key *rsa.PrivateKey) *signing.PrivateKey {
	tb.Helper()
	private, err := signing.NewPrivateKey(key)
	must(tb, err)
	return private
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
