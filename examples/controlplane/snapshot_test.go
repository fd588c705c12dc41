package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// globalStore is a store with keys of two meshes and of zones, and revocations of both kinds.
func globalStore(t *testing.T) keystore.KeyStore {
	store := keystore.NewMemory()
	for _, mesh := range []string{"default", "default-2"} {
		_, err := dataplane.EnsureKey(t.Context(), store, mesh)
		require.NoError(t, err)
	}
	_, err := zone.EnsureKey(t.Context(), store)
	require.NoError(t, err)
	require.NoError(t, dataplane.Revoke(t.Context(), store, "default", "id-1"))
	require.NoError(t, zone.Revoke(t.Context(), store, "id-2"))
	return store
}

// sent reads a snapshot without problems and takes it over the wire.
func sent(t *testing.T, store keystore.KeyStore) snapshot {
	s, problems, err := readSnapshot(t.Context(), store)
	require.NoError(t, err)
	require.Empty(t, problems)
	return onTheWire(t, s)
}

func onTheWire(t *testing.T, s snapshot) snapshot {
	encoded, err := s.encode()
	require.NoError(t, err)
	decoded, err := decodeSnapshot(encoded)
	require.NoError(t, err)
	return decoded
}

func namesIn(t *testing.T, store keystore.KeyStore) (names []string) {
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	for _, r := range records {
		names = append(names, string(r.Scope)+"/"+r.Name)
	}
	return names
}

func TestSnapshotBringsAZonePublicKeysAndRevocationsOfBothKindsAndNoPrivateKey(t *testing.T) {
	atZone := keystore.NewMemory()
	changes, err := sent(t, globalStore(t)).applyTo(t.Context(), atZone)
	require.NoError(t, err)
	require.Equal(t, 5, changes)
	require.Equal(t, []string{
		"/zone-token-revocations",
		"/zone-token-signing-public-key-1",
		"default/dataplane-token-revocations-default",
		"default/dataplane-token-signing-public-key-default-1",
		"default-2/dataplane-token-signing-public-key-default-2-1",
	}, namesIn(t, atZone))
	records, err := atZone.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	for _, r := range records {
		require.NotContains(t, string(r.Data), "PRIVATE")
	}
}

func TestSnapshotSufficesForAZoneToAdmitATokenOfTheGlobal(t *testing.T) {
	global, atZone := globalStore(t), keystore.NewMemory()
	_, err := sent(t, global).applyTo(t.Context(), atZone)
	require.NoError(t, err)
	issuer, err := dataplane.NewIssuer(global)
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default-2", Name: "dp-1"}, 1e12)
	require.NoError(t, err)

	validator, err := dataplane.NewValidator(atZone)
	require.NoError(t, err)
	defer validator.Close()
	verified, err := validator.Validate(t.Context(), "default-2", issued.Token)
	require.NoError(t, err)
	require.Equal(t, "dp-1", verified.Claims().Name)
}

func TestSnapshotRemovesFromTheZoneWhatTheGlobalRemovedAndNothingElse(t *testing.T) {
	global, atZone := globalStore(t), keystore.NewMemory()
	_, err := sent(t, global).applyTo(t.Context(), atZone)
	require.NoError(t, err)
	copied := keystore.Record{Scope: "default", Name: signing.DataplaneKeys("default").KeyName(1), Data: []byte("an operator's copy")}
	_, err = atZone.Create(t.Context(), copied)
	require.NoError(t, err)

	require.NoError(t, dataplane.RemoveAllKeys(t.Context(), global, "default-2"))
	require.NoError(t, dataplane.Revoke(t.Context(), global, "default", "id-3"))
	changes, err := sent(t, global).applyTo(t.Context(), atZone)
	require.NoError(t, err)
	require.Equal(t, 2, changes, "the key and the list, and nothing else is written")
	require.Equal(t, []string{
		"/zone-token-revocations",
		"/zone-token-signing-public-key-1",
		"default/dataplane-token-revocations-default",
		"default/dataplane-token-signing-key-default-1",
		"default/dataplane-token-signing-public-key-default-1",
	}, namesIn(t, atZone))
	list, err := dataplane.Revoked(t.Context(), atZone, "default")
	require.NoError(t, err)
	require.Equal(t, []string{"id-1", "id-3"}, list.IDs())
}

func TestSnapshotBringsAZoneCutoffsAndTakesThemBack(t *testing.T) {
	global, atZone := globalStore(t), keystore.NewMemory()
	issuer, err := dataplane.NewIssuer(global)
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	require.NoError(t, err)
	validate := func() error {
		validator, err := dataplane.NewValidator(atZone)
		require.NoError(t, err)
		defer validator.Close()
		_, err = validator.Validate(t.Context(), "default", issued.Token)
		return err
	}
	cutoff, err := dataplane.CutOff(t.Context(), global, "default", dataplane.Cutoff{Before: time.Now().Add(token.Skew), Name: "dp-1"})
	require.NoError(t, err)
	_, err = zone.CutOff(t.Context(), global, zone.Cutoff{Before: time.Now(), Zone: "west"})
	require.NoError(t, err)
	_, err = sent(t, global).applyTo(t.Context(), atZone)
	require.NoError(t, err)
	require.ErrorIs(t, validate(), token.ErrRevoked)
	ofZones, err := zone.Cutoffs(t.Context(), atZone)
	require.NoError(t, err)
	require.Len(t, ofZones, 1)

	require.NoError(t, dataplane.RemoveCutoff(t.Context(), global, "default", cutoff))
	_, err = sent(t, global).applyTo(t.Context(), atZone)
	require.NoError(t, err)
	require.NoError(t, validate())
}

func TestSnapshotWithARecordThatCannotBeReadLetsAZoneKnowNothingOfWhatDependsOnIt(t *testing.T) {
	inner := globalStore(t)
	global := storetest.NewSpoilt(inner)
	issuer, err := dataplane.NewIssuer(inner)
	require.NoError(t, err)
	tokens := map[string]string{}
	for _, mesh := range []string{"default", "default-2"} {
		issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: mesh}, time.Hour)
		require.NoError(t, err)
		tokens[mesh] = issued.Token
		_, err = dataplane.CutOff(t.Context(), inner, mesh, dataplane.Cutoff{Before: time.Now().Add(-time.Hour)})
		require.NoError(t, err)
	}
	require.NoError(t, dataplane.Revoke(t.Context(), inner, "default-2", "id-4"))
	stray := keystore.Record{Scope: "default", Name: revocation.DataplaneCutoffs("default-2").Name}
	_, err = inner.Create(t.Context(), stray)
	require.NoError(t, err)
	for _, c := range []struct {
		name   string
		reason error
		scope  keystore.Scope // as the store says it
	}{
		{revocation.DataplaneCutoffs("default-2").Name, errors.New("of another user"), "default-2"},
		{revocation.Dataplane("default-2").Name, errors.New("of another user"), "default-2"},
		{revocation.DataplaneCutoffs("default-2").Name, keystore.ErrScopeUnknown, "default"},
		{signing.DataplaneKeys("default-2").KeyName(1), errors.New("of another user"), "default-2"},
	} {
		global.Spoil(c.scope, c.name, c.reason)
		s, problems, err := readSnapshot(t.Context(), global)
		require.NoError(t, err)
		require.Len(t, problems, 1)
		require.ErrorIs(t, problems[0], c.reason)
		global.Spoil(c.scope, c.name, nil)

		atZone := keystore.NewMemory()
		_, err = onTheWire(t, s).applyTo(t.Context(), atZone)
		require.NoError(t, err)
		validator, err := dataplane.NewValidator(atZone, dataplane.WithLogger(quiet))
		require.NoError(t, err)
		_, err = validator.Validate(t.Context(), "default", tokens["default"])
		require.NoError(t, err, c.name)
		_, err = validator.Validate(t.Context(), "default-2", tokens["default-2"])
		require.ErrorIs(t, err, token.ErrUnavailable, c.name)

		_, err = sent(t, global).applyTo(t.Context(), atZone)
		require.NoError(t, err)
		require.Eventually(t, func() bool {
			_, err = validator.Validate(t.Context(), "default-2", tokens["default-2"])
			return err == nil
		}, time.Minute, time.Millisecond, c.name)
		require.NoError(t, validator.Close())
	}
}

func TestSnapshotReachesAZoneBesideARecordThatTheZoneCannotRead(t *testing.T) {
	global, atZone := globalStore(t), storetest.NewSpoilt(keystore.NewMemory())
	_, err := sent(t, global).applyTo(t.Context(), atZone)
	require.NoError(t, err)
	atZone.Spoil("default", revocation.Dataplane("default").Name, errors.New("of another user"))
	for _, mesh := range []string{"default", "default-2"} {
		require.NoError(t, dataplane.Revoke(t.Context(), global, mesh, "id-5"))
	}
	changes, err := sent(t, global).applyTo(t.Context(), atZone)
	require.NoError(t, err)
	require.Equal(t, 1, changes)
	list, err := dataplane.Revoked(t.Context(), atZone, "default-2")
	require.NoError(t, err)
	require.Equal(t, []string{"id-5"}, list.IDs())

	atZone.Spoil("default", revocation.Dataplane("default").Name, nil)
	changes, err = sent(t, global).applyTo(t.Context(), atZone)
	require.NoError(t, err)
	require.Equal(t, 1, changes)
}

// ordered remembers the order of the names that are written.
type ordered struct {
	keystore.KeyStore
	written []string
	onList  func(prefix string) // after the read
}

func (o *ordered) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	records, err := o.KeyStore.List(ctx, scope, prefix)
	if o.onList != nil {
		o.onList(prefix)
	}
	return records, err
}

func (o *ordered) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	o.written = append(o.written, r.Name)
	return o.KeyStore.Create(ctx, r)
}

func (o *ordered) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	o.written = append(o.written, r.Name)
	return o.KeyStore.Update(ctx, r)
}

func TestSnapshotNeverBringsAPrunedListWithoutItsFloor(t *testing.T) {
	const old = "0192a000-0000-7000-8000-000000000001" // of October 2024
	prefixes := []string{dataplaneRevocations, zoneRevocations, dataplaneCutoffs, zoneCutoffs}
	for _, at := range prefixes {
		memory := globalStore(t)
		require.NoError(t, dataplane.Revoke(t.Context(), memory, "default", old))
		global := &ordered{KeyStore: memory}
		global.onList = func(prefix string) {
			if prefix == at { // another process prunes between two reads
				_, err := dataplane.PruneRevocations(t.Context(), memory, "default", 24*time.Hour, false)
				require.NoError(t, err)
			}
		}
		s := sent(t, global)
		atZone := keystore.NewMemory()
		_, err := s.applyTo(t.Context(), atZone)
		require.NoError(t, err)
		list, err := dataplane.Revoked(t.Context(), atZone, "default")
		require.NoError(t, err)
		cutoffs, err := revocation.DataplaneCutoffs("default").Load(t.Context(), atZone)
		require.NoError(t, err)
		require.True(t, list.Contains(old) || !cutoffs.Floor().IsZero(), "pruned after the read of %s", at)
	}
}

func TestSnapshotIsWrittenWithTheFloorBeforeThePrunedList(t *testing.T) {
	const old = "0192a000-0000-7000-8000-000000000001"
	global, atZone := globalStore(t), &ordered{KeyStore: keystore.NewMemory()}
	require.NoError(t, dataplane.Revoke(t.Context(), global, "default", old))
	_, err := sent(t, global).applyTo(t.Context(), atZone)
	require.NoError(t, err)
	atZone.written = nil
	_, err = dataplane.PruneRevocations(t.Context(), global, "default", 24*time.Hour, false)
	require.NoError(t, err)
	_, err = sent(t, global).applyTo(t.Context(), atZone)
	require.NoError(t, err)
	require.Equal(t, []string{"dataplane-token-cutoffs-default", "dataplane-token-revocations-default"}, atZone.written)
}

func TestSnapshotCannotBringAZoneAnythingElse(t *testing.T) {
	for _, name := range []string{
		signing.DataplaneKeys("default").KeyName(1),
		signing.ZoneKeys().KeyName(1),
		"something-else",
	} {
		atZone := keystore.NewMemory()
		s := snapshot{Records: []publicRecord{{Mesh: "default", Name: name, Data: []byte("x")}}}
		_, err := s.applyTo(t.Context(), atZone)
		require.ErrorContains(t, err, name)
		require.Empty(t, namesIn(t, atZone))
	}
}
