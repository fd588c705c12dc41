package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/zone"
)

func (a *app) keysCommand() *cobra.Command {
	var which choice
	command := group("keys", "List, add and remove signing keys")
	command.Long = `Lists, adds and removes the keys that sign the dataplane tokens of a mesh, or zone tokens. Keys are numbered: the newest
key signs, and all keys verify.

To rotate in three steps: add the next key, replace every token, remove the old key.`
	command.Example = `  meshpass keys add --mesh default
  meshpass generate dataplane-token --mesh default --name dp-1 --valid-for 720h --output dp-1.token --overwrite
  meshpass keys remove 1 --mesh default`
	which.flags(command)
	command.AddCommand(a.listKeysCommand(&which), a.addKeyCommand(&which), a.removeKeyCommand(&which))
	return command
}

func (a *app) listKeysCommand(which *choice) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the keys",
		Long: `Lists each key: its number (the kid of tokens), when it was added, its size, whether it signs or only verifies, and the
fingerprint of its public half. A key is in the store, in a KMS or HSM, or elsewhere if only its public half was copied
here. A control plane also says how its process has used each key, if it knows: how many tokens it accepted, when the last
one, and how many of their sessions are open.`,
		Example: `  meshpass keys list --mesh default
  meshpass keys list --zone-tokens`,
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
			list, err := from.keyStates(ctx, of)
			if err != nil {
				return err
			}
			for _, problem := range list.problems {
				a.say("warning: %s", problem)
			}
			if len(list.keys) == 0 {
				a.say(`there are no keys for %s in %s; make the first one with "meshpass keys add --first %s"`, of, from, of.flag())
				return nil
			}
			known := slices.ContainsFunc(list.keys, func(k key) bool { return k.used != nil })
			table := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			header := "KEY\tADDED\tBITS\tUSE\tFINGERPRINT"
			if known {
				header += "\tACCEPTED\tLAST USED\tSESSIONS"
			}
			fmt.Fprintln(table, header)
			for _, k := range list.keys {
				added, bits, fingerprint := "-", "-", "-"
				if !k.created.IsZero() {
					added = k.created.UTC().Format(time.RFC3339)
				}
				if k.bits != 0 {
					bits, fingerprint = fmt.Sprint(k.bits), k.fingerprint
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s", plain(k.kid), added, bits, k.use, plain(fingerprint))
				if known && k.used != nil {
					last := "-"
					if !k.used.LastUsed.IsZero() {
						last = k.used.LastUsed.UTC().Format(time.RFC3339)
					}
					fmt.Fprintf(table, "\t%d\t%s\t%d", k.used.Validations, last, k.used.Sessions)
				}
				fmt.Fprintln(table)
			}
			return table.Flush()
		},
	}
}

func (a *app) addKeyCommand(which *choice) *cobra.Command {
	var first bool
	var bits int
	var signingKeyPath, publicPath string
	command := &cobra.Command{
		Use:   "add",
		Short: "Add the next key, which then signs",
		Long: `Makes a key with the next number. It signs at once, or after the publish delay of your control plane. The older keys
still verify.

--public adds a key in a KMS or HSM by its public half. Only control planes that have the signer issue tokens from then
on: give it to them first. A key that is the newest already is not added again.

--first makes the first key of a mesh, or of zone tokens. It does nothing if there is a key already.

A control plane makes the key itself. No private key is sent to it or comes from it.`,
		Example: `  meshpass keys add --first --mesh default
  meshpass keys add --first --zone-tokens
  meshpass keys add --mesh default
  meshpass keys add --mesh default --signing-key-path key.pem
  meshpass keys add --mesh default --public kms.pem`,
		Args: noArguments,
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.BoolVar(&first, "first", false, "make the first key, and the folder or tables of the store, unless they exist")
	flags.IntVar(&bits, "bits", signing.DefaultBits, "size of the key: 2048, 3072 or 4096")
	textFlag(flags, &signingKeyPath, "signing-key-path", "", "file", "add the private key in this file instead of making one (\"-\" is standard input)")
	textFlag(flags, &publicPath, "public", "", "file", "add the key in a KMS or HSM whose public half is in this file (PEM or DER)")
	completes(command, "bits", cobra.ShellCompDirectiveNoFileComp, bitSizes...)
	command.RunE = func(command *cobra.Command, _ []string) error {
		of, err := which.owner()
		if err != nil {
			return err
		}
		given := command.Flags().Changed
		switch {
		case first && (given("bits") || signingKeyPath != ""):
			return usagef("--first makes a key of %d bits: leave out --bits and --signing-key-path, or add your key afterwards", signing.DefaultBits)
		case given("bits") && signingKeyPath != "":
			return usagef("--bits is the size of a new key: leave it out with --signing-key-path")
		case publicPath != "" && (given("bits") || signingKeyPath != ""):
			return usagef("--public adds a key that is elsewhere: leave out --bits and --signing-key-path")
		}
		wanted := wantedKey{first: first, bits: bits}
		switch {
		case publicPath != "":
			wanted.public, err = a.readPublicKey("--public", publicPath)
		case signingKeyPath != "":
			if where, _ := a.where(); where.controlPlane != "" {
				return usagef("--signing-key-path is for --store: a private key is never sent to a control plane")
			}
			wanted.private, err = a.readSigningKey(signingKeyPath)
		case !first:
			if where, _ := a.where(); where.store != "" {
				wanted.private, err = generateKey(bits) // before the timeout begins: it takes a while
			} else {
				err = oneOf("--bits", fmt.Sprint(bits), bitSizes)
			}
		}
		if err != nil {
			return err
		}
		ctx, to, done, err := a.connect(command, connecting{prepare: first})
		if err != nil {
			return err
		}
		defer done()
		key, err := to.addKey(ctx, of, wanted)
		if err != nil {
			return fmt.Errorf("no key was added: %w", err)
		}
		switch {
		case !key.added && first:
			a.say("there is a key for %s already, number %s: nothing to do", of, key.kid)
		case !key.added:
			a.say("the key is key %s of %s already: nothing to do", key.kid, of)
		case first && wanted.public != nil:
			a.say("added key %s of %s: it signs, in a KMS or HSM", key.kid, of)
		case first:
			a.say("made key %s of %s: it signs", key.kid, of)
		case key.oldest == "": // another process has made the first one since, or the control plane does not list keys for this user
			a.say("added key %s of %s", key.kid, of)
		default:
			a.say(`added key %s of %s; next, replace every token, then remove the old key with "meshpass keys remove %s %s"`,
				key.kid, of, key.oldest, of.flag())
		}
		return nil
	}
	return command
}

func (a *app) removeKeyCommand(which *choice) *cobra.Command {
	var force, all bool
	var publishDelay time.Duration
	var unusedSince string
	command := &cobra.Command{
		Use:   "remove [NUMBER]",
		Short: "Remove a key: tokens that it signed are refused",
		Long: `Removes a key by its number. From then on validators refuse every token that it signed, and open streams with such
tokens end. The key that signs is removed only with --force. The newest key is never removed by its number: add the next
key first, so that no number is given twice. For a mesh that is deleted, --all removes all keys.

A store does not know whether tokens of the key are still in use. A control plane does, as far as its own process has seen
them: without --force it keeps a key while sessions with its tokens are open, and with --unless-used-since also if it accepted
such a token after that moment. Ask every control plane.`,
		Example: `  meshpass keys remove 1 --mesh default
  meshpass keys remove --all --mesh retired`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case all && len(args) > 0:
				return usagef("there is a number and --all, want one of them")
			case !all && len(args) != 1:
				return usagef(`which key? Give one number; "meshpass keys list" shows them`)
			}
			return nil
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.BoolVar(&force, "force", false, "remove the key even if it signs or is in use")
	flags.BoolVar(&all, "all", false, "remove all keys")
	flags.DurationVar(&publishDelay, "publish-delay", 0, "the publish delay of your control plane; a younger key does not sign")
	textFlag(flags, &unusedSince, "unless-used-since", "", "moment", "keep the key if the control plane accepted its tokens after a time such as 2026-11-29T10:00:00Z, or within an age such as 2h")
	completes(command, "publish-delay", cobra.ShellCompDirectiveNoFileComp)
	completes(command, "unless-used-since", cobra.ShellCompDirectiveNoFileComp)
	command.RunE = func(command *cobra.Command, args []string) error {
		of, err := which.owner()
		if err != nil {
			return err
		}
		how := removal{force: force}
		switch {
		case unusedSince != "" && (force || all):
			return usagef("--unless-used-since keeps a key that is in use: leave it out with --force and --all")
		case unusedSince != "":
			if how.unusedSince, err = a.since(unusedSince); err != nil {
				return err
			}
		case all:
			return a.removeAllKeys(command, of)
		}
		serial, ok := signing.ParseSerial(args[0])
		if !ok {
			return usagef("%q is not the number of a key, want one such as 1; keys in files are not in a store", args[0])
		}
		ctx, from, done, err := a.connect(command, connecting{publishDelay: publishDelay})
		if err != nil {
			return err
		}
		defer done()
		switch err := from.removeKey(ctx, of, serial, how); {
		case errors.Is(err, signing.ErrInUse) && !strings.Contains(err.Error(), "add the next"): // that would not help
			return advise(err, "replace the tokens of the key; --force ends their sessions")
		case errors.Is(err, signing.ErrInUse):
			return advise(err, `"meshpass keys add %s" does that`, of.flag())
		case err != nil:
			return err
		}
		a.say("removed key %s of %s: every token that it signed is refused", serial.KeyID(), of)
		return nil
	}
	return command
}

// since reads a moment of the past: a time or an age.
func (a *app) since(text string) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		if at.After(a.now()) {
			return time.Time{}, usagef("--unless-used-since: %s is ahead", text)
		}
		return at, nil
	}
	age, err := parseDays(text)
	if err != nil || age <= 0 {
		return time.Time{}, usagef("--unless-used-since: %.64q is not a time such as 2026-11-29T10:00:00Z, or an age such as 2h or 30d", text)
	}
	return a.now().Add(-age), nil
}

func (a *app) removeAllKeys(command *cobra.Command, of owner) error {
	ctx, from, done, err := a.connectStore(command, "remove all keys", connecting{})
	if err != nil {
		return err
	}
	defer done()
	if of.mesh == "" {
		err = zone.RemoveAllKeys(ctx, from.KeyStore)
	} else {
		err = dataplane.RemoveAllKeys(ctx, from.KeyStore, of.mesh)
	}
	if err != nil {
		return from.explain(err, of)
	}
	a.say("removed all keys of %s: every token that they signed is refused", of)
	return nil
}
