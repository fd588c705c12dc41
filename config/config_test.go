package config_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/assert/yaml"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/config"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/zone"
)

// testKey is a key that was generated once, for signing offline.
var testKey = sync.OnceValue(func() *signing.PrivateKey {
	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		panic(err)
	}
	return key
})

func publicPEM() string { return string(testKey().Public().PEM()) }

func privatePEM(t *testing.T) string {
	text, err := testKey().PEM()
	require.NoError(t, err)
	return string(text)
}

// inFile returns the path of a file with the text.
func inFile(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "key.pem")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

// variables looks up variables in pairs of name and value.
func variables(pairs ...string) func(string) (string, bool) {
	values := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		values[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}

func TestDefaultsAreThoseOfTheDocumentation(t *testing.T) {
	c, err := config.Read(nil, nil)
	require.NoError(t, err)
	assert.Equal(t, config.Default(), c)
	text, err := json.MarshalIndent(c, "", "  ")
	require.NoError(t, err)
	assert.Equal(t, `{
  "meshpass": {},
  "environment": "universal",
  "dpServer": {
    "authn": {
      "dpProxy": {
        "type": "",
        "dpToken": {
          "enableIssuer": true,
          "validator": {
            "useSecrets": true,
            "publicKeys": []
          }
        }
      },
      "zoneProxy": {
        "type": "",
        "zoneToken": {
          "enableIssuer": true,
          "validator": {
            "useSecrets": true,
            "publicKeys": []
          }
        }
      },
      "enableReloadableTokens": false
    }
  },
  "dataplaneRuntime": {
    "dataplaneToken": "",
    "dataplaneTokenPath": ""
  },
  "multizone": {
    "global": {
      "kds": {
        "auth": {
          "zoneToken": {
            "enableIssuer": true,
            "validator": {
              "useSecrets": true,
              "publicKeys": []
            }
          }
        }
      }
    },
    "zone": {
      "kds": {
        "auth": {
          "tokenInline": "",
          "tokenPath": ""
        }
      }
    }
  }
}`, string(text))

	again, err := config.Read(text, nil)
	require.NoError(t, err)
	requireSameSettings(t, c, again)
}

// requireSameSettings compares what two configurations set, whatever was read.
func requireSameSettings(t *testing.T, want, got config.Config) {
	t.Helper()
	wantText, err := json.Marshal(want)
	require.NoError(t, err)
	gotText, err := json.Marshal(got)
	require.NoError(t, err)
	require.Equal(t, string(wantText), string(gotText))
}

func TestEmptyTypeDependsOnTheEnvironment(t *testing.T) {
	c := config.Default()
	assert.Equal(t, config.TypeDPToken, c.DPProxyType())
	assert.Equal(t, config.TypeZoneToken, c.ZoneProxyType())
	assert.False(t, c.ReloadableTokens())

	c.Environment = config.EnvironmentKubernetes
	assert.Equal(t, config.TypeServiceAccountToken, c.DPProxyType())
	assert.Equal(t, config.TypeServiceAccountToken, c.ZoneProxyType())
	assert.True(t, c.ReloadableTokens())
	require.NoError(t, c.Check())

	c.DPServer.Authn.DPProxy.Type = config.TypeNone
	c.DPServer.Authn.ZoneProxy.Type = config.TypeZoneToken
	assert.Equal(t, config.TypeNone, c.DPProxyType())
	assert.Equal(t, config.TypeZoneToken, c.ZoneProxyType())
}

func TestReadTakesReloadableTokensInEitherPlace(t *testing.T) {
	for _, document := range []string{
		`{"dpServer": {"auth": {"enableReloadableTokens": true}}}`,
		`{"dpServer": {"authn": {"enableReloadableTokens": true}}}`,
	} {
		c, err := config.Read([]byte(document), nil)
		require.NoError(t, err)
		assert.True(t, c.ReloadableTokens(), document)
	}
}

// settings maps the path of each setting to the tags of its field.
func settings(t reflect.Type, path string, to map[string]reflect.StructTag) {
	switch {
	case t.Kind() == reflect.Slice:
		settings(t.Elem(), path, to)
	case t.Kind() == reflect.Struct && t != reflect.TypeFor[config.Secret]():
		for i := range t.NumField() {
			field := t.Field(i)
			if !field.IsExported() {
				continue
			}
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			at := strings.TrimPrefix(path+"."+name, ".")
			to[at] = field.Tag
			settings(field.Type, at, to)
		}
	}
}

func TestSettingsHaveTheSameNamesInJSONAndYAML(t *testing.T) {
	all := map[string]reflect.StructTag{}
	settings(reflect.TypeFor[config.Config](), "", all)
	require.Contains(t, all, "dpServer.authn.dpProxy.dpToken.validator.publicKeys.keyFile")
	for path, tag := range all {
		require.NotEmpty(t, tag.Get("json"), path)
		require.Equal(t, tag.Get("json"), tag.Get("yaml"), path)
	}
}

func TestReadTakesEverySettingUnderTheNameOfItsField(t *testing.T) {
	all := map[string]reflect.StructTag{}
	settings(reflect.TypeFor[config.Config](), "", all)
	for path := range all {
		_, err := config.Read([]byte(set(path, nil)), nil)
		if strings.Contains(path, "publicKeys.") || strings.Contains(path, "keySources.") {
			require.ErrorContains(t, err, "want a list") // the names are inside of a list
			continue
		}
		require.NoError(t, err)
	}
}

// sample is the YAML document in the package comment.
func sample(t *testing.T) string {
	source, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	_, text, _ := strings.Cut(string(source), "//\tmeshpass:")
	text, _, _ = strings.Cut("//\tmeshpass:"+text, "//\n")
	return strings.ReplaceAll(text, "//\t", "")
}

func TestReadTakesTheSampleInTheDocumentationAsYAML(t *testing.T) {
	public := publicPEM()
	file := inFile(t, public)
	text := sample(t)
	text = strings.Replace(text, "/keys/key-1.pem", file, 1)
	c := config.Default()
	require.NoError(t, yaml.Unmarshal([]byte(text), &c))
	assert.Equal(t, []config.MeshPublicKey{{KID: "key-1", Mesh: "default", KeyFile: file}}, c.DPServer.Authn.DPProxy.DPToken.Validator.PublicKeys)
	assert.Equal(t, []config.PublicKey{{KID: "key-2", Key: "-----BEGIN PUBLIC KEY-----\n...\n"}}, c.DPServer.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys)
	assert.Equal(t, "/var/run/token", c.DataplaneRuntime.TokenPath)
	assert.Equal(t, "...", c.DataplaneRuntime.Token.Reveal())

	// Where it has no placeholders, it has the defaults.
	c.DPServer.Authn.DPProxy.DPToken.Validator.PublicKeys = []config.MeshPublicKey{}
	c.DPServer.Authn.ZoneProxy.ZoneToken.Validator.PublicKeys = []config.PublicKey{}
	c.DataplaneRuntime = config.Default().DataplaneRuntime
	c.Multizone.Zone = config.Default().Multizone.Zone
	c.Multizone.Global.KDS.Auth.Type = ""
	c.Mode = ""
	c.Meshpass = config.Default().Meshpass
	requireSameSettings(t, config.Default(), c)
}

func TestReadTakesADocumentInYAMLAsInJSON(t *testing.T) {
	raw := offlineZoneToken(t, "west", zone.ScopeCP)
	key := object{"kid": "key-2", "key": publicPEM()}
	text, err := json.Marshal(object{
		"environment": "kubernetes",
		"dpServer": object{"authn": object{
			"enableReloadableTokens": true,
			"dpProxy": object{"type": "none", "dpToken": object{"enableIssuer": false, "validator": object{
				"useSecrets": false, "publicKeys": list{object{"kid": "key-1", "mesh": "default", "keyFile": inFile(t, publicPEM())}}}}},
			"zoneProxy": object{"type": "none", "zoneToken": object{"enableIssuer": false, "validator": object{
				"useSecrets": false, "publicKeys": list{key}}}}}},
		"dataplaneRuntime": object{"dataplaneTokenPath": "/run/dp"},
		"multizone": object{
			"global": object{"kds": object{"auth": object{"type": "zoneToken", "zoneToken": object{"validator": object{
				"useSecrets": false, "publicKeys": list{key}}}}}},
			"zone": object{"kds": object{"auth": object{"tokenInline": raw}}}},
	})
	require.NoError(t, err)
	want, err := config.Read(text, nil)
	require.NoError(t, err)
	got := config.Default()
	require.NoError(t, yaml.Unmarshal(text, &got)) // JSON is YAML
	require.NoError(t, got.Check())
	inline := &got.Multizone.Zone.KDS.Auth.TokenInline
	assert.Equal(t, raw, inline.Reveal())
	requireSameSettings(t, want, got)
}

func TestSettingsAreAllInTheSampleInTheDocumentation(t *testing.T) {
	all := map[string]reflect.StructTag{}
	settings(reflect.TypeFor[config.Config](), "", all)
	optional := map[string]bool{ // one of the two is enough in each list
		"meshpass.keySources.key":                                          true,
		"dpServer.authn.dpProxy.dpToken.validator.publicKeys.key":          true,
		"dpServer.authn.zoneProxy.zoneToken.validator.publicKeys.keyFile":  true,
		"multizone.global.kds.auth.zoneToken.validator.publicKeys.kid":     true,
		"multizone.global.kds.auth.zoneToken.validator.publicKeys.key":     true,
		"multizone.global.kds.auth.zoneToken.validator.publicKeys.keyFile": true,
	}
	type level struct {
		indent int
		path   string
	}
	var above []level
	seen := map[string]bool{}
	for line := range strings.Lines(sample(t)) {
		line = strings.TrimSuffix(line, "\n")
		name, _, found := strings.Cut(strings.TrimLeft(line, " -"), ":")
		if !found {
			continue // of the key in PEM
		}
		indent := len(line) - len(strings.TrimLeft(line, " -"))
		for len(above) > 0 && above[len(above)-1].indent >= indent {
			above = above[:len(above)-1]
		}
		path := name
		if len(above) > 0 {
			path = above[len(above)-1].path + "." + name
		}
		above = append(above, level{indent, path})
		require.Contains(t, all, path, line)
		seen[path] = true
	}
	for path := range all {
		require.True(t, seen[path] || optional[path], "%s is not in the sample", path)
	}
}
