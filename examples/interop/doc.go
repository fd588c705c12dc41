// Package interop shows that other libraries make tokens that Meshpass accepts, and
// accept tokens that Meshpass makes. It is reference code for programs that read or
// write such tokens with another library.
//
// A [Peer] is a library in Go, used as its documentation describes for a server that
// checks many tokens: [GolangJWT], [GoJOSE], [Tink], and [Cap], which only checks.
// All use the same [Key]. Each reads it in its own form: PEM, a JSON Web Key Set
// (RFC 7517, section 5), or the numbers.
//
//	peer, err := interop.GolangJWT(key)
//	raw, err := peer.Sign(claims)     // a Meshpass validator with the key accepts it
//	verified, err := peer.Verify(raw) // and the reverse
//
// The tests show both directions with each of them, with the npm package jose and
// with the openssl command, and run the Wycheproof vectors. The command in the
// folder bench compares the speed of these peers and Meshpass.
package interop
