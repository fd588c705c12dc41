package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/keystore/sealed"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

func (a *app) backupCommand() *cobra.Command {
	var to output
	command := &cobra.Command{
		Use:   "backup",
		Short: "Back up a store in a folder",
		Long: `Writes all keys and revocation lists of a store in a folder to one file: a tar archive with a checksum. It shows one moment
of the store, which may be in use. "meshpass restore" puts it back.

The file holds the private keys, unless the store is encrypted: keep it as safe as the folder. Its mode is 0600.`,
		Example: `  meshpass backup --store dir:./keys --output keys.tar
  meshpass backup --store dir:./keys --output keys.tar --overwrite`,
		Args: noArguments,
	}
	to.flags(command)
	command.RunE = func(command *cobra.Command, _ []string) error {
		if err := to.check(); err != nil {
			return err
		}
		ctx, cancel, err := a.begin(command)
		if err != nil {
			return err
		}
		defer cancel()
		store, err := a.connectDir(ctx, "back up", false)
		if err != nil {
			return err
		}
		if to.file == "" && isTerminal(a.out) {
			return usagef("the backup is no text for a terminal: give --output FILE")
		}
		var archive bytes.Buffer
		records, err := store.Backup(ctx, &archive)
		if err != nil {
			return advise(err, "mend or delete what cannot be read first: a backup without it would not be one")
		}
		if err := a.write(to, archive.Bytes()); err != nil {
			return err
		}
		a.say("backed up %d records", records)
		return nil
	}
	return command
}

func (a *app) restoreCommand() *cobra.Command {
	var forget bool
	command := &cobra.Command{
		Use:   "restore FILE",
		Short: "Restore a store in a folder from a backup",
		Long: `Replaces all keys, revocation lists and cutoffs of a store in a folder by those of a file that "meshpass backup" has made.
It checks the whole file first. The store may be in use: its readers see the state before or the restored one.

What is revoked now, by its id or by a cutoff, stays revoked, though the backup does not have it. With --forget-revocations
it becomes valid again, except for ids that were pruned. What was revoked at the time of the backup is revoked again. Keys
are those of the backup: a key that was removed since verifies again. The command lists all of these ids, cutoffs and keys.

Do not copy files into a folder that is in use: this command is the way that lets no revoked token in.`,
		Example: `  meshpass backup --store dir:./keys --output keys.tar
  meshpass restore --store dir:./keys keys.tar
  meshpass restore --store dir:./keys keys.tar --forget-revocations`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("which backup? Give the file that \"meshpass backup\" has made (\"-\" is standard input)")
			}
			return nil
		},
	}
	command.Flags().BoolVar(&forget, "forget-revocations", false, "take the revocation lists and cutoffs as they are in the backup: what was revoked since is valid again")
	command.RunE = func(command *cobra.Command, args []string) error {
		from, err := a.open(args[0])
		if err != nil {
			return err
		}
		defer from.Close()
		ctx, cancel, err := a.begin(command)
		if err != nil {
			return err
		}
		defer cancel()
		store, err := a.connectDir(ctx, "restore", true)
		if err != nil {
			return err
		}
		sealer, options, err := a.sealer()
		if err != nil {
			return err
		}
		r := &restoring{sealer: sealer, options: options, forget: forget}
		err = store.Restore(ctx, from, r.merge)
		if errors.Is(err, context.DeadlineExceeded) {
			return advise(err, "give it more time with --timeout")
		}
		if err != nil {
			return err
		}
		a.say("restored %d records", r.records)
		for _, line := range r.report {
			a.say("%s", line)
		}
		return nil
	}
	return command
}

// open opens a file for reading, or standard input for "-".
func (a *app) open(file string) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(a.in), nil
	}
	if isSecret(file) {
		return nil, usagef("want the path of a file, not its content: every user of this machine can see the command line")
	}
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, advise(fmt.Errorf("there is no file %q", file), "check the path")
	}
	if err != nil {
		return nil, advise(err, "choose a file that you may read")
	}
	return f, nil
}

// connectDir returns the store in a folder that the flags or the environment name. Its
// records are as they are stored: sealed ones stay sealed.
func (a *app) connectDir(ctx context.Context, what string, prepare bool) (*dir.Store, error) {
	where, err := a.where()
	if err != nil {
		return nil, err
	}
	if where.controlPlane != "" {
		return nil, usagef("a control plane cannot %s: use its store, with --store", what)
	}
	if !strings.HasPrefix(where.store, "dir:") && !strings.HasPrefix(where.store, "file:") {
		return nil, usagef("this command is for a store in a folder, such as --store dir:./keys: for others use the tools of their engine")
	}
	opened, err := a.openEngine(ctx, where, prepare)
	if err != nil {
		return nil, err
	}
	return opened.KeyStore.(*dir.Store), nil
}

// restoring decides what a restore makes of the present records, and reports it.
type restoring struct {
	sealer  sealed.Sealer
	options []sealed.Option
	forget  bool

	records int
	report  []string
}

// merge keeps the ids that are revoked at present, unless they are to be forgotten.
func (r *restoring) merge(ctx context.Context, present, backup keystore.KeyStore) error {
	ctx = audit.WithLogger(ctx, slog.New(slog.DiscardHandler)) // nobody revokes anything
	now, err := present.List(ctx, keystore.AllScopes, "")
	if err != nil {
		return err
	}
	then, err := backup.List(ctx, keystore.AllScopes, "")
	if err != nil {
		return err
	}
	openPresent, err := sealed.New(present, r.sealer, r.options...)
	if err != nil {
		return err
	}
	openBackup, err := sealed.New(backup, r.sealer, r.options...)
	if err != nil {
		return err
	}
	ofItsOwner := func(record keystore.Record, kind token.Kind, mesh string) bool {
		return record.Scope == keystore.Global || kind == token.KindDataplane && record.Scope == keystore.Scope(mesh)
	}
	for _, record := range now {
		if kind, mesh, ok := revocation.ParseCutoffsName(record.Name); ok && ofItsOwner(record, kind, mesh) {
			if err := r.mergeCutoffs(ctx, revocation.CutoffsRef{Scope: record.Scope, Name: record.Name}, openPresent, openBackup); err != nil {
				return err
			}
		} else if kind, mesh, ok := revocation.ParseName(record.Name); ok && ofItsOwner(record, kind, mesh) {
			if err := r.mergeList(ctx, revocation.Ref{Scope: record.Scope, Name: record.Name}, openPresent, openBackup); err != nil {
				return err
			}
		} else if !has(then, record) {
			r.report = append(r.report, fmt.Sprintf("gone: %s, which the backup does not have", named(record)))
		}
	}
	for _, record := range then {
		_, _, list := revocation.ParseName(record.Name)
		_, _, cutoffs := revocation.ParseCutoffsName(record.Name)
		if !list && !cutoffs && !has(now, record) {
			r.report = append(r.report, fmt.Sprintf("back: %s, which was not there; tokens that it verifies are valid", named(record)))
		}
	}
	after, err := backup.List(ctx, keystore.AllScopes, "")
	if err != nil {
		return err
	}
	r.records = len(after)
	if len(now) == 0 { // nothing is there again, since nothing was there
		return nil
	}
	for _, record := range after {
		if kind, mesh, ok := revocation.ParseCutoffsName(record.Name); ok && ofItsOwner(record, kind, mesh) {
			r.reportCutoffsBack(ctx, revocation.CutoffsRef{Scope: record.Scope, Name: record.Name}, openPresent, openBackup)
		} else if kind, mesh, ok := revocation.ParseName(record.Name); ok && ofItsOwner(record, kind, mesh) {
			cutoffs := revocation.CutoffsOf(kind, keystore.Scope(mesh))
			r.reportIDsBack(ctx, revocation.Ref{Scope: record.Scope, Name: record.Name}, cutoffs, openPresent, openBackup)
		}
	}
	return nil
}

// reportCutoffsBack reports the cutoffs that are in force again, since they were removed
// after the backup. A record that cannot be read says nothing.
func (r *restoring) reportCutoffsBack(ctx context.Context, of revocation.CutoffsRef, present, restored keystore.KeyStore) {
	now, err := of.Load(ctx, present)
	after, afterErr := of.Load(ctx, restored)
	if err != nil || afterErr != nil {
		return
	}
	for _, c := range after.Lacking(now) {
		r.report = append(r.report, fmt.Sprintf("revoked again, by %q: %s", of.Name, c))
	}
}

// reportIDsBack reports the ids that are on the list again, except for pruned ones, which
// are revoked at present too.
func (r *restoring) reportIDsBack(ctx context.Context, list revocation.Ref, cutoffs []revocation.CutoffsRef, present, restored keystore.KeyStore) {
	now, err := list.Load(ctx, present)
	after, afterErr := list.Load(ctx, restored)
	if err != nil || afterErr != nil {
		return
	}
	back := after.IDs()
	for _, ref := range cutoffs {
		pruned, err := ref.Load(ctx, present)
		if err != nil {
			return
		}
		back = slices.DeleteFunc(back, func(id string) bool {
			made, ok := revocation.IDTime(id)
			return now.Contains(id) || ok && made.Before(pruned.Floor())
		})
	}
	if len(back) > 0 {
		slices.Sort(back)
		r.report = append(r.report, fmt.Sprintf("revoked again, by the list %q: %s", list.Name, someOf(back)))
	}
}

// mergeCutoffs keeps the present cutoffs and the present floor, unless they are to be
// forgotten. The floor is always kept: ids below it are on no list any more.
func (r *restoring) mergeCutoffs(ctx context.Context, of revocation.CutoffsRef, present, backup keystore.KeyStore) error {
	now, err := of.Load(ctx, present)
	if err != nil {
		return advise(fmt.Errorf("the cutoffs that are in force at present cannot be kept: %w", err), "mend the record, or give --encryption-key-file if it is encrypted")
	}
	if r.forget {
		then, err := of.Load(ctx, backup)
		if err != nil {
			return advise(fmt.Errorf("in the backup: %w", err), "give the key that it is encrypted with: --encryption-key-file")
		}
		for _, c := range now.All() {
			if !slices.Contains(then.All(), c) {
				r.report = append(r.report, fmt.Sprintf("valid again, by %q: %s", of.Name, c))
			}
		}
		now = revocation.NewCutoffs(nil, now.Floor())
	}
	added, _, err := of.Keep(ctx, backup, now)
	for _, c := range added {
		r.report = append(r.report, fmt.Sprintf("still revoked, by %q, though not in the backup: %s", of.Name, c))
	}
	return err
}

func (r *restoring) mergeList(ctx context.Context, list revocation.Ref, present, backup keystore.KeyStore) error {
	now, err := list.Load(ctx, present)
	if err != nil && r.forget {
		r.report = append(r.report, fmt.Sprintf("warning: what the present list %q revokes cannot be told, and is forgotten", list.Name))
		return nil
	}
	if err != nil {
		return advise(fmt.Errorf("the ids that are revoked at present cannot be kept: %w", err), "mend the list, give --encryption-key-file if it is encrypted, or --forget-revocations")
	}
	for _, problem := range now.Problems() { // what is no id revokes nothing at present either
		r.report = append(r.report, fmt.Sprintf("warning: the present list %q: %v", list.Name, problem))
	}
	then, err := list.Load(ctx, backup)
	if err != nil {
		return advise(fmt.Errorf("in the backup: %w", err), "give the key that it is encrypted with: --encryption-key-file")
	}
	var since []string
	for _, id := range now.IDs() {
		if !then.Contains(id) {
			since = append(since, id)
		}
	}
	if len(since) == 0 {
		return nil
	}
	slices.Sort(since)
	if r.forget {
		r.report = append(r.report, fmt.Sprintf("valid again, by the list %q: %s", list.Name, strings.Join(since, ", ")))
		return nil
	}
	r.report = append(r.report, fmt.Sprintf("still revoked, by the list %q, though not in the backup: %s", list.Name, strings.Join(since, ", ")))
	return list.Add(ctx, backup, since...)
}

func has(records []keystore.Record, r keystore.Record) bool {
	_, found := slices.BinarySearchFunc(records, r, keystore.CompareRecords)
	return found
}

func named(r keystore.Record) string {
	if r.Scope == keystore.Global {
		return fmt.Sprintf("%q", r.Name)
	}
	return fmt.Sprintf("%q of mesh %q", r.Name, string(r.Scope))
}
