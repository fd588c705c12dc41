package dir_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
)

// Whatever another program has put in the place of the list of changes: the store works, and
// the next write of a Store is announced at once.
func TestDirGoesOnWhateverIsInTheListOfChanges(t *testing.T) {
	noise := make([]byte, 3<<20)
	_, _ = rand.Read(noise)
	head := "meshpass changes EPOCH\n"
	for name, content := range map[string]string{
		"nothing":                     "",
		"a line end":                  "\n",
		"half a head":                 "meshpass chan",
		"a head without a line end":   strings.TrimSuffix(head, "\n"),
		"half a line":                 head + "0 1795950336945 begin default a 6b86",
		"a line without its head":     "7 1795950336945 end default a -\n",
		"the largest number":          head + "18446744073709551615 1795950336945 end default a -\n",
		"a time far ahead":            head + "4 9223372036854775807 begin default a -\n",
		"a time long ago":             head + "4 -9223372036854775808 begin default a -\n",
		"noise":                       string(noise),
		"noise with a good last line": string(noise) + "\n4 1795950336945 end default a -\n",
		"zeros":                       string(make([]byte, 3<<20)),
		"a long line":                 head + strings.Repeat("x", 3<<20) + "\n",
		"many line ends":              head + strings.Repeat("\n", 3<<20),
		"CRLF":                        "meshpass changes EPOCH\r\n4 1795950336945 end default a -\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := t.TempDir()
			other := openDir(t, path)
			create(t, other, "default", "key-1", "content")
			ctx, cancel := context.WithCancel(t.Context())
			announced := make(chan keystore.Scope, 100)
			ended := make(chan error, 1)
			go func() { ended <- openDir(t, path).Watch(ctx, func(s keystore.Scope) { announced <- s }) }()
			require.Equal(t, keystore.AllScopes, receive(t, announced))

			file := filepath.Join(path, ".changes")
			require.NoError(t, os.WriteFile(file+"-new", []byte(content), 0o600))
			require.NoError(t, os.Rename(file+"-new", file))
			store := openDir(t, path)
			before, err := store.List(t.Context(), keystore.AllScopes, "")
			require.NoError(t, err)
			require.Len(t, before, 1)
			for len(announced) > 0 {
				<-announced
			}
			create(t, store, "default", "key-2", "content")
			require.NoError(t, store.Delete(t.Context(), "default", "key-2"))
			receive(t, announced)
			create(t, store, "default", "key-3", "content")
			require.Eventually(t, func() bool {
				records, err := other.List(t.Context(), keystore.AllScopes, "")
				return err == nil && len(records) == 2
			}, time.Minute, 10*time.Millisecond)
			cancel()
			require.ErrorIs(t, receive(t, ended), context.Canceled)
			kept, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Less(t, len(kept), 2<<20)
			assert.Contains(t, string(kept[bytes.LastIndexByte(bytes.TrimSuffix(kept, []byte("\n")), '\n')+1:]), " end default key-3 ")
		})
	}
}
