package keystoretest

import (
	"strings"

	"github.com/meshpass/meshpass/keystore"
)

var getTests = []test{
	{"returns what Create returned", func(f *fixture) {
		created := f.create(mesh, "key-1", "content")
		f.wantSame("Get", f.get(mesh, "key-1"), created)
	}},
	{"returns what Update returned", func(f *fixture) {
		f.create(mesh, "key-1", "content")
		updated := f.update(mesh, "key-1", "new content")
		f.wantSame("Get", f.get(mesh, "key-1"), updated)
	}},
	{"finds a record of the global scope", func(f *fixture) {
		created := f.create(keystore.Global, "key-1", "content")
		f.wantSame("Get", f.get(keystore.Global, "key-1"), created)
	}},
	{"finds what another process wrote", func(f *fixture) {
		f.create(mesh, "key-1", "content")
		got, err := f.another().Get(f.Context(), mesh, "key-1")
		if err != nil {
			f.Fatal(err)
		}
		f.wantSame("Get", got, f.get(mesh, "key-1"))
	}},
	{"says ErrNotFound for a record that is not there", func(f *fixture) {
		f.wantMissing("never-used", "key-1")
		f.wantMissing(keystore.Global, "key-1")
		f.create(mesh, "key-1", "content")
		f.wantMissing(mesh, "key-2")
		f.wantMissing(mesh, "key")
		f.wantMissing(mesh, "key-11")
	}},
	{"names in its error what was asked for", func(f *fixture) {
		_, err := f.store.Get(f.Context(), "some-mesh", "some-name")
		f.wantNamed("Get", err)
	}},
}

// wantNamed fails unless the error names the record, and holds none of its data.
func (f *fixture) wantNamed(what string, err error) {
	f.Helper()
	if err == nil {
		f.Errorf("%s: no error, want one", what)
		return
	}
	if text := err.Error(); !strings.Contains(text, "some-mesh") || !strings.Contains(text, "some-name") {
		f.Errorf("%s: error is %q, want one that names the scope and the record: wrap it, such as %s", what, text,
			`fmt.Errorf("%w: %q in scope %q", err, name, scope)`)
	} else if strings.Contains(text, "secret") {
		f.Errorf("%s: error is %q, want one without data", what, text)
	}
}

var listTests = []test{
	{"is empty and no error where nothing is found", func(f *fixture) {
		f.wantList(mesh, "")
		f.wantList(keystore.Global, "")
		f.wantList(keystore.AllScopes, "")
		f.create(mesh, "key-1", "content")
		f.wantList("never-used", "")
		f.wantList(keystore.Global, "")
		f.wantList(mesh, "other")
		f.wantList(keystore.AllScopes, "other")
		f.delete(mesh, "key-1")
		f.wantList(mesh, "")
	}},
	{"returns every record as Get does", func(f *fixture) {
		f.create(mesh, "a", "content of a")
		f.create(mesh, "b", "content of b")
		f.create(mesh, "c", "")
		f.update(mesh, "b", "new content of b")
		for _, scope := range []keystore.Scope{mesh, keystore.AllScopes} {
			f.wantList(scope, "", "default/a", "default/b", "default/c")
			for _, r := range f.list(scope, "") {
				f.wantSame("List", r, f.get(r.Scope, r.Name))
			}
		}
	}},
	{"sorts by name, bytewise", func(f *fixture) {
		f.createTaken("default/b", "default/a_b", "default/aB", "default/B", "default/a10", "default/a.b",
			"default/a", "default/a2", "default/0", "default/a-b", "default/ab", "default/A")
		f.wantList(mesh, "", f.taken("default/0", "default/A", "default/B", "default/a", "default/a-b", "default/a.b",
			"default/a10", "default/a2", "default/aB", "default/a_b", "default/ab", "default/b")...)
	}},
	{"returns the names that begin with the prefix and no others", func(f *fixture) {
		f.createTaken("default/key", "default/key-1", "default/key-10", "default/key-2", "default/key_1", "default/key.1",
			"default/keys", "default/Key-1", "default/a-key-1", "default/ke")
		f.wantList(mesh, "key-1", "default/key-1", "default/key-10")
		f.wantList(mesh, "key-", "default/key-1", "default/key-10", "default/key-2")
		f.wantList(mesh, "Key", f.taken("default/Key-1")...)
		f.wantList(mesh, "key", f.taken("default/key", "default/key-1", "default/key-10", "default/key-2", "default/key.1",
			"default/key_1", "default/keys")...)
		f.wantList(mesh, "key-100")
		f.wantList(keystore.AllScopes, "key-1", "default/key-1", "default/key-10")
	}},
	{"takes every character of the prefix literally", func(f *fixture) {
		f.createTaken("default/key-1", "default/key.1", "default/key_1", "default/keyx1")
		f.wantList(mesh, "key_", f.taken("default/key_1")...)
		f.wantList(mesh, "key.", f.taken("default/key.1")...)
		for _, prefix := range []string{"%", "key%", "*", "key*", "key?", "key[-]", "^key", "/", "../default/key", "key\x00", "\xff", "key\\", "'", " ",
			strings.Repeat("key-1", 100)} {
			f.wantList(mesh, prefix)
			f.wantList(keystore.AllScopes, prefix)
		}
	}},
	{"returns the records of its scope and of no other", func(f *fixture) {
		f.createTaken("default/a", "default-2/b", "defaul/c", "Default/d", "/e")
		f.wantList("default", "", "default/a")
		f.wantList("default-2", "", "default-2/b")
		f.wantList("defaul", "", "defaul/c")
		if f.harness.Takes("Default", "d") {
			f.wantList("Default", "", "Default/d")
		}
		f.wantList(keystore.Global, "", "/e")
	}},
	{"returns every scope with AllScopes, the global one included, sorted by scope and then name", func(f *fixture) {
		f.createTaken("default-2/a", "default/z", "default/b", "Default/y", "/x", "/a2")
		f.wantList(keystore.AllScopes, "", f.taken("/a2", "/x", "Default/y", "default/b", "default/z", "default-2/a")...)
		f.wantList(keystore.AllScopes, "a", "/a2", "default-2/a")
	}},
	{"returns what another process wrote", func(f *fixture) {
		f.create(mesh, "key-1", "content")
		records, err := f.another().List(f.Context(), mesh, "")
		if err != nil || len(records) != 1 {
			f.Fatalf("List of another process = %v, %v, want one record", records, err)
		}
		f.wantSame("List", records[0], f.get(mesh, "key-1"))
	}},
	{"returns no record that was deleted", func(f *fixture) {
		f.create(mesh, "a", "content")
		f.create(mesh, "b", "content")
		f.delete(mesh, "a")
		f.wantList(mesh, "", "default/b")
		f.wantList(keystore.AllScopes, "", "default/b")
	}},
}
