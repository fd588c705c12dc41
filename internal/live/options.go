package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const (
	defaultLeeway   = 30 * time.Second
	maxLeeway       = 120 * time.Second
	defaultMaxStale = time.Hour
	defaultCache    = 16384 // tokens
	maxJitter       = 60 * time.Second
)

// common holds the options of both issuers and validators.
type common struct {
	log         *slog.Logger
	clock       func() time.Time // nil: the system's
	maxLifetime time.Duration    // 0: no limit
}

// issuerConfig holds the options of an issuer.
type issuerConfig struct {
	common
	publishDelay time.Duration
	policy       Policy // nil: everything is allowed
}

// Policy decides whether a token is issued: an error means no.
type Policy func(ctx context.Context, claims token.Claims, validFor time.Duration) error

// validatorConfig holds the options of a validator.
type validatorConfig struct {
	common
	leeway          time.Duration
	maxStale        time.Duration
	sessionMaxStale time.Duration
	sessionJitter   time.Duration
	cache           int  // tokens
	withoutStore    bool // ignore the keys in the store
	unrevocable     bool // accept tokens without an id
	configured      map[configuredKey]*signing.PublicKey
}

// configuredKey identifies a key that the operator configured. The scope
// everyScope stands for every mesh.
type configuredKey struct {
	scope keystore.Scope
	kid   string
}

const everyScope = keystore.AllScopes

// IssuerOption is an option of an issuer.
type IssuerOption interface{ applyIssuer(*issuerConfig) error }

// ValidatorOption is an option of a validator.
type ValidatorOption interface{ applyValidator(*validatorConfig) error }

// Option is an option of both.
type Option interface {
	IssuerOption
	ValidatorOption
}

type option func(*common) error

func (o option) applyIssuer(c *issuerConfig) error       { return o(&c.common) }
func (o option) applyValidator(c *validatorConfig) error { return o(&c.common) }

type validatorOption func(*validatorConfig) error

func (o validatorOption) applyValidator(c *validatorConfig) error { return o(c) }

func defaults() common {
	return common{log: slog.Default()}
}

// now returns the time by the wall clock.
func (c *common) now() time.Time { return c.wallClock(time.Now()) }

// wallClock is now for a caller that has just read the system's clock.
func (c *common) wallClock(system time.Time) time.Time {
	if c.clock != nil {
		return c.clock()
	}
	return system
}

// WithLogger sets the logger.
func WithLogger(log *slog.Logger) Option {
	return option(func(c *common) error {
		if log == nil {
			return errors.New("WithLogger: the logger is nil; slog.New(slog.DiscardHandler) logs nothing")
		}
		c.log = log
		return nil
	})
}

// WithClock sets the wall clock.
func WithClock(now func() time.Time) Option {
	return option(func(c *common) error {
		if now == nil {
			return errors.New("WithClock: the clock is nil")
		}
		c.clock = now
		return nil
	})
}

// WithMaxLifetime limits the lifetime of tokens.
func WithMaxLifetime(limit time.Duration) Option {
	return option(func(c *common) error {
		if limit < time.Second {
			return fmt.Errorf("WithMaxLifetime: %s is too short, want at least 1s", limit)
		}
		c.maxLifetime = limit
		return nil
	})
}

// KeyOption is an option of issuers and of RemoveKey.
type KeyOption interface {
	IssuerOption
	RemoveOption
}

type publishDelay time.Duration

func (d publishDelay) applyIssuer(c *issuerConfig) error {
	if d < 0 {
		return fmt.Errorf("WithPublishDelay: %s is negative", time.Duration(d))
	}
	c.publishDelay = time.Duration(d)
	return nil
}

func (d publishDelay) applyRemoval(r *removal) { r.publishDelay = time.Duration(d) }

// WithPublishDelay sets how old a key must be before it signs.
func WithPublishDelay(delay time.Duration) KeyOption { return publishDelay(delay) }

type issuerOption func(*issuerConfig) error

func (o issuerOption) applyIssuer(c *issuerConfig) error { return o(c) }

// WithPolicy sets the policy that is asked before a token is signed.
func WithPolicy(policy Policy) IssuerOption {
	return issuerOption(func(c *issuerConfig) error {
		if policy == nil {
			return errors.New("WithPolicy: the policy is nil")
		}
		if c.policy != nil {
			return errors.New("WithPolicy: given twice")
		}
		c.policy = policy
		return nil
	})
}

// WithLeeway sets the tolerance for exp and nbf.
func WithLeeway(leeway time.Duration) ValidatorOption {
	return validatorOption(func(c *validatorConfig) error {
		if leeway < 0 || leeway > maxLeeway {
			return fmt.Errorf("WithLeeway: %s is out of range, want 0s to %s", leeway, maxLeeway)
		}
		c.leeway = leeway
		return nil
	})
}

// WithMaxStale sets for how long tokens are validated while reads fail.
func WithMaxStale(limit time.Duration) ValidatorOption {
	return validatorOption(func(c *validatorConfig) error {
		if limit < 0 {
			return fmt.Errorf("WithMaxStale: %s is negative", limit)
		}
		c.maxStale = limit
		return nil
	})
}

// WithSessionMaxStale sets for how long sessions stay open while reads fail.
func WithSessionMaxStale(limit time.Duration) ValidatorOption {
	return validatorOption(func(c *validatorConfig) error {
		if limit < 0 {
			return fmt.Errorf("WithSessionMaxStale: %s is negative", limit)
		}
		c.sessionMaxStale = limit
		return nil
	})
}

// WithSessionJitter ends sessions at random times before their tokens expire.
func WithSessionJitter(limit time.Duration) ValidatorOption {
	return validatorOption(func(c *validatorConfig) error {
		if limit < 0 || limit > maxJitter {
			return fmt.Errorf("WithSessionJitter: %s is out of range, want 0s to %s", limit, maxJitter)
		}
		c.sessionJitter = limit
		return nil
	})
}

// WithCache sets how many accepted tokens are remembered.
func WithCache(tokens int) ValidatorOption {
	return validatorOption(func(c *validatorConfig) error {
		if tokens < 0 {
			return fmt.Errorf("WithCache: %d tokens, want 0 for none or more", tokens)
		}
		c.cache = tokens
		return nil
	})
}

// WithoutStoreKeys ignores the keys in the store.
func WithoutStoreKeys() ValidatorOption {
	return validatorOption(func(c *validatorConfig) error {
		c.withoutStore = true
		return nil
	})
}

// WithUnrevocableTokens accepts tokens without an id (jti).
func WithUnrevocableTokens() ValidatorOption {
	return validatorOption(func(c *validatorConfig) error {
		c.unrevocable = true
		return nil
	})
}

// WithPublicKey configures a key for the tokens of one scope.
func WithPublicKey(scope keystore.Scope, kid string, key *signing.PublicKey) ValidatorOption {
	return validatorOption(func(c *validatorConfig) error {
		if err := keystore.CheckScope(scope); err != nil {
			return fmt.Errorf("public key %q: %w", kid, err)
		}
		return c.configure(scope, kid, key)
	})
}

// WithPublicKeyForEveryScope configures a key for the tokens of every scope.
func WithPublicKeyForEveryScope(kid string, key *signing.PublicKey) ValidatorOption {
	return validatorOption(func(c *validatorConfig) error {
		return c.configure(everyScope, kid, key)
	})
}

// InvalidOption returns an option that fails with err.
func InvalidOption(err error) ValidatorOption {
	return validatorOption(func(*validatorConfig) error { return err })
}

func (c *validatorConfig) configure(scope keystore.Scope, kid string, key *signing.PublicKey) error {
	if err := token.CheckKeyID(kid); err != nil {
		return fmt.Errorf("public key: %w", err)
	}
	if key.Bits() == 0 {
		return fmt.Errorf("public key %q: the key is nil", kid)
	}
	at := configuredKey{scope, kid}
	if _, twice := c.configured[at]; twice {
		return fmt.Errorf("public key %q: configured twice", kid)
	}
	if c.configured == nil {
		c.configured = make(map[configuredKey]*signing.PublicKey)
	}
	c.configured[at] = key
	return nil
}
