package dataplane_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf16"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

func TestRevokeTakesATokenBackUntilItIsRestored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		taken, kept := f.issue(30*day), f.issue(30*day)
		_, claims := inside(t, taken)
		for range 2 {
			f.accepts(taken)
			f.revoke(taken)
			synctest.Wait()
			f.refuses(taken, token.ErrRevoked)
			assert.ErrorContains(t, f.check(taken), claims.ID)
			f.accepts(kept)
			list, err := dataplane.Revoked(t.Context(), f.store, "default")
			require.NoError(t, err)
			assert.Equal(t, []string{claims.ID}, list.IDs())

			f.restore(taken)
			synctest.Wait()
			list, err = dataplane.Revoked(t.Context(), f.store, "default")
			require.NoError(t, err)
			assert.Zero(t, list.Len())
		}
		f.accepts(taken)
	})
}

func TestRevokeTakesBackManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		raws := []string{f.issue(30 * day), f.issue(30 * day), f.issue(30 * day)}
		for _, raw := range raws {
			go func() { f.revoke(raw) }() // each a caller of its own, so that they meet
		}
		f.pass(time.Second)
		for _, raw := range raws {
			f.refuses(raw, token.ErrRevoked)
		}
	})
}

func TestRevokeNeedsAMesh(t *testing.T) {
	store := newFaultStore()
	for _, mesh := range []string{"", "*", "a/b", strings.Repeat("m", 129)} {
		assert.ErrorIs(t, dataplane.Revoke(t.Context(), store, mesh, "id"), keystore.ErrName, "%q", mesh)
		assert.ErrorIs(t, dataplane.Restore(t.Context(), store, mesh, "id"), keystore.ErrName, "%q", mesh)
		_, err := dataplane.Revoked(t.Context(), store, mesh)
		assert.ErrorIs(t, err, keystore.ErrName, "%q", mesh)
	}
	assert.Zero(t, len(store.readsSoFar()))
}

func TestRevokeRefusesWhatIsNoID(t *testing.T) {
	store := keystore.NewMemory()
	for _, id := range []string{"", "a,b", "a b", "a\n", "größe", strings.Repeat("i", 257)} {
		assert.ErrorIs(t, dataplane.Revoke(t.Context(), store, "default", "good", id), revocation.ErrID, "%q", id)
	}
	assert.Empty(t, listAll(t, store))
}

func TestValidatorRefusesATokenThatIsOnEitherList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		inMesh, inGlobal, inNone := f.issue(30*day), f.issue(30*day), f.issue(30*day)
		_, claims := inside(t, inGlobal)
		f.revoke(inMesh)
		require.NoError(t, revocation.DataplaneGlobal("default").Add(t.Context(), f.store.Memory, claims.ID))
		synctest.Wait()
		f.refuses(inMesh, token.ErrRevoked)
		f.refuses(inGlobal, token.ErrRevoked)
		f.accepts(inNone)

		// An unreadable list does not hide what is on the other one.
		mesh, global := revocation.Dataplane("default"), revocation.DataplaneGlobal("default")
		replaceRecord(t, f.store.Memory, mesh.Scope, mesh.Name, []byte("\x00\x01"))
		synctest.Wait()
		f.refuses(inGlobal, token.ErrRevoked)
		f.cannotTell(inNone)
		f.cannotTell(inMesh)
		require.NoError(t, f.store.Delete(t.Context(), mesh.Scope, mesh.Name))
		_, claims = inside(t, inMesh)
		require.NoError(t, mesh.Add(t.Context(), f.store.Memory, claims.ID))
		replaceRecord(t, f.store.Memory, global.Scope, global.Name, []byte("\x00\x01"))
		synctest.Wait()
		f.refuses(inMesh, token.ErrRevoked)
		f.cannotTell(inNone)
	})
}

func TestValidatorAppliesAListInTheGlobalScopeToItsMeshAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "default-2", 1, testKey(1))
		raw := f.issue(30 * day)
		_, claims := inside(t, raw)
		f.start()
		for _, name := range []string{
			"dataplane-token-revocations-default-2", "dataplane-token-revocations-", "dataplane-token-revocations",
			"dataplane-token-revocations-defaul", "zone-token-revocations", "Dataplane-token-revocations-default",
		} {
			putRecord(t, f.store.Memory, keystore.Global, name, []byte(claims.ID))
		}
		f.pass(time.Minute)
		f.accepts(raw)
	})
}

func TestValidatorReadsAListHoweverItIsWritten(t *testing.T) {
	inUTF16 := func(text string) []byte {
		data := []byte{0xff, 0xfe}
		for _, unit := range utf16.Encode([]rune(text)) {
			data = binary.LittleEndian.AppendUint16(data, unit)
		}
		return data
	}
	const revoked, accepted, unknown = "revoked", "accepted", "could not know"
	for name, c := range map[string]struct {
		list    func(id string) []byte
		listed  string // the answer to the token that has the id
		other   string
		problem bool
	}{
		"no record":                {nil, accepted, accepted, false},
		"nothing":                  {func(string) []byte { return nil }, accepted, accepted, false},
		"white space":              {func(string) []byte { return []byte(" \r\n\t") }, accepted, accepted, false},
		"a comma":                  {func(string) []byte { return []byte(",") }, accepted, accepted, false},
		"the id alone":             {func(id string) []byte { return []byte(id) }, revoked, accepted, false},
		"a comma at the end":       {func(id string) []byte { return []byte("a," + id + ",") }, revoked, accepted, false},
		"a blank":                  {func(id string) []byte { return []byte("a, " + id) }, revoked, accepted, false},
		"CRLF at the end":          {func(id string) []byte { return []byte("a," + id + "\r\n") }, revoked, accepted, false},
		"line ends alone":          {func(id string) []byte { return []byte("a\n" + id + "\n\n") }, revoked, accepted, false},
		"a BOM first":              {func(id string) []byte { return []byte("\ufeff" + id + ",b") }, revoked, accepted, false},
		"empty items":              {func(id string) []byte { return []byte(",," + id + ",") }, revoked, accepted, false},
		"tabs":                     {func(id string) []byte { return []byte("\ta\t,\t" + id + "\t") }, revoked, accepted, false},
		"an id in upper case":      {func(id string) []byte { return []byte(strings.ToUpper(id)) }, accepted, accepted, false},
		"an id in braces":          {func(id string) []byte { return []byte("{" + id + "}") }, accepted, accepted, false},
		"an id after urn:uuid:":    {func(id string) []byte { return []byte("urn:uuid:" + id) }, accepted, accepted, false},
		"malformed items":          {func(id string) []byte { return []byte("größe," + id + ",\xff") }, revoked, accepted, true},
		"UTF-16":                   {inUTF16, unknown, unknown, true},
		"not one readable id":      {func(string) []byte { return []byte("größe,\xff") }, unknown, unknown, true},
		"an item that is too long": {func(string) []byte { return []byte(strings.Repeat("a", 257)) }, unknown, unknown, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				listed, other := f.issue(30*day), f.issue(30*day)
				_, claims := inside(t, listed)
				ref := revocation.Dataplane("default")
				if c.list != nil {
					putRecord(t, f.store.Memory, ref.Scope, ref.Name, c.list(claims.ID))
				}
				f.start()
				f.pass(5 * time.Minute)
				for raw, want := range map[string]string{listed: c.listed, other: c.other} {
					switch want {
					case accepted:
						f.accepts(raw)
					case revoked:
						f.refuses(raw, token.ErrRevoked)
					case unknown:
						f.cannotTell(raw)
						assert.ErrorIs(t, f.check(raw), revocation.ErrUnreadable)
						assert.ErrorContains(t, f.check(raw), ref.Name)
					}
				}
				problems := f.log.Count("level=WARN", "record problem", ref.Name)
				if c.problem {
					assert.NotZero(t, problems)
				} else {
					assert.Zero(t, problems)
				}
				f.pass(5 * time.Minute)
				assert.Equal(t, problems, f.log.Count("level=WARN", "record problem", ref.Name), "reported again")
			})
		})
	}
}

func TestValidatorAppliesAnUnreadableListToItsMeshAloneAndUntilItIsRepaired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "other", 1, testKey(1))
		ofDefault, ofOther := f.issue(30*day), issue(t, f.issuer, "other", 30*day)
		ref := revocation.Dataplane("default")
		putRecord(t, f.store.Memory, ref.Scope, ref.Name, []byte("\x00"))
		f.start()
		f.cannotTell(ofDefault)
		assert.NoError(t, check(t, f.validator, "other", ofOther))
		expired := f.issue(time.Second)
		f.pass(time.Minute)
		f.refuses(expired, token.ErrExpired)

		_, claims := inside(t, ofDefault)
		replaceRecord(t, f.store.Memory, ref.Scope, ref.Name, []byte(claims.ID))
		synctest.Wait()
		f.refuses(ofDefault, token.ErrRevoked)
		f.accepts(f.issue(30 * day))
	})
}

func TestValidatorReportsRevocationBeforeExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		raw := f.issue(time.Minute)
		f.revoke(raw)
		f.pass(time.Hour)
		f.refuses(raw, token.ErrRevoked)
	})
}

func TestRevokedReadsBothListsOfTheMeshAndNeverTakesAnErrorForAnEmptyOne(t *testing.T) {
	store := newFaultStore()
	list, err := dataplane.Revoked(t.Context(), store, "default")
	require.NoError(t, err)
	assert.Zero(t, list.Len())

	require.NoError(t, revocation.Dataplane("default").Add(t.Context(), store, "in-mesh"))
	require.NoError(t, revocation.DataplaneGlobal("default").Add(t.Context(), store, "in-global"))
	require.NoError(t, dataplane.Revoke(t.Context(), store, "default", "b", "a"))
	list, err = dataplane.Revoked(t.Context(), store, "default")
	require.NoError(t, err)
	assert.Equal(t, []string{"a", "b", "in-global", "in-mesh"}, list.IDs())

	for _, ref := range []revocation.Ref{revocation.Dataplane("default"), revocation.DataplaneGlobal("default")} {
		before, err := store.Get(t.Context(), ref.Scope, ref.Name)
		require.NoError(t, err)
		replaceRecord(t, store, ref.Scope, ref.Name, []byte("\x00"))
		_, err = dataplane.Revoked(t.Context(), store, "default")
		assert.ErrorIs(t, err, revocation.ErrUnreadable)
		assert.ErrorIs(t, dataplane.Revoke(t.Context(), store, "default", "c"), revocation.ErrUnreadable)
		assert.ErrorIs(t, dataplane.Restore(t.Context(), store, "default", "a"), revocation.ErrUnreadable)
		replaceRecord(t, store, ref.Scope, ref.Name, before.Data)
	}
}
