package zone

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/meshpass/meshpass/internal/keylife"
	"github.com/meshpass/meshpass/internal/live"
	"github.com/meshpass/meshpass/internal/setting"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/observe"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// An IssuerOption is an option of [NewIssuer], [NewOfflineIssuer] and
// [NewDisabledIssuer].
type IssuerOption interface{ applyIssuer(*keylife.Config) error }

// A ValidatorOption is an option of [NewValidator] and [NewOfflineValidator].
type ValidatorOption interface{ applyValidator(*live.Config) error }

// An Option is an option of both issuers and validators.
type Option interface {
	IssuerOption
	ValidatorOption
}

// A RemoveOption is an option of [RemoveKey].
type RemoveOption interface{ applyRemoval(*keylife.Removal) error }

// A KeyOption is an option of issuers and of [RemoveKey].
type KeyOption interface {
	IssuerOption
	RemoveOption
}

// The options are functions on the settings. Their types belong to this package, so
// that an option for the other kind of token does not compile.
type (
	option          setting.Option
	issuerOption    keylife.Option
	validatorOption live.Option
	removeOption    func(*keylife.Removal) error
	keyOption       time.Duration // the publish delay
)

func (o option) applyIssuer(c *keylife.Config) error       { return o(&c.Common) }
func (o option) applyValidator(c *live.Config) error       { return o(&c.Common) }
func (o issuerOption) applyIssuer(c *keylife.Config) error { return o(c) }
func (o validatorOption) applyValidator(c *live.Config) error {
	return o(c)
}
func (o removeOption) applyRemoval(r *keylife.Removal) error { return o(r) }

func (o keyOption) applyIssuer(c *keylife.Config) error {
	return keylife.WithPublishDelay(time.Duration(o))(c)
}

func (o keyOption) applyRemoval(r *keylife.Removal) error {
	r.PublishDelay = time.Duration(o)
	return nil
}

// WithLogger sets the logger; the default is slog.Default(). No message contains a
// token. An issuer logs audit events: see package audit. A validator logs these
// messages, with the kind of token:
//
//   - "token refused" at Info: a token was rejected, with the reason and, if
//     known, zone, kid and jti;
//   - "token could not be checked" at Warn, or at Info if the caller's context
//     ended or the validator was closed, with the same attributes;
//   - "record problem" at Warn: a key or list cannot be read, is misnamed or
//     contradicts another record;
//   - "a configured public key hides the key of the same kid in the store", "a key
//     of a source is not used: the store has a key of the same kid" and "a key is not
//     used: another source has a key of the same kid" at Warn, with the sources, and
//     "more keys are not used: there are several of the same kid" at Warn;
//   - "new key" at Info, and "key is gone: tokens that it signed are refused"
//     at Warn;
//   - "another key has this kid now: tokens of the key before are refused" at Warn,
//     about a source;
//   - "source problem" at Warn: a source has a key that cannot be used;
//   - "the source has no key" at Warn;
//   - "ids are gone from a revocation list" at Warn, with their number;
//   - "reading the store fails: validating with the last state read" at Warn, and
//     "reading the store works again" at Info;
//   - "reading a source of keys fails: validating with the last keys read" at Warn,
//     and "reading a source of keys works again" at Info.
//
// The first two are limited to a burst of 10 and then one a second; left_out
// counts the suppressed messages. The others are logged once per change. Those about a
// source name it. A change of a source logs at most 16 kids under one message, and then
// how many more there are.
func WithLogger(log *slog.Logger) Option { return option(setting.WithLogger(log)) }

// WithObserver adds an observer, which is told the outcome of each Validate or Issue and,
// if it is an observe.Attacher, gets the validator's reports: for metrics. The same observer
// may be given to any number of issuers and validators, of both kinds of token.
func WithObserver(o observe.Observer) Option { return option(setting.WithObserver(o)) }

// WithClock sets the wall clock for exp, nbf and iat, for the age of keys (see
// [WithPublishDelay]) and for KeyUse.LastUsed. It is for tests. Durations such
// as staleness are measured on the monotonic clock instead.
func WithClock(now func() time.Time) Option { return option(setting.WithClock(now)) }

// WithMaxLifetime limits the lifetime of tokens, both when issuing and when
// validating. The lifetime counts from iat or nbf to exp, whichever leaves less: iat of a
// renewed token is that of the first of its lineage. The time by which issuers set iat (five
// seconds) and nbf (five minutes) back does not count. A token with neither is rejected. The
// limit is at least one second. Without this option there is no limit.
func WithMaxLifetime(limit time.Duration) Option { return option(setting.WithMaxLifetime(limit)) }

// WithPublishDelay keeps a new key from signing until it has been in the store
// for delay, so that every validator has read it. Until then the key before it
// signs. If no key is that old, the oldest one signs. Without this option the
// newest key signs at once.
func WithPublishDelay(delay time.Duration) KeyOption { return keyOption(delay) }

// WithSigners gives an issuer of [NewIssuer] the keys outside the store, such as those in
// a KMS or HSM; see [AddExternalKey]. They are found by their public halves, so that
// rotation needs no new settings where the function asks the KMS. signing.SignersOf has
// a fixed number of keys.
//
// Issue looks the key up once, and again after it has failed to sign.
func WithSigners(signers signing.Signers) IssuerOption {
	return issuerOption(keylife.WithSigners(signers))
}

// WithValidator lets an issuer of [NewIssuer] take what it needs to know of the store from a
// validator that follows the same store. Then Issue does not read the store for each token,
// but once for a key and once after each change that the validator has seen.
//
// So a change, such as a new key or cutoff, counts for Issue once the validator knows of it,
// also if this process made the change: as soon as the store announces it, or with the next
// complete read, one every 30 s. What Issue does then stays the same: the newest key
// signs, or nothing does. While a record of the zones cannot be read or the validator's reads
// fail, and once the validator is closed, Issue reads the store for each token.
//
// Renew always reads it. A key that is removed because it was stolen must renew nothing from
// that moment: another key signs a renewal, so the removal does not end what a thief renews
// before the validator has seen it.
//
// The store must be the very value that the validator was made with, and the validator must
// use its keys.
func WithValidator(v Validator) IssuerOption {
	validator, ok := v.(validator)
	if !ok {
		return issuerOption(keylife.InvalidOption(errors.New("WithValidator: the validator is nil, or one around that of NewValidator")))
	}
	return issuerOption(keylife.WithFollowed(validator.live))
}

// WithPolicy sets a function that checks each request for a token: the claims and the
// lifetime. If policy returns an error, Issue returns it wrapped in token.ErrDenied.
// The policy runs on the goroutine of Issue and with its context, after Issue has
// checked the request and before it reads the store. It may run concurrently, and
// must not change the claims.
func WithPolicy(policy func(ctx context.Context, claims token.Zone, validFor time.Duration) error) IssuerOption {
	if policy == nil {
		return issuerOption(keylife.WithPolicy(nil))
	}
	return issuerOption(keylife.WithPolicy(func(ctx context.Context, claims token.Claims, validFor time.Duration) error {
		return policy(ctx, claims.Zone, validFor)
	}))
}

// UnlessUsed makes [RemoveKey] refuse a key that the reports show in use: one
// with an open session, or with a token accepted after the given time. Pass the
// [Validator.Usage] of every process that validates, and a time by which every
// zone had its new token. Without reports no key counts as in use.
func UnlessUsed(after time.Time, reports ...KeyUse) RemoveOption {
	return removeOption(func(r *keylife.Removal) error {
		for _, use := range reports {
			r.Used = append(r.Used, keylife.Use{
				Scope:    keystore.Global,
				KeyID:    use.KeyID,
				Sessions: use.Sessions,
				LastUsed: use.LastUsed,
				Since:    after,
			})
		}
		return nil
	})
}

// Forced makes [RemoveKey] remove a key even if it signs or is in use, unless it is
// the newest.
func Forced() RemoveOption {
	return removeOption(func(r *keylife.Removal) error {
		r.Forced = true
		return nil
	})
}

// WithLeeway sets the tolerance for exp and nbf, for clocks that differ: 0 to
// 120 seconds, 30 by default.
func WithLeeway(leeway time.Duration) ValidatorOption {
	return validatorOption(live.WithLeeway(leeway))
}

// WithMaxStale sets how long a validator still validates tokens while reads of the
// store fail, counted from the last successful read: one hour by default. After
// that Validate returns token.ErrUnavailable. With zero it does so after the first
// failed read.
//
// Within the limit, or within half a minute if that is shorter, the validator also
// notices that the store hangs or no longer announces changes. For this it reads all of
// the store twice in that time, but not more often than every 250 ms, or every second
// with zero. The same is true of [WithSessionMaxStale].
func WithMaxStale(limit time.Duration) ValidatorOption {
	return validatorOption(live.WithMaxStale(limit))
}

// WithSessionMaxStale sets how long bound contexts stay open while the store or a
// revocation list cannot be read: one hour by default. With zero they end at the
// first failed read.
func WithSessionMaxStale(limit time.Duration) ValidatorOption {
	return validatorOption(live.WithSessionMaxStale(limit))
}

// WithSessionJitter ends each bound context at random up to limit before its
// token expires, so that zones whose tokens were issued together do not
// reconnect together: 0 to 60 seconds, 0 by default, and never more than half
// of the time that is left. Revocations and removed keys still take effect at
// once.
func WithSessionJitter(limit time.Duration) ValidatorOption {
	return validatorOption(live.WithSessionJitter(limit))
}

// WithCache sets how many accepted tokens a validator remembers, by their
// SHA-256 digests: 16,384 by default, about a kilobyte each. For a remembered
// token it checks everything again except form, header and signature. With zero
// the validator remembers none.
func WithCache(tokens int) ValidatorOption { return validatorOption(live.WithCache(tokens)) }

// WithSource adds a source of public keys for zone tokens: of a file, of an identity
// provider. Its keys may change while the validator runs: see [signing.Source]. The
// validator reads the source until Close, on a goroutine of its own. Its tokens must say
// what the source demands, and spell their claims as documented unless the source accepts
// lower case.
//
// What a read finds is believed. The sessions of a key that is gone end, and no others.
// While reads fail, the last keys stay. They age by themselves: [WithMaxStale] and
// [WithSessionMaxStale] count from the last good read of their source, for its keys
// alone.
//
// A kid that an operator chose, as for a configured key, goes before the store's. Any
// other key is not used, and the log says so, while the store or another source has its
// kid too; the key of the store stays in use.
func WithSource(source signing.Source) ValidatorOption {
	return validatorOption(live.WithSource(keystore.Global, source))
}

// WithPublicKey configures a public key for zone tokens, in addition to the
// keys in the store. If the store has a key with the same kid, the validator
// uses the configured one and logs a warning. Configuring a kid twice is an
// error. It is short for [WithSource] with a [signing.FixedSource] that accepts claims in
// lower case.
func WithPublicKey(kid string, key *signing.PublicKey) ValidatorOption {
	return validatorOption(live.WithPublicKey(keystore.Global, kid, key))
}

// WithoutStoreKeys accepts only tokens signed with the keys of sources; there must be at
// least one source or configured key. The validator still reads revocation lists from the
// store.
func WithoutStoreKeys() ValidatorOption { return validatorOption(live.WithoutStoreKeys()) }

// WithUnrevocableTokens accepts tokens without an id (jti), which some issuers
// make. Such a token cannot be revoked: it stays valid until it expires or its key
// is removed.
func WithUnrevocableTokens() ValidatorOption { return validatorOption(live.WithUnrevocableTokens()) }
