// Package signing holds the RSA keys of a mesh.
//
// Applications need three functions: [Generate] makes a new key,
// [ParsePrivateKey] reads one from PEM or DER, and [NewPrivateKey] takes an
// *rsa.PrivateKey or a signer in a KMS or HSM. Pass the result to AddKey or
// NewOfflineIssuer of packages dataplane and zone. [ParsePublicKey] and
// [NewPublicKey] do the same for the public keys that validators are configured
// with.
//
//	key, err := signing.Generate(signing.DefaultBits)
//	_, err = dataplane.AddKey(ctx, store, "default", key)
//
// A [Source] holds public keys that may change while validators use them. [PEMFile] is
// one, and package jwks has others.
//
// Every signature is RS256, which is RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518,
// section 3.3). Keys must have 2048 to 8192 bits and the public exponent 65537.
//
// # Stored keys
//
// Packages dataplane and zone use the rest of this package. Programs that read
// the records of a store can use it too.
//
// Keys are numbered. The keys of one kind in one scope are a [Series]: the
// dataplane keys of a mesh, or the zone keys. The [Serial] is the end of the
// record's name and, in decimal, the kid of every token signed with the key.
// The key with the highest serial signs; all keys of the series verify. A key in a KMS or
// HSM has a record with its public half, an [ExternalRecord], and [Signers] find the key
// by that. Copies of public keys, as zones have them, only verify.
//
//	keys := signing.DataplaneKeys("default")
//	records, err := store.List(ctx, keys.Scope(), keys.Prefix())
//	unreadable, err := keystore.SplitUnreadable(err)
//	record, serial, err := keys.Signing(records, unreadable, time.Time{})
//	key, err := signing.ParsePrivateKey(record.Data) // unless it is an ExternalRecord
//	signature, err := key.Sign(signingInput)
//
// A validator lists the records under [Series.Prefix] and keeps the result of
// [Series.PublicSet], which holds no private key and does not validate one.
// [Series.CheckedSet] does.
//
// This package never reads or writes a store, and never prints a private key.
package signing
