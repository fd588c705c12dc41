package main

import (
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"net/http/httptest"
)

func TestDashMeansStandardOutput(t *testing.T) {
	c := newToolWithKeys(t)
	for _, line := range []string{
		"generate dataplane-token -o -", "generate zone-token --zone west --scope cp --output -", "generate signing-key --format pem -o -",
	} {
		require.NotEmpty(t, c.done(strings.Fields(line)...), line)
	}
	c.write("key.pem", c.done("generate", "signing-key", "--format", "pem"))
	require.Contains(t, c.done("generate", "public-key", "--signing-key-path", "key.pem", "-o", "-"), "BEGIN RSA PUBLIC KEY")
	require.Contains(t, c.fails(exitUsage, "generate", "dataplane-token", "-o", "-", "--overwrite"), "--overwrite needs --output")
	_, err := os.Lstat("-")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestDashMeansStandardInputWhereverAFileIsNamed(t *testing.T) {
	c := newToolWithKeys(t)
	key := c.done("generate", "signing-key", "--format", "pem")
	c.write("key.pem", key)
	public := c.done("generate", "public-key", "--signing-key-path", "key.pem")
	offline := c.done("generate", "dataplane-token", "--signing-key-path", "key.pem", "--kid", "key-1")
	c.write("offline.token", offline)
	c.write("key.pub", public)
	raw := c.done("generate", "dataplane-token")
	_, claims := c.decode(raw)
	c.write("sealing.key", strings.Repeat("k", 32))
	server := httptest.NewServer(newControlPlane(t))
	defer server.Close()

	for _, x := range []struct{ line, in string }{ // in this order: one revokes what another inspects
		{"inspect -", raw},
		{"generate public-key --signing-key-path -", key},
		{"generate dataplane-token --signing-key-path - --kid key-1", key},
		{"inspect offline.token --public-key-path - --kid key-1 --store dir:./keys", public},
		{"revocations add --token-file -", raw},
		{"revocations remove --token-file -", raw},
		{"revocations add - --mesh default", "id-1\nid-2\r\n"},
		{"revocations remove - --mesh default", "\ufeffid-1,id-2"},
		{"keys add --mesh default --signing-key-path -", key},
		{"keys add --first --mesh default --store dir:./sealed --encryption-key-file -", strings.Repeat("k", 32)},
		{"import -", "type: GlobalSecret\nname: zone-token-revocations\ndata: aWQ=\n"},
		{"inspect offline.token --for kuma-2.14 --public-key-path key.pub --kid key-1 --dataplane -", "type: Dataplane\nmesh: default\nname: dp-1\n"},
		{"keys list --mesh default --auth-token-file - --control-plane " + server.URL, "geheim\n"},
	} {
		r := c.runWith(x.in, strings.Fields(x.line)...)
		require.Equal(t, exitDone, r.status, "%s: %s", x.line, r.err)
	}
	for _, x := range []struct{ line, in, says string }{
		{"keys list --mesh default --ca-cert - --control-plane " + server.URL, "no PEM", "standard input has no certificate"},
		{"keys list --mesh default --store etcd://localhost?cacert=-", "no PEM", "standard input has no certificate"},
		{"keys list --mesh default --store etcd://localhost?cert=-&key=key.pem", "no PEM", "failed to find any PEM data in certificate input"},
		{"keys list --mesh default --store etcd://localhost?cert=key.pem&key=-", utf16LE("no PEM"), "standard input: the text is UTF-16"},
		{"keys list --mesh default --store kubernetes://ns?kubeconfig=-", "{", "kubernetes://ns: "},
		{"keys list --mesh default --store kubernetes://ns?kubeconfig=-", utf16LE("{}"), "standard input: the text is UTF-16"},
	} {
		require.Contains(t, c.failsWith(exitFailed, x.in, strings.Fields(x.line)...), x.says, x.line)
	}
	require.Contains(t, c.done("keys", "list", "--mesh", "default", "--store", "dir:./sealed", "--encryption-key-file", "sealing.key"), "signs")
	require.NotContains(t, c.done("revocations", "list", "--mesh", "default"), claims.ID)
}

func TestDashIsGivenForOneInputOnly(t *testing.T) {
	c := newToolWithKeys(t)
	c.write("a.token", c.done("generate", "dataplane-token"))
	server := httptest.NewServer(newControlPlane(t))
	defer server.Close()
	for _, line := range []string{
		"inspect - --public-key-path - --kid key-1",
		"inspect --public-key-path - --kid key-1",
		"revocations add --token-file - --auth-token-file - --control-plane " + server.URL,
		"revocations add - --mesh default --auth-token-file - --control-plane " + server.URL,
		"revocations add --token-file - --store dir:./keys --encryption-key-file -",
		"keys add --mesh default --signing-key-path - --store dir:./keys --encryption-key-file -",
		"keys list --mesh default --auth-token-file - --ca-cert - --control-plane " + server.URL,
		"keys list --mesh default --store etcd://user@localhost?cacert=-&password-file=-",
	} {
		in := c.read("a.token")
		if strings.Contains(line, "public-key-path") {
			key := c.done("generate", "signing-key", "--format", "pem")
			c.write("key.pem", key)
			in = c.done("generate", "public-key", "--signing-key-path", "key.pem")
		}
		if strings.Contains(line, "add - ") {
			in = "an-id"
		}
		if strings.Contains(line, "signing-key-path -") {
			in = c.done("generate", "signing-key", "--format", "pem")
		}
		if strings.Contains(line, "ca-cert") || strings.Contains(line, "cacert") {
			in = certificate(t)
		}
		says := c.failsWith(exitUsage, in, strings.Fields(line)...)
		require.Contains(t, says, `"-" is given for two inputs, and standard input can be read only once: put one of them into a file`, line)
	}
	require.Empty(t, c.done("revocations", "list", "--mesh", "default"), "nothing was changed")
}

func TestIDsOnStandardInputAreRefusedAsAWholeIfOneIsInAnotherForm(t *testing.T) {
	c := newToolWithKeys(t)
	raw := c.done("generate", "dataplane-token")
	for in, says := range map[string]string{
		"id-1\nid-2;id-3\n":  "semicolon",
		`["id-1","id-2"]`:    "ids in quotes",
		"id-1\né\n":          "U+00E9",
		"":                   "standard input has no ids",
		" \n,\n":             "standard input has no ids",
		"\xff\xfei\x00d\x00": "save it as UTF-8",
		"i\x00d\x00\n\x00":   "save it as UTF-8",
	} {
		says2 := c.failsWith(exitFailed, in, "revocations", "add", "-", "--mesh", "default")
		require.Contains(t, says2, says, "%q", in)
	}
	says := c.failsWith(exitUsage, raw, "revocations", "add", "-", "--mesh", "default")
	require.Contains(t, says, "want ids on standard input, not a token")
	require.NotContains(t, says, raw[:20])
	require.Contains(t, c.failsWith(exitUsage, "id-1", "revocations", "add", "-", "id-2", "--mesh", "default"), `"-" stands for ids from standard input`)
	require.Empty(t, c.done("revocations", "list", "--mesh", "default"))

	many := strings.Repeat("x", 20) + "-"
	var in strings.Builder
	for i := range 100 {
		in.WriteString(many + string(rune('a'+i%26)) + strings.Repeat("y", i/26) + "\n")
	}
	r := c.runWith(in.String(), "revocations", "add", "-", "--mesh", "default")
	require.Equal(t, exitDone, r.status, r.err)
	require.Contains(t, r.err, "and 90 more")
	require.Equal(t, 100, strings.Count(c.done("revocations", "list", "--mesh", "default"), "\n"))
}

func TestProblemOfAListInAnotherFormIsNamedByAStoreAndByAControlPlane(t *testing.T) {
	c := newToolWithKeys(t)
	c.env["MESHPASS_AUTH_TOKEN"] = "geheim"
	server := httptest.NewServer(newControlPlane(t))
	defer server.Close()
	c.done("revocations", "add", "id-1", "--mesh", "default")
	c.write("keys/meshes/default/dataplane-token-revocations-default", "id-a;id-b")
	for _, line := range []string{
		"revocations list --mesh default", "revocations add id-2 --mesh default", "revocations remove id-2 --mesh default",
		"revocations list --mesh default --control-plane URL", "revocations add id-2 --mesh default --control-plane URL",
		"revocations remove id-2 --mesh default --control-plane URL",
	} {
		line = strings.ReplaceAll(line, "URL", server.URL)
		r := c.run(strings.Fields(line)...)
		require.Equal(t, exitDone, r.status, r.err)
		require.Equal(t, 1, strings.Count(r.err, "warning: the revocation list of mesh \"default\": item at offset 0: \"id-a;id-b\" looks like ids separated by a semicolon"), "%s: %s", line, r.err)
	}
}

func TestRevocationsAreNotReportedAsChangedIfAProxyInBetweenAnswers(t *testing.T) {
	c := newToolWithKeys(t)
	for _, status := range []int{200, 202, 302} {
		proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
		defer proxy.Close()
		for _, verb := range []string{"add", "remove"} {
			says := c.fails(exitFailed, "revocations", verb, "an-id", "--mesh", "default", "--control-plane", proxy.URL)
			require.NotContains(t, says, "revoked for")
			require.NotContains(t, says, "check that the control plane runs", "to ask again does not help")
		}
	}
}
