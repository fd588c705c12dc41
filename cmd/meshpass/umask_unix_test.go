//go:build unix

package main

import (
	"bytes"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func requireOnlyOwner(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), path)
}

func TestOutputFilesAreForTheirOwnerOnlyWhateverTheUmask(t *testing.T) {
	c := newToolWithKeys(t)
	for _, umask := range []int{0, 0o022, 0o277} {
		old := syscall.Umask(umask)
		t.Cleanup(func() { syscall.Umask(old) })
		for _, overwrite := range []string{"--overwrite=false", "--overwrite"} {
			c.done("generate", "signing-key", "--output", "key", overwrite)
			c.done("generate", "public-key", "--signing-key-path", "key", "--output", "public", overwrite)
			c.done("generate", "dataplane-token", "--output", "token", overwrite)
			for _, path := range []string{"key", "public", "token"} {
				requireOnlyOwner(t, path)
			}
		}
		for _, path := range []string{"key", "public", "token"} {
			require.NoError(t, os.Remove(path))
		}
		syscall.Umask(old)
	}
}

func TestOutputThatIsReplacedKeepsItsModeAndItsLink(t *testing.T) {
	c := newToolWithKeys(t)
	require.NoError(t, os.Mkdir("folder", 0o700))
	c.write("folder/token", "old")
	require.NoError(t, os.Chmod("folder/token", 0o640))
	require.NoError(t, os.Symlink("folder/token", "link"))
	require.NoError(t, os.Symlink("link", "link-to-a-link"))
	require.NoError(t, os.Symlink("folder", "link-to-a-folder"))
	require.NoError(t, os.Symlink("link-to-a-folder/../link", "link-through-a-link")) // which is the link beside folder
	for _, path := range []string{"folder/token", "link", "link-to-a-link", "link-through-a-link"} {
		before, err := os.Lstat(path)
		require.NoError(t, err)
		require.Contains(t, c.fails(exitFailed, "generate", "dataplane-token", "--output", path), path+" exists")
		r := c.run("generate", "dataplane-token", "--output", path, "--overwrite")
		require.Equal(t, exitDone, r.status, r.err)
		require.Contains(t, r.err, "warning: others can read "+path+" (mode 0640, as before)")
		now, err := os.Lstat(path)
		require.NoError(t, err)
		require.Equal(t, before.Mode(), now.Mode(), path)
		content, err := os.ReadFile("folder/token")
		require.NoError(t, err)
		require.Regexp(t, `^eyJ`, string(content))
		c.write("folder/token", "old")
	}
	entries, err := os.ReadDir("folder")
	require.NoError(t, err)
	require.Len(t, entries, 1, "no temporary file is left")

	require.NoError(t, os.Symlink("nothing", "dangling"))
	for _, overwrite := range []string{"--overwrite=false", "--overwrite"} {
		require.Contains(t, c.fails(exitFailed, "generate", "dataplane-token", "--output", "dangling", overwrite), "dangling is a symbolic link to nothing")
	}
}

// A rename would put an ordinary file in their place: of /dev/null, for everybody.
func TestOutputThatIsNoOrdinaryFileIsLeftAlone(t *testing.T) {
	c := newToolWithKeys(t)
	require.NoError(t, syscall.Mkfifo("pipe", 0o600))
	require.NoError(t, os.Symlink(os.DevNull, "link"))
	for _, path := range []string{"pipe", "link"} {
		before, err := os.Lstat(path)
		require.NoError(t, err)
		for _, overwrite := range []string{"--overwrite=false", "--overwrite"} {
			require.Contains(t, c.fails(exitUsage, "generate", "dataplane-token", "--output", path, overwrite), path+" is not a regular file")
		}
		now, err := os.Lstat(path)
		require.NoError(t, err)
		require.True(t, os.SameFile(before, now), path)
	}
}

func TestOutputOfASecretThatOthersCanReadIsWarnedOf(t *testing.T) {
	c := newTool(t)
	c.write("key", c.done("generate", "signing-key"))
	r := c.run("generate", "public-key", "--signing-key-path", "key")
	require.Empty(t, r.err)
	require.NoError(t, os.Chmod("key", 0o640))
	r = c.run("generate", "public-key", "--signing-key-path", "key")
	require.Equal(t, exitDone, r.status)
	require.Contains(t, r.err, "others can read key (mode 0640): chmod 600 key")

	redirected, err := os.OpenFile("redirected", os.O_CREATE|os.O_WRONLY, 0o644)
	require.NoError(t, err)
	defer redirected.Close()
	var stderr bytes.Buffer
	a := &app{out: redirected, err: &stderr, getenv: os.Getenv, now: time.Now}
	require.Equal(t, exitDone, a.run(t.Context(), []string{"generate", "signing-key"}))
	require.Contains(t, stderr.String(), "others can read the file on standard output")
	stderr.Reset()
	require.NoError(t, redirected.Chmod(0o600))
	require.Equal(t, exitDone, a.run(t.Context(), []string{"generate", "signing-key"}))
	require.Empty(t, stderr.String())
}
