package dataplane

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

// Cutoff revokes every dataplane token of a mesh that was issued before a moment: all of
// them, or those with one name, workload or kid. At most one of the three is set. A token
// that does not have the claim is not concerned.
type Cutoff struct {
	// Before is the moment, in whole seconds; a part of a second counts as a whole one. To
	// revoke what was issued until now, also by machines whose clocks are ahead, add
	// token.Skew to the time of this machine.
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
// A token that was issued while an earlier cutoff was ahead is dated at that one. To take
// it back too, make the new cutoff after the moment of the earlier one.
//
// Control planes that know no cutoffs accept the tokens. A cutoff is no remedy for a
// stolen signing key: the thief chooses the iat. Remove the key.
func CutOff(ctx context.Context, store keystore.KeyStore, mesh string, c Cutoff) (Cutoff, error) {
	if err := checkMesh(mesh); err != nil {
		return Cutoff{}, err
	}
	added, err := revocation.DataplaneCutoffs(mesh).Add(ctx, store, c.general())
	if errors.Is(err, keystore.ErrNameTaken) { // such a store has each name once
		added, err = revocation.DataplaneCutoffsGlobal(mesh).Add(ctx, store, c.general())
	}
	return specific(added), err
}

// RemoveCutoff removes a cutoff, so that the tokens that it alone revokes are valid again.
// How many they are cannot be known. A cutoff with another moment stays.
func RemoveCutoff(ctx context.Context, store keystore.KeyStore, mesh string, c Cutoff) error {
	if err := checkMesh(mesh); err != nil {
		return err
	}
	return errors.Join(
		revocation.DataplaneCutoffs(mesh).Remove(ctx, store, c.general()),
		revocation.DataplaneCutoffsGlobal(mesh).Remove(ctx, store, c.general()))
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
// revocation.Prune describes. lifetime is the longest validity of any token of the mesh.
// The list in the global scope stays as it is.
func PruneRevocations(ctx context.Context, store keystore.KeyStore, mesh string, lifetime time.Duration, dryRun bool) (revocation.Pruning, error) {
	if err := checkMesh(mesh); err != nil {
		return revocation.Pruning{}, fmt.Errorf("pruning: %w", err)
	}
	p, err := revocation.Prune(ctx, store, revocation.Dataplane(mesh), revocation.DataplaneCutoffs(mesh), lifetime, dryRun)
	if errors.Is(err, keystore.ErrNameTaken) { // such a store has each name once; nothing was pruned yet
		p, err = revocation.Prune(ctx, store, revocation.Dataplane(mesh), revocation.DataplaneCutoffsGlobal(mesh), lifetime, dryRun)
	}
	return p, err
}
