package jwks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const (
	minRefresh = 10 * time.Second // between the starts of two fetches, at least
	maxRefresh = 5 * time.Minute  // the same, at most
	// A read that comes this much too early waits rather than shares what was fetched
	// before. The clocks of a validator and its source do not start at the same moment.
	patience = time.Second

	fetchTimeout   = 5 * time.Second // from the connection to the last byte
	maxRedirects   = 5
	maxHeader      = 64 << 10 // bytes
	maxETag        = 256      // bytes
	maxErrorLength = 300      // bytes
)

// URLOption is an option of [URL].
type URLOption func(*endpoint) error

// WithHTTPClient makes the source fetch with another client: for root certificates, a
// proxy or a client certificate. The source copies the client and decides about redirects
// itself. A client without a Transport gets that of a source without this option. The
// limits of [URL] hold, except that the transport may keep connections open.
func WithHTTPClient(client *http.Client) URLOption {
	return func(e *endpoint) error {
		if client == nil {
			return errors.New("WithHTTPClient: the client is nil")
		}
		transport := e.client.Transport
		e.client = *client
		if e.client.Transport == nil {
			e.client.Transport = transport
		}
		return nil
	}
}

// WithTokensOfAnyIssuer gives up the demand that tokens name their issuer. It is safe only
// if whoever signs with a key of the set may issue tokens of the mesh.
func WithTokensOfAnyIssuer() URLOption {
	return func(e *endpoint) error {
		e.anyIssuer = true
		return nil
	}
}

// WithTokensForAnyAudience gives up the demand that tokens are meant for the mesh. It is
// safe only if the issuer makes no tokens for other purposes: these could be presented to
// the mesh.
func WithTokensForAnyAudience() URLOption {
	return func(e *endpoint) error {
		e.anyAudience = true
		return nil
	}
}

// URL returns the key set at a URL as a source of keys, such as the jwks_uri of an
// identity provider. URL itself fetches nothing.
//
// The URL is https, or http on a loopback address. It has no user, no password and no
// fragment. Its query is sent, but appears in no error and no log. An identity provider
// signs tokens for others too. So the demands need an Issuer and an Audience, unless
// [WithTokensOfAnyIssuer] and [WithTokensForAnyAudience] give them up.
//
// An answer has status 200 and a set as [Parse] wants it, whatever its Content-Type, or
// status 304. Up to five redirects are followed, if they keep the scheme, the host and
// the port. A fetch takes at most 5 s, and reads at most [MaxSize] bytes, counted after
// decompression.
//
// The set is fetched again when its max-age (RFC 9111, section 5.2.2.1), less its Age,
// has passed: at least every 5 min and at most every 10 s, counted from the start of the
// last fetch. no-cache, no-store and a max-age that is no number count as 0. Without
// Cache-Control it is 5 min. An ETag is sent back. A fetch that fails is repeated after
// 10 s. A token with an unknown kid may cause a fetch 10 s after the last one.
//
// All validators of a process that use the same source share its fetches: within 10 s a
// read returns what the last fetch found, or why it failed. A fetch ends early if its
// caller's context is cancelled, and then does not count. The source has no goroutine,
// needs no Close, and keeps no connection open.
//
// The source does not use [http.DefaultClient]. It verifies certificates against the
// system's roots, and uses the proxy that HTTPS_PROXY and NO_PROXY name (see
// [http.ProxyFromEnvironment]). A loopback address never goes through a proxy.
// [WithHTTPClient] changes both.
func URL(address string, demands token.Demands, options ...URLOption) (signing.Source, error) {
	e := &endpoint{demands: demands, turn: make(chan struct{}, 1), floor: minRefresh}
	e.client.Transport = newTransport()
	for _, option := range options {
		if option == nil {
			return nil, errors.New("jwks: an option is nil")
		}
		if err := option(e); err != nil {
			return nil, fmt.Errorf("jwks: %w", err)
		}
	}
	e.client.CheckRedirect = e.checkRedirect
	if err := e.setURL(address); err != nil {
		return nil, fmt.Errorf("jwks: %w", err)
	}
	if err := e.checkDemands(); err != nil {
		return nil, fmt.Errorf("jwks: %s: %w", e, err)
	}
	return e, nil
}

// newTransport returns a transport with a limit to everything. It leaves no connection
// behind, since a source is never closed.
func newTransport() *http.Transport {
	return &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: fetchTimeout}).DialContext,
		TLSHandshakeTimeout:    fetchTimeout,
		MaxResponseHeaderBytes: maxHeader,
		DisableKeepAlives:      true,
	}
}

// endpoint is a source of the keys at a URL.
type endpoint struct {
	url                    *url.URL
	name                   string
	demands                token.Demands
	anyIssuer, anyAudience bool
	client                 http.Client
	floor                  time.Duration

	turn chan struct{} // holds one value while a read uses what follows
	last fetched
	good Set    // of the last fetch that succeeded, or zero
	etag string // of good, or empty
}

// fetched is the outcome of a fetch.
type fetched struct {
	began   time.Time
	set     Set
	refresh time.Duration
	err     error
}

func (e *endpoint) Demands() token.Demands { return e.demands }
func (e *endpoint) String() string         { return e.name }

// setURL takes an address. Its errors do not quote it: it may contain a password.
func (e *endpoint) setURL(address string) error {
	u, err := url.Parse(address)
	if err != nil {
		return errors.New("the URL cannot be parsed")
	}
	host := u.Hostname()
	ip := net.ParseIP(host)
	local := strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
	switch {
	case u.User != nil:
		return errors.New("the URL has a user or a password, want none")
	case host == "":
		return errors.New("the URL has no host")
	case u.Scheme != "https" && (u.Scheme != "http" || !local):
		return fmt.Errorf("the URL begins with %.64q, want https, or http on a loopback address", u.Scheme+"://"+u.Host)
	case u.Fragment != "":
		return errors.New("the URL has a fragment, want none")
	}
	if local && ip == nil { // a proxy is bypassed for this spelling alone
		u.Host = strings.ToLower(u.Host)
	}
	e.url = u
	e.name = (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path, RawPath: u.RawPath}).String()
	if u.RawQuery != "" {
		e.name += "?..."
	}
	return nil
}

func (e *endpoint) checkDemands() error {
	switch {
	case e.demands.Issuer == "" && !e.anyIssuer:
		return errors.New("the demands name no Issuer; WithTokensOfAnyIssuer gives it up")
	case e.demands.Issuer != "" && e.anyIssuer:
		return errors.New("the demands name an Issuer, and WithTokensOfAnyIssuer gives it up")
	case e.demands.Audience == "" && !e.anyAudience:
		return errors.New("the demands name no Audience; WithTokensForAnyAudience gives it up")
	case e.demands.Audience != "" && e.anyAudience:
		return errors.New("the demands name an Audience, and WithTokensForAnyAudience gives it up")
	}
	return nil
}

func (e *endpoint) checkRedirect(to *http.Request, via []*http.Request) error {
	switch {
	case to.URL.Scheme != e.url.Scheme || !strings.EqualFold(to.URL.Host, e.url.Host):
		return fmt.Errorf("redirected to %.100q, want the same scheme, host and port", to.URL.Scheme+"://"+to.URL.Host)
	case to.URL.User != nil:
		return errors.New("redirected to a URL with a user or a password")
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	}
	return nil
}

func (e *endpoint) Read(ctx context.Context) (signing.SourceKeys, error) {
	started := time.Now()
	select {
	case e.turn <- struct{}{}:
		defer func() { <-e.turn }()
	case <-ctx.Done():
		return signing.SourceKeys{}, fmt.Errorf("waiting for another fetch: %w", ctx.Err())
	}
	if !e.last.began.IsZero() {
		early := time.Until(e.last.began.Add(e.floor))
		if early > patience {
			return e.last.since(started, e.floor)
		}
		if err := sleep(ctx, early); err != nil {
			return signing.SourceKeys{}, fmt.Errorf("waiting until %s after the last fetch: %w", e.floor, err)
		}
	}
	next := e.fetch(ctx)
	if next.err != nil && errors.Is(ctx.Err(), context.Canceled) { // the endpoint did not fail
		return signing.SourceKeys{}, next.err
	}
	e.last = next
	return next.since(started, e.floor)
}

// sleep waits for a time, or less if the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// since returns the outcome for a read that started at a time.
func (f fetched) since(started time.Time, floor time.Duration) (signing.SourceKeys, error) {
	after := f.began.Sub(started)
	return signing.SourceKeys{
		Keys:     f.set.Keys,
		Problems: f.set.Problems,
		Age:      max(0, -after),
		Refresh:  after + f.refresh,
		OnDemand: after + floor,
	}, f.err
}

// fetch fetches the set.
func (e *endpoint) fetch(ctx context.Context) fetched {
	f := fetched{began: time.Now(), refresh: e.floor}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	var header http.Header
	if header, f.err = e.get(ctx); f.err != nil {
		f.err = e.describe(f.err)
		return f
	}
	f.set, f.refresh = e.good, min(max(freshness(header), e.floor), maxRefresh)
	return f
}

// get makes a request and takes the answer as the good set. It returns the answer's
// header.
func (e *endpoint) get(ctx context.Context) (http.Header, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url.String(), nil)
	if err != nil {
		return nil, errors.New("the URL cannot be requested")
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	if e.etag != "" {
		request.Header.Set("If-None-Match", e.etag)
	}
	answer, err := e.client.Do(request)
	if err != nil {
		if outer := (*url.Error)(nil); errors.As(err, &outer) {
			err = outer.Err // without the URL and its query
		}
		return nil, err
	}
	defer answer.Body.Close()
	switch {
	case answer.StatusCode == http.StatusNotModified && e.etag != "":
		return answer.Header, nil
	case answer.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("status %d, want 200 with a key set", answer.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(answer.Body, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	set, err := Parse(data)
	if err != nil {
		return nil, err
	}
	set.keep(e.good)
	e.good, e.etag = set, entityTag(answer.Header)
	return answer.Header, nil
}

// entityTag returns the ETag of an answer (RFC 9110, section 8.8.3), or nothing if it
// could not be sent back.
func entityTag(header http.Header) string {
	tag := header.Get("ETag")
	opaque, isQuoted := strings.CutPrefix(strings.TrimPrefix(tag, "W/"), `"`)
	opaque, isClosed := strings.CutSuffix(opaque, `"`)
	visible := !strings.ContainsFunc(opaque, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' })
	if !isQuoted || !isClosed || !visible || len(tag) > maxETag {
		return ""
	}
	return tag
}

// freshness returns for how long the answer may be used (RFC 9111, section 4.2).
func freshness(header http.Header) time.Duration {
	fresh := maxRefresh
	found := false
	for directive := range strings.SplitSeq(strings.Join(header.Values("Cache-Control"), ","), ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		switch strings.ToLower(name) {
		case "no-store", "no-cache":
			return 0
		case "max-age":
			if !found { // the first one counts (section 4.2.1)
				fresh, found = seconds(strings.Trim(value, `"`)), true
			}
		}
	}
	if found {
		fresh -= seconds(header.Get("Age"))
	}
	return fresh
}

// seconds parses delta-seconds (RFC 9111, section 1.2.2), which has a largest number. What
// is no number is 0.
func seconds(text string) time.Duration {
	const largest = 1 << 31
	n, err := strconv.ParseUint(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		n = largest
	}
	return time.Duration(min(n, largest)) * time.Second
}

// describe bounds the text of an error, into which an endpoint may have put what it likes,
// also the query that it was sent, and escapes it.
func (e *endpoint) describe(err error) error {
	text := err.Error()
	if e.url.RawQuery != "" {
		text = strings.ReplaceAll(text, e.url.RawQuery, "...")
	}
	quoted := strconv.QuoteToASCII(text)
	text = strings.ReplaceAll(quoted[1:len(quoted)-1], `\"`, `"`)
	if len(text) > maxErrorLength {
		text = text[:maxErrorLength] + "..."
	}
	return &fetchError{text, err}
}

// fetchError has the text of an error, bounded.
type fetchError struct {
	text string
	err  error
}

func (e *fetchError) Error() string { return e.text }
func (e *fetchError) Unwrap() error { return e.err }
