package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// The sections, by their paths.
const (
	entryEnvironment  = "environment"
	entryDPProxy      = "dpServer.authn.dpProxy"
	entryZoneProxy    = "dpServer.authn.zoneProxy"
	entryKDSServer    = "multizone.global.kds.auth"
	entryKDSClient    = "multizone.zone.kds.auth"
	entryRuntime      = "dataplaneRuntime"
	entryDPValidator  = entryDPProxy + ".dpToken.validator"
	entryZPValidator  = entryZoneProxy + ".zoneToken.validator"
	entryKDSValidator = entryKDSServer + ".zoneToken.validator"
)

// Check returns an error unless the configuration can be used. [Read] calls it; call
// it yourself after you have read a configuration otherwise, such as from YAML. The
// methods that make authenticators, issuers and validators call it too. Check reads
// the files of public keys and blocks while it does so. It also checks sections that
// are not in use. The error lists every problem with the path of its entry, and
// contains no key and no token.
//
// These are errors about the versions of Kuma:
//
//   - a setting has different values under its old and its new name;
//   - meshpass.kumaVersion says a version that does not read a name that is set;
//   - meshpass.kumaVersion says 3.0 and dpServer.authn.zoneProxy still holds a setting,
//     which 3.0 ignores. The defaults may stay there, and so may an enableIssuer that is
//     false if it is false in multizone.global.kds.auth.zoneToken too;
//   - the mode is global, and zones would not be authenticated: the version is 3.0 and
//     the type is none, or no type is set and the version is not one of 2.x. Where it is
//     no error, [Config.Readings] has a warning.
func (c Config) Check() error {
	_, err := c.load()
	return err
}

// loaded holds the options with the public keys of a configuration.
type loaded struct {
	version     version
	dataplanes  []dataplane.ValidatorOption
	zoneProxies []zone.ValidatorOption
	kds         []zone.ValidatorOption
	maxLineage  time.Duration // 0 renews nothing
}

// load checks the configuration and reads its files.
func (c Config) load() (loaded, error) {
	var p problems
	v, err := parseVersion(c.Meshpass.KumaVersion)
	if err != nil {
		p.add(c.entry(pathKumaVersion), err)
	}
	maxLineage := p.maxLineage(c)
	p.names(c, v)
	p.oneOf(c.entry(entryEnvironment), c.Environment, EnvironmentUniversal, EnvironmentKubernetes)
	if c.Mode != "" {
		p.oneOf(c.entry(pathMode), c.Mode, ModeGlobal, ModeZone, ModeStandalone)
	}
	p.oneOf(c.entry(entryDPProxy+".type"), c.DPProxyType(), TypeDPToken, TypeServiceAccountToken, TypeNone)
	p.oneOf(c.entry(entryZoneProxy+".type"), c.ZoneProxyType(), TypeZoneToken, TypeServiceAccountToken, TypeNone)
	p.kdsType(c, v)
	if v.major == 3 {
		p.zoneProxy(c, v)
	}

	kds := c.Multizone.Global.KDS.Auth
	dp, zp, cp := c.DPServer.Authn.DPProxy.DPToken.Validator, c.DPServer.Authn.ZoneProxy.ZoneToken.Validator, kds.ZoneToken.Validator
	meshSources, zoneSources := p.keySources(c)
	ofMeshes := p.keys(c, entryDPValidator, c.DPProxyType() == TypeDPToken, dp.UseSecrets, dp.PublicKeys, meshSources)
	ofZoneProxies := p.keys(c, entryZPValidator, c.ZoneProxyType() == TypeZoneToken, zp.UseSecrets, ofNoMesh(zp.PublicKeys), zoneSources)
	ofZones := p.keys(c, entryKDSValidator, kds.Type == TypeZoneToken, cp.UseSecrets, ofNoMesh(cp.PublicKeys), zoneSources)
	for _, keys := range [][]loadedKeys{ofMeshes, ofZoneProxies, ofZones} {
		p.kidTwice(keys)
	}
	l := loaded{
		version:     v,
		dataplanes:  dataplaneOptions(dp.UseSecrets, ofMeshes),
		zoneProxies: zoneOptions(zp.UseSecrets, ofZoneProxies),
		kds:         zoneOptions(cp.UseSecrets, ofZones),
		maxLineage:  maxLineage,
	}

	p.runtime(c)
	p.kdsClient(c)
	return l, errors.Join(p...)
}

// maxLineage returns the limit, or 0 if there is none.
func (p *problems) maxLineage(c Config) time.Duration {
	text := c.Meshpass.MaxLineage
	if text == "" {
		return 0
	}
	limit, err := time.ParseDuration(text)
	if err != nil || limit < time.Second || limit > 87600*time.Hour { // as WithMaxLineage
		p.addf(c.entry(pathMaxLineage), "found %.32q, want a duration from 1s to 87600h, such as 8760h", text)
	}
	return limit
}

// names checks under which names settings were read.
func (p *problems) names(c Config, v version) {
	for _, r := range c.readings {
		switch s := r.setting; {
		case r.old && v.major == 3:
			p.addf(r.entry(), "Kuma %s does not read this; use %s%s, and remove this", v, s.both(false), r.otherWord())
		case !r.old && s.renamed() && v.readsOnlyOldNames():
			p.addf(r.entry(), "Kuma %s does not read this, but only 2.14.6 and later; use %s", v, s.both(true))
		}
	}
	for _, s := range settings {
		was, is := c.lastUnder(s, true), c.lastUnder(s, false)
		if was != nil && is != nil && !was.same(*is) {
			p.addf(is.entry(), "%s has another value, and is the old name of the same setting; remove it", was.entry())
		}
	}
}

// kdsType checks the type under each name, since the names have different words.
func (p *problems) kdsType(c Config, v version) {
	read := false
	for _, old := range []bool{false, true} {
		if r := c.lastUnder(at(pathKDSType), old); r != nil {
			read = true
			p.oneOf(r.entry(), r.value.(string), zoneTokenWord(old), TypeNone)
		}
	}
	if kind := c.Multizone.Global.KDS.Auth.Type; !read && kind != "" {
		p.oneOf(pathKDSType, kind, TypeZoneToken, TypeNone)
	}
	if text, fatal := c.zonesNotAuthenticated(v); fatal {
		p.addf(c.entry(pathKDSType), "%s; set it to %s", text, TypeZoneToken)
	}
}

// zoneProxy checks that nothing is set that Kuma 3.0 ignores.
func (p *problems) zoneProxy(c Config, v version) {
	zp := c.DPServer.Authn.ZoneProxy
	left := func(path string) {
		p.addf(c.entry(path), "Kuma %s ignores this, and authenticates zone proxies as %s says; remove it", v, entryDPProxy)
	}
	if zp.Type != "" {
		left(entryZoneProxy + ".type")
	}
	if !zp.ZoneToken.Validator.UseSecrets {
		left(entryZPValidator + ".useSecrets")
	}
	if len(zp.ZoneToken.Validator.PublicKeys) > 0 {
		left(entryZPValidator + ".publicKeys")
	}
	if !zp.ZoneToken.EnableIssuer && c.Multizone.Global.KDS.Auth.ZoneToken.EnableIssuer {
		p.addf(c.entry(pathZoneProxyIssuer), "it is false, but Kuma %s ignores it and would issue zone tokens; set %s to false",
			v, at(pathZoneIssuer).both(false))
	}
}

// runtime checks the token of a proxy.
func (p *problems) runtime(c Config) {
	inline, path := entryRuntime+".dataplaneToken", entryRuntime+".dataplaneTokenPath"
	p.tokenPath(c.entry(path), c.DataplaneRuntime.TokenPath, "dataplaneToken")
	if c.DataplaneRuntime.Token.IsZero() {
		return
	}
	if c.DataplaneRuntime.TokenPath != "" {
		p.addf(entryRuntime, "both dataplaneToken and dataplaneTokenPath are set, want at most one of them")
	}
	p.token(c.entry(inline), c.DataplaneRuntime.Token)
}

// kdsClient checks the token of a zone control plane.
func (p *problems) kdsClient(c Config) {
	auth := c.Multizone.Zone.KDS.Auth
	inline, path := c.used(at(pathTokenInline)), c.used(at(pathTokenPath))
	inlineName := "tokenInline"
	if path != nil && path.old {
		inlineName = "cpTokenInline"
	}
	p.tokenPath(c.entry(pathTokenPath), auth.TokenPath, inlineName)
	if slices.Contains(strings.Split(filepath.ToSlash(auth.TokenPath), "/"), "..") {
		p.addf(c.entry(pathTokenPath), `the path has an element "..", want a path without`)
	}
	if !auth.TokenInline.IsZero() {
		if inline != nil && path != nil && (inline.old || path.old) {
			p.addf(inline.entry(), "%s is set too, and which of them counts is documented for the new names only; remove one of them", path.entry())
		}
		claims := p.token(c.entry(pathTokenInline), auth.TokenInline)
		switch {
		case claims == nil:
		case claims.Kind() != token.KindZone:
			p.addf(c.entry(pathTokenInline), "found a %s token, want a zone token of scope %s", claims.Kind(), zone.ScopeCP)
		case !slices.Contains(claims.Zone.Scope, zone.ScopeCP):
			p.addf(c.entry(pathTokenInline), "found a zone token of scopes %q, want scope %s", claims.Zone.Scope, zone.ScopeCP)
		}
	}
	if address := c.Multizone.Zone.GlobalAddress; address != "" && (auth.TokenPath != "" || !auth.TokenInline.IsZero()) {
		if !strings.HasPrefix(strings.ToLower(address), "grpcs://") { // the address may hold a password
			p.addf(c.entry(pathAddress), "it does not begin with grpcs://, so that the token would be sent without TLS")
		}
	}
}

// problems collects all problems, so that an operator can repair them at once.
type problems []error

func (p *problems) add(entry string, err error) {
	problem := fmt.Errorf("config: %s: %w", entry, err)
	for _, before := range *p { // a source of zone tokens serves two validators
		if before.Error() == problem.Error() {
			return
		}
	}
	*p = append(*p, problem)
}

func (p *problems) addf(entry, format string, args ...any) {
	p.add(entry, fmt.Errorf(format, args...))
}

func (p *problems) oneOf(entry, value string, known ...string) {
	if !slices.Contains(known, value) {
		p.addf(entry, "found %.32q, want one of %s", value, strings.Join(known, ", "))
	}
}

// tokenPath checks a path, which errors print elsewhere.
func (p *problems) tokenPath(entry, path, inlineName string) {
	if _, err := token.ParseUnverified(strings.TrimSpace(path)); err == nil {
		p.addf(entry, "it holds a token, want the path of a file; put a token into %s", inlineName)
	} else if path != "" && strings.TrimSpace(path) == "" {
		p.addf(entry, "it is white space, want the path of a file")
	}
}

// token checks the form of an inline token and returns its claims, or nil.
func (p *problems) token(entry string, inline Secret) *token.Claims {
	if inline.Reveal() == redacted {
		p.addf(entry, "found the text %q, which replaces a token in printed configurations, want the token", redacted)
		return nil
	}
	text, err := token.PlainText([]byte(inline.Reveal()))
	if err != nil {
		p.add(entry, err)
		return nil
	}
	if len(text) == 0 {
		p.addf(entry, "it is white space, want a token")
		return nil
	}
	unverified, err := token.ParseUnverified(string(text))
	if err != nil {
		p.add(entry, err)
		return nil
	}
	claims, err := unverified.Claims()
	if err != nil {
		p.add(entry, err)
		return nil
	}
	return &claims
}
