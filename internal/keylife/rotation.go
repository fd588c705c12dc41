package keylife

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/internal/jitter"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
)

// Rotation is a schedule for adding and removing keys.
type Rotation struct {
	// Every is the age of the newest key at which the next one is added. It
	// must be longer than PublishDelay.
	Every time.Duration

	// PublishDelay is the WithPublishDelay of the issuers.
	PublishDelay time.Duration

	// MaxLifetime is the WithMaxLifetime of the issuers. It must be set: a key is
	// removed this long after it last signed, plus a margin of five minutes.
	MaxLifetime time.Duration

	// Bits is the size of new keys: 2048, 3072 or 4096; 0 means
	// signing.DefaultBits.
	Bits int

	// Logger gets the audit events, "rotating keys failed" at Warn, and "the key that
	// signs is outside the store: rotation adds no keys" at Info. Nil means slog.Default().
	Logger *slog.Logger
}

const (
	// rotationMargin keeps a key after its last token has expired, for leeway and
	// for clocks that differ.
	rotationMargin = 5 * time.Minute

	rotationRetry = time.Minute // after a failure
	rotationCheck = time.Hour   // the longest pause between checks
)

func (r *Rotation) check() error {
	switch {
	case r.Every <= 0:
		return errors.New("rotation: Every is missing")
	case r.MaxLifetime <= 0:
		return errors.New("rotation: MaxLifetime is missing; it decides when old keys are removed")
	case r.PublishDelay < 0 || r.PublishDelay >= r.Every:
		return fmt.Errorf("rotation: PublishDelay is %s, want at least 0s and less than Every, %s", r.PublishDelay, r.Every)
	}
	switch r.Bits {
	case 0, 2048, 3072, 4096:
		return nil
	}
	return fmt.Errorf("rotation: Bits is %d, want 2048, 3072 or 4096", r.Bits)
}

// Rotate adds and removes the keys of a series on a schedule, until ctx ends.
func Rotate(ctx context.Context, store keystore.KeyStore, series signing.Series, r Rotation) error {
	if store == nil {
		return errors.New("the store is nil")
	}
	if err := r.check(); err != nil {
		return err
	}
	if r.Bits == 0 {
		r.Bits = signing.DefaultBits
	}
	if r.Logger == nil {
		r.Logger = slog.Default()
	} else {
		ctx = audit.WithLogger(ctx, r.Logger)
	}
	log := r.Logger.With(slog.String("scope", string(series.Scope())))
	told := signing.Serial(-1) // the external key that the log has named
	for {
		step, cancel := context.WithTimeout(ctx, rotationRetry)
		due, external, err := r.step(step, store, series)
		cancel()
		if external >= 0 && external != told {
			log.Info("the key that signs is outside the store: rotation adds no keys", slog.String("kid", external.KeyID()))
			told = external
		}
		pause := min(time.Until(due), rotationCheck)
		if err != nil {
			log.Warn("rotating keys failed", slog.String("error", err.Error()))
			pause = rotationRetry
		}
		// Jitter keeps replicas from acting at the same moment.
		timer := time.NewTimer(max(pause, 0) + jitter.N(time.Second))
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}

// step adds and removes the keys that are due, and returns when the next step
// is due. Several replicas may do so at once: only one can create the next
// serial, and removing a key twice is not an error. If the key that signs is outside the
// store, step adds none and returns its serial as external, which is otherwise -1.
func (r *Rotation) step(ctx context.Context, store keystore.KeyStore, series signing.Series) (due time.Time, external signing.Serial, err error) {
	external = -1
	listed, err := listKeys(ctx, store, series)
	if err != nil {
		return time.Time{}, external, err
	}
	keys := listed.keys()
	newest := slices.IndexFunc(keys, func(key signing.Key) bool { return key.Signs })
	if newest < 0 {
		return time.Time{}, external, fmt.Errorf("%w: EnsureKey creates the first one", signing.ErrNoKey)
	}
	if keys[newest].Created.IsZero() { // how old it is cannot be told
		return time.Time{}, external, fmt.Errorf("the newest key %d: %w", keys[newest].Serial, keys[newest].Err)
	}
	now := time.Now()
	due = keys[newest].Created.Add(r.Every)
	if keys[newest].External {
		external, due = keys[newest].Serial, now.Add(rotationCheck)
	} else if !due.After(now) {
		next, err := nextSerial(keys)
		if err = cmp.Or(err, listed.checkCurrent()); err != nil {
			return time.Time{}, external, err
		}
		private, err := signing.Generate(r.Bits)
		if err != nil {
			return time.Time{}, external, err
		}
		if _, err = createPrivate(ctx, store, series, audit.AddKey, next, private); err != nil && !anotherWasFirst(err) {
			return time.Time{}, external, err
		}
		due = now.Add(r.Every)
	}
	for i, key := range keys[:len(keys)-1] { // the newest key stays
		next := keys[i+1]
		if !signsHere(key) || !signsHere(next) || next.Created.IsZero() { // when the key last signed cannot be told
			continue
		}
		unused := next.Created.Add(r.PublishDelay).Add(r.MaxLifetime).Add(rotationMargin)
		if unused.After(now) {
			due = minTime(due, unused)
			continue
		}
		err := RemoveKey(ctx, store, series, key.Serial, Removal{PublishDelay: r.PublishDelay})
		if errors.Is(err, signing.ErrNoKey) {
			continue // another replica was first
		}
		if err != nil {
			return time.Time{}, external, err
		}
	}
	return due, external, nil
}

// signsHere reports whether the key is no mere copy: it signs, or has signed.
func signsHere(key signing.Key) bool { return key.Private || key.External }

func minTime(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
