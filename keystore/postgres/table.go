package postgres

import (
	"context"
	"errors"

	"github.com/meshpass/meshpass/keystore"
)

// table is what tells the tables apart in which a store may keep its records. All
// statements work with binary parameters and results, in which text is unchanged. $1 is
// the scope, $2 the name, $3 the stored form of the data and $4 the version, but where a
// comment says otherwise.
type table struct {
	name string

	get     string
	list    string // $2 <= name < $3
	listAll string // $1 <= name < $2

	// page selects at most $4 rows, from a scope $3 on, sorted, and without those that have
	// no scope, which rest selects. Both are empty for a table whose indices cannot sort.
	page string
	rest string

	create string
	update string
	remove string
	exists string

	// maxScope is the length of the longest mesh that the table can hold, in bytes.
	maxScope int

	// missing says what to do if the table is not there.
	missing error

	// check returns an error unless the package works with the table as it is.
	check func(ctx context.Context, s *Store) error

	// encode and decode change data to its stored form and back. The value that decode
	// gets may be nil, for NULL. What it returns may be a part of the value.
	encode func(data []byte) []byte
	decode func(value []byte) ([]byte, error)

	// announces selects the number of the table, and whether a trigger announces its
	// changes.
	announces string
	noTrigger error // it does not

	// channel returns the channel of these announcements, for a table of that number.
	channel func(number string) string

	// announced returns the scope of which an announcement says that it changed, or false
	// if it is about other rows.
	announced func(payload string) (keystore.Scope, bool)
}

// readSQL begins the statements that read records. A read says too what kind of server
// answers. So it returns one row, without a name, if there are no records.
const readSQL = `SELECT pg_is_in_recovery, read_only, scope, name, version, created, data
	FROM pg_is_in_recovery(), (SELECT current_setting('transaction_read_only') = 'on' AS read_only) session LEFT JOIN `

// ownRows are the records of ownTable.
const ownRows = `(SELECT scope, name, version::text, created, data FROM meshpass_records) records ON `

// ownTable is the table that Migrate makes.
var ownTable = &table{
	name: "meshpass_records",

	get: readSQL + ownRows + `scope = $1 AND name = $2`,

	// Every name is below '{' and not below the empty one. The store sorts the records
	// itself: the server would sort whole records, and a long list on disk.
	list:    readSQL + ownRows + `scope = $1 AND name >= $2 AND name < $3`,
	listAll: readSQL + ownRows + `name >= $1 AND name < $2`,
	page: readSQL + `(SELECT scope, name, version::text, created, data FROM meshpass_records
		WHERE scope COLLATE "C" >= $3 AND name >= $1 AND name < $2 ORDER BY scope COLLATE "C", name LIMIT $4::text::int) records ON true`,
	rest: readSQL + ownRows + `name >= $1 AND name < $2 AND scope IS NULL`,

	create: `INSERT INTO meshpass_records (scope, name, data) VALUES ($1, $2, $3) ON CONFLICT (scope, name) DO NOTHING RETURNING version::text, created`,
	// It sets the version itself, in case the table was copied without its triggers.
	update: `UPDATE meshpass_records SET data = $3, version = gen_random_uuid() WHERE scope = $1 AND name = $2 AND version::text = $4 RETURNING version::text, created`,
	remove: `DELETE FROM meshpass_records WHERE scope = $1 AND name = $2`,
	exists: `SELECT FROM meshpass_records WHERE scope = $1 AND name = $2`,

	maxScope: keystore.MaxScopeLength,
	missing:  errNoTables,
	check:    checkOwnVersion,

	encode: func(data []byte) []byte {
		if data == nil {
			return []byte{} // nil would stand for NULL
		}
		return data
	},
	decode: func(value []byte) ([]byte, error) {
		if value == nil {
			return nil, errors.New("the row has no data, want some, such as ''")
		}
		return value, nil
	},

	announces: `SELECT t.oid::text, coalesce(g.tgenabled IN ('A', 'O'), false)
		FROM (SELECT 'meshpass_records'::regclass::oid) t LEFT JOIN pg_trigger g ON g.tgrelid = t.oid AND g.tgname = 'meshpass_announce'`,
	noTrigger: errors.New("the table meshpass_records announces no changes: its trigger meshpass_announce is missing or disabled; see schema.sql"),
	channel:   func(number string) string { return "meshpass_" + number },
	announced: func(payload string) (keystore.Scope, bool) { return scopeOrAll(payload), true },
}

// scopeOrAll returns the scope that an announcement names, or all if it names none.
func scopeOrAll(name string) keystore.Scope {
	if scope := keystore.Scope(name); keystore.CheckScope(scope) == nil {
		return scope
	}
	return keystore.AllScopes
}
