// Package dir keeps the records of a keystore.KeyStore as files in a directory. Any
// number of processes on one machine share it; no server is needed.
//
// [Open] makes the directory if there is none:
//
//	store, err := dir.Open("/var/lib/mesh/keys")
//	_, err = dataplane.EnsureKey(ctx, store, "default") // when the mesh is created
//	validator, err := dataplane.NewValidator(store)
//
// The files can be read, copied and backed up with ordinary tools:
//
//	/var/lib/mesh/keys/global/zone-token-signing-key-1
//	/var/lib/mesh/keys/global/zone-token-revocations
//	/var/lib/mesh/keys/meshes/default/dataplane-token-signing-key-default-1
//	/var/lib/mesh/keys/meshes/default/dataplane-token-revocations-default
//
// The path may also be a volume that Kubernetes mounts from Secrets; the store is
// then read-only. See [Store] for file names, modes, volumes and locks.
//
// Anyone who can read the directory can sign. Package sealed encrypts the records.
package dir

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

const (
	globalFolder = "global"
	meshesFolder = "meshes"
	tempPrefix   = ".tmp-"

	maxData = 64 << 20 // bytes in a record
)

// Store is a [keystore.KeyStore] and a [keystore.Watcher] in a folder of a local file
// system. Any number of processes on one machine may use it. On a network file system
// its locks may not hold. All methods may be called concurrently.
//
// A record is a file, PATH/global/NAME or PATH/meshes/MESH/NAME. The content of the
// file is the record's Data, at most 64 MiB (67,108,864 bytes). In file names each
// capital letter is written as % and its hexadecimal code, so that names which differ
// in case stay apart on every file system: the mesh Prod is the folder %50rod. The
// store ignores files with other names, and files whose names begin with a dot. It
// makes files with mode 0600 and folders with mode 0700, and leaves the modes of
// existing ones.
//
// A write is on disk before it returns. A crash at any point leaves the whole old
// record or the whole new one. Version is a hash of the data. Created is the file's
// time of modification, which Update preserves.
//
// The folder of a mesh is removed with its last record, if nothing else is in it.
//
// # Changes
//
// Each write appends to PATH/.changes which record it changes, before it takes effect
// and when it is done. By that file a Watch of any process knows the change within
// 250 ms, however many records there are; see [Store.Watch].
//
// Other programs may create, change and remove records too. The store notices the
// change, and compare-and-swap holds, except for a file that is written at the very
// moment of an Update. Reads believe what another program has changed when it has been
// the same for 1 s: they wait for that, 1.5 s at most, and then return an error. So they
// never see half a file, unless the program pauses for longer. Such a program should
// still write a new file and rename it. Volumes of Kubernetes are believed at once.
//
// If PATH/.changes goes back or vanishes, an older state is being restored: then reads
// that have seen the later one return an error for 3 s. After that the older state is
// believed. [Store.Backup] and [Store.Restore] are the way that lets no revoked token in.
//
// The store follows symbolic links that stay below PATH. A link to nothing, in the
// place of a file or of a folder, is an error and never an empty store.
//
// # Volumes of Kubernetes
//
// PATH, or folders below it, may be volumes that Kubernetes mounts from Secrets. Mount
// one Secret for each scope, as a whole, at PATH/global or PATH/meshes/MESH; the keys
// of the Secret are the names of the records. New keys then appear without a change of
// the Pod. Or mount one volume at PATH, with a path such as meshes/MESH/NAME for each
// key. Names with capitals need such paths, or items, since file names are encoded as
// above and the keys of Secrets cannot be: a key with capitals in place of a record is an
// error. Do not use subPath: Kubernetes never updates it.
//
// Each List shows one state of a volume, also while Kubernetes switches to the next
// one, and Watch sees the switch. Writes return [keystore.ErrReadOnly], since they
// would be gone with the next state. Created is the time at which Kubernetes wrote the
// state, and changes with each state: a publish delay and scheduled rotation need
// another store.
//
// # Rights and locks
//
// If the process may not write to the folder, reads work and writes return
// [keystore.ErrReadOnly]. The lock files are PATH/.*.lock. If the store can neither
// make nor open them, it reads without them; a List may then not be one consistent
// view.
//
// The system releases the locks of a process that dies. A process that is stopped
// (SIGSTOP) keeps its lock: until it continues, the writes of other processes, and
// possibly their Lists, wait until their contexts end. A call that is inside an
// operation of the file system notices the end of its context when that operation
// returns.
//
// The zero value is not usable: all its methods return an error.
type Store struct {
	path string // absolute

	// The goroutine of this Store that writes, or tries to get the lock, holds gate. So
	// the others wait without asking the system again and again.
	gate chan struct{}

	memory memory // of the marker
}

// Open returns the store in the folder at path, and makes the folder if there is
// none. It removes temporary files that killed writers have left behind, unless a
// writer is at work. The store need not be closed. Open returns an error if the
// folder cannot be made or opened.
//
// The store opens the folder again for every call, so the folder may be moved
// away, restored or mounted over. While there is no folder, every method returns an
// error other than [keystore.ErrNotFound].
func Open(path string) (*Store, error) {
	if path == "" {
		return nil, errors.New("keystore: cannot open a directory store: the path is empty")
	}
	absolute, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("keystore: cannot open a directory store: %w", err)
	}
	if err := makeFolders(absolute); err != nil {
		return nil, fmt.Errorf("keystore: cannot make a directory store: %w", err)
	}
	root, err := openRoot(absolute)
	if err != nil {
		return nil, fmt.Errorf("keystore: cannot open a directory store: %w", err)
	}
	defer root.Close()
	removeLeftovers(root)
	return &Store{path: absolute, gate: make(chan struct{}, 1)}, nil
}

// Get implements [keystore.KeyStore]. It takes no lock: writers only replace whole files.
func (s *Store) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, keystore.Failed("get", scope, name, err)
	}
	if err := keystore.CheckID(scope, name); err != nil {
		return keystore.Record{}, err
	}
	root, err := openRoot(s.path)
	if err != nil {
		return keystore.Record{}, keystore.Failed("get", scope, name, err)
	}
	defer root.Close()
	var r keystore.Record
	err = believe(ctx, func() error {
		if err := s.memory.remembers(root); err != nil {
			return err
		}
		return readSteady(ctx, root, func(v *view) (err error) {
			r, err = v.read(v.fileOf(scope, name), scope, name)
			if errors.Is(err, keystore.ErrNotFound) {
				v.missed(scope, name)
			}
			return err
		})
	})
	if err != nil {
		return keystore.Record{}, failed("get", scope, name, err)
	}
	return r, nil
}

// List implements [keystore.KeyStore]. With AllScopes the whole list is one consistent
// view, unless scopes are in volumes of their own. If a file has more than 64 MiB, List
// returns a [keystore.ErrTooLarge] that names the record.
func (s *Store) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, keystore.Failed("list", scope, "", err)
	}
	if err := keystore.CheckListed(scope); err != nil {
		return nil, err
	}
	root, err := openRoot(s.path)
	if err != nil {
		return nil, keystore.Failed("list", scope, "", err)
	}
	defer root.Close()
	var found []keystore.Record
	err = believe(ctx, func() error {
		unlock, err := lockList(ctx, root)
		if err != nil {
			return keystore.Failed("list", scope, "", err)
		}
		defer unlock()
		err = readSteady(ctx, root, func(v *view) (err error) {
			found, err = list(ctx, v, scope, prefix)
			return err
		})
		if doubt := s.memory.check(root); doubt != nil {
			err = doubt
		}
		return err
	})
	var doubt *doubtError
	if errors.As(err, &doubt) {
		return nil, keystore.Failed("list", scope, "", err)
	}
	if err != nil {
		return nil, err
	}
	slices.SortFunc(found, keystore.CompareRecords)
	return found, nil
}

// list returns the records in no order.
func list(ctx context.Context, v *view, scope keystore.Scope, prefix string) (found []keystore.Record, err error) {
	scopes := []keystore.Scope{scope}
	if scope == keystore.AllScopes {
		if scopes, err = readScopes(v); err != nil {
			return nil, keystore.Failed("list", scope, "", err)
		}
		meshes := make([]string, len(scopes))
		for i, s := range scopes {
			meshes[i] = string(s)
		}
		v.listed(folder{path: v.meshes()}, scope, meshes)
	}
	for _, s := range scopes {
		of, err := listScope(ctx, v, s, prefix)
		if err != nil {
			return nil, err
		}
		found = append(found, of...)
	}
	return found, nil
}

// listScope returns the records of one scope, in no order.
func listScope(ctx context.Context, v *view, scope keystore.Scope, prefix string) (found []keystore.Record, err error) {
	folder := v.open(scope)
	defer folder.close()
	entries, err := folder.names()
	if err != nil {
		return nil, keystore.Failed("list", scope, "", err)
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.name
	}
	v.listed(folder, scope, names)
	for _, entry := range entries {
		name := entry.name
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, keystore.Failed("list", scope, "", err)
		}
		r, err := folder.read(entry, scope)
		if errors.Is(err, keystore.ErrNotFound) {
			continue // removed by a program that takes no lock
		}
		if err != nil {
			return nil, failed("list", scope, name, err)
		}
		found = append(found, r)
	}
	return found, nil
}

// Create implements [keystore.KeyStore].
func (s *Store) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, keystore.Failed("create", r.Scope, r.Name, err)
	}
	if err := keystore.CheckRecord(r, maxData); err != nil {
		return keystore.Record{}, err
	}
	answer := r.Clone()
	answer.Version = versionOf(r.Data)
	err := s.write(ctx, r.Scope, func(root *os.Root) error {
		file := fileOf(r.Scope, r.Name)
		if _, err := root.Lstat(file); err == nil {
			return keystore.ErrExists // without writing anything
		}
		defer announce(root, r.Scope, r.Name, answer.Version)()
		if err := makeFoldersIn(root, path.Dir(file)); err != nil {
			return orReadOnly(err)
		}
		temp, created, err := writeTemp(root, path.Dir(file), r.Data, time.Time{})
		if err != nil {
			return orReadOnly(err)
		}
		defer root.Remove(temp)
		// Unlike a rename, a link does not replace what a program that takes no lock
		// has just put there.
		err = takeEffect(ctx, root, func() error { return root.Link(temp, file) })
		if errors.Is(err, fs.ErrExist) {
			return keystore.ErrExists
		}
		if err != nil {
			return err
		}
		answer.Created = created
		return syncFolders(root, path.Dir(file))
	})
	if err != nil {
		return keystore.Record{}, failed("create", r.Scope, r.Name, err)
	}
	return answer, nil
}

// Update implements [keystore.KeyStore].
func (s *Store) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, keystore.Failed("update", r.Scope, r.Name, err)
	}
	if err := keystore.CheckRecord(r, maxData); err != nil {
		return keystore.Record{}, err
	}
	answer := r.Clone()
	answer.Version = versionOf(r.Data)
	err := s.write(ctx, r.Scope, func(root *os.Root) error {
		file := fileOf(r.Scope, r.Name)
		current, err := readRecord(root, file, r.Scope, r.Name, nil)
		if err != nil {
			return err
		}
		if current.Version != r.Version {
			return keystore.ErrConflict
		}
		defer announce(root, r.Scope, r.Name, answer.Version)()
		temp, created, err := writeTemp(root, path.Dir(file), r.Data, current.Created)
		if err != nil {
			return orReadOnly(err)
		}
		if err := takeEffect(ctx, root, func() error { return root.Rename(temp, file) }); err != nil {
			root.Remove(temp)
			return err
		}
		answer.Created = created
		return syncFolders(root, path.Dir(file))
	})
	if err != nil {
		return keystore.Record{}, failed("update", r.Scope, r.Name, err)
	}
	return answer, nil
}

// Delete implements [keystore.KeyStore].
func (s *Store) Delete(ctx context.Context, scope keystore.Scope, name string) error {
	if err := ctx.Err(); err != nil {
		return keystore.Failed("delete", scope, name, err)
	}
	if err := keystore.CheckID(scope, name); err != nil {
		return err
	}
	err := s.write(ctx, scope, func(root *os.Root) error {
		file := fileOf(scope, name)
		info, err := root.Lstat(file)
		if errors.Is(err, fs.ErrNotExist) {
			return checkMissing(root, file)
		}
		if err != nil {
			return err
		}
		if info.IsDir() {
			return fmt.Errorf("%s is not a regular file", file)
		}
		defer announce(root, scope, name, gone)()
		if err := takeEffect(ctx, root, func() error { return root.Remove(file) }); err != nil {
			return orReadOnly(err)
		}
		if err := syncFolders(root, path.Dir(file)); err != nil {
			return err
		}
		removeEmptyFolders(root, path.Dir(file))
		return nil
	})
	if err != nil {
		return failed("delete", scope, name, err)
	}
	return nil
}

// write calls do while no other writer is at work, in this process or another.
func (s *Store) write(ctx context.Context, scope keystore.Scope, do func(root *os.Root) error) error {
	return s.exclusively(ctx, func(root *os.Root) error {
		if err := checkFinished(root); err != nil {
			return err
		}
		return do(root)
	}, scope)
}

// exclusively calls do while no other writer is at work. It first checks that the scopes
// may be written to.
func (s *Store) exclusively(ctx context.Context, do func(root *os.Root) error, scopes ...keystore.Scope) error {
	root, err := openRoot(s.path)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, scope := range scopes {
		if err := newView(root).checkWritable(scope); err != nil {
			return err
		}
	}
	select {
	case s.gate <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.gate }()
	unlock, err := lockWrite(ctx, root)
	if err != nil {
		return err
	}
	defer unlock()
	return do(root)
}

// failed is keystore.Failed, except for an error that names the record itself.
func failed(op string, scope keystore.Scope, name string, err error) error {
	if errors.Is(err, keystore.ErrTooLarge) {
		return err
	}
	return keystore.Failed(op, scope, name, err)
}

// orReadOnly returns err, as an ErrReadOnly if it says that writing is not allowed.
func orReadOnly(err error) error {
	if isReadOnly(err) {
		return fmt.Errorf("%w: %w", keystore.ErrReadOnly, err)
	}
	return err
}

func folderOf(scope keystore.Scope) string {
	if scope == keystore.Global {
		return globalFolder
	}
	return path.Join(meshesFolder, encodeName(string(scope)))
}

func fileOf(scope keystore.Scope, name string) string {
	return path.Join(folderOf(scope), encodeName(name))
}

// readScopes returns the scopes that have a folder, and the global one, in no
// order.
func readScopes(v *view) ([]keystore.Scope, error) {
	scopes := []keystore.Scope{keystore.Global}
	entries, err := readNames(v.root, v.meshes())
	for _, entry := range entries {
		if scope := keystore.Scope(entry.name); keystore.CheckScope(scope) == nil && isFolder(v.root, entry.file, entry.Type()) {
			scopes = append(scopes, scope)
		}
	}
	return scopes, err
}

// isFolder reports whether a file is to be read as a folder: it is a folder, or a
// symbolic link to one or to something whose reading will fail with the reason.
func isFolder(root *os.Root, file string, mode fs.FileMode) bool {
	if mode&fs.ModeSymlink == 0 {
		return mode.IsDir()
	}
	info, err := root.Stat(file)
	return err != nil || info.IsDir()
}

// namedEntry is a file or a folder that is named after a scope or a record.
type namedEntry struct {
	name string // decoded
	file string // its path below the root
	fs.DirEntry
}

// readNames returns what a folder holds, in no order; nothing if there is no
// such folder.
func readNames(root *os.Root, folder string) ([]namedEntry, error) {
	var found []namedEntry
	var read func(under string) error
	read = func(under string) error {
		entries, err := readFolder(root, path.Join(folder, under))
		if err != nil {
			return err
		}
		for _, entry := range entries {
			encoded := under + entry.Name()
			file := path.Join(folder, encoded)
			if isPiece(encoded) { // a folder with the next piece of a long name
				if isFolder(root, file, entry.Type()) {
					if err := read(encoded + "/"); err != nil {
						return err
					}
				}
			} else if name, ok := decodeName(encoded); ok && keystore.CheckName(name) == nil {
				found = append(found, namedEntry{name, file, entry})
			} else if path.Base(folder) == volumeLink && keystore.CheckName(encoded) == nil {
				// The key of a Secret: left out, it could be a list that revokes nothing.
				return fmt.Errorf("%s in a volume: capitals in file names are encoded, mount the key with items at the path %s", encoded, encodeName(encoded))
			}
		}
		return nil
	}
	err := read("")
	return found, err
}

// openRoot opens the folder of a store. The separator at the end makes the
// system refuse a named pipe, instead of waiting for its writer.
func openRoot(absolute string) (*os.Root, error) {
	if absolute == "" {
		return nil, errNotOpened
	}
	return os.OpenRoot(absolute + string(filepath.Separator))
}

// openFile opens a file or a folder for reading. The error matches
// fs.ErrNotExist only if it is certain that there is none.
func openFile(root *os.Root, file string, flags int) (*os.File, error) {
	for attempt := 1; ; attempt++ {
		f, err := root.OpenFile(file, os.O_RDONLY|flags, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		missing := checkMissing(root, file)
		if missing == nil {
			return nil, err
		}
		if missing != errAppeared || attempt == 3 {
			return nil, missing
		}
	}
}

// errAppeared: the file is there, although the system has just said that it is not.
var errAppeared = errors.New("the file is being replaced")

// checkMissing returns nil if a file that was not found is indeed not there. It
// returns an error if the file may be there: there is a symbolic link to nothing on
// its path, or the file is found now. It walks from the root, so that a path that
// changes meanwhile is not mistaken for a missing one.
func checkMissing(root *os.Root, file string) error {
	for end := 0; end < len(file); {
		next := strings.IndexByte(file[end+1:], '/')
		if next < 0 {
			end = len(file)
		} else {
			end += 1 + next
		}
		info, err := root.Lstat(file[:end])
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && info.Mode()&fs.ModeSymlink != 0 {
			if _, err = root.Stat(file[:end]); errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s is a symbolic link to nothing", file[:end])
			}
		}
		if err != nil {
			return err
		}
	}
	return errAppeared
}

// errNotOpened: the path of the zero Store would lead to the root of the file system.
var errNotOpened = errors.New("the store was not opened: use dir.Open")

func readFolder(root *os.Root, folder string) ([]fs.DirEntry, error) {
	f, err := openFile(root, folder, openFolder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.ReadDir(-1)
}

// readRecord reads the file of a record. It sets changed, unless that is nil, to the time
// of the file's latest change, also one during the read.
func readRecord(root *os.Root, file string, scope keystore.Scope, name string, changed *time.Time) (keystore.Record, error) {
	f, err := openFile(root, file, openNonblock)
	if errors.Is(err, fs.ErrNotExist) {
		return keystore.Record{}, keystore.ErrNotFound
	}
	if err != nil {
		return keystore.Record{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return keystore.Record{}, err
	}
	if !info.Mode().IsRegular() {
		return keystore.Record{}, fmt.Errorf("%s is not a regular file", file)
	}
	if err := keystore.CheckSize(scope, name, info.Size(), maxData); err != nil {
		return keystore.Record{}, err
	}
	buffer := bytes.NewBuffer(make([]byte, 0, info.Size()+bytes.MinRead))
	if _, err := buffer.ReadFrom(io.LimitReader(f, maxData+1)); err != nil {
		return keystore.Record{}, err
	}
	if err := keystore.CheckSize(scope, name, int64(buffer.Len()), maxData); err != nil { // it may have grown
		return keystore.Record{}, err
	}
	if changed != nil {
		after, err := f.Stat()
		if err != nil {
			return keystore.Record{}, err
		}
		*changed = changedTime(after)
	}
	return keystore.Record{
		Scope:   scope,
		Name:    name,
		Data:    buffer.Bytes(),
		Version: versionOf(buffer.Bytes()),
		Created: info.ModTime().UTC(),
	}, nil
}

func versionOf(data []byte) string {
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:16])
}

// writeTemp writes data to a new file in the folder and syncs it. The file gets the
// given time of creation, or the present one if that is zero. writeTemp returns the
// file's path and time.
func writeTemp(root *os.Root, folder string, data []byte, created time.Time) (temp string, _ time.Time, err error) {
	temp = path.Join(folder, tempPrefix+rand.Text())
	defer func() {
		if err != nil {
			root.Remove(temp)
		}
	}()
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return temp, time.Time{}, err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o600), f.Close()) // a umask may have removed more rights
	if err == nil && !created.IsZero() {
		err = root.Chtimes(temp, time.Time{}, created)
	}
	if err != nil {
		return temp, time.Time{}, err
	}

	// Open it again: on Windows closing a file after a write may set its time; and the
	// time has to be on the disk too.
	if f, err = root.OpenFile(temp, os.O_RDWR, 0); err != nil {
		return temp, time.Time{}, err
	}
	defer f.Close()
	if err = f.Sync(); err != nil {
		return temp, time.Time{}, err
	}
	info, err := f.Stat()
	if err != nil {
		return temp, time.Time{}, err
	}
	return temp, info.ModTime().UTC(), nil
}

// makeFolders makes the folder at an absolute path, and its parents.
func makeFolders(absolute string) error {
	if _, err := os.Stat(absolute); err == nil {
		return nil // OpenRoot says whether it is a folder
	}
	parent := filepath.Dir(absolute)
	if parent != absolute {
		if err := makeFolders(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(absolute, 0o700); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := os.Chmod(absolute, 0o700); err != nil {
		return err
	}
	return syncFolder(os.Open(parent))
}

// makeFoldersIn makes the folder, and its parents, in the root.
func makeFoldersIn(root *os.Root, folder string) error {
	if folder == "." {
		return nil
	}
	if err := makeFoldersIn(root, path.Dir(folder)); err != nil {
		return err
	}
	if err := root.Mkdir(folder, 0o700); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	return root.Chmod(folder, 0o700)
}

// syncFolders syncs a folder and its parents: a writer that was killed may have made
// one of them without syncing it.
func syncFolders(root *os.Root, folder string) error {
	for {
		if err := syncFolder(root.OpenFile(folder, os.O_RDONLY|openFolder, 0)); err != nil {
			return err
		}
		if folder == "." {
			return nil
		}
		folder = path.Dir(folder)
	}
}

// removeEmptyFolders removes the folder of a mesh, and the folders of pieces of long
// names, if nothing is in them. The caller holds the write lock, so no writer is about to
// put a file there. A failure does no harm.
func removeEmptyFolders(root *os.Root, folder string) {
	for ; path.Dir(folder) != "."; folder = path.Dir(folder) {
		info, err := root.Lstat(folder)
		if err != nil || !info.IsDir() || root.Remove(folder) != nil {
			return
		}
	}
}

// removeLeftovers removes temporary files. All writers take the lock, so no writer
// uses them while this process holds it. A failure does no harm.
func removeLeftovers(root *os.Root) {
	unlock, err := tryLock(root, writeLock)
	if err != nil {
		return
	}
	defer unlock()
	scopes, _ := readScopes(newView(root))
	for _, scope := range scopes {
		removeTemps(root, folderOf(scope))
	}
}

func removeTemps(root *os.Root, folder string) {
	entries, _ := readFolder(root, folder)
	for _, entry := range entries {
		name := path.Join(folder, entry.Name())
		switch {
		case entry.Type().IsRegular() && strings.HasPrefix(entry.Name(), tempPrefix):
			root.Remove(name)
		case entry.IsDir() && strings.HasSuffix(entry.Name(), "%"):
			removeTemps(root, name)
		}
	}
}
