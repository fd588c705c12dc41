package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// The titles of errors. Clients distinguish errors by them.
const (
	titleInvalid      = "Invalid request"
	titleNotIssued    = "Could not issue a token"
	titleNotRenewed   = "Could not renew the token"
	titleTooMany      = "Too Many Requests"
	titleDenied       = "Access Denied"
	titleNoKey        = "Signing Key not found"
	titleUnavailable  = "Service unavailable"
	titleReadOnly     = "Store is read-only"
	titleFull         = "Revocation list is full"
	titleListUnusable = "Revocation list unreadable"
	titleListTaken    = "Name of the list is taken"

	titleCutoffsAhead    = "Cutoffs are too far ahead"
	titleCutoffsFull     = "Cutoffs are full"
	titleCutoffsUnusable = "Cutoffs unreadable"

	titleKeyNewest   = "Newest key is not removed"
	titleKeyInUse    = "Signing Key is in use"
	titleKeyPresent  = "Signing Key exists already"
	titleKeyRaced    = "Another key was added"
	titleKeyUnusable = "Signing Key unreadable"
)

// Error is an answer other than success. As JSON it is the body of the answer, which has
// the fields details and causes besides: the same again, under the names that earlier
// clients of Kuma read. A [Client] returns it as *Error; it matches, with errors.Is:
//
//   - token.ErrNotIssuable: a refused request for a token
//   - token.ErrLineage: a token that is not renewed; token.ErrNotIssuable too
//   - token.ErrIssuingDisabled: issuing is switched off
//   - [ErrUnauthenticated]: 401
//   - token.ErrDenied: 403
//   - signing.ErrNoKey: 404 Signing Key not found
//   - keystore.ErrReadOnly: a store that cannot be changed
//   - keystore.ErrTooLarge, revocation.ErrUnreadable: a revocation list, or cutoffs, that
//     cannot be changed or read
//   - keystore.ErrNameTaken: a revocation list that cannot be made
//   - revocation.ErrCutoff: a cutoff until now that cannot be made yet
//   - signing.ErrInUse: a key that is not removed; signing.ErrKey: the newest key cannot be
//     read, or an external key is there under an older serial; keystore.ErrExists: another
//     caller added a key at the same time
//   - token.ErrUnavailable: 429, 502, 503 or 504; a retry may succeed
type Error struct {
	Type              string             `json:"type"`   // always "/std-errors"
	Status            int                `json:"status"` // of HTTP
	Title             string             `json:"title"`  // the sort of error
	Detail            string             `json:"detail"` // about this error
	InvalidParameters []InvalidParameter `json:"invalid_parameters,omitempty"`

	issuing    bool          // a client has asked for a token
	retryAfter time.Duration // 0: the server does not say
}

// RetryAfter returns for how long the server asks to wait before the next attempt, or 0 if
// it does not say (RFC 9110, section 10.2.3, in seconds).
func (e *Error) RetryAfter() time.Duration { return e.retryAfter }

// TooEarly reports whether the server renews no token of the id yet, since one was renewed
// just now: see [WithRenewal]. Other answers of 429, such as those of a proxy in between that
// limits requests, say nothing about the token.
func (e *Error) TooEarly() bool {
	return e.Status == http.StatusTooManyRequests && e.Detail == detailRenewed
}

// InvalidParameter says what is wrong with one field of a request. An answer has at
// most ten of them.
type InvalidParameter struct {
	Field  string `json:"field"` // such as "validFor" or "scope[0]"
	Reason string `json:"reason"`
}

// Error returns the status, the title and the details. It quotes them, since they
// come from another machine.
func (e *Error) Error() string {
	text := fmt.Sprintf("httpapi: %d %.256q: %.1024q", e.Status, e.Title, e.Detail)
	for _, p := range e.InvalidParameters[:min(len(e.InvalidParameters), maxFaults)] {
		text += fmt.Sprintf("; %.256q: %.1024q", p.Field, p.Reason)
	}
	return text
}

// Is reports whether target is a sentinel that e stands for.
func (e *Error) Is(target error) bool {
	switch target {
	case token.ErrIssuingDisabled:
		return e.Status == http.StatusBadRequest && e.Title == titleNotIssued && slices.Contains(disabledDetails, e.Detail)
	case token.ErrLineage:
		return e.Title == titleNotRenewed
	case token.ErrNotIssuable:
		return e.Title == titleNotRenewed ||
			e.Status == http.StatusBadRequest && e.Title == titleNotIssued && !slices.Contains(disabledDetails, e.Detail) ||
			e.Status == http.StatusBadRequest && e.Title == titleInvalid && e.issuing
	case ErrUnauthenticated:
		return e.Status == http.StatusUnauthorized
	case token.ErrDenied:
		return e.Status == http.StatusForbidden
	case signing.ErrNoKey:
		return e.Status == http.StatusNotFound && e.Title == titleNoKey
	case keystore.ErrReadOnly:
		return e.Title == titleReadOnly
	case keystore.ErrTooLarge:
		return e.Title == titleFull || e.Title == titleCutoffsFull
	case revocation.ErrUnreadable:
		return e.Title == titleListUnusable || e.Title == titleCutoffsUnusable
	case keystore.ErrNameTaken:
		return e.Title == titleListTaken
	case revocation.ErrCutoff:
		return e.Title == titleCutoffsAhead
	case signing.ErrInUse:
		return e.Title == titleKeyNewest || e.Title == titleKeyInUse
	case signing.ErrKey:
		return e.Title == titleKeyPresent || e.Title == titleKeyUnusable
	case keystore.ErrExists:
		return e.Title == titleKeyRaced
	case token.ErrUnavailable:
		return e.Status == http.StatusTooManyRequests || e.Status == http.StatusBadGateway ||
			e.Status == http.StatusServiceUnavailable || e.Status == http.StatusGatewayTimeout
	}
	return false
}

// disabledDetails are the details of Meshpass and Kuma for switched off issuing.
var disabledDetails = []string{
	token.ErrIssuingDisabled.Error(),
	kumaDisabled,
}

const kumaDisabled = "issuing tokens using the control plane is disabled."

// answer is an Error that this handler made. It is a separate type, since an
// authoriser or an issuer may be a client of another server and return its Error.
type answer struct {
	body       Error
	retryAfter time.Duration // 0: a second, for a 503
}

func (a *answer) Error() string {
	text := a.body.Title + ": " + a.body.Detail
	for _, p := range a.body.InvalidParameters {
		text += "; " + p.Field + " " + p.Reason
	}
	return text
}

func newAnswer(status int, title, detail string, params ...InvalidParameter) *answer {
	return &answer{body: Error{Type: "/std-errors", Status: status, Title: title, Detail: detail, InvalidParameters: params}}
}

func invalid(params ...InvalidParameter) error {
	return newAnswer(http.StatusBadRequest, titleInvalid, "Resource is not valid", params...) // the words of Kuma
}

func unreadable(err error) error {
	return newAnswer(http.StatusBadRequest, titleInvalid, "the body cannot be read: "+err.Error())
}

func unsupported(detail string) error {
	return newAnswer(http.StatusUnsupportedMediaType, "Unsupported Media Type", detail)
}

func tooLarge(limit int64) error {
	return newAnswer(http.StatusRequestEntityTooLarge, "Content Too Large", fmt.Sprintf("the body has more than %d bytes", limit))
}

func notFound() error {
	return newAnswer(http.StatusNotFound, "Not Found", "there is no such path")
}

func methodNotAllowed(w http.ResponseWriter, actions map[string]Action) error {
	allowed := strings.Join(slices.Sorted(maps.Keys(actions)), ", ")
	w.Header().Set("Allow", allowed)
	return newAnswer(http.StatusMethodNotAllowed, "Method not Allowed", "want "+allowed)
}

// answerTo returns the answer to a request that ended with an error. It contains the
// text of the error only if that is about the request itself.
func answerTo(what Request, err error) *answer {
	var own *answer
	var told *denied
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, errBusy):
		return unavailable()
	case errors.Is(err, ErrUnauthenticated):
		return newAnswer(http.StatusUnauthorized, "Unauthenticated", "the client is not authenticated")
	case errors.As(err, &told):
		return newAnswer(http.StatusForbidden, titleDenied, told.detail)
	case what.Action == Renew && errors.Is(err, token.ErrInvalid) && !errors.Is(err, errRefused):
		return newAnswer(http.StatusUnauthorized, "Unauthenticated", "the token is not good") // the log has the reason
	case errors.Is(err, token.ErrUnavailable):
		return unavailable()
	case errors.Is(err, errRefused), errors.Is(err, token.ErrDenied):
		return newAnswer(http.StatusForbidden, titleDenied, "the request is not allowed")
	case errors.Is(err, token.ErrIssuingDisabled):
		return newAnswer(http.StatusBadRequest, titleNotIssued, kumaDisabled)
	case errors.Is(err, token.ErrLineage):
		return newAnswer(http.StatusBadRequest, titleNotRenewed, err.Error())
	case errors.Is(err, token.ErrNotIssuable):
		return newAnswer(http.StatusBadRequest, titleNotIssued, err.Error())
	case what.aboutKeys():
		return answerAboutKeys(what, err)
	case errors.Is(err, signing.ErrNoKey):
		return noKey(what)
	case what.aboutCutoffs() && (errors.Is(err, revocation.ErrUnreadable) || errors.Is(err, keystore.ErrUnreadable)):
		return newAnswer(http.StatusInternalServerError, titleCutoffsUnusable, "an operator must repair the cutoffs")
	case what.Action == Prune && (errors.Is(err, revocation.ErrUnreadable) || errors.Is(err, keystore.ErrUnreadable)):
		return newAnswer(http.StatusInternalServerError, titleListUnusable, "an operator must repair the list or the cutoffs")
	case errors.Is(err, revocation.ErrCutoff) && what.UntilNow:
		return newAnswer(http.StatusConflict, titleCutoffsAhead, err.Error())
	case errors.Is(err, revocation.ErrCutoff): // unless the record is unreadable, its moment is too far ahead; the rest was checked
		return invalid(InvalidParameter{"before", "is too far ahead of the server's clock"}).(*answer)
	case what.aboutCutoffs() && errors.Is(err, keystore.ErrTooLarge):
		return newAnswer(http.StatusInsufficientStorage, titleCutoffsFull, "the cutoffs have reached the maximum size of the store")
	case errors.Is(err, revocation.ErrUnreadable), errors.Is(err, keystore.ErrUnreadable) && !what.aboutTokens() && what.Action != Keys:
		return newAnswer(http.StatusInternalServerError, titleListUnusable, "an operator must repair the list")
	case errors.Is(err, keystore.ErrReadOnly):
		return newAnswer(http.StatusConflict, titleReadOnly, "change revocations where the store can be written")
	case errors.Is(err, keystore.ErrTooLarge):
		return newAnswer(http.StatusInsufficientStorage, titleFull, "the list has reached the maximum size of the store")
	case errors.Is(err, keystore.ErrName):
		return invalid(InvalidParameter{"mesh", "is not a name that the store accepts"}).(*answer)
	case errors.Is(err, keystore.ErrNameTaken) && what.Action == MakeGlobalList:
		return newAnswer(http.StatusConflict, titleListTaken, "the list in the scope of the mesh stays in use: the store of the server has each name once")
	case errors.Is(err, fs.ErrPermission), errors.Is(err, keystore.ErrNameTaken): // which stays until an operator acts
		return newAnswer(http.StatusInternalServerError, "Internal Server Error", "the server cannot use a record of its store")
	case what.aboutTokens(): // such as a key that cannot be read
		return newAnswer(http.StatusInternalServerError, "Internal Server Error", "the token could not be issued")
	}
	return unavailable()
}

func (r Request) aboutCutoffs() bool {
	return r.Action == ListCutoffs || r.Action == CutOff || r.Action == RemoveCutoff
}

func (r Request) aboutTokens() bool { return r.Action == Issue || r.Action == Renew }

func noKey(what Request) *answer {
	detail := "there is no key for zone tokens"
	switch {
	case what.Action == RemoveKey:
		detail = fmt.Sprintf("there is no key %s", what.KeyID)
	case what.Action == AddKey:
		detail = "there is no key that another one could follow: make the first one with POST to the same path and " + firstPath
	case what.aboutTokens() && what.Kind == token.KindDataplane:
		detail = fmt.Sprintf(kumaNoKey, fmt.Sprintf("Secret of name %q in mesh %q", signing.DataplaneKeys(what.Mesh).KeyName(1), what.Mesh))
	case what.aboutTokens():
		detail = fmt.Sprintf(kumaNoKey, fmt.Sprintf("GlobalSecret of name %q", signing.ZoneKeys().KeyName(1)))
	case what.Kind == token.KindDataplane:
		detail = fmt.Sprintf("mesh %q has no key", what.Mesh)
	}
	return newAnswer(http.StatusNotFound, titleNoKey, detail)
}

// kumaNoKey is what Kuma answers, which names the first key, whatever keys there were.
const kumaNoKey = "there is no signing key with KID 1. %s is not found. If signing key was rotated, regenerate the token"

func unavailable() *answer {
	return newAnswer(http.StatusServiceUnavailable, titleUnavailable, "the answer is not available at the moment: try again")
}

// fail answers a request that ended with an error.
func (h *handler) fail(ctx context.Context, w http.ResponseWriter, what Request, err error) {
	a := answerTo(what, err)
	if a.body.Status >= http.StatusInternalServerError && what.Action != Keys && // key sets log their own reads
		!errors.Is(ctx.Err(), context.Canceled) { // the client is gone
		h.log.WarnContext(ctx, "request failed", slog.Int("status", a.body.Status), slog.String("action", string(what.Action)),
			slog.String("kind", string(what.Kind)), slog.String("mesh", what.Mesh), slog.String("error", err.Error()))
	}
	switch a.body.Status {
	case http.StatusUnauthorized:
		w.Header().Set("WWW-Authenticate", `Bearer realm="mesh"`) // RFC 6750, section 3, asks for a parameter
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		w.Header().Set("Retry-After", strconv.Itoa(max(1, int(math.Ceil(a.retryAfter.Seconds())))))
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.body.Status)
	_, _ = w.Write(marshal(onTheWire(a.body))) // fails only if the client is gone
}

// wireError is an Error as it is sent. Like Kuma's it says everything once more under the
// names of earlier clients.
type wireError struct {
	Error
	Details string  `json:"details"`
	Causes  []cause `json:"causes,omitempty"`
}

type cause struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

func onTheWire(e Error) wireError {
	w := wireError{Error: e, Details: e.Detail}
	for _, p := range e.InvalidParameters {
		w.Causes = append(w.Causes, cause{p.Field, p.Reason})
	}
	return w
}

// marshal encodes without the escapes for HTML, which make the texts unreadable.
func marshal(body any) []byte {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(body) // never fails for these types
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
