package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// released is a repository that is ready to be released as v0.1.0.
var released = map[string]string{
	"go.work": `go 1.25.0

use (
	.
	./cmd/tool
	./examples
	./store
)

replace github.com/meshpass/meshpass v0.1.0 => ./

replace github.com/meshpass/meshpass/store v0.1.0 => ./store
`,
	"go.mod": `module github.com/meshpass/meshpass

go 1.25.0
`,
	"core.go":         "package meshpass\n",
	"LICENSE":         "free\n",
	"store/README.md": "Run `go get github.com/meshpass/meshpass/store@v0.1.0`. It needs go@v1.25.0.\n",
	"CHANGELOG.md": `# Changelog

## 0.1.0 (2027-01-31)

- All of it.
`,
	"store/go.mod": `module github.com/meshpass/meshpass/store

go 1.25.0

require github.com/meshpass/meshpass v0.1.0

replace github.com/meshpass/meshpass => ..
`,
	"store/store.go": "package store\n\nimport _ \"github.com/meshpass/meshpass\"\n",
	"cmd/tool/go.mod": `module github.com/meshpass/meshpass/cmd/tool

go 1.25.0

require (
	github.com/meshpass/meshpass v0.1.0 // indirect
	github.com/meshpass/meshpass/store v0.1.0
)
`,
	"cmd/tool/main.go": "package main\n\nimport _ \"github.com/meshpass/meshpass/store\"\n\nfunc main() {}\n",
	"examples/go.mod": `// Not published: it is run in a clone.
module github.com/meshpass/meshpass/examples

go 1.25.0

require github.com/meshpass/meshpass v0.1.0

replace github.com/meshpass/meshpass => ..
`,
}

// newClone makes a repository of the released files, with edits: lists of a file, a part
// of its text, and what stands there instead.
func newClone(t *testing.T, edits ...[3]string) *clone {
	t.Helper()
	root := t.TempDir()
	for name, text := range released {
		for _, edit := range edits {
			if edit[0] == name {
				edited := strings.Replace(text, edit[1], edit[2], 1)
				if edited == text {
					t.Fatalf("%s has no %q", name, edit[1])
				}
				text = edited
			}
		}
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	git(t, root, "init", "--quiet")
	git(t, root, "add", ".")
	git(t, root, "-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--message", "all")
	c, err := readClone(root)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func git(t *testing.T, root string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", root}, args...)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func read(t *testing.T, c *clone, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestCheckAcceptsModulesThatRequireTheVersionTaggedWithThem(t *testing.T) {
	if version, err := newClone(t).check(); version != "v0.1.0" || err != nil {
		t.Errorf("check() = %q, %v", version, err)
	}
}

func TestCheckNamesWhatAReleaseWouldBreakOn(t *testing.T) {
	for name, test := range map[string]struct {
		edit [3]string
		want string
	}{
		"a module requires another version": {
			[3]string{"examples/go.mod", "meshpass v0.1.0", "meshpass v0.0.9"}, "examples/go.mod is not as it must be"},
		"a module does not replace its sibling": {
			[3]string{"store/go.mod", "replace github.com/meshpass/meshpass => ..\n", ""}, "store/go.mod is not as it must be"},
		"a module replaces its sibling by another folder": {
			[3]string{"store/go.mod", "=> ..\n", "=> ../..\n"}, "store/go.mod is not as it must be"},
		"the command replaces a sibling": {
			[3]string{"cmd/tool/go.mod", ")\n", ")\n\nreplace github.com/meshpass/meshpass => ../../\n"}, "cmd/tool/go.mod is not as it must be"},
		"the command replaces a foreign module": {
			[3]string{"cmd/tool/go.mod", ")\n", ")\n\nreplace example.com/a => example.com/b v1.0.0\n"}, "cmd/tool/go.mod replaces example.com/a"},
		"a published module excludes a version": {
			[3]string{"store/go.mod", "replace", "exclude example.com/a v1.0.0\n\nreplace"}, "store/go.mod excludes versions"},
		"a published module requires an unpublished one": {
			[3]string{"store/go.mod", "module", "// Not published: it is a secret.\nmodule"}, "cmd/tool/go.mod requires github.com/meshpass/meshpass/store, which is not published"},
		"the workspace lacks a published module": {
			[3]string{"go.work", "\t./store\n", ""}, "go.work does not use store"},
		"the workspace does not replace what the command requires": {
			[3]string{"go.work", "\nreplace github.com/meshpass/meshpass/store v0.1.0 => ./store\n", ""}, "go.work is not as it must be"},
		"a document tells users to get another version": {
			[3]string{"store/README.md", "v0.1.0`.", "v0.2.0-rc.1`."}, "store/README.md is not as it must be"},
		"a module asks for another Go": {
			[3]string{"store/go.mod", "go 1.25.0", "go 1.24.0"}, "store/go.mod asks for Go 1.24.0, go.work for 1.25.0"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newClone(t, test.edit).check(); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("check() = %v\nwant %s", err, test.want)
			}
		})
	}
}

func TestCheckRefusesASumOfAModuleOfThisRepository(t *testing.T) {
	c := newClone(t)
	sum := "github.com/meshpass/meshpass v0.1.0 h1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n"
	if err := os.WriteFile(filepath.Join(c.root, "store", "go.sum"), []byte(sum), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := c.check(); err == nil || !strings.Contains(err.Error(), "store/go.sum") {
		t.Errorf("check() = %v", err)
	}
}

func TestAModuleOutOfItsPlaceIsNotRead(t *testing.T) {
	c := newClone(t)
	wrong := strings.Replace(released["store/go.mod"], "meshpass/store", "meshpass/shop", 1)
	if err := os.WriteFile(filepath.Join(c.root, "store", "go.mod"), []byte(wrong), 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := readClone(c.root); err == nil || !strings.Contains(err.Error(), "github.com/meshpass/meshpass/store") {
		t.Errorf("readClone() = %v", err)
	}
}

func TestPrepareSetsTheVersionEverywhere(t *testing.T) {
	c := newClone(t, [3]string{"CHANGELOG.md", "## 0.1.0", "## 0.2.0"})
	if err := c.prepare("v0.2.0"); err != nil {
		t.Fatal(err)
	}
	for name, before := range released {
		want := strings.ReplaceAll(before, "0.1.0", "0.2.0")
		if have := read(t, c, name); have != want {
			t.Errorf("%s:\n%s\nwant:\n%s", name, have, want)
		}
	}
}

func TestPrepareAddsTheReplacementsOfANewModule(t *testing.T) {
	c := newClone(t,
		[3]string{"store/go.mod", "replace github.com/meshpass/meshpass => ..\n", ""},
		[3]string{"go.work", "\nreplace github.com/meshpass/meshpass/store v0.1.0 => ./store\n", ""},
		[3]string{"cmd/tool/go.mod", ")\n", ")\n\nreplace github.com/meshpass/meshpass => ../../\n"})
	if err := c.prepare("v0.1.0"); err != nil {
		t.Fatal(err)
	}
	again, err := readClone(c.root)
	if err != nil {
		t.Fatal(err)
	}
	if version, err := again.check(); version != "v0.1.0" || err != nil {
		t.Errorf("check() = %q, %v", version, err)
	}
}

func TestPrepareRefusesWhatCannotBeTagged(t *testing.T) {
	c := newClone(t, [3]string{"CHANGELOG.md", "## 0.1.0", "## 0.4.0 (unreleased)\n\n## 0.1.0"})
	git(t, c.root, "tag", "store/v0.1.0")
	for version, want := range map[string]string{
		"v0.1.0": "there are tags already: store/v0.1.0",
		"v0.3.0": `CHANGELOG.md has no heading "## 0.3.0"`,
		"v0.4.0": "it is unreleased",
		"0.3.0":  `"0.3.0" is not a version`,
		"v0.3":   `"v0.3" is not a version`,
		"":       `"" is not a version`,
	} {
		if err := c.prepare(version); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("prepare(%q) = %v, want %s", version, err, want)
		}
	}
}

func TestEachModuleBuildsOutsideOfTheWorkspaceBeforeItsSiblingsArePublished(t *testing.T) {
	t.Setenv("GOFLAGS", "-mod=readonly")
	t.Setenv("GOPROXY", "off")
	c := newClone(t)
	for _, m := range c.modules {
		if m.folder == "examples" {
			continue // it has no package
		}
		if err := c.in(m, []string{"go", "build", "-o", os.DevNull, "./..."}); err != nil {
			t.Errorf("%s: %v", m.folder, err)
		}
	}
	if have := read(t, c, "cmd/tool/go.mod"); have != released["cmd/tool/go.mod"] {
		t.Errorf("cmd/tool/go.mod was changed:\n%s", have)
	}
}

func TestEachRunsTheCommandInTheOtherModulesTooAfterItHasFailedInOne(t *testing.T) {
	c := newClone(t)
	err := c.each([]string{"sh", "-c", `touch been-here; [ "$GOWORK" = off ] && [ ! -e core.go ]`})
	if err == nil || !strings.HasSuffix(err.Error(), "failed in .") {
		t.Errorf("each() = %v, want a failure in the core alone", err)
	}
	for _, m := range c.modules {
		if _, err := os.Stat(filepath.Join(c.root, m.folder, "been-here")); err != nil {
			t.Error(err)
		}
	}
}

// The proxy's client is the go command, as a user has it.
func TestTheProxyServesThePublishedModulesAsTheyStandInTheClone(t *testing.T) {
	c := newClone(t)
	changed := "package store\n\nimport _ \"github.com/meshpass/meshpass\"\n\nconst Changed = true\n"
	if err := os.WriteFile(filepath.Join(c.root, "store", "store.go"), []byte(changed), 0o666); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	if err := c.proxy(folder); err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.FileServer(http.Dir(folder)))
	defer proxy.Close()

	user := t.TempDir()
	run := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("go", args...)
		cmd.Dir = user
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOPROXY="+proxy.URL, "GONOSUMDB="+core, "GOFLAGS=-modcacherw",
			"GOPATH="+filepath.Join(user, "gopath"), "GOMODCACHE=", "GOBIN=")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("go %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	run("mod", "init", "example.com/user")
	run("get", core+"/store@v0.1.0")
	if doc := run("doc", core+"/store.Changed"); !strings.Contains(doc, "Changed = true") {
		t.Errorf("a change that is not committed is not there: %s", doc)
	}
	license, err := os.ReadFile(filepath.Join(strings.TrimSpace(run("list", "-m", "-f", "{{.Dir}}", core+"/store")), "LICENSE"))
	if err != nil || string(license) != "free\n" {
		t.Errorf("the license of the store is %q, %v", license, err)
	}
	run("install", core+"/cmd/tool@v0.1.0")
	if _, err := os.Stat(filepath.Join(user, "gopath", "bin", "tool")); err != nil {
		t.Error(err)
	}
	answer, err := http.Get(proxy.URL + "/" + core + "/examples/@v/list")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if text, _ := io.ReadAll(answer.Body); answer.StatusCode != http.StatusNotFound {
		t.Errorf("examples are not published, and the proxy has them: %s", text)
	}
}
