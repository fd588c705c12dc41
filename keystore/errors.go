package keystore

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
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
	ErrConflict = errors.New("keystore: record was changed by another writer")

	// ErrReadOnly: the store takes no writes.
	ErrReadOnly = errors.New("keystore: store is read-only")

	// ErrTooLarge: the data is over the store's limit, which the text names.
	ErrTooLarge = errors.New("keystore: record too large")

	// ErrEmpty: Create or Update was given no Data, and what guards the engine refuses
	// that, such as a webhook of Kubernetes. A store by itself takes records without Data.
	ErrEmpty = errors.New("keystore: records without data are refused")

	// ErrUnreadable: the record is there and cannot be read, for a reason that lies in it
	// and stays. [CannotRead] makes such an error.
	ErrUnreadable = errors.New("keystore: record cannot be read")

	// ErrScopeUnknown: List found a record that does not say to which scope it belongs. It
	// stands in an [UnreadableError], with the scope in which the store looks for such
	// records.
	ErrScopeUnknown = errors.New("keystore: the record does not say its scope")

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
	// Op is "get", "list", "create", "update" or "delete", or "read" for one record of a
	// list. Package sealed also has "open" and "reseal".
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

// UnreadableError is the error of a [KeyStore] List that could read some records and
// not others. The list that comes with it holds all records that could be read.
type UnreadableError struct {
	// Records has at least one error, each of them for one record, sorted by scope and
	// then name. Op is "read" or "open".
	Records []*Error
}

// CannotRead returns the reason why a Get or a List cannot read a record, with the same
// text, as an error that also matches [ErrUnreadable].
func CannotRead(reason error) error { return unreadable{reason} }

type unreadable struct{ error }

func (u unreadable) Unwrap() error        { return u.error }
func (u unreadable) Is(target error) bool { return target == ErrUnreadable }

// Unreadable returns the error of a List that could not read these records, sorted, or
// nil if there are none. The reason of each then matches [ErrUnreadable].
func Unreadable(records []*Error) error {
	if len(records) == 0 {
		return nil
	}
	for _, r := range records {
		if !errors.Is(r.Err, ErrUnreadable) {
			r.Err = CannotRead(r.Err)
		}
	}
	slices.SortFunc(records, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Scope, b.Scope), cmp.Compare(a.Name, b.Name))
	})
	return &UnreadableError{records}
}

// SplitUnreadable tells apart the two kinds of errors of a List. If err is an
// [UnreadableError], alone or wrapped with a text, the list is complete but for the
// records that SplitUnreadable returns, and other is nil. For any other err, also for one
// that joins an UnreadableError with others, it returns err: the list has failed.
func SplitUnreadable(err error) (unreadable []*Error, other error) {
	for e := err; e != nil; e = errors.Unwrap(e) {
		if u, ok := e.(*UnreadableError); ok && len(u.Records) > 0 {
			return u.Records, nil
		}
	}
	return nil, err
}

// Error names the first record and says why it cannot be read, and how many more there
// are.
func (u *UnreadableError) Error() string {
	switch len(u.Records) {
	case 0:
		return "keystore: an unreadable record without a name"
	case 1:
		return u.Records[0].Error()
	}
	return fmt.Sprintf("%s (and %d more that cannot be read)", u.Records[0], len(u.Records)-1)
}

// Unwrap returns the error of each record.
func (u *UnreadableError) Unwrap() []error {
	all := make([]error, len(u.Records))
	for i, err := range u.Records {
		all[i] = err
	}
	return all
}

// Error says what failed, and why. It never holds data of a record.
func (e *Error) Error() string {
	switch e.Err {
	case ErrNotFound, ErrExists, ErrConflict: // which say what was tried
		return fmt.Sprintf("%s: %s", e.Err, describe(e.Scope, e.Name))
	}
	why := strings.TrimPrefix(e.Err.Error(), "keystore: ") // or it would stand there twice
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
