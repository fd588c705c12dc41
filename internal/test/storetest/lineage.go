package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// aLineage renews tokens of one kind on one replica, and validates them on another.
type aLineage struct {
	name     string
	issue    func() (token.Issued, error)
	validate func(raw string) (verified, error)
	renew    func(of verified, validFor time.Duration) (token.Issued, error)
	addKey   func() error // which signs from then on
	revoke   func(id string) error
	cutOff   func() error // of all tokens until now
}

// aRevokedIDEndsItsLineage revokes one id on one replica. On another, the sessions of all
// tokens of its lineage end, whichever key signed them, and no others. A cutoff ends the
// sessions of all lineages that began before it, also those of tokens renewed since.
func aRevokedIDEndsItsLineage(t *testing.T, open, openOther Opener) {
	for _, l := range []aLineage{lineageOfAProxy(t, open, openOther), lineageOfAZone(t, open, openOther)} {
		session := func(issued token.Issued, err error) (verified, context.Context) {
			t.Helper()
			must(t, err)
			v := eventually(t, l.name+": a token is good", func() (verified, error) { return l.validate(issued.Token) })
			bound, stop := v.Bind(t.Context())
			t.Cleanup(stop)
			return v, bound
		}
		first, ofFirst := session(l.issue())
		second, ofSecond := session(l.renew(first, 2*time.Hour))
		other, ofOther := session(l.issue())
		must(t, l.addKey())
		third, ofThird := session(l.renew(second, 3*time.Hour))
		for _, v := range []verified{second, third} {
			if got, want := v.Registered().ID, first.Registered().ID; got != want {
				t.Errorf("%s: a renewed token has id %q, want %q", l.name, got, want)
			}
		}
		must(t, l.revoke(first.Registered().ID))
		for _, ended := range []context.Context{ofFirst, ofSecond, ofThird} {
			wantEnd(t, ended, token.ErrRevoked)
		}
		for _, v := range []verified{first, second, third} {
			_, err := l.renew(v, time.Hour)
			wantError(t, err, token.ErrRevoked)
		}
		if ofOther.Err() != nil {
			t.Errorf("%s: a session of another lineage has ended: %v", l.name, context.Cause(ofOther))
		}
		_, ofRenewed := session(l.renew(other, 2*time.Hour))
		must(t, l.cutOff())
		wantEnd(t, ofOther, token.ErrRevoked)
		wantEnd(t, ofRenewed, token.ErrRevoked)
	}
}

func lineageOfAProxy(t *testing.T, open, openOther Opener) aLineage {
	const mesh = "lineages"
	ctx := audit.WithLogger(t.Context(), discard)
	store := open(t)
	_, validator := issuerAndValidator(t, store, openOther(t), mesh)
	issuer, err := dataplane.NewIssuer(store, quiet, dataplane.WithMaxLineage(90*day), dataplane.WithMaxLifetime(day))
	must(t, err)
	return aLineage{
		name: "proxies",
		issue: func() (token.Issued, error) {
			return issuer.Issue(ctx, token.Dataplane{Mesh: mesh, Name: "dp-1"}, time.Hour)
		},
		validate: func(raw string) (verified, error) { return validator.Validate(ctx, mesh, raw) },
		renew: func(of verified, validFor time.Duration) (token.Issued, error) {
			return issuer.Renew(ctx, of.(dataplane.Verified), validFor)
		},
		addKey: func() error {
			_, err := dataplane.AddKey(ctx, store, mesh, privateKey(t, forge.OtherKey()))
			return err
		},
		revoke: func(id string) error { return dataplane.Revoke(ctx, store, mesh, id) },
		cutOff: func() error {
			_, err := dataplane.CutOff(ctx, store, mesh, dataplane.Cutoff{Before: time.Now().Add(token.Skew)})
			return err
		},
	}
}

func lineageOfAZone(t *testing.T, open, openOther Opener) aLineage {
	ctx := audit.WithLogger(t.Context(), discard)
	store := open(t)
	storeKey(t, store, signing.ZoneKeys())
	issuer, err := zone.NewIssuer(store, zone.WithLogger(discard), zone.WithMaxLineage(90*day), zone.WithMaxLifetime(day))
	must(t, err)
	validator, err := zone.NewValidator(openOther(t), zone.WithLogger(discard))
	must(t, err)
	t.Cleanup(func() { validator.Close() })
	return aLineage{
		name: "zones",
		issue: func() (token.Issued, error) {
			return issuer.Issue(ctx, token.Zone{Zone: "renewing", Scope: []string{zone.ScopeCP}}, time.Hour)
		},
		validate: func(raw string) (verified, error) { return validator.Validate(ctx, "renewing", zone.ScopeCP, raw) },
		renew: func(of verified, validFor time.Duration) (token.Issued, error) {
			return issuer.Renew(ctx, of.(zone.Verified), validFor)
		},
		addKey: func() error {
			_, err := zone.AddKey(ctx, store, privateKey(t, forge.OtherKey()))
			return err
		},
		revoke: func(id string) error { return zone.Revoke(ctx, store, id) },
		cutOff: func() error {
			_, err := zone.CutOff(ctx, store, zone.Cutoff{Before: time.Now().Add(token.Skew)})
			return err
		},
	}
}
