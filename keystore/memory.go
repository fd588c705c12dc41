package keystore

import (
	"bytes"
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// maxData is how many bytes of data the memory and the directory store take in
// a record: 64 MiB.
const maxData = 64 << 20

// Memory is a [KeyStore] and a [Watcher] that keeps its records in the memory
// of the process: for tests, and for control planes that get their keys from
// elsewhere at every start. It takes 64 MiB (67,108,864 bytes) of data in a
// record. Versions are numbers that only grow and are not used again, not even
// when a record is deleted and created anew. All methods may be called
// concurrently, and the zero value is an empty store. It must not be copied.
type Memory struct {
	mu       sync.Mutex
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

// Get implements [KeyStore].
func (m *Memory) Get(ctx context.Context, scope Scope, name string) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, failed("get", scope, name, err)
	}
	if err := checkID(scope, name); err != nil {
		return Record{}, err
	}
	m.mu.Lock()
	r, ok := m.scopes[scope][name]
	m.mu.Unlock()
	if !ok {
		return Record{}, about(ErrNotFound, scope, name)
	}
	return clone(r), nil
}

// List implements [KeyStore]. With AllScopes the whole list is one consistent view.
func (m *Memory) List(ctx context.Context, scope Scope, prefix string) ([]Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, cannotList(scope, err)
	}
	if err := checkListed(scope); err != nil {
		return nil, err
	}
	var found []Record
	m.mu.Lock()
	for s, records := range m.scopes {
		if s != scope && scope != AllScopes {
			continue
		}
		for name, r := range records {
			if strings.HasPrefix(name, prefix) {
				found = append(found, r)
			}
		}
	}
	m.mu.Unlock()
	for i := range found { // outside of the lock too
		if err := ctx.Err(); err != nil {
			return nil, cannotList(scope, err)
		}
		found[i] = clone(found[i])
	}
	sortRecords(found)
	return found, nil
}

// Create implements [KeyStore].
func (m *Memory) Create(ctx context.Context, r Record) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, failed("create", r.Scope, r.Name, err)
	}
	if err := CheckRecord(r, maxData); err != nil {
		return Record{}, err
	}
	stored, answer := clone(r), clone(r)       // outside of the lock: it may be a lot of data
	stored.Created = time.Now().UTC().Round(0) // without the monotonic clock, so that records compare

	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.scopes[r.Scope][r.Name]; ok {
		return Record{}, about(ErrExists, r.Scope, r.Name)
	}
	answer.Version, answer.Created = m.put(stored), stored.Created
	return answer, nil
}

// Update implements [KeyStore].
func (m *Memory) Update(ctx context.Context, r Record) (Record, error) {
	if err := ctx.Err(); err != nil {
		return Record{}, failed("update", r.Scope, r.Name, err)
	}
	if err := CheckRecord(r, maxData); err != nil {
		return Record{}, err
	}
	stored, answer := clone(r), clone(r)

	m.mu.Lock()
	defer m.mu.Unlock()
	current, ok := m.scopes[r.Scope][r.Name]
	if !ok {
		return Record{}, about(ErrNotFound, r.Scope, r.Name)
	}
	if current.Version != r.Version {
		return Record{}, about(ErrConflict, r.Scope, r.Name)
	}
	stored.Created = current.Created
	answer.Version, answer.Created = m.put(stored), stored.Created
	return answer, nil
}

// Delete implements [KeyStore].
func (m *Memory) Delete(ctx context.Context, scope Scope, name string) error {
	if err := ctx.Err(); err != nil {
		return failed("delete", scope, name, err)
	}
	if err := checkID(scope, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	records := m.scopes[scope]
	if _, ok := records[name]; !ok {
		return nil
	}
	delete(records, name)
	if len(records) == 0 {
		delete(m.scopes, scope)
	}
	m.announce(scope)
	return nil
}

// Watch implements [Watcher]. It is lost only when ctx ends.
func (m *Memory) Watch(ctx context.Context, changed func(Scope)) error {
	w := &memoryWatcher{pending: map[Scope]struct{}{}, wake: make(chan struct{}, 1)}
	m.mu.Lock()
	if m.watchers == nil {
		m.watchers = map[*memoryWatcher]struct{}{}
	}
	m.watchers[w] = struct{}{}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.watchers, w)
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

// put stores r under the next version, which it returns. m.mu is held.
func (m *Memory) put(r Record) string {
	m.version++
	r.Version = strconv.FormatUint(m.version, 10)
	if m.scopes == nil {
		m.scopes = map[Scope]map[string]Record{}
	}
	if m.scopes[r.Scope] == nil {
		m.scopes[r.Scope] = map[string]Record{}
	}
	m.scopes[r.Scope][r.Name] = r
	m.announce(r.Scope)
	return r.Version
}

// announce tells every watcher. m.mu is held.
func (m *Memory) announce(scope Scope) {
	for w := range m.watchers {
		w.pending[scope] = struct{}{}
		select {
		case w.wake <- struct{}{}:
		default: // it is about to look
		}
	}
}

func clone(r Record) Record {
	r.Data = bytes.Clone(r.Data)
	return r
}

func sortRecords(records []Record) {
	slices.SortFunc(records, func(a, b Record) int {
		if c := strings.Compare(string(a.Scope), string(b.Scope)); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
}
