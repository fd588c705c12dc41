package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// The maximum sizes of the answers that a client reads, in bytes.
const (
	maxErrorAnswer = 64 << 10
	maxKeysAnswer  = 1 << 20
	maxListAnswer  = 256 << 20
)

// Client is a client of a server with the handler of [New]. IssueDataplane and
// IssueZone also work with a Kuma control plane. It is safe for concurrent use.
//
// If the server answers with an error, the error is an [*Error]. If no answer came,
// the error matches token.ErrUnavailable and the cause, such as the context's error.
// If an answer came that the API does not promise, the error matches [ErrAnswer]. In
// both cases the server may have done what was asked. No error contains the bearer
// token or an issued token.
//
// A client follows no redirect, so that neither a request nor a credential
// reaches another server.
type Client struct {
	base     string
	http     http.Client
	bearer   func(context.Context) (string, error)
	problems func(ctx context.Context, problem string)
}

// ErrAnswer: the answer is not one that the API promises. Its status, its form, or what
// it says is another one, for example because a proxy in between answered. To ask again
// does not help.
var ErrAnswer = errors.New("httpapi: the answer cannot be used")

// A ClientOption is an option of [NewClient].
type ClientOption func(*Client) error

// WithBearer sends a bearer token (RFC 6750) with each request, without surrounding
// white space and byte order mark. The client calls source for each request, so the token may change. It
// returns errors of source wrapped, and an error if the text is empty or has a
// character that no bearer token has.
func WithBearer(source func(context.Context) (string, error)) ClientOption {
	return func(c *Client) error {
		if source == nil {
			return errors.New("WithBearer: the function is nil")
		}
		c.bearer = source
		return nil
	}
}

// WithListProblems sets a function that hears of each problem that the server names of a
// revocation list, in the successful answer to a call that reads or changes the list: see
// [ProblemHeader]. The client calls it during the call, with one line of ASCII. Without
// it, the client logs "revocation list with a problem" at Warn to slog.Default().
func WithListProblems(report func(ctx context.Context, problem string)) ClientOption {
	return func(c *Client) error {
		if report == nil {
			return errors.New("WithListProblems: the function is nil")
		}
		c.problems = report
		return nil
	}
}

func logProblem(ctx context.Context, problem string) {
	slog.Default().WarnContext(ctx, "revocation list with a problem", slog.String("problem", problem))
}

// NewClient returns a client of the server at a URL such as
// "https://control-plane:5682", with or without a path. Over plain http, others on
// the network can read the tokens.
//
// The HTTP client decides about TLS, certificates and timeouts. Nil means one with a
// timeout of 30 seconds. To authenticate, give it a client certificate or a
// Transport that sets a header, or use [WithBearer].
func NewClient(baseURL string, client *http.Client, options ...ClientOption) (*Client, error) {
	base, err := url.Parse(baseURL)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "" {
		return nil, errors.New("httpapi: NewClient: want a URL with http or https and a host") // the URL may hold a password
	}
	if base.User != nil || base.RawQuery != "" || base.ForceQuery || base.Fragment != "" {
		return nil, errors.New("httpapi: NewClient: want a URL without user, query and fragment")
	}
	c := &Client{base: strings.TrimSuffix(base.String(), "/"), http: http.Client{Timeout: 30 * time.Second}, problems: logProblem}
	if client != nil {
		c.http = *client
	}
	c.http.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	for _, o := range options {
		if o == nil {
			return nil, errors.New("httpapi: NewClient: an option is nil")
		}
		if err := o(c); err != nil {
			return nil, fmt.Errorf("httpapi: NewClient: %w", err)
		}
	}
	return c, nil
}

// The requests, as Kuma's tools write them.
type (
	dataplaneRequest struct {
		Name     string              `json:"name"`
		Mesh     string              `json:"mesh"`
		Tags     map[string][]string `json:"tags"`
		Type     string              `json:"type"`
		Workload string              `json:"workload,omitempty"` // unknown to older servers
		ValidFor string              `json:"validFor"`
	}
	zoneRequest struct {
		Zone     string   `json:"zone"`
		Scope    []string `json:"scope"`
		ValidFor string   `json:"validFor"`
	}
	tokenIDs struct {
		IDs []string `json:"ids"`
	}
	newList struct {
		Scope string `json:"scope"`
	}
)

// revokedAnswer is the answer about revocation lists.
type revokedAnswer struct {
	IDs   []string         `json:"ids"`
	Lists []RevocationList `json:"lists"`
}

// IssueDataplane asks for a dataplane token that is valid for validFor. It reads the
// other fields of its result from the token, without validating the token.
func (c *Client) IssueDataplane(ctx context.Context, claims token.Dataplane, validFor time.Duration) (token.Issued, error) {
	return c.issue(ctx, token.KindDataplane, token.Claims{Dataplane: claims}, validFor,
		dataplaneRequest{claims.Name, claims.Mesh, claims.Tags, claims.Type, claims.Workload, validFor.String()})
}

// IssueZone asks for a zone token, as IssueDataplane does for a dataplane token. At least
// one scope is required, since servers disagree about a request without one.
func (c *Client) IssueZone(ctx context.Context, claims token.Zone, validFor time.Duration) (token.Issued, error) {
	if len(claims.Scope) == 0 {
		return token.Issued{}, fmt.Errorf("%w: it has no scope, so it would open nothing", token.ErrNotIssuable)
	}
	return c.issue(ctx, token.KindZone, token.Claims{Zone: claims}, validFor, zoneRequest{claims.Zone, claims.Scope, validFor.String()})
}

func (c *Client) issue(ctx context.Context, kind token.Kind, asked token.Claims, validFor time.Duration, request any) (token.Issued, error) {
	data, err := c.do(ctx, http.MethodPost, "/tokens/"+string(kind), request, promiseOfToken)
	if err != nil {
		return token.Issued{}, err
	}
	issued, claims, err := parseIssued(data)
	if err != nil {
		return token.Issued{}, err
	}
	if err := compare(asked, claims, validFor); err != nil {
		return token.Issued{}, err
	}
	return issued, nil
}

// promiseOfToken is a token as text, perhaps with a line end.
var promiseOfToken = promise{http.StatusOK, []string{"text/plain"}, token.MaxSize + 1}

// parseIssued returns the token in an answer, and its claims.
func parseIssued(data []byte) (token.Issued, token.Claims, error) {
	issued := token.Issued{Token: strings.TrimSpace(string(data))}
	unverified, err := token.ParseUnverified(issued.Token)
	if err != nil {
		return token.Issued{}, token.Claims{}, unusable("%v", err) // without the class: no token was refused
	}
	header, err := unverified.Header()
	if err != nil {
		return token.Issued{}, token.Claims{}, unusable("%v", err)
	}
	claims, err := unverified.Claims()
	if err != nil {
		return token.Issued{}, token.Claims{}, unusable("%v", err)
	}
	issued.KeyID, issued.ID, issued.ExpiresAt = header.KeyID, claims.ID, claims.ExpiresAt
	return issued, claims, nil
}

// RenewDataplane exchanges a good dataplane token for one with the same claims and id that
// is valid for validFor, or for a shorter time at the end of its lineage: see
// dataplane.Issuer.Renew. With validFor 0 it is valid for as long as the old one was, or
// for the maximum of the server if that is shorter. The token itself authenticates the
// request, and [WithBearer] has no effect.
//
// It refuses a token with another claim or id, and one that is valid for longer. The error
// matches token.ErrLineage if the server does not renew the token, and token.ErrInvalid if
// the token is not good: [ErrUnauthenticated] too if the server says so, and
// token.ErrMalformed, token.ErrClaims or token.ErrKind if nothing was sent. It matches
// token.ErrUnavailable if to ask again may help, as where a token of the id was renewed just
// now.
func (c *Client) RenewDataplane(ctx context.Context, raw string, validFor time.Duration) (token.Issued, error) {
	return c.renew(ctx, token.KindDataplane, raw, validFor)
}

// RenewZone is RenewDataplane for a zone token.
func (c *Client) RenewZone(ctx context.Context, raw string, validFor time.Duration) (token.Issued, error) {
	return c.renew(ctx, token.KindZone, raw, validFor)
}

// renewal is a request to renew a token.
type renewal struct {
	ValidFor string `json:"validFor,omitempty"`
}

func (c *Client) renew(ctx context.Context, kind token.Kind, raw string, validFor time.Duration) (token.Issued, error) {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return token.Issued{}, err
	}
	old, err := unverified.Claims()
	if err != nil {
		return token.Issued{}, err
	}
	if old.Kind() != kind {
		return token.Issued{}, fmt.Errorf("%w: it is a %s token, want a %s token", token.ErrKind, old.Kind(), kind)
	}
	var request renewal
	lifetime := old.ExpiresAt.Sub(cmp.Or(old.NotBefore, old.IssuedAt)) // the longest that it can be
	if validFor != 0 {
		request.ValidFor, lifetime = validFor.String(), validFor
	}
	data, err := c.doAs(ctx, raw, http.MethodPost, "/tokens/"+string(kind)+renewPath, request, promiseOfToken)
	if errors.Is(err, ErrUnauthenticated) {
		return token.Issued{}, fmt.Errorf("%w: %w", token.ErrInvalid, err)
	}
	if err != nil {
		return token.Issued{}, err
	}
	issued, claims, err := parseIssued(data)
	if err != nil {
		return token.Issued{}, err
	}
	if err := compare(old, claims, lifetime); err != nil {
		return token.Issued{}, err
	}
	switch {
	case claims.ID != old.ID:
		return token.Issued{}, unusable("the token has another id than the one that was renewed")
	case !claims.IssuedAt.Equal(old.IssuedAt):
		return token.Issued{}, unusable("the token has another iat than the one that was renewed")
	}
	return issued, nil
}

// skew is by how much longer than asked for a token may be valid.
const skew = 2 * time.Minute

// backdate is by how much issuers, also Kuma's, set nbf back.
const backdate = 5 * time.Minute

// compare returns an error if a token does not say what was asked for. A server that
// does not know a claim leaves it out, and the token then permits more than was meant.
//
// The nbf tells when the token was made, by the clock of the server, since this machine's may be
// wrong. A Keeper that dropped every token for that reason would lose the last good one.
func compare(asked, got token.Claims, validFor time.Duration) error {
	for _, c := range []struct{ claim, asked, got string }{
		{"mesh", asked.Dataplane.Mesh, got.Dataplane.Mesh},
		{"name", asked.Dataplane.Name, got.Dataplane.Name},
		{"type", asked.Dataplane.Type, got.Dataplane.Type},
		{"workload", asked.Dataplane.Workload, got.Dataplane.Workload},
		{"zone", asked.Zone.Zone, got.Zone.Zone},
	} {
		switch {
		case c.got == c.asked:
		case c.got == "":
			return unusable("the token lacks the %s that was asked for: does the server know this claim?", c.claim)
		default:
			return unusable("the token has another %s than was asked for", c.claim)
		}
	}
	if !maps.EqualFunc(asked.Dataplane.Tags, got.Dataplane.Tags, sameElements) {
		return unusable("the token has other tags than were asked for")
	}
	if !sameElements(asked.Zone.Scope, got.Zone.Scope) {
		return unusable("the token has other scopes than were asked for")
	}
	made := time.Now()
	if !got.NotBefore.IsZero() {
		made = got.NotBefore.Add(backdate)
	}
	if got.ExpiresAt.IsZero() || got.ExpiresAt.After(made.Add(validFor).Add(skew)) {
		return unusable("the token is valid for longer than was asked for")
	}
	return nil
}

// sameElements compares two lists whose order means nothing.
func sameElements(a, b []string) bool {
	return slices.Equal(slices.Compact(slices.Sorted(slices.Values(a))), slices.Compact(slices.Sorted(slices.Values(b))))
}

// RevokeDataplane adds token ids (jti) to the revocation list of a mesh. The ids of
// one call are revoked together or not at all. A request holds about 26,000 UUIDs.
// The error matches revocation.ErrID for an invalid id, and keystore.ErrName for an
// invalid mesh name.
func (c *Client) RevokeDataplane(ctx context.Context, mesh string, id string, more ...string) error {
	return c.change(ctx, ofMesh(mesh), "", append([]string{id}, more...))
}

// RestoreDataplane removes token ids from the revocation list of a mesh. For errors
// and limits see RevokeDataplane.
func (c *Client) RestoreDataplane(ctx context.Context, mesh string, id string, more ...string) error {
	return c.change(ctx, ofMesh(mesh), restorePath, append([]string{id}, more...))
}

// RevokedDataplane returns the ids on the revocation list of a mesh, sorted.
func (c *Client) RevokedDataplane(ctx context.Context, mesh string) ([]string, error) {
	answer, err := c.revoked(ctx, ofMesh(mesh))
	return answer.IDs, err
}

// RevokedDataplaneLists returns what RevokedDataplane returns, and where it stands: the
// lists of the mesh that exist. If the server is of an older version, which does not say
// that, lists is nil.
func (c *Client) RevokedDataplaneLists(ctx context.Context, mesh string) (ids []string, lists []RevocationList, err error) {
	answer, err := c.revoked(ctx, ofMesh(mesh))
	if err != nil {
		return nil, nil, err
	}
	return answer.IDs, answer.Lists, checkLists(mesh, answer.Lists)
}

// MakeGlobalList makes the revocation list of a mesh in the global scope, which Kuma
// reads, with the ids of the mesh's own list. It returns the lists that the mesh has now.
// If the global list exists, it gets the ids that it lacks. If the store of the server
// has each name once and keeps the mesh's own list, the error matches
// keystore.ErrNameTaken.
func (c *Client) MakeGlobalList(ctx context.Context, mesh string) ([]RevocationList, error) {
	of := ofMesh(mesh)
	if of.err != nil {
		return nil, of.err
	}
	data, err := c.do(ctx, http.MethodPost, "/revocations"+of.path+listsPath, newList{ScopeGlobal}, promise{http.StatusOK, []string{"application/json"}, maxListAnswer})
	if err != nil {
		return nil, err
	}
	var answer revokedAnswer
	if err := json.Unmarshal(data, &answer); err != nil {
		return nil, unusable("%v", err)
	}
	if !slices.ContainsFunc(answer.Lists, func(l RevocationList) bool { return l.Scope == ScopeGlobal }) {
		return nil, unusable("it names no list in the global scope")
	}
	return answer.Lists, checkLists(mesh, answer.Lists)
}

// checkLists returns an error for lists that a mesh cannot have.
func checkLists(mesh string, lists []RevocationList) error {
	for i, l := range lists {
		if l.Scope != ScopeMesh && l.Scope != ScopeGlobal || l.Name != revocation.Dataplane(mesh).Name || l.Count < 0 {
			return unusable("lists[%d] is not a list of the mesh", i)
		}
		for j, id := range l.Missing {
			if revocation.CheckID(id) != nil {
				return unusable("lists[%d].missing[%d] is not an id that a token can have", i, j)
			}
		}
	}
	return nil
}

// RevokeZone adds token ids to the revocation list of zone tokens. For errors and
// limits see RevokeDataplane.
func (c *Client) RevokeZone(ctx context.Context, id string, more ...string) error {
	return c.change(ctx, ofZones(), "", append([]string{id}, more...))
}

// RestoreZone removes token ids from the revocation list of zone tokens.
func (c *Client) RestoreZone(ctx context.Context, id string, more ...string) error {
	return c.change(ctx, ofZones(), restorePath, append([]string{id}, more...))
}

// RevokedZone returns the ids on the revocation list of zone tokens, sorted.
func (c *Client) RevokedZone(ctx context.Context) ([]string, error) {
	answer, err := c.revoked(ctx, ofZones())
	return answer.IDs, err
}

// PublicKey is a key of a key set.
type PublicKey struct {
	KeyID string
	Key   *signing.PublicKey
}

// DataplaneKeys returns the public keys of a mesh. It leaves out keys that are not
// RSA keys or not for signatures.
func (c *Client) DataplaneKeys(ctx context.Context, mesh string) ([]PublicKey, error) {
	return c.keys(ctx, ofMesh(mesh))
}

// ZoneKeys returns the public keys of zone tokens, as DataplaneKeys does.
func (c *Client) ZoneKeys(ctx context.Context) ([]PublicKey, error) {
	return c.keys(ctx, ofZones())
}

// owner is the mesh, or the zones, whose lists and keys a path leads to.
type owner struct {
	path string
	err  error
}

func ofMesh(mesh string) owner {
	err := checkMesh(mesh)
	if mesh == "" {
		err = fmt.Errorf("%w: the mesh is missing", keystore.ErrName)
	}
	return owner{"/dataplane/" + mesh, err} // a checked name needs no escapes
}

func ofZones() owner { return owner{path: "/zone"} }

func (c *Client) change(ctx context.Context, of owner, ending string, ids []string) error {
	err := of.err
	for _, id := range ids {
		err = errors.Join(err, revocation.CheckID(id))
	}
	if err != nil {
		return err
	}
	_, err = c.do(ctx, http.MethodPost, "/revocations"+of.path+ending, tokenIDs{ids}, promise{status: http.StatusNoContent})
	return err
}

func (c *Client) revoked(ctx context.Context, of owner) (revokedAnswer, error) {
	if of.err != nil {
		return revokedAnswer{}, of.err
	}
	data, err := c.do(ctx, http.MethodGet, "/revocations"+of.path, nil, promise{http.StatusOK, []string{"application/json"}, maxListAnswer})
	if err != nil {
		return revokedAnswer{}, err
	}
	var answer revokedAnswer
	if err := json.Unmarshal(data, &answer); err != nil {
		return revokedAnswer{}, unusable("%v", err)
	}
	if answer.IDs == nil { // a missing list is not an empty list
		return revokedAnswer{}, unusable("the field ids is missing")
	}
	for i := range answer.IDs { // an error quotes nothing that a server sent, which may be a credential
		if revocation.CheckID(answer.IDs[i]) != nil {
			return revokedAnswer{}, unusable("ids[%d] is not an id that a token can have", i)
		}
	}
	return answer, nil
}

func (c *Client) keys(ctx context.Context, of owner) ([]PublicKey, error) {
	if of.err != nil {
		return nil, of.err
	}
	data, err := c.do(ctx, http.MethodGet, "/jwks"+of.path, nil, promise{http.StatusOK, []string{"application/jwk-set+json", "application/json"}, maxKeysAnswer})
	if err != nil {
		return nil, err
	}
	keys, err := parseKeySet(data)
	if err != nil {
		return nil, unusable("%v", err)
	}
	return keys, nil
}

// jwk is a public key (RFC 7517, section 4; RFC 7518, section 6.3.1).
type jwk struct {
	KeyType   string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	Modulus   string `json:"n"`
	Exponent  string `json:"e"`
}

// jwkSet is a JWK set (RFC 7517, section 5).
type jwkSet struct {
	Keys []jwk `json:"keys"`
}

func parseKeySet(data []byte) ([]PublicKey, error) {
	var set jwkSet
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, err
	}
	if set.Keys == nil {
		return nil, errors.New("the field keys is missing")
	}
	var keys []PublicKey
	seen := map[string]bool{}
	for i, k := range set.Keys {
		if k.KeyType != "RSA" || k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != "RS256" {
			continue // as RFC 7517, section 5, requires
		}
		if token.CheckKeyID(k.KeyID) != nil {
			return nil, fmt.Errorf("the kid of keys[%d] is not one that a token can have", i)
		}
		if seen[k.KeyID] {
			return nil, fmt.Errorf("the kid of keys[%d] appears twice", i)
		}
		seen[k.KeyID] = true
		key, err := k.publicKey()
		if err != nil {
			return nil, fmt.Errorf("keys[%d]: %w", i, err)
		}
		keys = append(keys, PublicKey{k.KeyID, key})
	}
	return keys, nil
}

func (k jwk) publicKey() (*signing.PublicKey, error) {
	modulus, err := base64.RawURLEncoding.DecodeString(k.Modulus)
	if err != nil {
		return nil, errors.New("n is not base64url")
	}
	exponent, err := base64.RawURLEncoding.DecodeString(k.Exponent)
	if err != nil || len(exponent) > 4 {
		return nil, errors.New("e is not base64url of at most 4 bytes")
	}
	return signing.NewPublicKey(&rsa.PublicKey{
		N: new(big.Int).SetBytes(modulus),
		E: int(new(big.Int).SetBytes(exponent).Int64()),
	})
}

// promise is the form of a successful answer.
type promise struct {
	status int
	media  []string // none: no content
	limit  int64    // bytes
}

// do sends a request and returns the body of an answer that is as promised.
func (c *Client) do(ctx context.Context, method, path string, body any, promised promise) ([]byte, error) {
	if c.bearer == nil {
		return c.doAs(ctx, "", method, path, body, promised)
	}
	bearer, err := c.bearer(ctx)
	if err != nil {
		return nil, fmt.Errorf("httpapi: the bearer token: %w", err)
	}
	if bearer, err = plainBearer(bearer); err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	return c.doAs(ctx, bearer, method, path, body, promised)
}

// doAs is do with a bearer token, unless that is empty.
func (c *Client) doAs(ctx context.Context, bearer, method, path string, body any, promised promise) ([]byte, error) {
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(marshal(body))
	}
	r, err := http.NewRequestWithContext(ctx, method, c.base+path, content)
	if err != nil {
		return nil, fmt.Errorf("httpapi: %w", err)
	}
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, unanswered(err, bearer)
	}
	defer response.Body.Close()
	failed, limit := response.StatusCode >= http.StatusMultipleChoices, promised.limit
	if failed {
		limit = maxErrorAnswer
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case failed:
		e := parseError(response.StatusCode, data)
		e.hide(bearer)
		e.issuing = strings.HasPrefix(path, "/tokens/")
		if seconds, err := strconv.ParseUint(response.Header.Get("Retry-After"), 10, 31); err == nil {
			e.retryAfter = time.Duration(seconds) * time.Second
		}
		return nil, e
	case response.StatusCode != promised.status:
		return nil, unusable("its status is %d, want %d: did a proxy in between answer?", response.StatusCode, promised.status)
	case err != nil:
		return nil, unanswered(err, bearer)
	case int64(len(data)) > limit:
		return nil, unusable("it has more than %d bytes", limit)
	}
	if len(promised.media) > 0 {
		if err := checkMediaType(response.Header, promised.media...); err != nil {
			return nil, unusable("%w: did a proxy in between answer?", err)
		}
	}
	problems := response.Header.Values(ProblemHeader)
	for _, problem := range problems[:min(len(problems), 2*maxProblems)] {
		c.problems(ctx, inASCII(hidden(problem, bearer)))
	}
	return data, nil
}

// plainBearer returns a bearer token as it is sent. Its form is that of RFC 6750, section
// 2.1, but for characters that some issuers use too. An error does not hold the token.
func plainBearer(saved string) (string, error) {
	text, err := token.PlainText([]byte(saved))
	if err != nil {
		return "", fmt.Errorf("the bearer token: %w", err)
	}
	if len(text) == 0 {
		return "", errors.New("the bearer token is empty")
	}
	for i, c := range text {
		if c <= ' ' || c > '~' {
			return "", fmt.Errorf("byte %d of the bearer token is not visible ASCII", i)
		}
	}
	return string(text), nil
}

// hidden returns a text without the bearer token, since a server may repeat the request.
func hidden(text, bearer string) string {
	if bearer == "" {
		return text
	}
	return strings.ReplaceAll(text, bearer, "(bearer)")
}

// parseError makes an Error of an answer. The answer may come from another server,
// such as a proxy in between.
func parseError(status int, data []byte) *Error {
	var e Error
	if json.Unmarshal(data, &e) != nil || e.Title == "" {
		e = Error{Title: http.StatusText(status)}
	}
	e.Status = status
	return &e
}

// hide removes the bearer token.
func (e *Error) hide(bearer string) {
	texts := []*string{&e.Type, &e.Title, &e.Detail}
	for i := range e.InvalidParameters {
		texts = append(texts, &e.InvalidParameters[i].Field, &e.InvalidParameters[i].Reason)
	}
	for _, text := range texts {
		*text = hidden(*text, bearer)
	}
}

// noAnswer is the error if no answer came. It has no Unwrap: the cause may hold what the
// server sent, and that may hold the bearer token.
type noAnswer struct {
	text  string
	cause error
	final bool // to ask again does not help
}

func unanswered(cause error, bearer string) error {
	return &noAnswer{text: "httpapi: " + hidden(cause.Error(), bearer), cause: cause, final: isFinal(cause)}
}

// isFinal reports whether to ask again does not help: one side does not trust the other,
// or the two do not speak the same protocol.
func isFinal(cause error) bool {
	var certificate *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	if errors.As(cause, &certificate) || errors.As(cause, &record) || errors.Is(cause, http.ErrSchemeMismatch) {
		return true
	}
	var alert *net.OpError
	if !errors.As(cause, &alert) || alert.Op != "remote error" { // an alert of TLS
		return false
	}
	return !slices.Contains([]string{"tls: internal error", "tls: user canceled"}, alert.Err.Error())
}

func (n *noAnswer) Error() string { return n.text }

// Format prints the text for every verb, and never the cause.
func (n *noAnswer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, n.text) }

func (n *noAnswer) Is(target error) bool {
	return target == token.ErrUnavailable && !n.final || errors.Is(n.cause, target)
}

func unusable(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrAnswer, fmt.Errorf(format, args...))
}
