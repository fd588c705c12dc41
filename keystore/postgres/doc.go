// Package postgres keeps the records of a keystore.KeyStore in PostgreSQL, version 13
// or later. Any number of processes share it, and learn of each other's changes within
// milliseconds.
//
// [New] takes a pool of pgx:
//
//	pool, err := pgxpool.New(ctx, "postgres://control_plane@db.internal/mesh?target_session_attrs=read-write&connect_timeout=2&pool_ping_timeout=2s")
//	store, err := postgres.New(pool)
//	err = store.Migrate(ctx) // makes the tables, if there are none
//	_, err = dataplane.EnsureKey(ctx, store, "default") // when the mesh is created
//	validator, err := dataplane.NewValidator(store)
//	defer validator.Close() // before pool.Close
//
// With target_session_attrs=read-write the store leaves a server that was turned
// read-only, as soon as another one of the connection string is writable. On a standby,
// validators answer that they could not know about keys that it lacks.
//
// A control plane that uses PostgreSQL has a pool already. The store shares it, with its
// TLS, its credentials, its limits and its hooks, and opens no other. When a
// network that lost everything is back, the store works again within seconds. Without
// the two timeouts above that takes minutes.
//
// # Tables
//
// The table meshpass_records has a row for each record, and meshpass_schema has the
// version of the tables. Both are in a schema of the search_path. [Store.Migrate] makes
// them, or you run the file schema.sql. Two control planes in one database use two
// schemas: put "search_path=mesh_a" into the connection string of one, and
// "search_path=mesh_b" into that of the other.
//
// You may also insert, update and delete rows by hand. Triggers then give the row a new
// version and announce the change. Constraints refuse names and sizes that the store
// would refuse.
//
// [NewKuma] returns a store in the table of a Kuma or Kong Mesh instead. It shares the keys
// and the revocation lists with that Kuma, and makes no tables.
//
// # Changes
//
// A trigger announces each committed change with NOTIFY. [Store.Watch] listens with
// LISTEN, on a connection that it takes out of the pool for good: allow one connection
// beside the pool's for each validator or other watcher. LISTEN does not work behind a
// pooler in transaction mode or on a standby. Watch then returns an error that says so,
// and [keystore.Follow], which validators use, polls.
//
// # Secrets
//
// The database and its backups hold private keys: anyone who can read them can sign.
// Package keystore/sealed encrypts the records of any store. The tracer of the pool does
// not see the store's statements. The store's errors hold neither data nor what the
// server says about a row. But a server that logs the parameters of statements logs
// keys too; see README.md.
package postgres
