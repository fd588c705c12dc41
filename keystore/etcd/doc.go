// Package etcd keeps the records of a keystore.KeyStore in an etcd cluster. Any
// number of processes share it, and learn of each other's changes within
// milliseconds.
//
// [Open] takes the configuration of etcd's own client:
//
//	store, err := etcd.Open(ctx, clientv3.Config{
//		Endpoints: []string{"https://etcd-1:2379", "https://etcd-2:2379", "https://etcd-3:2379"},
//		TLS:       tlsConfig,
//	})
//	defer store.Close()
//	_, err = dataplane.EnsureKey(ctx, store, "default") // when the mesh is created
//	validator, err := dataplane.NewValidator(store)
//
// Open takes no existing client. The time that a store needs to recover from an outage
// depends on settings that a client cannot be given later. Their defaults wait for up
// to two minutes.
//
// # Keys and values
//
// A record has the key PREFIX/global/NAME or PREFIX/meshes/MESH/NAME; see
// [WithPrefix]. etcd keeps no times, so a value is a line with the time of creation,
// and then the Data:
//
//	meshpass/1 2026-01-31T12:00:00.123456789Z RNQFZWPZ4KBTCXRIQVQPJWVN4C
//	-----BEGIN RSA PRIVATE KEY-----
//	...
//
// The time is by the clock of the machine that created the record. The random text at
// the end of the line differs with each write. Version is the key's mod_revision, in
// decimal.
//
// You may put a value there by hand. A value that does not begin with "meshpass/" is
// all Data, and the record's Created is the zero time. So you can revoke a token with
// nothing but etcdctl; and a key that came from elsewhere signs at once, like an old
// one. A value that begins with "meshpass/" and has no valid line is an unreadable record.
// So is a key in the folder of a scope whose name no record can have, such as one with a
// line end. The store ignores all other keys. Lists read everything below the prefix, so
// no other program should use it.
//
// # Reads
//
// Reads are linearizable: they see every write that was acknowledged before they
// began. List reads in pages, all at the revision of the first one, so a list is one
// moment of all scopes together. If etcd compacts that revision meanwhile, List starts
// over, five times at most. If a member that is cut off leaves a read unanswered, the
// store asks the next member after a second.
//
// # Writes with an unknown outcome
//
// A majority of the members has stored a write that is acknowledged. If the connection
// or the leader is lost before the answer, the write returns an error that is none of
// those of package keystore. The write may have happened, or may still happen. The
// store does not repeat it: read the record, and decide.
//
// After certain errors etcd's client sends a request twice. The random text then shows
// that the record found is the one just written, and the write succeeds. Only if
// another writer changed the record in between does it return keystore.ErrExists,
// ErrConflict or ErrNotFound.
//
// # Contexts and outages
//
// Every call ends when its context does. Each request to etcd takes at most 10 s, also
// without a deadline; etcd itself gives up earlier. The error of a deadline says what
// was wrong with the connection, if anything was.
//
// Without a majority of the members neither reads nor writes are answered. What a
// learner refuses, the client asks the next member.
//
// While no member can be reached, the store tries to connect about every 0.4 s. It
// gives up a silent connection after at most 13 s; on Linux, after 3 s if data that
// was sent is not acknowledged. A watch ends with its connection, and when its member
// finds that it has no leader. keystore.Follow then starts the next watch, which
// announces all scopes, so a validator reads everything as soon as etcd is back.
//
// The store logs nothing, unless config has a Logger.
//
// # Permissions
//
// With etcd's authentication the store needs read and write permission for its prefix
// and nothing else. With read permission alone, writes return keystore.ErrReadOnly.
// With a password, Open needs a token and fails while etcd is away. With client
// certificates etcd takes the user from the certificate's common name, and Open does
// not wait.
//
// Anyone who can read the prefix, the disks or the backups has the signing keys.
// Package keystore/sealed encrypts the records of any store.
package etcd
