package zone_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestAuditHasAnEventForEveryDecision(t *testing.T) {
	var log bytes.Buffer
	ctx := audit.WithActor(audit.WithLogger(t.Context(), slog.New(slog.NewTextHandler(&log, nil))), "alice")
	store := keystore.NewMemory()
	_, err := zone.EnsureKey(ctx, store)
	require.NoError(t, err)
	issuer, err := zone.NewIssuer(store)
	require.NoError(t, err)
	_, err = issuer.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP, zone.ScopeEgress}}, time.Hour)
	require.NoError(t, err)
	require.NoError(t, zone.Revoke(ctx, store, "some-id"))
	for _, event := range []string{
		`msg="audit: done" action="create key" actor=alice kind=zone kid=1` + "\n",
		`msg="audit: done" action=issue actor=alice kind=zone zone=west scope=cp,egress jti=`,
		`msg="audit: done" action=revoke actor=alice kind=zone jti=some-id` + "\n",
	} {
		assert.Contains(t, log.String(), event)
	}
}

func TestIssuerAsksItsPolicyAboutTheWholeRequest(t *testing.T) {
	store := keystore.NewMemory()
	_, err := zone.EnsureKey(t.Context(), store)
	require.NoError(t, err)
	request := token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}
	forbidden := errors.New("west is not yours")
	issuer, err := zone.NewIssuer(store, zone.WithPolicy(func(_ context.Context, claims token.Zone, validFor time.Duration) error {
		assert.Equal(t, request, claims)
		assert.Equal(t, time.Hour, validFor)
		return forbidden
	}))
	require.NoError(t, err)
	_, err = issuer.Issue(t.Context(), request, time.Hour)
	assert.ErrorIs(t, err, token.ErrDenied)
	assert.ErrorIs(t, err, forbidden)
	_, err = zone.NewIssuer(store, zone.WithPolicy(nil))
	assert.ErrorContains(t, err, "the policy is nil")
}

func TestIssuerCanBeDisabled(t *testing.T) {
	issuer, err := zone.NewDisabledIssuer()
	require.NoError(t, err)
	_, err = issuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	assert.ErrorIs(t, err, token.ErrIssuingDisabled)
}
