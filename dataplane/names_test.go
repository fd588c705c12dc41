package dataplane_test

import (
	"log/slog"
	"strconv"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
)

func TestValidatorReadsTheNamesOfOtherIssuersThatThisOneDoesNotIssue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, keystore.NewMemory(), slog.DiscardHandler, dataplane.WithPublicKey("default", "key-1", hostilePublic(forge.Key())))
		for _, name := range []string{"dp-1 ", "dp\u200b1", "\u202edp"} {
			raw := forge.Token(hostileHeader.With("kid", `"key-1"`).String(), hostilePayload.With("Name", strconv.Quote(name)).String(), forge.RS256(forge.Key()))
			verified, err := validator.Validate(t.Context(), "default", raw)
			require.NoError(t, err)
			require.Equal(t, name, verified.Claims().Name)
		}
	})
}
