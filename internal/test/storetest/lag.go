package storetest

import (
	"testing"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/token"
)

// AKeyThatACopyLacksMayExist adds a key that a validator on a copy of the data, which hold
// keeps behind until release, cannot see. It must say that it could not know the tokens of
// that key, go on with those of the older ones, and accept the new ones after release. A
// serial that does not exist there either is "could not know" too.
func AKeyThatACopyLacksMayExist(t *testing.T, open, openCopy Opener, hold, release func(tb testing.TB)) {
	ctx := audit.WithLogger(t.Context(), discard)
	store := open(t)
	issuer, _ := issuerAndValidator(t, store, open(t), "default")
	issue := func() string {
		t.Helper()
		issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default"}, day)
		must(t, err)
		return issued.Token
	}
	old := issue()
	validator := newValidator(t, openCopy(t))
	validate := func(raw string) error {
		_, err := validator.Validate(ctx, "default", raw)
		return err
	}
	eventually(t, "the copy has the old key", func() (struct{}, error) { return struct{}{}, validate(old) })

	hold(t)
	_, err := dataplane.AddKey(ctx, store, "default", privateKey(t, forge.Key()))
	must(t, err)
	young := issue()
	wantError(t, validate(young), token.ErrUnavailable)
	must(t, validate(old))
	release(t)
	eventually(t, "the copy has the new key", func() (struct{}, error) { return struct{}{}, validate(young) })

	must(t, dataplane.RemoveKey(ctx, store, "default", 1))
	eventually(t, "the old key is gone, as far as a copy can say", func() (struct{}, error) {
		return struct{}{}, want(validate(old), token.ErrUnavailable)
	})
}
