package revocation_test

import (
	"context"
	"fmt"
	"math"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

var ten = time.Date(2026, 11, 29, 10, 0, 0, 0, time.UTC)

func claimsAt(issued time.Time, name string) *token.Claims {
	return &token.Claims{
		Registered: token.Registered{ID: "an-id", IssuedAt: issued},
		Dataplane:  token.Dataplane{Mesh: "default", Name: name, Workload: "backend"},
	}
}

func parseCutoffs(t testing.TB, data string) *revocation.Cutoffs {
	t.Helper()
	c, err := revocation.ParseCutoffs(token.KindDataplane, []byte(data))
	require.NoError(t, err, data)
	return c
}

func TestCutoffsRevokeWhatWasIssuedBeforeAndNothingElse(t *testing.T) {
	for name, c := range map[string]struct {
		record  string
		issued  time.Time
		revoked bool
	}{
		"a second before":                {`{"before":"2026-11-29T10:00:00Z"}`, ten.Add(-time.Second), true},
		"at the moment":                  {`{"before":"2026-11-29T10:00:00Z"}`, ten, false},
		"a second after":                 {`{"before":"2026-11-29T10:00:00Z"}`, ten.Add(time.Second), false},
		"without an iat":                 {`{"before":"2026-11-29T10:00:00Z"}`, time.Time{}, true},
		"a part of a second counts":      {`{"before":"2026-11-29T09:59:59.001Z"}`, ten.Add(-time.Second), true},
		"however small a part":           {`{"before":"2026-11-29T09:59:59.00000000000001Z"}`, ten.Add(-time.Second), true},
		"another zone of time":           {`{"before":"2026-11-29T11:00:00+01:00"}`, ten.Add(-time.Second), true},
		"its name":                       {`{"before":"2026-11-29T10:00:00Z","name":"dp-1"}`, ten.Add(-time.Second), true},
		"another name":                   {`{"before":"2026-11-29T10:00:00Z","name":"dp-2"}`, ten.Add(-time.Second), false},
		"its workload":                   {`{"before":"2026-11-29T10:00:00Z","workload":"backend"}`, ten.Add(-time.Second), true},
		"another workload":               {`{"before":"2026-11-29T10:00:00Z","workload":"backen"}`, ten.Add(-time.Second), false},
		"its key":                        {`{"before":"2026-11-29T10:00:00Z","kid":"1"}`, ten.Add(-time.Second), true},
		"another key":                    {`{"before":"2026-11-29T10:00:00Z","kid":"2"}`, ten.Add(-time.Second), false},
		"the later of two":               {"{\"before\":\"2026-11-29T10:00:00Z\"}\n{\"before\":\"2026-11-28T10:00:00Z\"}\n", ten.Add(-time.Second), true},
		"empty lines, white space, CRLF": {"\r\n { \"before\" : \"2026-11-29T10:00:00Z\" } \r\n\n", ten.Add(-time.Second), true},
		"no cutoff":                      {"", ten.Add(-time.Hour), false},
	} {
		why := parseCutoffs(t, c.record).Check("1", claimsAt(c.issued, "dp-1"))
		assert.Equal(t, c.revoked, why != "", "%s: %q", name, why)
	}
	named := parseCutoffs(t, `{"before":"2026-11-29T10:00:00Z","name":"dp-1"}`)
	assert.Empty(t, named.Check("1", claimsAt(ten.Add(-time.Hour), "")), "a token for every proxy of the mesh")
	assert.Equal(t, `a cutoff revokes tokens with the name "dp-1" issued before 2026-11-29T10:00:00Z`, named.Check("1", claimsAt(time.Time{}, "dp-1")))
	var none *revocation.Cutoffs
	assert.Empty(t, none.Check("1", claimsAt(time.Time{}, "dp-1")))
}

func TestParseCutoffsReadsNothingThatItDoesNotUnderstand(t *testing.T) {
	for _, line := range []string{
		`{}`, `{"name":"dp-1"}`, `{"before":""}`, `{"before":"2026-11-29T10:00:00"}`, `{"before":"2026-11-29 10:00:00Z"}`, `{"before":"2026-11-29"}`, `{"before":"2026-11-29T9:00:00Z"}`, `{"before":"2026-11-29T10:00:00,5Z"}`, `{"before":"2026-11-29T10:00:00+24:00"}`, `{"before":1764410400}`, `{"before":null}`,
		`{"before":"2026-11-29T10:00:00Z","name":"a","workload":"b"}`, `{"before":"2026-11-29T10:00:00Z","name":""}`, `{"before":"2026-11-29T10:00:00Z","name":["a"]}`,
		`{"before":"2026-11-29T10:00:00Z","before":"2026-11-28T10:00:00Z"}`, `{"before":"2026-11-29T10:00:00Z","bef\u006fre":"2026-11-28T10:00:00Z"}`,
		`{"Before":"2026-11-29T10:00:00Z"}`, `{"before":"2026-11-29T10:00:00Z","tags":"a"}`, `{"before":"2026-11-29T10:00:00Z","zone":"west"}`,
		`{"before":"2026-11-29T10:00:00Z"`, `{"before":"2026-11-29T10:00:00Z"} x`, `{"before":"2026-11-29T10:00:00Z"}{}`, `[{"before":"2026-11-29T10:00:00Z"}]`, `"before"`, `,`, `an-id`,
		`{"before":"2026-11-29T10:00:00Z","name":"\ud800"}`, "{\"before\":\"2026-11-29T10:00:00Z\",\"name\":\"\xff\"}", "\ufeff" + `{"before":"2026-11-29T10:00:00Z"}`,
		`{"idsBefore":"2026-11-29T10:00:00Z","name":"a"}`, `{"idsBefore":"2026-11-29T10:00:00Z","before":"2026-11-29T10:00:00Z"}`, `{"idsBefore":"yesterday"}`,
		`{"before":"0000-01-01T00:00:00+23:00"}`, `{"before":"9999-12-31T23:59:59.1Z"}`, `{"idsBefore":"9999-12-31T23:59:59-01:00"}`,
	} {
		_, err := revocation.ParseCutoffs(token.KindDataplane, []byte("{\"before\":\"2026-11-29T10:00:00Z\"}\n"+line+"\n"))
		require.ErrorIs(t, err, revocation.ErrUnreadable, line)
		require.ErrorContains(t, err, "line 2", line)
	}
	_, err := revocation.ParseCutoffs(token.KindZone, []byte(`{"before":"2026-11-29T10:00:00Z","name":"dp-1"}`))
	require.ErrorIs(t, err, revocation.ErrUnreadable)
	_, err = revocation.ParseCutoffs(token.KindZone, []byte(`{"before":"2026-11-29T10:00:00Z","zone":"west"}`))
	require.NoError(t, err)
}

func TestACutoffReplacesAnEarlierOneOfItsSubjectAndNeverALaterOne(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.DataplaneCutoffs("default")
	add := func(c revocation.Cutoff) revocation.Cutoff {
		t.Helper()
		added, err := ref.Add(t.Context(), store, c)
		require.NoError(t, err)
		return added
	}
	all := func() []revocation.Cutoff {
		t.Helper()
		c, err := ref.Load(t.Context(), store)
		require.NoError(t, err)
		return c.All()
	}
	first := revocation.Cutoff{Before: ten.Add(-time.Hour)}
	named := revocation.Cutoff{Before: ten.Add(-time.Hour), Name: `a "name" <&>`}
	assert.Equal(t, first, add(first))
	assert.Equal(t, named, add(named))
	later := revocation.Cutoff{Before: ten}
	assert.Equal(t, later, add(later))
	assert.Equal(t, later, add(first), "the later one is in force")
	assert.Equal(t, []revocation.Cutoff{later, named}, all())
	before, err := store.Get(t.Context(), ref.Scope, ref.Name)
	require.NoError(t, err)
	add(later)
	after, err := store.Get(t.Context(), ref.Scope, ref.Name)
	require.NoError(t, err)
	assert.Equal(t, before.Version, after.Version, "the same cutoff twice is one, and is not written")

	require.NoError(t, ref.Remove(t.Context(), store, first))
	assert.Len(t, all(), 2, "the later one is another decision")
	require.NoError(t, ref.Remove(t.Context(), store, later))
	require.NoError(t, ref.Remove(t.Context(), store, named))
	assert.Empty(t, all())
}

func TestAddRefusesACutoffThatNoClockExplainsOrThatIsNone(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.ZoneCutoffs()
	for _, c := range []revocation.Cutoff{
		{},
		{Before: time.Now().Add(2*token.Skew + time.Minute)},
		{Before: ten, Zone: "west", KeyID: "1"},
		{Before: ten, Name: "dp-1"},
		{Before: ten, Zone: "\xff"},
		{Before: time.Date(0, 1, 1, 0, 0, 0, 0, time.FixedZone("", 23*60*60))}, // year -1 of UTC
	} {
		_, err := ref.Add(t.Context(), store, c)
		require.ErrorIs(t, err, revocation.ErrCutoff, "%v", c)
	}
	left, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	assert.Empty(t, left)
	_, err = ref.Add(t.Context(), store, revocation.Cutoff{Before: time.Now().Add(token.Skew)})
	require.NoError(t, err)
}

// refusingEmpty is a store beside a webhook that refuses records without data.
type refusingEmpty struct{ *keystore.Memory }

func (s refusingEmpty) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if len(r.Data) == 0 {
		return keystore.Record{}, keystore.Failed("update", r.Scope, r.Name, keystore.ErrEmpty)
	}
	return s.Memory.Update(ctx, r)
}

func TestCutoffsCanBeReadAfterTheLastOneWasRemovedWhereAnEmptyRecordIsRefused(t *testing.T) {
	store, ref := refusingEmpty{keystore.NewMemory()}, revocation.DataplaneCutoffs("default")
	c := revocation.Cutoff{Before: ten}
	_, err := ref.Add(t.Context(), store, c)
	require.NoError(t, err)
	require.NoError(t, ref.Remove(t.Context(), store, c))
	left, err := ref.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Empty(t, left.All())
}

func TestManyAdministratorsLoseNoCutoff(t *testing.T) {
	store, ref := keystore.NewMemory(), revocation.DataplaneCutoffs("default")
	var administrators sync.WaitGroup
	for i := range 20 {
		administrators.Go(func() {
			_, err := ref.Add(t.Context(), store, revocation.Cutoff{Before: ten, Name: fmt.Sprint("dp-", i)})
			assert.NoError(t, err)
		})
	}
	administrators.Wait()
	c, err := ref.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Len(t, c.All(), 20)
}

// id7 returns an id of version 7 that was made at a time.
func id7(at time.Time) string {
	return fmt.Sprintf("%08x-%04x-7abc-8def-0123456789ab", at.UnixMilli()>>16, at.UnixMilli()&0xffff)
}

func TestPruneDropsTheIDsOfExpiredTokensAndLeavesAFloorBelowWhichAllAreRevoked(t *testing.T) {
	store := keystore.NewMemory()
	list, cutoffs := revocation.Dataplane("default"), revocation.DataplaneCutoffs("default")
	const lifetime = 90 * 24 * time.Hour
	expired, valid := id7(time.Now().Add(-lifetime-time.Hour)), id7(time.Now().Add(-lifetime))
	const other = "9b2d4c1e-0000-4000-8000-000000000000" // tells no time
	require.NoError(t, list.Add(t.Context(), store, expired, valid, other))

	would, err := revocation.Prune(t.Context(), store, list, cutoffs, lifetime, true)
	require.NoError(t, err)
	assert.Equal(t, 1, would.Dropped)
	assert.Equal(t, 2, would.Kept)
	ids, err := list.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Equal(t, 3, ids.Len(), "a dry run changes nothing")

	done, err := revocation.Prune(t.Context(), store, list, cutoffs, lifetime, false)
	require.NoError(t, err)
	assert.Equal(t, 1, done.Dropped)
	ids, err = list.Load(t.Context(), store)
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{valid, other}, ids.IDs())
	floor, err := cutoffs.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Equal(t, done.Floor, floor.Floor())
	claims := claimsAt(time.Now(), "dp-1")
	for id, revoked := range map[string]bool{expired: true, id7(done.Floor.Add(-time.Millisecond)): true, id7(done.Floor): false, valid: false, other: false} {
		claims.ID = id
		assert.Equal(t, revoked, floor.Check("1", claims) != "", id)
	}

	again, err := revocation.Prune(t.Context(), store, list, cutoffs, 2*lifetime, false)
	require.NoError(t, err)
	assert.Equal(t, done.Floor, again.Floor, "the floor never goes back")
	_, err = cutoffs.Add(t.Context(), store, revocation.Cutoff{Before: ten})
	require.NoError(t, err)
	floor, err = cutoffs.Load(t.Context(), store)
	require.NoError(t, err)
	assert.Equal(t, done.Floor, floor.Floor(), "a cutoff leaves it")
}

func TestPruneForTheLongestLifetimeRevokesNothing(t *testing.T) {
	store := keystore.NewMemory()
	list, cutoffs := revocation.Dataplane("default"), revocation.DataplaneCutoffs("default")
	for _, lifetime := range []time.Duration{math.MaxInt64, math.MaxInt64 - time.Minute} {
		p, err := revocation.Prune(t.Context(), store, list, cutoffs, lifetime, false)
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now().Add(-15*time.Minute), p.Floor.Add(lifetime), 10*time.Second)
	}
	floor, err := cutoffs.Load(t.Context(), store)
	require.NoError(t, err)
	claims := claimsAt(time.Now(), "dp-1")
	claims.ID = id7(time.Now())
	assert.Empty(t, floor.Check("1", claims))
}

func TestPruneOfAnUnreadableListWritesNoFloor(t *testing.T) {
	store := keystore.NewMemory()
	list, cutoffs := revocation.Dataplane("default"), revocation.DataplaneCutoffs("default")
	_, err := store.Create(t.Context(), keystore.Record{Scope: list.Scope, Name: list.Name, Data: []byte("\xff\xfe1\x00")})
	require.NoError(t, err)
	_, err = revocation.Prune(t.Context(), store, list, cutoffs, time.Hour, false)
	require.ErrorIs(t, err, revocation.ErrUnreadable)
	_, err = store.Get(t.Context(), cutoffs.Scope, cutoffs.Name)
	assert.ErrorIs(t, err, keystore.ErrNotFound)
}
