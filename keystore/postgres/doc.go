// Package postgres keeps keys and revocation lists in PostgreSQL, version 13 or
// later, for control planes with several replicas.
//
//	pool, err := pgxpool.New(ctx, "postgres://control_plane@db.internal/mesh?target_session_attrs=read-write&connect_timeout=2&pool_ping_timeout=2s")
//	store, err := postgres.New(pool)
//	err = store.Migrate(ctx) // makes the tables, if there are none
//
//	_, err = dataplane.EnsureKey(ctx, store, "default")
//	validator, err := dataplane.NewValidator(store)
//
// New takes a pool, and no connection string, since a control plane that uses
// PostgreSQL has a pool already: the store shares it, with its TLS, its credentials
// (also those that change), its limits and its hooks, and opens no other. The two
// timeouts above let it work again within seconds when a network that lost
// everything is back, instead of minutes.
//
// # Tables
//
// The records are in the table meshpass_records, a row each, and the version of the
// tables in meshpass_schema, both in a schema of the search_path. [Store.Migrate] makes
// them, or the file schema.sql does if it is run by hand. Two control planes in one
// database use two schemas: put "search_path=mesh_a" into the connection string of one
// and "search_path=mesh_b" into the other's.
//
// Rows may also be inserted, updated and deleted by hand. Triggers then give the row a
// new version and announce the change, and constraints refuse names and sizes that the
// store would refuse.
//
// # Changes
//
// A trigger announces each committed change with NOTIFY, and [Store.Watch] hears it
// with LISTEN, on a connection that it takes out of the pool for good: count one
// connection beside the pool's for each validator or other watcher. Where LISTEN
// does not work, behind a pooler in transaction mode or on a standby, Watch says so,
// and [keystore.Follow], which validators use, polls.
//
// # Secrets
//
// The database and its backups hold private keys: whoever reads them can sign. The
// package keystore/sealed encrypts the data of any store. The store's statements do not
// pass through the tracer of the pool, its errors hold neither data nor what a server
// says of a row, but a server that is told to log statements with their parameters logs
// keys too; see README.md.
package postgres
