// Package keystore defines the store of all records: signing keys, public keys and
// revocation lists. A record is named bytes in a scope, which is a mesh or the
// global scope.
//
// [KeyStore] is the interface of a store. [NewMemory] returns a store in memory, and
// package dir has one in a directory. Stores on PostgreSQL, etcd and Kubernetes are
// modules of their own, and package sealed encrypts the records of any store.
//
// Issuers and validators take a store, so most programs only open one:
//
//	store, err := dir.Open("/var/lib/mesh/keys")
//	_, err = dataplane.EnsureKey(ctx, store, "default") // when the mesh is created
//	validator, err := dataplane.NewValidator(store)
//
// A program may also read and write records itself. Several writers do not overwrite
// each other: the method Update of a [KeyStore] takes the Version that was read, and
// returns [ErrConflict] if another writer was faster.
//
//	r, err := store.Get(ctx, "default", "greeting")
//	r.Data = []byte("good morning")
//	_, err = store.Update(ctx, r) // after an ErrConflict read it again, and try again
//
// [Follow] announces changes. A caller that reads the store after each
// announcement misses none.
//
// To write a store of your own, implement [KeyStore], and [Watcher] if the engine can
// announce changes. Return errors in the form of [Error]. An answer that may be behind, such
// as that of a standby, says so with [NoteLag]. The suite in package keystoretest has a test
// for each sentence of the two interfaces.
package keystore

import "context"

// KeyStore keeps records. Any number of goroutines, and of processes on the same
// storage, may call all methods concurrently.
//
// Every method returns promptly with the context's error if the context has
// ended, even before the call; match it with errors.Is. A store copies the slices
// that it takes and returns: neither the store nor the caller sees what the other
// does to them later.
//
// Every method returns [ErrName] for a scope or a name that [CheckScope] or
// [CheckName] refuses; only List takes [AllScopes]. A store that accepts fewer
// names documents which. A name that its engine cannot hold is absent: Get returns
// [ErrNotFound], List an empty list and Delete nil; Create and Update return
// ErrName.
type KeyStore interface {
	// Get returns the record, or ErrNotFound. For a record that is there but cannot be
	// read it returns an error that matches ErrUnreadable.
	Get(ctx context.Context, scope Scope, name string) (Record, error)

	// List returns the scope's records whose names begin with prefix, sorted by
	// scope and then name, bytewise. The list is one consistent view: there was a
	// moment at which the scope held exactly these records. With AllScopes List
	// returns the records of every scope, the global one included; each scope's part
	// is one consistent view. If no record matches, List returns an empty list and no
	// error. An empty prefix matches every name. A prefix with which no name can begin
	// matches none.
	//
	// If List can tell which records the scope has but cannot read some of them, it
	// returns the others together with an [UnreadableError] that names each of these and
	// says why. Only what lies in one record and stays is a reason: it is not the store's
	// own format, the process has no right to read it, it is too large, or no key opens
	// it. An engine that fails, does not answer in time or leaves in doubt which records
	// there are is a failed List, and never a shorter one. A caller that treats every
	// error as a failed List is right too.
	List(ctx context.Context, scope Scope, prefix string) ([]Record, error)

	// Create stores a new record and returns it with its Version and its time of
	// creation. If several callers create one name at the same time, exactly one
	// succeeds; the others, and all later callers, get ErrExists. Once Create has
	// returned without an error, the record survives a crash of the process or the
	// machine, unless the store is memory.
	//
	// Every store takes 512 KiB (524,288 bytes) of Data; a store may take more. For
	// Data over its limit Create returns ErrTooLarge and stores nothing. Data may be
	// empty, unless what guards the engine refuses that: the error is then ErrEmpty.
	Create(ctx context.Context, r Record) (Record, error)

	// Update replaces the Data of the record if r.Version is its current Version,
	// and returns it with its new Version. Otherwise it changes nothing and returns
	// ErrConflict, or ErrNotFound if there is no such record. If several callers
	// update the same Version with different Data at the same time, exactly one
	// succeeds. Durability and limits are those of Create. A reader sees the whole
	// old record or the whole new one.
	Update(ctx context.Context, r Record) (Record, error)

	// Delete removes the record, whatever its Version, and also one that cannot be
	// read. It returns nil if there is no such record.
	Delete(ctx context.Context, scope Scope, name string) error
}

// Watcher is implemented by a store that can announce changes. [Follow] polls a
// store that does not implement it.
type Watcher interface {
	// Watch calls changed with each scope in which any process may have created,
	// updated or deleted a record. It calls changed(AllScopes) once the subscription
	// is in force, and again after every gap in which it may have missed changes. A
	// caller that reads after each call misses no change. Watch may announce a change
	// more than once, announce several together, or announce one that did not happen.
	// It never drops the last change: a read that begins after the last call sees it.
	//
	// Watch makes one call at a time, from any goroutine, and none after it has
	// returned. changed must not block.
	//
	// Watch blocks. It returns the error of ctx when ctx ends, or the reason when the
	// watch is lost. Several watches may run at once.
	Watch(ctx context.Context, changed func(Scope)) error
}
