package signing_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func TestFixedSourceHoldsItsKeysForEver(t *testing.T) {
	keys := map[string]*signing.PublicKey{"b": newPrivateKey(t, firstRSA()).Public(), "a": newPrivateKey(t, firstRSA()).Public()}
	source, err := signing.FixedSource(keys, token.Demands{Issuer: "idp"})
	require.NoError(t, err)
	delete(keys, "a")
	got, err := source.Read(t.Context())
	require.NoError(t, err)
	assert.Len(t, got.Keys, 2)
	assert.True(t, got.Chosen)
	assert.Zero(t, got.Refresh)
	delete(got.Keys, "b")
	assert.Equal(t, []string{"a", "b"}, source.KeyIDs())
	got, err = source.Read(t.Context())
	require.NoError(t, err)
	assert.Len(t, got.Keys, 2)
	assert.Equal(t, token.Demands{Issuer: "idp"}, source.Demands())
	assert.Equal(t, "configured public keys", source.String())

	for says, keys := range map[string]map[string]*signing.PublicKey{
		"without a public key": {},
		"kid is empty":         {"": newPrivateKey(t, firstRSA()).Public()},
		`"a": the key is nil`:  {"a": nil},
		`"b": the key is nil`:  {"b": {}},
	} {
		_, err := signing.FixedSource(keys, token.Demands{})
		assert.ErrorContains(t, err, says)
	}
}

func TestPEMFileReadsItsKeyOrNamesItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key.pem")
	source, err := signing.PEMFile("key-1", path, token.Demands{Issuer: "idp"})
	require.NoError(t, err)
	assert.Equal(t, path, source.String())
	assert.Equal(t, token.Demands{Issuer: "idp"}, source.Demands())
	assert.Equal(t, []string{"key-1"}, source.KeyIDs())
	got, err := source.Read(t.Context())
	assert.ErrorIs(t, err, os.ErrNotExist)
	assert.ErrorContains(t, err, path)
	assert.Equal(t, 500*time.Millisecond, got.Refresh)

	for name, text := range map[string][]byte{
		"PKCS#1": newPrivateKey(t, firstRSA()).Public().PEM(), "PKIX": newPrivateKey(t, firstRSA()).Public().PKIX(),
		"a byte order mark and white space": append([]byte("\ufeff\n"), append(newPrivateKey(t, firstRSA()).Public().PEM(), ' ', '\n')...),
	} {
		require.NoError(t, os.WriteFile(path, text, 0o600))
		got, err = source.Read(t.Context())
		require.NoError(t, err, name)
		assert.True(t, got.Keys["key-1"].Equal(newPrivateKey(t, firstRSA()).Public()), name)
		assert.True(t, got.Chosen)
	}
	for size, says := range map[int]string{
		1 << 20:    " has more than 65536 bytes",
		64<<10 + 1: " has more than 65536 bytes",
		64 << 10:   ": unusable key: found nothing",
	} {
		require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte(" "), size), 0o600))
		_, err = source.Read(t.Context())
		assert.ErrorContains(t, err, path+says, size)
	}

	for says, c := range map[string][2]string{
		"kid is empty":                      {"", path},
		"the path of its file is empty":     {"a", ""},
		"it holds a key, want the path":     {"a", string(newPrivateKey(t, firstRSA()).Public().PEM())},
		"it holds a key, want the path of ": {"a", "LS0tLS1CRUdJTg"},
	} {
		_, err := signing.PEMFile(c[0], c[1], token.Demands{})
		assert.ErrorContains(t, err, says)
	}
}
