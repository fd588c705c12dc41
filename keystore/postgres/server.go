package postgres

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/meshpass/meshpass/keystore"
)

// readOnlyTransaction is the SQLSTATE read_only_sql_transaction: the statement was not
// run.
const readOnlyTransaction = "25006"

// judge decides about a server that takes no writes: it refused a statement with err, or
// has said so while it answered a read, in which case err is nil. If the operator means
// that, judge returns wrong as false, and err so that it matches keystore.ErrReadOnly.
// Otherwise another server may be the right one by now. Then judge closes the connection,
// and has the pool replace all others, since they may lead to the same server.
func (s *Store) judge(ctx context.Context, conn *pgx.Conn, err error) (wrong bool, _ error) {
	if err == nil {
		if err = s.validate(ctx, conn); err == nil {
			return false, nil
		}
		err = fmt.Errorf("the server is not the one that the pool is for: %w", err)
	} else {
		err = withoutDetail(err)
		if s.readOnlyIsMeant(ctx, conn) {
			return false, fmt.Errorf("%w: %w", keystore.ErrReadOnly, err)
		}
		err = fmt.Errorf("the server takes no writes at the moment: %w", err)
	}
	closeSoon(conn)
	s.pool.Reset()
	return true, err
}

// validate returns an error if the pool would not accept the connection if it were new.
func (s *Store) validate(ctx context.Context, conn *pgx.Conn) error {
	validate := s.pool.Config().ConnConfig.ValidateConnect
	if validate == nil {
		return nil
	}
	err := validate(ctx, conn.PgConn())
	var notPreferred *pgconn.NotPreferredError
	if errors.As(err, &notPreferred) {
		return nil
	}
	return err
}

// readOnlyIsMeant reports whether the operator wants a session without writes: by
// target_session_attrs, or by default_transaction_read_only for the session or the role.
// The same setting of the server or the database, and a standby, may be there for a while
// only.
func (s *Store) readOnlyIsMeant(ctx context.Context, conn *pgx.Conn) bool {
	// For these no connection is better.
	for _, wish := range []pgconn.ValidateConnectFunc{
		pgconn.ValidateConnectTargetSessionAttrsReadOnly,
		pgconn.ValidateConnectTargetSessionAttrsStandby,
		pgconn.ValidateConnectTargetSessionAttrsPreferStandby,
	} {
		if reflect.ValueOf(s.pool.Config().ConnConfig.ValidateConnect).Pointer() == reflect.ValueOf(wish).Pointer() {
			return true
		}
	}
	answer := conn.PgConn().ExecParams(ctx, `SELECT source FROM pg_settings
		WHERE name = 'default_transaction_read_only' AND setting = 'on'`, nil, nil, nil, nil).Read()
	if answer.Err != nil || len(answer.Rows) == 0 {
		return false
	}
	switch string(answer.Rows[0][0]) {
	case "client", "session", "user", "database user":
		return true
	}
	return false
}

// isOver reports whether the server or a pooler has said with the error that the
// connection is of no more use: it shuts down, or has lost its own connection. Most of
// them close it too.
func isOver(err error) bool {
	var answer *pgconn.PgError
	return errors.As(err, &answer) && (strings.HasPrefix(answer.Code, "08") || strings.HasPrefix(answer.Code, "57P"))
}
