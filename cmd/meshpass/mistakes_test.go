package main

import (
	"bytes"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCommandLineWithATypingErrorIsAnsweredWithWhatIsRight(t *testing.T) {
	c := newToolWithKeys(t)
	for line, says := range map[string]string{
		"generate dataplane-token --msh default": "meshpass: unknown flag --msh, did you mean --mesh? See meshpass generate dataplane-token --help",
		"generate dataplane-token --vaild-for 1": "meshpass: unknown flag --vaild-for, did you mean --valid-for? See meshpass generate dataplane-token --help",
		"generate dataplane-token --zebra x":     "meshpass: unknown flag --zebra; see meshpass generate dataplane-token --help",
		"generate dataplane-token -z":            "meshpass: unknown flag -z; see meshpass generate dataplane-token --help",
		"generate dataplane-token dp-1":          "meshpass: this command takes no arguments, only flags; see meshpass generate dataplane-token --help",
		"generate dataplane-token --name":        "meshpass: flag needs an argument: --name; see meshpass generate dataplane-token --help",
		"generate dp-token":                      "meshpass: unknown command \"dp-token\"; see meshpass generate --help",
		"generate zone-tokn":                     "meshpass: unknown command \"zone-tokn\", did you mean zone-token? See meshpass generate --help",
		"completion korn":                        "meshpass: unknown command \"korn\"; see meshpass completion --help",
		"help genrate":                           "meshpass: unknown command \"genrate\", did you mean generate? See meshpass help --help",
		"help generate zebra":                    "meshpass: unknown command \"zebra\"; see meshpass help --help",
		"keys lst":                               "meshpass: unknown command \"lst\", did you mean list? See meshpass keys --help",
		"inspct":                                 "meshpass: unknown command \"inspct\", did you mean inspect? See meshpass --help",
		"inspect a b":                            "meshpass: found 2 arguments, want one file with a token; see meshpass inspect --help",
		"--stroe dir:x keys list":                "meshpass: unknown flag --stroe, did you mean --store? See meshpass keys list --help",
	} {
		require.Equal(t, says, c.fails(exitUsage, strings.Fields(line)...))
	}
}

func TestCommandLineWithAGroupAloneIsAnsweredWithItsUsage(t *testing.T) {
	c := newTool(t)
	for _, group := range [][]string{{}, {"generate"}, {"keys"}, {"revocations"}, {"cutoffs"}, {"completion"}} {
		r := c.run(group...)
		require.Equal(t, exitUsage, r.status)
		require.Empty(t, r.out, "nobody takes help for a token")
		require.Contains(t, r.err, "Usage:")
	}
}

func TestCommandLineMustNameAStoreOrAControlPlane(t *testing.T) {
	c := newToolWithKeys(t)
	for _, x := range []struct {
		store, controlPlane string // of the environment
		flags               []string
		says                string
	}{
		{"", "", nil, "which store or control plane? Give --store URL, such as --store dir:./keys, or --control-plane ADDRESS"},
		{"dir:./keys", "https://localhost:1", nil, "unset one"},
		{"", "", []string{"--store", "dir:./keys", "--control-plane", "https://localhost:1"}, "want one of them"},
		{"./keys", "", nil, "the store has no URL, want one such as dir:/var/lib/keys"},
		{"", "", []string{"--store", "dir:"}, "names no folder"},
		{"", "", []string{"--store", "dir:~/keys"}, "write $HOME"},
		{"", "", []string{"--store", "file://keys"}, "want file:///PATH"},
		{"", "", []string{"--store", "mysql://host/db"}, "unknown store"},
		{"", "", []string{"--store", "postgres://host:port/db"}, "URL of the store"},
		{"", "", []string{"--store", "etcd:///prefix"}, "names no member of etcd"},
		{"", "", []string{"--store", "etcd://host?cacrt=x"}, `unknown parameter "cacrt", want cacert`},
		{"", "", []string{"--store", "etcd://host?tls=no"}, "tls"},
		{"", "", []string{"--store", "etcd://host?tls=off&cacert=x"}, "tls=off and certificates"},
		{"", "", []string{"--store", "etcd://host?cert=x"}, "one of cert and key"},
		{"", "", []string{"--store", "etcd://user@host"}, "password-file"},
		{"", "", []string{"--store", "kubernetes:///x"}, "name a namespace"},
		{"", "", []string{"--store", "kubernetes://ns?cluster=x"}, `unknown parameter "cluster", want context, kubeconfig`},
		{"", "", []string{"--store", "dir:./keys", "--ca-cert", "x"}, "are for --control-plane"},
		{"postgres://user:geheim?x@localhost/db", "", nil, "write special characters as %"},
		{"postgres://user:geheim?x=y@localhost/db", "", nil, "write special characters as %"},
		{"etcd://user:x?geheim@localhost", "", nil, "write special characters as %"},
		{"", "", []string{"--control-plane", "localhost:5682"}, "want one such as https://localhost:5682"},
		{"", "", []string{"--control-plane", "unix:"}, "path of a socket"},
		{"", "", []string{"--control-plane", "https://user:geheim@localhost"}, "--auth-token-file"},
		{"", "", []string{"--control-plane", "https://localhost:1", "--encryption-key-file", "x"}, "is for --store"},
	} {
		c.env = map[string]string{"MESHPASS_STORE": x.store, "MESHPASS_CONTROL_PLANE": x.controlPlane}
		says := c.fails(exitUsage, append([]string{"keys", "list", "--mesh", "default"}, x.flags...)...)
		require.Contains(t, says, x.says)
		require.NotContains(t, says, "geheim")
	}
	c.env = map[string]string{"MESHPASS_CONTROL_PLANE": "https://localhost:1"}
	require.Contains(t, c.done("keys", "list", "--mesh", "default", "--store", "dir:./keys"), "signs", "a flag counts for more than the environment")
	require.Contains(t, c.fails(exitFailed, "keys", "list", "--mesh", "default", "--store", "dir:./kesy"), "there is no folder ./kesy; check the path")
	require.Contains(t, c.fails(exitUsage, "keys", "add", "--mesh", "default", "--signing-key-path", "key.pem"), "a private key is never sent to a control plane")
	require.Contains(t, c.fails(exitUsage, "keys", "remove", "--all", "--mesh", "default"), "a control plane cannot remove all keys: use its store, with --store")
}

func TestCommandWhoseOutputCannotBePrintedFails(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("generate", "dataplane-token", "--output", "dp-1.token")
	c.done("generate", "signing-key", "--output", "key.pem")
	c.done("revocations", "add", "an-id", "--mesh", "default")
	c.write("no.token", "x.y.z")
	for _, line := range []string{
		"generate dataplane-token", "generate signing-key", "generate public-key --signing-key-path key.pem",
		"inspect dp-1.token", "inspect no.token", "keys list --mesh default", "revocations list --mesh default",
		"completion bash", "help keys", "--help",
	} {
		var stderr bytes.Buffer
		a := &app{out: fullDisk{}, err: &stderr, getenv: func(name string) string { return c.env[name] }, now: time.Now}
		require.Equal(t, exitFailed, a.run(t.Context(), strings.Fields(line)), line)
		require.Equal(t, "meshpass: no space left\n", stderr.String(), line)
	}
}

func TestReportThatCannotBePrintedFails(t *testing.T) {
	c := newToolWithKeys(t)
	c.write("in.yaml", "type: GlobalSecret\nname: zone-token-revocations\ndata: aWQ=\n")
	require.NoError(t, os.Mkdir("tokens", 0o700))
	c.done("generate", "dataplane-token", "--output", "tokens/dp-1")
	for _, line := range []string{"check tokens", "export --all", "import in.yaml"} {
		var stderr bytes.Buffer
		a := &app{out: fullDisk{}, err: &stderr, getenv: func(name string) string { return c.env[name] }, now: time.Now}
		require.Equal(t, exitFailed, a.run(t.Context(), strings.Fields(line)), line)
		require.True(t, strings.HasSuffix(stderr.String(), "meshpass: no space left\n"), stderr.String())
	}
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestCommandLineWithASecretIsRefusedAndTheSecretNotRepeated(t *testing.T) {
	c := newToolWithKeys(t)
	raw := c.done("generate", "dataplane-token")
	pem, encoded := c.done("generate", "signing-key", "--format", "pem"), c.done("generate", "signing-key")
	for _, args := range [][]string{
		{"inspect", raw},
		{"revocations", "add", raw, "--mesh", "default"},
		{"revocations", "add", "--token-file", raw},
		{"generate", "dataplane-token", raw},
		{"generate", "dataplane-token", "--output", raw},
		{"generate", "dataplane-token", "--signing-key-path", pem, "--kid", "key-1"},
		{"generate", "dataplane-token", "--signing-key-path", encoded, "--kid", "key-1"},
		{"generate", "dataplane-token", "--proxy-type", raw},
		{"generate", "public-key", "--signing-key-path", pem},
		{"keys", "add", "--mesh", "default", "--signing-key-path", encoded},
		{"keys", "list", "--mesh", "default", "--control-plane", "https://localhost:1", "--auth-token-file", raw},
		{"keys", "list", "--mesh", "default", "--store", raw},
		{"import", raw},
		{"import", pem},
		{"export", "--all", "--output", raw},
		{"check", raw},
		{"inspect", "--for", raw},
		{"inspect", "--for", "kuma-3.0", "--dataplane", encoded},
		{"keys", raw},
		{raw},
		{"keys", "list", "--mesh", "default", "--store", "postgres://user:geheim@localhost/db"},
		{"keys", "list", "--mesh", "default", "--store", "postgres://user:geh/eim@localhost/db"},
		{"keys", "list", "--mesh", "default", "--store", "postgres://user:geh?eim@localhost/db"},
		{"keys", "list", "--mesh", "default", "--store", "postgres://user:geh?x=eim@localhost/db"},
		{"keys", "list", "--mesh", "default", "--store", "postgres://user:geh/?eim@localhost/db"},
		{"keys", "list", "--mesh", "default", "--store", "etcd://user:geh?eim@localhost"},
		{"keys", "list", "--mesh", "default", "--store", "postgres://user@localhost/db?password=geheim"},
		{"keys", "list", "--mesh", "default", "--store", "postgres://user@localhost/db?pass%77ord=geheim"},
		{"keys", "list", "--mesh", "default", "--store", "etcd://user:geheim@localhost"},
	} {
		says := c.fails(exitUsage, args...)
		for _, secret := range []string{raw[:20], raw[len(raw)-20:], "geh", "eim@", strings.Split(pem, "\n")[1], encoded[:20], encoded[40:60]} {
			require.NotContains(t, says, secret)
		}
	}
}

func TestLogHoldsNothingSecret(t *testing.T) {
	c := newToolWithKeys(t)
	var log strings.Builder
	secrets := []string{}
	do := func(args ...string) string {
		r := c.run(append(args, "--verbose")...)
		require.Equal(t, exitDone, r.status, r.err)
		log.WriteString(r.err)
		return r.out
	}
	key := do("generate", "signing-key", "--format", "pem")
	c.write("key", key)
	secrets = append(secrets, strings.Split(key, "\n")[1])
	for _, raw := range []string{
		do("generate", "dataplane-token"),
		do("generate", "dataplane-token", "--signing-key-path", "key", "--kid", "key-1"),
		do("generate", "zone-token", "--zone", "west", "--scope", "cp"),
	} {
		c.write("token", raw)
		secrets = append(secrets, strings.Split(raw, ".")...)
		do("revocations", "add", "--token-file", "token")
	}
	do("keys", "add", "--mesh", "default", "--signing-key-path", "key")
	do("keys", "remove", "1", "--mesh", "default")
	do("export", "--all", "--output", "all.yaml")
	do("import", "all.yaml", "--store", "dir:./imported")
	require.Contains(t, log.String(), `msg="audit: done" action="add key" actor=`)
	require.Contains(t, log.String(), `msg="audit: done" action="remove key" actor=`)
	for _, secret := range secrets[:len(secrets):len(secrets)] {
		if len(secret) > 60 { // all headers are the same, and so no secret
			require.NotContains(t, log.String(), secret)
		}
	}
}

func TestStoreThatCannotBeReachedIsReportedInTimeAndWithoutItsPassword(t *testing.T) {
	c := newToolWithKeys(t)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections and says nothing
	require.NoError(t, err)
	defer silent.Close()
	const closed = "127.0.0.1:1" // a port below 1024 that no test listens on
	c.write("kubeconfig", `{"apiVersion": "v1", "kind": "Config", "current-context": "silent",
		"clusters": [{"name": "silent", "cluster": {"server": "https://`+silent.Addr().String()+`"}}, {"name": "closed", "cluster": {"server": "https://`+closed+`"}}],
		"users": [{"name": "user", "user": {"token": "geheim"}}],
		"contexts": [{"name": "silent", "context": {"cluster": "silent", "user": "user"}}, {"name": "closed", "context": {"cluster": "closed", "user": "user"}}]}`)

	const moment, atOnce = "500ms", "1m" // what does not wait for its timeout is given a long one
	for _, x := range []struct{ name, store, controlPlane, timeout, says string }{
		{"PostgreSQL, silent", "postgres://user:geheim@" + silent.Addr().String() + "/db", "", moment, "did not answer within 500ms"},
		{"PostgreSQL, closed", "postgres://user:geheim@" + closed + "/db", "", atOnce, "connection refused"},
		{"etcd, silent", "etcd://" + silent.Addr().String() + "/x", "", moment, "did not answer within 500ms"},
		{"etcd, closed", "etcd://" + closed + "/x?tls=off", "", "2s", "connection refused"},
		{"etcd, closed, with password", "etcd://user:geheim@" + closed + "/x?tls=off", "", "2s", "connection refused"},
		{"Kubernetes, silent", "kubernetes://ns?kubeconfig=kubeconfig", "", moment, "did not answer within 500ms"},
		{"Kubernetes, closed", "kubernetes://ns?kubeconfig=kubeconfig&context=closed", "", atOnce, "connection refused"},
		{"control plane, silent", "", "https://" + silent.Addr().String(), moment, "no answer within 500ms"},
		{"control plane, closed", "", "https://" + closed, atOnce, "connection refused"},
		{"control plane, no socket", "", "unix:" + filepath.Join(t.TempDir(), "no.sock"), atOnce, "no such file"},
	} {
		t.Run(x.name, func(t *testing.T) {
			c := &tool{t, map[string]string{"MESHPASS_STORE": x.store, "MESHPASS_CONTROL_PLANE": x.controlPlane, "MESHPASS_AUTH_TOKEN": "geheim"}, time.Now}
			for _, command := range [][]string{{"generate", "dataplane-token"}, {"keys", "list", "--mesh", "default"}, {"revocations", "add", "id", "--mesh", "default"}} {
				began := time.Now()
				says := c.fails(exitFailed, append(command, "--timeout", x.timeout)...)
				require.Less(t, time.Since(began), time.Minute)
				require.Contains(t, says, x.says)
				require.Contains(t, says, "check that ")
				require.NotContains(t, says, "geheim")
			}
		})
	}
}
