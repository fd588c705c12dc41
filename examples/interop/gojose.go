package interop

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/meshpass/meshpass/token"
)

// GoJOSE returns github.com/go-jose/go-jose. It reads a JSON Web Key Set, and takes
// parsed keys of crypto/rsa. It checks the times that a token has; the caller decides
// whether exp is required. The caller sets the leeway, here none.
func GoJOSE(key Key) (Peer, error) {
	pkcs8, err := key.PKCS8()
	if err != nil {
		return Peer{}, err
	}
	block, _ := pem.Decode(pkcs8)
	signingKey, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return Peer{}, err
	}
	signer, err := jose.NewSigner(
		jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: signingKey, KeyID: key.ID}},
		(&jose.SignerOptions{}).WithType("JWT"))
	if err != nil {
		return Peer{}, err
	}
	jwks, err := key.JWKS()
	if err != nil {
		return Peer{}, err
	}
	var keys jose.JSONWebKeySet
	if err := json.Unmarshal(jwks, &keys); err != nil {
		return Peer{}, err
	}
	algorithms := []jose.SignatureAlgorithm{jose.RS256}
	return Peer{
		Name:   "go-jose",
		Module: "github.com/go-jose/go-jose/v4",
		Sign: func(c token.Claims) (string, error) {
			registered := jwt.Claims{
				ID:        c.ID,
				IssuedAt:  jwt.NewNumericDate(c.IssuedAt),
				NotBefore: jwt.NewNumericDate(c.NotBefore),
				Expiry:    jwt.NewNumericDate(c.ExpiresAt),
			}
			return jwt.Signed(signer).Claims(registered).Claims(privateOf(c)).Serialize()
		},
		Verify: func(raw string) (token.Claims, error) {
			parsed, err := jwt.ParseSigned(raw, algorithms)
			if err != nil {
				return token.Claims{}, err
			}
			kid := parsed.Headers[0].KeyID
			found := keys.Key(kid)
			if len(found) != 1 {
				return token.Claims{}, fmt.Errorf("%d keys with kid %q, want one", len(found), kid)
			}
			var registered jwt.Claims
			var other private
			if err := parsed.Claims(found[0].Key, &registered, &other); err != nil {
				return token.Claims{}, err
			}
			if registered.Expiry == nil {
				return token.Claims{}, errors.New("exp is missing")
			}
			if err := registered.ValidateWithLeeway(jwt.Expected{Time: time.Now()}, 0); err != nil {
				return token.Claims{}, err
			}
			date := func(d *jwt.NumericDate) time.Time {
				if d == nil {
					return time.Time{}
				}
				return d.Time().UTC()
			}
			return other.claims(token.Registered{
				ID:        registered.ID,
				IssuedAt:  date(registered.IssuedAt),
				NotBefore: date(registered.NotBefore),
				ExpiresAt: date(registered.Expiry),
			}), nil
		},
	}, nil
}
