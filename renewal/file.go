package renewal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/meshpass/meshpass/internal/rights"
	"github.com/meshpass/meshpass/token"
)

// maxFile is the size of a token with white space around it, in bytes.
const maxFile = token.MaxSize + 1024

// errNotReplaceable is about what renewal must not replace.
var errNotReplaceable = errors.New("renewal: the token file cannot be replaced")

// content is what a token file holds: a token, and perhaps white space around it.
type content struct {
	data   []byte
	raw    string
	claims token.Claims
}

func parse(data []byte) (content, error) {
	text, err := token.PlainText(data)
	if err != nil {
		return content{}, err
	}
	if len(text) == 0 {
		return content{}, errors.New("it is empty")
	}
	unverified, err := token.ParseUnverified(string(text))
	if err != nil {
		return content{}, err
	}
	claims, err := unverified.Claims()
	if err != nil {
		return content{}, err
	}
	return content{data, string(text), claims}, nil
}

// with returns the content with another token.
func (c content) with(raw string) (content, error) {
	if _, err := token.ParseUnverified(raw); err != nil {
		return content{}, err
	}
	return parse(bytes.Replace(c.data, []byte(c.raw), []byte(raw), 1))
}

// file is an open token file.
type file struct {
	*os.File
	content
}

// open opens a token file. It follows no link: that the process may replace what a link
// leads to is not said, and a volume of Kubernetes is changed by its links.
func open(path string) (*os.File, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		return nil, fmt.Errorf("%w: %s is a symbolic link, as in a volume of a Kubernetes Secret: copy the token into a folder that this process may write to, such as an emptyDir", errNotReplaceable, path)
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%w: %s is not a regular file", errNotReplaceable, path)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|openFlags, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%w: %s is not a regular file", errNotReplaceable, path)
	}
	return f, nil
}

// read reads the whole file again.
func (f *file) read() error {
	data, err := io.ReadAll(io.NewSectionReader(f.File, 0, maxFile+1))
	if err != nil {
		return err
	}
	if len(data) > maxFile {
		return fmt.Errorf("%s is longer than a token, want at most %d bytes", f.Name(), token.MaxSize)
	}
	if f.content, err = parse(data); err != nil {
		return fmt.Errorf("%s holds no token: %w", f.Name(), err)
	}
	return nil
}

func readPath(path string) (content, error) {
	opened, err := open(path)
	if err != nil {
		return content{}, err
	}
	defer opened.Close()
	f := &file{File: opened}
	err = f.read()
	return f.content, err
}

// lockFile opens and reads a token file, and locks it against other Keepers. A lock is
// that of the file and not of its name: the file must still have the name when it is
// locked.
func lockFile(path string) (*file, error) {
	for {
		opened, err := open(path)
		if err != nil {
			return nil, err
		}
		f := &file{File: opened}
		if err := lock(opened); err != nil {
			f.close()
			return nil, err
		}
		if !isAt(path, opened) {
			f.close()
			continue
		}
		if err := f.read(); err != nil {
			f.close()
			return nil, err
		}
		return f, nil
	}
}

func (f *file) close() { f.File.Close() }

// isAt reports whether the file has the name.
func isAt(path string, f *os.File) bool {
	there, err := os.Lstat(path)
	if err != nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && os.SameFile(there, info)
}

// fresh is the file that will replace a token file.
type fresh struct {
	*os.File
	path string // of the token file
}

func (f *fresh) close() { f.File.Close() }

// prepare makes the new file, with room for a token, and removes what killed processes
// left. The caller holds the lock on the old file, if there is one.
func prepare(path string, old *file) (*fresh, error) {
	folder, name := filepath.Split(path)
	if folder == "" {
		folder = "."
	}
	if isMounted(path) {
		return nil, fmt.Errorf("%w: %s is mounted by itself, as with subPath in Kubernetes: mount its folder", errNotReplaceable, path)
	}
	prefix := "." + name + ".renewal-"
	if old != nil {
		removeLeftovers(folder, prefix)
	}
	temporary, err := os.CreateTemp(folder, prefix+"*")
	if err != nil {
		return nil, rights.Explain(".", err)
	}
	f := &fresh{temporary, path}
	// Locked too, since it is the token file as soon as it is in place.
	err = lock(temporary)
	if err == nil {
		_, err = temporary.Write(make([]byte, token.MaxSize))
	}
	if err == nil && old != nil {
		err = rights.Keep(temporary, old.File)
	}
	if err != nil {
		f.discard()
		return nil, rights.Explain(".", err)
	}
	return f, nil
}

// removeLeftovers tidies up. Nothing depends on it, so errors do not matter.
func removeLeftovers(folder, prefix string) {
	entries, _ := os.ReadDir(folder)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) && entry.Type().IsRegular() {
			_ = os.Remove(filepath.Join(folder, entry.Name()))
		}
	}
}

func (f *fresh) discard() {
	f.File.Close()
	_ = os.Remove(f.Name())
}

// replace puts data in the place of the token file, if that still holds what old held.
func (f *fresh) replace(old *file, data []byte) error {
	_, err := f.WriteAt(data, 0)
	if err == nil {
		err = f.Truncate(int64(len(data)))
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return rights.Explain(".", err)
	}
	opened, err := open(f.path)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrReplaced, err)
	}
	there := &file{File: opened}
	defer there.close()
	if !there.holds(old.data) {
		return ErrReplaced
	}
	if err := rights.Keep(f.File, opened); err != nil { // again: the rights may have changed
		return rights.Explain(".", err)
	}
	if err := f.putInPlace(old, there); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(f.path))
}

// holds reads the file again, and reports whether it holds the data.
func (f *file) holds(data []byte) bool { return f.read() == nil && bytes.Equal(f.data, data) }

// putInPlace exchanges the new file and the token file, and looks at what it got. If that
// is not what was there before, another process has replaced the file in between. Its file
// is put back, until what comes out is what was put there.
func (f *fresh) putInPlace(old, there *file) error {
	err := exchangeFiles(f.Name(), f.path)
	if errors.Is(err, errors.ErrUnsupported) {
		if !renamesOpenFiles {
			f.close()
			there.close()
			old.close()
		}
		return rights.Explain(".", os.Rename(f.Name(), f.path))
	}
	if err != nil {
		return rights.Explain(".", err)
	}
	if isAt(f.Name(), there.File) && there.holds(old.data) {
		return nil // discard removes the old file
	}
	put, err := f.Stat()
	for err == nil {
		var got fs.FileInfo
		if got, err = os.Lstat(f.Name()); err != nil {
			break
		}
		if err = exchangeFiles(f.Name(), f.path); err != nil {
			break
		}
		var out fs.FileInfo
		if out, err = os.Lstat(f.Name()); err == nil && os.SameFile(out, put) {
			return ErrReplaced
		}
		put = got
	}
	return fmt.Errorf("%w, but it could not be put back: %w", ErrReplaced, err)
}
