package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

// A program that copies an older state over a store in use (cp, tar, rsync) leaves files
// that are half written, or not there, for a moment, and for longer a mixture of old and
// new. So a read does not believe at once what another program has just written. What
// the writes of a Store have written it believes at once: it is in the marker.
const (
	// A file or a folder that another program has changed is believed after it has had
	// the same state for quietTime.
	quietTime = time.Second

	// After the marker went back nothing is believed for doubtTime.
	doubtTime = 3 * time.Second

	// The clock of the marker and that of the file system may differ by this much.
	clockStep = 20 * time.Millisecond
)

// doubtError says why what was read is not believed.
type doubtError struct {
	why   string
	until time.Time // it may be believed then, if it stays as it is
}

func (e *doubtError) Error() string { return e.why }

// believe calls read until it finds nothing to doubt. It waits for quietTime and a half
// at most: then a restore is going on, and the caller had better keep what it has.
func believe(ctx context.Context, read func() error) error {
	latest := time.Now().Add(quietTime + quietTime/2)
	for again := false; ; again = true {
		err := read()
		var doubt *doubtError
		if !errors.As(err, &doubt) || doubt.until.After(latest) {
			return err
		}
		pause := maxLockPause // a write of a Store may have come between the reading of the records and of the marker
		if again {
			pause = max(pause, time.Until(doubt.until))
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// memory is what a Store remembers of the marker: a marker that goes back is one that
// another program has put there.
type memory struct {
	mu     sync.Mutex
	latest place
	doubt  time.Time // when the marker went back
}

// check returns a doubtError if the marker has gone back, or says that a restore has not
// ended. It reads the marker.
func (m *memory) check(root *os.Root) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	_, now, how := m.latest.since(root)
	if how == wentBack {
		m.doubt = time.Now()
	}
	m.latest = now
	if now.last().verb == beginsAll {
		return unfinished(root)
	}
	return m.inDoubt(root)
}

// wentBack notes that a watch has found that the marker went back to a place. The memory
// may be of an earlier one.
func (m *memory) wentBack(now place) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.latest, m.doubt = now, time.Now()
}

// remembers is check without reading the marker.
func (m *memory) remembers(root *os.Root) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.inDoubt(root)
}

func (m *memory) inDoubt(root *os.Root) error {
	until := m.doubt.Add(doubtTime)
	if m.doubt.IsZero() || !time.Now().Before(until) {
		return nil
	}
	return &doubtError{fmt.Sprintf("a restore seems to be going on in %s: its list of changes (%s) went back", pathOf(root), markerFile), until}
}

func unfinished(root *os.Root) error {
	return &doubtError{fmt.Sprintf("a restore into %s is going on, or was interrupted: then do it again, or remove %s to take what is there", pathOf(root), filepath.Join(pathOf(root), markerFile)),
		time.Now().Add(quietTime / 4)}
}

// pathOf returns the path of the store's folder.
func pathOf(root *os.Root) string { return filepath.Clean(root.Name()) }

// checkFinished returns a doubtError if a restore was interrupted or, unless the caller
// holds the write lock, is going on.
func checkFinished(root *os.Root) error {
	f, err := openMarker(root, os.O_RDONLY)
	if err != nil {
		return nil
	}
	defer f.Close()
	if line, _, err := lastLine(f); err == nil {
		if last, ok := parseChange(line); ok && last.verb == beginsAll {
			return unfinished(root)
		}
	}
	return nil
}

// believed returns a doubtError if another program has just changed what the view has
// read. Volumes are always believed: the kubelet switches them from one whole state to
// the next.
func (v *view) believed() error {
	if len(v.fresh) == 0 {
		return nil
	}
	f, err := openMarker(v.root, os.O_RDONLY)
	text := ""
	if err == nil {
		defer f.Close()
		text, err = readMarker(f)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errNoMarker) {
		return nil // the store of another user, whose writes cannot be told apart
	}
	known := newOwnWrites(text)
	for _, fresh := range v.fresh {
		if !known.explain(fresh) {
			return &doubtError{fmt.Sprintf("another program has just changed %s: a restore seems to be going on, or it will be read when it has been the same for %s", filepath.Join(pathOf(v.root), fresh.path), quietTime),
				fresh.changed.Add(quietTime + clockStep)}
		}
	}
	if known.last.verb == beginsAll {
		return unfinished(v.root)
	}
	return nil
}

// fresh is a file or a folder that was changed a moment ago.
type fresh struct {
	path    string
	changed time.Time

	scope   keystore.Scope // whose file or folder it is, or AllScopes: the folder above those of the meshes
	name    string         // of the record, or "": all of the folder
	version string         // of the file's content, or gone: it is not there
	found   []string       // the records of the folder, or for AllScopes the meshes
	above   bool           // it is not the scope's own folder, which is not there, but the one above
}

// isFresh reports whether a change was a moment ago. A time in the future tells nothing.
func isFresh(changed time.Time) bool {
	age := time.Since(changed)
	return age < quietTime && age > -quietTime
}

// read is readRecord for a record that is to be believed.
func (v *view) read(file string, scope keystore.Scope, name string) (keystore.Record, error) {
	return v.readIn(v.root, file, file, scope, name)
}

// readIn is read for a file below another root, with its path below the view's.
func (v *view) readIn(root *os.Root, below, file string, scope keystore.Scope, name string) (keystore.Record, error) {
	var changed time.Time
	r, err := readRecord(root, below, scope, name, &changed)
	if err == nil && isFresh(changed) && !inVolume(file) {
		v.fresh = append(v.fresh, fresh{path: file, changed: changed, scope: scope, name: name, version: r.Version})
	}
	return r, err
}

// missed notes that a record was not found.
func (v *view) missed(scope keystore.Scope, name string) {
	v.entered(fresh{path: v.folderOf(scope), scope: scope, name: name, version: gone})
}

// listed notes that these records, and no others, were found in the folder of a scope, or
// for AllScopes these meshes.
func (v *view) listed(in folder, scope keystore.Scope, found []string) {
	f := fresh{path: in.path, scope: scope, found: found}
	if in.own == nil || inVolume(in.path) {
		v.entered(f)
	} else if info, err := in.own.Stat("."); err == nil {
		v.note(f, info)
	}
}

// entered notes what was found in a folder.
func (v *view) entered(f fresh) {
	if inVolume(f.path) {
		return
	}
	info, err := v.root.Stat(f.path)
	if err != nil && f.scope != keystore.Global && f.scope != keystore.AllScopes {
		f.path, f.above = v.meshes(), true // tells when the folder was removed
		info, err = v.root.Stat(f.path)
	}
	if err == nil {
		v.note(f, info)
	}
}

// note keeps what another program may just have changed.
func (v *view) note(f fresh, info fs.FileInfo) {
	if f.changed = changedTime(info); isFresh(f.changed) {
		v.fresh = append(v.fresh, f)
	}
}

func inVolume(file string) bool { return strings.Contains(file, volumeLink) }

// ownWrites is what the marker tells of the latest writes of the Stores.
type ownWrites struct {
	scopes map[keystore.Scope]*ownScope
	meshes span // of the latest change in any mesh
	all    span // of the latest restore
	beside span // of the preparation for it
	last   change
}

type ownScope struct {
	records map[string]ownRecord
	span    span // of the latest change
}

// ownRecord is what the marker tells of a record. A change that was announced, and of which
// no end is noted, may have come into force or not: its writer was killed, the disk was full,
// or it is being made.
type ownRecord struct {
	versions []string // that the record may have
	open     bool     // no end of the latest change is noted
}

// begins notes a change to a version.
func (r ownRecord) begins(version string) ownRecord {
	switch {
	case len(r.versions) == 0: // it may just be created
		r.versions = []string{gone}
	case !r.open:
		r.versions = r.versions[len(r.versions)-1:]
	}
	return ownRecord{versions: append(slices.Clip(r.versions), version), open: true}
}

// ends notes that a change to a version is in force. The version before it is still one of
// a reader that read before it.
func (r ownRecord) ends(version string) ownRecord {
	if n := len(r.versions); n > 0 && !r.open {
		return ownRecord{versions: []string{r.versions[n-1], version}}
	}
	return ownRecord{versions: []string{version}}
}

// span is the time from the announcement of a change to its end.
type span struct{ from, to time.Time }

func (s span) has(at time.Time) bool {
	return !s.from.IsZero() && !at.Before(s.from.Add(-stampStep)) && !at.After(s.to.Add(clockStep))
}

// end ends a span that has not ended.
func (s *span) end(at time.Time) {
	if s.to.After(at) {
		s.to = at
	}
}

func newOwnWrites(text string) *ownWrites {
	w := &ownWrites{scopes: map[keystore.Scope]*ownScope{}}
	var before ownRecord // the record of the latest change, before that
	open := time.Now().Add(time.Hour)
	for line := range strings.Lines(text) {
		c, ok := parseChange(line)
		if !ok {
			continue
		}
		// A writer that was killed wrote no end. The next one begins after it.
		w.meshes.end(c.at)
		w.all.end(c.at)
		w.beside.end(c.at)
		if latest := w.scopes[w.last.id.scope]; latest != nil {
			latest.span.end(c.at)
		}
		begun := w.last.verb == begins && w.last.id == c.id
		w.last = c
		now := span{c.at, open}
		switch c.verb {
		case prepares:
			w.beside = now
		case beginsAll:
			clear(w.scopes)
			w.all = now
		case begins:
			scope := w.scopes[c.id.scope]
			if scope == nil {
				scope = &ownScope{records: map[string]ownRecord{}}
				w.scopes[c.id.scope] = scope
			}
			before = scope.records[c.id.name]
			scope.records[c.id.name] = before.begins(c.version)
			scope.span = now
			if c.id.scope != keystore.Global {
				w.meshes = now
			}
		case ends:
			switch scope := w.scopes[c.id.scope]; {
			case scope == nil || !begun:
			case c.version == failed:
				scope.records[c.id.name] = before
			default:
				scope.records[c.id.name] = before.ends(c.version)
			}
		}
	}
	return w
}

// explain reports whether a file or a folder is as the Stores have left it, as far as
// they know.
func (w *ownWrites) explain(f fresh) bool {
	if w.all.has(f.changed) || f.name == "" && w.beside.has(f.changed) {
		return true
	}
	if f.scope == keystore.AllScopes {
		return w.meshes.has(f.changed) && !slices.ContainsFunc(slices.Collect(maps.Keys(w.scopes)), func(scope keystore.Scope) bool {
			return scope != keystore.Global && !slices.Contains(f.found, string(scope)) && w.scopes[scope].holds(nil)
		})
	}
	scope := w.scopes[f.scope]
	if f.name != "" && f.version != gone {
		return scope != nil && slices.Contains(scope.versions(f.name), f.version)
	}
	changes := w.meshes
	if !f.above {
		if scope == nil {
			return false
		}
		changes = scope.span
	}
	if !changes.has(f.changed) {
		return false
	}
	if scope == nil {
		return true
	}
	if f.name != "" {
		versions := scope.versions(f.name)
		return len(versions) == 0 || slices.Contains(versions, gone)
	}
	return !scope.holds(f.found)
}

// versions returns the versions that a record may have. It returns nothing for a record
// that has not changed.
func (s *ownScope) versions(name string) []string { return s.records[name].versions }

// holds reports whether the scope must have a record that was not found.
func (s *ownScope) holds(found []string) bool {
	for name, r := range s.records {
		if len(r.versions) > 0 && !slices.Contains(r.versions, gone) && !slices.Contains(found, name) {
			return true
		}
	}
	return false
}
