package interop

import (
	"crypto/rsa"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/meshpass/meshpass/token"
)

// golangJWTClaims are the claims that golang-jwt encodes and decodes.
type golangJWTClaims struct {
	private
	jwt.RegisteredClaims
}

// GolangJWT returns github.com/golang-jwt/jwt. It reads keys from PEM, and a function
// of the caller chooses the key. It accepts a token without exp unless an option
// requires exp. Without an option it has no leeway.
func GolangJWT(key Key) (Peer, error) {
	signingKey, err := jwt.ParseRSAPrivateKeyFromPEM(key.PKCS1())
	if err != nil {
		return Peer{}, err
	}
	pkix, err := key.PKIX()
	if err != nil {
		return Peer{}, err
	}
	public, err := jwt.ParseRSAPublicKeyFromPEM(pkix)
	if err != nil {
		return Peer{}, err
	}
	keys := map[string]*rsa.PublicKey{key.ID: public}
	find := func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		if public := keys[kid]; public != nil {
			return public, nil
		}
		return nil, fmt.Errorf("no key with kid %q", kid)
	}
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"RS256"}), jwt.WithExpirationRequired(), jwt.WithIssuedAt())
	return Peer{
		Name:   "golang-jwt",
		Module: "github.com/golang-jwt/jwt/v5",
		Sign: func(c token.Claims) (string, error) {
			t := jwt.NewWithClaims(jwt.SigningMethodRS256, golangJWTClaims{privateOf(c), jwt.RegisteredClaims{
				ID:        c.ID,
				IssuedAt:  jwt.NewNumericDate(c.IssuedAt),
				NotBefore: jwt.NewNumericDate(c.NotBefore),
				ExpiresAt: jwt.NewNumericDate(c.ExpiresAt),
			}})
			t.Header["kid"] = key.ID
			return t.SignedString(signingKey)
		},
		Verify: func(raw string) (token.Claims, error) {
			var c golangJWTClaims
			if _, err := parser.ParseWithClaims(raw, &c, find); err != nil {
				return token.Claims{}, err
			}
			date := func(d *jwt.NumericDate) time.Time {
				if d == nil {
					return time.Time{}
				}
				return d.UTC()
			}
			return c.claims(token.Registered{
				ID:        c.ID,
				IssuedAt:  date(c.IssuedAt),
				NotBefore: date(c.NotBefore),
				ExpiresAt: date(c.ExpiresAt),
			}), nil
		},
	}, nil
}
