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
	"cmp"
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
	"syscall"
	"time"

	"github.com/meshpass/meshpass/internal/rights"
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
// store ignores files whose names begin with a dot, and files that no record can have.
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
// moment of a Create or an Update of this record. Reads believe what another program has changed when it has been
// the same for 1 s: they wait for that, 1.5 s at most, and then return an error. So they
// never see half a file, unless the program pauses for longer. Such a program should
// still write a new file and rename it. Volumes of Kubernetes are believed at once.
//
// If PATH/.changes goes back or vanishes, an older state is being restored: then reads
// that have seen the later one return an error for 3 s. After that the older state is
// believed. [Store.Backup] and [Store.Restore] are the way that lets no revoked token in.
//
// The store follows symbolic links that stay below PATH. Update replaces the file to
// which a link leads, and the link stays; Delete removes the link. A folder that is a link
// to nothing is an error and never an empty store. Hard links are not needed.
//
// # Records that cannot be read
//
// List returns the other records, and names a record in its [keystore.UnreadableError]
//
//   - if the process has no right to read the file,
//   - if a folder, a named pipe or a socket is in its place,
//   - if a link is in its place that leads to nothing, to itself or out of PATH,
//   - if the file has more than 64 MiB ([keystore.ErrTooLarge]),
//   - if the name of the file, or of its mesh's folder, is not encoded, such as
//     meshes/Prod, or is encoded with lower-case digits. The error says the right name. If
//     the record is there under its right name too, it is in doubt which one is meant.
//
// Get and Update of such a record return the same reason, and Create [keystore.ErrExists].
// Delete removes whatever is in the record's place, except for a folder that is not empty.
// If a folder cannot be read, or the system cannot read a file (EIO), List fails.
//
// # Volumes of Kubernetes
//
// PATH, or folders below it, may be volumes that Kubernetes mounts from Secrets. Mount
// one Secret for each scope, as a whole, at PATH/global or PATH/meshes/MESH; the keys
// of the Secret are the names of the records. New keys then appear without a change of
// the Pod. Or mount one volume at PATH, with a path such as meshes/MESH/NAME for each
// key. Names with capitals need such paths, or items, since file names are encoded as
// above and the keys of Secrets cannot be: a key with capitals is a record that cannot be
// read. Do not use subPath: Kubernetes never updates it.
//
// Each List shows one state of a volume, also while Kubernetes switches to the next
// one, and Watch sees the switch. Writes return [keystore.ErrReadOnly], since they
// would be gone with the next state. Created is the time at which Kubernetes wrote the
// state, and changes with each state: a publish delay and scheduled rotation need
// another store.
//
// # Rights and locks
//
// A new file has mode 0600 and a new folder mode 0700. They belong to the owner and the
// group of the folder that they are in, as far as the process may give them away. If that
// folder is setgid, or its group may write to it and others may not, the group gets the
// rights that it has to the folder; folders below a setgid folder are setgid. So several
// users of one group share a store with
//
//	install -d -o cp -g mesh -m 2770 /var/lib/mesh/keys
//
// A file that is replaced keeps its owner, its group and its mode, and on Linux its access
// control list and its user attributes. So what root writes locks no other user out. Only
// root can keep another owner: a file that another user replaces is that user's from then
// on, with the same group and mode. If that user is not in the group, the file has no
// rights for the group. On Windows a file gets the rights that its folder passes on.
//
// If the process may not write to the folder, or the file system is mounted read-only,
// reads work and writes return [keystore.ErrReadOnly]. A disk that is full and a file
// that belongs to another user are other errors. An error says which file or folder is the
// cause and, if it is about rights, to whom it belongs and as whom the process runs.
//
// Writers make the lock files PATH/.*.lock, with the rights of any new file. Reading makes
// and changes no file. If a reader may not open the lock files, it reads without them; a
// List may then not be one consistent view.
//
// The system releases the locks of a process that dies. A process that is stopped
// (SIGSTOP) keeps its lock: until it continues, the writes of other processes, and
// possibly their Lists, wait until their contexts end. A call that is inside an
// operation of the file system notices the end of its context when that operation
// returns. A user who may read the lock files can hold a lock too, for as long as that user
// likes; the others cannot tell the two apart.
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
		return nil, fmt.Errorf("keystore: cannot make a directory store: %w", rights.Explain(absolute, err))
	}
	root, err := openRoot(absolute)
	if err != nil {
		return nil, fmt.Errorf("keystore: cannot open a directory store: %w", rights.Explain(absolute, err))
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
		return keystore.Record{}, s.failed("get", scope, name, err)
	}
	defer root.Close()
	var r keystore.Record
	err = believe(ctx, func() error {
		if err := s.memory.remembers(root); err != nil {
			return err
		}
		if err := checkFinished(root); err != nil {
			return err
		}
		return readSteady(ctx, root, func(v *view) (err error) {
			if err := checkSpelling(v, scope, name); err != nil {
				return keystore.CannotRead(err)
			}
			r, err = v.read(v.fileOf(scope, name), scope, name)
			switch {
			case errors.Is(err, keystore.ErrNotFound):
				v.missed(scope, name)
			case err != nil && staysUnreadable(err):
				err = keystore.CannotRead(err)
			}
			return err
		})
	})
	if err != nil {
		return keystore.Record{}, s.failed("get", scope, name, err)
	}
	return r, nil
}

// List implements [keystore.KeyStore]. With AllScopes the whole list is one consistent
// view, unless scopes are in volumes of their own. The description of [Store] says which
// records are in a [keystore.UnreadableError].
func (s *Store) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, keystore.Failed("list", scope, "", err)
	}
	if err := keystore.CheckListed(scope); err != nil {
		return nil, err
	}
	var all found
	if err := s.list(ctx, scope, prefix, all.begin); err != nil {
		return nil, err
	}
	return all.records, keystore.Unreadable(all.unreadable)
}

// found collects what a list gives in parts, of which the scopes come sorted.
type found struct {
	records    []keystore.Record
	unreadable []*keystore.Error
}

func (f *found) begin() keystore.EachScope {
	*f = found{}
	return func(_ keystore.Scope, records []keystore.Record, unreadable []*keystore.Error) error {
		f.records = append(f.records, records...)
		f.unreadable = append(f.unreadable, unreadable...)
		return nil
	}
}

// ListScopes implements [keystore.ScopeLister]. The scopes come sorted, and are one
// consistent view like those of List.
func (s *Store) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	if err := ctx.Err(); err != nil {
		return keystore.Failed("list", keystore.AllScopes, "", err)
	}
	return s.list(ctx, keystore.AllScopes, prefix, begin)
}

// list lists a scope, or all, in parts.
func (s *Store) list(ctx context.Context, scope keystore.Scope, prefix string, begin func() keystore.EachScope) error {
	root, err := openRoot(s.path)
	if err != nil {
		return s.failed("list", scope, "", err)
	}
	defer root.Close()
	err = believe(ctx, func() error {
		for {
			unlock, missing, err := lockList(ctx, root)
			if err != nil {
				return s.failed("list", scope, "", err)
			}
			err = readSteady(ctx, root, func(v *view) error {
				return s.listView(ctx, v, scope, prefix, begin())
			})
			if doubt := s.memory.check(root); doubt != nil {
				err = doubt
			}
			unlock()
			if missing && exists(root, listLock) { // the first writer has come meanwhile
				continue
			}
			return err
		}
	})
	var doubt *doubtError
	if errors.As(err, &doubt) {
		return keystore.Failed("list", scope, "", err)
	}
	return err
}

// listView calls each for every scope.
func (s *Store) listView(ctx context.Context, v *view, scope keystore.Scope, prefix string, each keystore.EachScope) error {
	scopes := []keystore.Scope{scope}
	if scope == keystore.AllScopes {
		var err error
		if scopes, err = readScopes(v); err != nil {
			return s.failed("list", scope, "", err)
		}
		meshes := make([]string, len(scopes))
		for i, s := range scopes {
			meshes[i] = string(s)
		}
		v.listed(folder{path: v.meshes()}, scope, meshes)
	}
	for _, scope := range scopes {
		in, err := s.listScope(ctx, v, scope, prefix)
		if err == nil && len(in.records)+len(in.unreadable) > 0 {
			slices.SortFunc(in.records, keystore.CompareRecords)
			_ = keystore.Unreadable(in.unreadable) // sorts them, and makes each match ErrUnreadable
			err = each(scope, in.records, in.unreadable)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// listScope returns the records of one scope, and why others cannot be read, in no order.
func (s *Store) listScope(ctx context.Context, v *view, scope keystore.Scope, prefix string) (in found, err error) {
	progressed := keystore.Progress(ctx)
	folder := v.open(scope)
	defer folder.close()
	entries, err := folder.entries(scope)
	if err != nil {
		return found{}, s.failed("list", scope, "", err)
	}
	names := make([]string, len(entries))
	for i, entry := range entries {
		names[i] = entry.name
	}
	v.listed(folder, scope, names)
	for _, entry := range entries {
		if !strings.HasPrefix(entry.name, prefix) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return found{}, s.failed("list", scope, "", err)
		}
		r, err := folder.read(entry, scope)
		progressed()
		switch {
		case err == nil:
			in.records = append(in.records, r)
		case errors.Is(err, keystore.ErrNotFound):
			// removed by a program that takes no lock
		case staysUnreadable(err):
			in.unreadable = append(in.unreadable, &keystore.Error{Op: "read", Scope: scope, Name: entry.name, Err: s.explain(err)})
		default:
			return found{}, s.failed("list", scope, entry.name, err)
		}
	}
	return in, nil
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
		if exists(root, file) {
			return keystore.ErrExists // without writing anything
		}
		if err := checkSpelling(newView(root), r.Scope, r.Name); err != nil {
			return fmt.Errorf("%w: %w", keystore.ErrExists, err)
		}
		inForce := false
		done := announce(root, r.Scope, r.Name, answer.Version)
		defer func() { done(inForce) }()
		folder := path.Dir(file)
		if err := makeFoldersIn(root, folder); err != nil {
			return orReadOnly(err)
		}
		info, err := root.Stat(folder)
		if err != nil {
			return err
		}
		temp, created, err := writeTemp(root, folder, r.Data, time.Time{}, func(f *os.File) error {
			return rights.Inherit(f, info, true)
		})
		if err != nil {
			return orReadOnly(err)
		}
		err = takeEffect(ctx, root, func() error {
			if exists(root, file) { // now, although all stores wait: another program has made it
				return keystore.ErrExists
			}
			return root.Rename(temp, file)
		})
		if err != nil {
			root.Remove(temp)
			return err
		}
		inForce = true
		answer.Created = created
		return syncFolders(root, path.Dir(file))
	})
	if err != nil {
		return keystore.Record{}, s.failed("create", r.Scope, r.Name, err)
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
		if err := checkSpelling(newView(root), r.Scope, r.Name); err != nil {
			return err
		}
		name := fileOf(r.Scope, r.Name)
		file, err := followLinks(root, name)
		if err != nil {
			return err
		}
		current, err := readRecord(root, file, r.Scope, r.Name, nil)
		if err != nil {
			return err
		}
		if current.Version != r.Version {
			return keystore.ErrConflict
		}
		inForce := false
		done := announce(root, r.Scope, r.Name, answer.Version)
		defer func() { done(inForce) }()
		old, err := openFile(root, file, openNonblock)
		if err != nil {
			return err
		}
		defer old.Close()
		folder := folderOfFile(file)
		temp, created, err := writeTemp(root, folder, r.Data, current.Created, func(f *os.File) error {
			return rights.Keep(f, old)
		})
		if err != nil {
			return orReadOnly(err)
		}
		old.Close() // Windows renames over no open file
		if err := takeEffect(ctx, root, func() error { return root.Rename(temp, file) }); err != nil {
			root.Remove(temp)
			return err
		}
		inForce = true
		answer.Created = created
		if file != name {
			if err := syncFolder(root.OpenFile(folder, os.O_RDONLY|openFolder, 0)); err != nil {
				return err
			}
		}
		return syncFolders(root, path.Dir(name))
	})
	if err != nil {
		return keystore.Record{}, s.failed("update", r.Scope, r.Name, err)
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
		files := append(misspelled(newView(root), scope, name), fileOf(scope, name))
		for _, file := range files {
			info, err := root.Lstat(file)
			if errors.Is(err, fs.ErrNotExist) {
				if err := checkMissing(root, file); err != nil {
					return err
				}
				continue
			}
			if err != nil {
				return err
			}
			if info.IsDir() {
				if entries, _ := readFolder(root, file); len(entries) > 0 {
					return fmt.Errorf("%s is a folder that is not empty: move it away", file)
				}
			}
			done := announce(root, scope, name, gone)
			err = takeEffect(ctx, root, func() error { return root.Remove(file) })
			inForce := err == nil
			if inForce {
				err = syncFolders(root, path.Dir(file))
			}
			done(inForce)
			if err != nil {
				return orReadOnly(err)
			}
			removeEmptyFolders(root, path.Dir(file))
		}
		return nil
	})
	if err != nil {
		return s.failed("delete", scope, name, err)
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
func (s *Store) failed(op string, scope keystore.Scope, name string, err error) error {
	if errors.Is(err, keystore.ErrTooLarge) {
		return err
	}
	return keystore.Failed(op, scope, name, s.explain(err))
}

// explain adds to an error of the file system whose file it is about.
func (s *Store) explain(err error) error { return rights.Explain(s.path, err) }

// staysUnreadable reports whether the reason lies in the record and stays, so that the
// list without the record is complete.
func staysUnreadable(err error) bool {
	var errno syscall.Errno
	var doubt *doubtError
	if errors.As(err, &doubt) {
		return false
	}
	if !errors.As(err, &errno) { // it is an answer of this package, or of os.Root about a link
		return !errors.Is(err, errAppeared)
	}
	return errors.Is(err, fs.ErrPermission) || slices.Contains(shapeErrors, errno)
}

// shapeErrors are the answers of systems to the opening of what is no file: a link to
// itself, a socket, a folder, a link through a file.
var shapeErrors = []syscall.Errno{syscall.ELOOP, syscall.ENXIO, syscall.EOPNOTSUPP, syscall.EISDIR, syscall.ENOTDIR, syscall.ENAMETOOLONG}

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

// readScopes returns the scopes that have a folder, be its name misspelled, and the
// global one, sorted.
func readScopes(v *view) ([]keystore.Scope, error) {
	scopes := []keystore.Scope{keystore.Global}
	entries, err := readNames(v.root, v.meshes())
	for _, entry := range entries {
		if scope := keystore.Scope(entry.name); keystore.CheckScope(scope) == nil && isFolder(v.root, entry.file, entry.Type()) {
			scopes = append(scopes, scope)
		}
	}
	slices.Sort(scopes)
	return slices.Compact(scopes), err
}

// entries returns the files of the records of a scope, in no order. Of a record whose
// file is there under a misspelled name too, it returns only that: it is in doubt which
// one is meant.
func (f folder) entries(scope keystore.Scope) ([]namedEntry, error) {
	entries, err := f.names()
	if err != nil {
		return nil, err
	}
	for _, folder := range f.view.misspelledFolders(scope) {
		more, err := readNames(f.view.root, folder)
		if err != nil {
			return nil, err
		}
		for _, entry := range more {
			entry.misspelled = true
			entries = append(entries, entry)
		}
	}
	return oneForEachName(entries), nil
}

// oneForEachName drops all entries but one of each name, a misspelled one if there is one.
func oneForEachName(entries []namedEntry) []namedEntry {
	if !slices.ContainsFunc(entries, func(e namedEntry) bool { return e.misspelled }) {
		return entries
	}
	slices.SortStableFunc(entries, func(a, b namedEntry) int {
		misspelledFirst := 0
		if a.misspelled != b.misspelled {
			if misspelledFirst = 1; a.misspelled {
				misspelledFirst = -1
			}
		}
		return cmp.Or(cmp.Compare(a.name, b.name), misspelledFirst)
	})
	return slices.CompactFunc(entries, func(a, b namedEntry) bool { return a.name == b.name })
}

// checkSpelling returns an error if a record's file is there under a misspelled name.
func checkSpelling(v *view, scope keystore.Scope, name string) error {
	if files := misspelled(v, scope, name); len(files) > 0 {
		return spellingError(files[0], scope, name)
	}
	return nil
}

func spellingError(file string, scope keystore.Scope, name string) error {
	if path.Base(path.Dir(file)) == volumeLink { // it is the key of a Secret
		return fmt.Errorf("%s in a volume: capitals in file names are encoded, mount the key with items at the path %s", path.Base(file), encodeName(name))
	}
	return fmt.Errorf("%s has a wrong name: capital letters in file names are encoded, rename it to %s", file, fileOf(scope, name))
}

// misspelled returns the paths at which a record's file is under misspelled names.
func misspelled(v *view, scope keystore.Scope, name string) (files []string) {
	for _, wrong := range misspellings(name) {
		if file := path.Join(v.folderOf(scope), wrong); isNamed(v.root, file) {
			files = append(files, file)
		}
	}
	for _, folder := range v.misspelledFolders(scope) {
		for _, spelled := range append(misspellings(name), encodeName(name)) {
			if file := path.Join(folder, spelled); isNamed(v.root, file) {
				files = append(files, file)
			}
		}
	}
	return files
}

// misspelledFolders returns the folders of a scope whose names are misspelled.
func (v *view) misspelledFolders(scope keystore.Scope) (folders []string) {
	if scope == keystore.Global {
		return nil
	}
	for _, wrong := range misspellings(string(scope)) {
		folder := path.Join(v.meshes(), wrong)
		if info, err := v.root.Stat(folder); err == nil && info.IsDir() && isNamed(v.root, folder) {
			folders = append(folders, v.enter(folder))
		}
	}
	return folders
}

// isNamed reports whether there is a file with exactly this name. On a file system that
// ignores case, the file of another record may answer to it.
func isNamed(root *os.Root, file string) bool {
	if !exists(root, file) {
		return false
	}
	entries, err := readFolder(root, path.Dir(file))
	return err != nil || slices.ContainsFunc(entries, func(e fs.DirEntry) bool { return e.Name() == path.Base(file) })
}

// exists reports whether there is a file, a folder or a link of this name.
func exists(root *os.Root, file string) bool {
	_, err := root.Lstat(file)
	return err == nil
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

	misspelled bool // the file's name, or that of its folder
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
				found = append(found, namedEntry{name: name, file: file, DirEntry: entry})
			} else if name, ok := guessName(encoded); ok {
				found = append(found, namedEntry{name: name, file: file, DirEntry: entry, misspelled: true})
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
// given time of creation, or the present one if that is zero, and the rights that give
// gives it. writeTemp returns the file's path and time.
func writeTemp(root *os.Root, folder string, data []byte, created time.Time, give func(f *os.File) error) (temp string, _ time.Time, err error) {
	temp = folder + "/" + tempPrefix + rand.Text()
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
	made, statErr := f.Stat()
	err = errors.Join(err, statErr, f.Chmod(0o600), f.Close()) // a umask may have removed more rights
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
	info, err := f.Stat()
	if err == nil && !os.SameFile(info, made) { // it may be a link of the folder's owner to a file of root's
		err = fmt.Errorf("%s was replaced when it was made", temp)
	}
	if err != nil {
		return temp, time.Time{}, err
	}
	if err = errors.Join(give(f), f.Sync()); err != nil {
		return temp, time.Time{}, err
	}
	if info, err = f.Stat(); err != nil {
		return temp, time.Time{}, err
	}
	return temp, info.ModTime().UTC(), nil
}

// maxLinks is how many links may follow each other, as on Linux.
const maxLinks = 40

// followLinks returns the path of the file to which a path leads. The path may have .. in
// it, after a link to a folder, and must not be cleaned.
func followLinks(root *os.Root, file string) (string, error) {
	for range maxLinks {
		info, err := root.Lstat(file)
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			return file, nil // who opens it learns why not
		}
		target, err := root.Readlink(file)
		if err != nil {
			return "", err
		}
		if filepath.IsAbs(target) {
			return file, nil // it leads out of the root, and cannot be opened
		}
		file = folderOfFile(file) + "/" + filepath.ToSlash(target)
	}
	return file, nil
}

// folderOfFile returns the path without its last element, not cleaned.
func folderOfFile(file string) string { return file[:strings.LastIndexByte(file, '/')] }

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
	root, err := openRoot(parent)
	if err != nil {
		return err
	}
	defer root.Close()
	name := filepath.Base(absolute)
	if err := root.Mkdir(name, 0o700); errors.Is(err, fs.ErrExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := shareFolder(root, name); err != nil {
		return err
	}
	return syncFolder(root.Open("."))
}

// makeFoldersIn makes the folder, and its parents, in the root. The caller holds the
// write lock. A folder has its rights when it appears: the process may end at any time.
func makeFoldersIn(root *os.Root, folder string) error {
	if folder == "." || exists(root, folder) {
		return nil
	}
	if err := makeFoldersIn(root, path.Dir(folder)); err != nil {
		return err
	}
	temp := path.Join(path.Dir(folder), tempPrefix+rand.Text())
	if err := root.Mkdir(temp, 0o700); err != nil {
		return err
	}
	err := shareFolder(root, temp)
	if err == nil {
		err = root.Rename(temp, folder)
	}
	if err != nil {
		root.Remove(temp)
		if exists(root, folder) { // another program has made it
			return nil
		}
	}
	return err
}

// shareFolder gives a folder that this process has just made the rights of a new one.
func shareFolder(root *os.Root, folder string) error {
	parent, err := root.Stat(path.Dir(folder))
	if err != nil {
		return err
	}
	f, err := root.OpenFile(folder, os.O_RDONLY|openFolder, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	there, err := root.Lstat(folder)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !os.SameFile(there, info) { // it is a link by now
		return fmt.Errorf("%s was replaced when it was made", folder)
	}
	return rights.Inherit(f, parent, true)
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
// uses them while this process holds it. Without a lock no writer has been there. A
// failure does no harm.
func removeLeftovers(root *os.Root) {
	if !exists(root, writeLock) {
		return
	}
	unlock, err := tryLock(root, writeLock)
	if err != nil {
		return
	}
	defer unlock()
	removeTemps(root, ".")
	removeTemps(root, meshesFolder)
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
		case (entry.Type().IsRegular() || entry.IsDir()) && strings.HasPrefix(entry.Name(), tempPrefix):
			root.Remove(name)
		case entry.IsDir() && strings.HasSuffix(entry.Name(), "%"):
			removeTemps(root, name)
		}
	}
}
