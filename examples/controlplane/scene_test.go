package main

import (
	"bytes"
	"context"
	"flag"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// asProgram makes the test binary, which the scene runs as its processes, be the program.
const asProgram = "CONTROLPLANE_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	slog.SetDefault(quiet)
	m.Run()
}

func TestSceneComesOutAsItSaysAndLeavesNothingBehind(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts ten processes and takes seconds")
	}
	t.Setenv(asProgram, "1")
	t.Setenv("TMPDIR", shortTempDir(t))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	var out bytes.Buffer
	err := runScene(ctx, flag.NewFlagSet("scene", flag.ContinueOnError), nil, &out)
	require.NoError(t, err, "%s", &out)

	for _, step := range []string{"start", "connect", "revoke", "replace", "rotate", "remove", "zones", "outage", "metrics", "end"} {
		require.Contains(t, "\n"+out.String(), "\n"+step+" ")
	}
	require.NotContains(t, out.String(), "PRIVATE")
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestSceneCanBeInterrupted(t *testing.T) {
	if testing.Short() {
		t.Skip("it starts processes")
	}
	t.Setenv(asProgram, "1")
	t.Setenv("TMPDIR", shortTempDir(t))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	p, err := startProcess("scene", nil, "scene")
	require.NoError(t, err)
	for { // until the first proxies are there
		p.mu.Lock()
		more, begun := p.more, strings.Contains(textOf(p.events), "connect ")
		p.mu.Unlock()
		if begun {
			break
		}
		select {
		case <-more:
		case <-ctx.Done():
			require.NoError(t, ctx.Err())
		}
	}
	p.interrupt()
	select {
	case <-p.exited:
	case <-ctx.Done():
		require.NoError(t, ctx.Err())
	}
	require.Equal(t, 1, p.cmd.ProcessState.ExitCode())
	require.Contains(t, p.stderr.String(), "interrupted")
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func textOf(events []event) string {
	var text strings.Builder
	for _, e := range events {
		line, _ := e["msg"].(string)
		text.WriteString(line + "\n")
	}
	return text.String()
}

// shortTempDir is one in which the path of a socket does not become too long.
func shortTempDir(t *testing.T) string {
	dir, err := os.MkdirTemp("", "cp")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	return dir
}

func TestHelpIsNoMistake(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"global", "-help"}} {
		program := exec.CommandContext(t.Context(), os.Args[0], args...)
		program.Env = append(os.Environ(), asProgram+"=1")
		output, err := program.CombinedOutput()
		require.NoError(t, err, "%v: %s", args, output)
		require.Regexp(t, "(?i)^usage", string(output), args)
	}
}
