package sealed_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/keystore/sealed"
	"github.com/meshpass/meshpass/token"
)

// An intruder who can write to the directory and has no key-encryption key.
func TestStoreShowsAValidatorNothingThatWasPutIntoTheInnerStore(t *testing.T) {
	path := t.TempDir()
	inner, err := dir.Open(path)
	require.NoError(t, err)
	store := newStore(t, inner, aesgcm(t, 1))
	issuer, err := dataplane.NewIssuer(store)
	require.NoError(t, err)
	issue := func(issuer dataplane.Issuer, mesh string) string {
		t.Helper()
		issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: mesh, Name: "dp-1"}, time.Hour)
		require.NoError(t, err)
		return issued.Token
	}
	for _, mesh := range []string{"default", "other"} {
		_, err = dataplane.EnsureKey(t.Context(), store, mesh)
		require.NoError(t, err)
	}
	validator, err := dataplane.NewValidator(newStore(t, inner, aesgcm(t, 1)))
	require.NoError(t, err)
	defer validator.Close()
	good, other := issue(issuer, "default"), issue(issuer, "other")
	validates := func(mesh, raw string) error {
		_, err := validator.Validate(t.Context(), mesh, raw)
		return err
	}
	require.NoError(t, validates("default", good))
	require.NoError(t, validates("other", other))

	forger := keystore.NewMemory()
	_, err = dataplane.EnsureKey(t.Context(), forger, "default")
	require.NoError(t, err)
	key := stored(t, forger, "default", "dataplane-token-signing-key-default-1")
	create(t, inner, "default", "dataplane-token-signing-key-default-2", string(key))
	forgery, err := dataplane.NewIssuer(forger)
	require.NoError(t, err)
	put(t, forger, "default", "dataplane-token-signing-key-default-2", key)
	require.NoError(t, forger.Delete(t.Context(), "default", "dataplane-token-signing-key-default-1"))
	forged := issue(forgery, "default")

	// The planted record is an unreadable key. The rest of its mesh is up to date.
	require.Eventually(t, func() bool {
		_, err := store.List(t.Context(), keystore.AllScopes, "")
		return assert.ErrorIs(t, err, sealed.ErrNotSealed) && validates("default", forged) != nil
	}, 30*time.Second, 10*time.Millisecond)
	assert.NoError(t, validates("default", good))
	verified, err := validator.Validate(t.Context(), "other", other)
	require.NoError(t, err)
	require.NoError(t, dataplane.Revoke(t.Context(), store, "other", verified.Registered().ID))
	require.Eventually(t, func() bool { return validates("other", other) != nil }, 30*time.Second, 10*time.Millisecond)
	assert.ErrorIs(t, validates("other", other), token.ErrRevoked)
	assert.Error(t, validates("default", forged))

	verified, err = validator.Validate(t.Context(), "default", good)
	require.NoError(t, err)
	require.NoError(t, dataplane.Revoke(t.Context(), store, "default", verified.Registered().ID))
	require.Eventually(t, func() bool { return validates("default", good) != nil }, 30*time.Second, 10*time.Millisecond)
	assert.ErrorIs(t, validates("default", good), token.ErrRevoked)
	_, err = issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	assert.ErrorIs(t, err, sealed.ErrNotSealed, "an older key does not step in for the highest serial")

	// Once it is gone, the older key signs again.
	require.NoError(t, inner.Delete(t.Context(), "default", "dataplane-token-signing-key-default-2"))
	assert.NoError(t, validates("default", issue(issuer, "default")))
}
