package keystoretest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/keystoretest"
)

type (
	record = keystore.Record
	scope  = keystore.Scope
)

// broken is a memory store in which some methods have been replaced by bad ones.
type broken struct {
	*keystore.Memory
	get      func(ctx context.Context, s scope, name string) (record, error)
	list     func(ctx context.Context, s scope, prefix string) ([]record, error)
	scopes   func(ctx context.Context, list keystore.KeyStore, prefix string, begin func() keystore.EachScope) error
	create   func(ctx context.Context, r record) (record, error)
	update   func(ctx context.Context, r record) (record, error)
	delete   func(ctx context.Context, s scope, name string) error
	watch    func(ctx context.Context, changed func(scope)) error
	readOnly keystore.KeyStore
	takes    func(s scope, name string) bool // what the harness says of it

	// What becomes of a list some of whose records are spoilt, and of the error of a Get.
	unreadable func(readable []record, unreadable []*keystore.Error) ([]record, error)
	spoiltGet  error

	mu     sync.Mutex
	spoilt map[scope]map[string]bool
}

var errSpoilt = errors.New("no right to read it")

func (b *broken) spoil(_ *testing.T, s scope, name string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.spoilt == nil {
		b.spoilt = make(map[scope]map[string]bool)
	}
	if b.spoilt[s] == nil {
		b.spoilt[s] = make(map[string]bool)
	}
	b.spoilt[s][name] = true
}

func (b *broken) isSpoilt(s scope, name string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.spoilt[s][name]
}

func (b *broken) splitSpoilt(records []record, err error) ([]record, error) {
	if err != nil {
		return records, err
	}
	var readable []record
	var unreadable []*keystore.Error
	for _, r := range records {
		if b.isSpoilt(r.Scope, r.Name) {
			unreadable = append(unreadable, &keystore.Error{Op: "read", Scope: r.Scope, Name: r.Name, Err: errSpoilt})
		} else {
			readable = append(readable, r)
		}
	}
	switch {
	case len(unreadable) == 0:
		return records, nil
	case b.unreadable != nil:
		return b.unreadable(readable, unreadable)
	}
	return readable, keystore.Unreadable(unreadable)
}

func (b *broken) Get(ctx context.Context, s scope, name string) (record, error) {
	if b.get != nil {
		return b.get(ctx, s, name)
	}
	if b.isSpoilt(s, name) {
		if b.spoiltGet != nil {
			return record{}, b.spoiltGet
		}
		return record{}, keystore.Failed("get", s, name, keystore.CannotRead(errSpoilt))
	}
	return b.Memory.Get(ctx, s, name)
}

func (b *broken) List(ctx context.Context, s scope, prefix string) ([]record, error) {
	if b.list != nil {
		return b.list(ctx, s, prefix)
	}
	return b.splitSpoilt(b.Memory.List(ctx, s, prefix))
}

func (b *broken) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	list := struct{ keystore.KeyStore }{b}
	if b.scopes != nil {
		return b.scopes(ctx, list, prefix, begin)
	}
	return keystore.ListScopes(ctx, list, prefix, begin)
}

func (b *broken) Create(ctx context.Context, r record) (record, error) {
	if b.create != nil {
		return b.create(ctx, r)
	}
	return b.Memory.Create(ctx, r)
}

func (b *broken) Update(ctx context.Context, r record) (record, error) {
	if b.update != nil {
		return b.update(ctx, r)
	}
	return b.Memory.Update(ctx, r)
}

func (b *broken) Delete(ctx context.Context, s scope, name string) error {
	if b.delete != nil {
		return b.delete(ctx, s, name)
	}
	b.mu.Lock()
	delete(b.spoilt[s], name)
	b.mu.Unlock()
	return b.Memory.Delete(ctx, s, name)
}

func (b *broken) Watch(ctx context.Context, changed func(scope)) error {
	if b.watch != nil {
		return b.watch(ctx, changed)
	}
	return b.Memory.Watch(ctx, changed)
}

// replace puts the data of r in the place of whatever is there.
func replace(ctx context.Context, m *keystore.Memory, r record) (record, error) {
	for {
		current, err := m.Get(ctx, r.Scope, r.Name)
		if err != nil {
			return record{}, err
		}
		pause()
		current.Data = r.Data
		if current, err = m.Update(ctx, current); !errors.Is(err, keystore.ErrConflict) {
			return current, err
		}
	}
}

// pause takes as long as a real engine would, so that others get ahead.
func pause() {
	time.Sleep(50 * time.Microsecond)
}

// absent is the test of names that an engine cannot hold.
const absent = "Names/names_that_the_engine_cannot_hold_are_absent,_and_refused_by_Create_and_Update"

var errBroken = errors.New("broken")

// brokenStore is a way to get the contract wrong: what the store does, and the
// subtests of Run that must fail for it.
type brokenStore struct {
	does  string
	fails []string
	make  func(m *keystore.Memory) *broken
}

// changedParts is a store whose ListScopes gives something else for each scope.
func changedParts(change func(each keystore.EachScope, s scope, records []record, unreadable []*keystore.Error) error) func(m *keystore.Memory) *broken {
	return func(m *keystore.Memory) *broken {
		return &broken{Memory: m, scopes: func(ctx context.Context, list keystore.KeyStore, prefix string, begin func() keystore.EachScope) error {
			return keystore.ListScopes(ctx, list, prefix, func() keystore.EachScope {
				each := begin()
				return func(s scope, records []record, unreadable []*keystore.Error) error {
					return change(each, s, records, unreadable)
				}
			})
		}}
	}
}

var brokenStores = []brokenStore{
	{
		"leaves a scope out of ListScopes",
		[]string{"ListScopes/gives_each_scope_as_List_of_the_scope_returns_it"},
		changedParts(func(each keystore.EachScope, s scope, records []record, unreadable []*keystore.Error) error {
			if s == keystore.Global {
				return nil
			}
			return each(s, records, unreadable)
		}),
	},
	{
		"gives one scope in two parts",
		[]string{"ListScopes/gives_many_scopes,_and_one_with_many_records", "ListScopes/gives_each_scope_as_List_of_the_scope_returns_it"},
		changedParts(func(each keystore.EachScope, s scope, records []record, unreadable []*keystore.Error) error {
			if len(records) < 2 {
				return each(s, records, unreadable)
			}
			return errors.Join(each(s, records[:1], nil), each(s, records[1:], unreadable))
		}),
	},
	{
		"leaves the unreadable records out of ListScopes",
		[]string{"ListScopes/gives_the_records_that_it_can_read,_and_names_the_others"},
		changedParts(func(each keystore.EachScope, s scope, records []record, _ []*keystore.Error) error {
			return each(s, records, nil)
		}),
	},
	{
		"gives records in the order of their creation",
		[]string{"ListScopes/gives_each_scope_as_List_of_the_scope_returns_it"},
		changedParts(func(each keystore.EachScope, s scope, records []record, unreadable []*keystore.Error) error {
			slices.SortFunc(records, func(a, b record) int { return a.Created.Compare(b.Created) })
			return each(s, records, unreadable)
		}),
	},
	{
		"goes on after the error of an EachScope",
		[]string{"ListScopes/returns_the_error_of_an_EachScope,_and_calls_it_no_more"},
		changedParts(func(each keystore.EachScope, s scope, records []record, unreadable []*keystore.Error) error {
			_ = each(s, records, unreadable)
			return nil
		}),
	},
	{
		"gives in ListScopes every name",
		[]string{"ListScopes/gives_the_names_that_begin_with_the_prefix,_and_no_scope_without_one"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, scopes: func(ctx context.Context, list keystore.KeyStore, _ string, begin func() keystore.EachScope) error {
				return keystore.ListScopes(ctx, list, "", begin)
			}}
		},
	},
	{
		"does not look at the context of ListScopes",
		[]string{"ListScopes/returns_promptly_with_the_error_of_a_context_that_has_ended"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, scopes: func(_ context.Context, list keystore.KeyStore, prefix string, begin func() keystore.EachScope) error {
				return keystore.ListScopes(context.Background(), list, prefix, begin)
			}}
		},
	},
	{
		"reads a scope in two parts for ListScopes",
		[]string{"ListScopes/gives_each_scope_as_it_was_at_one_moment"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, scopes: func(ctx context.Context, list keystore.KeyStore, prefix string, begin func() keystore.EachScope) error {
				before, err := m.List(ctx, keystore.AllScopes, prefix)
				if err != nil {
					return err
				}
				pause()
				after, err := m.List(ctx, keystore.AllScopes, prefix)
				if err != nil || len(after) != len(before) || len(before) == 0 {
					return err
				}
				return begin()(before[0].Scope, append(before[:len(before)/2:len(before)/2], after[len(before)/2:]...), nil)
			}}
		},
	},
	{
		"fails a list because of one record",
		[]string{"Unreadable/List_returns_the_records_that_it_can_read,_and_names_the_others"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, unreadable: func(_ []record, unreadable []*keystore.Error) ([]record, error) {
				return nil, unreadable[0]
			}}
		},
	},
	{
		"leaves unreadable records out of a list without a word",
		[]string{"Unreadable/List_returns_the_records_that_it_can_read,_and_names_the_others"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, unreadable: func(readable []record, _ []*keystore.Error) ([]record, error) {
				return readable, nil
			}}
		},
	},
	{
		"names one unreadable record of several",
		[]string{"Unreadable/List_returns_the_records_that_it_can_read,_and_names_the_others"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, unreadable: func(readable []record, unreadable []*keystore.Error) ([]record, error) {
				return readable, keystore.Unreadable(unreadable[:1])
			}}
		},
	},
	{
		"denies that a record exists which it cannot read",
		[]string{"Unreadable/Get_says_why_it_cannot_read_the_record"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, spoiltGet: keystore.Failed("get", "some-mesh", "some-name", keystore.ErrNotFound)}
		},
	},
	{
		"replaces a record that it cannot read",
		[]string{"Unreadable/Create_does_not_replace_the_record"},
		func(m *keystore.Memory) *broken {
			b := &broken{Memory: m}
			b.create = func(ctx context.Context, r record) (record, error) {
				if b.isSpoilt(r.Scope, r.Name) {
					_ = m.Delete(ctx, r.Scope, r.Name)
				}
				return m.Create(ctx, r)
			}
			return b
		},
	},
	{
		"keeps a record that it cannot read",
		[]string{"Unreadable/Delete_removes_the_record"},
		func(m *keystore.Memory) *broken {
			b := &broken{Memory: m}
			b.delete = func(ctx context.Context, s scope, name string) error {
				if b.isSpoilt(s, name) {
					return keystore.Failed("delete", s, name, errSpoilt)
				}
				return m.Delete(ctx, s, name)
			}
			return b
		},
	},
	{
		"loses an update between the check of the version and the write",
		[]string{"Concurrency/one_of_many_callers_that_update_one_version_succeeds", "Concurrency/many_callers_that_increment_one_number_lose_no_increment"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, update: func(ctx context.Context, r record) (record, error) {
				if err := keystore.CheckRecord(r, maxData); err != nil {
					return record{}, err
				}
				current, err := m.Get(ctx, r.Scope, r.Name)
				if err != nil {
					return record{}, err
				}
				if current.Version != r.Version {
					return record{}, fmt.Errorf("%w: %s/%s", keystore.ErrConflict, r.Scope, r.Name)
				}
				pause()
				return replace(ctx, m, r)
			}}
		},
	},
	{
		"updates whatever the version",
		[]string{"Update/says_ErrConflict_unless_the_version_is_the_current_one,_and_changes_nothing", "Concurrency/many_callers_that_increment_one_number_lose_no_increment"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, update: func(ctx context.Context, r record) (record, error) { return replace(ctx, m, r) }}
		},
	},
	{
		"lets two create one record",
		[]string{"Concurrency/one_of_many_callers_that_create_one_name_succeeds"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, create: func(ctx context.Context, r record) (record, error) {
				if _, err := m.Get(ctx, r.Scope, r.Name); !errors.Is(err, keystore.ErrNotFound) {
					return m.Create(ctx, r)
				}
				pause()
				created, err := m.Create(ctx, r)
				if errors.Is(err, keystore.ErrExists) {
					return replace(ctx, m, r)
				}
				return created, err
			}}
		},
	},
	{
		"creates what is there already anew",
		[]string{"Create/says_ErrExists_for_a_record_that_is_there,_and_leaves_it_as_it_is"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, create: func(ctx context.Context, r record) (record, error) {
				created, err := m.Create(ctx, r)
				if errors.Is(err, keystore.ErrExists) {
					return replace(ctx, m, r)
				}
				return created, err
			}}
		},
	},
	{
		"drops the last of several changes",
		[]string{"Watch/never_drops_the_last_of_many_changes"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, watch: func(ctx context.Context, changed func(scope)) error {
				var last time.Time
				return m.Watch(ctx, func(s scope) {
					if time.Since(last) > 5*time.Millisecond { // a limit on the rate that forgets what it holds back
						last = time.Now()
						changed(s)
					}
				})
			}}
		},
	},
	{
		"announces a change before it can be seen",
		[]string{"Watch/shows_what_was_written_to_a_reader_that_reads_after_each_call"},
		func(m *keystore.Memory) *broken {
			var mu sync.Mutex
			var watchers []func(scope)
			return &broken{
				Memory: m,
				watch: func(ctx context.Context, changed func(scope)) error {
					mu.Lock()
					changed(keystore.AllScopes)
					watchers = append(watchers, func(s scope) {
						if ctx.Err() == nil {
							changed(s)
						}
					})
					mu.Unlock()
					<-ctx.Done()
					mu.Lock() // no call after Watch has returned
					defer mu.Unlock()
					return ctx.Err()
				},
				update: func(ctx context.Context, r record) (record, error) {
					mu.Lock()
					for _, changed := range watchers {
						changed(r.Scope)
					}
					mu.Unlock()
					time.Sleep(5 * time.Millisecond) // as long as a commit may take
					return m.Update(ctx, r)
				},
			}
		},
	},
	{
		"begins a watch in silence",
		[]string{"Watch/announces_all_scopes_when_it_begins"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, watch: func(ctx context.Context, changed func(scope)) error {
				return m.Watch(ctx, func(s scope) {
					if s != keystore.AllScopes {
						changed(s)
					}
				})
			}}
		},
	},
	{
		"does not announce deletions",
		[]string{"Watch/announces_what_is_created,_updated_and_deleted"},
		func(m *keystore.Memory) *broken {
			var deleting sync.Map
			return &broken{
				Memory: m,
				delete: func(ctx context.Context, s scope, name string) error {
					deleting.Store(s, true)
					return m.Delete(ctx, s, name)
				},
				watch: func(ctx context.Context, changed func(scope)) error {
					return m.Watch(ctx, func(s scope) {
						if _, ok := deleting.Load(s); !ok {
							changed(s)
						}
					})
				},
			}
		},
	},
	{
		"announces changes after its watch has ended",
		[]string{"Watch/makes_no_call_after_it_has_returned"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, watch: func(ctx context.Context, changed func(scope)) error {
				go m.Watch(context.Background(), changed)
				<-ctx.Done()
				return ctx.Err()
			}}
		},
	},
	{
		"announces several changes at once",
		[]string{"Watch/makes_one_call_at_a_time"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, watch: func(ctx context.Context, changed func(scope)) error {
				var calls sync.WaitGroup
				defer calls.Wait()
				first := true
				return m.Watch(ctx, func(s scope) {
					if first {
						first = false
						changed(s)
						return
					}
					for range 4 {
						calls.Go(func() { changed(s) })
					}
				})
			}}
		},
	},
	{
		"allows one watch only",
		[]string{"Watch/may_run_several_times_at_once"},
		func(m *keystore.Memory) *broken {
			var one sync.Mutex
			return &broken{Memory: m, watch: func(ctx context.Context, changed func(scope)) error {
				if !one.TryLock() {
					return errBroken
				}
				defer one.Unlock()
				return m.Watch(ctx, changed)
			}}
		},
	},
	{
		"ends a watch without the error of its context",
		[]string{"Watch/returns_when_its_context_ends,_with_its_error"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, watch: func(ctx context.Context, changed func(scope)) error {
				m.Watch(ctx, changed)
				return nil
			}}
		},
	},
	{
		"keeps the slice that it was given",
		[]string{"Copies/nothing_stored_changes_with_the_slice_that_was_given"},
		func(m *keystore.Memory) *broken {
			var mu sync.Mutex
			given := map[string][]byte{}
			keep := func(r, stored record, err error) (record, error) {
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					given[string(stored.Scope)+"/"+stored.Name+"/"+stored.Version] = r.Data
				}
				return stored, err
			}
			return &broken{
				Memory: m,
				create: func(ctx context.Context, r record) (record, error) {
					stored, err := m.Create(ctx, r)
					return keep(r, stored, err)
				},
				update: func(ctx context.Context, r record) (record, error) {
					stored, err := m.Update(ctx, r)
					return keep(r, stored, err)
				},
				get: func(ctx context.Context, s scope, name string) (record, error) {
					r, err := m.Get(ctx, s, name)
					mu.Lock()
					defer mu.Unlock()
					r.Data = bytes.Clone(given[string(r.Scope)+"/"+r.Name+"/"+r.Version])
					return r, err
				},
			}
		},
	},
	{
		"answers with the slice that it was given",
		[]string{"Copies/nothing_stored_changes_with_the_slice_that_was_given"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, create: func(ctx context.Context, r record) (record, error) {
				stored, err := m.Create(ctx, r)
				stored.Data = r.Data
				return stored, err
			}}
		},
	},
	{
		"hands out its own slice",
		[]string{"Copies/nothing_stored_changes_with_a_slice_that_was_returned"},
		func(m *keystore.Memory) *broken {
			var mu sync.Mutex
			shared := map[string][]byte{}
			return &broken{Memory: m, get: func(ctx context.Context, s scope, name string) (record, error) {
				r, err := m.Get(ctx, s, name)
				mu.Lock()
				defer mu.Unlock()
				key := string(r.Scope) + "/" + r.Name + "/" + r.Version
				if shared[key] == nil {
					shared[key] = r.Data
				}
				r.Data = shared[key]
				return r, err
			}}
		},
	},
	{
		"lists its own slices",
		[]string{"Copies/nothing_stored_changes_with_a_slice_that_was_returned"},
		func(m *keystore.Memory) *broken {
			var mu sync.Mutex
			shared := map[string][]byte{}
			share := func(r *record) {
				mu.Lock()
				defer mu.Unlock()
				key := string(r.Scope) + "/" + r.Name + "/" + r.Version
				if shared[key] == nil {
					shared[key] = r.Data
				}
				r.Data = shared[key]
			}
			return &broken{
				Memory: m,
				get: func(ctx context.Context, s scope, name string) (record, error) {
					r, err := m.Get(ctx, s, name)
					share(&r)
					r.Data = bytes.Clone(r.Data)
					return r, err
				},
				list: func(ctx context.Context, s scope, prefix string) ([]record, error) {
					records, err := m.List(ctx, s, prefix)
					for i := range records {
						share(&records[i])
					}
					return records, err
				},
			}
		},
	},
	{
		"reads past a cancelled context",
		[]string{"Contexts/every_method_returns_the_error_of_a_context_that_had_ended,_and_does_nothing"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, get: func(ctx context.Context, s scope, name string) (record, error) {
				return m.Get(context.WithoutCancel(ctx), s, name)
			}}
		},
	},
	{
		"writes past a cancelled context",
		[]string{"Contexts/every_method_returns_the_error_of_a_context_that_had_ended,_and_does_nothing"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, update: func(ctx context.Context, r record) (record, error) {
				stored, err := m.Update(context.WithoutCancel(ctx), r)
				if ctx.Err() != nil {
					return record{}, ctx.Err()
				}
				return stored, err
			}}
		},
	},
	{
		"tells an ended context by an error of its own",
		[]string{"Contexts/every_method_returns_the_error_of_a_context_that_had_ended,_and_does_nothing"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, list: func(ctx context.Context, s scope, prefix string) ([]record, error) {
				if ctx.Err() != nil {
					return nil, errBroken
				}
				return m.List(ctx, s, prefix)
			}}
		},
	},
	{
		"writes half of the data when its context ends",
		[]string{"Contexts/a_context_that_ends_in_the_middle_leaves_the_old_record_or_the_new_one,_whole"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, update: func(ctx context.Context, r record) (record, error) {
				if deadline, ok := ctx.Deadline(); ok && ctx.Err() == nil && time.Until(deadline) < time.Second {
					r.Data = r.Data[:len(r.Data)/2]
					_, err := m.Update(ctx, r)
					return record{}, errors.Join(err, context.DeadlineExceeded)
				}
				return m.Update(ctx, r)
			}}
		},
	},
	{
		"lists in no order",
		[]string{"List/sorts_by_name,_bytewise"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, list: func(ctx context.Context, s scope, prefix string) ([]record, error) {
				records, err := m.List(ctx, s, prefix)
				rand.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
				return records, err
			}}
		},
	},
	{
		"lists in the order of a dictionary",
		[]string{"List/sorts_by_name,_bytewise"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, list: func(ctx context.Context, s scope, prefix string) ([]record, error) {
				records, err := m.List(ctx, s, prefix)
				slices.SortStableFunc(records, func(a, b record) int {
					return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
				})
				return records, err
			}}
		},
	},
	{
		"lists only a part",
		[]string{"List/returns_every_record_as_Get_does", "List/returns_the_names_that_begin_with_the_prefix_and_no_others"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, list: func(ctx context.Context, s scope, prefix string) ([]record, error) {
				records, err := m.List(ctx, s, prefix)
				return records[:min(2, len(records))], err
			}}
		},
	},
	{
		"lists records of other scopes",
		[]string{"List/returns_the_records_of_its_scope_and_of_no_other"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, list: func(ctx context.Context, s scope, prefix string) ([]record, error) {
				if _, err := m.List(ctx, s, prefix); err != nil || s == keystore.Global {
					return m.List(ctx, s, prefix)
				}
				all, err := m.List(ctx, keystore.AllScopes, prefix)
				return slices.DeleteFunc(all, func(r record) bool { return s != keystore.AllScopes && !strings.HasPrefix(string(r.Scope), string(s)) }), err
			}}
		},
	},
	{
		"takes the prefix for a pattern",
		[]string{"List/takes_every_character_of_the_prefix_literally"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, list: func(ctx context.Context, s scope, prefix string) ([]record, error) {
				all, err := m.List(ctx, s, "")
				pattern := strings.NewReplacer("_", ".", "%", ".*").Replace(regexp.QuoteMeta(prefix)) // as LIKE does in SQL
				return slices.DeleteFunc(all, func(r record) bool {
					matches, err := regexp.MatchString("^"+pattern, r.Name)
					return err != nil || !matches
				}), err
			}}
		},
	},
	{
		"lists all scopes but the global one",
		[]string{"List/returns_every_scope_with_AllScopes,_the_global_one_included,_sorted_by_scope_and_then_name"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, list: func(ctx context.Context, s scope, prefix string) ([]record, error) {
				records, err := m.List(ctx, s, prefix)
				return slices.DeleteFunc(records, func(r record) bool { return s == keystore.AllScopes && r.Scope == keystore.Global }), err
			}}
		},
	},
	{
		"reads the records of a list one after the other",
		[]string{"Concurrency/a_list_is_one_moment_among_updates"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, list: func(ctx context.Context, s scope, prefix string) ([]record, error) {
				names, err := m.List(ctx, s, prefix)
				var records []record
				for _, r := range names {
					pause()
					if r, err := m.Get(ctx, r.Scope, r.Name); err == nil {
						records = append(records, r)
					}
				}
				return records, err
			}}
		},
	},
	{
		"reads a list in pages",
		[]string{"Concurrency/a_list_is_one_moment_among_creations_and_deletions"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, list: func(ctx context.Context, s scope, prefix string) ([]record, error) {
				first, err := m.List(ctx, s, prefix)
				if err != nil || len(first) < 4 {
					return first, err
				}
				first = first[:4]
				pause()
				rest, err := m.List(ctx, s, prefix)
				last := first[3]
				return append(first, slices.DeleteFunc(rest, func(r record) bool {
					return r.Scope < last.Scope || r.Scope == last.Scope && r.Name <= last.Name
				})...), err
			}}
		},
	},
	{
		"writes a record in pieces",
		[]string{"Concurrency/a_reader_sees_the_old_record_or_the_new_one,_whole"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, update: func(ctx context.Context, r record) (record, error) {
				half := r
				half.Data = r.Data[:len(r.Data)/2]
				half, err := m.Update(ctx, half)
				if err != nil {
					return record{}, err
				}
				pause()
				half.Data = r.Data
				return m.Update(ctx, half)
			}}
		},
	},
	{
		"takes an update for a new creation",
		[]string{"Update/keeps_the_time_of_creation,_whatever_is_given"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, update: func(ctx context.Context, r record) (record, error) {
				stored, err := m.Update(ctx, r)
				stored.Created = time.Now()
				return stored, err
			}}
		},
	},
	{
		"says ErrNotFound where an update conflicts",
		[]string{"Update/says_ErrConflict_unless_the_version_is_the_current_one,_and_changes_nothing"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, update: func(ctx context.Context, r record) (record, error) {
				stored, err := m.Update(ctx, r)
				if errors.Is(err, keystore.ErrConflict) {
					err = fmt.Errorf("%w: %s/%s", keystore.ErrNotFound, r.Scope, r.Name)
				}
				return stored, err
			}}
		},
	},
	{
		"creates what it is to update",
		[]string{"Update/says_ErrNotFound_for_a_record_that_is_not_there,_and_creates_none", "Update/says_ErrNotFound_after_Delete"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, update: func(ctx context.Context, r record) (record, error) {
				stored, err := m.Update(ctx, r)
				if errors.Is(err, keystore.ErrNotFound) {
					return m.Create(ctx, r)
				}
				return stored, err
			}}
		},
	},
	{
		"gives every update the same version",
		[]string{"Update/replaces_the_data_and_returns_the_record_with_its_new_version"},
		func(m *keystore.Memory) *broken {
			return &broken{
				Memory: m,
				create: func(ctx context.Context, r record) (record, error) {
					stored, err := m.Create(ctx, r)
					stored.Version = "1"
					return stored, err
				},
				get: func(ctx context.Context, s scope, name string) (record, error) {
					stored, err := m.Get(ctx, s, name)
					stored.Version = "1"
					return stored, err
				},
				update: func(ctx context.Context, r record) (record, error) {
					if r.Version != "1" {
						return record{}, fmt.Errorf("%w: %s/%s", keystore.ErrConflict, r.Scope, r.Name)
					}
					stored, err := replace(ctx, m, r)
					stored.Version = "1"
					return stored, err
				},
			}
		},
	},
	{
		"cannot delete what is not there",
		[]string{"Delete/is_no_error_for_a_record_that_is_not_there"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, delete: func(ctx context.Context, s scope, name string) error {
				if _, err := m.Get(ctx, s, name); err != nil {
					return err
				}
				return m.Delete(ctx, s, name)
			}}
		},
	},
	{
		"deletes whatever begins with the name",
		[]string{"Delete/leaves_every_other_record"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, delete: func(ctx context.Context, s scope, name string) error {
				err := m.Delete(ctx, s, name)
				if err == nil {
					records, _ := m.List(ctx, s, name)
					for _, r := range records {
						err = errors.Join(err, m.Delete(ctx, s, r.Name))
					}
				}
				return err
			}}
		},
	},
	{
		"answers for a missing record with an empty one",
		[]string{"Get/says_ErrNotFound_for_a_record_that_is_not_there"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, get: func(ctx context.Context, s scope, name string) (record, error) {
				r, err := m.Get(ctx, s, name)
				if errors.Is(err, keystore.ErrNotFound) {
					return record{Scope: s, Name: name}, nil
				}
				return r, err
			}}
		},
	},
	{
		"puts data into errors",
		[]string{"Create/names_in_its_error_what_was_asked_for_and_no_data"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, create: func(ctx context.Context, r record) (record, error) {
				stored, err := m.Create(ctx, r)
				if err != nil {
					err = fmt.Errorf("cannot create %s/%s with %q: %w", r.Scope, r.Name, r.Data, err)
				}
				return stored, err
			}}
		},
	},
	{
		"does not say what was not found",
		[]string{"Get/names_in_its_error_what_was_asked_for"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, get: func(ctx context.Context, s scope, name string) (record, error) {
				r, err := m.Get(ctx, s, name)
				if errors.Is(err, keystore.ErrNotFound) {
					err = keystore.ErrNotFound
				}
				return r, err
			}}
		},
	},
	{
		"does not tell names apart that differ in case",
		[]string{"Names/names_that_CheckName_accepts_are_kept_apart"},
		func(m *keystore.Memory) *broken {
			return &broken{
				Memory: m,
				create: func(ctx context.Context, r record) (record, error) {
					r.Name = strings.ToLower(r.Name)
					return m.Create(ctx, r)
				},
				get: func(ctx context.Context, s scope, name string) (record, error) {
					return m.Get(ctx, s, strings.ToLower(name))
				},
			}
		},
	},
	{
		"lets names escape",
		[]string{"Names/every_method_returns_ErrName_for_a_name_that_CheckName_refuses", "Names/every_method_returns_ErrName_for_a_scope_that_CheckScope_refuses"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, get: func(ctx context.Context, s scope, name string) (record, error) {
				r, err := m.Get(ctx, s, name)
				if errors.Is(err, keystore.ErrName) {
					err = keystore.ErrNotFound
				}
				return r, err
			}}
		},
	},
	{
		"has no scopes",
		[]string{"Scopes/keep_records_of_one_name_apart", "Names/scopes_that_CheckScope_accepts_are_kept_apart"},
		func(m *keystore.Memory) *broken {
			return &broken{
				Memory: m,
				create: func(ctx context.Context, r record) (record, error) {
					if err := keystore.CheckScope(r.Scope); err != nil {
						return record{}, err
					}
					r.Scope = keystore.Global
					return m.Create(ctx, r)
				},
			}
		},
	},
	{
		"takes names though it says that it does not",
		[]string{absent},
		func(m *keystore.Memory) *broken { return &broken{Memory: m, takes: isLowerCase} },
	},
	{
		"loses records whose names it says it does not take",
		[]string{absent},
		func(m *keystore.Memory) *broken {
			b := takingLowerCase(m)
			create := b.create
			b.create = func(ctx context.Context, r record) (record, error) {
				if !isLowerCase(r.Scope, r.Name) {
					return r, nil
				}
				return create(ctx, r)
			}
			return b
		},
	},
	{
		"refuses Get of names that it does not take",
		[]string{absent},
		func(m *keystore.Memory) *broken {
			b := takingLowerCase(m)
			b.get = func(ctx context.Context, s scope, name string) (record, error) {
				if err := checkLowerCase(s, name); err != nil {
					return record{}, err
				}
				return m.Get(ctx, s, name)
			}
			return b
		},
	},
	{
		"refuses List of scopes that it does not take",
		[]string{absent},
		func(m *keystore.Memory) *broken {
			b := takingLowerCase(m)
			b.list = func(ctx context.Context, s scope, prefix string) ([]record, error) {
				if err := checkLowerCase(s, ""); err != nil {
					return nil, err
				}
				return m.List(ctx, s, prefix)
			}
			return b
		},
	},
	{
		"refuses Delete of names that it does not take",
		[]string{absent},
		func(m *keystore.Memory) *broken {
			b := takingLowerCase(m)
			b.delete = func(ctx context.Context, s scope, name string) error {
				if err := checkLowerCase(s, name); err != nil {
					return err
				}
				return m.Delete(ctx, s, name)
			}
			return b
		},
	},
	{
		"does not find names that it does not take when it updates",
		[]string{absent},
		func(m *keystore.Memory) *broken {
			b := takingLowerCase(m)
			b.update = nil
			return b
		},
	},
	{
		"refuses names and does not say so",
		[]string{"Names/names_that_CheckName_accepts_are_kept_apart", "Names/scopes_that_CheckScope_accepts_are_kept_apart"},
		func(m *keystore.Memory) *broken {
			b := takingLowerCase(m)
			b.takes = nil
			return b
		},
	},
	{
		"takes a little too much",
		[]string{"Sizes/says_ErrTooLarge_for_one_byte_more,_names_the_limit,_and_stores_nothing"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, create: func(ctx context.Context, r record) (record, error) {
				if len(r.Data) == maxData+1 {
					r.Data = r.Data[:maxData]
				}
				return m.Create(ctx, r)
			}}
		},
	},
	{
		"does not say how much it takes",
		[]string{"Sizes/says_ErrTooLarge_for_one_byte_more,_names_the_limit,_and_stores_nothing"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, update: func(ctx context.Context, r record) (record, error) {
				if len(r.Data) > maxData {
					return record{}, fmt.Errorf("%w: %q in scope %q has %d bytes", keystore.ErrTooLarge, r.Name, r.Scope, len(r.Data))
				}
				return m.Update(ctx, r)
			}}
		},
	},
	{
		"takes a little less than it says",
		[]string{"Sizes/takes_as_much_as_the_harness_says"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, update: func(ctx context.Context, r record) (record, error) {
				if err := keystore.CheckRecord(r, maxData-1); err != nil {
					return record{}, err
				}
				return m.Update(ctx, r)
			}}
		},
	},
	{
		"trims white space",
		[]string{"Create/stores_every_byte_as_it_is"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, create: func(ctx context.Context, r record) (record, error) {
				r.Data = bytes.TrimSpace(r.Data)
				return m.Create(ctx, r)
			}}
		},
	},
	{
		"keeps text only",
		[]string{"Create/stores_every_byte_as_it_is", "Update/gives_a_version_that_the_next_Update_takes"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, get: func(ctx context.Context, s scope, name string) (record, error) {
				r, err := m.Get(ctx, s, name)
				r.Data = bytes.ToValidUTF8(r.Data, []byte("\ufffd"))
				return r, err
			}}
		},
	},
	{
		"takes no empty data",
		[]string{"Create/stores_empty_data_like_any_other"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, create: func(ctx context.Context, r record) (record, error) {
				if len(r.Data) == 0 {
					return record{}, errBroken
				}
				return m.Create(ctx, r)
			}}
		},
	},
	{
		"creates records without a time",
		[]string{"Create/returns_the_record_with_its_version_and_its_time_of_creation"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, create: func(ctx context.Context, r record) (record, error) {
				stored, err := m.Create(ctx, r)
				stored.Created = time.Time{}
				return stored, err
			}}
		},
	},
	{
		"is silent about writes that it cannot do",
		[]string{"ReadOnly/writes_return_ErrReadOnly_and_change_nothing"},
		func(m *keystore.Memory) *broken {
			return &broken{Memory: m, readOnly: &broken{
				Memory: m,
				create: func(ctx context.Context, r record) (record, error) { return r, nil },
				update: func(ctx context.Context, r record) (record, error) { return r, nil },
				delete: func(ctx context.Context, s scope, name string) error { return nil },
			}}
		},
	},
}

const maxData = 1 << 20 // as the harness here says; the memory store takes more

// limited is the memory store with the limit of the harness.
func limited(b *broken) *broken {
	m := b.Memory
	if b.create == nil {
		b.create = func(ctx context.Context, r record) (record, error) {
			if ctx.Err() == nil {
				if err := keystore.CheckRecord(r, maxData); err != nil {
					return record{}, err
				}
			}
			return m.Create(ctx, r)
		}
	}
	if b.update == nil {
		b.update = func(ctx context.Context, r record) (record, error) {
			if ctx.Err() == nil {
				if err := keystore.CheckRecord(r, maxData); err != nil {
					return record{}, err
				}
			}
			return m.Update(ctx, r)
		}
	}
	return b
}

func isLowerCase(s scope, name string) bool {
	return !strings.ContainsAny(string(s)+name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
}

// checkLowerCase returns the error of a name that takingLowerCase cannot hold.
func checkLowerCase(s scope, name string) error {
	if isLowerCase(s, name) {
		return nil
	}
	return fmt.Errorf("%w: %q in scope %q has capitals", keystore.ErrName, name, s)
}

// takingLowerCase is a store whose engine holds no other names.
func takingLowerCase(m *keystore.Memory) *broken {
	b := limited(&broken{Memory: m, takes: isLowerCase})
	create, update := b.create, b.update
	b.create = func(ctx context.Context, r record) (record, error) {
		if err := checkLowerCase(r.Scope, r.Name); err != nil && ctx.Err() == nil {
			return record{}, err
		}
		return create(ctx, r)
	}
	b.update = func(ctx context.Context, r record) (record, error) {
		if err := checkLowerCase(r.Scope, r.Name); err != nil && ctx.Err() == nil {
			return record{}, err
		}
		return update(ctx, r)
	}
	return b
}

// readOnly is a store that takes no writes.
func readOnly(m *keystore.Memory) *broken {
	return &broken{
		Memory: m,
		create: func(context.Context, record) (record, error) { return record{}, keystore.ErrReadOnly },
		update: func(context.Context, record) (record, error) { return record{}, keystore.ErrReadOnly },
		delete: func(context.Context, scope, string) error { return keystore.ErrReadOnly },
	}
}

func harness(wrap func(m *keystore.Memory) *broken) keystoretest.Harness {
	return keystoretest.Harness{
		New: func(*testing.T) keystoretest.Storage {
			m := keystore.NewMemory()
			store := limited(wrap(m))
			if store.readOnly == nil {
				store.readOnly = readOnly(m)
			}
			return keystoretest.Storage{
				Open:         func(*testing.T) keystore.KeyStore { return store },
				OpenReadOnly: func(*testing.T) keystore.KeyStore { return store.readOnly },
				Spoil:        store.spoil,
			}
		},
		MaxData: maxData,
		Takes:   wrap(keystore.NewMemory()).takes,
	}
}

func TestRunPassesAStoreThatKeepsTheContract(t *testing.T) {
	keystoretest.Run(t, harness(func(m *keystore.Memory) *broken { return &broken{Memory: m} }))
}

func TestRunPassesAStoreThatTakesFewerNamesAndSaysSo(t *testing.T) {
	keystoretest.Run(t, harness(takingLowerCase))
}

// whichBroken names, to the process that runs the suite for one, a broken store.
const whichBroken = "KEYSTORETEST_BROKEN_STORE"

// TestBrokenStore is run in processes of its own, where it has to fail.
func TestBrokenStore(t *testing.T) {
	does := os.Getenv(whichBroken)
	if does == "" {
		t.Skip("run by TestRunFailsAStoreThat")
	}
	keystoretest.SetPatience(3 * time.Second)
	for _, b := range brokenStores {
		if b.does == does {
			keystoretest.Run(t, harness(b.make))
		}
	}
}

func TestRunFailsAStoreThat(t *testing.T) {
	for _, b := range brokenStores {
		t.Run(b.does, func(t *testing.T) {
			t.Parallel()
			output, err := runBroken(t, b)
			var exit *exec.ExitError
			require.ErrorAs(t, err, &exit, "the suite passed a store that %s", b.does)
			require.NotContains(t, output, "panic:")
			failed := failedTests(output)
			for _, want := range b.fails {
				assert.Contains(t, failed, want)
			}
		})
	}
}

func TestRunSaysHowToMendAStoreThat(t *testing.T) {
	for does, says := range map[string]string{
		"lets names escape":               `want one that matches "keystore: unusable name": call keystore.CheckScope and keystore.CheckName first`,
		"does not say what was not found": `want one that names the scope and the record: wrap it, such as fmt.Errorf("%w: %q in scope %q", err, name, scope)`,
	} {
		t.Run(does, func(t *testing.T) {
			i := slices.IndexFunc(brokenStores, func(b brokenStore) bool { return b.does == does })
			require.GreaterOrEqual(t, i, 0)
			output, _ := runBroken(t, brokenStores[i])
			assert.Contains(t, output, says)
		})
	}
}

// TestHarnessThatOpensNothing is run in a process of its own, where it has to
// fail.
func TestHarnessThatOpensNothing(t *testing.T) {
	if os.Getenv(whichBroken) == "" {
		t.Skip("run by TestRunStopsAtOnceWhenThereIsNoStoreToTest")
	}
	keystoretest.Run(t, keystoretest.Harness{
		New:     func(*testing.T) keystoretest.Storage { return keystoretest.Storage{} },
		MaxData: maxData,
	})
}

func TestRunStopsAtOnceWhenThereIsNoStoreToTest(t *testing.T) {
	output, err := runSuite(t, "^TestHarnessThatOpensNothing$", "opens nothing")
	require.Error(t, err)
	assert.Equal(t, 1, strings.Count(output, "Storage.Open is nil, want a function that opens a store"), "%s", output)
}

func TestRunRefusesAStoreThatCannotHoldTheRecordsOfTokens(t *testing.T) {
	if os.Getenv(whichBroken) != "" {
		h := harness(func(m *keystore.Memory) *broken { return &broken{Memory: m} })
		h.Takes = func(s scope, name string) bool { return len(s)+len(name) < 32 }
		keystoretest.Run(t, h)
		return
	}
	output, err := runSuite(t, "^"+t.Name()+"$", "none")
	require.Error(t, err)
	assert.Regexp(t, `Harness\.Takes refuses "dataplane-token-.*" in scope "default", which every store takes`, output)
	assert.NotContains(t, output, "=== RUN   "+t.Name()+"/")
}

func TestRunRefusesAStoreThatTakesLessThan512KiB(t *testing.T) {
	if os.Getenv(whichBroken) != "" {
		h := harness(func(m *keystore.Memory) *broken { return &broken{Memory: m} })
		h.MaxData = 512<<10 - 1
		keystoretest.Run(t, h)
		return
	}
	output, err := runSuite(t, "^"+t.Name()+"$", "none")
	require.Error(t, err)
	assert.Contains(t, output, "Harness.MaxData is 524287, want at least 524288")
	assert.NotContains(t, output, "=== RUN   "+t.Name()+"/")
}

func TestRunSaysWhyItSkipsReadOnlyStores(t *testing.T) {
	if os.Getenv(whichBroken) != "" {
		keystoretest.Run(t, keystoretest.Harness{
			New: func(*testing.T) keystoretest.Storage {
				store := keystore.NewMemory()
				return keystoretest.Storage{Open: func(*testing.T) keystore.KeyStore { return store }}
			},
			MaxData: maxData,
		})
		return
	}
	output, err := runSuite(t, "^"+t.Name()+"$/^ReadOnly$", "none")
	require.NoError(t, err)
	assert.Contains(t, output, "Storage.OpenReadOnly is nil")
}

// runBroken runs what must fail for a broken store, in a process of its own.
func runBroken(t *testing.T, b brokenStore) (output string, err error) {
	t.Helper()
	return runSuite(t, only(b.fails), b.does)
}

// runSuite runs tests of this package in a process of their own.
func runSuite(t *testing.T, pattern, which string) (output string, err error) {
	t.Helper()
	self, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), self, "-test.run="+pattern, "-test.v")
	cmd.Env = append(os.Environ(), whichBroken+"="+which)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

// only returns the pattern of these subtests of TestBrokenStore. The others may
// fail as well, some after having waited in vain for a while.
func only(subtests []string) string {
	var groups, sentences []string
	for _, subtest := range subtests {
		group, sentence, _ := strings.Cut(subtest, "/")
		groups = append(groups, regexp.QuoteMeta(group))
		sentences = append(sentences, regexp.QuoteMeta(sentence))
	}
	return "^TestBrokenStore$/^(" + strings.Join(groups, "|") + ")$/^(" + strings.Join(sentences, "|") + ")$"
}

// failedTests returns the subtests of TestBrokenStore that failed, going by the
// output of the test.
func failedTests(output string) []string {
	var failed []string
	for _, match := range regexp.MustCompile(`(?m)^ *--- FAIL: TestBrokenStore/(\S+)`).FindAllStringSubmatch(output, -1) {
		failed = append(failed, match[1])
	}
	return failed
}
