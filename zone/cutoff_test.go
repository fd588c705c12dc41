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
