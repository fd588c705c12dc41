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

// Store is a [keystore.KeyStore] and a [keystore.Watcher] over a folder of a local file system. It
// serves any number of processes on one machine; a network file system is not
// promised to keep its locks. All methods may be called concurrently.
//
// A record is a file, PATH/global/NAME or PATH/meshes/MESH/NAME, whose content
// is its Data, at most 64 MiB (67,108,864 bytes). File names encode each capital
// letter as % and its hexadecimal code, so that names which differ in case stay
// apart on every file system: the mesh Prod is the folder %50rod. The store
// ignores files that do not follow this and files whose names begin with a dot.
// It makes files with mode 0600 and folders with mode 0700, and leaves the modes
// of those that exist.
//
// A write is on disk before it returns, and a crash at any point leaves the old
// record or the new one, whole. Version is taken from a hash of the data, and
// Created is the file's time of modification, which Update preserves. So other
// programs may create, change and remove records too: the store notices the
// change, and compare-and-swap holds, except for a file that is written at the
// very moment of an Update. Such a program should replace whole files by renaming,
// or a reader may see half of one.
//
// The store follows symbolic links that stay below PATH. A link to nothing, in the
// place of a file or of a folder, is an error and never an empty store.
//
// It reads volumes that Kubernetes mounts, which are folders with a link ..data:
// best a Secret for each scope, whose keys are names of records, mounted as a whole
// at PATH/global or PATH/meshes/MESH, so that new keys appear without a change of
// the Pod; or one volume at PATH, with a path such as meshes/MESH/NAME for each key.
// Names with capitals need the latter, or items, since the paths are encoded as above
// and keys of Secrets cannot be: a key with capitals at the place of a record is an
// error. Not with subPath, which is never updated.
// Each List shows one state of a volume, also while Kubernetes switches it to the
// next, and Watch sees the switch. A writer gets [keystore.ErrReadOnly], since a write would
// be gone with the next state. Created is when Kubernetes wrote the state, and
// changes with each: a publish delay and scheduled rotation need another store.
//
// Where the store may not write to the folder, it can be read and answers
// writes with [keystore.ErrReadOnly]. It reads without the lock files, PATH/.*.lock, if it
// can neither make nor open them; a List is then not sure to be one consistent
// view. The system releases the locks of a process that dies, but a process that
// is stopped (SIGSTOP) while it holds a lock holds up the others until it
// continues: their writes, and possibly their Lists, wait until their contexts
// end. A call that is inside an operation of the file system notices the end of
// its context when that operation returns.
//
// The zero value is not usable: all its methods return an error.
type Store struct {
	path string // absolute

	// gate is held by the one goroutine of this Store that is trying for the lock or
	// writing, so that the others wait without asking the system all the time.
	gate chan struct{}
}

// Open returns the store in the folder at path, which it makes if there is
// none. It removes temporary files that killed writers have left behind, unless a
// writer is at work. There is nothing to close. Open returns an error if the
// folder cannot be made or opened.
//
// The store opens the folder anew for every call, so the folder may be moved
// away, restored or mounted over. While there is none, every method returns an
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
	err = readSteady(ctx, root, func(v *view) (err error) {
		r, err = readRecord(root, v.fileOf(scope, name), scope, name)
		return err
	})
	if err != nil {
		return keystore.Record{}, failed("get", scope, name, err)
	}
	return r, nil
}

// List implements [keystore.KeyStore]. With AllScopes the whole list is one consistent
// view, unless scopes are in volumes of their own. A file of more than 64 MiB makes
// List fail with an [keystore.ErrTooLarge] that names the file.
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
	unlock, err := lockList(ctx, root)
	if err != nil {
		return nil, keystore.Failed("list", scope, "", err)
	}
	defer unlock()

	var found []keystore.Record
	err = readSteady(ctx, root, func(v *view) (err error) {
		found, err = list(ctx, v, scope, prefix)
		return err
	})
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
	}
	for _, s := range scopes {
		entries, err := readNames(v.root, v.folderOf(s))
		if err != nil {
			return nil, keystore.Failed("list", s, "", err)
		}
		for _, entry := range entries {
			name := entry.name
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			if err := ctx.Err(); err != nil {
				return nil, keystore.Failed("list", scope, "", err)
			}
			r, err := readRecord(v.root, entry.file, s, name)
			if errors.Is(err, keystore.ErrNotFound) {
				continue // removed by a program that takes no lock
			}
			if err != nil {
				return nil, failed("list", s, name, err)
			}
			found = append(found, r)
		}
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
			return keystore.ErrExists // before anything is written
		}
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
		current, err := readRecord(root, file, r.Scope, r.Name)
		if err != nil {
			return err
		}
		if current.Version != r.Version {
			return keystore.ErrConflict
		}
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
		if err := takeEffect(ctx, root, func() error { return root.Remove(file) }); err != nil {
			return orReadOnly(err)
		}
		return syncFolders(root, path.Dir(file))
	})
	if err != nil {
		return failed("delete", scope, name, err)
	}
	return nil
}

// write calls do while no other writer is at work, in this process or another.
func (s *Store) write(ctx context.Context, scope keystore.Scope, do func(root *os.Root) error) error {
	root, err := openRoot(s.path)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := newView(root).checkWritable(scope); err != nil {
		return err
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
		if scope := keystore.Scope(entry.name); keystore.CheckScope(scope) == nil && isFolder(v.root, entry.file, entry.mode) {
			scopes = append(scopes, scope)
		}
	}
	return scopes, err
}

// isFolder says whether a file is to be read as a folder: it is one, or a
// symbolic link to one, or to something of which reading it will say why it
// cannot be read.
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
	mode fs.FileMode
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
				found = append(found, namedEntry{name, file, entry.Type()})
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

// errAppeared: a file for which the system has just said that there is none.
var errAppeared = errors.New("the file is being replaced")

// checkMissing returns nil if a file that was not found is indeed not there, and
// an error if it may be there: on the way to it is a symbolic link to nothing,
// or it is found now. It goes from the root down, so that what was no obstacle
// any more when it was passed can't be taken for one that was none before.
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

// errNotOpened: the path of the zero Dir would lead to the root of the file system.
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

// readRecord reads the file of a record.
func readRecord(root *os.Root, file string, scope keystore.Scope, name string) (keystore.Record, error) {
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
	if err := keystore.CheckSize(scope, name, int64(buffer.Len()), maxData); err != nil { // it has grown meanwhile
		return keystore.Record{}, err
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

// writeTemp writes data to a new file in the folder, down to the disk, with the
// time of creation given, or now. It returns the file and the time that it got.
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
	err = errors.Join(err, f.Chmod(0o600), f.Close()) // a umask may have taken more away
	if err == nil && !created.IsZero() {
		err = root.Chtimes(temp, time.Time{}, created)
	}
	if err != nil {
		return temp, time.Time{}, err
	}

	// Opened again, since on Windows closing a file that was written to may set its
	// time; and the time is to be on the disk too.
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

// makeFolders makes the folder at an absolute path, and those above it.
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

// makeFoldersIn makes the folder, and those above it, in the root.
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

// syncFolders brings the names in a folder to the disk, and the folder's own
// name and those above it, which a writer that was killed may have left undone.
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

// removeLeftovers removes temporary files. All writers take the lock, so the
// process that holds it knows that no writer is using them. A failure is no harm.
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
