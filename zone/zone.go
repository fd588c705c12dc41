package zone

import (
	"context"
	"fmt"

	"github.com/meshpass/meshpass/internal/keylife"
	"github.com/meshpass/meshpass/internal/replica"
	"github.com/meshpass/meshpass/internal/setting"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// The scopes that meshes use. An application may define others.
const (
	ScopeCP      = "cp"      // the zone's control plane
	ScopeIngress = "ingress" // the proxy through which traffic enters the zone
	ScopeEgress  = "egress"  // the proxy through which traffic leaves the zone
)

var family = &replica.Family{
	Kind:   token.KindZone,
	Within: keystore.Global,
	Prefix: "zone-token-",

	Keys: func(scope keystore.Scope) (signing.Series, bool) {
		return signing.ZoneKeys(), scope == keystore.Global
	},
}

// EnsureKey creates the first zone signing key, RSA-2048 with serial 1, if
// there is no signing key, and returns the newest key. Call it when the global
// control plane is set up, on every replica if need be: of any number of
// concurrent callers, in any number of processes, one creates the key and all
// return it.
//
// The error matches signing.ErrKey if the newest key cannot sign because its
// private half cannot be read, and signing.ErrNoKey if the store holds only
// public keys, as the store of a zone does: the private keys are created
// elsewhere. Errors of the store are returned as they are.
func EnsureKey(ctx context.Context, store keystore.KeyStore) (signing.Key, error) {
	return keylife.EnsureKey(ctx, store, signing.ZoneKeys())
}

// AddKey adds a zone key under the next serial. Issuers sign with it at once,
// or after their [WithPublishDelay]. The older keys still verify.
//
// The error matches signing.ErrKey if the key is in a KMS or HSM and so cannot
// be stored. It matches signing.ErrNoKey if there is no signing key yet (see
// [EnsureKey]) or if the store holds only public keys, as the store of a zone
// does. It matches keystore.ErrExists if another caller added the same serial
// at the same time, and keystore.ErrNameTaken if another scope has the name in a
// store that has each name only once.
func AddKey(ctx context.Context, store keystore.KeyStore, key *signing.PrivateKey) (signing.Key, error) {
	return keylife.AddKey(ctx, store, signing.ZoneKeys(), key)
}

// RemoveKey removes a zone key, both the private and the public half. Every
// token signed with it is rejected from then on, and every session bound to
// such a token ends.
//
// The error matches signing.ErrInUse if the key is the one that signs, or if
// [UnlessUsed] finds its tokens in use; [Forced] removes it all the same. Pass
// the issuers' [WithPublishDelay], if they have one, since it decides which key
// signs. The error matches signing.ErrNoKey if there is no such key.
//
// After the newest key was removed with Forced, the key before it signs again,
// and the removed serial is given to the next key. Removing the last key leaves
// zones without a signing key: every token is rejected, except for those of
// configured public keys, and Issue returns signing.ErrNoKey until EnsureKey.
func RemoveKey(ctx context.Context, store keystore.KeyStore, serial signing.Serial, options ...RemoveOption) error {
	var r keylife.Removal
	if err := setting.Apply(&r, options, RemoveOption.applyRemoval); err != nil {
		return fmt.Errorf("removing key %d: %w", serial, err)
	}
	return keylife.RemoveKey(ctx, store, signing.ZoneKeys(), serial, r)
}

// Rotate rotates the zone keys until ctx ends. It adds a key when the newest
// one has reached the age Rotation.Every, and removes an old one when every
// token signed with it has expired, with a margin of five minutes. It creates
// no first key: see [EnsureKey]. The issuers must have the same
// [WithMaxLifetime] and [WithPublishDelay] as the schedule.
//
// Rotate blocks and returns the error of ctx. It returns at once only if an
// argument is invalid. Every other failure is logged and tried again after a
// minute. Any number of replicas may rotate the zone keys at the same time:
// each change is made once.
func Rotate(ctx context.Context, store keystore.KeyStore, schedule Rotation) error {
	return keylife.Rotate(ctx, store, signing.ZoneKeys(), keylife.Rotation(schedule))
}

// Keys lists the zone keys by ascending serial. A key that cannot be read is
// listed with the reason in its Err.
func Keys(ctx context.Context, store keystore.KeyStore) ([]signing.Key, error) {
	return keylife.Keys(ctx, store, signing.ZoneKeys())
}

// Revoke adds token ids (jti) to the revocation list of zone tokens. Any number
// of callers may change the list at the same time; no change is lost. For
// errors and limits see revocation.Ref.Add.
//
// Whether a token has the id is not checked: a mistyped id revokes nothing.
func Revoke(ctx context.Context, store keystore.KeyStore, id string, more ...string) error {
	return revocation.Zone().Add(ctx, store, append([]string{id}, more...)...)
}

// Restore removes token ids from the revocation list, so that their tokens are
// valid again. Ids that are not on the list are ignored.
func Restore(ctx context.Context, store keystore.KeyStore, id string, more ...string) error {
	return revocation.Zone().Remove(ctx, store, append([]string{id}, more...)...)
}

// Revoked reads the revocation list of zone tokens.
func Revoked(ctx context.Context, store keystore.KeyStore) (*revocation.List, error) {
	return revocation.Zone().Load(ctx, store)
}
