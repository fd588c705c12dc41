package config_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/assert/yaml"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// The tests of this file are about what the documentation and the sources of Kuma and
// Kong Mesh say, version by version.

// fromYAML reads a document as a program does that has a YAML library.
func fromYAML(document string, lookup func(string) (string, bool)) (config.Config, error) {
	c := config.Default()
	if err := yaml.Unmarshal([]byte(document), &c); err != nil {
		return c, err
	}
	if err := c.ApplyEnvironment(lookup); err != nil {
		return c, err
	}
	return c, c.Check()
}

func TestGlobalOfKongMesh210To213TakesTheVariableOfItsType(t *testing.T) {
	for value, want := range map[string]string{"cpToken": config.TypeZoneToken, "none": config.TypeNone} {
		c, err := config.Read(nil, variables("MESHPASS_KUMA_VERSION", "2.10", "KUMA_MODE", "global", "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", value))
		require.NoError(t, err)
		assert.Equal(t, want, c.Multizone.Global.KDS.Auth.Type)
	}
}

func TestGlobalOfKongMesh214TakesTheKmeshSectionAndItsVariables(t *testing.T) {
	document := `
kmesh:
  license:
    path: /license.json
  multizone:
    global:
      kds:
        auth:
          type: cpToken
          cpToken:
            enableIssuer: false
            validator:
              useSecrets: true
              publicKeys:
              - kid: 7
                keyFile: ` + inFile(t, publicPEM()) + `
`
	c, err := fromYAML(document, variables("MESHPASS_KUMA_VERSION", "2.14", "KUMA_MODE", "global",
		"KMESH_MULTIZONE_GLOBAL_KDS_AUTH_CP_TOKEN_ENABLE_ISSUER", "true", "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_CP_TOKEN_VALIDATOR_USE_SECRETS", "false"))
	require.NoError(t, err)
	auth := c.Multizone.Global.KDS.Auth
	assert.Equal(t, config.TypeZoneToken, auth.Type)
	assert.True(t, auth.ZoneToken.EnableIssuer)
	assert.False(t, auth.ZoneToken.Validator.UseSecrets)
	require.Len(t, auth.ZoneToken.Validator.PublicKeys, 1)
	assert.Equal(t, "7", auth.ZoneToken.Validator.PublicKeys[0].KID)

	validator, err := c.NewKDSValidator(newStore(t))
	require.NoError(t, err)
	defer validator.Close()
	_, err = validator.Validate(t.Context(), "west", zone.ScopeCP, offlineZoneToken(t, "west", zone.ScopeCP))
	require.ErrorIs(t, err, token.ErrUnknownKey, "it was signed with another kid")

	// Both are true by default.
	c, err = fromYAML(set("kmesh.multizone.global.kds.auth.type", "cpToken"), variables())
	require.NoError(t, err)
	assert.True(t, c.Multizone.Global.KDS.Auth.ZoneToken.EnableIssuer)
	assert.True(t, c.Multizone.Global.KDS.Auth.ZoneToken.Validator.UseSecrets)
}

func TestKongMesh214From6OnTakesBothSetsOfNames(t *testing.T) {
	c, err := config.Read([]byte(set("kmesh.multizone.global.kds.auth.type", "cpToken")), variables(
		"MESHPASS_KUMA_VERSION", "2.14.6", "KUMA_MODE", "global", "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "zoneToken"))
	require.NoError(t, err)
	assert.Equal(t, config.TypeZoneToken, c.Multizone.Global.KDS.Auth.Type)
	assert.Contains(t, warnings(c), "deprecated name")
}

func TestGlobalOf30TakesTheMultizoneSectionAndItsVariables(t *testing.T) {
	document := `
meshpass:
  kumaVersion: "3.0"
mode: global
multizone:
  global:
    kds:
      auth:
        type: zoneToken
        zoneToken:
          enableIssuer: true
          validator:
            useSecrets: true
            publicKeys:
            - kid: key-1
              keyFile: ` + inFile(t, publicPEM()) + `
`
	c, err := fromYAML(document, variables(
		"KUMA_MULTIZONE_GLOBAL_KDS_AUTH_ZONE_TOKEN_ENABLE_ISSUER", "false", "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_ZONE_TOKEN_VALIDATOR_USE_SECRETS", "false"))
	require.NoError(t, err)
	validator, err := c.NewKDSValidator(newStore(t))
	require.NoError(t, err)
	defer validator.Close()
	_, err = validator.Validate(t.Context(), "west", zone.ScopeCP, offlineZoneToken(t, "west", zone.ScopeCP))
	require.NoError(t, err)
	_, err = c.NewZoneIssuer(newStore(t))
	require.NoError(t, err)
	assert.False(t, c.Multizone.Global.KDS.Auth.ZoneToken.EnableIssuer)
	assert.False(t, c.Multizone.Global.KDS.Auth.ZoneToken.Validator.UseSecrets)
}

func TestGlobalOf30RefusesAnotherTypeAndAnEmptyOne(t *testing.T) {
	for _, value := range []string{"konnect", "cpToken", "ZoneToken", "dpToken"} {
		_, err := config.Read(nil, variables("MESHPASS_KUMA_VERSION", "3.0", "KUMA_MODE", "global", "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", value))
		require.ErrorContains(t, err, fmt.Sprintf("found %q, want one of zoneToken, none", value))
	}
	_, err := config.Read([]byte(set(kdsType, "")), variables("MESHPASS_KUMA_VERSION", "3.0"))
	require.ErrorContains(t, err, kdsType+": it is empty")
}

func TestZoneOfKongMesh210To213TakesItsTokenFromTheKmeshNames(t *testing.T) {
	raw := offlineZoneToken(t, "west", zone.ScopeCP)
	for _, read := range []func() (config.Config, error){
		func() (config.Config, error) {
			return fromYAML(set("kmesh.multizone.zone.kds.auth.cpTokenInline", raw), variables("MESHPASS_KUMA_VERSION", "2.13"))
		},
		func() (config.Config, error) {
			return config.Read(nil, variables("MESHPASS_KUMA_VERSION", "2.10", "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE", raw))
		},
	} {
		c, err := read()
		require.NoError(t, err)
		assert.Equal(t, raw, c.Multizone.Zone.KDS.Auth.TokenInline.Reveal())
	}
	for _, read := range []func() (config.Config, error){
		func() (config.Config, error) {
			return fromYAML(set("kmesh.multizone.zone.kds.auth.cpTokenPath", "/run/cp"), variables("MESHPASS_KUMA_VERSION", "2.13"))
		},
		func() (config.Config, error) {
			return config.Read(nil, variables("MESHPASS_KUMA_VERSION", "2.10", "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH", "/run/cp"))
		},
	} {
		c, err := read()
		require.NoError(t, err)
		assert.Equal(t, "/run/cp", c.Multizone.Zone.KDS.Auth.TokenPath)
	}
}

func TestZoneOfKongMesh214TakesItsTokenFromBothSetsOfNamesFrom6On(t *testing.T) {
	raw := offlineZoneToken(t, "west", zone.ScopeCP)
	pairs := [][2]string{
		{"KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE", raw}, {"KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE", raw},
		{"KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_PATH", "/run/cp"}, {"KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH", "/run/cp"},
	}
	for _, pair := range pairs {
		c, err := config.Read(nil, variables("MESHPASS_KUMA_VERSION", "2.14.6", "KUMA_MODE", "zone", pair[0], pair[1]))
		require.NoError(t, err)
		auth := c.Multizone.Zone.KDS.Auth
		assert.Equal(t, pair[1], auth.TokenInline.Reveal()+auth.TokenPath)
		assert.Equal(t, strings.HasPrefix(pair[0], "KMESH"), strings.Contains(warnings(c), "deprecated name"))

		_, err = config.Read(nil, variables("MESHPASS_KUMA_VERSION", "2.14.5", "KUMA_MODE", "zone", pair[0], pair[1]))
		if strings.HasPrefix(pair[0], "KMESH") {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "Kuma 2.14.5 does not read this, but only 2.14.6 and later; use kmesh.")
		}
	}
}

func TestZoneOf30TakesItsTokenFromTheMultizoneNamesAndThePathWins(t *testing.T) {
	raw := offlineZoneToken(t, "west", zone.ScopeCP)
	c, err := fromYAML(`
meshpass: {kumaVersion: "3.0"}
mode: zone
multizone:
  zone:
    name: west
    globalAddress: grpcs://global:5685
    kds:
      rootCaFile: /ca.pem
      auth:
        tokenInline: |
          `+raw+`
        tokenPath: /run/token
`, variables())
	require.NoError(t, err)
	auth := c.Multizone.Zone.KDS.Auth
	assert.Equal(t, raw+"\n", auth.TokenInline.Reveal())
	assert.Equal(t, "/run/token", auth.TokenPath)
	assert.Contains(t, warnings(c), "not in use: tokenPath takes precedence")
}

func TestZoneOf30RefusesAnInlineTokenThatIsEmptyAfterTrimming(t *testing.T) {
	_, err := config.Read(nil, variables("MESHPASS_KUMA_VERSION", "3.0", "KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE", " \r\n\t"))
	require.EqualError(t, err, "config: multizone.zone.kds.auth.tokenInline (from KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE): it is white space, want a token")
}

func TestOldNamesLeftOverUnder30AreErrorsThatNameTheNewOnes(t *testing.T) {
	raw := offlineZoneToken(t, "west", zone.ScopeCP)
	values := map[string]any{"type": "cpToken", "enableIssuer": true, "useSecrets": true, "publicKeys": list{}, "tokenInline": raw, "tokenPath": "/run/token"}
	for name, value := range values {
		names := kdsSettings[name]
		for _, inVariable := range []bool{false, true} {
			if inVariable && names.wasVariable == "" {
				continue
			}
			s := source{variables: []string{"MESHPASS_KUMA_VERSION", "3.0"}}
			s.add(names.was, names.wasVariable, inVariable, value)
			_, err := s.read(t)
			require.ErrorContains(t, err, "config: "+names.was)
			require.ErrorContains(t, err, "Kuma 3.0 does not read this; use "+names.is)
			if inVariable {
				require.ErrorContains(t, err, names.wasVariable)
				require.ErrorContains(t, err, names.isVariable)
			}
			require.NotContains(t, err.Error(), raw)
		}
	}
	// Also when the new names say the same, since Kong Mesh ends the start then.
	_, err := config.Read(nil, variables("MESHPASS_KUMA_VERSION", "3.0",
		"KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_PATH", "/run/token", "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH", "/run/token"))
	require.ErrorContains(t, err, "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH): Kuma 3.0 does not read this")
}

func TestPublicKeysOfZonesHaveAKidAndOneOfKeyAndKeyFileAndNoMesh(t *testing.T) {
	file := inFile(t, publicPEM())
	for _, keys := range []string{zpKeys, kdsKeys, kdsSettings["publicKeys"].was} {
		for _, good := range []object{{"kid": "1", "key": publicPEM()}, {"kid": "1", "keyFile": file}, {"kid": "1", "key": publicPEM(), "keyFile": nil}} {
			_, err := config.Read([]byte(set(keys, list{good})), nil)
			require.NoError(t, err)
		}
		for want, bad := range map[string]object{
			`[0]: there is no setting "mesh", want one of key, keyFile, kid`: {"kid": "1", "key": publicPEM(), "mesh": "default"},
			`[0] (kid ""): kid is empty`:                                     {"key": publicPEM()},
			`[0] (kid "1"): neither key nor keyFile`:                         {"kid": "1"},
			`[0] (kid "1"): both key and keyFile`:                            {"kid": "1", "key": publicPEM(), "keyFile": file},
			`[0]: there is no setting "keyfile"`:                             {"kid": "1", "keyfile": file},
			`[0].key: found a list, want a string`:                           {"kid": "1", "key": list{}},
		} {
			_, err := config.Read([]byte(set(keys, list{bad})), nil)
			require.ErrorContains(t, err, "config: "+keys+want)
		}
		_, err := config.Read([]byte(set(keys, list{nil})), nil)
		require.ErrorContains(t, err, keys+"[0]: found nothing, want an object")
	}
}

func TestPublicKeysOfDataplaneTokensHaveAnOptionalMesh(t *testing.T) {
	c, err := config.Read([]byte(set(dpKeys, list{object{"kid": 1, "mesh": "default", "key": publicPEM()}, object{"kid": "2", "key": publicPEM(), "mesh": ""}})), nil)
	require.NoError(t, err)
	keys := c.DPServer.Authn.DPProxy.DPToken.Validator.PublicKeys
	assert.Equal(t, []string{"default", ""}, []string{keys[0].Mesh, keys[1].Mesh})
}

func TestKidMayBeAWholeNumberWithoutQuotes(t *testing.T) {
	keyFile := inFile(t, publicPEM())
	for number, want := range map[string]string{"0": "0", "1": "1", "18446744073709551615": "18446744073709551615"} {
		for _, keys := range []string{dpKeys, zpKeys, kdsKeys, kdsSettings["publicKeys"].was} {
			for format, read := range map[string]func(string) (config.Config, error){
				"JSON": func(text string) (config.Config, error) { return config.Read([]byte(text), nil) },
				"YAML": func(text string) (config.Config, error) { return fromYAML(text, variables()) },
			} {
				c, err := read(strings.Replace(set(keys, list{object{"kid": "NUMBER", "keyFile": keyFile}}), `"NUMBER"`, number, 1))
				require.NoError(t, err, format)
				var kids []string
				for _, key := range c.DPServer.Authn.DPProxy.DPToken.Validator.PublicKeys {
					kids = append(kids, key.KID)
				}
				for _, key := range append(c.DPServer.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys, c.Multizone.Global.KDS.Auth.ZoneToken.Validator.PublicKeys...) {
					kids = append(kids, key.KID)
				}
				require.Equal(t, []string{want}, kids)
			}
		}
	}
	for _, number := range []string{"1.0", "1e3", "-1", "1.5"} {
		_, err := config.Read([]byte(fmt.Sprintf(`{"dpServer": {"authn": {"dpProxy": {"dpToken": {"validator": {"publicKeys": [{"kid": %s, "key": "x"}]}}}}}}`, number)), nil)
		require.ErrorContains(t, err, dpKeys+"[0].kid: found a number, want a string or a whole number")
	}
	for _, value := range []string{"true", "[1]", "{}"} {
		_, err := config.Read([]byte(fmt.Sprintf(`{"dpServer": {"authn": {"dpProxy": {"dpToken": {"validator": {"publicKeys": [{"kid": %s}]}}}}}}`, value)), nil)
		require.ErrorContains(t, err, "want a string or a whole number")
	}
}

// kumaFile has every setting beside the authentication that Kuma 2.10 to 3.0 has in these
// sections, and other sections.
const kumaFile = `
mode: global
environment: universal
store:
  type: postgres
  postgres: {host: 127.0.0.1, port: 15432, password: hunter2}
apiServer:
  authn: {type: tokens}
general: {workDir: ""}
dpServer:
  port: 5678
  tlsCertFile: /cert.pem
  tlsKeyFile: /key.pem
  tlsMinVersion: TLSv1_2
  tlsMaxVersion:
  tlsCipherSuites: []
  readHeaderTimeout: 5s
  gracefulShutdownTimeout: 10s
  authn:
    dpProxy:
      type: dpToken
      dpToken:
        enableIssuer: true
        validator:
          useSecrets: true
          publicKeys:
          - {kid: 1, mesh: default, keyFile: KEYFILE}
    zoneProxy:
      type: ""
      zoneToken:
        enableIssuer: true
        validator: {useSecrets: true, publicKeys: []}
    enableReloadableTokens: false
  hds:
    enabled: true
    checkDefaults: {timeout: 2s}
multizone:
  global:
    kds:
      grpcPort: 5685
      refreshInterval: 1s
      zoneInsightFlushInterval: 10s
      tlsEnabled: true
      tlsCertFile:
      tlsKeyFile:
      tlsMinVersion: TLSv1_2
      tlsMaxVersion:
      tlsCipherSuites: []
      maxMsgSize: 10485760
      msgSendTimeout: 60s
      nackBackoff: 5s
      responseBackoff: 0s
      logPayloads: false
      eventBasedWatchdog: {flushInterval: 1s}
      zoneHealthCheck: {timeout: 0s}
      tracing: {enabled: true}
      labels: {skipPrefixes: []}
      auth:
        type: zoneToken
  zone:
    name: west
    globalAddress:
    disableOriginLabelValidation: false
    ingressUpdateInterval: 1s
    kds:
      rootCaFile:
      refreshInterval: 1s
      tlsSkipVerify: false
      maxMsgSize: 10485760
      msgSendTimeout: 60s
      nackBackoff: 5s
      responseBackoff: 0s
      logPayloads: false
      eventBasedWatchdog: {flushInterval: 1s}
      labels: {skipPrefixes: []}
`

func TestSectionsDPServerAndMultizoneOfKumaAreReadWhole(t *testing.T) {
	document := strings.Replace(kumaFile, "KEYFILE", inFile(t, publicPEM()), 1)
	for _, version := range []string{"", "2.14.6", "3.0"} {
		c, err := fromYAML(document, variables("MESHPASS_KUMA_VERSION", version))
		require.NoError(t, err)
		assert.Equal(t, config.TypeZoneToken, c.Multizone.Global.KDS.Auth.Type)
		assert.Equal(t, config.ModeGlobal, c.Mode)
		for _, r := range c.Readings() { // nothing that was passed over
			require.NotContains(t, r.Name, "store")
		}
		proxies, err := c.NewProxyAuthenticator(newStore(t), quiet())
		require.NoError(t, err)
		session, err := proxies.Authenticate(t.Context(), mustIssueWithKid(t, "1"))
		require.NoError(t, err)
		require.NoError(t, session.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-1"}))
		require.NoError(t, proxies.Close())
	}
}

func mustIssueWithKid(t *testing.T, kid string) string {
	issuer, err := dataplane.NewOfflineIssuer(testKey(), kid)
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Minute)
	require.NoError(t, err)
	return issued.Token
}

func TestMisspeltNamesInSectionsOfKumaAreRefused(t *testing.T) {
	for want, document := range map[string]string{
		`config: dpServer: there is no setting "authm", want one of auth, authn, or one of Kuma's that is not about authentication`: set("dpServer.authm.dpProxy.type", "none"),
		`config: dpServer: there is no setting "Authn"`:                                                    set("dpServer.Authn.dpProxy.type", "none"),
		`config: dpServer.authn: there is no setting "port", want one of dpProxy, enableReloadable`:        set("dpServer.authn.port", 1),
		`config: dpServer.authn.dpProxy.dpToken.validator: there is no setting "useSecret"`:                set("dpServer.authn.dpProxy.dpToken.validator.useSecret", false),
		`config: multizone: there is no setting "globla", want one of global, zone`:                        set("multizone.globla", object{}),
		`config: multizone.global: there is no setting "kdsAuth", want one of kds`:                         set("multizone.global.kdsAuth", object{}),
		`config: multizone.global.kds: there is no setting "auht"`:                                         set("multizone.global.kds.auht.type", "zoneToken"),
		`config: multizone.global.kds.auth: there is no setting "cpToken", want one of type, zoneToken`:    set("multizone.global.kds.auth.cpToken", object{}),
		`config: multizone.zone.kds.auth: there is no setting "cpTokenPath", want one of tokenInline, t`:   set("multizone.zone.kds.auth.cpTokenPath", "/t"),
		`config: kmesh.multizone: there is no setting "gloabl", want one of global, zone`:                  set("kmesh.multizone.gloabl", object{}),
		`config: kmesh: there is no setting "Multizone", want one of multizone`:                            set("kmesh.Multizone", object{}),
		`config: kmesh.multizone.global.kds.auth: there is no setting "zoneToken", want one of cpToken`:    set("kmesh.multizone.global.kds.auth.zoneToken", object{}),
		`config: meshpass: there is no setting "version", want one of keySources, kumaVersion, maxLineage`: set("meshpass.version", "3.0"),
		`config: the document: there is no setting "multiZone", want one of `:                              set("multiZone.global.kds.auth.type", "zoneToken"),
	} {
		_, err := config.Read([]byte(document), nil)
		require.ErrorContains(t, err, want)
		_, err = fromYAML(document, variables())
		require.ErrorContains(t, err, want)
	}
}

func TestReloadableTokensAreReadInTheirOtherPlaceToo(t *testing.T) {
	c, err := config.Read([]byte(set("dpServer.auth.enableReloadableTokens", true)), nil)
	require.NoError(t, err)
	assert.Contains(t, warnings(c), "deprecated name")
	_, err = config.Read([]byte(set("dpServer.auth.enableReloadableTokens", true)), variables("KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS", "false"))
	require.ErrorContains(t, err, "dpServer.auth.enableReloadableTokens has another value")
}

func TestDocumentInYAMLIsAsStrictAsOneInJSON(t *testing.T) {
	for want, document := range map[string]string{
		"the document: found a list, want an object":                     "- a\n",
		"dpServer: found a string, want an object":                       "dpServer: a\n",
		"enableIssuer: found a string, want a boolean":                   "dpServer: {authn: {dpProxy: {dpToken: {enableIssuer: \"no\"}}}}\n",
		"publicKeys: found an object, want a list":                       "dpServer: {authn: {dpProxy: {dpToken: {validator: {publicKeys: {}}}}}}\n",
		"environment: found a value of type time.Time, want a string":    "environment: 2026-11-29\n",
		`dpServer.authn: there is no setting "1", want one of`:           "dpServer: {authn: {1: a}}\n",
		"dataplaneRuntime.dataplaneToken: found a number, want a string": "dataplaneRuntime: {dataplaneToken: 1}\n",
	} {
		_, err := fromYAML(document, variables())
		require.ErrorContains(t, err, want)
	}
	_, err := fromYAML("", variables())
	require.NoError(t, err)
	// A document without settings leaves those that are set.
	c := config.Default()
	require.NoError(t, yaml.Unmarshal([]byte("mode: zone\n"), &c))
	require.NoError(t, yaml.Unmarshal([]byte("environment: kubernetes\n"), &c))
	assert.Equal(t, "zone kubernetes", c.Mode+" "+c.Environment)
}
