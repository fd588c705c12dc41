// Package filesystems tests what writes files on a file system that this machine has to
// make first.
package filesystems

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/keystore/keystoretest"
	"github.com/meshpass/meshpass/renewal"
	"github.com/meshpass/meshpass/token"
)

// What systems answer where a file can have one name only.
var refusals = []syscall.Errno{syscall.EPERM, syscall.ENOTSUP, syscall.EMLINK}

// node is a file of a file system that refuses hard links and exchanges, and
// cannot read the file broken.
type node struct {
	fs.LoopbackNode
	refusal syscall.Errno
}

const broken = "broken"

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if filepath.Base(n.Path(nil)) == broken {
		return nil, 0, syscall.EIO
	}
	return n.LoopbackNode.Open(ctx, flags)
}

func (n *node) Link(context.Context, fs.InodeEmbedder, string, *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	return nil, n.refusal
}

// Rename refuses to exchange two files, as some file systems do.
func (n *node) Rename(ctx context.Context, name string, folder fs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	if flags != 0 {
		return syscall.EINVAL
	}
	return n.LoopbackNode.Rename(ctx, name, folder, newName, flags)
}

// WrapChild makes each file and folder of the file system such a node.
func (n *node) WrapChild(context.Context, fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{fs.LoopbackNode{RootData: n.RootData}, n.refusal}
}

// mount returns a folder on a file system of such nodes.
func mount(t *testing.T, refusal syscall.Errno) string {
	t.Helper()
	if os.Geteuid() != 0 {
		missing(t, "only root can mount a file system")
	}
	root := &fs.LoopbackRoot{Path: t.TempDir()}
	root.RootNode = &node{fs.LoopbackNode{RootData: root}, refusal}
	path := t.TempDir()
	server, err := fs.Mount(path, root.RootNode, &fs.Options{MountOptions: fuse.MountOptions{DirectMountStrict: true}})
	if err != nil {
		missing(t, "a file system of FUSE cannot be mounted: "+err.Error())
	}
	t.Cleanup(func() { require.NoError(t, server.Unmount()) })

	require.NoError(t, os.WriteFile(filepath.Join(path, ".file"), nil, 0o600))
	require.ErrorIs(t, os.Link(filepath.Join(path, ".file"), filepath.Join(path, ".link")), refusal)
	return path
}

// missing skips the test, or fails it under CI=true, since CI must test everything.
func missing(t *testing.T, why string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatal(why + "; under CI=true that is a failure")
	}
	t.Skip(why)
}

func TestTheDirectoryStoreConformsWithoutHardLinks(t *testing.T) {
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			path := mount(t, syscall.EPERM)
			return keystoretest.Storage{
				Open: func(t *testing.T) keystore.KeyStore {
					store, err := dir.Open(path)
					require.NoError(t, err)
					return store
				},
			}
		},
		MaxData: 64 << 20,
	})
}

func TestTheDirectoryStoreCreatesRecordsHoweverHardLinksAreRefused(t *testing.T) {
	for _, refusal := range refusals {
		t.Run(refusal.Error(), func(t *testing.T) {
			store, err := dir.Open(filepath.Join(mount(t, refusal), "store"))
			require.NoError(t, err)
			r := keystore.Record{Scope: "default", Name: "key-1", Data: []byte("content")}
			_, err = store.Create(t.Context(), r)
			require.NoError(t, err)
			_, err = store.Create(t.Context(), r)
			require.ErrorIs(t, err, keystore.ErrExists)
		})
	}
}

func TestTheDirectoryStoreListsNothingInPartWhenTheDiskFails(t *testing.T) {
	path := mount(t, syscall.EPERM)
	store, err := dir.Open(path)
	require.NoError(t, err)
	_, err = store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("content")})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(path, "meshes", "default", ".file"), nil, 0o600))
	require.NoError(t, os.Rename(filepath.Join(path, "meshes", "default", ".file"), filepath.Join(path, "meshes", "default", broken)))
	for _, scope := range []keystore.Scope{"default", keystore.AllScopes} {
		records, err := store.List(t.Context(), scope, "")
		_, failed := keystore.SplitUnreadable(err)
		require.ErrorIs(t, failed, syscall.EIO)
		require.Empty(t, records)
	}
	_, err = store.Get(t.Context(), "default", broken)
	require.ErrorIs(t, err, syscall.EIO)
	require.NoError(t, store.Delete(t.Context(), "default", broken))
	_, err = store.List(t.Context(), "default", "")
	require.NoError(t, err)
}

func TestTheToolWritesFilesHoweverHardLinksAreRefused(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "meshpass")
	output, err := exec.CommandContext(t.Context(), "go", "build", "-C", filepath.Join("..", "..", "..", "cmd", "meshpass"), "-o", tool, ".").CombinedOutput()
	require.NoError(t, err, "%s", output)
	for _, refusal := range refusals {
		t.Run(refusal.Error(), func(t *testing.T) {
			folder := mount(t, refusal)
			key := filepath.Join(folder, "key.pem")
			generate := func(args ...string) ([]byte, error) {
				args = append([]string{"generate", "signing-key", "--output", key}, args...)
				return exec.CommandContext(t.Context(), tool, args...).CombinedOutput()
			}
			output, err := generate()
			require.NoError(t, err, "%s", output)
			first, err := os.ReadFile(key)
			require.NoError(t, err)

			output, err = generate()
			require.Error(t, err)
			require.Contains(t, string(output), key+" exists")
			same, err := os.ReadFile(key)
			require.NoError(t, err)
			require.Equal(t, first, same)

			output, err = generate("--overwrite")
			require.NoError(t, err, "%s", output)
			second, err := os.ReadFile(key)
			require.NoError(t, err)
			require.NotEqual(t, first, second)
			entries, err := os.ReadDir(folder)
			require.NoError(t, err)
			require.Len(t, entries, 2, "the key, and the file of this test")
		})
	}
}

func TestATokenIsRenewedWhereFilesCannotBeExchanged(t *testing.T) {
	path := filepath.Join(mount(t, syscall.EPERM), "token")
	now := time.Now().UTC().Truncate(time.Second)
	encode := func(claims token.Claims) string {
		raw, err := token.Encode("1", claims, func([]byte) ([]byte, error) { return []byte("signature"), nil })
		require.NoError(t, err)
		return raw
	}
	claims := token.Claims{
		Registered: token.Registered{ID: "id-1", IssuedAt: now, NotBefore: now, ExpiresAt: now.Add(time.Hour)},
		Dataplane:  token.Dataplane{Mesh: "default"},
	}
	first := encode(claims)
	require.NoError(t, os.WriteFile(path, []byte(first), 0o600))
	var meanwhile func()
	keeper, err := renewal.NewKeeper(path, func(context.Context, string) (token.Issued, error) {
		meanwhile()
		claims.ExpiresAt = claims.ExpiresAt.Add(time.Hour)
		return token.Issued{Token: encode(claims)}, nil
	}, renewal.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)

	meanwhile = func() {}
	issued, err := keeper.Once(t.Context())
	require.NoError(t, err)
	there, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, issued.Token, string(there))

	meanwhile = func() { require.NoError(t, os.WriteFile(path, []byte(first), 0o600)) }
	_, err = keeper.Once(t.Context())
	require.ErrorIs(t, err, renewal.ErrReplaced)
	kept, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, first, string(kept))
	entries, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	require.Len(t, entries, 2, "the token, and the file of this test")
}
