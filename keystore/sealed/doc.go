// Package sealed keeps the records of a store encrypted, whatever the store:
// whoever reads its disk, its backups or its replication learns the names and the
// sizes of records and nothing of what they hold.
//
// [New] wraps a [keystore.KeyStore]. Each write encrypts the data with a new key of
// its own, the data key, and a [Sealer] encrypts the data key with a key-encryption
// key, which is never in the store: [NewAESGCM] holds one in memory, and a type of
// your own with three methods asks a KMS.
//
//	sealer, err := sealed.NewAESGCM(key) // 32 random bytes, from a file that the store's backups do not have
//	store, err := sealed.New(inner, sealer)
//	validator, err := dataplane.NewValidator(store)
//
// # What it protects, and what not
//
// A record that is returned was sealed by somebody who could use the key-encryption
// key, for the scope and the name under which it was found. A record that is not
// sealed, that was altered in any bit, cut short, copied or moved to another scope
// or name is an error. So who can write to the store, and no more, cannot bring in a
// signing key of their own. They can still delete records, and put back an older
// state of a record, such as a list without the latest revocation or a key that was
// removed; and Created, by which a publish delay counts, is the inner store's.
//
// Use a key-encryption key for one store only: what was sealed under it for a scope
// and a name opens in every store that has it.
//
// Programs that do not use this package, such as Kuma, cannot read sealed records.
//
// A record that cannot be opened makes each List of its scope fail, since a list
// without it could be one without a revocation. A validator then reads the scopes
// one by one: the scope of the record goes on with what was read last until that
// is too old, and the others are served as ever.
//
// Data grows by 81 bytes and the sealed data key, with AESGCM by 149 bytes in all.
// A store's limit applies to what is stored; so that records of 512 KiB fit, the
// store has to take a little more, as the stores of Meshpass do: 1 MiB or more.
//
// # Calls of the Sealer
//
// A write calls Seal once. Opened data keys are remembered in memory, by a digest
// of what was sealed: a record costs a call of Open when it is first read and after
// each write of another process, and no call otherwise, however often it is listed.
// The 131,072 data keys used last are remembered for certain, and twice as many at
// most (40 MB). A List that needs many calls makes 16 at a time and remembers the
// keys also if its context ends before the last: the next List goes on from there.
// So with 30,000 records and a KMS that takes 10 ms a new validator is ready after
// about 20 seconds and four Lists that timed out. A KMS that withdraws a key is not
// noticed for what is remembered.
//
// # How to turn encryption on
//
// In a running deployment each step is a rollout of its own to every process that
// uses the store, readers and writers; no process ever meets what it cannot read.
//
//  1. New with [WritePlaintext]: all can read sealed records, nobody writes one.
//  2. New with [AcceptPlaintext]: new writes are sealed.
//  3. Run [Reseal] with AcceptPlaintext on the inner store until it returns 0.
//  4. New without options: what is not sealed is refused.
//
// Until step 4 the protection against who can write to the store is not there.
// Backups, and the disk itself, still hold what was stored before: rotate the
// signing keys afterwards. Steps 1 and 2 backwards turn encryption off for new
// writes.
//
// # How to change the key-encryption key
//
//  1. NewAESGCM(old, new): all can open what is sealed under the new key.
//  2. NewAESGCM(new, old): new writes are sealed under it.
//  3. Run Reseal with NewAESGCM(new, old) until it returns 0.
//  4. NewAESGCM(new): the old key may be destroyed, once no backup needs it.
//
// # Format
//
// What is stored has this form, in which n is the length of the sealed data key, 1
// to 8,192, and m that of the data. Numbers are big-endian.
//
//	offset     bytes  what
//	0          19     "meshpass-sealed-v1" and a line feed (0x0A)
//	19         32     place: SHA-256 of the first 19 bytes, the scope, a zero byte and the name
//	51         2      n
//	53         n      the sealed data key, as the Sealer returned it
//	53+n       12     nonce, random
//	65+n       m      the data, encrypted with AES-256-GCM (NIST SP 800-38D) and the data key
//	65+n+m     16     tag of AES-256-GCM
//
// The additional data of AES-GCM are all bytes before the nonce. No scope and no
// name holds a zero byte, so one place stands for one scope and name.
//
// The data key has 32 random bytes. Sealed by an [AESGCM] it has this form:
//
//	offset  bytes  what
//	0       8      id of the key-encryption key: the beginning of the SHA-256 of
//	               "meshpass-key-encryption-key-v1", a line feed and the key
//	8       12     nonce, random
//	20      32     the data key, encrypted with AES-256-GCM and the key-encryption key
//	52      16     tag
//
// The additional data are "meshpass-data-key-v1", a line feed, the id, the scope, a
// zero byte and the name.
//
// Only crypto/aes, crypto/cipher, crypto/rand and crypto/sha256 are used, in ways
// that FIPS 140-3 mode (GODEBUG=fips140=only) allows.
package sealed
