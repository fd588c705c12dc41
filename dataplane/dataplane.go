package dataplane

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

var family = &replica.Family{
	Kind:   token.KindDataplane,
	Within: keystore.AllScopes,
	Prefix: "dataplane-token-",

	Keys: func(scope keystore.Scope) (signing.Series, bool) {
		return signing.DataplaneKeys(string(scope)), scope != keystore.Global
	},
}

// EnsureKey creates the first signing key of a mesh, RSA-2048 with serial 1, if
// the mesh has no signing key, and returns the newest key, which may be one of
// [AddExternalKey]. Call it when the mesh is created. All replicas may call it at the
// same time: one creates the key and all return it.
//
// The error matches signing.ErrKey if the record of the newest key cannot
// be read, and signing.ErrNoKey if the store holds only public keys, as the store
// of a zone does: another control plane creates the private keys. Errors of the
// store are returned as they are.
// It matches token.ErrUnavailable if the store has answered from a copy that may be behind
// (keystore.NoteLag), since no serial may be given twice.
func EnsureKey(ctx context.Context, store keystore.KeyStore, mesh string) (signing.Key, error) {
	series, err := keysOf(mesh)
	if err != nil {
		return signing.Key{}, err
	}
	return keylife.EnsureKey(ctx, store, series)
}

// AddKey adds a key under the mesh's next serial. Issuers sign with it at once,
// or after their [WithPublishDelay]. The older keys still verify.
//
// The error matches signing.ErrKey if the key is in a KMS or HSM and so cannot
// be stored: see [AddExternalKey]. It matches signing.ErrNoKey if the mesh has no
// signing key yet (see [EnsureKey]) or if the store holds only public keys, as the
// store of a zone does. It matches keystore.ErrExists if another caller added the same
// serial at the same time. It matches keystore.ErrNameTaken if the store allows
// each name only once and another scope has this name.
// It matches token.ErrUnavailable if the store has answered from a copy that may be behind
// (keystore.NoteLag), since no serial may be given twice.
func AddKey(ctx context.Context, store keystore.KeyStore, mesh string, key *signing.PrivateKey) (signing.Key, error) {
	series, err := keysOf(mesh)
	if err != nil {
		return signing.Key{}, err
	}
	return keylife.AddKey(ctx, store, series, key)
}

// AddExternalKey adds a key in a KMS or HSM under the mesh's next serial: it stores the
// public half, with which validators verify. If the mesh has no key, it is the first, with
// serial 1; do not call [EnsureKey] then. Issuers sign with the key at once, or after
// their [WithPublishDelay], and need its signer by then: give it to them with [WithSigners]
// first. Without it they issue nothing. Keys of [AddKey] and AddExternalKey may follow one
// another.
//
// If the newest key of the mesh is this one already, AddExternalKey returns it and adds
// nothing. So all replicas can call it when they start. A key that was removed is a new one
// to it, and signs again: before [RemoveKey], see that no replica adds the old key.
//
// Do not add a key of the other kind, with AddKey or Rotate, at the same moment. At most
// one of the two stays, but an issuer without a publish delay may have signed with the
// other one in between, and that token is refused.
//
// The error matches signing.ErrKey if an older key, or one with its private half in the
// store, is this one; signing.ErrNoKey if the store holds only copies of public keys, as
// the store of a zone does; and keystore.ErrExists and keystore.ErrNameTaken as for
// [AddKey].
// It matches token.ErrUnavailable if the store has answered from a copy that may be behind
// (keystore.NoteLag), since no serial may be given twice.
func AddExternalKey(ctx context.Context, store keystore.KeyStore, mesh string, key *signing.PublicKey) (signing.Key, error) {
	series, err := keysOf(mesh)
	if err != nil {
		return signing.Key{}, err
	}
	return keylife.AddExternalKey(ctx, store, series, key)
}

// RemoveKey removes a key of the mesh, both the private and the public half. A key in a
// KMS or HSM stays there; the mesh no longer uses it.
// From then on validators reject every token signed with it, and every session
// bound to such a token ends.
//
// The error matches signing.ErrInUse if the key is the one that signs, or if
// [UnlessUsed] finds its tokens in use; with [Forced] it is removed anyway. If
// the issuers have a [WithPublishDelay], pass it too, since it decides which key
// signs. The error matches signing.ErrNoKey if there is no such key, and
// token.ErrUnavailable if only a copy of the store that may be behind lacks it
// (keystore.NoteLag).
//
// The newest key is never removed, not even with Forced: add the next key first.
// So no serial is given twice. To take all keys away, call [RemoveAllKeys].
func RemoveKey(ctx context.Context, store keystore.KeyStore, mesh string, serial signing.Serial, options ...RemoveOption) error {
	series, err := keysOf(mesh)
	if err != nil {
		return err
	}
	var r keylife.Removal
	if err := setting.Apply(&r, options, RemoveOption.applyRemoval); err != nil {
		return fmt.Errorf("removing key %d: %w", serial, err)
	}
	return keylife.RemoveKey(ctx, store, series, serial, r)
}

// RemoveAllKeys removes all keys of the mesh, private and public, for example when
// the mesh is deleted. Validators then reject every token except those of configured
// public keys, and Issue returns signing.ErrNoKey until [EnsureKey] makes serial 1.
// After an error some keys may be left: call it again. It removes none, and the error matches
// token.ErrUnavailable, if the store has answered from a copy that may be behind
// (keystore.NoteLag): the copy may lack some.
func RemoveAllKeys(ctx context.Context, store keystore.KeyStore, mesh string) error {
	series, err := keysOf(mesh)
	if err != nil {
		return err
	}
	return keylife.RemoveAllKeys(ctx, store, series)
}

// Rotate rotates the keys of a mesh until ctx ends. It adds a key when the
// newest one has reached the age Rotation.Every, and removes an old one five
// minutes after every token signed with it has expired. It does not create the
// first key: see [EnsureKey]. If the newest key is one of [AddExternalKey], Rotate adds
// none, which it logs once; it still removes old ones. The issuers must have the same [WithMaxLifetime]
// and [WithPublishDelay] as the schedule.
//
// Rotate blocks and returns the error of ctx. It returns at once only if an
// argument is invalid. Every other failure is logged and tried again after a
// minute. Any number of replicas may rotate the same mesh at the same time:
// each change is made once.
func Rotate(ctx context.Context, store keystore.KeyStore, mesh string, schedule Rotation) error {
	series, err := keysOf(mesh)
	if err != nil {
		return err
	}
	return keylife.Rotate(ctx, store, series, keylife.Rotation(schedule))
}

// Keys lists the keys of the mesh by ascending serial, including those that
// cannot be read or whose private key is not valid; their Err has the reason.
func Keys(ctx context.Context, store keystore.KeyStore, mesh string) ([]signing.Key, error) {
	series, err := keysOf(mesh)
	if err != nil {
		return nil, err
	}
	return keylife.Keys(ctx, store, series)
}

func keysOf(mesh string) (signing.Series, error) {
	return signing.DataplaneKeys(mesh), checkMesh(mesh)
}

// Revoke revokes dataplane tokens of a mesh by their ids (jti): it adds the ids to
// the mesh's revocation list, and to the list in the global scope if there is one.
// Any number of callers may change the lists at the same time; no change is lost. For
// errors and limits see revocation.AddDataplane.
//
// Revoke does not check that the mesh exists: a mistyped name revokes nothing.
func Revoke(ctx context.Context, store keystore.KeyStore, mesh string, id string, more ...string) error {
	if err := checkMesh(mesh); err != nil {
		return err
	}
	return revocation.AddDataplane(ctx, store, mesh, append([]string{id}, more...)...)
}

// Restore removes token ids from the mesh's revocation list, and from the list in the
// global scope, so that their tokens are valid again, unless a cutoff or the floor of
// [PruneRevocations] revokes them too. It ignores ids that are not on the lists.
func Restore(ctx context.Context, store keystore.KeyStore, mesh string, id string, more ...string) error {
	if err := checkMesh(mesh); err != nil {
		return err
	}
	return revocation.RemoveDataplane(ctx, store, mesh, append([]string{id}, more...)...)
}

// Revoked returns the ids on the mesh's revocation list and on its list in the global
// scope. If one of them cannot be read, the result is an error.
func Revoked(ctx context.Context, store keystore.KeyStore, mesh string) (*revocation.List, error) {
	if err := checkMesh(mesh); err != nil {
		return nil, err
	}
	return revocation.LoadDataplane(ctx, store, mesh)
}

// checkMesh rejects an invalid mesh name. An empty one would select the global
// scope.
func checkMesh(mesh string) error {
	if mesh == "" {
		return fmt.Errorf("%w: the mesh is missing", keystore.ErrName)
	}
	return keystore.CheckScope(keystore.Scope(mesh))
}
