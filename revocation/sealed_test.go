package revocation_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/sealed"
	"github.com/meshpass/meshpass/revocation"
)

// To whoever lacks the key an encrypted list must not look like one with other ids.
func TestEditDoesNotOverwriteAnEncryptedList(t *testing.T) {
	ctx := t.Context()
	inner := keystore.NewMemory()
	sealer, err := sealed.NewAESGCM([]byte("a key-encryption key of 32 bytes"))
	require.NoError(t, err)
	store, err := sealed.New(inner, sealer)
	require.NoError(t, err)
	ref := revocation.Zone()
	require.NoError(t, ref.Add(ctx, store, "id-1"))

	_, err = ref.Load(ctx, inner)
	assert.ErrorIs(t, err, revocation.ErrUnreadable)
	assert.ErrorContains(t, err, "encrypted")
	assert.ErrorIs(t, ref.Add(ctx, inner, "id-2"), revocation.ErrUnreadable)
	assert.ErrorIs(t, ref.Remove(ctx, inner, "id-1"), revocation.ErrUnreadable)

	list, err := ref.Load(ctx, store)
	require.NoError(t, err)
	assert.True(t, list.Contains("id-1"))
	assert.Equal(t, 1, list.Len())
}

func TestListStaysReadableWithAnIDThatLooksLikeAnEncryptedList(t *testing.T) {
	ctx, id := t.Context(), "meshpass-sealed-v1"
	for name, edit := range map[string]func(store keystore.KeyStore) error{
		"as the only one": func(store keystore.KeyStore) error { return revocation.Zone().Add(ctx, store, id) },
		"as the first of several": func(store keystore.KeyStore) error {
			return errors.Join(revocation.Zone().Add(ctx, store, id, "id-1"), revocation.Zone().Remove(ctx, store, "id-1"))
		},
		"after the one before it was removed": func(store keystore.KeyStore) error {
			return errors.Join(revocation.Zone().Add(ctx, store, "id-1", id), revocation.Zone().Remove(ctx, store, "id-1"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			store := keystore.NewMemory()
			require.NoError(t, edit(store))
			list, err := revocation.Zone().Load(ctx, store)
			require.NoError(t, err)
			assert.Equal(t, []string{id}, list.IDs())
		})
	}
	data, err := revocation.Format([]string{id})
	require.NoError(t, err)
	list, err := revocation.Parse(data)
	require.NoError(t, err)
	assert.True(t, list.Contains(id))
}
