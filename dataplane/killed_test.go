package dataplane_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/signing"
)

// keepChangingKeysIn is set for the processes that are killed: the directory of
// the store. [TestMain] looks at it.
const keepChangingKeysIn = "MESHPASS_TEST_KEEP_CHANGING_KEYS_IN"

// keepChangingKeys makes, adds and removes keys of mesh default until it is killed,
// and prints what it is about to do and what it has done.
func keepChangingKeys(folder string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store, err := dir.Open(folder)
	if err != nil {
		return err
	}
	private, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		return err
	}
	remove := func(serial signing.Serial) error {
		fmt.Println("removing", serial.KeyID())
		return dataplane.RemoveKey(ctx, store, "default", serial, dataplane.Forced())
	}
	fmt.Println("ready")
	for {
		key, err := dataplane.EnsureKey(ctx, store, "default")
		if err != nil {
			return err
		}
		fmt.Println("has", key.Serial.KeyID(), key.Public.Fingerprint())
		for range 8 {
			added, err := dataplane.AddKey(ctx, store, "default", private)
			if err != nil {
				return err
			}
			fmt.Println("has", added.Serial.KeyID(), added.Public.Fingerprint())
			if err := remove(key.Serial); err != nil {
				return err
			}
			key = added
		}
		fmt.Println("removing", key.Serial.KeyID())
		if err := dataplane.RemoveAllKeys(ctx, store, "default"); err != nil {
			return err
		}
	}
}

func TestKeysStayUsableWhenAProcessIsKilledWhileItChangesThem(t *testing.T) {
	self, err := os.Executable()
	require.NoError(t, err)
	for range storetest.Repeat(8, 100) {
		folder := t.TempDir()
		has := killWhileItChangesKeys(t, self, folder)

		store, err := dir.Open(folder)
		require.NoError(t, err)
		names := map[string]bool{}
		for _, r := range listAll(t, store) {
			assert.False(t, names[r.Name], "%s stands twice", r.Name)
			names[r.Name] = true
		}
		keys, err := dataplane.Keys(t.Context(), store, "default")
		require.NoError(t, err)
		assert.True(t, slices.IsSortedFunc(keys, func(a, b signing.Key) int { return int(a.Serial - b.Serial) }))
		for i, key := range keys {
			assert.NoError(t, key.Err)
			assert.False(t, i > 0 && keys[i-1].Serial == key.Serial, "two keys have serial %d", key.Serial)
			assert.Equal(t, i == len(keys)-1, key.Signs)
		}
		for serial, fingerprint := range has {
			i := slices.IndexFunc(keys, func(key signing.Key) bool { return key.Serial.KeyID() == serial })
			if assert.NotEqual(t, -1, i, "key %s was made and never removed, and is gone", serial) {
				assert.Equal(t, fingerprint, keys[i].Public.Fingerprint())
			}
		}

		if len(keys) == 0 {
			_, err = dataplane.EnsureKey(t.Context(), store, "default")
		} else {
			_, err = dataplane.AddKey(t.Context(), store, "default", testKey(0))
		}
		require.NoError(t, err)
		assert.NoError(t, check(t, newValidator(t, store), "default", issue(t, newIssuer(t, store), "default", day)))
	}
}

// killWhileItChangesKeys returns the keys, by serial, that the process said it has
// made and did not say it is removing.
func killWhileItChangesKeys(t *testing.T, self, folder string) map[string]string {
	t.Helper()
	command := exec.CommandContext(t.Context(), self)
	command.Env = append(os.Environ(), keepChangingKeysIn+"="+folder)
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, command.Start())
	lines := bufio.NewScanner(output)
	require.True(t, lines.Scan())
	require.Equal(t, "ready", lines.Text())
	// The point at which it dies is anybody's guess: that is what is tested.
	killing := time.AfterFunc(rand.N(400*time.Millisecond), func() { _ = command.Process.Kill() })
	defer killing.Stop()

	has := map[string]string{}
	for lines.Scan() {
		switch fields := strings.Fields(lines.Text()); {
		case len(fields) == 3 && fields[0] == "has":
			has[fields[1]] = fields[2]
		case len(fields) == 2 && fields[0] == "removing":
			delete(has, fields[1])
		}
	}
	var exit *exec.ExitError
	require.ErrorAs(t, command.Wait(), &exit)
	require.Equal(t, -1, exit.ExitCode(), "it ended by itself")
	return has
}
