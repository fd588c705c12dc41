package zone_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestIssuerIssuesNoNameThatAPersonCannotType(t *testing.T) {
	store := keystore.NewMemory()
	_, err := zone.EnsureKey(t.Context(), store)
	require.NoError(t, err)
	for _, issuer := range []zone.Issuer{newIssuer(t, store), newOfflineIssuer(t, testKey(0), "key-1")} {
		for _, c := range []struct {
			claims token.Zone
			says   string
		}{
			{token.Zone{Zone: "west\x00", Scope: []string{"cp"}}, `zone "west\x00" has U+0000 at byte 4`},
			{token.Zone{Zone: "west ", Scope: []string{"cp"}}, `zone "west " starts or ends with a space`},
			{token.Zone{Zone: "west", Scope: []string{"cp", "in\u200bgress"}}, `scope "in\u200bgress" has U+200B at byte 2`},
		} {
			issued, err := issuer.Issue(t.Context(), c.claims, day)
			require.ErrorIs(t, err, token.ErrNotIssuable)
			require.ErrorContains(t, err, c.says)
			require.Empty(t, issued)
		}
	}
}

func TestValidatorReadsTheNamesOfOtherIssuersThatThisOneDoesNotIssue(t *testing.T) {
	raw := forge.Token(`{"alg":"RS256","kid":"key-1","typ":"JWT"}`, `{"Zone":"west ","Scope":["cp"],"exp":4102444800,"jti":"j"}`, forge.RS256(forge.Key()))
	public, err := signing.NewPublicKey(&forge.Key().PublicKey)
	require.NoError(t, err)
	validator := newOfflineValidator(t, zone.WithPublicKey("key-1", public))
	verified, err := validator.Validate(t.Context(), "west ", zone.ScopeCP, raw)
	require.NoError(t, err)
	require.Equal(t, "west ", verified.Claims().Zone)
}
