package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestHandlerServesNothingWithoutAnAuthoriser(t *testing.T) {
	store := keystore.NewMemory()
	dataplanes, err := dataplane.NewIssuer(store)
	require.NoError(t, err)
	zones, err := zone.NewIssuer(store)
	require.NoError(t, err)
	allow := func(*http.Request, httpapi.Request) (string, error) { return "alice", nil }

	_, err = httpapi.New(store, dataplanes, zones, nil)
	assert.ErrorContains(t, err, "the authoriser is nil")
	_, err = httpapi.New(store, dataplanes, zones, nil, httpapi.WithPublicKeySets())
	assert.ErrorContains(t, err, "the authoriser is nil")
	_, err = httpapi.New(nil, dataplanes, zones, allow)
	assert.ErrorContains(t, err, "the store is nil")
	_, err = httpapi.New(store, nil, zones, allow)
	assert.ErrorContains(t, err, "an issuer is nil")
	_, err = httpapi.New(store, dataplanes, nil, allow)
	assert.ErrorContains(t, err, "an issuer is nil")
	_, err = httpapi.New(store, dataplanes, zones, allow, nil)
	assert.ErrorContains(t, err, "an option is nil")
	_, err = httpapi.New(store, dataplanes, zones, allow, httpapi.WithLogger(nil))
	assert.ErrorContains(t, err, "the logger is nil")
}

func TestHandlerIssuesATokenThatHoldsWhatWasAskedFor(t *testing.T) {
	w := newWorld(t)
	validator, err := dataplane.NewValidator(w.store)
	require.NoError(t, err)
	defer validator.Close()
	zones, err := zone.NewValidator(w.store)
	require.NoError(t, err)
	defer zones.Close()

	_, raw := w.do(t, "POST", "/tokens/dataplane",
		`{"name":"dp-1","mesh":"default","tags":{"kuma.io/service":["backend","backend-admin"]},"type":"dataplane","workload":"shop","validFor":"24h"}`)
	verified, err := validator.Validate(t.Context(), "default", raw)
	require.NoError(t, err)
	assert.Equal(t, token.Dataplane{Mesh: "default", Name: "dp-1", Type: "dataplane", Workload: "shop",
		Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}}}, verified.Claims())
	assert.WithinDuration(t, time.Now().Add(24*time.Hour), verified.Registered().ExpiresAt, time.Minute)

	_, raw = w.do(t, "POST", "/tokens/zone", `{"zone":"west","scope":["cp","egress"],"validFor":"1h"}`)
	west, err := zones.Validate(t.Context(), "west", zone.ScopeEgress, raw)
	require.NoError(t, err)
	assert.Equal(t, token.Zone{Zone: "west", Scope: []string{"cp", "egress"}}, west.Claims())
}

func TestHandlerIssuesATokenForTenYearsUnlessTheRequestSaysForHowLong(t *testing.T) {
	w := newWorld(t)
	for _, body := range []string{`{"mesh":"default"}`, `{"mesh":"default","validFor":""}`, `{"mesh":"default","validFor":null}`} {
		answer, raw := w.do(t, "POST", "/tokens/dataplane", body)
		require.Equal(t, 200, answer.StatusCode, raw)
		assert.Equal(t, 87600*time.Hour, w.asked.last(t).ValidFor)
		u, err := token.ParseUnverified(raw)
		require.NoError(t, err)
		claims, err := u.Claims()
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now().Add(87600*time.Hour), claims.ExpiresAt, time.Minute)
	}
}

func TestHandlerShowsTheAuthoriserTheWholeRequest(t *testing.T) {
	w := newWorld(t)
	for _, c := range []struct {
		method, path, body string
		want               httpapi.Request
	}{
		{"POST", "/tokens/dataplane", `{"name":"dp-1","mesh":"default","tags":{"a":["b"]},"type":"dataplane","workload":"y","validFor":"90m"}`,
			httpapi.Request{Action: httpapi.Issue, Kind: token.KindDataplane, Mesh: "default", ValidFor: 90 * time.Minute,
				Dataplane: token.Dataplane{Mesh: "default", Name: "dp-1", Type: "dataplane", Workload: "y", Tags: map[string][]string{"a": {"b"}}}}},
		{"POST", "/tokens/zone", `{"zone":"west","scope":["cp"],"validFor":"1h"}`,
			httpapi.Request{Action: httpapi.Issue, Kind: token.KindZone, ValidFor: time.Hour, Zone: token.Zone{Zone: "west", Scope: []string{"cp"}}}},
		{"GET", "/revocations/dataplane/default", "", httpapi.Request{Action: httpapi.List, Kind: token.KindDataplane, Mesh: "default"}},
		{"HEAD", "/revocations/zone", "", httpapi.Request{Action: httpapi.List, Kind: token.KindZone}},
		{"POST", "/revocations/dataplane/default", `{"ids":["a","b"]}`,
			httpapi.Request{Action: httpapi.Revoke, Kind: token.KindDataplane, Mesh: "default", TokenIDs: []string{"a", "b"}}},
		{"DELETE", "/revocations/zone", `{"ids":["a"]}`, httpapi.Request{Action: httpapi.Restore, Kind: token.KindZone, TokenIDs: []string{"a"}}},
		{"POST", "/revocations/zone/restore", `{"ids":["a"]}`, httpapi.Request{Action: httpapi.Restore, Kind: token.KindZone, TokenIDs: []string{"a"}}},
		{"POST", "/revocations/dataplane/default/restore", `{"ids":["a"]}`,
			httpapi.Request{Action: httpapi.Restore, Kind: token.KindDataplane, Mesh: "default", TokenIDs: []string{"a"}}},
		{"POST", "/revocations/dataplane/restore", `{"ids":["a"]}`,
			httpapi.Request{Action: httpapi.Revoke, Kind: token.KindDataplane, Mesh: "restore", TokenIDs: []string{"a"}}},
		{"POST", "/revocations/dataplane/lists", `{"ids":["a"]}`,
			httpapi.Request{Action: httpapi.Revoke, Kind: token.KindDataplane, Mesh: "lists", TokenIDs: []string{"a"}}},
		{"POST", "/revocations/dataplane/default/lists", `{"scope":"global"}`,
			httpapi.Request{Action: httpapi.MakeGlobalList, Kind: token.KindDataplane, Mesh: "default"}},
		{"GET", "/jwks/dataplane/default", "", httpapi.Request{Action: httpapi.Keys, Kind: token.KindDataplane, Mesh: "default"}},
		{"GET", "/jwks/dataplane/%64efault", "", httpapi.Request{Action: httpapi.Keys, Kind: token.KindDataplane, Mesh: "default"}},
		{"HEAD", "/jwks/zone", "", httpapi.Request{Action: httpapi.Keys, Kind: token.KindZone}},
	} {
		answer, text := w.do(t, c.method, c.path, c.body)
		require.Less(t, answer.StatusCode, 300, text)
		assert.Equal(t, c.want, w.asked.last(t))
	}
	assert.Len(t, w.asked.all(), 14, "once for each request")
}

// everyRequest is a good one for each thing that the handler does.
var everyRequest = [][3]string{
	{"POST", "/tokens/dataplane", `{"mesh":"default"}`},
	{"POST", "/tokens/zone", `{"zone":"west","scope":["cp"]}`},
	{"GET", "/revocations/dataplane/default", ""},
	{"POST", "/revocations/dataplane/default", `{"ids":["an-id"]}`},
	{"DELETE", "/revocations/dataplane/default", `{"ids":["an-id"]}`},
	{"POST", "/revocations/dataplane/default/restore", `{"ids":["an-id"]}`},
	{"POST", "/revocations/dataplane/default/lists", `{"scope":"global"}`},
	{"GET", "/revocations/zone", ""},
	{"POST", "/revocations/zone", `{"ids":["an-id"]}`},
	{"POST", "/revocations/zone/restore", `{"ids":["an-id"]}`},
	{"DELETE", "/revocations/zone", `{"ids":["an-id"]}`},
	{"GET", "/jwks/dataplane/default", ""},
	{"GET", "/jwks/zone", ""},
	{"GET", "/keys/dataplane/default", ""},
	{"POST", "/keys/dataplane/default", `{}`},
	{"POST", "/keys/dataplane/default/first", `{}`},
	{"POST", "/keys/dataplane/default/remove", `{"kid":"1","force":true}`},
	{"GET", "/keys/zone", ""},
	{"POST", "/keys/zone", `{"bits":2048}`},
	{"POST", "/keys/zone/first", `{}`},
	{"POST", "/keys/zone/remove", `{"kid":"1","force":true}`},
}

func TestHandlerTouchesNothingThatTheAuthoriserRefuses(t *testing.T) {
	for user, status := range map[string]int{"": 401, "bob": 403, "mallory": 403, "nobody": 403, "slow": 503} {
		w := newWorld(t)
		for _, c := range everyRequest {
			answer, text := w.do(t, c[0], c[1], c[2], "As", user)
			assert.Equal(t, status, answer.StatusCode, "%s %s as %q", c[0], c[1], user)
			assert.NotContains(t, text, "culprits")
		}
		assert.Zero(t, w.issued())
		assert.Zero(t, w.store.reads())
		list, err := w.store.Memory.List(t.Context(), keystore.AllScopes, "")
		require.NoError(t, err)
		assert.Len(t, list, 2, "only the keys are there")
		assert.Equal(t, len(everyRequest), w.log.Count("audit: not done"), "each refusal is an event")
	}
}

func TestHandlerAllowsNothingWhenTheAuthoriserPanics(t *testing.T) {
	w := newWorld(t)
	var err error
	w.handler, err = httpapi.New(w.store, w.dataplanes, w.zones, func(*http.Request, httpapi.Request) (string, error) { panic("of the operator's code") },
		httpapi.WithLogger(w.log.Logger()))
	require.NoError(t, err)
	for _, c := range everyRequest {
		assert.PanicsWithValue(t, "of the operator's code", func() { w.do(t, c[0], c[1], c[2]) }, "%s %s", c[0], c[1])
	}
	assert.Zero(t, w.issued())
	assert.Zero(t, w.store.reads())
	assert.Zero(t, w.log.Count("audit: done"))
}

func TestHandlerLetsOnlyPublicKeysBeDeclaredPublic(t *testing.T) {
	w := newWorld(t, httpapi.WithPublicKeySets())
	for _, c := range everyRequest {
		answer, _ := w.do(t, c[0], c[1], c[2], "As", "")
		want := 401
		if strings.HasPrefix(c[1], "/jwks") {
			want = 200
		}
		assert.Equal(t, want, answer.StatusCode, "%s %s", c[0], c[1])
	}
}

func TestAuditHasAnEventWithItsActorForEveryDecision(t *testing.T) {
	w := newWorld(t, httpapi.WithRules(httpapi.AsKuma210()))
	_, raw := w.do(t, "POST", "/tokens/dataplane", `{"name":"dp-1","mesh":"default"}`)
	u, err := token.ParseUnverified(raw)
	require.NoError(t, err)
	claims, err := u.Claims()
	require.NoError(t, err)
	assert.Equal(t, 1, w.log.Count("audit: done", "action=issue", "actor=alice", "mesh=default", "name=dp-1", "jti="+claims.ID, "kid=1"))

	w.do(t, "POST", "/revocations/dataplane/default", `{"ids":["`+claims.ID+`"]}`)
	assert.Equal(t, 1, w.log.Count("audit: done", "action=revoke", "actor=alice", "kind=dataplane", "mesh=default", "jti="+claims.ID))
	w.do(t, "DELETE", "/revocations/dataplane/default", `{"ids":["`+claims.ID+`"]}`)
	assert.Equal(t, 1, w.log.Count("audit: done", "action=restore", "actor=alice", "jti="+claims.ID))

	w.do(t, "POST", "/revocations/dataplane/default/lists", `{"scope":"global"}`)
	assert.Equal(t, 1, w.log.Count("audit: done", `action="make global list"`, "actor=alice", "mesh=default"))
	w.do(t, "POST", "/revocations/dataplane/default/lists", `{"scope":"global"}`, "As", "bob")
	assert.Equal(t, 1, w.log.Count("audit: not done", `action="make global list"`, "actor=bob", "mesh=default"))

	w.do(t, "POST", "/tokens/dataplane", `{"name":"dp-1","mesh":"default"}`, "As", "mallory")
	assert.Equal(t, 1, w.log.Count("audit: not done", "action=issue", "actor=mallory", "mesh=default", "name=dp-1", "the secret list"))
	w.do(t, "POST", "/tokens/dataplane", `{"mesh":"default","type":"ingress","workload":"shop","tags":{"region":["eu"]}}`, "As", "bob")
	assert.Equal(t, 1, w.log.Count("audit: not done", "action=issue", "actor=bob", "type=ingress", "workload=shop", `tags="{\"region\":[\"eu\"]}"`))
	w.do(t, "POST", "/tokens/zone", `{"zone":"west","scope":["cp"]}`, "As", "bob")
	assert.Equal(t, 1, w.log.Count("audit: not done", "action=issue", "actor=bob", "kind=zone", "zone=west", "scope=cp", "on holiday"))
	w.do(t, "POST", "/tokens/dataplane", `{"mesh":"default","validFor":"-1h"}`)
	assert.Equal(t, 1, w.log.Count("audit: not done", "action=issue", "mesh=default", "validFor is -1h0m0s"))
	w.do(t, "POST", "/tokens/dataplane", `{"mesh":"prod"}`)
	assert.Equal(t, 1, w.log.Count("audit: not done", "action=issue", "actor=alice", "mesh=prod"), "by the issuer, and not twice")
	assert.Zero(t, w.log.Count(raw), "lines with a token")
}

func TestAuditHasOneEventForARefusedRequestHoweverManyIDsItHas(t *testing.T) {
	w := newWorld(t)
	ids := strings.TrimSuffix(strings.Repeat(`"x",`, 200_000), ",")
	answer, _ := w.do(t, "POST", "/revocations/zone", `{"ids":[`+ids+`]}`, "As", "")
	assert.Equal(t, 401, answer.StatusCode)
	assert.Equal(t, 1, w.log.Count(""))
	assert.Equal(t, 1, w.log.Count("audit: not done", "jti=x"))
	assert.Less(t, len(w.log.String()), 4<<10)
}

func TestHandlerUsesTheLogOfTheContextUnlessItHasItsOwn(t *testing.T) {
	store := keystore.NewMemory()
	dataplanes, err := dataplane.NewDisabledIssuer()
	require.NoError(t, err)
	zones, err := zone.NewDisabledIssuer()
	require.NoError(t, err)
	api, err := httpapi.New(store, dataplanes, zones, func(*http.Request, httpapi.Request) (string, error) { return "alice", nil })
	require.NoError(t, err)
	var log logtest.Buffer
	r := httptest.NewRequestWithContext(audit.WithLogger(t.Context(), log.Logger()), "POST", "/revocations/zone", strings.NewReader(`{"ids":["an-id"]}`))
	r.Header.Set("Content-Type", "application/json")
	api.ServeHTTP(httptest.NewRecorder(), r)
	assert.Equal(t, 1, log.Count("audit: done", "action=revoke", "actor=alice", "jti=an-id"))
}

func TestHandlerLogsTheCauseOfAFailureAndDoesNotTellIt(t *testing.T) {
	w := newWorld(t)
	w.store.set(fmt.Errorf("dial 10.1.2.3: refused"), false)
	for _, c := range everyRequest {
		answer, text := w.do(t, c[0], c[1], c[2])
		assert.Equal(t, 503, answer.StatusCode, "%s %s", c[0], c[1])
		assert.NotContains(t, text, "10.1.2.3")
	}
	assert.Equal(t, len(everyRequest), w.log.Count("request failed", "10.1.2.3"))
}

func TestHandlerTakesAClientThatIsGoneAsNoFailure(t *testing.T) {
	w := newWorld(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range everyRequest {
		r := httptest.NewRequestWithContext(gone, c[0], c[1], strings.NewReader(c[2]))
		r.Header.Set("As", "alice")
		r.Header.Set("Content-Type", "application/json")
		w.answer(t, r)
	}
	assert.Zero(t, w.log.Count("request failed"))
}

func TestHandlerDoesNotWaitForAHangingStoreForEver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.store.set(nil, true)
		for _, c := range everyRequest {
			began := time.Now()
			answer, _ := w.do(t, c[0], c[1], c[2])
			assert.Equal(t, 503, answer.StatusCode, "%s %s", c[0], c[1])
			assert.LessOrEqual(t, time.Since(began), 10*time.Second)
		}
	})
}

func TestHandlerFindsNoKeysOfAMeshThatTheStoreCannotHold(t *testing.T) {
	w := newWorld(t)
	w.store.refuse = keystore.ErrName
	answer, text := w.do(t, "POST", "/tokens/dataplane", `{"mesh":"Prod"}`)
	assert.Equal(t, 404, answer.StatusCode, text)
	answer, text = w.do(t, "GET", "/jwks/dataplane/Prod", "")
	assert.Equal(t, 404, answer.StatusCode, text)
	answer, text = w.do(t, "GET", "/revocations/dataplane/Prod", "")
	assert.Equal(t, 200, answer.StatusCode, text)
	assert.JSONEq(t, `{"ids":[],"lists":[]}`, text)
	answer, text = w.do(t, "POST", "/revocations/dataplane/Prod", `{"ids":["an-id"]}`)
	assert.Equal(t, 400, answer.StatusCode, text)
	assert.Contains(t, text, "is not a name that the store accepts")
}

func TestHandlerMatchesPathsExactly(t *testing.T) {
	w := newWorld(t)
	for path, status := range map[string]int{
		"/":                                     404,
		"/tokens":                               404,
		"/tokens/dataplane/":                    200,
		"/tokens/dataplane//":                   404,
		"/tokens/zone/":                         400,
		"/tokens/zone//":                        404,
		"/tokens/dataplane/restore":             404,
		"/tokens/":                              404,
		"/tokens/dataplane/default":             404,
		"/tokens//dataplane":                    404,
		"//tokens/dataplane":                    404,
		"/Tokens/dataplane":                     404,
		"/tokens%2fdataplane":                   404,
		"/x/../tokens/dataplane":                404,
		"/revocations":                          404,
		"/revocations/dataplane":                404,
		"/revocations/dataplane/":               404,
		"/revocations/dataplane/default/":       404,
		"/revocations/dataplane/default/x":      404,
		"/revocations/zone/":                    404,
		"/revocations/zone/default":             404,
		"/revocations/dataplane/default%2fx":    400,
		"/revocations/dataplane/%2e%2e":         400,
		"/revocations/dataplane/*":              400,
		"/revocations/dataplane/%00":            400,
		"/revocations/dataplane/" + long("m"):   400,
		"/jwks/dataplane/de%20fault":            400,
		"/jwks/zone/1":                          404,
		"/jwks":                                 404,
		"/jwks/dataplane/default?mesh=other":    200,
		"/revocations/dataplane/default?x=%00y": 200,
	} {
		method := "GET"
		if strings.HasPrefix(path, "/tokens") {
			method = "POST"
		}
		answer, text := w.do(t, method, path, `{"mesh":"default"}`)
		assert.Equal(t, status, answer.StatusCode, "%s: %s", path, text)
		if status >= 400 {
			assertIsError(t, answer, text)
		}
	}
}

func long(text string) string { return strings.Repeat(text, 200) }

// assertIsError checks the form that every error has.
func assertIsError(t testing.TB, answer *http.Response, text string) {
	t.Helper()
	assert.Equal(t, "application/json", answer.Header.Get("Content-Type"))
	assert.Equal(t, "no-store", answer.Header.Get("Cache-Control"))
	var e httpapi.Error
	if assert.NoError(t, json.Unmarshal([]byte(text), &e), "%s", text) {
		assert.Equal(t, "/std-errors", e.Type)
		assert.Equal(t, answer.StatusCode, e.Status)
		assert.NotEmpty(t, e.Title)
		assert.NotEmpty(t, e.Detail)
	}
}

func TestHandlerRefusesOtherMethodsWithThoseThatAreAllowed(t *testing.T) {
	w := newWorld(t)
	for path, allowed := range map[string]string{
		"/tokens/zone":              "POST",
		"/revocations/zone":         "DELETE, GET, HEAD, POST",
		"/revocations/zone/restore": "POST",
		"/jwks/zone":                "GET, HEAD",

		"/revocations/dataplane/default/lists": "POST",
	} {
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "get"} {
			if strings.Contains(allowed, method) {
				continue
			}
			answer, text := w.do(t, method, path, "")
			assert.Equal(t, 405, answer.StatusCode, "%s %s", method, path)
			assert.Equal(t, allowed, answer.Header.Get("Allow"))
			assertIsError(t, answer, text)
		}
	}
	assert.Empty(t, w.asked.all())
}

func TestHandlerMayBeMountedBelowAPrefix(t *testing.T) {
	w := newWorld(t)
	w.handler = http.StripPrefix("/mesh", w.handler)
	answer, text := w.do(t, "POST", "/mesh/tokens/dataplane", `{"mesh":"default"}`)
	assert.Equal(t, 200, answer.StatusCode, text)
	answer, text = w.do(t, "GET", "/mesh/revocations/dataplane/a%2fb", "")
	assert.Equal(t, 400, answer.StatusCode, text)
}

func TestHandlerKeepsRevocationsOfMeshesAndZonesApart(t *testing.T) {
	w := newWorld(t)
	ids := func(path string) []string {
		_, text := w.do(t, "GET", path, "")
		var got struct{ IDs []string }
		require.NoError(t, json.Unmarshal([]byte(text), &got))
		return got.IDs
	}
	w.do(t, "POST", "/revocations/dataplane/default", `{"ids":["b","a"]}`)
	w.do(t, "POST", "/revocations/dataplane/default-2", `{"ids":["c"]}`)
	w.do(t, "POST", "/revocations/zone", `{"ids":["d"]}`)
	for range 2 { // revoking again changes nothing
		answer, _ := w.do(t, "POST", "/revocations/dataplane/default", `{"ids":["a"]}`)
		assert.Equal(t, 204, answer.StatusCode)
		assert.Equal(t, []string{"a", "b"}, ids("/revocations/dataplane/default"))
		assert.Equal(t, []string{"c"}, ids("/revocations/dataplane/default-2"))
		assert.Equal(t, []string{"d"}, ids("/revocations/zone"))
	}
	answer, _ := w.do(t, "DELETE", "/revocations/dataplane/default", `{"ids":["a","d","unknown"]}`)
	assert.Equal(t, 204, answer.StatusCode)
	assert.Equal(t, []string{"b"}, ids("/revocations/dataplane/default"))
	assert.Equal(t, []string{"d"}, ids("/revocations/zone"))
}

func TestHandlerListsIDsOfAnyForm(t *testing.T) {
	w := newWorld(t)
	hard := []string{`"`, `\`, `<script>`, `&`, `{}`, "6BAF2C90-0E86-4C62-97A7-7835855834BC", long("i")}
	body, err := json.Marshal(map[string][]string{"ids": hard})
	require.NoError(t, err)
	answer, text := w.do(t, "POST", "/revocations/zone", string(body))
	require.Equal(t, 204, answer.StatusCode, text)
	_, text = w.do(t, "GET", "/revocations/zone", "")
	var got struct{ IDs []string }
	require.NoError(t, json.Unmarshal([]byte(text), &got))
	assert.ElementsMatch(t, hard, got.IDs)
}

func TestHandlerListsAMillionIDs(t *testing.T) {
	w := newWorld(t)
	var list strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&list, "%08x-0000-4000-8000-000000000000,", i)
	}
	ref := revocation.Zone()
	put(t, w.store, ref.Scope, ref.Name, []byte(list.String()))
	answer, text := w.do(t, "GET", "/revocations/zone", "")
	require.Equal(t, 200, answer.StatusCode)
	assert.True(t, json.Valid([]byte(text)))
	assert.Equal(t, 1_000_000, strings.Count(text, "-0000-4000-"))
}
