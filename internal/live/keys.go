package live

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// EnsureKey makes the first key of a series, with serial 1, unless it has a key
// already. It returns the key that signs. Of any number of callers at once, in any
// number of processes, one makes the key and all return it.
func EnsureKey(ctx context.Context, store keystore.KeyStore, series signing.Series) (signing.Key, error) {
	key, err := signingKey(ctx, store, series)
	if !errors.Is(err, signing.ErrNoKey) {
		return key, err
	}
	private, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		return signing.Key{}, err
	}
	key, err = create(ctx, store, series, 1, private)
	if errors.Is(err, keystore.ErrExists) && !errors.Is(err, keystore.ErrNameTaken) {
		return signingKey(ctx, store, series) // somebody else was first
	}
	return key, err
}

// AddKey adds the next serial of a series, which signs from then on.
func AddKey(ctx context.Context, store keystore.KeyStore, series signing.Series, private *signing.PrivateKey) (signing.Key, error) {
	if private.Public() == nil {
		return signing.Key{}, errors.New("adding a key: there is no key")
	}
	keys, err := Keys(ctx, store, series)
	if err != nil {
		return signing.Key{}, err
	}
	if !slices.ContainsFunc(keys, func(key signing.Key) bool { return key.Signs }) {
		if len(keys) > 0 {
			return signing.Key{}, fmt.Errorf("adding a key: %w", errPublicOnly)
		}
		return signing.Key{}, fmt.Errorf("adding a key: %w: the first one is made by EnsureKey", signing.ErrNoKey)
	}
	latest := keys[len(keys)-1].Serial
	next := latest + 1
	if next < latest {
		return signing.Key{}, fmt.Errorf("adding a key: serial %d is the highest there can be", latest)
	}
	key, err := create(ctx, store, series, next, private)
	if errors.Is(err, keystore.ErrExists) {
		return signing.Key{}, fmt.Errorf("adding key %d: somebody else added it at the same time: %w", next, err)
	}
	return key, err
}

func create(ctx context.Context, store keystore.KeyStore, series signing.Series, serial signing.Serial, private *signing.PrivateKey) (signing.Key, error) {
	pem, err := private.PEM()
	if err != nil {
		return signing.Key{}, err
	}
	record, err := store.Create(ctx, keystore.Record{Scope: series.Scope(), Name: series.KeyName(serial), Data: pem})
	if err != nil {
		return signing.Key{}, err
	}
	return signing.Key{Serial: serial, Created: record.Created, Public: private.Public(), Signs: true}, nil
}

// RemoveKey removes a key, private and public, so that what it signed is refused.
func RemoveKey(ctx context.Context, store keystore.KeyStore, series signing.Series, serial signing.Serial) error {
	keys, err := Keys(ctx, store, series)
	if err != nil {
		return err
	}
	found := false
	for _, key := range keys {
		found = found || key.Serial == serial
	}
	if !found {
		return fmt.Errorf("removing key %d: %w: no record %q", serial, signing.ErrNoKey, series.KeyName(serial))
	}
	return errors.Join(
		store.Delete(ctx, series.Scope(), series.KeyName(serial)),
		store.Delete(ctx, series.Scope(), series.PublicKeyName(serial)))
}

// Keys lists the keys of a series by serial, unreadable ones included.
func Keys(ctx context.Context, store keystore.KeyStore, series signing.Series) ([]signing.Key, error) {
	if store == nil {
		return nil, errors.New("the store is nil")
	}
	records, err := store.List(ctx, series.Scope(), series.Prefix())
	if err != nil {
		return nil, err
	}
	return series.PublicSet(records, nil).Keys(), nil
}

// errPublicOnly says that the private keys are somewhere else, and are made there: one
// made here would have the serial of another, and hide it.
var errPublicOnly = errors.New("there are public keys only; signing keys are made where those come from")

// signingKey returns the key that signs, or signing.ErrNoKey.
func signingKey(ctx context.Context, store keystore.KeyStore, series signing.Series) (signing.Key, error) {
	keys, err := Keys(ctx, store, series)
	if err != nil {
		return signing.Key{}, err
	}
	for _, key := range keys {
		if key.Signs {
			return key, key.Err
		}
	}
	if len(keys) > 0 {
		return signing.Key{}, errPublicOnly
	}
	return signing.Key{}, signing.ErrNoKey
}
