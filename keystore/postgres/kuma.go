package postgres

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meshpass/meshpass/keystore"
)

// NewKuma returns the store in the table of a Kuma or Kong Mesh, version 2.7 or later,
// that keeps its resources in the database of the pool. The records of a mesh are rows of
// the type Secret, and those of the global scope rows of the type GlobalSecret, as Kuma
// itself writes them. So both share keys and revocation lists, and each learns of the
// other's changes. README.md says what Kuma reads.
//
// The store touches rows of these two types alone. It makes and changes no table, not
// even in [Store.Migrate], which only checks that the table has the columns that the store
// needs.
//
// The name of a mesh has at most 100 bytes. Kuma decides which meshes there are: Create
// returns an error that matches [keystore.ErrName] for a mesh that Kuma does not have. A
// record belongs to its mesh: when Kuma deletes the mesh, the server deletes the record.
//
// Version is the version that Kuma counts, with a number of the transaction that wrote the
// row. Update counts it up, so neither side overwrites a change of the other.
//
// Kuma cannot read sealed records. A row that Kuma cannot read keeps Kuma from reading
// every row of the type; this store still reads the others.
//
// NewKuma does not connect. The caller closes the pool after the last call. NewKuma
// returns an error if pool is nil.
func NewKuma(pool *pgxpool.Pool) (*Store, error) { return newStore(pool, kumaTable) }

const (
	// kumaType is the type of the rows of a mesh, or of the global scope.
	kumaType = `CASE mesh WHEN '' THEN 'GlobalSecret' ELSE 'Secret' END`

	// kumaRecords are the rows that are records. The two types by name let the server use an
	// index, beside many rows of other types.
	kumaRecords = `type IN ('Secret', 'GlobalSecret') AND type = ` + kumaType

	// kumaVersion changes with every write: a program that does not count still has
	// another transaction, and so has one that deletes the row and creates it again.
	kumaVersion = `concat(version, '.', xmin)`

	kumaRows = `(SELECT mesh AS scope, name, ` + kumaVersion + ` AS version, creation_time AS created, spec AS data
		FROM resources WHERE ` + kumaRecords + `) records ON `
	kumaRow   = `mesh = $1 AND name = $2 AND ` + kumaRecords
	kumaNow   = `clock_timestamp() AT TIME ZONE 'UTC'`
	kumaEvent = "resource_events" // the channel on which Kuma listens too
)

// kumaTable is the table that Kuma makes.
var kumaTable = &table{
	name: "resources",

	get: readSQL + kumaRows + `scope = $1 AND name = $2`,
	// The column has the order of the database, which need not be bytewise.
	list:    readSQL + kumaRows + `scope = $1 AND name COLLATE "C" >= $2 AND name COLLATE "C" < $3`,
	listAll: readSQL + kumaRows + `name COLLATE "C" >= $1 AND name COLLATE "C" < $2`,

	create: `INSERT INTO resources (mesh, name, type, version, spec, creation_time, modification_time,
			owner_name, owner_mesh, owner_type, labels, status)
		SELECT mesh, $2, ` + kumaType + `, 0, $3, now, now,
			nullif(mesh, ''), CASE WHEN mesh <> '' THEN '' END, CASE WHEN mesh <> '' THEN 'Mesh' END, '{}', '{}'
		FROM (SELECT $1::text AS mesh, ` + kumaNow + ` AS now) new
		ON CONFLICT (name, mesh, type) DO NOTHING RETURNING ` + kumaVersion + `, creation_time`,
	update: `UPDATE resources SET spec = $3, version = version + 1, modification_time = ` + kumaNow + `
		WHERE ` + kumaRow + ` AND ` + kumaVersion + ` = $4 RETURNING ` + kumaVersion + `, creation_time`,
	remove: `DELETE FROM resources WHERE ` + kumaRow,
	exists: `SELECT FROM resources WHERE ` + kumaRow,

	maxScope: 100,
	missing: errors.New("the table resources of Kuma is not in a schema of the search_path that the role may use: " +
		"name the database and the schema of a Kuma, which makes it with \"kuma-cp migrate up\""),
	check: checkKumaColumns,

	encode: func(data []byte) []byte {
		spec := []byte(`{"data":"`)
		spec = base64.StdEncoding.AppendEncode(spec, data)
		return append(spec, `"}`...)
	},
	decode: decodeSpec,

	announces: `SELECT t.oid::text, EXISTS (SELECT FROM pg_trigger g JOIN pg_proc f ON f.oid = g.tgfoid
			WHERE g.tgrelid = t.oid AND g.tgenabled IN ('A', 'O') AND f.prosrc LIKE '%resource_events%')
		FROM (SELECT 'resources'::regclass::oid) t`,
	noTrigger: errors.New("the table resources of Kuma announces no changes: its trigger products_notify_event is missing or disabled"),
	channel:   func(string) string { return kumaEvent },
	announced: announcedByKuma,
}

// kumaColumns are the columns that the store uses, and the version of Kuma that added the
// later ones.
var kumaColumns = []struct{ name, since string }{
	{"name", ""}, {"mesh", ""}, {"type", ""}, {"version", ""}, {"spec", ""}, {"creation_time", ""}, {"modification_time", ""},
	{"owner_name", ""}, {"owner_mesh", ""}, {"owner_type", ""}, {"labels", "2.6"}, {"status", "2.7"},
}

// checkKumaColumns is the check of kumaTable.
func checkKumaColumns(ctx context.Context, s *Store) error {
	var columns []string
	err := s.read(ctx, `SELECT attname::text FROM pg_attribute WHERE attrelid = 'resources'::regclass AND attnum > 0 AND NOT attisdropped`, nil,
		func(rows *pgconn.ResultReader) bool {
			columns = nil
			for rows.NextRow() {
				columns = append(columns, string(rows.Values()[0]))
			}
			return false
		})
	if err != nil {
		return err
	}
	for _, c := range kumaColumns {
		switch {
		case slices.Contains(columns, c.name):
		case c.since != "":
			return fmt.Errorf("the table resources of Kuma has no column %s, which Kuma makes from version %s on: upgrade Kuma to 2.7 or later", c.name, c.since)
		default:
			return fmt.Errorf("the table resources has no column %s, so it is not that of Kuma 2.7 or later", c.name)
		}
	}
	return nil
}

// decodeSpec returns the data in the spec of a row, which Kuma writes as JSON, with the
// data in base64.
func decodeSpec(spec []byte) ([]byte, error) {
	if spec == nil {
		return nil, errors.New(`the row has no spec, want {"data": "..."}`)
	}
	// Kuma and this store write this form, which is read two to three times as fast.
	if rest, ok := bytes.CutPrefix(spec, []byte(`{"data":"`)); ok {
		if encoded, ok := bytes.CutSuffix(rest, []byte(`"}`)); ok {
			if data, err := base64.StdEncoding.AppendDecode([]byte{}, encoded); err == nil {
				return data, nil
			}
		}
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(spec, &fields) != nil {
		return nil, errors.New(`the spec of the row is not a JSON object, want {"data": "..."}`)
	}
	var encoded *string
	if fields["data"] == nil || json.Unmarshal(fields["data"], &encoded) != nil || encoded == nil {
		return nil, errors.New(`the spec of the row has no text "data", want {"data": "..."}`)
	}
	data, err := base64.StdEncoding.DecodeString(*encoded)
	if err != nil {
		return nil, errors.New("the data in the spec of the row is not base64, want the standard alphabet and padding")
	}
	return data, nil
}

// announcedByKuma reads what Kuma's trigger announces about any row of its table.
func announcedByKuma(payload string) (keystore.Scope, bool) {
	var event struct {
		Data struct{ Mesh, Type string }
	}
	if json.Unmarshal([]byte(payload), &event) != nil {
		return keystore.AllScopes, true
	}
	if event.Data.Type != "Secret" && event.Data.Type != "GlobalSecret" {
		return "", false
	}
	return scopeOrAll(event.Data.Mesh), true
}
