package main

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/semver"
)

// version returns the version of the modules, which they require of each other.
func (c *clone) version() (string, error) {
	for _, m := range c.modules {
		for _, sibling := range m.siblings() {
			return sibling.Mod.Version, nil
		}
	}
	return "", errors.New("no module requires another one of this repository")
}

// set changes go.work, the go.mod files and what documents tell users to get, in memory, so
// that the modules have a version.
func (c *clone) set(version string) error {
	var errs []error
	for _, replace := range c.work.Replace {
		if isOurs(replace.Old.Path) {
			errs = append(errs, c.work.DropReplace(replace.Old.Path, replace.Old.Version))
		}
	}
	for _, m := range c.modules {
		for _, replace := range m.file.Replace {
			if isOurs(replace.Old.Path) && (m.installed() || replace.Old.Version != "") {
				errs = append(errs, m.file.DropReplace(replace.Old.Path, replace.Old.Version))
			}
		}
		for _, sibling := range m.siblings() {
			errs = append(errs, m.file.AddRequire(sibling.Mod.Path, version))
			if m.installed() {
				// Of this version alone: go.work may not replace all versions of a module that it uses.
				errs = append(errs, c.work.AddReplace(sibling.Mod.Path, version, below(".", sibling.Mod.Path), ""))
			} else {
				errs = append(errs, m.file.AddReplace(sibling.Mod.Path, "", below(m.folder, sibling.Mod.Path), ""))
			}
		}
		m.file.Cleanup()
	}
	c.work.Cleanup()
	for name, text := range c.texts {
		c.texts[name] = ourVersion.ReplaceAll(text, []byte("${1}@"+version))
	}
	return errors.Join(errs...)
}

// ourVersion matches what go get and go install are given.
var ourVersion = regexp.MustCompile(`(` + regexp.QuoteMeta(core) + `[a-z/]*)@v\d+\.\d+\.\d+(-[0-9A-Za-z.-]*[0-9A-Za-z])?`)

// files returns go.work, the go.mod files and the documents as they are in memory, by name.
func (c *clone) files() (map[string][]byte, error) {
	files := maps.Clone(c.texts)
	files["go.work"] = modfile.Format(c.work.Syntax)
	for _, m := range c.modules {
		text, err := m.file.Format()
		if err != nil {
			return nil, err
		}
		files[m.file.Syntax.Name] = text
	}
	return files, nil
}

// check returns the version that the modules require of each other, or all that is wrong
// with them.
func (c *clone) check() (string, error) {
	version, err := c.version()
	if err != nil {
		return "", err
	}
	if err := c.set(version); err != nil {
		return "", err
	}
	files, err := c.files()
	if err != nil {
		return "", err
	}
	var problems []error
	problem := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	for name, want := range files {
		have, err := os.ReadFile(filepath.Join(c.root, name))
		if err != nil {
			return "", err
		}
		if !bytes.Equal(have, want) {
			problem("%s is not as it must be for %s: run release prepare %s", name, version, version)
		}
	}

	published, used := map[string]bool{}, map[string]bool{}
	for _, m := range c.modules {
		published[m.path()] = m.published()
	}
	for _, use := range c.work.Use {
		used[filepath.ToSlash(filepath.Clean(use.Path))] = true
	}
	for _, m := range c.modules {
		sums, err := os.ReadFile(filepath.Join(c.root, m.folder, "go.sum"))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
		if ourSum.Match(sums) {
			problem("%s/go.sum has a sum of a module of this repository, which changes with every commit", m.folder)
		}
		if used[m.folder] && m.file.Go.Version != c.work.Go.Version {
			problem("%s asks for Go %s, go.work for %s", m.file.Syntax.Name, m.file.Go.Version, c.work.Go.Version)
		}
		if !m.published() {
			continue
		}
		if !used[m.folder] {
			problem("go.work does not use %s, which is published", m.folder)
		}
		for _, sibling := range m.siblings() {
			if !published[sibling.Mod.Path] {
				problem("%s requires %s, which is not published", m.file.Syntax.Name, sibling.Mod.Path)
			}
		}
		for _, replace := range m.file.Replace {
			if !isOurs(replace.Old.Path) {
				problem("%s replaces %s, but those who require the module do not", m.file.Syntax.Name, replace.Old.Path)
			}
		}
		if len(m.file.Exclude) > 0 {
			problem("%s excludes versions, but those who require the module do not", m.file.Syntax.Name)
		}
	}
	return version, errors.Join(problems...)
}

var ourSum = regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(core) + `[/ ]`)

// prepare sets the version of the modules, checks them and the change log, and prints
// how to tag them.
func (c *clone) prepare(version string) error {
	if !semver.IsValid(version) || semver.Canonical(version) != version {
		return fmt.Errorf("%q is not a version such as v0.1.0", version)
	}
	if err := c.set(version); err != nil {
		return err
	}
	files, err := c.files()
	if err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(c.root, name), text, 0o666); err != nil {
			return err
		}
	}
	if _, err := c.check(); err != nil {
		return err
	}
	changes, err := os.ReadFile(filepath.Join(c.root, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	number := strings.TrimPrefix(version, "v")
	heading := regexp.MustCompile(`(?m)^## ` + regexp.QuoteMeta(number) + `( .*)?$`).Find(changes)
	switch {
	case heading == nil:
		return fmt.Errorf("the modules are set to %s, but CHANGELOG.md has no heading %q", version, "## "+number)
	case bytes.Contains(heading, []byte("unreleased")):
		return fmt.Errorf("the modules are set to %s, but in CHANGELOG.md it is unreleased: give the day", version)
	}
	var tags []string
	for _, m := range c.modules {
		if m.published() {
			tags = append(tags, m.tag(version))
		}
	}
	existing, err := output("git", append([]string{"-C", c.root, "tag", "--list"}, tags...)...)
	if err != nil {
		return err
	}
	if existing != "" {
		return fmt.Errorf("there are tags already: %s", strings.ReplaceAll(existing, "\n", ", "))
	}
	fmt.Printf("The modules are set to %s. On the commit that has passed .ci/run:\n\n", version)
	for _, tag := range tags {
		fmt.Printf("\tgit tag -a -m %s %s\n", tag, tag)
	}
	fmt.Printf("\tgit push origin %s\n", strings.Join(tags, " "))
	return nil
}

// tag returns the name of the tag by which the go command finds a version of the module.
func (m *module) tag(version string) string {
	if m.folder == "." {
		return version
	}
	return m.folder + "/" + version
}
