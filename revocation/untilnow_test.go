package revocation_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

func TestUntilNowIsAfterEveryCutoffAtWhichATokenOfItsSubjectMayBeDated(t *testing.T) {
	type cutoff = revocation.Cutoff
	mesh, global, zones := revocation.DataplaneCutoffs("default"), revocation.DataplaneCutoffsGlobal("default"), revocation.ZoneCutoffs()
	other := revocation.DataplaneCutoffs("other")
	for name, x := range map[string]struct {
		at      revocation.CutoffsRef
		present cutoff
		of      cutoff
		after   bool
	}{
		"all, and all":                     {mesh, cutoff{}, cutoff{}, true},
		"all, in the global scope":         {global, cutoff{}, cutoff{}, true},
		"all, for a name":                  {mesh, cutoff{}, cutoff{Name: "dp-1"}, true},
		"a name, for all":                  {mesh, cutoff{Name: "dp-1"}, cutoff{}, true},
		"a name, for the same":             {mesh, cutoff{Name: "dp-1"}, cutoff{Name: "dp-1"}, true},
		"a name, for another":              {mesh, cutoff{Name: "dp-1"}, cutoff{Name: "dp-2"}, false},
		"a name, for a workload":           {mesh, cutoff{Name: "dp-1"}, cutoff{Workload: "backend"}, true},
		"a workload, for a kid":            {mesh, cutoff{Workload: "backend"}, cutoff{KeyID: "1"}, true},
		"a kid, for another":               {mesh, cutoff{KeyID: "1"}, cutoff{KeyID: "2"}, false},
		"a kid, for all":                   {global, cutoff{KeyID: "1"}, cutoff{}, true},
		"all of another mesh":              {other, cutoff{}, cutoff{}, false},
		"all zone tokens, for a mesh":      {zones, cutoff{}, cutoff{}, false},
		"all zone tokens, for a zone":      {zones, cutoff{}, cutoff{Zone: "west"}, true},
		"a zone, for another":              {zones, cutoff{Zone: "east"}, cutoff{Zone: "west"}, false},
		"a zone, for a kid of zone tokens": {zones, cutoff{Zone: "east"}, cutoff{Zone: "", KeyID: "1"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store, now := keystore.NewMemory(), time.Now().UTC()
				kind, scope := token.KindDataplane, keystore.Scope("default")
				if x.of.Zone != "" || name == "a zone, for a kid of zone tokens" {
					kind, scope = token.KindZone, keystore.Global
				}
				x.present.Before = now.Add(3 * time.Minute)
				_, err := x.at.Add(t.Context(), store, x.present)
				require.NoError(t, err)
				want := x.of
				if want.Before = now.Add(token.Skew); x.after {
					want.Before = x.present.Before.Add(time.Second)
				}
				x.of.Before = now.Add(-time.Hour) // has no effect
				until, err := revocation.UntilNow(t.Context(), store, kind, scope, x.of)
				require.NoError(t, err)
				assert.Equal(t, want, until)

				time.Sleep(time.Hour)
				until, err = revocation.UntilNow(t.Context(), store, kind, scope, x.of)
				require.NoError(t, err)
				assert.Equal(t, time.Now().Add(token.Skew).UTC(), until.Before, "the other one is past")
			})
		})
	}
}

func TestUntilNowDoesNotRunAwayHoweverOftenItIsAddedAndSaysWhenTheNextCanBeMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, ref, start := keystore.NewMemory(), revocation.DataplaneCutoffs("default"), time.Now()
		add := func() (time.Duration, error) {
			until, err := revocation.UntilNow(t.Context(), store, token.KindDataplane, "default", revocation.Cutoff{})
			if err == nil {
				var added revocation.Cutoff
				added, err = ref.Add(t.Context(), store, until)
				require.NoError(t, err)
				assert.Equal(t, until, added)
			}
			return time.Until(until.Before), err
		}
		for range 1000 {
			ahead, err := add()
			require.NoError(t, err)
			assert.Equal(t, token.Skew, ahead, "once a second")
			time.Sleep(time.Second)
		}
		for i := range int(token.Skew / time.Second) {
			ahead, err := add()
			require.NoError(t, err)
			assert.Equal(t, token.Skew+time.Duration(i)*time.Second, ahead, "all at once")
		}
		ahead, err := add()
		require.NoError(t, err)
		assert.Equal(t, 2*token.Skew, ahead)
		_, err = add()
		require.ErrorIs(t, err, revocation.ErrCutoff)
		assert.ErrorContains(t, err, "from "+start.Add(1001*time.Second).UTC().Format(time.RFC3339)+" on")
		for range 1000 {
			time.Sleep(time.Second)
			ahead, err = add()
			require.NoError(t, err)
			assert.Equal(t, 2*token.Skew, ahead)
		}
	})
}

func TestUntilNowPassesOverACutoffAtWhichNoIssuerDatesATokenYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, ref := keystore.NewMemory(), revocation.DataplaneCutoffs("default")
		far := time.Now().Add(4*token.Skew + time.Second).UTC().Format(time.RFC3339) // a reader refuses no moment
		_, err := store.Create(t.Context(), keystore.Record{Scope: ref.Scope, Name: ref.Name, Data: []byte(`{"before":"` + far + `","kid":"1"}`)})
		require.NoError(t, err)
		until := func() (revocation.Cutoff, error) {
			return revocation.UntilNow(t.Context(), store, token.KindDataplane, "default", revocation.Cutoff{Name: "dp-1"})
		}
		c, err := until()
		require.NoError(t, err)
		assert.Equal(t, token.Skew, time.Until(c.Before))
		time.Sleep(time.Second)
		_, err = until()
		assert.ErrorIs(t, err, revocation.ErrCutoff)
		time.Sleep(2*token.Skew + time.Second)
		c, err = until()
		require.NoError(t, err)
		assert.Equal(t, 2*token.Skew, time.Until(c.Before))
	})
}

func TestUntilNowNeedsASubjectOfItsKindAndCutoffsThatCanBeRead(t *testing.T) {
	store := keystore.NewMemory()
	for _, c := range []revocation.Cutoff{{Zone: "west"}, {Name: "dp-1", KeyID: "1"}, {Name: "\xff"}} {
		_, err := revocation.UntilNow(t.Context(), store, token.KindDataplane, "default", c)
		assert.ErrorIs(t, err, revocation.ErrCutoff)
	}
	ref := revocation.DataplaneCutoffsGlobal("default")
	_, err := store.Create(t.Context(), keystore.Record{Scope: ref.Scope, Name: ref.Name, Data: []byte("?")})
	require.NoError(t, err)
	_, err = revocation.UntilNow(t.Context(), store, token.KindDataplane, "default", revocation.Cutoff{})
	assert.ErrorIs(t, err, revocation.ErrUnreadable)
}
