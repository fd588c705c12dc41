package renewal_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/renewal"
	"github.com/meshpass/meshpass/token"
)

const (
	serviceUser  = 51001 // a user and a group that no system has
	serviceGroup = 52000
)

// missing skips the test, or fails it under CI=true, since CI must test everything.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why + "; under CI=true that is a failure")
	}
	t.Skip(why)
}

// mount mounts a file system in memory over the folder of the token file.
func (k *kept) mount(options string) {
	k.t.Helper()
	if os.Geteuid() != 0 {
		missing(k.t, "only root can mount a file system")
	}
	raw, folder := k.text(), filepath.Dir(k.path)
	if err := syscall.Mount("tmpfs", folder, "tmpfs", 0, options); err != nil {
		missing(k.t, "a file system cannot be mounted: "+err.Error())
	}
	k.t.Cleanup(func() { require.NoError(k.t, syscall.Unmount(folder, syscall.MNT_DETACH)) })
	k.put(raw)
}

func (k *kept) rights() string {
	k.t.Helper()
	info, err := os.Stat(k.path)
	require.NoError(k.t, err)
	stat := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d:%d %04o", stat.Uid, stat.Gid, stat.Mode&0o7777)
}

func TestAFileOfAServiceStaysItsOwnWhenRootRenewsTheToken(t *testing.T) {
	if os.Geteuid() != 0 {
		missing(t, "only root can give files to other users")
	}
	k := keep(t, hasty())
	require.NoError(t, os.Chown(k.path, serviceUser, serviceGroup))
	require.NoError(t, os.Chmod(k.path, 0o440))
	if err := syscall.Setxattr(k.path, "user.note", []byte("ours"), 0); err != nil {
		missing(t, "no extended attributes: "+err.Error())
	}
	before := k.text()
	for range 2 {
		_, err := k.keeper.Once(t.Context())
		require.NoError(t, err)
		assert.NotEqual(t, before, k.text())
		assert.Equal(t, "51001:52000 0440", k.rights())
		note := make([]byte, 10)
		n, err := syscall.Getxattr(k.path, "user.note", note)
		require.NoError(t, err)
		assert.Equal(t, "ours", string(note[:n]))
	}
}

func TestRightsThatChangeDuringARenewalAreKept(t *testing.T) {
	k := keep(t, hasty())
	_, err := k.anotherWith(func(ctx context.Context, raw string) (token.Issued, error) {
		require.NoError(t, os.Chmod(k.path, 0o640))
		return k.renew(ctx, raw)
	}).Once(t.Context())
	require.NoError(t, err)
	assert.Contains(t, k.rights(), " 0640")
}

func TestOnAFullDiskTheOldTokenStaysAndTheServerIsNotAsked(t *testing.T) {
	for name, full := range map[string]struct {
		options string
		fill    func(t *testing.T, folder string) (empty func() error)
	}{
		"of data": {"size=64k", func(t *testing.T, folder string) func() error {
			filler := filepath.Join(folder, "filler")
			require.ErrorIs(t, os.WriteFile(filler, make([]byte, 64<<10), 0o600), syscall.ENOSPC)
			return func() error { return os.Remove(filler) }
		}},
		"but for a page": {"size=64k", func(t *testing.T, folder string) func() error {
			filler := filepath.Join(folder, "filler")
			require.NoError(t, os.WriteFile(filler, make([]byte, 56<<10), 0o600))
			return func() error { return os.Remove(filler) }
		}},
		"of files": {"nr_inodes=4", func(t *testing.T, folder string) func() error {
			filler := filepath.Join(folder, "filler") // two files, as the lock and the new token are
			require.NoError(t, os.Mkdir(filler, 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(filler, "file"), nil, 0o600))
			return func() error { return os.RemoveAll(filler) }
		}},
	} {
		t.Run(name, func(t *testing.T) {
			k := keep(t, hasty(), renewal.WithPoll(time.Millisecond), renewal.WithPoint(1e-6))
			k.mount(full.options)
			before := k.text()
			empty := full.fill(t, filepath.Dir(k.path))
			_, err := k.keeper.Once(t.Context())
			require.ErrorIs(t, err, syscall.ENOSPC)
			require.ErrorContains(t, err, filepath.Dir(k.path))
			assert.Equal(t, before, k.text())
			assert.Equal(t, []string{"filler", "token"}, k.files())
			assert.Zero(t, k.timesAsked(), "or the next renewal would look like that of a stolen token")

			stop := k.run(k.keeper) // a full disk may get room again
			defer stop()
			require.Eventually(t, func() bool { return k.log.Count("token not renewed", "no space left") > 0 }, time.Minute, time.Millisecond)
			require.NoError(t, empty())
			require.Eventually(t, func() bool { return k.text() != before }, time.Minute, time.Millisecond)
		})
	}
}

func TestAFolderThatCannotBeWrittenIsRefusedAtOnce(t *testing.T) {
	k := keep(t, hasty())
	k.mount("")
	require.NoError(t, syscall.Mount("", filepath.Dir(k.path), "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""))
	for _, err := range []error{k.keeper.Run(t.Context()), func() error { _, err := k.keeper.Once(t.Context()); return err }()} {
		require.ErrorIs(t, err, syscall.EROFS)
		require.ErrorContains(t, err, filepath.Dir(k.path))
	}
	assert.Zero(t, k.timesAsked())
}

// As where Kubernetes mounts a file with subPath.
func TestAFileThatIsMountedIsNotReplacedAndThatIsSaid(t *testing.T) {
	k := keep(t, hasty())
	k.mount("")
	elsewhere := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(elsewhere, []byte(k.text()), 0o600))
	require.NoError(t, syscall.Mount(elsewhere, k.path, "", syscall.MS_BIND, ""))
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(k.path, syscall.MNT_DETACH)) })
	before := k.text()
	_, err := k.keeper.Once(t.Context())
	require.ErrorContains(t, err, "is mounted by itself")
	require.ErrorContains(t, k.keeper.Run(t.Context()), "is mounted by itself")
	assert.Equal(t, before, k.text())
	assert.Zero(t, k.timesAsked())
}

// As in a folder with the sticky bit, where the file belongs to another user.
func TestAFileThatTheSystemDoesNotLetGoIsTriedLessAndLess(t *testing.T) {
	k := keep(t, hasty(), renewal.WithPoll(time.Millisecond), renewal.WithPoint(1e-6))
	k.mount("")
	if output, err := exec.CommandContext(t.Context(), "chattr", "+i", k.path).CombinedOutput(); err != nil {
		t.Skipf("no file can be made immutable here: %s", output)
	}
	t.Cleanup(func() { require.NoError(t, exec.Command("chattr", "-i", k.path).Run()) })
	before := k.text()
	_, err := k.keeper.Once(t.Context())
	require.ErrorIs(t, err, syscall.EPERM)
	stop := k.run(k.keeper)
	require.Eventually(t, func() bool { return k.log.Count("level=WARN", "token not renewed", "not permitted") > 0 }, time.Minute, time.Millisecond)
	stop()
	assert.Greater(t, time.Until(k.keeper.State().NextAttempt), 25*time.Second)
	assert.Equal(t, before, k.text())
	assert.Equal(t, []string{"token"}, k.files())
}

func TestWhoCanReadTheTokenFileCannotKeepItFromBeingRenewed(t *testing.T) {
	k := keep(t, hasty())
	reader, err := os.Open(k.path)
	require.NoError(t, err)
	defer reader.Close()
	require.NoError(t, syscall.Flock(int(reader.Fd()), syscall.LOCK_SH))
	before := k.text()
	_, err = k.keeper.Once(t.Context())
	require.NoError(t, err)
	assert.NotEqual(t, before, k.text())
	assert.Equal(t, []string{"token"}, k.files())
}

func TestTheLockIsForThoseWhoMayWriteToTheFolder(t *testing.T) {
	if os.Geteuid() != 0 {
		missing(t, "only root can give files to other users")
	}
	for folder, want := range map[os.FileMode]string{0o755: "51001:52000 0600", 0o775: "51001:52000 0660", 0o750 | os.ModeSetgid: "51001:52000 0600"} {
		k := keep(t, hasty())
		require.NoError(t, os.Chown(filepath.Dir(k.path), serviceUser, serviceGroup))
		require.NoError(t, os.Chmod(filepath.Dir(k.path), folder))
		_, err := k.anotherWith(func(ctx context.Context, raw string) (token.Issued, error) {
			lock := &kept{t: t, path: filepath.Join(filepath.Dir(k.path), ".token.lock")}
			assert.Equal(t, want, lock.rights())
			return k.renew(ctx, raw)
		}).Once(t.Context())
		require.NoError(t, err)
		assert.Equal(t, []string{"token"}, k.files())
	}
}

func TestWhoseFolderItIsGetsNoFileOfRootByALinkInPlaceOfTheLock(t *testing.T) {
	if os.Geteuid() != 0 {
		missing(t, "only root can give files to other users")
	}
	for name, content := range map[string]string{"it has another name": "", "root has removed its other name": "secret"} {
		t.Run(name, func(t *testing.T) {
			k := keep(t, hasty())
			folder := filepath.Dir(k.path)
			require.NoError(t, os.Chown(folder, serviceUser, serviceGroup))
			roots := filepath.Join(t.TempDir(), "secret")
			require.NoError(t, os.WriteFile(roots, []byte(content), 0o640))
			require.NoError(t, os.Link(roots, filepath.Join(folder, ".token.lock")))
			file, err := os.Open(roots)
			require.NoError(t, err)
			defer file.Close()
			if content != "" {
				require.NoError(t, os.Remove(roots))
			}
			_, err = k.keeper.Once(t.Context())
			require.NoError(t, err)
			info, err := file.Stat()
			require.NoError(t, err)
			assert.Zero(t, info.Sys().(*syscall.Stat_t).Uid)
		})
	}
}

func TestALockThatIsNoFileIsSaidAndTheServerNotAsked(t *testing.T) {
	for name, make := range map[string]func(path string) error{
		"a link":             func(path string) error { return os.Symlink("elsewhere", path) },
		"a link to a file":   func(path string) error { return os.Symlink("token", path) },
		"a pipe":             func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"a folder":           func(path string) error { return os.Mkdir(path, 0o700) },
		"a link to a folder": func(path string) error { return os.Symlink(".", path) },
	} {
		t.Run(name, func(t *testing.T) {
			k := keep(t, hasty())
			require.NoError(t, make(filepath.Join(filepath.Dir(k.path), ".token.lock")))
			files := k.files()
			_, err := k.keeper.Once(t.Context())
			require.ErrorContains(t, err, ".token.lock, which locks it, is not a regular file")
			require.ErrorContains(t, k.keeper.Run(t.Context()), "not a regular file")
			assert.Equal(t, files, k.files())
			assert.Zero(t, k.timesAsked())
		})
	}
}

func TestAFolderThatIsExchangedDuringARenewalLeadsNothingElsewhere(t *testing.T) {
	k := keep(t, hasty())
	folder := filepath.Join(t.TempDir(), "folder")
	require.NoError(t, os.Mkdir(folder, 0o700))
	require.NoError(t, os.Rename(k.path, filepath.Join(folder, "token")))
	k.path = filepath.Join(folder, "token")
	before := k.text()
	_, err := k.anotherWith(func(ctx context.Context, raw string) (token.Issued, error) {
		require.NoError(t, os.Rename(folder, folder+".away"))
		require.NoError(t, os.Mkdir(folder, 0o700))
		require.NoError(t, os.WriteFile(k.path, []byte(raw), 0o600)) // as the one that is renewed
		return k.renew(ctx, raw)
	}).Once(t.Context())
	require.NoError(t, err)
	assert.Equal(t, before, k.text(), "another folder has the name now")
	assert.Equal(t, []string{"token"}, k.files())
	k.path = filepath.Join(folder+".away", "token")
	assert.NotEqual(t, before, k.text())
	assert.Equal(t, []string{"token"}, k.files())
}
