package main

import (
	"io"
	"net/http"
	"net/http/httptest"
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

func TestRevocationsMakeGlobalMakesTheListThatKumaReadsAndListShowsBoth(t *testing.T) {
	c := newToolWithKeys(t)
	server := httptest.NewServer(newControlPlane(t))
	defer server.Close()
	c.write("operator.token", "geheim")
	for name, flags := range map[string][]string{"a": nil, "b": {"--control-plane", server.URL, "--auth-token-file", "operator.token"}} {
		with := func(args ...string) result {
			r := c.run(append(args, flags...)...)
			require.Equal(t, exitDone, r.status, r.err)
			return r
		}
		mesh := "mesh-" + name
		c.done("keys", "add", "--first", "--mesh", mesh)
		with("revocations", "add", "one", "two", "--mesh", mesh)
		r := with("revocations", "list", "--mesh", mesh)
		require.Equal(t, "one\ntwo\n", r.out)
		lists := `meshpass: lists of mesh "` + mesh + `": in the scope of the mesh (2 ids), `
		require.Equal(t, lists+"none in the global scope, which Kuma reads\n", r.err)

		both := lists + "in the global scope (2 ids)\n"
		for range 2 {
			r = with("revocations", "make-global", "--mesh", mesh)
			require.Empty(t, r.out)
			require.Equal(t, both, r.err)
		}
		require.Equal(t, "one,two", c.read(filepath.Join("keys", "global", "dataplane-token-revocations-"+mesh)))
		require.Equal(t, both, with("revocations", "list", "--mesh", mesh).err)

		c.write(filepath.Join("keys", "global", "dataplane-token-revocations-"+mesh), "one,of-kuma")
		r = with("revocations", "list", "--mesh", mesh)
		require.Equal(t, "of-kuma\none\ntwo\n", r.out)
		require.Contains(t, r.err, `warning: the list of mesh "`+mesh+`" in the scope of the mesh lacks ids of the other one: of-kuma`+"\n")
		require.Contains(t, r.err, `warning: the list of mesh "`+mesh+`" in the global scope lacks ids of the other one: two`+"\n")
		with("revocations", "remove", "one", "two", "of-kuma", "--mesh", mesh)
		r = with("revocations", "list", "--mesh", mesh)
		require.Empty(t, r.out)
		require.Contains(t, r.err, "nothing is revoked for")
		require.Contains(t, r.err, "in the global scope (0 ids)")
	}
	taken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, `{"title":"Name of the list is taken","detail":"the list in the scope of the mesh stays in use"}`)
	}))
	defer taken.Close()
	c.env = map[string]string{"MESHPASS_CONTROL_PLANE": taken.URL}
	require.Regexp(t, "stays in use.*docs/stores.md says how to replace it", c.fails(exitFailed, "revocations", "make-global", "--mesh", "default"))
	c.env = map[string]string{"MESHPASS_STORE": "dir:./keys"}

	require.Contains(t, c.fails(exitUsage, "revocations", "make-global", "--zone-tokens"), "in the global scope already")
	require.Contains(t, c.run("revocations", "make-global", "--mesh", "defualt").err, "check the name")
}
