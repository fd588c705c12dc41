package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshpass/meshpass/token"
)

func (a *app) checkCommand() *cobra.Command {
	var versions []string
	command := &cobra.Command{
		Use:   "check FOLDER...",
		Short: "Say of all tokens in a folder whether they would be refused",
		Long: `Checks each file in the folders as "meshpass inspect" does, and prints a line for it: accepted or refused, and why. With
--for the lines say what versions of Kuma and Kong Mesh would do; "depends" names what it depends on. A summary goes to
standard error. It passes over subfolders and hidden files, and prints no token.

With --store or --control-plane it also checks the tokens against the keys and revocations there.

The exit status is 3 if a token would be refused, and 1 if one could not be checked.`,
		Example: `  meshpass check tokens
  meshpass check tokens --for kuma-2.14,kuma-3.0`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("which tokens? Give a folder with a token in each file")
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringSliceVar(&versions, "for", nil, "say what a version would do: "+strings.Join(kumaNames, ", "))
	completes(command, "for", cobra.ShellCompDirectiveNoFileComp, kumaNames...)
	command.RunE = func(command *cobra.Command, args []string) error {
		rules, err := allRulesOf(versions)
		if err != nil {
			return err
		}
		files, err := filesIn(args)
		if err != nil {
			return err
		}
		ctx, cancel, err := a.begin(command)
		if err != nil {
			return err
		}
		defer cancel()
		v, err := a.verifier(ctx, nil)
		if err != nil {
			return err
		}
		defer v.close()
		c := checking{app: a, verifier: v, rules: rules, counts: map[[2]string]int{}}
		for _, file := range files {
			if err := c.file(ctx, file); err != nil {
				return err
			}
		}
		return c.conclude(len(files))
	}
	return command
}

// filesIn lists the files in folders that are neither hidden nor folders.
func filesIn(folders []string) ([]string, error) {
	var files []string
	for _, folder := range folders {
		if isSecret(folder) {
			return nil, usagef("want the path of a folder, not a token: every user of this machine can see the command line")
		}
		entries, err := os.ReadDir(folder)
		if err != nil {
			return nil, advise(err, "want a folder that you may read; for one token use meshpass inspect")
		}
		for _, entry := range entries {
			path := filepath.ToSlash(filepath.Join(folder, entry.Name()))
			if info, err := os.Stat(path); strings.HasPrefix(entry.Name(), ".") || err == nil && info.IsDir() {
				continue
			}
			files = append(files, path)
		}
	}
	return files, nil
}

// checking checks files, and counts.
type checking struct {
	app      *app
	verifier *verifier
	rules    []namedRules
	counts   map[[2]string]int // by version and outcome
	failed   int
	refused  bool
}

const noVersion = "meshpass" // stands for the library's own verdict

// file checks a file. The error ends the command.
func (c *checking) file(ctx context.Context, path string) error {
	raw, err := c.app.readToken(path)
	var checked error
	if err == nil {
		checked, err = c.validate(ctx, raw)
	}
	if err != nil {
		if ctx.Err() != nil {
			return advise(err, "give it more time with --timeout")
		}
		c.failed++
		c.app.say("%s could not be checked: %v", path, err)
		return nil
	}
	if len(c.rules) == 0 {
		judged := judgement{outcome: accepted}
		if checked != nil {
			judged.add(refused, checked.Error())
		}
		c.line(path, noVersion, judged)
	}
	if len(c.rules) > 0 {
		p := c.verifier.present(ctx, raw, checked)
		for _, r := range c.rules {
			c.line(path, r.name, r.judge(p, nil, c.app.now()))
		}
	}
	return nil
}

// validate returns why the library refuses a token, or an error if it cannot tell.
func (c *checking) validate(ctx context.Context, raw string) (refusal, err error) {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return err, nil
	}
	if _, err := unverified.Header(); err != nil {
		return err, nil
	}
	claims, err := claimsOf(raw)
	if err != nil {
		return err, nil
	}
	if _, err = c.verifier.check(ctx, raw, claims); errors.Is(err, token.ErrInvalid) {
		return err, nil
	}
	return nil, err
}

func (c *checking) line(path, version string, judged judgement) {
	fmt.Fprintf(&c.app.report, "%s  %s  %s\n", plain(path), version, judged)
	c.counts[[2]string{version, string(judged.outcome)}]++
	c.refused = c.refused || judged.outcome == refused
}

func (c *checking) conclude(files int) error {
	versions := c.rules
	if len(versions) == 0 {
		versions = []namedRules{{name: noVersion}}
	}
	for _, r := range versions {
		count := func(o outcome) int { return c.counts[[2]string{r.name, string(o)}] }
		c.app.say("%s: of %d files %d accepted, %d refused, %d depend on the proxy or the control plane, %d not checked",
			r.name, files, count(accepted), count(refused), count(depends), c.failed)
	}
	switch {
	case files == 0:
		return errors.New("there are no files: check the folder")
	case c.failed > 0:
		return fmt.Errorf("%d files could not be checked", c.failed)
	case c.refused:
		return errRefused
	}
	return nil
}
