package config

import (
	"context"
	"errors"
	"fmt"

	"github.com/meshpass/meshpass/internal/keyfile"
	"github.com/meshpass/meshpass/jwks"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// KeySource is a source of public keys. The validators that [Config] makes use it beside
// the store, whatever useSecrets says.
type KeySource struct {
	// Tokens is the kind of token that the keys verify: "dataplane" or "zone". Zone
	// tokens are those of control planes and of zone proxies.
	Tokens string `json:"tokens" yaml:"tokens"`

	// Dataplane tokens need one of the two: the mesh, or EveryMesh for the tokens of all
	// meshes.
	Mesh      string `json:"mesh,omitempty" yaml:"mesh,omitempty"`
	EveryMesh bool   `json:"everyMesh,omitempty" yaml:"everyMesh,omitempty"`

	// JWKSURL is the URL of a JSON Web Key Set, which jwks.URL describes. It needs an
	// Issuer and an Audience. A Config prints it, with its query: put no secret there. A
	// set can stand once for the same tokens. JWKSFile is the path of a file with such a set, which is
	// read again when it changes. KeyFile and Key are one key under the kid KID, as in
	// [PublicKey]. Set exactly one of the four.
	JWKSURL  string `json:"jwksURL,omitempty" yaml:"jwksURL,omitempty"`
	JWKSFile string `json:"jwksFile,omitempty" yaml:"jwksFile,omitempty"`
	KeyFile  string `json:"keyFile,omitempty" yaml:"keyFile,omitempty"`
	Key      string `json:"key,omitempty" yaml:"key,omitempty"`
	KID      string `json:"kid,omitempty" yaml:"kid,omitempty"`

	// Issuer, Audience and Type are the iss, aud and typ that tokens must have. See
	// token.Demands.
	Issuer   string `json:"issuer,omitempty" yaml:"issuer,omitempty"`
	Audience string `json:"audience,omitempty" yaml:"audience,omitempty"`
	Type     string `json:"type,omitempty" yaml:"type,omitempty"`

	// LowerCase accepts claims in lower case.
	LowerCase bool `json:"lowerCase,omitempty" yaml:"lowerCase,omitempty"`

	// AnyIssuer and AnyAudience accept tokens that the owner of JWKSURL has made for
	// other purposes.
	AnyIssuer   bool `json:"anyIssuer,omitempty" yaml:"anyIssuer,omitempty"`
	AnyAudience bool `json:"anyAudience,omitempty" yaml:"anyAudience,omitempty"`
}

const (
	tokensDataplane = string(token.KindDataplane)
	tokensZone      = string(token.KindZone)
)

// fields returns where the members of a document go: *string or *bool.
func (k *KeySource) fields() map[string]any {
	return map[string]any{
		"tokens": &k.Tokens, "mesh": &k.Mesh, "everyMesh": &k.EveryMesh,
		"jwksURL": &k.JWKSURL, "jwksFile": &k.JWKSFile, "keyFile": &k.KeyFile, "key": &k.Key, "kid": &k.KID,
		"issuer": &k.Issuer, "audience": &k.Audience, "type": &k.Type, "lowerCase": &k.LowerCase,
		"anyIssuer": &k.AnyIssuer, "anyAudience": &k.AnyAudience,
	}
}

// keySources makes the sources for one kind of token, and checks those of both.
func (p *problems) keySources(c Config) (ofMeshes, ofZones []loadedKeys) {
	for i, k := range c.Meshpass.KeySources {
		at := fmt.Sprintf("%s[%d]", c.entry(pathKeySources), i)
		p.oneOf(at+".tokens", k.Tokens, tokensDataplane, tokensZone)
		switch {
		case k.Tokens == tokensZone && (k.Mesh != "" || k.EveryMesh):
			p.addf(at, "zone tokens belong to no mesh; remove mesh and everyMesh")
		case k.Tokens == tokensDataplane && (k.Mesh != "") == k.EveryMesh:
			p.addf(at, "want a mesh, or everyMesh: true for the tokens of all meshes")
		}
		if err := keystore.CheckScope(keystore.Scope(k.Mesh)); err != nil {
			p.add(at+".mesh", err)
		}
		source, err := k.load()
		if err != nil {
			p.add(at, err)
			continue
		}
		loaded := loadedKeys{entry: at, mesh: k.Mesh, kid: k.KID, set: k.JWKSURL + k.JWKSFile, source: source}
		if k.Tokens == tokensZone {
			ofZones = append(ofZones, loaded)
		} else {
			ofMeshes = append(ofMeshes, loaded)
		}
	}
	return ofMeshes, ofZones
}

// load makes the source, and reads it if it is a file.
func (k KeySource) load() (signing.Source, error) {
	demands := token.Demands{Issuer: k.Issuer, Audience: k.Audience, Type: k.Type, LowerCase: k.LowerCase}
	set := 0
	for _, of := range []string{k.JWKSURL, k.JWKSFile, k.KeyFile, k.Key} {
		if of != "" {
			set++
		}
	}
	ofSet := k.JWKSURL != "" || k.JWKSFile != ""
	switch {
	case set != 1:
		return nil, errors.New("want one of jwksURL, jwksFile, keyFile and key")
	case ofSet && k.KID != "":
		return nil, errors.New("kid belongs to key and keyFile; a key set has kids of its own")
	case k.JWKSURL == "" && (k.AnyIssuer || k.AnyAudience):
		return nil, errors.New("anyIssuer and anyAudience belong to jwksURL; elsewhere no issuer and no audience accept any")
	case k.AnyIssuer && k.Issuer != "" || k.AnyAudience && k.Audience != "":
		return nil, errors.New("want an issuer or anyIssuer, and an audience or anyAudience, not both")
	case !ofSet:
		return loadKey(k.KID, k.Key, k.KeyFile, demands)
	case k.JWKSFile != "":
		if err := keyfile.CheckPath(k.JWKSFile); err != nil {
			return nil, fmt.Errorf("jwksFile: %w", err)
		}
		source := jwks.File(k.JWKSFile, demands)
		if _, err := source.Read(context.Background()); err != nil {
			return nil, fmt.Errorf("jwksFile: %w", err)
		}
		return source, nil
	}
	var options []jwks.URLOption
	if k.AnyIssuer {
		options = append(options, jwks.WithTokensOfAnyIssuer())
	}
	if k.AnyAudience {
		options = append(options, jwks.WithTokensForAnyAudience())
	}
	source, err := jwks.URL(k.JWKSURL, demands, options...)
	if err != nil {
		return nil, fmt.Errorf("jwksURL: %w", err)
	}
	return source, nil
}
