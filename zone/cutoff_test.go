package zone_test

import (
	"context"
	"fmt"
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

func TestACutoffRevokesTheTokensOfItsSubjectAndEndsTheirSessions(t *testing.T) {
	for subject, c := range map[string]struct {
		cutoff   zone.Cutoff
		concerns bool
	}{
		"all":          {zone.Cutoff{}, true},
		"the zone":     {zone.Cutoff{Zone: "west"}, true},
		"another zone": {zone.Cutoff{Zone: "east"}, false},
		"the key":      {zone.Cutoff{KeyID: "1"}, true},
		"another key":  {zone.Cutoff{KeyID: "2"}, false},
	} {
		for issued, i := range map[string]struct {
			iat   func(cutoff int64) string
			after bool
		}{
			"without an iat":      {func(int64) string { return "" }, false},
			"a second before":     {func(at int64) string { return fmt.Sprintf(`,"iat":%d`, at-1) }, false},
			"at the same second":  {func(at int64) string { return fmt.Sprintf(`,"iat":%d`, at) }, true},
			"a second after":      {func(at int64) string { return fmt.Sprintf(`,"iat":%d`, at+1) }, true},
			"ahead of all clocks": {func(at int64) string { return fmt.Sprintf(`,"iat":%d`, at+300) }, true},
		} {
			t.Run(subject+", issued "+issued, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := keystore.NewMemory()
					putKey(t, store, 1, testKey(0))
					validator := newValidator(t, store)
					time.Sleep(500 * time.Millisecond)
					c.cutoff.Before = time.Now().Truncate(time.Second).Add(time.Second)
					raw := signPayload(t, "1", fmt.Sprintf(`{"Zone":"west","Scope":["cp"],"jti":"an-id","exp":%d%s}`, time.Now().Add(time.Hour).Unix(), i.iat(c.cutoff.Before.Unix())))
					verified, err := validator.Validate(t.Context(), "west", zone.ScopeCP, raw)
					require.NoError(t, err)
					session, stop := verified.Bind(t.Context())
					defer stop()

					added, err := zone.CutOff(t.Context(), store, c.cutoff)
					require.NoError(t, err)
					assert.True(t, added.Before.Equal(c.cutoff.Before))
					synctest.Wait()
					late, stop := verified.Bind(t.Context())
					defer stop()
					if !c.concerns || i.after {
						assert.NoError(t, check(t, validator, raw))
						assert.NoError(t, context.Cause(session))
						assert.NoError(t, context.Cause(late))
						return
					}
					assert.ErrorIs(t, check(t, validator, raw), token.ErrRevoked)
					assert.ErrorContains(t, context.Cause(session), c.cutoff.String())
					assertEnded(t, session, token.ErrRevoked)
					assertEnded(t, late, token.ErrRevoked)
					assert.NoError(t, check(t, validator, issueCP(t, newIssuer(t, store))), "issued right after the cutoff")

					require.NoError(t, zone.RemoveCutoff(t.Context(), store, c.cutoff))
					synctest.Wait()
					assert.NoError(t, check(t, validator, raw))
				})
			})
		}
	}
}

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
