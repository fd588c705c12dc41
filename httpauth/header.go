package httpauth

import (
	"fmt"
	"net/http"

	"github.com/meshpass/meshpass/internal/caller"
)

const (
	authorization = "Authorization"
	clientID      = "Client-Id"
)

// ErrUnauthenticated: the peer sent no token to validate. A header is missing, has several
// values, or is malformed.
var ErrUnauthenticated = caller.ErrUnauthenticated

// TokenFromRequest returns the token in the header Authorization of a request: the bare
// token, or "Bearer" in any case, one space and the token (RFC 6750, section 2.1). It
// does not validate the token, and looks for it neither in the query nor in the body.
//
// The error matches [ErrUnauthenticated] unless there is exactly one value of one of
// these forms.
func TokenFromRequest(r *http.Request) (string, error) {
	value, err := oneValue(r, authorization)
	if err != nil {
		return "", err
	}
	raw, ok := caller.Token(value)
	if !ok {
		// The value may contain a token.
		return "", fmt.Errorf("%w: header %s is neither a token nor Bearer, one space and a token", ErrUnauthenticated, authorization)
	}
	return raw, nil
}

// oneValue returns the value of a header that must have exactly one value.
func oneValue(r *http.Request, name string) (string, error) {
	values := r.Header.Values(name)
	switch {
	case len(values) == 0:
		return "", fmt.Errorf("%w: there is no header %s", ErrUnauthenticated, name)
	case len(values) > 1:
		return "", fmt.Errorf("%w: header %s has %d values, want one", ErrUnauthenticated, name, len(values))
	case values[0] == "":
		return "", fmt.Errorf("%w: header %s is empty", ErrUnauthenticated, name)
	}
	return values[0], nil
}
