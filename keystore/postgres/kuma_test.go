package postgres_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/keystoretest"
	"github.com/meshpass/meshpass/keystore/postgres"
)

// kumaTable makes the table as the migrations of Kuma 2.7 to 3.0 leave it: the columns,
// their types and defaults, the keys and what the trigger announces.
const kumaTable = `
	CREATE TABLE resources (
		name varchar(253) NOT NULL,
		mesh varchar(100) NOT NULL,
		type varchar(100) NOT NULL,
		version integer NOT NULL,
		spec text,
		creation_time timestamp NOT NULL DEFAULT now(),
		modification_time timestamp NOT NULL DEFAULT now(),
		owner_name varchar(100),
		owner_mesh varchar(100),
		owner_type varchar(100),
		labels jsonb DEFAULT '{}',
		status jsonb NOT NULL DEFAULT '{}',
		CONSTRAINT resources_pkey PRIMARY KEY (name, mesh, type),
		CONSTRAINT owner_fk FOREIGN KEY (owner_name, owner_mesh, owner_type) REFERENCES resources (name, mesh, type) ON DELETE CASCADE
	);
	CREATE INDEX owner_fk_index ON resources (owner_type, owner_mesh, owner_name);
	CREATE FUNCTION notify_event() RETURNS trigger LANGUAGE plpgsql AS $$
	DECLARE
		changed record := CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
	BEGIN
		PERFORM pg_notify('resource_events', json_build_object('action', TG_OP,
			'data', json_build_object('name', changed.name, 'mesh', changed.mesh, 'type', changed.type))::text);
		RETURN NULL;
	END $$;
	CREATE TRIGGER products_notify_event AFTER INSERT OR UPDATE OR DELETE ON resources FOR EACH ROW EXECUTE PROCEDURE notify_event();`

// everyMesh makes each mesh when something is about to be stored in it, for tests that use
// many.
const everyMesh = `
	CREATE FUNCTION make_mesh() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
	BEGIN
		INSERT INTO resources (name, mesh, type, version, spec) VALUES (NEW.mesh, '', 'Mesh', 0, '{}') ON CONFLICT DO NOTHING;
		RETURN NEW;
	END $$;
	CREATE TRIGGER make_mesh BEFORE INSERT ON resources FOR EACH ROW WHEN (NEW.type = 'Secret') EXECUTE FUNCTION make_mesh();`

// newKuma makes a database with the table of a Kuma whose meshes are default and prod.
func newKuma(t testing.TB) (url string) {
	t.Helper()
	url = engines.SharedPostgres(t).NewDatabase(t)
	execute(t, url, kumaTable)
	makeMeshes(t, url, "default", "prod")
	return url
}

func makeMeshes(t testing.TB, url string, names ...string) {
	t.Helper()
	for _, name := range names {
		execute(t, url, "INSERT INTO resources (name, mesh, type, version, spec) VALUES ('"+name+"', '', 'Mesh', 0, '{}')")
	}
}

func openKuma(t testing.TB, url string) *postgres.Store {
	t.Helper()
	store, err := postgres.NewKuma(newPool(t, url))
	require.NoError(t, err)
	return store
}

func kumaOpener(url string) storetest.Opener {
	return func(tb testing.TB) keystore.KeyStore { return openKuma(tb, url) }
}

func spoilKuma(t testing.TB, url, spec string, scope keystore.Scope, name string) {
	t.Helper()
	execute(t, url, fmt.Sprintf("UPDATE resources SET spec = %s WHERE mesh = '%s' AND name = '%s' AND type LIKE '%%Secret'", spec, scope, name))
}

// takenByKuma is Harness.Takes: the table holds meshes of up to 100 bytes.
func takenByKuma(scope keystore.Scope, _ string) bool { return len(scope) <= 100 }

func TestStoreInKumasTableConforms(t *testing.T) {
	url := engines.SharedPostgres(t).NewDatabase(t)
	execute(t, url, kumaTable+everyMesh)
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			execute(t, url, "TRUNCATE resources")
			return keystoretest.Storage{
				Open: func(t *testing.T) keystore.KeyStore { return openKuma(t, url) },
				OpenReadOnly: func(t *testing.T) keystore.KeyStore {
					return openKuma(t, with(url, "default_transaction_read_only", "on"))
				},
				Spoil: func(t *testing.T, scope keystore.Scope, name string) { spoilKuma(t, url, "NULL", scope, name) },
			}
		},
		MaxData: maxData,
		Takes:   takenByKuma,
	})
}
