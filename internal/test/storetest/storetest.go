// Package storetest holds the tests that every store on an engine runs beside
// keystoretest: the life of a token, with the constructors that a user calls; first keys
// made by many processes; revocations, by id and by cutoff, that reach other replicas; outages
// of the engine; and the cost of many meshes.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/sealed"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// Opener opens a store on the storage of one test, as another process would. Each call is
// another replica. It closes what it opens with tb.Cleanup.
type Opener func(tb testing.TB) keystore.KeyStore

const (
	patience = 30 * time.Second // for what must come within a second
	working  = time.Minute      // for work that a busy machine does slowly
)

const day = 24 * time.Hour

var (
	discard = slog.New(slog.DiscardHandler)
	quiet   = dataplane.WithLogger(discard)
)

// LifeOfAToken plays the life of dataplane and zone tokens on two replicas: one
// issues, revokes and rotates, the other validates. The storage holds no keys yet.
func LifeOfAToken(t *testing.T, open Opener) {
	t.Run("of a proxy, with sealed records", func(t *testing.T) {
		sealer, err := sealed.NewAESGCM([]byte("a key-encryption key of 32 bytes"))
		must(t, err)
		lifeOfAProxy(t, "sealed", func(tb testing.TB) keystore.KeyStore {
			store, err := sealed.New(open(tb), sealer)
			must(tb, err)
			return store
		})
		records, err := open(t).List(t.Context(), "sealed", "")
		must(t, err)
		if len(records) == 0 {
			t.Error("there are no records")
		}
		for _, r := range records {
			if bytes.Contains(r.Data, []byte("PRIVATE KEY")) {
				t.Errorf("%v can be read without the key", r)
			}
		}
	})
	t.Run("of a proxy", func(t *testing.T) { lifeOfAProxy(t, "default", open) })
	t.Run("of a zone", func(t *testing.T) { lifeOfAZone(t, open) })
}

func lifeOfAProxy(t *testing.T, mesh string, open Opener) {
	ctx := audit.WithLogger(t.Context(), discard)
	store := open(t)
	_, err := dataplane.EnsureKey(ctx, store, mesh)
	must(t, err)
	issuer, err := dataplane.NewIssuer(store, quiet)
	must(t, err)
	validator := newValidator(t, open(t))
	claims := token.Dataplane{Mesh: mesh, Name: "dp-1", Tags: map[string][]string{"kuma.io/service": {"backend"}}}
	issue := func() string {
		t.Helper()
		issued, err := issuer.Issue(ctx, claims, day)
		must(t, err)
		return issued.Token
	}
	first, revoked := issue(), issue()
	validate := func(raw string) (dataplane.Verified, error) { return validator.Validate(ctx, mesh, raw) }

	verified := eventually(t, "the first token is good", func() (dataplane.Verified, error) { return validate(first) })
	proxy := dataplane.Proxy{Mesh: mesh, Name: "dp-1", Inbounds: []map[string]string{{"kuma.io/service": "backend"}}}
	must(t, verified.Permits(proxy))
	proxy.Name = "dp-2"
	wantError(t, verified.Permits(proxy), token.ErrNotPermitted)
	_, err = validator.Validate(ctx, "other", first)
	wantError(t, err, token.ErrInvalid)

	doomed, err := validate(revoked)
	must(t, err)
	ctx1, stop1 := verified.Bind(ctx)
	defer stop1()
	ctx2, stop2 := doomed.Bind(ctx)
	defer stop2()
	must(t, dataplane.Revoke(ctx, store, mesh, doomed.Registered().ID))
	wantEnd(t, ctx2, token.ErrRevoked)
	_, err = validate(revoked)
	wantError(t, err, token.ErrRevoked)
	must(t, dataplane.Restore(ctx, store, mesh, doomed.Registered().ID))
	eventually(t, "a restored token is good", func() (dataplane.Verified, error) { return validate(revoked) })
	aCutoffCountsForProxies(t, mesh, store, issuer, validator)

	added, err := dataplane.AddKey(ctx, store, mesh, privateKey(t, forge.Key()))
	must(t, err)
	if added.Serial != 2 {
		t.Errorf("the second key has serial %d, want 2", added.Serial)
	}
	second := issue()
	next := eventually(t, "a token of the new key is good", func() (dataplane.Verified, error) { return validate(second) })
	if next.KeyID() != "2" {
		t.Errorf("a token issued after the rotation has kid %q, want \"2\"", next.KeyID())
	}
	_, err = validate(first)
	must(t, err)
	must(t, dataplane.RemoveKey(ctx, store, mesh, 1))
	wantEnd(t, ctx1, token.ErrUnknownKey)
	eventually(t, "a token of the removed key is refused", func() (struct{}, error) {
		_, err := validate(first) // before the next read of the mesh: whether there is such a key is unknown
		return struct{}{}, want(err, token.ErrUnknownKey)
	})
	_, err = validate(second)
	must(t, err)
	again, err := dataplane.EnsureKey(ctx, open(t), mesh)
	must(t, err)
	if again.Serial != 2 {
		t.Errorf("EnsureKey returned serial %d after the rotation, want 2", again.Serial)
	}

	inKMS, err := signing.Generate(signing.DefaultBits)
	must(t, err)
	added, err = dataplane.AddExternalKey(ctx, store, mesh, inKMS.Public())
	must(t, err)
	if added.Serial != 3 {
		t.Errorf("the key in a KMS has serial %d, want 3", added.Serial)
	}
	_, err = issuer.Issue(ctx, claims, day)
	wantError(t, err, signing.ErrNoSigner)
	issuer, err = dataplane.NewIssuer(store, quiet, dataplane.WithSigners(signing.SignersOf(inKMS)))
	must(t, err)
	third := issue()
	eventually(t, "a token of the key in a KMS is good", func() (dataplane.Verified, error) { return validate(third) })
	must(t, dataplane.RemoveKey(ctx, store, mesh, 2))
	eventually(t, "a token of the key before it is refused", func() (struct{}, error) {
		_, err := validate(second)
		return struct{}{}, want(err, token.ErrUnknownKey)
	})
}

func lifeOfAZone(t *testing.T, open Opener) {
	ctx := audit.WithLogger(t.Context(), discard)
	store := open(t)
	_, err := zone.EnsureKey(ctx, store)
	must(t, err)
	issuer, err := zone.NewIssuer(store, zone.WithLogger(discard))
	must(t, err)
	validator, err := zone.NewValidator(open(t), zone.WithLogger(discard))
	must(t, err)
	defer validator.Close()
	issue := func() string {
		t.Helper()
		issued, err := issuer.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, day)
		must(t, err)
		return issued.Token
	}
	validate := func(raw string) (zone.Verified, error) {
		return validator.Validate(ctx, "west", zone.ScopeCP, raw)
	}
	first := issue()
	verified := eventually(t, "the first token is good", func() (zone.Verified, error) { return validate(first) })
	_, err = validator.Validate(ctx, "west", zone.ScopeEgress, first)
	wantError(t, err, token.ErrScope)

	_, err = zone.AddKey(ctx, store, privateKey(t, forge.Key()))
	must(t, err)
	second := issue()
	eventually(t, "a token of the new key is good", func() (zone.Verified, error) { return validate(second) })

	bound, stop := verified.Bind(ctx)
	defer stop()
	aCutoffCountsForZones(t, store, issuer, validator)
	must(t, zone.Revoke(ctx, store, verified.Registered().ID))
	wantEnd(t, bound, token.ErrRevoked)
	must(t, zone.RemoveKey(ctx, store, 1))
	eventually(t, "a token of a removed key is refused", func() (struct{}, error) {
		_, err := validate(first)
		return struct{}{}, want(err, token.ErrUnknownKey)
	})
	_, err = validate(second)
	must(t, err)
}

// newValidator returns a validator that has read its store.
func newValidator(tb testing.TB, store keystore.KeyStore) dataplane.Validator {
	tb.Helper()
	v, err := dataplane.NewValidator(store, quiet)
	must(tb, err)
	tb.Cleanup(func() { v.Close() })
	eventually(tb, "the validator has read its store", func() (struct{}, error) {
		if _, ok := v.Staleness(); !ok {
			return struct{}{}, errors.New("not yet")
		}
		return struct{}{}, nil
	})
	return v
}

// eventually calls do until it returns no error, and returns its answer.
func eventually[T any](tb testing.TB, what string, do func() (T, error)) T {
	tb.Helper()
	return within(tb, patience, what, do)
}

func within[T any](tb testing.TB, limit time.Duration, what string, do func() (T, error)) T {
	tb.Helper()
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		answer, err := do()
		if err == nil {
			return answer
		}
		if time.Since(began) > limit {
			tb.Fatalf("waited %s in vain for: %s: %v", limit, what, err)
		}
	}
}

func must(tb testing.TB, err error) {
	tb.Helper()
	if err != nil {
		tb.Fatalf("error %q, want none", err)
	}
}

// want returns nil if err matches the wanted error.
func want(err, wanted error) error {
	if errors.Is(err, wanted) {
		return nil
	}
	return fmt.Errorf("error %v, want %w", err, wanted)
}

func wantError(tb testing.TB, err, wanted error) {
	tb.Helper()
	if err := want(err, wanted); err != nil {
		tb.Error(err)
	}
}

// wantEnd waits until a bound context ends, and fails unless its cause is the
// wanted one.
func wantEnd(tb testing.TB, ctx context.Context, cause error) {
	tb.Helper()
	select {
	case <-ctx.Done():
		wantError(tb, context.Cause(ctx), cause)
	case <-time.After(patience):
		tb.Fatalf("a session did not end within %s, want %q", patience, cause)
	}
}
