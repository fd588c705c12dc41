package dir

import (
	"context"
	"fmt"
	"os"
	"path"

	"github.com/meshpass/meshpass/keystore"
)

const (
	// volumeLink is in a folder that the kubelet writes for a container to mount, such
	// as a volume with Secrets. It links to the folder with the current state, which
	// never changes. For the next state the kubelet makes another folder, replaces the
	// link, mends the links beside it, which lead to what is below volumeLink, and
	// removes the folder of the state before.
	volumeLink = "..data"

	// maxViews is how often a volume may be switched to another state during one read,
	// which takes milliseconds, while the kubelet lets a minute pass from one to the
	// next.
	maxViews = 100
)

// view is the folder of a store, with the volumes in it at their states.
type view struct {
	root *os.Root

	// volumes holds for each folder that was entered where its volumeLink led, "" if
	// it has none.
	volumes map[string]string
}

func newView(root *os.Root) *view {
	return &view{root: root, volumes: map[string]string{}}
}

// readSteady calls do with a view, and again with another one if a volume was
// switched meanwhile, so that what do has found, or missed, is of one state.
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

// enter returns the path at which to find what is in a folder. In a volume that is
// volumeLink, and not the links beside it, which follow later.
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

// target returns where the volumeLink of a folder leads. Why there is none does
// not matter: whoever reads the folder will see.
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

// switched says whether a volume that was entered has another state by now.
func (v *view) switched() bool {
	for folder, target := range v.volumes {
		if target != "" && v.target(folder) != target {
			return true
		}
	}
	return false
}

// checkWritable returns an ErrReadOnly if a scope's records are in a volume: what
// is written there is gone with the next state.
func (v *view) checkWritable(scope keystore.Scope) error {
	v.folderOf(scope)
	for folder, target := range v.volumes {
		if target != "" {
			return fmt.Errorf("%w: %s is a volume, its %s leads to %s", keystore.ErrReadOnly, folder, volumeLink, target)
		}
	}
	return nil
}
