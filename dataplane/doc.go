// Package dataplane issues and validates the tokens with which data plane
// proxies authenticate to a control plane.
//
// A dataplane token belongs to one mesh. It may also require the name, tag values,
// workload and type of the proxy.
//
// # A first token
//
// Create the first signing key when you create the mesh. An [Issuer] then signs
// tokens with the newest key of the mesh.
//
//	store, err := dir.Open("/var/lib/mesh/keys")
//	_, err = dataplane.EnsureKey(ctx, store, "default")
//
//	issuer, err := dataplane.NewIssuer(store)
//	issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, 30*24*time.Hour)
//
// Give issued.Token to the proxy. Record issued.ID: with it you can revoke the
// token.
//
// # A proxy connects
//
// A [Validator] follows the store and answers from memory. It returns a [Verified].
// Only a validator makes one, so holding it proves that the token was checked.
// [Verified.Permits] compares its claims with the [Proxy] that connects.
//
//	validator, err := dataplane.NewValidator(store, dataplane.WithBoundary(dataplane.AsKuma30()))
//	defer validator.Close()
//	verified, err := validator.Validate(ctx, "default", issued.Token)
//	err = verified.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-1"})
//
// The versions of Kuma disagree about the comparison: [WithBoundary] chooses one.
// Without it, labels, workloads and other types than "dataplane" are refused where they
// would decide.
//
// [Verified.Bind] watches the token while the connection is open: its context ends
// when the token expires or is revoked, or when its key is removed.
//
//	session, stop := verified.Bind(ctx)
//	defer stop()
//	<-session.Done() // context.Cause(session) says why
//
// Package grpcauth does all of this for gRPC and xDS servers. It takes an
// [Authenticator], which [NewAuthenticator] makes from a validator.
//
// # Keys
//
// The signing keys of a mesh are numbered. The key with the highest serial
// signs; all of them verify. To rotate, add a key with [AddKey], give every proxy a
// new token, then remove the old key with [RemoveKey]: validators reject its tokens.
// [Rotate] adds and removes keys on a schedule. Issuers and validators never create
// a key.
//
// A key may be in a KMS or HSM: [AddExternalKey] adds its public half, and [WithSigners]
// gives the issuer what signs.
//
// # Revocation
//
// [Revoke] revokes single tokens by id (jti), [Restore] removes ids from the
// revocation list, and [Revoked] reads the list. You may remove an id after its
// token has expired.
//
//	err = dataplane.Revoke(ctx, store, "default", issued.ID)
//
// # Renewal
//
// The holder of a good token may have another with the same claims and the same id, so that
// tokens can be short: [Issuer.Renew]. One id is one lineage. Revoking it, or a cutoff,
// takes all of its tokens along. [WithMaxLineage] allows this, and says for how long. Package
// httpapi serves it to proxies.
//
//	issuer, err := dataplane.NewIssuer(store, dataplane.WithMaxLineage(90*24*time.Hour))
//	verified, err := validator.Validate(ctx, "default", issued.Token)
//	renewed, err := issuer.Renew(ctx, verified, time.Hour)
//
// [WithForkHandler] hears of a [Fork], which may mean that a token was stolen: such as one
// that is presented after a later one of its lineage was.
//
// # Other people's keys
//
// [WithSource] gives a validator public keys that are not in the store: of a file that
// an operator replaces (signing.PEMFile), or of an identity provider (package jwks). They
// may change while the validator runs. The sessions of a key that goes end, and no
// others.
//
//	provider, err := jwks.URL("https://idp.example.com/keys",
//		token.Demands{Issuer: "https://idp.example.com", Audience: "mesh"})
//	validator, err := dataplane.NewValidator(store, dataplane.WithSource("default", provider))
//
// # Without a store
//
// [NewOfflineIssuer] signs with one private key, under a kid that the operator
// chooses. A validator accepts such tokens if [WithPublicKey] or [WithSource] gives it the
// public key. It still reads revocations from its store. A validator from
// [NewOfflineValidator] has no store, so it cannot learn of a revocation.
//
// # Options
//
// Options of this package fit only its own functions. An option of package zone does
// not compile here.
package dataplane
