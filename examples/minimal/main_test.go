package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/examples/minimal/selfmade"
)

// asProgram makes the test binary a program: "minimal" or "client".
const asProgram = "MINIMAL_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	switch os.Getenv(asProgram) {
	case "minimal":
		main()
	case "client":
		callBackend()
	default:
		m.Run()
	}
}

func TestTheControlPlaneHas150LinesWithCommentsAndBlankOnes(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	lines := 0
	for _, file := range files {
		if !strings.HasSuffix(file, "_test.go") {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			lines += strings.Count(string(text), "\n")
		}
	}
	require.Positive(t, lines)
	require.LessOrEqual(t, lines, 150, "package selfmade is not among them: your control plane does not have it")
}

func TestWithoutAFolderItMakesOneForItsUserAlone(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	folder, err := selfmade.Folder(nil)
	require.NoError(t, err)
	for _, name := range []string{"", "key.pem", "admin.secret", "curl"} {
		info, err := os.Stat(filepath.Join(folder, name))
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, name)
	}

	named, err := selfmade.Folder([]string{folder})
	require.NoError(t, err)
	require.Equal(t, folder, named)
	_, err = selfmade.Folder([]string{folder, folder})
	require.ErrorContains(t, err, "one folder")
}
