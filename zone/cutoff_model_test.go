package zone_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/meshpass/meshpass/internal/test/cutoffmodel"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestValidatorsRefuseWhatIsRevokedAndNothingElseInWhateverOrder(t *testing.T) {
	cutoffmodel.Run(t, modelled, storetest.Repeat(15, 300))
}

func TestCutoffRevokesTheTokensThatItConcernsAndThatWereIssuedBeforeAndNoOthers(t *testing.T) {
	cutoffmodel.Table(t, modelled, cutoffmodel.Claims{Zone: "west"}, []cutoffmodel.Row{
		{Name: "all", Concerns: true},
		{Name: "its zone", Cutoff: revocation.Cutoff{Zone: "west"}, Concerns: true},
		{Name: "its key", Cutoff: revocation.Cutoff{KeyID: "1"}, Concerns: true},
		{Name: "another zone", Cutoff: revocation.Cutoff{Zone: "east"}},
		{Name: "a longer zone", Cutoff: revocation.Cutoff{Zone: "west-2"}},
		{Name: "a zone in another case", Cutoff: revocation.Cutoff{Zone: "West"}},
		{Name: "another key", Cutoff: revocation.Cutoff{KeyID: "2"}},
		{Name: "dataplane tokens of a mesh", In: revocation.DataplaneCutoffs("west")},
		{Name: "dataplane tokens in the global scope", In: revocation.DataplaneCutoffsGlobal("west")},
		{Name: "dataplane tokens of its key", Cutoff: revocation.Cutoff{KeyID: "1"}, In: revocation.DataplaneCutoffsGlobal("west")},
	})
}

// modelled is what the model needs to know of zone tokens.
var modelled = cutoffmodel.Kind{
	Keys:         signing.ZoneKeys(),
	Lists:        []revocation.Ref{revocation.Zone()},
	OtherCutoffs: []revocation.CutoffsRef{revocation.DataplaneCutoffs("west"), revocation.DataplaneCutoffsGlobal("west")},

	Tokens:   []cutoffmodel.Claims{{Zone: "west"}, {Zone: "east"}, {Zone: "north"}},
	Subjects: []revocation.Cutoff{{}, {Zone: "west"}, {Zone: "east"}, {KeyID: "1"}, {KeyID: "own"}},
	Payload: func(c cutoffmodel.Claims) string {
		return fmt.Sprintf(`"Zone":%q,"Scope":["cp"]`, c.Zone)
	},

	NewIssuer: func(store keystore.KeyStore, clock func() time.Time) (cutoffmodel.Issuer, error) {
		issuer, err := zone.NewIssuer(store, zone.WithClock(clock), quiet)
		return modelledIssuer(issuer), err
	},
	NewOfflineIssuer: func(key *signing.PrivateKey, kid string, clock func() time.Time) (cutoffmodel.Issuer, error) {
		issuer, err := zone.NewOfflineIssuer(key, kid, zone.WithClock(clock), quiet)
		return modelledIssuer(issuer), err
	},
	NewValidator: func(store keystore.KeyStore, s cutoffmodel.Settings) (cutoffmodel.Validator, error) {
		options := []zone.ValidatorOption{zone.WithClock(s.Clock), zone.WithCache(s.Cache), quiet}
		for kid, key := range s.Configured {
			options = append(options, zone.WithPublicKey(kid, key))
		}
		if s.WithoutStoreKeys {
			options = append(options, zone.WithoutStoreKeys())
		}
		validator, err := zone.NewValidator(store, options...)
		return modelledValidator{validator}, err
	},

	AddKey: zone.AddKey,
	RemoveKey: func(ctx context.Context, store keystore.KeyStore, serial signing.Serial) error {
		return zone.RemoveKey(ctx, store, serial, zone.Forced())
	},
	Revoke: func(ctx context.Context, store keystore.KeyStore, id string) error {
		return zone.Revoke(ctx, store, id)
	},
	Restore: func(ctx context.Context, store keystore.KeyStore, id string) error {
		return zone.Restore(ctx, store, id)
	},
	UntilNow: func(ctx context.Context, store keystore.KeyStore, subject revocation.Cutoff) (revocation.Cutoff, error) {
		c, err := zone.UntilNow(ctx, store, ofModel(subject))
		return revocation.Cutoff{Before: c.Before, Zone: c.Zone, KeyID: c.KeyID}, err
	},
	CutOff: func(ctx context.Context, store keystore.KeyStore, c revocation.Cutoff) error {
		_, err := zone.CutOff(ctx, store, ofModel(c))
		return err
	},
	RemoveCutoff: func(ctx context.Context, store keystore.KeyStore, c revocation.Cutoff) error {
		return zone.RemoveCutoff(ctx, store, ofModel(c))
	},
	Prune: func(ctx context.Context, store keystore.KeyStore, lifetime time.Duration) error {
		_, err := zone.PruneRevocations(ctx, store, lifetime, false)
		return err
	},
}

func ofModel(c revocation.Cutoff) zone.Cutoff {
	return zone.Cutoff{Before: c.Before, Zone: c.Zone, KeyID: c.KeyID}
}

func modelledIssuer(issuer zone.Issuer) cutoffmodel.Issuer {
	return func(ctx context.Context, c cutoffmodel.Claims, lifetime time.Duration) (token.Issued, error) {
		return issuer.Issue(ctx, token.Zone{Zone: c.Zone, Scope: []string{zone.ScopeCP}}, lifetime)
	}
}

type modelledValidator struct{ zone.Validator }

func (v modelledValidator) Validate(ctx context.Context, c cutoffmodel.Claims, raw string) (cutoffmodel.Verified, error) {
	return v.Validator.Validate(ctx, c.Zone, zone.ScopeCP, raw)
}
