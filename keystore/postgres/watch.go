package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/meshpass/meshpass/keystore"
)

const (
	// If it takes longer to begin to listen, that has failed.
	listenTimeout = 5 * time.Second

	// If a notification that the store sends to itself takes longer, none arrive. A
	// caller that then polls has waited for so long.
	proofTimeout = time.Second

	// The watch asks this often whether its connection still lives, and waits for as
	// long for the answer.
	checkInterval = 3 * time.Second
)

// proofChannel is the channel on which watches prove that notifications arrive. It is
// none of a table, whose other listeners, such as Kuma, would not understand the proof.
const proofChannel = "meshpass_proof"

// Watch implements [keystore.Watcher] with LISTEN. It announces changes made by hand
// too. Watch takes a connection out of the pool, which may then open another one, and
// closes it in the end. It asks every 3 s whether the connection lives, and is lost if
// there is no answer within another 3 s.
//
// Watch returns an error in three cases: notifications do not arrive, as behind a pooler
// in transaction mode; the server cannot listen, such as a standby; or the table has
// lost the trigger that sends them. [keystore.Follow] then announces AllScopes about
// every second, or every five if the pool has no free connection. The watch outlives the
// pool's Close.
func (s *Store) Watch(ctx context.Context, changed func(keystore.Scope)) error {
	err := s.watch(ctx, changed)
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	return fmt.Errorf("postgres: cannot watch: %w", err)
}

func (s *Store) watch(ctx context.Context, changed func(keystore.Scope)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	listener, number, err := s.listen(ctx)
	if err != nil {
		return withoutDetail(err)
	}
	defer closeSoon(listener)
	changed(keystore.AllScopes)
	for check := time.Now().Add(checkInterval); ; {
		waiting, cancel := context.WithDeadline(ctx, check)
		notification, err := nextNotification(waiting, listener)
		cancel()
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && (listener.IsClosed() || waiting.Err() == nil):
			return withoutDetail(err)
		case err == nil && notification.Channel == s.table.channel(number):
			if scope, ok := s.table.announced(notification.Payload); ok {
				changed(scope)
			}
		}
		if time.Now().Before(check) {
			continue
		}
		if err := s.checkTable(ctx, listener, number); err != nil {
			return withoutDetail(err)
		}
		check = time.Now().Add(checkInterval)
	}
}

// listen returns a connection on which the announcements of the table arrive, and the
// number of the table.
func (s *Store) listen(ctx context.Context) (listener *pgx.Conn, number string, err error) {
	ctx, cancel := context.WithTimeout(ctx, listenTimeout)
	defer cancel()
	if err := s.checkSchema(ctx); err != nil {
		return nil, "", err
	}
	pooled, err := s.pool.Acquire(ctx)
	if err != nil {
		return nil, "", err
	}
	listener = pooled.Hijack()
	if err = s.validate(ctx, listener); err != nil {
		s.pool.Reset() // or the next watch may get such a connection again
	} else {
		number, err = s.numberOfTable(ctx, listener)
	}
	if err == nil {
		listen := fmt.Sprintf("LISTEN %s; LISTEN %s", pgx.Identifier{s.table.channel(number)}.Sanitize(), proofChannel)
		_, err = listener.PgConn().Exec(ctx, listen).ReadAll()
	}
	if err == nil {
		err = s.prove(ctx, listener)
	}
	if err != nil {
		closeSoon(listener)
		return nil, "", err
	}
	return listener, number, nil
}

// prove returns nil once a notification has arrived that was sent over another
// connection: one sent over the listener's own could arrive where others do not.
func (s *Store) prove(ctx context.Context, listener *pgx.Conn) error {
	payload := rand.Text()
	err := s.read(ctx, "SELECT pg_notify($1, $2)", texts(proofChannel, payload), nothing)
	if err != nil {
		return err
	}
	waiting, cancel := context.WithTimeout(ctx, proofTimeout)
	defer cancel()
	for {
		notification, err := nextNotification(waiting, listener)
		if err != nil && waiting.Err() != nil {
			return fmt.Errorf("a notification did not arrive within %v: "+
				"LISTEN needs a connection to PostgreSQL itself, or through a pooler in session mode", proofTimeout)
		}
		if err != nil {
			return err
		}
		if notification.Payload == payload {
			return nil
		}
	}
}

// nextNotification waits for a notification.
func nextNotification(ctx context.Context, listener *pgx.Conn) (*pgconn.Notification, error) {
	notification, err := listener.WaitForNotification(ctx)
	if notification == nil && err == nil {
		return nil, errors.New("the pool's configuration has a function OnNotification, which takes the notifications, want a pool without one")
	}
	return notification, err
}

// checkTable returns an error unless the connection lives, leads to a server that the
// pool is for, and the table is still the one of that number and announces its changes.
func (s *Store) checkTable(ctx context.Context, listener *pgx.Conn, number string) error {
	ctx, cancel := context.WithTimeout(ctx, checkInterval)
	defer cancel()
	if err := s.validate(ctx, listener); err != nil {
		return err
	}
	now, err := s.numberOfTable(ctx, listener)
	if err == nil && now != number {
		err = fmt.Errorf("the table %s was replaced", s.table.name)
	}
	return err
}

// numberOfTable returns the number that the server gave to the table, or an error if the
// table announces no changes.
func (s *Store) numberOfTable(ctx context.Context, conn *pgx.Conn) (string, error) {
	result := conn.PgConn().ExecParams(ctx, s.table.announces, nil, nil, nil, binaryFormat).Read()
	if result.Err != nil {
		return "", result.Err
	}
	if !isTrue(result.Rows[0][1]) {
		return "", s.table.noTrigger
	}
	return string(result.Rows[0][0]), nil
}

// closeSoon closes a connection without waiting long for a silent server.
func closeSoon(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}
