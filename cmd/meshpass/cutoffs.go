package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/token"
)

func (a *app) cutoffsCommand() *cobra.Command {
	var which choice
	command := group("cutoffs", "Revoke all tokens that were issued before a moment")
	command.Long = `Lists, adds and removes cutoffs. A cutoff revokes every token that was issued before a moment: all dataplane tokens of a
mesh, all zone tokens, or those with one name, workload, zone or key. You need not know their ids.

A token that does not have the claim is not concerned: a cutoff for a name does not revoke a token without a name. A
cutoff does not expire. A later one for the same tokens replaces an earlier one.

Kuma control planes know no cutoffs. A cutoff is no remedy for a stolen signing key, since the thief chooses the time of
issue: remove the key.`
	command.Example = `  meshpass cutoffs add --mesh default --workload backend --before now --yes
  meshpass cutoffs list --mesh default
  meshpass cutoffs remove --mesh default --workload backend --yes`
	which.flags(command)
	command.AddCommand(a.listCutoffsCommand(&which), a.addCutoffCommand(&which), a.removeCutoffCommand(&which))
	return command
}

// concerned holds the flags that say which tokens of the owner a cutoff concerns.
type concerned struct{ name, workload, zone, kid string }

func (c *concerned) flags(command *cobra.Command) {
	flags := command.Flags()
	flags.SortFlags = false
	textFlag(flags, &c.name, "name", "", "name", "only tokens for the proxy with this name")
	textFlag(flags, &c.workload, "workload", "", "name", "only tokens for this workload")
	textFlag(flags, &c.zone, "zone", "", "name", "only tokens for this zone, with --zone-tokens")
	textFlag(flags, &c.kid, "kid", "", "key", "only tokens that this key signed")
	for _, flag := range []string{"name", "workload", "zone", "kid"} {
		completes(command, flag, cobra.ShellCompDirectiveNoFileComp)
	}
}

// cutoff returns a cutoff for the tokens that the flags name. Its moment is missing.
func (c *concerned) cutoff(command *cobra.Command, of owner) (revocation.Cutoff, error) {
	cutoff := revocation.Cutoff{Name: c.name, Workload: c.workload, Zone: c.zone, KeyID: c.kid}
	var given []string
	for _, f := range []struct{ flag, value string }{{"name", c.name}, {"workload", c.workload}, {"zone", c.zone}, {"kid", c.kid}} {
		if !command.Flags().Changed(f.flag) {
			continue
		}
		if f.value == "" { // such as that of an unset variable: a cutoff for all is another thing
			return cutoff, usagef("--%s is empty: leave it out for a cutoff for all tokens", f.flag)
		}
		given = append(given, "--"+f.flag)
	}
	switch {
	case len(given) > 1:
		return cutoff, usagef("%s are given, want at most one of them: make two cutoffs", strings.Join(given, " and "))
	case of.mesh == "" && c.name+c.workload != "":
		return cutoff, usagef("zone tokens have no %s: give --zone or --kid, or --mesh instead of --zone-tokens", strings.TrimPrefix(given[0], "--"))
	case of.mesh != "" && c.zone != "":
		return cutoff, usagef("dataplane tokens have no zone: give --zone-tokens instead of --mesh")
	}
	return cutoff, nil
}

// lackNote says which tokens a cutoff does not concern, or is empty.
func lackNote(c revocation.Cutoff) string {
	for _, s := range []struct{ claim, value string }{{"name", c.Name}, {"workload", c.Workload}} {
		if s.value != "" {
			return fmt.Sprintf("; tokens without a %s stay valid", s.claim)
		}
	}
	return ""
}

func (a *app) addCutoffCommand(which *choice) *cobra.Command {
	var subject concerned
	var before string
	var yes bool
	command := &cobra.Command{
		Use:   "add",
		Short: "Revoke the tokens that were issued before a moment",
		Long: `Adds a cutoff: it revokes every token that was issued before a moment. Open streams with such tokens end. The command
says in words which tokens these are, and asks. A control plane also says how many open sessions of its process would end,
and how the keys are used; a store does not know that.

--before is "now", a time such as 2026-11-29T10:00:00Z, or an age such as 2h or 30d. "now" is two minutes after the time of
the machine that knows the present cutoffs: this one, or the control plane. So the cutoff covers tokens of machines whose
clocks are ahead. If a token may be dated at an earlier cutoff that is still ahead, "now" is one second after that one.
Issuers that see the cutoff date new tokens at it, so a new token is good at once. Other issuers, such as zones and Kuma,
lose the tokens that they issue before that moment.`,
		Example: `  meshpass cutoffs add --mesh default --name dp-1 --before now --yes
  meshpass cutoffs add --mesh default --kid 1 --before 2h --yes
  meshpass cutoffs add --zone-tokens --zone west --before 2026-11-29T10:00:00Z --yes`,
		Args: noArguments,
	}
	subject.flags(command)
	textFlag(command.Flags(), &before, "before", "", "moment", "revoke what was issued before: \"now\", a time such as 2026-11-29T10:00:00Z, or an age such as 2h")
	completes(command, "before", cobra.ShellCompDirectiveNoFileComp, "now")
	yesFlag(command, &yes)
	command.RunE = func(command *cobra.Command, _ []string) error {
		of, err := which.owner()
		if err != nil {
			return err
		}
		c, err := subject.cutoff(command, of)
		if err != nil {
			return err
		}
		if before == "" {
			return usagef(`before which moment? Give --before now, a time such as 2026-11-29T10:00:00Z, or an age such as 2h`)
		}
		if before != "now" {
			if c.Before, err = a.moment(before); err != nil {
				return err
			}
		}
		if err := a.sayAffected(command, of, c); err != nil {
			return fmt.Errorf("no cutoff was added: %w", err)
		}
		if err := a.confirm(yes); err != nil {
			return err
		}
		ctx, to, done, err := a.connect(command, connecting{}) // anew: to answer takes time
		if err != nil {
			return err
		}
		defer done()
		if c.Before.IsZero() { // by now later than when the question was asked
			untilNow, err := to.preview(ctx, of, c)
			if err != nil {
				return fmt.Errorf("no cutoff was added: %w", err)
			}
			c = untilNow.cutoff
		}
		inForce, err := to.cutOff(ctx, of, c)
		if err != nil {
			return fmt.Errorf("no cutoff was added: %w", err)
		}
		if inForce.Before.After(c.Before) {
			a.say("there is a later cutoff for %s already, which stays: %s", of.tokens(), inForce)
		} else {
			a.say("revoked for %s: %s", of, inForce)
		}
		a.warnWithoutKeys(ctx, to, of)
		return nil
	}
	return command
}

// preview is a cutoff that can be added, and what a process knows of what it would revoke.
type preview struct {
	cutoff   revocation.Cutoff
	sessions int // open ones that would end; -1: not known
	uses     []keyUse
}

// keyUse is how a process has used a key.
type keyUse struct {
	kid      string
	accepted uint64 // tokens
	last     time.Time
}

// sayAffected says what a cutoff would revoke, in a connection of its own.
func (a *app) sayAffected(command *cobra.Command, of owner, c revocation.Cutoff) error {
	ctx, to, done, err := a.connect(command, connecting{})
	if err != nil {
		return err
	}
	defer done()
	p, err := to.preview(ctx, of, c)
	if err != nil {
		return err
	}
	a.say("this revokes %s: %s (%s)%s", of.tokens(), p.cutoff, inWords(p.cutoff.Before.Sub(a.now())), lackNote(c))
	if p.sessions < 0 {
		a.say("how many open sessions end is not known: %s does not know them", to)
		return nil
	}
	a.say("open sessions that end, in the process of %s: %d", to, p.sessions)
	for _, use := range p.uses {
		a.say("it has accepted tokens of key %s %s, the last one %s", plain(use.kid), count(time.Duration(use.accepted), 1, "time"), inWords(use.last.Sub(a.now())))
	}
	return nil
}

func (a *app) removeCutoffCommand(which *choice) *cobra.Command {
	var subject concerned
	var before string
	var yes bool
	command := &cobra.Command{
		Use:   "remove",
		Short: "Remove a cutoff: the tokens that it revokes are good again",
		Long: `Removes the cutoff for all tokens, or for those that a flag names. Tokens that no other cutoff and no list revokes are
good again, until they expire. How many these are is not known. The command says what it removes, and asks.

--before removes the cutoff only if it has this time, as "meshpass cutoffs list" shows it.`,
		Example: `  meshpass cutoffs remove --mesh default --name dp-1 --yes
  meshpass cutoffs remove --zone-tokens --yes`,
		Args: noArguments,
	}
	subject.flags(command)
	textFlag(command.Flags(), &before, "before", "", "time", "only if the cutoff has this time, such as 2026-11-29T10:00:00Z")
	completes(command, "before", cobra.ShellCompDirectiveNoFileComp)
	yesFlag(command, &yes)
	command.RunE = func(command *cobra.Command, _ []string) error {
		of, err := which.owner()
		if err != nil {
			return err
		}
		c, err := subject.cutoff(command, of)
		if err != nil {
			return err
		}
		if before != "" {
			if c.Before, err = revocation.ParseMoment(before); err != nil {
				return usagef("--before: %.64q is not a time such as 2026-11-29T10:00:00Z", before)
			}
		}
		found, err := a.presentCutoffs(command, of)
		if err != nil {
			return err
		}
		moment := c.Before
		at := slices.IndexFunc(found.list, func(present revocation.Cutoff) bool {
			c.Before = present.Before
			return present == c && (moment.IsZero() || moment.Equal(present.Before))
		})
		if at < 0 {
			a.say("there is no such cutoff for %s: nothing to do", of.tokens())
			return nil
		}
		c = found.list[at]
		a.say("this removes a cutoff for %s: %s; how many tokens become valid again is not known", of.tokens(), c)
		if err := a.confirm(yes); err != nil {
			return err
		}
		ctx, from, done, err := a.connect(command, connecting{}) // anew: to answer takes time
		if err != nil {
			return err
		}
		defer done()
		if err := from.removeCutoff(ctx, of, c); err != nil {
			return err
		}
		a.say("no longer a cutoff for %s: %s", of, c)
		return nil
	}
	return command
}

// presentCutoffs reads the cutoffs in a connection of its own.
func (a *app) presentCutoffs(command *cobra.Command, of owner) (cutoffs, error) {
	ctx, from, done, err := a.connect(command, connecting{})
	if err != nil {
		return cutoffs{}, err
	}
	defer done()
	found, err := from.cutoffs(ctx, of)
	if err == nil && len(found.list) == 0 {
		a.warnWithoutKeys(ctx, from, of)
	}
	return found, err
}

func (a *app) listCutoffsCommand(which *choice) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the cutoffs",
		Long: `Lists the cutoffs, one per line: the moment before which tokens are revoked, and which tokens these are. On standard
error it says where the list of revoked ids begins, if it was pruned.`,
		Example: `  meshpass cutoffs list --mesh default
  meshpass cutoffs list --zone-tokens`,
		Args: noArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			of, err := which.owner()
			if err != nil {
				return err
			}
			found, err := a.presentCutoffs(command, of)
			if err != nil {
				return err
			}
			if !found.floor.IsZero() {
				a.say("the list of %s was pruned: every id of version 7 from before %s is revoked", of, found.floor.Format(time.RFC3339))
			}
			if len(found.list) == 0 {
				a.say("there are no cutoffs for %s", of.tokens())
				return nil
			}
			table := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "BEFORE\tTOKENS")
			for _, c := range found.list {
				tokens := "all"
				for _, s := range []struct{ claim, value string }{{"name", c.Name}, {"workload", c.Workload}, {"zone", c.Zone}, {"kid", c.KeyID}} {
					if s.value != "" {
						tokens = s.claim + " " + plain(s.value)
					}
				}
				fmt.Fprintf(table, "%s\t%s\n", c.Before.UTC().Format(time.RFC3339), tokens)
			}
			return table.Flush()
		},
	}
}

// cutoffs are those of an owner, and the floor that pruning has left, or the zero time.
type cutoffs struct {
	list  []revocation.Cutoff
	floor time.Time
}

// copyTo writes these cutoffs into a store that has none.
func (c cutoffs) copyTo(ctx context.Context, store keystore.KeyStore, of owner) error {
	ref := revocation.ZoneCutoffs()
	if of.mesh != "" {
		ref = revocation.DataplaneCutoffs(of.mesh)
	}
	_, _, err := ref.Keep(ctx, store, revocation.NewCutoffs(c.list, c.floor))
	return err
}

// moment reads the moment of a cutoff that is not "now": a time or an age.
func (a *app) moment(text string) (time.Time, error) {
	now := a.now()
	if at, err := revocation.ParseMoment(text); err == nil {
		if at.After(now.Add(2 * token.Skew)) {
			return time.Time{}, usagef("--before: %s is more than %s ahead", text, inMinutes(2*token.Skew))
		}
		return at, nil
	}
	age, err := parseDays(text)
	if err != nil || age <= 0 {
		return time.Time{}, usagef(`--before: %.64q is not "now", a time such as 2026-11-29T10:00:00Z, or an age such as 2h or 30d`, text)
	}
	return now.Add(-age).Add(time.Second - 1).Truncate(time.Second), nil // a part of a second counts as a whole one
}

func inMinutes(d time.Duration) string { return count(d, time.Minute, "minute") }

// parseDays reads a duration as Go writes it, or a number of days such as 90d.
func parseDays(text string) (time.Duration, error) {
	const most = 106751 // days in a time.Duration
	days, ok := strings.CutSuffix(text, "d")
	if !ok {
		return time.ParseDuration(text)
	}
	n, err := strconv.ParseUint(days, 10, 32)
	if err != nil || n > most {
		return 0, errors.New("not a number of days")
	}
	return time.Duration(n) * 24 * time.Hour, nil
}

func yesFlag(command *cobra.Command, yes *bool) {
	command.Flags().BoolVarP(yes, "yes", "y", false, "do not ask")
}

// confirm asks whether to go on, unless the user has said so.
func (a *app) confirm(yes bool) error {
	if yes {
		return nil
	}
	if !a.canAsk {
		return usagef("there is no terminal to ask on: give --yes if this is what you want; nothing was changed")
	}
	fmt.Fprint(a.err, "meshpass: go on? [y/N] ")
	line, err := bufio.NewReader(a.in).ReadString('\n')
	if err != nil && err != io.EOF {
		return fmt.Errorf("no answer, so nothing was changed: %w", err)
	}
	switch strings.ToLower(strings.TrimSpace(line)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was changed")
}

// pruneCommand shortens a list.
func (a *app) pruneCommand(which *choice) *cobra.Command {
	var longest days
	var dryRun, yes bool
	command := &cobra.Command{
		Use:   "prune",
		Short: "Drop the ids of expired tokens from the list",
		Long: `Drops the ids of tokens that have expired from the list of a mesh, or of zone tokens. It knows from an id how old it is, if
the id is a UUID of version 7, as this tool and the library make them. Other ids stay, and so do those in the global list of
a mesh, which Kuma reads.

--lifetime is the longest validity of any token. If tokens are renewed, it is the limit of their lineages: a renewed token
has the id of the first one. The command first writes a floor: the time of now less the lifetime and 15 minutes. Every token with an id of version 7 from before the floor is revoked from then on, also one that is valid for longer
than --lifetime. The floor is permanent and never goes back, so the command says first what it would do, and asks; --dry-run
ends there. A control plane also says how many open sessions of its process have tokens that the floor would revoke.`,
		Example: `  meshpass revocations prune --mesh default --lifetime 90d --dry-run
  meshpass revocations prune --zone-tokens --lifetime 2160h --yes`,
		Args: noArguments,
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.Var(&longest, "lifetime", "the longest validity of any token, or of a lineage of renewed ones, such as 2160h or 90d")
	flags.BoolVar(&dryRun, "dry-run", false, "change nothing: only say which floor it would write and how many ids it would drop")
	yesFlag(command, &yes)
	completes(command, "lifetime", cobra.ShellCompDirectiveNoFileComp)
	command.RunE = func(command *cobra.Command, _ []string) error {
		of, err := which.owner()
		if err != nil {
			return err
		}
		if longest == 0 {
			return usagef("how long are tokens valid at most? Give --lifetime, such as 2160h or 90d")
		}
		if err := a.sayPruning(command, of, time.Duration(longest)); err != nil || dryRun {
			return err
		}
		if err := a.confirm(yes); err != nil {
			return err
		}
		ctx, from, done, err := a.connect(command, connecting{}) // anew: to answer takes time
		if err != nil {
			return err
		}
		defer done()
		p, err := from.prune(ctx, of, time.Duration(longest), false)
		if err != nil {
			return err
		}
		a.say("dropped %s of %s and kept %s", ids(p.Dropped), of, ids(p.Kept))
		a.say("every token with an id of version 7 from before %s is revoked from now on", p.Floor.Format(time.RFC3339))
		return nil
	}
	return command
}

func ids(n int) string { return count(time.Duration(n), 1, "id") }

// sayPruning says what pruning would do, in a connection of its own.
func (a *app) sayPruning(command *cobra.Command, of owner, lifetime time.Duration) error {
	ctx, from, done, err := a.connect(command, connecting{})
	if err != nil {
		return err
	}
	defer done()
	p, err := from.prune(ctx, of, lifetime, true)
	if err != nil {
		return err
	}
	a.say("pruning drops %s of %s and keeps %s", ids(p.Dropped), of, ids(p.Kept))
	a.say("it revokes every token with an id of version 7 from before %s for ever, also those that are still valid and those renewed since: how many these are is not known", p.Floor.Format(time.RFC3339))
	switch {
	case p.Sessions < 0:
		a.say("how many open sessions have such tokens is not known: %s does not know them", from)
	case p.Sessions == 0:
		a.say("no open session in the process of %s has such a token", from)
	default:
		a.say("warning: open sessions with such tokens, in the process of %s: %d; state a longer --lifetime to keep them", from, p.Sessions)
	}
	a.warnWithoutKeys(ctx, from, of)
	return nil
}

// days is the value of --lifetime of prune.
type days time.Duration

func (d *days) String() string { return "" }

func (d *days) Type() string { return "duration" }

func (d *days) Set(text string) error {
	parsed, err := parseDays(text)
	if err != nil || parsed <= 0 {
		return errors.New("want a duration such as 2160h, or in days, such as 90d")
	}
	*d = days(parsed)
	return nil
}
