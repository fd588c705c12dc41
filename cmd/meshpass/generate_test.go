package main

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestGenerateWritesABareTokenToStandardOutputAndAllElseToStandardError(t *testing.T) {
	c := newToolWithKeys(t)
	r := c.run("generate", "dataplane-token", "--name", "dp-1")
	require.Equal(t, exitDone, r.status, r.err)

	header, claims := c.decode(r.out)
	require.Equal(t, "1", header.KeyID)
	require.Equal(t, token.Dataplane{Mesh: "default", Name: "dp-1"}, claims.Dataplane)
	require.Contains(t, r.err, claims.ID, "it is needed to revoke the token")
	require.NotContains(t, r.err, r.out)

	store, err := dir.Open("keys")
	require.NoError(t, err)
	validator, err := dataplane.NewValidator(store)
	require.NoError(t, err)
	defer validator.Close()
	_, err = validator.Validate(t.Context(), "default", r.out)
	require.NoError(t, err)
}

func TestGenerateMakesATokenThatSaysWhatTheFlagsSay(t *testing.T) {
	c := newToolWithKeys(t)
	_, claims := c.decode(c.done("generate", "dataplane-token", "-m", "default", "--name", "dp-1", "--workload", "backend",
		"--tag", "kuma.io/service=backend,backend-admin", "--tag", "version=1", "--proxy-type", "ingress", "--valid-for", "24h"))
	require.Equal(t, token.Dataplane{
		Mesh: "default", Name: "dp-1", Workload: "backend", Type: "ingress",
		Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}, "version": {"1"}},
	}, claims.Dataplane)
	require.WithinDuration(t, time.Now().Add(24*time.Hour), claims.ExpiresAt, time.Minute)

	_, claims = c.decode(c.done("generate", "zone-token", "--zone", "west", "--scope", "ingress,egress", "--scope", "cp"))
	require.Equal(t, token.Zone{Zone: "west", Scope: []string{"ingress", "egress", "cp"}}, claims.Zone)
	require.WithinDuration(t, time.Now().Add(87600*time.Hour), claims.ExpiresAt, time.Minute, "ten years unless --valid-for says otherwise")
}

func TestGenerateTakesTheFlagsThatUsersOfKumactlType(t *testing.T) {
	c := newToolWithKeys(t)
	for _, x := range []struct {
		flags []string
		want  token.Dataplane
	}{
		{[]string{"--type", "ingress"}, token.Dataplane{Type: "ingress"}},
		{[]string{"--type=egress"}, token.Dataplane{Type: "egress"}},
		{[]string{"--proxy-type", "dataplane"}, token.Dataplane{Type: "dataplane"}},
		{[]string{"--tag", "kuma.io/service=web,web-api"}, token.Dataplane{Tags: map[string][]string{"kuma.io/service": {"web", "web-api"}}}},
		{[]string{"--tag", "kuma.io/service=web,team=shop"}, token.Dataplane{Tags: map[string][]string{"kuma.io/service": {"web"}, "team": {"shop"}}}},
		{[]string{"--tag", "a=1,b=2,c=3"}, token.Dataplane{Tags: map[string][]string{"a": {"1"}, "b": {"2"}, "c": {"3"}}}},
		{[]string{"--tag", "kuma.io/service=web,web-api", "--tag=team=shop"},
			token.Dataplane{Tags: map[string][]string{"kuma.io/service": {"web", "web-api"}, "team": {"shop"}}}},
		{[]string{"--no-config", "--name", "dp-1"}, token.Dataplane{Name: "dp-1"}},
		{[]string{"-m", "default", "--workload", "backend"}, token.Dataplane{Workload: "backend"}},
	} {
		x.want.Mesh = "default"
		_, claims := c.decode(c.done(append([]string{"generate", "dataplane-token", "--valid-for", "24h"}, x.flags...)...))
		require.Equal(t, x.want, claims.Dataplane, "%q", x.flags)
	}
	_, claims := c.decode(c.done("--no-config", "generate", "zone-token", "--zone", "west", "--scope", "ingress", "--scope", "egress", "--valid-for", "24h"))
	require.Equal(t, token.Zone{Zone: "west", Scope: []string{"ingress", "egress"}}, claims.Zone)
	_, claims = c.decode(c.done("generate", "zone-token", "--zone=west", "--scope=egress,ingress", "--valid-for=24h"))
	require.Equal(t, token.Zone{Zone: "west", Scope: []string{"egress", "ingress"}}, claims.Zone)
}

func TestGenerateWarnsThatATokenIsValidForTenYearsUnlessALifetimeIsGiven(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("generate", "signing-key", "--output", "key")
	for _, command := range [][]string{
		{"generate", "dataplane-token"},
		{"generate", "zone-token", "--zone", "west", "--scope", "cp"},
		{"generate", "dataplane-token", "--signing-key-path", "key", "--kid", "key-1"},
	} {
		r := c.run(command...)
		require.Equal(t, exitDone, r.status, r.err)
		require.Contains(t, r.err, "warning: without --valid-for the token is valid for 10 years")
		c.decode(r.out)
		r = c.run(append(command, "--valid-for", "87600h")...)
		require.Equal(t, exitDone, r.status, r.err)
		require.NotContains(t, r.err, "warning")
	}
}

func TestGenerateMakesAnOfflineTokenThatIsGoodForThePublicKey(t *testing.T) {
	c := newTool(t)
	pem := c.done("generate", "signing-key", "--format", "pem")
	encoded := c.done("generate", "signing-key")
	for name, key := range map[string]string{"PEM": pem, "base64 of PEM": encoded, "base64 with a line end": encoded + "\n"} {
		c.write("key", key)
		public, err := signing.ParsePublicKey([]byte(c.done("generate", "public-key", "--signing-key-path", "key")))
		require.NoError(t, err, name)

		dataplanes, err := dataplane.NewOfflineValidator(dataplane.WithPublicKey("default", "key-1", public))
		require.NoError(t, err)
		defer dataplanes.Close()
		_, err = dataplanes.Validate(t.Context(), "default",
			c.done("generate", "dataplane-token", "--signing-key-path", "key", "--kid", "key-1"))
		require.NoError(t, err, name)

		zones, err := zone.NewOfflineValidator(zone.WithPublicKey("key-1", public))
		require.NoError(t, err)
		defer zones.Close()
		raw := c.runWith(key, "generate", "zone-token", "--zone", "west", "--scope", "cp", "--signing-key-path", "-", "--kid", "key-1")
		_, err = zones.Validate(t.Context(), "west", zone.ScopeCP, raw.out)
		require.NoError(t, err, "%s: %s", name, raw.err)
	}
}

func TestGenerateNeedsAKidWithAKeyAndAKeyWithAKid(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("generate", "signing-key", "--output", "key")
	for _, command := range [][]string{{"generate", "dataplane-token"}, {"generate", "zone-token", "--zone", "west", "--scope", "cp"}} {
		require.Contains(t, c.fails(exitUsage, append(command, "--kid", "key-1")...), "--kid is the name of the key in --signing-key-path, which is missing")
		require.Contains(t, c.fails(exitUsage, append(command, "--signing-key-path", "key")...), "--signing-key-path needs --kid")
		require.Contains(t, c.fails(exitUsage, append(command, "--signing-key-path", "key", "--kid", "k", "--store", "dir:./keys")...), "made offline")
	}
}

func TestGenerateWritesASigningKeyAsBase64InOneLineUnlessPEMIsAskedFor(t *testing.T) {
	c := newTool(t)
	encoded := c.done("generate", "signing-key")
	require.NotContains(t, encoded, "\n")
	require.Equal(t, encoded, strings.TrimSpace(encoded))
	pem, err := base64.StdEncoding.DecodeString(encoded)
	require.NoError(t, err)
	key, err := signing.ParsePrivateKey(pem)
	require.NoError(t, err)
	require.Equal(t, 2048, key.Public().Bits())

	pem = []byte(c.done("generate", "signing-key", "--format=pem", "--bits", "3072"))
	require.True(t, strings.HasPrefix(string(pem), "-----BEGIN RSA PRIVATE KEY-----\n"))
	key, err = signing.ParsePrivateKey(pem)
	require.NoError(t, err)
	require.Equal(t, 3072, key.Public().Bits())
}

func TestGenerateNeverWritesAPrivateKeyAsThePublicOne(t *testing.T) {
	c := newTool(t)
	c.write("key", c.done("generate", "signing-key"))
	public := c.done("generate", "public-key", "--signing-key-path", "key")
	require.True(t, strings.HasPrefix(public, "-----BEGIN RSA PUBLIC KEY-----\n"), public)
	c.write("public", public)
	require.Contains(t, c.fails(exitFailed, "generate", "public-key", "--signing-key-path", "public"), "public: unusable key")
}

func TestGenerateOverwritesAFileOnlyWhenThatIsSaid(t *testing.T) {
	c := newToolWithKeys(t)
	for name, command := range map[string][]string{
		"dp.token":   {"generate", "dataplane-token"},
		"zone.token": {"generate", "zone-token", "--zone", "west", "--scope", "cp"},
		"key":        {"generate", "signing-key"},
	} {
		to := append(command, "--output", name)
		require.Empty(t, c.done(to...), "nothing goes to standard output as well")
		first := c.read(name)
		require.Contains(t, c.fails(exitFailed, to...), name+" exists; choose another name, or replace it with --overwrite")
		require.Equal(t, first, c.read(name))
		c.done(append(to, "--overwrite")...)
		require.NotEqual(t, first, c.read(name))
		requireOnlyOwner(t, name)
	}
	require.Contains(t, c.fails(exitFailed, "generate", "signing-key", "-o", "nowhere/key"), "there is no folder nowhere")
	require.Contains(t, c.fails(exitUsage, "generate", "signing-key", "-o", "keys"), "keys is a folder")
	require.Contains(t, c.fails(exitUsage, "generate", "signing-key", "--overwrite"), "--overwrite needs --output")

	entries, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Len(t, entries, 4, "no temporary files are left")
}

func TestGenerateReplacesATokenFileAtomically(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("generate", "dataplane-token", "--output", "dp.token")
	before, err := os.Open("dp.token")
	require.NoError(t, err)
	defer before.Close()
	old, err := before.Stat()
	require.NoError(t, err)
	c.done("generate", "dataplane-token", "--output", "dp.token", "--overwrite")
	now, err := os.Stat("dp.token")
	require.NoError(t, err)
	require.False(t, os.SameFile(old, now), "it is another file, and not the old one written anew")
}

func TestGenerateRefusesAWrongValueWithWhatWouldBeRight(t *testing.T) {
	c := newToolWithKeys(t)
	dataplaneToken := []string{"generate", "dataplane-token"}
	zoneToken := []string{"generate", "zone-token"}
	for _, x := range []struct {
		command []string
		flags   []string
		says    string
	}{
		{dataplaneToken, []string{"--valid-for", "30d"}, "720h for 30 days"},
		{dataplaneToken, []string{"--valid-for", "0"}, "want at least 1s"},
		{dataplaneToken, []string{"--valid-for", "-1h"}, "want at least 1s"},
		{dataplaneToken, []string{"--valid-for", "9999999h"}, "want a duration"},
		{dataplaneToken, []string{"--tag", "kuma.io/service"}, "such as kuma.io/service=backend,backend-admin"},
		{dataplaneToken, []string{"--tag", "kuma.io/service="}, "such as kuma.io/service=backend,backend-admin"},
		{dataplaneToken, []string{"--tag", "a=b,,c"}, "such as kuma.io/service=backend,backend-admin"},
		{dataplaneToken, []string{"--tag", "a=1,,b=2"}, "such as kuma.io/service=backend,backend-admin"},
		{dataplaneToken, []string{"--tag", "a=1,=2"}, "such as kuma.io/service=backend,backend-admin"},
		{dataplaneToken, []string{"--tag", "a=1,2,b=3"}, "give each tag a separate --tag, such as --tag a=1,2 --tag b=3"},
		{dataplaneToken, []string{"--tag", "a=1,b=2,3"}, "give each tag a separate --tag, such as --tag a=1 --tag b=2,3"},
		{dataplaneToken, []string{"--tag", `"a=1,2",b=3`}, "give each tag a separate --tag"},
		{dataplaneToken, []string{"--tag", "a=1=2"}, "a value has a ="},
		{dataplaneToken, []string{"--tag", "a=1,b=2=3"}, "a value has a ="},
		{dataplaneToken, []string{"--tag", "a=1", "--tag", "a=2"}, `tag "a" appears twice, where kumactl takes the last one`},
		{dataplaneToken, []string{"--tag", "a=1,a=2"}, `tag "a" appears twice`},
		{dataplaneToken, []string{"--tag", "a=1,b=2", "--tag", "b=3"}, `tag "b" appears twice`},
		{dataplaneToken, []string{"--type", "gateway"}, "dataplane, ingress or egress"},
		{dataplaneToken, []string{"--config-file", "x"}, "--control-plane"},
		{zoneToken, []string{"--context=cp"}, "--control-plane"},
		{zoneToken, []string{"--api-timeout", "1s"}, "give --timeout"},
		{dataplaneToken, []string{"--log-level", "info"}, "give --verbose"},
		{zoneToken, []string{"--zone", "west", "--valid-for", "1h"}, "--scope cp for its control plane, as kumactl 3 takes it, or --scope ingress,egress, as kumactl 2 takes it"},
		{dataplaneToken, []string{"--proxy-type", "gateway"}, "dataplane, ingress or egress"},
		{dataplaneToken, []string{"--mesh", ""}, "want the name of a mesh"},
		{dataplaneToken, []string{"--publish-delay", "-1s"}, "--publish-delay is negative"},
		{dataplaneToken, []string{"--timeout", "0"}, "such as 10s"},
		{zoneToken, []string{"--scope", "cp"}, "--zone is missing"},
		{zoneToken, []string{"--zone", "west"}, "--scope is missing"},
		{zoneToken, []string{"--zone", "west", "--scope", "cpp"}, `"cpp" is not cp, ingress or egress`},
		{zoneToken, []string{"--zone", "west", "--scope", ""}, "--scope"},
		{[]string{"generate", "signing-key"}, []string{"--format", "der"}, `"der" is not pem or pem-base64`},
		{[]string{"generate", "signing-key"}, []string{"--bits", "1024"}, `"1024" is not 2048, 3072 or 4096`},
		{[]string{"generate", "public-key"}, nil, "--signing-key-path is missing"},
	} {
		require.Contains(t, c.fails(exitUsage, append(x.command, x.flags...)...), x.says)
	}
}

func TestGenerateReportsAMissingKeyWithWhatToDo(t *testing.T) {
	c := newToolWithKeys(t)
	require.Contains(t, c.fails(exitFailed, "generate", "dataplane-token", "--mesh", "other"),
		`there is no signing key for mesh "other" in dir:./keys; if the name is right, make the first one with "meshpass keys add --first --mesh other"`)
	require.Contains(t, c.fails(exitFailed, "generate", "dataplane-token", "--signing-key-path", "nowhere.pem", "--kid", "key-1"),
		`there is no file "nowhere.pem"`)
	c.write("key.pem", "not a key")
	require.Contains(t, c.fails(exitFailed, "generate", "dataplane-token", "--signing-key-path", "key.pem", "--kid", "key-1"),
		"meshpass generate signing-key")
	require.NoError(t, os.Remove(filepath.Join("keys", "global", "zone-token-signing-key-1")))
	require.Contains(t, c.fails(exitFailed, "generate", "zone-token", "--zone", "west", "--scope", "cp"), "meshpass keys add --first --zone-tokens")
}

func TestGenerateSignsNothingInAStoreWithPublicKeysOnly(t *testing.T) {
	c := newTool(t)
	store, err := dir.Open("keys")
	require.NoError(t, err)
	key, err := signing.Generate(signing.DefaultBits)
	require.NoError(t, err)
	keys := signing.DataplaneKeys("default")
	_, err = store.Create(t.Context(), keystore.Record{Scope: keys.Scope(), Name: keys.PublicKeyName(1), Data: key.Public().PEM()})
	require.NoError(t, err)

	for _, command := range [][]string{{"generate", "dataplane-token"}, {"keys", "add", "--mesh", "default"}, {"keys", "add", "--first", "--mesh", "default"}} {
		require.Contains(t, c.fails(exitFailed, command...), "has only public keys of mesh \"default\"; use the store with the private keys")
	}
	require.Contains(t, c.done("keys", "list", "--mesh", "default"), "verifies, public key only")
}

func TestGenerateSignsWithANewKeyAfterThePublishDelay(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("keys", "add", "--mesh", "default")
	header, _ := c.decode(c.done("generate", "dataplane-token"))
	require.Equal(t, "2", header.KeyID)
	header, _ = c.decode(c.done("generate", "dataplane-token", "--publish-delay", "1h"))
	require.Equal(t, "1", header.KeyID)
	require.Contains(t, c.fails(exitFailed, "keys", "remove", "1", "--mesh", "default", "--publish-delay", "1h"), "in use")
}
