package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

// The test binary is the tool itself when it is called meshpass, as scripts do.
func TestMain(m *testing.M) {
	if filepath.Base(os.Args[0]) == "meshpass" {
		main()
	}
	os.Exit(m.Run())
}

// tool calls the tool in a folder of its own, with a store there.
type tool struct {
	t   *testing.T
	env map[string]string
	now func() time.Time
}

// result is what a call has left.
type result struct {
	status   int
	out, err string
}

func newTool(t *testing.T) *tool {
	t.Helper()
	t.Chdir(t.TempDir())
	return &tool{t, map[string]string{"MESHPASS_STORE": "dir:./keys"}, time.Now}
}

// newToolWithKeys has a first key for mesh default and for the zones.
func newToolWithKeys(t *testing.T) *tool {
	t.Helper()
	c := newTool(t)
	c.done("keys", "add", "--first", "--mesh", "default")
	c.done("keys", "add", "--first", "--zone-tokens")
	return c
}

func (c *tool) run(args ...string) result { return c.runWith("", args...) }

// runWith gives the call something on standard input.
func (c *tool) runWith(in string, args ...string) result {
	c.t.Helper()
	var out, err bytes.Buffer
	a := &app{in: strings.NewReader(in), out: &out, err: &err, getenv: func(name string) string { return c.env[name] }, now: c.now}
	status := a.run(c.t.Context(), patiently(args))
	return result{status, out.String(), err.String()}
}

// patiently gives a command that would wait for 10 seconds a minute: the machine may
// be busy.
func patiently(args []string) []string {
	if len(args) < 2 || slices.Contains(args, "--timeout") || !slices.Contains([]string{"generate", "inspect", "keys", "revocations", "cutoffs", "backup", "restore", "import", "export", "check"}, args[0]) {
		return args
	}
	return append([]string{"--timeout", "1m"}, args...)
}

// done runs what must succeed, and returns what went to standard output.
func (c *tool) done(args ...string) string {
	c.t.Helper()
	r := c.run(args...)
	require.Equal(c.t, exitDone, r.status, "%v: %s", args, r.err)
	return r.out
}

// fails runs what must fail, without anything on standard output, and returns the
// one line that says why.
func (c *tool) fails(status int, args ...string) string {
	c.t.Helper()
	return c.failsWith(status, "", args...)
}

func (c *tool) failsWith(status int, in string, args ...string) string {
	c.t.Helper()
	r := c.runWith(in, args...)
	require.Equal(c.t, status, r.status, "%v: %s", args, r.err)
	require.Empty(c.t, r.out, args)
	require.True(c.t, strings.HasPrefix(r.err, "meshpass: "), r.err)
	require.Equal(c.t, 1, strings.Count(r.err, "\n"), r.err)
	return strings.TrimSuffix(r.err, "\n")
}

// write puts a text into a file that only its owner can read.
func (c *tool) write(path, text string) {
	c.t.Helper()
	require.NoError(c.t, os.WriteFile(path, []byte(text), 0o600))
}

func (c *tool) read(path string) string {
	c.t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(c.t, err)
	return string(data)
}

// decode returns what a token says. That it is a token, and nothing is around it, is
// checked on the way.
func (c *tool) decode(raw string) (token.Header, token.Claims) {
	c.t.Helper()
	unverified, err := token.ParseUnverified(raw)
	require.NoError(c.t, err)
	header, err := unverified.Header()
	require.NoError(c.t, err)
	claims, err := unverified.Claims()
	require.NoError(c.t, err)
	return header, claims
}
