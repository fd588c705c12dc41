package sealed

import (
	"context"
	"errors"
	"slices"

	"github.com/meshpass/meshpass/keystore"
)

// Reseal seals the records of an inner store again that are not sealed under the sealer's
// current key-encryption key. With [AcceptPlaintext], the only option that it takes, it
// also seals those that are not sealed. Without the option such a record is an error:
// Reseal would vouch for a record that anyone with write access may have planted. Reseal
// returns how many records it has rewritten; 0 and no error means that all are sealed
// under the current key. Data and Created stay as they are, Version changes.
//
// Reseal may be interrupted and repeated, and may run while other processes write: it
// looks again at a record that was changed meanwhile. It works on one record after the
// other. For each record that it rewrites, it calls the sealer's Open and Seal at most
// once, and again after each conflict.
//
// Reseal leaves a record that certainly cannot be opened as it is, such as one that was
// sealed under a key that the sealer does not have, and goes on with the others. In the
// end it returns a [keystore.UnreadableError] that names all of them: keep the old
// key-encryption key until they are repaired or deleted. Reseal stops at every other
// error.
func Reseal(ctx context.Context, inner keystore.KeyStore, sealer Sealer, options ...Option) (rewritten int, err error) {
	outer, err := New(inner, sealer, options...)
	if err != nil {
		return 0, err
	}
	s := unwatched(outer)
	switch {
	case unwatched(inner) != nil:
		return 0, errors.New("keystore/sealed: the store to reseal is a sealed one, want the one inside of it")
	case s.writePlaintext:
		return 0, errors.New("keystore/sealed: WritePlaintext does not seal, want AcceptPlaintext or no option")
	}
	records, err := inner.List(ctx, keystore.AllScopes, "")
	unreadable, err := keystore.SplitUnreadable(err)
	if err != nil {
		return 0, err
	}
	unreadable = slices.Clone(unreadable)
	for _, r := range records {
		done, err := s.reseal(ctx, r)
		var failed *keystore.Error
		switch {
		case certain(err) && errors.As(err, &failed):
			unreadable = append(unreadable, failed)
		case err != nil:
			return rewritten, err
		case done:
			rewritten++
		}
	}
	return rewritten, keystore.Unreadable(unreadable)
}

// reseal reports whether it had to rewrite the record.
func (s *store) reseal(ctx context.Context, r keystore.Record) (done bool, err error) {
	for {
		e, err := parse(r.Data, r.Scope, r.Name)
		if err == nil && s.sealer.Current(e.sealedKey) {
			return false, nil
		}
		if r.Data, err = s.open(ctx, r); err != nil {
			return false, err
		}
		stored, _, _, err := s.seal(ctx, r)
		if err != nil {
			return false, keystore.Failed("reseal", r.Scope, r.Name, err)
		}
		_, err = s.inner.Update(ctx, stored)
		if errors.Is(err, keystore.ErrConflict) {
			scope, name := r.Scope, r.Name
			if r, err = s.inner.Get(ctx, scope, name); err == nil {
				if err := checkPlace(r, scope, name); err != nil {
					return false, keystore.Failed("open", scope, name, err)
				}
				continue
			}
		}
		if errors.Is(err, keystore.ErrNotFound) { // it was deleted meanwhile
			return false, nil
		}
		return err == nil, err
	}
}
