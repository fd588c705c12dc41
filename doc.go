// Package meshpass is the token layer of a service mesh control plane: it decides
// who may join a mesh.
//
// Data plane proxies prove who they are with dataplane tokens, zones with zone
// tokens. Both are JSON Web Tokens signed with RS256. The packages below issue
// them, validate them, rotate the keys that sign them and take single tokens back.
// Tokens and stored records are those of Kuma and Kong Mesh, so that control
// planes and tools can be mixed and migrated.
//
// # Packages
//
//   - token: what a token says, its strict wire form, and the errors that everything returns
//   - keystore: where keys and revocation lists are kept: memory, a directory, or a store of yours
//   - signing: RSA keys, their serial numbers and the names of their records
//   - revocation: lists of revoked token ids
//   - dataplane: Issuer and Validator of dataplane tokens, and what a token permits a proxy
//   - zone: Issuer and Validator of zone tokens
//   - keystore/keystoretest: the suite that every store passes
//
// # A tour
//
// A mesh is created: it gets its first signing key, wherever several replicas of
// the control plane may be doing the same at once.
//
//	store, err := keystore.OpenDir("/var/lib/mesh/keys")
//	_, err = dataplane.EnsureKey(ctx, store, "default")
//
// An operator wants a token for a proxy. The caller says for how long.
//
//	issuer, err := dataplane.NewIssuer(store)
//	raw, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1",
//		Tags: map[string][]string{"kuma.io/service": {"backend"}}}, 30*24*time.Hour)
//
// The proxy connects and presents the token. The validator follows the store in
// the background and answers from memory.
//
//	validator, err := dataplane.NewValidator(store)
//	defer validator.Close()
//	verified, err := validator.Validate(ctx, "default", raw)
//	err = verified.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-1", Inbounds: inbounds})
//
// The token leaks: it goes onto the revocation list. Or all tokens are to be
// replaced: the mesh gets its next key, and loses the old one when every proxy has
// a new token.
//
//	err = dataplane.Revoke(ctx, store, "default", verified.Registered().ID)
//	_, err = dataplane.AddKey(ctx, store, "default", key)
//	err = dataplane.RemoveKey(ctx, store, "default", 1)
//
// # Errors
//
// There are three answers besides yes. token.ErrInvalid: the token is
// definitely not good. token.ErrNotPermitted: it is good, but not for this proxy.
// token.ErrUnavailable: nobody can know at the moment, since keys or
// revocations could not be read. Finer errors say which check refused.
//
// # Threat model
//
// Whoever can connect is taken for an attacker: tokens of any form and size, at
// any rate, naming any mesh and key, replayed where they do not belong. None of it
// gets in, panics, makes memory grow without bound, or makes the store be read more
// often than the limits that the validators keep. A token's holder is trusted with what the
// token says and nothing more. Tokens are bearer tokens: whoever has one can use it, so
// they belong on TLS connections only, never in a log; none of the errors, logs and
// String methods here contains one.
//
// The store is trusted: whoever can write to it can make keys, and whoever can read it
// can sign. What is not trusted is that it answers. An unreadable list or key is
// never taken for an empty or missing one, and old knowledge is used only for as long as
// the operator allows.
//
// The clocks of issuer and validator may differ by the leeway. The process's memory,
// its random numbers, crypto/rsa and the operator who configures keys are trusted.
package meshpass
