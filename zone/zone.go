package zone

import (
	"context"

	"github.com/meshpass/meshpass/internal/live"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// The scopes that meshes use. An application may name others.
const (
	ScopeCP      = "cp"      // the zone's control plane
	ScopeIngress = "ingress" // the proxy through which traffic enters the zone
	ScopeEgress  = "egress"  // the proxy through which traffic leaves the zone
)

var family = &live.Family{
	Kind:   token.KindZone,
	Within: keystore.Global,
	Prefix: "zone-token-",

	ListPrefix: revocation.Zone().Name,
	Keys: func(scope keystore.Scope) (signing.Series, bool) {
		return signing.ZoneKeys(), scope == keystore.Global
	},
	ListOwner: func(name string) (keystore.Scope, bool) {
		return keystore.Global, name == revocation.Zone().Name
	},
}

// EnsureKey makes the first zone signing key, RSA-2048 with serial 1, unless there is
// a signing key already, and returns the key that signs. Call it when the control
// plane is set up, on every replica if need be: of any number of callers at once, in any
// number of processes, one makes the key and all return it.
//
// A key that is there but cannot be read is an error matching signing.ErrKey.
func EnsureKey(ctx context.Context, store keystore.KeyStore) (signing.Key, error) {
	return live.EnsureKey(ctx, store, signing.ZoneKeys())
}

// AddKey adds the next serial. The key signs from then on; the older ones keep
// verifying. It returns signing.ErrNoKey where there is no key yet (see [EnsureKey]), and
// keystore.ErrExists where somebody else added the same serial at the same time.
// The private key must be one that can be stored: it comes from signing.Generate or
// signing.ParsePrivateKey.
func AddKey(ctx context.Context, store keystore.KeyStore, key *signing.PrivateKey) (signing.Key, error) {
	return live.AddKey(ctx, store, signing.ZoneKeys(), key)
}

// RemoveKey removes a key, private and public half. Every token that it
// signed is refused from then on, and the sessions that are bound to one end.
//
// It refuses, with signing.ErrInUse, to remove the key that signs, and with [UnlessUsed] also
// one whose tokens are in use; [Forced] removes it all the same. Give it the issuers'
// [WithPublishDelay], if they have one. It returns signing.ErrNoKey if there is no such
// key.
func RemoveKey(ctx context.Context, store keystore.KeyStore, serial signing.Serial, options ...RemoveOption) error {
	return live.RemoveKey(ctx, store, signing.ZoneKeys(), serial, options)
}

// Rotate adds the next zone key when the newest is as old as the schedule says, and
// removes each old one when every token that it signed has expired. It blocks until
// ctx ends and returns its error, or says at once what is wrong with the schedule. What
// fails is logged and tried again a minute later. Any number of replicas may rotate the
// zone keys: they do it once.
//
// It makes no first key: see [EnsureKey]. The issuers must be given the same
// [WithMaxLifetime] and [WithPublishDelay].
func Rotate(ctx context.Context, store keystore.KeyStore, schedule Rotation) error {
	return live.Rotate(ctx, store, signing.ZoneKeys(), schedule)
}

// Keys lists the zone keys by serial, also those that cannot be read, with the
// reason.
func Keys(ctx context.Context, store keystore.KeyStore) ([]signing.Key, error) {
	return live.Keys(ctx, store, signing.ZoneKeys())
}

// Revoke puts zone tokens, by their ids, on the revocation list. Nobody else's
// addition is lost, however many write at once.
func Revoke(ctx context.Context, store keystore.KeyStore, ids ...string) error {
	return revocation.Zone().Add(ctx, store, ids...)
}

// Restore takes ids off the revocation list.
func Restore(ctx context.Context, store keystore.KeyStore, ids ...string) error {
	return revocation.Zone().Remove(ctx, store, ids...)
}

// Revoked reads the revocation list.
func Revoked(ctx context.Context, store keystore.KeyStore) (*revocation.List, error) {
	return revocation.Zone().Load(ctx, store)
}
