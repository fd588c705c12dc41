// Package kumareader reads signing keys and revocation lists as Kuma 2.10 to 3.0 does,
// from the raw records of an engine, and signs and validates tokens with them. It shares
// nothing with the packages under test.
package kumareader

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Secret is a Secret of a mesh, or a GlobalSecret, as an engine holds it.
type Secret struct {
	Mesh string // empty: a GlobalSecret
	Name string
	Data []byte
}

// Secrets are all that a Kuma on the engine sees.
type Secrets []Secret

// The names of Kuma's records.
const (
	dataplaneKeys        = "dataplane-token-signing-key-"
	dataplaneRevocations = "dataplane-token-revocations-"
	zoneKeys             = "zone-token-signing-key"
	zonePublicKeys       = "zone-token-signing-public-key"
	zoneRevocations      = "zone-token-revocations"
)

// Kind says where Kuma looks: for the tokens of a mesh, or of the zones.
type Kind struct{ mesh, keys, revocations string }

// Dataplane is where Kuma looks for the tokens of a mesh. Its keys are Secrets of the
// mesh. Its revocation list is the GlobalSecret, although the documentation names the one
// of the mesh.
func Dataplane(mesh string) Kind {
	return Kind{mesh, dataplaneKeys + mesh, dataplaneRevocations + mesh}
}

// Zone is where Kuma looks for the tokens of zones.
func Zone() Kind { return Kind{"", zoneKeys, zoneRevocations} }

// Revoked reports whether Kuma takes an id for revoked: the list is split at commas, no
// blanks are trimmed, and one line end at the end is.
func (s Secrets) Revoked(of Kind, id string) bool {
	data := s.get("", of.revocations)
	if len(data) == 0 {
		return false
	}
	return slices.Contains(strings.Split(strings.TrimSuffix(string(data), "\n"), ","), id)
}

// Sign signs claims, a JSON object, as Kuma does: with the key of the highest serial among
// the names with the prefix. A suffix that is no number counts as 0.
func (s Secrets) Sign(of Kind, claims string) (string, error) {
	var latest Secret
	highest := -1
	for _, secret := range s {
		if secret.Mesh != of.mesh || !strings.HasPrefix(secret.Name, of.keys) {
			continue
		}
		serial, err := strconv.Atoi(strings.ReplaceAll(secret.Name, of.keys+"-", ""))
		if err != nil {
			serial = 0
		}
		if serial > highest {
			latest, highest = secret, serial
		}
	}
	if highest < 0 {
		return "", errors.New("there is no signing key")
	}
	key, err := privateKey(latest.Data)
	if err != nil {
		return "", err
	}
	input := encode(fmt.Sprintf(`{"alg":"RS256","kid":"%d","typ":"JWT"}`, highest)) + "." + encode(claims)
	sum := sha256.Sum256([]byte(input))
	signature, err := rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, sum[:])
	if err != nil {
		return "", err
	}
	return input + "." + encode(string(signature)), nil
}

// Validate validates a token with the private keys, as a Kuma that issues does.
func (s Secrets) Validate(of Kind, raw string) error {
	return s.validate(of, raw, func(kid string) (*rsa.PublicKey, error) {
		name := of.keys + "-" + kid
		if kid == "0" {
			name = of.keys
		}
		key, err := privateKey(s.get(of.mesh, name))
		if err != nil {
			return nil, err
		}
		return &key.PublicKey, nil
	})
}

// ValidateInZone validates a zone token with the public keys, as a Kuma in a zone does.
func (s Secrets) ValidateInZone(raw string) error {
	return s.validate(Zone(), raw, func(kid string) (*rsa.PublicKey, error) {
		return publicKey(s.get("", zonePublicKeys+"-"+kid))
	})
}

func (s Secrets) validate(of Kind, raw string, keyOf func(kid string) (*rsa.PublicKey, error)) error {
	parts := strings.Split(raw, ".")
	if len(parts) != 3 {
		return errors.New("it is no token")
	}
	var header struct{ Alg, Kid string }
	var claims struct {
		ID        string `json:"jti"`
		ExpiresAt int64  `json:"exp"`
		NotBefore int64  `json:"nbf"`
	}
	if err := errors.Join(decode(parts[0], &header), decode(parts[1], &claims)); err != nil {
		return err
	}
	if header.Alg != "RS256" {
		return errors.New("the algorithm is not RS256")
	}
	key, err := keyOf(header.Kid)
	if err != nil {
		return fmt.Errorf("the key with kid %s: %w", header.Kid, err)
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return err
	}
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature); err != nil {
		return err
	}
	if now := time.Now().Unix(); claims.ExpiresAt != 0 && now >= claims.ExpiresAt || now < claims.NotBefore {
		return errors.New("it is not valid now")
	}
	if s.Revoked(of, claims.ID) {
		return ErrRevoked
	}
	return nil
}

// ErrRevoked: Kuma refuses the token for its id.
var ErrRevoked = errors.New("the token is revoked")

func (s Secrets) get(mesh, name string) []byte {
	for _, secret := range s {
		if secret.Mesh == mesh && secret.Name == name {
			return secret.Data
		}
	}
	return nil
}

// privateKey reads PKCS#1, in PEM or DER.
func privateKey(data []byte) (*rsa.PrivateKey, error) {
	if block, _ := pem.Decode(data); block != nil && block.Type == "RSA PRIVATE KEY" {
		data = block.Bytes
	}
	return x509.ParsePKCS1PrivateKey(data)
}

// publicKey reads PKCS#1 and PKIX in PEM, and PKCS#1 in DER.
func publicKey(data []byte) (*rsa.PublicKey, error) {
	block, _ := pem.Decode(data)
	switch {
	case block != nil && block.Type == "RSA PUBLIC KEY":
		data = block.Bytes
	case block != nil && block.Type == "PUBLIC KEY":
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if public, ok := key.(*rsa.PublicKey); ok {
			return public, nil
		}
		return nil, errors.Join(err, errors.New("it is no RSA key"))
	}
	return x509.ParsePKCS1PublicKey(data)
}

func encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

func decode(part string, target any) error {
	data, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, target)
}
