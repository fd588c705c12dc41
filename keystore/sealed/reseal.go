package sealed

import (
	"context"
	"errors"

	"github.com/meshpass/meshpass/keystore"
)

// Reseal seals anew the records of an inner store that are not sealed under the
// sealer's current key-encryption key, and with [AcceptPlaintext], the only option
// that it takes, also those that are not sealed at all. Without the option such a
// record is an error: it would be sealed whoever put it there. Reseal returns how
// many records it has rewritten; 0 and no error means that all are sealed
// under the current key. Data and Created stay as they are, Version changes.
//
// Reseal may be interrupted and repeated, and run while others write: it looks
// again at a record that was changed meanwhile. It takes one record after the
// other, calls the sealer's Open and Seal at most once for each (and again after
// each conflict), and stops at the first record that cannot be opened or written. It does not open
// those that it leaves as they are.
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
	if err != nil {
		return 0, err
	}
	for _, r := range records {
		done, err := s.reseal(ctx, r)
		if err != nil {
			return rewritten, err
		}
		if done {
			rewritten++
		}
	}
	return rewritten, nil
}

// reseal says whether it had to rewrite the record.
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
			if r, err = s.inner.Get(ctx, r.Scope, r.Name); err == nil {
				continue
			}
		}
		if errors.Is(err, keystore.ErrNotFound) { // deleted meanwhile
			return false, nil
		}
		return err == nil, err
	}
}
