package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// The entries that errors name.
const (
	entryEnvironment  = "environment"
	entryDPProxy      = "dpServer.authn.dpProxy"
	entryZoneProxy    = "dpServer.authn.zoneProxy"
	entryKDSServer    = "kmesh.multizone.global.kds.auth"
	entryKDSClient    = "kmesh.multizone.zone.kds.auth"
	entryRuntime      = "dataplaneRuntime"
	entryDPValidator  = entryDPProxy + ".dpToken.validator"
	entryZPValidator  = entryZoneProxy + ".zoneToken.validator"
	entryKDSValidator = entryKDSServer + ".cpToken.validator"
)

// Check returns an error unless the configuration can be used. [Read] calls it; call
// it yourself after you have read a configuration otherwise, such as from YAML. The
// methods that make authenticators, issuers and validators call it too. Check reads
// the files of public keys and blocks while it does so. It also checks sections that
// are not in use. The error lists every problem with the path of its entry, and
// contains no key and no token.
func (c Config) Check() error {
	_, err := c.load()
	return err
}

// loaded holds the public keys of a configuration.
type loaded struct {
	dataplanes  []dataplane.ValidatorOption
	zoneProxies []zone.ValidatorOption
	kds         []zone.ValidatorOption
}

// load checks the configuration and reads its files.
func (c Config) load() (loaded, error) {
	var p problems
	kds := c.KMesh.Multizone.Global.KDS.Auth
	p.oneOf(entryEnvironment, c.Environment, EnvironmentUniversal, EnvironmentKubernetes)
	p.oneOf(entryDPProxy+".type", c.DPProxyType(), TypeDPToken, TypeServiceAccountToken, TypeNone)
	p.oneOf(entryZoneProxy+".type", c.ZoneProxyType(), TypeZoneToken, TypeServiceAccountToken, TypeNone)
	p.oneOf(entryKDSServer+".type", kds.Type, TypeCPToken, TypeNone)

	dp, zp, cp := c.DPServer.Authn.DPProxy.DPToken.Validator, c.DPServer.Authn.ZoneProxy.ZoneToken.Validator, kds.CPToken.Validator
	ofMeshes := p.keys(entryDPValidator, c.DPProxyType() == TypeDPToken, dp.UseSecrets, dp.PublicKeys)
	ofZoneProxies := p.keys(entryZPValidator, c.ZoneProxyType() == TypeZoneToken, zp.UseSecrets, ofNoMesh(zp.PublicKeys))
	ofZones := p.keys(entryKDSValidator, kds.Type == TypeCPToken, cp.UseSecrets, ofNoMesh(cp.PublicKeys))
	l := loaded{
		dataplanes:  dataplaneOptions(dp.UseSecrets, ofMeshes),
		zoneProxies: zoneOptions(zp.UseSecrets, ofZoneProxies),
		kds:         zoneOptions(cp.UseSecrets, ofZones),
	}

	runtime, client := c.DataplaneRuntime, c.KMesh.Multizone.Zone.KDS.Auth
	p.token(entryRuntime, "dataplaneToken", runtime.Token, "dataplaneTokenPath", runtime.TokenPath)
	p.token(entryKDSClient, "cpTokenInline", client.CPTokenInline, "cpTokenPath", client.CPTokenPath)
	return l, errors.Join(p...)
}

// problems collects all problems, so that an operator can repair them at once.
type problems []error

func (p *problems) add(entry string, err error) {
	*p = append(*p, fmt.Errorf("config: %s: %w", entry, err))
}

func (p *problems) addf(entry, format string, args ...any) {
	p.add(entry, fmt.Errorf(format, args...))
}

func (p *problems) oneOf(entry, value string, known ...string) {
	if !slices.Contains(known, value) {
		p.addf(entry, "found %.32q, want one of %s", value, strings.Join(known, ", "))
	}
}

// token checks a token, and that not both the token and its path are set.
func (p *problems) token(entry, inlineName string, inline Secret, pathName, path string) {
	if _, err := token.ParseUnverified(strings.TrimSpace(path)); err == nil { // paths are printed
		p.addf(entry+"."+pathName, "it holds a token, want the path of a file; put a token into %s", inlineName)
	}
	if inline.IsZero() {
		return
	}
	if path != "" {
		p.addf(entry, "both %s and %s are set, want at most one of them", inlineName, pathName)
	}
	entry += "." + inlineName
	if inline.Reveal() == redacted {
		p.addf(entry, "found the text %q, which replaces a token in printed configurations, want the token", redacted)
		return
	}
	text, err := token.PlainText([]byte(inline.Reveal()))
	if err != nil {
		p.add(entry, err)
		return
	}
	unverified, err := token.ParseUnverified(string(text))
	if err != nil {
		p.add(entry, err)
		return
	}
	claims, err := unverified.Claims()
	switch {
	case err != nil:
		p.add(entry, err)
	case inlineName != "cpTokenInline":
	case claims.Kind() != token.KindZone:
		p.addf(entry, "found a %s token, want a zone token of scope %s", claims.Kind(), zone.ScopeCP)
	case !slices.Contains(claims.Zone.Scope, zone.ScopeCP):
		p.addf(entry, "found a zone token of scopes %q, want scope %s", claims.Zone.Scope, zone.ScopeCP)
	}
}
