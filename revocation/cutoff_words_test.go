package revocation_test

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

func TestParseCutoffsSaysWhatIsWrongWithALine(t *testing.T) {
	for line, want := range map[string]string{
		"{\"before\":\"\xff\"}": "not valid UTF-8",
		`[]`:                    "not a JSON object",
		`an-id`:                 "not a JSON object",
		`{"a":"b" "c":"d"}`:     "not a JSON object",
		`{"before":1764410400}`: `member "before" is not a string`,
		`{"before":nope}`:       `member "before" is not a string`,
		`{"name":"a","name":"a","before":"2026-11-29T10:00:00Z"}`: `member "name" is there twice`,
		`{"before":"2026-11-29T10:00:00Z"`:                        "the JSON object does not end",
		`{"before":"2026-11-29T10:00:00Z"}{}`:                     "something follows the JSON object",
		`{"before":"2026-11-29T10:00:00Z","tags":"a"}`:            `unknown member "tags"`,
		`{"before":"today"}`:                                      `member "before": "today" is not a time as in RFC 3339, such as 2026-11-29T10:00:00Z`,
		`{"before":"2026-02-30T10:00:00Z"}`:                       `member "before": "2026-02-30T10:00:00Z" is not a time as in RFC 3339`,
		`{"before":"9999-12-31T23:59:59.1Z"}`:                     `member "before": "9999-12-31T23:59:59.1Z" is outside the years 0 to 9999 of UTC`,
		`{"idsBefore":"today"}`:                                   `member "idsBefore": "today" is not a time`,
		`{"before":"2026-11-29T10:00:00Z","name":""}`:             `member "name" is empty`,
		`{"idsBefore":"2026-11-29T10:00:00Z","name":"a"}`:         `other members beside "idsBefore"`,
		`{"name":"a"}`: "it has no moment before which tokens are revoked",
		`{"before":"2026-11-29T10:00:00Z","name":"a","workload":"b"}`: "it has name and workload, want at most one of them",
		`{"before":"2026-11-29T10:00:00Z","workload":"a","kid":"1"}`:  "it has workload and kid, want at most one of them",
		`{"before":"2026-11-29T10:00:00Z","zone":"west"}`:             "dataplane tokens have no zone",
		`{"before":"2026-11-29T10:00:00Z","name":"\ufffd"}`:           "its name is not valid UTF-8",
		`{"before":"2026-11-29T10:00:00Z","workload":"\ufffd"}`:       "its workload is not valid UTF-8",
		`{"before":"2026-11-29T10:00:00Z","kid":"\ufffd"}`:            "its kid is not valid UTF-8",
	} {
		_, err := revocation.ParseCutoffs(token.KindDataplane, []byte("\n"+line))
		require.ErrorIs(t, err, revocation.ErrUnreadable, line)
		require.ErrorContains(t, err, "line 2: ", line)
		require.ErrorContains(t, err, want, line)
	}
	for member, want := range map[string]string{"name": "zone tokens have no name", "workload": "zone tokens have no workload"} {
		_, err := revocation.ParseCutoffs(token.KindZone, []byte(`{"before":"2026-11-29T10:00:00Z","`+member+`":"a"}`))
		require.ErrorContains(t, err, want)
	}
	_, err := revocation.ParseCutoffs(token.KindZone, []byte(`{"before":"2026-11-29T10:00:00Z","zone":"\ufffd"}`))
	require.ErrorContains(t, err, "its zone is not valid UTF-8")
}

func TestACutoffSaysWhatItRevokes(t *testing.T) {
	in := time.FixedZone("", 3600)
	for want, c := range map[string]revocation.Cutoff{
		"all tokens issued before 2026-11-29T10:00:00Z":                      {Before: ten.In(in)},
		`tokens with the name "dp-1" issued before 2026-11-29T10:00:00Z`:     {Before: ten, Name: "dp-1"},
		`tokens with the workload "a\nb" issued before 2026-11-29T10:00:00Z`: {Before: ten, Workload: "a\nb"},
		`tokens with the zone "west" issued before 2026-11-29T10:00:00Z`:     {Before: ten, Zone: "west"},
		`tokens with the kid "key-1" issued before 2026-11-29T10:00:00Z`:     {Before: ten, KeyID: "key-1"},
	} {
		assert.Equal(t, want, c.String())
	}
	everything := revocation.NewCutoffs([]revocation.Cutoff{{Before: ten}}, time.Time{})
	assert.Equal(t, "a cutoff revokes all tokens issued before 2026-11-29T10:00:00Z", everything.Check("1", claimsAt(ten.Add(-1), "dp-1")))
	floor := revocation.NewCutoffs(nil, ten)
	assert.Equal(t, ten, floor.Floor())
	claims := claimsAt(ten.Add(time.Hour), "dp-1")
	claims.ID = id7(ten.Add(-time.Millisecond))
	assert.Equal(t, "its id is from before 2026-11-29T10:00:00Z, when the list of revoked ids begins", floor.Check("1", claims))
}

func TestCutoffsRoundAPartOfASecondUpToAWholeOne(t *testing.T) {
	for text, want := range map[string]time.Time{
		"2026-11-29T10:00:00Z":                  ten,
		"2026-11-29T10:00:00.000Z":              ten,
		"2026-11-29T10:00:00.0000000000000001Z": ten.Add(time.Second),
		"2026-11-29T10:00:01.7Z":                ten.Add(2 * time.Second),
		"2026-11-29T12:00:01.100+02:00":         ten.Add(2 * time.Second),
	} {
		at, err := revocation.ParseMoment(text)
		require.NoError(t, err)
		assert.Equal(t, want, at, text)
	}
	store, ref := keystore.NewMemory(), revocation.ZoneCutoffs()
	for part, want := range map[time.Duration]time.Duration{
		0: 0, 1: time.Second, 300 * time.Millisecond: time.Second, 700 * time.Millisecond: time.Second,
		time.Second: time.Second, 1500 * time.Millisecond: 2 * time.Second,
	} {
		given := revocation.Cutoff{Before: ten.Add(part), Zone: part.String()}
		whole := revocation.Cutoff{Before: ten.Add(want), Zone: part.String()}
		c := revocation.NewCutoffs([]revocation.Cutoff{given}, time.Time{})
		assert.Equal(t, []revocation.Cutoff{whole}, c.All())
		added, err := ref.Add(t.Context(), store, given)
		require.NoError(t, err)
		assert.Equal(t, whole, added)
		require.NoError(t, ref.Remove(t.Context(), store, given))
		left, err := ref.Load(t.Context(), store)
		require.NoError(t, err)
		assert.Zero(t, left.Len(), "the same moment is that of the same cutoff")
	}
}

func TestRecordsOfCutoffsHaveTheirNames(t *testing.T) {
	for name, want := range map[string]struct {
		kind token.Kind
		mesh string
		ok   bool
	}{
		"zone-token-cutoffs":              {token.KindZone, "", true},
		"dataplane-token-cutoffs-default": {token.KindDataplane, "default", true},
		"dataplane-token-cutoffs-a-b":     {token.KindDataplane, "a-b", true},
		"dataplane-token-cutoffs-":        {token.KindDataplane, "", false},
		"dataplane-token-cutoffs":         {token.KindDataplane, "dataplane-token-cutoffs", false},
		"zone-token-cutoffs-west":         {token.KindDataplane, "zone-token-cutoffs-west", false},
		"":                                {token.KindDataplane, "", false},
	} {
		kind, mesh, ok := revocation.ParseCutoffsName(name)
		assert.Equal(t, want.ok, ok, name)
		assert.Equal(t, want.kind, kind, name)
		assert.Equal(t, want.mesh, mesh, name)
	}
	assert.Equal(t, revocation.CutoffsRef{Scope: "default", Name: "dataplane-token-cutoffs-default"}, revocation.DataplaneCutoffs("default"))
	assert.Equal(t, revocation.CutoffsRef{Scope: keystore.Global, Name: "dataplane-token-cutoffs-default"}, revocation.DataplaneCutoffsGlobal("default"))
	assert.Equal(t, revocation.CutoffsRef{Scope: keystore.Global, Name: "zone-token-cutoffs"}, revocation.ZoneCutoffs())
	assert.Equal(t, "dataplane-token-cutoffs-", revocation.CutoffsPrefix(token.KindDataplane))
	assert.Equal(t, "zone-token-cutoffs", revocation.CutoffsPrefix(token.KindZone))
	for _, ref := range []revocation.CutoffsRef{revocation.DataplaneCutoffs(""), revocation.DataplaneCutoffsGlobal("")} {
		_, err := ref.Add(t.Context(), keystore.NewMemory(), revocation.Cutoff{Before: ten})
		assert.ErrorIs(t, err, keystore.ErrName, "no mesh has it")
	}
}

func TestNilCutoffsAreNone(t *testing.T) {
	var none *revocation.Cutoffs
	assert.Zero(t, none.Len())
	assert.Empty(t, none.All())
	assert.True(t, none.Floor().IsZero())
	assert.True(t, none.Latest("1", claimsAt(ten, "dp-1")).IsZero())
	assert.Empty(t, none.Lacking())
	some := revocation.NewCutoffs([]revocation.Cutoff{{Before: ten}}, time.Time{})
	assert.Equal(t, some.All(), some.Lacking(none))
}

func TestLatestIsTheMomentOfTheLastCutoffThatConcernsAToken(t *testing.T) {
	c := revocation.NewCutoffs([]revocation.Cutoff{
		{Before: ten}, {Before: ten.Add(3 * time.Hour), Name: "dp-1"}, {Before: ten.Add(2 * time.Hour), KeyID: "7"}, {Before: ten.Add(time.Hour), Workload: "backend"},
	}, time.Time{})
	assert.Equal(t, 4, c.Len())
	other := claimsAt(ten, "dp-2")
	other.Dataplane.Workload = "shop"
	assert.Equal(t, ten, c.Latest("1", other))
	assert.Equal(t, ten.Add(2*time.Hour), c.Latest("7", other))
	assert.Equal(t, ten.Add(time.Hour), c.Latest("1", claimsAt(ten, "dp-2")))
	assert.Equal(t, ten.Add(3*time.Hour), c.Latest("7", claimsAt(ten, "dp-1")))
}

func TestLackingReturnsTheCutoffsThatNoOtherCovers(t *testing.T) {
	all, named := revocation.Cutoff{Before: ten}, revocation.Cutoff{Before: ten, Name: "dp-1"}
	c := revocation.NewCutoffs([]revocation.Cutoff{all, named}, time.Time{})
	with := func(list ...revocation.Cutoff) *revocation.Cutoffs { return revocation.NewCutoffs(list, time.Time{}) }
	assert.Equal(t, []revocation.Cutoff{all, named}, c.Lacking())
	assert.Equal(t, []revocation.Cutoff{named}, c.Lacking(with(all)), "another subject")
	assert.Empty(t, c.Lacking(with(all), with(named)))
	later, earlier := all, all
	later.Before, earlier.Before = ten.Add(time.Second), ten.Add(-time.Second)
	assert.Equal(t, []revocation.Cutoff{named}, c.Lacking(with(later)), "a later one covers it")
	assert.Equal(t, []revocation.Cutoff{all, named}, c.Lacking(with(earlier)))
}

// audited returns a context and what is written to its audit log.
func audited(t *testing.T) (context.Context, *bytes.Buffer) {
	var log bytes.Buffer
	return audit.WithLogger(t.Context(), slog.New(slog.NewTextHandler(&log, nil))), &log
}

func TestCutoffsAndPruningsAreAuditEvents(t *testing.T) {
	ctx, log := audited(t)
	says := func(parts ...string) {
		t.Helper()
		assert.Equal(t, 1, strings.Count(log.String(), "\n"), "one event: %s", log)
		for _, part := range parts {
			assert.Contains(t, log.String(), part)
		}
		log.Reset()
	}
	store, mesh, zones := keystore.NewMemory(), revocation.DataplaneCutoffs("default"), revocation.ZoneCutoffs()
	for what, c := range map[string]revocation.Cutoff{
		"name=dp-1": {Before: ten.Add(time.Millisecond), Name: "dp-1"}, "workload=backend": {Before: ten.Add(time.Millisecond), Workload: "backend"},
		"kid=7": {Before: ten.Add(time.Millisecond), KeyID: "7"},
	} {
		_, err := mesh.Add(ctx, store, c)
		require.NoError(t, err)
		says("audit: done", `action="cut off"`, "kind=dataplane", "mesh=default", "before=2026-11-29T10:00:01Z", what)
		require.NoError(t, mesh.Remove(ctx, store, c))
		says("audit: done", `action="remove cutoff"`, "kind=dataplane", "mesh=default", "before=2026-11-29T10:00:01Z", what)
	}
	_, err := zones.Add(ctx, store, revocation.Cutoff{Before: ten, Zone: "west"})
	require.NoError(t, err)
	says(`action="cut off"`, "kind=zone", "zone=west")
	_, err = zones.Add(ctx, store, revocation.Cutoff{Before: ten, Name: "dp-1"})
	require.ErrorIs(t, err, revocation.ErrCutoff)
	says("audit: not done", `action="cut off"`, "name=dp-1", "reason=", "zone tokens have no name")

	put(t, store, revocation.Ref(zones), "damaged")
	require.ErrorIs(t, zones.Remove(ctx, store, revocation.Cutoff{Before: ten}), revocation.ErrUnreadable)
	says("audit: not done", `action="remove cutoff"`, "kind=zone", "reason=")

	list := revocation.Dataplane("default")
	require.NoError(t, list.Add(ctx, store, id7(time.Now().Add(-3*time.Hour)), id7(time.Now())))
	log.Reset()
	_, err = revocation.Prune(ctx, store, list, mesh, time.Hour, true)
	require.NoError(t, err)
	assert.Empty(t, log.String(), "a dry run is none")
	p, err := revocation.Prune(ctx, store, list, mesh, time.Hour, false)
	require.NoError(t, err)
	says("audit: done", "action=prune", "kind=dataplane", "mesh=default", "dropped=1", "before="+p.Floor.Format(time.RFC3339))
}

func TestErrorsAboutCutoffsNameTheRecord(t *testing.T) {
	ctx, _ := audited(t)
	store := keystore.NewMemory()
	for ref, name := range map[revocation.CutoffsRef]string{
		revocation.DataplaneCutoffs("default"): `cutoffs "dataplane-token-cutoffs-default" in scope "default"`,
		revocation.ZoneCutoffs():               `cutoffs "zone-token-cutoffs" in the global scope`,
	} {
		put(t, store, revocation.Ref(ref), "damaged")
		_, err := ref.Load(ctx, store)
		require.ErrorIs(t, err, revocation.ErrUnreadable)
		assert.ErrorContains(t, err, "loading "+name)
		_, err = ref.Add(ctx, store, revocation.Cutoff{Before: ten})
		require.ErrorIs(t, err, revocation.ErrUnreadable)
		assert.ErrorContains(t, err, "adding to "+name)
		err = ref.Remove(ctx, store, revocation.Cutoff{Before: ten})
		require.ErrorIs(t, err, revocation.ErrUnreadable)
		assert.ErrorContains(t, err, "removing from "+name)
		_, _, err = ref.Keep(ctx, store, revocation.NewCutoffs([]revocation.Cutoff{{Before: ten}}, time.Time{}))
		require.ErrorIs(t, err, revocation.ErrUnreadable)
		assert.ErrorContains(t, err, "adding to "+name)
	}
	_, err := revocation.Prune(ctx, store, revocation.Dataplane("default"), revocation.DataplaneCutoffs("default"), time.Hour, true)
	require.ErrorIs(t, err, revocation.ErrUnreadable, "so are the cutoffs")
	for _, lifetime := range []time.Duration{0, -1} {
		_, err := revocation.Prune(ctx, store, revocation.Zone(), revocation.ZoneCutoffs(), lifetime, true)
		require.ErrorIs(t, err, revocation.ErrCutoff)
		assert.ErrorContains(t, err, "a lifetime of "+lifetime.String()+", want more than 0")
	}
}

func TestKeepAddsWhatIsNotInForceAndWritesNothingElse(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.DataplaneCutoffs("default")
	keep := func(floor time.Time, list ...revocation.Cutoff) ([]revocation.Cutoff, bool) {
		t.Helper()
		added, lower, err := ref.Keep(t.Context(), store, revocation.NewCutoffs(list, floor))
		require.NoError(t, err)
		return added, lower
	}
	version := func() string {
		t.Helper()
		return string(get(t, store, revocation.Ref(ref)).Version)
	}
	added, lower := keep(time.Time{})
	assert.Empty(t, added)
	assert.False(t, lower)
	_, err := store.Get(t.Context(), ref.Scope, ref.Name)
	require.ErrorIs(t, err, keystore.ErrNotFound, "nothing to keep makes no record")

	all, named := revocation.Cutoff{Before: ten}, revocation.Cutoff{Before: ten, Name: "<&>"}
	added, lower = keep(time.Time{}, all)
	assert.Equal(t, []revocation.Cutoff{all}, added)
	assert.False(t, lower)
	added, lower = keep(ten, all, named)
	assert.Equal(t, []revocation.Cutoff{named}, added)
	assert.True(t, lower)
	assert.Contains(t, string(get(t, store, revocation.Ref(ref)).Data), `"<&>"`, "as it was written")
	before := version()
	added, lower = keep(ten, all, named)
	assert.Empty(t, added)
	assert.False(t, lower)
	added, lower = keep(ten.Add(-time.Hour), named)
	assert.Empty(t, added)
	assert.False(t, lower)
	assert.Equal(t, before, version(), "nothing was written")
	added, lower = keep(ten.Add(time.Hour))
	assert.Empty(t, added)
	assert.True(t, lower)
	assert.NotEqual(t, before, version(), "a later floor is written")
}

func TestPruneSaysInADryRunWhatItWouldDo(t *testing.T) {
	store := keystore.NewMemory()
	list, cutoffs := revocation.Zone(), revocation.ZoneCutoffs()
	require.NoError(t, list.Add(t.Context(), store, id7(time.Now().Add(-3*time.Hour)), id7(time.Now()), "other"))
	would, err := revocation.Prune(t.Context(), store, list, cutoffs, time.Hour, true)
	require.NoError(t, err)
	assert.Equal(t, []int{1, 2, -1}, []int{would.Dropped, would.Kept, would.Sessions})
	assert.WithinDuration(t, time.Now().Add(-75*time.Minute), would.Floor, time.Minute)
	assert.Equal(t, would.Floor, would.Floor.Truncate(time.Second), "a whole second")

	// The floor of an earlier pruning counts, since it is later.
	done, err := revocation.Prune(t.Context(), store, list, cutoffs, time.Nanosecond, false)
	require.NoError(t, err)
	again, err := revocation.Prune(t.Context(), store, list, cutoffs, 10*time.Hour, true)
	require.NoError(t, err)
	assert.Equal(t, done.Floor, again.Floor)
	assert.Equal(t, []int{0, 2, -1}, []int{again.Dropped, again.Kept, again.Sessions})
}
