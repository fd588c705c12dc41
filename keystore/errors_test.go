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

func TestUnreadableErrorNamesEachRecordAndWhy(t *testing.T) {
	denied, corrupt := errors.New("permission denied"), errors.New("no key opens it")
	read := func(scope keystore.Scope, name string, why error) *keystore.Error {
		return &keystore.Error{Op: "read", Scope: scope, Name: name, Err: why}
	}
	require.NoError(t, keystore.Unreadable(nil), "a list without unreadable records has no error")
	one := keystore.Unreadable([]*keystore.Error{read("default", "key-1", denied)})
	require.EqualError(t, one, `keystore: cannot read "key-1" in scope "default": permission denied`)
	two := keystore.Unreadable([]*keystore.Error{read("default", "key-2", denied), read(keystore.Global, "key-9", corrupt)})
	require.EqualError(t, two, `keystore: cannot read "key-9" in the global scope: no key opens it (and 1 more that cannot be read)`)
	require.ErrorIs(t, two, denied)
	require.ErrorIs(t, two, corrupt)

	unreadable, other := keystore.SplitUnreadable(fmt.Errorf("listing the keys: %w", two))
	require.NoError(t, other)
	require.Len(t, unreadable, 2)
	assert.Equal(t, "key-9", unreadable[0].Name, "sorted by scope and then name")
	assert.Equal(t, "key-2", unreadable[1].Name)
}

func TestSplitUnreadableTakesNoFailedListForACompleteOne(t *testing.T) {
	one := keystore.Unreadable([]*keystore.Error{{Op: "read", Scope: "default", Name: "key-1", Err: errors.New("permission denied")}})
	for _, err := range []error{
		nil,
		errors.New("connection refused"),
		errors.Join(one, errors.New("connection refused")),
		fmt.Errorf("%w: %w", errors.New("connection refused"), one),
		&keystore.UnreadableError{},
	} {
		unreadable, other := keystore.SplitUnreadable(err)
		assert.Empty(t, unreadable)
		assert.Equal(t, err, other)
	}
}
