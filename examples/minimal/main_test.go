package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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
