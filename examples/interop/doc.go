// Package interop puts other people's software beside Meshpass: it makes tokens
// that Meshpass accepts, and accepts tokens that Meshpass makes. It is reference
// code for whoever has to read or write such tokens with another library.
//
// A [Peer] is one library in Go, used in the way its documentation describes for a
// server that checks many tokens: [GolangJWT], [GoJOSE], [Tink], and [Cap], which
// only checks. All are made from the same [Key], of which each takes the form that
// it reads: PEM, a JSON Web Key Set (RFC 7517, section 5), or the numbers.
//
//	peer, err := interop.GolangJWT(key)
//	raw, err := peer.Sign(claims)     // a Meshpass validator with the key accepts it
//	verified, err := peer.Verify(raw) // and the other way round
//
// The tests show both directions with each of them, with the npm package jose and
// with the openssl command, and run the Wycheproof vectors. The command in the
// folder bench measures the same peers and Meshpass side by side.
package interop
