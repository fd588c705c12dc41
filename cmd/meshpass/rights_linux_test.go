package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

const serviceUser = 51001 // a user that no system has

// needsRoot skips the test, since only root can be several users. Under CI=true it fails
// instead, since CI must test everything.
func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() == 0 {
		return
	}
	const why = "only root can give files to other users"
	if os.Getenv("CI") == "true" {
		t.Fatal(why + "; under CI=true that is a failure")
	}
	t.Skip(why)
}

// rightsIn returns the owner, the group and the mode of all files and folders below one.
func rightsIn(t *testing.T, folder string) map[string]string {
	t.Helper()
	found := map[string]string{}
	require.NoError(t, filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := entry.Info()
		require.NoError(t, err)
		stat := info.Sys().(*syscall.Stat_t)
		found[path] = fmt.Sprintf("%d:%d %04o", stat.Uid, stat.Gid, stat.Mode&0o7777)
		return nil
	}))
	return found
}

func TestOutputOfRootKeepsTheOwnerOfAFileAndIsTheFoldersOwnersIfItIsNew(t *testing.T) {
	needsRoot(t)
	c := newToolWithKeys(t)
	require.NoError(t, os.Mkdir("home", 0o770))
	c.write("home/token", "old")
	for path, mode := range map[string]fs.FileMode{"home": 0o770, "home/token": 0o640} {
		require.NoError(t, os.Chown(path, serviceUser, serviceUser))
		require.NoError(t, os.Chmod(path, mode))
	}
	c.done("generate", "dataplane-token", "--output", "home/token", "--overwrite")
	require.NotEqual(t, "old", c.read("home/token"))
	c.done("generate", "dataplane-token", "--output", "home/new", "--overwrite")
	c.done("generate", "signing-key", "--output", "home/key")
	require.Equal(t, map[string]string{
		"home":       "51001:51001 0770",
		"home/token": "51001:51001 0640",
		"home/new":   "51001:51001 0600",
		"home/key":   "51001:51001 0600",
	}, rightsIn(t, "home"))
}

// A user could otherwise have root replace any file.
func TestOutputOfRootFollowsALinkOfAUserToAFileOfThatUserOnly(t *testing.T) {
	needsRoot(t)
	c := newToolWithKeys(t)
	require.NoError(t, os.Mkdir("home", 0o700))
	for _, file := range []string{"system", "home/token"} {
		c.write(file, "old")
	}
	for link, target := range map[string]string{
		"home/own": "token", "home/planted": "../system", "home/own-to-planted": "planted", "root-to-planted": "home/planted", "root-to-own": "home/own",
	} {
		require.NoError(t, os.Symlink(target, link))
		if strings.HasPrefix(link, "home") {
			require.NoError(t, os.Lchown(link, serviceUser, serviceUser))
		}
	}
	require.NoError(t, os.Chown("home/token", serviceUser, serviceUser))
	for _, path := range []string{"home/planted", "home/own-to-planted", "root-to-planted"} {
		require.Contains(t, c.fails(exitFailed, "generate", "dataplane-token", "--output", path, "--overwrite"),
			"is a symbolic link of another user to a file that is not that user's", path)
		require.Equal(t, "old", c.read("system"))
	}
	for _, path := range []string{"home/own", "root-to-own"} {
		c.write("home/token", "old")
		c.done("generate", "dataplane-token", "--output", path, "--overwrite")
		require.NotEqual(t, "old", c.read("home/token"))
	}
	require.Equal(t, "51001:51001 0600", rightsIn(t, "home")["home/token"])
}

func TestRootThatLooksAtAStoreLeavesNothingThere(t *testing.T) {
	needsRoot(t)
	c := newToolWithKeys(t)
	token := c.done("generate", "dataplane-token")
	locks, err := filepath.Glob("keys/.*.lock")
	require.NoError(t, err)
	require.NotEmpty(t, locks)
	for _, lock := range locks {
		require.NoError(t, os.Remove(lock))
	}
	for path := range rightsIn(t, "keys") {
		require.NoError(t, os.Chown(path, serviceUser, serviceUser))
	}
	before := rightsIn(t, "keys")
	c.done("keys", "list", "--mesh", "default")
	c.done("keys", "list", "--zone-tokens")
	c.done("revocations", "list", "--mesh", "default")
	require.Equal(t, exitDone, c.runWith(token, "inspect", "-").status)
	require.Equal(t, before, rightsIn(t, "keys"))

	c.done("revocations", "add", "--mesh", "default", "id-1")
	c.done("keys", "add", "--first", "--mesh", "new")
	for path, rights := range rightsIn(t, "keys") {
		require.Contains(t, rights, "51001:51001 ", path)
	}
}

func TestOutputOnAFullDiskSaysSoAndLeavesTheOldFile(t *testing.T) {
	needsRoot(t)
	c := newToolWithKeys(t)
	require.NoError(t, os.Mkdir("full", 0o700))
	if err := syscall.Mount("tmpfs", "full", "tmpfs", 0, "size=64k"); err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "under CI=true it must be mounted: %v", err)
		t.Skipf("a file system cannot be mounted: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount("full", syscall.MNT_DETACH)) })
	c.write("full/token", "old")
	require.ErrorIs(t, os.WriteFile("full/filler", make([]byte, 64<<10), 0o600), syscall.ENOSPC)
	for _, path := range []string{"full/token", "full/new"} {
		said := c.fails(exitFailed, "generate", "dataplane-token", "--output", path, "--overwrite")
		require.Contains(t, said, "cannot write "+path)
		require.Contains(t, said, "no space left on device (full)")
	}
	require.Equal(t, "old", c.read("full/token"))
	entries, err := os.ReadDir("full")
	require.NoError(t, err)
	require.Len(t, entries, 2, "no temporary file is left")
}
