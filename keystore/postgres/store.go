package postgres

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meshpass/meshpass/keystore"
)

// maxData is how many bytes of data the store takes in a record: 64 MiB.
const maxData = 64 << 20

// Store is a [keystore.KeyStore] and a [keystore.Watcher] in the table
// meshpass_records of a PostgreSQL database. It takes 64 MiB (67,108,864 bytes) of
// data in a record. All methods may be called concurrently, by any number of
// processes.
//
// Each call is one statement on a connection of the pool (the first call and an
// Update that fails make a second one), and waits for a connection if all are in
// use. When the context ends, the call returns at once and the server is asked to
// cancel the statement; the pool replaces the connection. (With a context watcher of
// your own in the pool's configuration, the call returns when that one lets it.)
//
// A write that returned is as durable as the server's commit: synchronous_commit
// must not be off, which it is not by default. A call that loses its connection
// returns an error; if it was a write, the error says that its outcome is unknown,
// and the store does not try again. Reads are tried once more on another connection.
//
// Writes return [keystore.ErrReadOnly] where the server or the role takes none: a
// standby (SQLSTATE 25006), a session with default_transaction_read_only (25006),
// or a role without the right (42501).
type Store struct {
	pool    *pgxpool.Pool
	checked atomic.Bool // the tables had the right version
}

// New returns the store in the database of the pool. It does not connect: the
// first call does, and returns an error if the tables are missing or of another
// version; see [Store.Migrate]. The pool stays the caller's, who closes it after the
// last call. New returns an error if pool is nil.
func New(pool *pgxpool.Pool) (*Store, error) {
	if pool == nil {
		return nil, errors.New("postgres: cannot make a store: the pool is nil, want one of pgxpool.New")
	}
	return &Store{pool: pool}, nil
}

// The statements. The results of all are asked for in binary format, in which text
// is as it is.
const (
	getSQL = `SELECT scope, name, version::text, created, data FROM meshpass_records WHERE scope = $1 AND name = $2`

	// Every name is below '{', and not below the empty one. The order is made here: the
	// server would sort whole records, for a long list on disk.
	listSQL    = `SELECT scope, name, version::text, created, data FROM meshpass_records WHERE scope = $1 AND name >= $2 AND name < $3`
	listAllSQL = `SELECT scope, name, version::text, created, data FROM meshpass_records WHERE name >= $1 AND name < $2`

	createSQL = `INSERT INTO meshpass_records (scope, name, data) VALUES ($1, $2, $3) ON CONFLICT (scope, name) DO NOTHING RETURNING version::text, created`
	// The version also where the table was copied without its triggers.
	updateSQL = `UPDATE meshpass_records SET data = $3, version = gen_random_uuid() WHERE scope = $1 AND name = $2 AND version = $4 RETURNING version::text, created`
	deleteSQL = `DELETE FROM meshpass_records WHERE scope = $1 AND name = $2`
	existsSQL = `SELECT FROM meshpass_records WHERE scope = $1 AND name = $2`
)

// Get implements [keystore.KeyStore].
func (s *Store) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, keystore.Failed("get", scope, name, err)
	}
	if err := keystore.CheckID(scope, name); err != nil {
		return keystore.Record{}, err
	}
	var found []keystore.Record
	err := s.checkedRead(ctx, getSQL, texts(string(scope), name), &found)
	if err != nil {
		return keystore.Record{}, keystore.Failed("get", scope, name, err)
	}
	if len(found) == 0 {
		return keystore.Record{}, keystore.Failed("get", scope, name, keystore.ErrNotFound)
	}
	return found[0], nil
}

// List implements [keystore.KeyStore]. With AllScopes the whole list is one
// consistent view.
func (s *Store) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, keystore.Failed("list", scope, "", err)
	}
	if err := keystore.CheckListed(scope); err != nil {
		return nil, err
	}
	from, below := prefix, "{"
	if prefix != "" {
		if keystore.CheckName(prefix) != nil {
			return nil, nil // every beginning of a name is a name
		}
		last := len(prefix) - 1
		below = prefix[:last] + string(rune(prefix[last]+1))
	}
	sql, params := listSQL, texts(string(scope), from, below)
	if scope == keystore.AllScopes {
		sql, params = listAllSQL, texts(from, below)
	}
	var found []keystore.Record
	if err := s.checkedRead(ctx, sql, params, &found); err != nil {
		return nil, keystore.Failed("list", scope, "", err)
	}
	slices.SortFunc(found, keystore.CompareRecords)
	return found, nil
}

// Create implements [keystore.KeyStore]. Created is the time of the server's clock,
// in microseconds.
func (s *Store) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, keystore.Failed("create", r.Scope, r.Name, err)
	}
	if err := keystore.CheckRecord(r, maxData); err != nil {
		return keystore.Record{}, err
	}
	answer, written, err := s.put(ctx, createSQL, append(texts(string(r.Scope), r.Name), present(r.Data)), r)
	if err != nil {
		return keystore.Record{}, keystore.Failed("create", r.Scope, r.Name, err)
	}
	if !written {
		return keystore.Record{}, keystore.Failed("create", r.Scope, r.Name, keystore.ErrExists)
	}
	return answer, nil
}

// Update implements [keystore.KeyStore].
func (s *Store) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, keystore.Failed("update", r.Scope, r.Name, err)
	}
	if err := keystore.CheckRecord(r, maxData); err != nil {
		return keystore.Record{}, err
	}
	var version pgtype.UUID
	if version.Scan(r.Version) != nil {
		version = pgtype.UUID{} // one that no record has
	}
	answer, written, err := s.put(ctx, updateSQL, append(texts(string(r.Scope), r.Name), present(r.Data), version.Bytes[:]), r)
	if err == nil && written {
		return answer, nil
	}
	if err == nil {
		// Whatever happens meanwhile, the record will not have this version again. So
		// what is true now is a true answer.
		exists := false
		err = s.read(ctx, existsSQL, texts(string(r.Scope), r.Name), func(rows *pgconn.ResultReader) { exists = rows.NextRow() })
		if err == nil && exists {
			return keystore.Record{}, keystore.Failed("update", r.Scope, r.Name, keystore.ErrConflict)
		}
		if err == nil {
			return keystore.Record{}, keystore.Failed("update", r.Scope, r.Name, keystore.ErrNotFound)
		}
	}
	return keystore.Record{}, keystore.Failed("update", r.Scope, r.Name, err)
}

// Delete implements [keystore.KeyStore].
func (s *Store) Delete(ctx context.Context, scope keystore.Scope, name string) error {
	if err := ctx.Err(); err != nil {
		return keystore.Failed("delete", scope, name, err)
	}
	if err := keystore.CheckID(scope, name); err != nil {
		return err
	}
	err := s.checkSchema(ctx)
	if err == nil {
		err = s.write(ctx, deleteSQL, texts(string(scope), name), func(rows *pgconn.ResultReader) {})
	}
	if err != nil {
		return keystore.Failed("delete", scope, name, err)
	}
	return nil
}

// checkedRead reads whole records.
func (s *Store) checkedRead(ctx context.Context, sql string, params [][]byte, found *[]keystore.Record) error {
	if err := s.checkSchema(ctx); err != nil {
		return err
	}
	return s.read(ctx, sql, params, func(rows *pgconn.ResultReader) {
		*found = nil // an attempt before may have read some
		for rows.NextRow() {
			values := rows.Values() // until the next row
			*found = append(*found, keystore.Record{
				Scope:   keystore.Scope(values[0]),
				Name:    string(values[1]),
				Version: string(values[2]),
				Created: timeOf(values[3]),
				Data:    bytes.Clone(values[4]),
			})
		}
	})
}

// put runs a statement that writes r and returns its version and its time of
// creation, if it writes.
func (s *Store) put(ctx context.Context, sql string, params [][]byte, r keystore.Record) (answer keystore.Record, written bool, err error) {
	if err := s.checkSchema(ctx); err != nil {
		return keystore.Record{}, false, err
	}
	answer = r.Clone()
	err = s.write(ctx, sql, params, func(rows *pgconn.ResultReader) {
		written = false // an attempt before may have been undone after its answer
		for rows.NextRow() {
			written = true
			values := rows.Values()
			answer.Version, answer.Created = string(values[0]), timeOf(values[1])
		}
	})
	return answer, written, err
}

// read runs a statement that changes nothing. After a failure that another attempt
// may mend, it makes one: then consume is called again.
func (s *Store) read(ctx context.Context, sql string, params [][]byte, consume func(rows *pgconn.ResultReader)) error {
	return s.run(ctx, true, sql, params, consume)
}

// write runs a statement that changes something, once.
func (s *Store) write(ctx context.Context, sql string, params [][]byte, consume func(rows *pgconn.ResultReader)) error {
	return orReadOnly(s.run(ctx, false, sql, params, consume))
}

// run runs a statement on a connection of the pool, below pgx's interface for
// queries: so keys reach no tracer, data travels in binary, and there is no prepared
// statement that a pooler would lose. It tries again when the server undid the
// statement because of others, and once, if the statement may be repeated, when the
// connection was lost.
func (s *Store) run(ctx context.Context, repeatable bool, sql string, params [][]byte, consume func(rows *pgconn.ResultReader)) error {
	for attempt := 1; ; attempt++ {
		pooled, err := s.acquire(ctx, attempt > 1)
		if err != nil {
			return withContext(ctx, err)
		}
		conn := pooled.Conn().PgConn()
		rows := conn.ExecParams(ctx, sql, params, nil, binaryFormat, binaryFormat)
		consume(rows)
		_, err = rows.Close()
		lost := conn.IsClosed()
		if lost {
			hangUp(conn.Conn())
		}
		pooled.Release()
		unsent := pgconn.SafeToRetry(err)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
		case wasRolledBack(err) && attempt < maxAttempts, lost && (repeatable || unsent) && attempt == 1:
			continue
		}
		err = withContext(ctx, withoutDetail(err))
		switch {
		case hasCode(err, "42P01"): // undefined_table
			return fmt.Errorf("%w: %w", errNoTables, err)
		case lost && !repeatable && !unsent:
			return fmt.Errorf("%w (the connection was lost: it is not known whether this took effect)", err)
		}
		return err
	}
}

// maxAttempts is how often a statement is tried that the server keeps undoing.
const maxAttempts = 10

// acquire takes a connection out of the pool, one that answers if asked to: after a
// restart of the server all those in the pool may be dead.
func (s *Store) acquire(ctx context.Context, answering bool) (*pgxpool.Conn, error) {
	for range s.pool.Stat().MaxConns() {
		pooled, err := s.pool.Acquire(ctx)
		if err != nil || !answering || pooled.Ping(ctx) == nil {
			return pooled, err
		}
		pooled.Release()
	}
	return s.pool.Acquire(ctx)
}

// hangUp tells the server that nothing more is sent on a connection that was given
// up. Otherwise, if that was in the middle of a message, the server would wait for
// the rest, pgx 15 s for the server, and the place in the pool would be taken.
func hangUp(conn net.Conn) {
	if encrypted, ok := conn.(*tls.Conn); ok {
		conn = encrypted.NetConn()
	}
	if half, ok := conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite() // it may have been closed already
	}
}

// binaryFormat says that all parameters, or all results, are in binary format.
var binaryFormat = []int16{pgtype.BinaryFormatCode}

// texts returns parameters that are text, in binary format.
func texts(values ...string) [][]byte {
	params := make([][]byte, len(values), len(values)+2)
	for i, value := range values {
		params[i] = []byte(value)
	}
	return params
}

// present returns data that is never nil, which would stand for NULL.
func present(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}

// timeOf decodes a timestamptz in binary format: microseconds since the year 2000.
func timeOf(value []byte) time.Time {
	if len(value) != 8 {
		return time.Time{}
	}
	year2000 := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	return time.UnixMicro(year2000 + int64(binary.BigEndian.Uint64(value))).UTC()
}

// wasRolledBack says whether the server undid the statement because of others at
// work: serialization_failure, which an isolation level other than the default
// brings, or deadlock_detected.
func wasRolledBack(err error) bool {
	return hasCode(err, "40001") || hasCode(err, "40P01")
}

// orReadOnly returns err, as a keystore.ErrReadOnly if it says that writing is not
// allowed: read_only_sql_transaction or insufficient_privilege.
func orReadOnly(err error) error {
	if hasCode(err, "25006") || hasCode(err, "42501") {
		return fmt.Errorf("%w: %w", keystore.ErrReadOnly, err)
	}
	return err
}

// hasCode says whether err has the SQLSTATE.
func hasCode(err error, code string) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && answer.Code == code
}

// withoutDetail returns err without what the server says of the row at fault, which
// may be data.
func withoutDetail(err error) error {
	if answer, ok := err.(*pgconn.PgError); ok {
		return &pgconn.PgError{Severity: answer.Severity, SeverityUnlocalized: answer.SeverityUnlocalized, Code: answer.Code, Message: answer.Message}
	}
	return err
}

// withContext returns err so that it matches the error of the context, if that has
// ended.
func withContext(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil && !errors.Is(err, ended) {
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}
