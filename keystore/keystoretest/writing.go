package keystoretest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

// everyByte has every byte, and ends as text files do.
var everyByte = func() string {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return string(b) + "\xef\xbb\xbf\r\n\n"
}()

var createTests = []test{
	{"returns the record with its version and its time of creation", func(f *fixture) {
		r := f.create(mesh, "key-1", "content")
		if r.Scope != mesh || r.Name != "key-1" || string(r.Data) != "content" {
			f.Errorf("Create returned %v with data %q, want what was given", r, r.Data)
		}
		if r.Version == "" {
			f.Error("Create returned an empty Version")
		}
		if r.Created.IsZero() {
			f.Error("Create returned no time of creation")
		}
	}},
	{"ignores a version and a time that are given", func(f *fixture) {
		given := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
		r, err := f.store.Create(f.Context(), keystore.Record{Scope: mesh, Name: "key-1", Version: "given", Created: given})
		if err != nil {
			f.Fatal(err)
		}
		if r.Version == "given" || r.Created.Equal(given) {
			f.Errorf("Create returned %v, want the store's version and time", r)
		}
	}},
	{"says ErrExists for a record that is there, and leaves it as it is", func(f *fixture) {
		created := f.create(mesh, "key-1", "content")
		for _, store := range []keystore.KeyStore{f.store, f.another()} {
			_, err := store.Create(f.Context(), keystore.Record{Scope: mesh, Name: "key-1", Data: []byte("other")})
			f.wantError("Create of a record that exists", err, keystore.ErrExists)
			if errors.Is(err, keystore.ErrNameTaken) {
				f.Errorf("Create in the scope that has the record: error is %v, want one that does not match ErrNameTaken", err)
			}
		}
		f.wantSame("Get", f.get(mesh, "key-1"), created)
	}},
	{"names in its error what was asked for and no data", func(f *fixture) {
		f.create("some-mesh", "some-name", "secret")
		_, err := f.store.Create(f.Context(), keystore.Record{Scope: "some-mesh", Name: "some-name", Data: []byte("secret")})
		f.wantNamed("Create", err)
	}},
	{"stores empty data like any other", func(f *fixture) {
		for name, data := range map[string][]byte{"nil": nil, "empty": {}} {
			_, err := f.store.Create(f.Context(), keystore.Record{Scope: mesh, Name: name, Data: data})
			if err != nil {
				f.Fatalf("Create with %s data: %v", name, err)
			}
			f.wantData(mesh, name, "")
		}
		f.wantList(mesh, "", "default/empty", "default/nil")
		_, err := f.store.Create(f.Context(), keystore.Record{Scope: mesh, Name: "nil"})
		f.wantError("Create of an empty record that exists", err, keystore.ErrExists)
	}},
	{"stores every byte as it is", func(f *fixture) {
		f.create(mesh, "key-1", everyByte)
		f.wantData(mesh, "key-1", everyByte)
		f.create(mesh, "key-2", " \t\r\n")
		f.wantData(mesh, "key-2", " \t\r\n")
	}},
	{"works again after Delete", func(f *fixture) {
		f.create(mesh, "key-1", "content")
		f.delete(mesh, "key-1")
		r := f.create(mesh, "key-1", "other content")
		if r.Created.IsZero() {
			f.Error("the record has no time of creation")
		}
		f.wantSame("Get", f.get(mesh, "key-1"), r)
	}},
}

var updateTests = []test{
	{"replaces the data and returns the record with its new version", func(f *fixture) {
		created := f.create(mesh, "key-1", "content")
		r := created
		r.Data = []byte("new content")
		r, err := f.store.Update(f.Context(), r)
		if err != nil {
			f.Fatal(err)
		}
		if r.Scope != mesh || r.Name != "key-1" || string(r.Data) != "new content" {
			f.Errorf("Update returned %v with data %q, want what was given", r, r.Data)
		}
		if r.Version == created.Version {
			f.Errorf("the version is %q before and after, want another one for other data", r.Version)
		}
		f.wantSame("Get", f.get(mesh, "key-1"), r)
	}},
	{"keeps the time of creation, whatever is given", func(f *fixture) {
		created := f.create(mesh, "key-1", "content")
		r := created
		for _, given := range []time.Time{{}, created.Created, time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)} {
			r.Data, r.Created = append(r.Data, '.'), given
			var err error
			if r, err = f.store.Update(f.Context(), r); err != nil {
				f.Fatal(err)
			}
			if !r.Created.Equal(created.Created) {
				f.Errorf("Update with Created %v returned Created %v, want %v", given, r.Created, created.Created)
			}
			if got := f.get(mesh, "key-1").Created; !got.Equal(created.Created) {
				f.Errorf("Get after Update with Created %v: Created is %v, want %v", given, got, created.Created)
			}
		}
	}},
	{"gives a version that the next Update takes", func(f *fixture) {
		r := f.create(mesh, "key-1", "content")
		for _, data := range []string{"a", "b", "b", "", "content", everyByte} {
			r.Data = []byte(data)
			var err error
			if r, err = f.store.Update(f.Context(), r); err != nil {
				f.Fatalf("Update to %q: %v", data, err)
			}
			f.wantData(mesh, "key-1", data)
		}
	}},
	{"takes a version that another process read", func(f *fixture) {
		f.create(mesh, "key-1", "content")
		r, err := f.another().Get(f.Context(), mesh, "key-1")
		if err != nil {
			f.Fatal(err)
		}
		r.Data = []byte("new content")
		if _, err := f.another().Update(f.Context(), r); err != nil {
			f.Fatal(err)
		}
		f.wantData(mesh, "key-1", "new content")
	}},
	{"says ErrConflict unless the version is the current one, and changes nothing", func(f *fixture) {
		first := f.create(mesh, "key-1", "content")
		current := f.update(mesh, "key-1", "new content")
		other := f.create(mesh, "key-2", "other content")
		for what, version := range map[string]string{
			"an earlier":       first.Version,
			"no":               "",
			"an invented":      "invented",
			"another record's": other.Version,
			"a longer":         current.Version + "0",
		} {
			if version == current.Version {
				continue // versions need not differ between records
			}
			_, err := f.store.Update(f.Context(), keystore.Record{Scope: mesh, Name: "key-1", Data: []byte("lost"), Version: version})
			f.wantError("Update with "+what+" version", err, keystore.ErrConflict)
			f.wantSame("Get", f.get(mesh, "key-1"), current)
		}
	}},
	{"says ErrNotFound for a record that is not there, and creates none", func(f *fixture) {
		other := f.create(mesh, "key-2", "content")
		for _, version := range []string{"", "1", other.Version} {
			_, err := f.store.Update(f.Context(), keystore.Record{Scope: mesh, Name: "key-1", Data: []byte("lost"), Version: version})
			f.wantError("Update of a record that is missing", err, keystore.ErrNotFound)
		}
		f.wantMissing(mesh, "key-1")
		f.wantList(mesh, "", "default/key-2")
	}},
	{"says ErrNotFound after Delete", func(f *fixture) {
		r := f.create(mesh, "key-1", "content")
		f.delete(mesh, "key-1")
		_, err := f.store.Update(f.Context(), r)
		f.wantError("Update after Delete", err, keystore.ErrNotFound)
		f.wantMissing(mesh, "key-1")
	}},
	{"says ErrConflict with the version of a record that was deleted and created anew", func(f *fixture) {
		r := f.create(mesh, "key-1", "content")
		f.delete(mesh, "key-1")
		f.create(mesh, "key-1", "other content")
		_, err := f.store.Update(f.Context(), r)
		f.wantError("Update with the version of a former record", err, keystore.ErrConflict)
		f.wantData(mesh, "key-1", "other content")
	}},
	{"names in its error what was asked for and no data", func(f *fixture) {
		r := keystore.Record{Scope: "some-mesh", Name: "some-name", Data: []byte("secret"), Version: "invented"}
		_, err := f.store.Update(f.Context(), r)
		f.wantNamed("Update of a missing record", err)
		f.create("some-mesh", "some-name", "secret too")
		_, err = f.store.Update(f.Context(), r)
		f.wantNamed("Update with a stale version", err)
	}},
}

var deleteTests = []test{
	{"removes the record", func(f *fixture) {
		f.create(mesh, "key-1", "content")
		f.create(keystore.Global, "key-2", "content")
		f.delete(mesh, "key-1")
		f.wantMissing(mesh, "key-1")
		f.delete(keystore.Global, "key-2")
		f.wantMissing(keystore.Global, "key-2")
	}},
	{"removes the record whatever its version", func(f *fixture) {
		f.create(mesh, "key-1", "content")
		f.update(mesh, "key-1", "new content")
		if err := f.another().Delete(f.Context(), mesh, "key-1"); err != nil {
			f.Fatal(err)
		}
		f.wantMissing(mesh, "key-1")
	}},
	{"is no error for a record that is not there", func(f *fixture) {
		f.delete("never-used", "key-1")
		f.delete(keystore.Global, "key-1")
		f.create(mesh, "key-1", "content")
		f.delete(mesh, "key-1")
		f.delete(mesh, "key-1")
	}},
	{"leaves every other record", func(f *fixture) {
		f.create("default", "key-1", "content")
		f.create("default", "key-10", "content")
		f.create("default", "key", "content")
		f.create("default-2", "other-1", "content")
		f.create(keystore.Global, "another-1", "content")
		f.delete("default", "key-1")
		f.delete("default", "other-1")
		f.delete("default", "another-1")
		f.wantList(keystore.AllScopes, "", "/another-1", "default/key", "default/key-10", "default-2/other-1")
	}},
}

var sizeTests = []test{
	{"takes 512 KiB", func(f *fixture) {
		data := sized(requiredData)
		f.create(mesh, "key-1", data)
		f.wantData(mesh, "key-1", data)
		f.create(mesh, "key-2", "")
		f.update(mesh, "key-2", data)
		f.wantData(mesh, "key-2", data)
	}},
	{"takes as much as the harness says", func(f *fixture) {
		data := sized(f.harness.MaxData)
		f.create(mesh, "key-1", data)
		f.wantData(mesh, "key-1", data)
		f.delete(mesh, "key-1")
		f.create(mesh, "key-2", "")
		f.update(mesh, "key-2", data)
		f.wantData(mesh, "key-2", data)
	}},
	{"says ErrTooLarge for one byte more, names the limit, and stores nothing", func(f *fixture) {
		data := []byte(sized(f.harness.MaxData + 1))
		_, err := f.store.Create(f.Context(), keystore.Record{Scope: mesh, Name: "key-1", Data: data})
		f.wantError("Create over the limit", err, keystore.ErrTooLarge)
		f.wantLimit("Create over the limit", err)
		f.wantMissing(mesh, "key-1")
		f.wantList(mesh, "")

		r := f.create(mesh, "key-1", "content")
		_, err = f.store.Update(f.Context(), keystore.Record{Scope: mesh, Name: "key-1", Data: data, Version: r.Version})
		f.wantError("Update over the limit", err, keystore.ErrTooLarge)
		f.wantLimit("Update over the limit", err)
		f.wantSame("Get", f.get(mesh, "key-1"), r)
	}},
}

var number = regexp.MustCompile(`\d+`)

// wantLimit fails unless the error for one byte too many names the limit in digits. A
// store that wraps another one and adds to the data may name the limit of that one.
func (f *fixture) wantLimit(what string, err error) {
	f.Helper()
	if err == nil {
		return
	}
	for _, digits := range number.FindAllString(err.Error(), -1) {
		if n, err := strconv.Atoi(digits); err == nil && n >= f.harness.MaxData && n != f.harness.MaxData+1 {
			return
		}
	}
	f.Errorf("%s: error is %q, want one that names the limit in bytes, such as %d", what, err, f.harness.MaxData)
}

// sized returns n bytes without repeating parts, the same ones each time.
func sized(n int) string {
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{}).Read(data)
	return string(data)
}

var copyTests = []test{
	{"nothing stored changes with the slice that was given", func(f *fixture) {
		data := []byte("content")
		r, err := f.store.Create(f.Context(), keystore.Record{Scope: mesh, Name: "key-1", Data: data})
		if err != nil {
			f.Fatal(err)
		}
		copy(data, "XXXXXXX")
		f.wantData(mesh, "key-1", "content")
		if string(r.Data) != "content" {
			f.Errorf("the record that Create returned changed with the slice that it was given: %q", r.Data)
		}

		data = []byte("updated")
		if r, err = f.store.Update(f.Context(), keystore.Record{Scope: mesh, Name: "key-1", Data: data, Version: r.Version}); err != nil {
			f.Fatal(err)
		}
		copy(data, "XXXXXXX")
		f.wantData(mesh, "key-1", "updated")
		if string(r.Data) != "updated" {
			f.Errorf("the record that Update returned changed with the slice that it was given: %q", r.Data)
		}
	}},
	{"nothing stored changes with a slice that was returned", func(f *fixture) {
		scribble := func(from string, data []byte) {
			for i := range data {
				data[i] = 'X'
			}
			_ = append(data, "XXXX"...)
			if got := string(f.get(mesh, "key-1").Data); got != "content" {
				f.Fatalf("the stored data is %q after what %s returned was changed, want %q", got, from, "content")
			}
		}
		r := f.create(mesh, "key-1", "content")
		version := r.Version
		scribble("Create", r.Data)
		scribble("Get", f.get(mesh, "key-1").Data)
		scribble("List", f.list(mesh, "")[0].Data)
		scribble("List of all scopes", f.list(keystore.AllScopes, "")[0].Data)
		r, err := f.store.Update(f.Context(), keystore.Record{Scope: mesh, Name: "key-1", Data: []byte("content"), Version: version})
		if err != nil {
			f.Fatal(err)
		}
		scribble("Update", r.Data)
	}},
	{"nothing returned changes with what is stored later", func(f *fixture) {
		f.create(mesh, "key-1", "content")
		got, listed := f.get(mesh, "key-1"), f.list(mesh, "")
		f.update(mesh, "key-1", "updated")
		if string(got.Data) != "content" || string(listed[0].Data) != "content" {
			f.Errorf("what was read before Update is now %q and %q, want %q", got.Data, listed[0].Data, "content")
		}
	}},
}

var contextTests = []test{
	{"every method returns the error of a context that had ended, and does nothing", func(f *fixture) {
		r := f.create(mesh, "key-1", "content")
		expired, cancel := context.WithTimeout(context.Background(), -time.Second)
		defer cancel()
		for _, ctx := range []context.Context{cancelled(), expired} {
			changed := r
			changed.Data = []byte("changed")
			for name, call := range map[string]func() error{
				"Get":             func() error { _, err := f.store.Get(ctx, mesh, "key-1"); return err },
				"Get of nothing":  func() error { _, err := f.store.Get(ctx, mesh, "key-2"); return err },
				"List":            func() error { _, err := f.store.List(ctx, mesh, ""); return err },
				"List of nothing": func() error { _, err := f.store.List(ctx, "never-used", ""); return err },
				"List of all":     func() error { _, err := f.store.List(ctx, keystore.AllScopes, ""); return err },
				"Create": func() error {
					_, err := f.store.Create(ctx, keystore.Record{Scope: mesh, Name: "key-2"})
					return err
				},
				"Update":            func() error { _, err := f.store.Update(ctx, changed); return err },
				"Delete":            func() error { return f.store.Delete(ctx, mesh, "key-1") },
				"Delete of nothing": func() error { return f.store.Delete(ctx, mesh, "key-2") },
			} {
				f.promptly(name, func() { f.wantError(name, call(), ctx.Err()) })
			}
		}
		f.wantSame("Get", f.get(mesh, "key-1"), r)
		f.wantList(keystore.AllScopes, "", "default/key-1")
	}},
	{"a context that ends in the middle leaves the old record or the new one, whole", func(f *fixture) {
		before, after := sized(requiredData), sized(requiredData-1)
		for i := range 20 {
			// Names of their own: an engine may still carry out what was given up.
			updated, created := fmt.Sprint("updated-", i), fmt.Sprint("created-", i)
			r := f.create(mesh, updated, before)
			r.Data = []byte(after)
			// Up to 130 ms, so that on a busy machine too some end in the middle.
			ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i*i*i*i)*time.Microsecond)
			var updateErr, createErr error
			f.promptly("Update", func() { _, updateErr = f.store.Update(ctx, r) })
			f.promptly("Create", func() {
				_, createErr = f.store.Create(ctx, keystore.Record{Scope: mesh, Name: created, Data: []byte(after)})
			})
			f.promptly("List", func() {
				if records, err := f.store.List(ctx, mesh, ""); err != nil {
					f.wantError("List", err, context.DeadlineExceeded)
				} else if len(records) == 0 {
					f.Error("List is empty, want the records or an error")
				}
			})
			cancel()

			got := string(f.get(mesh, updated).Data)
			if updateErr != nil {
				f.wantError("Update", updateErr, context.DeadlineExceeded)
			}
			if got != after && (updateErr == nil || got != before) {
				f.Errorf("after Update, with error %v, the data is %s", updateErr, digest(got))
			}
			r, err := f.store.Get(f.Context(), mesh, created)
			if createErr != nil {
				f.wantError("Create", createErr, context.DeadlineExceeded)
			}
			if createErr == nil && err != nil {
				f.Errorf("Create returned no error, but Get says %v", err)
			}
			if err == nil && string(r.Data) != after {
				f.Errorf("after Create, with error %v, the data is %s", createErr, digest(string(r.Data)))
			}
			f.delete(mesh, created)
			f.delete(mesh, updated)
		}
	}},
}

var readOnlyTests = []test{
	{"writes return ErrReadOnly and change nothing", func(f *fixture) {
		created := f.create(mesh, "key-1", "content")
		store := f.readOnly()
		_, err := store.Create(f.Context(), keystore.Record{Scope: mesh, Name: "key-2"})
		f.wantError("Create", err, keystore.ErrReadOnly)
		_, err = store.Create(f.Context(), keystore.Record{Scope: "never-used", Name: "key-3"})
		f.wantError("Create in a new scope", err, keystore.ErrReadOnly)
		r := created
		r.Data = []byte("changed")
		_, err = store.Update(f.Context(), r)
		f.wantError("Update", err, keystore.ErrReadOnly)
		f.wantError("Delete", store.Delete(f.Context(), mesh, "key-1"), keystore.ErrReadOnly)
		f.wantSame("Get", f.get(mesh, "key-1"), created)
		f.wantList(keystore.AllScopes, "", "default/key-1")
	}},
	{"reads see what others write", func(f *fixture) {
		store := f.readOnly()
		_, err := store.Get(f.Context(), mesh, "key-1")
		f.wantError("Get", err, keystore.ErrNotFound)
		created := f.create(mesh, "key-1", "content")
		r, err := store.Get(f.Context(), mesh, "key-1")
		if err != nil {
			f.Fatal(err)
		}
		f.wantSame("Get", r, created)
		for _, scope := range []keystore.Scope{mesh, keystore.AllScopes} {
			records, err := store.List(f.Context(), scope, "")
			if err != nil || len(records) != 1 {
				f.Fatalf("List(%q) = %v, %v, want one record", scope, records, err)
			}
			f.wantSame("List", records[0], created)
		}
	}},
	{"a watch sees what others write", func(f *fixture) {
		w := f.watch(f.readOnly())
		w.waitFor("the first announcement", 0, keystore.AllScopes)
		before := w.count()
		f.create(mesh, "key-1", "content")
		w.waitFor("the announcement of a change", before, mesh)
	}},
}

// readOnly returns the store as one that takes no writes, or skips the test.
func (f *fixture) readOnly() keystore.KeyStore {
	f.Helper()
	if f.storage.OpenReadOnly == nil {
		f.Skip("Storage.OpenReadOnly is nil")
	}
	return f.storage.OpenReadOnly(f.T)
}
