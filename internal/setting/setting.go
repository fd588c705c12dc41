// Package setting holds the settings that issuers and validators of both kinds of
// token share, and applies options.
package setting

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/meshpass/meshpass/observe"
)

// Apply applies options to a configuration, in order. apply is the method of an
// option.
func Apply[O, C any](config *C, options []O, apply func(O, *C) error) error {
	for _, o := range options {
		if any(o) == nil {
			return errors.New("an option is nil")
		}
		if err := apply(o, config); err != nil {
			return err
		}
	}
	return nil
}

// Common holds the settings of issuers and validators.
type Common struct {
	Log         *slog.Logger
	Clock       func() time.Time // nil: the system's
	MaxLifetime time.Duration    // 0: no limit
	Observers   []observe.Observer
}

// Option changes the settings.
type Option func(*Common) error

// Defaults returns the settings without an option.
func Defaults() Common { return Common{Log: slog.Default()} }

// Now returns the time by the wall clock.
func (c *Common) Now() time.Time { return c.WallClock(time.Now()) }

// WallClock is Now for a caller that has just read the system's clock.
func (c *Common) WallClock(system time.Time) time.Time {
	if c.Clock != nil {
		return c.Clock()
	}
	return system
}

// Observe tells all observers an outcome.
func (c *Common) Observe(o observe.Outcome) {
	for _, observer := range c.Observers {
		observer.Observe(o)
	}
}

// WithObserver adds an observer.
func WithObserver(o observe.Observer) Option {
	return func(c *Common) error {
		if o == nil {
			return errors.New("WithObserver: the observer is nil")
		}
		c.Observers = append(c.Observers, o)
		return nil
	}
}

// WithLogger sets the logger.
func WithLogger(log *slog.Logger) Option {
	return func(c *Common) error {
		if log == nil {
			return errors.New("WithLogger: the logger is nil; slog.New(slog.DiscardHandler) logs nothing")
		}
		c.Log = log
		return nil
	}
}

// WithClock sets the wall clock.
func WithClock(now func() time.Time) Option {
	return func(c *Common) error {
		if now == nil {
			return errors.New("WithClock: the clock is nil")
		}
		c.Clock = now
		return nil
	}
}

// WithMaxLifetime limits the lifetime of tokens.
func WithMaxLifetime(limit time.Duration) Option {
	return func(c *Common) error {
		if limit < time.Second {
			return fmt.Errorf("WithMaxLifetime: %s is too short, want at least 1s", limit)
		}
		c.MaxLifetime = limit
		return nil
	}
}
