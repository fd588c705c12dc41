// Package keystore holds the records on which everything else stands: signing
// keys, public keys and revocation lists, as named bytes in a scope.
//
// A [KeyStore] knows nothing of cryptography. It keeps bytes, lists them as one
// consistent view, and lets exactly one of several writers win. [NewMemory] returns
// a store in memory and package dir one in a directory; stores on other engines
// are modules of their own. The suite in keystoretest checks whether a store of your
// own keeps the same contract.
package keystore

import "context"

// KeyStore keeps records. All methods may be called concurrently, by many
// goroutines and by many processes on the same underlying storage.
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
	// Get returns the record, or ErrNotFound.
	Get(ctx context.Context, scope Scope, name string) (Record, error)

	// List returns the scope's records whose names begin with prefix, sorted by
	// scope and then name, bytewise. They are one consistent view: there was a
	// moment at which the scope held exactly these. With AllScopes List returns the
	// records of every scope, the global one included; each scope's part is one
	// consistent view. If no record matches, List returns an empty list and no
	// error; if one record cannot be read, it returns an error and never a shorter
	// list. An empty prefix matches every name, and a prefix with which no name can
	// begin matches none.
	List(ctx context.Context, scope Scope, prefix string) ([]Record, error)

	// Create stores a new record and returns it with its Version and its time of
	// creation. Of any number of concurrent callers for one name exactly one
	// succeeds; the others, and all later callers, get ErrExists. When Create has
	// returned without an error, the record survives a crash of the process or the
	// machine, unless the store is only memory.
	//
	// Every store takes Data of 512 KiB (524,288 bytes); a store may take more. For
	// Data over its limit Create returns ErrTooLarge and stores nothing. A record
	// may have empty Data.
	Create(ctx context.Context, r Record) (Record, error)

	// Update replaces the Data of the record if r.Version is its current Version,
	// and returns it with its new Version. Otherwise it returns ErrConflict, or
	// ErrNotFound if there is no such record, and changes nothing. Of any number of
	// concurrent callers with the same Version and different Data exactly one
	// succeeds. Durability and limits are those of Create. A reader sees the old
	// record or the new one, whole.
	Update(ctx context.Context, r Record) (Record, error)

	// Delete removes the record, whatever its Version. It returns nil if there is
	// no such record.
	Delete(ctx context.Context, scope Scope, name string) error
}

// Watcher is implemented by a store that can announce changes. [Follow] polls a
// store that does not implement it.
type Watcher interface {
	// Watch calls changed with each scope in which any process may have created,
	// updated or deleted a record. It calls changed(AllScopes) once the
	// subscription is in force, so that a caller who reads then, and again after
	// each later call, misses no change; and again after every gap in which the
	// store may have missed changes. The store may announce a change more than once,
	// announce several together, or announce one that did not happen, but it never
	// drops the last change: a read that begins after the last call sees it.
	//
	// Watch makes one call at a time, from any goroutine, and none after it has
	// returned. changed must not block.
	//
	// Watch blocks until ctx ends and returns its error, or until the watch is lost
	// and returns why. Several watches may run at once.
	Watch(ctx context.Context, changed func(Scope)) error
}
