package token

import (
	"fmt"
	"log/slog"
	"time"
)

// Issued is a new token with the data that an operator records. Only the field
// Token holds the token. An Issued is printed, logged and marshalled to JSON, XML and
// YAML without it, also as a pointer and inside slices, maps and exported fields. Some
// printers ask no method of a value and show the token: fmt in an unexported struct field
// and under the verbs %p and %w, encoding/gob, and the differences that testify prints.
// SECURITY.md lists them.
type Issued struct {
	// Token is the bearer token: any process that has it can use it.
	Token string `json:"-" xml:"-" yaml:"-"`

	// ID is the jti, by which the token can be revoked.
	ID string `json:"jti"`

	// KeyID is the kid of the key that signed the token.
	KeyID string `json:"kid"`

	// ExpiresAt is the exp, in UTC and whole seconds.
	ExpiresAt time.Time `json:"exp"`
}

// Format implements [fmt.Formatter]. Whatever the verb, it writes the id, the kid
// and the time of expiry (RFC 3339), and never the token.
func (i Issued) Format(state fmt.State, _ rune) {
	fmt.Fprintf(state, "{jti %q, kid %q, expires %s}", i.ID, i.KeyID, i.ExpiresAt.Format(time.RFC3339))
}

// LogValue implements [slog.LogValuer] with the attributes jti, kid and expires.
func (i Issued) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("jti", i.ID),
		slog.String("kid", i.KeyID),
		slog.Time("expires", i.ExpiresAt),
	)
}
