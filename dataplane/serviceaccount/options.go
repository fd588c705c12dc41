package serviceaccount

import (
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Option is an option of [NewValidator].
type Option func(*config) error

type config struct {
	log       *slog.Logger
	now       func() time.Time
	ttl       time.Duration
	perSecond int
}

const (
	defaultTTL       = 10 * time.Second
	maxTTL           = time.Minute
	defaultPerSecond = 100
	maxPerSecond     = 10000
)

// WithLogger sets the logger; the default is slog.Default(). The validator logs:
//
//   - "token refused" at Info: a token was refused, with the reason;
//   - "token could not be checked" at Warn, or at Info if the caller's context
//     ended or the validator was closed: with the reason, such as the API server's
//     error if the control plane may not create TokenReviews.
//
// Both have the account and the jti that the token claims, if they could be read,
// and never the token. Each is limited to a burst of 10 and then one a second;
// left_out counts the suppressed messages.
func WithLogger(log *slog.Logger) Option {
	return func(c *config) error {
		if log == nil {
			return errors.New("WithLogger: the logger is nil; slog.New(slog.DiscardHandler) logs nothing")
		}
		c.log = log
		return nil
	}
}

// WithClock sets the wall clock that exp is compared with. It is for tests.
// Durations are measured on the monotonic clock instead.
func WithClock(now func() time.Time) Option {
	return func(c *config) error {
		if now == nil {
			return errors.New("WithClock: the clock is nil")
		}
		c.now = now
		return nil
	}
}

// WithCacheTTL sets how long a validator uses a positive answer of the API server: 0
// to 60 seconds, 10 by default. After a Pod or an account is deleted, its token is
// accepted for that long, plus about 10 seconds for which the API server caches its
// answers. With zero every Validate causes a review, or shares one in progress.
func WithCacheTTL(ttl time.Duration) Option {
	return func(c *config) error {
		if ttl < 0 || ttl > maxTTL {
			return fmt.Errorf("WithCacheTTL: %s is out of range, want 0s to %s", ttl, maxTTL)
		}
		c.ttl = ttl
		return nil
	}
}

// WithReviewLimit sets the maximum number of reviews a second, on average and in a
// burst: 1 to 10,000, 100 by default. Tokens that were good before have a separate
// limit of the same size. Set it to about the number of proxies that connect in a
// second when all proxies reconnect. Tokens over the limit get token.ErrUnavailable;
// their proxies have to try again.
func WithReviewLimit(perSecond int) Option {
	return func(c *config) error {
		if perSecond < 1 || perSecond > maxPerSecond {
			return fmt.Errorf("WithReviewLimit: %d is out of range, want 1 to %d", perSecond, maxPerSecond)
		}
		c.perSecond = perSecond
		return nil
	}
}
