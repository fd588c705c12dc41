package live

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/meshpass/meshpass/internal/setting"
	"github.com/meshpass/meshpass/internal/sources"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

const (
	defaultLeeway   = 30 * time.Second
	maxLeeway       = 120 * time.Second
	defaultMaxStale = time.Hour
	defaultCache    = 16384 // tokens
	maxJitter       = 60 * time.Second
)

// Config holds the settings of a validator.
type Config struct {
	setting.Common
	leeway          time.Duration
	maxStale        time.Duration
	sessionMaxStale time.Duration
	sessionJitter   time.Duration
	cache           int  // tokens
	withoutStore    bool // ignore the keys in the store
	unrevocable     bool // accept tokens without an id
	sources         []sources.Place
	onFork          func(context.Context, Fork) // nil: none
}

// staleness returns the shorter limit of staleness.
func (c *Config) staleness() time.Duration { return min(c.maxStale, c.sessionMaxStale) }

// Option changes the settings of a validator.
type Option func(*Config) error

// Defaults returns the settings without an option.
func Defaults() Config {
	return Config{
		Common:          setting.Defaults(),
		leeway:          defaultLeeway,
		maxStale:        defaultMaxStale,
		sessionMaxStale: defaultMaxStale,
		cache:           defaultCache,
	}
}

// WithLeeway sets the tolerance for exp and nbf.
func WithLeeway(leeway time.Duration) Option {
	return func(c *Config) error {
		if leeway < 0 || leeway > maxLeeway {
			return fmt.Errorf("WithLeeway: %s is out of range, want 0s to %s", leeway, maxLeeway)
		}
		c.leeway = leeway
		return nil
	}
}

// WithMaxStale sets how long tokens are validated while reads fail.
func WithMaxStale(limit time.Duration) Option {
	return func(c *Config) error {
		if limit < 0 {
			return fmt.Errorf("WithMaxStale: %s is negative", limit)
		}
		c.maxStale = limit
		return nil
	}
}

// WithSessionMaxStale sets how long sessions stay open while reads fail.
func WithSessionMaxStale(limit time.Duration) Option {
	return func(c *Config) error {
		if limit < 0 {
			return fmt.Errorf("WithSessionMaxStale: %s is negative", limit)
		}
		c.sessionMaxStale = limit
		return nil
	}
}

// WithSessionJitter ends sessions at random times before their tokens expire.
func WithSessionJitter(limit time.Duration) Option {
	return func(c *Config) error {
		if limit < 0 || limit > maxJitter {
			return fmt.Errorf("WithSessionJitter: %s is out of range, want 0s to %s", limit, maxJitter)
		}
		c.sessionJitter = limit
		return nil
	}
}

// WithCache sets how many accepted tokens the validator remembers.
func WithCache(tokens int) Option {
	return func(c *Config) error {
		if tokens < 0 {
			return fmt.Errorf("WithCache: %d tokens, want 0 for none or more", tokens)
		}
		c.cache = tokens
		return nil
	}
}

// WithoutStoreKeys ignores the keys in the store.
func WithoutStoreKeys() Option {
	return func(c *Config) error {
		c.withoutStore = true
		return nil
	}
}

// WithUnrevocableTokens accepts tokens without an id (jti).
func WithUnrevocableTokens() Option {
	return func(c *Config) error {
		c.unrevocable = true
		return nil
	}
}

// WithForkHandler sets a function that hears of forks.
func WithForkHandler(handler func(context.Context, Fork)) Option {
	return func(c *Config) error {
		if handler == nil {
			return errors.New("WithForkHandler: the function is nil")
		}
		if c.onFork != nil {
			return errors.New("WithForkHandler: given twice")
		}
		c.onFork = handler
		return nil
	}
}

// WithSource adds a source of keys for the tokens of one scope, which is valid.
func WithSource(scope keystore.Scope, source signing.Source) Option {
	return func(c *Config) error { return c.addSource(scope, source) }
}

// WithSourceForEveryScope adds a source of keys for the tokens of every scope.
func WithSourceForEveryScope(source signing.Source) Option {
	return func(c *Config) error { return c.addSource(sources.EveryScope, source) }
}

// WithPublicKey configures a key for the tokens of one scope, which is valid.
func WithPublicKey(scope keystore.Scope, kid string, key *signing.PublicKey) Option {
	return func(c *Config) error {
		source, err := fixed(kid, key)
		if err != nil {
			return err
		}
		if err := c.addSource(scope, source); err != nil {
			return fmt.Errorf("public key %q: %w", kid, err)
		}
		return nil
	}
}

// WithPublicKeyForEveryScope configures a key for the tokens of every scope.
func WithPublicKeyForEveryScope(kid string, key *signing.PublicKey) Option {
	return func(c *Config) error {
		source, err := fixed(kid, key)
		if err != nil {
			return err
		}
		return c.addSource(sources.EveryScope, source)
	}
}

// InvalidOption returns an option that fails with err.
func InvalidOption(err error) Option {
	return func(*Config) error { return err }
}

func fixed(kid string, key *signing.PublicKey) (*signing.Fixed, error) {
	return signing.FixedSource(map[string]*signing.PublicKey{kid: key}, demandsOfStore)
}

func (c *Config) addSource(scope keystore.Scope, source signing.Source) error {
	value := reflect.ValueOf(source)
	if !value.IsValid() || value.Kind() == reflect.Pointer && value.IsNil() {
		return errors.New("WithSource: the source is nil")
	}
	added, chosen := source.(signing.ChosenSource)
	for _, p := range c.sources {
		overlaps := p.Scope == scope || p.Scope == sources.EveryScope || scope == sources.EveryScope
		if !chosen && overlaps && value.Comparable() && p.Source == source {
			return fmt.Errorf("WithSource: %s is there twice for the same tokens, so that none of its keys could be used", source)
		}
		before, ok := p.Source.(signing.ChosenSource)
		if !chosen || !ok || p.Scope != scope {
			continue
		}
		for _, kid := range added.KeyIDs() {
			if slices.Contains(before.KeyIDs(), kid) {
				return fmt.Errorf("public key %q: configured twice", kid)
			}
		}
	}
	c.sources = append(c.sources, sources.Place{Scope: scope, Source: source})
	return nil
}
