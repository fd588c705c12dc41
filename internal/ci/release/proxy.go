package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	modulepkg "golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

// proxy writes a module proxy (https://go.dev/ref/mod#goproxy-protocol) that holds the
// published modules as tags on the present commit would publish them, with the changes
// to the files that git knows.
func (c *clone) proxy(folder string) error {
	version, err := c.version()
	if err != nil {
		return err
	}
	// A commit of the changes that are not committed; nothing, if there are none.
	commit, err := output("git", "-C", c.root, "-c", "user.name=release", "-c", "user.email=release@localhost", "stash", "create")
	if err != nil {
		return err
	}
	if commit == "" {
		commit = "HEAD"
	}
	if commit, err = output("git", "-C", c.root, "rev-parse", commit); err != nil {
		return err
	}
	// The zip package reads from a repository of which this is the main work tree.
	snapshot, err := os.MkdirTemp("", "meshpass-snapshot")
	if err != nil {
		return err
	}
	defer os.RemoveAll(snapshot)
	for _, args := range [][]string{
		{"clone", "--quiet", "--shared", "--no-checkout", c.root, snapshot},
		{"-C", snapshot, "checkout", "--quiet", "--detach", commit},
	} {
		if _, err := output("git", args...); err != nil {
			return err
		}
	}
	published, err := readClone(snapshot)
	if err != nil {
		return err
	}
	for _, m := range published.modules {
		if !m.published() {
			continue
		}
		if err := published.publish(m, version, folder); err != nil {
			return fmt.Errorf("%s: %w", m.path(), err)
		}
		fmt.Printf("%s@%s\n", m.path(), version)
	}
	return nil
}

// publish writes the four files of one version of a module.
func (c *clone) publish(m *module, version, proxy string) (err error) {
	escaped, err := modulepkg.EscapePath(m.path())
	if err != nil {
		return err
	}
	folder := filepath.Join(proxy, filepath.FromSlash(escaped), "@v")
	if err := os.MkdirAll(folder, 0o777); err != nil {
		return err
	}
	goMod, err := os.ReadFile(filepath.Join(c.root, m.file.Syntax.Name))
	if err != nil {
		return err
	}
	info, err := json.Marshal(map[string]any{"Version": version, "Time": time.Now().UTC().Truncate(time.Second)})
	if err != nil {
		return err
	}
	for name, text := range map[string][]byte{"list": []byte(version + "\n"), version + ".mod": goMod, version + ".info": info} {
		if err := os.WriteFile(filepath.Join(folder, name), text, 0o666); err != nil {
			return err
		}
	}
	archive, err := os.Create(filepath.Join(folder, version+".zip"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, archive.Close()) }()
	subfolder := m.folder
	if subfolder == "." {
		subfolder = ""
	}
	return zip.CreateFromVCS(archive, modulepkg.Version{Path: m.path(), Version: version}, c.root, "HEAD", subfolder)
}
