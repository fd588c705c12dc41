package dataplane_test

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

func TestUsageTellsWhatWasAcceptedOfEachKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, clock := newFollowing(t), &shiftedClock{}
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		putKey(t, f.store.Memory, "default", 3, testKey(2)) // is never used
		putKey(t, f.store.Memory, "a", 1, testKey(0))
		f.start(dataplane.WithClock(clock.now), dataplane.WithPublicKey("default", "own", testKey(2).Public()))
		assert.Empty(t, f.validator.Usage())

		first, second, own := f.withSerial("1", 0), f.withSerial("2", 1), f.withSerial("own", 2)
		other := issue(t, newOfflineIssuer(t, testKey(0), "1"), "a", day)
		clock.jump(time.Minute) // by the wall clock, it says
		for range 3 {
			f.accepts(first)
		}
		firstUsed := clock.now()
		f.pass(time.Hour)
		f.session(second)
		f.session(second)
		f.accepts(own)
		require.NoError(t, check(t, f.validator, "a", other))
		now := clock.now()
		f.refuses(tampered(first), token.ErrSignature)
		assert.Error(t, check(t, f.validator, "a", first))
		revoked := f.issue(time.Hour) // of key 3
		f.revoke(revoked)
		synctest.Wait()
		f.refuses(revoked, token.ErrRevoked)

		usage := f.validator.Usage()
		for i := range usage {
			usage[i].LastUsed = usage[i].LastUsed.UTC()
		}
		assert.Equal(t, []dataplane.KeyUse{
			{Mesh: "a", KeyID: "1", Validations: 1, LastUsed: now.Round(0).UTC()},
			{Mesh: "default", KeyID: "1", Validations: 3, LastUsed: firstUsed.Round(0).UTC()},
			{Mesh: "default", KeyID: "2", Validations: 2, LastUsed: now.Round(0).UTC(), Sessions: 2},
			{Mesh: "default", KeyID: "own", Validations: 1, LastUsed: now.Round(0).UTC()},
		}, usage)

		for range 20 {
			for i, use := range f.validator.Usage() {
				assert.Equal(t, usage[i].Mesh+usage[i].KeyID, use.Mesh+use.KeyID, "always in this order")
			}
		}

		text, err := json.Marshal(usage)
		require.NoError(t, err)
		var read []dataplane.KeyUse
		require.NoError(t, json.Unmarshal(text, &read))
		assert.Equal(t, usage, read, "one process can tell another")
	})
}

func TestUsageOfAKeyBeginsAnewWhenItIsRemovedOrReplaced(t *testing.T) {
	for name, change := range map[string]func(f *following){
		"removed": func(f *following) {
			f.removeKey(1)
			f.pass(2 * time.Second)
			assert.Empty(f.t, f.validator.Usage())
			putKey(f.t, f.store.Memory, "default", 1, testKey(1))
		},
		"replaced": func(f *following) { replaceKey(f.t, f.store.Memory, "default", 1, testKey(1)) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				raw := f.issue(day)
				f.start().session(raw)
				f.accepts(raw)
				change(f)
				f.pass(2 * time.Second)
				assert.Empty(t, f.validator.Usage())
				f.accepts(f.issue(day))
				usage := f.validator.Usage()
				require.Len(t, usage, 1)
				assert.EqualValues(t, 1, usage[0].Validations)
				assert.Zero(t, usage[0].Sessions)
			})
		})
	}
}

func TestUsageSurvivesWhatDoesNotConcernTheKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		raw := f.issue(day)
		f.start().session(raw)
		replaceKey(t, f.store.Memory, "default", 1, testKey(0)) // the same bytes
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		synctest.Wait()
		f.removeKey(2)
		f.store.setList(failing)
		f.pass(time.Minute)
		f.store.setList(nil)
		f.pass(time.Minute)
		f.accepts(raw)
		usage := f.validator.Usage()
		require.Len(t, usage, 1)
		assert.EqualValues(t, 2, usage[0].Validations)
		assert.Equal(t, 1, usage[0].Sessions)
	})
}

func TestUsageOfOneKeyThatIsConfiguredUnderTwoKidsIsToldApart(t *testing.T) {
	public := testKey(0).Public()
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "new", public), dataplane.WithPublicKey("default", "old", public))
	for _, kid := range []string{"old", "new", "new"} {
		verified, err := validator.Validate(t.Context(), "default", issue(t, newOfflineIssuer(t, testKey(0), kid), "default", time.Hour))
		require.NoError(t, err)
		_, stop := verified.Bind(t.Context())
		defer stop()
	}
	sessions := map[string]int{}
	for _, use := range validator.Usage() {
		sessions[use.KeyID] = use.Sessions
	}
	assert.Equal(t, map[string]int{"old": 1, "new": 2}, sessions)
}

func TestUsageCountsEveryTokenHoweverManyAreCheckedAtOnce(t *testing.T) {
	validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "1", testKey(0).Public()), dataplane.WithCache(16))
	var working sync.WaitGroup
	for range 8 {
		working.Go(func() {
			for i := range 200 {
				verified, err := validator.Validate(context.Background(), "default", manyTokens()[i%20])
				assert.NoError(t, err)
				_, stop := verified.Bind(context.Background())
				validator.Usage()
				stop()
			}
		})
	}
	working.Wait()
	usage := validator.Usage()
	require.Len(t, usage, 1)
	assert.EqualValues(t, 1600, usage[0].Validations)
	assert.Zero(t, usage[0].Sessions)
	assert.WithinRange(t, usage[0].LastUsed, time.Now().Add(-time.Minute), time.Now())
}

func TestUsageCanStillBeReadAfterClose(t *testing.T) {
	validator, verified := liveSessions(t)
	_, stop := verified.Bind(t.Context())
	defer stop()
	require.NoError(t, validator.Close())
	usage := validator.Usage()
	require.Len(t, usage, 1)
	assert.EqualValues(t, 1, usage[0].Validations)
	assert.Zero(t, usage[0].Sessions)
}

func TestStalenessIsTheTimeSinceTheStoreLastConfirmedEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setList(failing)
		f.start()
		staleness := func() time.Duration {
			t.Helper()
			d, known := f.validator.Staleness()
			assert.True(t, known)
			return d
		}
		_, known := f.validator.Staleness()
		assert.False(t, known, "nothing has been read yet")

		f.store.setList(nil)
		f.pass(recovery)
		assert.LessOrEqual(t, staleness(), recovery)
		for range 600 {
			f.pass(time.Second)
			require.LessOrEqual(t, staleness(), 30*time.Second, "nothing changes, and it is read all the same")
		}

		last := staleness()
		f.store.setList(failing)
		f.pass(2 * time.Hour)
		assert.InDelta(t, 2*time.Hour+last, staleness(), float64(30*time.Second))
		f.store.setList(nil)
		f.pass(recovery)
		assert.LessOrEqual(t, staleness(), recovery)
	})
}

func TestStalenessDoesNotFollowTheWallClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, clock := newFollowing(t), &shiftedClock{}
		f.start(dataplane.WithClock(clock.now))
		clock.jump(time.Hour)
		staleness, known := f.validator.Staleness()
		assert.True(t, known)
		assert.Zero(t, staleness)
	})
}

func TestStalenessIsZeroWithoutAStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		validator := newOfflineValidator(t, dataplane.WithPublicKey("default", "own", testKey(0).Public()))
		time.Sleep(day)
		staleness, known := validator.Staleness()
		assert.True(t, known)
		assert.Zero(t, staleness)
	})
}

func TestRemoveKeyKeepsAKeyWhoseTokensAreInUse(t *testing.T) {
	at := time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		reports []dataplane.KeyUse
		refused bool
	}{
		"no report":          {nil, false},
		"an open session":    {[]dataplane.KeyUse{{Mesh: "default", KeyID: "1", Sessions: 1, LastUsed: at.Add(-day)}}, true},
		"used afterwards":    {[]dataplane.KeyUse{{Mesh: "default", KeyID: "1", Validations: 9, LastUsed: at.Add(time.Nanosecond)}}, true},
		"used until then":    {[]dataplane.KeyUse{{Mesh: "default", KeyID: "1", Validations: 9, LastUsed: at}}, false},
		"used before":        {[]dataplane.KeyUse{{Mesh: "default", KeyID: "1", Validations: 9, LastUsed: at.Add(-day)}}, false},
		"another key's":      {[]dataplane.KeyUse{{Mesh: "default", KeyID: "2", Sessions: 5, LastUsed: at.Add(day)}}, false},
		"another mesh's":     {[]dataplane.KeyUse{{Mesh: "other", KeyID: "1", Sessions: 5, LastUsed: at.Add(day)}}, false},
		"a configured key's": {[]dataplane.KeyUse{{Mesh: "default", KeyID: "zone-1", Sessions: 5, LastUsed: at.Add(day)}}, false},
		"one of several processes'": {[]dataplane.KeyUse{
			{Mesh: "default", KeyID: "1", Validations: 1, LastUsed: at.Add(-day)},
			{Mesh: "default", KeyID: "2", Sessions: 3, LastUsed: at.Add(day)},
			{Mesh: "default", KeyID: "1", Validations: 1, LastUsed: at.Add(-day), Sessions: 1},
			{Mesh: "default", KeyID: "1", Validations: 1, LastUsed: at.Add(-day)},
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			store := keystore.NewMemory()
			putKey(t, store, "default", 1, testKey(0))
			putKey(t, store, "default", 2, testKey(1))
			before := listAll(t, store)
			err := dataplane.RemoveKey(t.Context(), store, "default", 1, dataplane.UnlessUsed(at, c.reports...))
			if !c.refused {
				require.NoError(t, err)
				return
			}
			assertInUse(t, err)
			assert.Equal(t, before, listAll(t, store))
			require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 1, dataplane.UnlessUsed(at, c.reports...), dataplane.Forced()))
		})
	}
}

func TestRemoveKeyKeepsAKeyUntilNoReportShowsUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		validators := []dataplane.Validator{newValidator(t, store), newValidator(t, store), newValidator(t, store)}
		old := issue(t, newIssuer(t, store), "default", 30*day)
		verified, err := validators[1].Validate(t.Context(), "default", old)
		require.NoError(t, err)
		session, stop := verified.Bind(t.Context())

		time.Sleep(time.Hour)
		putKey(t, store, "default", 2, testKey(1))
		since := time.Now()
		time.Sleep(time.Hour)
		remove := func() error {
			var reports []dataplane.KeyUse
			for _, v := range validators {
				reports = append(reports, v.Usage()...)
			}
			return dataplane.RemoveKey(t.Context(), store, "default", 1, dataplane.UnlessUsed(since, reports...))
		}
		assertInUse(t, remove())
		stop()
		require.NoError(t, check(t, validators[2], "default", old))
		assertInUse(t, remove())
		since = time.Now()
		time.Sleep(time.Hour)
		require.NoError(t, remove())
		synctest.Wait()
		assertEnded(t, session, context.Canceled)
	})
}

func TestRemoveKeyTakesSeveralUnlessUsedWithTimesOfTheirOwn(t *testing.T) {
	at := time.Date(2025, 6, 1, 12, 0, 0, 0, time.UTC)
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	putKey(t, store, "default", 2, testKey(1))
	assertInUse(t, dataplane.RemoveKey(t.Context(), store, "default", 1,
		dataplane.UnlessUsed(at, dataplane.KeyUse{Mesh: "default", KeyID: "1", LastUsed: at.Add(time.Minute)}), // too late
		dataplane.UnlessUsed(at.Add(time.Hour), dataplane.KeyUse{Mesh: "default", KeyID: "1", LastUsed: at})))
}

func TestUsageCountsAlsoTheTokensThatWereKnownBeforeTheirKeyWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		raw := f.issue(day)
		f.accepts(raw)
		f.removeKey(1)
		f.pass(2 * time.Second)
		require.Empty(t, f.validator.Usage())
		putKey(t, f.store.Memory, "default", 1, testKey(0))
		f.pass(2 * time.Second)
		f.accepts(raw)
		usage := f.validator.Usage()
		require.Len(t, usage, 1, "or the key could be removed as unused")
		assert.EqualValues(t, 1, usage[0].Validations)
	})
}
