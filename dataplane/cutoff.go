package dataplane

import (
	"context"
	"fmt"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

// Cutoff revokes every dataplane token of a mesh that was issued before a moment: all of
// them, or those with one name, workload or kid. At most one of the three is set. A token
// that does not have the claim is not concerned. An empty one counts as not set: check a
// name that comes from elsewhere, or the cutoff is for all tokens.
type Cutoff struct {
	// Before is the moment, in whole seconds; a part of a second counts as a whole one.
	// [UntilNow] returns the one that revokes what was issued until now.
	Before time.Time

	Name     string // of the proxy
	Workload string
	KeyID    string // the kid of the key that signed
}

// String says what the cutoff revokes.
func (c Cutoff) String() string { return c.general().String() }

func (c Cutoff) general() revocation.Cutoff {
	return revocation.Cutoff{Before: c.Before, Name: c.Name, Workload: c.Workload, KeyID: c.KeyID}
}

func specific(c revocation.Cutoff) Cutoff { return Cutoff{c.Before, c.Name, c.Workload, c.KeyID} }

// CutOff adds a cutoff for a mesh. Validators and open sessions obey as fast as they obey
// Revoke. Issuers date new tokens at the cutoff if it is ahead of them, so that these are
// good at once; [Issuer] says how far. CutOff returns the cutoff that is in force for the
// subject: that one, or the present one if it is later. For errors see
// revocation.CutoffsRef.Add.
//
// To revoke what was issued until now, add the cutoff that [UntilNow] returns.
//
// Control planes that know no cutoffs accept the tokens. A cutoff is no remedy for a
// stolen signing key: the thief chooses the iat. Remove the key.
func CutOff(ctx context.Context, store keystore.KeyStore, mesh string, c Cutoff) (Cutoff, error) {
	if err := checkMesh(mesh); err != nil {
		return Cutoff{}, err
	}
	added, err := revocation.AddDataplaneCutoff(ctx, store, mesh, c.general())
	return specific(added), err
}

// UntilNow returns the cutoff for the subject of c that revokes every token which was issued
// before the call, also by machines whose clocks are ahead. It writes nothing: give the
// cutoff to [CutOff] right after it. c.Before has no effect. For the moment and the errors
// see revocation.UntilNow.
func UntilNow(ctx context.Context, store keystore.KeyStore, mesh string, c Cutoff) (Cutoff, error) {
	if err := checkMesh(mesh); err != nil {
		return Cutoff{}, err
	}
	until, err := revocation.UntilNow(ctx, store, token.KindDataplane, keystore.Scope(mesh), c.general())
	return specific(until), err
}

// Affected is what one process knows of the tokens that a cutoff would revoke.
type Affected struct {
	// Sessions counts the open bound contexts that would end. It is -1 if no validator was
	// asked.
	Sessions int

	// Keys are the uses of the keys whose tokens the cutoff is for: of all keys of the
	// mesh, or of the one that it names. Uses are not counted by name or workload, so for
	// a cutoff that names one there are none here.
	Keys []KeyUse
}

// AffectedBy returns what the validators of this process know of the tokens of a mesh that
// a cutoff would revoke, if [CutOff] added it now. It looks at each open session.
func AffectedBy(mesh string, c Cutoff, validators ...Validator) Affected {
	cutoff := revocation.NewCutoffs([]revocation.Cutoff{c.general()}, time.Time{})
	affected := Affected{Sessions: revokedSessions(mesh, cutoff, validators)}
	if c.Name+c.Workload != "" {
		return affected
	}
	for _, v := range validators {
		for _, use := range v.Usage() {
			if use.Mesh == mesh && (c.KeyID == "" || c.KeyID == use.KeyID) {
				affected.Keys = append(affected.Keys, use)
			}
		}
	}
	return affected
}

// revokedSessions counts the open sessions of a mesh whose tokens the cutoffs revoke.
func revokedSessions(mesh string, cutoffs *revocation.Cutoffs, validators []Validator) int {
	if len(validators) == 0 {
		return -1
	}
	n := 0
	for _, v := range validators {
		for t := range v.Sessions() {
			claims := t.live.Untagged()
			if claims.Dataplane.Mesh == mesh && cutoffs.Check(t.KeyID(), claims) != "" {
				n++
			}
		}
	}
	return n
}

// RemoveCutoff removes a cutoff, so that the tokens that it alone revokes are valid again.
// How many they are cannot be known. A cutoff with another moment stays.
func RemoveCutoff(ctx context.Context, store keystore.KeyStore, mesh string, c Cutoff) error {
	if err := checkMesh(mesh); err != nil {
		return err
	}
	return revocation.RemoveDataplaneCutoff(ctx, store, mesh, c.general())
}

// Cutoffs returns the cutoffs of a mesh. If a record with cutoffs cannot be read, the
// result is an error.
func Cutoffs(ctx context.Context, store keystore.KeyStore, mesh string) ([]Cutoff, error) {
	if err := checkMesh(mesh); err != nil {
		return nil, err
	}
	var all []Cutoff
	for _, ref := range []revocation.CutoffsRef{revocation.DataplaneCutoffs(mesh), revocation.DataplaneCutoffsGlobal(mesh)} {
		cutoffs, err := ref.Load(ctx, store)
		if err != nil {
			return nil, err
		}
		for _, c := range cutoffs.All() {
			all = append(all, specific(c))
		}
	}
	return all, nil
}

// PruneRevocations drops the ids of expired tokens from the mesh's own revocation list, as
// revocation.Prune describes. lifetime is the longest validity of any token of the mesh, or
// the [WithMaxLineage] of its issuers if that is longer: a renewed token has the id of the
// first of its lineage.
// The list in the global scope stays as it is.
//
// With dryRun it changes nothing, and counts the open sessions of the validators whose
// tokens the floor would revoke. If there are any, lifetime is too short.
func PruneRevocations(ctx context.Context, store keystore.KeyStore, mesh string, lifetime time.Duration, dryRun bool, validators ...Validator) (revocation.Pruning, error) {
	if err := checkMesh(mesh); err != nil {
		return revocation.Pruning{}, fmt.Errorf("pruning: %w", err)
	}
	p, err := revocation.PruneDataplane(ctx, store, mesh, lifetime, dryRun)
	if err == nil && dryRun {
		p.Sessions = revokedSessions(mesh, revocation.NewCutoffs(nil, p.Floor), validators)
	}
	return p, err
}
