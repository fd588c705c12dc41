package jwks_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/jwks"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func TestAFileIsReadByItsContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	source := jwks.File(path, demands)
	require.Equal(t, demands, source.Demands())
	require.Equal(t, path, source.String())
	read := func() ([]string, error) {
		keys, err := source.Read(t.Context())
		return kids(keys.Keys), err
	}
	keys, err := source.Read(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.Equal(t, signing.SourceKeys{Refresh: 500 * time.Millisecond, OnDemand: 500 * time.Millisecond}, keys, "failed reads do not slow it down")

	begin := time.Now().Add(-time.Hour)
	write := func(text string) { // always the same time and mostly the same size
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chtimes(path, begin, begin))
	}
	write(setA)
	first, err := source.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, signing.SourceKeys{Keys: first.Keys, Refresh: 500 * time.Millisecond, OnDemand: 500 * time.Millisecond}, first)

	write(strings.Replace(setA, `"kid":"a"`, `"kid":"c"`, 1))
	found, err := read()
	require.NoError(t, err)
	require.Equal(t, []string{"c"}, found)

	write(setA[:len(setA)-1])
	_, err = read()
	require.ErrorContains(t, err, "the text ends", "the half of a set is not a set")
	write("")
	_, err = read()
	require.Error(t, err, "an empty file is not an empty set")
	write(setOf())
	found, err = read()
	require.NoError(t, err)
	require.Empty(t, found)
	write("\ufeff\r\n" + setAB + "\r\n")
	found, err = read()
	require.NoError(t, err, "an editor may have saved it")
	require.Equal(t, []string{"a", "b"}, found)
	write("\xff\xfe{\x00")
	_, err = read()
	require.ErrorIs(t, err, token.ErrEncoding)
	write(setA + strings.Repeat(" ", jwks.MaxSize))
	_, err = read()
	require.ErrorContains(t, err, "key set of more than 1048576 bytes")
}

func TestAFileThatDoesNotChangeIsNotParsedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	source := jwks.File(path, demands)
	read := func(text string) signing.SourceKeys {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		keys, err := source.Read(t.Context())
		require.NoError(t, err)
		return keys
	}
	first := read(setOf(jwk("a", forge.Key(), nil), members{"kty": "EC"}))
	require.Len(t, first.Problems, 1)
	second := read(setOf(jwk("a", forge.Key(), nil), members{"kty": "EC"}))
	require.Same(t, first.Problems[0], second.Problems[0])
	require.Same(t, first.Keys["a"], second.Keys["a"])
	third := read(setAB)
	require.Same(t, first.Keys["a"], third.Keys["a"], "the rest of the set has changed")
	fourth := read(setOf(jwk("a", forge.OtherKey(), nil)))
	require.NotSame(t, first.Keys["a"], fourth.Keys["a"])
}

func TestAFileMayBeALinkAndMustNotBeAnythingElse(t *testing.T) {
	folder := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(folder, "1.json"), []byte(setA), 0o600))
	link := filepath.Join(folder, "keys.json")
	if err := os.Symlink("1.json", link); err != nil {
		t.Skip("no links here:", err)
	}
	source := jwks.File(link, demands)
	keys, err := source.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"a"}, kids(keys.Keys))

	require.NoError(t, os.WriteFile(filepath.Join(folder, "2.json"), []byte(setB), 0o600))
	require.NoError(t, os.Symlink("2.json", filepath.Join(folder, "next")))
	require.NoError(t, os.Rename(filepath.Join(folder, "next"), link))
	keys, err = source.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"b"}, kids(keys.Keys))

	others := []string{folder}
	if runtime.GOOS == "linux" {
		others = append(others, "/dev/zero", "/dev/stdin")
	}
	for _, path := range others {
		_, err = jwks.File(path, demands).Read(t.Context())
		require.Error(t, err, path)
	}
}

func TestReadsOfAFileMayBeConcurrent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	require.NoError(t, os.WriteFile(path, []byte(setA), 0o600))
	source := jwks.File(path, demands)
	var readers sync.WaitGroup
	for range 20 {
		readers.Go(func() {
			keys, err := source.Read(t.Context())
			if err != nil || len(keys.Keys) != 1 {
				t.Errorf("read %d keys: %v", len(keys.Keys), err)
			}
		})
	}
	readers.Wait()
}

func TestAKeySetInPlaceOfAPathIsPrintedNowhere(t *testing.T) {
	for _, path := range []string{`{"keys":[{"kty":"oct","k":"S3CR3T"}]}`, "https://id.example.com/keys?token=S3CR3T"} {
		source := jwks.File(path, demands)
		_, err := source.Read(t.Context())
		require.ErrorContains(t, err, "want the path of a file")
		require.NotContains(t, err.Error()+source.String(), "S3CR3T")
	}
}
