// Package jwks reads JSON Web Key Sets (RFC 7517), in which identity providers and other
// control planes publish their public keys, and writes them.
//
// [File] and [URL] are sources of keys for the validators of packages dataplane and zone. A
// validator follows them: a key that is added is in force, and a key that is removed ends
// the sessions of its tokens, without a restart.
//
//	keys, err := jwks.URL("https://id.example.com/jwks.json", token.Demands{
//		Issuer:   "https://id.example.com",
//		Audience: "mesh.example.com",
//	})
//
// Whoever signs for others too, as an identity provider does, signs tokens that are not
// meant for the mesh. The demands tell them apart: see [token.Demands]. URL insists on an
// issuer and an audience.
//
// [Parse] and [Format] read and write a set by themselves:
//
//	set, err := jwks.Parse(document)
//	document, err = jwks.Format(set.Keys)
//
// A set is read strictly. Only RSA keys that are for RS256 signatures are used; the others
// are reported and ignored. This package logs nothing: the validator that uses a source
// does.
package jwks
