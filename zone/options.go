package zone

import (
	"log/slog"
	"time"

	"github.com/meshpass/meshpass/internal/live"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// An IssuerOption is an option of [NewIssuer] and [NewOfflineIssuer].
type IssuerOption = live.IssuerOption

// A ValidatorOption is an option of [NewValidator] and [NewOfflineValidator].
type ValidatorOption = live.ValidatorOption

// An Option is an option of issuers and validators both.
type Option = live.Option

// A RemoveOption is an option of [RemoveKey].
type RemoveOption = live.RemoveOption

// A KeyOption is an option of issuers and of [RemoveKey].
type KeyOption = live.KeyOption

// A Rotation is a schedule for [Rotate].
type Rotation = live.Rotation

// WithLogger sets where to log; slog.Default() is the default. Refused tokens are
// logged with the reason, kid and jti, never with the token, and at a limited
// rate; trouble with records and with the store is logged once each.
func WithLogger(log *slog.Logger) Option { return live.WithLogger(log) }

// WithClock sets the wall clock against which exp and nbf are held, and from which iat is
// written. It is for tests. What is measured as a span of time, such as staleness, is
// measured on the monotonic clock instead.
func WithClock(now func() time.Time) Option { return live.WithClock(now) }

// WithMaxLifetime refuses, when issuing and when validating, tokens that live longer than
// the limit from their iat (from nbf, where there is no iat) to their exp. Up to five
// minutes by which iat was written early are not counted. At least one second;
// without the option there is no limit.
func WithMaxLifetime(limit time.Duration) Option { return live.WithMaxLifetime(limit) }

// WithPublishDelay keeps a key from signing until it has been in the store for so long,
// so that every validator knows it by then, also one that lags behind. The key before
// it signs meanwhile; a key that is the only one signs at once. Without the option, the
// newest key signs at once.
func WithPublishDelay(delay time.Duration) KeyOption { return live.WithPublishDelay(delay) }

// UnlessUsed refuses to remove a key of which any of the reports ([Validator.Usage], of
// every process that validates) shows an open session, or a token accepted after a time:
// one by which every proxy had its new token.
func UnlessUsed(after time.Time, reports ...KeyUse) RemoveOption {
	return live.UnlessUsed(after, reports...)
}

// Forced removes a key whatever speaks against it.
func Forced() RemoveOption { return live.Forced() }

// WithLeeway sets by how much exp and nbf may be missed, for clocks that disagree: 0 to
// 120 seconds, 30 by default.
func WithLeeway(leeway time.Duration) ValidatorOption { return live.WithLeeway(leeway) }

// WithMaxStale sets for how long, while the store cannot be read, tokens are still
// judged by what was read last: an hour by default. Later they are answered with
// token.ErrUnavailable. Zero means from the first read that fails.
func WithMaxStale(limit time.Duration) ValidatorOption { return live.WithMaxStale(limit) }

// WithSessionMaxStale sets for how long, while the store cannot be read, bound
// contexts stay open: an hour by default. Zero means until the first read that fails.
func WithSessionMaxStale(limit time.Duration) ValidatorOption { return live.WithSessionMaxStale(limit) }

// WithSessionJitter ends each bound context up to limit (0 to 60 seconds, 0 by
// default) before its token expires, at random, so that proxies whose tokens were made
// together do not come back together. It delays nothing, and a revocation or the removal of a
// key never waits for it.
func WithSessionJitter(limit time.Duration) ValidatorOption { return live.WithSessionJitter(limit) }

// WithCache sets how many accepted tokens a validator remembers, by their digests:
// 16,384 by default, about a kilobyte each. Of a token that is remembered neither form nor
// signature is checked again, but everything that can change is. Zero remembers none.
func WithCache(tokens int) ValidatorOption { return live.WithCache(tokens) }

// WithPublicKey configures a key that verifies zone tokens, beside those in the store.
// Where the store has a key of the same kid, the configured one is used, and the
// log says so. The same kid twice is an error.
func WithPublicKey(kid string, key *signing.PublicKey) ValidatorOption {
	return live.WithPublicKey(keystore.Global, kid, key)
}

// WithoutStoreKeys accepts only what configured keys have signed. The store still
// says what is revoked.
func WithoutStoreKeys() ValidatorOption { return live.WithoutStoreKeys() }

// WithUnrevocableTokens accepts tokens without an id (jti), which some issuers make. Such
// a token cannot be taken back before it expires, other than by removing its key.
func WithUnrevocableTokens() ValidatorOption { return live.WithUnrevocableTokens() }
