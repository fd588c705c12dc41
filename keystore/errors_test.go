package keystore_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
)

func TestErrorSaysWhatFailedOnWhichRecordAndWhy(t *testing.T) {
	engine := errors.New("connection refused")
	for _, c := range []struct {
		err  error
		want string
	}{
		{keystore.Failed("get", "default", "key-1", keystore.ErrNotFound), `keystore: record not found: "key-1" in scope "default"`},
		{keystore.Failed("create", keystore.Global, "key-1", keystore.ErrExists), `keystore: record already exists: "key-1" in the global scope`},
		{keystore.Failed("get", "default", "key-1", engine), `keystore: cannot get "key-1" in scope "default": connection refused`},
		{keystore.Failed("delete", keystore.Global, "key-1", engine), `keystore: cannot delete "key-1" in the global scope: connection refused`},
		{keystore.Failed("list", "default", "", engine), `keystore: cannot list scope "default": connection refused`},
		{keystore.Failed("list", keystore.AllScopes, "", engine), `keystore: cannot list all scopes: connection refused`},
		{keystore.Failed("update", "default", "key-1", fmt.Errorf("%w: %w", keystore.ErrReadOnly, engine)),
			`keystore: cannot update "key-1" in scope "default": store is read-only: connection refused`},
	} {
		assert.EqualError(t, c.err, c.want)
	}
}

func TestErrorTellsItsPartsAndItsCause(t *testing.T) {
	cause := errors.New("connection refused")
	err := fmt.Errorf("reading: %w", keystore.Failed("update", "default", "key-1", fmt.Errorf("%w: %w", keystore.ErrReadOnly, cause)))
	require.ErrorIs(t, err, keystore.ErrReadOnly)
	require.ErrorIs(t, err, cause)
	var failed *keystore.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, "update", failed.Op)
	assert.Equal(t, keystore.Scope("default"), failed.Scope)
	assert.Equal(t, "key-1", failed.Name)
}
