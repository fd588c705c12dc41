package postgres_test

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/keystoretest"
	"github.com/meshpass/meshpass/keystore/postgres"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
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

func TestStoreInKumasTableConformsThroughPgBouncerInTransactionMode(t *testing.T) {
	direct, pooled := newKumaPooler(t, "transaction")
	execute(t, direct, everyMesh)
	keystoretest.Run(t, keystoretest.Harness{
		New: func(t *testing.T) keystoretest.Storage {
			execute(t, direct, "TRUNCATE resources")
			return keystoretest.Storage{Open: func(t *testing.T) keystore.KeyStore { return plain{openKuma(t, pooled)} }}
		},
		MaxData: maxData,
		Takes:   takenByKuma,
	})
}

func TestWatchOfKumasTableThroughPgBouncer(t *testing.T) {
	for mode, check := range map[string]func(t *testing.T, w *watching, write func()){
		"session": func(_ *testing.T, w *watching, write func()) {
			w.waitFor(keystore.AllScopes)
			write()
			w.waitFor("default")
		},
		"transaction": func(t *testing.T, w *watching, _ func()) {
			require.ErrorContains(t, w.waitEnd(), "session mode")
		},
	} {
		t.Run("in "+mode+" mode", func(t *testing.T) {
			_, pooled := newKumaPooler(t, mode)
			check(t, watch(t, openKuma(t, pooled)), func() {
				_, err := openKuma(t, pooled).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
				require.NoError(t, err)
			})
		})
	}
}

// newKumaPooler starts a PgBouncer before the database of a Kuma.
func newKumaPooler(t *testing.T, mode string) (direct, pooled string) {
	t.Helper()
	direct = newKuma(t)
	return direct, engines.SharedPostgres(t).NewPgBouncer(t, mode, execute(t, direct, "SELECT current_database()"))
}

func TestNewKumaNeedsAPool(t *testing.T) {
	_, err := postgres.NewKuma(nil)
	require.ErrorContains(t, err, "pool is nil")
}

func TestStoreInKumasTableServesTokensThroughTheirLife(t *testing.T) {
	url := newKuma(t)
	execute(t, url, everyMesh)
	storetest.LifeOfAToken(t, kumaOpener(url))
}

func TestStoreInKumasTableGivesManyProcessesOneFirstKey(t *testing.T) {
	url := with(newKuma(t), "application_name", "beside Kuma")
	execute(t, url, everyMesh)
	storetest.ManyProcessesMakeOneFirstKey(t, url, kumaOpener(url))
}

func TestStoreInKumasTableLosesNothingAcknowledgedWhenAllConnectionsAreEnded(t *testing.T) {
	url := newKuma(t)
	execute(t, url, everyMesh)
	storetest.Outage(t, kumaOpener(url), storetest.Fault{
		Break:  func(tb testing.TB) { endConnections(tb, url) },
		Mend:   func(tb testing.TB) { endConnections(tb, url) },
		For:    300 * time.Millisecond,
		Beside: kumaOpener(url),
	})
}

// kuma reads and writes the table as Kuma does, over a connection of its own.
type kuma struct {
	t    *testing.T
	conn *pgx.Conn
}

func newKumaBeside(t *testing.T, url string) *kuma {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return &kuma{t, conn}
}

// resource is what Kuma knows of a row.
type resource struct {
	name, mesh        string
	version           int
	data              []byte
	labels            map[string]string
	created, modified time.Time
}

// list reads all rows of a type, or those in one mesh. As in Kuma, one row that cannot be
// read fails it.
func (k *kuma) list(typ, mesh string) ([]resource, error) {
	k.t.Helper()
	rows, err := k.conn.Query(k.t.Context(), `SELECT name, mesh, spec, version, creation_time, modification_time, labels, status
		FROM resources WHERE type = $1 AND ($2 = '' OR mesh = $2) ORDER BY name, mesh`, typ, mesh)
	require.NoError(k.t, err)
	return pgx.CollectRows(rows, func(row pgx.CollectableRow) (r resource, err error) {
		var spec, labels, status string // none of them may be NULL
		if err := row.Scan(&r.name, &r.mesh, &spec, &r.version, &r.created, &r.modified, &labels, &status); err != nil {
			return r, err
		}
		var secret struct {
			Data []byte `json:"data"`
		}
		if err := json.Unmarshal([]byte(spec), &secret); err != nil {
			return r, err
		}
		r.data = secret.Data
		return r, json.Unmarshal([]byte(labels), &r.labels)
	})
}

// find returns the row of a name, or nil.
func (k *kuma) find(typ, mesh, name string) *resource {
	k.t.Helper()
	all, err := k.list(typ, mesh)
	require.NoError(k.t, err)
	for _, r := range all {
		if r.name == name {
			return &r
		}
	}
	return nil
}

// create writes a row as Kuma writes those that kumactl applies: without an owner.
func (k *kuma) create(typ, mesh, name string, data []byte) {
	k.t.Helper()
	k.transact(`INSERT INTO resources (name, mesh, type, version, spec, creation_time, modification_time, labels, status)
		VALUES ($1, $2, $3, 0, $4, $5, $5, 'null', '{}')`, name, mesh, typ, spec(data), time.Now().UTC())
}

// update replaces the data if the row has the version, and reports whether it had.
func (k *kuma) update(typ string, r resource, data []byte) bool {
	k.t.Helper()
	return k.transact(`UPDATE resources SET spec = $1, version = $2, modification_time = $3, labels = '{}', status = '{}'
		WHERE name = $4 AND mesh = $5 AND type = $6 AND version = $7`, spec(data), r.version+1, time.Now().UTC(), r.name, r.mesh, typ, r.version) == 1
}

func (k *kuma) delete(typ, mesh, name string) {
	k.t.Helper()
	k.transact("DELETE FROM resources WHERE name = $1 AND type = $2 AND mesh = $3", name, typ, mesh)
}

// transact returns the number of rows that a statement changes.
func (k *kuma) transact(sql string, args ...any) int64 {
	k.t.Helper()
	var changed int64
	require.NoError(k.t, pgx.BeginFunc(k.t.Context(), k.conn, func(tx pgx.Tx) error {
		tag, err := tx.Exec(k.t.Context(), sql, args...)
		changed = tag.RowsAffected()
		return err
	}))
	return changed
}

func spec(data []byte) string {
	encoded, err := json.Marshal(map[string][]byte{"data": data})
	if err != nil {
		panic(err)
	}
	return string(encoded)
}

func TestKumaReadsTheKeysAndListsThatTheStoreWrites(t *testing.T) {
	url := newKuma(t)
	store, beside := openKuma(t, url), newKumaBeside(t, url)
	began := time.Now().UTC()

	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	_, err = zone.EnsureKey(t.Context(), store)
	require.NoError(t, err)
	for _, key := range []struct{ typ, mesh, name string }{
		{"Secret", "default", "dataplane-token-signing-key-default-1"},
		{"GlobalSecret", "", "zone-token-signing-key-1"},
	} {
		r := beside.find(key.typ, key.mesh, key.name)
		require.NotNil(t, r, key.name)
		block, _ := pem.Decode(r.data)
		require.NotNil(t, block, "KDS sends only PEM on")
		private, err := x509.ParsePKCS1PrivateKey(block.Bytes)
		require.NoError(t, err)
		require.IsType(t, &rsa.PrivateKey{}, private)
		require.Equal(t, 0, r.version)
		require.Equal(t, map[string]string{}, r.labels)
		require.WithinDuration(t, began, r.created, patience, "in UTC")
		require.Equal(t, r.created, r.modified)
	}
	require.Equal(t, "default||Mesh", execute(t, url, "SELECT concat_ws('|', owner_name, owner_mesh, owner_type) FROM resources WHERE type = 'Secret'"))
	require.Empty(t, execute(t, url, "SELECT concat_ws('|', owner_name, owner_mesh, owner_type) FROM resources WHERE type = 'GlobalSecret'"))

	issuer, err := dataplane.NewIssuer(store)
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	require.NoError(t, err)
	list := revocation.Dataplane("default").Name
	require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "default"))
	require.NotNil(t, beside.find("GlobalSecret", "", list), "an empty list is a row that Kuma can read")
	require.NoError(t, dataplane.Revoke(t.Context(), store, "default", issued.ID))
	require.Equal(t, issued.ID, string(beside.find("GlobalSecret", "", list).data), "the list that Kuma reads")
}

func TestStoreAnnouncesWhatKumaWritesAndAValidatorSeesIt(t *testing.T) {
	url := newKuma(t)
	beside := newKumaBeside(t, url)
	key, list := "dataplane-token-signing-key-default-1", "dataplane-token-revocations-default"
	writer := openKuma(t, newKuma(t)) // only to make a key
	_, err := dataplane.EnsureKey(t.Context(), writer, "default")
	require.NoError(t, err)
	made, err := writer.Get(t.Context(), "default", key)
	require.NoError(t, err)
	issuer, err := dataplane.NewIssuer(writer)
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
	require.NoError(t, err)

	validator, err := dataplane.NewValidator(openKuma(t, url))
	require.NoError(t, err)
	defer validator.Close()
	validate := func() (dataplane.Verified, error) {
		return validator.Validate(t.Context(), "default", issued.Token)
	}
	w := watch(t, openKuma(t, url))
	w.waitFor(keystore.AllScopes)
	// announced waits until a watch says that there was a change in the scope, which a poll
	// does not, and then until the validator has seen it.
	announced := func(what string, scope keystore.Scope, seen func() bool) {
		t.Helper()
		w.waitFor(scope)
		w.forget()
		began := time.Now()
		require.Eventually(t, seen, patience, time.Millisecond, what)
		t.Logf("%s: %v after it was announced", what, time.Since(began).Round(100*time.Microsecond))
	}
	isGood := func() bool { _, err := validate(); return err == nil }
	isRevoked := func() bool { _, err := validate(); return errors.Is(err, token.ErrRevoked) }
	require.Eventually(t, func() bool { _, err := validate(); return errors.Is(err, token.ErrUnknownKey) }, patience, time.Millisecond)

	beside.create("Secret", "default", key, made.Data)
	announced("an inserted key", "default", isGood)
	beside.create("GlobalSecret", "", list, []byte("another"))
	require.True(t, beside.update("GlobalSecret", *beside.find("GlobalSecret", "", list), []byte("another,"+issued.ID+"\n")))
	announced("an updated list", keystore.Global, isRevoked)
	beside.delete("GlobalSecret", "", list)
	announced("a deleted list", keystore.Global, isGood)
	verified, err := validate()
	require.NoError(t, err)
	session, stop := verified.Bind(t.Context())
	defer stop()
	beside.delete("Mesh", "", "default")
	require.NotNil(t, beside.find("Secret", "default", key), "what kumactl applied has no owner")
	require.NoError(t, session.Err())
	beside.delete("Secret", "default", key)
	announced("a deleted key", "default", func() bool { return session.Err() != nil })
	require.ErrorIs(t, context.Cause(session), token.ErrUnknownKey)
}

func TestNeitherKumaNorTheStoreOverwritesTheOther(t *testing.T) {
	url := newKuma(t)
	store, beside := openKuma(t, url), newKumaBeside(t, url)
	created, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("one")})
	require.NoError(t, err)
	first := *beside.find("Secret", "default", "key-1")
	second, err := store.Update(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("two"), Version: created.Version})
	require.NoError(t, err)
	require.Equal(t, created.Created, second.Created)

	require.False(t, beside.update("Secret", first, []byte("lost")), "Kuma has read the version before")
	now := *beside.find("Secret", "default", "key-1")
	require.Equal(t, 1, now.version)
	require.True(t, now.modified.After(now.created))
	require.True(t, beside.update("Secret", now, []byte("three")))
	_, err = store.Update(t.Context(), second)
	require.ErrorIs(t, err, keystore.ErrConflict)
	third, err := store.Get(t.Context(), "default", "key-1")
	require.NoError(t, err)
	require.Equal(t, "three", string(third.Data))
	require.True(t, strings.HasPrefix(third.Version, "2."), "Kuma's version, and more: %s", third.Version)
	require.Equal(t, created.Created, third.Created)

	// A row by another hand, which does not count.
	execute(t, url, `UPDATE resources SET spec = '{"data": ""}' WHERE name = 'key-1'`)
	_, err = store.Update(t.Context(), third)
	require.ErrorIs(t, err, keystore.ErrConflict)
	require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
	again, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("one")})
	require.NoError(t, err)
	require.NotEqual(t, created.Version, again.Version)
}

func TestRecordsBelongToTheirMeshInKuma(t *testing.T) {
	url := newKuma(t)
	store, beside := openKuma(t, url), newKumaBeside(t, url)
	_, err := dataplane.EnsureKey(t.Context(), store, "unknown")
	require.ErrorIs(t, err, keystore.ErrName)
	require.ErrorContains(t, err, `Kuma has no mesh "unknown"`)
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Empty(t, records)

	_, err = dataplane.EnsureKey(t.Context(), store, "prod")
	require.NoError(t, err)
	_, err = store.Create(t.Context(), keystore.Record{Name: "dataplane-token-revocations-prod"})
	require.NoError(t, err)
	w := watch(t, store)
	w.waitFor(keystore.AllScopes)
	beside.delete("Mesh", "", "prod")
	w.waitFor("prod")
	records, err = store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Equal(t, "dataplane-token-revocations-prod", names(records), "the global scope has no owner")
	_, err = dataplane.EnsureKey(t.Context(), store, "prod")
	require.ErrorIs(t, err, keystore.ErrName)
}

func TestStoreTouchesNoOtherRowsOfKumasTable(t *testing.T) {
	url := newKuma(t)
	const others = `SELECT md5(string_agg(r::text, ',' ORDER BY r::text)) FROM (SELECT r.*, r.xmin FROM resources r WHERE labels ? 'other') r`
	for _, typ := range []string{"Mesh", "Dataplane", "Config", "SecretInsight", "Secret", "GlobalSecret"} {
		for _, mesh := range []string{"", "default"} {
			if typ == "Secret" && mesh != "" || typ == "GlobalSecret" && mesh == "" {
				continue // those are records
			}
			execute(t, url, `INSERT INTO resources (name, mesh, type, version, spec, labels)
				VALUES ('key-1', '`+mesh+`', '`+typ+`', 0, '{"data": "b3RoZXI="}', '{"other": ""}')`)
		}
	}
	before := execute(t, url, others)
	store := openKuma(t, url)
	w := watch(t, store)
	w.waitFor(keystore.AllScopes)
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Empty(t, records)
	for _, scope := range []keystore.Scope{"", "default"} {
		_, err := store.Get(t.Context(), scope, "key-1")
		require.ErrorIs(t, err, keystore.ErrNotFound)
		r, err := store.Create(t.Context(), keystore.Record{Scope: scope, Name: "key-1", Data: []byte("content")})
		require.NoError(t, err)
		_, err = store.Update(t.Context(), r)
		require.NoError(t, err)
		records, err := store.List(t.Context(), keystore.AllScopes, "")
		require.NoError(t, err)
		require.Len(t, records, 1)
		require.NoError(t, store.Delete(t.Context(), scope, "key-1"))
	}
	require.Equal(t, before, execute(t, url, others))

	w.forget()
	makeMeshes(t, url, "mesh-of-which-no-record-changed")
	execute(t, url, "UPDATE resources SET version = 1 WHERE type = 'Dataplane'")
	_, err = store.Create(t.Context(), keystore.Record{Scope: "prod", Name: "key-1"})
	require.NoError(t, err)
	w.waitFor("prod") // notifications come in the order of the commits
	require.Equal(t, []keystore.Scope{"prod"}, w.heard())
}

func TestWatchesSendNothingOnTheChannelOfKuma(t *testing.T) {
	url := newKuma(t)
	beside := newKumaBeside(t, url)
	_, err := beside.conn.Exec(t.Context(), "LISTEN resource_events")
	require.NoError(t, err)
	watch(t, openKuma(t, url)).waitFor(keystore.AllScopes)
	_, err = openKuma(t, url).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	first, err := beside.conn.WaitForNotification(ctx)
	require.NoError(t, err)
	require.JSONEq(t, `{"action": "INSERT", "data": {"name": "key-1", "mesh": "default", "type": "Secret"}}`, first.Payload)
}

func TestWatchOfKumasTableWithoutItsTriggerIsRefusedOrLost(t *testing.T) {
	t.Parallel()
	url := newKuma(t)
	w := watch(t, openKuma(t, url))
	w.waitFor(keystore.AllScopes)
	execute(t, url, "ALTER TABLE resources DISABLE TRIGGER products_notify_event")
	require.ErrorContains(t, w.waitEnd(), "products_notify_event")
	require.ErrorContains(t, watch(t, openKuma(t, url)).waitEnd(), "products_notify_event")
	execute(t, url, "ALTER TABLE resources ENABLE TRIGGER products_notify_event; ALTER TRIGGER products_notify_event ON resources RENAME TO another_name")
	watch(t, openKuma(t, url)).waitFor(keystore.AllScopes)
}

func TestOneRowThatKumaCannotReadIsOneUnreadableRecord(t *testing.T) {
	for what, spec := range map[string]string{
		"no spec":           "NULL",
		"no JSON":           "'secret'",
		"no object":         `'"c2VjcmV0"'`,
		"no data":           `'{"Data": "c2VjcmV0"}'`,
		"data that is null": `'{"data": null}'`,
		"data that is none": `'{"data": {"value": "c2VjcmV0"}}'`,
		"no base64":         `'{"data": "c2VjcmV0*"}'`,
		"no padding":        `'{"data": "c2VjcmV0MQ"}'`,
	} {
		t.Run(what, func(t *testing.T) {
			url := newKuma(t)
			storetest.OneUnreadableRecordIsOneUnreadableRecord(t, kumaOpener(url), func(tb testing.TB, scope keystore.Scope, name string) {
				spoilKuma(tb, url, spec, scope, name)
			})
		})
	}
}

func TestStoreReadsEverySpecThatKumaReads(t *testing.T) {
	url := newKuma(t)
	store := openKuma(t, url)
	for spec, want := range map[string]string{
		`{"data":""}`:                                "",
		`{"data":"Y29udGVudA=="}`:                    "content",
		` { "later": [1], "data" : "Y29udGVudA==" }`: "content",
		`{"data":"Y29u\ndGVudA=="}`:                  "content",
	} {
		execute(t, url, "INSERT INTO resources (name, mesh, type, version, spec) VALUES ('key-1', 'default', 'Secret', 0, '"+spec+"')")
		got, err := store.Get(t.Context(), "default", "key-1")
		require.NoError(t, err, spec)
		require.Equal(t, want, string(got.Data), spec)
		require.NoError(t, store.Delete(t.Context(), "default", "key-1"))
	}
}

func TestListFindsNamesByPrefixWhateverTheOrderOfKumasDatabase(t *testing.T) {
	url := newKuma(t)
	execute(t, url, `ALTER TABLE resources ALTER name TYPE varchar(253) COLLATE "en-x-icu"`)
	store := openKuma(t, url)
	for _, name := range []string{"key", "key-1", "key-10", "KEY-1", "key.1", "key1", "kez"} {
		_, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: name})
		require.NoError(t, err)
	}
	for _, scope := range []keystore.Scope{"default", keystore.AllScopes} {
		records, err := store.List(t.Context(), scope, "key-")
		require.NoError(t, err)
		require.Equal(t, "key-1 key-10", names(records))
		records, err = store.List(t.Context(), scope, "")
		require.NoError(t, err)
		require.Equal(t, "KEY-1 key key-1 key-10 key.1 key1 kez", names(records))
	}
}

func TestNamesAsLongAsKumasColumnsAreKeptAndLongerOnesRefused(t *testing.T) {
	url := newKuma(t)
	mesh, name := strings.Repeat("m", 100), strings.Repeat("n", 253)
	makeMeshes(t, url, mesh)
	store := openKuma(t, url)
	r, err := store.Create(t.Context(), keystore.Record{Scope: keystore.Scope(mesh), Name: name, Data: []byte("content")})
	require.NoError(t, err)
	got, err := store.Get(t.Context(), r.Scope, name)
	require.NoError(t, err)
	require.Equal(t, r, got)
	_, err = store.Create(t.Context(), keystore.Record{Scope: r.Scope + "m", Name: name})
	require.ErrorIs(t, err, keystore.ErrName)
	require.ErrorContains(t, err, "at most 100")
}

func TestStoreNeedsTheColumnsOfKumasTable(t *testing.T) {
	for column, want := range map[string]string{
		"labels":     "Kuma makes from version 2.6 on",
		"status":     "Kuma makes from version 2.7 on",
		"owner_name": "not that of Kuma 2.7 or later",
	} {
		url := newKuma(t)
		execute(t, url, "ALTER TABLE resources DROP COLUMN "+column)
		store := openKuma(t, url)
		calls := callsOf(store)
		calls["Migrate"] = store.Migrate
		for name, call := range calls {
			err := call(t.Context())
			require.ErrorContains(t, err, "no column "+column, name)
			require.ErrorContains(t, err, want, name)
		}
	}
}

func TestStoreMakesNoTableForKuma(t *testing.T) {
	url := newSchema(t, engines.SharedPostgres(t).URL())
	store := openKuma(t, url)
	calls := callsOf(store)
	calls["Migrate"] = store.Migrate
	for name, call := range calls {
		err := call(t.Context())
		require.ErrorContains(t, err, "the table resources of Kuma", name)
		require.NotErrorIs(t, err, keystore.ErrNotFound, name)
	}
	require.Equal(t, "0", execute(t, url, "SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace"))
	execute(t, url, kumaTable)
	before := execute(t, url, "SELECT array_agg(attname || atttypid ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'resources'::regclass")
	require.NoError(t, store.Migrate(t.Context()))
	require.Equal(t, before, execute(t, url, "SELECT array_agg(attname || atttypid ORDER BY attnum) FROM pg_attribute WHERE attrelid = 'resources'::regclass"))
}

// The rights that README lists.
const kumaGrants = `CREATE ROLE meshpass LOGIN;
GRANT USAGE ON SCHEMA public TO meshpass;
GRANT SELECT, INSERT, UPDATE, DELETE ON public.resources TO meshpass;

ALTER TABLE public.resources ENABLE ROW LEVEL SECURITY;
CREATE POLICY meshpass ON public.resources TO meshpass
    USING (type IN ('Secret', 'GlobalSecret') AND name ~ '^(dataplane|zone)-token-');
`

func TestReadmeRoleHasTheRightsThatAStoreInKumasTableNeeds(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	require.Contains(t, string(readme), kumaGrants)
	server := engines.NewPostgres(t)
	admin := server.NewDatabase(t)
	execute(t, admin, "CREATE ROLE kuma LOGIN; GRANT ALL ON SCHEMA public TO kuma")
	asKuma := strings.Replace(admin, "postgres@", "kuma@", 1)
	execute(t, asKuma, kumaTable)
	makeMeshes(t, asKuma, "default", "prod")
	execute(t, asKuma, `INSERT INTO resources (name, mesh, type, version, spec) VALUES
		('dataplane-token-dp', 'default', 'Dataplane', 0, '{}'), ('user-token-signing-key-1', '', 'GlobalSecret', 0, '{"data": ""}')`)
	execute(t, admin, kumaGrants)
	url := strings.Replace(admin, "postgres@", "meshpass@", 1)

	store := openKuma(t, url)
	require.NoError(t, store.Migrate(t.Context()))
	_, err = dataplane.EnsureKey(t.Context(), store, "prod")
	require.NoError(t, err)
	require.NoError(t, dataplane.Revoke(t.Context(), store, "prod", "an-id"))
	require.NoError(t, revocation.MakeDataplaneGlobal(t.Context(), store, "prod"))
	_, err = dataplane.EnsureKey(t.Context(), store, "unknown")
	require.ErrorIs(t, err, keystore.ErrName)
	watch(t, store).waitFor(keystore.AllScopes)
	require.Equal(t, "3", execute(t, url, "SELECT count(*) FROM resources"), "no row of another type or name")
	require.Equal(t, "7", execute(t, asKuma, "SELECT count(*) FROM resources"), "Kuma sees all")
	execute(t, asKuma, "DELETE FROM resources WHERE type = 'Mesh' AND name = 'prod'")
	records, err := store.List(t.Context(), keystore.AllScopes, "")
	require.NoError(t, err)
	require.Equal(t, "dataplane-token-revocations-prod", names(records))

	execute(t, admin, "REVOKE INSERT, UPDATE, DELETE ON resources FROM meshpass")
	for name, write := range writesOf(store) {
		require.ErrorIs(t, write(t.Context()), keystore.ErrReadOnly, name)
	}
}

// A list reads the rows of a busy Kuma beside its secrets.
func BenchmarkListInKumasTable(b *testing.B) {
	url := newKuma(b)
	execute(b, url, `INSERT INTO resources (name, mesh, type, version, spec)
			SELECT 'dp-' || i, 'default', kind, 0, repeat(md5(i::text), 50) FROM generate_series(1, 50000) i, unnest('{Dataplane,DataplaneInsight}'::text[]) kind;
		INSERT INTO resources (name, mesh, type, version, spec)
			SELECT 'dataplane-token-signing-key-mesh-' || mesh || '-' || serial, 'mesh-' || mesh, 'Secret', 0,
				concat('{"data":"', replace(encode(decode((SELECT string_agg(md5(random()::text || part), '') FROM generate_series(1, 105) part), 'hex'), 'base64'), E'\n', ''), '"}')
			FROM generate_series(1, 1000) mesh, generate_series(1, 3) serial; ANALYZE resources`)
	store := openKuma(b, url)
	for b.Loop() {
		records, err := store.List(b.Context(), keystore.AllScopes, "dataplane-token-signing-key-")
		require.NoError(b, err)
		require.Len(b, records, 3000)
	}
}
