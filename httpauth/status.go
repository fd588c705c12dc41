package httpauth

import (
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/meshpass/meshpass/internal/caller"
	"github.com/meshpass/meshpass/token"
)

// Status returns the status for a peer whose token caused an error:
//
//   - 403 for the class token.NotPermitted: the token is good, but not for this use;
//   - 401 for the class token.Invalid, and for [ErrUnauthenticated];
//   - 503 for the class token.Unavailable, which includes token.ErrClosed, and for all
//     other errors: none of them is a definite rejection, so the peer may retry;
//   - 200 for nil.
func Status(err error) int {
	if err == nil {
		return http.StatusOK
	}
	return caller.ClassOf(err).HTTPStatus()
}

// refuse answers a request that is refused for a reason, with a body that depends on the
// status alone.
func refuse(w http.ResponseWriter, reason error) {
	status, header := Status(reason), w.Header()
	title, detail := "Service unavailable", "the credentials could not be checked"
	switch status {
	case http.StatusUnauthorized:
		title, detail = "Unauthenticated", "the credentials were not accepted"
		header.Set("WWW-Authenticate", challenge) // RFC 6750, section 3: no error code for a peer that sent no token
		if errors.Is(reason, token.ErrInvalid) {
			header.Set("WWW-Authenticate", challenge+`, error="invalid_token"`)
		}
	case http.StatusForbidden:
		title, detail = "Access Denied", "the credentials do not permit this"
		header.Set("WWW-Authenticate", challenge+`, error="insufficient_scope"`)
	case http.StatusServiceUnavailable:
		header.Set("Retry-After", "1")
	}
	header.Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// It fails only if the client is gone.
	_, _ = io.WriteString(w, fmt.Sprintf(`{"type":"/std-errors","status":%d,"title":%q,"detail":%q,"details":%q}`, status, title, detail, detail))
}

const challenge = `Bearer realm="mesh"`
