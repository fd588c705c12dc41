package dataplane

import (
	"context"
	"fmt"
	"time"

	"github.com/meshpass/meshpass/internal/keylife"
	"github.com/meshpass/meshpass/internal/setting"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Issuer issues dataplane tokens. It is safe for concurrent use. Only this package
// implements it; later versions may add methods.
type Issuer interface {
	// Issue returns a signed token with the claims, valid for validFor from
	// now, in whole seconds. Its id (jti) is a UUID of version 7. nbf is five minutes
	// in the past, for verifiers whose clocks are behind, and iat five seconds. If a
	// cutoff in the issuer's store would revoke the token, iat is that of the cutoff,
	// up to six minutes ahead; beyond that nothing is issued.
	//
	// The error matches one of:
	//
	//   - token.ErrNotIssuable: the request is invalid (no mesh, a tag without
	//     values, less than a second), exceeds the maximum lifetime, or would
	//     give a token that a validator rejects;
	//   - token.ErrDenied: the policy does not allow it, see [WithPolicy];
	//   - token.ErrIssuingDisabled: see [NewDisabledIssuer];
	//   - signing.ErrNoKey: the mesh has no signing key;
	//   - signing.ErrKey: the signing key cannot be read, or a KMS or HSM made a wrong
	//     signature; no older key signs in its place;
	//   - signing.ErrNoSigner: the key that signs is in a KMS or HSM, and the issuer
	//     does not have its signer, see [WithSigners]; no older key signs in its place;
	//   - token.ErrUnavailable: the store could not be read, or the KMS or HSM failed
	//     or did not answer before ctx ended. The error of the signer is wrapped.
	//
	// Each call is an audit event, in the issuer's log unless ctx has another: see
	// package audit.
	Issue(ctx context.Context, claims token.Dataplane, validFor time.Duration) (token.Issued, error)
}

// NewIssuer returns an issuer that signs with the newest key of the token's
// mesh. Each Issue reads the store once, so a new key signs at once. It blocks
// until the store has answered.
func NewIssuer(store keystore.KeyStore, options ...IssuerOption) (Issuer, error) {
	config, err := issuerConfig(options)
	if err != nil {
		return nil, err
	}
	i, err := keylife.NewIssuer(family, store, config)
	if err != nil {
		return nil, fmt.Errorf("dataplane: %w", err)
	}
	return issuer{i}, nil
}

// NewOfflineIssuer returns an issuer that signs with one key and needs no
// store. Validators need the public half of the key, configured with
// [WithPublicKey] under the same kid: 1 to 256 printable ASCII characters.
func NewOfflineIssuer(key *signing.PrivateKey, kid string, options ...IssuerOption) (Issuer, error) {
	config, err := issuerConfig(options)
	if err != nil {
		return nil, err
	}
	i, err := keylife.NewOfflineIssuer(family, key, kid, config)
	if err != nil {
		return nil, fmt.Errorf("dataplane: %w", err)
	}
	return issuer{i}, nil
}

// NewDisabledIssuer returns an issuer that issues nothing: Issue returns
// token.ErrIssuingDisabled. It is for control planes whose tokens are all issued
// offline.
func NewDisabledIssuer(options ...IssuerOption) (Issuer, error) {
	config, err := issuerConfig(options)
	if err != nil {
		return nil, err
	}
	return issuer{keylife.NewDisabledIssuer(family, config)}, nil
}

func issuerConfig(options []IssuerOption) (keylife.Config, error) {
	config := keylife.Defaults()
	if err := setting.Apply(&config, options, IssuerOption.applyIssuer); err != nil {
		return config, fmt.Errorf("dataplane: %w", err)
	}
	return config, nil
}

type issuer struct{ keys *keylife.Issuer }

func (i issuer) Issue(ctx context.Context, claims token.Dataplane, validFor time.Duration) (token.Issued, error) {
	return i.keys.Issue(ctx, keystore.Scope(claims.Mesh), token.Claims{Dataplane: claims}, validFor)
}
