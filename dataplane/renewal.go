package dataplane

import (
	"context"
	"time"

	"github.com/meshpass/meshpass/internal/keylife"
	"github.com/meshpass/meshpass/internal/live"
	"github.com/meshpass/meshpass/token"
)

// Renewal is a request to renew a token, for a [WithRenewalPolicy].
type Renewal struct {
	// Presented has the id and the times of the token that is renewed.
	Presented token.Registered
	// KeyID is the kid of the key that signed it.
	KeyID string
	// Began is when its lineage began: when the id was made, in whole seconds.
	Began time.Time
	// ValidFor is the lifetime of the new token, not beyond the end of the lineage.
	ValidFor time.Duration
}

// WithMaxLineage allows [Issuer.Renew], and sets for how long after a first token was
// issued its renewals are valid: one second to ten years (87600h). After that a new token
// must be issued. Without this option nothing is renewed.
//
// A revocation list may be pruned ([PruneRevocations]) when lineages have ended, not when
// tokens have expired: pass it this limit if it is longer than the validity of any token.
func WithMaxLineage(limit time.Duration) IssuerOption {
	return issuerOption(keylife.WithMaxLineage(limit))
}

// WithLongTokensRenewed lets [Issuer.Renew] renew also tokens that are themselves valid for
// longer than [WithMaxLineage], within that limit. The long token stays good until it
// expires, and cannot be revoked without its renewals. To be rid of it, remove the key that
// signed it, when the next key has signed its renewals.
func WithLongTokensRenewed() IssuerOption { return issuerOption(keylife.WithLongTokensRenewed()) }

// WithRenewalPolicy sets a function that checks each renewal. If policy returns an error,
// [Issuer.Renew] returns it wrapped in token.ErrDenied. Without it the function of
// [WithPolicy] decides about renewals as about new tokens. It runs as that one does.
// Over HTTP no other renewal of the id runs meanwhile, so it should be quick, and end with the
// context: who has the token could ask, and go away, again and again.
func WithRenewalPolicy(policy func(ctx context.Context, claims token.Dataplane, renewal Renewal) error) IssuerOption {
	if policy == nil {
		return issuerOption(keylife.WithRenewalPolicy(nil))
	}
	return issuerOption(keylife.WithRenewalPolicy(func(ctx context.Context, claims token.Claims, renewal keylife.Renewal) error {
		return policy(ctx, claims.Dataplane, Renewal(renewal))
	}))
}

// Fork is what the theft of a token looks like, as far as a validator knows:
//
//   - a token is used or renewed although a later one with the same id was before;
//   - a token is used or renewed that is later than the latest one so far, but was made
//     before that was renewed, so it comes of another;
//   - the latest one is renewed for the third time. A renewal that [WithMaxLifetime] has
//     shortened does not count if it expires sooner than the token.
//
// The first two are what happens when the thief and the proxy both go on. It also happens where
// several processes share one token and renew it, where an old file comes back from a
// backup, and where a proxy does not read its file again. A lost answer is no fork, since
// the later token was not presented. Nor is a use of the token before the latest within a tenth
// of its lifetime, and two minutes (token.Skew) at most, after the latest was made: for
// example by a proxy that connects with the old file.
//
// The third is what happens when a thief renews the token so often that the proxy cannot,
// and presents none of the new ones: see httpapi.WithRenewal. It also happens where answers
// are lost twice in a row, and where what renews the token cannot keep the new one.
type Fork struct {
	// Verified is the token that has just been presented.
	Verified Verified
	// Renewed says that it is about to be renewed. Otherwise it was used.
	Renewed bool
	// Repeated is 0 unless the latest token was renewed too often. Otherwise this token is itself
	// the latest one, and Repeated says how often it was renewed, 3 or more.
	Repeated int
	// Address is from where it was presented: see audit.WithAddress. It may be empty.
	Address string

	// Later is when the latest token was made, in whole seconds. If Repeated is not 0, that
	// is this one. If this one is later, it is when the latest was renewed for the first time.
	Later time.Time
	// LaterAddress is from where the latest token was presented first. It may be empty. Of a
	// token that was issued and not renewed only renewals count.
	LaterAddress string
}

// WithForkHandler sets a function that hears of each [Fork]. It may revoke the id:
//
//	dataplane.WithForkHandler(func(ctx context.Context, fork dataplane.Fork) {
//		err := dataplane.Revoke(ctx, store, fork.Verified.Claims().Mesh, fork.Verified.Registered().ID)
//	})
//
// That ends the sessions of the thief and of the proxy, which needs a new token.
//
// Validate, or [Issuer.Renew] with a token of the validator, calls the function and waits
// for it; other calls do not. The context does not end with the caller's, but after ten
// seconds. The token is accepted, or renewed unless the validator knows by then that it is
// revoked.
//
// Of an earlier token a use and a renewal are heard of once each, until a later token of the
// lineage is presented; of the latest one each renewal from the third on, after which it is
// renewed only if the validator does not know that it is revoked. Each is an audit event too
// (audit.Fork), with or without the function. A validator remembers up to 65,536 lineages,
// for its own process.
//
// Who has a key of a source ([WithSource], [WithPublicKey]) chooses the ids of its tokens. So
// its tokens are no part of another lineage, and where the keys of the store verify tokens
// too, the function does not hear of forks among them: revoking the id could end a proxy of
// the store. Between several sources without a store the function must tell them apart, by
// the kid.
func WithForkHandler(handler func(ctx context.Context, fork Fork)) ValidatorOption {
	if handler == nil {
		return ofLive(live.WithForkHandler(nil))
	}
	return validatorOption(func(c *validatorConfig) error {
		return live.WithForkHandler(func(ctx context.Context, f live.Fork) {
			handler(ctx, Fork{Verified{f.Token, c.boundary}, f.Renewed, f.Repeated, f.Address, f.Later, f.LaterAddress})
		})(&c.live)
	})
}
