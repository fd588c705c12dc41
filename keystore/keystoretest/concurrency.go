package keystoretest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

// callers is how many callers do the same at once.
const callers = 32

var concurrencyTests = []test{
	{"one of many callers that create one name succeeds", func(f *fixture) {
		for round := range 5 {
			name := fmt.Sprint("key-", round)
			f.oneWins("Create", keystore.ErrExists, func(store keystore.KeyStore, data string) (keystore.Record, error) {
				return store.Create(f.Context(), keystore.Record{Scope: mesh, Name: name, Data: []byte(data)})
			})
		}
	}},
	{"one of many callers that update one version succeeds", func(f *fixture) {
		r := f.create(mesh, "key-1", "content")
		for range 5 {
			r = f.oneWins("Update", keystore.ErrConflict, func(store keystore.KeyStore, data string) (keystore.Record, error) {
				changed := r
				changed.Data = []byte(string(r.Data) + data)
				return store.Update(f.Context(), changed)
			})
		}
	}},
	{"many callers that increment one number lose no increment", func(f *fixture) {
		const each = 4
		f.create(mesh, "counter", "0")
		f.writers(callers/2, func(_ int, store keystore.KeyStore) {
			for range each {
				if err := increment(f.Context(), store, mesh, "counter"); err != nil {
					f.Error(err)
					return
				}
			}
		})
		f.wantData(mesh, "counter", strconv.Itoa(callers/2*each))
	}},
	{"many may delete at once", func(f *fixture) {
		f.create(mesh, "key-1", "content")
		f.writers(callers, func(_ int, store keystore.KeyStore) {
			if err := store.Delete(f.Context(), mesh, "key-1"); err != nil {
				f.Error(err)
			}
		})
		f.wantMissing(mesh, "key-1")
	}},
	{"writers of different records do not disturb each other", func(f *fixture) {
		f.writers(callers, func(i int, store keystore.KeyStore) {
			scope := keystore.Scope(fmt.Sprint("mesh-", i%4))
			r, err := store.Create(f.Context(), keystore.Record{Scope: scope, Name: fmt.Sprint("key-", i), Data: []byte("content")})
			if err == nil {
				r.Data = []byte("new content")
				_, err = store.Update(f.Context(), r)
			}
			if err != nil {
				f.Error(err)
			}
		})
		for i := range callers {
			f.wantData(keystore.Scope(fmt.Sprint("mesh-", i%4)), fmt.Sprint("key-", i), "new content")
		}
	}},
	{"a reader sees the old record or the new one, whole", func(f *fixture) {
		whole := func(i int) string { return strings.Repeat(string(rune('a'+i%26)), 1000+i%26*1000) }
		f.create(mesh, "key-1", whole(0))
		f.whileWriting(
			func(i int) error {
				r, err := f.store.Get(f.Context(), mesh, "key-1")
				if err != nil {
					return err
				}
				r.Data = []byte(whole(i))
				_, err = f.store.Update(f.Context(), r)
				return err
			},
			func(store keystore.KeyStore) error {
				r, err := store.Get(f.Context(), mesh, "key-1")
				if err != nil {
					return err
				}
				records, err := store.List(f.Context(), mesh, "")
				if err != nil {
					return err
				}
				for _, r := range append(records, r) {
					if len(r.Data) == 0 || string(r.Data) != whole(int(r.Data[0]-'a')) {
						return fmt.Errorf("the data is %s, want what one Update wrote", digest(string(r.Data)))
					}
				}
				return nil
			})
	}},
	{"a list is one moment among updates", func(f *fixture) { f.listIsOneMoment(listOf(mesh)) }},
	{"a list of all scopes is one moment of each, among updates", func(f *fixture) { f.listIsOneMoment(listOf(keystore.AllScopes)) }},
	{"a list is one moment among creations and deletions", func(f *fixture) { f.listMissesNothing(listOf(mesh)) }},
	{"a list of all scopes is one moment of each, among creations and deletions", func(f *fixture) { f.listMissesNothing(listOf(keystore.AllScopes)) }},
}

// oneWins lets many callers write at once, and returns the record of the one that
// succeeded.
func (f *fixture) oneWins(what string, loser error, write func(store keystore.KeyStore, data string) (keystore.Record, error)) keystore.Record {
	f.Helper()
	var mu sync.Mutex
	var winners []keystore.Record
	f.writers(callers, func(i int, store keystore.KeyStore) {
		data := fmt.Sprint("written by ", i)
		r, err := write(store, data)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			f.wantError(what+" by a caller that did not win", err, loser)
		} else {
			winners = append(winners, r)
		}
	})
	if len(winners) != 1 {
		f.Fatalf("%s succeeded for %d of %d callers, want 1", what, len(winners), callers)
	}
	f.wantSame("Get", f.get(mesh, winners[0].Name), winners[0])
	return winners[0]
}

// increment adds one to the number in a record by compare-and-swap.
func increment(ctx context.Context, store keystore.KeyStore, scope keystore.Scope, name string) error {
	for {
		r, err := store.Get(ctx, scope, name)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(string(r.Data))
		if err != nil {
			return err
		}
		r.Data = []byte(strconv.Itoa(n + 1))
		if _, err = store.Update(ctx, r); !errors.Is(err, keystore.ErrConflict) {
			return err
		}
	}
}

// whileWriting calls write with 1, 2, 3 and so on, and meanwhile read on several stores,
// until there were enough calls of both. It also goes on for some time, since a fast
// engine needs more calls for a rare coincidence.
func (f *fixture) whileWriting(write func(i int) error, read func(store keystore.KeyStore) error) {
	f.Helper()
	const readers, reads, writes = 2, 100, 20
	enough := time.Now().Add(200 * time.Millisecond)
	var wg sync.WaitGroup
	var written, finished atomic.Int64
	for range readers {
		store := f.another()
		wg.Go(func() {
			defer finished.Add(1)
			for i := 0; i < reads || written.Load() < writes || time.Now().Before(enough); i++ {
				if err := read(store); err != nil {
					f.Error(err)
					return
				}
			}
		})
	}
	for i := 1; i <= writes || finished.Load() < readers; i++ {
		if err := write(i); err != nil {
			f.Error(err)
			break
		}
		written.Add(1)
	}
	written.Store(writes) // also where a write failed
	wg.Wait()
}

// lister lists the records of the mesh, and no other scope has any.
type lister func(f *fixture, store keystore.KeyStore) ([]keystore.Record, error)

func listOf(scope keystore.Scope) lister {
	return func(f *fixture, store keystore.KeyStore) ([]keystore.Record, error) {
		return store.List(f.Context(), scope, "")
	}
}

// listIsOneMoment updates two records in turn. So at every moment the first has the
// number of the second, or one more.
func (f *fixture) listIsOneMoment(list lister) {
	f.Helper()
	leading := f.create(mesh, "a", "0")
	trailing := f.create(mesh, "z", "0")
	for i := range 8 {
		f.create(mesh, fmt.Sprint("between-", i), "content") // time for a list that is not one moment
	}
	update := func(r *keystore.Record, i int) (err error) {
		r.Data = []byte(strconv.Itoa(i))
		*r, err = f.store.Update(f.Context(), *r)
		return err
	}
	f.whileWriting(
		func(i int) error { return errors.Join(update(&leading, i), update(&trailing, i)) },
		func(store keystore.KeyStore) error {
			records, err := list(f, store)
			if err != nil {
				return err
			}
			if len(records) != 10 {
				return fmt.Errorf("the list has %d records, want 10", len(records))
			}
			a, errA := strconv.Atoi(string(records[0].Data))
			z, errZ := strconv.Atoi(string(records[9].Data))
			if errA != nil || errZ != nil || a < z || a > z+1 {
				return fmt.Errorf("the list has %q before %q, which was so at no moment", records[0].Data, records[9].Data)
			}
			return nil
		})
}

// listMissesNothing always creates the next record before it deletes the previous one,
// at the other end of the order. So at every moment there is one of them, or two with
// successive numbers.
func (f *fixture) listMissesNothing(list lister) {
	f.Helper()
	// From the front of the order to its back and to the front again.
	name := func(i int) string { return fmt.Sprintf("%c-%06d", "az"[i%2], i) }
	f.create(mesh, name(0), "content")
	for i := range 8 {
		f.create(mesh, fmt.Sprint("between-", i), "content")
	}
	f.whileWriting(
		func(i int) error {
			_, err := f.store.Create(f.Context(), keystore.Record{Scope: mesh, Name: name(i), Data: []byte("content")})
			if err != nil { // else a reader would rightly find neither
				return err
			}
			return f.store.Delete(f.Context(), mesh, name(i-1))
		},
		func(store keystore.KeyStore) error {
			records, err := list(f, store)
			if err != nil {
				return err
			}
			var numbers []int
			for _, r := range records {
				if !strings.HasPrefix(r.Name, "between-") {
					n, err := strconv.Atoi(r.Name[2:])
					if err != nil {
						return err
					}
					numbers = append(numbers, n)
				}
			}
			if len(records) != len(numbers)+8 {
				return fmt.Errorf("the list has %d of 8 records that never change", len(records)-len(numbers))
			}
			if len(numbers) == 1 || len(numbers) == 2 && (numbers[0]-numbers[1] == 1 || numbers[1]-numbers[0] == 1) {
				return nil
			}
			return fmt.Errorf("the list has the numbers %v, which was so at no moment", numbers)
		})
}
