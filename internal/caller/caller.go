// Package caller holds what the middleware for gRPC and for HTTP say in common about
// callers: how a token is written, what class an error has, and what is logged.
package caller

import (
	"errors"
	"strings"

	"github.com/meshpass/meshpass/token"
)

// ErrUnauthenticated: the caller sent no token to validate.
var ErrUnauthenticated = errors.New("peer did not authenticate itself")

const bearer = "Bearer"

// Token returns the token in a value of "authorization": the bare token, or "Bearer" in
// any case, one space and the token (RFC 6750, section 2.1). It returns false if the value
// has another form. It does not validate the token.
func Token(value string) (raw string, ok bool) {
	raw = value
	if scheme, rest, found := strings.Cut(value, " "); found && strings.EqualFold(scheme, bearer) {
		raw = rest
	}
	if raw == "" || strings.Contains(raw, " ") || strings.EqualFold(raw, bearer) {
		return "", false
	}
	return raw, true
}

// ClassOf returns the class of an error for the caller. It is that of token.ClassOf, but
// [ErrUnauthenticated] is token.Invalid, and an unknown error is token.Unavailable: it is
// no definite rejection, so the caller may retry.
func ClassOf(err error) token.Class {
	switch class := token.ClassOf(err); {
	case class != token.Unclassified && class != token.Unavailable:
		return class
	case errors.Is(err, ErrUnauthenticated):
		return token.Invalid
	}
	return token.Unavailable
}
