package zone

import (
	"context"
	"fmt"
	"time"

	"github.com/meshpass/meshpass/internal/live"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Issuer makes zone tokens. It is safe for concurrent use.
type Issuer interface {
	// Issue makes a token for a zone and its scopes, valid for validFor from now, with a
	// random UUID as its id. nbf and iat are written five minutes early, for verifiers
	// whose clocks are behind.
	//
	// token.ErrNotIssuable: the request makes no sense (no zone, no scope, less than a
	// second) or is over the maximum lifetime. signing.ErrNoKey: there is no signing key.
	// signing.ErrKey: the newest key cannot be read; an older one does not sign in its
	// place. token.ErrUnavailable: the store did not answer.
	Issue(ctx context.Context, claims token.Zone, validFor time.Duration) (string, error)
}

// NewIssuer returns an issuer that signs with the newest zone key of a store. It
// asks the store at every token, so a key that was added signs at once.
func NewIssuer(store keystore.KeyStore, options ...IssuerOption) (Issuer, error) {
	i, err := live.NewIssuer(family, store, options)
	if err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	return issuer{i}, nil
}

// NewOfflineIssuer returns an issuer that signs with one key and needs no store.
// Validators find the key by kid (1 to 256 printable ASCII characters), under
// which its public half is configured there.
func NewOfflineIssuer(key *signing.PrivateKey, kid string, options ...IssuerOption) (Issuer, error) {
	i, err := live.NewOfflineIssuer(family, key, kid, options)
	if err != nil {
		return nil, fmt.Errorf("zone: %w", err)
	}
	return issuer{i}, nil
}

type issuer struct{ live *live.Issuer }

func (i issuer) Issue(ctx context.Context, claims token.Zone, validFor time.Duration) (string, error) {
	return i.live.Issue(ctx, keystore.Global, token.Claims{Zone: claims}, validFor)
}
