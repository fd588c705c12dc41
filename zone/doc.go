// Package zone issues and validates the tokens with which zones, and the
// components in them, authenticate to a global control plane.
//
// A zone token names one zone and a list of scopes: the components that it
// authenticates. The scope [ScopeCP] is the zone's control plane. A token that
// lacks the requested scope is rejected.
//
//	store, err := dir.Open("/var/lib/mesh/keys")
//	_, err = zone.EnsureKey(ctx, store) // when the control plane is set up
//
//	issuer, err := zone.NewIssuer(store)
//	raw, err := issuer.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, 30*24*time.Hour)
//
//	validator, err := zone.NewValidator(store)
//	defer validator.Close()
//	verified, err := validator.Validate(ctx, "west", zone.ScopeCP, raw)
//
// Keys, rotation, revocation and sessions work as in package dataplane, but
// globally: zone keys belong to no mesh, and they do not verify dataplane
// tokens.
package zone
