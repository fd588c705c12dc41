// Package keylife creates, adds, rotates and removes signing keys, and issues tokens
// with them. It does not follow a store: each call reads it, unless an issuer is given what
// follows it.
package keylife

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// EnsureKey creates the first key of a series, with serial 1, if the series has
// none, and returns the newest key. If many callers in many processes do so at the
// same time, one creates the key and all return it.
func EnsureKey(ctx context.Context, store keystore.KeyStore, series signing.Series) (signing.Key, error) {
	key, err := signingKey(ctx, store, series)
	if !errors.Is(err, signing.ErrNoKey) || errors.Is(err, errPublicOnly) {
		return key, err
	}
	private, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		return signing.Key{}, err
	}
	key, err = createPrivate(ctx, store, series, audit.CreateKey, 1, private)
	if anotherWasFirst(err) {
		return signingKey(ctx, store, series)
	}
	return key, err
}

// AddKey adds a key under the next serial of a series.
func AddKey(ctx context.Context, store keystore.KeyStore, series signing.Series, private *signing.PrivateKey) (signing.Key, error) {
	if private.Public() == nil {
		return signing.Key{}, errors.New("AddKey: the key is nil")
	}
	listed, err := listKeys(ctx, store, series)
	if err != nil {
		return signing.Key{}, err
	}
	keys := listed.keys()
	next, err := nextSerial(keys)
	if err == nil && len(keys) == 0 {
		err = fmt.Errorf("%w: EnsureKey creates the first one", signing.ErrNoKey)
	}
	err = cmp.Or(err, listed.checkCurrent())
	if err != nil {
		return signing.Key{}, fmt.Errorf("adding a key: %w", err)
	}
	key, err := createPrivate(ctx, store, series, audit.AddKey, next, private)
	if anotherWasFirst(err) {
		return signing.Key{}, fmt.Errorf("adding key %d: another caller added it at the same time: %w", next, err)
	}
	return key, err
}

// AddExternalKey adds the public half of a key outside the store under the next serial
// of a series, or under serial 1 if the series has none. If the newest key is this one
// already, it returns that.
func AddExternalKey(ctx context.Context, store keystore.KeyStore, series signing.Series, public *signing.PublicKey) (signing.Key, error) {
	if public.Bits() == 0 {
		return signing.Key{}, errors.New("AddExternalKey: the key is nil")
	}
	listed, err := listKeys(ctx, store, series)
	if err != nil {
		return signing.Key{}, err
	}
	keys := listed.keys()
	if present, ok, err := findExternal(keys, public); ok || err != nil {
		return present, err
	}
	next, err := nextSerial(keys)
	if err = cmp.Or(err, listed.checkCurrent()); err != nil {
		return signing.Key{}, fmt.Errorf("adding a key: %w", err)
	}
	action := audit.AddKey
	if len(keys) == 0 {
		action = audit.CreateKey
	}
	key, err := create(ctx, store, series, action, signing.Key{Serial: next, Public: public, External: true}, public.PEM())
	if !anotherWasFirst(err) {
		return key, err
	}
	if keys, listErr := Keys(ctx, store, series); listErr == nil {
		if present, ok, _ := findExternal(keys, public); ok {
			return present, nil // another caller added the same key
		}
	}
	return signing.Key{}, fmt.Errorf("adding key %d: another caller added it at the same time: %w", next, err)
}

// findExternal returns the newest key if it is the external one with this public half.
// Another key with this public half is an error: a process with old settings would
// otherwise make an old key sign again.
func findExternal(keys []signing.Key, public *signing.PublicKey) (newest signing.Key, ok bool, err error) {
	for i, key := range keys {
		switch {
		case !public.Equal(key.Public):
		case key.External && i == len(keys)-1:
			return key, true, nil
		default:
			return signing.Key{}, false, fmt.Errorf("adding a key: %w: found the key of serial %d, wanted a new one", signing.ErrKey, key.Serial)
		}
	}
	return signing.Key{}, false, nil
}

// nextSerial returns the serial after the highest, or 1 if there are no keys.
func nextSerial(keys []signing.Key) (signing.Serial, error) {
	if len(keys) == 0 {
		return 1, nil
	}
	if !slices.ContainsFunc(keys, func(key signing.Key) bool { return key.Signs }) {
		return 0, errPublicOnly
	}
	latest := keys[len(keys)-1].Serial
	if latest == math.MaxInt64 {
		return 0, fmt.Errorf("serial %d is the highest possible", latest)
	}
	return latest + 1, nil
}

func createPrivate(ctx context.Context, store keystore.KeyStore, series signing.Series, action audit.Action, serial signing.Serial, private *signing.PrivateKey) (signing.Key, error) {
	pem, err := private.PEM()
	if err != nil {
		return signing.Key{}, err
	}
	return create(ctx, store, series, action, signing.Key{Serial: serial, Public: private.Public(), Private: true}, pem)
}

// create creates the record of a key that signs.
func create(ctx context.Context, store keystore.KeyStore, series signing.Series, action audit.Action, key signing.Key, data []byte) (signing.Key, error) {
	name, other := series.KeyName(key.Serial), series.ExternalKeyName(key.Serial)
	if key.External {
		name, other = other, name
	}
	record, err := store.Create(ctx, keystore.Record{Scope: series.Scope(), Name: name, Data: data})
	if err == nil {
		// The two kinds of key have different names: the store cannot tell that two
		// callers take the same serial at the same time.
		if _, missing := store.Get(ctx, series.Scope(), other); missing == nil || errors.Is(missing, keystore.ErrUnreadable) {
			err = errors.Join(fmt.Errorf("%w: record %q", keystore.ErrExists, other), store.Delete(ctx, series.Scope(), name))
		}
	}
	if !anotherWasFirst(err) {
		logKey(ctx, action, series, key.Serial, err)
	}
	if err != nil {
		return signing.Key{}, err
	}
	key.Created, key.Signs = record.Created, true
	return key, nil
}

// anotherWasFirst reports whether err says that another caller has created the record.
func anotherWasFirst(err error) bool {
	return errors.Is(err, keystore.ErrExists) && !errors.Is(err, keystore.ErrNameTaken)
}

// Removal holds the conditions for removing a key. The zero Removal refuses to
// remove the key that signs.
type Removal struct {
	Forced       bool          // remove even a key that signs or is in use
	PublishDelay time.Duration // of the issuers: it decides which key signs
	Used         []Use
}

// Use is a report of how a process uses a key.
type Use struct {
	Scope    keystore.Scope
	KeyID    string
	Sessions int
	LastUsed time.Time
	Since    time.Time // a use after this time counts
}

// RemoveKey removes all records of a key, so that validators reject its tokens.
func RemoveKey(ctx context.Context, store keystore.KeyStore, series signing.Series, serial signing.Serial, r Removal) error {
	if err := checkPublishDelay(r.PublishDelay); err != nil {
		return err
	}
	listed, err := listKeys(ctx, store, series)
	if err != nil {
		return err
	}
	keys := listed.keys()
	if !slices.ContainsFunc(keys, func(key signing.Key) bool { return key.Serial == serial }) {
		missing := fmt.Errorf("%w: no record %q", signing.ErrNoKey, series.KeyName(serial))
		return fmt.Errorf("removing key %d: %w", serial, cmp.Or(listed.checkCurrent(), missing))
	}
	err = checkNotNewest(keys, serial)
	if err == nil && !r.Forced {
		err = r.check(listed, serial)
	}
	if err == nil {
		return remove(ctx, store, series, serial)
	}
	logKey(ctx, audit.RemoveKey, series, serial, err)
	return fmt.Errorf("removing key %d: %w", serial, err)
}

// checkNotNewest refuses to remove the newest key of a store that adds keys, since
// the next key would get its serial: tokens of the new key would then be checked with
// the old one until each validator has read the store.
func checkNotNewest(keys []signing.Key, serial signing.Serial) error {
	if keys[len(keys)-1].Serial == serial && slices.ContainsFunc(keys, func(key signing.Key) bool { return key.Signs }) {
		return fmt.Errorf("%w: it is the newest, and its serial must not be given again; add the next key first", signing.ErrInUse)
	}
	return nil
}

// remove deletes all records of a key.
func remove(ctx context.Context, store keystore.KeyStore, series signing.Series, serial signing.Serial) error {
	err := errors.Join(
		store.Delete(ctx, series.Scope(), series.KeyName(serial)),
		store.Delete(ctx, series.Scope(), series.ExternalKeyName(serial)),
		store.Delete(ctx, series.Scope(), series.PublicKeyName(serial)))
	logKey(ctx, audit.RemoveKey, series, serial, err)
	if err != nil {
		return fmt.Errorf("removing key %d: %w", serial, err)
	}
	return nil
}

// RemoveAllKeys removes all keys of a series, the highest serial last, so that a
// failure in between leaves no serial to be given again.
func RemoveAllKeys(ctx context.Context, store keystore.KeyStore, series signing.Series) error {
	listed, err := listKeys(ctx, store, series)
	if err != nil {
		return err
	}
	if err := listed.checkCurrent(); err != nil {
		return fmt.Errorf("removing all keys: %w", err)
	}
	for _, key := range listed.keys() {
		if err := remove(ctx, store, series, key.Serial); err != nil {
			return err
		}
	}
	return nil
}

func logKey(ctx context.Context, action audit.Action, series signing.Series, serial signing.Serial, err error) {
	audit.Log(ctx, nil, audit.Event{Action: action, Kind: series.Kind(), Mesh: string(series.Scope()), KeyID: serial.KeyID(), Err: err})
}

// check returns why a key must not be removed, or nil.
func (r *Removal) check(listed listing, serial signing.Serial) error {
	if _, signs, err := listed.signing(publishedBy(time.Now(), r.PublishDelay)); err == nil && signs == serial {
		return fmt.Errorf("%w: it signs; add the next one first", signing.ErrInUse)
	}
	for _, use := range r.Used {
		if use.Scope != listed.series.Scope() || use.KeyID != serial.KeyID() {
			continue
		}
		if use.Sessions > 0 {
			return fmt.Errorf("%w: %d sessions with tokens that it signed are open", signing.ErrInUse, use.Sessions)
		}
		if use.LastUsed.After(use.Since) {
			return fmt.Errorf("%w: a token that it signed was accepted at %s", signing.ErrInUse, use.LastUsed.Format(time.RFC3339))
		}
	}
	return nil
}

// Keys lists the keys of a series by serial, including those that cannot be
// read.
func Keys(ctx context.Context, store keystore.KeyStore, series signing.Series) ([]signing.Key, error) {
	listed, err := listKeys(ctx, store, series)
	if err != nil {
		return nil, err
	}
	return listed.keys(), nil
}

// listing holds the records of a series in a store, also those that cannot be read.
type listing struct {
	series     signing.Series
	records    []keystore.Record
	unreadable []*keystore.Error
	behind     bool // perhaps: later keys may be missing
}

func listKeys(ctx context.Context, store keystore.KeyStore, series signing.Series) (listing, error) {
	if store == nil {
		return listing{}, errors.New("the store is nil")
	}
	ctx, mayLag := keystore.WithLag(ctx)
	records, err := store.List(ctx, series.Scope(), series.Prefix())
	unreadable, err := keystore.SplitUnreadable(err)
	return listing{series, records, unreadable, mayLag()}, err
}

// checkCurrent returns an error if the listed keys may be those of some time ago: the next
// serial may have been given since, and its key removed, and no serial may be given twice.
func (l listing) checkCurrent() error {
	if l.behind {
		return fmt.Errorf("%w: the keys were read from a copy of the store that may be behind and lack later ones", token.ErrUnavailable)
	}
	return nil
}

func (l listing) keys() []signing.Key {
	return l.series.CheckedSet(l.records, l.unreadable).Keys()
}

// signing returns the record of the newest key that signs, or signing.ErrNoKey. A list without
// keys that may be behind is no sign that there is none.
func (l listing) signing(createdBy time.Time) (keystore.Record, signing.Serial, error) {
	record, serial, err := l.series.Signing(l.records, l.unreadable, createdBy)
	if errors.Is(err, signing.ErrNoKey) && len(l.keys()) == 0 {
		err = cmp.Or(l.checkCurrent(), err)
	}
	return record, serial, err
}

// checkHolds returns an error unless the key with a kid is there.
func (l listing) checkHolds(kid string, key *signing.PublicKey) error {
	serial, _ := signing.ParseSerial(kid) // validators find other kids in sources only
	is := func(name string) bool {
		of, _, err := l.series.ParseName(name)
		return err == nil && of == serial
	}
	of := slices.DeleteFunc(slices.Clone(l.records), func(r keystore.Record) bool { return !is(r.Name) })
	unknown := slices.ContainsFunc(l.unreadable, func(e *keystore.Error) bool { return is(e.Name) })
	for _, found := range l.series.PublicSet(of, nil, nil).Keys() {
		if key.Equal(found.Public) {
			return nil
		}
		unknown = unknown || found.Err != nil
	}
	if unknown {
		return fmt.Errorf("%w: key %q cannot be read in the issuer's store", token.ErrUnavailable, kid)
	}
	if err := l.checkCurrent(); err != nil {
		return fmt.Errorf("looking for key %q in the issuer's store: %w", kid, err)
	}
	return fmt.Errorf("%w: the issuer's store does not have key %q that verified the token", token.ErrUnknownKey, kid)
}

// errPublicOnly is returned where another control plane creates and keeps the
// private keys. A key created here would take the serial of one of them and hide
// it.
var errPublicOnly = fmt.Errorf("%w: the store holds only public keys; the control plane that published them creates the signing keys", signing.ErrNoKey)

// signingKey returns the newest key that signs, or signing.ErrNoKey. If its
// record cannot be read, it returns an error, whatever a copy of its public half.
func signingKey(ctx context.Context, store keystore.KeyStore, series signing.Series) (signing.Key, error) {
	listed, err := listKeys(ctx, store, series)
	if err != nil {
		return signing.Key{}, err
	}
	keys := listed.keys()
	record, serial, err := listed.signing(time.Time{})
	if errors.Is(err, signing.ErrNoKey) && len(keys) > 0 {
		err = errPublicOnly
	}
	if err != nil {
		return signing.Key{}, err
	}
	if _, err := parseSigningKey(series, record); err != nil {
		return signing.Key{}, err
	}
	return keys[slices.IndexFunc(keys, func(key signing.Key) bool { return key.Serial == serial })], nil
}
