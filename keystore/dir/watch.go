package dir

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

const (
	watchInterval = 250 * time.Millisecond

	// A watch looks at files for 1/150 of the time. With the reading of the marker it needs
	// less than 1 % of a processor.
	watchShare = 150

	// Two changes within this time may leave the same time stamps: file systems count
	// in steps of up to 2 s.
	stampStep = 2 * time.Second

	// After this many slow looks the folder is slow, and the machine was not just busy.
	watchLooks = 8
)

// recordID names a record.
type recordID struct {
	scope keystore.Scope
	name  string
}

// Watch implements [keystore.Watcher]. It reads the list of changes, PATH/.changes,
// every 250 ms, so it announces what any Store has written within that time, also what
// is there no longer.
//
// What other programs have changed it finds by looking at the files: at some every
// 250 ms, so that it needs about 1 % of a processor. With a few meshes it looks at all of
// them each time; a round takes about 3 s with 1,000 meshes of three records, half a
// minute with 10,000 and three minutes with 50,000. It compares the identity, the size
// and all times of each file, and the content if those are not enough. So it also notices
// a program that changes only the bytes and sets the time of modification back. The watch
// is lost when a folder cannot be read.
func (s *Store) Watch(ctx context.Context, changed func(keystore.Scope)) error {
	w := &watch{store: s, seen: map[keystore.Scope]scopeState{}}
	if err := w.withRoot(func(root *os.Root) error {
		w.marker(root) // first: what changes during the look is announced after it
		_, _, err := w.look(ctx, root, 0)
		return err
	}); err != nil {
		return err
	}
	changed(keystore.AllScopes)
	pace := newPace()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(watchInterval):
		}
		var found []keystore.Scope
		if err := w.withRoot(func(root *os.Root) (err error) {
			if found, err = w.announced(ctx, root); err != nil || time.Now().Before(pace.due) {
				return err
			}
			began := time.Now()
			looked, changed, err := w.look(ctx, root, pace.scopes)
			found = append(found, changed...)
			pace.took(looked, time.Since(began))
			return err
		}); err != nil {
			return err
		}
		if slices.Contains(found, keystore.AllScopes) {
			found = []keystore.Scope{keystore.AllScopes}
		}
		slices.Sort(found)
		for _, scope := range slices.Compact(found) {
			if err := ctx.Err(); err != nil {
				return err
			}
			changed(scope)
		}
	}
}

// pace says at how many scopes a watch looks each time, so that it needs about 1 % of a
// processor. What a look at one scope costs is the least that it has cost lately: when it
// took longer, the machine was busy.
type pace struct {
	scopes int
	due    time.Time // no look before
	costs  [watchLooks]time.Duration
	looks  int
}

func newPace() *pace {
	p := &pace{scopes: 1}
	for i := range p.costs {
		p.costs[i] = time.Hour
	}
	return p
}

func (p *pace) took(scopes int, long time.Duration) {
	p.costs[p.looks%watchLooks] = max(long/time.Duration(max(scopes, 1)), time.Microsecond)
	p.looks++
	cost := slices.Min(p.costs[:])
	p.scopes = min(max(int(watchInterval/watchShare/cost), 1), 4*p.scopes)
	p.due = time.Now().Add(min(watchShare*cost, time.Minute) - watchInterval)
}

// watch is one Watch.
type watch struct {
	store *Store
	place place                         // in the marker
	seen  map[keystore.Scope]scopeState // of the scopes that have records
	queue []keystore.Scope              // those that are still to be looked at in this round
}

// withRoot opens the folder of the store anew, as it may have been replaced.
func (w *watch) withRoot(do func(root *os.Root) error) error {
	root, err := openRoot(w.store.path)
	if err != nil {
		return w.store.cannotWatch(err)
	}
	defer root.Close()
	return do(root)
}

func (s *Store) cannotWatch(err error) error {
	return fmt.Errorf("keystore: cannot watch: %w", s.explain(err))
}

// marker reads on in the marker. It returns the scopes of the changes that it finds there.
func (w *watch) marker(root *os.Root) []keystore.Scope {
	lines, now, how := w.place.since(root)
	w.place = now
	if how == wentBack {
		w.store.memory.wentBack(now)
	}
	if how == isAhead || how == wentBack {
		return []keystore.Scope{keystore.AllScopes}
	}
	var scopes []keystore.Scope
	for _, line := range lines {
		c, ok := parseChange(line)
		if !ok || c.verb != begins && c.verb != ends {
			return []keystore.Scope{keystore.AllScopes}
		}
		scopes = append(scopes, c.id.scope)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// announced returns the scopes in which Stores have made changes since the marker was
// last read.
func (w *watch) announced(ctx context.Context, root *os.Root) ([]keystore.Scope, error) {
	before := w.place.last()
	found := w.marker(root)
	if slices.Contains(found, keystore.AllScopes) {
		return found, nil
	}
	err := readSteady(ctx, root, func(v *view) error {
		for _, scope := range found { // so that look does not find the change once more
			if _, err := w.lookAt(ctx, v, scope); err != nil {
				return err
			}
		}
		if before.verb != begins || slices.Contains(found, before.id.scope) {
			return nil
		}
		// The change was announced, and has come into force only now, perhaps.
		changed, err := w.lookAt(ctx, v, before.id.scope)
		if changed {
			found = append(found, before.id.scope)
		}
		return err
	})
	return found, err
}

// look looks at so many scopes, or at each of them once if there are fewer or if scopes is
// 0. It returns at how many it has looked, and those in which files have changed since it
// looked at them before.
func (w *watch) look(ctx context.Context, root *os.Root, scopes int) (looked int, found []keystore.Scope, err error) {
	begun := false
	err = readSteady(ctx, root, func(v *view) error {
		for scopes == 0 || looked < scopes {
			if len(w.queue) == 0 {
				if begun {
					return nil
				}
				gone, err := w.begin(v)
				if err != nil {
					return err
				}
				found, begun = append(found, gone...), true
			}
			scope := w.queue[0]
			changed, err := w.lookAt(ctx, v, scope)
			if err != nil {
				return err
			}
			if changed {
				found = append(found, scope)
			}
			w.queue = w.queue[1:]
			looked++
		}
		return nil
	})
	return looked, found, err
}

// begin begins a round through all scopes. It returns those that have no folder any more.
func (w *watch) begin(v *view) (gone []keystore.Scope, err error) {
	if w.queue, err = readScopes(v); err != nil {
		return nil, w.store.cannotWatch(err)
	}
	there := make(map[keystore.Scope]bool, len(w.queue))
	for _, scope := range w.queue {
		there[scope] = true
	}
	for scope := range w.seen {
		if !there[scope] {
			gone = append(gone, scope)
			delete(w.seen, scope)
		}
	}
	return gone, nil
}

// lookAt looks at the files of a scope and reports whether they have changed.
func (w *watch) lookAt(ctx context.Context, v *view, scope keystore.Scope) (changed bool, err error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	before := w.seen[scope]
	now, err := stateOf(v, scope, before)
	if err != nil {
		return false, w.store.cannotWatch(err)
	}
	if now.files == 0 {
		delete(w.seen, scope)
	} else {
		w.seen[scope] = now
	}
	return before.files != now.files || before.stamps != now.stamps || before.content != now.content, nil
}

// scopeState is what a watch remembers of the files of a scope.
type scopeState struct {
	files   int
	stamps  uint64 // a hash of all names and stamps
	content uint64 // of all content, or 0 where the stamps are enough

	// settled says that any later change shows in the stamps. Before that, and on systems
	// whose stamps tell too little, the watch compares the content too.
	settled bool
}

var stateSeed = maphash.MakeSeed()

// stateOf returns the state of the files of a scope. It reads no content if they have
// been the same for long enough.
func stateOf(v *view, scope keystore.Scope, before scopeState) (scopeState, error) {
	settledBefore := time.Now().Add(-stampStep)
	folder := v.open(scope)
	defer folder.close()
	entries, err := folder.entries(scope)
	if err != nil {
		return scopeState{}, err
	}
	now := scopeState{settled: true}
	type file struct {
		name  string
		stamp fileStamp
		why   string // there is no stamp
	}
	for _, entry := range entries {
		f := file{name: entry.name}
		info, err := folder.stat(entry)
		if errors.Is(err, fs.ErrNotExist) {
			if err = checkMissing(v.root, entry.file); err == nil {
				continue
			}
		}
		if err != nil {
			f.why = err.Error() // a List returns it
		} else {
			var latest time.Time
			f.stamp, latest = stampOf(info)
			now.settled = now.settled && latest.Before(settledBefore)
		}
		now.files++
		now.stamps += maphash.Comparable(stateSeed, f)
	}
	same := before.files == now.files && before.stamps == now.stamps
	if same && before.settled {
		return before, nil
	}
	if !same && now.settled {
		return now, nil
	}
	for _, entry := range entries {
		var r keystore.Record
		err := error(nil)
		if entry.misspelled {
			err = spellingError(entry.file, scope, entry.name)
		} else {
			r, err = readRecord(v.root, entry.file, scope, entry.name, nil)
		}
		content := struct{ name, version, why string }{name: entry.name, version: r.Version}
		if err != nil {
			content.why = err.Error()
		}
		now.content += maphash.Comparable(stateSeed, content)
	}
	return now, nil
}
