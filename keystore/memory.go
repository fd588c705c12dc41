package keystore

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxData is how many bytes of data a record in memory has at most: 64 MiB.
const maxData = 64 << 20

// Memory is a [KeyStore] and a [Watcher] in the memory of the process. It is for
// tests, and for control planes that get their keys from elsewhere at every start.
// A record has at most 64 MiB (67,108,864 bytes) of data. Versions are numbers that
// only grow; none is used twice, even if a record is deleted and created anew. All
// methods may be called concurrently. The zero value is an empty store. A Memory
// must not be copied after first use. It is printed and logged without its records.
type Memory struct {
	mu sync.Mutex

	// A func holds the records and not a field: fmt prints unexported fields without
	// asking their methods, but does not look into a func. It is nil until it is
	// needed; see locked.
	contents func() *memoryContents
}

// memoryContents is what Memory.mu guards.
type memoryContents struct {
	scopes   map[Scope]map[string]Record // their Data is never changed, only replaced
	version  uint64                      // the last one given
	watchers map[*memoryWatcher]struct{}
}

// memoryWatcher is one call of Watch. A writer leaves scopes in pending and
// never waits for the watcher.
type memoryWatcher struct {
	pending map[Scope]struct{} // guarded by Memory.mu
	wake    chan struct{}      // holds a token if pending is not empty
}

// NewMemory returns an empty store.
func NewMemory() *Memory {
	return &Memory{}
}

// Format implements [fmt.Formatter]. For every verb it writes the name of the type
// and nothing else.
func (m *Memory) Format(state fmt.State, _ rune) { _, _ = io.WriteString(state, memoryType) }

// LogValue implements [slog.LogValuer] with the name of the type.
func (m *Memory) LogValue() slog.Value { return slog.StringValue(memoryType) }

// memoryType is all that is ever printed of a Memory.
const memoryType = "keystore.Memory"

// locked returns the contents. m.mu is held.
func (m *Memory) locked() *memoryContents {
	if m.contents == nil {
		contents := &memoryContents{
			scopes:   map[Scope]map[string]Record{},
			watchers: map[*memoryWatcher]struct{}{},
		}
		m.contents = func() *memoryContents { return contents }
	}
	return m.contents()
}

// Get implements [KeyStore].
func (m *Memory) Get(ctx context.Context, scope Scope, name string) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, Failed("get", scope, name, err)
	}
	if err := CheckID(scope, name); err != nil {
		return Record{}, err
	}
	m.mu.Lock()
	r, ok := m.locked().scopes[scope][name]
	m.mu.Unlock()
	if !ok {
		return Record{}, Failed("get", scope, name, ErrNotFound)
	}
	return r.Clone(), nil
}

// List implements [KeyStore]. With AllScopes the whole list is one consistent view.
func (m *Memory) List(ctx context.Context, scope Scope, prefix string) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, Failed("list", scope, "", err)
	}
	if err := CheckListed(scope); err != nil {
		return nil, err
	}
	var found []Record
	m.mu.Lock()
	scopes := m.locked().scopes
	if scope != AllScopes {
		scopes = map[Scope]map[string]Record{scope: scopes[scope]}
	}
	for _, records := range scopes {
		for name, r := range records {
			if strings.HasPrefix(name, prefix) {
				found = append(found, r)
			}
		}
	}
	m.mu.Unlock()
	for i := range found { // outside of the lock too
		if err := ctx.Err(); err != nil {
			return nil, Failed("list", scope, "", err)
		}
		found[i] = found[i].Clone()
	}
	slices.SortFunc(found, CompareRecords)
	return found, nil
}

// ListScopes implements [ScopeLister]. The scopes come sorted. Each is a view of its own.
func (m *Memory) ListScopes(ctx context.Context, prefix string, begin func() EachScope) error {
	if err := ctx.Err(); err != nil {
		return Failed("list", AllScopes, "", err)
	}
	m.mu.Lock()
	scopes := slices.Collect(maps.Keys(m.locked().scopes))
	m.mu.Unlock()
	slices.Sort(scopes)
	each, found := begin(), []Record(nil)
	for _, scope := range scopes {
		if err := ctx.Err(); err != nil {
			return Failed("list", AllScopes, "", err)
		}
		found = found[:0]
		m.mu.Lock()
		for name, r := range m.locked().scopes[scope] {
			if strings.HasPrefix(name, prefix) {
				found = append(found, r)
			}
		}
		m.mu.Unlock()
		if len(found) == 0 {
			continue
		}
		slices.SortFunc(found, CompareRecords)
		if err := each(scope, found, nil); err != nil { // without a copy: Data is never changed
			return err
		}
	}
	return nil
}

// Create implements [KeyStore].
func (m *Memory) Create(ctx context.Context, r Record) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, Failed("create", r.Scope, r.Name, err)
	}
	if err := CheckRecord(r, maxData); err != nil {
		return Record{}, err
	}
	stored, answer := r.Clone(), r.Clone()     // outside of the lock: it may be a lot of data
	stored.Created = time.Now().UTC().Round(0) // without the monotonic clock, so that records compare

	m.mu.Lock()
	defer m.mu.Unlock()
	contents := m.locked()
	if _, ok := contents.scopes[r.Scope][r.Name]; ok {
		return Record{}, Failed("create", r.Scope, r.Name, ErrExists)
	}
	answer.Version, answer.Created = contents.put(stored), stored.Created
	return answer, nil
}

// Update implements [KeyStore].
func (m *Memory) Update(ctx context.Context, r Record) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, Failed("update", r.Scope, r.Name, err)
	}
	if err := CheckRecord(r, maxData); err != nil {
		return Record{}, err
	}
	stored, answer := r.Clone(), r.Clone()

	m.mu.Lock()
	defer m.mu.Unlock()
	contents := m.locked()
	current, ok := contents.scopes[r.Scope][r.Name]
	if !ok {
		return Record{}, Failed("update", r.Scope, r.Name, ErrNotFound)
	}
	if current.Version != r.Version {
		return Record{}, Failed("update", r.Scope, r.Name, ErrConflict)
	}
	stored.Created = current.Created
	answer.Version, answer.Created = contents.put(stored), stored.Created
	return answer, nil
}

// Delete implements [KeyStore].
func (m *Memory) Delete(ctx context.Context, scope Scope, name string) error {
	if err := ctx.Err(); err != nil {
		return Failed("delete", scope, name, err)
	}
	if err := CheckID(scope, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	contents := m.locked()
	records := contents.scopes[scope]
	if _, ok := records[name]; !ok {
		return nil
	}
	delete(records, name)
	if len(records) == 0 {
		delete(contents.scopes, scope)
	}
	contents.announce(scope)
	return nil
}

// Watch implements [Watcher]. It is lost only when ctx ends.
func (m *Memory) Watch(ctx context.Context, changed func(Scope)) error {
	w := &memoryWatcher{pending: map[Scope]struct{}{}, wake: make(chan struct{}, 1)}
	m.mu.Lock()
	m.locked().watchers[w] = struct{}{}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.locked().watchers, w)
	}()

	scopes := []Scope{AllScopes}
	for {
		for _, scope := range scopes {
			if err := ctx.Err(); err != nil {
				return err
			}
			changed(scope)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-w.wake:
		}
		m.mu.Lock()
		scopes = slices.Sorted(maps.Keys(w.pending))
		clear(w.pending)
		m.mu.Unlock()
	}
}

// put stores r under the next version, which it returns.
func (c *memoryContents) put(r Record) string {
	c.version++
	r.Version = strconv.FormatUint(c.version, 10)
	if c.scopes[r.Scope] == nil {
		c.scopes[r.Scope] = map[string]Record{}
	}
	c.scopes[r.Scope][r.Name] = r
	c.announce(r.Scope)
	return r.Version
}

// announce tells every watcher.
func (c *memoryContents) announce(scope Scope) {
	for w := range c.watchers {
		w.pending[scope] = struct{}{}
		select {
		case w.wake <- struct{}{}:
		default: // it is about to look
		}
	}
}
