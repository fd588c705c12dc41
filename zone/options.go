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

// WithLeeway sets by how much exp and nbf may be missed, for clocks that disagree: 0 to
// 120 seconds, 30 by default.
func WithLeeway(leeway time.Duration) ValidatorOption { return live.WithLeeway(leeway) }

// WithMaxStale sets for how long, while the store cannot be read, tokens are still
// judged by what was read last: an hour by default. Later they are answered with
// token.ErrUnavailable. Zero means from the first read that fails.
func WithMaxStale(limit time.Duration) ValidatorOption { return live.WithMaxStale(limit) }

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
