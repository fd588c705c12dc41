package keylife

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/internal/setting"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// maxMaxLineage is the longest limit of lineages: ten years, for which Kuma issues tokens.
const maxMaxLineage = 87600 * time.Hour

// Made returns when a token was issued or renewed, as iat and nbf tell, less what issuers
// set them back: the later of the two, none of them counted later than now. It is zero if
// the token has neither.
func Made(claims *token.Claims, now time.Time) time.Time {
	var made time.Time
	for _, from := range []struct {
		start   time.Time
		setBack time.Duration
	}{{claims.IssuedAt, IssuedBefore}, {claims.NotBefore, Backdate}} {
		if from.start.IsZero() {
			continue
		}
		if from.start.After(now) { // a time in the future must not shorten the lifetime
			from.start = now
		}
		if at := from.start.Add(from.setBack); at.After(made) {
			made = at
		}
	}
	return made
}

// Renewal is what a policy sees of a renewal, beside the claims.
type Renewal struct {
	Presented token.Registered
	KeyID     string
	Began     time.Time
	ValidFor  time.Duration
}

// RenewalPolicy decides whether a token is renewed. An error denies it.
type RenewalPolicy func(ctx context.Context, claims token.Claims, renewal Renewal) error

// WithRenewalPolicy sets the policy that an issuer asks before it renews a token.
func WithRenewalPolicy(policy RenewalPolicy) Option {
	return func(c *Config) error {
		if policy == nil {
			return errors.New("WithRenewalPolicy: the policy is nil")
		}
		if c.renewalPolicy != nil {
			return errors.New("WithRenewalPolicy: given twice")
		}
		c.renewalPolicy = policy
		return nil
	}
}

// WithMaxLineage allows renewals, until a lineage has reached an age.
func WithMaxLineage(limit time.Duration) Option {
	return func(c *Config) error {
		if limit < time.Second || limit > maxMaxLineage {
			return fmt.Errorf("WithMaxLineage: %s is out of range, want 1s to %s", limit, maxMaxLineage)
		}
		c.maxLineage = limit
		return nil
	}
}

// WithLongTokensRenewed renews also tokens that are valid for longer than the limit of
// lineages.
func WithLongTokensRenewed() Option {
	return func(c *Config) error {
		c.longTokens = true
		return nil
	}
}

// Presented is a token that a validator has accepted, and that is to be renewed.
type Presented struct {
	Claims *token.Claims // not changed
	Others bool          // the token has claims that Claims does not hold
	Scope  keystore.Scope

	// The key that verified the token, its kid, and whether it comes from a source.
	Key      *signing.PublicKey
	KeyID    string
	OfSource bool

	// Recheck returns why the token is no longer good, or cannot be checked.
	Recheck func() error

	// Notice notes that the token is presented, and Count that it was renewed to one with
	// the nbf. Each reports whether that is a fork.
	Notice func(context.Context) bool
	Count  func(ctx context.Context, nbf time.Time) bool
}

// Renew returns a token with the claims and the id of another, valid for validFor from now.
// With 0 it is valid for as long as the other one was, or for the maximum if that is shorter.
// Without a maximum the lifetime of the other one is the limit.
// Each call is an audit event.
func (i *Issuer) Renew(ctx context.Context, p Presented, validFor time.Duration) (token.Issued, error) {
	event := EventAbout(audit.Renew, p.Claims)
	if began, ok := revocation.IDTime(p.Claims.ID); ok {
		event.LineageAge = max(i.config.Now().Sub(began), 0)
	}
	at := setting.Now()
	issued, err := i.renew(ctx, p, validFor)
	i.observe(observe.Renew, p.Scope, issued, at, err)
	event.KeyID, event.Expires, event.Err = issued.KeyID, issued.ExpiresAt, err
	audit.Log(ctx, i.config.Log, event)
	return issued, err
}

func (i *Issuer) renew(ctx context.Context, p Presented, validFor time.Duration) (token.Issued, error) {
	switch {
	case i.disabled:
		return token.Issued{}, token.ErrIssuingDisabled
	case i.config.maxLineage == 0:
		return token.Issued{}, fmt.Errorf("%w: renewing is not allowed: give the issuer WithMaxLineage", token.ErrIssuingDisabled)
	}
	if err := p.Recheck(); err != nil {
		return token.Issued{}, err
	}
	if p.Notice(ctx) { // whoever hears of the fork may have revoked the id
		if err := p.Recheck(); err != nil {
			return token.Issued{}, err
		}
	}
	now := i.config.Now().Truncate(time.Second).UTC()
	shortened := false
	if validFor == 0 {
		validFor = lifetime(p, now)
		if limit := i.config.MaxLifetime; limit != 0 && validFor > limit {
			validFor, shortened = limit, true
		}
	}
	began, err := i.checkLineage(p, now)
	if err != nil {
		return token.Issued{}, err
	}
	if err := i.checkRenewedFor(p, validFor, now); err != nil {
		return token.Issued{}, err
	}
	claims := *p.Claims // the maps and lists in it are not changed
	claims.ExpiresAt = now.Add(validFor)
	if end := began.Add(i.config.maxLineage); claims.ExpiresAt.After(end) {
		if !p.Claims.ExpiresAt.Before(end) && lifetime(p, now) <= i.config.maxLineage {
			return token.Issued{}, fmt.Errorf("%w: its lineage ends at %s, and it is valid until then", token.ErrLineage, end.Format(time.RFC3339))
		}
		claims.ExpiresAt = end
	}
	if earliest := now.Add(-Backdate); earliest.After(claims.NotBefore) {
		claims.NotBefore = earliest
	}
	if err := i.askAboutRenewal(ctx, p, began, claims.ExpiresAt.Sub(now)); err != nil {
		return token.Issued{}, fmt.Errorf("%w: %w", token.ErrDenied, err)
	}
	private, kid, listed, err := i.signingKey(ctx, p.Scope)
	if err != nil {
		return token.Issued{}, err
	}
	// The store is read for the signing key in any case. So a key that was removed, because
	// it was stolen, renews nothing from then on, whatever the validator knows.
	if i.store != nil && !(kid == p.KeyID && private.Public().Equal(p.Key)) {
		if err := listed.checkHolds(p.KeyID, p.Key); err != nil {
			return token.Issued{}, err
		}
	}
	if err := i.checkCutoffs(ctx, p, kid); err != nil {
		return token.Issued{}, err
	}
	issued, err := i.sign(ctx, p.Scope, private, kid, claims)
	if err == nil {
		err = ctx.Err() // who went away gets nothing, and it does not count
	}
	// A Keeper drops what expires sooner than its token, and asks again when it is started
	// again. A thief keeps no proxy out with that: near the end of the token each counts.
	counts := !shortened || claims.ExpiresAt.After(p.Claims.ExpiresAt)
	if err == nil && counts && p.Count(ctx, claims.NotBefore) {
		err = p.Recheck()
	}
	if err != nil {
		return token.Issued{}, err
	}
	return issued, nil
}

func lifetime(p Presented, now time.Time) time.Duration {
	return p.Claims.ExpiresAt.Sub(Made(p.Claims, now))
}

// checkRenewedFor is checkValidFor for a renewal. Where the operator states no maximum, it
// is the token's own lifetime: a thief of an hour's token must come back every hour.
func (i *Issuer) checkRenewedFor(p Presented, validFor time.Duration, now time.Time) error {
	if own := lifetime(p, now); i.config.MaxLifetime == 0 && validFor.Truncate(time.Second) > own {
		return fmt.Errorf("%w: it would be valid for %s, and the token to renew is for %s: where the issuer has no maximum lifetime, a renewal is valid for no longer",
			token.ErrNotIssuable, validFor, own)
	}
	return i.checkValidFor(validFor)
}

// checkLineage returns when the lineage of a token began, or why the token is not renewed.
func (i *Issuer) checkLineage(p Presented, now time.Time) (began time.Time, err error) {
	began, ok := revocation.IDTime(p.Claims.ID)
	limit := i.config.maxLineage
	began = began.Truncate(time.Second)
	valid := lifetime(p, now)
	switch {
	case i.store == nil && !i.private.Public().Equal(p.Key):
		return began, fmt.Errorf("%w: it was not signed by the key of this issuer", token.ErrLineage)
	case i.store != nil && p.OfSource:
		return began, fmt.Errorf("%w: its key is not one of the store", token.ErrLineage)
	case p.Others: // perhaps of a later version, and they restrict
		return began, fmt.Errorf("%w: it has claims that this issuer does not know", token.ErrLineage)
	case !ok:
		return began, fmt.Errorf("%w: its id does not tell when it was made, as a UUID of version 7 does", token.ErrLineage)
	case p.Claims.IssuedAt.IsZero():
		return began, fmt.Errorf("%w: it has no iat", token.ErrLineage)
	case began.After(now.Add(token.Skew)), began.After(p.Claims.IssuedAt.Add(token.Skew)):
		return began, fmt.Errorf("%w: its id is from %s, its iat %s", token.ErrLineage, began.Format(time.RFC3339), p.Claims.IssuedAt.Format(time.RFC3339))
	case began.Add(limit).Sub(now) < time.Second:
		return began, fmt.Errorf("%w: its lineage began at %s, and the limit is %s", token.ErrLineage, began.Format(time.RFC3339), limit)
	case valid > limit && !i.config.longTokens:
		return began, fmt.Errorf("%w: it is valid for %s, and the limit of its lineage is %s", token.ErrLineage, valid, limit)
	case p.Claims.IssuedAt.After(now):
		// A thief of a key chooses iat. No renewal has one ahead, so that a cutoff until now
		// revokes all that the thief has renewed.
		return began, fmt.Errorf("%w: it is dated at %s, which is ahead: renew it then", token.ErrUnavailable, p.Claims.IssuedAt.Format(time.RFC3339))
	}
	return began, nil
}

func (i *Issuer) askAboutRenewal(ctx context.Context, p Presented, began time.Time, validFor time.Duration) error {
	asked := token.Claims{Dataplane: p.Claims.Dataplane.Clone(), Zone: p.Claims.Zone.Clone()}
	switch {
	case i.config.renewalPolicy != nil:
		return i.config.renewalPolicy(ctx, asked, Renewal{p.Claims.Registered, p.KeyID, began, validFor})
	case i.config.policy != nil:
		return i.config.policy(ctx, asked, validFor)
	}
	return nil
}

// checkCutoffs returns an error if a cutoff in the store revokes the token, or would revoke
// it under the kid of the key that signs now.
func (i *Issuer) checkCutoffs(ctx context.Context, p Presented, kid string) error {
	if i.store == nil {
		return nil
	}
	for _, ref := range revocation.CutoffsOf(i.family.Kind, p.Scope) {
		cutoffs, err := ref.Load(ctx, i.store)
		if err != nil {
			return fmt.Errorf("%w: %w", token.ErrUnavailable, err)
		}
		for _, signer := range []string{p.KeyID, kid} {
			if reason := cutoffs.Check(signer, p.Claims); reason != "" {
				return fmt.Errorf("%w: %s", token.ErrRevoked, reason)
			}
		}
	}
	return nil
}
