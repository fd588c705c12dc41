package keystore_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
)

func TestCheckNameAndCheckScopeTakeLettersDigitsAndThreeSigns(t *testing.T) {
	for _, name := range []string{
		"a", "Z", "0", "default", "default-2", "a.b", "a_b", "a--b", "a.", "con", "dataplane-token-signing-key-default-1",
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-",
	} {
		assert.NoError(t, keystore.CheckName(name), name)
		assert.NoError(t, keystore.CheckScope(keystore.Scope(name)), name)
	}
	for _, name := range []string{
		".", "..", "/x", ".hidden", "-a", "_a", "a/b", `a\b`, "a b", "a\n", "a\x00", "ä", "a\xff", "a%41", "a*",
	} {
		assert.ErrorIs(t, keystore.CheckName(name), keystore.ErrName, "%q", name)
		assert.ErrorIs(t, keystore.CheckScope(keystore.Scope(name)), keystore.ErrName, "%q", name)
	}
}

func TestCheckNameAndCheckScopeLimitTheLength(t *testing.T) {
	assert.NoError(t, keystore.CheckScope(keystore.Scope(strings.Repeat("m", 128))))
	assert.ErrorIs(t, keystore.CheckScope(keystore.Scope(strings.Repeat("m", 129))), keystore.ErrName)
	assert.NoError(t, keystore.CheckName(strings.Repeat("n", 253)))
	assert.ErrorIs(t, keystore.CheckName(strings.Repeat("n", 254)), keystore.ErrName)
	assert.ErrorIs(t, keystore.CheckName(""), keystore.ErrName)
}

func TestCheckScopeTakesTheGlobalScopeAndOneMesh(t *testing.T) {
	assert.NoError(t, keystore.CheckScope(keystore.Global))
	assert.NoError(t, keystore.CheckScope("default"))
	assert.ErrorIs(t, keystore.CheckScope(keystore.AllScopes), keystore.ErrName)
}

func TestCheckNameSaysWhatIsWrongAndWhatIsAllowed(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{keystore.CheckName(""), `keystore: unusable name: record name "" is empty, want 1 to 253 bytes of A-Z a-z 0-9 . _ -, the first a letter or a digit`},
		{keystore.CheckName("../1"), `keystore: unusable name: record name "../1" begins with ".", want 1 to 253 bytes of A-Z a-z 0-9 . _ -, the first a letter or a digit`},
		{keystore.CheckScope("a/b"), `keystore: unusable name: scope "a/b" has "/" at byte 1, want 1 to 128 bytes of A-Z a-z 0-9 . _ -, the first a letter or a digit`},
		{keystore.CheckScope("*"), `keystore: unusable name: "*" stands for every scope, want a single one`},
	} {
		assert.EqualError(t, c.err, c.want)
	}
}

func TestCheckNameQuotesALongNameCutShort(t *testing.T) {
	err := keystore.CheckName("\x1b[31m" + strings.Repeat("n", 1<<20))
	require.ErrorIs(t, err, keystore.ErrName)
	assert.Less(t, len(err.Error()), 300)
	assert.NotContains(t, err.Error(), "\x1b")
	assert.Contains(t, err.Error(), "has 1048581 bytes")
}

func TestCheckRecordChecksScopeNameAndSize(t *testing.T) {
	r := keystore.Record{Scope: "default", Name: "key-1", Data: []byte("secret")}
	assert.NoError(t, keystore.CheckRecord(r, 6))

	err := keystore.CheckRecord(r, 5)
	require.ErrorIs(t, err, keystore.ErrTooLarge)
	assert.EqualError(t, err, `keystore: record too large: "key-1" in scope "default" has 6 bytes, the limit is 5`)

	assert.ErrorIs(t, keystore.CheckRecord(keystore.Record{Scope: "*", Name: "key-1"}, 5), keystore.ErrName)
	assert.ErrorIs(t, keystore.CheckRecord(keystore.Record{Scope: "default"}, 5), keystore.ErrName)
}

func TestErrNameTakenIsAKindOfErrExists(t *testing.T) {
	assert.ErrorIs(t, keystore.ErrNameTaken, keystore.ErrExists)
	assert.NotErrorIs(t, keystore.ErrExists, keystore.ErrNameTaken)
}
