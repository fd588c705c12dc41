package dir

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"time"
)

// Three files are locked, by all processes. The system lets go of the locks of a
// process that dies. Nobody removes the files.
const (
	// writeLock is held by the one who writes, for all of a write.
	writeLock = ".write.lock"

	// listLock is held exclusively for the moment in which a write takes effect, and
	// shared by those who list.
	listLock = ".list.lock"

	// turnLock is held exclusively by the writer who wants listLock, and shared, for a
	// moment, by those who take it to list. So readers that come while a writer
	// waits let it go first: without this, a few busy ones would keep it out.
	turnLock = ".turn.lock"
)

const (
	minLockPause = 50 * time.Microsecond
	maxLockPause = 5 * time.Millisecond
)

// errLocked: somebody else holds the lock.
var errLocked = errors.New("the lock is held by somebody else")

// lockWrite waits until nobody else is writing, and keeps others from it.
func lockWrite(ctx context.Context, root *os.Root) (unlock func(), err error) {
	return waitLock(ctx, func() (func(), error) { return tryLock(root, writeLock) })
}

// takeEffect calls change, which makes a write visible, while nobody is listing.
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

// waitLock tries until it succeeds. It does not wait inside of the system,
// since no context could end that.
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

// tryLockShared locks a file together with other readers, or returns errLocked.
// Where the file cannot be made, or may not be read, reading goes without.
func tryLockShared(root *os.Root, name string) (unlock func(), err error) {
	f, err := root.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil { // whatever it is: no permission, no space, no inodes left
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
		unlockNow(f) // closing alone leaves it to a process that is being started right now
		f.Close()
	}, nil
}
