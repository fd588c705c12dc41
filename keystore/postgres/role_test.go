package postgres_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
)

// The rights that README lists.
const grants = `CREATE ROLE control_plane LOGIN;
GRANT USAGE ON SCHEMA mesh TO control_plane;
GRANT SELECT ON mesh.meshpass_schema TO control_plane;
GRANT SELECT, INSERT, UPDATE, DELETE ON mesh.meshpass_records TO control_plane;

CREATE ROLE zone_control_plane LOGIN;
GRANT USAGE ON SCHEMA mesh TO zone_control_plane;
GRANT SELECT ON mesh.meshpass_schema, mesh.meshpass_records TO zone_control_plane;
`

func TestReadmeRolesHaveTheRightsThatAStoreNeeds(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), grants)
	admin := engines.NewPostgres(t).NewDatabase(t)
	execute(t, admin, "CREATE SCHEMA mesh")
	migrate(t, with(admin, "search_path", "mesh"))
	execute(t, admin, grants)
	as := func(role string) string {
		return with(strings.Replace(admin, "postgres@", role+"@", 1), "search_path", "mesh")
	}

	storetest.LifeOfAToken(t, opener(as("control_plane")))
	writer, reader := open(t, as("control_plane")), open(t, as("zone_control_plane"))
	require.NoError(t, writer.Migrate(t.Context()), "there is nothing to do, so no right is needed")

	created, err := writer.Create(t.Context(), keystore.Record{Scope: "mesh-2", Name: "key-1", Data: []byte("content")})
	require.NoError(t, err)
	got, err := reader.Get(t.Context(), "mesh-2", "key-1")
	require.NoError(t, err)
	require.Equal(t, created, got)
	w := watch(t, reader)
	w.waitFor(keystore.AllScopes)
	_, err = writer.Update(t.Context(), created)
	require.NoError(t, err)
	w.waitFor("mesh-2")

	_, err = reader.Create(t.Context(), keystore.Record{Scope: "mesh-2", Name: "key-2"})
	require.ErrorIs(t, err, keystore.ErrReadOnly)
	_, err = reader.Update(t.Context(), got)
	require.ErrorIs(t, err, keystore.ErrReadOnly)
	require.ErrorIs(t, reader.Delete(t.Context(), "mesh-2", "key-1"), keystore.ErrReadOnly)

	execute(t, admin, "REVOKE SELECT ON mesh.meshpass_records FROM zone_control_plane")
	_, err = reader.Get(t.Context(), "mesh-2", "key-1")
	require.ErrorContains(t, err, "permission denied")
	require.NotErrorIs(t, err, keystore.ErrReadOnly)
	execute(t, admin, "CREATE SCHEMA other; GRANT USAGE ON SCHEMA other TO control_plane")
	elsewhere := open(t, strings.Replace(as("control_plane"), "search_path=mesh", "search_path=other", 1))
	require.ErrorIs(t, elsewhere.Migrate(t.Context()), keystore.ErrReadOnly)
}
