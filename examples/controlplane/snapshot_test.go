package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
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

// sent reads a snapshot and takes it over the wire.
func sent(t *testing.T, store keystore.KeyStore) snapshot {
	s, problems, err := readSnapshot(t.Context(), store)
	require.NoError(t, err)
	require.Empty(t, problems)
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
