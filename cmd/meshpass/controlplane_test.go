package main

import (
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/zone"
)

// newControlPlane returns the REST API of a control plane, which knows one operator
// by a bearer token. Its store is in the folder keys.
func newControlPlane(t *testing.T, options ...httpapi.Option) http.Handler {
	t.Helper()
	store, err := dir.Open("keys")
	require.NoError(t, err)
	dataplanes, err := dataplane.NewIssuer(store, dataplane.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	zones, err := zone.NewIssuer(store)
	require.NoError(t, err)
	handler, err := httpapi.New(store, dataplanes, zones, func(r *http.Request, what httpapi.Request) (string, error) {
		switch {
		case r.Header.Get("Authorization") != "Bearer geheim":
			return "", httpapi.ErrUnauthenticated
		case what.Mesh == "forbidden":
			return "operator", errors.New("not for you")
		}
		return "operator", nil
	}, append(options, httpapi.WithLogger(slog.New(slog.DiscardHandler)))...)
	require.NoError(t, err)
	return handler
}

func TestControlPlaneIsWorkedWithByItsAddress(t *testing.T) {
	c := newToolWithKeys(t)
	server := httptest.NewTLSServer(newControlPlane(t))
	defer server.Close()
	c.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	c.write("operator.token", "geheim\n")
	c.env = map[string]string{"MESHPASS_CONTROL_PLANE": server.URL}
	with := func(args ...string) []string {
		return append(args, "--ca-cert", "ca.pem", "--auth-token-file", "operator.token")
	}

	for _, x := range []struct {
		flag     string
		generate []string
	}{
		{"--mesh=default", []string{"generate", "dataplane-token", "--tag", "kuma.io/service=backend", "--valid-for", "24h"}},
		{"--zone-tokens", []string{"generate", "zone-token", "--zone", "west", "--scope", "cp", "--valid-for", "24h"}},
	} {
		raw := c.done(with(x.generate...)...)
		_, claims := c.decode(raw)
		require.WithinDuration(t, time.Now().Add(24*time.Hour), claims.ExpiresAt, time.Minute)
		c.write("a.token", raw)

		require.Contains(t, c.done(with("inspect", "a.token")...), "checked by  the keys and revocations of "+server.URL+"\nverdict     accepted\n")
		c.done(with("revocations", "add", "--token-file", "a.token")...)
		require.Equal(t, claims.ID+"\n", c.done(with("revocations", "list", x.flag)...))
		refused := c.run(with("inspect", "a.token")...)
		require.Equal(t, exitRefused, refused.status, refused.err)
		require.Contains(t, refused.out, "refused: token revoked")
		c.done(with("revocations", "remove", "--token-file", "a.token")...)
		require.Equal(t, exitDone, c.run(with("inspect", "a.token")...).status)
		require.Regexp(t, `(?m)^1 +20\S+Z +2048 +signs +SHA256:`, c.done(with("keys", "list", x.flag)...))
	}
}

func TestControlPlaneRefusalIsReportedWithWhatToDo(t *testing.T) {
	c := newToolWithKeys(t)
	server := httptest.NewServer(newControlPlane(t))
	defer server.Close()
	c.env = map[string]string{"MESHPASS_CONTROL_PLANE": server.URL}
	require.Contains(t, c.fails(exitFailed, "generate", "dataplane-token"), "401")
	require.Contains(t, c.fails(exitFailed, "generate", "dataplane-token"), "--auth-token-file")

	c.env["MESHPASS_AUTH_TOKEN"] = "geheim"
	require.Contains(t, c.fails(exitFailed, "generate", "dataplane-token", "--mesh", "forbidden"), "the control plane decides who may do this")
	require.Contains(t, c.fails(exitFailed, "generate", "dataplane-token", "--mesh", "other"), "meshpass keys add --first")
	require.Contains(t, c.fails(exitUsage, "generate", "dataplane-token", "--publish-delay", "1s"), "--publish-delay is for --store")
	require.Contains(t, c.fails(exitFailed, "keys", "list", "--mesh", "default", "--control-plane", server.URL+"/elsewhere"), "is this the address of the control plane's REST API?")
	for _, args := range [][]string{{"generate", "dataplane-token"}, {"keys", "list", "--mesh", "other"}} {
		require.NotContains(t, c.run(args...).err, "geheim")
	}

	c.write("other.token", c.done("generate", "dataplane-token"))
	c.done("keys", "add", "--first", "--mesh", "default", "--store", "dir:./others")
	unknown := c.run("inspect", "other.token", "--store", "dir:./others")
	require.Equal(t, exitRefused, unknown.status)
	require.Contains(t, unknown.out, "wrong signature")
}

func TestControlPlaneThatDoesNotIssueSendsOneOffline(t *testing.T) {
	c := newTool(t)
	disabled, err := dataplane.NewDisabledIssuer()
	require.NoError(t, err)
	zones, err := zone.NewDisabledIssuer()
	require.NoError(t, err)
	handler, err := httpapi.New(keystore.NewMemory(), disabled, zones,
		func(*http.Request, httpapi.Request) (string, error) { return "somebody", nil }, httpapi.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	defer server.Close()
	says := c.fails(exitFailed, "generate", "dataplane-token", "--control-plane", server.URL)
	require.Contains(t, says, "issuing tokens using the control plane is disabled.", "in the words of Kuma")
	require.Contains(t, says, "make the token offline, with --signing-key-path and --kid")
}

func TestControlPlaneIsReachedThroughASocket(t *testing.T) {
	c := newToolWithKeys(t)
	socket := filepath.Join(t.TempDir(), "cp.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Skip("no Unix sockets here: " + err.Error())
	}
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: newControlPlane(t)}}
	server.Start()
	defer server.Close()
	c.env = map[string]string{"MESHPASS_CONTROL_PLANE": "unix:" + socket, "MESHPASS_AUTH_TOKEN": "geheim"}
	c.decode(c.done("generate", "dataplane-token"))
}

func TestControlPlaneOverPlainHTTPOnAnotherMachineIsWarnedOf(t *testing.T) {
	c := newTool(t)
	c.env = nil
	r := c.run("keys", "list", "--mesh", "default", "--control-plane", "http://control-plane.invalid", "--timeout", "1ms")
	require.Contains(t, r.err, "without https, others on the network to control-plane.invalid can read the tokens")
	r = c.run("keys", "list", "--mesh", "default", "--control-plane", "http://127.0.0.1:1", "--timeout", "1ms")
	require.NotContains(t, r.err, "everybody")
}

// TestKeysAreRotatedInAStoreAndOverAControlPlane does the same to both.
func TestKeysAreRotatedInAStoreAndOverAControlPlane(t *testing.T) {
	for _, over := range []string{"store", "control plane"} {
		for _, flag := range []string{"--mesh=default", "--zone-tokens"} {
			t.Run(over+" "+flag, func(t *testing.T) {
				c := newTool(t)
				c.write("kms.key", c.done("generate", "signing-key"))
				c.write("kms.pem", c.done("generate", "public-key", "--signing-key-path", "kms.key"))
				if over == "control plane" {
					server := httptest.NewServer(newControlPlane(t))
					defer server.Close()
					c.env = map[string]string{"MESHPASS_CONTROL_PLANE": server.URL, "MESHPASS_AUTH_TOKEN": "geheim"}
				}
				does := func(says string, args ...string) {
					t.Helper()
					r := c.run(append(args, flag)...)
					require.Equal(t, exitDone, r.status, r.err)
					require.Contains(t, r.err, says)
				}
				refuses := func(says string, args ...string) {
					t.Helper()
					require.Contains(t, c.fails(exitFailed, append(args, flag)...), says)
				}
				if over == "control plane" {
					does("there are no keys for", "keys", "list")
					refuses("make the first one with \"meshpass keys add --first", "keys", "add")
				}
				does("made key 1 of", "keys", "add", "--first")
				does("already, number 1: nothing to do", "keys", "add", "--first")
				refuses("add the next key first", "keys", "remove", "1", "--force")
				does("added key 2 of", "keys", "add", "--bits", "3072")
				does("added key 3 of", "keys", "add", "--public", "kms.pem")
				does("is key 3 of", "keys", "add", "--public", "kms.pem")
				does("removed key 1 of", "keys", "remove", "1")
				refuses("meshpass keys list", "keys", "remove", "1")
				require.Regexp(t, `^KEY +ADDED +BITS +USE +FINGERPRINT
2 +20\S+Z +3072 +verifies +SHA256:\S+
3 +20\S+Z +2048 +signs, in a KMS or HSM +SHA256:\S+\n$`, c.done("keys", "list", flag))
			})
		}
	}
}

func TestKeysInUseStayUnlessForced(t *testing.T) {
	c := newToolWithKeys(t)
	store, err := dir.Open("keys")
	require.NoError(t, err)
	validator, err := dataplane.NewValidator(store, dataplane.WithLogger(slog.New(slog.DiscardHandler)))
	require.NoError(t, err)
	defer validator.Close()
	raw := c.done("generate", "dataplane-token", "--valid-for", "1h")
	verified, err := validator.Validate(t.Context(), "default", strings.TrimSpace(raw))
	require.NoError(t, err)
	_, stop := verified.Bind(t.Context())
	defer stop()
	server := httptest.NewServer(newControlPlane(t, httpapi.WithDataplaneValidators(validator)))
	defer server.Close()
	require.Contains(t, c.fails(exitUsage, "keys", "remove", "1", "--mesh", "default", "--unless-used-since", "2h"), "is for --control-plane")
	c.env = map[string]string{"MESHPASS_CONTROL_PLANE": server.URL, "MESHPASS_AUTH_TOKEN": "geheim"}
	remove := func(more ...string) []string {
		return append([]string{"keys", "remove", "1", "--mesh", "default"}, more...)
	}

	require.Contains(t, c.fails(exitFailed, remove()...), "add the next key first")
	c.done("keys", "add", "--mesh", "default")
	require.Regexp(t, `(?m)^KEY +ADDED +BITS +USE +FINGERPRINT +ACCEPTED +LAST USED +SESSIONS
1 +\S+ +2048 +verifies +\S+ +1 +20\S+Z +1
2 +\S+ +2048 +signs +\S+ +0 +- +0$`, c.done("keys", "list", "--mesh", "default"))
	require.Contains(t, c.fails(exitFailed, remove()...), "1 sessions with tokens that it signed are open")
	require.Contains(t, c.fails(exitFailed, remove()...), "--force ends their sessions")
	stop()
	require.Contains(t, c.fails(exitFailed, remove("--unless-used-since", "2h")...), "a token that it signed was accepted at")
	for _, wrong := range [][]string{{"--unless-used-since", "2h", "--force"}, {"--unless-used-since", "now"}, {"--unless-used-since", "2999-01-01T00:00:00Z"}, {"--publish-delay", "1h"}} {
		c.fails(exitUsage, remove(wrong...)...)
	}
	c.done(remove("--unless-used-since", time.Now().UTC().Format(time.RFC3339Nano))...)
}

func TestAControlPlaneWithoutKeysOverHTTPListsItsPublicKeysAndChangesNone(t *testing.T) {
	c := newToolWithKeys(t)
	current := newControlPlane(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/keys/") { // as in an older version
			http.NotFound(w, r)
			return
		}
		current.ServeHTTP(w, r)
	}))
	defer server.Close()
	c.env = map[string]string{"MESHPASS_CONTROL_PLANE": server.URL, "MESHPASS_AUTH_TOKEN": "geheim"}
	require.Regexp(t, `(?m)^1 +- +2048 +verifies +SHA256:`, c.done("keys", "list", "--mesh", "default"))
	for _, args := range [][]string{{"keys", "add"}, {"keys", "add", "--first"}, {"keys", "remove", "1"}} {
		require.Contains(t, c.fails(exitFailed, append(args, "--mesh", "default")...), "the control plane does not change keys")
	}
}
