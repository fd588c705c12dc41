package keystoretest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshpass/meshpass/keystore"
)

// refused are neither scopes nor names of records.
var refused = []string{
	".", "..", "/", "a/b", "../a", "a/../b", "/etc/passwd", `a\b`, `..\a`, "C:a",
	".hidden", "-a", "_a", " a", "a ", "a b", "a\n", "a\x00", "a\x00b", "a%41", "%41", "a:b", "a*", "**", "a,b", "a'b",
	"ä", "ａ", "a\u0301", "\xff", "a\u202eb",
}

// accepted are scopes and names of records. Some are more than a file system, an
// identifier or a pattern can take unchanged.
var accepted = []string{
	"a", "A", "0", "z9", "a.", "a..", "a..b", "a.b.c", "a-", "a_", "a--b", "aB", "Ab", "AB", "ab",
	"con", "CON", "nul", "nul.txt", "com1", "lpt9.a.b", "aux.", "prn-1", "global", "meshes", "lock", "tmp", "null", "true",
	"dataplane-token-signing-key-default-1", "x.lock", "0.0", "1e3", "a.b_c-D",
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-",
}

var nameTests = []test{
	{"those that CheckName refuses are answered with ErrName", func(f *fixture) {
		for _, name := range append([]string{"", string(keystore.AllScopes), strings.Repeat("a", 254)}, refused...) {
			for _, scope := range []keystore.Scope{mesh, keystore.Global} {
				f.wantRefused(scope, name)
			}
		}
		f.wantList(keystore.AllScopes, "")
	}},
	{"those that CheckScope refuses are answered with ErrName", func(f *fixture) {
		for _, scope := range append([]string{strings.Repeat("a", 129)}, refused...) {
			f.wantRefused(keystore.Scope(scope), "key-1")
			_, err := f.store.List(f.Context(), keystore.Scope(scope), "")
			f.wantError(fmt.Sprintf("List of scope %.64q", scope), err, keystore.ErrName)
		}
		f.wantList(keystore.AllScopes, "")
	}},
	{"AllScopes is no scope of a record", func(f *fixture) {
		f.wantRefused(keystore.AllScopes, "key-1")
		f.create(mesh, "key-1", "content")
		f.wantRefused(keystore.AllScopes, "key-1")
		f.wantList(mesh, "", "default/key-1")
	}},
	{"those that CheckName accepts are kept apart", func(f *fixture) {
		names := slices.DeleteFunc(acceptedUpTo(253), func(name string) bool { return !f.harness.Takes(mesh, name) })
		f.keptApart(len(names), func(i int) (keystore.Scope, string) { return mesh, names[i] })
	}},
	{"those that CheckScope accepts are kept apart", func(f *fixture) {
		scopes := slices.DeleteFunc(acceptedUpTo(128), func(scope string) bool { return !f.harness.Takes(keystore.Scope(scope), "key-1") })
		scopes = append(scopes, string(keystore.Global))
		f.keptApart(len(scopes), func(i int) (keystore.Scope, string) {
			return keystore.Scope(scopes[i]), fmt.Sprintf("key-%03d", i)
		})
	}},
	{"those that the engine cannot hold are absent, and refused by Create and Update", func(f *fixture) {
		for _, name := range acceptedUpTo(253) {
			for _, scope := range []keystore.Scope{mesh, keystore.Global} {
				if !f.harness.Takes(scope, name) {
					f.wantAbsent(scope, name)
				}
			}
		}
		for _, scope := range acceptedUpTo(128) {
			if scope := keystore.Scope(scope); !f.harness.Takes(scope, "key-1") {
				f.wantAbsent(scope, "key-1")
				f.wantList(scope, "")
			}
		}
		f.wantList(keystore.AllScopes, "")
	}},
}

// acceptedUpTo returns accepted, and besides some of the greatest length.
func acceptedUpTo(length int) []string {
	all := slices.Clone(accepted)
	for _, c := range []string{"a", "A", "aA", "a."} {
		all = append(all, strings.Repeat(c, length)[:length], strings.Repeat(c, length)[:length-1])
	}
	return all
}

// wantRefused fails unless every method that is about one record answers with
// ErrName.
func (f *fixture) wantRefused(scope keystore.Scope, name string) {
	f.Helper()
	what := fmt.Sprintf("%.64q in scope %.64q", name, string(scope))
	_, err := f.store.Get(f.Context(), scope, name)
	f.wantError("Get of "+what, err, keystore.ErrName)
	f.wantError("Delete of "+what, f.store.Delete(f.Context(), scope, name), keystore.ErrName)
	f.wantRefusedWrites(scope, name)
}

// wantAbsent fails unless reads find no record, Delete succeeds, and Create and
// Update answer with ErrName.
func (f *fixture) wantAbsent(scope keystore.Scope, name string) {
	f.Helper()
	f.wantRefusedWrites(scope, name)
	f.wantMissing(scope, name)
	f.wantList(scope, name)
	f.delete(scope, name)
}

// wantRefusedWrites fails unless Create and Update answer with ErrName.
func (f *fixture) wantRefusedWrites(scope keystore.Scope, name string) {
	f.Helper()
	what := fmt.Sprintf("%.64q in scope %.64q", name, string(scope))
	r := keystore.Record{Scope: scope, Name: name, Data: []byte("content"), Version: "1"}
	_, err := f.store.Create(f.Context(), r)
	f.wantError("Create of "+what, err, keystore.ErrName)
	_, err = f.store.Update(f.Context(), r)
	f.wantError("Update of "+what, err, keystore.ErrName)
}

// keptApart creates n records, and fails unless each is then there, with its
// data, until it is deleted.
func (f *fixture) keptApart(n int, id func(i int) (keystore.Scope, string)) {
	f.Helper()
	for i := range n {
		scope, name := id(i)
		f.create(scope, name, fmt.Sprint("content ", i))
	}
	if got := len(f.list(keystore.AllScopes, "")); got != n {
		f.Errorf("List has %d records, want %d", got, n)
	}
	for i := range n {
		scope, name := id(i)
		f.wantData(scope, name, fmt.Sprint("content ", i))
		listed := f.list(scope, name)
		if len(listed) == 0 || listed[0].Scope != scope || listed[0].Name != name {
			f.Errorf("List(%q, %q) does not begin with the record of that name: %v", scope, name, listed)
		}
		f.delete(scope, name)
		f.wantMissing(scope, name)
	}
	f.wantList(keystore.AllScopes, "")
}

var scopeTests = []test{
	{"keep records of one name apart", func(f *fixture) {
		for _, scopes := range [][2]keystore.Scope{
			{"default", "default-2"}, {"a", "A"}, {keystore.Global, "default"}, {"a.b", "a"}, {"global", keystore.Global},
		} {
			if f.harness.Takes(scopes[0], "key-1") && f.harness.Takes(scopes[1], "key-1") {
				f.sameName(scopes[0], scopes[1])
			}
		}
	}},
}

// sameName creates a record in one scope and one of the same name in another.
func (f *fixture) sameName(one, two keystore.Scope) {
	f.Helper()
	first := f.create(one, "key-1", "content of the first")
	_, err := f.store.Create(f.Context(), keystore.Record{Scope: two, Name: "key-1", Data: []byte("content of the second")})
	switch {
	case err == nil:
		f.wantData(two, "key-1", "content of the second")
		f.update(two, "key-1", "new content of the second")
		f.wantSame("Get after a change in another scope", f.get(one, "key-1"), first)
		f.wantList(one, "", string(one)+"/key-1")
		f.wantList(two, "", string(two)+"/key-1")
		f.delete(two, "key-1")
	case f.harness.FlatNamespace:
		f.wantError("Create of a name that another scope holds", err, keystore.ErrNameTaken)
		f.wantError("Create of a name that another scope holds", err, keystore.ErrExists)
		if one != keystore.Global && !strings.Contains(err.Error(), string(one)) {
			f.Errorf("Create of a name that another scope holds: error is %q, want one that names the scope %q", err, one)
		}
	case errors.Is(err, keystore.ErrNameTaken):
		f.Errorf("Create in scope %q: error is %v, though the harness says nothing of a flat namespace", two, err)
	default:
		f.Errorf("Create in scope %q of a name that is in scope %q: error is %v, want success", two, one, err)
	}
	f.wantMissing(two, "key-1")
	_, err = f.store.Update(f.Context(), keystore.Record{Scope: two, Name: "key-1", Version: first.Version})
	f.wantError("Update in the scope without the record", err, keystore.ErrNotFound)
	f.delete(two, "key-1")
	f.wantSame("Get after a deletion in another scope", f.get(one, "key-1"), first)
	f.delete(one, "key-1")
}
