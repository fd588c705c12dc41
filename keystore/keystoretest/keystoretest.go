// Package keystoretest is the conformance suite of [keystore.KeyStore],
// [keystore.Watcher] and [keystore.ScopeLister]. It has one test for each sentence of their comments. If you write
// a store, call [Run] in your tests, with the engine that you use in production:
//
//	func TestStoreConforms(t *testing.T) {
//		keystoretest.Run(t, keystoretest.Harness{
//			New: func(t *testing.T) keystoretest.Storage {
//				path := t.TempDir()
//				return keystoretest.Storage{
//					Open: func(t *testing.T) keystore.KeyStore {
//						store, err := mystore.Open(path)
//						if err != nil {
//							t.Fatal(err)
//						}
//						return store
//					},
//					OpenReadOnly: nil, // or a function that opens the same records for reading only
//				}
//			},
//			MaxData:       1 << 20,
//			FlatNamespace: true, // if two scopes cannot have records of one name
//			Takes: func(_ keystore.Scope, name string) bool { // nil if it takes every name
//				return name == strings.ToLower(name)
//			},
//		})
//	}
//
// A test that fails says which sentence the store breaks. The suite cannot test what
// happens when the engine dies in the middle of a write; the store's own tests do.
package keystoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

// requiredData is how many bytes of data every store takes: 512 KiB.
const requiredData = 512 << 10

// patience is how long the suite waits for an event, such as the announcement of a
// change. It measures nothing: with a store that conforms the suite never waits so long.
var patience = 30 * time.Second

// Harness tells the suite how to get stores, and how they differ from other stores.
type Harness struct {
	// New makes storage that holds no records and shares none with the storage of
	// another call. The suite calls it for each test; New cleans up with t.Cleanup.
	New func(t *testing.T) Storage

	// MaxData is the largest number of bytes of data that the store takes in a
	// record, at least 524,288 (512 KiB).
	MaxData int

	// FlatNamespace says that a name can exist in only one scope at a time, and that
	// Create returns ErrNameTaken for it in another scope.
	FlatNamespace bool

	// Takes reports whether the store's engine can hold a record of this name in this
	// scope. The suite calls it only for scopes and names that CheckScope and CheckName
	// accept; with the name "key-1" it asks about the scope alone. Nil stands for a store
	// that takes all of them. A name that Takes refuses must be absent when the store
	// reads, and Create and Update must return ErrName for it. Takes may not refuse the
	// records that Meshpass makes for a mesh "default" and for zones.
	Takes func(scope keystore.Scope, name string) bool
}

// indispensable are names of records, by scope, that every store takes.
var indispensable = map[string]keystore.Scope{
	"dataplane-token-signing-key-default-1":        mesh,
	"dataplane-token-signing-public-key-default-1": mesh,
	"dataplane-token-revocations-default":          mesh,
	"zone-token-signing-key-1":                     keystore.Global,
	"zone-token-signing-public-key-1":              keystore.Global,
	"zone-token-revocations":                       keystore.Global,
}

// Storage is a place where a store keeps its records, with functions that open it.
type Storage struct {
	// Open returns a store on the storage. Each call opens the storage again, as another
	// process would. If the storage is the memory of one process, all calls may return
	// the same store. The suite does not close stores.
	Open func(t *testing.T) keystore.KeyStore

	// OpenReadOnly returns a store on the same storage that takes no writes. Leave it
	// nil if there is none; the suite then skips ReadOnly.
	OpenReadOnly func(t *testing.T) keystore.KeyStore

	// Spoil makes a record that exists unreadable, for a reason that lies in the record:
	// no right to read it, or a form that is not the store's. Leave it nil if no record
	// can become so, as in memory; the suite then skips Unreadable.
	Spoil func(t *testing.T, scope keystore.Scope, name string)
}

// Run runs the suite. It has a group of subtests for each method (Get, List, ListScopes,
// Create, Update, Delete, Watch) and for the rules that hold for all methods (Names, Scopes,
// Sizes, Copies, Contexts, Concurrency, ReadOnly, Unreadable). Run skips Watch for a
// store that is not a [keystore.Watcher], ListScopes for one that is not a
// [keystore.ScopeLister], ReadOnly if OpenReadOnly is nil, and Unreadable
// if Spoil is nil. With a fast engine it
// takes seconds. It calls New about seventy times.
func Run(t *testing.T, h Harness) {
	t.Helper()
	if h.New == nil {
		t.Fatal("keystoretest: Harness.New is nil, want a function that makes storage")
	}
	if h.MaxData < requiredData {
		t.Fatalf("keystoretest: Harness.MaxData is %d, want at least %d: every store takes that many bytes", h.MaxData, requiredData)
	}
	if h.Takes == nil {
		h.Takes = func(keystore.Scope, string) bool { return true }
	}
	for name, scope := range indispensable {
		if !h.Takes(scope, name) {
			t.Fatalf("keystoretest: Harness.Takes refuses %q in scope %q, which every store takes", name, string(scope))
		}
	}
	stopped := false // because there is no store to test
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"Get", getTests},
		{"List", listTests},
		{"ListScopes", listScopesTests},
		{"Create", createTests},
		{"Update", updateTests},
		{"Delete", deleteTests},
		{"Names", nameTests},
		{"Scopes", scopeTests},
		{"Sizes", sizeTests},
		{"Copies", copyTests},
		{"Contexts", contextTests},
		{"Concurrency", concurrencyTests},
		{"Watch", watchTests},
		{"ReadOnly", readOnlyTests},
		{"Unreadable", unreadableTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, test := range group.tests {
				if stopped {
					return
				}
				t.Run(test.name, func(t *testing.T) {
					storage := h.New(t)
					if storage.Open == nil {
						stopped = true
						t.Fatal("keystoretest: Storage.Open is nil, want a function that opens a store")
					}
					test.run(&fixture{T: t, harness: h, storage: storage, store: storage.Open(t)})
				})
			}
		})
	}
}

// test is one sentence and its test.
type test struct {
	name string
	run  func(f *fixture)
}

// fixture is a running test with new storage.
type fixture struct {
	*testing.T
	harness Harness
	storage Storage
	store   keystore.KeyStore
}

// mesh is the scope in tests that are not about scopes.
const mesh = keystore.Scope("default")

// another returns the store as another process would open it.
func (f *fixture) another() keystore.KeyStore {
	f.Helper()
	return f.storage.Open(f.T)
}

func (f *fixture) create(scope keystore.Scope, name, data string) keystore.Record {
	f.Helper()
	r, err := f.store.Create(f.Context(), keystore.Record{Scope: scope, Name: name, Data: []byte(data)})
	if err != nil {
		f.Fatalf("Create(%q, %q) = %v, want success", scope, name, err)
	}
	return r
}

func (f *fixture) get(scope keystore.Scope, name string) keystore.Record {
	f.Helper()
	r, err := f.store.Get(f.Context(), scope, name)
	if err != nil {
		f.Fatalf("Get(%q, %q) = %v, want success", scope, name, err)
	}
	return r
}

// update replaces the data of the record at the version that it has now.
func (f *fixture) update(scope keystore.Scope, name, data string) keystore.Record {
	f.Helper()
	r := f.get(scope, name)
	r.Data = []byte(data)
	r, err := f.store.Update(f.Context(), r)
	if err != nil {
		f.Fatalf("Update(%q, %q) = %v, want success", scope, name, err)
	}
	return r
}

func (f *fixture) delete(scope keystore.Scope, name string) {
	f.Helper()
	if err := f.store.Delete(f.Context(), scope, name); err != nil {
		f.Fatalf("Delete(%q, %q) = %v, want success", scope, name, err)
	}
}

func (f *fixture) list(scope keystore.Scope, prefix string) []keystore.Record {
	f.Helper()
	records, err := f.store.List(f.Context(), scope, prefix)
	if err != nil {
		f.Fatalf("List(%q, %q) = %v, want success", scope, prefix, err)
	}
	return records
}

// wantList fails unless the list has exactly these records, as scope/name, in this
// order.
func (f *fixture) wantList(scope keystore.Scope, prefix string, want ...string) {
	f.Helper()
	var got []string
	for _, r := range f.list(scope, prefix) {
		got = append(got, string(r.Scope)+"/"+r.Name)
	}
	if !slices.Equal(got, want) {
		f.Errorf("List(%q, %.64q) = %s, want %s", scope, prefix, cutShort(got), cutShort(want))
	}
}

// taken returns those of the records, as scope/name, that the store takes.
func (f *fixture) taken(records ...string) []string {
	return slices.DeleteFunc(records, func(r string) bool {
		scope, name, _ := strings.Cut(r, "/")
		return !f.harness.Takes(keystore.Scope(scope), name)
	})
}

// createTaken creates those of the records, as scope/name, that the store takes.
func (f *fixture) createTaken(records ...string) {
	f.Helper()
	for _, r := range f.taken(records...) {
		scope, name, _ := strings.Cut(r, "/")
		f.create(keystore.Scope(scope), name, "content")
	}
}

// wantData fails unless the record is there with this data.
func (f *fixture) wantData(scope keystore.Scope, name, data string) {
	f.Helper()
	if got := f.get(scope, name); string(got.Data) != data {
		f.Errorf("Get(%q, %q) = %s, want %s", scope, name, digest(string(got.Data)), digest(data))
	}
}

func (f *fixture) wantMissing(scope keystore.Scope, name string) {
	f.Helper()
	_, err := f.store.Get(f.Context(), scope, name)
	f.wantError("Get", err, keystore.ErrNotFound)
}

// wantSame fails unless two records are equal in everything that a store keeps.
func (f *fixture) wantSame(what string, got, want keystore.Record) {
	f.Helper()
	if got.Scope != want.Scope || got.Name != want.Name || got.Version != want.Version ||
		!got.Created.Equal(want.Created) || string(got.Data) != string(want.Data) {
		f.Errorf("%s: %v with data %s, want %v with data %s", what, got, digest(string(got.Data)), want, digest(string(want.Data)))
	}
}

func (f *fixture) wantError(what string, err, want error) {
	f.Helper()
	if errors.Is(err, want) {
		return
	}
	mend := ""
	if want == keystore.ErrName {
		mend = ": call keystore.CheckScope and keystore.CheckName first"
	}
	f.Errorf("%s: error is %v, want one that matches %q%s", what, err, want, mend)
}

// digest describes data without flooding the log.
func digest(data string) string {
	if len(data) <= 64 {
		return fmt.Sprintf("%q", data)
	}
	return fmt.Sprintf("%.32q and so on, %d bytes", data, len(data))
}

func cutShort(names []string) string {
	var b strings.Builder
	b.WriteString("[")
	for _, name := range names {
		fmt.Fprintf(&b, " %.64q", name)
	}
	return b.String() + " ]"
}

// soon waits until ended is closed.
func (f *fixture) soon(what string, ended <-chan struct{}) {
	f.Helper()
	select {
	case <-ended:
	case <-time.After(patience):
		f.Fatalf("waited %v in vain for %s", patience, what)
	}
}

// promptly calls do, and fails if it does not return soon.
func (f *fixture) promptly(what string, do func()) {
	f.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do()
	}()
	f.soon(what+" to return", ended)
}

// writers calls do for 0 to n-1 at the same time, on several stores, and returns when all
// calls have.
func (f *fixture) writers(n int, do func(i int, store keystore.KeyStore)) {
	f.Helper()
	stores := []keystore.KeyStore{f.store, f.another(), f.another(), f.another()}
	start := make(chan struct{})
	ended := make(chan struct{}, n)
	for i := range n {
		go func() {
			defer func() { ended <- struct{}{} }()
			<-start
			do(i, stores[i%len(stores)])
		}()
	}
	close(start)
	for range n {
		<-ended
	}
}

// cancelled returns a context that has been cancelled.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
