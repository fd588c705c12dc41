package interop

import (
	"time"

	"github.com/tink-crypto/tink-go/v2/insecuresecretdataaccess"
	"github.com/tink-crypto/tink-go/v2/jwt"
	"github.com/tink-crypto/tink-go/v2/jwt/jwtrsassapkcs1"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/secretdata"

	"github.com/meshpass/meshpass/token"
)

// Tink returns github.com/tink-crypto/tink-go. Its keys belong to a keyset: it makes
// a public keyset from a JSON Web Key Set, and a private one from the key's numbers.
// A key with a custom kid, as here, accepts tokens with this kid or without a kid. The
// caller says which typ it expects. Tink requires exp unless the caller allows its
// absence.
func Tink(key Key) (Peer, error) {
	signer, err := tinkSigner(key)
	if err != nil {
		return Peer{}, err
	}
	jwks, err := key.JWKS()
	if err != nil {
		return Peer{}, err
	}
	public, err := jwt.JWKSetToPublicKeysetHandle(jwks)
	if err != nil {
		return Peer{}, err
	}
	verifier, err := jwt.NewVerifier(public)
	if err != nil {
		return Peer{}, err
	}
	typ := "JWT"
	validator, err := jwt.NewValidator(&jwt.ValidatorOpts{ExpectedTypeHeader: &typ, ExpectIssuedInThePast: true})
	if err != nil {
		return Peer{}, err
	}
	return Peer{
		Name:   "tink-go",
		Module: "github.com/tink-crypto/tink-go/v2",
		Sign: func(c token.Claims) (string, error) {
			raw, err := jwt.NewRawJWT(&jwt.RawJWTOptions{
				TypeHeader:   &typ,
				JWTID:        &c.ID,
				IssuedAt:     &c.IssuedAt,
				NotBefore:    &c.NotBefore,
				ExpiresAt:    &c.ExpiresAt,
				CustomClaims: tinkClaims(privateOf(c)),
			})
			if err != nil {
				return "", err
			}
			return signer.SignAndEncode(raw)
		},
		Verify: func(raw string) (token.Claims, error) {
			verified, err := verifier.VerifyAndDecode(raw, validator)
			if err != nil {
				return token.Claims{}, err
			}
			return claimsOfTink(verified)
		},
	}, nil
}

// tinkSigner puts a private key into a new keyset. Tink requires an "insecure secret
// access" token for every function that exposes secrets.
func tinkSigner(key Key) (jwt.Signer, error) {
	parameters, err := jwtrsassapkcs1.NewParameters(jwtrsassapkcs1.ParametersOpts{
		ModulusSizeInBits: key.RSA.N.BitLen(),
		PublicExponent:    key.RSA.E,
		Algorithm:         jwtrsassapkcs1.RS256,
		KidStrategy:       jwtrsassapkcs1.CustomKID,
	})
	if err != nil {
		return nil, err
	}
	public, err := jwtrsassapkcs1.NewPublicKey(jwtrsassapkcs1.PublicKeyOpts{
		Modulus:      key.RSA.N.Bytes(),
		CustomKID:    key.ID,
		HasCustomKID: true,
		Parameters:   parameters,
	})
	if err != nil {
		return nil, err
	}
	secret := func(number []byte) secretdata.Bytes {
		return secretdata.NewBytesFromData(number, insecuresecretdataaccess.Token{})
	}
	private, err := jwtrsassapkcs1.NewPrivateKey(jwtrsassapkcs1.PrivateKeyOpts{
		PublicKey: public,
		D:         secret(key.RSA.D.Bytes()),
		P:         secret(key.RSA.Primes[0].Bytes()),
		Q:         secret(key.RSA.Primes[1].Bytes()),
	})
	if err != nil {
		return nil, err
	}
	manager := keyset.NewManager()
	id, err := manager.AddKey(private)
	if err != nil {
		return nil, err
	}
	if err := manager.SetPrimary(id); err != nil {
		return nil, err
	}
	handle, err := manager.Handle()
	if err != nil {
		return nil, err
	}
	return jwt.NewSigner(handle)
}

// tinkClaims turns the claims into the types of a decoded JSON object, which Tink
// takes.
func tinkClaims(p private) map[string]any {
	claims := map[string]any{}
	for name, text := range map[string]string{
		"Mesh": p.Mesh, "Name": p.Name, "Type": p.Type, "Workload": p.Workload, "Zone": p.Zone,
	} {
		if text != "" {
			claims[name] = text
		}
	}
	array := func(list []string) []any {
		values := make([]any, len(list))
		for i := range list {
			values[i] = list[i]
		}
		return values
	}
	if len(p.Tags) > 0 {
		tags := map[string]any{}
		for name, values := range p.Tags {
			tags[name] = array(values)
		}
		claims["Tags"] = tags
	}
	if len(p.Scope) > 0 {
		claims["Scope"] = array(p.Scope)
	}
	return claims
}

func claimsOfTink(t *jwt.VerifiedJWT) (token.Claims, error) {
	var failed error
	text := func(name string) string {
		if !t.HasStringClaim(name) {
			return ""
		}
		s, err := t.StringClaim(name)
		if err != nil {
			failed = err
		}
		return s
	}
	date := func(has bool, claim func() (time.Time, error)) time.Time {
		if !has {
			return time.Time{}
		}
		d, err := claim()
		if err != nil {
			failed = err
		}
		return d.UTC()
	}
	p := private{Mesh: text("Mesh"), Name: text("Name"), Type: text("Type"), Workload: text("Workload"), Zone: text("Zone")}
	if t.HasObjectClaim("Tags") {
		tags, err := t.ObjectClaim("Tags")
		if err != nil {
			failed = err
		}
		p.Tags = tagsIn(tags)
	}
	if t.HasArrayClaim("Scope") {
		scope, err := t.ArrayClaim("Scope")
		if err != nil {
			failed = err
		}
		p.Scope = stringsIn(scope)
	}
	registered := token.Registered{
		IssuedAt:  date(t.HasIssuedAt(), t.IssuedAt),
		NotBefore: date(t.HasNotBefore(), t.NotBefore),
		ExpiresAt: date(t.HasExpiration(), t.ExpiresAt),
	}
	if t.HasJWTID() {
		id, err := t.JWTID()
		if err != nil {
			failed = err
		}
		registered.ID = id
	}
	return p.claims(registered), failed
}
