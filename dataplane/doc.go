// Package dataplane issues and validates the tokens with which data plane
// proxies prove to a control plane who they are.
//
// A dataplane token belongs to one mesh, and may be bound to more: to a proxy's
// name, to values of its tags, to its workload, to its type. An [Issuer] makes
// tokens with the newest signing key of the mesh; a [Validator] says whether a token is
// good for a mesh, and hands out a [Verified]; what a Verified permits is then held
// against the [Proxy] that is connecting.
//
//	store, err := keystore.OpenDir("/var/lib/mesh/keys")
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
// A mesh's keys are numbered. The one with the highest serial signs, all of them
// verify. To rotate: [AddKey], which signs at once; give every proxy a new token;
// [RemoveKey] the old one, and what it signed is refused. [EnsureKey] makes the
// first key. Neither issuing nor validating ever makes one.
//
// # Revocation
//
// [Revoke] takes back single tokens by their id (jti) until [Restore] gives them
// back; [Revoked] lists them. An id may leave the list once its token has expired.
//
// # Without a store
//
// [NewOfflineIssuer] signs with a private key alone, under a kid of the operator's
// choosing. A validator accepts such tokens when the public key is configured, with
// [WithPublicKey]; it then still reads revocations from its store. A validator from
// [NewOfflineValidator] has no store and so cannot learn of any revocation.
package dataplane
