package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRevocationsAddTakesAFileOrAnID(t *testing.T) {
	c := newToolWithKeys(t)
	for _, x := range []struct {
		flag     string
		generate []string
	}{
		{"--mesh=default", []string{"generate", "dataplane-token"}},
		{"--zone-tokens", []string{"generate", "zone-token", "--zone", "west", "--scope", "cp"}},
	} {
		byFile, byID := c.done(x.generate...), c.done(x.generate...)
		c.write("token", byFile)
		_, claimsOfFile := c.decode(byFile)
		_, claimsOfID := c.decode(byID)

		c.done("revocations", "add", "--token-file", "token")
		c.done("revocations", "add", claimsOfID.ID, x.flag)
		list := c.done("revocations", "list", x.flag)
		require.Len(t, list, 2*37)
		require.Contains(t, list, claimsOfFile.ID+"\n")
		require.Contains(t, list, claimsOfID.ID+"\n")
		for _, raw := range []string{byFile, byID} {
			r := c.runWith(raw, "inspect")
			require.Equal(t, exitRefused, r.status)
			require.Contains(t, r.out, "refused: token revoked")
		}

		c.done("revocations", "remove", "--token-file", "token", x.flag)
		require.Equal(t, exitDone, c.runWith(byFile, "inspect").status)
		require.Contains(t, c.run("revocations", "remove", claimsOfFile.ID, x.flag).err, "was not revoked")
		c.done("revocations", "remove", claimsOfID.ID, x.flag)
		r := c.run("revocations", "list", x.flag)
		require.Empty(t, r.out)
		require.Contains(t, r.err, "nothing is revoked")
	}
}

func TestRevocationsInTheGlobalScopeAreListedAndRestored(t *testing.T) {
	c := newToolWithKeys(t)
	c.write("token", c.done("generate", "dataplane-token"))
	_, claims := c.decode(c.read("token"))
	c.write(filepath.Join("keys", "global", "dataplane-token-revocations-default"), claims.ID)
	require.Equal(t, claims.ID+"\n", c.done("revocations", "list", "--mesh", "default"))
	c.done("revocations", "remove", "--token-file", "token")
	require.Equal(t, exitDone, c.run("inspect", "token").status)
}

func TestRevocationsAddWarnsOfAnIDThatMayBeMistyped(t *testing.T) {
	c := newToolWithKeys(t)
	r := c.run("revocations", "add", "some-id", "--mesh", "defualt")
	require.Equal(t, exitDone, r.status)
	require.Contains(t, r.err, `there are no keys for mesh "defualt" in dir:./keys: check the name`)
	c.write("token", c.done("generate", "dataplane-token"))
	require.Contains(t, c.fails(exitUsage, "revocations", "add", "--token-file", "token", "--zone-tokens"), `the token in token is of mesh "default", but the flags say the zones`)
	require.Contains(t, c.fails(exitUsage, "revocations", "add", "--mesh", "default"), "which tokens?")
	require.Contains(t, c.fails(exitUsage, "revocations", "add", "id", "--token-file", "token"), "want one of them")
	require.Contains(t, c.fails(exitUsage, "revocations", "add", "a,b", "--mesh", "default"), "unusable id")
	c.write("token", "not a token")
	require.Contains(t, c.fails(exitFailed, "revocations", "add", "--token-file", "token"), "want a file with a token and nothing else")
}

func TestRevocationsListNeverTakesAListThatCannotBeReadForAnEmptyOne(t *testing.T) {
	c := newToolWithKeys(t)
	c.write(filepath.Join("keys", "meshes", "default", "dataplane-token-revocations-default"), "\x01\x02\x03")
	for _, command := range [][]string{{"revocations", "list"}, {"revocations", "add", "some-id"}, {"revocations", "remove", "some-id"}} {
		require.Contains(t, c.fails(exitFailed, append(command, "--mesh", "default")...), `repair the record "dataplane-token-revocations-default"`)
	}
}

func TestRevocationsInAnotherFormAreNamedByEveryCommand(t *testing.T) {
	c := newToolWithKeys(t)
	c.write(filepath.Join("keys", "meshes", "default", "dataplane-token-revocations-default"), `["id1","id2"]`)
	for _, command := range [][]string{
		{"revocations", "list", "--mesh", "default"},
		{"revocations", "add", "id3", "--mesh", "default"},
		{"revocations", "remove", "id3", "--mesh", "default"},
	} {
		r := c.run(command...)
		require.Equal(t, exitDone, r.status, r.err)
		require.Contains(t, r.err, "ids in quotes", command)
	}
	r := c.run("revocations", "remove", "id1", "--mesh", "default")
	require.NotEqual(t, exitDone, r.status, "the id would stay revoked")
	require.Contains(t, r.err, "ids in quotes")
}
