package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

// answering calls the tool on a terminal, where a person answers its question.
func (c *tool) answering(answer string, args ...string) result {
	c.t.Helper()
	var out, err bytes.Buffer
	a := &app{in: strings.NewReader(answer), canAsk: true, out: &out, err: &err, getenv: func(name string) string { return c.env[name] }, now: c.now}
	status := a.run(c.t.Context(), patiently(args))
	return result{status, out.String(), err.String()}
}

// TestCutoffsRevokeWhatTheyNameAndNothingElse works on a store and on a control plane.
func TestCutoffsRevokeWhatTheyNameAndNothingElse(t *testing.T) {
	for _, over := range []string{"store", "control plane"} {
		t.Run(over, func(t *testing.T) {
			c := newToolWithKeys(t)
			var flags []string
			if over == "control plane" {
				server := httptest.NewServer(newControlPlane(t))
				defer server.Close()
				c.write("operator.token", "geheim")
				flags = []string{"--control-plane", server.URL, "--auth-token-file", "operator.token"}
			}
			with := func(args ...string) []string { return append(args, flags...) }
			inspect := func(raw string) int { return c.runWith(raw, with("inspect")...).status }

			named, other := c.done("generate", "dataplane-token", "--name", "dp-1"), c.done("generate", "dataplane-token", "--name", "dp-2")
			ofZone := c.done("generate", "zone-token", "--zone", "west", "--scope", "cp")

			r := c.run(with("cutoffs", "add", "--mesh", "default", "--name", "dp-1", "--before", "now", "--yes")...)
			require.Equal(t, exitDone, r.status, r.err)
			require.Contains(t, r.err, `this revokes dataplane tokens of mesh "default": tokens with the name "dp-1" issued before 20`)
			require.Contains(t, r.err, "(in 2 minutes); tokens without a name stay valid")
			require.Equal(t, exitRefused, inspect(named))
			require.Equal(t, exitDone, inspect(other))
			require.Equal(t, exitDone, inspect(ofZone))
			require.Equal(t, exitDone, inspect(c.done("generate", "dataplane-token", "--name", "dp-1")), "a new token is good at once")

			list := c.done(with("cutoffs", "list", "--mesh", "default")...)
			require.Regexp(t, `^BEFORE +TOKENS\n20\S+Z  name dp-1\n$`, list)
			before := strings.Fields(list)[2]
			r = c.run(with("cutoffs", "add", "--mesh", "default", "--name", "dp-1", "--before", "2h", "--yes")...)
			require.Contains(t, r.err, "a later cutoff")
			require.Equal(t, list, c.done(with("cutoffs", "list", "--mesh", "default")...))

			c.now = func() time.Time { return time.Now().Truncate(time.Second).Add(400 * time.Millisecond) }
			r = c.run(with("cutoffs", "add", "--mesh", "default", "--kid", "7", "--before", "2h", "--yes")...)
			c.now = time.Now
			require.Equal(t, exitDone, r.status, r.err)
			require.NotContains(t, r.err, "later cutoff", "the cutoff itself is none, though it is made for a whole second")
			moments := regexp.MustCompile(`20\d\d-\S+Z`).FindAllString(r.err, -1)
			require.Len(t, moments, 2)
			require.Equal(t, moments[0], moments[1], "what is made is what was announced")
			c.done(with("cutoffs", "remove", "--mesh", "default", "--kid", "7", "--yes")...)

			c.done(with("cutoffs", "add", "--zone-tokens", "--before", "now", "--yes")...)
			require.Equal(t, exitRefused, inspect(ofZone))
			require.Regexp(t, `Z  all\n$`, c.done(with("cutoffs", "list", "--zone-tokens")...))

			r = c.run(with("cutoffs", "remove", "--mesh", "default", "--name", "dp-1", "--before", "2026-01-01T00:00:00Z", "--yes")...)
			require.Contains(t, r.err, "there is no such cutoff")
			require.Equal(t, exitRefused, inspect(named))
			r = c.run(with("cutoffs", "remove", "--mesh", "default", "--name", "dp-1", "--before", before, "--yes")...)
			require.Equal(t, exitDone, r.status, r.err)
			require.Contains(t, r.err, "how many tokens become valid again is not known")
			require.Equal(t, exitDone, inspect(named))
			c.done(with("cutoffs", "remove", "--zone-tokens", "--yes")...)
			require.Equal(t, exitDone, inspect(ofZone))
			r = c.run(with("cutoffs", "list", "--mesh", "default")...)
			require.Equal(t, result{exitDone, "", "meshpass: there are no cutoffs for dataplane tokens of mesh \"default\"\n"}, r)
		})
	}
}

func TestCutoffsAskAndChangeNothingWithoutYes(t *testing.T) {
	c := newToolWithKeys(t)
	add := []string{"cutoffs", "add", "--mesh", "default", "--before", "2h"}
	remove := []string{"cutoffs", "remove", "--mesh", "default"}
	none := func() bool { return c.done("cutoffs", "list", "--mesh", "default") == "" }

	r := c.run(add...)
	require.Equal(t, exitUsage, r.status)
	require.Contains(t, r.err, "all tokens issued before 20")
	require.Contains(t, r.err, "there is no terminal to ask on: give --yes")
	require.True(t, none())
	for _, answer := range []string{"", "\n", "n\n", "yessir\n"} {
		r = c.answering(answer, add...)
		require.Equal(t, exitFailed, r.status)
		require.Contains(t, r.err, "(2 hours ago)")
		require.Contains(t, r.err, "go on? [y/N]")
		require.Contains(t, r.err, "nothing was changed")
		require.True(t, none())
	}
	require.Equal(t, exitDone, c.answering("y\n", add...).status)
	require.False(t, none())
	require.Equal(t, exitUsage, c.run(remove...).status)
	require.Equal(t, exitFailed, c.answering("no\n", remove...).status)
	require.False(t, none())
	require.Equal(t, exitDone, c.answering("Yes\n", remove...).status)
	require.True(t, none())
}

func TestCutoffsThatCannotBeAreRefusedBeforeAnyQuestion(t *testing.T) {
	c := newToolWithKeys(t)
	for line, says := range map[string]string{
		"add --before now":                                               "which kind of token?",
		"add --mesh m":                                                   "before which moment?",
		"add --mesh m --before tomorrow":                                 `"tomorrow" is not "now"`,
		"add --mesh m --before -2h":                                      "or an age such as 2h",
		"add --mesh m --before 0d":                                       "or an age such as 2h",
		"add --mesh m --before 200000d":                                  "or an age such as 2h",
		"add --mesh m --before 2026-11-29T10:00:00":                      "or an age such as 2h",
		"add --mesh m --before 2999-11-29T10:00:00Z":                     "more than 4 minutes ahead",
		"add --mesh m --before now --name a --kid 1":                     "--name and --kid are given",
		"add --mesh m --before now --name=":                              "--name is empty",
		"add --mesh m --before now --zone west":                          "dataplane tokens have no zone",
		"add --zone-tokens --before now --name a":                        "zone tokens have no name",
		"remove --zone-tokens --workload a":                              "zone tokens have no workload",
		"remove --mesh m --before now":                                   "is not a time",
		"add --mesh default --before now eyJhbGciOiJSUzI1NiJ9.eyJ9.c2ln": "no arguments",
	} {
		require.Contains(t, c.fails(exitUsage, append([]string{"cutoffs"}, strings.Fields(line)...)...), says, line)
	}
}

func TestCutoffsThatCannotBeReadAreNeverTakenForNone(t *testing.T) {
	c := newToolWithKeys(t)
	c.write(filepath.Join("keys", "meshes", "default", "dataplane-token-cutoffs-default"), `{"before":"now"}`)
	for _, command := range [][]string{{"cutoffs", "list"}, {"cutoffs", "remove", "--yes"}, {"revocations", "prune", "--lifetime", "1h", "--yes"}} {
		require.Contains(t, c.fails(exitFailed, append(command, "--mesh", "default")...), "one JSON object a line")
	}
	require.Contains(t, c.run("cutoffs", "add", "--mesh", "default", "--before", "now", "--yes").err, "no cutoff was added")
}

func TestCutoffsOfAControlPlaneWithoutThemAreAClearErrorAndInspectSaysThatItDidNotLook(t *testing.T) {
	c := newToolWithKeys(t)
	handler := newControlPlane(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/cutoffs/") {
			http.NotFound(w, r)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	defer server.Close()
	c.write("operator.token", "geheim")
	flags := []string{"--control-plane", server.URL, "--auth-token-file", "operator.token"}
	require.Contains(t, c.fails(exitFailed, append([]string{"cutoffs", "list", "--mesh", "default"}, flags...)...), "does not serve cutoffs")
	r := c.runWith(c.done("generate", "dataplane-token"), append([]string{"inspect"}, flags...)...)
	require.Equal(t, exitDone, r.status)
	require.Contains(t, r.err, "so they were not checked")
}

func TestAControlPlaneThatDoesNotPruneSaysSo(t *testing.T) {
	c := newToolWithKeys(t)
	server := httptest.NewServer(http.NotFoundHandler()) // as a Kuma, of these paths
	defer server.Close()
	prune := []string{"revocations", "prune", "--mesh", "default", "--lifetime", "1h", "--control-plane", server.URL}
	require.Contains(t, c.fails(exitFailed, prune...), "does not prune revocations")
}

// TestAControlPlaneSaysHowManyOpenSessionsWouldEnd and a store says that it does not know.
func TestAControlPlaneSaysHowManyOpenSessionsWouldEnd(t *testing.T) {
	c := newToolWithKeys(t)
	store, err := dir.Open("keys")
	require.NoError(t, err)
	validator, err := dataplane.NewValidator(store)
	require.NoError(t, err)
	defer validator.Close()
	server := httptest.NewServer(newControlPlane(t, httpapi.WithDataplaneValidators(validator)))
	defer server.Close()
	c.write("operator.token", "geheim")
	over := func(args ...string) string {
		c.t.Helper()
		r := c.run(append(args, "--control-plane", server.URL, "--auth-token-file", "operator.token")...)
		require.Equal(t, exitDone, r.status, r.err)
		return r.err
	}
	verified, err := validator.Validate(t.Context(), "default", strings.TrimSpace(c.done("generate", "dataplane-token", "--name", "dp-1")))
	require.NoError(t, err)
	session, stop := verified.Bind(t.Context())
	defer stop()

	dry := []string{"revocations", "prune", "--mesh", "default", "--lifetime", "1h", "--dry-run"}
	require.Contains(t, over(dry...), "no open session in the process of "+server.URL+" has such a token")
	require.Contains(t, c.run(dry...).err, "how many open sessions have such tokens is not known: ")
	require.Contains(t, over("revocations", "prune", "--zone-tokens", "--lifetime", "1h", "--dry-run"), "how many open sessions have such tokens is not known: "+server.URL)
	require.Contains(t, over("revocations", "prune", "--mesh", "default", "--lifetime", "1h", "--yes"), `dropped 0 ids of mesh "default"`)

	says := over("cutoffs", "add", "--mesh", "default", "--name", "dp-2", "--before", "now", "--yes")
	require.Contains(t, says, "open sessions that end, in the process of "+server.URL+": 0\n")
	require.NotContains(t, says, "accepted tokens of key")
	r := c.run("cutoffs", "add", "--mesh", "default", "--kid", "1", "--before", "now")
	require.Contains(t, r.err, "how many open sessions end is not known: ")
	require.NoError(t, context.Cause(session))
	says = over("cutoffs", "add", "--mesh", "default", "--kid", "1", "--before", "now", "--yes")
	require.Contains(t, says, "open sessions that end, in the process of "+server.URL+": 1\n")
	require.Regexp(t, `it has accepted tokens of key 1 1 time, the last one (now|\d+ seconds? ago)`, says)
	require.Contains(t, says, `revoked for mesh "default": tokens with the kid "1" issued before 20`)
	<-session.Done()
	require.ErrorIs(t, context.Cause(session), token.ErrRevoked)
}

// TestCutoffsUntilNowAreEachPastTheOneBefore works on a store and on a control plane.
func TestCutoffsUntilNowAreEachPastTheOneBefore(t *testing.T) {
	c := newToolWithKeys(t)
	server := httptest.NewServer(newControlPlane(t))
	defer server.Close()
	c.write("operator.token", "geheim")
	for _, flags := range [][]string{nil, {"--control-plane", server.URL, "--auth-token-file", "operator.token"}} {
		for _, subject := range [][]string{{"--name", "dp-1"}, {}, {"--kid", "1"}} {
			raw := c.done("generate", "dataplane-token", "--name", "dp-1")
			r := c.run(append(append([]string{"cutoffs", "add", "--mesh", "default", "--before", "now", "--yes"}, subject...), flags...)...)
			require.Equal(t, exitDone, r.status, r.err)
			require.Equal(t, exitRefused, c.runWith(raw, "inspect").status, "it is dated at the cutoff before")
		}
	}
	c.write(filepath.Join("keys", "meshes", "default", "dataplane-token-cutoffs-default"), `{"before":"`+time.Now().Add(3*token.Skew).UTC().Format(time.RFC3339)+`"}`)
	require.Contains(t, c.fails(exitFailed, "cutoffs", "add", "--mesh", "default", "--before", "now", "--yes"), "can be made from")
}

func TestRevocationsPruneDropsOldIDsOnceAndADryRunChangesNothing(t *testing.T) {
	const old, new = "0192a000-0000-7000-8000-000000000001", "6baf2c90-0e86-4c62-97a7-7835855834bc" // of version 7, of October 2024, and of version 4
	c := newToolWithKeys(t)
	raw := c.done("generate", "dataplane-token")
	_, claims := c.decode(raw)
	made, ok := revocation.IDTime(claims.ID)
	require.True(t, ok)
	require.WithinDuration(t, time.Now(), made, time.Minute)
	c.done("revocations", "add", old, new, claims.ID, "--mesh", "default")
	prune := []string{"revocations", "prune", "--mesh", "default", "--lifetime", "90d"}

	before := c.done("revocations", "list", "--mesh", "default")
	r := c.run(append(prune, "--dry-run")...)
	require.Equal(t, exitDone, r.status, r.err)
	require.Contains(t, r.err, `pruning drops 1 id of mesh "default" and keeps 2 ids`)
	floor := time.Now().Add(-90*24*time.Hour - 15*time.Minute).UTC().Format("2006-01-02")
	require.Contains(t, r.err, "from before "+floor)
	require.Equal(t, before, c.done("revocations", "list", "--mesh", "default"))
	require.NotContains(t, c.run("cutoffs", "list", "--mesh", "default").err, "pruned")

	require.Contains(t, c.run(append(prune, "--yes")...).err, `dropped 1 id of mesh "default" and kept 2 ids`)
	list := c.done("revocations", "list", "--mesh", "default")
	require.NotContains(t, list, old)
	require.Contains(t, list, new)
	require.Contains(t, list, claims.ID)
	require.Contains(t, c.run("cutoffs", "list", "--mesh", "default").err, "was pruned: every id of version 7 from before "+floor)
	require.Contains(t, c.run(append(prune, "--yes")...).err, "dropped 0 ids")
	require.Contains(t, c.run("revocations", "prune", "--zone-tokens", "--lifetime", "2160h", "--yes").err, "dropped 0 ids of the zones")

	for _, lifetime := range []string{"0d", "-1h", "ninety", "d", "106752d"} {
		require.Contains(t, c.fails(exitUsage, "revocations", "prune", "--mesh", "default", "--lifetime="+lifetime), "want a duration")
	}
	require.Contains(t, c.fails(exitUsage, "revocations", "prune", "--mesh", "default"), "how long are tokens valid")
}

func TestRevocationsRemoveSaysWhatStillRevokesATokenWhoseIDWasPruned(t *testing.T) {
	const old = "0192a000-0000-7000-8000-000000000001" // of October 2024
	c := newToolWithKeys(t)
	remove := []string{"revocations", "remove", old, "--mesh", "default"}
	require.Contains(t, c.run(remove...).err, "was not revoked")
	c.done("revocations", "add", old, "--mesh", "default")
	require.Contains(t, c.run(remove...).err, "no longer revoked")
	c.done("revocations", "add", old, "--mesh", "default")
	c.done("revocations", "prune", "--mesh", "default", "--lifetime", "90d", "--yes")
	server := httptest.NewServer(newControlPlane(t))
	defer server.Close()
	c.write("operator.token", "geheim")
	for _, flags := range [][]string{nil, {"--control-plane", server.URL, "--auth-token-file", "operator.token"}} {
		r := c.run(append(remove, flags...)...)
		require.Equal(t, exitDone, r.status)
		require.Contains(t, r.err, `still revoked for mesh "default": `+old+", since every id of version 7 from before ")
		require.NotContains(t, r.err, "cutoffs may still revoke them")
	}
	c.done("cutoffs", "add", "--mesh", "default", "--name", "dp-1", "--before", "1h", "--yes")
	require.Contains(t, c.run(remove...).err, "cutoffs may still revoke them: meshpass cutoffs list --mesh default")
}

func TestAPrunedListDoesNotLackTheIDsThatTheGlobalListKeeps(t *testing.T) {
	const old, new = "0192a000-0000-7000-8000-000000000001", "6baf2c90-0e86-4c62-97a7-7835855834bc" // of version 7, of October 2024, and of version 4
	c := newToolWithKeys(t)
	c.done("revocations", "add", old, "--mesh", "default")
	c.done("revocations", "make-global", "--mesh", "default")
	c.done("revocations", "prune", "--mesh", "default", "--lifetime", "90d", "--yes")
	server := httptest.NewServer(newControlPlane(t))
	defer server.Close()
	c.write("operator.token", "geheim")
	for _, flags := range [][]string{nil, {"--control-plane", server.URL, "--auth-token-file", "operator.token"}} {
		r := c.run(append([]string{"revocations", "list", "--mesh", "default"}, flags...)...)
		require.Equal(t, old+"\n", r.out)
		require.NotContains(t, r.err, "lacks ids")
	}
	c.write(filepath.Join("keys", "global", "dataplane-token-revocations-default"), old+","+new)
	require.Contains(t, c.run("revocations", "list", "--mesh", "default").err, "the scope of the mesh lacks ids of the other one: "+new)
}

func TestRevocationsPruneSaysWhatItWouldDoAndAsks(t *testing.T) {
	const old = "0192a000-0000-7000-8000-000000000001" // of October 2024
	c := newToolWithKeys(t)
	c.done("revocations", "add", old, "--mesh", "default")
	prune := []string{"revocations", "prune", "--mesh", "default", "--lifetime", "90d"}
	r := c.run(prune...)
	require.Equal(t, exitUsage, r.status)
	require.Contains(t, r.err, "give --yes")
	r = c.answering("n\n", prune...)
	require.Equal(t, exitFailed, r.status)
	require.Contains(t, r.err, "pruning drops 1 id")
	require.Contains(t, r.err, "for ever, also those that are still valid")
	require.Equal(t, old+"\n", c.done("revocations", "list", "--mesh", "default"))
	require.NotContains(t, c.run("cutoffs", "list", "--mesh", "default").err, "pruned")

	r = c.answering("y\n", prune...)
	require.Equal(t, exitDone, r.status, r.err)
	require.Contains(t, r.err, "dropped 1 id")
	require.Empty(t, c.done("revocations", "list", "--mesh", "default"))
}
