// Package zone issues and validates the tokens with which zones, and the
// components in them, prove to a global control plane who they are.
//
// A zone token names one zone and a list of scopes: what it authenticates there. The
// scope [ScopeCP] is the zone's control plane. A token without the scope that is
// asked for authenticates nothing.
//
//	store, err := keystore.OpenDir("/var/lib/mesh/keys")
//	_, err = zone.EnsureKey(ctx, store) // when the control plane is set up
//
//	issuer, err := zone.NewIssuer(store)
//	raw, err := issuer.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, 30*24*time.Hour)
//
//	validator, err := zone.NewValidator(store)
//	defer validator.Close()
//	verified, err := validator.Validate(ctx, "west", zone.ScopeCP, raw)
//
// Keys, their rotation and revocation are as in package dataplane, but global: they
// belong to no mesh, and mean nothing to dataplane tokens.
package zone
