package revocation

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

const (
	dataplaneCutoffsPrefix = "dataplane-token-cutoffs-"
	zoneCutoffsName        = "zone-token-cutoffs"
)

// CutoffsPrefix returns the prefix of the names of all records with cutoffs for one kind
// of token, for KeyStore.List. Other records may have the prefix too: see
// [ParseCutoffsName].
func CutoffsPrefix(kind token.Kind) string {
	if kind == token.KindZone {
		return zoneCutoffsName
	}
	return dataplaneCutoffsPrefix
}

// ParseCutoffsName is [ParseName] for records with cutoffs.
func ParseCutoffsName(name string) (kind token.Kind, mesh string, ok bool) {
	if name == zoneCutoffsName {
		return token.KindZone, "", true
	}
	mesh, ok = strings.CutPrefix(name, dataplaneCutoffsPrefix)
	return token.KindDataplane, mesh, ok && mesh != ""
}

// DataplaneCutoffs returns the cutoffs of a mesh's dataplane tokens: the record
// dataplane-token-cutoffs-{mesh} in the scope of the mesh. For the empty mesh it is the
// zero CutoffsRef.
func DataplaneCutoffs(mesh string) CutoffsRef {
	if mesh == "" {
		return CutoffsRef{}
	}
	return CutoffsRef{keystore.Scope(mesh), dataplaneCutoffsPrefix + mesh}
}

// DataplaneCutoffsGlobal returns the record with the same name in the global scope.
// Validators read both.
func DataplaneCutoffsGlobal(mesh string) CutoffsRef {
	return CutoffsRef{keystore.Global, DataplaneCutoffs(mesh).Name}
}

// ZoneCutoffs returns the cutoffs of zone tokens: the record zone-token-cutoffs in the
// global scope.
func ZoneCutoffs() CutoffsRef { return CutoffsRef{keystore.Global, zoneCutoffsName} }

// CutoffsOf returns the records with the cutoffs of the tokens of a scope: those that a
// validator reads.
func CutoffsOf(kind token.Kind, scope keystore.Scope) []CutoffsRef {
	if kind == token.KindZone {
		return []CutoffsRef{ZoneCutoffs()}
	}
	return []CutoffsRef{DataplaneCutoffs(string(scope)), DataplaneCutoffsGlobal(string(scope))}
}

// CutoffsRef names the record that holds cutoffs: its scope in a KeyStore and its name.
// The zero CutoffsRef is invalid; a store rejects it with [keystore.ErrName].
type CutoffsRef struct {
	Scope keystore.Scope
	Name  string
}

func (r CutoffsRef) kind() token.Kind {
	kind, _, _ := ParseCutoffsName(r.Name)
	return kind
}

// Load reads the cutoffs. A missing record has none. If it cannot be read, Load returns an
// error: that of the store, wrapped, or [ErrUnreadable]. It blocks as long as the store's
// Get does.
func (r CutoffsRef) Load(ctx context.Context, store keystore.KeyStore) (*Cutoffs, error) {
	record, err := Ref(r).get(ctx, store)
	var data []byte
	if record != nil {
		data = record.Data
	}
	var c *Cutoffs
	if err == nil {
		c, err = ParseCutoffs(r.kind(), data)
	}
	if err != nil {
		return nil, fmt.Errorf("loading %s: %w", r.description(), err)
	}
	return c, nil
}

// Add adds a cutoff, and creates the record if it is missing. It returns the cutoff that
// is in force for the subject: that one, or the present one if it is as late or later. It
// writes by compare-and-swap and retries as [Ref.Add] does, with the same errors of the
// store. No concurrent change is lost.
//
// The error matches [ErrCutoff] if the cutoff is not for this kind of token, or if its
// moment is more than four minutes ahead of this machine's clock: twice the time by which
// clocks may differ. Add is an audit event: see package audit.
func (r CutoffsRef) Add(ctx context.Context, store keystore.KeyStore, c Cutoff) (Cutoff, error) {
	c.Before = wholeSecond(c.Before)
	inForce, err := r.add(ctx, store, c)
	r.log(ctx, audit.CutOff, c, err)
	return inForce, err
}

// add is Add without the audit event, for a moment in whole seconds.
func (r CutoffsRef) add(ctx context.Context, store keystore.KeyStore, c Cutoff) (Cutoff, error) {
	err := c.check(r.kind())
	if limit := time.Now().Add(2 * token.Skew); err == nil && c.Before.After(limit) {
		err = fmt.Errorf("%w: %s is more than %s ahead", ErrCutoff, c.Before.Format(time.RFC3339), 2*token.Skew)
	}
	inForce := c
	if err == nil {
		_, err = edit(ctx, store, Ref(r), true, func(data []byte) ([]byte, bool, error) {
			present, err := ParseCutoffs(r.kind(), data)
			if err != nil {
				return nil, false, err
			}
			added := present.add(c)
			inForce.Before = present.by[c.subject()]
			return present.format(), added, nil
		})
	}
	if err != nil {
		return Cutoff{}, fmt.Errorf("adding to %s: %w", r.description(), err)
	}
	return inForce, nil
}

// Remove removes a cutoff. A cutoff for the same subject with another moment stays: it is
// another decision. If the cutoff is not there, Remove writes nothing. It writes, retries
// and fails as [CutoffsRef.Add] does. How many tokens become valid again cannot be known.
func (r CutoffsRef) Remove(ctx context.Context, store keystore.KeyStore, c Cutoff) error {
	c.Before = wholeSecond(c.Before)
	err := r.remove(ctx, store, c)
	r.log(ctx, audit.RemoveCutoff, c, err)
	return err
}

// remove is Remove without the audit event, for a moment in whole seconds.
func (r CutoffsRef) remove(ctx context.Context, store keystore.KeyStore, c Cutoff) error {
	_, err := edit(ctx, store, Ref(r), false, func(data []byte) ([]byte, bool, error) {
		present, err := ParseCutoffs(r.kind(), data)
		if err != nil {
			return nil, false, err
		}
		at := slices.Index(present.list, c)
		if at < 0 {
			return nil, false, nil
		}
		present.list = slices.Delete(present.list, at, at+1)
		return present.format(), true, nil
	})
	if err != nil {
		return fmt.Errorf("removing from %s: %w", r.description(), err)
	}
	return nil
}

// Keep adds the cutoffs and the floor of another record, such as one from before a backup
// was restored. It returns the cutoffs that were not in force yet, and whether the floor
// was lower. It writes, retries and fails as [CutoffsRef.Add] does, for moments at any
// time. It is no audit event.
func (r CutoffsRef) Keep(ctx context.Context, store keystore.KeyStore, others *Cutoffs) (added []Cutoff, lower bool, err error) {
	_, err = edit(ctx, store, Ref(r), true, func(data []byte) ([]byte, bool, error) {
		present, err := ParseCutoffs(r.kind(), data)
		if err != nil {
			return nil, false, err
		}
		added, lower = nil, present.floor.Before(others.Floor())
		for _, c := range others.All() {
			if present.add(c) {
				added = append(added, c)
			}
		}
		present.floor = latest(present.floor, others.Floor())
		return present.format(), len(added) > 0 || lower, nil
	})
	if err != nil {
		return nil, false, fmt.Errorf("adding to %s: %w", r.description(), err)
	}
	return added, lower, nil
}

func (r CutoffsRef) log(ctx context.Context, action audit.Action, c Cutoff, err error) {
	event := audit.Event{Action: action, Before: c.Before, Name: c.Name, Workload: c.Workload, Zone: c.Zone, KeyID: c.KeyID, Err: err}
	event.Kind, event.Mesh, _ = ParseCutoffsName(r.Name)
	audit.Log(ctx, nil, event)
}

// description identifies the record in errors.
func (r CutoffsRef) description() string {
	if r.Scope == keystore.Global {
		return fmt.Sprintf("cutoffs %.64q in the global scope", r.Name)
	}
	return fmt.Sprintf("cutoffs %.64q in scope %.64q", r.Name, string(r.Scope))
}

// Pruning is what [Prune] has done, or would do.
type Pruning struct {
	Floor   time.Time // from then on ids of version 7 are on the list; before it all of them are revoked
	Dropped int       // ids from before Floor that leave the list
	Kept    int       // ids that stay: later ones, and those that tell no time

	// Sessions counts the open sessions whose tokens Floor would revoke, as far as a dry
	// run was given the validators of their process. It is -1 if that is not known.
	Sessions int
}

// pruneMargin is how long after the end of its lifetime an id stays on a list at least:
// for the leeway of validators and for clocks that differ.
const pruneMargin = 15 * time.Minute

// Prune shortens a list: it drops the ids of tokens that have expired, as their ids tell.
// Such an id is a UUID of version 7 (RFC 9562, section 5.7) that was made longer ago than
// lifetime and 15 minutes. lifetime is the longest validity of any token, or the limit of
// lineages if that is longer: a renewed token has the id of the first of its lineage. Other
// ids stay.
//
// Prune first writes a floor among the cutoffs, before which every id of version 7 is
// revoked, and then drops the ids from before it. So no order of restarts, backups or
// clocks makes an id valid again that was pruned. A token that lives longer than the
// stated lifetime is refused from then on. The floor is permanent and never goes back: a
// longer lifetime later drops nothing.
//
// With dryRun it changes nothing, and returns what it would do. The error matches
// [ErrCutoff] if lifetime is not positive, and [ErrUnreadable] if the list or the cutoffs
// cannot be read; then Prune has changed nothing. A pruning that is not a dry run is an audit event.
func Prune(ctx context.Context, store keystore.KeyStore, list Ref, cutoffs CutoffsRef, lifetime time.Duration, dryRun bool) (Pruning, error) {
	p, begun, err := prune(ctx, store, list, cutoffs, lifetime, dryRun)
	if begun {
		p.log(ctx, cutoffs, err)
	}
	return p, err
}

// prune is Prune without the audit event. It reports whether it has begun to write.
func prune(ctx context.Context, store keystore.KeyStore, list Ref, cutoffs CutoffsRef, lifetime time.Duration, dryRun bool) (_ Pruning, begun bool, _ error) {
	if lifetime <= 0 {
		return Pruning{}, false, fmt.Errorf("%w: a lifetime of %s, want more than 0", ErrCutoff, lifetime)
	}
	// In two steps: the sum of the two may be more than a time.Duration holds.
	p := Pruning{Floor: time.Now().Add(-pruneMargin).Add(-lifetime).Truncate(time.Second).UTC(), Sessions: -1}
	present, err := cutoffs.Load(ctx, store)
	if err != nil {
		return Pruning{}, false, err
	}
	ids, err := list.Load(ctx, store) // before the floor is written, which is for ever
	if err != nil {
		return Pruning{}, false, err
	}
	if dryRun {
		p.Floor = latest(p.Floor, present.Floor())
		p.split(ids.IDs())
		return p, false, nil
	}
	err = p.write(ctx, store, list, cutoffs)
	return p, true, err
}

func (p *Pruning) log(ctx context.Context, cutoffs CutoffsRef, err error) {
	event := audit.Event{Action: audit.Prune, Before: p.Floor, Dropped: p.Dropped, Err: err}
	event.Kind, event.Mesh, _ = ParseCutoffsName(cutoffs.Name)
	audit.Log(ctx, nil, event)
}

func (p *Pruning) write(ctx context.Context, store keystore.KeyStore, list Ref, cutoffs CutoffsRef) error {
	_, err := edit(ctx, store, Ref(cutoffs), true, func(data []byte) ([]byte, bool, error) {
		present, err := ParseCutoffs(cutoffs.kind(), data)
		if err != nil {
			return nil, false, err
		}
		if !present.floor.Before(p.Floor) {
			p.Floor = present.floor
			return nil, false, nil
		}
		present.floor = p.Floor
		return present.format(), true, nil
	})
	if err != nil {
		return fmt.Errorf("adding to %s: %w", cutoffs.description(), err)
	}
	_, err = edit(ctx, store, list, false, func(data []byte) ([]byte, bool, error) {
		ids, err := Parse(data)
		if err != nil {
			return nil, false, err
		}
		dropped := p.split(ids.IDs())
		if len(dropped) == 0 {
			return nil, false, nil
		}
		return withoutIDs(data, dropped)
	})
	if err != nil {
		return fmt.Errorf("pruning %s: %w", list.description(), err)
	}
	return nil
}

// split counts which ids are dropped, and returns them.
func (p *Pruning) split(ids []string) (dropped []string) {
	for _, id := range ids {
		if made, ok := IDTime(id); ok && made.Before(p.Floor) {
			dropped = append(dropped, id)
		}
	}
	p.Dropped, p.Kept = len(dropped), len(ids)-len(dropped)
	return dropped
}
