package engines_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
)

func TestPostgresKeepsItsDataWhenItIsKilledAndStartedAgain(t *testing.T) {
	server := engines.NewPostgres(t)
	url := server.NewDatabase(t)
	psql(t, url, "CREATE TABLE notes (note text); INSERT INTO notes VALUES ('kept')")
	server.Kill(t)
	_, err := net.Dial("unix", server.Socket())
	require.Error(t, err)
	server.Start(t)
	require.Equal(t, "kept", psql(t, url, "SELECT note FROM notes"))
	server.Stop(t)
	server.Start(t)
	require.Equal(t, "kept", psql(t, url, "SELECT note FROM notes"))
}

func TestPgBouncerStandsInFrontOfPostgres(t *testing.T) {
	server := engines.NewPostgres(t)
	pooled := server.NewPgBouncer(t, "transaction", "postgres")
	require.Equal(t, "1", psql(t, pooled, "SELECT 1"))
}

// The test binary is started again, to die with a server.
func TestPostgresLeavesNothingBehindWhenTheTestsDie(t *testing.T) {
	const asked = "MESHPASS_TEST_DIE_WITH_POSTGRES"
	if path := os.Getenv(asked); path != "" {
		server := engines.NewPostgres(t)
		require.NoError(t, os.WriteFile(path, []byte(server.Socket()), 0o600))
		select {}
	}
	engines.NewPostgres(t) // or skip
	path := filepath.Join(t.TempDir(), "socket")
	self, err := os.Executable()
	require.NoError(t, err)
	child := exec.Command(self, "-test.run", "^"+t.Name()+"$")
	child.Env = append(os.Environ(), asked+"="+path)
	require.NoError(t, child.Start())
	var socket []byte
	require.Eventually(t, func() bool {
		socket, err = os.ReadFile(path)
		return err == nil && len(socket) > 0
	}, time.Minute, 10*time.Millisecond)
	require.NoError(t, child.Process.Kill())
	_ = child.Wait()
	require.Eventually(t, func() bool {
		_, err := os.Stat(filepath.Dir(string(socket)))
		return os.IsNotExist(err)
	}, time.Minute, 10*time.Millisecond)
	_, err = net.Dial("unix", string(socket))
	require.Error(t, err)
}

func psql(t *testing.T, url, sql string) string {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/psql")
	require.NoError(t, err)
	require.NotEmpty(t, found)
	output, err := exec.Command(found[0], "-X", "-A", "-t", "-q", "-v", "ON_ERROR_STOP=1", url, "-c", sql).CombinedOutput()
	require.NoError(t, err, "%s", output)
	return strings.TrimSpace(string(output))
}
