// Package keystore holds the records on which everything else stands: signing
// keys, public keys and revocation lists, as named bytes in a scope.
//
// A [KeyStore] knows nothing of cryptography. It keeps bytes, answers with one
// consistent view, and lets exactly one of several writers win. [NewMemory] and
// [OpenDir] are stores without a server; further ones are modules of their own.
// A store of your own is held to the same contract by the suite in
// keystoretest.
package keystore

import (
	"context"
	"errors"
)

// The errors of a KeyStore. A store wraps them with what it was asked for;
// match them with errors.Is. Any other error means that the store could not do
// its work: nothing is known about the record then.
var (
	// ErrNotFound: Get or Update named a record that is not there.
	ErrNotFound = errors.New("keystore: record not found")

	// ErrExists: Create named a record that is there already.
	ErrExists = errors.New("keystore: record already exists")

	// ErrNameTaken: Create was refused because, in a store whose names are not
	// separate by scope, another scope holds the name. It also matches ErrExists.
	ErrNameTaken error = nameTaken{}

	// ErrConflict: Update was given a Version that is not the current one.
	ErrConflict = errors.New("keystore: record was changed by somebody else")

	// ErrReadOnly: the store takes no writes.
	ErrReadOnly = errors.New("keystore: store is read-only")

	// ErrTooLarge: the data is over the store's limit, which the text names.
	ErrTooLarge = errors.New("keystore: record too large")

	// ErrName: the scope or the name is not one that a store takes; see CheckName.
	ErrName = errors.New("keystore: unusable name")
)

type nameTaken struct{}

func (nameTaken) Error() string { return "keystore: name is taken in another scope" }
func (nameTaken) Unwrap() error { return ErrExists }

// KeyStore keeps records. All methods may be called concurrently, by many
// goroutines and by many processes on the same underlying storage.
//
// Every method returns promptly, with an error that matches the context's,
// when its context has ended, also when it had ended before the call. A scope or
// name that [CheckScope] or [CheckName] refuses is answered with [ErrName],
// [AllScopes] is accepted by List alone. Slices that a store takes or returns
// are copies: neither side sees what the other does to them later.
type KeyStore interface {
	// Get returns the record, or ErrNotFound.
	Get(ctx context.Context, scope Scope, name string) (Record, error)

	// List returns the scope's records whose names begin with prefix, sorted by
	// scope and then name, bytewise. They are one consistent view: there was a
	// moment at which the scope held just these. With AllScopes it lists every
	// scope, the global one included; each scope's part is one consistent view.
	// Nothing found is an empty list and no error; a part that could not be read
	// is an error and never a shorter list. An empty prefix matches every name, and
	// one with which no name can begin matches none.
	List(ctx context.Context, scope Scope, prefix string) ([]Record, error)

	// Create stores a new record and returns it with its Version and its time of
	// creation. Of any number of concurrent callers for one name exactly one
	// succeeds; the others get ErrExists, as does everyone later. When Create has
	// returned without an error the record survives a crash (of the store's
	// process or machine, where the store is more than memory).
	//
	// Every store takes Data of 512 KiB (524,288 bytes); a store may take more.
	// What is over its limit is refused with ErrTooLarge, nothing being stored. Empty
	// Data is a record like any other.
	Create(ctx context.Context, r Record) (Record, error)

	// Update replaces the Data of the record if r.Version is its current Version,
	// and returns it with its new Version. Otherwise it returns ErrConflict, or
	// ErrNotFound if there is no such record, and changes nothing. Of any number of
	// concurrent callers with the same Version and different Data exactly one
	// succeeds. Durability and limits are those of Create. A reader sees the old
	// record or the new one, whole.
	Update(ctx context.Context, r Record) (Record, error)

	// Delete removes the record, whatever its Version. It is no error if there is
	// none.
	Delete(ctx context.Context, scope Scope, name string) error
}

// Watcher is implemented by a store that can announce changes. A store without
// it is polled; see [Follow].
type Watcher interface {
	// Watch calls changed with each scope in which a record may have been created,
	// updated or deleted, by whatever process. It calls changed(AllScopes) once
	// the subscription is in force, so that what is read from then on, together with
	// later calls, misses nothing; and again after every gap in which changes may
	// have gone unseen. Calls may be spurious, repeated or merged, but the last
	// change is never dropped: a read that begins after the last call sees it.
	//
	// Calls are made one at a time. changed does not block and may be called
	// from any goroutine, but not after Watch has returned.
	//
	// Watch blocks until ctx ends, returning its error, or until the watch is lost,
	// returning why. Several watches may run at once.
	Watch(ctx context.Context, changed func(Scope)) error
}
