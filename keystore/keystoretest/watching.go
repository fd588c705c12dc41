package keystoretest

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

// watch is a call of Watch, with what it announced.
type watch struct {
	f      *fixture
	cancel context.CancelFunc
	done   chan struct{} // closed when Watch has returned
	err    error         // what it returned

	mu    sync.Mutex
	calls []keystore.Scope
	more  chan struct{} // closed, and replaced, with each call
}

// watch watches the store until the test ends, or skips the test if the store cannot be
// watched.
func (f *fixture) watch(store keystore.KeyStore) *watch {
	f.Helper()
	watcher, ok := store.(keystore.Watcher)
	if !ok {
		f.Skip("the store is no Watcher: it is polled")
	}
	ctx, cancel := context.WithCancel(context.Background())
	w := &watch{f: f, cancel: cancel, done: make(chan struct{}), more: make(chan struct{})}
	go func() {
		defer close(w.done)
		w.err = watcher.Watch(ctx, w.changed)
	}()
	f.Cleanup(w.end)
	return w
}

// end ends the watch, and fails unless it returns soon with the error of its context.
func (w *watch) end() {
	w.f.Helper()
	w.cancel()
	select {
	case <-w.done:
		if !errors.Is(w.err, context.Canceled) {
			w.f.Errorf("Watch returned %v, want the error of its context", w.err)
		}
	case <-time.After(patience):
		w.f.Errorf("Watch has not returned %v after its context ended", patience)
	}
}

func (w *watch) changed(scope keystore.Scope) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, scope)
	close(w.more)
	w.more = make(chan struct{})
}

// count returns how many calls there have been.
func (w *watch) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.calls)
}

// waitFor waits until a call, other than the first before ones, announces the scope.
func (w *watch) waitFor(what string, before int, scope keystore.Scope) {
	w.f.Helper()
	w.waitUntil(what, func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		later := w.calls[before:]
		return slices.Contains(later, scope) || slices.Contains(later, keystore.AllScopes)
	})
}

// waitUntil waits until the condition holds, which it checks after each call.
func (w *watch) waitUntil(what string, condition func() bool) {
	w.f.Helper()
	patient := time.After(patience)
	for {
		w.mu.Lock()
		more := w.more
		w.mu.Unlock()
		if condition() {
			return
		}
		select {
		case <-more:
		case <-w.done:
			w.f.Fatalf("Watch returned %v before %s", w.err, what)
		case <-patient:
			w.mu.Lock()
			calls := w.calls[max(0, len(w.calls)-20):]
			w.mu.Unlock()
			w.f.Fatalf("waited %v in vain for %s; the last calls were %q", patience, what, calls)
		}
	}
}

var watchTests = []test{
	{"announces all scopes when it begins", func(f *fixture) {
		w := f.watch(f.store)
		w.waitUntil("the first announcement", func() bool { return w.count() > 0 })
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.calls[0] != keystore.AllScopes {
			f.Errorf("the first call is changed(%q), want changed(AllScopes)", w.calls[0])
		}
	}},
	{"announces what is created, updated and deleted", func(f *fixture) {
		f.create("updated", "key-1", "content")
		f.create("deleted", "key-2", "content")
		w := f.watch(f.store)
		w.waitFor("the first announcement", 0, keystore.AllScopes)
		before := w.count()
		f.create("created", "key-3", "content")
		w.waitFor("the announcement of Create", before, "created")
		before = w.count()
		f.update("updated", "key-1", "new content")
		w.waitFor("the announcement of Update", before, "updated")
		before = w.count()
		f.delete("deleted", "key-2")
		w.waitFor("the announcement of Delete", before, "deleted")
		before = w.count()
		f.create(keystore.Global, "key-4", "content")
		w.waitFor("the announcement of a change of the global scope", before, keystore.Global)
	}},
	{"announces what another process does", func(f *fixture) {
		w := f.watch(f.store)
		w.waitFor("the first announcement", 0, keystore.AllScopes)
		other := f.another()
		before := w.count()
		r, err := other.Create(f.Context(), keystore.Record{Scope: mesh, Name: "key-1", Data: []byte("content")})
		if err != nil {
			f.Fatal(err)
		}
		w.waitFor("the announcement of Create", before, mesh)
		before = w.count()
		r.Data = []byte("changed")
		if _, err := other.Update(f.Context(), r); err != nil {
			f.Fatal(err)
		}
		w.waitFor("the announcement of Update", before, mesh)
		before = w.count()
		if err := other.Delete(f.Context(), mesh, "key-1"); err != nil {
			f.Fatal(err)
		}
		w.waitFor("the announcement of Delete", before, mesh)
	}},
	{"announces a change of data that leaves its length as it is", func(f *fixture) {
		f.create(mesh, "key-1", "content")
		w := f.watch(f.store)
		w.waitFor("the first announcement", 0, keystore.AllScopes)
		before := w.count()
		f.update(mesh, "key-1", "CONTENT")
		w.waitFor("the announcement", before, mesh)
	}},
	{"shows what was written to a reader that reads after each call", func(f *fixture) {
		f.create(mesh, "key-1", "0")
		reader := f.read(f.watch(f.another()), mesh, "key-1")
		reader.waitFor("0")
		for i := range 8 {
			value := strconv.Itoa(i + 1)
			f.update(mesh, "key-1", value)
			reader.waitFor(value)
		}
	}},
	{"never drops the last of many changes", func(f *fixture) {
		reader := f.read(f.watch(f.another()), mesh, "key-1")
		reader.waitFor(missing)
		for round := range 3 {
			r := f.create(mesh, "key-1", "content")
			for i := range 50 {
				r.Data = fmt.Appendf(nil, "round %d, update %d", round, i)
				var err error
				if r, err = f.store.Update(f.Context(), r); err != nil {
					f.Fatal(err)
				}
			}
			reader.waitFor(string(r.Data))
			for range 5 {
				f.delete(mesh, "key-1")
				r = f.create(mesh, "key-1", fmt.Sprint("created in round ", round))
			}
			reader.waitFor(string(r.Data))
			f.update(mesh, "key-1", "content")
			f.delete(mesh, "key-1")
			reader.waitFor(missing)
		}
	}},
	{"makes one call at a time", func(f *fixture) {
		watcher, ok := f.store.(keystore.Watcher)
		if !ok {
			f.Skip("the store is no Watcher: it is polled")
		}
		ctx, cancel := context.WithCancel(f.Context())
		defer cancel()
		var running, most, calls atomic.Int64
		called := make(chan struct{}, 1)
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			watcher.Watch(ctx, func(keystore.Scope) {
				most.Store(max(most.Load(), running.Add(1)))
				for range 100 {
					runtime.Gosched()
				}
				calls.Add(1)
				running.Add(-1)
				select {
				case called <- struct{}{}:
				default:
				}
			})
		}()
		f.soonCalled(called)
		f.writers(4, func(i int, store keystore.KeyStore) {
			for j := range 8 {
				scope, name := keystore.Scope(fmt.Sprint("mesh-", j)), fmt.Sprintf("key-%d-%d", i, j)
				if _, err := store.Create(f.Context(), keystore.Record{Scope: scope, Name: name}); err != nil {
					f.Error(err)
				}
			}
		})
		f.soonCalled(called)
		cancel()
		f.soon("Watch to return", ended)
		if most.Load() != 1 {
			f.Errorf("%d calls were made at once, want 1", most.Load())
		}
	}},
	{"returns when its context ends, with its error", func(f *fixture) {
		w := f.watch(f.store)
		w.waitFor("the first announcement", 0, keystore.AllScopes)
		w.end()

		watcher := f.store.(keystore.Watcher) // or there would be no watch
		f.promptly("Watch", func() {
			f.wantError("Watch with a context that had ended", watcher.Watch(cancelled(), func(keystore.Scope) {}), context.Canceled)
		})
		expiring, cancel := context.WithTimeout(f.Context(), 10*time.Millisecond)
		defer cancel()
		f.promptly("Watch", func() {
			f.wantError("Watch with a deadline", watcher.Watch(expiring, func(keystore.Scope) {}), context.DeadlineExceeded)
		})
	}},
	{"makes no call after it has returned", func(f *fixture) {
		ended, other := f.watch(f.store), f.watch(f.store)
		ended.waitFor("the first announcement", 0, keystore.AllScopes)
		other.waitFor("the first announcement", 0, keystore.AllScopes)
		r := f.create(mesh, "key-1", "content")
		var after int
		for i := range 30 {
			r.Data = fmt.Appendf(nil, "update %d", i)
			var err error
			if r, err = f.store.Update(f.Context(), r); err != nil {
				f.Fatal(err)
			}
			if i == 10 { // in the midst of changes
				ended.end()
				after = ended.count()
			}
		}
		for i := range 3 { // a watch that went on would hear these too
			before := other.count()
			scope := keystore.Scope(fmt.Sprint("mesh-", i))
			f.create(scope, fmt.Sprint("key-", i+2), "content")
			other.waitFor("the announcement to another watch", before, scope)
		}
		time.Sleep(20 * time.Millisecond) // no event says that a call will not come
		if got := ended.count(); got != after {
			f.Errorf("%d calls were made after Watch had returned, want none", got-after)
		}
	}},
	{"may run several times at once", func(f *fixture) {
		other := f.another()
		watches := []*watch{f.watch(f.store), f.watch(f.store), f.watch(other)}
		before := make([]int, len(watches))
		for i, w := range watches {
			w.waitFor("the first announcement", 0, keystore.AllScopes)
			before[i] = w.count()
		}
		f.create(mesh, "key-1", "content")
		for i, w := range watches {
			w.waitFor("the announcement", before[i], mesh)
		}
		watches[0].end()
		for i, w := range watches {
			before[i] = w.count()
		}
		f.create("mesh-2", "key-2", "content")
		watches[1].waitFor("the announcement to those that remain", before[1], "mesh-2")
		watches[2].waitFor("the announcement to those that remain", before[2], "mesh-2")
	}},
}

// soonCalled waits for a call of changed.
func (f *fixture) soonCalled(called <-chan struct{}) {
	f.Helper()
	select {
	case <-called:
	case <-time.After(patience):
		f.Fatalf("waited %v in vain for a call", patience)
	}
}

// missing is what a reader sees if there is no record.
const missing = "no such record"

// reader reads a record after each call of a watch, as the users of a store do, and at
// no other time.
type reader struct {
	w     *watch
	scope keystore.Scope
	name  string

	mu   sync.Mutex
	seen string        // what the last read found
	more chan struct{} // closed, and replaced, with each read
}

// read returns a reader that reads after the calls of w, until the test ends.
func (f *fixture) read(w *watch, scope keystore.Scope, name string) *reader {
	r := &reader{w: w, scope: scope, name: name, seen: "nothing yet", more: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run()
	}()
	f.Cleanup(func() {
		w.end()
		<-done
	})
	return r
}

func (r *reader) run() {
	for heard := 0; ; {
		r.w.mu.Lock()
		calls, more := len(r.w.calls), r.w.more
		r.w.mu.Unlock()
		if calls == heard {
			select {
			case <-more:
			case <-r.w.done:
				return
			}
			continue
		}
		heard = calls
		seen := missing
		record, err := r.w.f.store.Get(context.Background(), r.scope, r.name)
		if err == nil {
			seen = string(record.Data)
		} else if !errors.Is(err, keystore.ErrNotFound) {
			r.w.f.Errorf("Get(%q, %q) = %v", r.scope, r.name, err)
		}
		r.mu.Lock()
		r.seen = seen
		close(r.more)
		r.more = make(chan struct{})
		r.mu.Unlock()
	}
}

// waitFor waits until the reader sees the value.
func (r *reader) waitFor(value string) {
	r.w.f.Helper()
	patient := time.After(patience)
	for {
		r.mu.Lock()
		seen, more := r.seen, r.more
		r.mu.Unlock()
		if seen == value {
			return
		}
		select {
		case <-more:
		case <-r.w.done:
			r.w.f.Fatalf("Watch returned %v before a reader saw %q", r.w.err, value)
		case <-patient:
			r.w.f.Fatalf("a reader that reads after each call still sees %q after %v, want %q", seen, patience, value)
		}
	}
}
