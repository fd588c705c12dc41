package postgres

import (
	"context"
	_ "embed"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/meshpass/meshpass/keystore"
)

// schemaVersion is the version of the tables that this package works with.
const schemaVersion = 1

//go:embed schema.sql
var schema string

// migrationLock is the key of the advisory lock that Migrate holds while it makes
// tables: "meshpass" in ASCII.
const migrationLock = 0x6d65736870617373

// Migrate makes the store's tables in the first schema of the search_path, or updates
// them to the version that this package works with. It works in one transaction, one
// caller at a time, so any number of replicas may call it when they start. If there is
// nothing to do, it only reads the version and needs no right to make tables. Migrate
// returns an error if the tables have a newer version. If the role or the server does
// not allow it to make them, the error matches [keystore.ErrReadOnly].
//
// A store of [NewKuma] makes nothing: Migrate returns an error unless Kuma's table is
// there and has the columns that the store needs.
func (s *Store) Migrate(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("postgres: cannot migrate: %w", err)
	}
	err := s.checkSchema(ctx)
	if !errors.Is(err, errNoTables) {
		if err != nil {
			return fmt.Errorf("postgres: cannot migrate: %w", withContext(ctx, err))
		}
		return nil
	}
	wrong, err := s.makeTables(ctx)
	if wrong && ctx.Err() == nil {
		_, err = s.makeTables(ctx)
	}
	if err == nil {
		err = s.checkSchema(ctx)
	}
	if err != nil {
		err = withContext(ctx, withoutDetail(err))
		if hasCode(err, "42501") { // insufficient_privilege
			err = fmt.Errorf("%w: %w", keystore.ErrReadOnly, err)
		}
		return fmt.Errorf("postgres: cannot migrate: %w", err)
	}
	return nil
}

// makeTables makes the tables if they are missing. It reports whether the connection led
// to the wrong server.
func (s *Store) makeTables(ctx context.Context) (wrong bool, err error) {
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer pooled.Release()
	err = pgx.BeginTxFunc(ctx, pooled, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		conn := tx.Conn().PgConn()
		if _, err := conn.Exec(ctx, fmt.Sprintf("SELECT pg_advisory_xact_lock(%d)", migrationLock)).ReadAll(); err != nil {
			return err
		}
		// Another replica may have been faster.
		results, err := conn.Exec(ctx, "SELECT to_regclass('meshpass_schema')").ReadAll()
		if err != nil {
			return err
		}
		if results[0].Rows[0][0] != nil {
			return nil
		}
		_, err = conn.Exec(ctx, schema).ReadAll()
		return err
	})
	if hasCode(err, readOnlyTransaction) {
		return s.judge(ctx, pooled.Conn(), err)
	}
	return false, err
}

// errNoTables: the store's tables are missing, or not in the search_path.
var errNoTables = errors.New("the tables meshpass_schema and meshpass_records are not in a schema of the search_path " +
	"that the role may use: call Migrate, or make them with schema.sql")

// checkSchema returns an error unless the table is one that this package works with.
// After a success it does not ask again.
func (s *Store) checkSchema(ctx context.Context) error {
	if s.checked.Load() {
		return nil
	}
	if err := s.table.check(ctx, s); err != nil {
		return err
	}
	s.checked.Store(true)
	return nil
}

// checkOwnVersion is the check of ownTable.
func checkOwnVersion(ctx context.Context, s *Store) error {
	var version string
	err := s.read(ctx, "SELECT coalesce(max(version), 0)::text FROM meshpass_schema", nil, func(rows *pgconn.ResultReader) bool {
		for rows.NextRow() {
			version = string(rows.Values()[0])
		}
		return false
	})
	if err != nil {
		return err
	}
	if version != fmt.Sprint(schemaVersion) {
		return fmt.Errorf("the tables have version %s according to meshpass_schema, this package works with version %d", version, schemaVersion)
	}
	return nil
}
