package dataplane

import (
	"context"
	"fmt"
	"strings"

	"github.com/meshpass/meshpass/internal/live"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const listPrefix = "dataplane-token-revocations-"

var family = &live.Family{
	Kind:   token.KindDataplane,
	Within: keystore.AllScopes,
	Prefix: "dataplane-token-",

	ListPrefix: listPrefix,
	Keys: func(scope keystore.Scope) (signing.Series, bool) {
		return signing.DataplaneKeys(string(scope)), scope != keystore.Global
	},
	ListOwner: func(name string) (keystore.Scope, bool) {
		mesh, ok := strings.CutPrefix(name, listPrefix)
		return keystore.Scope(mesh), ok && mesh != ""
	},
}

// EnsureKey makes the first signing key of a mesh, RSA-2048 with serial 1, unless
// the mesh has a signing key already, and returns the key that signs. Call it when the
// mesh is created, on every replica if need be: of any number of callers at
// once, in any number of processes, one makes the key and all return it.
//
// A key that is there but cannot be read is an error matching signing.ErrKey.
func EnsureKey(ctx context.Context, store keystore.KeyStore, mesh string) (signing.Key, error) {
	series, err := keysOf(mesh)
	if err != nil {
		return signing.Key{}, err
	}
	return live.EnsureKey(ctx, store, series)
}

// AddKey adds the mesh's next serial. The key signs from then on; the older ones
// keep verifying. It returns signing.ErrNoKey where there is no key yet (see
// [EnsureKey]), and keystore.ErrExists where somebody else added the same serial at the
// same time. The private key must be one that can be stored: it comes from
// signing.Generate or signing.ParsePrivateKey.
func AddKey(ctx context.Context, store keystore.KeyStore, mesh string, key *signing.PrivateKey) (signing.Key, error) {
	series, err := keysOf(mesh)
	if err != nil {
		return signing.Key{}, err
	}
	return live.AddKey(ctx, store, series, key)
}

// RemoveKey removes a key of the mesh, private and public half. Every token that it
// signed is refused from then on, and the sessions that are bound to one end.
//
// It refuses, with signing.ErrInUse, to remove the key that signs, and with [UnlessUsed] also
// one whose tokens are in use; [Forced] removes it all the same. Give it the issuers'
// [WithPublishDelay], if they have one. It returns signing.ErrNoKey if there is no such
// key.
func RemoveKey(ctx context.Context, store keystore.KeyStore, mesh string, serial signing.Serial, options ...RemoveOption) error {
	series, err := keysOf(mesh)
	if err != nil {
		return err
	}
	return live.RemoveKey(ctx, store, series, serial, options)
}

// Rotate adds the next key of the mesh when the newest is as old as the schedule
// says, and removes each old one when every token that it signed has expired. It
// blocks until ctx ends and returns its error, or says at once what is wrong with the
// schedule. What fails is logged and tried again a minute later. Any number of
// replicas may rotate the same mesh: they do it once.
//
// It makes no first key: see [EnsureKey]. The issuers must be given the same
// [WithMaxLifetime] and [WithPublishDelay].
func Rotate(ctx context.Context, store keystore.KeyStore, mesh string, schedule Rotation) error {
	series, err := keysOf(mesh)
	if err != nil {
		return err
	}
	return live.Rotate(ctx, store, series, schedule)
}

// Keys lists the mesh's keys by serial, also those that cannot be read, with the
// reason.
func Keys(ctx context.Context, store keystore.KeyStore, mesh string) ([]signing.Key, error) {
	series, err := keysOf(mesh)
	if err != nil {
		return nil, err
	}
	return live.Keys(ctx, store, series)
}

func keysOf(mesh string) (signing.Series, error) {
	return signing.DataplaneKeys(mesh), checkMesh(mesh)
}

// Revoke puts tokens of a mesh, by their ids, on the mesh's revocation list.
// Nobody else's addition is lost, however many write at once.
func Revoke(ctx context.Context, store keystore.KeyStore, mesh string, ids ...string) error {
	if err := checkMesh(mesh); err != nil {
		return err
	}
	return revocation.Dataplane(mesh).Add(ctx, store, ids...)
}

// Restore takes ids off the mesh's revocation list.
func Restore(ctx context.Context, store keystore.KeyStore, mesh string, ids ...string) error {
	if err := checkMesh(mesh); err != nil {
		return err
	}
	return revocation.Dataplane(mesh).Remove(ctx, store, ids...)
}

// Revoked reads the mesh's revocation list. A list in the global scope, which a
// validator heeds too, is not part of it.
func Revoked(ctx context.Context, store keystore.KeyStore, mesh string) (*revocation.List, error) {
	if err := checkMesh(mesh); err != nil {
		return nil, err
	}
	return revocation.Dataplane(mesh).Load(ctx, store)
}

// checkMesh refuses what is no mesh's name. An empty one would mean the global scope.
func checkMesh(mesh string) error {
	if mesh == "" {
		return fmt.Errorf("%w: the mesh is missing", keystore.ErrName)
	}
	return keystore.CheckScope(keystore.Scope(mesh))
}
