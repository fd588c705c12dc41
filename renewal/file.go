package renewal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
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

// folder is the folder of a token file. It is opened once for all that a renewal does there,
// so that who may rename a folder on its path cannot lead a part of that elsewhere.
type folder struct {
	*os.Root
	handle *os.File // the same folder, for what Root cannot do
	path   string   // of the token file
	name   string   // of the token file in the folder
	lock   *os.File // nil: this process has not locked it
}

func openFolder(path string) (*folder, error) {
	at, name := filepath.Split(path)
	root, err := os.OpenRoot(filepath.Clean(at))
	if err != nil {
		return nil, err
	}
	handle, err := root.Open(".")
	if err != nil {
		root.Close()
		return nil, err
	}
	return &folder{Root: root, handle: handle, path: path, name: name}, nil
}

func (d *folder) close() {
	if d.lock != nil {
		_ = d.Remove(d.lockName()) // whoever waits for it makes another
		d.lock.Close()
	}
	d.handle.Close()
	d.Root.Close()
}

// full puts the folder into the path of an error of the Root.
func (d *folder) full(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		path.Path = filepath.Join(d.Root.Name(), path.Path)
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		link.Old, link.New = filepath.Join(d.Root.Name(), link.Old), filepath.Join(d.Root.Name(), link.New)
	}
	return err
}

func (d *folder) lockName() string { return "." + d.name + ".lock" }

// acquire locks the token file against other Keepers, or returns ErrBusy. The lock is a file
// beside it that only who may write to the folder can open: a lock on the token file itself could be taken,
// for ever, by everyone who can read that.
func (d *folder) acquire() error {
	if !locks {
		return nil
	}
	for {
		f, made, err := d.openLock()
		if err != nil {
			return err
		}
		err = lock(f)
		if err == nil && !d.has(d.lockName(), f) { // the one who had it has removed it
			f.Close()
			continue
		}
		if err != nil {
			f.Close()
			return err
		}
		d.lock = f
		// Only a new file gets the rights of the folder, and one that root left: whose folder
		// it is may have put a link to a file of somebody else there.
		at, err := d.handle.Stat()
		if err == nil && (made || d.isAstray(f, at)) {
			_ = rights.Inherit(f, at, at.Mode()&0o020 != 0)
		}
		return nil
	}
}

// openLock opens the lock, or makes it.
func (d *folder) openLock() (f *os.File, made bool, err error) {
	for range 100 { // while others make and remove it
		f, err = d.OpenFile(d.lockName(), os.O_RDWR|os.O_CREATE|os.O_EXCL|openFlags, 0o600)
		if err == nil {
			return f, true, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		info, there := d.Lstat(d.lockName())
		if there == nil && !info.Mode().IsRegular() { // Root follows links inside the folder
			return nil, false, fmt.Errorf("%w: %s, which locks it, is not a regular file: remove that", errNotReplaceable, filepath.Join(d.Root.Name(), d.lockName()))
		}
		f, err = d.OpenFile(d.lockName(), os.O_RDWR|openFlags, 0)
		if err == nil || !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return f, false, d.full(err)
}

func (d *folder) isAstray(f *os.File, at fs.FileInfo) bool {
	info, err := f.Stat()
	return err == nil && rights.Astray(info, at)
}

// has reports whether the file has the name.
func (d *folder) has(name string, f *os.File) bool {
	there, err := d.Lstat(name)
	if err != nil {
		return false
	}
	info, err := f.Stat()
	return err == nil && os.SameFile(there, info)
}

// open opens the token file. It follows no link: that the process may replace what a link
// leads to is not said, and a volume of Kubernetes is changed by its links.
func (d *folder) open() (*os.File, error) {
	for {
		info, err := d.Lstat(d.name)
		if err != nil {
			return nil, d.full(err)
		}
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			return nil, fmt.Errorf("%w: %s is a symbolic link, as in a volume of a Kubernetes Secret: copy the token into a folder that this process may write to, such as an emptyDir", errNotReplaceable, d.path)
		case !info.Mode().IsRegular():
			return nil, fmt.Errorf("%w: %s is not a regular file", errNotReplaceable, d.path)
		}
		f, err := d.OpenFile(d.name, os.O_RDONLY|openFlags, 0)
		if err != nil {
			return nil, d.full(err)
		}
		if opened, err := f.Stat(); err == nil && os.SameFile(info, opened) {
			return f, nil
		}
		f.Close() // it was replaced in between
	}
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
	d, err := openFolder(path)
	if err != nil {
		return content{}, err
	}
	defer d.close()
	f, err := d.read()
	if err != nil {
		return content{}, err
	}
	defer f.close()
	return f.content, nil
}

// read opens and reads the token file.
func (d *folder) read() (*file, error) {
	opened, err := d.open()
	if err != nil {
		return nil, err
	}
	f := &file{File: opened}
	if err := f.read(); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *file) close() { f.File.Close() }

// fresh is the file that will replace a token file.
type fresh struct {
	*os.File
	folder *folder
	name   string // in the folder
	kept   bool   // it is no longer this process's own, so it is not removed
}

func (f *fresh) close() { f.File.Close() }

// prepare makes the new file, with room for a token, and removes what killed processes
// left. The folder is locked. old is nil if there is no token file.
func (d *folder) prepare(old *file) (*fresh, error) {
	if isMounted(d.path) {
		return nil, fmt.Errorf("%w: %s is mounted by itself, as with subPath in Kubernetes: mount its folder", errNotReplaceable, d.path)
	}
	prefix := "." + d.name + ".renewal-"
	d.removeLeftovers(prefix)
	f := &fresh{folder: d}
	for f.File == nil {
		f.name = prefix + strconv.FormatUint(uint64(rand.Uint32()), 10)
		var err error
		f.File, err = d.OpenFile(f.name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, rights.Explain(".", d.full(err))
		}
	}
	_, err := f.Write(make([]byte, token.MaxSize))
	if err == nil && old != nil {
		err = rights.Keep(f.File, old.File)
	}
	if err != nil {
		f.discard()
		return nil, rights.Explain(".", err)
	}
	return f, nil
}

// removeLeftovers tidies up. Nothing depends on it, so errors do not matter.
func (d *folder) removeLeftovers(prefix string) {
	_, _ = d.handle.Seek(0, io.SeekStart)
	entries, _ := d.handle.ReadDir(-1)
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), prefix) && entry.Type().IsRegular() {
			_ = d.Remove(entry.Name())
		}
	}
}

func (f *fresh) discard() {
	f.File.Close()
	if !f.kept {
		_ = f.folder.Remove(f.name)
	}
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
	opened, err := f.folder.open()
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
	return syncFolder(f.folder.handle)
}

// holds reads the file again, and reports whether it holds the data.
func (f *file) holds(data []byte) bool { return f.read() == nil && bytes.Equal(f.data, data) }

// putInPlace exchanges the new file and the token file, and looks at what it got. If that
// is not what was there before, another process has replaced the file in between. Its file
// is put back, until what comes out is what was put there.
func (f *fresh) putInPlace(old, there *file) error {
	d := f.folder
	err := exchangeFiles(d.handle, f.name, d.name)
	if errors.Is(err, errors.ErrUnsupported) {
		if !renamesOpenFiles {
			f.close()
			there.close()
			old.close()
		}
		if err := d.Rename(f.name, d.name); err != nil {
			return rights.Explain(".", d.full(err))
		}
		f.kept = true // it is the token file
		return nil
	}
	if err != nil {
		return rights.Explain(".", d.full(err))
	}
	if d.has(f.name, there.File) && there.holds(old.data) {
		return nil // discard removes the old file
	}
	put, err := f.Stat()
	for err == nil {
		var got fs.FileInfo
		if got, err = d.Lstat(f.name); err != nil {
			break
		}
		if err = exchangeFiles(d.handle, f.name, d.name); err != nil {
			break
		}
		var out fs.FileInfo
		if out, err = d.Lstat(f.name); err == nil && os.SameFile(out, put) {
			return ErrReplaced
		}
		put = got
	}
	// What another process has put there is not this one's to remove, now or later.
	f.kept = true
	saved := d.name + ".replaced-" + strings.TrimPrefix(f.name, "."+d.name+".renewal-")
	if renamed := d.Rename(f.name, saved); renamed != nil {
		saved = f.name
	}
	return fmt.Errorf("%w, but in %s, since it could not be put back: %w", ErrReplaced, filepath.Join(d.Root.Name(), saved), d.full(err))
}
