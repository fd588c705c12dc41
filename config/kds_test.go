package config_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/assert/yaml"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

const (
	kdsType  = "multizone.global.kds.auth.type"
	inline   = "multizone.zone.kds.auth.tokenInline"
	path     = "multizone.zone.kds.auth.tokenPath"
	zpIssuer = "dpServer.authn.zoneProxy.zoneToken.enableIssuer"
)

// kdsSettings has the names of the settings that 2.14.6 renamed. Lists have no variable.
var kdsSettings = map[string]struct{ is, isVariable, was, wasVariable string }{
	"type": {kdsType, "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE",
		"kmesh.multizone.global.kds.auth.type", "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE"},
	"enableIssuer": {"multizone.global.kds.auth.zoneToken.enableIssuer", "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_ZONE_TOKEN_ENABLE_ISSUER",
		"kmesh.multizone.global.kds.auth.cpToken.enableIssuer", "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_CP_TOKEN_ENABLE_ISSUER"},
	"useSecrets": {"multizone.global.kds.auth.zoneToken.validator.useSecrets", "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_ZONE_TOKEN_VALIDATOR_USE_SECRETS",
		"kmesh.multizone.global.kds.auth.cpToken.validator.useSecrets", "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_CP_TOKEN_VALIDATOR_USE_SECRETS"},
	"publicKeys": {"multizone.global.kds.auth.zoneToken.validator.publicKeys", "",
		"kmesh.multizone.global.kds.auth.cpToken.validator.publicKeys", ""},
	"tokenInline": {inline, "KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE",
		"kmesh.multizone.zone.kds.auth.cpTokenInline", "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE"},
	"tokenPath": {path, "KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_PATH",
		"kmesh.multizone.zone.kds.auth.cpTokenPath", "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH"},
}

// source collects a document and variables.
type source struct {
	documents []string
	variables []string
}

// add sets a setting in the document, or as a variable.
func (s *source) add(path, variable string, inVariable bool, value any) {
	if inVariable {
		s.variables = append(s.variables, variable, fmt.Sprint(value))
	} else {
		s.documents = append(s.documents, set(path, value))
	}
}

// document merges the documents.
func (s *source) document(t *testing.T) string {
	all := object{}
	var merge func(to, from object)
	merge = func(to, from object) {
		for name, value := range from {
			inside, ok := value.(object)
			if before, twice := to[name].(object); ok && twice {
				merge(before, inside)
				continue
			}
			to[name] = value
		}
	}
	for _, text := range s.documents {
		var one object
		require.NoError(t, json.Unmarshal([]byte(text), &one))
		merge(all, one)
	}
	text, err := json.Marshal(all)
	require.NoError(t, err)
	return string(text)
}

func (s *source) read(t *testing.T) (config.Config, error) {
	return config.Read([]byte(s.document(t)), variables(s.variables...))
}

// warnings returns the warnings of the readings that are in use.
func warnings(c config.Config) string {
	var all []string
	for _, r := range c.Readings() {
		all = append(all, r.Warning)
	}
	return strings.Join(all, "\n")
}

// The outcomes of reading. Each error is one line.
var kdsErrors = map[string]string{
	"conflict": "has another value, and is the old name of the same setting; remove it",
	"old":      "does not read this; use ",
	"new":      "does not read this, but only 2.14.6 and later; use ",
	"word":     `found "konnect", want one of `,
	"open":     "zone control planes are not authenticated: the type is none",
	"unset":    "zone control planes are not authenticated: the mode is global and no type is set",
}

func requireErrors(t *testing.T, err error, want []string) {
	t.Helper()
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, len(want), "%v", err)
	left := lines
	for _, name := range want {
		i := 0
		for i < len(left) && !strings.Contains(left[i], kdsErrors[name]) {
			i++
		}
		require.Less(t, i, len(left), "no %q in %v", name, err)
		left = append(append([]string{}, left[:i]...), left[i+1:]...)
	}
}

// Each combination of the type under its old and its new name, in the document or a
// variable, under each version, for a global control plane. auth: zones need a token.
// warn: they do not, and a warning says so. Everything else is errors.
func TestKDSTypeUnderItsOldAndNewNameAndItsOutcome(t *testing.T) {
	was := []string{"", "none", "cpToken", "konnect"}
	is := []string{"", "none", "zoneToken", "konnect"}
	both := [4][4]string{
		//            no new name     none                    zoneToken          konnect
		/* no old */ {"unset", "warn", "auth", "word"},
		/* none */ {"warn", "warn", "conflict", "conflict word"},
		/* cpToken */ {"auth", "conflict", "auth", "conflict word"},
		/* konnect */ {"word", "conflict word", "conflict word", "word word"},
	}
	both2 := both
	both2[0][0] = "warn" // it is the documented default of 2.x
	onlyOld := [4][4]string{
		{"warn", "new", "new", "new word"},
		{"warn", "new", "new conflict", "new conflict word"},
		{"auth", "new conflict", "new", "new conflict word"},
		{"word", "new conflict word", "new conflict word", "new word word"},
	}
	onlyNew := [4][4]string{
		{"unset", "open", "auth", "word"},
		{"old open", "old open", "old conflict", "old conflict word"},
		{"old", "old conflict open", "old", "old conflict word"},
		{"old word", "old conflict word open", "old conflict word", "old word word"},
	}
	names := kdsSettings["type"]
	for version, grid := range map[string][4][4]string{
		"":    both,
		"2.7": onlyOld, "2.10": onlyOld, "2.13": onlyOld, "2.13.12": onlyOld, "2.14.0": onlyOld, "2.14.5": onlyOld,
		"2.14.6": both2, "2.14.7": both2, "2.14": both2, "2.15.0": both2, "2": both2,
		"3": onlyNew, "3.0": onlyNew, "3.0.1": onlyNew, "3.1": onlyNew,
	} {
		for i, old := range was {
			for j, now := range is {
				for _, place := range []struct{ oldVariable, newVariable bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
					name := fmt.Sprintf("version %q, old %q variable %t, new %q variable %t", version, old, place.oldVariable, now, place.newVariable)
					t.Run(name, func(t *testing.T) {
						var s source
						s.add("mode", "KUMA_MODE", place.newVariable, "global")
						if version != "" {
							s.add("meshpass.kumaVersion", "MESHPASS_KUMA_VERSION", place.oldVariable, version)
						}
						if old != "" {
							s.add(names.was, names.wasVariable, place.oldVariable, old)
						}
						if now != "" {
							s.add(names.is, names.isVariable, place.newVariable, now)
						}
						c, err := s.read(t)
						switch want := grid[i][j]; want {
						case "auth":
							require.NoError(t, err)
							require.Equal(t, config.TypeZoneToken, c.Multizone.Global.KDS.Auth.Type)
							require.NotContains(t, warnings(c), "not authenticated")
						case "warn":
							require.NoError(t, err)
							require.NotEqual(t, config.TypeZoneToken, c.Multizone.Global.KDS.Auth.Type)
							require.Contains(t, warnings(c), "zone control planes are not authenticated")
						default:
							requireErrors(t, err, strings.Fields(want))
							if strings.Contains(want, "old") || strings.Contains(want, "conflict") {
								require.ErrorContains(t, err, names.was)
								require.ErrorContains(t, err, names.is)
							}
						}
					})
				}
			}
		}
	}
}

// Each combination of the other settings under their old and new names.
func TestKDSSettingsUnderTheirOldAndNewNamesAndTheirOutcome(t *testing.T) {
	one, two := offlineZoneToken(t, "west", zone.ScopeCP), offlineZoneToken(t, "east", zone.ScopeCP)
	key := func(kid string) list { return list{object{"kid": kid, "key": publicPEM()}} }
	values := map[string][2]any{
		"enableIssuer": {true, false},
		"useSecrets":   {true, false},
		"publicKeys":   {key("1"), key("2")},
		"tokenInline":  {one, two},
		"tokenPath":    {"/run/one", "/run/two"},
	}
	got := map[string]func(config.Config) any{
		"enableIssuer": func(c config.Config) any { return c.Multizone.Global.KDS.Auth.ZoneToken.EnableIssuer },
		"useSecrets":   func(c config.Config) any { return c.Multizone.Global.KDS.Auth.ZoneToken.Validator.UseSecrets },
		"publicKeys": func(c config.Config) any {
			keys := c.Multizone.Global.KDS.Auth.ZoneToken.Validator.PublicKeys
			if len(keys) != 1 {
				return keys
			}
			return list{object{"kid": keys[0].KID, "key": keys[0].Key}}
		},
		"tokenInline": func(c config.Config) any { return c.Multizone.Zone.KDS.Auth.TokenInline.Reveal() },
		"tokenPath":   func(c config.Config) any { return c.Multizone.Zone.KDS.Auth.TokenPath },
	}
	for name, value := range values {
		names := kdsSettings[name]
		for version, grid := range map[string][3][3]string{
			//         no new name    first       second
			"":       {{"default", "first", "second"}, {"first", "first", "conflict"}, {"second", "conflict", "second"}},
			"2.13":   {{"default", "new", "new"}, {"first", "new", "new conflict"}, {"second", "new conflict", "new"}},
			"2.14.6": {{"default", "first", "second"}, {"first", "first", "conflict"}, {"second", "conflict", "second"}},
			"3.0":    {{"default", "first", "second"}, {"old", "old", "old conflict"}, {"old", "old conflict", "old"}},
		} {
			for i := range 3 {
				for j := range 3 {
					for _, place := range []struct{ oldVariable, newVariable bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
						if names.isVariable == "" && (place.oldVariable || place.newVariable) {
							continue
						}
						t.Run(fmt.Sprintf("%s: version %q, old %d variable %t, new %d variable %t", name, version, i, place.oldVariable, j, place.newVariable), func(t *testing.T) {
							var s source
							if version != "" {
								s.add("meshpass.kumaVersion", "", false, version)
							}
							if i > 0 {
								s.add(names.was, names.wasVariable, place.oldVariable, value[i-1])
							}
							if j > 0 {
								s.add(names.is, names.isVariable, place.newVariable, value[j-1])
							}
							c, err := s.read(t)
							switch want := grid[i][j]; want {
							case "default":
								require.NoError(t, err)
								requireSameSettings(t, config.Default(), withoutVersion(c))
							case "first":
								require.NoError(t, err)
								require.Equal(t, value[0], got[name](c))
							case "second":
								require.NoError(t, err)
								require.Equal(t, value[1], got[name](c))
							default:
								requireErrors(t, err, strings.Fields(want))
								require.NotContains(t, err.Error(), one)
								require.NotContains(t, err.Error(), two)
								require.NotContains(t, err.Error(), "PUBLIC KEY")
							}
						})
					}
				}
			}
		}
	}
}

func withoutVersion(c config.Config) config.Config {
	c.Meshpass = config.Default().Meshpass
	return c
}

func TestKDSTypeHasAnotherWordUnderEachName(t *testing.T) {
	_, err := config.Read([]byte(set(kdsType, "cpToken")), nil)
	require.EqualError(t, err, `config: multizone.global.kds.auth.type: found "cpToken", want one of zoneToken, none`)
	_, err = config.Read(nil, variables("KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "zoneToken"))
	require.EqualError(t, err, `config: kmesh.multizone.global.kds.auth.type (from KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE): found "zoneToken", want one of cpToken, none`)
}

func TestKDSTypeOfAVariableOverridesTheDocumentUnderTheSameName(t *testing.T) {
	c, err := config.Read([]byte(set(kdsType, "none")), variables("KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "zoneToken"))
	require.NoError(t, err)
	assert.Equal(t, []config.Reading{
		{Setting: kdsType, Name: kdsType},
		{Setting: kdsType, Name: "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", Used: true},
	}, c.Readings())
	assert.Equal(t, config.TypeZoneToken, c.Multizone.Global.KDS.Auth.Type)

	// An empty variable does not switch authentication off.
	c, err = config.Read([]byte(set(kdsType, "zoneToken")), variables("KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", ""))
	require.NoError(t, err)
	assert.Equal(t, config.TypeZoneToken, c.Multizone.Global.KDS.Auth.Type)
}

func TestGlobalControlPlaneThatDoesNotSayHowZonesAuthenticateIsRefused(t *testing.T) {
	for _, version := range []string{"", "3.0"} {
		_, err := config.Read(nil, variables("KUMA_MODE", "global", "MESHPASS_KUMA_VERSION", version))
		require.EqualError(t, err, "config: multizone.global.kds.auth.type: zone control planes are not authenticated: the mode is global and no type is set; set it to zoneToken")
	}
	for _, mode := range []string{"", "zone", "standalone"} { // the methods for a global control plane refuse
		c, err := config.Read(nil, variables("KUMA_MODE", mode, "MESHPASS_KUMA_VERSION", "3.0"))
		require.NoError(t, err)
		_, err = c.NewKDSValidator(newStore(t))
		require.ErrorContains(t, err, "multizone.global.kds.auth.type is not set")
	}
}

func TestTypeNoneIsWarnedAboutUnlessTheControlPlaneIsAZones(t *testing.T) {
	for mode, warned := range map[string]bool{"": true, "global": true, "zone": false, "standalone": false} {
		c, err := config.Read([]byte(set(kdsType, "none")), variables("KUMA_MODE", mode))
		require.NoError(t, err)
		assert.Equal(t, warned, strings.Contains(warnings(c), "zone control planes are not authenticated: the type is none"), mode)
	}
	c, err := config.Read([]byte(set(kdsType, "none")), variables("MESHPASS_KUMA_VERSION", "3.0"))
	require.NoError(t, err)
	assert.Contains(t, warnings(c), "zone control planes are not authenticated: the type is none")
}

func TestTypeUnderItsOldNameAuthenticatesZones(t *testing.T) {
	store := newStore(t)
	c, err := config.Read(nil, variables("KUMA_MODE", "global", "KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "cpToken"))
	require.NoError(t, err)
	validator, err := c.NewKDSValidator(store)
	require.NoError(t, err)
	defer validator.Close()
	issuer, err := c.NewZoneIssuer(store)
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	require.NoError(t, err)
	_, err = validator.Validate(t.Context(), "west", zone.ScopeCP, issued.Token)
	require.NoError(t, err)
}

func TestKumaVersionThatIsNoneIsRefused(t *testing.T) {
	for _, version := range []string{"1.8", "4.0", "v2.13", "2.x", "2.", ".", "2.13.1.1", "2.013", "-2", "3.0.1-rc1", "2.99999"} {
		_, err := config.Read(nil, variables("MESHPASS_KUMA_VERSION", version))
		require.ErrorContains(t, err, fmt.Sprintf("config: meshpass.kumaVersion (from MESHPASS_KUMA_VERSION): found %q, want a version of Kuma 2 or 3", version))
	}
	// YAML reads 2.10 without quotes as 2.1.
	c := config.Default()
	require.ErrorContains(t, yaml.Unmarshal([]byte("meshpass:\n  kumaVersion: 2.10\n"), &c), "meshpass.kumaVersion: found a number, want a string")
}

func TestTokenPathTakesPrecedenceOverTheInlineTokenUnderTheNewNames(t *testing.T) {
	raw := offlineZoneToken(t, "west", zone.ScopeCP)
	c, err := config.Read([]byte(set(path, "/run/token")), variables("KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE", raw))
	require.NoError(t, err)
	assert.Equal(t, "/run/token", c.Multizone.Zone.KDS.Auth.TokenPath)
	assert.Equal(t, []config.Reading{
		{Setting: inline, Name: "KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE", Used: true, Warning: "not in use: tokenPath takes precedence"},
		{Setting: path, Name: path, Used: true},
	}, c.Readings())

	was := kdsSettings["tokenInline"].wasVariable
	for _, v := range [][]string{
		{was, raw, "KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_PATH", "/run/token"},
		{"KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE", raw, "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH", "/run/token"},
		{was, raw, "KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH", "/run/token"},
	} {
		_, err := config.Read(nil, variables(v...))
		require.ErrorContains(t, err, v[0])
		require.ErrorContains(t, err, v[2])
		require.ErrorContains(t, err, "which of them counts is documented for the new names only; remove one of them")
	}
}

func TestTokenPathWithDotDotIsRefused(t *testing.T) {
	for _, bad := range []string{"..", "../token", "/run/../token", "run/..", "/run/token/../../etc/passwd"} {
		_, err := config.Read([]byte(set(path, bad)), nil)
		require.EqualError(t, err, `config: multizone.zone.kds.auth.tokenPath: the path has an element "..", want a path without`)
		_, err = config.Read(nil, variables("KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH", bad))
		require.ErrorContains(t, err, `the path has an element ".."`)
	}
	for _, good := range []string{"token", "./token", "/run/token..old", "/run/...", "..token"} {
		_, err := config.Read([]byte(set(path, good)), nil)
		require.NoError(t, err)
	}
	_, err := config.Read([]byte(set(path, " ")), nil)
	require.ErrorContains(t, err, path+": it is white space, want the path of a file")
}

func TestTokenIsNotSentToAnAddressWithoutTLS(t *testing.T) {
	raw := offlineZoneToken(t, "west", zone.ScopeCP)
	for _, v := range [][]string{
		{"KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE", raw}, {"KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_PATH", "/run/token"},
		{"KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE", raw}, {"KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_PATH", "/run/token"},
	} {
		for _, address := range []string{"grpc://global:5685", "GRPC://u:hunter2@global", "global:5685", "http://global"} {
			_, err := config.Read([]byte(set("multizone.zone.globalAddress", address)), variables(v...))
			require.EqualError(t, err, "config: multizone.zone.globalAddress: it does not begin with grpcs://, so that the token would be sent without TLS")
		}
		for _, address := range []string{"grpcs://global:5685", "GRPCS://global", ""} {
			_, err := config.Read([]byte(set("multizone.zone.globalAddress", address)), variables(v...))
			require.NoError(t, err)
		}
	}
	_, err := config.Read([]byte(set("multizone.zone.globalAddress", "grpc://global:5685")), nil) // without a token
	require.NoError(t, err)
}

func TestTextThatIsEmptySetsNothing(t *testing.T) {
	document := `{"meshpass": {"kumaVersion": "3.0"}, "dataplaneRuntime": {"dataplaneToken": "", "dataplaneTokenPath": ""},
		"kmesh": {"multizone": {"zone": {"kds": {"auth": {"cpTokenInline": "", "cpTokenPath": ""}}}}}}`
	c, err := config.Read([]byte(document), nil)
	require.NoError(t, err)
	assert.Equal(t, []config.Reading{{Setting: "meshpass.kumaVersion", Name: "meshpass.kumaVersion", Used: true}}, c.Readings())
}

func TestSameTokenUnderBothNamesMayHaveWhiteSpaceAroundIt(t *testing.T) {
	raw := offlineZoneToken(t, "west", zone.ScopeCP)
	_, err := config.Read([]byte(set(inline, raw)), variables("KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE", raw+"\n"))
	require.NoError(t, err)
}

func TestReadingsAreLoggedWithoutValuesAndWarnAboutOldNames(t *testing.T) {
	raw := offlineZoneToken(t, "west", zone.ScopeCP)
	c, err := config.Read([]byte(set("dpServer.authn.dpProxy.type", "none")), variables(
		"KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "cpToken", "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "zoneToken",
		"KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE", raw))
	require.NoError(t, err)
	var log bytes.Buffer
	c.LogReadings(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})))
	assert.Equal(t, `level=WARN msg="proxies are not authenticated: the type is none" setting=dpServer.authn.dpProxy.type name=dpServer.authn.dpProxy.type used=true
level=INFO msg="setting read" setting=multizone.global.kds.auth.type name=KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE used=true
level=WARN msg="deprecated name, which Kuma 3.0 does not read: use multizone.global.kds.auth.type (variable KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE), where cpToken is called zoneToken" setting=multizone.global.kds.auth.type name=KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE used=false
level=WARN msg="deprecated name, which Kuma 3.0 does not read: use multizone.zone.kds.auth.tokenInline (variable KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE)" setting=multizone.zone.kds.auth.tokenInline name=KMESH_MULTIZONE_ZONE_KDS_AUTH_CP_TOKEN_INLINE used=true
`, log.String())
	require.NotContains(t, log.String(), raw)

	// Under 2.13 the old names are the right ones.
	c, err = config.Read(nil, variables("KMESH_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "cpToken", "MESHPASS_KUMA_VERSION", "2.13"))
	require.NoError(t, err)
	require.NotContains(t, warnings(c), "deprecated")
}

func TestZoneProxySettingsThatKuma30IgnoresAreRefusedUnderIt(t *testing.T) {
	const zp = "dpServer.authn.zoneProxy."
	for setting, value := range map[string]any{
		zp + "type":                           "none",
		zp + "zoneToken.validator.useSecrets": false,
		zp + "zoneToken.validator.publicKeys": list{object{"kid": "1", "key": publicPEM()}},
		zpIssuer:                              false,
	} {
		s := source{variables: []string{"MESHPASS_KUMA_VERSION", "3.0"}}
		s.add(setting, "", false, value)
		if strings.HasSuffix(setting, "useSecrets") { // or no key would be left
			s.add(zp+"zoneToken.validator.publicKeys", "", false, list{object{"kid": "1", "key": publicPEM()}})
		}
		_, err := s.read(t)
		require.ErrorContains(t, err, "config: "+setting+": ")
		require.ErrorContains(t, err, "Kuma 3.0 ignores")
	}
	_, err := config.Read(nil, variables("MESHPASS_KUMA_VERSION", "3.0", "KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_ENABLE_ISSUER", "false"))
	require.EqualError(t, err, "config: "+zpIssuer+" (from KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_ENABLE_ISSUER): it is false, "+
		"but Kuma 3.0 ignores it and would issue zone tokens; set multizone.global.kds.auth.zoneToken.enableIssuer "+
		"(variable KUMA_MULTIZONE_GLOBAL_KDS_AUTH_ZONE_TOKEN_ENABLE_ISSUER) to false")

	// It was moved, and left there too.
	c, err := config.Read([]byte(set(zpIssuer, false)), variables("MESHPASS_KUMA_VERSION", "3.0", "KUMA_MULTIZONE_GLOBAL_KDS_AUTH_ZONE_TOKEN_ENABLE_ISSUER", "false"))
	require.NoError(t, err)
	issuer, err := c.NewZoneIssuer(newStore(t))
	require.NoError(t, err)
	_, err = issuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	require.ErrorIs(t, err, token.ErrIssuingDisabled)

	// A file of defaults that comes with 2.x has the section.
	c, err = config.Read([]byte(set("dpServer.authn.zoneProxy", object{"type": "", "zoneToken": object{"enableIssuer": true, "validator": object{
		"useSecrets": true, "publicKeys": list{}}}})), variables("MESHPASS_KUMA_VERSION", "3.0"))
	require.NoError(t, err)
	_, err = c.NewZoneProxyValidator(newStore(t))
	require.EqualError(t, err, "config: dpServer.authn.zoneProxy: in Kuma 3.0 zone proxies authenticate like other proxies; use NewProxyAuthenticator")
}

func TestZoneProxyIssuerThatIsOffHoldsAndIsWarnedAboutWhereNoVersionIsSaid(t *testing.T) {
	for version, warned := range map[string]bool{"": true, "2.14.6": false} {
		c, err := config.Read([]byte(set(zpIssuer, false)), variables("MESHPASS_KUMA_VERSION", version))
		require.NoError(t, err)
		assert.Equal(t, warned, strings.Contains(warnings(c), "Kuma 3.0 ignores this and would issue zone tokens: set multizone.global.kds.auth.zoneToken.enableIssuer"))
		issuer, err := c.NewZoneIssuer(newStore(t))
		require.NoError(t, err)
		_, err = issuer.Issue(t.Context(), token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
		require.ErrorIs(t, err, token.ErrIssuingDisabled)
	}
}
