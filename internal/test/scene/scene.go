// Package scene plays a known sequence of events, for the tests of what counts them.
package scene

import (
	"context"
	"errors"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// Play lets issuers and validators of both kinds of token work for an observer, within a
// synctest bubble. When it returns, the validators are open and so are two sessions; they
// are closed when the test ends. The comments in it count.
//
// Chance decides when a validator reads, and how often. Play returns what the store has
// seen.
func Play(t *testing.T, o observe.Observer) Reads {
	t.Helper()
	ctx := t.Context()
	store := &failingStore{Memory: keystore.NewMemory(), last: make(map[token.Kind]time.Time),
		reads: Reads{Complete: make(map[token.Kind]int), Single: make(map[token.Kind]int)}}
	must(dataplane.EnsureKey(ctx, store, "default"))
	must(zone.EnsureKey(ctx, store))
	time.Sleep(time.Hour) // the validators are made at one o'clock
	proxies := must(dataplane.NewValidator(store, dataplane.WithObserver(o)))
	t.Cleanup(func() { proxies.Close() })
	zones := must(zone.NewValidator(store, zone.WithObserver(o)))
	t.Cleanup(func() { zones.Close() })
	synctest.Wait()

	// Issued: three dataplane tokens, one zone token. Failed: one, which has no key.
	issuer := must(dataplane.NewIssuer(store, dataplane.WithObserver(o), dataplane.WithMaxLineage(24*time.Hour)))
	issue := func(name string) token.Issued {
		return must(issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: name}, time.Hour))
	}
	one, two, revoked := issue("dp-1"), issue("dp-2"), issue("dp-3")
	if _, err := issuer.Issue(ctx, token.Dataplane{Mesh: "nowhere"}, time.Hour); !errors.Is(err, signing.ErrNoKey) {
		t.Fatal(err)
	}
	zoneIssuer := must(zone.NewIssuer(store, zone.WithObserver(o)))
	west := must(zoneIssuer.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour))

	// Accepted: four, with two sessions.
	for range 3 {
		must(proxies.Validate(ctx, "default", one.Token))
	}
	verified := must(proxies.Validate(ctx, "default", two.Token))
	for range 2 {
		_, stop := verified.Bind(ctx)
		t.Cleanup(stop)
	}
	// Not permitted: one proxy with the token of another.
	if err := verified.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-1"}); !errors.Is(err, token.ErrNotPermitted) {
		t.Fatal(err)
	}
	must(0, verified.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-2"}))

	// Refused: one revoked, one forged, two malformed, one for a mesh that is nowhere.
	next := must(signing.Generate(signing.DefaultBits))
	must(0, dataplane.Revoke(ctx, store, "default", revoked.ID))
	synctest.Wait()
	must(dataplane.CutOff(ctx, store, "default", dataplane.Cutoff{Before: time.Now().Add(-time.Hour), Name: "dp-9"}))
	synctest.Wait()
	must(dataplane.AddKey(ctx, store, "default", next)) // signs
	synctest.Wait()
	refuse := func(mesh, raw string) {
		if _, err := proxies.Validate(ctx, mesh, raw); !errors.Is(err, token.ErrInvalid) {
			t.Fatal(err)
		}
	}
	refuse("default", revoked.Token)
	refuse("default", one.Token[:len(one.Token)-8]+"AAAAAAAA")
	refuse("default", "rubbish")
	refuse("default", "")
	refuse("nowhere", one.Token)

	// Of zones: one accepted, one for another zone.
	ofWest := must(zones.Validate(ctx, "west", zone.ScopeCP, west.Token))
	if _, err := zones.Validate(ctx, "east", zone.ScopeCP, west.Token); !errors.Is(err, token.ErrScope) {
		t.Fatal(err)
	}

	// The next complete read of dataplane records fails, and no other.
	store.fail()
	time.Sleep(40 * time.Second)
	synctest.Wait()

	// Renewed: one dataplane token, with the new key. Refused: the zone's, since its issuer renews nothing.
	renewed := must(issuer.Renew(ctx, verified, time.Hour))
	if _, err := zoneIssuer.Renew(ctx, ofWest, time.Hour); !errors.Is(err, token.ErrIssuingDisabled) {
		t.Fatal(err)
	}
	// Accepted: the renewed token, and two minutes later twice the one before, which is one fork.
	must(proxies.Validate(ctx, "default", renewed.Token))
	time.Sleep(token.Skew)
	for range 2 {
		must(proxies.Validate(ctx, "default", two.Token))
	}
	synctest.Wait()
	return store.account()
}

// Reads are those that a store has seen of validators.
type Reads struct {
	Complete, Single map[token.Kind]int
	Staleness        map[token.Kind]float64 // seconds since the last complete one that did not fail
}

// failingStore keeps account of the reads of validators.
type failingStore struct {
	*keystore.Memory

	mu    sync.Mutex
	fails bool // the next complete read of dataplane records
	reads Reads
	last  map[token.Kind]time.Time
}

func (s *failingStore) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if err := s.note(scope, prefix); err != nil {
		return nil, err
	}
	return s.Memory.List(ctx, scope, prefix)
}

func (s *failingStore) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin) // by way of List
}

func (s *failingStore) note(scope keystore.Scope, prefix string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case prefix == "zone-token-":
		s.reads.Complete[token.KindZone]++
		s.last[token.KindZone] = time.Now()
	case prefix == "dataplane-token-" && scope == keystore.AllScopes:
		s.reads.Complete[token.KindDataplane]++
		if s.fails {
			s.fails = false
			return errors.New("the store is down")
		}
		s.last[token.KindDataplane] = time.Now()
	case prefix == "dataplane-token-":
		s.reads.Single[token.KindDataplane]++
	}
	return nil
}

func (s *failingStore) fail() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = true
}

func (s *failingStore) account() Reads {
	s.mu.Lock()
	defer s.mu.Unlock()
	reads := Reads{maps.Clone(s.reads.Complete), maps.Clone(s.reads.Single), make(map[token.Kind]float64)}
	for kind, at := range s.last {
		reads.Staleness[kind] = time.Since(at).Seconds()
	}
	return reads
}

// must returns a result, or panics if there is an error. It is for what cannot fail on a
// store in memory.
func must[T any](result T, err error) T {
	if err != nil {
		panic(err)
	}
	return result
}
