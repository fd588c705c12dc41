package config

import (
	"fmt"
	"io"
	"log/slog"
)

// redacted replaces secrets in printed configurations.
const redacted = "(redacted)"

// Secret is a setting that must stay secret, such as a token. It is read like any
// text, and printed, logged and marshalled as "(redacted)". The zero value means that
// the setting is not set, and is marshalled as an empty text.
type Secret struct {
	// A function, since reflection, as in fmt, reads unexported fields but cannot
	// look into a function.
	reveal func() string
}

// NewSecret returns a secret with the given text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{func() string { return text }}
}

// Reveal returns the text, which is empty if the setting is not set.
func (s Secret) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

// IsZero reports whether the setting is not set.
func (s Secret) IsZero() bool { return s.reveal == nil }

func (s Secret) redacted() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// Format prints "(redacted)" under every verb, or nothing for the zero value.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.redacted()) }

// LogValue logs what Format prints.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.redacted()) }

// MarshalText returns what Format prints. A marshalled configuration lacks its
// secrets; if a program reads it back, [Config.Check] returns an error.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.redacted()), nil }

// UnmarshalText sets the secret. It never fails.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = NewSecret(string(text))
	return nil
}
