package token

import "errors"

// Errors about a token fall into one of three classes. A token rejected for its
// content matches [ErrInvalid]. A valid token presented for a use that it does
// not permit matches [ErrNotPermitted]. If the answer could not be determined,
// the error matches [ErrUnavailable]. The first two are final for this token;
// after the third a retry may succeed.
//
// The other errors name the check that failed, in the order of the checks.
// Match them with errors.Is. The text around them names the compared values,
// and never contains the token.
var (
	// ErrInvalid is the class of every definite rejection of a token.
	ErrInvalid = errors.New("invalid token")

	// ErrUnavailable is the class of every undetermined answer: for example, a
	// key or revocation list could not be read, or the last successful read is
	// too old.
	ErrUnavailable = errors.New("token could not be checked")

	// ErrNotPermitted: a valid token does not permit the use, for example by a
	// proxy with another name or another tag value.
	ErrNotPermitted = errors.New("token does not permit this")

	// ErrMalformed: the text is not a JWS in compact serialisation, in its one
	// canonical spelling, of at most [MaxSize] bytes (RFC 7515, section 7.1).
	ErrMalformed = refusal("malformed token")

	// ErrHeader: the protected header is not acceptable. Its algorithm is not
	// RS256, it has no usable kid, or it has a parameter that changes how the
	// token is read or that brings its own key.
	ErrHeader = refusal("unacceptable token header")

	// ErrUnknownKey: no key of the kind and scope has the token's kid.
	ErrUnknownKey = refusal("unknown signing key")

	// ErrSignature: the signature was not made with the key that the token
	// names.
	ErrSignature = refusal("wrong signature")

	// ErrClaims: the payload does not hold the claims of such a token.
	ErrClaims = refusal("unacceptable claims")

	// ErrKind: a zone token was presented as a dataplane token, or the other
	// way round. It occurs only if one key serves both kinds; otherwise the
	// result is ErrUnknownKey or ErrSignature.
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
	// it or because the request is invalid. It is of none of the classes.
	ErrNotIssuable = errors.New("token cannot be issued")

	// ErrIssuingDisabled: issuing is switched off. It is of none of the classes.
	ErrIssuingDisabled = errors.New("issuing tokens is switched off")

	// ErrDenied: the issuer's policy does not allow the token. It is of none of
	// the classes.
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
