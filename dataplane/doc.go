// Package dataplane issues and validates the tokens with which data plane
// proxies authenticate to a control plane.
//
// A dataplane token belongs to one mesh. It can be bound further: to the name,
// tag values, workload and type of a proxy. An [Issuer] signs tokens with the
// newest signing key of the mesh. A [Validator] checks a token for a mesh and
// returns a [Verified]. [Verified.Permits] then compares its claims with the
// [Proxy] that connects.
//
//	store, err := dir.Open("/var/lib/mesh/keys")
//	_, err = dataplane.EnsureKey(ctx, store, "default") // when the mesh is created
//
//	issuer, err := dataplane.NewIssuer(store)
//	raw, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, 30*24*time.Hour)
//
//	validator, err := dataplane.NewValidator(store)
//	defer validator.Close()
//	verified, err := validator.Validate(ctx, "default", raw)
//	err = verified.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-1"})
//
// # Keys
//
// The signing keys of a mesh are numbered. The key with the highest serial
// signs; all of them verify. [EnsureKey] creates the first key. To rotate, add
// a key with [AddKey], give every proxy a new token, then remove the old key
// with [RemoveKey]: tokens signed with it are rejected. [Rotate] does this on a
// schedule. Issuers and validators never create a key.
//
// # Revocation
//
// [Revoke] revokes single tokens by id (jti), [Restore] removes ids from the
// revocation list, and [Revoked] reads the list. An id may be removed once its
// token has expired.
//
// # Sessions
//
// [Verified.Bind] ties a context to a token: the context ends when the token
// expires or is revoked, or when its key is removed.
//
// # Without a store
//
// [NewOfflineIssuer] signs with one private key, under a kid that the operator
// chooses. A validator accepts such tokens if it has the public key from
// [WithPublicKey]. It still reads revocations from its store. A validator from
// [NewOfflineValidator] has no store, so it cannot learn of a revocation.
package dataplane
