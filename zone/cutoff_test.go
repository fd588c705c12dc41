package zone_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestACutoffOfDataplaneTokensConcernsNoZoneToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, 1, testKey(0))
		validator := newValidator(t, store)
		raw := issueCP(t, newIssuer(t, store))
		verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP, raw)
		require.NoError(t, err)
		session, stop := verified.Bind(t.Context())
		defer stop()
		for _, ref := range []revocation.CutoffsRef{revocation.DataplaneCutoffs("west"), revocation.DataplaneCutoffsGlobal("west")} {
			_, err := ref.Add(t.Context(), store, revocation.Cutoff{Before: time.Now().Add(token.Skew)})
			require.NoError(t, err)
		}
		synctest.Wait()
		assert.NoError(t, check(t, validator, raw))
		assert.NoError(t, context.Cause(session))
	})
}

func TestACutoffUntilNowTakesBackWhatIsDatedAtAnEarlierOneAndSaysBeforeHowManySessionsItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, 1, testKey(0))
		validator, issuer := newValidator(t, store), newIssuer(t, store)
		assert.Equal(t, zone.Affected{Sessions: -1}, zone.AffectedBy(zone.Cutoff{}))
		_, err := zone.CutOff(t.Context(), store, zone.Cutoff{Before: time.Now().Add(2 * token.Skew), KeyID: "1"})
		require.NoError(t, err)
		synctest.Wait()
		raw := issueCP(t, issuer)
		time.Sleep(time.Second)
		for i, subject := range []zone.Cutoff{{Zone: "west"}, {}, {KeyID: "1"}} {
			verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP, raw)
			require.NoError(t, err)
			session, stop := verified.Bind(t.Context())
			defer stop()
			for listed := range validator.Sessions() {
				assert.Equal(t, verified.Registered(), listed.Registered())
			}
			until, err := zone.UntilNow(t.Context(), store, subject)
			require.NoError(t, err)
			assert.Equal(t, 2*token.Skew, time.Until(until.Before))
			affected := zone.AffectedBy(until, validator)
			assert.Equal(t, 1, affected.Sessions)
			if subject.Zone != "" {
				assert.Empty(t, affected.Keys)
			} else {
				require.Len(t, affected.Keys, 1)
				assert.Equal(t, uint64(i+1), affected.Keys[0].Validations)
			}
			assert.Zero(t, zone.AffectedBy(zone.Cutoff{Before: until.Before, Zone: "east"}, validator).Sessions)
			_, err = zone.CutOff(t.Context(), store, until)
			require.NoError(t, err)
			synctest.Wait()
			assertEnded(t, session, token.ErrRevoked)
			raw = issueCP(t, issuer)
			time.Sleep(time.Second)
		}
	})
}

func TestADryRunOfPruningCountsTheSessionsThatItsFloorWouldEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, 1, testKey(0))
		validator := newValidator(t, store)
		verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP, issueCP(t, newIssuer(t, store)))
		require.NoError(t, err)
		session, stop := verified.Bind(t.Context())
		defer stop()
		time.Sleep(20 * time.Minute)
		for lifetime, sessions := range map[time.Duration]int{time.Minute: 1, time.Hour: 0} {
			p, err := zone.PruneRevocations(t.Context(), store, lifetime, true, validator)
			require.NoError(t, err)
			assert.Equal(t, sessions, p.Sessions)
		}
		assert.NoError(t, context.Cause(session))
		p, err := zone.PruneRevocations(t.Context(), store, time.Minute, false)
		require.NoError(t, err)
		assert.Equal(t, -1, p.Sessions)
		synctest.Wait()
		assertEnded(t, session, token.ErrRevoked)
	})
}
