package zone

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

// Issuer issues zone tokens. It is safe for concurrent use. Only this package
// implements it; later versions may add methods.
type Issuer interface {
	// Issue returns a signed token for a zone and its scopes, valid for validFor
	// from now, in whole seconds. Its id (jti) is a UUID of version 7. nbf is five
	// minutes in the past, for verifiers whose clocks are behind, and iat five
	// seconds. If a cutoff in the issuer's store would revoke the token, iat is that of
	// the cutoff, up to six minutes ahead; beyond that nothing is issued.
	//
	// The error matches one of:
	//
	//   - token.ErrNotIssuable: the request is invalid (no zone, no scope, less
	//     than a second), exceeds the maximum lifetime, or would give a token
	//     that a validator rejects;
	//   - token.ErrDenied: the policy does not allow it, see [WithPolicy];
	//   - token.ErrIssuingDisabled: see [NewDisabledIssuer];
	//   - signing.ErrNoKey: there is no signing key;
	//   - signing.ErrKey: the signing key cannot be read, or a KMS or HSM made a wrong
	//     signature; no older key signs in its place;
	//   - signing.ErrNoSigner: the key that signs is in a KMS or HSM, and the issuer
	//     does not have its signer, see [WithSigners]; no older key signs in its place;
	//   - token.ErrUnavailable: the store could not be read, or the KMS or HSM failed
	//     or did not answer before ctx ended. The error of the signer is wrapped.
	//
	// Each call is an audit event, in the issuer's log unless ctx has another: see
	// package audit.
	Issue(ctx context.Context, claims token.Zone, validFor time.Duration) (token.Issued, error)

	// Renew returns a token with the claims and the id of another, valid for validFor from
	// now, in whole seconds, but not beyond the end of its lineage: the time in the id and
	// [WithMaxLineage], which is required. iat stays, so that what revokes the first token
	// revokes each renewal. nbf and exp are new, and the key is the one that signs now.
	//
	// With validFor 0 the new token is valid for as long as the old one was or, if that is
	// longer than [WithMaxLifetime], for that long. Without that option the lifetime of the
	// old token is the limit, so that a thief of a short token gets no long one.
	//
	// verified proves that a validator has accepted the token. Renew asks that validator
	// whether it is still good, and reads the key and the cutoffs in its own store again.
	//
	// Renew does not renew a token whose id is not a UUID of version 7, that has claims
	// unknown to this version, or whose key is not the issuer's: one of its store or, for an
	// offline issuer, the one key that it has. Tokens of sources of keys are not renewed.
	//
	// A thief of a signing key makes tokens under ids and times of his choice and can renew
	// them. The renewals are signed with the next key, so removing the stolen one does not
	// end them. No renewal has an iat ahead of the issuer's clock. So remove the key, and
	// then make a cutoff until now for all zones: it revokes every renewal of a forged
	// token, whatever its id.
	//
	// The error matches one of those of Issue, or:
	//
	//   - token.ErrLineage: the token is not renewed, or is valid until the end of its lineage
	//     already; issue a new one. It matches token.ErrNotIssuable too;
	//   - token.ErrIssuingDisabled: there is no [WithMaxLineage];
	//   - token.ErrInvalid, and the sentinel of the check: the token is no longer good;
	//   - token.ErrUnavailable: that could not be checked, or its iat is ahead, as after a
	//     cutoff: renew it then.
	//
	// Each call is an audit event, as Issue is one.
	Renew(ctx context.Context, verified Verified, validFor time.Duration) (token.Issued, error)
}

// NewIssuer returns an issuer that signs with the newest zone key of a store.
// Each Issue reads the store once, so a new key signs at once. It blocks until the
// store has answered. An issuer with a validator reads the store after a change only: see
// [WithValidator].
func NewIssuer(store keystore.KeyStore, options ...IssuerOption) (Issuer, error) {
	config, err := issuerConfig(options)
	if err != nil {
		return nil, err
	}
	i, err := keylife.NewIssuer(family, store, config)
	if err != nil {
		return nil, fmt.Errorf("zone: %w", err)
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
		return nil, fmt.Errorf("zone: %w", err)
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
		return config, fmt.Errorf("zone: %w", err)
	}
	return config, nil
}

type issuer struct{ keys *keylife.Issuer }

func (i issuer) Issue(ctx context.Context, claims token.Zone, validFor time.Duration) (token.Issued, error) {
	return i.keys.Issue(ctx, keystore.Global, token.Claims{Zone: claims}, validFor)
}

func (i issuer) Renew(ctx context.Context, verified Verified, validFor time.Duration) (token.Issued, error) {
	if verified.live == nil {
		return token.Issued{}, fmt.Errorf("%w: there is no token", token.ErrInvalid)
	}
	return i.keys.Renew(ctx, verified.live.Presented(), validFor)
}
