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
	"github.com/meshpass/meshpass/token"
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

func TestIssuerIssuesNoNameThatAPersonCannotType(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	for _, issuer := range []dataplane.Issuer{newIssuer(t, store), newOfflineIssuer(t, testKey(0), "key-1")} {
		for says, claims := range map[string]token.Dataplane{
			`name "dp-1\x00" has U+0000 at byte 4`:             {Mesh: "default", Name: "dp-1\x00"},
			`name "dp-1\n" has U+000A at byte 4`:               {Mesh: "default", Name: "dp-1\n"},
			`workload "w " starts or ends with a space`:        {Mesh: "default", Workload: "w "},
			`type "\u202edp" has U+202E at byte 0`:             {Mesh: "default", Type: "\u202edp"},
			`tag "a\u00a0" has U+00A0 at byte 1`:               {Mesh: "default", Tags: map[string][]string{"a\u00a0": {"b"}}},
			`value of tag "a": "b\u3000" has U+3000 at byte 1`: {Mesh: "default", Tags: map[string][]string{"a": {"b\u3000"}}},
		} {
			issued, err := issuer.Issue(t.Context(), claims, day)
			require.ErrorIs(t, err, token.ErrNotIssuable)
			require.ErrorContains(t, err, says)
			require.Empty(t, issued)
		}
	}
}
