package dataplane_test

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

var errDenied = errors.New("permission denied")

func keyRecord(mesh string, serial signing.Serial) string {
	return signing.DataplaneKeys(mesh).KeyName(serial)
}

// newSpoilt has keys 1 and 2 of mesh default, and tokens that they signed.
func newSpoilt(t testing.TB) (f *following, spoilt *storetest.Spoilt, first, second string) {
	f = newFollowing(t)
	spoilt = storetest.NewSpoilt(f.store.Memory)
	f.store.setList(spoilt.List)
	first = f.issue(30 * day)
	putKey(t, f.store.Memory, "default", 2, testKey(1))
	return f, spoilt, first, f.issue(30 * day)
}

func TestValidatorServesEverythingButTheTokensOfAKeyWhoseRecordCannotBeRead(t *testing.T) {
	for _, first := range []bool{false, true} {
		t.Run(fmt.Sprintf("from the first read on: %t", first), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, spoilt, signedBy1, signedBy2 := newSpoilt(t)
				if !first {
					f.start()
					f.accepts(signedBy1)
				}
				spoilt.Spoil("default", keyRecord("default", 1), errDenied)
				if first {
					f.start()
				} else {
					f.pass(silentWatchFound)
				}
				f.cannotTell(signedBy1)
				assert.ErrorIs(t, f.check(signedBy1), errDenied)
				f.accepts(signedBy2)
				f.refuses(tampered(signedBy2), token.ErrSignature)
				f.refuses(f.withSerial("3", 2), token.ErrUnknownKey)
				assert.Equal(t, 1, f.log.Count("level=WARN", "record problem", keyRecord("default", 1), "permission denied"))
				assert.Zero(t, f.log.Count("reading the store fails"))

				spoilt.Spoil("default", keyRecord("default", 1), nil)
				f.pass(silentWatchFound)
				f.accepts(signedBy1)
			})
		})
	}
}

func TestValidatorChecksAKeyByItsPublicHalfIfThePrivateOneCannotBeRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, spoilt, signedBy1, _ := newSpoilt(t)
		putRecord(t, f.store.Memory, "default", signing.DataplaneKeys("default").PublicKeyName(1), testKey(0).Public().PEM())
		spoilt.Spoil("default", keyRecord("default", 1), errDenied)
		f.start()
		f.accepts(signedBy1)
	})
}

func TestValidatorCannotTellTheTokensOfAMeshWhoseListCannotBeRead(t *testing.T) {
	for name, list := range map[string]revocation.Ref{
		"the mesh's own list": revocation.Dataplane("default"),
		"the global list":     revocation.DataplaneGlobal("default"),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, spoilt, good, _ := newSpoilt(t)
				putKey(t, f.store.Memory, "other", 1, testKey(2))
				other := issue(t, f.issuer, "other", 30*day)
				putRecord(t, f.store.Memory, list.Scope, list.Name, []byte("some-id"))
				spoilt.Spoil(list.Scope, list.Name, errDenied)
				f.start(dataplane.WithSessionMaxStale(time.Minute))
				f.cannotTell(good)
				assert.NoError(t, check(t, f.validator, "other", other), "the list concerns another mesh")

				spoilt.Spoil(list.Scope, list.Name, nil)
				f.pass(silentWatchFound)
				session := f.session(good)
				spoilt.Spoil(list.Scope, list.Name, errDenied)
				f.pass(silentWatchFound)
				f.cannotTell(good)
				assertOpen(t, session)
				f.pass(2 * time.Minute)
				assert.ErrorIs(t, context.Cause(session), token.ErrUnavailable, "the session could not be checked for too long")
			})
		})
	}
}

// Nobody has announced that a record cannot be read, or an outage came first: what is known
// is as old as the last read that could tell.
func TestSessionEndsWithinItsLimitAfterTheLastReadThatKnewAllItsRecords(t *testing.T) {
	for name, record := range map[string]revocation.Ref{
		"the mesh's own list": revocation.Dataplane("default"),
		"the global list":     revocation.DataplaneGlobal("default"),
		"its cutoffs":         {Scope: "default", Name: revocation.DataplaneCutoffs("default").Name},
		"its key":             {Scope: "default", Name: keyRecord("default", 1)},
	} {
		for happened, happen := range map[string]func(*following, *storetest.Spoilt){
			"unannounced": func(f *following, _ *storetest.Spoilt) { f.pass(silentWatchFound) },
			"after an outage": func(f *following, spoilt *storetest.Spoilt) {
				f.store.setList(failing)
				f.pass(50 * time.Second)
				f.store.setList(spoilt.List)
			},
		} {
			t.Run(name+", "+happened, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f, spoilt, good, _ := newSpoilt(t)
					if record.Name != keyRecord("default", 1) {
						putRecord(t, f.store.Memory, record.Scope, record.Name, nil)
					}
					f.start(dataplane.WithSessionMaxStale(time.Minute))
					session, began := f.session(good), time.Now()
					spoilt.Spoil(record.Scope, record.Name, errDenied)
					happen(f, spoilt)
					f.pass(time.Minute - time.Since(began))
					f.cannotTell(good)
					assertOpen(t, session)
					f.pass(sessionCheck)
					assertEnded(t, session, token.ErrUnavailable)
				})
			})
		}
	}
}

func TestValidatorCannotTellTheTokensOfAMeshWhoseListDoesNotSayItsMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, spoilt, inDefault, _ := newSpoilt(t)
		putKey(t, f.store.Memory, "prod", 1, testKey(2))
		inProd := issue(t, f.issuer, "prod", 30*day)
		f.start()
		require.NoError(t, check(t, f.validator, "prod", inProd))

		name := revocation.Dataplane("prod").Name
		spoilt.Spoil("default", name, keystore.ErrScopeUnknown) // first, since only the record is announced
		putRecord(t, f.store.Memory, "default", name, []byte("some-id"))
		f.pass(time.Second)
		assert.ErrorIs(t, check(t, f.validator, "prod", inProd), token.ErrUnavailable)
		f.accepts(inDefault)

		spoilt.Spoil("default", name, errDenied)
		f.pass(silentWatchFound)
		assert.NoError(t, check(t, f.validator, "prod", inProd), "a record of mesh default concerns no other mesh")
		require.NoError(t, f.store.Delete(t.Context(), "default", name))
	})
}

func TestKeysGoOnBesideOneWhoseRecordCannotBeRead(t *testing.T) {
	memory := keystore.NewMemory()
	store := storetest.NewSpoilt(memory)
	for serial := range signing.Serial(3) {
		putKey(t, memory, "default", serial+1, testKey(int(serial)))
	}
	store.Spoil("default", keyRecord("default", 1), errDenied)

	keys, err := dataplane.Keys(t.Context(), store, "default")
	require.NoError(t, err)
	require.Len(t, keys, 3)
	assert.ErrorIs(t, keys[0].Err, errDenied)
	assert.ErrorIs(t, keys[0].Err, signing.ErrKey)
	assert.True(t, keys[0].Private)
	assert.True(t, keys[2].Signs)

	issued, err := newIssuer(t, store).Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
	require.NoError(t, err, "key 3 signs")
	assert.Equal(t, "3", issued.KeyID)
	added, err := dataplane.AddKey(t.Context(), store, "default", testKey(0))
	require.NoError(t, err)
	assert.Equal(t, signing.Serial(4), added.Serial)
	key, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	assert.Equal(t, signing.Serial(4), key.Serial)

	require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 1), "it can be removed")
	_, err = memory.Get(t.Context(), "default", keyRecord("default", 1))
	require.ErrorIs(t, err, keystore.ErrNotFound)
	store.Spoil("default", keyRecord("default", 3), errDenied)
	require.NoError(t, dataplane.RemoveAllKeys(t.Context(), store, "default"))
	left, err := memory.List(t.Context(), "default", "")
	require.NoError(t, err)
	assert.Empty(t, left)
}

func TestIssuerStopsAtANewestKeyWhoseRecordCannotBeRead(t *testing.T) {
	memory := keystore.NewMemory()
	store := storetest.NewSpoilt(memory)
	putKey(t, memory, "default", 1, testKey(0))
	putKey(t, memory, "default", 2, testKey(1))
	store.Spoil("default", keyRecord("default", 2), errDenied)
	for name, options := range map[string][]dataplane.IssuerOption{
		"at once":              nil,
		"with a publish delay": {dataplane.WithPublishDelay(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newIssuer(t, store, options...).Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
			require.ErrorIs(t, err, signing.ErrKey)
			require.ErrorIs(t, err, errDenied)
			assert.Contains(t, err.Error(), keyRecord("default", 2))
		})
	}
	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.ErrorIs(t, err, errDenied, "no other key is made in its place")
	require.ErrorIs(t, dataplane.RemoveKey(t.Context(), store, "default", 2), signing.ErrInUse)

	added, err := dataplane.AddKey(t.Context(), store, "default", testKey(2))
	require.NoError(t, err, "the next key is the way out")
	assert.Equal(t, signing.Serial(3), added.Serial)
	_, err = newIssuer(t, store).Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
	require.NoError(t, err)
}

func TestRotateRemovesNoKeyWhoseLastUseCannotBeTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := keystore.NewMemory()
		store := storetest.NewSpoilt(memory)
		for serial := range signing.Serial(3) {
			putKey(t, memory, "default", serial+1, testKey(int(serial)))
		}
		store.Spoil("default", keyRecord("default", 2), errDenied)
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go func() {
			_ = dataplane.Rotate(ctx, store, "default", dataplane.Rotation{Every: time.Hour, MaxLifetime: 10 * time.Hour})
		}()
		time.Sleep(time.Minute)
		synctest.Wait()
		keys, err := dataplane.Keys(t.Context(), store, "default")
		require.NoError(t, err)
		assert.Len(t, keys, 3, "the tokens of key 1 may be valid")

		store.Spoil("default", keyRecord("default", 3), errDenied)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		keys, err = dataplane.Keys(t.Context(), store, "default")
		require.NoError(t, err)
		assert.Len(t, keys, 3, "the age of the newest key cannot be told")
		stop()
		synctest.Wait()
	})
}

func TestKeyWithADamagedPrivateHalfVerifiesAndIsNoticedWhereItIsListedOrSigns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		signed := f.issue(30 * day)
		block, _ := pem.Decode(pemOf(t, testKey(0)))
		block.Bytes[len(block.Bytes)-1] ^= 1 // in the last CRT value
		replaceRecord(t, f.store, "default", keyRecord("default", 1), pem.EncodeToMemory(block))
		f.start()
		f.accepts(signed)

		keys, err := dataplane.Keys(t.Context(), f.store, "default")
		require.NoError(t, err)
		require.Len(t, keys, 1)
		assert.ErrorIs(t, keys[0].Err, signing.ErrKey)
		_, err = f.issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, day)
		assert.ErrorIs(t, err, signing.ErrKey)
	})
}
