package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestVersionNamesTheModulesVersionAndTheCommitWhereTheBuildKnowsIt(t *testing.T) {
	build := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: append([]debug.BuildSetting{{Key: "GOOS", Value: "linux"}}, settings...)}
	}
	commit := debug.BuildSetting{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"}
	modified := func(value string) debug.BuildSetting { return debug.BuildSetting{Key: "vcs.modified", Value: value} }
	for want, have := range map[string]*debug.BuildInfo{
		"v0.1.0":  build("v0.1.0"),
		"(devel)": build("(devel)"),
		"v0.1.0 (commit 0123456789abcdef0123456789abcdef01234567)":                    build("v0.1.0", commit, modified("false")),
		"v0.1.0+dirty (commit 0123456789abcdef0123456789abcdef01234567 with changes)": build("v0.1.0+dirty", commit, modified("true")),
	} {
		require.Equal(t, want, version(have, true))
	}
	require.Equal(t, "of unknown version", version(nil, false))
}

func TestVersionFlagPrintsTheVersionOfTheBuild(t *testing.T) {
	info, known := debug.ReadBuildInfo()
	c := newTool(t)
	require.Equal(t, "meshpass "+version(info, known)+"\n", c.done("--version"))
}

func TestVersionOfAToolBuiltInACloneNamesTheCommit(t *testing.T) {
	if folder, err := os.Stat(filepath.Join("..", "..", ".git")); err != nil || !folder.IsDir() {
		t.Skip("not in a clone, or in a second work tree of one, where the go command knows no commit")
	}
	commit, err := exec.Command("git", "rev-parse", "HEAD").Output()
	require.NoError(t, err)
	binary := filepath.Join(t.TempDir(), "meshpass")
	out, err := exec.Command("go", "build", "-buildvcs=true", "-o", binary, ".").CombinedOutput()
	require.NoError(t, err, string(out))
	out, err = exec.Command(binary, "--version").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), " (commit "+string(commit[:40]))
}
