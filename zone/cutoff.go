package zone

import (
	"context"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

// Cutoff revokes every zone token that was issued before a moment: all of them, or those
// with one zone or kid. At most one of the two is set.
type Cutoff struct {
	// Before is the moment, in whole seconds; a part of a second counts as a whole one. To
	// revoke what was issued until now, also by machines whose clocks are ahead, add
	// token.Skew to the time of this machine.
	Before time.Time

	Zone  string
	KeyID string // the kid of the key that signed
}

// String says what the cutoff revokes.
func (c Cutoff) String() string { return c.general().String() }

func (c Cutoff) general() revocation.Cutoff {
	return revocation.Cutoff{Before: c.Before, Zone: c.Zone, KeyID: c.KeyID}
}

// CutOff adds a cutoff. Validators and open sessions obey as fast as they obey Revoke.
// Issuers date new tokens at the cutoff if it is ahead of them, so that these are good at
// once; [Issuer] says how far. CutOff returns the cutoff that is in force for the subject:
// that one, or the present one if it is later. For errors see revocation.CutoffsRef.Add.
//
// A token that was issued while an earlier cutoff was ahead is dated at that one. To take
// it back too, make the new cutoff after the moment of the earlier one.
//
// Control planes that know no cutoffs accept the tokens. A cutoff is no remedy for a
// stolen signing key: the thief chooses the iat. Remove the key.
func CutOff(ctx context.Context, store keystore.KeyStore, c Cutoff) (Cutoff, error) {
	added, err := revocation.ZoneCutoffs().Add(ctx, store, c.general())
	return Cutoff{added.Before, added.Zone, added.KeyID}, err
}

// RemoveCutoff removes a cutoff, so that the tokens that it alone revokes are valid again.
// How many they are cannot be known. A cutoff with another moment stays.
func RemoveCutoff(ctx context.Context, store keystore.KeyStore, c Cutoff) error {
	return revocation.ZoneCutoffs().Remove(ctx, store, c.general())
}

// Cutoffs returns the cutoffs of zone tokens. If the record cannot be read, the result is
// an error.
func Cutoffs(ctx context.Context, store keystore.KeyStore) ([]Cutoff, error) {
	cutoffs, err := revocation.ZoneCutoffs().Load(ctx, store)
	if err != nil {
		return nil, err
	}
	var all []Cutoff
	for _, c := range cutoffs.All() {
		all = append(all, Cutoff{c.Before, c.Zone, c.KeyID})
	}
	return all, nil
}

// PruneRevocations drops the ids of expired tokens from the revocation list, as
// revocation.Prune describes. lifetime is the longest validity of any zone token.
func PruneRevocations(ctx context.Context, store keystore.KeyStore, lifetime time.Duration, dryRun bool) (revocation.Pruning, error) {
	return revocation.Prune(ctx, store, revocation.Zone(), revocation.ZoneCutoffs(), lifetime, dryRun)
}
