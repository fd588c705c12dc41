package interop

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"time"

	"github.com/meshpass/meshpass/jwks"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Peer is a library that makes and checks tokens. Its functions may be called
// concurrently.
type Peer struct {
	// Name is the usual name of the library.
	Name string

	// Module is the path of its Go module.
	Module string

	// Sign returns a token with the claims, an RS256 signature, and the key's id as
	// its kid. It is nil if the library only checks.
	Sign func(token.Claims) (string, error)

	// Verify checks the signature, the algorithm and the times of a token, and
	// returns its claims. It does not check mesh, zone or revocation.
	Verify func(raw string) (token.Claims, error)
}

// Peers returns all libraries, with the same key.
func Peers(key Key) ([]Peer, error) {
	var peers []Peer
	for _, peer := range []func(Key) (Peer, error){GolangJWT, GoJOSE, Cap, Tink} {
		p, err := peer(key)
		if err != nil {
			return nil, err
		}
		peers = append(peers, p)
	}
	return peers, nil
}

// Key is an RSA key with a key id. Its methods return the forms that libraries read.
type Key struct {
	ID  string // the kid
	RSA *rsa.PrivateKey
}

// PKCS1 returns the private key as a PEM block of type RSA PRIVATE KEY (RFC 8017,
// appendix A.1.2).
func (k Key) PKCS1() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(k.RSA)})
}

// PKCS8 returns the private key as a PEM block of type PRIVATE KEY (RFC 5208).
func (k Key) PKCS8() ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(k.RSA)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), err
}

// PKIX returns the public key as a PEM block of type PUBLIC KEY (RFC 5280, section
// 4.1).
func (k Key) PKIX() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&k.RSA.PublicKey)
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), err
}

// JWKS returns the public key as a JSON Web Key Set with one key (RFC 7517, section
// 5), as Meshpass writes it.
func (k Key) JWKS() ([]byte, error) {
	public, err := signing.NewPublicKey(&k.RSA.PublicKey)
	if err != nil {
		return nil, err
	}
	return jwks.Format(map[string]*signing.PublicKey{k.ID: public})
}

// private holds the claims of a token other than the registered ones of RFC 7519, for
// which each library has its own type.
type private struct {
	Mesh     string              `json:",omitempty"`
	Name     string              `json:",omitempty"`
	Tags     map[string][]string `json:",omitempty"`
	Type     string              `json:",omitempty"`
	Workload string              `json:",omitempty"`
	Zone     string              `json:",omitempty"`
	Scope    []string            `json:",omitempty"`
}

func privateOf(c token.Claims) private {
	d, z := c.Dataplane, c.Zone
	return private{d.Mesh, d.Name, d.Tags, d.Type, d.Workload, z.Zone, z.Scope}
}

// claims returns the claims in the form of package token. Like package token, it turns
// the empty object, which Meshpass writes for no tags, into nil.
func (p private) claims(registered token.Registered) token.Claims {
	if len(p.Tags) == 0 {
		p.Tags = nil
	}
	return token.Claims{
		Registered: registered,
		Dataplane:  token.Dataplane{Mesh: p.Mesh, Name: p.Name, Tags: p.Tags, Type: p.Type, Workload: p.Workload},
		Zone:       token.Zone{Zone: p.Zone, Scope: p.Scope},
	}
}

// privateIn reads the claims from a decoded JSON object. A claim of another type
// counts as absent.
func privateIn(claims map[string]any) private {
	text := func(name string) string {
		s, _ := claims[name].(string)
		return s
	}
	return private{
		Mesh:     text("Mesh"),
		Name:     text("Name"),
		Tags:     tagsIn(claims["Tags"]),
		Type:     text("Type"),
		Workload: text("Workload"),
		Zone:     text("Zone"),
		Scope:    stringsIn(claims["Scope"]),
	}
}

func tagsIn(value any) map[string][]string {
	object, _ := value.(map[string]any)
	if len(object) == 0 {
		return nil
	}
	tags := make(map[string][]string, len(object))
	for name, values := range object {
		tags[name] = stringsIn(values)
	}
	return tags
}

func stringsIn(value any) []string {
	array, _ := value.([]any)
	if array == nil {
		return nil
	}
	list := make([]string, len(array))
	for i := range array {
		list[i], _ = array[i].(string)
	}
	return list
}

// seconds is a NumericDate (RFC 7519, section 2) as JSON decodes it.
func seconds(value any) time.Time {
	n, ok := value.(float64)
	if !ok {
		return time.Time{}
	}
	return time.Unix(int64(n), 0).UTC()
}
