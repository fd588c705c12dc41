package storetest

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// OneUnreadableRecordIsOneUnreadableRecord breaks an old key of a mesh, then its revocation
// list, and then its cutoffs. spoil puts a record that cannot be read in the place of a good
// one. The storage holds no records yet.
//
// A list must hold the other records and name the broken one, Get must not take it for a
// missing one, and Delete must remove it. A validator that starts then must serve the
// tokens of the other keys, and know nothing about those of the broken key. Without the list
// or the cutoffs it must know nothing about the mesh's tokens, except for those that the
// other record revokes, and so must a validator that runs already.
func OneUnreadableRecordIsOneUnreadableRecord(t *testing.T, open Opener, spoil func(tb testing.TB, scope keystore.Scope, name string)) {
	const mesh = "default"
	ctx := audit.WithLogger(t.Context(), discard)
	store := open(t)
	issuer, _ := issuerAndValidator(t, store, open(t), mesh)
	others, _ := issuerAndValidator(t, store, open(t), "prod")
	issue := func(issuer dataplane.Issuer, mesh string) token.Issued {
		t.Helper()
		issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: mesh}, day)
		must(t, err)
		return issued
	}
	old, other := issue(issuer, mesh), issue(others, "prod")
	_, err := dataplane.AddKey(ctx, store, mesh, privateKey(t, forge.Key()))
	must(t, err)
	good, revoked := issue(issuer, mesh), issue(issuer, mesh)
	if good.KeyID != "2" {
		t.Fatalf("the kid is %q, want \"2\"", good.KeyID)
	}
	must(t, dataplane.Revoke(ctx, store, mesh, revoked.ID))
	oldKey, newKey := signing.DataplaneKeys(mesh).KeyName(1), signing.DataplaneKeys(mesh).KeyName(2)
	list, cutoffs := revocation.Dataplane(mesh).Name, revocation.DataplaneCutoffs(mesh).Name

	spoil(t, mesh, oldKey)
	wantUnreadable(t, store, mesh, oldKey, newKey, list)
	validator := newValidator(t, open(t)) // it has never seen the old key
	validate := func(raw string) error {
		_, err := validator.Validate(ctx, mesh, raw)
		return err
	}
	must(t, validate(good.Token))
	wantError(t, validate(revoked.Token), token.ErrRevoked)
	wantError(t, validate(old.Token), token.ErrUnavailable)

	named, err := issuer.Issue(ctx, token.Dataplane{Mesh: mesh, Name: "cut-off"}, day)
	must(t, err)
	revoke := map[string]func() error{
		list: func() error { return dataplane.Revoke(ctx, store, mesh, revoked.ID) },
		cutoffs: func() error {
			_, err := dataplane.CutOff(ctx, store, mesh, dataplane.Cutoff{Before: time.Now().Add(token.Skew), Name: "cut-off"})
			return err
		},
	}
	must(t, revoke[cutoffs]())
	running := validator
	for _, c := range []struct{ spoilt, readable, revokedBySpoilt, revokedByReadable string }{
		{list, cutoffs, revoked.Token, named.Token},
		{cutoffs, list, named.Token, revoked.Token},
	} {
		validator = running
		eventually(t, "both records are known", func() (struct{}, error) {
			return struct{}{}, errors.Join(want(validate(c.revokedBySpoilt), token.ErrRevoked), want(validate(c.revokedByReadable), token.ErrRevoked))
		})
		spoil(t, mesh, c.spoilt)
		wantUnreadable(t, store, mesh, c.spoilt, c.readable, newKey)
		eventually(t, "nothing is known about the mesh", func() (struct{}, error) {
			return struct{}{}, want(validate(good.Token), token.ErrUnavailable)
		})
		for _, validator = range []dataplane.Validator{running, newValidator(t, open(t))} {
			wantError(t, validate(good.Token), token.ErrUnavailable)
			wantError(t, validate(c.revokedByReadable), token.ErrRevoked)
			_, err = validator.Validate(ctx, "prod", other.Token)
			must(t, err)
		}
		wantError(t, validate(c.revokedBySpoilt), token.ErrUnavailable) // the new validator never saw what revokes it
		must(t, store.Delete(ctx, mesh, c.spoilt))
		eventually(t, "the good token is good without the record", func() (struct{}, error) { return struct{}{}, validate(good.Token) })
		must(t, revoke[c.spoilt]())
	}

	for _, name := range []string{oldKey, list, cutoffs} {
		must(t, store.Delete(ctx, mesh, name))
	}
	records, err := store.List(ctx, mesh, "")
	must(t, err)
	if len(records) != 1 || records[0].Name != newKey {
		t.Errorf("the mesh has the records %v, want %s alone", records, newKey)
	}
	eventually(t, "all tokens of the key are good", func() (struct{}, error) {
		return struct{}{}, errors.Join(validate(good.Token), validate(revoked.Token), validate(named.Token))
	})
	eventually(t, "the token of the removed key is refused", func() (struct{}, error) {
		return struct{}{}, want(validate(old.Token), token.ErrUnknownKey)
	})
}

// OneListWithoutAScopeConcernsItsMesh takes from the revocation list of a mesh, and from the
// cutoffs of another, with unscope, what says to which mesh they belong. Validators, those
// that run and those that start then, must know nothing about the tokens of these meshes,
// and serve a third. The storage holds no records yet.
func OneListWithoutAScopeConcernsItsMesh(t *testing.T, open Opener, unscope func(tb testing.TB, scope keystore.Scope, name string)) {
	ctx := audit.WithLogger(t.Context(), discard)
	store := open(t)
	tokens := map[string]string{}
	var running dataplane.Validator
	for _, mesh := range []string{"prod", "staging", "default"} {
		issuer, validator := issuerAndValidator(t, store, open(t), mesh)
		issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: mesh}, day)
		must(t, err)
		tokens[mesh], running = issued.Token, validator
	}
	must(t, dataplane.Revoke(ctx, store, "prod", "some-id"))
	unscope(t, "prod", revocation.Dataplane("prod").Name)
	_, err := dataplane.CutOff(ctx, store, "staging", dataplane.Cutoff{Before: time.Now().Add(-day)})
	must(t, err)
	unscope(t, "staging", revocation.DataplaneCutoffs("staging").Name)
	for _, validator := range []dataplane.Validator{running, newValidator(t, open(t))} {
		for _, mesh := range []string{"prod", "staging"} {
			eventually(t, "nothing is known about the mesh "+mesh, func() (struct{}, error) {
				_, err := validator.Validate(ctx, mesh, tokens[mesh])
				return struct{}{}, want(err, token.ErrUnavailable)
			})
		}
		_, err := validator.Validate(ctx, "default", tokens["default"])
		must(t, err)
	}
}

// wantUnreadable fails unless the record cannot be read, for a reason that Get and the
// lists name, and the lists hold the others.
func wantUnreadable(t *testing.T, store keystore.KeyStore, scope keystore.Scope, name string, others ...string) {
	t.Helper()
	_, err := store.Get(t.Context(), scope, name)
	if err == nil || errors.Is(err, keystore.ErrNotFound) {
		t.Errorf("Get of an unreadable record returned the error %v", err)
	}
	for _, of := range []keystore.Scope{scope, keystore.AllScopes} {
		records, err := store.List(t.Context(), of, "")
		unreadable, other := keystore.SplitUnreadable(err)
		must(t, other)
		if !slices.ContainsFunc(unreadable, func(e *keystore.Error) bool { return e.Scope == scope && e.Name == name }) {
			t.Errorf("List(%q) names %v as unreadable, want %s", of, unreadable, name)
		}
		for _, r := range records {
			if r.Scope == scope && r.Name == name {
				t.Errorf("List(%q) holds the unreadable %s", of, name)
			}
		}
		for _, other := range others {
			if !slices.ContainsFunc(records, func(r keystore.Record) bool { return r.Scope == scope && r.Name == other }) {
				t.Errorf("List(%q) lacks the readable %s", of, other)
			}
		}
	}
}
