package revocation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/internal/jitter"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// zoneName is the name of the list of zone tokens. The name of a mesh's list is
// the prefix and the mesh.
const (
	dataplanePrefix = "dataplane-token-revocations-"
	zoneName        = "zone-token-revocations"
)

// NamePrefix returns the prefix of the names of all lists for one kind of token,
// for KeyStore.List. Other records may have the prefix too: see [ParseName].
func NamePrefix(kind token.Kind) string {
	if kind == token.KindZone {
		return zoneName
	}
	return dataplanePrefix
}

// ParseName returns the kind of the tokens that the list with this record name
// revokes, and for dataplane tokens their mesh. It returns false if no list has
// such a name.
func ParseName(name string) (kind token.Kind, mesh string, ok bool) {
	if name == zoneName {
		return token.KindZone, "", true
	}
	mesh, ok = strings.CutPrefix(name, dataplanePrefix)
	return token.KindDataplane, mesh, ok && mesh != ""
}

// Ref names the record that holds a list: its scope in a KeyStore and its name.
// The zero Ref is invalid; a store rejects it with [keystore.ErrName].
type Ref struct {
	Scope keystore.Scope
	Name  string
}

// Dataplane returns the list of a mesh's revoked dataplane tokens: the record
// dataplane-token-revocations-{mesh} in the scope of the mesh. For the empty
// mesh it is the zero Ref.
func Dataplane(mesh string) Ref {
	if mesh == "" {
		return Ref{}
	}
	return Ref{keystore.Scope(mesh), dataplanePrefix + mesh}
}

// DataplaneGlobal returns the second list of a mesh's revoked dataplane tokens:
// the record with the same name in the global scope. Validators read both, and
// a token whose id is on either is revoked. [AddDataplane] and [RemoveDataplane]
// change both. For the empty mesh it is the zero Ref.
func DataplaneGlobal(mesh string) Ref {
	return Ref{keystore.Global, Dataplane(mesh).Name}
}

// Zone returns the list of revoked zone tokens: the record
// zone-token-revocations in the global scope.
func Zone() Ref {
	return Ref{keystore.Global, zoneName}
}

// Load reads the list. A missing record is the empty list. If the list cannot
// be read, Load returns an error and never an empty list: the error of the
// store, wrapped, or [ErrUnreadable].
//
// Load blocks as long as the store's Get does.
func (r Ref) Load(ctx context.Context, store keystore.KeyStore) (*List, error) {
	list, _, err := r.load(ctx, store)
	return list, err
}

// load reads the list, and reports whether the record exists.
func (r Ref) load(ctx context.Context, store keystore.KeyStore) (list *List, exists bool, err error) {
	record, err := r.get(ctx, store)
	if err != nil {
		return nil, false, fmt.Errorf("loading %s: %w", r.description(), err)
	}
	var data []byte
	if record != nil {
		data = record.Data
	}
	list, err = Parse(data)
	if err != nil {
		return nil, false, fmt.Errorf("loading %s: %w", r.description(), err)
	}
	return list, record != nil, nil
}

// Add adds ids to the list, and creates the record if it is missing. After Add
// returns without an error, all ids are on the list. No concurrent change by
// another caller is lost.
//
// Add rewrites the list as [Format] does, in its previous order with new ids
// last, by compare-and-swap on the version of the record. It keeps malformed
// items. If all ids are on the list already, Add writes nothing. If another
// caller changes the list at the same time, Add tries again after a pause of at
// most 50 ms, until ctx ends.
//
// If an id cannot be on a list, the error matches [ErrID], and Add reads
// nothing. If the list cannot be parsed, the error matches [ErrUnreadable], and
// Add changes nothing. Errors of the store are returned wrapped, among them
// [keystore.ErrTooLarge] (a store takes at least 512 KiB, about 14,000 UUIDs),
// [keystore.ErrReadOnly] and [keystore.ErrNameTaken]. When ctx ends, the error
// matches that of ctx. Each id is an audit event: see package audit.
func (r Ref) Add(ctx context.Context, store keystore.KeyStore, ids ...string) error {
	_, err := r.edit(ctx, store, audit.Revoke, ids, true)
	logEach(ctx, audit.Revoke, r.Name, ids, err)
	return err
}

// Remove removes ids from the list, so that tokens with these ids are valid
// again. Missing ids are not an error; if none is on the list, Remove writes
// nothing. After the last id is removed, the record stays and is empty.
//
// Remove writes, retries and fails as [Ref.Add] does. If the list would have
// malformed items and no id, Remove also returns [ErrUnreadable] and changes
// nothing: validators could not use such a list until an operator repaired it.
func (r Ref) Remove(ctx context.Context, store keystore.KeyStore, ids ...string) error {
	_, err := r.edit(ctx, store, audit.Restore, ids, false)
	logEach(ctx, audit.Restore, r.Name, ids, err)
	return err
}

// change computes the new data of a list for some ids, and reports whether to
// write it.
type change func(data []byte, ids []string) (changed []byte, write bool, err error)

// withIDs is the change that adds ids.
func withIDs(data []byte, ids []string) ([]byte, bool, error) {
	list, err := Parse(data)
	if err != nil {
		return nil, false, err
	}
	if list.malformed > 0 { // an id inside of an item is one for this package only
		_, list = rewrite(data, nil, nil)
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
	data, _ = rewrite(data, removed, nil)
	if list.malformed == 0 {
		return data, true, nil
	}
	// What is left may have no id, so that no token could be validated, or an item of
	// another form, which revokes the id all the same.
	after, err := Parse(data)
	if err != nil {
		return nil, false, fmt.Errorf("what would be left: %w", err)
	}
	if at := slices.IndexFunc(ids, after.Contains); at >= 0 {
		return nil, false, fmt.Errorf("%w: %s is inside of an item: %w", ErrUnreadable, excerpt(ids[at]), list.problems[0])
	}
	return data, true, nil
}

// edit changes the record: it adds ids or removes them. It reports whether the record
// is there afterwards. Without makes it leaves a missing record missing.
func (r Ref) edit(ctx context.Context, store keystore.KeyStore, action audit.Action, ids []string, makes bool) (exists bool, err error) {
	change, doing := withIDs, "adding to"
	if action == audit.Restore {
		change, doing = withoutIDs, "removing from"
	}
	exists, err = r.editUntilDone(ctx, store, ids, change, makes)
	if err != nil {
		err = fmt.Errorf("%s %s: %w", doing, r.description(), err)
	}
	return exists, err
}

// logEach logs an audit event for each id, and one for an id that was given twice.
func logEach(ctx context.Context, action audit.Action, name string, ids []string, err error) {
	event := audit.Event{Action: action, Err: err}
	event.Kind, event.Mesh, _ = ParseName(name)
	logged := make(map[string]struct{}, len(ids))
	for _, event.TokenID = range ids {
		if _, twice := logged[event.TokenID]; !twice {
			logged[event.TokenID] = struct{}{}
			audit.Log(ctx, nil, event)
		}
	}
}

// editUntilDone changes the record by compare-and-swap, and retries until it
// succeeds.
func (r Ref) editUntilDone(ctx context.Context, store keystore.KeyStore, ids []string, change change, makes bool) (exists bool, err error) {
	if err := checkIDs(ids); err != nil {
		return false, err
	}
	return edit(ctx, store, r, makes, func(data []byte) ([]byte, bool, error) { return change(data, ids) })
}

// edit changes the data of a record by compare-and-swap, and retries until it succeeds.
// change returns the new data, and whether to write it. Without makes a missing record
// stays missing.
func edit(ctx context.Context, store keystore.KeyStore, r Ref, makes bool, change func(data []byte) ([]byte, bool, error)) (exists bool, err error) {
	const firstPause, longestPause = time.Millisecond, 50 * time.Millisecond
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		exists, err = r.editOnce(ctx, store, makes, change)
		if err == nil || !raced(err) {
			return exists, err
		}
		// A random pause keeps writers that collided from colliding again.
		timer := time.NewTimer(jitter.N(pause))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return false, fmt.Errorf("%w; last attempt: %w", ctx.Err(), err)
		}
	}
}

func (r Ref) editOnce(ctx context.Context, store keystore.KeyStore, makes bool, change func(data []byte) ([]byte, bool, error)) (exists bool, err error) {
	record, err := r.get(ctx, store)
	if err != nil {
		return false, err
	}
	write, exists := store.Update, record != nil
	if !exists {
		if !makes {
			return false, nil
		}
		write, record = store.Create, &keystore.Record{Scope: r.Scope, Name: r.Name}
	}
	data, changed, err := change(record.Data)
	if err != nil || !changed {
		return exists, err
	}
	record.Data = data
	err = writeList(ctx, write, *record)
	return err == nil, err
}

// writeList creates or updates the record of a list. Where an empty record is refused, it
// writes an empty list as a comma.
func writeList(ctx context.Context, write func(context.Context, keystore.Record) (keystore.Record, error), record keystore.Record) error {
	_, err := write(ctx, record)
	if errors.Is(err, keystore.ErrEmpty) {
		record.Data = []byte{','}
		_, err = write(ctx, record)
	}
	return err
}

// raced reports whether a write failed because another writer created, changed
// or deleted the record since it was read. If another scope holds the name, a
// retry would fail too.
func raced(err error) bool {
	return !errors.Is(err, keystore.ErrNameTaken) && (errors.Is(err, keystore.ErrExists) ||
		errors.Is(err, keystore.ErrConflict) || errors.Is(err, keystore.ErrNotFound))
}

// get reads the record. It is nil if it is missing. Its version may be empty.
func (r Ref) get(ctx context.Context, store keystore.KeyStore) (*keystore.Record, error) {
	if store == nil {
		return nil, errors.New("the store is nil")
	}
	record, err := store.Get(ctx, r.Scope, r.Name)
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return &record, nil
}

// description identifies the list in errors.
func (r Ref) description() string {
	const shown = 64
	name := r.Name[:min(shown, len(r.Name))]
	if r.Scope == keystore.Global {
		return fmt.Sprintf("revocation list %q in the global scope", name)
	}
	return fmt.Sprintf("revocation list %q in scope %q", name, r.Scope[:min(shown, len(r.Scope))])
}
