// Package token defines the tokens of a service mesh: the claims of dataplane
// and zone tokens, their strict wire form, and the errors that reject them.
//
// A token is a JWT (RFC 7519) signed with RS256, in JWS compact serialisation
// (RFC 7515, section 7.1). A dataplane token lets a data plane proxy join a
// mesh, within the limits of its claims. A zone token lets the components of a
// zone talk to the global control plane.
//
// [ParseUnverified] reads a token without validating it: do not trust anything
// it returns. [Encode] makes a token from claims and a signing function.
// Packages dataplane and zone issue and validate tokens, with keys and
// revocation.
//
// The decoder accepts exactly one spelling of each token. encoding/json would
// match claim names in any case, take the last of two equal names and repair
// invalid text, so two readers could see two different tokens. This decoder
// rejects all of that, and everything else that is ambiguous.
//
// Everything in this package is safe for concurrent use, as long as no caller
// changes a map or slice that others read. Nothing blocks, except for the
// signing function given to Encode.
package token
