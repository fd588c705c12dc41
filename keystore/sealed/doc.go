// Package sealed encrypts the records of any store. Someone who reads the store's disk,
// its backups or its replication learns the names and the sizes of records, and not what
// they hold.
//
// [New] wraps a [keystore.KeyStore]:
//
//	sealer, err := sealed.NewAESGCM(key) // 32 random bytes, from a file that is not in the store's backups
//	store, err := sealed.New(inner, sealer)
//	validator, err := dataplane.NewValidator(store)
//
// Each write encrypts the data with a new key, the data key. A [Sealer] encrypts the data
// key with a key-encryption key, which is never in the store. [NewAESGCM] returns a Sealer
// with a key in memory. To use a KMS, write a type with the three methods of Sealer.
//
// # What it protects, and what not
//
// Get and List return a record only if a holder of the key-encryption key sealed it, for
// the scope and the name under which it is found. They return an error for a
// record that is not sealed, was altered in any bit, was cut short, or was copied or moved
// to another scope or name. So write access alone cannot plant a key.
//
// A process with write access can still delete records. It can also put back an older state
// of a record, such as a list without the latest revocation or a key that was removed. It
// can change Created, from which a publish delay counts: Created is the inner store's.
//
// Use a key-encryption key for one store only: a record that was sealed under it opens in
// every store that has the key, in the same scope under the same name.
//
// Programs that do not use this package, such as Kuma, cannot read sealed records.
//
// Get, List, Create and Update check the place that was asked for. An inner store that
// answers with a record of another scope or name, for example because it folds case, is an
// error that matches [ErrAltered].
//
// A record that certainly cannot be opened ([ErrNoKey], [ErrAltered], [ErrNotSealed]) is an
// unreadable record of each List: List returns the others, and names this one in a
// [keystore.UnreadableError]. If a Sealer fails in any other way, for example because a KMS
// does not answer, the List fails.
//
// Data grows by 81 bytes and the sealed data key; with AESGCM by 149 bytes in all. The
// inner store's limit applies to the sealed data, so for records of 512 KiB the store must
// take a little more, as the stores of Meshpass do: 1 MiB or more.
//
// # Calls of the Sealer
//
// A write calls Seal once. The store remembers opened data keys in memory, by a digest of
// what was sealed. So it calls Open when a record is read for the first time, and after
// each write of another process, and not again, however often the record is listed. For a
// record that cannot be opened, each List asks again. The store
// remembers at least the 131,072 data keys that were used last, and at most twice as many
// (40 MB). It does not notice that a KMS withdraws a key whose data keys it remembers.
//
// A List makes at most 16 calls of Open at a time, and says after each that it gets on, see
// keystore.Progress. So with 30,000 records and a KMS that takes 10 ms, a new validator is
// ready after about 20 seconds. A List whose context ends before the last call remembers
// the opened keys, and the next one continues from there.
//
// # How to turn encryption on
//
// In a running deployment make each step a rollout of its own, to every process that uses
// the store, readers and writers. Then no process meets a record that it cannot read.
//
//  1. New with [WritePlaintext]: all processes can read sealed records; none writes one.
//  2. New with [AcceptPlaintext]: new writes are sealed.
//  3. Run [Reseal] with AcceptPlaintext on the inner store until it returns 0.
//  4. New without options: records that are not sealed are refused.
//
// Until step 4 a writer to the inner store can plant records. Backups, and the disk
// itself, still hold what was stored before: rotate the signing keys afterwards. To turn
// encryption off for new writes, go back through steps 2 and 1.
//
// # How to change the key-encryption key
//
//  1. NewAESGCM(old, new): all processes can open what is sealed under the new key.
//  2. NewAESGCM(new, old): new writes are sealed under the new key.
//  3. Run Reseal with NewAESGCM(new, old) until it returns 0.
//  4. NewAESGCM(new): once no backup needs the old key, destroy it.
//
// # Format
//
// The data of a sealed record has this form. n is the length of the sealed data key, 1 to
// 8,192, and m that of the original data. Numbers are big-endian.
//
//	offset     bytes  content
//	0          19     "meshpass-sealed-v1" and a line feed (0x0A)
//	19         32     place: SHA-256 of the first 19 bytes, the scope, a zero byte and the name
//	51         2      n
//	53         n      the sealed data key, as the Sealer returned it
//	53+n       12     nonce, random
//	65+n       m      the data, encrypted with AES-256-GCM (NIST SP 800-38D) and the data key
//	65+n+m     16     tag of AES-256-GCM
//
// The additional data of AES-GCM are all bytes before the nonce. No scope and no name has
// a zero byte, so a place stands for one scope and name.
//
// The data key has 32 random bytes. An [AESGCM] seals it in this form:
//
//	offset  bytes  content
//	0       8      id of the key-encryption key: the beginning of the SHA-256 of
//	               "meshpass-key-encryption-key-v1", a line feed and the key
//	8       12     nonce, random
//	20      32     the data key, encrypted with AES-256-GCM and the key-encryption key
//	52      16     tag
//
// The additional data are "meshpass-data-key-v1", a line feed, the id, the scope, a zero
// byte and the name.
//
// The package uses only crypto/aes, crypto/cipher, crypto/rand and crypto/sha256, in ways
// that FIPS 140-3 mode (GODEBUG=fips140=only) allows.
package sealed
