package dir_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/keystoretest"
)

// ownProcess says that a test is run in a process of its own.
const ownProcess = "KEYSTORE_TEST_OWN_PROCESS"

// inOwnProcess runs the test that calls it once more, in a process of its own,
// and returns false. There it returns true.
func inOwnProcess(t *testing.T, pattern string, attributes *syscall.SysProcAttr) bool {
	t.Helper()
	if os.Getenv(ownProcess) != "" {
		return true
	}
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run="+pattern, "-test.v")
	cmd.Env = append(os.Environ(), ownProcess+"=yes")
	cmd.SysProcAttr = attributes
	output, err := cmd.CombinedOutput()
	if errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ENOSPC) {
		missing(t, fmt.Sprintf("this system does not let a process mount file systems: %v", err))
	}
	require.NoError(t, err, "%s", output)
	if strings.Contains(string(output), "--- SKIP: "+t.Name()+" ") {
		t.Skipf("%s", output)
	}
	assert.Contains(t, string(output), "--- PASS: "+t.Name()+" ")
	return false
}

// missing skips the test, since the system does not let it run. Under CI=true it fails
// instead, since CI must test everything.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why + "; under CI=true that is a failure")
	}
	t.Skip(why)
}

// ownMounts lets a process mount file systems that no other sees.
func ownMounts() *syscall.SysProcAttr {
	attributes := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	if os.Geteuid() != 0 {
		attributes.Cloneflags = syscall.CLONE_NEWUSER
		attributes.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		attributes.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return attributes
}

func TestDirOnAReadOnlyFileSystemConforms(t *testing.T) {
	if !inOwnProcess(t, "^"+t.Name()+"$/^ReadOnly$", ownMounts()) {
		return
	}
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			path, readOnly := t.TempDir(), t.TempDir()
			require.NoError(t, syscall.Mount(path, readOnly, "", syscall.MS_BIND, ""))
			t.Cleanup(func() { assert.NoError(t, syscall.Unmount(readOnly, syscall.MNT_DETACH)) })
			require.NoError(t, syscall.Mount("", readOnly, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
			require.ErrorIs(t, os.WriteFile(filepath.Join(readOnly, "file"), nil, 0o600), syscall.EROFS)
			return keystoretest.Storage{
				Open:         func(t *testing.T) keystore.KeyStore { return openDir(t, path) },
				OpenReadOnly: func(t *testing.T) keystore.KeyStore { return openDir(t, readOnly) },
			}
		},
		MaxData: maxData,
	})
}

func TestDirCanBeReadOnAFileSystemThatHasNoRoomForAnotherFile(t *testing.T) {
	if !inOwnProcess(t, "^"+t.Name()+"$", ownMounts()) {
		return
	}
	path := t.TempDir()
	require.NoError(t, syscall.Mount("tmpfs", path, "tmpfs", 0, "nr_inodes=16"))
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(path, syscall.MNT_DETACH)) })
	writeFile(t, filepath.Join(path, "meshes", "default", "key-1"), "content") // by another program: there are no locks
	for i := 0; ; i++ {
		err := os.WriteFile(filepath.Join(path, fmt.Sprint("file-", i)), nil, 0o600)
		if err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			break
		}
	}
	store := openDir(t, path)
	for _, scope := range []keystore.Scope{"default", keystore.AllScopes} {
		records, err := store.List(t.Context(), scope, "")
		require.NoError(t, err)
		assert.Len(t, records, 1)
	}
	_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-2"})
	assert.ErrorIs(t, err, syscall.ENOSPC)
	assert.NotErrorIs(t, err, keystore.ErrReadOnly)
}

func TestDirOfAnotherUser(t *testing.T) {
	const nobody = 65534
	path := os.Getenv(folder)
	if os.Getenv(ownProcess) == "" {
		path = t.TempDir()
		require.NoError(t, os.Chmod(filepath.Dir(path), 0o755))
		store := openDir(t, path)
		create(t, store, keystore.Global, "key-1", "global")
		create(t, store, "default", "key-1", "content")
		create(t, store, "closed", "key-1", "content")
		create(t, store, "default", "secret", "content")
		for name, mode := range map[string]fs.FileMode{
			".": 0o555, "global": 0o555, "meshes": 0o555, "meshes/default": 0o555, "meshes/closed": 0,
			"global/key-1": 0o444, "meshes/default/key-1": 0o444, "meshes/default/secret": 0,
		} {
			require.NoError(t, os.Chmod(filepath.Join(path, name), mode))
		}
		t.Cleanup(func() { // or only root could remove them
			for _, name := range []string{".", "global", "meshes", "meshes/default", "meshes/closed"} {
				assert.NoError(t, os.Chmod(filepath.Join(path, name), 0o700))
			}
		})
		t.Setenv(folder, path)
	}
	if !inOwnProcess(t, "^"+t.Name()+"$", nil) {
		return
	}
	if os.Geteuid() == 0 {
		require.NoError(t, syscall.Setgroups(nil))
		require.NoError(t, syscall.Setgid(nobody))
		require.NoError(t, syscall.Setuid(nobody))
	}
	store := openDir(t, path)

	t.Run("takes no writes", func(t *testing.T) {
		r, err := store.Get(t.Context(), "default", "key-1")
		require.NoError(t, err)
		_, err = store.Update(t.Context(), r)
		assert.ErrorIs(t, err, keystore.ErrReadOnly)
		_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-2"})
		assert.ErrorIs(t, err, keystore.ErrReadOnly)
		_, err = store.Create(t.Context(), keystore.Record{Scope: "new", Name: "key-2"})
		assert.ErrorIs(t, err, keystore.ErrReadOnly)
		assert.ErrorIs(t, store.Delete(t.Context(), "default", "key-1"), keystore.ErrReadOnly)
	})
	t.Run("can be read", func(t *testing.T) {
		records, err := store.List(t.Context(), keystore.Global, "")
		require.NoError(t, err)
		assert.Len(t, records, 1)
		records, err = store.List(t.Context(), "default", "key-")
		require.NoError(t, err)
		assert.Len(t, records, 1)
	})
	t.Run("is not listed without a folder that is closed", func(t *testing.T) {
		for _, scope := range []keystore.Scope{"closed", keystore.AllScopes} {
			records, err := store.List(t.Context(), scope, "")
			_, failed := keystore.SplitUnreadable(err)
			assert.ErrorIs(t, failed, fs.ErrPermission)
			assert.ErrorContains(t, failed, filepath.Join(path, "meshes", "closed")+" belongs to uid ")
			assert.Empty(t, records)
		}
	})
	t.Run("is listed with the name of a record that is closed", func(t *testing.T) {
		records, err := store.List(t.Context(), "default", "")
		assert.Len(t, records, 1)
		closed := requireUnreadable(t, err, "default", "secret")
		assert.ErrorIs(t, closed, fs.ErrPermission)
		assert.ErrorContains(t, closed, filepath.Join(path, "meshes", "default", "secret")+" belongs to uid ")
		for scope, name := range map[keystore.Scope]string{"default": "secret", "closed": "key-1"} {
			_, err := store.Get(t.Context(), scope, name)
			assert.ErrorIs(t, err, fs.ErrPermission)
			assert.NotErrorIs(t, err, keystore.ErrNotFound)
		}
	})
	t.Run("is not watched in part", func(t *testing.T) {
		err := store.Watch(t.Context(), func(keystore.Scope) { assert.Fail(t, "announced what can't be read") })
		assert.ErrorIs(t, err, fs.ErrPermission)
		assert.NotErrorIs(t, err, context.Canceled)
	})
}

// A container reads its volume as another user than the kubelet, through a mount
// that is read-only.
func TestDirShowsOneStateAtATimeOfAVolumeOfAnotherUserThatIsMountedReadOnly(t *testing.T) {
	const nobody = 65534
	path := os.Getenv(folder)
	if os.Getenv(ownProcess) == "" {
		path = t.TempDir()
		require.NoError(t, os.Chmod(filepath.Dir(path), 0o755))
		require.NoError(t, os.Chmod(path, 0o755))
		require.NoError(t, os.Mkdir(path+"-mounted", 0o755))
		v := &volume{path: path}
		switching(t, func(state int) error { return v.put(filesOf(state)) })
		t.Setenv(folder, path)
	}
	if !inOwnProcess(t, "^"+t.Name()+"$", ownMounts()) {
		return
	}
	mounted := path + "-mounted" // the mount is gone with this process
	require.NoError(t, syscall.Mount(path, mounted, "", syscall.MS_BIND, ""))
	require.NoError(t, syscall.Mount("", mounted, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
	if err := syscall.Setgroups(nil); err == nil { // fails where root is another user outside
		require.NoError(t, syscall.Setgid(nobody))
		require.NoError(t, syscall.Setuid(nobody))
	}
	require.Error(t, os.WriteFile(filepath.Join(mounted, "file"), nil, 0o600))
	readWhileSwitched(t, mounted)
	takesNoWrites(t, mounted)
}

func TestDirWatchNoticesARewriteWithinOneTickOfTheFileSystem(t *testing.T) {
	if os.Geteuid() != 0 {
		missing(t, "only root can make and mount a file system")
	}
	if !inOwnProcess(t, "^"+t.Name()+"$", &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}) {
		return
	}
	// With inodes of 128 bytes ext2 has room for whole seconds only.
	image, path := filepath.Join(t.TempDir(), "image"), t.TempDir()
	require.NoError(t, os.WriteFile(image, nil, 0o600))
	require.NoError(t, os.Truncate(image, 4<<20))
	for _, command := range [][]string{
		{"mke2fs", "-q", "-F", "-t", "ext2", "-I", "128", image},
		{"mount", "-o", "loop", image, path},
	} {
		if output, err := exec.CommandContext(t.Context(), command[0], command[1:]...).CombinedOutput(); err != nil {
			missing(t, fmt.Sprintf("no file system with whole seconds to be had: %v: %v: %s", command, err, output))
		}
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(path, 0)) })
	for time.Now().Nanosecond() > 1e8 { // begin early in a second
		time.Sleep(10 * time.Millisecond)
	}
	rewriteInPlace(t, path)
}
