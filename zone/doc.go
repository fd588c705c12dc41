// Package zone issues and validates the tokens with which zones, and the
// components in them, authenticate to a global control plane.
//
// A zone token names one zone and a list of scopes: the components that it
// authenticates. The scope [ScopeCP] is the zone's control plane. A token that
// lacks the requested scope is rejected.
//
// # A first token
//
// Create the first signing key when you set up the global control plane.
//
//	store, err := dir.Open("/var/lib/mesh/keys")
//	_, err = zone.EnsureKey(ctx, store)
//
//	issuer, err := zone.NewIssuer(store)
//	issued, err := issuer.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, 30*24*time.Hour)
//
// Give issued.Token to the zone. Record issued.ID: with it you can revoke the token.
//
// # A zone connects
//
// The peer says which zone it is. The [Validator] checks the token for that zone
// and for the scope that the peer needs.
//
//	validator, err := zone.NewValidator(store)
//	defer validator.Close()
//	verified, err := validator.Validate(ctx, "west", zone.ScopeCP, issued.Token)
//
//	session, stop := verified.Bind(ctx) // ends when the token does
//	defer stop()
//	<-session.Done() // context.Cause(session) says why
//
// Package grpcauth does all of this for gRPC servers. It takes an [Authenticator],
// which [NewAuthenticator] makes from a validator.
//
// # Keys, revocation, renewal, offline
//
// Keys, their sources, rotation, revocation, renewal and offline use work as in package dataplane, but
// globally: zone keys belong to no mesh, and they do not verify dataplane tokens.
//
//	err = zone.Revoke(ctx, store, issued.ID)
//
// Options of this package fit only its own functions. An option of package dataplane
// does not compile here.
package zone
