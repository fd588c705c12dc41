package zone_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestARenewedZoneTokenThatAThiefHoldsTooMakesAFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, log := keystore.NewMemory(), &logtest.Buffer{}
		_, err := zone.EnsureKey(t.Context(), store)
		require.NoError(t, err)
		var forks []zone.Fork
		var renewals []zone.Renewal
		issuer, err := zone.NewIssuer(store, zone.WithLogger(log.Logger()), zone.WithMaxLineage(24*time.Hour), zone.WithMaxLifetime(24*time.Hour),
			zone.WithRenewalPolicy(func(_ context.Context, claims token.Zone, r zone.Renewal) error {
				assert.Equal(t, token.Zone{Zone: "west", Scope: []string{"cp"}}, claims)
				renewals = append(renewals, r)
				return nil
			}))
		require.NoError(t, err)
		validator, err := zone.NewValidator(store, zone.WithLogger(log.Logger()),
			zone.WithForkHandler(func(ctx context.Context, fork zone.Fork) {
				forks = append(forks, fork)
				assert.NoError(t, zone.Revoke(ctx, store, fork.Verified.Registered().ID))
			}))
		require.NoError(t, err)
		defer validator.Close()
		synctest.Wait()
		use := func(raw, address string) (zone.Verified, error) {
			return validator.Validate(audit.WithAddress(t.Context(), address), "west", zone.ScopeCP, raw)
		}
		stolen := issueFor(t, issuer, time.Hour)
		began := time.Now()
		time.Sleep(20 * time.Minute)
		verified, err := use(stolen, "10.0.0.1:1")
		require.NoError(t, err)
		assert.Equal(t, time.Hour, verified.Lifetime())
		next, err := issuer.Renew(t.Context(), verified, 2*time.Hour)
		require.NoError(t, err)
		assert.Equal(t, []zone.Renewal{{Presented: verified.Registered(), KeyID: "1", Began: began.UTC(), ValidFor: 2 * time.Hour}}, renewals)
		renewed, err := use(next.Token, "10.0.0.1:2")
		require.NoError(t, err)
		session, stop := renewed.Bind(t.Context())
		defer stop()
		time.Sleep(token.Skew)
		assert.Empty(t, forks)
		_, err = use(stolen, "6.6.6.6:1")
		require.NoError(t, err)
		require.Len(t, forks, 1)
		assert.Equal(t, "west", forks[0].Verified.Claims().Zone)
		assert.False(t, forks[0].Renewed)
		assert.Equal(t, []string{"6.6.6.6:1", "10.0.0.1:2"}, []string{forks[0].Address, forks[0].LaterAddress})
		assert.Equal(t, 1, log.Count("audit: noticed", "action=fork", "kind=zone", "zone=west", "jti="+next.ID))
		assert.Equal(t, 1, log.Count("audit: done", "action=renew", "zone=west", "scope=cp", "lineage_age=20m0s"))
		synctest.Wait()
		assertEnded(t, session, token.ErrRevoked)
	})
}

func TestNoZoneTokenIsRenewedWithoutOne(t *testing.T) {
	issuer, err := zone.NewDisabledIssuer()
	require.NoError(t, err)
	_, err = issuer.Renew(t.Context(), zone.Verified{}, time.Hour)
	assert.ErrorIs(t, err, token.ErrInvalid)
	assert.Zero(t, zone.Verified{}.Lifetime())
	for name, option := range map[string]zone.IssuerOption{"no limit": zone.WithMaxLineage(0), "no policy": zone.WithRenewalPolicy(nil)} {
		_, err := zone.NewDisabledIssuer(option)
		assert.Error(t, err, name)
	}
	_, err = zone.NewValidator(keystore.NewMemory(), zone.WithForkHandler(nil))
	assert.Error(t, err)
}
