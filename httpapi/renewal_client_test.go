package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// renewingWorld is a world whose handler renews tokens, for whoever has a good one.
func renewingWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	dataplanes, err := dataplane.NewIssuer(w.store, dataplane.WithMaxLineage(24*time.Hour), dataplane.WithMaxLifetime(48*time.Hour))
	require.NoError(t, err)
	zones, err := zone.NewIssuer(w.store, zone.WithMaxLineage(24*time.Hour), zone.WithMaxLifetime(48*time.Hour))
	require.NoError(t, err)
	proxies, err := dataplane.NewValidator(w.store)
	require.NoError(t, err)
	t.Cleanup(func() { proxies.Close() })
	components, err := zone.NewValidator(w.store)
	require.NoError(t, err)
	t.Cleanup(func() { components.Close() })
	w.dataplanes, w.zones = &countingDataplanes{Issuer: dataplanes}, &countingZones{Issuer: zones}
	w.handler, err = httpapi.New(w.store, w.dataplanes, w.zones, func(r *http.Request, what httpapi.Request) (string, error) {
		if what.Action == httpapi.Renew {
			w.asked.add(what)
			return "renewal", nil
		}
		return w.authorize(r, what)
	}, httpapi.WithRenewal(proxies, components), httpapi.WithLogger(w.log.Logger()))
	require.NoError(t, err)
	return w
}

func TestClientRenewsTokensOfBothKinds(t *testing.T) {
	w := renewingWorld(t)
	server := httptest.NewTLSServer(w.handler)
	t.Cleanup(server.Close)
	ctx := t.Context()
	admin := w.client(t, "alice")
	client, err := httpapi.NewClient(server.URL, server.Client(), httpapi.WithBearer(func(context.Context) (string, error) { return "of-an-administrator", nil }))
	require.NoError(t, err)

	first, err := admin.IssueDataplane(ctx, token.Dataplane{Mesh: "default", Name: "dp-1", Tags: map[string][]string{"a": {"b", "c"}}}, time.Hour)
	require.NoError(t, err)
	renewed, err := client.RenewDataplane(ctx, first.Token, 2*time.Hour)
	require.NoError(t, err)
	assert.Equal(t, first.ID, renewed.ID)
	assert.Equal(t, "1", renewed.KeyID)
	assert.WithinDuration(t, time.Now().Add(2*time.Hour), renewed.ExpiresAt, time.Minute)
	assert.Equal(t, 2*time.Hour, w.asked.last(t).ValidFor)
	assert.Equal(t, 1, w.log.Count("audit: done", "action=renew", "actor=renewal", "address=127.0.0.1:", "name=dp-1", "jti="+first.ID))

	_, err = client.RenewDataplane(ctx, renewed.Token, time.Hour)
	require.ErrorIs(t, err, token.ErrUnavailable, "it was renewed just now")
	var failed *httpapi.Error
	require.ErrorAs(t, err, &failed)
	assert.Equal(t, http.StatusTooManyRequests, failed.Status)
	assert.InDelta(t, 6*60, failed.RetryAfter().Seconds(), 5, "a tenth of the shorter lifetime")
	assert.Equal(t, 1, w.log.Count("audit: not done", "action=renew", "jti="+first.ID))

	first, err = admin.IssueZone(ctx, token.Zone{Zone: "west", Scope: []string{"ingress", "cp"}}, time.Hour)
	require.NoError(t, err)
	renewed, err = client.RenewZone(ctx, first.Token, 0)
	require.NoError(t, err)
	assert.Equal(t, first.ID, renewed.ID)
	assert.WithinDuration(t, time.Now().Add(time.Hour), renewed.ExpiresAt, time.Minute)
}

func TestClientSaysWhyATokenIsNotRenewed(t *testing.T) {
	w := renewingWorld(t)
	client := w.client(t, "alice")
	ctx := t.Context()
	_, err := client.RenewDataplane(ctx, "no token", time.Hour)
	require.ErrorIs(t, err, token.ErrMalformed)
	first, err := client.IssueDataplane(ctx, token.Dataplane{Mesh: "default"}, 48*time.Hour)
	require.NoError(t, err)
	_, err = client.RenewZone(ctx, first.Token, time.Hour)
	require.ErrorIs(t, err, token.ErrKind)
	assert.Zero(t, w.log.Count("action=renew"), "nothing was sent")
	_, err = client.RenewDataplane(ctx, first.Token, time.Hour)
	require.ErrorIs(t, err, token.ErrLineage)
	require.ErrorIs(t, err, token.ErrNotIssuable)
	require.NotErrorIs(t, err, token.ErrUnavailable)
	require.NoError(t, client.RevokeDataplane(ctx, "default", first.ID))
	require.Eventually(t, func() bool {
		_, err = client.RenewDataplane(ctx, first.Token, time.Hour)
		return !isTooEarly(err)
	}, time.Minute, 50*time.Millisecond)
	require.ErrorIs(t, err, httpapi.ErrUnauthenticated)
	require.ErrorIs(t, err, token.ErrInvalid)
	assert.NotContains(t, err.Error(), first.Token)
}

func isTooEarly(err error) bool {
	failed, ok := err.(*httpapi.Error)
	return ok && failed.Status == http.StatusTooManyRequests
}

func TestClientTakesNoOtherTokenForARenewedOne(t *testing.T) {
	now := time.Now().Truncate(time.Second)
	claims := token.Claims{Dataplane: token.Dataplane{Mesh: "default", Name: "dp-1", Tags: map[string][]string{"a": {"b"}}}, Registered: registered()}
	zones := token.Claims{Zone: token.Zone{Zone: "west", Scope: []string{"cp"}}, Registered: registered()}
	old, oldZone := sign(t, 0, "1", claims), sign(t, 0, "1", zones)
	for name, c := range map[string]struct {
		change func(c *token.Claims)
		good   bool
	}{
		"the same, later":     {func(c *token.Claims) { c.NotBefore, c.ExpiresAt = now, now.Add(time.Hour) }, true},
		"the same, shorter":   {func(c *token.Claims) { c.ExpiresAt = now.Add(time.Minute) }, true}, // at the end of the lineage
		"another id":          {func(c *token.Claims) { c.ID = idAt(now.Add(time.Second)) }, false},
		"another iat":         {func(c *token.Claims) { c.IssuedAt = now }, false},
		"longer than asked":   {func(c *token.Claims) { c.ExpiresAt = now.Add(time.Hour + 4*time.Minute) }, false},
		"another name":        {func(c *token.Claims) { c.Dataplane.Name = "dp-2" }, false},
		"no name":             {func(c *token.Claims) { c.Dataplane.Name = "" }, false},
		"another tag":         {func(c *token.Claims) { c.Dataplane.Tags = map[string][]string{"a": {"b", "c"}} }, false},
		"another mesh":        {func(c *token.Claims) { c.Dataplane.Mesh = "other" }, false},
		"a workload":          {func(c *token.Claims) { c.Dataplane.Workload = "w" }, false},
		"a token of the zone": {func(c *token.Claims) { *c = zones }, false},
	} {
		changed := claims
		c.change(&changed)
		client := answering(t, http.StatusOK, "text/plain", sign(t, 0, "2", changed))
		renewed, err := client.RenewDataplane(t.Context(), old, time.Hour)
		if c.good {
			assert.NoError(t, err, name)
			assert.Equal(t, "2", renewed.KeyID, name)
			continue
		}
		assert.ErrorIs(t, err, httpapi.ErrAnswer, name)
		assert.Empty(t, renewed.Token, name)
	}
	zones.Zone.Scope = []string{"cp", "egress"}
	_, err := answering(t, http.StatusOK, "text/plain", sign(t, 0, "2", zones)).RenewZone(t.Context(), oldZone, time.Hour)
	assert.ErrorIs(t, err, httpapi.ErrAnswer)
}

// A Keeper whose clock is wrong must not drop what the server gives it.
func TestClientTakesARenewedTokenWhateverItsClockSays(t *testing.T) {
	for _, wrong := range []time.Duration{-24 * time.Hour, -10 * time.Minute, 0, 10 * time.Minute, 24 * time.Hour} {
		now := time.Now().Truncate(time.Second).Add(-wrong) // by the clock of the server
		claims := token.Claims{Dataplane: token.Dataplane{Mesh: "default"}, Registered: token.Registered{
			ID: idAt(now.Add(-time.Hour)), IssuedAt: now.Add(-time.Hour), NotBefore: now.Add(-time.Hour), ExpiresAt: now.Add(time.Minute)}}
		old := sign(t, 0, "1", claims)
		claims.NotBefore = now.Add(-5 * time.Minute)
		for validFor, good := range map[time.Duration]bool{time.Hour: true, 2 * time.Hour: false} {
			claims.ExpiresAt = now.Add(validFor)
			_, err := answering(t, http.StatusOK, "text/plain", sign(t, 0, "2", claims)).RenewDataplane(t.Context(), old, time.Hour)
			if good {
				assert.NoError(t, err, wrong)
			} else {
				assert.ErrorIs(t, err, httpapi.ErrAnswer, wrong)
			}
		}
	}
}

func TestClientSendsATokenToRenewAsTheBearerAndNotInTheBody(t *testing.T) {
	raw := sign(t, 0, "1", token.Claims{Dataplane: token.Dataplane{Mesh: "default"}, Registered: registered()})
	for validFor, body := range map[time.Duration]string{time.Hour: `{"validFor":"1h0m0s"}`, 0: `{}`} {
		var sent *http.Request
		var text string
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			data, _ := io.ReadAll(r.Body)
			sent, text = r, string(data)
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(http.StatusBadRequest)
			_ = json.NewEncoder(w).Encode(map[string]string{"title": "Oh", "detail": "you sent " + r.Header.Get("Authorization")})
		}))
		client, err := httpapi.NewClient(server.URL, nil)
		require.NoError(t, err)
		_, err = client.RenewDataplane(t.Context(), raw, validFor)
		server.Close()
		require.Error(t, err)
		assert.NotContains(t, err.Error(), raw)
		assert.Equal(t, "/tokens/dataplane/renew", sent.URL.Path)
		assert.Equal(t, []string{"Bearer " + raw}, sent.Header.Values("Authorization"))
		assert.Equal(t, body, strings.TrimSpace(text))
	}
}

func TestWhateverIsWrongWithATokenToRenewTheValidatorSaysSo(t *testing.T) {
	var log logtest.Buffer
	w := newWorld(t)
	proxies, err := dataplane.NewValidator(w.store, dataplane.WithLogger(log.Logger()))
	require.NoError(t, err)
	defer proxies.Close()
	components, err := zone.NewValidator(w.store, zone.WithLogger(log.Logger()))
	require.NoError(t, err)
	defer components.Close()
	w.serve(t, w.dataplanes, w.zones, httpapi.WithRenewal(proxies, components))
	proxy := sign(t, 0, "1", token.Claims{Dataplane: token.Dataplane{Mesh: "default"}, Registered: registered()})
	west := sign(t, 1, "1", token.Claims{Zone: token.Zone{Zone: "west", Scope: []string{"cp"}}, Registered: registered()})
	for _, c := range []struct {
		kind token.Kind
		raw  string
		why  error
	}{
		{token.KindDataplane, "x.y.z", token.ErrMalformed},
		{token.KindDataplane, forge.Token(`{"alg":"RS256","kid":"1"}`, `[]`, signedBy(t, 0)), token.ErrClaims},
		{token.KindDataplane, west, token.ErrKind},
		{token.KindDataplane, proxy[:len(proxy)-8] + "AAAAAAAA", token.ErrSignature},
		{token.KindZone, "x.y.z", token.ErrMalformed},
		{token.KindZone, proxy, token.ErrKind},
		{token.KindZone, forge.Token(`{"alg":"RS256","kid":"1"}`, `{"Zone":"west","Scope":[],"exp":9999999999,"jti":"1"}`, signedBy(t, 1)), token.ErrScope},
	} {
		log.Reset()
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/tokens/"+string(c.kind)+"/renew", nil)
		r.Header.Set("Authorization", c.raw)
		answer, _ := w.answer(t, r)
		assert.Equal(t, http.StatusUnauthorized, answer.StatusCode)
		assert.Equal(t, 1, log.Count("token refused", c.why.Error()), "%v: %s", c.why, log.String())
	}
}

func TestOnlyTheServersOwnWordMeansThatATokenWasRenewedJustNow(t *testing.T) {
	for body, want := range map[string]bool{
		`{"title":"Too Many Requests","detail":"a token of this id was renewed just now"}`:  true,
		`{"title":"Too Many Requests","detail":"this host has asked for this id just now"}`: false,
		`{"title":"Too Many Requests","detail":"slow down"}`:                                false,
		`<html>429</html>`: false,
		``:                 false,
	} {
		server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(http.StatusTooManyRequests)
			_, _ = io.WriteString(w, body)
		}))
		client, err := httpapi.NewClient(server.URL, server.Client())
		require.NoError(t, err)
		raw := sign(t, 0, "1", token.Claims{Dataplane: token.Dataplane{Mesh: "default"}, Registered: registered()})
		_, err = client.RenewDataplane(t.Context(), raw, 0)
		server.Close()
		require.ErrorIs(t, err, token.ErrUnavailable)
		var failed *httpapi.Error
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, want, failed.TooEarly(), body)
		assert.Equal(t, 7*time.Second, failed.RetryAfter())
	}
}

// An attempt that has failed says nothing about the token.
func TestAfterAFailureTheServerDoesNotSayThatTheTokenWasRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := renewingWorld(t)
		client := w.inMemory(t, "alice")
		ctx := t.Context()
		first, err := client.IssueDataplane(ctx, token.Dataplane{Mesh: "default"}, time.Hour)
		require.NoError(t, err)
		w.store.set(errors.New("away"), false)
		var failed *httpapi.Error
		_, err = client.RenewDataplane(ctx, first.Token, 0)
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, http.StatusServiceUnavailable, failed.Status)
		_, err = client.RenewDataplane(ctx, first.Token, 0)
		require.ErrorAs(t, err, &failed)
		assert.Equal(t, http.StatusTooManyRequests, failed.Status)
		assert.False(t, failed.TooEarly())
		w.store.set(nil, false)
		time.Sleep(failed.RetryAfter())
		_, err = client.RenewDataplane(ctx, first.Token, 0)
		require.NoError(t, err)
		_, err = client.RenewDataplane(ctx, first.Token, 0)
		require.ErrorAs(t, err, &failed)
		assert.True(t, failed.TooEarly())
	})
}
