package token

// Demands says what else a token must say, depending on the key that signed it. An
// identity provider signs tokens for many purposes. Its users choose some of the claims.
// The zero Demands asks for nothing more, but for claims that are spelled as documented.
type Demands struct {
	// Issuer is the required iss (RFC 7519, section 4.1.1).
	Issuer string

	// Audience is a value that aud must contain (RFC 7519, section 4.1.3).
	Audience string

	// Type is the required typ of the header, such as "at+jwt" (RFC 9068, section 2.1),
	// in any case. If it is empty, typ is "JWT" or absent.
	Type string

	// LowerCase accepts claims about the proxy or zone in lower case too. In tokens of
	// identity providers "name" and "scope" mean something else.
	LowerCase bool
}
