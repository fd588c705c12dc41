package dataplane_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
)

// How much the parts allocate depends on Go and on the libraries, so the test measures that too.
func TestATokenThatIsNotRememberedIsDecodedOnceWhoeverNamesItsMesh(t *testing.T) {
	key := testKey(0).Public()
	validator := newOfflineValidator(t, dataplane.WithPublicKeyForEveryMesh("1", key), dataplane.WithCache(0))
	authenticator := dataplane.NewAuthenticator(validator)
	raw := signPayload(t, testKey(0), "1", `{"Mesh":"default","Name":"a\u0062","Type":"ingre\u0073s","Tags":{"a":["\u0062"],"c":["\u0064"]},`+
		`"jti":"`+someID+`","exp":4000000000,"made-up":["\u0065"]}`)
	u, err := token.ParseUnverified(raw)
	require.NoError(t, err)
	input, signature := []byte(u.SigningInput()), u.AppendSignature(nil)
	ctx := t.Context()

	const runs = 100
	claims := testing.AllocsPerRun(runs, func() { _, _ = u.PackedClaims(token.Demands{LowerCase: true}) })
	verification := testing.AllocsPerRun(runs, func() { _ = key.Verify(input, signature) })
	assert.Greater(t, claims, 1.0)
	validated := testing.AllocsPerRun(runs, func() { _, _ = validator.Validate(ctx, "default", raw) })
	const itself = 2 // what Validate returns
	assert.LessOrEqual(t, validated, claims+verification+itself, "there is room for the signature already")
	authenticated := testing.AllocsPerRun(runs, func() { _, _ = authenticator.Authenticate(ctx, raw) })
	assert.Less(t, authenticated, validated+claims, "the claims that name the mesh are those that are checked")
}

func TestATokenIsGoodFromItsNbfLessTheLeewayOn(t *testing.T) {
	const nbf = 1_800_000_000
	now := time.Unix(nbf, 0)
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(0).Public()),
		dataplane.WithClock(func() time.Time { return now }))
	raw := signPayload(t, testKey(0), "1", `{"Mesh":"default","jti":"`+someID+`","nbf":1800000000,"exp":1900000000}`)
	now = time.Unix(nbf-30, -1)
	assert.ErrorIs(t, check(t, validator, "default", raw), token.ErrNotYetValid)
	now = time.Unix(nbf-30, 0)
	assert.NoError(t, check(t, validator, "default", raw))
}
