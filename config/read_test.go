package config_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

const (
	dpKeys  = "dpServer.authn.dpProxy.dpToken.validator.publicKeys"
	zpKeys  = "dpServer.authn.zoneProxy.zoneToken.validator.publicKeys"
	kdsKeys = "multizone.global.kds.auth.zoneToken.validator.publicKeys"
)

// set returns a document that sets the entry at path to a value.
func set(path string, value any) string {
	names := strings.Split(path, ".")
	for i := len(names) - 1; i >= 0; i-- {
		value = map[string]any{names[i]: value}
	}
	text, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return string(text)
}

type object = map[string]any
type list = []any

func TestReadRefusesAWrongConfigurationWithTheNameOfTheEntry(t *testing.T) {
	public := publicPEM()
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.pem")
	dp, zp, kds := "config: "+dpKeys, "config: "+zpKeys, "config: "+kdsKeys
	huge := inFile(t, strings.Repeat("a", 1<<17))
	private := inFile(t, privatePEM(t))
	der, _ := pem.Decode([]byte(privatePEM(t)))

	for name, c := range map[string]struct {
		document string
		want     string
	}{
		"both key and keyFile": {set(dpKeys, list{object{"kid": "key-1", "mesh": "default", "key": public, "keyFile": "/k"}}),
			dp + `[0] (kid "key-1"): both key and keyFile are set, want one of them`},
		"neither": {set(dpKeys, list{object{"kid": "key-1", "mesh": "default"}}),
			dp + `[0] (kid "key-1"): neither key nor keyFile is set, want one of them`},
		"neither, for zones": {set(zpKeys, list{object{"kid": "key-1"}}),
			zp + `[0] (kid "key-1"): neither key nor keyFile is set, want one of them`},
		"neither, for control planes": {set(kdsKeys, list{object{"kid": "key-1"}}),
			kds + `[0] (kid "key-1"): neither key nor keyFile is set, want one of them`},
		"a repeated kid": {set(dpKeys, list{object{"kid": "1", "mesh": "a", "key": public}, object{"kid": "2", "mesh": "a", "key": public}, object{"kid": "1", "mesh": "a", "key": public}}),
			dp + `[2] (kid "1"): publicKeys[0] has the same kid and mesh "a"`},
		"a repeated kid, of every mesh": {set(dpKeys, list{object{"kid": "1", "key": public}, object{"kid": "1", "key": public}}),
			dp + `[1] (kid "1"): publicKeys[0] has the same kid`},
		"a repeated kid, for zones": {set(zpKeys, list{object{"kid": "1", "key": public}, object{"kid": "1", "key": public}}),
			zp + `[1] (kid "1"): publicKeys[0] has the same kid`},
		"no kid":                               {set(dpKeys, list{object{"key": public}}), dp + `[0] (kid ""): kid is empty`},
		"a kid that is no kid":                 {set(dpKeys, list{object{"kid": "é", "key": public}}), dp + `[0] (kid "é"): kid is "é", want printable ASCII`},
		"a mesh that is none":                  {set(dpKeys, list{object{"kid": "1", "mesh": "../a", "key": public}}), dp + `[0] (kid "1"): mesh: `},
		"all meshes by a star":                 {set(dpKeys, list{object{"kid": "1", "mesh": "*", "key": public}}), dp + `[0] (kid "1"): mesh: `},
		"a missing file":                       {set(dpKeys, list{object{"kid": "1", "keyFile": missing}}), dp + `[0] (kid "1"): keyFile: open ` + missing},
		"a folder":                             {set(dpKeys, list{object{"kid": "1", "keyFile": dir}}), dp + `[0] (kid "1"): keyFile: ` + dir + ` is not a regular file`},
		"a huge file":                          {set(dpKeys, list{object{"kid": "1", "keyFile": huge}}), dp + `[0] (kid "1"): keyFile: ` + huge + ` has more than 65536 bytes`},
		"a private key in line":                {set(dpKeys, list{object{"kid": "1", "key": privatePEM(t)}}), dp + `[0] (kid "1"): key: unusable key: found an RSA private key (PKCS#1) where a public key belongs`},
		"a private key in the place of a file": {set(dpKeys, list{object{"kid": "1", "keyFile": privatePEM(t)}}), dp + `[0] (kid "1"): keyFile: it holds a key, want the path of a file; put a key into key`},
		// The form in which tools print signing keys.
		"a private key in base64 in the place of a file": {set(dpKeys, list{object{"kid": "1", "keyFile": base64.StdEncoding.EncodeToString([]byte(privatePEM(t)))}}),
			dp + `[0] (kid "1"): keyFile: it holds a key, want the path of a file; put a key into key`},
		"a private key as DER in base64 in the place of a file": {set(zpKeys, list{object{"kid": "1", "keyFile": base64.StdEncoding.EncodeToString(der.Bytes)}}),
			zp + `[0] (kid "1"): keyFile: it holds a key, want the path of a file; put a key into key`},
		"a private key in a file": {set(zpKeys, list{object{"kid": "1", "keyFile": private}}),
			zp + `[0] (kid "1"): keyFile: ` + private + `: unusable key: found an RSA private key (PKCS#1) where a public key belongs`},
		"a path where the key belongs": {set(dpKeys, list{object{"kid": "1", "key": "/keys/1.pem"}}), dp + `[0] (kid "1"): key: unusable key: found no PEM block`},

		"an unknown type": {set("dpServer.authn.dpProxy.type", "dptoken"),
			`config: dpServer.authn.dpProxy.type: found "dptoken", want one of dpToken, serviceAccountToken, none`},
		"an unknown type, for zones": {set("dpServer.authn.zoneProxy.type", "dpToken"),
			`config: dpServer.authn.zoneProxy.type: found "dpToken", want one of zoneToken, serviceAccountToken, none`},
		"an unknown type, for control planes": {set("multizone.global.kds.auth.type", "konnect"),
			`config: multizone.global.kds.auth.type: found "konnect", want one of zoneToken, none`},
		"no type, for control planes": {set("multizone.global.kds.auth.type", ""),
			`config: multizone.global.kds.auth.type: it is empty, want a value, or no such setting`},
		"an empty environment":   {set("environment", ""), `config: environment: it is empty, want a value, or no such setting`},
		"an empty mode":          {set("mode", ""), `config: mode: it is empty, want a value, or no such setting`},
		"an unknown mode":        {set("mode", "remote"), `config: mode: found "remote", want one of global, zone, standalone`},
		"an unknown environment": {set("environment", "moon"), `config: environment: found "moon", want one of universal, kubernetes`},
		"no key at all": {set("dpServer.authn.dpProxy.dpToken.validator.useSecrets", false),
			`config: dpServer.authn.dpProxy.dpToken.validator: useSecrets is false and publicKeys is empty`},
		"no key at all, for zones": {set("dpServer.authn.zoneProxy.zoneToken.validator.useSecrets", false),
			`config: dpServer.authn.zoneProxy.zoneToken.validator: useSecrets is false and publicKeys is empty`},

		"an unknown name":        {set("dpServer.authn.dpProxy.typ", "none"), `config: dpServer.authn.dpProxy: there is no setting "typ", want one of dpToken, type`},
		"an unknown name on top": {set("dpserver.authn.dpProxy.type", "none"), `config: the document: there is no setting "dpserver", want one of dataplaneRuntime, dpServer, environment, kmesh, meshpass, mode, multizone, or one of Kuma's`},
		"another case":           {set("dpServer.authn.dpProxy.Type", "none"), `config: dpServer.authn.dpProxy: there is no setting "Type", want one of dpToken, type`},
		"a mesh of a zone's key": {set(zpKeys, list{object{"kid": "1", "mesh": "a", "key": public}}), zp + `[0]: there is no setting "mesh", want one of key, keyFile, kid`},
		"a name twice":           {`{"environment": "universal", "environment": "kubernetes"}`, `config: environment: set twice`},
		"a section twice":        {`{"dpServer": {}, "dpServer": {}}`, `config: dpServer: set twice`},
		"a number for a string":  {set("dpServer.authn.dpProxy.type", 1), `config: dpServer.authn.dpProxy.type: found a number, want a string`},
		"a string for a boolean": {set("dpServer.authn.dpProxy.dpToken.enableIssuer", "false"), `config: dpServer.authn.dpProxy.dpToken.enableIssuer: found a string, want a boolean`},
		"an object for a list":   {set(dpKeys, object{"kid": "1"}), dp + `: found an object, want a list`},
		"a list for an object":   {set("dpServer", list{list{object{"kid": "1"}}}), `config: dpServer: found a list, want an object`},
		"a boolean for a token":  {set("multizone.zone.kds.auth.tokenInline", true), `config: multizone.zone.kds.auth.tokenInline: found a boolean, want a string`},
		"a list as the document": {`[]`, `config: the document: found a list, want an object`},
		"no JSON":                {"{\n\"environment\": universal}", `config: the document is not JSON: line 2: `},
		"half a document":        {`{"environment":`, `config: the document is not JSON: line 1: `},
		"two documents":          {`{} {}`, `config: the document is not JSON: line 1: `},
		"no UTF-8":               {"{\"environment\": \"\xff\"}", `config: the document is not UTF-8`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Read([]byte(c.document), nil)
			require.Error(t, err)
			assert.Contains(t, err.Error(), c.want)
			assert.NotContains(t, err.Error(), "\n", "one problem, one line")
			assert.NotContains(t, err.Error(), "MII", "no part of a key")
			assert.NotContains(t, err.Error(), "LS0tLS1C", "nor in base64")
		})
	}
}

func TestKeyFileMustBeARegularFileOrASymbolicLinkToOne(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("Windows has no /dev/null, and symbolic links only for administrators")
	}
	link := filepath.Join(t.TempDir(), "link.pem")
	require.NoError(t, os.Symlink(inFile(t, publicPEM()), link))
	_, err := config.Read([]byte(set(dpKeys, list{object{"kid": "1", "keyFile": link}})), nil)
	require.NoError(t, err)
	_, err = config.Read([]byte(set(dpKeys, list{object{"kid": "1", "keyFile": "/dev/null"}})), nil)
	require.ErrorContains(t, err, "/dev/null is not a regular file")
}

func TestReadReportsEverythingThatIsWrongAtOnce(t *testing.T) {
	document := fmt.Sprintf(`{"dpServer": {"authn": {"dpProxy": {"type": "x", "dpToken": {"validator": {"publicKeys": [
		{"kid": "1"}, {"kid": "1", "key": %q}, {"kid": "1", "key": "no key"}]}}}}},
		"multizone": {"global": {"kds": {"auth": {"type": "y"}}}}}`, publicPEM())
	_, err := config.Read([]byte(document), variables("KUMA_ENVIRONMENT", "moon", "KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS", "often"))
	require.Error(t, err)
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 8)
	for i, want := range []string{"variable KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS", "environment", "dpProxy.type", "kds.auth.type",
		"publicKeys[0]", "publicKeys[1]", "publicKeys[2]", "publicKeys[2]"} {
		assert.Contains(t, lines[i], want)
		assert.True(t, strings.HasPrefix(lines[i], "config: "), lines[i])
	}

	_, err = config.Read([]byte(`{"a": 1, "b": {"c": [1, {"d": null}]}, "environment": 1}`), nil)
	require.Error(t, err)
	require.Len(t, strings.Split(err.Error(), "\n"), 3)
}

func TestReadQuotesANameThatErrorsWouldPrint(t *testing.T) {
	_, err := config.Read([]byte(`{"store": {"a\nb": {"c": 1, "c": 1}}}`), nil)
	require.EqualError(t, err, `config: store."a\nb".c: set twice`)
}

func TestReadAllowsThatWhatIsNotInUseLacksKeys(t *testing.T) {
	document := `{"environment": "kubernetes", "dpServer": {"authn": {
		"dpProxy": {"dpToken": {"enableIssuer": false, "validator": {"useSecrets": false}}},
		"zoneProxy": {"type": "none", "zoneToken": {"validator": {"useSecrets": false}}}}}}`
	_, err := config.Read([]byte(document), nil)
	require.NoError(t, err)
}

func TestReadAllowsTheSameKidInSeveralMeshes(t *testing.T) {
	key := publicPEM()
	_, err := config.Read([]byte(set(dpKeys, list{object{"kid": "1", "mesh": "a", "key": key}, object{"kid": "1", "mesh": "b", "key": key}, object{"kid": "1", "key": key}})), nil)
	require.NoError(t, err)
}

func TestReadTakesNullForASettingThatIsNotSet(t *testing.T) {
	c, err := config.Read([]byte(`{"environment": null, "dpServer": {"authn": {"dpProxy": {"dpToken": {"enableIssuer": null,
		"validator": null}}, "zoneProxy": null}}, "dataplaneRuntime": {"dataplaneToken": null}}`), nil)
	require.NoError(t, err)
	assert.Equal(t, config.Default(), c)
}

func TestConfigZeroValueIsRefusedAndNotTakenForTheDefaults(t *testing.T) {
	err := config.Config{}.Check()
	require.ErrorContains(t, err, "environment: found")
	require.ErrorContains(t, err, "useSecrets is false")
}

func TestVariablesOverrideTheirSettings(t *testing.T) {
	raw := offlineZoneToken(t, "west", zone.ScopeCP)
	c, err := config.Read([]byte(set("dpServer.authn.dpProxy.type", "none")), variables(
		"KUMA_ENVIRONMENT", "kubernetes",
		"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE", "serviceAccountToken",
		"KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_ENABLE_ISSUER", "false",
		"KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_VALIDATOR_USE_SECRETS", "0",
		"KUMA_DP_SERVER_AUTHN_ZONE_PROXY_TYPE", "none",
		"KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_ENABLE_ISSUER", "F",
		"KUMA_DP_SERVER_AUTHN_ZONE_PROXY_ZONE_TOKEN_VALIDATOR_USE_SECRETS", "false",
		"KUMA_DP_SERVER_AUTHN_ENABLE_RELOADABLE_TOKENS", "true",
		"KUMA_DATAPLANE_RUNTIME_TOKEN", raw,
		"KUMA_MODE", "zone",
		"KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "none",
		"KUMA_MULTIZONE_GLOBAL_KDS_AUTH_ZONE_TOKEN_ENABLE_ISSUER", "false",
		"KUMA_MULTIZONE_GLOBAL_KDS_AUTH_ZONE_TOKEN_VALIDATOR_USE_SECRETS", "false",
		"KUMA_MULTIZONE_ZONE_GLOBAL_ADDRESS", "grpcs://global:5685",
		"KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_INLINE", raw+"\n",
	))
	require.NoError(t, err)
	authn, kds := c.DPServer.Authn, c.Multizone
	assert.Equal(t, "kubernetes", c.Environment)
	assert.Equal(t, "serviceAccountToken", authn.DPProxy.Type)
	assert.False(t, authn.DPProxy.DPToken.EnableIssuer)
	assert.False(t, authn.DPProxy.DPToken.Validator.UseSecrets)
	assert.Equal(t, "none", authn.ZoneProxy.Type)
	assert.False(t, authn.ZoneProxy.ZoneToken.EnableIssuer)
	assert.False(t, authn.ZoneProxy.ZoneToken.Validator.UseSecrets)
	assert.True(t, authn.EnableReloadableTokens)
	assert.Equal(t, raw, c.DataplaneRuntime.Token.Reveal())
	assert.Equal(t, "zone", c.Mode)
	assert.Equal(t, "none", kds.Global.KDS.Auth.Type)
	assert.False(t, kds.Global.KDS.Auth.ZoneToken.EnableIssuer)
	assert.False(t, kds.Global.KDS.Auth.ZoneToken.Validator.UseSecrets)
	assert.Equal(t, "grpcs://global:5685", kds.Zone.GlobalAddress)
	assert.Equal(t, raw+"\n", kds.Zone.KDS.Auth.TokenInline.Reveal())

	c, err = config.Read(nil, variables(
		"KUMA_DATAPLANE_RUNTIME_TOKEN_PATH", "/var/run/dp",
		"KUMA_MULTIZONE_GLOBAL_KDS_AUTH_TYPE", "zoneToken",
		"KUMA_MULTIZONE_ZONE_KDS_AUTH_TOKEN_PATH", "/var/run/cp",
		"KUMA_DP_SERVER_AUTHN_DP_PROXY_TYPE", "",
	))
	require.NoError(t, err)
	assert.Equal(t, "/var/run/dp", c.DataplaneRuntime.TokenPath)
	assert.Equal(t, "zoneToken", c.Multizone.Global.KDS.Auth.Type)
	assert.Equal(t, "/var/run/cp", c.Multizone.Zone.KDS.Auth.TokenPath)
	assert.Equal(t, config.TypeDPToken, c.DPProxyType())
}

func TestVariablesAreAllDocumentedWithTheirSettings(t *testing.T) {
	source, err := os.ReadFile("config.go")
	require.NoError(t, err)
	documented := map[string]bool{}
	for _, name := range regexp.MustCompile(`\b(KUMA|KMESH|MESHPASS)_[A-Z_]+\b`).FindAllString(string(source), -1) {
		documented[name] = true
	}
	asked := map[string]bool{}
	c := config.Default()
	require.NoError(t, c.ApplyEnvironment(func(name string) (string, bool) {
		asked[name] = true
		return "", true
	}))
	assert.Equal(t, config.Default(), c, "a variable that is empty counts as not set")
	assert.Equal(t, documented, asked)
	require.ErrorContains(t, c.ApplyEnvironment(nil), "is nil")
}

func TestVariableThatIsNoBooleanIsNamedWithoutItsValue(t *testing.T) {
	_, err := config.Read(nil, variables("KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_ENABLE_ISSUER", "hunter2"))
	require.EqualError(t, err, "config: variable KUMA_DP_SERVER_AUTHN_DP_PROXY_DP_TOKEN_ENABLE_ISSUER is not a boolean, want true or false")
}

func TestInlineTokenIsChecked(t *testing.T) {
	good := offlineZoneToken(t, "west", zone.ScopeCP)
	dp := offlineDataplaneToken(t, token.Dataplane{Mesh: "default", Name: "dp-1"})
	for name, c := range map[string]struct {
		document string
		want     string
	}{
		"a redacted one":          {set(inline, "(redacted)"), `config: ` + inline + `: found the text "(redacted)", which replaces a token in printed configurations, want the token`},
		"something else":          {set(inline, "hunter2"), `config: ` + inline + `: malformed token`},
		"white space":             {set(inline, " \n "), `config: ` + inline + `: it is white space, want a token`},
		"another scope":           {set(inline, offlineZoneToken(t, "west", "ingress")), `config: ` + inline + `: found a zone token of scopes ["ingress"], want scope cp`},
		"a dataplane token":       {set(inline, dp), `config: ` + inline + `: found a dataplane token, want a zone token of scope cp`},
		"a proxy's, not readable": {set("dataplaneRuntime.dataplaneToken", "hunter2"), `config: dataplaneRuntime.dataplaneToken: malformed token`},
		"a token for its path": {set("multizone.zone.kds.auth.tokenPath", good),
			`config: multizone.zone.kds.auth.tokenPath: it holds a token, want the path of a file; put a token into tokenInline`},
		"a token for its path, of a proxy": {set("dataplaneRuntime.dataplaneTokenPath", dp+"\n"),
			`config: dataplaneRuntime.dataplaneTokenPath: it holds a token, want the path of a file; put a token into dataplaneToken`},
		"both, of a proxy": {set("dataplaneRuntime", object{"dataplaneToken": dp, "dataplaneTokenPath": "/t"}),
			`config: dataplaneRuntime: both dataplaneToken and dataplaneTokenPath are set, want at most one of them`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := config.Read([]byte(c.document), nil)
			require.ErrorContains(t, err, c.want)
			assert.NotContains(t, err.Error(), "hunter2")
			assert.NotContains(t, err.Error(), good)
			assert.NotContains(t, err.Error(), dp)
		})
	}
	for _, document := range []string{
		set(inline, " "+good+"\n"),
		set("multizone.zone.kds.auth.tokenPath", "/not/there/yet"),
		set("dataplaneRuntime.dataplaneToken", dp),
		set("dataplaneRuntime.dataplaneToken", offlineZoneToken(t, "west", "egress")), // a zone proxy's
		set("dataplaneRuntime.dataplaneTokenPath", "/not/there/yet"),
	} {
		_, err := config.Read([]byte(document), nil)
		require.NoError(t, err)
	}
}

func TestInlineTokenIsNeverShown(t *testing.T) {
	raw := offlineZoneToken(t, "west", zone.ScopeCP)
	c, err := config.Read([]byte(set("multizone.zone.kds.auth.tokenInline", raw)), variables("KUMA_DATAPLANE_RUNTIME_TOKEN", raw))
	require.NoError(t, err)
	hidden := struct{ c config.Config }{c} // fmt calls no methods of what is in unexported fields
	asJSON, err := json.Marshal(c)
	require.NoError(t, err)
	for _, shown := range []string{
		fmt.Sprint(c), fmt.Sprintf("%+v", c), fmt.Sprintf("%#v", &c), fmt.Sprintf("%v", hidden), fmt.Sprintf("%#v", hidden),
		fmt.Sprintf("%s %q %x", c.DataplaneRuntime.Token, c.DataplaneRuntime.Token, c.DataplaneRuntime.Token),
		logged(t, "config", c), logged(t, "token", c.DataplaneRuntime.Token), string(asJSON),
	} {
		assert.NotContains(t, shown, raw)
		assert.NotContains(t, shown, fmt.Sprintf("%x", raw))
	}
	assert.Contains(t, logged(t, "token", c.DataplaneRuntime.Token), "(redacted)")
	assert.Contains(t, string(asJSON), `"tokenInline":"(redacted)"`)

	_, err = config.Read(asJSON, nil)
	require.ErrorContains(t, err, "replaces a token", "a configuration that lost its secrets is not used")
}

func TestSecretIsEmptyOrHasItsText(t *testing.T) {
	assert.True(t, config.Secret{}.IsZero())
	assert.True(t, config.NewSecret("").IsZero())
	assert.Empty(t, config.Secret{}.Reveal())
	assert.Empty(t, fmt.Sprint(config.Secret{}))
	assert.False(t, config.NewSecret("a").IsZero())
	assert.Equal(t, "a", config.NewSecret("a").Reveal())
}

// A configuration of arbitrary JSON is read or refused, and what is read can be used.
func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"dpServer": {"authn": {"dpProxy": {"type": "none", "dpToken": {"validator": {"publicKeys": [{"kid": "1", "key": "x"}]}}}}}}`))
	f.Add([]byte(`{"environment": null, "a": [[{"b": {}}], 1]}`))
	f.Add([]byte(`{"dpServer": [], "kmesh": {"multizone": 1}}`))
	f.Add([]byte(`{"mode": "global", "kmesh": {"multizone": {"global": {"kds": {"auth": {"type": "cpToken", "cpToken": {"validator": {"publicKeys": [{"kid": 1, "key": "x"}]}}}}}}}}`))
	f.Add([]byte(`{"meshpass": {"kumaVersion": "3.0"}, "multizone": {"zone": {"globalAddress": "grpcs://a", "kds": {"auth": {"tokenPath": "a", "tokenInline": ""}}}}}`))
	f.Add([]byte("\ufeff \n{\"environment\":\"universal\",\"environment\":\"kubernetes\"}"))
	f.Add([]byte(`{"mode":"zone","dpServer":{"authn":{"dpProxy":{"type":"dpToken"},"zoneProxy":{"zoneToken":{"enableIssuer":false}}},"port":1e999},"store":[{"a":null}]}{}`))
	f.Add([]byte(`{"meshpass":{"maxLineage":"2160h","keySources":[{"tokens":"zone","jwksURL":"https://id.example.com/jwks.json","issuer":"a","audience":"b"}]}}`))
	file := regexp.MustCompile(`(?i)(key|jwks)file|\\u`)
	f.Fuzz(func(t *testing.T, document []byte) {
		if file.Match(document) {
			t.Skip("it may name any file of this machine")
		}
		c, err := config.Read(document, nil)
		if err != nil {
			require.True(t, strings.HasPrefix(err.Error(), "config: "), err)
			require.True(t, reflect.DeepEqual(config.Config{}, c))
			return
		}
		require.NoError(t, c.Check())
		if text := bytes.TrimPrefix(document, []byte("\ufeff")); len(bytes.TrimSpace(text)) > 0 {
			require.True(t, utf8.Valid(text) && json.Valid(text))
			requireNoNameTwice(t, json.NewDecoder(bytes.NewReader(text)))
		}
	})
}

// requireNoNameTwice reads a value of JSON.
func requireNoNameTwice(t *testing.T, from *json.Decoder) {
	from.UseNumber() // there are numbers that no float64 holds
	start, err := from.Token()
	require.NoError(t, err)
	if start != json.Delim('{') && start != json.Delim('[') {
		return
	}
	seen := map[json.Token]bool{}
	for from.More() {
		if start == json.Delim('{') {
			name, err := from.Token()
			require.NoError(t, err)
			require.False(t, seen[name], "%q stands twice", name)
			seen[name] = true
		}
		requireNoNameTwice(t, from)
	}
	_, err = from.Token()
	require.NoError(t, err)
}
