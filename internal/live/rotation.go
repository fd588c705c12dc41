package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// Rotation says when keys come and go.
type Rotation struct {
	// Every is how old the newest key gets before the next one is added.
	Every time.Duration

	// PublishDelay is that of the issuers (WithPublishDelay).
	PublishDelay time.Duration

	// MaxLifetime is that of the issuers (WithMaxLifetime): no token lives longer, so
	// that a key may go once this long has passed since it last signed.
	MaxLifetime time.Duration

	// Bits is the size of the keys that are made: signing.DefaultBits if 0.
	Bits int

	// Logger is told of every key that comes or goes, and of what fails;
	// slog.Default() if nil.
	Logger *slog.Logger
}

const (
	// rotationMargin is kept beyond the time at which the last token of a key
	// expires, for leeway and for clocks that disagree.
	rotationMargin = 5 * time.Minute

	rotationRetry = time.Minute // after a failure
	rotationCheck = time.Hour   // at least this often, whatever the schedule says
)

func (r *Rotation) check() error {
	switch {
	case r.Every <= 0:
		return errors.New("rotation: Every is missing")
	case r.MaxLifetime <= 0:
		return errors.New("rotation: MaxLifetime is missing; without it nobody knows when a key may go")
	case r.PublishDelay < 0 || r.PublishDelay >= r.Every:
		return fmt.Errorf("rotation: the publish delay of %s does not fit into %s", r.PublishDelay, r.Every)
	}
	switch r.Bits {
	case 0, 2048, 3072, 4096:
		return nil
	}
	return fmt.Errorf("rotation: Bits is %d, want 2048, 3072 or 4096", r.Bits)
}

// Rotate adds and removes the keys of a series on a schedule, until ctx ends.
func Rotate(ctx context.Context, store keystore.KeyStore, series signing.Series, r Rotation) error {
	if err := r.check(); err != nil {
		return err
	}
	if r.Bits == 0 {
		r.Bits = signing.DefaultBits
	}
	if r.Logger == nil {
		r.Logger = slog.Default()
	}
	log := r.Logger.With(slog.String("scope", string(series.Scope())))
	for {
		due, err := r.step(ctx, store, series, log)
		pause := min(time.Until(due), rotationCheck)
		if err != nil {
			log.Warn("rotating keys failed", slog.String("error", err.Error()))
			pause = rotationRetry
		}
		// A random part more, so that replicas do not all do it at once.
		timer := time.NewTimer(max(pause, 0) + rand.N(time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// step does what is due, and says when there is more to do. Several replicas may
// do it at once: the next serial has one winner, and a key is removed once.
func (r *Rotation) step(ctx context.Context, store keystore.KeyStore, series signing.Series, log *slog.Logger) (due time.Time, err error) {
	keys, err := Keys(ctx, store, series)
	if err != nil {
		return time.Time{}, err
	}
	newest, ok := signer(keys, time.Now(), 0)
	if !ok {
		return time.Time{}, fmt.Errorf("%w: the first one is made by EnsureKey", signing.ErrNoKey)
	}
	now := time.Now()
	due = newest.Created.Add(r.Every)
	if !due.After(now) {
		private, err := signing.Generate(r.Bits)
		if err != nil {
			return time.Time{}, err
		}
		added, err := create(ctx, store, series, newest.Serial+1, private)
		switch {
		case err == nil:
			log.Info("key added", slog.String("kid", added.Serial.KeyID()))
		case !errors.Is(err, keystore.ErrExists): // else another replica was first
			return time.Time{}, err
		}
		due = now.Add(r.Every)
	}
	for i, key := range keys[:len(keys)-1] { // what the newest signed is alive
		next := keys[i+1]
		if !key.Private || !next.Private {
			continue
		}
		unused := next.Created.Add(r.PublishDelay + r.MaxLifetime + rotationMargin)
		if unused.After(now) {
			due = minTime(due, unused)
			continue
		}
		if err := RemoveKey(ctx, store, series, key.Serial, []RemoveOption{WithPublishDelay(r.PublishDelay)}); err != nil && !errors.Is(err, signing.ErrNoKey) {
			return time.Time{}, err
		}
		log.Info("key removed", slog.String("kid", key.Serial.KeyID()))
	}
	return due, nil
}

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
