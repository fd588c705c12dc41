package httpapi_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// as is an HTTP client whose requests are those of a user.
func as(user string, under http.RoundTripper) *http.Client {
	return &http.Client{Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
		r = r.Clone(r.Context())
		r.Header.Set("As", user)
		return under.RoundTrip(r)
	})}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// client is a client of the world's handler, over TLS.
func (w *world) client(t testing.TB, user string) *httpapi.Client {
	t.Helper()
	server := httptest.NewTLSServer(w.handler)
	t.Cleanup(server.Close)
	client, err := httpapi.NewClient(server.URL, as(user, server.Client().Transport))
	require.NoError(t, err)
	return client
}

// inMemory is a client of the world's handler without a network, so that the time of a test
// may be false.
func (w *world) inMemory(t testing.TB, user string) *httpapi.Client {
	t.Helper()
	client, err := httpapi.NewClient("https://cp.example.com", as(user, roundTrip(func(r *http.Request) (*http.Response, error) {
		r.RequestURI, r.RemoteAddr = r.URL.RequestURI(), "127.0.0.1:1"
		answer := httptest.NewRecorder()
		w.handler.ServeHTTP(answer, r)
		return answer.Result(), nil
	})))
	require.NoError(t, err)
	return client
}

// answering is a client of a server that always says the same.
func answering(t testing.TB, status int, contentType, body string) *httpapi.Client {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	client, err := httpapi.NewClient(server.URL, nil)
	require.NoError(t, err)
	return client
}

func TestClientDoesAllThatAServerOffers(t *testing.T) {
	w := newWorld(t)
	client := w.client(t, "alice")
	ctx := t.Context()
	validator, err := dataplane.NewValidator(w.store)
	require.NoError(t, err)
	defer validator.Close()
	zones, err := zone.NewValidator(w.store)
	require.NoError(t, err)
	defer zones.Close()

	claims := token.Dataplane{Mesh: "default", Name: "dp-1", Type: "dataplane", Workload: "shop", Tags: map[string][]string{"a": {"b", "c"}}}
	issued, err := client.IssueDataplane(ctx, claims, 90*time.Minute)
	require.NoError(t, err)
	verified, err := validator.Validate(ctx, "default", issued.Token)
	require.NoError(t, err)
	assert.Equal(t, claims, verified.Claims())
	assert.Equal(t, 90*time.Minute, w.asked.last(t).ValidFor)
	issued, err = client.IssueZone(ctx, token.Zone{Zone: "west", Scope: []string{"cp"}}, time.Hour)
	require.NoError(t, err)
	_, err = zones.Validate(ctx, "west", zone.ScopeCP, issued.Token)
	require.NoError(t, err)

	ids, err := client.RevokedDataplane(ctx, "default")
	require.NoError(t, err)
	assert.Empty(t, ids)
	require.NoError(t, client.RevokeDataplane(ctx, "default", "b", "a"))
	require.NoError(t, client.RevokeZone(ctx, "z"))
	ids, err = client.RevokedDataplane(ctx, "default")
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b"}, ids)
	ids, err = client.RevokedZone(ctx)
	require.NoError(t, err)
	assert.Equal(t, []string{"z"}, ids)
	require.NoError(t, client.RestoreDataplane(ctx, "default", "a"))
	require.NoError(t, client.RestoreZone(ctx, "z"))
	list, err := dataplane.Revoked(ctx, w.store, "default")
	require.NoError(t, err)
	assert.Equal(t, []string{"b"}, list.IDs())

	keys, err := client.DataplaneKeys(ctx, "default")
	require.NoError(t, err)
	require.Len(t, keys, 1)
	assert.Equal(t, "1", keys[0].KeyID)
	assert.True(t, keys[0].Key.Equal(testKey(0).Public()))
	keys, err = client.ZoneKeys(ctx)
	require.NoError(t, err)
	require.Len(t, keys, 1)
	assert.True(t, keys[0].Key.Equal(testKey(1).Public()))
}

func TestClientFetchesKeysThatValidateTokens(t *testing.T) {
	w := newWorld(t)
	client := w.client(t, "alice")
	keys, err := client.DataplaneKeys(t.Context(), "default")
	require.NoError(t, err)
	issued, err := client.IssueDataplane(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	require.NoError(t, err)
	var options []dataplane.ValidatorOption
	for _, k := range keys {
		options = append(options, dataplane.WithPublicKey("default", k.KeyID, k.Key))
	}
	validator, err := dataplane.NewOfflineValidator(options...)
	require.NoError(t, err)
	defer validator.Close()
	_, err = validator.Validate(t.Context(), "default", issued.Token)
	assert.NoError(t, err)
}

func TestClientRevokesATokenUntilItRestoresIt(t *testing.T) {
	w := newWorld(t)
	client := w.client(t, "alice")
	validator, err := dataplane.NewValidator(w.store, dataplane.WithLogger(w.log.Logger()))
	require.NoError(t, err)
	defer validator.Close()
	issued, err := client.IssueDataplane(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	require.NoError(t, err)
	verified, err := validator.Validate(t.Context(), "default", issued.Token)
	require.NoError(t, err)
	valid := func() error {
		_, err := validator.Validate(t.Context(), "default", issued.Token)
		return err
	}
	require.NoError(t, client.RevokeDataplane(t.Context(), "default", verified.Registered().ID))
	require.Eventually(t, func() bool { return errors.Is(valid(), token.ErrRevoked) }, time.Minute, time.Millisecond)
	require.NoError(t, client.RestoreDataplane(t.Context(), "default", verified.Registered().ID))
	require.Eventually(t, func() bool { return valid() == nil }, time.Minute, time.Millisecond)
}

func TestClientMakesTheListThatKumaReadsAndShowsBoth(t *testing.T) {
	w := newWorld(t)
	client := w.client(t, "alice")
	ctx := quiet(t)
	ids, lists, err := client.RevokedDataplaneLists(ctx, "default")
	require.NoError(t, err)
	assert.Empty(t, ids)
	assert.Empty(t, lists)
	require.NoError(t, client.RevokeDataplane(ctx, "default", "a", "b"))
	_, lists, err = client.RevokedDataplaneLists(ctx, "default")
	require.NoError(t, err)
	list := func(scope string, count int, missing ...string) httpapi.RevocationList {
		return httpapi.RevocationList{Scope: scope, Name: "dataplane-token-revocations-default", Count: count, Missing: missing}
	}
	assert.Equal(t, []httpapi.RevocationList{list("mesh", 2)}, lists)

	lists, err = client.MakeGlobalList(ctx, "default")
	require.NoError(t, err)
	assert.Equal(t, []httpapi.RevocationList{list("mesh", 2), list("global", 2)}, lists)
	require.NoError(t, client.RevokeDataplane(ctx, "default", "c"))
	require.NoError(t, revocation.DataplaneGlobal("default").Add(ctx, w.store, "of-kuma"))
	ids, lists, err = client.RevokedDataplaneLists(ctx, "default")
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b", "c", "of-kuma"}, ids)
	assert.Equal(t, []httpapi.RevocationList{list("mesh", 3, "of-kuma"), list("global", 4)}, lists)

	_, err = w.client(t, "bob").MakeGlobalList(ctx, "default")
	assert.ErrorIs(t, err, token.ErrDenied)
}

func TestTwoAdministratorsLoseNothingWhileOneOfThemMakesTheGlobalList(t *testing.T) {
	w := newWorld(t)
	client := w.client(t, "alice")
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() { assert.NoError(t, client.RevokeDataplane(t.Context(), "default", fmt.Sprint("id-", i))) })
	}
	for range 2 {
		all.Go(func() {
			_, err := client.MakeGlobalList(t.Context(), "default")
			assert.NoError(t, err)
		})
	}
	all.Wait()
	global, err := revocation.DataplaneGlobal("default").Load(t.Context(), w.store)
	require.NoError(t, err)
	assert.Equal(t, 8, global.Len())
}

func TestClientKnowsThatAnOlderServerDoesNotSayWhereListsAre(t *testing.T) {
	ids, lists, err := answering(t, 200, "application/json", `{"ids":["a"]}`).RevokedDataplaneLists(t.Context(), "default")
	require.NoError(t, err)
	assert.Equal(t, []string{"a"}, ids)
	assert.Nil(t, lists)
}

func TestClientDoesNotBelieveListsThatAMeshCannotHave(t *testing.T) {
	const name = `"name":"dataplane-token-revocations-default"`
	for _, lists := range []string{
		`[{"scope":"elsewhere",` + name + `}]`, `[{"scope":"global","name":"zone-token-revocations"}]`, `[{"scope":"mesh",` + name + `,"count":-1}]`,
		`[{"scope":"global",` + name + `,"missing":["a b"]}]`, `{}`, `["global"]`,
	} {
		client := answering(t, 200, "application/json", `{"ids":[],"lists":`+lists+`}`)
		_, _, err := client.RevokedDataplaneLists(t.Context(), "default")
		assert.ErrorIs(t, err, httpapi.ErrAnswer, lists)
		_, err = client.MakeGlobalList(t.Context(), "default")
		assert.ErrorIs(t, err, httpapi.ErrAnswer, lists)
	}
	for _, body := range []string{"", "null", "{}", `{"lists":[]}`, `{"lists":[{"scope":"mesh",` + name + `}]}`} {
		_, err := answering(t, 200, "application/json", body).MakeGlobalList(t.Context(), "default")
		assert.ErrorIs(t, err, httpapi.ErrAnswer, body)
	}
	_, err := answering(t, 204, "application/json", "").MakeGlobalList(t.Context(), "default")
	assert.ErrorContains(t, err, "want 200")
}

// withExternalKey adds a key in a KMS to mesh default, and serves an issuer with the options.
func withExternalKey(t *testing.T, w *world, options ...dataplane.IssuerOption) {
	key, err := signing.Generate(signing.DefaultBits)
	require.NoError(t, err)
	_, err = dataplane.AddExternalKey(t.Context(), w.store, "default", key.Public())
	require.NoError(t, err)
	issuer, err := dataplane.NewIssuer(w.store, options...)
	require.NoError(t, err)
	w.serve(t, issuer, w.zones)
}

func TestClientErrorMatchesWhatHappened(t *testing.T) {
	all := []error{token.ErrIssuingDisabled, token.ErrNotIssuable, httpapi.ErrUnauthenticated, token.ErrDenied, signing.ErrNoKey,
		keystore.ErrReadOnly, keystore.ErrTooLarge, keystore.ErrNameTaken, revocation.ErrUnreadable, token.ErrUnavailable, token.ErrInvalid}
	issue := func(mesh string, validFor time.Duration) func(*httpapi.Client) error {
		return func(c *httpapi.Client) error {
			_, err := c.IssueDataplane(t.Context(), token.Dataplane{Mesh: mesh}, validFor)
			return err
		}
	}
	revoke := func(c *httpapi.Client) error { return c.RevokeZone(t.Context(), "an-id") }
	for name, c := range map[string]struct {
		user  string
		setup func(*testing.T, *world)
		do    func(*httpapi.Client) error
		want  error
	}{
		"invalid":         {"alice", nil, issue("", time.Hour), token.ErrNotIssuable},
		"too short":       {"alice", nil, issue("default", 0), token.ErrNotIssuable},
		"unauthenticated": {"", nil, issue("default", time.Hour), httpapi.ErrUnauthenticated},
		"denied":          {"bob", nil, issue("default", time.Hour), token.ErrDenied},
		"policy":          {"alice", policies(errors.New("no")), issue("default", time.Hour), token.ErrDenied},
		"no key":          {"alice", nil, issue("prod", time.Hour), signing.ErrNoKey},
		"no signer": {"alice", func(t *testing.T, w *world) {
			withExternalKey(t, w)
		}, issue("default", time.Hour), nil},
		"a signer that fails": {"alice", func(t *testing.T, w *world) {
			withExternalKey(t, w, dataplane.WithSigners(func(context.Context, *signing.PublicKey) (*signing.PrivateKey, error) {
				return nil, errors.New("the KMS is away")
			}))
		}, issue("default", time.Hour), token.ErrUnavailable},
		"store down": {"alice", down, issue("default", time.Hour), token.ErrUnavailable},
		"disabled": {"alice", func(t *testing.T, w *world) {
			disabled, err := dataplane.NewDisabledIssuer()
			require.NoError(t, err)
			w.serve(t, disabled, w.zones)
		}, issue("default", time.Hour), token.ErrIssuingDisabled},
		"a mesh that the store cannot hold": {"alice", func(_ *testing.T, w *world) { w.store.refuse = keystore.ErrName }, func(c *httpapi.Client) error {
			return c.RevokeDataplane(t.Context(), "Prod", "an-id")
		}, nil},
		"read-only": {"alice", failing(keystore.ErrReadOnly), revoke, keystore.ErrReadOnly},
		"name taken": {"alice", failing(keystore.ErrNameTaken), func(c *httpapi.Client) error {
			_, err := c.MakeGlobalList(t.Context(), "default")
			return err
		}, keystore.ErrNameTaken},
		"full": {"alice", failing(keystore.ErrTooLarge), revoke, keystore.ErrTooLarge},
		"unreadable list": {"alice", func(t *testing.T, w *world) {
			put(t, w.store, keystore.Global, revocation.Zone().Name, []byte("\x00"))
		}, revoke, revocation.ErrUnreadable},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if c.setup != nil {
				c.setup(t, w)
			}
			err := c.do(w.client(t, c.user))
			require.Error(t, err)
			var answer *httpapi.Error
			assert.ErrorAs(t, err, &answer)
			for _, sentinel := range all {
				assert.Equal(t, sentinel == c.want, errors.Is(err, sentinel), "%v: %v", sentinel, err)
			}
		})
	}
}

func TestClientAsksAKumaControlPlaneForTokens(t *testing.T) {
	asked := token.Dataplane{Mesh: "default", Name: "dp-1", Tags: map[string][]string{"a": {"b"}}}
	raw := tokenWith(t, asked, 24*time.Hour)
	got := map[string]any{}
	var authorization string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization = r.Header.Get("Authorization")
		clear(got)
		assert.Equal(t, "application/json", r.Header.Get("Content-Type"))
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&got))
		if r.URL.Path != "/base/tokens/dataplane" {
			w.WriteHeader(404)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, raw)
	}))
	defer server.Close()
	client, err := httpapi.NewClient(server.URL+"/base/", nil, httpapi.WithBearer(func(context.Context) (string, error) { return "user-token", nil }))
	require.NoError(t, err)
	answer, err := client.IssueDataplane(t.Context(), asked, 24*time.Hour)
	require.NoError(t, err)
	assert.Equal(t, raw, answer.Token)
	assert.Equal(t, "Bearer user-token", authorization)
	assert.Equal(t, map[string]any{"mesh": "default", "name": "dp-1", "tags": map[string]any{"a": []any{"b"}}, "type": "", "validFor": "24h0m0s"}, got)

	_, err = client.IssueZone(t.Context(), token.Zone{Zone: "west", Scope: []string{"cp"}}, time.Hour)
	assert.ErrorContains(t, err, "404")
	assert.NotErrorIs(t, err, signing.ErrNoKey, "the path is missing, not the key")
	assert.Equal(t, map[string]any{"zone": "west", "scope": []any{"cp"}, "validFor": "1h0m0s"}, got)

	// Its errors have two fields more, and spaces.
	client = answering(t, 400, "application/json", `{
 "type": "/std-errors",
 "status": 400,
 "title": "Could not issue a token",
 "detail": "issuing tokens using the control plane is disabled.",
 "details": "issuing tokens using the control plane is disabled."
}`)
	_, err = client.IssueDataplane(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	assert.ErrorIs(t, err, token.ErrIssuingDisabled)
	client = answering(t, 400, "application/json", `{"type":"/std-errors","status":400,"title":"Invalid request","detail":"Resource is not valid",
		"invalid_parameters":[{"field":"mesh","reason":"cannot be empty"}],"details":"Resource is not valid","causes":[{"field":"mesh","message":"cannot be empty"}]}`)
	_, err = client.IssueDataplane(t.Context(), token.Dataplane{}, time.Hour)
	var e *httpapi.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, []httpapi.InvalidParameter{{Field: "mesh", Reason: "cannot be empty"}}, e.InvalidParameters)
	assert.Equal(t, `httpapi: 400 "Invalid request": "Resource is not valid"; "mesh": "cannot be empty"`, err.Error())
}

// tokenWith makes a token that any server may have made.
func tokenWith(t testing.TB, claims token.Dataplane, validFor time.Duration) string {
	t.Helper()
	issuer, err := dataplane.NewOfflineIssuer(testKey(0), "1")
	require.NoError(t, err)
	issued, err := issuer.Issue(quiet(t), claims, validFor)
	require.NoError(t, err)
	return issued.Token
}

func TestClientRefusesATokenThatSaysAnythingElseThanWasAskedFor(t *testing.T) {
	asked := token.Dataplane{Mesh: "default", Name: "dp-1", Type: "dataplane", Workload: "shop",
		Tags: map[string][]string{"kuma.io/service": {"backend", "web"}, "version": {"1"}}}
	for name, c := range map[string]struct {
		change   func(*token.Dataplane)
		validFor time.Duration
		says     string // empty: accepted
	}{
		"the same":                   {func(*token.Dataplane) {}, time.Hour, ""},
		"values in another order":    {func(d *token.Dataplane) { d.Tags["kuma.io/service"] = []string{"web", "backend"} }, time.Hour, ""},
		"a shorter lifetime":         {func(*token.Dataplane) {}, time.Minute, ""},
		"a clock that differs":       {func(*token.Dataplane) {}, time.Hour + time.Minute, ""},
		"a server without workloads": {func(d *token.Dataplane) { d.Workload = "" }, time.Hour, "lacks the workload"},
		"a server without types":     {func(d *token.Dataplane) { d.Type = "" }, time.Hour, "lacks the type"},
		"no name":                    {func(d *token.Dataplane) { d.Name = "" }, time.Hour, "lacks the name"},
		"another name":               {func(d *token.Dataplane) { d.Name = "dp-2" }, time.Hour, "another name"},
		"another mesh":               {func(d *token.Dataplane) { d.Mesh = "other" }, time.Hour, "another mesh"},
		"no tags":                    {func(d *token.Dataplane) { d.Tags = nil }, time.Hour, "other tags"},
		"a tag less":                 {func(d *token.Dataplane) { delete(d.Tags, "version") }, time.Hour, "other tags"},
		"a tag more":                 {func(d *token.Dataplane) { d.Tags["a"] = []string{"b"} }, time.Hour, "other tags"},
		"another value":              {func(d *token.Dataplane) { d.Tags["version"] = []string{"2"} }, time.Hour, "other tags"},
		"a value more":               {func(d *token.Dataplane) { d.Tags["version"] = []string{"1", "2"} }, time.Hour, "other tags"},
		"a longer lifetime":          {func(*token.Dataplane) {}, 2 * time.Hour, "longer than was asked for"},
		"the lifetime of ten years":  {func(*token.Dataplane) {}, 87600 * time.Hour, "longer than was asked for"},
	} {
		t.Run(name, func(t *testing.T) {
			got := asked.Clone()
			c.change(&got)
			raw := tokenWith(t, got, c.validFor)
			issued, err := answering(t, 200, "text/plain; charset=utf-8", raw+"\n").IssueDataplane(t.Context(), asked, time.Hour)
			if c.says == "" {
				require.NoError(t, err)
				assert.Equal(t, raw, issued.Token)
				return
			}
			assert.ErrorIs(t, err, httpapi.ErrAnswer)
			assert.ErrorContains(t, err, c.says)
			assert.NotContains(t, err.Error(), raw)
			assert.Empty(t, issued)
		})
	}

	zones, err := zone.NewOfflineIssuer(testKey(0), "1")
	require.NoError(t, err)
	made, err := zones.Issue(quiet(t), token.Zone{Zone: "west", Scope: []string{"cp", "ingress"}}, time.Hour)
	require.NoError(t, err)
	client := answering(t, 200, "text/plain", made.Token)
	_, err = client.IssueZone(t.Context(), token.Zone{Zone: "west", Scope: []string{"ingress", "cp"}}, time.Hour)
	assert.NoError(t, err)
	for says, claims := range map[string]token.Zone{
		"other scopes": {Zone: "west", Scope: []string{"cp"}}, "another zone": {Zone: "east", Scope: []string{"cp", "ingress"}},
	} {
		_, err = client.IssueZone(t.Context(), claims, time.Hour)
		assert.ErrorContains(t, err, says)
	}
	_, err = client.IssueDataplane(t.Context(), token.Dataplane{Mesh: "west"}, time.Hour)
	assert.ErrorIs(t, err, httpapi.ErrAnswer, "a token of the other kind")
	_, err = answering(t, 200, "text/plain", "of Kuma 3.0, without a scope").IssueZone(t.Context(), token.Zone{Zone: "west"}, time.Hour)
	assert.ErrorIs(t, err, token.ErrNotIssuable, "it is not even asked for")
}

func TestClientTakesNoOtherSuccessThanThePromisedOne(t *testing.T) {
	ctx := t.Context()
	for _, status := range []int{200, 201, 202, 206} {
		client := answering(t, status, "application/json", "")
		for name, err := range map[string]error{
			"revoke": client.RevokeDataplane(ctx, "default", "id"), "restore": client.RestoreDataplane(ctx, "default", "id"),
			"revoke zone": client.RevokeZone(ctx, "id"), "restore zone": client.RestoreZone(ctx, "id"),
		} {
			assert.ErrorIs(t, err, httpapi.ErrAnswer, "%s, %d", name, status)
			assert.ErrorContains(t, err, "want 204", name)
			assert.NotErrorIs(t, err, token.ErrUnavailable, name)
		}
	}
	for _, status := range []int{201, 202, 203, 206} {
		_, err := answering(t, status, "application/json", `{"ids":[]}`).RevokedZone(ctx)
		assert.ErrorContains(t, err, "want 200")
		_, err = answering(t, status, "application/json", `{"keys":[]}`).ZoneKeys(ctx)
		assert.ErrorContains(t, err, "want 200")
		_, err = answering(t, status, "text/plain", tokenWith(t, token.Dataplane{Mesh: "default"}, time.Hour)).IssueDataplane(ctx, token.Dataplane{Mesh: "default"}, time.Hour)
		assert.ErrorContains(t, err, "want 200")
	}
}

func TestClientTrimsItsBearerTokenAndRefusesOneThatNoHeaderTakes(t *testing.T) {
	var got string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"ids":[]}`)
	}))
	defer server.Close()
	for bearer, says := range map[string]string{
		"user-token": "", "user-token\n": "", " \tuser-token\r\n": "", "": "is empty", " \n": "is empty",
		"\ufeffuser-token\r\n": "", "\xff\xfeu\x00s\x00": "save it as UTF-8", "\x00u\x00s": "save it as UTF-8",
		"user token": "byte 4 of the bearer token", "user\ntoken": "byte 4", "usér": "byte 2", "user\x00": "byte 4",
	} {
		got = ""
		client, err := httpapi.NewClient(server.URL, nil, httpapi.WithBearer(func(context.Context) (string, error) { return bearer, nil }))
		require.NoError(t, err)
		_, err = client.RevokedZone(t.Context())
		if says == "" {
			require.NoError(t, err)
			assert.Equal(t, "Bearer user-token", got)
			continue
		}
		assert.ErrorContains(t, err, says, "%q", bearer)
		assert.NotErrorIs(t, err, token.ErrUnavailable)
		assert.Empty(t, got)
	}
}

func TestClientErrorsNeverHoldTheBearerTokenWhateverTheServerSends(t *testing.T) {
	const secret = "s3cr3t.b34r3r.t0k3n"
	for name, answer := range map[string]string{
		"in the transfer encoding": "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n",
		"in the content length":    "HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n",
		"in a header of no form":   "HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n",
		"in the status line":       "HTTP/1.1 " + secret + "\r\n\r\n",
		"in the protocol":          secret + "\r\n\r\n",
		"as an id":                 "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{\"ids\":[\"a\",\" " + secret + "\"]}",
		"as the type":              "HTTP/1.1 200 OK\r\nContent-Type: " + secret + "\r\nConnection: close\r\n\r\n{\"ids\":[]}",
		"as half of an answer":     "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + secret,
		"as the answer":            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n" + secret,
		"as a redirect":            "HTTP/1.1 302 Found\r\nLocation: http://" + secret + "/\r\nConnection: close\r\n\r\n",
		"as an error":              "HTTP/1.1 400 " + secret + "\r\nConnection: close\r\n\r\n{\"title\":\"" + secret + "\",\"detail\":\"" + secret + "\"}",
	} {
		t.Run(name, func(t *testing.T) {
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			defer listener.Close()
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
						_, _ = io.WriteString(conn, answer)
					}
					conn.Close()
				}
			}()
			client, err := httpapi.NewClient("http://"+listener.Addr().String(), nil,
				httpapi.WithBearer(func(context.Context) (string, error) { return " " + secret + "\n", nil }))
			require.NoError(t, err)
			_, listErr := client.RevokedZone(t.Context())
			_, keysErr := client.ZoneKeys(t.Context())
			_, issueErr := client.IssueDataplane(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
			for _, err := range []error{listErr, keysErr, issueErr, client.RevokeZone(t.Context(), "a")} {
				require.Error(t, err)
				for at := err; at != nil; at = errors.Unwrap(at) {
					assert.NotContains(t, fmt.Sprintf("%v %+v %#v %q", at, at, at, at), secret)
				}
			}
		})
	}
}

func TestClientDoesNotBelieveAnAnswerThatIsNone(t *testing.T) {
	ctx := t.Context()
	for name, body := range map[string]string{
		"empty": "", "a page": "<html><body>log in</body></html>", "JSON": `{"token":"a.b.c"}`, "two tokens": "a.b.c\na.b.c",
		"too long": strings.Repeat("a", 1<<20), "not a token": "YQ.YQ", "null": "null", "a list": "[]", "an object": "{}",
	} {
		client := answering(t, 200, "text/plain", body)
		_, err := client.IssueDataplane(ctx, token.Dataplane{Mesh: "default"}, time.Hour)
		assert.ErrorIs(t, err, httpapi.ErrAnswer, name)
		assert.NotErrorIs(t, err, token.ErrInvalid, name)
		assert.NotErrorIs(t, err, token.ErrUnavailable, "%s: to ask again does not help", name)
		_, err = client.RevokedZone(ctx)
		assert.ErrorIs(t, err, httpapi.ErrAnswer, name)
		_, err = client.ZoneKeys(ctx)
		assert.ErrorIs(t, err, httpapi.ErrAnswer, name)
	}
	for _, body := range []string{`{"ids":null}`, `{"ids":"a"}`, `{"ids":[1]}`, `{"ids":["a"`} {
		_, err := answering(t, 200, "application/json", body).RevokedZone(ctx)
		assert.ErrorIs(t, err, httpapi.ErrAnswer, body)
	}
}

func TestClientRefusesAnAnswerThatIsTooLong(t *testing.T) {
	w := newWorld(t)
	_, set := w.do(t, "GET", "/jwks/zone", "")
	_, err := answering(t, 200, "application/json", set+strings.Repeat(" ", 1<<20-len(set))).ZoneKeys(t.Context())
	assert.NoError(t, err)
	_, err = answering(t, 200, "application/json", set+strings.Repeat(" ", 1<<20)).ZoneKeys(t.Context())
	assert.ErrorIs(t, err, httpapi.ErrAnswer)
}

func TestClientRefusesAKeySetThatIsNotSound(t *testing.T) {
	w := newWorld(t)
	_, good := w.do(t, "GET", "/jwks/zone", "")
	var set struct{ Keys []map[string]string }
	require.NoError(t, json.Unmarshal([]byte(good), &set))
	one := func(changes ...string) string {
		key := map[string]string{}
		for name, value := range set.Keys[0] {
			key[name] = value
		}
		for i := 0; i < len(changes); i += 2 {
			key[changes[i]] = changes[i+1]
		}
		data, err := json.Marshal(key)
		require.NoError(t, err)
		return string(data)
	}
	fetch := func(keys ...string) ([]httpapi.PublicKey, error) {
		return answering(t, 200, "application/json", `{"keys":[`+strings.Join(keys, ",")+`]}`).ZoneKeys(t.Context())
	}
	for _, keys := range [][]string{
		{one(), one()}, {one("kid", "")}, {one("kid", "a\nb")}, {one("n", "")}, {one("n", "AQAB")}, {one("n", "+/+/")}, {one("n", set.Keys[0]["n"]+"=")},
		{one("e", "")}, {one("e", "Aw")}, {one("e", "AQABAQAB")}, {one("e", "!")}, {one(), one("kid", "2", "e", "Aw")},
	} {
		_, err := fetch(keys...)
		assert.ErrorIs(t, err, httpapi.ErrAnswer, "%s", keys)
	}
	keys, err := fetch(one(), one("kid", "2", "kty", "EC"), one("kid", "3", "use", "enc"), one("kid", "4", "alg", "PS256"), one("kid", "5", "x", "y"))
	require.NoError(t, err)
	require.Len(t, keys, 2, "keys for other uses are passed over")
	assert.Equal(t, "1", keys[0].KeyID)
	assert.Equal(t, "5", keys[1].KeyID)
	keys, err = fetch()
	require.NoError(t, err)
	assert.Empty(t, keys)
}

func TestClientFollowsNoRedirect(t *testing.T) {
	reached := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }))
	defer other.Close()
	server := httptest.NewServer(http.RedirectHandler(other.URL+"/tokens/zone", http.StatusTemporaryRedirect))
	defer server.Close()
	followed := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return nil }}
	client, err := httpapi.NewClient(server.URL, followed, httpapi.WithBearer(func(context.Context) (string, error) { return "user-token", nil }))
	require.NoError(t, err)
	_, err = client.IssueZone(t.Context(), token.Zone{Zone: "west", Scope: []string{"cp"}}, time.Hour)
	var e *httpapi.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, 307, e.Status)
	assert.False(t, reached)
	assert.NotContains(t, err.Error(), "user-token")
}

func TestClientBoundsAndQuotesAnErrorThatIsNotOfTheAPI(t *testing.T) {
	ctx := t.Context()
	client := answering(t, 502, "text/html", "<html>"+strings.Repeat("x", 1<<20))
	_, err := client.RevokedZone(ctx)
	assert.ErrorIs(t, err, token.ErrUnavailable)
	assert.Equal(t, `httpapi: 502 "Bad Gateway": ""`, err.Error())

	hostile, marshalErr := json.Marshal(map[string]any{"title": "a\nlevel=INFO msg=forged\x1b[31m", "detail": strings.Repeat("d", 50_000), "status": 200})
	require.NoError(t, marshalErr)
	_, err = answering(t, 403, "application/json", string(hostile)).RevokedZone(ctx)
	assert.ErrorIs(t, err, token.ErrDenied)
	assert.NotContains(t, err.Error(), "\n")
	assert.NotContains(t, err.Error(), "\x1b")
	assert.Less(t, len(err.Error()), 2000)

	// Of an error without an end no more than 64 KiB is read.
	endless := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(403)
		_, err := io.WriteString(w, `{"title":"`)
		for ; err == nil; _, err = io.WriteString(w, strings.Repeat("t", 1<<10)) {
		}
	}))
	defer endless.Close()
	client, err = httpapi.NewClient(endless.URL, nil)
	require.NoError(t, err)
	_, err = client.RevokedZone(ctx)
	assert.EqualError(t, err, `httpapi: 403 "Forbidden": ""`)
}

func TestClientRefusesWhatCannotBe(t *testing.T) {
	for _, base := range []string{"", "control-plane:5682", "ftp://host", "https://", "https://host?x=1", "https://host?", "https://host#x", "https://user:secret@host", "https://host:port", ":"} {
		_, err := httpapi.NewClient(base, nil)
		require.Error(t, err, base)
		assert.NotContains(t, err.Error(), "secret")
	}
	_, err := httpapi.NewClient("https://host", nil, nil)
	assert.ErrorContains(t, err, "an option is nil")
	_, err = httpapi.NewClient("https://host", nil, httpapi.WithBearer(nil))
	assert.ErrorContains(t, err, "the function is nil")

	// Nothing of this is sent.
	asked := false
	client, err := httpapi.NewClient("https://host", &http.Client{Transport: roundTrip(func(*http.Request) (*http.Response, error) {
		asked = true
		return nil, errors.New("sent")
	})})
	require.NoError(t, err)
	ctx := t.Context()
	for _, mesh := range []string{"", "*", "a/b", "..", "a?b", "a b", "%2e"} {
		_, err = client.RevokedDataplane(ctx, mesh)
		assert.ErrorIs(t, err, keystore.ErrName, mesh)
		_, err = client.DataplaneKeys(ctx, mesh)
		assert.ErrorIs(t, err, keystore.ErrName, mesh)
		assert.ErrorIs(t, client.RevokeDataplane(ctx, mesh, "a"), keystore.ErrName, mesh)
		assert.ErrorIs(t, client.RestoreDataplane(ctx, mesh, "a"), keystore.ErrName, mesh)
		_, err = client.MakeGlobalList(ctx, mesh)
		assert.ErrorIs(t, err, keystore.ErrName, mesh)
	}
	assert.ErrorIs(t, client.RevokeZone(ctx, "a,b"), revocation.ErrID)
	assert.ErrorIs(t, client.RestoreZone(ctx, ""), revocation.ErrID)
	assert.False(t, asked)

	bearer := errors.New("the vault is closed")
	client, err = httpapi.NewClient("https://host", nil, httpapi.WithBearer(func(context.Context) (string, error) { return "", bearer }))
	require.NoError(t, err)
	_, err = client.ZoneKeys(ctx)
	assert.ErrorIs(t, err, bearer)
}

func TestClientTakesAServerThatDoesNotAnswerAsUnavailable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	client, err := httpapi.NewClient(server.URL, nil, httpapi.WithBearer(func(context.Context) (string, error) { return "user-token", nil }))
	require.NoError(t, err)
	_, err = client.ZoneKeys(t.Context())
	assert.ErrorIs(t, err, token.ErrUnavailable)
	assert.NotContains(t, err.Error(), "user-token")

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = client.ZoneKeys(ended)
	assert.ErrorIs(t, err, context.Canceled)

	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, `{"ids":["a"]}`)
	}))
	defer broken.Close()
	client, err = httpapi.NewClient(broken.URL, nil)
	require.NoError(t, err)
	_, err = client.RevokedZone(t.Context())
	assert.ErrorIs(t, err, token.ErrUnavailable, "half an answer is no shorter list")
}

// A client certificate needs nothing but the http.Client's own settings.
func TestClientMayAuthenticateByCertificate(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if len(r.TLS.PeerCertificates) == 1 {
			r.Header.Set("As", "alice")
		}
		w.handler.ServeHTTP(rw, r)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	server.StartTLS()
	defer server.Close()
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	config := &tls.Config{RootCAs: roots, Certificates: server.TLS.Certificates}
	client, err := httpapi.NewClient(server.URL, &http.Client{Transport: &http.Transport{TLSClientConfig: config}})
	require.NoError(t, err)
	_, err = client.ZoneKeys(t.Context())
	assert.NoError(t, err)
	config = &tls.Config{RootCAs: roots}
	client, err = httpapi.NewClient(server.URL, &http.Client{Transport: &http.Transport{TLSClientConfig: config}})
	require.NoError(t, err)
	_, err = client.ZoneKeys(t.Context())
	assert.ErrorIs(t, err, httpapi.ErrUnauthenticated)
}

func TestClientErrorsNeverShowTheBearerTokenThatAServerEchoes(t *testing.T) {
	const secret = "s3c/r3t=="
	for name, write := range map[string]func(string) string{
		"as it is":     func(s string) string { return s },
		"with escapes": func(s string) string { return strings.NewReplacer("/", `\/`, "=", `\u003d`).Replace(s) },
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got := write(r.Header.Get("Authorization"))
			w.WriteHeader(http.StatusBadRequest)
			_, _ = fmt.Fprintf(w, `{"type":"%[1]s","title":"no %[1]s","detail":"bad header %[1]s","invalid_parameters":[{"field":"%[1]s","reason":"is %[1]s"}]}`, got)
		}))
		defer server.Close()
		client, err := httpapi.NewClient(server.URL, nil, httpapi.WithBearer(func(context.Context) (string, error) { return secret, nil }))
		require.NoError(t, err)
		_, err = client.RevokedZone(t.Context())
		assert.ErrorContains(t, err, "bad header Bearer (bearer)", name)
		assert.NotContains(t, fmt.Sprintf("%v %#v", err, err), secret, name)
		var e *httpapi.Error
		require.ErrorAs(t, err, &e)
		assert.NotContains(t, fmt.Sprintf("%#v", *e), secret, name)
	}
}

func TestClientRefusesAListWithWhatIsNoID(t *testing.T) {
	for _, body := range []string{`{"ids":[null]}`, `{"ids":["a b"]}`, `{"ids":["a","\n"]}`} {
		_, err := answering(t, http.StatusOK, "application/json", body).RevokedZone(t.Context())
		assert.ErrorIs(t, err, httpapi.ErrAnswer, body)
	}
}
