package keystoretest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshpass/meshpass/keystore"
)

// scopeLister returns the store, or skips the test.
func (f *fixture) scopeLister() keystore.ScopeLister {
	f.Helper()
	lister, ok := f.store.(keystore.ScopeLister)
	if !ok {
		f.Skip("keystoretest: the store is not a keystore.ScopeLister")
	}
	return lister
}

// part is what ListScopes has given for one scope.
type part struct {
	records    []keystore.Record
	unreadable []string
}

// parts lists all scopes. It keeps copies, as a caller must.
func (f *fixture) parts(lister keystore.ScopeLister, prefix string) (map[keystore.Scope]part, error) {
	var parts map[keystore.Scope]part
	err := lister.ListScopes(f.Context(), prefix, func() keystore.EachScope {
		parts = make(map[keystore.Scope]part)
		return func(scope keystore.Scope, records []keystore.Record, unreadable []*keystore.Error) error {
			if _, again := parts[scope]; again {
				return fmt.Errorf("ListScopes has given scope %q twice after one call of begin, want its records together", string(scope))
			}
			if len(records)+len(unreadable) == 0 {
				return fmt.Errorf("ListScopes has given scope %q without a record, want only scopes that have some", string(scope))
			}
			var p part
			for _, r := range records {
				p.records = append(p.records, r.Clone())
			}
			for _, err := range unreadable {
				if !errors.Is(err, keystore.ErrUnreadable) || err.Scope != scope || strings.Contains(err.Error(), "secret") {
					return fmt.Errorf("ListScopes has given the error %q for scope %q, want one of the scope that matches ErrUnreadable, without data", err, string(scope))
				}
				p.unreadable = append(p.unreadable, err.Name)
			}
			parts[scope] = p
			return nil
		}
	})
	return parts, err
}

// wantParts fails unless ListScopes gives exactly these scopes, each as List returns it.
func (f *fixture) wantParts(prefix string, want ...keystore.Scope) {
	f.Helper()
	parts, err := f.parts(f.scopeLister(), prefix)
	if err != nil {
		f.Errorf("ListScopes(%.64q) = %v, want success", prefix, err)
		return
	}
	for _, scope := range want {
		part, ok := parts[scope]
		if !ok {
			f.Errorf("ListScopes(%.64q) has not given scope %q", prefix, string(scope))
			continue
		}
		delete(parts, scope)
		records, err := f.store.List(f.Context(), scope, prefix)
		reasons, err := keystore.SplitUnreadable(err)
		if err != nil {
			f.Fatalf("List(%q, %q) = %v, want success", scope, prefix, err)
		}
		var unreadable []string
		for _, reason := range reasons {
			unreadable = append(unreadable, reason.Name)
		}
		if len(part.records) != len(records) || !slices.Equal(part.unreadable, unreadable) {
			f.Errorf("ListScopes(%q) has given %v and the unreadable %q for scope %q, want %v and %q", prefix, part.records, part.unreadable, string(scope), records, unreadable)
			continue
		}
		for i, r := range records {
			f.wantSame("ListScopes", part.records[i], r)
		}
	}
	for scope := range parts {
		f.Errorf("ListScopes(%.64q) has given scope %q, want none of it", prefix, string(scope))
	}
}

var listScopesTests = []test{
	{"gives each scope as List of the scope returns it", func(f *fixture) {
		f.wantParts("")
		f.createTaken("default-2/a", "default/z", "default/b", "default/a10", "default/a2", "Default/y", "/x", "/a3", "defaul/c")
		f.update(mesh, "b", "new content")
		want := []keystore.Scope{"default-2", "default", keystore.Global, "defaul"}
		if f.harness.Takes("Default", "y") {
			want = append(want, "Default")
		}
		f.wantParts("", want...)
		f.delete("defaul", "c")
		f.wantParts("", slices.DeleteFunc(want, func(s keystore.Scope) bool { return s == "defaul" })...)
	}},
	{"gives many scopes, and one with many records", func(f *fixture) {
		want := []keystore.Scope{mesh}
		for i := range 60 {
			f.create(mesh, fmt.Sprintf("key-%02d", i), "content")
		}
		for i := range 30 {
			scope := keystore.Scope(fmt.Sprintf("mesh-%02d", i))
			f.create(scope, fmt.Sprintf("name-%02d", i), "content")
			want = append(want, scope)
		}
		f.wantParts("", want...)
	}},
	{"gives the names that begin with the prefix, and no scope without one", func(f *fixture) {
		f.createTaken("default/key-1", "default/other-1", "default-2/other-2", "/key-2", "/a", "third/key")
		f.wantParts("key-", mesh, keystore.Global)
		f.wantParts("absent")
		for _, prefix := range []string{"%", "*", "key*", "/", "../default/key", "key\x00", "\xff", "'", " ", strings.Repeat("key-1", 100)} {
			f.wantParts(prefix)
		}
	}},
	{"returns the error of an EachScope, and calls it no more", func(f *fixture) {
		f.create(mesh, "a", "content")
		f.create("other", "b", "content")
		enough := errors.New("enough")
		calls := 0
		err := f.scopeLister().ListScopes(f.Context(), "", func() keystore.EachScope {
			return func(keystore.Scope, []keystore.Record, []*keystore.Error) error { calls++; return enough }
		})
		f.wantError("ListScopes", err, enough)
		if calls != 1 {
			f.Errorf("ListScopes has called an EachScope %d times, want 1: the first call returned an error", calls)
		}
	}},
	{"returns promptly with the error of a context that has ended", func(f *fixture) {
		lister := f.scopeLister()
		f.create(mesh, "a", "content")
		f.create("other", "b", "content")
		none := func() keystore.EachScope {
			return func(keystore.Scope, []keystore.Record, []*keystore.Error) error { return nil }
		}
		f.promptly("ListScopes", func() { f.wantError("ListScopes", lister.ListScopes(cancelled(), "", none), context.Canceled) })
	}},
	{"gives each scope as it was at one moment", func(f *fixture) {
		f.scopeLister()
		f.listIsOneMoment(throughParts)
	}},
	{"misses no record of a scope that was there all the time", func(f *fixture) {
		f.scopeLister()
		f.listMissesNothing(throughParts)
	}},
	{"gives the records that it can read, and names the others", func(f *fixture) {
		f.scopeLister()
		f.create(keystore.Global, "key-a", "secret")
		f.create(mesh, "key-b", "secret")
		f.create(mesh, "key-c", "secret")
		f.create(mesh, "other-d", "secret")
		f.create("other", "key-e", "secret")
		f.create("third", "key-f", "secret")
		f.spoil(mesh, "key-c")
		f.spoil("other", "key-e")
		f.wantParts("", keystore.Global, mesh, "other", "third")
		f.wantParts("key-", keystore.Global, mesh, "other", "third")
		f.wantParts("other-", mesh)
		f.spoil(keystore.Global, "key-a")
		f.wantParts("", keystore.Global, mesh, "other", "third")
	}},
}

// throughParts is a lister by way of ListScopes.
func throughParts(f *fixture, store keystore.KeyStore) ([]keystore.Record, error) {
	parts, err := f.parts(store.(keystore.ScopeLister), "")
	return parts[mesh].records, err
}
