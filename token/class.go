package token

import "errors"

// Class says what an error about a token means for the peer that presented it.
// [ClassOf] returns the class of an error.
type Class int

const (
	// Unclassified is the class of nil and of every error that is not about a
	// presented token.
	Unclassified Class = iota

	// Invalid: the token is definitely not good.
	Invalid

	// NotPermitted: the token is good, but it is for another mesh, zone or scope,
	// or it does not permit the proxy.
	NotPermitted

	// Unavailable: the token could not be checked. A retry may succeed.
	Unavailable
)

// ClassOf returns the class of an error about a token. [ErrNotPermitted] and
// [ErrScope] are [NotPermitted], all other errors that match [ErrInvalid] are
// [Invalid], and those that match [ErrUnavailable] are [Unavailable]. A definite
// rejection outranks an undetermined answer.
func ClassOf(err error) Class {
	switch {
	case errors.Is(err, ErrNotPermitted), errors.Is(err, ErrScope):
		return NotPermitted
	case errors.Is(err, ErrInvalid):
		return Invalid
	case errors.Is(err, ErrUnavailable):
		return Unavailable
	}
	return Unclassified
}

// String returns "invalid", "not permitted", "unavailable" or "unclassified".
// Tell a peer no more than that, and log the reason.
func (c Class) String() string {
	switch c {
	case Invalid:
		return "invalid"
	case NotPermitted:
		return "not permitted"
	case Unavailable:
		return "unavailable"
	}
	return "unclassified"
}

// HTTPStatus returns the status code for the answer of a server (RFC 9110,
// sections 15.5.2, 15.5.4 and 15.6.4): 401 for Invalid, 403 for NotPermitted, 503
// for Unavailable, and 500 for Unclassified.
func (c Class) HTTPStatus() int {
	switch c {
	case Invalid:
		return 401
	case NotPermitted:
		return 403
	case Unavailable:
		return 503
	}
	return 500
}
