// Package signing holds the RSA keys of a mesh: it makes and reads them, signs
// with them, verifies with them, and knows by which names they are stored.
//
// Every signature is RS256, which is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518,
// section 3.3). A [PrivateKey] signs and a [PublicKey] verifies. Keys of 2048 to
// 8192 bits with the public exponent 65537 are accepted, and no others.
//
// Keys are numbered. Those of one kind in one scope are a [Series]: the dataplane
// keys of a mesh, or the zone keys. The [Serial] stands at the end of a record's
// name and, in decimal, in the kid of every token that the key signed. The
// private key with the highest serial signs; every key of the series verifies.
//
//	keys := signing.DataplaneKeys("default")
//	records, err := store.List(ctx, keys.Scope(), keys.KeyName(0))
//	record, serial, err := keys.Latest(records)
//	key, err := signing.ParsePrivateKey(record.Data)
//	signature, err := key.Sign(signingInput)
//
// A validator reads the records under [Series.Prefix] and keeps what
// [Series.PublicSet] makes of them, which holds no private key.
//
// Nothing here reads or writes a store, and no private key is ever printed.
package signing
