package main

import (
	"bufio"
	"bytes"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

// beforeCutoffs is the last commit whose code knows no cutoffs and no floors.
const beforeCutoffs = "6f4692d0df76674459c59c25ba75c4015b2707ea"

// TestVersionsBeforeCutoffsBesideThisOneDoWhatTheDocumentsSay runs a build of older code on
// the stores of today's. docs/operating.md says what comes out.
func TestVersionsBeforeCutoffsBesideThisOneDoWhatTheDocumentsSay(t *testing.T) {
	older := buildOlder(t)
	for name, c := range map[string]struct {
		store func(*testing.T, *tool) string
		run   func(*beside, *testing.T)
	}{
		"a directory":              {storeInFolder, (*beside).cutoffs},
		"PostgreSQL":               {func(t *testing.T, _ *tool) string { return engines.SharedPostgres(t).NewDatabase(t) }, (*beside).cutoffs},
		"etcd":                     {func(t *testing.T, _ *tool) string { return "etcd://" + engines.NewEtcd(t) + "/keys/?tls=off" }, (*beside).cutoffs},
		"Kubernetes":               {storeOnKubernetes, (*beside).cutoffs},
		"a validator that runs on": {storeInFolder, (*beside).runningValidator},
		"a pruned list":            {storeInFolder, (*beside).prunedList},
		"backups":                  {storeInFolder, (*beside).backups},
		"the tool over HTTP":       {storeInFolder, (*beside).overHTTP},
	} {
		t.Run(name, func(t *testing.T) {
			b := &beside{tool: newTool(t), older: older}
			b.env["MESHPASS_STORE"] = c.store(t, b.tool)
			b.olderDone("keys", "add", "--first", "--mesh", "default")
			b.olderDone("keys", "add", "--first", "--zone-tokens")
			c.run(b, t)
		})
	}
}

func storeInFolder(*testing.T, *tool) string { return "dir:./keys" }

// buildOlder builds the tool and the validator of the older code, and returns their folder.
// It skips the test if the clone does not have the commit.
func buildOlder(t *testing.T) string {
	t.Helper()
	if testing.Short() {
		t.Skip("it builds an older version")
	}
	if err := exec.Command("git", "cat-file", "-e", beforeCutoffs+"^{commit}").Run(); err != nil {
		t.Skip("the clone does not have the commit " + beforeCutoffs)
	}
	folder := t.TempDir()
	build := exec.Command("sh", "-euc", `
		git -C "$(git rev-parse --show-toplevel)" archive "$1" | tar -x -C "$2"
		cd "$2"
		go -C cmd/meshpass build -o "$2/meshpass" .
		go build -o "$2/verdicts" ./internal/test/verdicts`, "build", beforeCutoffs, folder)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := build.CombinedOutput()
	require.NoError(t, err, string(output))
	return folder
}

// beside is today's tool and an older one, on one store.
type beside struct {
	*tool
	older string // the folder of its programs
}

func (b *beside) runOlder(args ...string) result {
	b.t.Helper()
	var out, err bytes.Buffer
	command := exec.Command(filepath.Join(b.older, "meshpass"), patiently(args)...)
	command.Stdout, command.Stderr = &out, &err
	command.Env = os.Environ()
	for name, value := range b.env {
		command.Env = append(command.Env, name+"="+value)
	}
	status := 0
	if failed := command.Run(); failed != nil {
		var exit *exec.ExitError
		require.True(b.t, errors.As(failed, &exit), failed)
		status = exit.ExitCode()
	}
	return result{status, out.String(), err.String()}
}

func (b *beside) olderDone(args ...string) string {
	b.t.Helper()
	r := b.runOlder(args...)
	require.Equal(b.t, exitDone, r.status, "%v: %s", args, r.err)
	return r.out
}

const isGood, isRevoked = "verdict     accepted", "verdict     refused: token revoked"

// verdicts checks what both tools say of a token, as validators that start now.
func (b *beside) verdicts(file, older, today string) {
	b.t.Helper()
	require.Contains(b.t, b.runOlder("inspect", file).out, older, "the older version")
	require.Contains(b.t, b.run("inspect", file).out, today, "today's version")
}

// id returns the id of a token in a file.
func (b *beside) id(file string) string {
	b.t.Helper()
	_, claims := b.decode(strings.TrimSpace(b.read(file)))
	return claims.ID
}

func (b *beside) tokens(prefix string) {
	b.t.Helper()
	b.olderDone("generate", "dataplane-token", "--name", "dp-1", "--output", prefix+"older.token")
	b.done("generate", "dataplane-token", "--name", "dp-1", "--output", prefix+"today.token")
	b.olderDone("generate", "zone-token", "--zone", "west", "--scope", "cp", "--output", prefix+"west-older.token")
	b.done("generate", "zone-token", "--zone", "west", "--scope", "cp", "--output", prefix+"west-today.token")
}

func (b *beside) cutOff() {
	b.t.Helper()
	b.done("cutoffs", "add", "--mesh", "default", "--name", "dp-1", "--before", "now", "--yes")
	b.done("cutoffs", "add", "--zone-tokens", "--zone", "west", "--before", "now", "--yes")
}

// cutoffs holds for every store: the older version reads on, and knows no cutoffs.
func (b *beside) cutoffs(t *testing.T) {
	b.tokens("")
	for _, file := range []string{"older.token", "today.token", "west-older.token", "west-today.token"} {
		b.verdicts(file, isGood, isGood)
	}
	b.cutOff()
	for _, file := range []string{"older.token", "today.token", "west-older.token", "west-today.token"} {
		b.verdicts(file, isGood, isRevoked)
	}

	// Issued right after the cutoff, a token of the older version is refused.
	b.tokens("new-")
	_, claims := b.decode(strings.TrimSpace(b.read("new-older.token")))
	require.WithinDuration(t, time.Now().Add(-5*time.Minute), claims.IssuedAt, time.Minute)
	_, tells := revocation.IDTime(claims.ID)
	require.False(t, tells, "its ids tell no time")
	for file, today := range map[string]string{"new-older.token": isRevoked, "new-today.token": isGood, "new-west-older.token": isRevoked, "new-west-today.token": isGood} {
		b.verdicts(file, isGood, today)
	}

	// Each revokes for the other, and works on with the records that it knows.
	b.olderDone("revocations", "add", "--token-file", "new-today.token")
	b.done("revocations", "add", "--token-file", "older.token")
	b.verdicts("new-today.token", isRevoked, isRevoked)
	b.verdicts("older.token", isRevoked, isRevoked)
	require.Equal(t, b.done("revocations", "list", "--mesh", "default"), b.olderDone("revocations", "list", "--mesh", "default"))
	b.olderDone("keys", "add", "--mesh", "default")
	r := b.runOlder("keys", "list", "--mesh", "default", "--verbose")
	require.Equal(t, exitDone, r.status, r.err)
	require.NotContains(t, r.err, "cutoffs", "it warns of no record that it does not know")
	require.Contains(t, b.done("cutoffs", "list", "--mesh", "default"), "dp-1", "the record is as it was")
}

// runningValidator watches a validator of the older version before and after a cutoff.
func (b *beside) runningValidator(t *testing.T) {
	b.tokens("")
	process := exec.Command(filepath.Join(b.older, "verdicts"), "keys")
	questions, err := process.StdinPipe()
	require.NoError(t, err)
	output, err := process.StdoutPipe()
	require.NoError(t, err)
	var log bytes.Buffer
	process.Stderr = &log
	require.NoError(t, process.Start())
	answers := bufio.NewReader(output)
	is := func(file, want string) {
		t.Helper()
		require.Eventually(t, func() bool {
			_, err := questions.Write([]byte("default " + file + "\n"))
			require.NoError(t, err)
			answer, err := answers.ReadString('\n')
			require.NoError(t, err)
			return answer == want+"\n"
		}, time.Minute, 20*time.Millisecond)
	}
	is("today.token", "accepted")
	b.cutOff()
	b.done("revocations", "add", "--token-file", "older.token")
	is("older.token", "refused") // so it has read the folder after the cutoff
	is("today.token", "accepted")
	require.NoError(t, questions.Close())
	require.NoError(t, process.Wait())
	require.NotContains(t, log.String(), "cutoffs", "it logs nothing of a record that it does not know")
}

// issueAgo stores a token that was issued some time ago, valid for a day.
func (b *beside) issueAgo(t *testing.T, ago time.Duration, file string) {
	t.Helper()
	store, err := dir.Open("keys")
	require.NoError(t, err)
	issuer, err := dataplane.NewIssuer(store, dataplane.WithClock(func() time.Time { return time.Now().Add(-ago) }))
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, 24*time.Hour)
	require.NoError(t, err)
	b.write(file, issued.Token)
}

// prunedList prunes a list of which a token lives longer than was stated.
func (b *beside) prunedList(t *testing.T) {
	b.issueAgo(t, 2*time.Hour, "old.token")
	b.issueAgo(t, 2*time.Hour, "unrevoked.token")
	b.olderDone("generate", "dataplane-token", "--output", "older.token")
	b.done("revocations", "add", "--token-file", "old.token")
	b.done("revocations", "add", "--token-file", "older.token")
	b.verdicts("old.token", isRevoked, isRevoked)
	require.Contains(t, b.run("revocations", "prune", "--mesh", "default", "--lifetime", "1h", "--yes").err, "dropped 1 id of mesh")

	b.verdicts("old.token", isGood, isRevoked)
	b.verdicts("unrevoked.token", isGood, isRevoked)
	b.verdicts("older.token", isRevoked, isRevoked) // its id tells no time, and stays
	require.Equal(t, b.id("older.token")+"\n", b.olderDone("revocations", "list", "--mesh", "default"))
}

// backups moves backups between the versions.
func (b *beside) backups(t *testing.T) {
	b.tokens("")
	b.issueAgo(t, 2*time.Hour, "old.token")
	b.olderDone("backup", "--output", "early.tar")
	b.cutOff()
	b.done("revocations", "add", "--token-file", "old.token")
	b.done("revocations", "prune", "--mesh", "default", "--lifetime", "1h", "--yes")
	b.olderDone("backup", "--output", "late.tar")
	b.done("backup", "--output", "today.tar")
	b.verdicts("today.token", isGood, isRevoked)
	b.verdicts("old.token", isGood, isRevoked)

	// Today's version keeps cutoffs and floor, whichever backup it restores.
	for _, backup := range []string{"early.tar", "late.tar"} {
		b.done("restore", backup)
		b.verdicts("today.token", isGood, isRevoked)
		b.verdicts("old.token", isGood, isRevoked)
	}
	// The older version backs them up and restores them as they are in a backup, and
	// keeps none that the backup lacks.
	b.olderDone("restore", "today.tar")
	b.verdicts("today.token", isGood, isRevoked)
	r := b.runOlder("restore", "early.tar")
	require.Equal(t, exitDone, r.status, r.err)
	require.Contains(t, r.err, `gone: "dataplane-token-cutoffs-default" of mesh "default"`)
	require.Contains(t, r.err, `gone: "zone-token-cutoffs"`)
	b.verdicts("today.token", isGood, isGood)
	b.verdicts("west-today.token", isGood, isGood)
	b.verdicts("old.token", isGood, isGood)
}

// overHTTP works with a control plane of today by the older tool.
func (b *beside) overHTTP(t *testing.T) {
	server := httptest.NewServer(newControlPlane(t))
	defer server.Close()
	b.tokens("")
	b.cutOff()
	b.write("operator.token", "geheim\n")
	flags := []string{"--control-plane", server.URL, "--auth-token-file", "operator.token"}
	b.env = map[string]string{}
	with := func(args ...string) []string { return append(args, flags...) }

	r := b.runOlder(with("inspect", "today.token")...)
	require.Contains(t, r.out, isGood)
	require.NotContains(t, r.err, "cutoff")
	require.Contains(t, b.run(with("inspect", "today.token")...).out, isRevoked)
	b.olderDone(with("generate", "dataplane-token", "--name", "dp-1", "--output", "new.token")...)
	require.Contains(t, b.done(with("inspect", "new.token")...), isGood, "the control plane issued it, and saw the cutoff")
	b.olderDone(with("revocations", "add", "--token-file", "new.token")...)
	require.Contains(t, b.run(with("inspect", "new.token")...).out, isRevoked)
	require.Equal(t, b.id("new.token")+"\n", b.olderDone(with("revocations", "list", "--mesh", "default")...))
}
