package postgres

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"net"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meshpass/meshpass/keystore"
)

// maxData is how many bytes of data the store takes in a record: 64 MiB.
const maxData = 64 << 20

// Store is a [keystore.KeyStore] and a [keystore.Watcher] in a table of a PostgreSQL
// database: in meshpass_records, or with [NewKuma] in that of a Kuma. A record has at most 64 MiB (67,108,864
// bytes) of data. Any number of processes may call all methods concurrently.
//
// Each call is one statement on a connection of the pool; the first call, and an Update
// that fails, make a second one. A call waits for a connection if all are in use. When
// the context ends, the call returns at once, the server is asked to cancel the
// statement, and the pool replaces the connection. (If the pool's configuration has a
// context watcher of your own, that decides when the call returns.)
//
// A write that has returned is as durable as the server's commit: synchronous_commit
// must not be off; by default it is on. If a call loses its connection, it returns an
// error. After a write the error says that the outcome is unknown, and the store does
// not repeat the write. It repeats a read once, on another connection.
//
// Writes return [keystore.ErrReadOnly] if they are not meant to be possible: the role has
// no right to write (SQLSTATE 42501); the connection string or the role sets
// default_transaction_read_only; or target_session_attrs asks for a standby or for a
// read-only session. Every other server that takes no writes (25006), such as a standby
// or a primary that was turned read-only, may be the wrong one of several: the store drops
// the connections of the pool and tries once more on a new one. If that fails too, the
// error is not ErrReadOnly, since it may pass.
//
// If a connection has become one that target_session_attrs would refuse, a call treats it
// in the same way: a primary that was turned read-only may be cut off from changes.
//
// A standby may be behind: its answers say so with [keystore.NoteLag].
type Store struct {
	pool    *pgxpool.Pool
	table   *table
	checked atomic.Bool // the table is one that the package works with
}

// New returns the store in the database of the pool. It does not connect. The first
// call does, and returns an error if the tables are missing or have another version;
// see [Store.Migrate]. The caller closes the pool after the last call. New returns an
// error if pool is nil.
func New(pool *pgxpool.Pool) (*Store, error) { return newStore(pool, ownTable) }

func newStore(pool *pgxpool.Pool, table *table) (*Store, error) {
	if pool == nil {
		return nil, errors.New("postgres: cannot make a store: the pool is nil, want one of pgxpool.New")
	}
	return &Store{pool: pool, table: table}, nil
}

// Get implements [keystore.KeyStore].
func (s *Store) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, keystore.Failed("get", scope, name, err)
	}
	if err := keystore.CheckID(scope, name); err != nil {
		return keystore.Record{}, err
	}
	found, err := s.checkedRead(ctx, s.table.get, texts(string(scope), name))
	switch {
	case err == nil && len(found.unreadable) > 0:
		err = keystore.CannotRead(found.unreadable[0].Err)
	case err == nil && len(found.records) == 0:
		err = keystore.ErrNotFound
	}
	if err != nil {
		return keystore.Record{}, keystore.Failed("get", scope, name, err)
	}
	return found.records[0], nil
}

// List implements [keystore.KeyStore]. With AllScopes the whole list is one
// consistent view. A row that no record can have is unreadable, in a table without the
// constraints of schema.sql or in Kuma's.
func (s *Store) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, keystore.Failed("list", scope, "", err)
	}
	if err := keystore.CheckListed(scope); err != nil {
		return nil, err
	}
	from, below, ok := names(prefix)
	if !ok {
		return nil, nil
	}
	sql, params := s.table.list, texts(string(scope), from, below)
	if scope == keystore.AllScopes {
		sql, params = s.table.listAll, texts(from, below)
	}
	found, err := s.checkedRead(ctx, sql, params)
	if err != nil {
		return nil, keystore.Failed("list", scope, "", err)
	}
	slices.SortFunc(found.records, keystore.CompareRecords)
	return found.records, keystore.Unreadable(found.unreadable)
}

// names returns the range of the names that begin with a prefix. It returns false if no name
// can.
func names(prefix string) (from, below string, ok bool) {
	if prefix == "" {
		return "", "{", true
	}
	if keystore.CheckName(prefix) != nil {
		return "", "", false
	}
	last := len(prefix) - 1
	return prefix, prefix[:last] + string(rune(prefix[last]+1)), true
}

// A page of ListScopes has so many records, whose keys take about so much memory.
const (
	pageRows  = 1000
	pageBytes = 1800 * pageRows
)

// ListScopes implements [keystore.ScopeLister]. The scopes come sorted. It reads pages, each
// in a statement of its own, which it may repeat as List does. In the table of a Kuma it is
// one List.
func (s *Store) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	if s.table.page == "" {
		return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin)
	}
	if err := ctx.Err(); err != nil {
		return keystore.Failed("list", keystore.AllScopes, "", err)
	}
	from, below, ok := names(prefix)
	if !ok {
		begin()
		return nil
	}
	if err := s.listScopes(ctx, from, below, begin()); err != nil {
		return keystore.Failed("list", keystore.AllScopes, "", err)
	}
	return nil
}

func (s *Store) listScopes(ctx context.Context, first, below string, each keystore.EachScope) error {
	room := make([]byte, 0, pageBytes)
	read := func(sql string, more ...string) (found, error) {
		return s.readInto(ctx, sql, append(texts(first, below), texts(more...)...), room)
	}
	strays, err := read(s.table.rest) // they count as of the global scope, which comes first
	if err != nil {
		return err
	}
	from, rows := keystore.Global, pageRows
	for more := true; more; {
		page, err := read(s.table.page, string(from), strconv.Itoa(rows))
		if err != nil {
			return err
		}
		more = len(page.records)+len(page.unreadable) == rows
		page.unreadable = append(page.unreadable, strays.unreadable...)
		page.sort()
		rows *= 2 // unless it had all records of a scope
		for scope, in := range page.scopes() {
			if more && scope == page.last() { // it may go on
				from = scope
				break
			}
			if err := each(scope, in.records, in.unreadable); err != nil {
				return err
			}
			rows, strays = pageRows, found{}
		}
	}
	return nil
}

// Create implements [keystore.KeyStore]. Created is the time of the server's clock,
// in microseconds.
func (s *Store) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if err := ctx.Err(); err != nil {
		return keystore.Record{}, keystore.Failed("create", r.Scope, r.Name, err)
	}
	if err := s.checkWritable(r); err != nil {
		return keystore.Record{}, err
	}
	answer, written, err := s.put(ctx, s.table.create, append(texts(string(r.Scope), r.Name), s.table.encode(r.Data)), r)
	if hasCode(err, "23503") { // foreign_key_violation
		err = fmt.Errorf("%w: Kuma has no mesh %q, want it made there first", keystore.ErrName, string(r.Scope))
	}
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
	if err := s.checkWritable(r); err != nil {
		return keystore.Record{}, err
	}
	version := r.Version
	if keystore.CheckName(version) != nil {
		version = "" // no record has it, and the server might refuse its bytes
	}
	answer, written, err := s.put(ctx, s.table.update, append(texts(string(r.Scope), r.Name), s.table.encode(r.Data), []byte(version)), r)
	if err == nil && written {
		return answer, nil
	}
	if err == nil {
		// The record will never have this version again, so what is true now is a correct
		// answer.
		exists := false
		err = s.read(ctx, s.table.exists, texts(string(r.Scope), r.Name), func(rows *pgconn.ResultReader) bool {
			exists = rows.NextRow()
			return false
		})
		if err == nil && exists {
			return keystore.Record{}, keystore.Failed("update", r.Scope, r.Name, keystore.ErrConflict)
		}
		if err == nil {
			return keystore.Record{}, keystore.Failed("update", r.Scope, r.Name, keystore.ErrNotFound)
		}
	}
	return keystore.Record{}, keystore.Failed("update", r.Scope, r.Name, err)
}

// checkWritable returns nil if the table can hold the record.
func (s *Store) checkWritable(r keystore.Record) error {
	err := keystore.CheckRecord(r, maxData)
	if err == nil && len(r.Scope) > s.table.maxScope {
		return fmt.Errorf("%w: scope %.64q has %d bytes, want at most %d in the table %s", keystore.ErrName, string(r.Scope), len(r.Scope), s.table.maxScope, s.table.name)
	}
	return err
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
		err = s.run(ctx, false, s.table.remove, texts(string(scope), name), nothing)
	}
	if err != nil {
		return keystore.Failed("delete", scope, name, err)
	}
	return nil
}

// found is the answer to a read.
type found struct {
	records    []keystore.Record
	unreadable []*keystore.Error

	room []byte // for the data of all records, if it is not nil; else each has memory of its own
}

// checkedRead reads whole records.
func (s *Store) checkedRead(ctx context.Context, sql string, params [][]byte) (found, error) {
	return s.readInto(ctx, sql, params, nil)
}

// readInto is checkedRead that puts the data of the records into the room, and what does not
// fit in other memory.
func (s *Store) readInto(ctx context.Context, sql string, params [][]byte, room []byte) (found, error) {
	if err := s.checkSchema(ctx); err != nil {
		return found{}, err
	}
	var answer found
	progressed, standby := keystore.Progress(ctx), false
	err := s.read(ctx, sql, params, func(rows *pgconn.ResultReader) (readOnly bool) {
		answer = found{room: room[:0]} // an earlier attempt may have read some
		for rows.NextRow() {
			progressed()
			values := rows.Values() // until the next row
			standby, readOnly = isTrue(values[0]), isTrue(values[1])
			if values[3] != nil {
				answer.add(values[2:], s.table.decode)
			}
		}
		return readOnly
	})
	if standby {
		keystore.NoteLag(ctx)
	}
	return answer, err
}

// add adds the record in a row, or why it cannot be read.
func (f *found) add(row [][]byte, decode func(value []byte) ([]byte, error)) {
	r := keystore.Record{Scope: keystore.Scope(row[0]), Name: string(row[1]), Version: string(row[2])}
	created, ok := timeOf(row[3])
	r.Created = created
	err := keystore.CheckID(r.Scope, r.Name)
	switch {
	case row[0] == nil:
		err = errors.New("the row has no scope, want one")
	case err == nil && row[2] == nil:
		err = errors.New("the row has no version, want one")
	case err == nil && !ok:
		err = errors.New("the row has no time of creation, want one")
	case err == nil:
		r.Data, err = decode(row[4])
	}
	if at := len(f.room); f.room != nil && err == nil {
		f.room = append(f.room, r.Data...)
		r.Data = f.room[at:len(f.room):len(f.room)]
	} else {
		r.Data = bytes.Clone(r.Data)
	}
	if err != nil {
		f.unreadable = append(f.unreadable, &keystore.Error{Op: "read", Scope: r.Scope, Name: r.Name, Err: err})
		return
	}
	f.records = append(f.records, r)
}

// sort sorts by scope and name.
func (f *found) sort() {
	slices.SortFunc(f.records, keystore.CompareRecords)
	_ = keystore.Unreadable(f.unreadable) // it also makes each match ErrUnreadable
}

// last returns the last scope. There is one.
func (f *found) last() (scope keystore.Scope) {
	if n := len(f.records); n > 0 {
		scope = f.records[n-1].Scope
	}
	if n := len(f.unreadable); n > 0 {
		scope = max(scope, f.unreadable[n-1].Scope)
	}
	return scope
}

// scopes yields each scope of a sorted answer, with its part.
func (f *found) scopes() iter.Seq2[keystore.Scope, found] {
	return func(yield func(keystore.Scope, found) bool) {
		records, unreadable := f.records, f.unreadable
		for len(records)+len(unreadable) > 0 {
			var scope keystore.Scope
			if len(unreadable) == 0 || len(records) > 0 && records[0].Scope <= unreadable[0].Scope {
				scope = records[0].Scope
			} else {
				scope = unreadable[0].Scope
			}
			n, bad := 0, 0
			for n < len(records) && records[n].Scope == scope {
				n++
			}
			for bad < len(unreadable) && unreadable[bad].Scope == scope {
				bad++
			}
			if !yield(scope, found{records: records[:n:n], unreadable: unreadable[:bad:bad]}) {
				return
			}
			records, unreadable = records[n:], unreadable[bad:]
		}
	}
}

// put runs a statement that writes r. If it has written r, it returns r with its
// version and its time of creation.
func (s *Store) put(ctx context.Context, sql string, params [][]byte, r keystore.Record) (answer keystore.Record, written bool, err error) {
	if err := s.checkSchema(ctx); err != nil {
		return keystore.Record{}, false, err
	}
	answer = r.Clone()
	err = s.run(ctx, false, sql, params, func(rows *pgconn.ResultReader) bool {
		written = false // the server may have undone an earlier attempt after its answer
		for rows.NextRow() {
			written = true
			values := rows.Values()
			answer.Version = string(values[0])
			answer.Created, _ = timeOf(values[1])
		}
		return false
	})
	return answer, written, err
}

// consumer takes the rows of an answer. It reports whether they say that the server takes
// no writes at the moment.
type consumer func(rows *pgconn.ResultReader) (readOnly bool)

func nothing(*pgconn.ResultReader) bool { return false }

// read runs a statement that changes nothing. After a failure that another attempt may
// repair, it makes one more, and calls consume again.
func (s *Store) read(ctx context.Context, sql string, params [][]byte, consume consumer) error {
	return s.run(ctx, true, sql, params, consume)
}

// run runs a statement on a connection of the pool, below pgx's interface for queries.
// So no tracer sees keys, data travels in binary, and there is no prepared statement
// that a pooler could lose. It tries again when the server undid the statement because
// of concurrent ones; once, if the statement may be repeated, when the connection
// was lost; and once when the connection leads to the wrong server.
func (s *Store) run(ctx context.Context, repeatable bool, sql string, params [][]byte, consume consumer) error {
	moved := false
	for attempt := 1; ; attempt++ {
		pooled, err := s.acquire(ctx, attempt > 1)
		if err != nil {
			return withContext(ctx, err)
		}
		conn := pooled.Conn().PgConn()
		rows := conn.ExecParams(ctx, sql, params, nil, binaryFormat, binaryFormat)
		readOnly := consume(rows)
		_, err = rows.Close()
		wrong := false
		if err == nil && readOnly || hasCode(err, readOnlyTransaction) {
			wrong, err = s.judge(ctx, pooled.Conn(), err)
		}
		if isOver(err) && !conn.IsClosed() {
			closeSoon(pooled.Conn())
		}
		lost := conn.IsClosed() && !wrong
		if lost {
			hangUp(conn.Conn())
		}
		pooled.Release()
		unsent := pgconn.SafeToRetry(err)
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
		case wrong && !moved:
			moved = true
			continue
		case wasRolledBack(err) && attempt < maxAttempts, lost && (repeatable || unsent) && attempt == 1:
			continue
		}
		err = withContext(ctx, withoutDetail(err))
		switch {
		case hasCode(err, "42P01"): // undefined_table
			return fmt.Errorf("%w: %w", s.table.missing, err)
		case lost && !repeatable && !unsent:
			return fmt.Errorf("%w (the connection was lost: the outcome of the write is unknown)", err)
		case !repeatable && hasCode(err, "42501"): // insufficient_privilege
			return fmt.Errorf("%w: %w", keystore.ErrReadOnly, err)
		}
		return err
	}
}

// maxAttempts is how often run tries a statement that the server keeps undoing.
const maxAttempts = 10

// acquire takes a connection out of the pool; with answering, one that answers. After a
// restart of the server all connections in the pool may be dead.
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

// hangUp tells the server that no more is sent on a connection that was given up.
// Otherwise, in the middle of a message, the server would wait for the rest, pgx would
// wait 15 s for the server, and the connection would keep its place in the pool.
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

// isTrue decodes a boolean in binary format.
func isTrue(value []byte) bool { return len(value) == 1 && value[0] == 1 }

// timeOf decodes a timestamptz, or a timestamp of UTC, in binary format: microseconds since
// the year 2000. It
// returns false for NULL and for infinity.
func timeOf(value []byte) (time.Time, bool) {
	if len(value) != 8 {
		return time.Time{}, false
	}
	since2000 := int64(binary.BigEndian.Uint64(value))
	if since2000 == math.MaxInt64 || since2000 == math.MinInt64 {
		return time.Time{}, false
	}
	year2000 := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro()
	return time.UnixMicro(year2000 + since2000).UTC(), true
}

// wasRolledBack reports whether the server undid the statement because of concurrent
// ones: serialization_failure, at an isolation level other than the default, or
// deadlock_detected.
func wasRolledBack(err error) bool {
	return hasCode(err, "40001") || hasCode(err, "40P01")
}

// hasCode reports whether err has the SQLSTATE.
func hasCode(err error, code string) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && answer.Code == code
}

// withoutDetail returns err without what the server says about the row, which may be
// data.
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
