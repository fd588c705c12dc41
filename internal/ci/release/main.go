// Command release knows the modules of this repository, and what a release of all of
// them takes. It reads them from the go.mod files that git lists, so that there is no
// second list. Run it in a clone:
//
//	release modules          prints the folder of each module, and whether it is published
//	release each COMMAND...  runs a command in each module, outside of the workspace
//	release check            checks that the modules require each other as they should
//	release prepare VERSION  sets the version in all modules, checks them and
//	                         CHANGELOG.md, and prints the tags to make
//	release proxy FOLDER     writes a module proxy that holds the published modules as
//	                         they stand in the clone, and prints PATH@VERSION of each
//
// docs/releasing.md describes a release.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: release modules | each COMMAND... | check | prepare VERSION | proxy FOLDER")

func run(args []string) error {
	if len(args) == 0 {
		return errUsage
	}
	root, err := output("git", "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	c, err := readClone(root)
	if err != nil {
		return err
	}
	switch command, args := args[0], args[1:]; {
	case command == "modules" && len(args) == 0:
		for _, m := range c.modules {
			fmt.Println(m.folder, map[bool]string{true: "published", false: "unpublished"}[m.published()])
		}
		return nil
	case command == "each" && len(args) > 0:
		return c.each(args)
	case command == "check" && len(args) == 0:
		version, err := c.check()
		if err == nil {
			fmt.Printf("all modules agree on %s\n", version)
		}
		return err
	case command == "prepare" && len(args) == 1:
		return c.prepare(args[0])
	case command == "proxy" && len(args) == 1:
		folder, err := filepath.Abs(args[0])
		if err != nil {
			return err
		}
		return c.proxy(folder)
	}
	return errUsage
}

// output runs a command and returns what it printed, without the last line end.
func output(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(cmd.Args, " "), err)
	}
	return strings.TrimRight(string(out), "\n"), nil
}
