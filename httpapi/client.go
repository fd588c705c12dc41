package httpapi

import (
	"bytes"
	"context"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/url"
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
// If the server answers with an error, the error is an [*Error]. If no readable
// answer came, the error matches token.ErrUnavailable and the cause, such as the
// context's error; the server may still have done what was asked. No error contains
// the bearer token or an issued token.
//
// A client follows no redirect, so that neither a request nor a credential
// reaches another server.
type Client struct {
	base   string
	http   http.Client
	bearer func(context.Context) (string, error)
}

// A ClientOption is an option of [NewClient].
type ClientOption func(*Client) error

// WithBearer sends a bearer token (RFC 6750) with each request. The client calls
// source for each request, so the token may change. It returns errors of source
// wrapped.
func WithBearer(source func(context.Context) (string, error)) ClientOption {
	return func(c *Client) error {
		if source == nil {
			return errors.New("WithBearer: the function is nil")
		}
		c.bearer = source
		return nil
	}
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
	c := &Client{base: strings.TrimSuffix(base.String(), "/"), http: http.Client{Timeout: 30 * time.Second}}
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
)

// IssueDataplane asks for a dataplane token that is valid for validFor. It reads the
// other fields of its result from the token, without validating the token.
func (c *Client) IssueDataplane(ctx context.Context, claims token.Dataplane, validFor time.Duration) (token.Issued, error) {
	return c.issue(ctx, token.KindDataplane,
		dataplaneRequest{claims.Name, claims.Mesh, claims.Tags, claims.Type, claims.Workload, validFor.String()})
}

// IssueZone asks for a zone token, as IssueDataplane does for a dataplane token.
func (c *Client) IssueZone(ctx context.Context, claims token.Zone, validFor time.Duration) (token.Issued, error) {
	return c.issue(ctx, token.KindZone, zoneRequest{claims.Zone, claims.Scope, validFor.String()})
}

func (c *Client) issue(ctx context.Context, kind token.Kind, request any) (token.Issued, error) {
	data, err := c.do(ctx, http.MethodPost, "/tokens/"+string(kind), request, token.MaxSize+1)
	if err != nil {
		return token.Issued{}, err
	}
	issued := token.Issued{Token: strings.TrimSpace(string(data))}
	unverified, err := token.ParseUnverified(issued.Token)
	if err != nil {
		return token.Issued{}, unusable(errors.New(err.Error())) // without the class: no token was refused
	}
	header, err := unverified.Header()
	if err != nil {
		return token.Issued{}, unusable(errors.New(err.Error()))
	}
	claims, err := unverified.Claims()
	if err != nil {
		return token.Issued{}, unusable(errors.New(err.Error()))
	}
	issued.KeyID, issued.ID, issued.ExpiresAt = header.KeyID, claims.ID, claims.ExpiresAt
	return issued, nil
}

// RevokeDataplane adds token ids (jti) to the revocation list of a mesh. The ids of
// one call are revoked together or not at all. A request holds about 26,000 UUIDs.
// The error matches revocation.ErrID for an invalid id, and keystore.ErrName for an
// invalid mesh name.
func (c *Client) RevokeDataplane(ctx context.Context, mesh string, id string, more ...string) error {
	return c.change(ctx, http.MethodPost, ofMesh(mesh), append([]string{id}, more...))
}

// RestoreDataplane removes token ids from the revocation list of a mesh. For errors
// and limits see RevokeDataplane.
func (c *Client) RestoreDataplane(ctx context.Context, mesh string, id string, more ...string) error {
	return c.change(ctx, http.MethodDelete, ofMesh(mesh), append([]string{id}, more...))
}

// RevokedDataplane returns the ids on the revocation list of a mesh, sorted.
func (c *Client) RevokedDataplane(ctx context.Context, mesh string) ([]string, error) {
	return c.revoked(ctx, ofMesh(mesh))
}

// RevokeZone adds token ids to the revocation list of zone tokens. For errors and
// limits see RevokeDataplane.
func (c *Client) RevokeZone(ctx context.Context, id string, more ...string) error {
	return c.change(ctx, http.MethodPost, ofZones(), append([]string{id}, more...))
}

// RestoreZone removes token ids from the revocation list of zone tokens.
func (c *Client) RestoreZone(ctx context.Context, id string, more ...string) error {
	return c.change(ctx, http.MethodDelete, ofZones(), append([]string{id}, more...))
}

// RevokedZone returns the ids on the revocation list of zone tokens, sorted.
func (c *Client) RevokedZone(ctx context.Context) ([]string, error) {
	return c.revoked(ctx, ofZones())
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

func (c *Client) change(ctx context.Context, method string, of owner, ids []string) error {
	if _, err := revocation.Format(ids); of.err != nil || err != nil {
		return errors.Join(of.err, err)
	}
	_, err := c.do(ctx, method, "/revocations"+of.path, tokenIDs{ids}, 0)
	return err
}

func (c *Client) revoked(ctx context.Context, of owner) ([]string, error) {
	if of.err != nil {
		return nil, of.err
	}
	data, err := c.do(ctx, http.MethodGet, "/revocations"+of.path, nil, maxListAnswer)
	if err != nil {
		return nil, err
	}
	var list tokenIDs
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, unusable(err)
	}
	if list.IDs == nil { // a missing list is not an empty list
		return nil, unusable(errors.New("the field ids is missing"))
	}
	if _, err := revocation.Format(list.IDs); err != nil {
		return nil, unusable(err)
	}
	return list.IDs, nil
}

func (c *Client) keys(ctx context.Context, of owner) ([]PublicKey, error) {
	if of.err != nil {
		return nil, of.err
	}
	data, err := c.do(ctx, http.MethodGet, "/jwks"+of.path, nil, maxKeysAnswer)
	if err != nil {
		return nil, err
	}
	keys, err := parseKeySet(data)
	if err != nil {
		return nil, unusable(err)
	}
	return keys, nil
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
	for _, k := range set.Keys {
		if k.KeyType != "RSA" || k.Use != "" && k.Use != "sig" || k.Algorithm != "" && k.Algorithm != "RS256" {
			continue // as RFC 7517, section 5, requires
		}
		if err := token.CheckKeyID(k.KeyID); err != nil {
			return nil, err
		}
		if seen[k.KeyID] {
			return nil, fmt.Errorf("kid %q appears twice", k.KeyID)
		}
		seen[k.KeyID] = true
		key, err := k.publicKey()
		if err != nil {
			return nil, fmt.Errorf("kid %q: %w", k.KeyID, err)
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

// do sends a request and returns the body of a successful answer.
func (c *Client) do(ctx context.Context, method, path string, body any, limit int64) ([]byte, error) {
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
	var bearer string
	if c.bearer != nil {
		if bearer, err = c.bearer(ctx); err != nil {
			return nil, fmt.Errorf("httpapi: the bearer token: %w", err)
		}
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	response, err := c.http.Do(r)
	if err != nil {
		return nil, &unanswered{err}
	}
	defer response.Body.Close()
	ok := response.StatusCode == http.StatusOK || response.StatusCode == http.StatusNoContent
	if !ok {
		limit = maxErrorAnswer
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, limit+1))
	switch {
	case !ok:
		e := parseError(response.StatusCode, data)
		e.hide(bearer)
		e.issuing = strings.HasPrefix(path, "/tokens/")
		return nil, e
	case err != nil:
		return nil, &unanswered{err}
	case int64(len(data)) > limit:
		return nil, unusable(fmt.Errorf("it has more than %d bytes", limit))
	}
	return data, nil
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

// hide removes the bearer token, since a server may repeat the request.
func (e *Error) hide(bearer string) {
	if bearer == "" {
		return
	}
	texts := []*string{&e.Type, &e.Title, &e.Detail}
	for i := range e.InvalidParameters {
		texts = append(texts, &e.InvalidParameters[i].Field, &e.InvalidParameters[i].Reason)
	}
	for _, text := range texts {
		*text = strings.ReplaceAll(*text, bearer, "(bearer)")
	}
}

// unanswered is the error if no usable answer came.
type unanswered struct{ cause error }

func unusable(cause error) error {
	return &unanswered{fmt.Errorf("the answer cannot be used: %w", cause)}
}

func (u *unanswered) Error() string        { return "httpapi: " + u.cause.Error() }
func (u *unanswered) Unwrap() error        { return u.cause }
func (u *unanswered) Is(target error) bool { return target == token.ErrUnavailable }
