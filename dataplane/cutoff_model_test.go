package dataplane_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/cutoffmodel"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func TestValidatorsRefuseWhatIsRevokedAndNothingElseInWhateverOrder(t *testing.T) {
	cutoffmodel.Run(t, modelled, storetest.Repeat(15, 300))
}

func TestCutoffRevokesTheTokensThatItConcernsAndThatWereIssuedBeforeAndNoOthers(t *testing.T) {
	global := revocation.DataplaneCutoffsGlobal("default")
	rows := func(all, name, workload, key bool) []cutoffmodel.Row {
		return []cutoffmodel.Row{
			{Name: "all", Concerns: all},
			{Name: "all, in the global scope", In: global, Concerns: all},
			{Name: "its name", Cutoff: revocation.Cutoff{Name: "dp-1"}, Concerns: name},
			{Name: "its name, in the global scope", Cutoff: revocation.Cutoff{Name: "dp-1"}, In: global, Concerns: name},
			{Name: "its workload", Cutoff: revocation.Cutoff{Workload: "backend"}, Concerns: workload},
			{Name: "its key", Cutoff: revocation.Cutoff{KeyID: "1"}, Concerns: key},
			{Name: "another name", Cutoff: revocation.Cutoff{Name: "dp-2"}},
			{Name: "a longer name", Cutoff: revocation.Cutoff{Name: "dp-11"}},
			{Name: "a name in another case", Cutoff: revocation.Cutoff{Name: "DP-1"}},
			{Name: "its name as a workload", Cutoff: revocation.Cutoff{Workload: "dp-1"}},
			{Name: "another workload", Cutoff: revocation.Cutoff{Workload: "frontend"}},
			{Name: "another key", Cutoff: revocation.Cutoff{KeyID: "2"}},
			{Name: "another mesh", In: revocation.DataplaneCutoffs("other")},
			{Name: "a mesh whose name goes on", In: revocation.DataplaneCutoffs("default-2")},
			{Name: "another mesh in the global scope", In: revocation.DataplaneCutoffsGlobal("other")},
			{Name: "zone tokens", In: revocation.ZoneCutoffs()},
			{Name: "zone tokens of its key", Cutoff: revocation.Cutoff{KeyID: "1"}, In: revocation.ZoneCutoffs()},
		}
	}
	t.Run("of a proxy and a workload", func(t *testing.T) {
		cutoffmodel.Table(t, modelled, cutoffmodel.Claims{Name: "dp-1", Workload: "backend"}, rows(true, true, true, true))
	})
	t.Run("for any proxy", func(t *testing.T) {
		cutoffmodel.Table(t, modelled, cutoffmodel.Claims{}, rows(true, false, false, true))
	})
}

// modelled is what the model needs to know of the dataplane tokens of mesh default.
var modelled = cutoffmodel.Kind{
	Keys:  signing.DataplaneKeys("default"),
	Lists: []revocation.Ref{revocation.Dataplane("default"), revocation.DataplaneGlobal("default")},
	MakeGlobalList: func(ctx context.Context, store keystore.KeyStore) error {
		return revocation.MakeDataplaneGlobal(ctx, store, "default")
	},
	OtherCutoffs: []revocation.CutoffsRef{revocation.DataplaneCutoffs("other"), revocation.DataplaneCutoffsGlobal("other"), revocation.ZoneCutoffs()},

	Tokens: []cutoffmodel.Claims{
		{}, {Name: "dp-1"}, {Name: "dp-2"}, {Workload: "backend"}, {Workload: "frontend"},
		{Name: "dp-1", Workload: "backend"}, {Name: "dp-2", Workload: "backend"}, {Name: "dp-1", Workload: "frontend"}, {Name: "dp-2", Workload: "frontend"},
	},
	Subjects: []revocation.Cutoff{{}, {Name: "dp-1"}, {Workload: "backend"}, {KeyID: "1"}, {KeyID: "own"}},
	Payload: func(c cutoffmodel.Claims) string {
		return fmt.Sprintf(`"Mesh":"default","Name":%q,"Workload":%q`, c.Name, c.Workload)
	},

	NewIssuer: func(store keystore.KeyStore, clock func() time.Time) (cutoffmodel.Issuer, error) {
		issuer, err := dataplane.NewIssuer(store, dataplane.WithClock(clock), quiet)
		return modelledIssuer(issuer), err
	},
	NewOfflineIssuer: func(key *signing.PrivateKey, kid string, clock func() time.Time) (cutoffmodel.Issuer, error) {
		issuer, err := dataplane.NewOfflineIssuer(key, kid, dataplane.WithClock(clock), quiet)
		return modelledIssuer(issuer), err
	},
	NewValidator: func(store keystore.KeyStore, s cutoffmodel.Settings) (cutoffmodel.Validator, error) {
		options := []dataplane.ValidatorOption{dataplane.WithClock(s.Clock), dataplane.WithCache(s.Cache), quiet}
		for kid, key := range s.Configured {
			options = append(options, dataplane.WithPublicKey("default", kid, key))
		}
		if s.WithoutStoreKeys {
			options = append(options, dataplane.WithoutStoreKeys())
		}
		validator, err := dataplane.NewValidator(store, options...)
		return modelledValidator{validator}, err
	},

	AddKey: func(ctx context.Context, store keystore.KeyStore, key *signing.PrivateKey) (signing.Key, error) {
		return dataplane.AddKey(ctx, store, "default", key)
	},
	RemoveKey: func(ctx context.Context, store keystore.KeyStore, serial signing.Serial) error {
		return dataplane.RemoveKey(ctx, store, "default", serial, dataplane.Forced())
	},
	Revoke: func(ctx context.Context, store keystore.KeyStore, id string) error {
		return dataplane.Revoke(ctx, store, "default", id)
	},
	Restore: func(ctx context.Context, store keystore.KeyStore, id string) error {
		return dataplane.Restore(ctx, store, "default", id)
	},
	UntilNow: func(ctx context.Context, store keystore.KeyStore, subject revocation.Cutoff) (revocation.Cutoff, error) {
		c, err := dataplane.UntilNow(ctx, store, "default", ofModel(subject))
		return revocation.Cutoff{Before: c.Before, Name: c.Name, Workload: c.Workload, KeyID: c.KeyID}, err
	},
	CutOff: func(ctx context.Context, store keystore.KeyStore, c revocation.Cutoff) error {
		_, err := dataplane.CutOff(ctx, store, "default", ofModel(c))
		return err
	},
	RemoveCutoff: func(ctx context.Context, store keystore.KeyStore, c revocation.Cutoff) error {
		return dataplane.RemoveCutoff(ctx, store, "default", ofModel(c))
	},
	Prune: func(ctx context.Context, store keystore.KeyStore, lifetime time.Duration) error {
		_, err := dataplane.PruneRevocations(ctx, store, "default", lifetime, false)
		return err
	},
}

func ofModel(c revocation.Cutoff) dataplane.Cutoff {
	return dataplane.Cutoff{Before: c.Before, Name: c.Name, Workload: c.Workload, KeyID: c.KeyID}
}

func modelledIssuer(issuer dataplane.Issuer) cutoffmodel.Issuer {
	return func(ctx context.Context, c cutoffmodel.Claims, lifetime time.Duration) (token.Issued, error) {
		return issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: c.Name, Workload: c.Workload}, lifetime)
	}
}

type modelledValidator struct{ dataplane.Validator }

func (v modelledValidator) Validate(ctx context.Context, _ cutoffmodel.Claims, raw string) (cutoffmodel.Verified, error) {
	return v.Validator.Validate(ctx, "default", raw)
}
