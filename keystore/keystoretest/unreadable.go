package keystoretest

import (
	"errors"
	"slices"
	"strings"

	"github.com/meshpass/meshpass/keystore"
)

// spoil makes a record unreadable, or skips the test.
func (f *fixture) spoil(scope keystore.Scope, name string) {
	f.Helper()
	if f.storage.Spoil == nil {
		f.Skip("keystoretest: Storage.Spoil is nil")
	}
	f.storage.Spoil(f.T, scope, name)
}

// wantUnreadable fails unless the list has exactly these records, as scope/name, and an
// error that names exactly the unreadable ones.
func (f *fixture) wantUnreadable(scope keystore.Scope, prefix string, readable, unreadable []string) {
	f.Helper()
	records, err := f.store.List(f.Context(), scope, prefix)
	reasons, other := keystore.SplitUnreadable(err)
	if other != nil {
		f.Errorf("List(%q, %q) = %v, want the readable records and a keystore.UnreadableError", scope, prefix, other)
		return
	}
	var got, gotUnreadable []string
	for _, r := range records {
		got = append(got, string(r.Scope)+"/"+r.Name)
	}
	for _, reason := range reasons {
		gotUnreadable = append(gotUnreadable, string(reason.Scope)+"/"+reason.Name)
		if reason.Err == nil {
			f.Errorf("List(%q, %q): the error of %q has no cause, want the reason", scope, prefix, reason.Name)
		} else if strings.Contains(reason.Error(), "secret") {
			f.Errorf("List(%q, %q): error is %q, want one without data", scope, prefix, reason)
		}
	}
	if !slices.Equal(got, readable) || !slices.Equal(gotUnreadable, unreadable) {
		f.Errorf("List(%q, %q) = %q and the unreadable %q, want %q and %q", scope, prefix, got, gotUnreadable, readable, unreadable)
	}
}

var unreadableTests = []test{
	{"List returns the records that it can read, and names the others", func(f *fixture) {
		f.create(keystore.Global, "key-a", "secret")
		f.create(mesh, "key-b", "secret")
		f.create(mesh, "key-c", "secret")
		f.create(mesh, "key-d", "secret")
		f.create("other", "key-e", "secret")
		f.spoil(mesh, "key-c")
		f.wantUnreadable(mesh, "", []string{"default/key-b", "default/key-d"}, []string{"default/key-c"})
		f.wantUnreadable(keystore.AllScopes, "", []string{"/key-a", "default/key-b", "default/key-d", "other/key-e"}, []string{"default/key-c"})
		f.wantUnreadable(mesh, "key-c", nil, []string{"default/key-c"})
		f.spoil(keystore.Global, "key-a")
		f.wantUnreadable(keystore.Global, "", nil, []string{"/key-a"})
		f.wantUnreadable(keystore.AllScopes, "", []string{"default/key-b", "default/key-d", "other/key-e"}, []string{"/key-a", "default/key-c"})
	}},
	{"List is not concerned by an unreadable record that it is not asked for", func(f *fixture) {
		f.create(mesh, "key-b", "content")
		f.create(mesh, "other-c", "content")
		f.spoil(mesh, "other-c")
		f.wantList(mesh, "key-", "default/key-b")
		f.wantList("other", "")
		f.wantList(keystore.Global, "")
	}},
	{"Get says why it cannot read the record", func(f *fixture) {
		f.create("some-mesh", "some-name", "secret")
		f.spoil("some-mesh", "some-name")
		_, err := f.store.Get(f.Context(), "some-mesh", "some-name")
		f.wantNamed("Get", err)
		if !errors.Is(err, keystore.ErrUnreadable) || errors.Is(err, keystore.ErrNotFound) {
			f.Errorf("Get of an unreadable record = %v, want an error that matches ErrUnreadable and not ErrNotFound: keystore.CannotRead makes it", err)
		}
	}},
	{"Create does not replace the record", func(f *fixture) {
		f.create(mesh, "key-b", "content")
		f.spoil(mesh, "key-b")
		_, err := f.store.Create(f.Context(), keystore.Record{Scope: mesh, Name: "key-b", Data: []byte("new")})
		if !errors.Is(err, keystore.ErrExists) {
			f.Errorf("Create of an unreadable record = %v, want ErrExists", err)
		}
	}},
	{"Delete removes the record", func(f *fixture) {
		f.create(mesh, "key-b", "content")
		f.create(mesh, "key-c", "content")
		f.spoil(mesh, "key-b")
		f.delete(mesh, "key-b")
		f.wantMissing(mesh, "key-b")
		f.wantList(mesh, "", "default/key-c")
		f.create(mesh, "key-b", "new")
		f.wantList(mesh, "", "default/key-b", "default/key-c")
	}},
}
