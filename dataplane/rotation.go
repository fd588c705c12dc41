package dataplane

import (
	"log/slog"
	"time"
)

// A Rotation is a schedule for [Rotate].
type Rotation struct {
	// Every is the age of the newest key at which the next one is added. It
	// must be longer than PublishDelay.
	Every time.Duration

	// PublishDelay is the [WithPublishDelay] of the issuers.
	PublishDelay time.Duration

	// MaxLifetime is the [WithMaxLifetime] of the issuers. It must be set: a key
	// is removed this long after it last signed, plus a margin of five minutes.
	MaxLifetime time.Duration

	// Bits is the size of new keys: 2048, 3072 or 4096; 0 means
	// [signing.DefaultBits].
	Bits int

	// Logger gets the audit events, "rotating keys failed" at Warn, and "the key that
	// signs is outside the store: rotation adds no keys" at Info. Nil means slog.Default().
	Logger *slog.Logger
}
