package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// A mesh may have two lists of revoked dataplane tokens: [Dataplane] in its own scope
// and [DataplaneGlobal] in the global one. Validators of this module read both. Other
// control planes, such as Kuma, read only the global one, so the two are kept in step.

// AddDataplane revokes dataplane tokens of a mesh by their ids. It adds the ids to
// each of the mesh's two lists that exists, and makes the mesh's own list where there
// is none. When it has returned without an error, the ids are on each of them, also if
// [MakeDataplaneGlobal] ran at the same time. After an error they may be on one of
// them: call it again.
//
// Otherwise it does what [Ref.Add] does, with the same errors and audit events.
func AddDataplane(ctx context.Context, store keystore.KeyStore, mesh string, ids ...string) error {
	err := addDataplane(ctx, store, mesh, ids)
	logEach(ctx, audit.Revoke, Dataplane(mesh).Name, ids, err)
	return err
}

func addDataplane(ctx context.Context, store keystore.KeyStore, mesh string, ids []string) error {
	own, global := Dataplane(mesh), DataplaneGlobal(mesh)
	both, err := global.edit(ctx, store, audit.Revoke, ids, false)
	if err != nil {
		return err
	}
	_, err = own.edit(ctx, store, audit.Revoke, ids, !both)
	// The global list may have been made meanwhile. A store that has each name only once
	// says so.
	if both || err != nil && !errors.Is(err, keystore.ErrNameTaken) {
		return err
	}
	again, globalErr := global.edit(ctx, store, audit.Revoke, ids, false)
	if globalErr != nil || again {
		return globalErr
	}
	return err
}

// RemoveDataplane makes dataplane tokens of a mesh valid again: it removes their ids
// from both lists of the mesh. Otherwise it does what [Ref.Remove] does, with the same
// errors and audit events.
func RemoveDataplane(ctx context.Context, store keystore.KeyStore, mesh string, ids ...string) error {
	var err error
	for _, list := range []Ref{Dataplane(mesh), DataplaneGlobal(mesh)} {
		_, failed := list.edit(ctx, store, audit.Restore, ids, false)
		err = errors.Join(err, failed)
	}
	logEach(ctx, audit.Restore, Dataplane(mesh).Name, ids, err)
	return err
}

// LoadDataplane reads both lists of a mesh and returns the ids on either of them: the
// dataplane tokens of the mesh that are revoked. Otherwise it does what [Ref.Load]
// does: if one of the lists cannot be read, the result is an error.
func LoadDataplane(ctx context.Context, store keystore.KeyStore, mesh string) (*List, error) {
	lists, err := LoadDataplaneLists(ctx, store, mesh)
	return lists.Union(), err
}

// LoadDataplaneLists reads both lists of a mesh, and returns those that exist: the
// mesh's own first, then the global one. If one of them cannot be read, it returns an
// error and no list.
func LoadDataplaneLists(ctx context.Context, store keystore.KeyStore, mesh string) (Lists, error) {
	var lists Lists
	for _, ref := range []Ref{Dataplane(mesh), DataplaneGlobal(mesh)} {
		list, exists, err := ref.load(ctx, store)
		if err != nil {
			return nil, err
		}
		if exists {
			lists = append(lists, Placed{ref, list})
		}
	}
	return lists, nil
}

// Lists are the lists of a mesh that exist. A token whose id is on any of them is
// revoked.
type Lists []Placed

// Placed is a list, and where it is.
type Placed struct {
	Ref  Ref
	List *List
}

// Union returns the ids on any of the lists, and the problems of all of them.
func (l Lists) Union() *List {
	var all *List
	for _, placed := range l {
		if all == nil {
			all = placed.List
		} else {
			all = union(all, placed.List)
		}
	}
	return all
}

func union(a, b *List) *List {
	// Lists that are in step are alike.
	if b.malformed == 0 && b.MissingFrom(a) == 0 {
		return a
	}
	if a.malformed == 0 && a.MissingFrom(b) == 0 {
		return b
	}
	both := newList(a.Len() + b.Len())
	for _, l := range []*List{a, b} {
		for _, id := range l.IDs() {
			add(both, id)
		}
		both.malformed += l.malformed
		both.problems = append(both.problems, l.problems...)
	}
	return both
}

// MakeDataplaneGlobal makes the list of a mesh in the global scope, for control planes
// that read only that one, as Kuma does. The list starts with the ids of the mesh's own
// list, and from then on [AddDataplane] keeps both in step. If the global list exists, it
// gets the ids that it lacks.
//
// A store that has each name only once keeps the list that exists. If that is the mesh's
// own, the error matches [keystore.ErrNameTaken]: such a store has a global list only if
// it is made before the first revocation.
//
// An id that is removed from the lists at the same moment may stay on the global one:
// remove it again. The call is an audit event: see package audit.
func MakeDataplaneGlobal(ctx context.Context, store keystore.KeyStore, mesh string) error {
	err := makeDataplaneGlobal(ctx, store, mesh)
	audit.Log(ctx, nil, audit.Event{Action: audit.MakeGlobalList, Kind: token.KindDataplane, Mesh: mesh, Err: err})
	return err
}

func makeDataplaneGlobal(ctx context.Context, store keystore.KeyStore, mesh string) error {
	own, global := Dataplane(mesh), DataplaneGlobal(mesh)
	list, err := own.Load(ctx, store)
	if err != nil {
		return err
	}
	if list.Len() == 0 { // adding nothing makes nothing
		err = writeList(ctx, store.Create, keystore.Record{Scope: global.Scope, Name: global.Name})
		if errors.Is(err, keystore.ErrExists) && !errors.Is(err, keystore.ErrNameTaken) {
			err = nil
		} else if err != nil {
			err = fmt.Errorf("making %s: %w", global.description(), err)
		}
	} else {
		_, err = global.edit(ctx, store, audit.Revoke, list.IDs(), true)
	}
	if errors.Is(err, keystore.ErrNameTaken) {
		return fmt.Errorf("%s stays in use, since the store has each name once: %w", own.description(), err)
	}
	if err != nil {
		return err
	}
	// An id that was revoked meanwhile, by a caller who saw no global list, is on the
	// mesh's own list by now.
	list, err = own.Load(ctx, store)
	if err != nil {
		return err
	}
	_, err = global.edit(ctx, store, audit.Revoke, list.IDs(), true)
	return err
}

// AddDataplaneCutoff adds a cutoff for the dataplane tokens of a mesh: to
// [DataplaneCutoffs], or to [DataplaneCutoffsGlobal] in a store that has each name once
// and has that. Otherwise it does what [CutoffsRef.Add] does, with the same errors and one
// audit event.
func AddDataplaneCutoff(ctx context.Context, store keystore.KeyStore, mesh string, c Cutoff) (Cutoff, error) {
	c.Before = wholeSecond(c.Before)
	own := DataplaneCutoffs(mesh)
	inForce, err := own.add(ctx, store, c)
	if errors.Is(err, keystore.ErrNameTaken) {
		inForce, err = DataplaneCutoffsGlobal(mesh).add(ctx, store, c)
	}
	own.log(ctx, audit.CutOff, c, err)
	return inForce, err
}

// RemoveDataplaneCutoff removes a cutoff for the dataplane tokens of a mesh from both
// records. Otherwise it does what [CutoffsRef.Remove] does, with the same errors and one
// audit event.
func RemoveDataplaneCutoff(ctx context.Context, store keystore.KeyStore, mesh string, c Cutoff) error {
	c.Before = wholeSecond(c.Before)
	own := DataplaneCutoffs(mesh)
	err := errors.Join(own.remove(ctx, store, c), DataplaneCutoffsGlobal(mesh).remove(ctx, store, c))
	own.log(ctx, audit.RemoveCutoff, c, err)
	return err
}

// PruneDataplane prunes the mesh's own list, as [Prune] does, with the floor where
// [AddDataplaneCutoff] adds cutoffs, and with one audit event.
func PruneDataplane(ctx context.Context, store keystore.KeyStore, mesh string, lifetime time.Duration, dryRun bool) (Pruning, error) {
	own := DataplaneCutoffs(mesh)
	p, begun, err := prune(ctx, store, Dataplane(mesh), own, lifetime, dryRun)
	if errors.Is(err, keystore.ErrNameTaken) { // nothing was pruned yet
		p, begun, err = prune(ctx, store, Dataplane(mesh), DataplaneCutoffsGlobal(mesh), lifetime, dryRun)
	}
	if begun {
		p.log(ctx, own, err)
	}
	return p, err
}
