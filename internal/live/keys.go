package live

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meshpass/meshpass/internal/replica"
	"github.com/meshpass/meshpass/internal/sources"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// signer is the key that signed a token, under the kid that the token names, and where
// it comes from.
type signer struct {
	kid    string
	key    *signing.PublicKey
	source *sources.Source // nil: the store
}

// demandsOfStore is what tokens of the store's keys must say.
var demandsOfStore = token.Demands{LowerCase: true}

// demands returns what the tokens of the key must say.
func (k signer) demands() *token.Demands {
	if k.source == nil {
		return &demandsOfStore
	}
	return k.source.Demands()
}

// known is what a validator knows at one moment.
type known struct {
	store   *replica.State // nil: there is no store, or it was not read
	sources *sources.State
}

// known returns what is known now.
func (v *Validator) known() known {
	var store *replica.State
	if v.follower != nil {
		store = v.follower.State()
	}
	return v.with(store)
}

// with returns what is known now, with a state of the store.
func (v *Validator) with(store *replica.State) known { return known{store, v.sources.State()} }

// resolve returns the key that a kid names in a scope. A kid that an operator chose names
// the key of its source. Otherwise it names the key of the store, and if the store has
// none, the key of the only source that has it. The error matches signing.ErrNoKey if
// there is no such key, token.ErrUnknownKey if it cannot be used, and
// token.ErrUnavailable if that cannot be known.
func (v *Validator) resolve(now known, scope keystore.Scope, kid string) (signer, error) {
	held, err := now.sources.Find(scope, kid)
	if held != nil && (held.Chosen || !v.storeKeys) {
		if err != nil {
			return signer{}, err
		}
		return signer{kid, held.Key, held.Source}, nil
	}
	if !v.storeKeys {
		return signer{}, signing.ErrNoKey
	}
	if held != nil {
		missing, unknown := lacks(now.store, scope, kid)
		switch {
		case unknown != nil:
			return signer{}, unknown
		case missing && err != nil:
			return signer{}, err
		case missing:
			return signer{kid, held.Key, held.Source}, nil
		}
	}
	if now.store == nil {
		return signer{}, errNotRead
	}
	key, err := now.store.Key(scope, kid)
	if err == nil || errors.Is(err, signing.ErrNoKey) {
		return signer{kid, key, nil}, err
	}
	return signer{}, fmt.Errorf("%w: %w", token.ErrUnavailable, err)
}

var errNotRead = fmt.Errorf("%w: the store was not read yet", token.ErrUnavailable)

// lacks reports whether the store is known to have no key with a kid.
func lacks(store *replica.State, scope keystore.Scope, kid string) (bool, error) {
	if _, ok := signing.ParseSerial(kid); !ok {
		return true, nil
	}
	if store == nil {
		return false, errNotRead
	}
	if _, err := store.Key(scope, kid); !errors.Is(err, signing.ErrNoKey) {
		return false, nil
	}
	return true, store.Known(scope)
}

// checkKey returns why the tokens of a key are no longer good, or cannot be checked.
func (v *Validator) checkKey(now known, scope keystore.Scope, k signer) error {
	is, err := v.resolve(now, scope, k.kid)
	switch {
	case err == nil && is.source == k.source && (is.key == k.key || is.key.Equal(k.key)):
		return nil
	case err == nil && is.source == nil && k.source != nil:
		return fmt.Errorf("%w: the key with kid %q in %s is not used: the store has one", token.ErrUnknownKey, k.kid, k.source)
	case err == nil && is.source != k.source:
		return fmt.Errorf("%w: kid %q names another key now", token.ErrUnknownKey, k.kid)
	case err == nil || errors.Is(err, signing.ErrNoKey):
		return fmt.Errorf("%w: key %q was removed", token.ErrUnknownKey, k.kid)
	}
	return err
}

// checkKnowable returns an error of class token.ErrUnavailable if sessions of a key could
// not be checked for longer than their limit.
func (v *Validator) checkKnowable(store *replica.State, age sources.Age, scope keystore.Scope, k signer, now time.Time) error {
	limit := v.config.sessionMaxStale
	if store != nil {
		kid := k.kid
		if k.source != nil { // a record of the same kid is about another key
			kid = ""
		}
		if err := store.CheckKnowable(scope, kid, now, limit); err != nil {
			return err
		}
	}
	return age.Check(now, limit)
}

// findKey returns the key with a kid for the tokens of a scope. It waits if the store or a
// source may have the key and was not read since the token arrived.
func (v *Validator) findKey(ctx context.Context, scope keystore.Scope, kid string) (signer, error) {
	k, err := v.resolve(v.known(), scope, kid)
	if err == nil && k.source == nil {
		return k, nil // the usual case: no check and no wait
	}
	if err == nil {
		return k, v.checkAsked(scope)
	}
	_, inStore := signing.ParseSerial(kid)
	if held, _ := v.sources.State().Find(scope, kid); !v.storeKeys || held != nil && held.Chosen {
		inStore = false
	}
	inSource := v.sources.MayHave(scope, kid)
	if errors.Is(err, signing.ErrNoKey) && !inStore && !inSource {
		return signer{}, v.noKey(scope, kid)
	}
	if err := v.checkAsked(scope); err != nil {
		return signer{}, err
	}
	if errors.Is(err, token.ErrUnknownKey) {
		return signer{}, err
	}
	return v.awaitKey(ctx, scope, kid, inStore, inSource)
}

// awaitKey is findKey for a key that is not known yet, and may be in the store or in a
// source.
func (v *Validator) awaitKey(ctx context.Context, scope keystore.Scope, kid string, inStore, inSource bool) (k signer, err error) {
	var inquiry sources.Inquiry
	if inSource {
		inquiry = v.sources.Ask(scope, kid) // they are read while the store is
	}
	var now known
	find := func() bool {
		now = v.known()
		k, err = v.resolve(now, scope, kid)
		return err == nil
	}
	var unknown error
	if inStore {
		unknown = v.awaitStore(ctx, scope, kid, find)
	}
	if inSource && !find() && !errors.Is(err, token.ErrUnknownKey) {
		unknown = cmp.Or(inquiry.Await(ctx, find), unknown)
	}
	switch {
	case find() || errors.Is(err, token.ErrUnknownKey):
		return k, err
	case unknown != nil:
		return signer{}, unknown
	case errors.Is(err, signing.ErrNoKey) && inStore && now.store.MayLag(scope):
		return signer{}, fmt.Errorf("%w: there is no key with kid %.64q%s, but the store's answers may lag behind", token.ErrUnavailable, kid, ofMesh(scope))
	case errors.Is(err, signing.ErrNoKey):
		return signer{}, v.noKey(scope, kid)
	}
	return signer{}, err
}

// awaitStore waits until find returns true, or until the store was read since. If it cannot be
// read, the error matches token.ErrUnavailable.
func (v *Validator) awaitStore(ctx context.Context, scope keystore.Scope, kid string, find func() bool) error {
	known := func() bool {
		if find() {
			return true
		}
		store := v.follower.State()
		if store == nil {
			return false
		}
		_, err := store.Key(scope, kid)
		return !errors.Is(err, signing.ErrNoKey) // it has the key, and cannot read it
	}
	if known() {
		return nil
	}
	return v.follower.Reread(ctx, scope, known)
}

// noKey says that there is no key with a kid.
func (v *Validator) noKey(scope keystore.Scope, kid string) error {
	_, serial := signing.ParseSerial(kid)
	switch {
	case !v.storeKeys:
		return fmt.Errorf("%w: no public key with kid %.64q is configured%s", token.ErrUnknownKey, kid, ofMesh(scope))
	case !serial:
		return fmt.Errorf("%w: no source of keys has kid %.64q, and it is no serial number", token.ErrUnknownKey, kid)
	}
	return fmt.Errorf("%w: there is no key with kid %.64q%s; if it was removed, issue a new token", token.ErrUnknownKey, kid, ofMesh(scope))
}
