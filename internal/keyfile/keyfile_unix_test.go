//go:build unix

package keyfile_test

import (
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/keyfile"
)

func TestANamedPipeIsRefusedWithoutWaitingForItsWriter(t *testing.T) {
	pipe := filepath.Join(t.TempDir(), "pipe")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	_, err := keyfile.Read(pipe, 1)
	require.ErrorContains(t, err, "is not a regular file")
}
