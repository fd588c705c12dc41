package revocation_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

func TestListInAnotherFormRevokesIDsThatHaveALetterOrADigit(t *testing.T) {
	for _, id := range []string{"0", "9", "a", "z", "A", "Z", "-5-"} {
		assert.True(t, parse(t, "["+id+"]").Contains(id), id)
	}
	for _, id := range []string{"/", ":", "`", "~", "@", "_", "^", "-", "\\"} {
		assert.False(t, parse(t, "["+id+"]").Contains(id), id)
	}
}

func TestListInAnotherFormTakesEachEscapedCharacterAsASeparator(t *testing.T) {
	for _, escaped := range []string{`\n`, `\r`, `\t`, `\r\n`} {
		list := parse(t, "id1"+escaped+"id2")
		assert.Equal(t, []string{"id1", "id1" + escaped + "id2", "id2"}, list.IDs())
		require.Len(t, list.Problems(), 1)
		assert.ErrorContains(t, list.Problems()[0], `the two characters of a \n`)
	}
}

func TestListInAnotherFormHasAKeyBeforeAnEqualsSign(t *testing.T) {
	list := parse(t, "a=b")
	assert.Equal(t, []string{"a", "a=b", "b"}, list.IDs())
	require.Len(t, list.Problems(), 1)
	assert.ErrorContains(t, list.Problems()[0], "ids after a key and an equals sign")
	for _, id := range []string{"=a=b", "a=", "a=="} {
		list := parse(t, id)
		assert.Equal(t, []string{id}, list.IDs())
		assert.Empty(t, list.Problems())
	}
}

func TestListInBase64RevokesTheWellFormedIDsInIt(t *testing.T) {
	text := someUUID + ",é1,a\x00b,ok~~~???>>>"
	for name, encoding := range map[string]*base64.Encoding{
		"standard": base64.StdEncoding, "without an end": base64.RawStdEncoding, "for URLs": base64.URLEncoding, "for URLs, without an end": base64.RawURLEncoding,
	} {
		item := encoding.EncodeToString([]byte(text))
		require.True(t, strings.ContainsAny(item, "-_+/"), "it tells the alphabets apart: %s", item)
		list := parse(t, item)
		assert.True(t, list.Contains(someUUID), name)
		assert.True(t, list.Contains("ok~~~???>>>"), name)
		for _, id := range []string{"é1", "a\x00b", "a", "b"} {
			assert.False(t, list.Contains(id), "%s: %q", name, id)
		}
		require.Len(t, list.Problems(), 1)
		assert.ErrorContains(t, list.Problems()[0], "ids in base64")
	}
}

func TestAnIDThatBeginsWithAUUIDIsAnotherID(t *testing.T) {
	for _, rest := range []string{"+b", "-b", "-" + thirdUUID, "+0"} {
		for _, before := range []string{"", otherUUID + ","} {
			list := parse(t, before+someUUID+rest)
			assert.False(t, list.Contains(someUUID), rest)
			assert.True(t, list.Contains(someUUID+rest), rest)
			assert.False(t, list.Contains(rest[1:]), rest)
		}
	}
}

func TestProblemsCountTheEleventhMalformedItem(t *testing.T) {
	problems := parse(t, "a"+strings.Repeat(",é", 11)).Problems()
	require.Len(t, problems, 11)
	assert.EqualError(t, problems[10], "and 1 more malformed items")
}

func TestUnionOfListsHasTheIDsAndTheProblemsOfAll(t *testing.T) {
	const bad = ",é,é,é,é,é,é"
	for _, c := range []struct {
		own, global string
		ids         []string
		problems    int
		last        string
	}{
		{"a,b", "a", []string{"a", "b"}, 0, ""},
		{"a", "a,b", []string{"a", "b"}, 0, ""},
		{"a,b", "b,c", []string{"a", "b", "c"}, 0, ""},
		{"a,é", "a", []string{"a"}, 1, "offset 2"},
		{"a", "a,é", []string{"a"}, 1, "offset 2"},
		{"a,é", "a,b", []string{"a", "b"}, 1, "offset 2"},
		{"a,b,é", "a,ü", []string{"a", "b"}, 2, "offset 2"},
		{"a" + bad + bad, "a" + bad, []string{"a"}, 17, "and 2 more malformed items"},
	} {
		lists := revocation.Lists{{Ref: revocation.Dataplane("default"), List: parse(t, c.own)}, {Ref: revocation.DataplaneGlobal("default"), List: parse(t, c.global)}}
		union := lists.Union()
		assert.Equal(t, c.ids, union.IDs(), "%s and %s", c.own, c.global)
		require.Len(t, union.Problems(), c.problems, "%s and %s", c.own, c.global)
		if c.problems > 0 {
			assert.ErrorContains(t, union.Problems()[c.problems-1], c.last)
		}
	}
	assert.Zero(t, revocation.Lists(nil).Union().Len())
	apart := revocation.Lists{{List: parse(t, someUUID+","+otherUUID)}, {List: parse(t, thirdUUID+","+maxUUID)}}
	assert.Equal(t, 4, apart.Union().Len())
}

func TestNamesOfListsAreParsedStrictly(t *testing.T) {
	for name, want := range map[string]bool{
		"zone-token-revocations": true, "dataplane-token-revocations-default": true, "dataplane-token-revocations-": false,
		"dataplane-token-revocations": false, "zone-token-revocations-west": false, "": false,
	} {
		_, _, ok := revocation.ParseName(name)
		assert.Equal(t, want, ok, name)
	}
	kind, mesh, _ := revocation.ParseName("dataplane-token-revocations-a-b")
	assert.Equal(t, token.KindDataplane, kind)
	assert.Equal(t, "a-b", mesh)
	kind, mesh, _ = revocation.ParseName("zone-token-revocations")
	assert.Equal(t, token.KindZone, kind)
	assert.Empty(t, mesh)
	assert.Equal(t, "dataplane-token-revocations-", revocation.NamePrefix(token.KindDataplane))
	assert.Equal(t, "zone-token-revocations", revocation.NamePrefix(token.KindZone))
}

func TestRevokingAndRestoringAreAuditEventsAlsoWhenTheyFail(t *testing.T) {
	ctx, log := audited(t)
	store, ref := keystore.NewMemory(), revocation.Dataplane("default")
	require.NoError(t, ref.Add(ctx, store, "a", "b", "a"))
	assert.Equal(t, 2, strings.Count(log.String(), `msg="audit: done" action=revoke kind=dataplane mesh=default jti=`))
	log.Reset()
	require.NoError(t, ref.Remove(ctx, store, "a"))
	assert.Contains(t, log.String(), `msg="audit: done" action=restore kind=dataplane mesh=default jti=a`)
	log.Reset()
	put(t, store, revocation.Zone(), "\xff\xfea\x00")
	require.Error(t, revocation.Zone().Add(ctx, store, "a"))
	require.Error(t, revocation.Zone().Remove(ctx, store, "a"))
	assert.Equal(t, 2, strings.Count(log.String(), `msg="audit: not done"`))
	assert.Equal(t, 2, strings.Count(log.String(), "reason="))
}

func TestErrorsAboutAListNameItWithinBounds(t *testing.T) {
	failure := errors.New("connection refused")
	store := interrupted{KeyStore: keystore.NewMemory(), beforeGet: always(failure)}
	long := strings.Repeat("m", 100)
	for ref, want := range map[revocation.Ref]string{
		revocation.Dataplane("default"):       `loading revocation list "dataplane-token-revocations-default" in scope "default": connection refused`,
		revocation.DataplaneGlobal("default"): `loading revocation list "dataplane-token-revocations-default" in the global scope: connection refused`,
		revocation.Dataplane(long):            `loading revocation list "` + ("dataplane-token-revocations-" + long)[:64] + `" in scope "` + long[:64] + `": connection refused`,
	} {
		_, err := ref.Load(t.Context(), store)
		assert.EqualError(t, err, want)
	}
}

func TestAWriterThatAlwaysLosesTriesAgainFortyTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		store := interrupted{KeyStore: keystore.NewMemory(), beforeCreate: func() error { tries++; return keystore.ErrConflict }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := revocation.Zone().Add(ctx, store, "a")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, keystore.ErrConflict, "why the last attempt failed")
		// Pauses are drawn from 0 to 50 ms: 2400 in a minute, give or take 30 (one sigma).
		assert.InDelta(t, 2400, tries, 240)
	})
}

func TestMakeDataplaneGlobalPassesOnWhatTheStoreRefuses(t *testing.T) {
	failure := errors.New("connection refused")
	for _, ids := range [][]string{nil, {"a"}} {
		for _, c := range []struct {
			verb string
			n    int
		}{{"get", 1}, {"get", 2}, {"get", 3}, {"create", 1}, {"update", 1}} {
			memory := keystore.NewMemory()
			if ids != nil {
				require.NoError(t, revocation.AddDataplane(t.Context(), memory, "default", ids...))
			}
			if c.verb == "update" {
				require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), memory, "default"))
				require.NoError(t, revocation.Dataplane("default").Add(t.Context(), memory, "b"))
			}
			store := interrupted{KeyStore: memory}
			switch c.verb {
			case "get":
				store.beforeGet = nth(c.n, always(failure))
			case "create":
				store.beforeCreate = nth(c.n, always(failure))
			case "update":
				store.beforeUpdate = nth(c.n, always(failure))
			}
			require.ErrorIs(t, revocation.MakeDataplaneGlobal(t.Context(), store, "default"), failure, "%v, %s %d", ids, c.verb, c.n)
			if c.verb == "create" {
				assert.ErrorContains(t, revocation.MakeDataplaneGlobal(t.Context(), interrupted{KeyStore: memory, beforeCreate: always(failure)}, "default"),
					`revocation list "dataplane-token-revocations-default" in the global scope`)
			}
		}
	}
	flat := flatStore{keystore.NewMemory()}
	require.NoError(t, revocation.AddDataplane(t.Context(), flat, "default", "a"))
	require.NoError(t, revocation.RemoveDataplane(t.Context(), flat, "default", "a"))
	assert.ErrorIs(t, revocation.MakeDataplaneGlobal(t.Context(), flat, "default"), keystore.ErrNameTaken, "also if the mesh's own list is empty")
	require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), keystore.NewMemory(), "default"))
}

func TestAddDataplaneLeavesTheMeshWithoutAListOfItsOwnIfTheGlobalOneHasTheIDs(t *testing.T) {
	store := keystore.NewMemory()
	require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "default"))
	require.NoError(t, revocation.DataplaneGlobal("default").Add(t.Context(), store, "a"))
	require.NoError(t, revocation.AddDataplane(t.Context(), store, "default", "a"))
	own, global := listsOf(t, store, "default")
	assert.Nil(t, own)
	assert.Equal(t, []string{"a"}, global)
}

func TestCutoffsOfAMeshCountInWholeSecondsAndFailWithTheStore(t *testing.T) {
	ctx, log := audited(t)
	store := keystore.NewMemory()
	part := revocation.Cutoff{Before: ten.Add(time.Millisecond)}
	added, err := revocation.AddDataplaneCutoff(ctx, store, "default", part)
	require.NoError(t, err)
	assert.Equal(t, ten.Add(time.Second), added.Before)
	assert.Contains(t, log.String(), "before=2026-11-29T10:00:01Z")
	log.Reset()
	require.NoError(t, revocation.RemoveDataplaneCutoff(ctx, store, "default", part))
	assert.Contains(t, log.String(), "before=2026-11-29T10:00:01Z")
	left, err := revocation.DataplaneCutoffs("default").Load(ctx, store)
	require.NoError(t, err)
	assert.Zero(t, left.Len())

	failure := errors.New("connection refused")
	down := interrupted{KeyStore: store, beforeGet: always(failure)}
	_, err = revocation.AddDataplaneCutoff(ctx, down, "default", part)
	assert.ErrorIs(t, err, failure)
	assert.ErrorIs(t, revocation.RemoveDataplaneCutoff(ctx, down, "default", part), failure)
	_, err = revocation.PruneDataplane(ctx, down, "default", time.Hour, false)
	assert.ErrorIs(t, err, failure)
}

func TestPruneWritesNothingIfTheFloorIsThereAndNoIDIsBelowIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		list, cutoffs := revocation.Zone(), revocation.ZoneCutoffs()
		require.NoError(t, list.Add(t.Context(), store, id7(time.Now()), id7(time.Now().Add(-75*time.Minute))))
		var versions []string
		for range 2 {
			p, err := revocation.Prune(t.Context(), store, list, cutoffs, time.Hour, false)
			require.NoError(t, err)
			require.Zero(t, p.Dropped, "an id from the very moment of the floor stays")
			require.Equal(t, 2, p.Kept)
			versions = append(versions, get(t, store, revocation.Ref(cutoffs)).Version)
		}
		require.Equal(t, versions[0], versions[1], "the floor was written once")
	})
}
