package httpapi_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// office renews tokens of one kind, in Go and over HTTP, in a bubble of package synctest.
// It has three keys, with which the first one signs unless a test adds another.
type office struct {
	t       *testing.T
	kind    token.Kind
	scope   keystore.Scope
	series  signing.Series
	store   *faultStore
	claims  token.Claims // without the registered ones
	audit   *requests
	handler http.Handler
	host    string // from which over asks; "" is that of package httptest
	forks   []fork

	// Go: validate a token for what it says that it is for, or for what a row says, and renew it.
	validate  func(raw string) (renewable, error)
	elsewhere func(raw string) error // validates it for another mesh or zone

	issue  func(validFor time.Duration) string
	revoke func(id string)
	cutOff func(before time.Time, kid string)
	addKey func(n int)
	remove func(serial signing.Serial)
}

// fork is a Fork of either kind.
type fork struct {
	Renewed               bool
	Repeated              int
	Address, LaterAddress string
	Later                 time.Time
}

func (o *office) fork(f fork, id string) {
	o.forks = append(o.forks, f)
	o.revoke(id)
}

type renewable interface {
	Renew(validFor time.Duration) (token.Issued, error)
}

type renewFunc func(validFor time.Duration) (token.Issued, error)

func (f renewFunc) Renew(validFor time.Duration) (token.Issued, error) { return f(validFor) }

// rules are the settings of an office.
type rules struct {
	maxLineage  time.Duration // 0: no renewals
	long        bool
	maxLifetime time.Duration
	deny        func(validFor time.Duration) bool // nil: none
	disabled    bool
	offline     *signing.PrivateKey // the issuer is an offline one
	configured  *signing.PublicKey  // of kid "configured"
	revokes     bool                // the id of each fork
	authorize   httpapi.Authorizer  // nil: allows renewals
}

var renewingFor90Days = rules{maxLineage: 90 * 24 * time.Hour}

func openOffice(t *testing.T, kind token.Kind, r rules) *office {
	t.Helper()
	o := &office{t: t, kind: kind, store: &faultStore{Memory: keystore.NewMemory()}, audit: &requests{}}
	ctx := quiet(t)
	silent := slog.New(slog.DiscardHandler)
	zones, dataplanes := zone.NewDisabledIssuer, dataplane.NewDisabledIssuer
	zoneIssuer, err := zones()
	require.NoError(t, err)
	dataplaneIssuer, err := dataplanes()
	require.NoError(t, err)
	var dataplaneValidator dataplane.Validator
	var zoneValidator zone.Validator
	denied := errors.New("not on Sundays")

	if kind == token.KindDataplane {
		o.scope, o.series = "default", signing.DataplaneKeys("default")
		o.claims = token.Claims{Dataplane: token.Dataplane{Mesh: "default", Name: "dp-1", Workload: "shop", Tags: map[string][]string{"team": {"b", "a"}}}}
		put(t, o.store, o.scope, o.series.KeyName(1), pemOf(t, testKey(0)))
		options := []dataplane.IssuerOption{dataplane.WithLogger(silent)}
		if r.maxLineage > 0 {
			options = append(options, dataplane.WithMaxLineage(r.maxLineage))
		}
		if r.long {
			options = append(options, dataplane.WithLongTokensRenewed())
		}
		if r.maxLifetime > 0 {
			options = append(options, dataplane.WithMaxLifetime(r.maxLifetime))
		}
		if r.deny != nil {
			options = append(options, dataplane.WithRenewalPolicy(func(_ context.Context, _ token.Dataplane, renewal dataplane.Renewal) error {
				if r.deny(renewal.ValidFor) {
					return denied
				}
				return nil
			}))
		}
		switch {
		case r.disabled:
			dataplaneIssuer, err = dataplane.NewDisabledIssuer(options...)
		case r.offline != nil:
			dataplaneIssuer, err = dataplane.NewOfflineIssuer(r.offline, "configured", options...)
		default:
			dataplaneIssuer, err = dataplane.NewIssuer(o.store, options...)
		}
		require.NoError(t, err)
		checks := []dataplane.ValidatorOption{dataplane.WithLogger(silent)}
		if r.configured != nil {
			checks = append(checks, dataplane.WithPublicKey("default", "configured", r.configured))
		}
		if r.revokes {
			checks = append(checks, dataplane.WithForkHandler(func(_ context.Context, f dataplane.Fork) {
				o.fork(fork{f.Renewed, f.Repeated, f.Address, f.LaterAddress, f.Later}, f.Verified.Registered().ID)
			}))
		}
		dataplaneValidator, err = dataplane.NewValidator(o.store, checks...)
		require.NoError(t, err)
		t.Cleanup(func() { dataplaneValidator.Close() })
		o.validate = func(raw string) (renewable, error) {
			v, err := dataplaneValidator.Validate(ctx, "default", raw)
			return renewFunc(func(validFor time.Duration) (token.Issued, error) { return dataplaneIssuer.Renew(ctx, v, validFor) }), err
		}
		o.elsewhere = func(raw string) error {
			_, err := dataplaneValidator.Validate(ctx, "other", raw)
			return err
		}
		first, err := dataplane.NewIssuer(o.store, dataplane.WithLogger(silent))
		require.NoError(t, err)
		o.issue = func(validFor time.Duration) string {
			issued, err := first.Issue(ctx, o.claims.Dataplane, validFor)
			require.NoError(t, err)
			return issued.Token
		}
		o.revoke = func(id string) { require.NoError(t, dataplane.Revoke(ctx, o.store, "default", id)) }
		o.cutOff = func(before time.Time, kid string) {
			_, err := dataplane.CutOff(ctx, o.store, "default", dataplane.Cutoff{Before: before, KeyID: kid})
			require.NoError(t, err)
		}
		o.addKey = func(n int) {
			_, err := dataplane.AddKey(ctx, o.store, "default", testKey(n))
			require.NoError(t, err)
		}
		o.remove = func(serial signing.Serial) { require.NoError(t, dataplane.RemoveKey(ctx, o.store, "default", serial)) }
		zoneValidator, err = zone.NewValidator(o.store, zone.WithLogger(silent))
		require.NoError(t, err)
		t.Cleanup(func() { zoneValidator.Close() })
	} else {
		o.scope, o.series = keystore.Global, signing.ZoneKeys()
		o.claims = token.Claims{Zone: token.Zone{Zone: "west", Scope: []string{"ingress", "cp"}}}
		put(t, o.store, o.scope, o.series.KeyName(1), pemOf(t, testKey(0)))
		options := []zone.IssuerOption{zone.WithLogger(silent)}
		if r.maxLineage > 0 {
			options = append(options, zone.WithMaxLineage(r.maxLineage))
		}
		if r.long {
			options = append(options, zone.WithLongTokensRenewed())
		}
		if r.maxLifetime > 0 {
			options = append(options, zone.WithMaxLifetime(r.maxLifetime))
		}
		if r.deny != nil {
			options = append(options, zone.WithRenewalPolicy(func(_ context.Context, _ token.Zone, renewal zone.Renewal) error {
				if r.deny(renewal.ValidFor) {
					return denied
				}
				return nil
			}))
		}
		switch {
		case r.disabled:
			zoneIssuer, err = zone.NewDisabledIssuer(options...)
		case r.offline != nil:
			zoneIssuer, err = zone.NewOfflineIssuer(r.offline, "configured", options...)
		default:
			zoneIssuer, err = zone.NewIssuer(o.store, options...)
		}
		require.NoError(t, err)
		checks := []zone.ValidatorOption{zone.WithLogger(silent)}
		if r.configured != nil {
			checks = append(checks, zone.WithPublicKey("configured", r.configured))
		}
		if r.revokes {
			checks = append(checks, zone.WithForkHandler(func(_ context.Context, f zone.Fork) {
				o.fork(fork{f.Renewed, f.Repeated, f.Address, f.LaterAddress, f.Later}, f.Verified.Registered().ID)
			}))
		}
		zoneValidator, err = zone.NewValidator(o.store, checks...)
		require.NoError(t, err)
		t.Cleanup(func() { zoneValidator.Close() })
		o.validate = func(raw string) (renewable, error) {
			v, err := zoneValidator.Validate(ctx, "west", "cp", raw)
			return renewFunc(func(validFor time.Duration) (token.Issued, error) { return zoneIssuer.Renew(ctx, v, validFor) }), err
		}
		o.elsewhere = func(raw string) error {
			_, err := zoneValidator.Validate(ctx, "east", "cp", raw)
			return err
		}
		first, err := zone.NewIssuer(o.store, zone.WithLogger(silent))
		require.NoError(t, err)
		o.issue = func(validFor time.Duration) string {
			issued, err := first.Issue(ctx, o.claims.Zone, validFor)
			require.NoError(t, err)
			return issued.Token
		}
		o.revoke = func(id string) { require.NoError(t, zone.Revoke(ctx, o.store, id)) }
		o.cutOff = func(before time.Time, kid string) {
			_, err := zone.CutOff(ctx, o.store, zone.Cutoff{Before: before, KeyID: kid})
			require.NoError(t, err)
		}
		o.addKey = func(n int) {
			_, err := zone.AddKey(ctx, o.store, testKey(n))
			require.NoError(t, err)
		}
		o.remove = func(serial signing.Serial) { require.NoError(t, zone.RemoveKey(ctx, o.store, serial)) }
		dataplaneValidator, err = dataplane.NewValidator(o.store, dataplane.WithLogger(silent))
		require.NoError(t, err)
		t.Cleanup(func() { dataplaneValidator.Close() })
	}
	if r.authorize == nil {
		r.authorize = func(_ *http.Request, what httpapi.Request) (string, error) {
			o.audit.add(what)
			return "renewal", nil
		}
	}
	o.handler, err = httpapi.New(o.store, dataplaneIssuer, zoneIssuer, r.authorize,
		httpapi.WithRenewal(dataplaneValidator, zoneValidator), httpapi.WithLogger(silent))
	require.NoError(t, err)
	synctest.Wait()
	return o
}

// over presents a token over HTTP, and returns the answer: a token, or a title.
func (o *office) over(kind token.Kind, raw, body string, header ...string) (answer *http.Response, text string) {
	o.t.Helper()
	r := httptest.NewRequestWithContext(o.t.Context(), http.MethodPost, "/tokens/"+string(kind)+"/renew", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+raw)
	if o.host != "" {
		r.RemoteAddr = o.host + ":1234"
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := world{handler: o.handler}
	answer, text = w.answer(o.t, r)
	if answer.StatusCode != http.StatusOK {
		var failed httpapi.Error
		require.NoError(o.t, json.Unmarshal([]byte(text), &failed))
		return answer, failed.Title
	}
	return answer, text
}

// sign signs claims with a test key.
func sign(t testing.TB, n int, kid string, claims token.Claims) string {
	t.Helper()
	raw, err := token.Encode(kid, claims, testKey(n).Sign)
	require.NoError(t, err)
	return raw
}

func claimsOf(t testing.TB, raw string) token.Claims {
	t.Helper()
	u, err := token.ParseUnverified(raw)
	require.NoError(t, err)
	claims, err := u.Claims()
	require.NoError(t, err)
	return claims
}

// idAt is a UUID of version 7 that was made at a time.
func idAt(at time.Time) string {
	ms := fmt.Sprintf("%012x", at.UnixMilli())
	return ms[:8] + "-" + ms[8:] + "-7abc-8def-0123456789ab"
}

// registered are the claims of a token that was issued now, for an hour.
func registered() token.Registered {
	now := time.Now().Truncate(time.Second)
	return token.Registered{ID: idAt(now), IssuedAt: now.Add(-5 * time.Second), NotBefore: now.Add(-5 * time.Minute), ExpiresAt: now.Add(time.Hour)}
}

// with returns a token of the office with other registered claims, signed by key 1.
func (o *office) with(change func(r *token.Registered)) string {
	claims := o.claims
	claims.Registered = registered()
	change(&claims.Registered)
	return sign(o.t, 0, "1", claims)
}

// renewalCase says what becomes of a token, in Go and over HTTP.
type renewalCase struct {
	name  string
	rules *rules // nil: renewingFor90Days

	token  func(o *office) string           // nil: one that was issued for an hour
	before func(o *office, raw string)      // happens before it is presented
	during func(o *office, raw string)      // happens in Go between Validate and Renew, and otherwise before
	asked  time.Duration                    // 0: an hour
	check  func(o *office, old, new string) // of a token that is renewed

	err    error // nil: it is renewed
	status int
	title  string
}

const (
	refusedTitle = "Unauthenticated"
	lineageTitle = "Could not renew the token"
	limitsTitle  = "Could not issue a token"
)

func renewalCases() []renewalCase {
	revoke := func(o *office, raw string) { o.revoke(claimsOf(o.t, raw).ID) }
	cut := func(o *office, _ string) { o.cutOff(time.Now().Add(2*time.Minute), "") }
	wait := func(d time.Duration) func(*office, string) { return func(*office, string) { time.Sleep(d) } }
	removed := func(o *office, _ string) {
		o.addKey(1)
		o.remove(1)
	}
	fail := func(o *office, _ string) { // for longer than a validator does without it
		o.store.set(errors.New("the disk is gone"), false)
		time.Sleep(2 * time.Hour)
	}
	validFor := func(d time.Duration) func(o *office, old, new string) {
		return func(o *office, _, new string) {
			assert.Equal(o.t, d, time.Until(claimsOf(o.t, new).ExpiresAt).Round(time.Second))
		}
	}
	const refused, limits = http.StatusUnauthorized, http.StatusBadRequest
	cases := []renewalCase{
		{name: "a good token", check: validFor(time.Hour)},
		{name: "a good token in half its life", before: wait(30 * time.Minute), check: validFor(time.Hour)},
		{name: "a token of an older key", before: func(o *office, _ string) { o.addKey(1) }, check: func(o *office, _, new string) {
			u, err := token.ParseUnverified(new)
			require.NoError(o.t, err)
			header, err := u.Header()
			require.NoError(o.t, err)
			assert.Equal(o.t, "2", header.KeyID, "the key that signs now")
		}},
		{name: "expired", during: wait(2 * time.Hour), err: token.ErrExpired, status: refused, title: refusedTitle},
		{name: "not yet valid", token: func(o *office) string {
			return o.with(func(r *token.Registered) { r.NotBefore = time.Now().Add(time.Minute) })
		}, err: token.ErrNotYetValid, status: refused, title: refusedTitle},
		{name: "revoked", during: revoke, err: token.ErrRevoked, status: refused, title: refusedTitle},
		{name: "cut off", during: cut, err: token.ErrRevoked, status: refused, title: refusedTitle},
		{name: "cut off under the kid that signs now", before: func(o *office, _ string) {
			o.addKey(1)
			o.cutOff(time.Now().Add(2*time.Minute), "2")
		}, err: token.ErrRevoked, status: refused, title: refusedTitle},
		{name: "its key was removed", during: removed, err: token.ErrUnknownKey, status: refused, title: refusedTitle},
		{name: "the store is unknown", during: fail, token: func(o *office) string { return o.issue(24 * time.Hour) },
			err: token.ErrUnavailable, status: http.StatusServiceUnavailable, title: "Service unavailable"},
		{name: "the store is unknown to the issuer", during: func(o *office, _ string) { o.store.set(errors.New("the disk is gone"), false) },
			err: token.ErrUnavailable, status: http.StatusServiceUnavailable, title: "Service unavailable"},
		{name: "of another key with this kid", token: func(o *office) string {
			claims := o.claims
			claims.Registered = registered()
			return sign(o.t, 2, "1", claims)
		}, err: token.ErrSignature, status: refused, title: refusedTitle},
		{name: "of a key that there is not", token: func(o *office) string {
			claims := o.claims
			claims.Registered = registered()
			return sign(o.t, 0, "7", claims)
		}, err: token.ErrUnknownKey, status: refused, title: refusedTitle},
		{name: "an id of version 4", token: func(o *office) string {
			return o.with(func(r *token.Registered) { r.ID = "6baf2c90-0e86-4c62-97a7-7835855834bc" })
		}, err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "an id that is no UUID", token: func(o *office) string {
			return o.with(func(r *token.Registered) { r.ID = "dp-1" })
		}, err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "an id in upper case", token: func(o *office) string {
			return o.with(func(r *token.Registered) { r.ID = strings.ToUpper(r.ID) })
		}, err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "an id from the future", token: func(o *office) string {
			return o.with(func(r *token.Registered) { r.ID = idAt(time.Now().Add(time.Hour)) })
		}, err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "an id that is later than iat", token: func(o *office) string {
			return o.with(func(r *token.Registered) { r.IssuedAt = r.IssuedAt.Add(-time.Hour) })
		}, err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "no iat", token: func(o *office) string {
			return o.with(func(r *token.Registered) { r.IssuedAt = time.Time{} })
		}, err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "an iat ahead", token: func(o *office) string {
			return o.with(func(r *token.Registered) { r.IssuedAt = time.Now().Add(5 * time.Minute) })
		}, err: token.ErrUnavailable, status: http.StatusServiceUnavailable, title: "Service unavailable"},
		{name: "the lineage is over", token: func(o *office) string {
			return o.with(func(r *token.Registered) { r.ID = idAt(time.Now().Add(-90 * 24 * time.Hour)) })
		}, err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "the lineage ends soon", token: func(o *office) string {
			return o.with(func(r *token.Registered) {
				r.ID, r.ExpiresAt = idAt(time.Now().Add(10*time.Minute-90*24*time.Hour)), time.Now().Add(5*time.Minute)
				r.IssuedAt, r.NotBefore = r.IssuedAt.Add(-time.Hour), r.NotBefore.Add(-time.Hour)
			})
		}, check: validFor(10 * time.Minute)},
		{name: "valid until its lineage ends", before: wait(time.Minute), token: func(o *office) string {
			return o.with(func(r *token.Registered) { r.ID = idAt(time.Now().Add(time.Hour - 90*24*time.Hour)) })
		}, err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "the lineage ends in less than a second", token: func(o *office) string {
			return o.with(func(r *token.Registered) { r.ID = idAt(time.Now().Add(500*time.Millisecond - 90*24*time.Hour)) })
		}, err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "a token longer than asked", token: func(o *office) string { return o.issue(80 * 24 * time.Hour) }, check: validFor(time.Hour)},
		{name: "a token as long as a lineage", token: func(o *office) string { return o.issue(90 * 24 * time.Hour) }, check: validFor(time.Hour)},
		{name: "a token longer than a lineage", token: func(o *office) string { return o.issue(91 * 24 * time.Hour) },
			err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "a token longer than a lineage, which the operator allows", rules: &rules{maxLineage: 90 * 24 * time.Hour, long: true},
			token: func(o *office) string { return o.issue(87600 * time.Hour) }, check: validFor(time.Hour)},
		{name: "a long token, which the operator allows, after the end of its lineage", rules: &rules{maxLineage: time.Hour, long: true},
			token: func(o *office) string { return o.issue(87600 * time.Hour) }, during: wait(time.Hour),
			err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "asked for longer than the token was valid", asked: time.Hour + time.Second,
			err: token.ErrNotIssuable, status: limits, title: limitsTitle},
		{name: "asked for longer than the token was valid, in half its life", asked: time.Hour + time.Second, before: wait(30 * time.Minute),
			err: token.ErrNotIssuable, status: limits, title: limitsTitle},
		{name: "asked for longer than the token was valid, within the maximum", rules: &rules{maxLineage: 90 * 24 * time.Hour, maxLifetime: 3 * time.Hour},
			asked: 3 * time.Hour, check: validFor(3 * time.Hour)},
		{name: "asked for longer than the lineage", rules: &rules{maxLineage: 90 * 24 * time.Hour, maxLifetime: 2000 * 24 * time.Hour},
			asked: 1000 * 24 * time.Hour, check: validFor(90 * 24 * time.Hour)},
		{name: "asked for longer than allowed", rules: &rules{maxLineage: 90 * 24 * time.Hour, maxLifetime: time.Hour}, asked: time.Hour + time.Second,
			err: token.ErrNotIssuable, status: limits, title: limitsTitle},
		{name: "asked for as long as allowed", rules: &rules{maxLineage: 90 * 24 * time.Hour, maxLifetime: time.Hour}, check: validFor(time.Hour)},
		{name: "asked for less than a second", asked: 999 * time.Millisecond,
			err: token.ErrNotIssuable, status: limits, title: "Invalid request"},
		{name: "a claim that this version does not know", token: func(o *office) string {
			claims := o.claims
			claims.Registered = registered()
			payload := strings.Split(sign(o.t, 0, "1", claims), ".")[1]
			plain, err := base64.RawURLEncoding.DecodeString(payload)
			require.NoError(o.t, err)
			return forge.Token(`{"alg":"RS256","kid":"1","typ":"JWT"}`, strings.TrimSuffix(string(plain), "}")+`,"Node":"n-1"}`, signedBy(o.t, 0))
		}, err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "renewing is not allowed", rules: &rules{maxLifetime: time.Hour}, err: token.ErrIssuingDisabled, status: limits, title: limitsTitle},
		{name: "the issuer is disabled", rules: &rules{maxLineage: time.Hour, disabled: true}, err: token.ErrIssuingDisabled, status: limits, title: limitsTitle},
		{name: "the policy does not allow it", rules: &rules{maxLineage: time.Hour, deny: func(time.Duration) bool { return true }},
			err: token.ErrDenied, status: http.StatusForbidden, title: "Access Denied"},
		{name: "of a configured key", rules: &rules{maxLineage: time.Hour, configured: testKey(2).Public()}, token: ofConfigured,
			err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "of the key of an offline issuer", rules: &rules{maxLineage: time.Hour, configured: testKey(2).Public(), offline: testKey(2)}, token: ofConfigured,
			check: validFor(time.Hour)},
		{name: "of a key of the store, by an offline issuer", rules: &rules{maxLineage: time.Hour, offline: testKey(2)},
			err: token.ErrLineage, status: limits, title: lineageTitle},
		{name: "the key that signs cannot be read", before: func(o *office, _ string) {
			put(o.t, o.store, o.scope, o.series.KeyName(2), []byte("spoilt"))
		}, err: signing.ErrKey, status: http.StatusInternalServerError, title: "Internal Server Error"},
	}
	return cases
}

func ofConfigured(o *office) string {
	claims := o.claims
	claims.Registered = registered()
	return sign(o.t, 2, "configured", claims)
}

func signedBy(t testing.TB, n int) forge.Signer {
	return func(input []byte) []byte {
		signature, err := testKey(n).Sign(input)
		require.NoError(t, err)
		return signature
	}
}

func (c renewalCase) open(t *testing.T, kind token.Kind) (o *office, raw string) {
	if c.rules == nil {
		c.rules = &renewingFor90Days
	}
	o = openOffice(t, kind, *c.rules)
	if c.token == nil {
		raw = o.issue(time.Hour)
	} else {
		raw = c.token(o)
	}
	if c.before != nil {
		c.before(o, raw)
		synctest.Wait()
	}
	return o, raw
}

func (c renewalCase) wants(o *office, old, new string, err error) {
	o.t.Helper()
	if c.err != nil {
		require.ErrorIs(o.t, err, c.err)
		assert.NotContains(o.t, err.Error(), old)
		return
	}
	require.NoError(o.t, err)
	o.wantsSame(old, new)
	c.check(o, old, new)
}

// wantsSame checks that a renewed token says what the old one did, and is good.
func (o *office) wantsSame(old, new string) {
	o.t.Helper()
	was, is := payloadOf(o.t, old), payloadOf(o.t, new)
	for _, claim := range []string{"exp", "nbf"} {
		delete(was, claim)
		delete(is, claim)
	}
	assert.Equal(o.t, was, is)
	_, err := o.validate(new)
	assert.NoError(o.t, err)
}

// payloadOf reads a payload as any JWT library does.
func payloadOf(t testing.TB, raw string) map[string]any {
	t.Helper()
	plain, err := base64.RawURLEncoding.DecodeString(strings.Split(raw, ".")[1])
	require.NoError(t, err)
	var payload map[string]any
	require.NoError(t, json.Unmarshal(plain, &payload))
	return payload
}

func TestWhoMayRenewWhat(t *testing.T) {
	testKey(0) // before the clocks of the bubbles
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		for _, c := range renewalCases() {
			asked := c.asked
			if asked == 0 {
				asked = time.Hour
			}
			run := func(how string, test func(t *testing.T, o *office, raw string)) {
				t.Run(string(kind)+"/"+c.name+"/"+how, func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						o, raw := c.open(t, kind)
						test(t, o, raw)
					})
				})
			}
			run("in Go", func(t *testing.T, o *office, raw string) {
				if c.during != nil {
					c.during(o, raw)
					synctest.Wait()
				}
				verified, err := o.validate(raw)
				var issued token.Issued
				if err == nil {
					issued, err = verified.Renew(asked)
				}
				c.wants(o, raw, issued.Token, err)
			})
			if c.during != nil {
				run("in Go, after it was validated", func(t *testing.T, o *office, raw string) {
					verified, err := o.validate(raw)
					require.NoError(t, err)
					c.during(o, raw)
					synctest.Wait()
					issued, err := verified.Renew(asked)
					c.wants(o, raw, issued.Token, err)
				})
				run("in Go, at the very moment", func(t *testing.T, o *office, raw string) { // the validator has not read it
					verified, err := o.validate(raw)
					require.NoError(t, err)
					c.during(o, raw)
					issued, err := verified.Renew(asked)
					if c.err == token.ErrRevoked && err == nil {
						synctest.Wait()
						_, err = o.validate(issued.Token) // it is revoked all the same
					}
					c.wants(o, raw, issued.Token, err)
				})
			}
			run("over HTTP", func(t *testing.T, o *office, raw string) {
				if c.during != nil {
					c.during(o, raw)
					synctest.Wait()
				}
				answer, text := o.over(kind, raw, `{"validFor":"`+asked.String()+`"}`)
				if c.err == nil {
					require.Equal(t, http.StatusOK, answer.StatusCode, text)
					assert.Equal(t, "no-store", answer.Header.Get("Cache-Control"))
					c.wants(o, raw, text, nil)
					return
				}
				assert.Equal(t, c.status, answer.StatusCode)
				assert.Equal(t, c.title, text)
			})
		}
	}
}

func TestATokenIsRenewedForItsOwnMeshAndZoneAndAsItsOwnKindOnly(t *testing.T) {
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		synctest.Test(t, func(t *testing.T) {
			o := openOffice(t, kind, renewingFor90Days)
			raw := o.issue(time.Hour)
			require.ErrorIs(t, o.elsewhere(raw), token.ErrInvalid, "so there is nothing to renew in Go")
			for _, other := range []token.Kind{token.KindDataplane, token.KindZone} {
				if other != kind {
					answer, title := o.over(other, raw, "")
					assert.Equal(t, http.StatusUnauthorized, answer.StatusCode)
					assert.Equal(t, refusedTitle, title)
				}
			}
			// A token that names another mesh or zone is one that this key did not sign.
			parts := strings.Split(raw, ".")
			plain, err := base64.RawURLEncoding.DecodeString(parts[1])
			require.NoError(t, err)
			moved := strings.NewReplacer(`"default"`, `"other"`, `"west"`, `"east"`).Replace(string(plain))
			require.NotEqual(t, string(plain), moved)
			answer, title := o.over(kind, parts[0]+"."+base64.RawURLEncoding.EncodeToString([]byte(moved))+"."+parts[2], "")
			assert.Equal(t, http.StatusUnauthorized, answer.StatusCode)
			assert.Equal(t, refusedTitle, title)
			assert.Empty(t, o.audit.all(), "the authoriser sees no token that is not good")
		})
	}
}

func TestTheAuthoriserSeesAValidatedRequestForARenewalAndDecides(t *testing.T) {
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		synctest.Test(t, func(t *testing.T) {
			answerOf := error(nil)
			var asked httpapi.Request
			r := renewingFor90Days
			r.authorize = func(_ *http.Request, what httpapi.Request) (string, error) {
				asked = what
				return "renewal", answerOf
			}
			o := openOffice(t, kind, r)
			raw := o.issue(time.Hour)
			claims := claimsOf(t, raw)
			for err, status := range map[error]int{
				httpapi.Denied("not here"): http.StatusForbidden, httpapi.ErrUnauthenticated: http.StatusUnauthorized,
				token.ErrUnavailable: http.StatusServiceUnavailable, token.ErrExpired: http.StatusForbidden,
			} {
				answerOf = err
				answer, _ := o.over(kind, raw, "")
				assert.Equal(t, status, answer.StatusCode, "%v", err)
				time.Sleep(time.Second) // between two attempts
			}
			answerOf = nil
			answer, text := o.over(kind, raw, "")
			require.Equal(t, http.StatusOK, answer.StatusCode, text)
			assert.Equal(t, httpapi.Request{Action: httpapi.Renew, Kind: kind, Mesh: claims.Dataplane.Mesh, Dataplane: claims.Dataplane, Zone: claims.Zone,
				ValidFor: time.Hour, TokenIDs: []string{claims.ID}}, asked, "without validFor, the token is valid for as long as the old one was")
			time.Sleep(30 * time.Minute)
			answer, again := o.over(kind, text, "")
			require.Equal(t, http.StatusOK, answer.StatusCode, again)
			assert.Equal(t, time.Hour, asked.ValidFor, "a renewed token was too")
		})
	}
}

func TestAnIDIsRenewedOnceInATenthOfItsLifetime(t *testing.T) {
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		synctest.Test(t, func(t *testing.T) {
			o := openOffice(t, kind, renewingFor90Days)
			raw := o.issue(time.Hour)
			answer, renewed := o.over(kind, raw, "")
			require.Equal(t, http.StatusOK, answer.StatusCode, renewed)
			authorised, reads := len(o.audit.all()), o.store.reads()
			for range 100 {
				for _, of := range []string{raw, renewed} {
					answer, title := o.over(kind, of, "")
					require.Equal(t, http.StatusTooManyRequests, answer.StatusCode)
					require.Equal(t, "Too Many Requests", title)
					require.Equal(t, "360", answer.Header.Get("Retry-After"))
				}
			}
			assert.Len(t, o.audit.all(), authorised, "neither the authoriser is asked")
			assert.Equal(t, reads, o.store.reads(), "nor the store read")
			other, _ := o.over(kind, o.issue(time.Hour), "")
			assert.Equal(t, http.StatusOK, other.StatusCode, "another id is none of this")
			time.Sleep(6*time.Minute - time.Second)
			answer, _ = o.over(kind, renewed, "")
			assert.Equal(t, http.StatusTooManyRequests, answer.StatusCode)
			assert.Equal(t, "1", answer.Header.Get("Retry-After"))
			time.Sleep(time.Second)
			answer, _ = o.over(kind, renewed, "")
			assert.Equal(t, http.StatusOK, answer.StatusCode)
		})
		synctest.Test(t, func(t *testing.T) { // the shorter lifetime counts, and a second at least
			o := openOffice(t, kind, renewingFor90Days)
			raw := o.issue(24 * time.Hour)
			for _, asked := range []struct{ validFor, after time.Duration }{{time.Hour, 6 * time.Minute}, {time.Second, time.Second}} {
				answer, text := o.over(kind, raw, `{"validFor":"`+asked.validFor.String()+`"}`)
				require.Equal(t, http.StatusOK, answer.StatusCode, text)
				answer, _ = o.over(kind, raw, "")
				assert.Equal(t, strconv.Itoa(int(asked.after.Seconds())), answer.Header.Get("Retry-After"))
				time.Sleep(asked.after)
			}
		})
	}
}

// An operator who lowers the maximum must not lose every proxy whose token is longer.
func TestARenewalForAsLongAsBeforeIsNotLongerThanTheMaximumLifetime(t *testing.T) {
	for _, kind := range []token.Kind{token.KindDataplane, token.KindZone} {
		synctest.Test(t, func(t *testing.T) {
			o := openOffice(t, kind, rules{maxLineage: 90 * 24 * time.Hour, maxLifetime: 2 * time.Hour})
			for lifetime, want := range map[time.Duration]time.Duration{24 * time.Hour: 2 * time.Hour, time.Hour: time.Hour} {
				answer, text := o.over(kind, o.issue(lifetime), "")
				require.Equal(t, http.StatusOK, answer.StatusCode, text)
				assert.True(t, claimsOf(t, text).ExpiresAt.Equal(time.Now().Add(want)), "over HTTP")

				verified, err := o.validate(o.issue(lifetime))
				require.NoError(t, err)
				issued, err := verified.Renew(0)
				require.NoError(t, err)
				assert.True(t, issued.ExpiresAt.Equal(time.Now().Add(want)), "in Go")
			}
		})
	}
}

func TestAfterAFailureAnIDMayTryAgainInASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := openOffice(t, token.KindDataplane, renewingFor90Days)
		raw := o.issue(time.Hour)
		o.store.set(errors.New("away"), false)
		answer, _ := o.over(o.kind, raw, "")
		assert.Equal(t, http.StatusServiceUnavailable, answer.StatusCode)
		answer, _ = o.over(o.kind, raw, "")
		assert.Equal(t, http.StatusTooManyRequests, answer.StatusCode)
		o.store.set(nil, false)
		time.Sleep(time.Second)
		answer, _ = o.over(o.kind, raw, "")
		assert.Equal(t, http.StatusOK, answer.StatusCode)
	})
}

func TestARequestForARenewalHasOneTokenAndAtMostALifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := openOffice(t, token.KindDataplane, renewingFor90Days)
		raw := o.issue(time.Hour)
		for name, c := range map[string]struct {
			header []string
			body   string
			status int
		}{
			"no token":                   {[]string{"Authorization", ""}, "", http.StatusUnauthorized},
			"another scheme":             {[]string{"Authorization", "Basic " + raw}, "", http.StatusUnauthorized},
			"a token that is none":       {[]string{"Authorization", "Bearer x.y.z"}, "", http.StatusUnauthorized},
			"a body of another type":     {[]string{"Content-Type", "text/plain"}, `{"validFor":"1h"}`, http.StatusUnsupportedMediaType},
			"a claim":                    {nil, `{"validFor":"1h","name":"dp-2"}`, http.StatusBadRequest},
			"a lifetime that is none":    {nil, `{"validFor":"soon"}`, http.StatusBadRequest},
			"a negative lifetime":        {nil, `{"validFor":"-1h"}`, http.StatusBadRequest},
			"a body of five kilobytes":   {nil, `{"validFor":"` + strings.Repeat("1", 5<<10) + `"}`, http.StatusRequestEntityTooLarge},
			"a token of nine kilobytes":  {[]string{"Authorization", "Bearer " + strings.Repeat("a", 9<<10)}, "", http.StatusUnauthorized},
			"a token with no good claim": {[]string{"Authorization", "Bearer " + forge.Token(`{"alg":"RS256","kid":"1"}`, `[]`, signedBy(t, 0))}, "", http.StatusUnauthorized},
		} {
			answer, _ := o.over(o.kind, raw, c.body, c.header...)
			assert.Equal(t, c.status, answer.StatusCode, name)
			assert.Empty(t, o.audit.all(), name)
		}
		w := world{handler: o.handler}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/tokens/dataplane/renew", nil)
		answer, _ := w.answer(t, r)
		assert.Equal(t, http.StatusMethodNotAllowed, answer.StatusCode)
		assert.Equal(t, "POST", answer.Header.Get("Allow"))
		r = httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/tokens/dataplane/renew", nil)
		r.Header.Add("Authorization", "Bearer "+raw)
		r.Header.Add("Authorization", "Bearer "+raw)
		answer, _ = w.answer(t, r)
		assert.Equal(t, http.StatusUnauthorized, answer.StatusCode)
		answer, _ = o.over(o.kind, raw, "", "Authorization", "bearer "+raw)
		assert.Equal(t, http.StatusOK, answer.StatusCode)
	})
}

func TestNothingIsRenewedWithoutTheOption(t *testing.T) {
	w := newWorld(t)
	for _, kind := range []string{"dataplane", "zone"} {
		answer, _ := w.do(t, http.MethodPost, "/tokens/"+kind+"/renew", "")
		assert.Equal(t, http.StatusNotFound, answer.StatusCode)
	}
	_, err := httpapi.New(w.store, w.dataplanes, w.zones, w.authorize, httpapi.WithRenewal(nil, nil))
	assert.Error(t, err)
}

// A thief of a key makes a token of a time and an id of his choice, and renews it.
func TestAfterTheTheftOfAKeyACutoffUntilNowEndsWhatTheThiefHasRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := openOffice(t, token.KindDataplane, renewingFor90Days)
		o.addKey(1) // the next key signs the renewals, and the stolen one is still there
		var renewed []string
		ids := time.Now() // which differ
		forged := func(ahead time.Duration) string {
			ids = ids.Add(-time.Millisecond)
			return o.with(func(r *token.Registered) {
				r.IssuedAt = time.Now().Truncate(time.Second).Add(ahead)
				r.ID = idAt(ids)
				if ahead < 0 {
					r.ID = idAt(ids.Add(ahead))
				}
			})
		}
		for ahead := -3 * time.Minute; ahead <= 7*time.Minute; ahead += 10 * time.Second {
			if answer, text := o.over(o.kind, forged(ahead), ""); answer.StatusCode == http.StatusOK {
				renewed = append(renewed, text)
			}
		}
		require.NotEmpty(t, renewed)
		answer, text := o.over(o.kind, forged(-time.Hour-time.Second), "")
		require.Equal(t, http.StatusOK, answer.StatusCode, text)
		renewed = append(renewed, text)
		late := forged(-time.Hour - 2*time.Second)
		verified, err := o.validate(late)
		require.NoError(t, err)
		o.remove(1)
		_, err = verified.Renew(time.Hour) // no validator has read it yet
		require.ErrorIs(t, err, token.ErrUnknownKey)
		cutoff, err := dataplane.UntilNow(quiet(t), o.store, "default", dataplane.Cutoff{})
		require.NoError(t, err)
		_, err = o.validate(text)
		require.NoError(t, err, "removing the key alone does not end it")
		_, err = dataplane.CutOff(quiet(t), o.store, "default", cutoff)
		require.NoError(t, err)
		synctest.Wait()
		for _, raw := range renewed {
			_, err := o.validate(raw)
			require.ErrorIs(t, err, token.ErrInvalid)
		}
		_, err = o.validate(text)
		require.ErrorIs(t, err, token.ErrRevoked)
		good := o.issue(time.Hour)
		synctest.Wait()
		_, err = o.validate(good)
		require.NoError(t, err)
	})
}

func TestACutoffForAKidDoesNotReachRenewalsUnderTheNextKid(t *testing.T) { // which docs/operating.md says
	synctest.Test(t, func(t *testing.T) {
		o := openOffice(t, token.KindDataplane, renewingFor90Days)
		raw := o.issue(time.Hour)
		o.addKey(1)
		answer, renewed := o.over(o.kind, raw, "")
		require.Equal(t, http.StatusOK, answer.StatusCode)
		moment := time.Now().Add(time.Minute)
		o.cutOff(moment, "1")
		synctest.Wait()
		_, err := o.validate(raw)
		require.ErrorIs(t, err, token.ErrRevoked)
		_, err = o.validate(renewed)
		require.NoError(t, err)
		o.cutOff(moment, "2")
		synctest.Wait()
		_, err = o.validate(renewed)
		require.ErrorIs(t, err, token.ErrRevoked)
	})
}

func TestAPrunedIDStaysRevokedInEveryRenewalOfItsLineage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := openOffice(t, token.KindDataplane, renewingFor90Days)
		raw := o.issue(time.Hour)
		for range 3 {
			time.Sleep(40 * time.Minute)
			answer, renewed := o.over(o.kind, raw, "")
			require.Equal(t, http.StatusOK, answer.StatusCode)
			raw = renewed
		}
		p, err := dataplane.PruneRevocations(quiet(t), o.store, "default", time.Hour, false) // tokens live that long, lineages longer
		require.NoError(t, err)
		made, ok := revocation.IDTime(claimsOf(t, raw).ID)
		require.True(t, ok)
		require.True(t, made.Before(p.Floor))
		synctest.Wait()
		_, err = o.validate(raw)
		assert.ErrorIs(t, err, token.ErrRevoked, "so the lifetime to prune with is that of lineages")
	})
}
