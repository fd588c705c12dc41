package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

func TestMetricsCountValidationsByOutcomeAndByNoKidThatAPeerMadeUp(t *testing.T) {
	store := keystore.NewMemory()
	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	following, err := dataplane.NewValidator(store, dataplane.WithLogger(quiet), dataplane.WithLeeway(0))
	require.NoError(t, err)
	defer following.Close()
	registry := prometheus.NewRegistry()
	validator := countedDataplanes{following, newOutcomes(registry)}
	registerValidator(registry, token.KindDataplane, ofProxies(validator))

	issuer, err := dataplane.NewIssuer(store)
	require.NoError(t, err)
	good, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	require.NoError(t, err)
	old, err := dataplane.NewIssuer(store, dataplane.WithClock(func() time.Time { return time.Now().Add(-time.Hour) }))
	require.NoError(t, err)
	expired, err := old.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Minute)
	require.NoError(t, err)
	madeUp, err := token.Encode("made-up", token.Claims{
		Registered: token.Registered{ID: "1", ExpiresAt: time.Now().Add(time.Hour)},
		Dataplane:  token.Dataplane{Mesh: "default"},
	}, func([]byte) ([]byte, error) { return make([]byte, 256), nil })
	require.NoError(t, err)

	verified, err := validator.Validate(t.Context(), "default", good.Token)
	require.NoError(t, err)
	_, release := verified.Bind(context.Background())
	defer release()
	for _, raw := range []string{expired.Token, madeUp, "rubbish"} {
		_, err := validator.Validate(t.Context(), "default", raw)
		require.ErrorIs(t, err, token.ErrInvalid)
	}
	require.NoError(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP meshpass_validations_total Tokens validated, by outcome. kid is empty if the signature was not verified.
# TYPE meshpass_validations_total counter
meshpass_validations_total{kid="",kind="dataplane",outcome="malformed"} 1
meshpass_validations_total{kid="",kind="dataplane",outcome="unknown_key"} 1
meshpass_validations_total{kid="1",kind="dataplane",outcome="accepted"} 1
meshpass_validations_total{kid="1",kind="dataplane",outcome="expired"} 1
# HELP meshpass_sessions_open Open sessions, by the key that signed their tokens.
# TYPE meshpass_sessions_open gauge
meshpass_sessions_open{kid="1",kind="dataplane",mesh="default"} 1
`), "meshpass_validations_total", "meshpass_sessions_open"))
	count, err := testutil.GatherAndCount(registry, "meshpass_staleness_seconds")
	require.NoError(t, err)
	require.Equal(t, 1, count)
}
