package revocation

import (
	"context"
	"fmt"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// UntilNow returns the cutoff that revokes every token of the subject of c that was issued
// before the call. It writes nothing; add the cutoff right after it. c.Before has no
// effect.
//
// The moment is token.Skew ahead of this machine's clock, for issuers whose clocks are
// ahead. If a token of the subject may be dated at a cutoff that is as late or later, it is
// one second after that cutoff: issuers date new tokens at a cutoff that is ahead of them.
// This may be a cutoff for any other subject, except for one with another value of the
// same claim. A cutoff that was removed while it was token.Skew ahead or more leaves no
// trace: the tokens that are dated at it stay valid.
//
// So repeated calls in one second move the moment by one second each. No moment is more
// than twice token.Skew ahead, which is as far as a cutoff can be made: for a later one
// the error matches [ErrCutoff], and says from when on it can be made. The error matches
// ErrCutoff too if c is not for this kind of token, and [ErrUnreadable] if the present
// cutoffs cannot be read. UntilNow blocks as long as the store's Get does.
func UntilNow(ctx context.Context, store keystore.KeyStore, kind token.Kind, scope keystore.Scope, c Cutoff) (Cutoff, error) {
	now := time.Now()
	c.Before = wholeSecond(now.Add(token.Skew))
	if err := c.check(kind); err != nil {
		return Cutoff{}, err
	}
	of := c.subject()
	for _, ref := range CutoffsOf(kind, scope) {
		present, err := ref.Load(ctx, store)
		if err != nil {
			return Cutoff{}, err
		}
		for _, other := range present.list {
			if of.mayShareTokens(other.subject()) && !other.Before.After(now.Add(furthestDate)) {
				c.Before = latest(c.Before, other.Before.Add(time.Second))
			}
		}
	}
	if from := c.Before.Add(-2 * token.Skew); from.After(now) {
		return Cutoff{}, fmt.Errorf("%w: tokens may be dated at a cutoff of %s, so that one which revokes them can be made from %s on", ErrCutoff,
			c.Before.Add(-time.Second).Format(time.RFC3339), from.Format(time.RFC3339))
	}
	return c, nil
}

// furthestDate is how far ahead of this machine's clock a token may be dated: issuers whose
// clocks are ahead by the skew date up to three times the skew ahead of them.
const furthestDate = 4 * token.Skew

// mayShareTokens reports whether a token may have both subjects: not if both name the same
// claim, with different values.
func (s subject) mayShareTokens(other subject) bool {
	return s == other || s.member != other.member
}
