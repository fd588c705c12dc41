package zone_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// witness is an observer that remembers what it was told, apart from durations.
type witness struct{ outcomes []observe.Outcome }

func (w *witness) Observe(o observe.Outcome) {
	o.Took = 0
	w.outcomes = append(w.outcomes, o)
}

func TestAnObserverIsToldWhatBecomesOfZoneTokens(t *testing.T) {
	w, store := &witness{}, keystore.NewMemory()
	_, err := zone.EnsureKey(t.Context(), store)
	require.NoError(t, err)
	issuer, err := zone.NewIssuer(store, zone.WithObserver(w))
	require.NoError(t, err)
	validator, err := zone.NewValidator(store, zone.WithObserver(w))
	require.NoError(t, err)
	defer validator.Close()

	west, err := issuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	require.NoError(t, err)
	verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP, west.Token)
	require.NoError(t, err)
	_, err = validator.Validate(t.Context(), "east", zone.ScopeCP, west.Token)
	require.ErrorIs(t, err, token.ErrScope)
	require.NoError(t, verified.Permits(zone.Peer{Zone: "west", Scope: zone.ScopeCP}))
	require.ErrorIs(t, verified.Permits(zone.Peer{Zone: "east", Scope: zone.ScopeCP}), token.ErrNotPermitted)
	require.ErrorIs(t, verified.Permits(zone.Peer{Zone: "west", Scope: zone.ScopeEgress}), token.ErrNotPermitted)

	is := func(operation observe.Operation, reason token.Reason) observe.Outcome {
		return observe.Outcome{Operation: operation, Kind: token.KindZone, KeyID: "1", Reason: reason}
	}
	assert.Equal(t, []observe.Outcome{
		is(observe.Issue, token.ReasonNone),
		is(observe.Validate, token.ReasonNone),
		is(observe.Validate, token.ReasonScope),
		is(observe.Permit, token.ReasonNotPermitted),
		is(observe.Permit, token.ReasonNotPermitted),
	}, w.outcomes)

	report := validator.Report()
	assert.Equal(t, token.KindZone, report.Kind)
	assert.Equal(t, []observe.Mesh{{}}, report.Meshes)
	require.Len(t, report.Keys, 1)
	assert.Equal(t, []any{"1", observe.Signs, uint64(1), uint64(1)},
		[]any{report.Keys[0].KeyID, report.Keys[0].State, report.Keys[0].Accepted, report.Keys[0].Refused})
}
