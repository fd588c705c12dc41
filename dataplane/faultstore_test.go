package dataplane_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

var errStoreDown = errors.New("the store is down")

type (
	listFunc  func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error)
	watchFunc func(ctx context.Context, changed func(keystore.Scope)) error
)

// faultStore is a memory store whose reads and watches go wrong as a test says,
// and which remembers what was read. Tests write, and issuers read, by way of
// its Memory, which always works.
type faultStore struct {
	*keystore.Memory

	mu    sync.Mutex
	list  listFunc  // nil: as the memory does
	watch watchFunc // nil: as the memory does
	reads []storeRead
}

type storeRead struct {
	method string
	scope  keystore.Scope
	name   string // or its prefix
	at     time.Time
}

func newFaultStore() *faultStore { return &faultStore{Memory: keystore.NewMemory()} }

func (s *faultStore) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	s.noteRead("Get", scope, name)
	return s.Memory.Get(ctx, scope, name)
}

func (s *faultStore) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if list := s.noteRead("List", scope, prefix); list != nil {
		return list(ctx, scope, prefix)
	}
	return s.Memory.List(ctx, scope, prefix)
}

func (s *faultStore) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin) // by way of List
}

func (s *faultStore) Watch(ctx context.Context, changed func(keystore.Scope)) error {
	s.mu.Lock()
	watch := s.watch
	s.mu.Unlock()
	if watch != nil {
		return watch(ctx, changed)
	}
	return s.Memory.Watch(ctx, changed)
}

func (s *faultStore) noteRead(method string, scope keystore.Scope, name string) listFunc {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads = append(s.reads, storeRead{method, scope, name, time.Now()})
	return s.list
}

// setList says how reads go from now on; nil lets them work again.
func (s *faultStore) setList(list listFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = list
}

func (s *faultStore) setWatch(watch watchFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.watch = watch
}

// readsSoFar returns what was read since the store was made.
func (s *faultStore) readsSoFar() []storeRead {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reads)
}

func failing(context.Context, keystore.Scope, string) ([]keystore.Record, error) {
	return nil, errStoreDown
}

// hanging answers when its context ends, as stores do whose server does not answer.
func hanging(ctx context.Context, _ keystore.Scope, _ string) ([]keystore.Record, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// slowly answers as the memory does, after a time that no context cuts short.
func (s *faultStore) slowly(after time.Duration) listFunc {
	return func(_ context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
		time.Sleep(after)
		return s.Memory.List(context.Background(), scope, prefix)
	}
}

// remembering answers with what the store holds now, whatever it will hold later.
func (s *faultStore) remembering(ctx context.Context) (listFunc, error) {
	snapshot, err := s.Memory.List(ctx, keystore.AllScopes, "")
	return func(_ context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
		var found []keystore.Record
		for _, r := range snapshot {
			if (scope == keystore.AllScopes || scope == r.Scope) && strings.HasPrefix(r.Name, prefix) {
				found = append(found, r)
			}
		}
		return found, nil
	}, err
}

// silent is a watch that begins well and then tells of nothing.
func silent(ctx context.Context, changed func(keystore.Scope)) error {
	changed(keystore.AllScopes)
	<-ctx.Done()
	return ctx.Err()
}
