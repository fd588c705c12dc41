package keystore

import (
	"context"
	"errors"
)

// ScopeLister is implemented by a store that can list all scopes one after the other, so
// that neither the store nor its caller holds all records at once. A validator reads such a
// store with a small part of the memory. [ListScopes] reads any store in this way.
//
// A type that embeds such a store and has a List of its own needs a ListScopes of its own
// too: otherwise it has that of the embedded store. This one goes through List:
//
//	func (s *store) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
//		return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin)
//	}
type ScopeLister interface {
	// ListScopes is List with AllScopes in parts. It calls begin, and then what begin has
	// returned for every scope that has records whose names begin with prefix, once, in any
	// order of the scopes. If it has to begin anew, such as after the loss of a connection,
	// it calls begin again: the list is then what was given after the last call of begin. It
	// makes one call at a time, from any goroutine, and none after it has returned.
	//
	// If an EachScope returns an error, ListScopes returns that error. After any error the
	// list has failed, and what was given may be a part of it.
	ListScopes(ctx context.Context, prefix string, begin func() EachScope) error
}

// EachScope takes what [ScopeLister] ListScopes has found in one scope: the records that
// List of the scope returns, sorted by name, and those that its [UnreadableError] names. It
// is one consistent view of the scope. The slice and the Data of its records belong to the
// store: EachScope must not change them, nor keep them after it has returned. It must not
// call the store either, which may hold its only connection meanwhile.
type EachScope func(scope Scope, records []Record, unreadable []*Error) error

// ListScopes lists all scopes of any store: by its own ListScopes if it is a [ScopeLister],
// and otherwise by one List of [AllScopes]. A store that returns without having called begin
// has not listed anything, which is an error and not an empty list.
func ListScopes(ctx context.Context, store KeyStore, prefix string, begin func() EachScope) error {
	if lister, ok := store.(ScopeLister); ok {
		begun := false
		err := lister.ListScopes(ctx, prefix, func() EachScope {
			begun = true
			return begin()
		})
		if err == nil && !begun {
			return errors.New("keystore: the store has begun no list of all scopes")
		}
		return err
	}
	records, err := store.List(ctx, AllScopes, prefix)
	unreadable, err := SplitUnreadable(err)
	if err != nil {
		return err
	}
	each, of := begin(), make(map[Scope][]*Error)
	for _, err := range unreadable {
		of[err.Scope] = append(of[err.Scope], err)
	}
	for rest := records; len(rest) > 0; {
		scope, n := rest[0].Scope, 1
		for n < len(rest) && rest[n].Scope == scope {
			n++
		}
		if err := each(scope, rest[:n:n], of[scope]); err != nil {
			return err
		}
		delete(of, scope)
		clear(rest[:n]) // their memory can go
		rest = rest[n:]
	}
	for scope, errs := range of {
		if err := each(scope, nil, errs); err != nil {
			return err
		}
	}
	return nil
}
