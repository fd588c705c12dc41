package revocation

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

// Ref says where a list is kept: in which scope of a KeyStore, under which
// name. The zero Ref is no place; a store refuses it with [keystore.ErrName].
type Ref struct {
	Scope keystore.Scope
	Name  string
}

// Dataplane returns where the ids of a mesh's revoked dataplane tokens are kept:
// the record dataplane-token-revocations-{mesh} in the mesh's own scope. For the
// empty mesh it is the zero Ref.
func Dataplane(mesh string) Ref {
	if mesh == "" {
		return Ref{}
	}
	return Ref{keystore.Scope(mesh), "dataplane-token-revocations-" + mesh}
}

// DataplaneGlobal returns the second place of a mesh's revoked dataplane tokens:
// the record of the same name in the global scope. Validators read both, and a
// token whose id is in either is revoked; to restore a token, remove its id from
// both. New ids belong in [Dataplane]. For the empty mesh it is the zero Ref.
func DataplaneGlobal(mesh string) Ref {
	return Ref{keystore.Global, Dataplane(mesh).Name}
}

// Zone returns where the ids of revoked zone tokens are kept: the record
// zone-token-revocations in the global scope.
func Zone() Ref {
	return Ref{keystore.Global, "zone-token-revocations"}
}

// Load reads the list. A record that is not there is the empty list. Everything
// else that keeps the list from being read is an error, never an empty list: what
// the store said, wrapped, or [ErrUnreadable].
//
// It blocks as long as the store's Get does.
func (r Ref) Load(ctx context.Context, store keystore.KeyStore) (*List, error) {
	record, _, err := r.get(ctx, store)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", r.description(), err)
	}
	list, err := Parse(record.Data)
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", r.description(), err)
	}
	return list, nil
}

// Add puts ids on the list, and makes the record if there is none. When it has
// returned without an error all of them are there, together with what anybody
// else has added or removed meanwhile.
//
// The list is rewritten in the form of [Format], in the order in which it was, new
// ids last, by compare-and-swap on the record's version. Items that are no ids are
// kept as they are. If all ids are there already, nothing is written. When somebody
// else changes the list at the same time, Add tries again after a pause of at most
// 50 ms, until ctx ends.
//
// An id that cannot be on a list is refused with [ErrID] before anything is read.
// A list that cannot be read is left alone, with [ErrUnreadable]. The store's errors
// are passed on, wrapped: among them [keystore.ErrTooLarge] (a store takes 512 KiB
// at the least, about 14,000 UUIDs), [keystore.ErrReadOnly] and
// [keystore.ErrNameTaken]. When ctx ends the error matches that of ctx.
func (r Ref) Add(ctx context.Context, store keystore.KeyStore, ids ...string) error {
	return r.edit(ctx, store, "adding to", ids, withIDs)
}

// Remove takes ids off the list, so that tokens which have them are valid again. It
// is no error if they are not there, and nothing is written then. A list from
// which the last id was removed stays as an empty record.
//
// It writes, tries again and fails as [Ref.Add] does. It also refuses, with
// [ErrUnreadable], to leave a list that has malformed items and no id any more: no
// token could be validated with it until somebody had repaired it.
func (r Ref) Remove(ctx context.Context, store keystore.KeyStore, ids ...string) error {
	return r.edit(ctx, store, "removing from", ids, withoutIDs)
}

// change makes the new data of a list from the old, for some ids, and reports
// whether there is anything to write.
type change func(data []byte, ids []string) (changed []byte, write bool, err error)

// withIDs is the change that adds ids.
func withIDs(data []byte, ids []string) ([]byte, bool, error) {
	list, err := Parse(data)
	if err != nil {
		return nil, false, err
	}
	if !slices.ContainsFunc(ids, func(id string) bool { return !list.Contains(id) }) {
		return nil, false, nil
	}
	data, _ = rewrite(data, nil, ids)
	return data, true, nil
}

// withoutIDs is the change that removes ids.
func withoutIDs(data []byte, ids []string) ([]byte, bool, error) {
	list, err := Parse(data)
	if err != nil {
		return nil, false, err
	}
	if !slices.ContainsFunc(ids, list.Contains) {
		return nil, false, nil
	}
	removed := newList(len(ids))
	for _, id := range ids {
		add(removed, id)
	}
	data, left := rewrite(data, removed, nil)
	if left.Len() == 0 && len(data) > 0 {
		return nil, false, fmt.Errorf("%w would be left: %w", ErrUnreadable, list.problems[0])
	}
	return data, true, nil
}

// edit changes the record by compare-and-swap, as often as it takes.
func (r Ref) edit(ctx context.Context, store keystore.KeyStore, doing string, ids []string, change change) error {
	if err := checkIDs(ids); err != nil {
		return fmt.Errorf("%s %s: %w", doing, r.description(), err)
	}
	const firstPause, longestPause = time.Millisecond, 50 * time.Millisecond
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := r.editOnce(ctx, store, ids, change)
		if err == nil {
			return nil
		}
		if !raced(err) {
			return fmt.Errorf("%s %s: %w", doing, r.description(), err)
		}
		// A random part of the pause, or writers that met once would meet again.
		timer := time.NewTimer(rand.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("%s %s: %w; last attempt: %w", doing, r.description(), ctx.Err(), err)
		}
	}
}

func (r Ref) editOnce(ctx context.Context, store keystore.KeyStore, ids []string, change change) error {
	record, found, err := r.get(ctx, store)
	if err != nil {
		return err
	}
	data, changed, err := change(record.Data, ids)
	if err != nil || !changed {
		return err
	}
	record = keystore.Record{Scope: r.Scope, Name: r.Name, Data: data, Version: record.Version}
	if found {
		_, err = store.Update(ctx, record)
	} else {
		_, err = store.Create(ctx, record)
	}
	return err
}

// raced reports whether a write failed because somebody else had created, changed
// or deleted the record since it was read. A name that another scope holds will not
// be free the next time.
func raced(err error) bool {
	return !errors.Is(err, keystore.ErrNameTaken) && (errors.Is(err, keystore.ErrExists) ||
		errors.Is(err, keystore.ErrConflict) || errors.Is(err, keystore.ErrNotFound))
}

// get reads the record. One that is not there is no error.
func (r Ref) get(ctx context.Context, store keystore.KeyStore) (record keystore.Record, found bool, err error) {
	if store == nil {
		return keystore.Record{}, false, errors.New("no store was given")
	}
	record, err = store.Get(ctx, r.Scope, r.Name)
	if errors.Is(err, keystore.ErrNotFound) {
		return keystore.Record{}, false, nil
	}
	return record, err == nil, err
}

// description names the list in errors.
func (r Ref) description() string {
	const shown = 64
	name := r.Name[:min(shown, len(r.Name))]
	if r.Scope == keystore.Global {
		return fmt.Sprintf("revocation list %q in the global scope", name)
	}
	return fmt.Sprintf("revocation list %q in scope %q", name, r.Scope[:min(shown, len(r.Scope))])
}
