package keystore

import (
	"errors"
	"fmt"
	"strings"
)

// The errors of a KeyStore. A store wraps them with the scope and the name of
// the record; match them with errors.Is. Any other error means that the store
// could not do its work: the caller then knows nothing about the record.
var (
	// ErrNotFound: Get or Update named a record that does not exist.
	ErrNotFound = errors.New("keystore: record not found")

	// ErrExists: Create named a record that exists already.
	ErrExists = errors.New("keystore: record already exists")

	// ErrNameTaken: Create named a record whose name another scope holds, in a
	// store that has each name only once. It also matches ErrExists.
	ErrNameTaken error = nameTaken{}

	// ErrConflict: Update was given a Version that is not the current one.
	ErrConflict = errors.New("keystore: record was changed by somebody else")

	// ErrReadOnly: the store takes no writes.
	ErrReadOnly = errors.New("keystore: store is read-only")

	// ErrTooLarge: the data is over the store's limit, which the text names.
	ErrTooLarge = errors.New("keystore: record too large")

	// ErrName: CheckScope or CheckName refuses the scope or the name; or Create or
	// Update was given one that the store's engine cannot hold.
	ErrName = errors.New("keystore: unusable name")
)

type nameTaken struct{}

func (nameTaken) Error() string { return "keystore: name is taken in another scope" }
func (nameTaken) Unwrap() error { return ErrExists }

// Error is the error of one operation of a store: which operation, on which
// record, and why. The stores of this repository return the errors of their
// methods in this form, except for those of [CheckRecord] and its relatives,
// which name the record themselves.
type Error struct {
	// Op is "get", "list", "create", "update" or "delete". Package sealed also has
	// "open" and "reseal".
	Op string

	// Scope and Name are those of the record. Name is empty if the operation was a
	// list.
	Scope Scope
	Name  string

	// Err is the cause: one of the errors of this package, or that of the engine. It
	// is not nil.
	Err error
}

// Failed returns err as an [Error].
func Failed(op string, scope Scope, name string, err error) error {
	return &Error{Op: op, Scope: scope, Name: name, Err: err}
}

// Error says what failed, and why. It never holds data of a record.
func (e *Error) Error() string {
	switch e.Err {
	case ErrNotFound, ErrExists, ErrConflict: // which say what was tried
		return fmt.Sprintf("%s: %s", e.Err, describe(e.Scope, e.Name))
	}
	why := strings.TrimPrefix(e.Err.Error(), "keystore: ") // once is enough
	return fmt.Sprintf("keystore: cannot %s %s: %s", e.Op, describe(e.Scope, e.Name), why)
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// describe names a record, or the scope of a list.
func describe(scope Scope, name string) string {
	in := fmt.Sprintf("scope %q", string(scope))
	switch scope {
	case Global:
		in = "the global scope"
	case AllScopes:
		in = "all scopes"
	}
	if name == "" {
		return in
	}
	return fmt.Sprintf("%q in %s", name, in)
}
