package httpapi_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

var cutAt = time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC)

func TestCutoffsAreAddedListedAndRemovedByTheClient(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	client, err := httpapi.NewClient(server.URL, as("alice", http.DefaultTransport))
	require.NoError(t, err)
	ctx := quiet(t)

	of := dataplane.Cutoff{Before: cutAt.Add(-time.Millisecond), Name: "dp-1"}
	whole := dataplane.Cutoff{Before: cutAt, Name: "dp-1"}
	inForce, err := client.CutOffDataplane(ctx, "default", of)
	require.NoError(t, err)
	assert.Equal(t, whole, inForce)
	earlier := whole
	earlier.Before = cutAt.Add(-time.Hour)
	inForce, err = client.CutOffDataplane(ctx, "default", earlier)
	require.NoError(t, err)
	assert.Equal(t, whole, inForce, "the later one stays")
	all, floor, err := client.CutoffsDataplane(ctx, "default")
	require.NoError(t, err)
	assert.Equal(t, []dataplane.Cutoff{whole}, all)
	assert.Zero(t, floor)
	stored, err := dataplane.Cutoffs(ctx, w.store, "default")
	require.NoError(t, err)
	assert.Equal(t, all, stored)
	none, _, err := client.CutoffsZone(ctx)
	require.NoError(t, err)
	assert.Empty(t, none)

	require.NoError(t, client.RemoveCutoffDataplane(ctx, "default", earlier))
	all, _, err = client.CutoffsDataplane(ctx, "default")
	require.NoError(t, err)
	assert.Len(t, all, 1, "a cutoff with another moment stays")
	require.NoError(t, client.RemoveCutoffDataplane(ctx, "default", of))
	all, _, err = client.CutoffsDataplane(ctx, "default")
	require.NoError(t, err)
	assert.Empty(t, all)

	pruned, err := zone.PruneRevocations(ctx, w.store, 24*time.Hour, false)
	require.NoError(t, err)
	west := zone.Cutoff{Before: cutAt, Zone: "west"}
	inZone, err := client.CutOffZone(ctx, west)
	require.NoError(t, err)
	assert.Equal(t, west, inZone)
	zones, floor, err := client.CutoffsZone(ctx)
	require.NoError(t, err)
	assert.Equal(t, []zone.Cutoff{west}, zones)
	assert.Equal(t, pruned.Floor, floor)
	require.NoError(t, client.RemoveCutoffZone(ctx, west))

	_, err = client.CutOffDataplane(ctx, "", whole)
	assert.ErrorIs(t, err, keystore.ErrName)
}

func TestCutoffsAreActionsOfTheirOwnAndTheAuthoriserSeesTheCutoff(t *testing.T) {
	c := revocation.Cutoff{Before: cutAt, Workload: "backend"}
	for _, x := range []struct {
		method, path, body string
		want               httpapi.Request
	}{
		{"GET", "/cutoffs/dataplane/default", "", httpapi.Request{Action: httpapi.ListCutoffs, Kind: token.KindDataplane, Mesh: "default"}},
		{"HEAD", "/cutoffs/zone", "", httpapi.Request{Action: httpapi.ListCutoffs, Kind: token.KindZone}},
		{"POST", "/cutoffs/dataplane/default", `{"before":"2026-11-29T11:00:00+01:00","workload":"backend"}`,
			httpapi.Request{Action: httpapi.CutOff, Kind: token.KindDataplane, Mesh: "default", Cutoff: c}},
		{"POST", "/cutoffs/dataplane/remove", `{"before":"2026-11-29T10:00:00Z","workload":"backend"}`,
			httpapi.Request{Action: httpapi.CutOff, Kind: token.KindDataplane, Mesh: "remove", Cutoff: c}},
		{"POST", "/cutoffs/zone/remove", `{"before":"2026-11-29T10:00:00Z","kid":"1"}`,
			httpapi.Request{Action: httpapi.RemoveCutoff, Kind: token.KindZone, Cutoff: revocation.Cutoff{Before: cutAt, KeyID: "1"}}},
	} {
		w := newWorld(t)
		answer, body := w.do(t, x.method, x.path, x.body)
		assert.Less(t, answer.StatusCode, 300, body)
		assert.Equal(t, x.want, w.asked.last(t))

		for user, status := range map[string]int{"bob": 403, "": 401} {
			w = newWorld(t)
			answer, _ = w.do(t, x.method, x.path, x.body, "As", user)
			assert.Equal(t, status, answer.StatusCode)
			cutoffs, err := dataplane.Cutoffs(t.Context(), w.store, "default")
			require.NoError(t, err)
			assert.Empty(t, cutoffs)
			assert.Contains(t, w.log.String(), `action="`+string(x.want.Action)+`"`, "a refusal is an audit event")
		}
	}
}

func TestCutoffsThatCannotBeAreInvalidRequestsAndTheAuthoriserIsNotAsked(t *testing.T) {
	ahead := time.Now().Add(2*token.Skew + time.Minute).UTC().Format(time.RFC3339)
	for _, x := range []struct{ path, body, field string }{
		{"/cutoffs/dataplane/default", `{"name":"dp-1"}`, "before"},
		{"/cutoffs/dataplane/default", `{}`, "before"},
		{"/cutoffs/dataplane/default", `{"before":null}`, "before"},
		{"/cutoffs/dataplane/default", `{"before":"now"}`, "before"},
		{"/cutoffs/dataplane/default", `{"before":"0000-01-01T00:00:00+23:00"}`, "before"},
		{"/cutoffs/dataplane/default", `{"before":"2026-11-29T10:00:00"}`, "before"},
		{"/cutoffs/dataplane/default", `{"before":"` + ahead + `"}`, "before"},
		{"/cutoffs/dataplane/default", `{"before":"2026-11-29T10:00:00Z","name":"a","workload":"b"}`, "workload"},
		{"/cutoffs/dataplane/default/remove", `{"before":"2026-11-29T10:00:00Z","name":"a","kid":"1"}`, "kid"},
		{"/cutoffs/zone", `{"before":"2026-11-29T10:00:00Z","zone":"a","kid":"1"}`, "kid"},
		{"/cutoffs/zone/remove", `{"zone":"a"}`, "before"},
		{"/cutoffs/dataplane/default", `{"before":"2026-11-29T10:00:00Z","zone":"west"}`, ""},
		{"/cutoffs/zone", `{"before":"2026-11-29T10:00:00Z","name":"a"}`, ""},
		{"/cutoffs/zone", `{"before":"2026-11-29T10:00:00Z","Zone":"a"}`, ""},
		{"/cutoffs/zone", `{"before":"2026-11-29T10:00:00Z","before":"2026-11-29T10:00:00Z"}`, ""},
		{"/cutoffs/zone", `{"before":1}`, ""},
		{"/cutoffs/zone", ``, ""},
	} {
		w := newWorld(t)
		answer, body := w.do(t, "POST", x.path, x.body)
		assert.Equal(t, http.StatusBadRequest, answer.StatusCode, x.body)
		var e httpapi.Error
		require.NoError(t, json.Unmarshal([]byte(body), &e))
		assert.Equal(t, "Invalid request", e.Title)
		if x.field != "" {
			require.Len(t, e.InvalidParameters, 1, x.body)
			assert.Equal(t, x.field, e.InvalidParameters[0].Field)
		}
		assert.Empty(t, w.asked.all())
	}
	w := newWorld(t)
	for path, allow := range map[string]string{"/cutoffs/zone": "GET, HEAD, POST", "/cutoffs/zone/remove": "POST"} {
		answer, _ := w.do(t, "DELETE", path, `{"before":"2026-11-29T10:00:00Z"}`)
		assert.Equal(t, http.StatusMethodNotAllowed, answer.StatusCode)
		assert.Equal(t, allow, answer.Header.Get("Allow"))
	}
	for _, path := range []string{"/cutoffs", "/cutoffs/dataplane/", "/cutoffs/zone/restore", "/cutoffs/zone/remove/x", "/revocations/zone/remove", "/jwks/zone/remove"} {
		answer, _ := w.do(t, "POST", path, `{"before":"2026-11-29T10:00:00Z"}`)
		assert.Equal(t, http.StatusNotFound, answer.StatusCode, path)
	}
}

func TestCutoffsThatCannotBeReadAreNeverAnEmptyAnswer(t *testing.T) {
	w := newWorld(t)
	put(t, w.store, "default", "dataplane-token-cutoffs-default", []byte(`{"before":"now"}`))
	server := httptest.NewServer(w.handler)
	defer server.Close()
	client, err := httpapi.NewClient(server.URL, as("alice", http.DefaultTransport))
	require.NoError(t, err)
	ctx := quiet(t)
	_, _, err = client.CutoffsDataplane(ctx, "default")
	require.ErrorIs(t, err, revocation.ErrUnreadable)
	assert.ErrorContains(t, err, "Cutoffs unreadable")
	_, err = client.CutOffDataplane(ctx, "default", dataplane.Cutoff{Before: cutAt})
	require.ErrorIs(t, err, revocation.ErrUnreadable)
	require.ErrorIs(t, client.RemoveCutoffDataplane(ctx, "default", dataplane.Cutoff{Before: cutAt}), revocation.ErrUnreadable)
	var e *httpapi.Error
	_, err = client.CutOffDataplane(ctx, "default", dataplane.Cutoff{Before: time.Now().Add(time.Hour)})
	require.True(t, errors.As(err, &e))
	assert.Equal(t, http.StatusBadRequest, e.Status)
}

func TestClientTakesNoAnswerForACutoffThatDoesNotCoverTheOneAskedFor(t *testing.T) {
	for _, body := range []string{
		`{}`, `{"before":"x"}`, `[]`,
		`{"before":"2026-11-29T09:59:59Z","name":"dp-1"}`,
		`{"before":"2026-11-29T10:00:00Z"}`,
		`{"before":"2026-11-29T10:00:00Z","name":"dp-2"}`,
		`{"before":"2026-11-29T10:00:00Z","name":"dp-1","kid":"1"}`,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body))
		}))
		client, err := httpapi.NewClient(server.URL, nil)
		require.NoError(t, err)
		_, err = client.CutOffDataplane(t.Context(), "default", dataplane.Cutoff{Before: cutAt, Name: "dp-1"})
		assert.ErrorIs(t, err, httpapi.ErrAnswer, body)
		_, _, err = client.CutoffsDataplane(t.Context(), "default")
		assert.ErrorIs(t, err, httpapi.ErrAnswer, body)
		server.Close()
	}
}
