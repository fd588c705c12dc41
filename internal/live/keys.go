package live

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// EnsureKey creates the first key of a series, with serial 1, if the series has
// none, and returns the newest key. Of any number of concurrent callers, in any
// number of processes, one creates the key and all return it.
func EnsureKey(ctx context.Context, store keystore.KeyStore, series signing.Series) (signing.Key, error) {
	key, err := signingKey(ctx, store, series)
	if !errors.Is(err, signing.ErrNoKey) || errors.Is(err, errPublicOnly) {
		return key, err
	}
	private, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		return signing.Key{}, err
	}
	key, err = create(ctx, store, series, audit.CreateKey, 1, private)
	if errors.Is(err, keystore.ErrExists) && !errors.Is(err, keystore.ErrNameTaken) {
		return signingKey(ctx, store, series) // another caller was first
	}
	return key, err
}

// AddKey adds a key under the next serial of a series.
func AddKey(ctx context.Context, store keystore.KeyStore, series signing.Series, private *signing.PrivateKey) (signing.Key, error) {
	if private.Public() == nil {
		return signing.Key{}, errors.New("AddKey: the key is nil")
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
	key, err := create(ctx, store, series, audit.AddKey, next, private)
	if errors.Is(err, keystore.ErrExists) && !errors.Is(err, keystore.ErrNameTaken) {
		return signing.Key{}, fmt.Errorf("adding key %d: somebody else added it at the same time: %w", next, err)
	}
	return key, err
}

func create(ctx context.Context, store keystore.KeyStore, series signing.Series, action audit.Action, serial signing.Serial, private *signing.PrivateKey) (signing.Key, error) {
	pem, err := private.PEM()
	if err != nil {
		return signing.Key{}, err
	}
	record, err := store.Create(ctx, keystore.Record{Scope: series.Scope(), Name: series.KeyName(serial), Data: pem})
	if !errors.Is(err, keystore.ErrExists) || errors.Is(err, keystore.ErrNameTaken) { // else another caller has done it
		logKey(ctx, action, series, serial, err)
	}
	if err != nil {
		return signing.Key{}, err
	}
	return signing.Key{Serial: serial, Created: record.Created, Public: private.Public(), Private: true, Signs: true}, nil
}

// RemoveOption is a condition for removing a key.
type RemoveOption interface{ applyRemoval(*removal) }

type removal struct {
	forced       bool
	publishDelay time.Duration
	unless       []unlessUsed
}

type unlessUsed struct {
	since time.Time
	KeyUse
}

type removeOption func(*removal)

func (o removeOption) applyRemoval(r *removal) { o(r) }

// Forced removes a key even if it signs or is in use.
func Forced() RemoveOption { return removeOption(func(r *removal) { r.forced = true }) }

// UnlessUsed refuses to remove a key whose tokens are in use according to
// reports.
func UnlessUsed(since time.Time, reports ...KeyUse) RemoveOption {
	return removeOption(func(r *removal) {
		for _, use := range reports {
			r.unless = append(r.unless, unlessUsed{since, use})
		}
	})
}

// RemoveKey removes both halves of a key, so that its tokens are rejected.
func RemoveKey(ctx context.Context, store keystore.KeyStore, series signing.Series, serial signing.Serial, options []RemoveOption) error {
	var r removal
	for _, o := range options {
		if o == nil {
			return errors.New("removing a key: an option is nil")
		}
		o.applyRemoval(&r)
	}
	if r.publishDelay < 0 {
		return fmt.Errorf("WithPublishDelay: %s is negative", r.publishDelay)
	}
	keys, err := Keys(ctx, store, series)
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(keys, func(key signing.Key) bool { return key.Serial == serial }) {
		return fmt.Errorf("removing key %d: %w: no record %q", serial, signing.ErrNoKey, series.KeyName(serial))
	}
	if !r.forced {
		err = r.check(series.Scope(), keys, serial)
	}
	if err == nil {
		err = errors.Join(
			store.Delete(ctx, series.Scope(), series.KeyName(serial)),
			store.Delete(ctx, series.Scope(), series.PublicKeyName(serial)))
	}
	logKey(ctx, audit.RemoveKey, series, serial, err)
	if err != nil {
		return fmt.Errorf("removing key %d: %w", serial, err)
	}
	return nil
}

func logKey(ctx context.Context, action audit.Action, series signing.Series, serial signing.Serial, err error) {
	audit.Log(ctx, nil, audit.Event{Action: action, Kind: series.Kind(), Mesh: string(series.Scope()), KeyID: serial.KeyID(), Err: err})
}

// check returns why a key must not be removed, or nil.
func (r *removal) check(scope keystore.Scope, keys []signing.Key, serial signing.Serial) error {
	if signs, ok := signer(keys, time.Now(), r.publishDelay); ok && signs.Serial == serial {
		return fmt.Errorf("%w: it signs; add the next one first", signing.ErrInUse)
	}
	for _, use := range r.unless {
		if use.Scope != scope || use.KeyID != serial.KeyID() {
			continue
		}
		if use.Sessions > 0 {
			return fmt.Errorf("%w: %d sessions with tokens that it signed are open", signing.ErrInUse, use.Sessions)
		}
		if use.LastUsed.After(use.since) {
			return fmt.Errorf("%w: a token that it signed was accepted at %s", signing.ErrInUse, use.LastUsed.Format(time.RFC3339))
		}
	}
	return nil
}

// signer returns the key that signs at a time: the newest one older than the
// publish delay, which every validator has read, or else the oldest one.
func signer(keys []signing.Key, now time.Time, delay time.Duration) (signing.Key, bool) {
	var chosen signing.Key
	found := false
	for _, key := range keys { // by ascending serial
		if key.Private && (!found || delay == 0 || !key.Created.After(now.Add(-delay))) {
			chosen, found = key, true
		}
	}
	return chosen, found
}

// Keys lists the keys of a series by serial, including those that cannot be
// read.
func Keys(ctx context.Context, store keystore.KeyStore, series signing.Series) ([]signing.Key, error) {
	records, err := listKeys(ctx, store, series)
	if err != nil {
		return nil, err
	}
	return series.PublicSet(records, nil).Keys(), nil
}

func listKeys(ctx context.Context, store keystore.KeyStore, series signing.Series) ([]keystore.Record, error) {
	if store == nil {
		return nil, errors.New("the store is nil")
	}
	return store.List(ctx, series.Scope(), series.Prefix())
}

// errPublicOnly is returned where the private keys are kept and created
// elsewhere. A key created here would take the serial of one of them and hide
// it.
var errPublicOnly = fmt.Errorf("%w: the store holds public keys only; signing keys are made by the control plane that published them", signing.ErrNoKey)

// signingKey returns the newest key that signs, or signing.ErrNoKey. If its
// private half cannot be read, that is an error, whatever the public half.
func signingKey(ctx context.Context, store keystore.KeyStore, series signing.Series) (signing.Key, error) {
	records, err := listKeys(ctx, store, series)
	if err != nil {
		return signing.Key{}, err
	}
	keys := series.PublicSet(records, nil).Keys()
	record, serial, err := series.Latest(records)
	if err != nil {
		if len(keys) > 0 {
			err = errPublicOnly
		}
		return signing.Key{}, err
	}
	if _, err := signing.ParsePrivateKey(record.Data); err != nil {
		return signing.Key{}, fmt.Errorf("the newest signing key, record %q, cannot sign: %w", record.Name, err)
	}
	return keys[slices.IndexFunc(keys, func(key signing.Key) bool { return key.Serial == serial })], nil
}
