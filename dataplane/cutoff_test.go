package dataplane_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

func (f *following) cutOff(c dataplane.Cutoff) {
	f.t.Helper()
	_, err := dataplane.CutOff(f.t.Context(), f.store.Memory, "default", c)
	require.NoError(f.t, err)
}

func (f *following) issueFor(claims token.Dataplane) string {
	f.t.Helper()
	claims.Mesh = "default"
	issued, err := f.issuer.Issue(f.t.Context(), claims, 30*day)
	require.NoError(f.t, err)
	return issued.Token
}

func TestACutoffRevokesTheTokensOfItsSubjectAndEndsTheirSessions(t *testing.T) {
	claims := token.Dataplane{Name: "dp-1", Workload: "backend"}
	for name, c := range map[string]struct {
		subject dataplane.Cutoff
		revokes bool
	}{
		"all":              {dataplane.Cutoff{}, true},
		"the name":         {dataplane.Cutoff{Name: "dp-1"}, true},
		"another name":     {dataplane.Cutoff{Name: "dp-2"}, false},
		"the workload":     {dataplane.Cutoff{Workload: "backend"}, true},
		"another workload": {dataplane.Cutoff{Workload: "frontend"}, false},
		"the key":          {dataplane.Cutoff{KeyID: "1"}, true},
		"another key":      {dataplane.Cutoff{KeyID: "2"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t).start()
				raw, anonymous := f.issueFor(claims), f.issueFor(token.Dataplane{})
				f.accepts(raw) // and remembers it
				session, newest := f.session(raw), f.session(anonymous)
				f.pass(time.Minute)
				c.subject.Before = time.Now().Add(token.Skew)
				f.cutOff(c.subject)
				synctest.Wait()
				if c.revokes {
					f.refuses(raw, token.ErrRevoked)
					assert.ErrorIs(t, context.Cause(session), token.ErrRevoked)
					assert.ErrorContains(t, context.Cause(session), c.subject.String())
				} else {
					f.accepts(raw)
					assertOpen(t, session)
				}
				open := 2
				if c.revokes {
					open--
				}
				if c.subject.Name+c.subject.Workload != "" {
					f.accepts(anonymous, "it has no such claim")
					assertOpen(t, newest)
				} else if c.revokes {
					assert.ErrorIs(t, context.Cause(newest), token.ErrRevoked)
					open--
				}
				assert.Equal(t, open, openSessions(f.validator))
				f.accepts(f.issueFor(claims), "issued right after the cutoff")

				require.NoError(t, dataplane.RemoveCutoff(t.Context(), f.store.Memory, "default", c.subject))
				synctest.Wait()
				f.accepts(raw)
			})
		})
	}
}

func TestACutoffCountsForItsMeshAndKindAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "other", 1, testKey(1))
		f.start()
		other := issue(t, f.issuer, "other", 30*day)
		f.cutOff(dataplane.Cutoff{Before: time.Now().Add(token.Skew)})
		_, err := revocation.ZoneCutoffs().Add(t.Context(), f.store.Memory, revocation.Cutoff{Before: time.Now().Add(token.Skew)})
		require.NoError(t, err)
		synctest.Wait()
		assert.NoError(t, check(t, f.validator, "other", other))
	})
}

func TestACutoffInTheGlobalScopeCountsToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		raw := f.issue(30 * day)
		_, err := revocation.DataplaneCutoffsGlobal("default").Add(t.Context(), f.store.Memory, revocation.Cutoff{Before: time.Now().Add(token.Skew)})
		require.NoError(t, err)
		synctest.Wait()
		f.refuses(raw, token.ErrRevoked)
		f.accepts(f.issue(30 * day))
	})
}

func TestCutoffsCountForConfiguredKeysWithoutThoseOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithPublicKey("default", "key-1", testKey(1).Public()), dataplane.WithoutStoreKeys())
		raw := issue(t, newOfflineIssuer(t, testKey(1), "key-1"), "default", 30*day)
		f.accepts(raw)
		session := f.session(raw)
		f.cutOff(dataplane.Cutoff{Before: time.Now().Add(token.Skew), KeyID: "key-1"})
		synctest.Wait()
		f.refuses(raw, token.ErrRevoked)
		assert.ErrorIs(t, context.Cause(session), token.ErrRevoked)
	})
}

func TestCutoffsThatCannotBeReadMakeTheMeshUncheckable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "other", 1, testKey(1))
		f.start()
		raw, other := f.issue(30*day), issue(t, f.issuer, "other", 30*day)
		ref := revocation.DataplaneCutoffs("default")
		putRecord(t, f.store.Memory, ref.Scope, ref.Name, []byte(`{"before":"2026-11-29T10:00:00Z","tag":"x"}`))
		synctest.Wait()
		f.cannotTell(raw)
		assert.NoError(t, check(t, f.validator, "other", other))
		assert.Equal(t, 1, f.log.Count("level=WARN", "record problem", ref.Name, "unknown member"))
		f.revoke(raw)
		synctest.Wait()
		f.refuses(raw, token.ErrRevoked, "a definite refusal outranks it")
		_, err := f.issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
		assert.ErrorIs(t, err, token.ErrUnavailable)
	})
}

func TestIssuerDatesATokenAtTheCutoffThatItSees(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		cutoff := time.Now().Add(token.Skew).Truncate(time.Second)
		f.cutOff(dataplane.Cutoff{Before: cutoff, Name: "dp-1"})
		synctest.Wait()
		_, concerned := inside(t, f.issueFor(token.Dataplane{Name: "dp-1"}))
		assert.Equal(t, cutoff.UTC(), concerned.IssuedAt)
		_, others := inside(t, f.issueFor(token.Dataplane{Name: "dp-2"}))
		assert.True(t, others.IssuedAt.Before(time.Now()))

		// An issuer and a validator whose clocks are behind by the skew.
		behind := func() time.Time { return time.Now().Add(-token.Skew) }
		issued, err := newIssuer(t, f.store.Memory, dataplane.WithClock(behind)).Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, day)
		require.NoError(t, err)
		f.accepts(issued.Token)
		slow := newValidator(t, f.store.Memory, dataplane.WithClock(behind))
		assert.NoError(t, check(t, slow, "default", issued.Token))

		ref := revocation.DataplaneCutoffs("default")
		replaceRecord(t, f.store.Memory, ref.Scope, ref.Name, []byte(`{"before":"`+time.Now().Add(time.Hour).UTC().Format(time.RFC3339)+`"}`))
		_, err = f.issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
		assert.ErrorIs(t, err, token.ErrNotIssuable, "no token would be good")
	})
}

func TestIssuerSeesEachChangeOfTheCutoffs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		ref := revocation.DataplaneCutoffs("default")
		for _, ahead := range []time.Duration{time.Minute, 2 * time.Minute, time.Minute} {
			cutoff := time.Now().Add(ahead).Truncate(time.Second).UTC()
			f.cutOff(dataplane.Cutoff{Before: cutoff})
			for range 2 {
				_, claims := inside(t, f.issueFor(token.Dataplane{Name: "dp-1"}))
				assert.Equal(t, cutoff, claims.IssuedAt)
			}
			require.NoError(t, f.store.Memory.Delete(t.Context(), ref.Scope, ref.Name))
			_, claims := inside(t, f.issueFor(token.Dataplane{Name: "dp-1"}))
			assert.True(t, claims.IssuedAt.Before(time.Now()))
		}
	})
}

func TestIssuerMakesNoTokenWhoseIDIsBelowTheFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		_, err := dataplane.PruneRevocations(t.Context(), f.store.Memory, "default", time.Hour, false)
		require.NoError(t, err)
		behind := func() time.Time { return time.Now().Add(-2 * time.Hour) }
		_, err = newIssuer(t, f.store.Memory, dataplane.WithClock(behind)).Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
		require.ErrorIs(t, err, token.ErrNotIssuable, "every validator refuses it")
		assert.ErrorContains(t, err, "when the list of revoked ids begins")
		f.accepts(f.issueFor(token.Dataplane{}))
	})
}

func TestACutoffUntilNowTakesBackWhatIsDatedAtAnEarlierOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		claims := token.Dataplane{Name: "dp-1", Workload: "backend"}
		raw := f.issueFor(claims)
		for _, subject := range []dataplane.Cutoff{{Workload: "backend"}, {}, {}, {Name: "dp-1"}, {KeyID: "1"}, {KeyID: "1"}} {
			session := f.session(raw)
			until, err := dataplane.UntilNow(t.Context(), f.store.Memory, "default", subject)
			require.NoError(t, err)
			f.cutOff(until)
			synctest.Wait()
			f.refuses(raw, token.ErrRevoked, subject)
			assert.ErrorIs(t, context.Cause(session), token.ErrRevoked)
			raw = f.issueFor(claims)
			f.accepts(raw, "issued right after the cutoff")
			_, inside := inside(t, raw)
			assert.Equal(t, until.Before, inside.IssuedAt)
		}

		// An administrator whose clock is ahead by the skew.
		f.cutOff(dataplane.Cutoff{Before: time.Now().Add(2 * token.Skew)})
		raw = f.issueFor(claims)
		f.pass(time.Second)
		until, err := dataplane.UntilNow(t.Context(), f.store.Memory, "default", dataplane.Cutoff{Name: "dp-1"})
		require.NoError(t, err)
		f.cutOff(until)
		synctest.Wait()
		f.refuses(raw, token.ErrRevoked)
		f.accepts(f.issueFor(claims))

		_, err = dataplane.UntilNow(t.Context(), f.store.Memory, "", dataplane.Cutoff{})
		assert.ErrorIs(t, err, keystore.ErrName)
	})
}

func TestWhatACutoffWouldRevokeIsWhatItRevokes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "other", 1, testKey(1))
		f.start()
		second := newValidator(t, f.store.Memory)
		for i := range 4 {
			f.session(f.issueFor(token.Dataplane{Name: "dp-1", Workload: "backend"}))
			f.session(f.issueFor(token.Dataplane{Name: fmt.Sprint("dp-", i)}))
		}
		verified, err := second.Validate(t.Context(), "default", f.issueFor(token.Dataplane{Name: "dp-1"}))
		require.NoError(t, err)
		f.bound(verified)
		other, err := f.validator.Validate(t.Context(), "other", issue(t, f.issuer, "other", day))
		require.NoError(t, err)
		assertOpen(t, f.bound(other))
		f.pass(time.Minute)
		open := func() int { return openSessions(f.validator) + openSessions(second) }

		assert.Equal(t, dataplane.Affected{Sessions: -1}, dataplane.AffectedBy("default", dataplane.Cutoff{Before: time.Now()}))
		before := time.Now()
		assert.Zero(t, dataplane.AffectedBy("default", dataplane.Cutoff{Before: before.Add(-time.Hour)}, f.validator, second).Sessions)
		uses := func(mesh, kid string, validations uint64) func(dataplane.KeyUse) bool {
			return func(use dataplane.KeyUse) bool {
				return use.Mesh == mesh && use.KeyID == kid && use.Validations == validations
			}
		}
		for _, x := range []struct {
			subject  dataplane.Cutoff
			sessions int
			keys     []func(dataplane.KeyUse) bool
		}{
			{dataplane.Cutoff{Workload: "frontend"}, 0, nil},
			{dataplane.Cutoff{KeyID: "2"}, 0, nil},
			{dataplane.Cutoff{Workload: "backend"}, 4, nil},
			{dataplane.Cutoff{Name: "dp-1"}, 2, nil},
			{dataplane.Cutoff{KeyID: "1"}, 3, []func(dataplane.KeyUse) bool{uses("default", "1", 8), uses("default", "1", 1)}},
			{dataplane.Cutoff{}, 0, []func(dataplane.KeyUse) bool{uses("default", "1", 8), uses("default", "1", 1)}},
		} {
			x.subject.Before = before
			affected := dataplane.AffectedBy("default", x.subject, f.validator, second)
			assert.Equal(t, x.sessions, affected.Sessions, x.subject)
			require.Len(t, affected.Keys, len(x.keys), x.subject)
			for i, is := range x.keys {
				assert.True(t, is(affected.Keys[i]), affected.Keys[i])
			}
			was := open()
			f.cutOff(x.subject)
			synctest.Wait()
			assert.Equal(t, x.sessions, was-open(), x.subject)
		}
	})
}

func TestADryRunOfPruningCountsTheSessionsThatItsFloorWouldEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "other", 1, testKey(1))
		f.start()
		session := f.session(f.issue(1000 * day))
		other, err := f.validator.Validate(t.Context(), "other", issue(t, f.issuer, "other", 1000*day))
		require.NoError(t, err)
		assertOpen(t, f.bound(other))
		f.pass(5 * time.Hour)
		assertOpen(t, f.session(f.issue(1000*day)))
		prune := func(lifetime time.Duration, dryRun bool, validators ...dataplane.Validator) int {
			p, err := dataplane.PruneRevocations(t.Context(), f.store.Memory, "default", lifetime, dryRun, validators...)
			require.NoError(t, err)
			synctest.Wait()
			return p.Sessions
		}
		assert.Equal(t, 0, prune(6*time.Hour, true, f.validator))
		assert.Equal(t, 1, prune(4*time.Hour, true, f.validator))
		assert.Equal(t, -1, prune(4*time.Hour, true))
		assertOpen(t, session)
		assert.Equal(t, -1, prune(4*time.Hour, false, f.validator), "only a dry run counts")
		assertEnded(t, session, token.ErrRevoked)
		assert.Equal(t, 2, openSessions(f.validator))
	})
}

func TestATokenFromTheFutureIsNotValidYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		const limit = 3*token.Skew + 30*time.Second // with the leeway
		for ahead, good := range map[time.Duration]bool{time.Minute: true, limit: true, limit + time.Second: false} {
			at := time.Now().Truncate(time.Second)
			raw := signPayload(t, testKey(0), "1", fmt.Sprintf(`{"Mesh":"default","jti":"an-id","iat":%d,"exp":%d}`, at.Add(ahead).Unix(), at.Add(time.Hour).Unix()))
			if good {
				f.accepts(raw, ahead)
			} else {
				f.refuses(raw, token.ErrNotYetValid, ahead)
			}
		}
	})
}

func TestAValidatorThatReadsAPrunedListHasReadItsFloor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, options := range [][]dataplane.ValidatorOption{
			nil,
			{dataplane.WithPublicKey("default", "1", testKey(0).Public()), dataplane.WithoutStoreKeys()},
		} {
			f := newFollowing(t)
			old := f.issue(1000 * day)
			f.revoke(old)
			f.start(options...)
			f.refuses(old, token.ErrRevoked)
			f.pass(5 * time.Hour)
			younger := f.issue(30 * day)
			pruning, err := dataplane.PruneRevocations(t.Context(), f.store.Memory, "default", 4*time.Hour, false)
			require.NoError(t, err)
			assert.Equal(t, 1, pruning.Dropped)
			revoked, err := dataplane.Revoked(t.Context(), f.store.Memory, "default")
			require.NoError(t, err)
			assert.Zero(t, revoked.Len())
			synctest.Wait()
			f.refuses(old, token.ErrRevoked, "its lifetime is longer than was stated")
			f.accepts(younger)
			require.NoError(t, f.validator.Close())
		}
	})
}

func TestCutoffsThatAreGoneAreLoggedAsAWarning(t *testing.T) {
	own, global := revocation.DataplaneCutoffs("default"), revocation.DataplaneCutoffsGlobal("default")
	lines := func(cutoffs ...string) []byte { return []byte(strings.Join(cutoffs, "\n")) }
	const (
		all    = `{"before":"2000-01-01T10:00:00Z"}`
		later  = `{"before":"2000-01-01T11:00:00Z"}`
		named  = `{"before":"2000-01-01T10:00:00Z","name":"dp-1"}`
		floor  = `{"idsBefore":"1999-01-01T10:00:00Z"}`
		lower  = `{"idsBefore":"1998-01-01T10:00:00Z"}`
		ofName = `tokens with the name \"dp-1\" issued before 2000-01-01T10:00:00Z`
		ofAll  = "all tokens issued before 2000-01-01T1"
	)
	for name, x := range map[string]struct {
		before, after, global []byte // nil: no record
		want                  []string
	}{
		"one is removed":           {lines(all, named), lines(all), nil, []string{"cutoffs=1", ofName}},
		"the record vanishes":      {lines(floor, later, named), nil, nil, []string{"cutoffs=3", ofAll + "1"}},
		"an earlier one comes":     {lines(later), lines(all), nil, []string{"cutoffs=1", ofAll + "1"}},
		"the floor goes":           {lines(floor, all), lines(all), nil, []string{"cutoffs=1", "ids of version 7 from before 1999"}},
		"the floor goes back":      {lines(floor), lines(lower), nil, []string{"cutoffs=1", "ids of version 7 from before 1999"}},
		"a later one comes":        {lines(lower, all), lines(floor, later, named), nil, nil},
		"others have them":         {lines(floor, all, named), nil, lines(named, floor, later), nil},
		"others have a part":       {lines(floor, all, named), nil, lines(floor, later), []string{"cutoffs=1", ofName}},
		"others cannot be read":    {lines(all), nil, lines("?"), nil},
		"nothing can be read then": {lines(all), lines("?"), nil, nil},
		"nothing was readable":     {lines("?"), lines(all), nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				putRecord(t, f.store.Memory, own.Scope, own.Name, x.before)
				if x.global != nil {
					putRecord(t, f.store.Memory, global.Scope, global.Name, x.global)
				}
				f.start()
				if x.after != nil {
					replaceRecord(t, f.store.Memory, own.Scope, own.Name, x.after)
				} else {
					require.NoError(t, f.store.Memory.Delete(t.Context(), own.Scope, own.Name))
				}
				f.pass(time.Hour)
				if x.want == nil {
					assert.Zero(t, f.log.Count("cutoffs are gone"))
				} else {
					assert.Equal(t, 1, f.log.Count(append(x.want, "level=WARN", "cutoffs are gone", own.Name)...), f.log.String())
				}
			})
		})
	}
}

func TestIDsThatPruningDropsDoNotLookRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		old, older := f.issue(1000*day), f.issue(1000*day)
		f.revoke(old)
		f.revoke(older)
		f.pass(91 * day)
		young := f.issue(1000 * day)
		f.revoke(young)
		require.NoError(t, dataplane.Revoke(t.Context(), f.store.Memory, "default", someID))
		f.start()
		_, err := dataplane.PruneRevocations(t.Context(), f.store.Memory, "default", 90*day, false)
		require.NoError(t, err)
		f.pass(time.Minute)
		assert.Equal(t, 1, f.log.Count("level=INFO", "a revocation list was pruned", "ids=2"))
		assert.Zero(t, f.log.Count("level=WARN"), f.log.String())
		f.restore(young)
		f.pass(time.Minute)
		assert.Equal(t, 1, f.log.Count("level=WARN", "ids are gone from a revocation list", "ids=1"))

		// Both at once, as when the list vanishes.
		_, claims := inside(t, old)
		ref := revocation.Dataplane("default")
		require.NoError(t, ref.Add(t.Context(), f.store.Memory, claims.ID))
		f.pass(time.Minute)
		require.NoError(t, f.store.Memory.Delete(t.Context(), ref.Scope, ref.Name))
		f.pass(time.Minute)
		assert.Equal(t, 1, f.log.Count("level=INFO", "a revocation list was pruned", "ids=1"))
		assert.Equal(t, 2, f.log.Count("level=WARN", "ids are gone from a revocation list", "ids=1"))
		f.refuses(old, token.ErrRevoked)
	})
}

func TestCutoffsOfAStoreThatHasEachNameOnceAreWrittenWhereTheyAre(t *testing.T) {
	memory := keystore.NewMemory()
	global := revocation.DataplaneCutoffsGlobal("default")
	first := dataplane.Cutoff{Before: time.Now().Add(-time.Hour).Truncate(time.Second).UTC()}
	_, err := global.Add(t.Context(), memory, revocation.Cutoff{Before: first.Before})
	require.NoError(t, err)
	store := flatStore{memory}
	ctx, log := audited(t)
	second, err := dataplane.CutOff(ctx, store, "default", dataplane.Cutoff{Before: time.Now(), Name: "dp-1"})
	require.NoError(t, err)
	all, err := dataplane.Cutoffs(t.Context(), store, "default")
	require.NoError(t, err)
	assert.Equal(t, []dataplane.Cutoff{first, second}, all)

	old := "01890a5d-ac96-774b-bcce-b302099a8057" // of July 2023
	require.NoError(t, dataplane.Revoke(t.Context(), store, "default", old, "tells-no-time"))
	pruning, err := dataplane.PruneRevocations(ctx, store, "default", 90*day, false)
	require.NoError(t, err)
	require.NoError(t, dataplane.RemoveCutoff(ctx, store, "default", second))
	assert.Equal(t, 1, log.Count("audit: done", `action="cut off"`, "mesh=default", "name=dp-1"), "one decision is one event")
	assert.Equal(t, 1, log.Count("audit: done", "action=prune", "mesh=default", "before="+pruning.Floor.Format(time.RFC3339), "dropped=1"))
	assert.Equal(t, 1, log.Count("audit: done", `action="remove cutoff"`, "name=dp-1"))
	assert.Equal(t, 3, log.Count("audit: "))
	kept, err := global.Load(t.Context(), memory)
	require.NoError(t, err)
	assert.Equal(t, pruning.Floor, kept.Floor())
}

// flatStore is a store in which a mesh cannot have a record that the global scope has.
type flatStore struct{ *keystore.Memory }

func (s flatStore) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if _, err := s.Memory.Get(ctx, keystore.Global, r.Name); err == nil && r.Scope != keystore.Global {
		return keystore.Record{}, keystore.Failed("create", r.Scope, r.Name, keystore.ErrNameTaken)
	}
	return s.Memory.Create(ctx, r)
}
