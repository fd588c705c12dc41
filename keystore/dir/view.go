package dir

import (
	"context"
	"fmt"
	"os"
	"path"

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
}

func newView(root *os.Root) *view {
	return &view{root: root, volumes: map[string]string{}}
}

// readSteady calls do with a view. If a volume was switched meanwhile, it calls do
// again with a new view, so that all that do finds is of one state.
func readSteady(ctx context.Context, root *os.Root, do func(v *view) error) error {
	for range maxViews {
		v := newView(root)
		err := do(v)
		if !v.switched() {
			return err
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
