package main

import (
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// adminClient is a client of what a control plane serves on its socket.
func adminClient(t *testing.T, authorize httpapi.Authorizer, dataplanes dataplane.Issuer) *httpapi.Client {
	zones, err := zone.NewDisabledIssuer()
	require.NoError(t, err)
	admin, err := newAdmin(keystore.NewMemory(), dataplanes, zones, authorize, quiet)
	require.NoError(t, err)
	server := httptest.NewServer(admin)
	t.Cleanup(server.Close)
	client, err := httpapi.NewClient(server.URL, server.Client())
	require.NoError(t, err)
	return client
}

func TestZoneIssuesDataplaneTokensWithItsOwnKeyAndRevokesNothing(t *testing.T) {
	issuer, options, err := ownIssuer(t.Context(), keystore.NewMemory(), "west", "default", true)
	require.NoError(t, err)
	client := adminClient(t, authorizeInZone, issuer)

	issued, err := client.IssueDataplane(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	require.NoError(t, err)
	require.Equal(t, "west-1", keyID(issued.Token))
	validator, err := dataplane.NewOfflineValidator(append(options, dataplane.WithLogger(quiet))...)
	require.NoError(t, err)
	defer validator.Close()
	_, err = validator.Validate(t.Context(), "default", issued.Token)
	require.NoError(t, err)

	_, err = client.IssueZone(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	require.ErrorIs(t, err, token.ErrIssuingDisabled)
	err = client.RevokeDataplane(t.Context(), "default", "some-id")
	require.ErrorIs(t, err, token.ErrDenied)
	require.ErrorContains(t, err, "global control plane")
	require.ErrorIs(t, client.RestoreDataplane(t.Context(), "default", "some-id"), token.ErrDenied)
	_, err = client.MakeGlobalList(t.Context(), "default")
	require.ErrorIs(t, err, token.ErrDenied)
	cutoff := dataplane.Cutoff{Before: time.Now()}
	_, err = client.CutOffDataplane(t.Context(), "default", cutoff)
	require.ErrorIs(t, err, token.ErrDenied)
	require.ErrorIs(t, client.RemoveCutoffDataplane(t.Context(), "default", cutoff), token.ErrDenied)
	_, _, err = client.CreateKeyDataplane(t.Context(), "default", nil)
	require.ErrorIs(t, err, token.ErrDenied)
	_, err = client.AddKeyDataplane(t.Context(), "default", 0)
	require.ErrorIs(t, err, token.ErrDenied)
	require.ErrorIs(t, client.RemoveKeyDataplane(t.Context(), "default", 1, httpapi.KeyRemoval{}), token.ErrDenied)
	keys, _, err := client.KeyStatesDataplane(t.Context(), "default")
	require.NoError(t, err)
	require.Empty(t, keys)
}

func TestZoneWhoseIssuerIsNotEnabledIssuesAndAcceptsNoTokensOfItsOwn(t *testing.T) {
	own := keystore.NewMemory()
	issuer, options, err := ownIssuer(t.Context(), own, "west", "default", false)
	require.NoError(t, err)
	require.Empty(t, options)
	_, err = adminClient(t, authorizeInZone, issuer).IssueDataplane(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	require.ErrorIs(t, err, token.ErrIssuingDisabled)
	records, err := own.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Empty(t, records, "it has no key")
}

func TestGlobalLetsItsOperatorRevokeAndRotate(t *testing.T) {
	issuer, err := dataplane.NewDisabledIssuer()
	require.NoError(t, err)
	client := adminClient(t, authorizeAll, issuer)
	require.NoError(t, client.RevokeDataplane(t.Context(), "default", "some-id"))
	ids, err := client.RevokedDataplane(t.Context(), "default")
	require.NoError(t, err)
	require.Equal(t, []string{"some-id"}, ids)

	_, created, err := client.CreateKeyDataplane(t.Context(), "default", nil)
	require.NoError(t, err)
	require.True(t, created)
	added, err := client.AddKeyDataplane(t.Context(), "default", 0)
	require.NoError(t, err)
	require.Equal(t, "2", added.KeyID)
	require.NoError(t, client.RemoveKeyDataplane(t.Context(), "default", 1, httpapi.KeyRemoval{}))
}
