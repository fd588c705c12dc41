package main

import (
	"errors"
	"fmt"
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
here. A control plane lists only public keys.`,
		Example: `  meshpass keys list --mesh default
  meshpass keys list --zone-tokens`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			of, err := which.owner()
			if err != nil {
				return err
			}
			ctx, cancel, err := a.begin(command)
			if err != nil {
				return err
			}
			defer cancel()
			from, done, err := a.connect(ctx, connecting{})
			if err != nil {
				return err
			}
			defer done()
			list, err := from.keys(ctx, of)
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
			table := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "KEY\tADDED\tBITS\tUSE\tFINGERPRINT")
			for _, k := range list.keys {
				added, bits, fingerprint := "-", "-", "-"
				if !k.created.IsZero() {
					added = k.created.UTC().Format(time.RFC3339)
				}
				if k.public != nil {
					bits, fingerprint = fmt.Sprint(k.public.Bits()), k.public.Fingerprint()
				}
				fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", plain(k.kid), added, bits, k.use, fingerprint)
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

--first makes the first key of a mesh, or of zone tokens. It does nothing if there is a key already.`,
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
		var private *signing.PrivateKey
		var public *signing.PublicKey
		switch {
		case publicPath != "":
			public, err = a.readPublicKey("--public", publicPath)
		case signingKeyPath != "":
			private, err = a.readSigningKey(signingKeyPath)
		case !first:
			private, err = generateKey(bits)
		}
		if err != nil {
			return err
		}
		ctx, cancel, err := a.begin(command)
		if err != nil {
			return err
		}
		defer cancel()
		to, done, err := a.connectStore(ctx, "add keys", connecting{prepare: first})
		if err != nil {
			return err
		}
		defer done()
		before, err := to.keys(ctx, of)
		if err != nil {
			return err
		}
		var added signing.Key
		switch {
		case public != nil && first && len(before.keys) > 0:
			a.say("there is a key for %s already, number %s: nothing to do", of, before.keys[len(before.keys)-1].kid)
			return nil
		case public != nil && !first && len(before.keys) == 0:
			err = signing.ErrNoKey // AddExternalKey would make the first one, also of a mistyped mesh
		case public != nil && of.mesh == "":
			added, err = zone.AddExternalKey(ctx, to.KeyStore, public)
		case public != nil:
			added, err = dataplane.AddExternalKey(ctx, to.KeyStore, of.mesh, public)
		case first && of.mesh == "":
			added, err = zone.EnsureKey(ctx, to.KeyStore)
		case first:
			added, err = dataplane.EnsureKey(ctx, to.KeyStore, of.mesh)
		case of.mesh == "":
			added, err = zone.AddKey(ctx, to.KeyStore, private)
		default:
			added, err = dataplane.AddKey(ctx, to.KeyStore, of.mesh, private)
		}
		if err != nil {
			return fmt.Errorf("no key was added: %w", to.explainKey(ctx, err, of))
		}
		switch {
		case first && len(before.keys) > 0:
			a.say("there is a key for %s already, number %s: nothing to do", of, added.Serial.KeyID())
		case len(before.keys) > 0 && before.keys[len(before.keys)-1].kid == added.Serial.KeyID():
			a.say("the key is key %s of %s already: nothing to do", added.Serial.KeyID(), of)
		case first && public != nil:
			a.say("added key %s of %s: it signs, in a KMS or HSM", added.Serial.KeyID(), of)
		case first:
			a.say("made key %s of %s: it signs", added.Serial.KeyID(), of)
		case len(before.keys) == 0: // another process has made the first one since
			a.say("added key %s of %s", added.Serial.KeyID(), of)
		default:
			a.say(`added key %s of %s; next, replace every token, then remove the old key with "meshpass keys remove %s %s"`,
				added.Serial.KeyID(), of, before.keys[0].kid, of.flag())
		}
		return nil
	}
	return command
}

func (a *app) removeKeyCommand(which *choice) *cobra.Command {
	var force, all bool
	var publishDelay time.Duration
	command := &cobra.Command{
		Use:   "remove [NUMBER]",
		Short: "Remove a key: tokens that it signed are refused",
		Long: `Removes a key by its number. From then on validators refuse every token that it signed, and open streams with such
tokens end. The key that signs is removed only with --force. The newest key is never removed by its number: add the next
key first, so that no number is given twice. For a mesh that is deleted, --all removes all keys.

This command cannot know whether tokens of the key are still in use: ask the control planes.`,
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
	flags.BoolVar(&force, "force", false, "remove the key even if it signs")
	flags.BoolVar(&all, "all", false, "remove all keys")
	flags.DurationVar(&publishDelay, "publish-delay", 0, "the publish delay of your control plane; a younger key does not sign")
	completes(command, "publish-delay", cobra.ShellCompDirectiveNoFileComp)
	command.RunE = func(command *cobra.Command, args []string) error {
		of, err := which.owner()
		if err != nil {
			return err
		}
		if all {
			return a.removeAllKeys(command, of)
		}
		serial, ok := signing.ParseSerial(args[0])
		if !ok {
			return usagef("%q is not the number of a key, want one such as 1; keys in files are not in a store", args[0])
		}
		ctx, cancel, err := a.begin(command)
		if err != nil {
			return err
		}
		defer cancel()
		from, done, err := a.connectStore(ctx, "remove keys", connecting{publishDelay: publishDelay})
		if err != nil {
			return err
		}
		defer done()
		if of.mesh == "" {
			options := []zone.RemoveOption{zone.WithPublishDelay(publishDelay)}
			if force {
				options = append(options, zone.Forced())
			}
			err = zone.RemoveKey(ctx, from.KeyStore, serial, options...)
		} else {
			options := []dataplane.RemoveOption{dataplane.WithPublishDelay(publishDelay)}
			if force {
				options = append(options, dataplane.Forced())
			}
			err = dataplane.RemoveKey(ctx, from.KeyStore, of.mesh, serial, options...)
		}
		switch {
		case errors.Is(err, signing.ErrInUse):
			return advise(err, `"meshpass keys add %s" does that`, of.flag())
		case err != nil:
			return from.explain(err, of)
		}
		a.say("removed key %s of %s: every token that it signed is refused", serial.KeyID(), of)
		return nil
	}
	return command
}

func (a *app) removeAllKeys(command *cobra.Command, of owner) error {
	ctx, cancel, err := a.begin(command)
	if err != nil {
		return err
	}
	defer cancel()
	from, done, err := a.connectStore(ctx, "remove keys", connecting{})
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
