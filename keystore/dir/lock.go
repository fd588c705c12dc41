package dir

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"
)

// All processes lock three files. The system releases the locks of a process that
// dies. The files are never removed.
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

// lockList keeps writes from taking effect.
func lockList(ctx context.Context, root *os.Root) (unlock func(), err error) {
	return waitLock(ctx, func() (func(), error) {
		unlockTurn, err := tryLockShared(root, turnLock)
		if err != nil {
			return nil, err
		}
		defer unlockTurn()
		return tryLockShared(root, listLock)
	})
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

// tryLock locks a file exclusively, or returns errLocked.
func tryLock(root *os.Root, name string) (unlock func(), err error) {
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, orReadOnly(err)
	}
	return tryLockFile(f, true)
}

// tryLockShared locks a file together with other readers, or returns errLocked. If
// the file cannot be made or read, the caller reads without a lock.
func tryLockShared(root *os.Root, name string) (unlock func(), err error) {
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil { // such as no permission, no space, no inodes left
		f, err = root.OpenFile(name, os.O_RDONLY|openNonblock, 0)
	}
	if isReadOnly(err) || errors.Is(err, fs.ErrNotExist) {
		return func() {}, nil
	}
	if err != nil {
		return nil, err
	}
	return tryLockFile(f, false)
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
