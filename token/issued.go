package token

import (
	"fmt"
	"log/slog"
	"time"
)

// Issued is a new token, and what an operator records of it. Only the field Token
// holds the token: an Issued is printed, logged and marshalled to JSON without it.
type Issued struct {
	// Token is the text to hand over. Whoever has it can use it.
	Token string `json:"-"`

	// ID is the jti, with which the token can be revoked.
	ID string `json:"jti"`

	// KeyID is the kid of the key that signed the token.
	KeyID string `json:"kid"`

	// ExpiresAt is the exp: in UTC and whole seconds.
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
