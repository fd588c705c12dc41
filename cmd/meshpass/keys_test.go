package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/signing"
)

func TestKeysAreRotatedInThreeSteps(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("generate", "dataplane-token", "--output", "dp.token")

	c.done("keys", "add", "--mesh", "default")
	require.Regexp(t, `^KEY +ADDED +BITS +USE +FINGERPRINT
1 +20\S+Z +2048 +verifies +SHA256:\S+
2 +20\S+Z +2048 +signs +SHA256:\S+
$`, c.done("keys", "list", "--mesh", "default"))
	require.Contains(t, c.done("inspect", "dp.token"), "accepted", "the old key still verifies")

	c.done("generate", "dataplane-token", "--output", "new.token")
	require.Contains(t, c.fails(exitFailed, "keys", "remove", "2", "--mesh", "default"), "meshpass keys add --mesh default")
	c.done("keys", "remove", "1", "--mesh", "default")

	require.Contains(t, c.done("inspect", "new.token"), "accepted")
	refused := c.run("inspect", "dp.token")
	require.Equal(t, exitRefused, refused.status)
	require.Contains(t, refused.out, "refused: unknown signing key")
	require.Contains(t, c.fails(exitFailed, "keys", "remove", "1", "--mesh", "default"), `"meshpass keys list --mesh default" shows the keys`)
	require.Contains(t, c.done("keys", "list", "--zone-tokens"), "signs", "the zones' key is still there")
}

func TestKeysAddMakesTheFirstKeyOnceAndOnlyOnRequest(t *testing.T) {
	c := newTool(t)
	require.Contains(t, c.fails(exitFailed, "keys", "add", "--mesh", "default"), "there is no folder ./keys")
	_, err := os.Stat("keys")
	require.ErrorIs(t, err, os.ErrNotExist)

	c.done("keys", "add", "--first", "--zone-tokens")
	require.Contains(t, c.fails(exitFailed, "keys", "add", "--mesh", "default"), "meshpass keys add --first --mesh default")
	require.Contains(t, c.run("keys", "add", "--first", "--mesh", "default").err, "made key 1")
	require.Contains(t, c.run("keys", "add", "--first", "--mesh", "default").err, "nothing to do")
	c.done("keys", "add", "--mesh", "default")
	require.Contains(t, c.run("keys", "add", "--first", "--mesh", "default").err, "number 2: nothing to do")
	require.Contains(t, c.fails(exitUsage, "keys", "add", "--first", "--bits", "4096", "--mesh", "default"), "leave out --bits")
}

func TestKeysRemoveAllTakesAllAwayAndNoneComesBackByItself(t *testing.T) {
	c := newToolWithKeys(t)
	require.Contains(t, c.fails(exitFailed, "keys", "remove", "1", "--mesh", "default", "--force"), "it is the newest")
	c.done("keys", "remove", "--all", "--mesh", "default")
	r := c.run("keys", "list", "--mesh", "default")
	require.Equal(t, result{exitDone, "", "meshpass: there are no keys for mesh \"default\" in dir:./keys; make the first one with \"meshpass keys add --first --mesh default\"\n"}, r)
	require.Contains(t, c.fails(exitFailed, "generate", "dataplane-token"), "--first")
}

func TestKeysAddTakesAKeyMadeElsewhere(t *testing.T) {
	c := newToolWithKeys(t)
	c.write("key", c.done("generate", "signing-key", "--bits", "3072"))
	c.done("keys", "add", "--zone-tokens", "--signing-key-path", "key")
	require.Regexp(t, `(?m)^2 +\S+ +3072 +signs`, c.done("keys", "list", "--zone-tokens"))
	c.done("keys", "add", "--zone-tokens", "--bits", "4096")
	require.Regexp(t, `(?m)^3 +\S+ +4096 +signs`, c.done("keys", "list", "--zone-tokens"))
}

func TestKeysAddTakesTheKeyOfAKMSByItsPublicHalf(t *testing.T) {
	c := newToolWithKeys(t)
	c.write("kms.key", c.done("generate", "signing-key"))
	c.write("kms.pem", c.done("generate", "public-key", "--signing-key-path", "kms.key")) // as the KMS gives it
	key, err := signing.ParsePublicKey([]byte(c.read("kms.pem")))
	require.NoError(t, err)
	c.write("pkix.pem", string(key.PKIX()))
	c.done("generate", "dataplane-token", "--output", "old.token")

	require.Contains(t, c.run("keys", "add", "--mesh", "default", "--public", "pkix.pem").err, `added key 2 of mesh "default"; next`)
	require.Contains(t, c.run("keys", "add", "--mesh", "default", "--public", "kms.pem").err, "key 2 of mesh \"default\" already: nothing to do")
	require.Regexp(t, `(?m)^1 +\S+ +2048 +verifies +SHA256:\S+
2 +\S+ +2048 +signs, in a KMS or HSM +`+regexp.QuoteMeta(key.Fingerprint())+`$`, c.done("keys", "list", "--mesh", "default"))
	failed := c.fails(exitFailed, "generate", "dataplane-token")
	require.Contains(t, failed, "no signer for the signing key")
	require.Contains(t, failed, "--control-plane")
	require.Contains(t, c.done("inspect", "old.token"), "accepted", "the old key still verifies")
	require.Contains(t, c.fails(exitFailed, "keys", "remove", "2", "--mesh", "default", "--force"), "add the next key first")

	c.done("generate", "dataplane-token", "--signing-key-path", "kms.key", "--kid", "2", "--output", "kms.token") // as the KMS signs
	require.Contains(t, c.done("inspect", "kms.token"), "accepted")
	c.done("keys", "add", "--mesh", "default")
	require.Regexp(t, `(?m)^2 +\S+ +2048 +verifies, is in a KMS or HSM +`, c.done("keys", "list", "--mesh", "default"))
	c.done("keys", "remove", "2", "--mesh", "default")
	require.Equal(t, exitRefused, c.run("inspect", "kms.token").status)
}

func TestKeysAddMakesTheKeyOfAKMSTheFirstOneOnlyOnRequest(t *testing.T) {
	c := newTool(t)
	c.write("kms.key", c.done("generate", "signing-key"))
	c.write("kms.pem", c.done("generate", "public-key", "--signing-key-path", "kms.key"))
	c.done("keys", "add", "--first", "--zone-tokens")
	require.Contains(t, c.fails(exitFailed, "keys", "add", "--public", "kms.pem", "--mesh", "default"), "meshpass keys add --first --mesh default")
	require.Contains(t, c.run("keys", "add", "--first", "--public", "kms.pem", "--mesh", "default").err, `added key 1 of mesh "default": it signs, in a KMS or HSM`)
	require.Contains(t, c.run("keys", "add", "--first", "--public", "kms.pem", "--mesh", "default").err, "number 1: nothing to do")
	require.Contains(t, c.run("keys", "add", "--first", "--public", "kms.pem", "--zone-tokens").err, "number 1: nothing to do")
	require.Contains(t, c.run("keys", "add", "--first", "--mesh", "default").err, "number 1: nothing to do")
	for _, also := range [][]string{{"--bits", "2048"}, {"--signing-key-path", "kms.key"}} {
		require.Contains(t, c.fails(exitUsage, append([]string{"keys", "add", "--mesh", "default", "--public", "kms.pem"}, also...)...), "leave out")
	}
	wrong := c.fails(exitFailed, "keys", "add", "--mesh", "default", "--public", "kms.key")
	require.Contains(t, wrong, "--public: kms.key: ")
	require.Contains(t, wrong, "it must stay secret")
}

func TestExportLeavesTheKeyOfAKMSAndCopiesItForAZone(t *testing.T) {
	c := newToolWithKeys(t)
	c.write("kms.key", c.done("generate", "signing-key"))
	c.write("kms.pem", c.done("generate", "public-key", "--signing-key-path", "kms.key"))
	c.done("keys", "add", "--mesh", "default", "--public", "kms.pem")

	r := c.run("export", "--mesh", "default")
	require.Equal(t, exitDone, r.status)
	require.NotContains(t, r.out, "external-key")
	require.Contains(t, r.err, `warning: "dataplane-token-signing-external-key-default-2" of mesh "default"`)
	require.Contains(t, r.err, "publicKeys")
	c.done("export", "--mesh", "default", "--public-only", "--output", "zone.yaml")
	c.done("import", "zone.yaml", "--store", "dir:./zone")
	c.done("generate", "dataplane-token", "--signing-key-path", "kms.key", "--kid", "2", "--output", "kms.token")
	require.Contains(t, c.done("inspect", "kms.token", "--store", "dir:./zone"), "accepted")
	require.Regexp(t, `(?m)^2 +\S+ +2048 +verifies, public key only`, c.done("keys", "list", "--mesh", "default", "--store", "dir:./zone"))
	require.Contains(t, c.fails(exitFailed, "keys", "add", "--mesh", "default", "--public", "kms.pem", "--store", "dir:./zone"), "see \"meshpass keys list")
}

func TestKeysListShowsAnUnreadableKeyWithTheReason(t *testing.T) {
	c := newToolWithKeys(t)
	c.write(filepath.Join("keys", "meshes", "default", "dataplane-token-signing-key-default-2"), "nonsense")
	c.write(filepath.Join("keys", "meshes", "default", "dataplane-token-signing-key-default-0003"), "nonsense")
	r := c.run("keys", "list", "--mesh", "default")
	require.Equal(t, exitDone, r.status)
	require.Regexp(t, regexp.MustCompile(`(?m)^2 .* signs, but is unreadable`), r.out)
	require.Contains(t, r.err, `"dataplane-token-signing-key-default-2"`)
	require.Contains(t, r.err, `"dataplane-token-signing-key-default-0003"`)
	require.NotContains(t, r.err, "nonsense")
	require.Contains(t, c.fails(exitFailed, "generate", "dataplane-token"), `see "meshpass keys list --mesh default"`)
}

func TestKeysOfOneMeshAreLeftAloneByWhatIsMeantForAnother(t *testing.T) {
	c := newToolWithKeys(t)
	for _, command := range [][]string{{"keys", "list"}, {"keys", "add"}, {"keys", "remove", "1"}, {"revocations", "list"}, {"revocations", "add", "id"}, {"revocations", "remove", "id"}} {
		require.Contains(t, c.fails(exitUsage, command...), "--mesh NAME for the dataplane tokens of a mesh, or --zone-tokens")
		require.Contains(t, c.fails(exitUsage, append(command, "--mesh", "default", "--zone-tokens")...), "want one of them")
		require.Contains(t, c.fails(exitUsage, append(command, "--mesh", "no/mesh")...), "--mesh: ")
	}
	require.Contains(t, c.fails(exitUsage, "keys", "remove", "--mesh", "default"), "which key?")
	require.Contains(t, c.fails(exitUsage, "keys", "remove", "key-1", "--mesh", "default"), "is not the number of a key")
}

func TestKeysInAnEncryptedStoreNeedItsKey(t *testing.T) {
	c := newTool(t)
	c.write("kek", "0123456789abcdef0123456789abcdef")
	c.write("other", "another key, which is of 32 bytes")
	c.write("other", c.read("other")[:32])
	with := func(args ...string) []string { return append(args, "--encryption-key-file", "kek") }
	c.done(with("keys", "add", "--first", "--mesh", "default")...)
	c.done(with("generate", "dataplane-token", "--output", "dp.token")...)
	c.done(with("revocations", "add", "--token-file", "dp.token")...)
	require.Equal(t, exitRefused, c.run(with("inspect", "dp.token")...).status)
	list, err := os.ReadFile(filepath.Join("keys", "meshes", "default", "dataplane-token-revocations-default"))
	require.NoError(t, err)

	for _, command := range [][]string{{"keys", "list", "--mesh", "default"}, {"revocations", "list", "--mesh", "default"}, {"generate", "dataplane-token"}, {"revocations", "add", "--token-file", "dp.token"}} {
		require.Contains(t, c.fails(exitFailed, command...), "--encryption-key-file")
		require.Contains(t, c.fails(exitFailed, append(command, "--encryption-key-file", "other")...), "--encryption-key-file")
	}
	after, err := os.ReadFile(filepath.Join("keys", "meshes", "default", "dataplane-token-revocations-default"))
	require.NoError(t, err)
	require.Equal(t, list, after, "nothing was written over what cannot be read")
	require.Contains(t, c.fails(exitFailed, "keys", "list", "--mesh", "default", "--encryption-key-file", "dp.token"), "32 random bytes")
}
