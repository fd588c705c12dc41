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
