package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"

	"github.com/meshpass/meshpass/internal/rights"
)

// All processes lock three files. Writers make them; a reader that finds none reads
// without. The system releases the locks of a process that dies. The files are never
// removed.
const (
	// A writer holds writeLock during all of a write.
	writeLock = ".write.lock"

	// A writer holds listLock exclusively at the moment when its write takes effect.
	// Readers hold it shared while they list.
	listLock = ".list.lock"

	// A writer that wants listLock holds turnLock exclusively. Readers take it shared
	// for a moment before they take listLock. So a writer that waits goes before the
	// readers that come later; otherwise a few busy readers would keep it out.
	turnLock = ".turn.lock"
)

const (
	minLockPause = 50 * time.Microsecond
	maxLockPause = 5 * time.Millisecond
)

// errLocked: another process, or another Store of this one, holds the lock.
var errLocked = errors.New("another process holds the lock")

// lockWrite waits until no other writer is at work, and keeps others from writing.
func lockWrite(ctx context.Context, root *os.Root) (unlock func(), err error) {
	return waitLock(ctx, func() (func(), error) { return tryLock(root, writeLock) })
}

// takeEffect calls change, which makes a write visible, at a moment when no reader
// lists.
func takeEffect(ctx context.Context, root *os.Root, change func() error) error {
	unlockTurn, err := waitLock(ctx, func() (func(), error) { return tryLock(root, turnLock) })
	if err != nil {
		return err
	}
	defer unlockTurn()
	unlockList, err := waitLock(ctx, func() (func(), error) { return tryLock(root, listLock) })
	if err != nil {
		return err
	}
	defer unlockList()
	return change()
}

// lockList keeps writes from taking effect. If there is no lock because no process has
// written yet, it returns missing.
func lockList(ctx context.Context, root *os.Root) (unlock func(), missing bool, err error) {
	unlock, err = waitLock(ctx, func() (func(), error) {
		unlockTurn, _, err := tryLockShared(root, turnLock)
		if err != nil {
			return nil, err
		}
		defer unlockTurn()
		var unlock func()
		unlock, missing, err = tryLockShared(root, listLock)
		return unlock, err
	})
	return unlock, missing, err
}

// waitLock tries until it succeeds. It does not wait in a system call, which no
// context could end.
func waitLock(ctx context.Context, try func() (func(), error)) (unlock func(), err error) {
	for pause := minLockPause; ; pause = min(2*pause, maxLockPause) {
		unlock, err := try()
		if !errors.Is(err, errLocked) {
			return unlock, err
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pause/2 + rand.N(pause)):
		}
	}
}

// tryLock locks a file exclusively, or returns errLocked. It makes the file if there is
// none.
func tryLock(root *os.Root, name string) (unlock func(), err error) {
	f, err := openLock(root, name)
	if err != nil {
		return nil, err
	}
	return tryLockFile(f, true)
}

// openLock opens a lock file, or makes it. The file has the rights that each new file
// has, or else a process of root could lock the others out.
func openLock(root *os.Root, name string) (*os.File, error) {
	f, err := root.OpenFile(name, os.O_RDWR|openNonblock, 0)
	made := false
	if errors.Is(err, fs.ErrNotExist) {
		f, err = root.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
		made = err == nil
		if errors.Is(err, fs.ErrExist) { // by another process just now
			f, err = root.OpenFile(name, os.O_RDWR|openNonblock, 0)
		}
	}
	if errors.Is(err, fs.ErrPermission) && mayWrite(root.Name()) { // the fault is the file's
		if info, statErr := root.Lstat(name); statErr == nil && justMade(info) {
			return nil, errLocked
		}
		return nil, err
	}
	if err != nil {
		return nil, orReadOnly(err)
	}
	if err := shareLock(root, f, name, made); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// justMade reports whether a process of root may be about to give a lock file away.
func justMade(info fs.FileInfo) bool {
	age := time.Since(info.ModTime())
	return 0 <= age && age < time.Second
}

func shareLock(root *os.Root, f *os.File, name string, made bool) error {
	folder, err := root.Stat(".")
	if err != nil {
		return err
	}
	there, err := root.Lstat(name)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !there.Mode().IsRegular() || !os.SameFile(there, info) { // such as a link to a key
		return fmt.Errorf("%s is not a regular file", name)
	}
	if made || rights.Astray(info, folder) {
		return rights.Inherit(f, folder, true)
	}
	return nil
}

// tryLockShared locks a file together with other readers, or returns errLocked. If there
// is no file, or none that this process may read, the caller reads without a lock.
func tryLockShared(root *os.Root, name string) (unlock func(), missing bool, err error) {
	f, err := root.OpenFile(name, os.O_RDONLY|openNonblock, 0)
	if missing = errors.Is(err, fs.ErrNotExist); missing || isReadOnly(err) {
		return func() {}, missing, nil
	}
	if err == nil {
		unlock, err = tryLockFile(f, false)
	}
	return unlock, false, err
}

func tryLockFile(f *os.File, exclusive bool) (unlock func(), err error) {
	if err := lockNow(f, exclusive); err != nil {
		f.Close()
		return nil, err
	}
	return func() {
		unlockNow(f) // closing alone would leave the lock with a child process that is just being started
		f.Close()
	}, nil
}
