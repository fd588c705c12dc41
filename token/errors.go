package token

import "errors"

// Errors about a token fall into one of three classes. [ErrInvalid] rejects a
// token for its content. [ErrNotPermitted] rejects a use that a valid token does
// not permit. [ErrUnavailable] says that the token could not be checked. The
// first two are final for this token; after the third a retry may succeed.
//
// The other errors name the check that failed, in the order of the checks.
// Match them with errors.Is. The text around them names the compared values,
// and never contains the token.
var (
	// ErrInvalid is the class of every definite rejection of a token.
	ErrInvalid = errors.New("invalid token")

	// ErrUnavailable is the class for every token that could not be checked: for
	// example, a key or revocation list could not be read, or the last
	// successful read is too old.
	ErrUnavailable = errors.New("token could not be checked")

	// ErrNotPermitted: a valid token does not permit the use, for example because
	// the proxy has another name or another tag value.
	ErrNotPermitted = errors.New("token does not permit this")

	// ErrMalformed: the text is not a JWS in compact serialisation, in its one
	// canonical spelling, of at most [MaxSize] bytes (RFC 7515, section 7.1).
	ErrMalformed = refusal("malformed token")

	// ErrHeader: the protected header is not acceptable. Its algorithm is not
	// RS256, it has no usable kid, or one of its parameters brings a key or
	// changes how the token is read.
	ErrHeader = refusal("unacceptable token header")

	// ErrUnknownKey: no key of the kind and scope has the token's kid.
	ErrUnknownKey = refusal("unknown signing key")

	// ErrSignature: the signature was not made with the key that the token
	// names.
	ErrSignature = refusal("wrong signature")

	// ErrClaims: the payload does not hold the claims of a mesh token.
	ErrClaims = refusal("unacceptable claims")

	// ErrIssuer: the token's iss is not the one that its key demands.
	ErrIssuer = refusal("token of another issuer")

	// ErrAudience: the token's aud does not contain the value that its key demands.
	ErrAudience = refusal("token for another audience")

	// ErrKind: a zone token was presented as a dataplane token, or the reverse.
	// It occurs only if one key serves both kinds; otherwise the result is
	// ErrUnknownKey or ErrSignature.
	ErrKind = refusal("token of another kind")

	// ErrScope: the token is for another mesh or zone, or its scope list lacks
	// the requested scope.
	ErrScope = refusal("token for another mesh, zone or scope")

	// ErrRevoked: the token's id is on a revocation list.
	ErrRevoked = refusal("token revoked")

	// ErrExpired: the token's exp, plus the leeway, has passed.
	ErrExpired = refusal("token expired")

	// ErrNotYetValid: the token's nbf, minus the leeway, is in the future.
	ErrNotYetValid = refusal("token not valid yet")

	// ErrLifetime: the token lives longer than the configured maximum.
	ErrLifetime = refusal("token lifetime too long")

	// ErrClosed: the validator was closed. It is of class [ErrUnavailable].
	ErrClosed error = &classed{"validator closed", ErrUnavailable}

	// ErrNotIssuable: a token was not issued, because a validator would reject
	// it or because the request is invalid. It belongs to no class.
	ErrNotIssuable = errors.New("token cannot be issued")

	// ErrLineage: a token cannot be renewed, although it may be good: its lineage has
	// reached its limit, or its id does not tell when that began, or its key or its claims
	// forbid it. Issue a new token. It matches [ErrNotIssuable] too.
	ErrLineage error = &classed{"token cannot be renewed", ErrNotIssuable}

	// ErrIssuingDisabled: issuing is switched off. It belongs to no class.
	ErrIssuingDisabled = errors.New("issuing tokens is switched off")

	// ErrDenied: the issuer's policy does not allow the token. It belongs to no
	// class.
	ErrDenied = errors.New("token denied by policy")
)

// classed is a sentinel that belongs to a class: errors.Is matches both.
type classed struct {
	text  string
	class error
}

func (c *classed) Error() string { return c.text }
func (c *classed) Unwrap() error { return c.class }

func refusal(text string) error { return &classed{text, ErrInvalid} }

// maxQuoted is the maximum number of bytes of a token that an error quotes.
const maxQuoted = 64

// cut shortens text that goes into an error.
func cut(text string) string {
	if len(text) > maxQuoted {
		return text[:maxQuoted] + "..."
	}
	return text
}
