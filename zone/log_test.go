package zone_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestTheLogOfARefusalSaysWhichZoneWasMeant(t *testing.T) {
	var log logtest.Buffer
	validator := newValidator(t, keystore.NewMemory(), zone.WithLogger(log.Logger()))
	_, err := validator.Validate(t.Context(), "we\nst", zone.ScopeCP, "rubbish")
	assert.ErrorIs(t, err, token.ErrMalformed)
	assert.Equal(t, 1, log.Count("token refused", "kind=zone", `zone=we\nst`), log.String())
	assert.Zero(t, log.Count("mesh="))
}
