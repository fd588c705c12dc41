// Package rights says to whom a file belongs that this process makes: who could use the
// old file can use the one that replaces it, and a new one is for those who use its
// folder. So what an administrator does as root never locks a service out.
//
// All changes are made on open files, so that no symbolic link can lead them elsewhere.
package rights

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Follow returns the path of the file to which a path leads, so that the file can be
// replaced and a link to it stays. A path that leads to no file is returned as it is.
//
// A link to nothing is an error, as the file would be made where nobody looks. So is a
// link of another user, unless it is root's or the file is that user's: root would replace
// a file that the user may not.
func Follow(file string) (string, error) {
	info, err := os.Lstat(file)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		return file, nil // who opens it learns why not
	}
	target, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("%s is a symbolic link to nothing", file)
	}
	if err != nil {
		return "", err
	}
	for info.Mode()&fs.ModeSymlink != 0 {
		if !trusted(info, target) {
			return "", fmt.Errorf("%s is a symbolic link of another user to a file that is not that user's", file)
		}
		next, err := os.Readlink(file)
		if err != nil {
			return "", err
		}
		if !filepath.IsAbs(next) {
			folder, _ := filepath.Split(file) // not cleaned: it may end in .. after a link
			next = folder + next
		}
		file = next
		if info, err = os.Lstat(file); err != nil {
			return "", err
		}
	}
	folder, name := filepath.Split(file)
	if folder, err = filepath.EvalSymlinks(folder + "."); err != nil {
		return "", err
	}
	return filepath.Join(folder, name), nil
}

// Explain adds to an error of the file system, if it is about rights or space, which file
// or folder is the cause; if it is about rights, also to whom that belongs, and as whom
// this process runs. A path in the error that is not absolute is below base. On Windows
// Explain returns err.
func Explain(base string, err error) error {
	file := cause(err)
	if file == "" || !explained(err) {
		return err
	}
	if !filepath.IsAbs(file) {
		file = filepath.Join(base, file)
	}
	info, statErr := os.Lstat(file)
	for statErr != nil { // the file is yet to be made, or a folder on its path is closed to this process
		parent := filepath.Dir(file)
		if parent == file {
			return err
		}
		file = parent
		info, statErr = os.Lstat(file)
	}
	return fmt.Errorf("%w (%s%s)", err, filepath.Clean(file), situation(file, info, err))
}

// cause returns the path of the file or the folder that did not let an operation happen.
func cause(err error) string {
	var link *os.LinkError
	if errors.As(err, &link) {
		return filepath.Dir(link.New) // to rename takes rights to the folder
	}
	var path *fs.PathError
	if !errors.As(err, &path) {
		return ""
	}
	if strings.HasPrefix(path.Op, "unlink") || strings.HasPrefix(path.Op, "remove") || strings.HasPrefix(path.Op, "mkdir") {
		return filepath.Dir(path.Path)
	}
	return path.Path
}
