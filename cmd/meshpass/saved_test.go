package main

import (
	"encoding/pem"
	"net/http/httptest"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// certificate is one in PEM.
func certificate(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
}

// utf16LE is what PowerShell 5 writes with >.
func utf16LE(text string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune("\ufeff" + text)) {
		b.WriteByte(byte(unit))
		b.WriteByte(byte(unit >> 8))
	}
	return b.String()
}

func utf16BEWithoutMark(text string) string {
	var b strings.Builder
	for _, unit := range utf16.Encode([]rune(text)) {
		b.WriteByte(byte(unit >> 8))
		b.WriteByte(byte(unit))
	}
	return b.String()
}

func TestFilesThatAnEditorSavedAreReadWithAByteOrderMarkAndNamedInUTF16(t *testing.T) {
	c := newToolWithKeys(t)
	key := c.done("generate", "signing-key", "--format", "pem")
	base64Key := c.done("generate", "signing-key")
	c.write("key.pem", key)
	public := c.done("generate", "public-key", "--signing-key-path", "key.pem")
	offline := c.done("generate", "dataplane-token", "--signing-key-path", "key.pem", "--kid", "key-1")
	c.write("offline.token", offline)
	raw := c.done("generate", "dataplane-token")
	server := httptest.NewTLSServer(newControlPlane(t))
	defer server.Close()
	authority := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}))
	c.write("authority.pem", authority)
	c.write("operator.token", "geheim")

	for _, x := range []struct{ content, line string }{
		{raw, "inspect FILE"},
		{raw, "revocations add --token-file FILE"},
		{key, "generate public-key --signing-key-path FILE"},
		{base64Key, "generate public-key --signing-key-path FILE"},
		{key, "generate zone-token --zone west --scope cp --kid key-1 --signing-key-path FILE"},
		{key, "keys add --mesh default --signing-key-path FILE"},
		{public, "inspect offline.token --kid key-1 --public-key-path FILE"},
		{authority, "keys list --mesh default --auth-token-file operator.token --ca-cert FILE --control-plane " + server.URL},
		{"geheim", "keys list --mesh default --ca-cert authority.pem --auth-token-file FILE --control-plane " + server.URL},
	} {
		args := strings.Fields(strings.ReplaceAll(x.line, "FILE", "saved"))
		c.write("saved", "\ufeff"+x.content+"\r\n")
		r := c.run(args...)
		require.Equal(t, exitDone, r.status, "%s: %s", x.line, r.err)
		for _, wide := range []string{utf16LE(x.content), utf16BEWithoutMark(x.content)} {
			c.write("saved", wide)
			says := c.fails(exitFailed, args...)
			require.Contains(t, says, "UTF-16 or UTF-32", x.line)
			require.Contains(t, says, "save it as UTF-8", x.line)
			require.Contains(t, says, "saved", x.line)
		}
	}
}

func TestEncryptionKeyIsReadByteByByteAndNamedIfAProgramSavedItAsAText(t *testing.T) {
	c := newTool(t)
	text := strings.Repeat("k", 32)
	c.write("text.key", text)
	c.write("wide.key", "\xff\xfe"+strings.Repeat("\x00k", 15)) // random bytes may begin like UTF-16
	for _, file := range []string{"text.key", "wide.key"} {
		store := "dir:./" + file + ".store"
		c.done("keys", "add", "--first", "--mesh", "default", "--store", store, "--encryption-key-file", file)
		require.Contains(t, c.done("keys", "list", "--mesh", "default", "--store", store, "--encryption-key-file", file), "signs")
	}
	for content, says := range map[string]string{
		utf16LE(text):           "UTF-16",
		"\ufeff" + text:         "begins with a byte order mark",
		text + "\n":             "has white space around the 32 bytes",
		strings.Repeat("0", 64): "has 64 bytes, want 32",
	} {
		c.write("bad.key", content)
		said := c.fails(exitFailed, "keys", "list", "--mesh", "default", "--store", "dir:./text.key.store", "--encryption-key-file", "bad.key")
		require.Contains(t, said, says)
		require.Contains(t, said, `as from "openssl rand -out FILE 32"`)
		require.NotContains(t, said, "kkk")
	}
}

func TestRecordsOfAStoreThatAnEditorSavedAreReadOrNamed(t *testing.T) {
	c := newToolWithKeys(t)
	raw := c.done("generate", "dataplane-token")
	_, claims := c.decode(raw)
	c.write("a.token", raw)
	const key, list = "keys/meshes/default/dataplane-token-signing-key-default-1", "keys/meshes/default/dataplane-token-revocations-default"
	pemText := c.read(key)
	c.write(key, "\ufeff"+pemText)
	require.Equal(t, exitDone, c.run("inspect", "a.token").status)
	c.write(key, utf16LE(pemText))
	r := c.run("keys", "list", "--mesh", "default")
	require.Contains(t, r.out, "unreadable")
	require.Contains(t, r.err, "save it as UTF-8")
	c.write(key, pemText)

	c.done("revocations", "add", claims.ID, "--mesh", "default")
	c.write(list, "\ufeff"+claims.ID+"\r\n")
	require.Equal(t, exitRefused, c.run("inspect", "a.token").status)
	for _, saved := range []string{utf16LE(claims.ID), utf16BEWithoutMark(claims.ID)} {
		c.write(list, saved)
		says := c.fails(exitFailed, "revocations", "list", "--mesh", "default")
		require.Contains(t, says, "the text is UTF-16 or UTF-32, want UTF-8: save it as UTF-8")
	}
}

func TestNamesThatAPersonCannotTypeAreNotIssued(t *testing.T) {
	c := newToolWithKeys(t)
	c.write("key.pem", c.done("generate", "signing-key", "--format", "pem"))
	server := httptest.NewServer(newControlPlane(t))
	defer server.Close()
	dataplane, zone := []string{"generate", "dataplane-token"}, []string{"generate", "zone-token", "--scope", "cp"}
	for _, where := range [][]string{{"--store", "dir:./keys"}, {"--signing-key-path", "key.pem", "--kid", "key-1"}, {"--control-plane", server.URL}} {
		c.env = map[string]string{"MESHPASS_AUTH_TOKEN": "geheim"}
		for field, args := range map[string][]string{
			"name":     append(dataplane, "--name", "dp-1\u200b"),
			"workload": append(dataplane, "--workload", "dp-1\n"),
			"mesh":     append(dataplane, "--mesh", "default "),
			"tag":      append(dataplane, "--tag", "a\u00a0=b"),
			"tags":     append(dataplane, "--tag", "a=b "),
			"zone":     append(zone, "--zone", "\u202ewest"),
		} {
			says := c.fails(exitFailed, append(args[:len(args):len(args)], where...)...)
			if field == "tags" {
				field = "tag"
			}
			require.Contains(t, says, field, "%v", args)
			require.Regexp(t, `U\+|starts or ends with a space|unusable name`, says)
			for _, r := range says {
				require.True(t, r >= ' ' && r <= '~', "%q", says)
			}
		}
	}
}
