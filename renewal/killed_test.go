package renewal_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/renewal"
)

// The test binary is started again to renew the token in a file until it is killed.
const renewsUntilKilled = "RENEWAL_TEST_FILE"

func TestMain(m *testing.M) {
	path := os.Getenv(renewsUntilKilled)
	if path == "" {
		os.Exit(m.Run())
	}
	a := hasty()
	for {
		keeper, err := renewal.NewKeeper(path, a.renew)
		if err == nil {
			_, err = keeper.Once(context.Background())
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	}
}

func TestTheFileIsOneWholeTokenWheneverTheProcessIsKilled(t *testing.T) {
	executable, err := os.Executable()
	require.NoError(t, err)
	k := keep(t, hasty())
	left := 0
	for range 60 {
		before := k.claims()
		child := exec.CommandContext(t.Context(), executable)
		child.Env = append(os.Environ(), renewsUntilKilled+"="+k.path)
		require.NoError(t, child.Start())
		deadline := time.Now().Add(time.Minute)
		for k.claims().ExpiresAt.Equal(before.ExpiresAt) { // each look finds a whole token
			require.True(t, time.Now().Before(deadline), "it renews")
		}
		for range rand.N(300) {
			k.claims()
		}
		require.NoError(t, child.Process.Kill())
		require.Error(t, child.Wait())
		assert.Equal(t, "id-1", k.claims().ID)
		left += len(k.files()) - 1
	}
	assert.Positive(t, left, "it was killed in the midst of it")
	t.Logf("%d of 60 left a file", left)

	_, err = k.keeper.Once(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []string{"token"}, k.files())
}
