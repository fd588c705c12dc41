package dataplane_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// witness is an observer that remembers everything.
type witness struct {
	mu       sync.Mutex
	outcomes []observe.Outcome
	attached []observe.Reporter
	detached int
}

func (w *witness) Observe(o observe.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.outcomes = append(w.outcomes, o)
}

func (w *witness) Attach(r observe.Reporter) func() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.attached = append(w.attached, r)
	return func() { w.detached++ }
}

// last returns the latest outcome as mesh, kid and reason.
func (w *witness) last() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.outcomes[len(w.outcomes)-1]
	return fmt.Sprintf("%q %q %s", o.Mesh, o.KeyID, o.Reason)
}

func TestAnObserverIsToldTheReasonOfEachAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w := newFollowing(t), &witness{}
		f.start(dataplane.WithObserver(w), dataplane.WithPublicKeyForEveryMesh("own", testKey(2).Public()),
			dataplane.WithPublicKey("offline", "own", testKey(2).Public()))
		good := f.issue(day)
		revoked := f.issue(time.Hour)
		f.revoke(revoked)
		synctest.Wait()
		soon := f.issue(time.Minute)
		f.accepts(soon)
		f.pass(2 * time.Minute)
		own := newOfflineIssuer(t, testKey(2), "own")

		answers := 1
		for _, c := range []struct {
			what, mesh, raw, want string
		}{
			{"first sight", "default", good, `"default" "1" none`},
			{"seen before", "default", good, `"default" "1" none`},
			{"rubbish", "default", "rubbish", `"default" "" malformed`},
			{"a forged token", "default", tampered(good), `"default" "" signature`},
			{"a kid that is nowhere", "default", f.withKid(good, "made-up"), `"default" "" unknown_key`},
			{"a revoked token", "default", revoked, `"default" "1" revoked`},
			{"a revoked token again", "default", revoked, `"default" "1" revoked`},
			{"a remembered token that has expired", "default", soon, `"default" "1" expired`},
			{"a mesh that is made up", "made-up", good, `"" "" unknown_key`},
			{"a mesh that is made up, and a good signature", "made-up", issue(t, own, "default", day), `"" "own" scope`},
			{"a mesh that only the token names", "elsewhere", issue(t, own, "elsewhere", day), `"" "own" none`},
			{"a mesh that only the configuration has", "offline", issue(t, own, "offline", day), `"offline" "own" none`},
			{"a payload that is no token", "default", signPayload(t, testKey(2), "own", `{"Mesh":7}`), `"default" "own" claims`},
		} {
			_, _ = f.validator.Validate(t.Context(), c.mesh, c.raw)
			answers++
			assert.Equal(t, c.want, w.last(), c.what)
			require.Len(t, w.outcomes, answers, c.what)
		}
		verified := f.verified(good)
		require.NoError(t, verified.Permits(dataplane.Proxy{Mesh: "default"}))
		require.Len(t, w.outcomes, answers+1, "what is permitted is not reported")
		require.ErrorIs(t, verified.Permits(dataplane.Proxy{Mesh: "default", Type: "egress"}), token.ErrNotPermitted)
		assert.Equal(t, observe.Permit, w.outcomes[answers+1].Operation)
		assert.Equal(t, `"default" "1" not_permitted`, w.last())
		w.outcomes = w.outcomes[:answers]

		f.store.setList(func(context.Context, keystore.Scope, string) ([]keystore.Record, error) { return nil, errStoreDown })
		f.pass(2 * time.Hour)
		refused := func() (n uint64) {
			for _, key := range f.validator.Report().Keys {
				n += key.Refused
			}
			return n
		}
		before := refused()
		f.cannotTell(good)
		assert.Equal(t, `"default" "1" unavailable`, w.last())
		assert.Equal(t, before, refused(), "what could not be checked is not refused")
		for _, o := range w.outcomes {
			assert.Equal(t, observe.Validate, o.Operation)
			assert.Equal(t, token.KindDataplane, o.Kind)
		}
	})
}

func TestAnObserverIsToldHowLongATokenWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, w := newFollowing(t), &witness{}
		f.store.setList(f.store.slowly(300 * time.Millisecond))
		f.validator = newValidator(t, f.store, dataplane.WithObserver(w))
		f.accepts(f.issue(time.Hour))
		assert.InDelta(t, 300*time.Millisecond, w.outcomes[0].Took, float64(time.Millisecond))
	})
}

func TestTheReportHasWhatTheValidatorKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.pass(time.Minute)
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		putRecord(t, f.store.Memory, "default", signing.DataplaneKeys("default").KeyName(3), []byte("not a key"))
		revoked := f.withSerial("1", 0)
		f.revoke(revoked)
		f.cutOff(dataplane.Cutoff{Before: time.Now().Add(-day), Name: "dp-1"})
		made := time.Now()
		f.start(dataplane.WithPublicKey("default", "own", testKey(2).Public()))
		f.pass(time.Second)
		f.refuses(revoked, token.ErrRevoked)
		f.accepts(f.withSerial("2", 1))
		f.session(f.withSerial("2", 1))
		used := time.Now()
		f.refuses(tampered(revoked), token.ErrSignature)
		f.pass(time.Second)

		r := f.validator.Report()
		assert.Equal(t, token.KindDataplane, r.Kind)
		assert.True(t, r.Loaded)
		assert.Equal(t, 2*time.Second, r.Staleness)
		complete := uint64(0)
		for _, read := range f.store.readsSoFar() {
			if read.scope == keystore.AllScopes {
				complete++
			}
		}
		assert.NotZero(t, complete)
		assert.Equal(t, observe.Reads{Total: complete}, r.Complete)
		assert.Equal(t, []observe.Mesh{{Name: "default", Revoked: 1, Cutoffs: 1, Problems: 1}}, r.Meshes)
		for i := range r.Keys {
			r.Keys[i].Created, r.Keys[i].UnusedSince = r.Keys[i].Created.UTC(), r.Keys[i].UnusedSince.Round(0).UTC()
		}
		at := func(t time.Time) time.Time { return t.Round(0).UTC() }
		assert.Equal(t, []observe.Key{
			{Mesh: "default", KeyID: "1", Created: at(made.Add(-time.Minute)), Refused: 1, UnusedSince: at(made)},
			{Mesh: "default", KeyID: "2", Created: at(made), Accepted: 2, UnusedSince: at(used), Sessions: 1},
			{Mesh: "default", KeyID: "3", Created: at(made), State: observe.Unreadable, UnusedSince: at(made)},
			{Mesh: "default", KeyID: "own", State: observe.OfSource, UnusedSince: at(made)},
		}, r.Keys)

		f.store.setList(func(context.Context, keystore.Scope, string) ([]keystore.Record, error) { return nil, errStoreDown })
		f.pass(time.Minute)
		before := f.validator.Report()
		assert.NotZero(t, before.Complete.Failed)
		assert.NotZero(t, before.Single.Failed)
		assert.Equal(t, len(r.Keys), len(before.Keys), "the last good state")
		require.NoError(t, f.validator.Close())
		assert.Equal(t, uint64(2), f.validator.Report().Keys[1].Accepted, "counts are kept after Close")
		assert.Zero(t, f.validator.Report().Keys[1].Sessions)
	})
}

func TestTheReportHasTheSourcesThatAreReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		idp, never := newScriptedSource("idp", map[string]int{"key-1": 1}), newScriptedSource("never", nil)
		never.fail(func(context.Context) error { return errStoreDown })
		f := newFollowing(t).start(dataplane.WithSourceForEveryMesh(idp), dataplane.WithSource("default", never),
			dataplane.WithPublicKey("default", "own", testKey(2).Public()))
		good := len(idp.readsSoFar())
		idp.fail(func(context.Context) error { return errStoreDown })
		f.pass(time.Minute)
		f.accepts(f.withSerial("key-1", 1))

		r := f.validator.Report()
		require.Len(t, r.Sources, 2)
		assert.Equal(t, observe.Source{Name: "idp", Loaded: true, Staleness: time.Minute,
			Reads: observe.Reads{Total: uint64(len(idp.readsSoFar())), Failed: uint64(len(idp.readsSoFar()) - good)}}, r.Sources[0])
		assert.Equal(t, "never", r.Sources[1].Name)
		assert.Equal(t, "default", r.Sources[1].Mesh)
		assert.False(t, r.Sources[1].Loaded)
		assert.Equal(t, r.Sources[1].Reads.Total, r.Sources[1].Reads.Failed)
		assert.Equal(t, []observe.Key{
			{KeyID: "key-1", State: observe.OfSource},
			{Mesh: "default", KeyID: "1", State: observe.Signs},
			{Mesh: "default", KeyID: "key-1", State: observe.OfSource, Accepted: 1},
			{Mesh: "default", KeyID: "own", State: observe.OfSource},
		}, withoutTimes(r.Keys))
	})
}

func TestAReportNamesNoKeyAndNoMeshThatPeersMakeUp(t *testing.T) {
	w := &witness{}
	validator := newOfflineValidator(t, dataplane.WithObserver(w), dataplane.WithPublicKeyForEveryMesh("own", testKey(2).Public()))
	good := issue(t, newOfflineIssuer(t, testKey(2), "own"), "default", day)
	for i := range 2000 {
		require.ErrorIs(t, check(t, validator, fmt.Sprint("made-up-", i), good), token.ErrScope)
	}
	assert.Equal(t, []observe.Key{{KeyID: "own", State: observe.OfSource, Refused: 2000}}, withoutTimes(validator.Report().Keys))
	for _, o := range w.outcomes {
		require.Empty(t, o.Mesh)
	}
	assert.Empty(t, validator.Usage(), "a key whose tokens were refused alone is not in use")
}

func TestRefusalsForMeshesThatPeersMakeUpTakeNoMemory(t *testing.T) {
	validator := newOfflineValidator(t, dataplane.WithPublicKeyForEveryMesh("own", testKey(2).Public()))
	good := issue(t, newOfflineIssuer(t, testKey(2), "own"), "default", day)
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range 10_000 {
		_, _ = validator.Validate(t.Context(), fmt.Sprint("made-up-", i), good)
	}
	assert.Less(t, heap(), before+500_000, "50 bytes for each would be too much")
	runtime.KeepAlive(validator)
}

func withoutTimes(keys []observe.Key) []observe.Key {
	for i := range keys {
		keys[i].UnusedSince, keys[i].Created = time.Time{}, time.Time{}
	}
	return keys
}

func TestAnObserverHasTheReportsOfEachValidatorUntilItIsClosed(t *testing.T) {
	w := &witness{}
	online := newValidator(t, keystore.NewMemory(), dataplane.WithObserver(w))
	offline := newOfflineValidator(t, dataplane.WithObserver(w), dataplane.WithPublicKey("default", "own", testKey(2).Public()))
	require.Len(t, w.attached, 2)
	assert.Equal(t, "own", w.attached[1].Report().Keys[0].KeyID)
	for n, validator := range []dataplane.Validator{online, offline} {
		require.NoError(t, validator.Close())
		require.NoError(t, validator.Close())
		assert.Equal(t, n+1, w.detached)
	}
}

func TestEachOfSeveralObserversIsTold(t *testing.T) {
	one, two := &witness{}, &witness{}
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	issue(t, newIssuer(t, store, dataplane.WithObserver(one), dataplane.WithObserver(two)), "default", day)
	assert.Len(t, one.outcomes, 1)
	assert.Equal(t, one.outcomes, two.outcomes)
	_, err := dataplane.NewIssuer(store, dataplane.WithObserver(nil))
	assert.ErrorContains(t, err, "WithObserver: the observer is nil")
}

func TestAnObserverOfAnIssuerIsToldWhyNothingWasIssued(t *testing.T) {
	w := &witness{}
	store := newFaultStore()
	putKey(t, store.Memory, "default", 1, testKey(0))
	putRecord(t, store.Memory, "broken", signing.DataplaneKeys("broken").KeyName(1), []byte("not a key"))
	_, err := dataplane.AddExternalKey(t.Context(), store.Memory, "elsewhere", testKey(0).Public()) // in a KMS
	require.NoError(t, err)
	deny := func(_ context.Context, claims token.Dataplane, _ time.Duration) error {
		if claims.Name == "denied" {
			return errors.New("no")
		}
		return nil
	}
	issuer := newIssuer(t, store, dataplane.WithObserver(w), dataplane.WithPolicy(deny))
	disabled, err := dataplane.NewDisabledIssuer(dataplane.WithObserver(w))
	require.NoError(t, err)
	failing, err := signing.NewPrivateKey(&countingSigner{key: testRSA(0), err: errors.New("the KMS is away")})
	require.NoError(t, err)
	for _, c := range []struct {
		issuer dataplane.Issuer
		claims token.Dataplane
		want   string
	}{
		{issuer, token.Dataplane{Mesh: "default"}, `"default" "1" none`},
		{issuer, token.Dataplane{Mesh: "default", Name: "denied"}, `"" "" denied`},
		{issuer, token.Dataplane{Mesh: "default", Tags: map[string][]string{"a": {}}}, `"" "" not_issuable`},
		{issuer, token.Dataplane{}, `"" "" not_issuable`},
		{issuer, token.Dataplane{Mesh: "made-up"}, `"" "" unknown_key`},
		{issuer, token.Dataplane{Mesh: "broken"}, `"broken" "" signer`},
		{issuer, token.Dataplane{Mesh: "elsewhere"}, `"elsewhere" "" signer`},
		{disabled, token.Dataplane{Mesh: "default"}, `"" "" issuing_disabled`},
		{newOfflineIssuer(t, testKey(0), "own", dataplane.WithObserver(w)), token.Dataplane{Mesh: "default"}, `"" "own" none`},
		{newOfflineIssuer(t, failing, "kms", dataplane.WithObserver(w)), token.Dataplane{Mesh: "default"}, `"" "" unavailable`},
	} {
		_, _ = c.issuer.Issue(t.Context(), c.claims, time.Hour)
		assert.Equal(t, c.want, w.last())
		assert.Equal(t, observe.Issue, w.outcomes[len(w.outcomes)-1].Operation)
	}
	store.setList(func(context.Context, keystore.Scope, string) ([]keystore.Record, error) { return nil, errStoreDown })
	_, err = issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	require.ErrorIs(t, err, token.ErrUnavailable)
	assert.Equal(t, `"" "" unavailable`, w.last())
}

func TestAnObserverCostsNoAllocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		validator := newValidator(t, store, dataplane.WithObserver(idle{}))
		raw := issue(t, newIssuer(t, store), "default", day)
		require.NoError(t, check(t, validator, "default", raw))
		synctest.Wait() // what reads the store allocates too
		ctx := t.Context()
		assert.Zero(t, testing.AllocsPerRun(100, func() { _, _ = validator.Validate(ctx, "default", raw) }))
	})
}

// idle is an observer that does nothing.
type idle struct{}

func (idle) Observe(observe.Outcome) {}
