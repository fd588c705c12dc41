package zone

import (
	"context"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

// Cutoff revokes every zone token that was issued before a moment: all of them, or those
// with one zone or kid. At most one of the two is set. An empty one counts as not set:
// check a name that comes from elsewhere, or the cutoff is for all tokens.
type Cutoff struct {
	// Before is the moment, in whole seconds; a part of a second counts as a whole one.
	// [UntilNow] returns the one that revokes what was issued until now.
	Before time.Time

	Zone  string
	KeyID string // the kid of the key that signed
}

// String says what the cutoff revokes.
func (c Cutoff) String() string { return c.general().String() }

func (c Cutoff) general() revocation.Cutoff {
	return revocation.Cutoff{Before: c.Before, Zone: c.Zone, KeyID: c.KeyID}
}

func specific(c revocation.Cutoff) Cutoff { return Cutoff{c.Before, c.Zone, c.KeyID} }

// CutOff adds a cutoff. Validators and open sessions obey as fast as they obey Revoke.
// Issuers date new tokens at the cutoff if it is ahead of them, so that these are good at
// once; [Issuer] says how far. CutOff returns the cutoff that is in force for the subject:
// that one, or the present one if it is later. For errors see revocation.CutoffsRef.Add.
//
// To revoke what was issued until now, add the cutoff that [UntilNow] returns.
//
// Control planes that know no cutoffs accept the tokens. A cutoff is no remedy for a
// stolen signing key: the thief chooses the iat. Remove the key.
func CutOff(ctx context.Context, store keystore.KeyStore, c Cutoff) (Cutoff, error) {
	added, err := revocation.ZoneCutoffs().Add(ctx, store, c.general())
	return specific(added), err
}

// UntilNow returns the cutoff for the subject of c that revokes every token which was issued
// before the call, also by machines whose clocks are ahead. It writes nothing: give the
// cutoff to [CutOff] right after it. c.Before has no effect. For the moment and the errors
// see revocation.UntilNow.
func UntilNow(ctx context.Context, store keystore.KeyStore, c Cutoff) (Cutoff, error) {
	until, err := revocation.UntilNow(ctx, store, token.KindZone, keystore.Global, c.general())
	return specific(until), err
}

// Affected is what one process knows of the tokens that a cutoff would revoke.
type Affected struct {
	// Sessions counts the open bound contexts that would end. It is -1 if no validator was
	// asked.
	Sessions int

	// Keys are the uses of the keys whose tokens the cutoff is for: of all keys, or of the
	// one that it names. Uses are not counted by zone, so for a cutoff that names one there
	// are none here.
	Keys []KeyUse
}

// AffectedBy returns what the validators of this process know of the tokens that a cutoff
// would revoke, if [CutOff] added it now. It looks at each open session.
func AffectedBy(c Cutoff, validators ...Validator) Affected {
	cutoff := revocation.NewCutoffs([]revocation.Cutoff{c.general()}, time.Time{})
	affected := Affected{Sessions: revokedSessions(cutoff, validators)}
	if c.Zone != "" {
		return affected
	}
	for _, v := range validators {
		for _, use := range v.Usage() {
			if c.KeyID == "" || c.KeyID == use.KeyID {
				affected.Keys = append(affected.Keys, use)
			}
		}
	}
	return affected
}

// revokedSessions counts the open sessions whose tokens the cutoffs revoke.
func revokedSessions(cutoffs *revocation.Cutoffs, validators []Validator) int {
	if len(validators) == 0 {
		return -1
	}
	n := 0
	for _, v := range validators {
		for t := range v.Sessions() {
			if cutoffs.Check(t.KeyID(), t.live.Untagged()) != "" {
				n++
			}
		}
	}
	return n
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
		all = append(all, specific(c))
	}
	return all, nil
}

// PruneRevocations drops the ids of expired tokens from the revocation list, as
// revocation.Prune describes. lifetime is the longest validity of any zone token,
// or the [WithMaxLineage] of the issuers if that is longer: a renewed token has the id of the
// first of its lineage.
//
// With dryRun it changes nothing, and counts the open sessions of the validators whose
// tokens the floor would revoke. If there are any, lifetime is too short.
func PruneRevocations(ctx context.Context, store keystore.KeyStore, lifetime time.Duration, dryRun bool, validators ...Validator) (revocation.Pruning, error) {
	p, err := revocation.Prune(ctx, store, revocation.Zone(), revocation.ZoneCutoffs(), lifetime, dryRun)
	if err == nil && dryRun {
		p.Sessions = revokedSessions(revocation.NewCutoffs(nil, p.Floor), validators)
	}
	return p, err
}
