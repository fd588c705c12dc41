package token

import "errors"

// Every answer about a token falls into one of three classes. A token that was
// refused for what it is matches [ErrInvalid]; a token that is good but was
// presented for something it does not allow matches [ErrNotPermitted]; where
// the answer could not be found out, the error matches [ErrUnavailable]. The
// first two are final for this token, the third is worth another try.
//
// The other errors below say which check refused, in the order in which the
// checks are made. Match them with errors.Is; the text around them names the
// values that were compared, and never contains the token.
var (
	// ErrInvalid is the class of every definite refusal of a token.
	ErrInvalid = errors.New("invalid token")

	// ErrUnavailable is the class of the answer "we could not know": no key or
	// revocation list could be read, or what was read is too old to be relied on.
	ErrUnavailable = errors.New("token could not be checked")

	// ErrNotPermitted says that a valid token does not allow what it was
	// presented for: another proxy's name, a tag value that it does not list.
	ErrNotPermitted = errors.New("token does not permit this")

	// ErrMalformed says that the text is not a JWS in compact serialisation, in
	// its one canonical spelling, of at most [MaxSize] bytes (RFC 7515, section 7.1).
	ErrMalformed = refusal("malformed token")

	// ErrHeader says that the protected header is not one that we process: an
	// algorithm other than RS256, no usable kid, a parameter that would change
	// how the token is read or that brings a key of its own.
	ErrHeader = refusal("unacceptable token header")

	// ErrUnknownKey says that no key of the kind and scope has the token's kid.
	ErrUnknownKey = refusal("unknown signing key")

	// ErrSignature says that the signature was not made by the key that the
	// token names.
	ErrSignature = refusal("wrong signature")

	// ErrClaims says that the payload is not what a token of this kind carries.
	ErrClaims = refusal("unacceptable claims")

	// ErrKind says that a zone token was presented as a dataplane token, or the
	// other way round. It is seen only where one key is configured for both kinds:
	// otherwise the other kind's key is unknown, or its signature wrong.
	ErrKind = refusal("token of another kind")

	// ErrScope says that the token is for another mesh or another zone, or that
	// its scope list does not hold the scope asked for.
	ErrScope = refusal("token for another mesh, zone or scope")

	// ErrRevoked says that the token's id is on a revocation list.
	ErrRevoked = refusal("token revoked")

	// ErrExpired says that the token's exp, with leeway, has passed.
	ErrExpired = refusal("token expired")

	// ErrNotYetValid says that the token's nbf, with leeway, is still ahead.
	ErrNotYetValid = refusal("token not valid yet")

	// ErrLifetime says that the token lives longer than the configured maximum.
	ErrLifetime = refusal("token lifetime too long")

	// ErrClosed says that the validator was closed. It is of class [ErrUnavailable].
	ErrClosed error = &classed{"validator closed", ErrUnavailable}

	// ErrNotIssuable says that a token was not made because our own validator
	// would refuse it, or because the request itself makes no sense.
	ErrNotIssuable = errors.New("token cannot be issued")
)

// classed is a sentinel that belongs to a class: errors.Is finds both.
type classed struct {
	text  string
	class error
}

func (c *classed) Error() string { return c.text }
func (c *classed) Unwrap() error { return c.class }

func refusal(text string) error { return &classed{text, ErrInvalid} }
