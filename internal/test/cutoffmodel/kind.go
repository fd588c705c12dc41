// Package cutoffmodel checks what revokes tokens against a model, in simulated time: ids,
// cutoffs, floors and removed keys, in random order, with backups, clocks that differ, and
// four validators. Dataplane and zone tokens share it.
package cutoffmodel

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Kind is one kind of token in one scope, as its package offers it.
type Kind struct {
	Keys           signing.Series
	Lists          []revocation.Ref                                         // all that the scope may have
	MakeGlobalList func(ctx context.Context, store keystore.KeyStore) error // nil: there is none
	OtherCutoffs   []revocation.CutoffsRef                                  // which concern no token of the scope

	Tokens   []Claims            // of which some are issued
	Subjects []revocation.Cutoff // of cutoffs, without moments
	Payload  func(Claims) string // JSON members that name a token of the scope with these claims

	NewIssuer        func(store keystore.KeyStore, clock func() time.Time) (Issuer, error)
	NewOfflineIssuer func(key *signing.PrivateKey, kid string, clock func() time.Time) (Issuer, error)
	NewValidator     func(store keystore.KeyStore, settings Settings) (Validator, error)

	AddKey       func(ctx context.Context, store keystore.KeyStore, key *signing.PrivateKey) (signing.Key, error)
	RemoveKey    func(ctx context.Context, store keystore.KeyStore, serial signing.Serial) error // forced
	Revoke       func(ctx context.Context, store keystore.KeyStore, id string) error
	Restore      func(ctx context.Context, store keystore.KeyStore, id string) error
	UntilNow     func(ctx context.Context, store keystore.KeyStore, subject revocation.Cutoff) (revocation.Cutoff, error)
	CutOff       func(ctx context.Context, store keystore.KeyStore, c revocation.Cutoff) error
	RemoveCutoff func(ctx context.Context, store keystore.KeyStore, c revocation.Cutoff) error
	Prune        func(ctx context.Context, store keystore.KeyStore, lifetime time.Duration) error
}

// Claims are those by which a cutoff can concern a token.
type Claims struct{ Name, Workload, Zone string }

// Issuer issues a token of the scope.
type Issuer func(ctx context.Context, claims Claims, lifetime time.Duration) (token.Issued, error)

// Settings are those of a validator.
type Settings struct {
	Clock            func() time.Time
	Cache            int                           // tokens
	Configured       map[string]*signing.PublicKey // by kid
	WithoutStoreKeys bool
}

// Validator validates tokens of the scope.
type Validator interface {
	Validate(ctx context.Context, claims Claims, raw string) (Verified, error)
	Close() error
}

// Verified is a token that a validator has accepted.
type Verified interface {
	Bind(ctx context.Context) (context.Context, context.CancelFunc)
}

// Run checks a number of random histories, each a subtest that names its seed: what is
// revoked is refused, its sessions end, and nothing else is refused or ended.
func Run(t *testing.T, kind Kind, histories int) {
	for i := range testKeys {
		testKey(i) // outside of simulated time
	}
	for range histories {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %#x", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { newCutoffModel(t, kind, seed).run(100) })
		})
	}
}
