package dir_test

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
)

// Users and a group that no system has.
const (
	service = 51001
	another = 51002
	sharers = 52000 // both are in this group
)

func needsRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "only root can be several users and mount file systems")
	}
}

// become makes this process one of another user, for good.
func become(who string) error {
	if who == "" {
		return nil
	}
	var uid, gid int
	if _, err := fmt.Sscan(who, &uid, &gid); err != nil {
		return err
	}
	if err := syscall.Setgroups([]int{gid}); err != nil {
		return err
	}
	if err := syscall.Setgid(gid); err != nil {
		return err
	}
	syscall.Umask(0o077)
	return syscall.Setuid(uid)
}

// as prepares a process of another user.
func as(t *testing.T, uid, gid int, does, path string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := process(t, does, path)
	cmd.Args = append(cmd.Args, args...)
	cmd.Env = append(cmd.Env, fmt.Sprintf("%s=%d %d", user, uid, gid))
	return cmd
}

// doneAs requires that operations of another user succeed.
func doneAs(t *testing.T, uid, gid int, path string, operations ...string) {
	t.Helper()
	output, err := as(t, uid, gid, "operate", path, operations...).Output()
	require.NoError(t, err, "%s", output)
}

// failedAs requires that an operation of another user fails, and returns why.
func failedAs(t *testing.T, uid, gid int, path, operation string) string {
	t.Helper()
	output, err := as(t, uid, gid, "operate", path, operation).Output()
	require.Error(t, err)
	return string(output)
}

// folderOf makes a folder of another user's.
func folderOf(t *testing.T, uid, gid int, mode fs.FileMode) string {
	t.Helper()
	parent := t.TempDir()
	for folder := parent; strings.HasPrefix(folder, os.TempDir()+"/"); folder = filepath.Dir(folder) {
		require.NoError(t, os.Chmod(folder, 0o755)) // so that others come through
	}
	path := filepath.Join(parent, "store")
	require.NoError(t, os.Mkdir(path, 0o700))
	give(t, path, uid, gid, mode)
	return path
}

func give(t *testing.T, path string, uid, gid int, mode fs.FileMode) {
	t.Helper()
	require.NoError(t, os.Chown(path, uid, gid))
	require.NoError(t, os.Chmod(path, mode))
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
		relative, err := filepath.Rel(folder, path)
		found[relative] = fmt.Sprintf("%d:%d %04o", stat.Uid, stat.Gid, stat.Mode&0o7777)
		return err
	}))
	return found
}

func TestDirThatRootWritesToStaysTheServicesOwn(t *testing.T) {
	needsRoot(t)
	home := folderOf(t, service, service, 0o700)
	path := filepath.Join(home, "new", "store")
	store := openDir(t, path) // by root, as all below
	create(t, store, "default", "key-1", "first")
	create(t, store, "Long", strings.Repeat("N", 253), "first")
	require.NoError(t, store.Delete(t.Context(), "Long", strings.Repeat("N", 253)))
	create(t, store, keystore.Global, "list", "first")
	for file, rights := range rightsIn(t, home) {
		want := fmt.Sprintf("%d:%d 0600", service, service)
		if info, err := os.Stat(filepath.Join(home, file)); err == nil && info.IsDir() {
			want = fmt.Sprintf("%d:%d 0700", service, service)
		}
		assert.Equal(t, want, rights, file)
	}

	follower := as(t, service, service, "follow", path)
	stdout, err := follower.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, follower.Start())
	t.Cleanup(func() { follower.Process.Kill(); follower.Wait() })
	lines := bufio.NewScanner(stdout)
	require.True(t, lines.Scan())
	require.Equal(t, "/list=first default/key-1=first <nil>", lines.Text())

	r, err := store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	r.Data = []byte("revoked")
	_, err = store.Update(t.Context(), r)
	require.NoError(t, err)
	require.True(t, lines.Scan())
	require.Equal(t, "/list=first default/key-1=revoked <nil>", lines.Text(), "the service reads what root has written")

	doneAs(t, service, service, path, "update second", "delete", "create third")
}

// Earlier versions left such a lock, and so may a process of root that was killed.
func TestDirNamesALockFileThatItsOwnerCannotOpenAndRootMendsIt(t *testing.T) {
	needsRoot(t)
	path := folderOf(t, service, service, 0o700)
	doneAs(t, service, service, path, "create first")
	for _, lock := range []string{".write.lock", ".turn.lock", ".list.lock"} {
		give(t, filepath.Join(path, lock), 0, 0, 0o600)
	}
	said := failedAs(t, service, service, path, "update second")
	assert.Contains(t, said, filepath.Join(path, ".write.lock")+
		fmt.Sprintf(" belongs to uid 0 and gid 0 and has mode 0600; this process has uid %d and gid %d", service, service))
	assert.Contains(t, said, "read-only false", "the folder is the process's own")
	store := openDir(t, path)
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Len(t, records, 1)
	create(t, store, "default", "key-2", "by root")
	doneAs(t, service, service, path, "update second")
}

func TestDirSaysWhoseTheFolderIsInWhichItCannotBeMade(t *testing.T) {
	needsRoot(t)
	path := folderOf(t, 0, 0, 0o755)
	said := failedAs(t, service, service, filepath.Join(path, "new", "store"), "create 1")
	assert.Contains(t, said, fmt.Sprintf("permission denied (%s belongs to uid 0 and gid 0 and has mode 0755; this process has uid %d", path, service))
	require.NoError(t, os.Chmod(path, 0o700))
	said = failedAs(t, service, service, path, "create 1")
	assert.Contains(t, said, fmt.Sprintf("permission denied (%s belongs to uid 0 and gid 0 and has mode 0700; this process has uid %d", path, service))
}

func TestDirReadingLeavesNothingBehind(t *testing.T) {
	needsRoot(t)
	path := folderOf(t, service, service, 0o700)
	writeFile(t, filepath.Join(path, "meshes", "default", "key-1"), "by hand")
	before := rightsIn(t, path)
	store := openDir(t, path)
	_, err := store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	for _, scope := range []keystore.Scope{"default", "new", keystore.Global, keystore.AllScopes} {
		_, err = store.List(t.Context(), scope, "")
		require.NoError(t, err)
	}
	watchDir(t, store)
	_, err = store.Get(t.Context(), "default", "key-2")
	require.ErrorIs(t, err, keystore.ErrNotFound)
	assert.Equal(t, before, rightsIn(t, path))
}

func TestDirIsSharedByTheUsersOfAGroup(t *testing.T) {
	needsRoot(t)
	for _, mode := range []fs.FileMode{0o770, 0o770 | fs.ModeSetgid} {
		t.Run(fmt.Sprint(mode), func(t *testing.T) { shareFolder(t, folderOf(t, 0, sharers, mode)) })
	}
}

// shareFolder lets two users of a group and root work in a folder.
func shareFolder(t *testing.T, path string) {
	file := filepath.Join("meshes", "default", "key-1")
	doneAs(t, service, sharers, path, "create 1", "update 2")
	doneAs(t, another, sharers, path, "update 3")
	doneAs(t, service, sharers, path, "update 4", "delete", "create 5")
	doneAs(t, another, sharers, path, "delete", "create 6")
	now := rightsIn(t, path)
	assert.Equal(t, fmt.Sprintf("%d:%d 0660", another, sharers), now[file])
	folder := fmt.Sprintf("%d:%d %s", service, sharers, strings.Fields(now["."])[1])
	assert.Equal(t, folder, now["meshes"])
	assert.Equal(t, folder, now["meshes/default"])

	require.NoError(t, os.Chmod(filepath.Join(path, file), 0o640))
	doneAs(t, another, sharers, path, "update 7")
	assert.Equal(t, fmt.Sprintf("%d:%d 0640", another, sharers), rightsIn(t, path)[file], "chmod is kept")
	doneAs(t, service, sharers, path, "update 8")
	assert.Equal(t, fmt.Sprintf("%d:%d 0640", service, sharers), rightsIn(t, path)[file], "only root can keep another owner")

	store := openDir(t, path)
	r, err := store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	assert.Equal(t, "8", string(r.Data))
	_, err = store.Update(t.Context(), r)
	require.NoError(t, err)
	assert.Equal(t, fmt.Sprintf("%d:%d 0640", service, sharers), rightsIn(t, path)[file])
	create(t, store, "new", "key-1", "by root")
	now = rightsIn(t, path)
	assert.Equal(t, fmt.Sprintf("%d:%d 0660", service, sharers), now["meshes/new/key-1"])
	assert.Equal(t, folder, now["meshes/new"])
}

func TestDirGivesTheGroupsRightsToNoOtherGroup(t *testing.T) {
	needsRoot(t)
	path := folderOf(t, service, sharers, 0o777)
	doneAs(t, service, sharers, path, "create 1")
	for _, folder := range []string{"meshes", filepath.Join("meshes", "default")} {
		require.NoError(t, os.Chmod(filepath.Join(path, folder), 0o777))
	}
	for _, lock := range []string{".write.lock", ".turn.lock", ".list.lock"} {
		require.NoError(t, os.Chmod(filepath.Join(path, lock), 0o666))
	}
	file := filepath.Join("meshes", "default", "key-1")
	require.NoError(t, os.Chmod(filepath.Join(path, file), 0o664))
	doneAs(t, another, another, path, "update 2")
	assert.Equal(t, fmt.Sprintf("%d:%d 0604", another, another), rightsIn(t, path)[file])
}

// acl returns an access control list that lets a user read, as acl(5) and the kernel
// have it: a version, and for each entry a kind, rights and a user.
func acl(uid uint32) []byte {
	const nobody = ^uint32(0)
	list := binary.LittleEndian.AppendUint32(nil, 2)
	for _, entry := range []struct {
		kind, rights uint16
		id           uint32
	}{{0x01, 6, nobody}, {0x02, 4, uid}, {0x04, 0, nobody}, {0x10, 4, nobody}, {0x20, 0, nobody}} {
		list = binary.LittleEndian.AppendUint16(list, entry.kind)
		list = binary.LittleEndian.AppendUint16(list, entry.rights)
		list = binary.LittleEndian.AppendUint32(list, entry.id)
	}
	return list
}

func TestDirKeepsAccessControlListsAndAttributes(t *testing.T) {
	needsRoot(t)
	path := folderOf(t, service, service, 0o755)
	doneAs(t, service, service, path, "create 1")
	for _, folder := range []string{"meshes", filepath.Join("meshes", "default")} {
		require.NoError(t, os.Chmod(filepath.Join(path, folder), 0o755))
	}
	file := filepath.Join(path, "meshes", "default", "key-1")
	attributes := map[string]string{"system.posix_acl_access": string(acl(another)), "user.note": "ours", "user.empty": ""}
	for name, value := range attributes {
		if err := syscall.Setxattr(file, name, []byte(value), 0); err != nil {
			missing(t, fmt.Sprintf("the file system of %s has no attribute %s: %v", path, name, err))
		}
	}
	store := openDir(t, path)
	for i := range 2 { // by the owner, by root
		if i == 0 {
			doneAs(t, service, service, path, "update 2")
		} else {
			r, err := store.Get(t.Context(), "default", "key-1")
			require.NoError(t, err)
			_, err = store.Update(t.Context(), r)
			require.NoError(t, err)
		}
		for name, want := range attributes {
			value := make([]byte, 1024)
			n, err := syscall.Getxattr(file, name, value)
			require.NoError(t, err, name)
			assert.Equal(t, want, string(value[:n]), name)
		}
		assert.Equal(t, fmt.Sprintf("%d:%d 0640", service, service), rightsIn(t, path)["meshes/default/key-1"])
		follower := as(t, another, another, "follow", path)
		stdout, err := follower.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, follower.Start())
		lines := bufio.NewScanner(stdout)
		require.True(t, lines.Scan())
		assert.Equal(t, "default/key-1=2 <nil>", lines.Text())
		require.NoError(t, follower.Process.Kill())
		follower.Wait()
	}

	// What the folder passes on is for new files, and a record without a list gets none.
	require.NoError(t, syscall.Removexattr(file, "system.posix_acl_access"))
	require.NoError(t, os.Chmod(file, 0o640))
	require.NoError(t, syscall.Setxattr(filepath.Dir(file), "system.posix_acl_default", acl(another), 0))
	doneAs(t, service, service, path, "update 3")
	_, err := syscall.Getxattr(file, "system.posix_acl_access", make([]byte, 1024))
	assert.ErrorIs(t, err, syscall.ENODATA)
	assert.Equal(t, fmt.Sprintf("%d:%d 0640", service, service), rightsIn(t, path)["meshes/default/key-1"])
}

func TestDirGivesAwayNoFileToWhichAPlantedLinkLeads(t *testing.T) {
	needsRoot(t)
	path := folderOf(t, service, service, 0o700)
	store := openDir(t, path)
	create(t, store, "default", "key-1", "content")
	victim := filepath.Join(path, "meshes", "default", "key-1")
	give(t, victim, 0, 0, 0o600)
	for _, lock := range []string{".write.lock", ".turn.lock", ".list.lock"} {
		at := filepath.Join(path, lock)
		require.NoError(t, os.Rename(at, at+"-"))
		require.NoError(t, os.Symlink(filepath.Join("meshes", "default", "key-1"), at))
		_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-2"})
		assert.ErrorContains(t, err, lock+" is not a regular file")
		assert.Equal(t, "0:0 0600", rightsIn(t, path)["meshes/default/key-1"])
		require.NoError(t, os.Rename(at+"-", at))
	}
	create(t, store, "default", "key-2", "content")
}

func TestDirSaysWhereADiskIsFullAndLosesNothing(t *testing.T) {
	needsRoot(t)
	if !inOwnProcess(t, "^"+t.Name()+"$", ownMounts()) {
		return
	}
	path := t.TempDir()
	require.NoError(t, syscall.Mount("tmpfs", path, "tmpfs", 0, "size=1m,nr_inodes=64"))
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(path, syscall.MNT_DETACH)) })
	store := openDir(t, path)
	r := create(t, store, "default", "key-1", "content")
	folder := filepath.Join(path, "meshes", "default")
	full := func(err error, text string) {
		t.Helper()
		assert.ErrorIs(t, err, syscall.ENOSPC)
		assert.ErrorContains(t, err, text)
		assert.NotErrorIs(t, err, keystore.ErrReadOnly)
		records, err := store.List(t.Context(), keystore.AllScopes, "")
		require.NoError(t, err)
		assert.Equal(t, []keystore.Record{r}, records)
		assert.Empty(t, tempFiles(t, path))
	}
	large := r
	large.Data = make([]byte, 2<<20)
	_, err := store.Update(t.Context(), large)
	full(err, "no space left on device ("+folder+")")
	large.Name = "key-2"
	_, err = store.Create(t.Context(), large)
	full(err, "no space left on device ("+folder+")")

	for i := 0; ; i++ {
		if err := os.WriteFile(filepath.Join(path, fmt.Sprint(".file-", i)), nil, 0o600); err != nil {
			require.ErrorIs(t, err, syscall.ENOSPC)
			break
		}
	}
	small := r
	small.Data = []byte("CONTENT")
	_, err = store.Update(t.Context(), small)
	full(err, "no space left on device ("+folder+": no inodes left)")
	small.Scope = "new"
	_, err = store.Create(t.Context(), small)
	full(err, "no space left on device ("+filepath.Dir(folder)+": no inodes left)")
	require.NoError(t, os.Remove(filepath.Join(path, ".file-0")))
	small.Scope = r.Scope
	_, err = store.Update(t.Context(), small)
	require.NoError(t, err)
}

func TestDirSaysWhichFolderIsMountedReadOnly(t *testing.T) {
	needsRoot(t)
	if !inOwnProcess(t, "^"+t.Name()+"$", ownMounts()) {
		return
	}
	path := t.TempDir()
	store := openDir(t, path)
	r := create(t, store, "default", "key-1", "content")
	require.NoError(t, syscall.Mount(path, path, "", syscall.MS_BIND, ""))
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(path, syscall.MNT_DETACH)) })
	require.NoError(t, syscall.Mount("", path, "", syscall.MS_REMOUNT|syscall.MS_BIND|syscall.MS_RDONLY, ""))
	_, err := store.Update(t.Context(), r)
	assert.ErrorIs(t, err, keystore.ErrReadOnly)
	assert.ErrorContains(t, err, "read-only file system ("+path+"/.write.lock)")
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	assert.Equal(t, []keystore.Record{r}, records)
}

func TestDirIsSharedByTheUsersOfAGroupOnEachFileSystem(t *testing.T) {
	needsRoot(t)
	if !inOwnProcess(t, "^"+t.Name()+"$", ownMounts()) {
		return
	}
	for name, mount := range map[string]func(t *testing.T, path string) error{
		"tmpfs": func(t *testing.T, path string) error {
			return syscall.Mount("tmpfs", path, "tmpfs", 0, "mode=2770,size=8m")
		},
		"overlay": func(t *testing.T, path string) error {
			below := t.TempDir() // on a tmpfs, since an overlay takes no overlay
			require.NoError(t, syscall.Mount("tmpfs", below, "tmpfs", 0, ""))
			t.Cleanup(func() { assert.NoError(t, syscall.Unmount(below, syscall.MNT_DETACH)) })
			for _, folder := range []string{"lower", "upper", "work"} {
				require.NoError(t, os.Mkdir(filepath.Join(below, folder), 0o755))
			}
			return syscall.Mount("overlay", path, "overlay", 0, fmt.Sprintf("lowerdir=%[1]s/lower,upperdir=%[1]s/upper,workdir=%[1]s/work", below))
		},
		"ext4": func(t *testing.T, path string) error {
			image := filepath.Join(t.TempDir(), "image")
			require.NoError(t, os.WriteFile(image, nil, 0o600))
			require.NoError(t, os.Truncate(image, 16<<20))
			if output, err := exec.CommandContext(t.Context(), "mke2fs", "-q", "-F", "-t", "ext4", image).CombinedOutput(); err != nil {
				return fmt.Errorf("mke2fs: %w: %s", err, output)
			}
			if output, err := exec.CommandContext(t.Context(), "mount", "-o", "loop", image, path).CombinedOutput(); err != nil {
				return fmt.Errorf("mount: %w: %s", err, output)
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := folderOf(t, 0, 0, 0o755)
			if err := mount(t, path); err != nil {
				missing(t, "it cannot be mounted: "+err.Error())
			}
			t.Cleanup(func() { assert.NoError(t, syscall.Unmount(path, syscall.MNT_DETACH)) })
			folder := filepath.Join(path, "keys")
			require.NoError(t, os.Chmod(path, 0o755))
			require.NoError(t, os.Mkdir(folder, 0o700))
			give(t, folder, 0, sharers, 0o770|fs.ModeSetgid)
			shareFolder(t, folder)
		})
	}
}
