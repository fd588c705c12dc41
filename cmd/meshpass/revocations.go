package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

func (a *app) revocationsCommand() *cobra.Command {
	var which choice
	command := group("revocations", "List, add and remove revoked tokens, one by one")
	command.Long = `Lists, adds and removes the ids of revoked tokens: dataplane tokens of a mesh, or zone tokens. Validators refuse a token
whose id is on the list, and open streams with it end. "meshpass inspect" and the audit log show the id of a token.

A mesh may have two lists: one in the scope of the mesh, and one of the same name in the global scope. A token is revoked
if its id is on either, and "add" and "remove" change each that exists. Kuma control planes read only the global one:
"make-global" makes it.`
	command.Example = `  meshpass revocations add --token-file dp-1.token
  meshpass revocations list --mesh default
  meshpass revocations remove --token-file dp-1.token`
	which.flags(command)
	command.AddCommand(a.listRevocationsCommand(&which),
		a.changeRevocationsCommand(&which, true), a.changeRevocationsCommand(&which, false), a.makeGlobalListCommand(&which), a.pruneCommand(&which))
	return command
}

func (a *app) listRevocationsCommand(which *choice) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the ids of revoked tokens",
		Long: `Lists the ids of revoked tokens, one per line. On standard error it says which lists of a mesh exist and which ids are on
one of two lists alone.`,
		Example: `  meshpass revocations list --mesh default
  meshpass revocations list --zone-tokens`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			of, err := which.owner()
			if err != nil {
				return err
			}
			ctx, from, done, err := a.connect(command, connecting{})
			if err != nil {
				return err
			}
			defer done()
			revoked, err := from.revoked(ctx, of)
			if err != nil {
				return err
			}
			a.warnOfProblems(revoked.problems, of)
			if len(revoked.ids) == 0 {
				a.say("nothing is revoked for %s in %s", of, from)
				a.warnWithoutKeys(ctx, from, of)
			}
			out := bufio.NewWriter(a.out)
			for _, id := range revoked.ids {
				fmt.Fprintln(out, id)
			}
			if err := out.Flush(); err != nil {
				return err
			}
			a.sayLists(revoked.lists, of)
			return nil
		},
	}
}

// makeGlobalListCommand makes the list that Kuma reads.
func (a *app) makeGlobalListCommand(which *choice) *cobra.Command {
	return &cobra.Command{
		Use:   "make-global",
		Short: "Make the revocation list of a mesh that Kuma reads",
		Long: `Makes the revocation list of a mesh in the global scope, with the ids of the list in the scope of the mesh. From then on
"add" and "remove" change both. If there is a global list already, it gets the ids that it lacks.

Kuma control planes read only this list. In a Kubernetes namespace a name exists once, so a mesh has one list there: make
the global one before the first revocation.

The list of zone tokens is always in the global scope.`,
		Example: "  meshpass revocations make-global --mesh default",
		Args:    noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			of, err := which.owner()
			if err != nil {
				return err
			}
			if of.mesh == "" {
				return usagef("the list of zone tokens is in the global scope already: give --mesh NAME")
			}
			ctx, to, done, err := a.connect(command, connecting{})
			if err != nil {
				return err
			}
			defer done()
			lists, err := to.makeGlobalList(ctx, of)
			if errors.Is(err, keystore.ErrNameTaken) {
				return advise(err, "Kuma does not read that list: docs/stores.md says how to replace it")
			}
			if err != nil {
				return err
			}
			a.sayLists(lists, of)
			a.warnWithoutKeys(ctx, to, of)
			return nil
		},
	}
}

// sayLists says where the lists of a mesh are.
func (a *app) sayLists(lists []httpapi.RevocationList, of owner) {
	var places []string
	for _, l := range lists {
		ids := "ids"
		if l.Count == 1 {
			ids = "id"
		}
		places = append(places, fmt.Sprintf("in %s (%d %s)", placeOf(l), l.Count, ids))
	}
	if len(lists) == 0 {
		return
	}
	if lists[len(lists)-1].Scope != httpapi.ScopeGlobal {
		places = append(places, "none in the global scope, which Kuma reads")
	}
	a.say("lists of %s: %s", of, strings.Join(places, ", "))
	for _, l := range lists {
		if len(l.Missing) > 0 {
			a.say("warning: the list of %s in %s lacks ids of the other one: %s", of, placeOf(l), someOf(l.Missing))
		}
	}
}

func placeOf(l httpapi.RevocationList) string {
	if l.Scope == httpapi.ScopeGlobal {
		return "the global scope"
	}
	return "the scope of the mesh"
}

// changeRevocationsCommand is add or remove.
func (a *app) changeRevocationsCommand(which *choice, add bool) *cobra.Command {
	var tokenFile string
	command := &cobra.Command{
		Use:   "remove [ID...]",
		Short: "Remove ids from the list: their tokens are good again",
		Long: `Removes ids from the list of revoked tokens: a token with such an id is good again, until it expires. You may remove the
ids of expired tokens. A token stays revoked if a cutoff revokes it, or if its id is from before the floor that "meshpass
revocations prune" has left; the command says so.`,
		Example: `  meshpass revocations remove --token-file dp-1.token
  meshpass revocations remove 6baf2c90-0e86-4c62-97a7-7835855834bc --zone-tokens`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	if add {
		command.Use = "add [ID...]"
		command.Short = "Revoke tokens"
		command.Long = `Revokes tokens by their ids. --token-file takes the id, and the list that it belongs on, from a token. "-"
instead of ids reads them from standard input, one a line or separated by commas.

The command does not check that an id exists: a mistyped id revokes nothing.`
		command.Example = `  meshpass revocations add --token-file dp-1.token
  meshpass revocations add 6baf2c90-0e86-4c62-97a7-7835855834bc --zone-tokens
  meshpass revocations list --mesh default | meshpass revocations add - --mesh other`
	}
	textFlag(command.Flags(), &tokenFile, "token-file", "", "file", "take the id, and the mesh, from the token in this file (\"-\" is standard input)")
	command.RunE = func(command *cobra.Command, args []string) error {
		of, ids, err := a.whichTokens(which, tokenFile, args)
		if err != nil {
			return err
		}
		ctx, to, done, err := a.connect(command, connecting{})
		if err != nil {
			return err
		}
		defer done()
		if add {
			revoked, err := to.revoke(ctx, of, ids)
			if err != nil {
				return fmt.Errorf("nothing was revoked: %w", err)
			}
			a.say("revoked for %s: %s", of, someOf(ids))
			a.sayLists(revoked.lists, of)
			a.warnOfProblems(revoked.problems, of)
			a.warnWithoutKeys(ctx, to, of)
			return nil
		}
		before, err := to.revoked(ctx, of)
		if err != nil {
			return err
		}
		a.warnOfProblems(before.problems, of)
		if err := to.restore(ctx, of, ids); err != nil {
			return err
		}
		present, err := to.cutoffs(ctx, of)
		if err != nil && !errors.Is(err, errNoCutoffs) { // the ids are off the list all the same
			a.say("warning: whether a cutoff or a pruned list revokes these tokens is not known: %v", err)
		}
		for _, id := range ids {
			_, was := slices.BinarySearch(before.ids, id)
			made, ok := revocation.IDTime(id)
			switch {
			case ok && made.Before(present.floor):
				a.say("still revoked for %s: %s, since every id of version 7 from before %s is", of, id, present.floor.Format(time.RFC3339))
			case was:
				a.say("no longer revoked for %s: %s", of, id)
			default:
				a.say("was not revoked for %s: %s", of, id)
			}
		}
		if len(present.list) > 0 {
			a.say("cutoffs may still revoke them: meshpass cutoffs list %s", of.flag())
		}
		return nil
	}
	return command
}

// whichTokens returns the ids that a command is about, and their owner.
func (a *app) whichTokens(which *choice, tokenFile string, args []string) (owner, []string, error) {
	if slices.ContainsFunc(args, isSecret) {
		return owner{}, nil, usagef("want an id, not a token or another secret: every user of this machine can see the command line; put the token into a file, for --token-file")
	}
	if tokenFile == "" {
		if len(args) == 0 {
			return owner{}, nil, usagef("which tokens? Give their ids, or a file with a token: --token-file FILE")
		}
		of, err := which.owner()
		if err != nil {
			return owner{}, nil, err
		}
		ids := args
		if slices.Contains(args, "-") {
			if len(args) > 1 {
				return owner{}, nil, usagef(`"-" stands for ids from standard input: leave out the other ids`)
			}
			if ids, err = a.readIDs(); err != nil {
				return owner{}, nil, err
			}
		}
		if _, err := revocation.Format(ids); err != nil {
			return owner{}, nil, usagef("%w", err)
		}
		return of, ids, nil
	}
	if len(args) > 0 {
		return owner{}, nil, usagef("both ids and --token-file are given, want one of them")
	}
	raw, err := a.readToken(tokenFile)
	if err != nil {
		return owner{}, nil, fmt.Errorf("--token-file: %w", err)
	}
	claims, err := claimsOf(raw)
	if err != nil {
		return owner{}, nil, advise(fmt.Errorf("%s: %w", nameOf(tokenFile), err), "want a file with a token and nothing else")
	}
	if claims.ID == "" {
		return owner{}, nil, advise(fmt.Errorf("the token in %s has no id (jti), so it cannot be revoked", nameOf(tokenFile)), "remove the key that signed it")
	}
	of := owner{claims.Dataplane.Mesh}
	if which.given() {
		said, err := which.owner()
		if err != nil {
			return owner{}, nil, err
		}
		if said != of {
			return owner{}, nil, usagef("the token in %s is of %s, but the flags say %s", nameOf(tokenFile), of, said)
		}
	}
	return of, []string{claims.ID}, nil
}

// readIDs reads ids from standard input, as lines or with commas.
func (a *app) readIDs() ([]string, error) {
	data, err := a.read("-")
	if err != nil {
		return nil, err
	}
	if isSecret(string(data)) {
		return nil, usagef("want ids on standard input, not a token or another secret: for a token use --token-file -")
	}
	list, err := revocation.Parse(data)
	if err == nil {
		err = errors.Join(list.Problems()...)
	}
	if err != nil {
		return nil, advise(fmt.Errorf("standard input: %w", err), "want ids, one a line or separated by commas; nothing was changed")
	}
	if list.Len() == 0 {
		return nil, advise(errors.New("standard input has no ids"), "want ids, one a line or separated by commas")
	}
	return list.IDs(), nil
}

func claimsOf(raw string) (token.Claims, error) {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return token.Claims{}, err
	}
	claims, err := unverified.Claims()
	if err == nil && claims.Kind() == "" {
		err = fmt.Errorf("%w: it is neither a dataplane token nor a zone token", token.ErrClaims)
	}
	return claims, err
}

// warnOfProblems tells what in a revocation list other programs may read otherwise.
func (a *app) warnOfProblems(problems []error, of owner) {
	for _, problem := range problems {
		a.say("warning: the revocation list of %s: %v", of, problem)
	}
}

// someOf names the ids, or if there are many, the first few.
func someOf(ids []string) string {
	const shown = 10
	if len(ids) <= shown {
		return strings.Join(ids, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(ids[:shown], ", "), len(ids)-shown)
}

// warnWithoutKeys warns of what may be a mistyped mesh: one that has no keys.
func (a *app) warnWithoutKeys(ctx context.Context, from service, of owner) {
	if list, err := from.keys(ctx, of); err == nil && len(list.keys) == 0 {
		a.say("warning: there are no keys for %s in %s: check the name", of, from)
	}
}
