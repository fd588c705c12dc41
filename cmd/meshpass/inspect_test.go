package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/forge"
)

func TestInspectShowsWhatATokenSaysInWords(t *testing.T) {
	c := newToolWithKeys(t)
	raw := c.done("generate", "dataplane-token", "--name", "dp-1", "--workload", "backend", "--valid-for", "720h",
		"--tag", "kuma.io/service=backend,backend-admin", "--tag", "version=1")
	_, claims := c.decode(raw)
	c.now = func() time.Time { return claims.IssuedAt.Add(5 * time.Minute) }
	issued, from, expires := claims.IssuedAt.Format(time.RFC3339), claims.NotBefore.Format(time.RFC3339), claims.ExpiresAt.Format(time.RFC3339)
	require.Equal(t, `kind        dataplane token
mesh        default
name        dp-1
tags        kuma.io/service=backend, backend-admin
            version=1
workload    backend
proxy type  any
id (jti)    `+claims.ID+`
issued      `+issued+`, 5 minutes ago
valid from  `+from+`, 10 minutes ago
expires     `+expires+`, in 30 days
key (kid)   1
checked by  the keys and revocations of dir:./keys
verdict     accepted
`, c.runWith(raw, "inspect", "-").out)

	raw = c.done("generate", "zone-token", "--zone", "west", "--scope", "cp,ingress", "--valid-for", "1h")
	_, claims = c.decode(raw)
	c.now = func() time.Time { return claims.ExpiresAt.Add(3 * 365 * 24 * time.Hour) }
	expired := c.runWith(raw, "inspect")
	require.Equal(t, exitRefused, expired.status)
	require.Contains(t, expired.out, "kind        zone token\nzone        west\nscope       cp, ingress\n")
	require.Contains(t, expired.out, "\nexpired     "+claims.ExpiresAt.Format(time.RFC3339)+", 3 years ago\n")
	require.Contains(t, expired.out, "\nverdict     refused: token expired")
}

func TestInspectSaysWhyATokenIsRefused(t *testing.T) {
	c := newToolWithKeys(t)
	raw := c.done("generate", "dataplane-token", "--valid-for", "1h")
	verdict := func(status int, raw string, args ...string) string {
		t.Helper()
		r := c.runWith(raw, append([]string{"inspect"}, args...)...)
		require.Equal(t, status, r.status, r.err)
		require.Empty(t, r.err)
		_, after, _ := strings.Cut(r.out, "verdict     ")
		return after
	}
	require.Contains(t, verdict(exitDone, raw), "accepted")
	require.Contains(t, verdict(exitDone, "\n"+raw+"\r\n"), "accepted", "files end with a line end")

	signature := strings.LastIndexByte(raw, '.') + 1
	other := byte('A')
	if raw[signature] == 'A' {
		other = 'B'
	}
	require.Contains(t, verdict(exitRefused, raw[:signature]+string(other)+raw[signature+1:]), "refused: wrong signature")
	require.Contains(t, verdict(exitRefused, "not a token"), "refused: malformed token")
	require.Contains(t, verdict(exitRefused, raw[:signature-1]), "refused: malformed token")
	c.now = func() time.Time { return time.Now().Add(-time.Hour) }
	require.Contains(t, verdict(exitRefused, raw), "refused: token not valid yet")
	c.now = time.Now

	require.NoError(t, os.Remove(filepath.Join("keys", "meshes", "default", "dataplane-token-signing-key-default-1")))
	unknown := c.runWith(raw, "inspect")
	require.Equal(t, exitRefused, unknown.status)
	require.Contains(t, unknown.out, "refused: unknown signing key")
	require.Contains(t, unknown.err, "give it with --public-key-path and --kid")
}

func TestInspectDoesWithoutKeysWhatItCan(t *testing.T) {
	c := newToolWithKeys(t)
	raw := c.done("generate", "dataplane-token", "--valid-for", "1h")
	c.env = nil
	r := c.runWith(raw, "inspect")
	require.Equal(t, exitDone, r.status)
	require.Contains(t, r.out, "verdict     not checked: signature and revocation need --store, --control-plane or --public-key-path\n")

	c.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
	r = c.runWith(raw, "inspect")
	require.Equal(t, exitRefused, r.status)
	require.Contains(t, r.out, "verdict     refused: token expired\n")
	c.now = func() time.Time { return time.Now().Add(-2 * time.Hour) }
	require.Contains(t, c.runWith(raw, "inspect").out, "verdict     refused: token not valid yet\n")
}

func TestInspectTakesThePublicKeysThatValidatorsAreConfiguredWith(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("generate", "signing-key", "--output", "key")
	c.done("generate", "public-key", "--signing-key-path", "key", "--output", "key.pub")
	offline := []string{"--signing-key-path", "key", "--kid", "key-1"}
	c.write("dp.token", c.done(append([]string{"generate", "dataplane-token"}, offline...)...))
	c.write("zone.token", c.done(append([]string{"generate", "zone-token", "--zone", "west", "--scope", "cp"}, offline...)...))

	for _, file := range []string{"dp.token", "zone.token"} {
		require.Contains(t, c.run("inspect", file).out, "refused: unknown signing key", "the store does not know it")
		require.Contains(t, c.done("inspect", file, "--public-key-path", "key.pub", "--kid", "key-1"),
			"checked by  the keys and revocations of dir:./keys and the public key\nverdict     accepted\n")
		require.Contains(t, c.run("inspect", file, "--public-key-path", "key.pub", "--kid", "key-2").out, "refused: unknown signing key")
		c.done("revocations", "add", "--token-file", file)
		require.Contains(t, c.run("inspect", file, "--public-key-path", "key.pub", "--kid", "key-1").out, "refused: token revoked")
	}
	c.env = nil
	for _, file := range []string{"dp.token", "zone.token"} {
		require.Contains(t, c.done("inspect", file, "--public-key-path", "key.pub", "--kid", "key-1"),
			"checked by  the public key; revocation was not checked\nverdict     accepted\n")
	}
	require.Contains(t, c.fails(exitUsage, "inspect", "dp.token", "--kid", "key-1"), "want both --public-key-path and --kid")
	require.Contains(t, c.fails(exitFailed, "inspect", "dp.token", "--public-key-path", "dp.token", "--kid", "key-1"), "meshpass generate public-key")
	require.Contains(t, c.fails(exitFailed, "inspect", "dp.token", "--public-key-path", "key", "--kid", "key-1"), "private key")
}

func TestInspectDoesNotCallRefusedWhatCannotBeChecked(t *testing.T) {
	c := newToolWithKeys(t)
	raw := c.done("generate", "dataplane-token")
	c.write(filepath.Join("keys", "meshes", "default", "dataplane-token-revocations-default"), "\x01\x02\x03")
	r := c.runWith(raw, "inspect")
	require.Equal(t, exitFailed, r.status)
	require.NotContains(t, r.out, "verdict")
	require.Contains(t, r.err, "there is no verdict on the token")
}

func TestInspectLetsNoTokenWriteToTheTerminal(t *testing.T) {
	c := newTool(t)
	c.env = nil
	raw := forge.Token(`{"alg":"RS256","kid":"\"1"}`,
		`{"Mesh":"default\u001b[2J","Name":"a\nverdict     accepted","Tags":{"a, b":["\u202ec"]},"exp":4102444800,"jti":"1"}`,
		forge.Signature([]byte("signature")))
	out := c.runWith(raw, "inspect").out
	require.NotContains(t, out, "\x1b")
	require.NotContains(t, out, "\u202e")
	require.Equal(t, 1, strings.Count(out, "\nverdict"))
	require.Contains(t, out, `name        "a\nverdict     accepted"`)
	require.Contains(t, out, `tags        "a, b"="\u202ec"`)
}
