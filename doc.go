// Package meshpass is the token layer of a service mesh control plane: it
// decides who may join a mesh.
//
// Data plane proxies authenticate with dataplane tokens, zones with zone
// tokens. Both are JSON Web Tokens signed with RS256. The packages below issue
// and validate tokens, rotate the keys that sign them, and revoke single
// tokens. Tokens and stored records are compatible with Kuma and Kong Mesh, so
// control planes and tools can be mixed and migrated.
//
// # Packages
//
//   - token: claims, the strict wire form of tokens, and the errors that
//     everything returns
//   - keystore: the contract of a store of keys and revocation lists, and a store
//     in memory; keystore/dir keeps them in a directory, keystore/postgres, etcd and
//     kubernetes are modules of their own, and keystore/sealed encrypts any of them
//   - signing: RSA keys, their serial numbers and record names
//   - jwks: JSON Web Key Sets, in files or at URLs
//   - revocation: lists of revoked token ids
//   - dataplane: Issuer and Validator of dataplane tokens, and the check of a
//     proxy against a token; dataplane/serviceaccount, a module of its own, takes
//     Kubernetes service account tokens instead, and dataplane/insecure lets
//     every proxy in
//   - zone: Issuer and Validator of zone tokens, and their scopes
//   - config: authenticators and issuers from the settings that Kuma and Kong
//     Mesh document
//   - httpapi: tokens, revocation lists and public keys over HTTP, and a client
//   - httpauth: middleware for net/http that ends streams and WebSockets with their
//     tokens
//   - renewal: keeping the token in a file fresh
//   - grpcauth, a module of its own: gRPC interceptors that end streams with their
//     tokens, xDS authentication (grpcauth/xdsauth), and client credentials
//   - metrics/prommetrics and metrics/otelmetrics, modules of their own: metrics;
//     observe is what they and observers of your own are told
//   - audit: who did what to tokens and keys, as events on log/slog
//   - keystore/keystoretest: the test suite that every store passes
//   - cmd/meshpass, a module of its own: the command-line tool
//
// # A tour
//
// When a mesh is created, it gets its first signing key. Several replicas of
// the control plane may do this at the same time.
//
//	store, err := dir.Open("/var/lib/mesh/keys")
//	_, err = dataplane.EnsureKey(ctx, store, "default")
//
// An operator issues a token for a proxy, with an explicit lifetime.
//
//	issuer, err := dataplane.NewIssuer(store)
//	issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1",
//		Tags: map[string][]string{"kuma.io/service": {"backend"}}}, 30*24*time.Hour)
//
// The proxy connects and presents the token. The validator follows the store in
// the background and answers from memory.
//
//	validator, err := dataplane.NewValidator(store)
//	defer validator.Close()
//	verified, err := validator.Validate(ctx, "default", issued.Token)
//	err = verified.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-1", Inbounds: inbounds})
//
// If the token leaks, revoke it. To replace all tokens, add the next key, and
// remove the old one when every proxy has a new token.
//
//	err = dataplane.Revoke(ctx, store, "default", issued.ID)
//	_, err = dataplane.AddKey(ctx, store, "default", key)
//	err = dataplane.RemoveKey(ctx, store, "default", 1)
//
// # Errors
//
// token.ClassOf returns the class of an error about a token. token.Invalid: the
// token is definitely not good. token.NotPermitted: the token is good, but not for
// this mesh, zone, scope or proxy. token.Unavailable: the answer is unknown at the
// moment, since keys or revocation lists could not be read. Tell a peer the class,
// or its HTTP status, and nothing more. The errors themselves name the check that
// failed; match them with errors.Is.
//
// # Threat model
//
// Every peer is treated as an attacker. It may send tokens of any form and
// size, at any rate, for any mesh and key, or replay tokens where they do not
// belong. None of this is accepted, causes a panic or unbounded memory use, or
// makes validators read the store more often than their limits allow. The
// holder of a token is trusted with the claims of the token and nothing more. A
// token is a bearer token: any process that has it can use it. Send it over TLS
// connections only, and never log it; no error, log message or String method of
// these packages contains one.
//
// Where tokens are renewed, a thief of a token can renew it too, until its lineage ends or
// its id is revoked. The new one permits no more and is valid for no longer than the old
// one was or the operator states. Validators notice, each for its own process, when the
// thief and the rightful holder both go on, and when the thief keeps that from renewing:
// see dataplane.Fork. What follows from that is the operator's to decide.
//
// The store is trusted: a process that can write to it can create keys, and one
// that can read it can sign. Its availability is not trusted. An unreadable
// list or key is never treated as empty or missing, and the last known state is
// used only for as long as the operator allows.
//
// The clocks of issuer and validator may differ by the leeway. The memory of
// the process, its random numbers, crypto/rsa and the operator who configures
// keys are trusted.
package meshpass
