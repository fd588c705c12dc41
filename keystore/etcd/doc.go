// Package etcd keeps the records of a keystore.KeyStore in an etcd cluster. Any
// number of processes share it, and learn of each other's changes within
// milliseconds.
//
// [Open] takes the configuration of etcd's own client, with TLS and users as the
// cluster asks for them:
//
//	store, err := etcd.Open(ctx, clientv3.Config{
//		Endpoints: []string{"https://etcd-1:2379", "https://etcd-2:2379", "https://etcd-3:2379"},
//		TLS:       tlsConfig,
//	})
//	defer store.Close()
//	validator, err := dataplane.NewValidator(store)
//
// The store makes its client itself and does not take one that is there already.
// How soon it works again after an outage depends on settings that a client cannot
// be given later, and whose defaults, made for other uses, wait for up to two
// minutes.
//
// # Keys and values
//
// A record has the key PREFIX/global/NAME, or PREFIX/meshes/MESH/NAME; see
// [WithPrefix]. The value is a line with the time of creation, since etcd keeps no
// times, and then the Data as it is:
//
//	meshpass/1 2026-01-31T12:00:00.123456789Z RNQFZWPZ4KBTCXRIQVQPJWVN4C
//	-----BEGIN RSA PRIVATE KEY-----
//	...
//
// The time is by the clock of the machine that created the record. The random text
// at the end of the line differs with each write. Version is the key's mod_revision,
// in decimal.
//
// A value may be put there by hand. Without a line that begins with "meshpass/" it is
// all Data, and the record's Created is the zero time: so somebody with nothing but
// etcdctl can revoke a token, and a key that came from elsewhere signs at once, as an
// old one does. A line that begins so and is not understood is an error that names
// the key. Keys that no record can have are ignored. Other programs should not use
// the prefix, since lists read all that is below it.
//
// # Reads
//
// Reads are linearizable: they see every write that was acknowledged before they
// began, by anyone. A List is read in pages, all of the revision of the first one, so
// it is one moment of all scopes together. If etcd compacts that revision meanwhile,
// the list starts over, five times at most. A read that a member leaves unanswered,
// since it is cut off from the others, goes to the next member after a second.
//
// # Writes whose outcome is unknown
//
// A write that is acknowledged has been stored by a majority of the members. A write
// that fails with an error other than the contract's own may still have happened, or
// happen later: the connection or the leader was lost before the answer came. The
// store does not try again, since the caller knows better: read, and decide. But where
// something below has sent a request twice, as the client does after certain errors,
// the random text shows that the record found is the one just written, and the write
// succeeds. Only if somebody else changed the record between the two is it
// keystore.ErrExists, ErrConflict or ErrNotFound.
//
// # Contexts and outages
//
// Every call ends when its context does. One without a deadline does not hang either:
// each request to etcd gets at most 10 s, more than etcd itself takes to give up. An
// error that a deadline caused says what was wrong with the connection, if anything.
//
// While no member can be reached, the store tries to connect about every 0.4 s. A
// connection that has gone silent is given up after 13 s at most; on Linux 3 s after the
// other side's system has stopped to acknowledge what was sent. A watch ends with its connection,
// and when its member finds that it has no leader; keystore.Follow then starts the next
// one, which announces all scopes, so that a validator reads everything as soon as etcd
// is back.
//
// Nothing reaches the log unless config has a Logger.
//
// # Permissions
//
// With etcd's authentication the store needs read and write permission for its prefix
// and nothing else. With read permission alone it answers writes with
// keystore.ErrReadOnly. Open with a password fails while etcd is away, as it needs a
// token; with client certificates etcd takes the user from the certificate's common
// name, and Open does not wait.
//
// Whoever can read the prefix, the disks or the backups has the signing keys. The
// package keystore/sealed encrypts the records of any store.
package etcd
