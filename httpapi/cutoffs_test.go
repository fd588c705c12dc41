package httpapi_test

import (
	"context"
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
		{"POST", "/cutoffs/dataplane/default", `{"before":"now","workload":"backend"}`,
			httpapi.Request{Action: httpapi.CutOff, Kind: token.KindDataplane, Mesh: "default", UntilNow: true, Cutoff: revocation.Cutoff{Workload: "backend"}}},
		{"POST", "/cutoffs/zone", `{"before":"now","dryRun":true}`,
			httpapi.Request{Action: httpapi.CutOff, Kind: token.KindZone, UntilNow: true, DryRun: true}},
		{"POST", "/cutoffs/zone", `{"before":"2026-11-29T10:00:00Z","dryRun":false,"kid":"1"}`,
			httpapi.Request{Action: httpapi.CutOff, Kind: token.KindZone, Cutoff: revocation.Cutoff{Before: cutAt, KeyID: "1"}}},
		{"POST", "/revocations/dataplane/default/prune", `{"lifetime":"2160h"}`,
			httpapi.Request{Action: httpapi.Prune, Kind: token.KindDataplane, Mesh: "default", Lifetime: 2160 * time.Hour}},
		{"POST", "/revocations/zone/prune", `{"lifetime":"1h30m","dryRun":true}`,
			httpapi.Request{Action: httpapi.Prune, Kind: token.KindZone, Lifetime: 90 * time.Minute, DryRun: true}},
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
			assert.Regexp(t, `action="?`+string(x.want.Action)+`"? `, w.log.String(), "a refusal is an audit event")
		}
	}
}

func TestCutoffsThatCannotBeAreInvalidRequestsAndTheAuthoriserIsNotAsked(t *testing.T) {
	ahead := time.Now().Add(2*token.Skew + time.Minute).UTC().Format(time.RFC3339)
	for _, x := range []struct{ path, body, field string }{
		{"/cutoffs/dataplane/default", `{"name":"dp-1"}`, "before"},
		{"/cutoffs/dataplane/default", `{}`, "before"},
		{"/cutoffs/dataplane/default", `{"before":null}`, "before"},
		{"/cutoffs/dataplane/default/remove", `{"before":"now"}`, "before"},
		{"/cutoffs/dataplane/default", `{"before":"NOW"}`, "before"},
		{"/cutoffs/dataplane/default", `{"before":"now","name":"a","kid":"1"}`, "kid"},
		{"/cutoffs/dataplane/default", `{"before":"now","dryRun":"true"}`, "dryRun"},
		{"/cutoffs/dataplane/default", `{"before":"now","dryRun":1}`, "dryRun"},
		{"/cutoffs/dataplane/default", `{"before":"now","dryRun":null}`, "dryRun"},
		{"/revocations/dataplane/default/prune", `{"lifetime":"1h","dryRun":null}`, "dryRun"},
		{"/cutoffs/dataplane/default", `{"before":"now","name":""}`, "name"}, // of a variable that is not set
		{"/cutoffs/dataplane/default", `{"before":"now","workload":null}`, "workload"},
		{"/cutoffs/dataplane/default", `{"before":"now","kid":"1","workload":""}`, "workload"},
		{"/cutoffs/dataplane/default/remove", `{"before":"2026-11-29T10:00:00Z","name":""}`, "name"},
		{"/cutoffs/dataplane/default", `{"before":"now","kid":["1"]}`, "kid"},
		{"/cutoffs/zone", `{"before":"now","zone":""}`, "zone"},
		{"/cutoffs/zone/remove", `{"before":"2026-11-29T10:00:00Z","kid":null}`, "kid"},
		{"/cutoffs/dataplane/default/remove", `{"before":"2026-11-29T10:00:00Z","dryRun":true}`, "dryRun"},
		{"/revocations/dataplane/default/prune", `{}`, "lifetime"},
		{"/revocations/dataplane/default/prune", `{"lifetime":"90d"}`, "lifetime"},
		{"/revocations/dataplane/default/prune", `{"lifetime":"0s","dryRun":true}`, "lifetime"},
		{"/revocations/zone/prune", `{"lifetime":"-1h"}`, "lifetime"},
		{"/revocations/zone/prune", `{"lifetime":"300000000h"}`, "lifetime"},
		{"/revocations/zone/prune", `{"lifetime":"1h","dry_run":true}`, "dry_run"},
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
	for path, allow := range map[string]string{"/cutoffs/zone": "GET, HEAD, POST", "/cutoffs/zone/remove": "POST", "/revocations/zone/prune": "POST"} {
		answer, _ := w.do(t, "DELETE", path, `{"before":"2026-11-29T10:00:00Z"}`)
		assert.Equal(t, http.StatusMethodNotAllowed, answer.StatusCode)
		assert.Equal(t, allow, answer.Header.Get("Allow"))
	}
	for _, path := range []string{"/cutoffs", "/cutoffs/dataplane/", "/cutoffs/zone/restore", "/cutoffs/zone/remove/x", "/revocations/zone/remove", "/jwks/zone/remove", "/cutoffs/zone/prune", "/revocations/zone/prune/x"} {
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

// liveWorld is a world whose process has an open session with a dataplane token of name
// dp-1 and workload backend, and one with a zone token of zone west. Both tokens are an
// hour old.
func liveWorld(t *testing.T) (*world, *httpapi.Client, [2]context.Context) {
	w := newWorld(t)
	dataplanes, err := dataplane.NewValidator(w.store, dataplane.WithLogger(w.log.Logger()))
	require.NoError(t, err)
	zones, err := zone.NewValidator(w.store, zone.WithLogger(w.log.Logger()))
	require.NoError(t, err)
	t.Cleanup(func() { _, _ = dataplanes.Close(), zones.Close() })
	w.serve(t, w.dataplanes, w.zones, httpapi.WithDataplaneValidators(dataplanes), httpapi.WithZoneValidators(zones))
	server := httptest.NewServer(w.handler)
	t.Cleanup(server.Close)
	client, err := httpapi.NewClient(server.URL, as("alice", http.DefaultTransport))
	require.NoError(t, err)

	earlier := func() time.Time { return time.Now().Add(-time.Hour) }
	proxies, err := dataplane.NewOfflineIssuer(testKey(0), "1", dataplane.WithClock(earlier))
	require.NoError(t, err)
	ofProxy, err := proxies.Issue(quiet(t), token.Dataplane{Mesh: "default", Name: "dp-1", Workload: "backend"}, 2*time.Hour)
	require.NoError(t, err)
	proxy, err := dataplanes.Validate(t.Context(), "default", ofProxy.Token)
	require.NoError(t, err)
	ofZones, err := zone.NewOfflineIssuer(testKey(1), "1", zone.WithClock(earlier))
	require.NoError(t, err)
	ofZone, err := ofZones.Issue(quiet(t), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, 2*time.Hour)
	require.NoError(t, err)
	west, err := zones.Validate(t.Context(), "west", zone.ScopeCP, ofZone.Token)
	require.NoError(t, err)
	var sessions [2]context.Context
	var stop context.CancelFunc
	sessions[0], stop = proxy.Bind(t.Context())
	t.Cleanup(stop)
	sessions[1], stop = west.Bind(t.Context())
	t.Cleanup(stop)
	return w, client, sessions
}

func TestADryRunOfACutoffSaysWhatItWouldEndAndChangesNothing(t *testing.T) {
	w, client, sessions := liveWorld(t)
	ctx := quiet(t)
	for subject, ends := range map[dataplane.Cutoff]int{{}: 1, {Name: "dp-1"}: 1, {Name: "dp-2"}: 0, {Workload: "backend"}: 1, {KeyID: "1"}: 1, {KeyID: "2"}: 0} {
		wouldBe, affected, err := client.PreviewCutoffDataplane(ctx, "default", subject)
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now().Add(token.Skew), wouldBe.Before, 10*time.Second)
		assert.Equal(t, ends, affected.Sessions)
		if subject == (dataplane.Cutoff{}) || subject.KeyID == "1" {
			require.Len(t, affected.Keys, 1)
			use := affected.Keys[0]
			assert.WithinDuration(t, time.Now(), use.LastUsed, time.Minute)
			assert.Equal(t, dataplane.KeyUse{Mesh: "default", KeyID: "1", Validations: 1, LastUsed: use.LastUsed, Sessions: 1}, use)
		} else {
			assert.Empty(t, affected.Keys)
		}
		wouldBe.Before = time.Time{}
		assert.Equal(t, subject, wouldBe)
	}
	for ago, ends := range map[time.Duration]int{2 * time.Hour: 0, time.Minute: 1} {
		before := time.Now().Add(-ago).UTC().Truncate(time.Second)
		wouldBe, affected, err := client.PreviewCutoffDataplane(ctx, "default", dataplane.Cutoff{Before: before.Add(-time.Millisecond)})
		require.NoError(t, err)
		assert.Equal(t, dataplane.Cutoff{Before: before}, wouldBe)
		assert.Equal(t, ends, affected.Sessions)
	}
	for subject, ends := range map[zone.Cutoff]int{{}: 1, {Zone: "west"}: 1, {Zone: "east"}: 0, {KeyID: "1"}: 1} {
		_, affected, err := client.PreviewCutoffZone(ctx, subject)
		require.NoError(t, err)
		assert.Equal(t, ends, affected.Sessions)
		assert.Equal(t, subject.Zone == "", len(affected.Keys) == 1)
	}
	assert.NotContains(t, w.log.String(), "cut off", "it is no audit event")
	_, err := w.store.Get(ctx, "default", revocation.DataplaneCutoffs("default").Name)
	require.ErrorIs(t, err, keystore.ErrNotFound)
	for _, session := range sessions {
		require.NoError(t, context.Cause(session))
	}

	until, _, err := client.PreviewCutoffDataplane(ctx, "default", dataplane.Cutoff{Name: "dp-1"})
	require.NoError(t, err)
	added, err := client.CutOffDataplane(ctx, "default", until)
	require.NoError(t, err)
	assert.Equal(t, until, added)
	<-sessions[0].Done()
	require.ErrorIs(t, context.Cause(sessions[0]), token.ErrRevoked)
	_, affected, err := client.PreviewCutoffDataplane(ctx, "default", dataplane.Cutoff{})
	require.NoError(t, err)
	assert.Zero(t, affected.Sessions)
}

func TestAServerWithoutValidatorsKnowsNoSessions(t *testing.T) {
	w := newWorld(t)
	answer, body := w.do(t, "POST", "/cutoffs/dataplane/default", `{"before":"2026-11-29T10:00:00Z","name":"dp-1","dryRun":true}`)
	assert.Equal(t, http.StatusOK, answer.StatusCode)
	assert.JSONEq(t, `{"before":"2026-11-29T10:00:00Z","name":"dp-1","dryRun":true}`, body)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	client, err := httpapi.NewClient(server.URL, as("alice", http.DefaultTransport))
	require.NoError(t, err)
	_, affected, err := client.PreviewCutoffZone(quiet(t), zone.Cutoff{})
	require.NoError(t, err)
	assert.Equal(t, zone.Affected{Sessions: -1}, affected)
	p, err := client.PruneZone(quiet(t), time.Hour, true)
	require.NoError(t, err)
	assert.Equal(t, -1, p.Sessions)
	_, err = httpapi.New(w.store, w.dataplanes, w.zones, w.authorize, httpapi.WithDataplaneValidators(nil))
	require.ErrorContains(t, err, "a validator is nil")
	_, err = httpapi.New(w.store, w.dataplanes, w.zones, w.authorize, httpapi.WithZoneValidators(nil))
	require.ErrorContains(t, err, "a validator is nil")
}

func TestACutoffUntilNowIsPastTheOneBeforeIt(t *testing.T) {
	w := newWorld(t)
	moment := func(body string) time.Time {
		var c struct{ Before time.Time }
		require.NoError(t, json.Unmarshal([]byte(body), &c))
		return c.Before
	}
	earlier := time.Now().Add(2*token.Skew - 10*time.Second).UTC().Truncate(time.Second)
	_, err := dataplane.CutOff(quiet(t), w.store, "default", dataplane.Cutoff{Before: earlier, KeyID: "1"})
	require.NoError(t, err)
	answer, body := w.do(t, "POST", "/cutoffs/dataplane/default", `{"before":"now","name":"dp-1"}`)
	require.Equal(t, http.StatusOK, answer.StatusCode, body)
	assert.Equal(t, earlier.Add(time.Second), moment(body))
	stored, err := dataplane.Cutoffs(t.Context(), w.store, "default")
	require.NoError(t, err)
	assert.Contains(t, stored, dataplane.Cutoff{Before: moment(body), Name: "dp-1"})

	far := time.Now().Add(3 * token.Skew).UTC().Format(time.RFC3339)
	put(t, w.store, keystore.Global, "zone-token-cutoffs", []byte(`{"before":"`+far+`"}`))
	answer, body = w.do(t, "POST", "/cutoffs/zone", `{"before":"now"}`)
	assert.Equal(t, http.StatusConflict, answer.StatusCode)
	assert.Contains(t, body, "can be made from")
	server := httptest.NewServer(w.handler)
	defer server.Close()
	client, err := httpapi.NewClient(server.URL, as("alice", http.DefaultTransport))
	require.NoError(t, err)
	_, _, err = client.PreviewCutoffZone(quiet(t), zone.Cutoff{Zone: "west"})
	assert.ErrorIs(t, err, revocation.ErrCutoff)
}

func TestPruningOverHTTPFirstSaysWhatItWouldDo(t *testing.T) {
	const old = "0192a000-0000-7000-8000-000000000001" // of version 7, of October 2024
	w, client, sessions := liveWorld(t)
	ctx := quiet(t)
	require.NoError(t, client.RevokeDataplane(ctx, "default", old, someID))
	dry, err := client.PruneDataplane(ctx, "default", 24*time.Hour, true)
	require.NoError(t, err)
	assert.WithinDuration(t, time.Now().Add(-24*time.Hour-15*time.Minute), dry.Floor, 10*time.Second)
	assert.Equal(t, revocation.Pruning{Floor: dry.Floor, Dropped: 1, Kept: 1}, dry)
	_, floor, err := client.CutoffsDataplane(ctx, "default")
	require.NoError(t, err)
	assert.Zero(t, floor)
	assert.NotContains(t, w.log.String(), `action=prune`)

	done, err := client.PruneDataplane(ctx, "default", 24*time.Hour, false)
	require.NoError(t, err)
	assert.Equal(t, revocation.Pruning{Floor: done.Floor, Dropped: 1, Kept: 1, Sessions: -1}, done)
	ids, err := client.RevokedDataplane(ctx, "default")
	require.NoError(t, err)
	assert.Equal(t, []string{someID}, ids)
	_, floor, err = client.CutoffsDataplane(ctx, "default")
	require.NoError(t, err)
	assert.Equal(t, done.Floor, floor)
	assert.Contains(t, w.log.String(), `action=prune actor=alice`)
	for _, session := range sessions {
		require.NoError(t, context.Cause(session))
	}

	for lifetime, sessions := range map[time.Duration]int{time.Minute: 1, time.Hour: 0} {
		p, err := client.PruneDataplane(ctx, "default", lifetime, true)
		require.NoError(t, err)
		assert.Equal(t, sessions, p.Sessions)
		p, err = client.PruneZone(ctx, lifetime, true)
		require.NoError(t, err)
		assert.Equal(t, sessions, p.Sessions)
	}
	_, err = client.PruneDataplane(ctx, "", time.Hour, true)
	require.ErrorIs(t, err, keystore.ErrName)
	replaced, err := w.store.Get(ctx, "default", revocation.DataplaneCutoffs("default").Name)
	require.NoError(t, err)
	replaced.Data = []byte("?")
	_, err = w.store.Update(ctx, replaced)
	require.NoError(t, err)
	_, err = client.PruneDataplane(ctx, "default", time.Hour, true)
	require.ErrorIs(t, err, revocation.ErrUnreadable)
	assert.ErrorContains(t, err, "the list or the cutoffs")
}

func TestClientTakesNoAnswerForADryRunThatDoesNotSayItWasOne(t *testing.T) {
	for _, body := range []string{
		`{}`, `[]`, `{"before":"2026-11-29T10:00:00Z","name":"dp-1"}`,
		`{"before":"x","name":"dp-1","dryRun":true}`,
		`{"before":"2026-11-29T10:00:00Z","dryRun":true}`,
		`{"before":"2026-11-29T10:00:01Z","name":"dp-1","dryRun":true}`,
		`{"before":"2026-11-29T10:00:00Z","name":"dp-1","dryRun":true,"sessions":-1}`,
		`{"before":"2026-11-29T10:00:00Z","name":"dp-1","dryRun":true,"keys":[{"kid":""}]}`,
		`{"idsBefore":"2026-11-29T10:00:00Z","dropped":1,"kept":1}`,
		`{"idsBefore":"2026-11-29T10:00:00Z","dropped":-1,"kept":1,"dryRun":true}`,
		`{"idsBefore":"x","dropped":1,"kept":1,"dryRun":true}`,
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte(body))
		}))
		client, err := httpapi.NewClient(server.URL, nil)
		require.NoError(t, err)
		_, _, err = client.PreviewCutoffDataplane(t.Context(), "default", dataplane.Cutoff{Before: cutAt, Name: "dp-1"})
		assert.ErrorIs(t, err, httpapi.ErrAnswer, body)
		_, err = client.PruneZone(t.Context(), time.Hour, true)
		assert.ErrorIs(t, err, httpapi.ErrAnswer, body)
		server.Close()
	}
}
