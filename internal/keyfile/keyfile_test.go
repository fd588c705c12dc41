package keyfile_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/keyfile"
)

func TestAKeyOrAURLIsNoPathAndIsNotQuoted(t *testing.T) {
	for path, says := range map[string]string{
		"-----BEGIN RSA PRIVATE KEY----- S3CR3T":    "it holds a key",
		"S3CR3T\n":                                  "it holds a key",
		"LS0tLS1CS3CR3T":                            "it holds a key",
		strings.Repeat("S3CR3T", 200):               "it holds a key",
		`{"keys":[{"kty":"oct","k":"S3CR3T"}]}`:     "it holds a key",
		` {"kty":"oct","k":"S3CR3T"}`:               "it holds a key",
		"https://id.example.com/keys?token=S3CR3T":  "it is a URL",
		"https://user:S3CR3T@id.example.com/a.json": "it is a URL",
	} {
		err := keyfile.CheckPath(path)
		require.ErrorContains(t, err, says, path)
		require.NotContains(t, err.Error(), "S3CR3T")
	}
	for _, path := range []string{"", "keys.pem", "/keys/{zone}/a:b.json", `C:\keys\a.pem`} {
		require.NoError(t, keyfile.CheckPath(path))
	}
}

func TestOnlyARegularFileIsReadAndNoMoreOfItThanAsked(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "a")
	require.NoError(t, os.WriteFile(path, []byte("12345"), 0o600))
	for limit, want := range map[int]string{3: "1234", 4: "12345", 5: "12345"} {
		data, err := keyfile.Read(path, limit)
		require.NoError(t, err)
		require.Equal(t, want, string(data))
	}
	_, err := keyfile.Read(folder, 1)
	require.ErrorContains(t, err, folder+" is not a regular file")
	_, err = keyfile.Read(path+"b", 1)
	require.ErrorIs(t, err, os.ErrNotExist)
}
