package interop

import (
	"context"
	"crypto"

	"github.com/hashicorp/cap/jwt"

	"github.com/meshpass/meshpass/token"
)

// Cap returns github.com/hashicorp/cap, which checks tokens and makes none. It
// reads public keys from PEM (PKIX), and tries them all, whatever the kid; with
// [CapFromURL] it finds them by kid. It requires at least one of exp, nbf and iat.
// The default leeway is 60 seconds.
func Cap(key Key) (Peer, error) {
	pkix, err := key.PKIX()
	if err != nil {
		return Peer{}, err
	}
	public, err := jwt.ParsePublicKeyPEM(pkix)
	if err != nil {
		return Peer{}, err
	}
	keys, err := jwt.NewStaticKeySet([]crypto.PublicKey{public})
	if err != nil {
		return Peer{}, err
	}
	return capWith(keys)
}

// CapFromURL is [Cap] with the keys of a JSON Web Key Set, which it fetches when it
// needs them. It uses ctx for all of these requests.
func CapFromURL(ctx context.Context, url string) (Peer, error) {
	keys, err := jwt.NewJSONWebKeySet(ctx, url, "")
	if err != nil {
		return Peer{}, err
	}
	return capWith(keys)
}

func capWith(keys jwt.KeySet) (Peer, error) {
	validator, err := jwt.NewValidator(keys)
	if err != nil {
		return Peer{}, err
	}
	expected := jwt.Expected{SigningAlgorithms: []jwt.Alg{jwt.RS256}}
	return Peer{
		Name:   "cap",
		Module: "github.com/hashicorp/cap",
		Verify: func(raw string) (token.Claims, error) {
			claims, err := validator.Validate(context.Background(), raw, expected)
			if err != nil {
				return token.Claims{}, err
			}
			id, _ := claims["jti"].(string)
			return privateIn(claims).claims(token.Registered{
				ID:        id,
				IssuedAt:  seconds(claims["iat"]),
				NotBefore: seconds(claims["nbf"]),
				ExpiresAt: seconds(claims["exp"]),
			}), nil
		},
	}, nil
}
