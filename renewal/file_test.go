package renewal_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/renewal"
	"github.com/meshpass/meshpass/token"
)

func TestTheTokenInAFileIsRenewedOnce(t *testing.T) {
	k := keep(t, hasty())
	before := k.claims()
	issued, err := k.keeper.Once(t.Context())
	require.NoError(t, err)
	assert.Equal(t, issued.Token, k.text())
	assert.Equal(t, before.ID, k.claims().ID)
	assert.True(t, k.claims().ExpiresAt.After(before.ExpiresAt))
	assert.Equal(t, []string{"token"}, k.files())
	state := k.keeper.State()
	assert.Equal(t, k.claims().ExpiresAt, state.ExpiresAt)
	assert.NoError(t, state.Err)
	assert.False(t, state.RenewedAt.IsZero())
}

// hasty renews a token again within the same second.
func hasty() *authority { return &authority{lifetime: time.Hour, step: time.Second} }

func TestWhatIsAroundTheTokenInAFileStays(t *testing.T) {
	k := keep(t, hasty())
	k.put("\xef\xbb\xbf  " + k.text() + "\r\n")
	issued, err := k.keeper.Once(t.Context())
	require.NoError(t, err)
	assert.Equal(t, "\xef\xbb\xbf  "+issued.Token+"\r\n", k.text())
}

func TestATokenThatAnotherProcessPutsThereMeanwhileStays(t *testing.T) {
	for name, replace := range map[string]func(k *kept){
		"by a rename":       func(k *kept) { k.put(k.issue("id-2")) },
		"in place":          func(k *kept) { require.NoError(k.t, os.WriteFile(k.path, []byte(k.issue("id-2")), 0o600)) },
		"in place, by half": func(k *kept) { require.NoError(k.t, os.WriteFile(k.path, []byte(k.issue("id-2")[:100]), 0o600)) },
		"truncated so far":  func(k *kept) { require.NoError(k.t, os.Truncate(k.path, 0)) },
		"by a folder": func(k *kept) {
			require.NoError(k.t, os.Remove(k.path))
			require.NoError(k.t, os.Mkdir(k.path, 0o700))
		},
		"by nothing": func(k *kept) { require.NoError(k.t, os.Remove(k.path)) },
	} {
		t.Run(name, func(t *testing.T) {
			k := keep(t, hasty())
			var there string
			keeper := k.anotherWith(func(ctx context.Context, raw string) (token.Issued, error) {
				replace(k)
				data, _ := os.ReadFile(k.path)
				there = string(data)
				return k.renew(ctx, raw)
			})
			_, err := keeper.Once(t.Context())
			require.ErrorIs(t, err, renewal.ErrReplaced)
			data, _ := os.ReadFile(k.path)
			assert.Equal(t, there, string(data))
			for _, name := range k.files() {
				assert.Equal(t, "token", name)
			}
		})
	}
}

func TestATokenThatAnotherProcessPutsThereIsNeverLost(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux exchanges files")
	}
	k := keep(t, hasty())
	renewed, kept := 0, 0
	for round := range 2000 {
		id := "id-" + strconv.Itoa(round)
		next := k.issue(id)
		var operator sync.WaitGroup
		keeper := k.anotherWith(func(ctx context.Context, raw string) (token.Issued, error) {
			operator.Go(func() {
				for range rand.N(30_000) { // about the time that the Keeper takes for its file
				}
				k.put(next)
			})
			return k.renew(ctx, raw)
		})
		_, err := keeper.Once(t.Context())
		operator.Wait()
		require.Equal(t, id, k.claims().ID)
		if err == nil {
			renewed++
		} else {
			require.ErrorIs(t, err, renewal.ErrReplaced)
			kept++
		}
	}
	assert.Positive(t, renewed)
	assert.Positive(t, kept)
	assert.Equal(t, []string{"token"}, k.files())
}

func TestTwoKeepersDoNotRenewOneTokenTogether(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no locks on Windows")
	}
	k := keep(t, hasty())
	other := k.another()
	_, err := k.anotherWith(func(ctx context.Context, raw string) (token.Issued, error) {
		_, err := other.Once(ctx)
		require.ErrorIs(t, err, renewal.ErrBusy)
		return k.renew(ctx, raw)
	}).Once(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 1, k.timesAsked())
	_, err = other.Once(t.Context())
	require.NoError(t, err)
}

func TestWhatCannotBeReplacedIsRefusedBeforeTheServerIsAsked(t *testing.T) {
	for name, c := range map[string]struct {
		make func(k *kept) error
		want string
	}{
		"the volume of a Secret": {func(k *kept) error { // as the kubelet makes it
			folder := filepath.Dir(k.path)
			return errors.Join(os.Mkdir(filepath.Join(folder, "..2026_11_29"), 0o700), os.Rename(k.path, filepath.Join(folder, "..2026_11_29", "token")),
				os.Symlink("..2026_11_29", filepath.Join(folder, "..data")), os.Symlink(filepath.Join("..data", "token"), k.path))
		}, "symbolic link"},
		"a link to nothing": {func(k *kept) error { return errors.Join(os.Remove(k.path), os.Symlink("elsewhere", k.path)) }, "symbolic link"},
		"a folder":          {func(k *kept) error { return errors.Join(os.Remove(k.path), os.Mkdir(k.path, 0o700)) }, "not a regular file"},
		"a socket or a device": {func(k *kept) error {
			k.path = os.DevNull
			return nil
		}, "not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			k := keep(t, hasty())
			if err := c.make(k); err != nil {
				t.Skip(err)
			}
			keeper := k.another()
			_, err := keeper.Once(t.Context())
			require.ErrorContains(t, err, c.want)
			require.ErrorContains(t, keeper.Run(t.Context()), c.want)
			assert.Zero(t, k.timesAsked())
		})
	}
}

func TestWhatAKilledProcessLeftIsRemovedAndNothingElse(t *testing.T) {
	k := keep(t, hasty())
	others := []string{".other.renewal-1", ".token", "token.renewal-1", ".token.renewal"}
	for _, name := range append(others, ".token.renewal-123", ".token.renewal-456") {
		require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(k.path), name), []byte("half"), 0o600))
	}
	require.NoError(t, os.Mkdir(filepath.Join(filepath.Dir(k.path), ".token.renewal-folder"), 0o700))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, k.keeper.Run(ctx), context.Canceled)
	assert.ElementsMatch(t, append(others, "token", ".token.renewal-folder"), k.files())
}
