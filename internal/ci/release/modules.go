package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"
)

// core is the module at the top of the repository. The others are below it, by folder
// and by path.
const core = "github.com/meshpass/meshpass"

// clone is a clone of the repository.
type clone struct {
	root    string // absolute path
	modules []*module
	work    *modfile.WorkFile
	texts   map[string][]byte // the documents, by name
}

type module struct {
	folder string // below the root, "." for the core
	file   *modfile.File
}

// readClone reads the go.mod files and the documents that git knows, and go.work.
func readClone(root string) (*clone, error) {
	files, err := output("git", "-C", root, "ls-files", "--", "go.mod", "*/go.mod")
	if err != nil {
		return nil, err
	}
	c := &clone{root: root, texts: map[string][]byte{}}
	for _, name := range strings.Fields(files) {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, err
		}
		file, err := modfile.Parse(name, text, nil)
		if err != nil {
			return nil, err
		}
		m := &module{path.Dir(name), file}
		if want := path.Join(core, m.folder); file.Module == nil || m.path() != want {
			return nil, fmt.Errorf("%s: the module of this folder is %s", name, want)
		}
		c.modules = append(c.modules, m)
	}
	slices.SortFunc(c.modules, func(a, b *module) int { return strings.Compare(a.folder, b.folder) })
	text, err := os.ReadFile(filepath.Join(root, "go.work"))
	if err != nil {
		return nil, err
	}
	if c.work, err = modfile.ParseWork("go.work", text, nil); err != nil {
		return nil, err
	}
	documents, err := output("git", "-C", root, "ls-files", "--", "*.md")
	if err != nil {
		return nil, err
	}
	for _, name := range strings.Fields(documents) {
		if c.texts[name], err = os.ReadFile(filepath.Join(root, name)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (m *module) path() string { return m.file.Module.Mod.Path }

// published tells whether a release tags the module. One that is not says so in a
// comment above its module line: "Not published: ...".
func (m *module) published() bool {
	for _, comment := range m.file.Module.Syntax.Before {
		if strings.HasPrefix(comment.Token, "// Not published:") {
			return false
		}
	}
	return true
}

// installed tells whether users install the module with "go install MODULE@VERSION",
// which refuses a go.mod that replaces anything.
func (m *module) installed() bool { return m.published() && strings.HasPrefix(m.folder, "cmd/") }

// siblings returns what the module requires of this repository.
func (m *module) siblings() []*modfile.Require {
	var siblings []*modfile.Require
	for _, required := range m.file.Require {
		if isOurs(required.Mod.Path) {
			siblings = append(siblings, required)
		}
	}
	return siblings
}

func isOurs(modulePath string) bool {
	return modulePath == core || strings.HasPrefix(modulePath, core+"/")
}

// below returns where a module is, relative to a folder of the repository, in the form
// that go.mod and go.work ask for: with ./ or ../ in front.
func below(folder, modulePath string) string {
	relative, err := filepath.Rel(folder, folderOf(modulePath))
	if err != nil {
		panic(err) // both are relative
	}
	relative = filepath.ToSlash(relative)
	if relative != ".." && !strings.HasPrefix(relative, "../") {
		relative = "./" + strings.TrimPrefix(relative, ".")
	}
	return relative
}

// folderOf returns the folder of a module of this repository.
func folderOf(modulePath string) string {
	return path.Join(".", strings.TrimPrefix(modulePath, core))
}

// each runs a command in the folder of each module, with GOWORK=off.
func (c *clone) each(command []string) error {
	var failed []string
	for _, m := range c.modules {
		fmt.Printf("-- %s\n", m.folder)
		if err := c.in(m, command); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", m.folder, err)
			failed = append(failed, m.folder)
		}
	}
	if len(failed) > 0 {
		return fmt.Errorf("%s failed in %s", strings.Join(command, " "), strings.Join(failed, ", "))
	}
	return nil
}

func (c *clone) in(m *module, command []string) (err error) {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = filepath.Join(c.root, m.folder)
	cmd.Env = append(os.Environ(), "GOWORK=off", "PWD="+cmd.Dir)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if m.installed() {
		modfile, remove, err := c.withReplaces(m)
		if err != nil {
			return err
		}
		defer remove()
		cmd.Env = append(cmd.Env, "GOFLAGS="+strings.TrimSpace(os.Getenv("GOFLAGS")+" -modfile="+modfile))
	}
	return cmd.Run()
}

// withReplaces writes a copy of the module's go.mod and go.sum that takes its siblings
// from the clone, for the option -modfile of the go command. The version that the
// go.mod itself asks for need not exist yet.
func (c *clone) withReplaces(m *module) (file string, remove func(), err error) {
	folder, err := os.MkdirTemp("", "meshpass-modfile")
	if err != nil {
		return "", nil, err
	}
	remove = func() { os.RemoveAll(folder) }
	defer func() {
		if err != nil {
			remove()
		}
	}()
	source := filepath.Join(c.root, m.folder)
	text, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", nil, err
	}
	replaced, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		return "", nil, err
	}
	for _, sibling := range m.siblings() {
		to := filepath.Join(c.root, strings.TrimPrefix(sibling.Mod.Path, core))
		if err := replaced.AddReplace(sibling.Mod.Path, "", to, ""); err != nil {
			return "", nil, err
		}
	}
	if text, err = replaced.Format(); err != nil {
		return "", nil, err
	}
	sums, err := os.ReadFile(filepath.Join(source, "go.sum"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", nil, err
	}
	file = filepath.Join(folder, "go.mod")
	return file, remove, errors.Join(os.WriteFile(file, text, 0o666), os.WriteFile(filepath.Join(folder, "go.sum"), sums, 0o666))
}
