// Package token says what the tokens of a service mesh say: the claims of
// dataplane and zone tokens, their one strict wire form, and the errors with
// which they are refused.
//
// A token is a JWT (RFC 7519) signed with RS256, in JWS compact serialisation
// (RFC 7515, section 7.1). A dataplane token lets a data plane proxy into a
// mesh, as narrowly as its claims say; a zone token lets the components of a
// zone talk to the global control plane.
//
// [ParseUnverified] looks inside a token without validating it: nothing that it
// returns may be trusted. [Encode] makes a token from claims and a signing
// function. Issuing and validating, with keys and revocation, are the work of
// the dataplane and zone packages.
//
// The decoder takes one spelling only. encoding/json would match a claim in any
// case, take the last of two equal names and repair invalid text, so that two
// readers of one token could see two different tokens; here all of that is
// refused, and so is everything that a reader would otherwise have to guess.
//
// Everything in this package is safe for concurrent use, as long as nobody
// changes a map or slice that others read; nothing in it blocks, except the
// signing function given to Encode.
package token
