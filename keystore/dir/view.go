package dir

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/meshpass/meshpass/keystore"
)

const (
	// volumeLink is a link in each volume, such as one with Secrets, that the kubelet
	// writes for a container. It leads to a folder with the current state, which never
	// changes. For the next state the kubelet makes another folder, replaces the link,
	// adjusts the links beside it, which lead through volumeLink, and removes the folder
	// of the previous state.
	volumeLink = "..data"

	// maxViews is how often a volume may be switched to another state during one read.
	// A read takes milliseconds; the kubelet switches once a minute.
	maxViews = 100
)

// view is the folder of a store, with the volumes in it at their states.
type view struct {
	root *os.Root

	// volumes holds, for each folder that was entered, where its volumeLink led; "" if
	// it has none.
	volumes map[string]string

	opened *os.Root // the folder with those of the meshes, or nil

	fresh []fresh // what was changed a moment ago
}

func newView(root *os.Root) *view {
	return &view{root: root, volumes: map[string]string{}}
}

// readSteady calls do with a view. If a volume was switched meanwhile, it calls do
// again with a new view, so that all that do finds is of one state. It returns a
// doubtError for what another program has just changed.
func readSteady(ctx context.Context, root *os.Root, do func(v *view) error) error {
	for range maxViews {
		v := newView(root)
		err := do(v)
		v.close()
		if !v.switched() {
			return cmp.Or(v.believed(), err)
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("keystore: cannot read a volume that was switched to another state: %w", err)
		}
	}
	return fmt.Errorf("keystore: a volume was switched to another state each of %d times that it was read", maxViews)
}

// enter returns the path at which the content of a folder is. In a volume that is
// volumeLink: the links beside it are adjusted later.
func (v *view) enter(folder string) string {
	target, ok := v.volumes[folder]
	if !ok {
		target = v.target(folder)
		v.volumes[folder] = target
	}
	if target == "" {
		return folder
	}
	return path.Join(folder, volumeLink)
}

// target returns where the volumeLink of a folder leads, or "". If the link cannot be
// read, the reading of the folder tells why.
func (v *view) target(folder string) string {
	target, err := v.root.Readlink(path.Join(folder, volumeLink))
	if err != nil {
		return ""
	}
	return target
}

// folderOf returns the path of the folder in which a scope's records are.
func (v *view) folderOf(scope keystore.Scope) string {
	if scope == keystore.Global {
		return v.enter(path.Join(v.enter("."), globalFolder))
	}
	return v.enter(path.Join(v.meshes(), encodeName(string(scope))))
}

// fileOf returns the path of a record's file.
func (v *view) fileOf(scope keystore.Scope, name string) string {
	return path.Join(v.folderOf(scope), encodeName(name))
}

// folder is an open folder of a scope. To open its files through it is cheaper than to
// walk from the root to each of them.
type folder struct {
	view *view
	path string
	own  *os.Root // nil if it cannot be opened
}

// open opens the folder of a scope. The caller closes it.
func (v *view) open(scope keystore.Scope) folder {
	if name := encodeName(string(scope)); scope != keystore.Global && !strings.Contains(name, "/") && v.openMeshes() {
		if own := openFolderIn(v.opened, name); own != nil {
			if _, err := own.Readlink(volumeLink); errors.Is(err, fs.ErrNotExist) {
				return folder{v, path.Join(v.meshes(), name), own}
			}
			own.Close()
		}
	}
	f := folder{view: v, path: v.folderOf(scope)}
	f.own = openFolderIn(v.root, f.path)
	return f
}

// openFolderIn opens a folder, or returns nil: to open a named pipe would wait for its
// writer.
func openFolderIn(root *os.Root, file string) *os.Root {
	info, err := root.Stat(file)
	if err != nil || !info.IsDir() {
		return nil
	}
	own, err := root.OpenRoot(file)
	if err != nil {
		return nil
	}
	return own
}

// openMeshes opens the folder in which the scopes' folders are.
func (v *view) openMeshes() bool {
	if v.opened == nil {
		v.opened = openFolderIn(v.root, v.meshes())
	}
	return v.opened != nil
}

func (v *view) close() {
	if v.opened != nil {
		v.opened.Close()
	}
}

func (f folder) close() {
	if f.own != nil {
		f.own.Close()
	}
}

// names returns what is in the folder.
func (f folder) names() ([]namedEntry, error) {
	if f.own == nil || inVolume(f.path) {
		return readNames(f.view.root, f.path)
	}
	entries, err := readNames(f.own, ".")
	if err != nil {
		return readNames(f.view.root, f.path) // for an error with the path
	}
	for i := range entries {
		entries[i].file = f.path + "/" + entries[i].file
	}
	return entries, nil
}

// stat returns what there is to know of an entry. A link is followed.
func (f folder) stat(entry namedEntry) (fs.FileInfo, error) {
	if entry.Type().IsRegular() {
		if info, err := entry.Info(); err == nil { // the reading of the folder has it already
			return info, nil
		}
	}
	return f.view.root.Stat(entry.file)
}

// read is the view's read. Links may lead out of the folder.
func (f folder) read(entry namedEntry, scope keystore.Scope) (keystore.Record, error) {
	if entry.misspelled {
		return keystore.Record{}, spellingError(entry.file, scope, entry.name)
	}
	if below, ok := strings.CutPrefix(entry.file, f.path+"/"); ok && f.own != nil && entry.Type().IsRegular() {
		if r, err := f.view.readIn(f.own, below, entry.file, scope, entry.name); err == nil {
			return r, nil
		}
	}
	return f.view.read(entry.file, scope, entry.name)
}

// meshes returns the path of the folder in which the scopes' folders are.
func (v *view) meshes() string {
	return v.enter(path.Join(v.enter("."), meshesFolder))
}

// switched reports whether a volume that was entered has another state by now.
func (v *view) switched() bool {
	for folder, target := range v.volumes {
		if target != "" && v.target(folder) != target {
			return true
		}
	}
	return false
}

// checkWritable returns an ErrReadOnly if a scope's records are in a volume: a write
// there would be gone with the next state.
func (v *view) checkWritable(scope keystore.Scope) error {
	v.folderOf(scope)
	for folder, target := range v.volumes {
		if target != "" {
			return fmt.Errorf("%w: %s is a volume, its %s leads to %s", keystore.ErrReadOnly, folder, volumeLink, target)
		}
	}
	return nil
}
