package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func (a *app) importCommand() *cobra.Command {
	var i importing
	command := &cobra.Command{
		Use:   "import FILE...",
		Short: "Take keys and revocation lists from Kuma or Kong Mesh",
		Long: `Puts signing keys, public keys and revocation lists into a store. It reads what "kumactl get secrets" and "kumactl get
global-secrets" print with -o yaml or -o json, and Secrets of Kubernetes, from files or standard input ("-"): single ones,
lists, and several documents in one file, of at most 16 MiB. It makes the folder or the tables of the store.

A line for each secret says what becomes of it. "left" names the reason. Other secrets are left too, so you need not pick.

A key that the store has otherwise is left, unless you give --overwrite. Of a revocation list the ids are added: an import
never makes a revoked token valid again. You can run the command again: the second time it changes nothing.

The newest key of a mesh signs. If you import one with a higher number, it signs from then on.

The exit status is 1 if a key, a list or cutoffs were left.`,
		Example: `  meshpass export --all --output secrets.yaml
  meshpass import secrets.yaml --dry-run
  meshpass import secrets.yaml --store dir:./other`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef(`which secrets? Give a file, such as one from "kumactl get secrets --mesh default -o yaml" ("-" is standard input)`)
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.BoolVar(&i.dryRun, "dry-run", false, "change nothing, only say what would be done")
	flags.BoolVar(&i.overwrite, "overwrite", false, "replace keys that the store has otherwise; lists are never replaced")
	flags.BoolVar(&i.publicOnly, "public-only", false, "for the store of a zone: take the public halves of private keys")
	command.RunE = func(command *cobra.Command, args []string) error {
		var found []manifest
		for _, path := range args { // all of them, before the store is changed
			manifests, err := a.readManifests(path)
			if err != nil {
				return err
			}
			found = append(found, manifests...)
		}
		ctx, cancel, err := a.begin(command)
		if err != nil {
			return err
		}
		defer cancel()
		to, done, err := a.reachStore(ctx, "import", connecting{prepare: !i.dryRun})
		switch {
		case err == nil:
			defer done()
		case i.dryRun && errors.Is(err, errNoFolder):
			to = &storeService{KeyStore: keystore.NewMemory(), name: "a new store"}
		default:
			return err
		}
		i.app, i.to = a, to
		for _, m := range found {
			if err := i.take(ctx, m); err != nil {
				return fmt.Errorf("the import ended at %s, run it again: %w", m.name, to.explain(err, owner{string(m.record.Scope)}))
			}
		}
		return i.conclude(len(found))
	}
	return command
}

// importing takes records into a store, and reports.
type importing struct {
	dryRun, overwrite, publicOnly bool

	app    *app
	to     *storeService
	before []keystore.Record // what the input has had so far

	took, same, foreign, faults int
}

// say reports what becomes of a secret.
func (i *importing) say(what, name, format string, args ...any) {
	line := fmt.Sprintf("%-10s%s", what, name)
	if format != "" {
		line += ": " + oneLine(fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(&i.app.report, line)
}

func (i *importing) left(name string, reason error) {
	i.faults++
	i.say("left", name, "%v", reason)
}

// take imports a record. The error is that of the store.
func (i *importing) take(ctx context.Context, m manifest) error {
	if m.foreign != "" {
		i.foreign++
		i.say("left", m.name, "it is a %s, not a secret of Kuma", plain(m.foreign))
		return nil
	}
	if _, _, ok := revocation.ParseCutoffsName(m.record.Name); ok {
		i.left(m.name, errors.New("it holds cutoffs, or the floor of a pruned list, which an import does not take: add cutoffs with meshpass cutoffs add, and prune here too"))
		return nil
	}
	what, serial, err := contentOf(m.record.Scope, m.record.Name)
	switch {
	case err == nil && what == foreign:
		i.foreign++
		i.say("left", m.name, "it is neither a signing key nor a revocation list")
		return nil
	case err != nil:
		i.left(m.name, err)
		return nil
	case m.fault != nil:
		i.left(m.name, m.fault)
		return nil
	}
	if err := keystore.CheckRecord(m.record, maxManifest); err != nil {
		i.left(m.name, err)
		return nil
	}
	record, err := checkContent(m.record, what, serial, i.publicOnly)
	if err != nil {
		i.left(m.name, err)
		return nil
	}
	name := m.name
	if record.Name != m.record.Name {
		name = named(record) + ", the public half"
	}
	if what == list {
		return i.takeList(ctx, name, record)
	}
	for _, earlier := range i.before {
		if keystore.CompareRecords(earlier, record) == 0 && !bytes.Equal(earlier.Data, record.Data) {
			i.left(name, errors.New("the input has two different keys of this name, and the first counts"))
			return nil
		}
	}
	i.before = append(i.before, record)
	return i.takeKey(ctx, name, record, serial)
}

// otherHalf returns the name of a record that the store has for the same serial and that
// holds another key: the two would make each other unusable.
func (i *importing) otherHalf(ctx context.Context, record keystore.Record, serial signing.Serial) (other string, err error) {
	theirs, err := publicHalf(record.Data)
	if err != nil {
		return "", nil
	}
	series := seriesOf(record.Scope)
	for _, name := range []string{series.KeyName(serial), series.ExternalKeyName(serial), series.PublicKeyName(serial)} {
		if name == record.Name {
			continue
		}
		present, err := i.to.Get(ctx, record.Scope, name)
		if errors.Is(err, keystore.ErrNotFound) || errors.Is(err, keystore.ErrUnreadable) {
			continue
		}
		if err != nil {
			return "", err
		}
		if ours, err := publicHalf(present.Data); err == nil && !ours.Equal(theirs) { // else it is unusable already
			return name, nil
		}
	}
	return "", nil
}

func publicHalf(data []byte) (*signing.PublicKey, error) {
	private, err := signing.ParsePrivateKey(data)
	if err == nil {
		return private.Public(), nil
	}
	return signing.ParsePublicKey(data)
}

func (i *importing) takeKey(ctx context.Context, name string, record keystore.Record, serial signing.Serial) error {
	if other, err := i.otherHalf(ctx, record, serial); err != nil {
		return err
	} else if other != "" {
		i.left(name, fmt.Errorf("the store has another key with this number, as %q", other))
		return nil
	}
	present, err := i.to.Get(ctx, record.Scope, record.Name)
	was := "took"
	switch {
	case errors.Is(err, keystore.ErrNotFound):
		if !i.dryRun {
			_, err = i.to.Create(ctx, record)
		} else {
			err = nil
		}
	case errors.Is(err, keystore.ErrUnreadable):
		i.left(name, fmt.Errorf("the store has it already and cannot read it: %w", err))
		return nil
	case err != nil:
		return err
	case bytes.Equal(present.Data, record.Data):
		i.same++
		i.say("same", name, "")
		return nil
	case !i.overwrite:
		i.left(name, errors.New("the store has another key of this name; --overwrite replaces it, and then refuses the tokens that it signed"))
		return nil
	case !i.dryRun:
		was = "replaced"
		present.Data = record.Data
		_, err = i.to.Update(ctx, present)
	default:
		was, err = "replaced", nil
	}
	if isLeft(err) {
		i.left(name, err)
		return nil
	}
	if err == nil {
		i.took++
		i.say(was, name, "")
	}
	if !i.dryRun {
		kind := token.KindZone
		if record.Scope != keystore.Global {
			kind = token.KindDataplane
		}
		audit.Log(ctx, i.app.log(), audit.Event{Action: audit.AddKey, Err: err, Kind: kind, Mesh: string(record.Scope), KeyID: serial.KeyID()})
	}
	return err
}

// isLeft reports whether an error of the store is about one record: the import goes on.
func isLeft(err error) bool {
	return errors.Is(err, keystore.ErrNameTaken) || errors.Is(err, keystore.ErrName) || errors.Is(err, keystore.ErrTooLarge) ||
		errors.Is(err, keystore.ErrUnreadable) || errors.Is(err, revocation.ErrUnreadable)
}

// takeList creates a list as it is, or adds its ids to the one that the store has.
func (i *importing) takeList(ctx context.Context, name string, record keystore.Record) error {
	parsed, err := revocation.Parse(record.Data)
	if err != nil {
		return err
	}
	for _, problem := range parsed.Problems() {
		i.app.say("warning: %s: %v", name, problem)
	}
	ref := revocation.Ref{Scope: record.Scope, Name: record.Name}
	_, err = i.to.Get(ctx, ref.Scope, ref.Name)
	if errors.Is(err, keystore.ErrNotFound) && !i.dryRun {
		_, err = i.to.Create(ctx, record)
		if err == nil {
			i.took++
			i.say("took", name, "%d ids", parsed.Len())
			return nil
		}
		if other, ok := i.otherScope(ref); ok && errors.Is(err, keystore.ErrNameTaken) {
			ref, err = other, nil
			name += fmt.Sprintf(", in the list of %s, since this store has each name once", owner{string(ref.Scope)})
		}
		if errors.Is(err, keystore.ErrExists) {
			err = nil // another process has just made it
		}
	} else if errors.Is(err, keystore.ErrNotFound) {
		i.took++
		i.say("took", name, "%d ids", parsed.Len())
		return nil
	}
	var present *revocation.List
	if err == nil {
		present, err = ref.Load(ctx, i.to)
	}
	if isLeft(err) {
		i.left(name, err)
		return nil
	}
	if err != nil {
		return err
	}
	missing := slices.DeleteFunc(parsed.IDs(), present.Contains)
	if len(missing) == 0 {
		i.same++
		i.say("same", name, "")
		return nil
	}
	if !i.dryRun {
		if err := ref.Add(ctx, i.to, missing...); isLeft(err) {
			i.left(name, err)
			return nil
		} else if err != nil {
			return err
		}
	}
	i.took++
	i.say("added", name, "%d ids to the list of the store", len(missing))
	return nil
}

// otherScope returns the list of the same mesh in its other scope.
func (i *importing) otherScope(ref revocation.Ref) (revocation.Ref, bool) {
	kind, mesh, _ := revocation.ParseName(ref.Name)
	switch {
	case kind == token.KindZone:
		return ref, false
	case ref.Scope == keystore.Global:
		return revocation.Dataplane(mesh), true
	}
	return revocation.DataplaneGlobal(mesh), true
}

func (i *importing) conclude(found int) error {
	did := "imported"
	if i.dryRun {
		did = "nothing was changed; without --dry-run the command imports"
	}
	i.app.say("%s %d of %d secrets; %d the store has already, %d are of other kinds", did, i.took, found, i.same, i.foreign)
	if i.faults > 0 {
		return fmt.Errorf("%d keys, lists or cutoffs were left: see the reasons above", i.faults)
	}
	return nil
}
