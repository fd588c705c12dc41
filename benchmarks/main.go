package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func main() {
	slog.SetDefault(quiet) // of each token that is issued
	if os.Getenv(replicaVariable) != "" {
		exit(serveReplica())
	}
	flags := flag.NewFlagSet("benchmarks", flag.ExitOnError)
	var o options
	flags.IntVar(&o.plan.proxies, "proxies", 1000, "how many proxies connect, each with a connection of its own")
	flags.IntVar(&o.plan.replicas, "replicas", 3, "how many replicas a control plane has")
	flags.DurationVar(&o.plan.publish, "publish", 5*time.Second, "how long after the command a new configuration is published at the latest")
	flags.DurationVar(&o.plan.watch, "watch", 5*time.Second, "it ends when nothing has happened for so long after that")
	scenarios := flags.String("scenario", "compromise,storm", "which ones, separated by commas")
	stores := flags.String("store", storeEtcd+","+storePostgres, "which of directory, etcd and PostgreSQL; the storm takes the first one")
	servers := flags.String("server", "", "which `servers`, separated by semicolons; all if empty")
	flags.StringVar(&o.folder, "write", "", "`folder` with the performance.md that gets the tables, and for the plot and the figures")
	_ = flags.Parse(os.Args[1:])
	o.scenarios, o.stores = strings.Split(*scenarios, ","), strings.Split(*stores, ",")
	if *servers != "" {
		o.servers = strings.Split(*servers, ";")
	}
	if flags.NArg() > 0 {
		exit(fmt.Errorf("found the argument %q, wanted options only", flags.Arg(0)))
	}
	exit(o.run(context.Background()))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "benchmarks:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options are those of the command.
type options struct {
	plan                       plan
	scenarios, stores, servers []string // no servers are all
	folder                     string   // or ""
}

func (o options) run(ctx context.Context) error {
	if o.plan.proxies < 8 || o.plan.replicas < 1 {
		return errors.New("wanted at least 8 proxies and one replica")
	}
	for _, scenario := range o.scenarios {
		if scenario != "compromise" && scenario != "storm" {
			return fmt.Errorf("there is no scenario %q: wanted compromise or storm", scenario)
		}
	}
	for _, store := range o.stores {
		if !slices.Contains([]string{storeDir, storeEtcd, storePostgres}, store) {
			return fmt.Errorf("there is no store %q: wanted %s, %s or %s", store, storeDir, storeEtcd, storePostgres)
		}
	}
	for _, server := range o.servers {
		if !slices.Contains([]string{meshpass, once, everyTime, tokenReview, nothing}, server) {
			return fmt.Errorf("there is no server %q: wanted %s", server, strings.Join([]string{meshpass, once, everyTime, tokenReview, nothing}, "; "))
		}
	}
	var issued tokens
	var issuing sync.Once
	issue := func(tb testing.TB) func() tokens { // signing takes a while: all runs use the same
		return func() tokens {
			issuing.Do(func() { issued = issueTokens(tb, o.plan.proxies) })
			return issued
		}
	}
	results := newResults(o.plan)
	var failures []error
	for _, run := range o.runs() {
		fmt.Fprintln(os.Stderr, "running:", run)
		err := inProgram(ctx, func(tb testing.TB) {
			if run.command == "" {
				results.Storms = append(results.Storms, storm(tb, o.plan, run.server, run.store, issue(tb))...)
			} else {
				result := compromise(tb, o.plan, run.server, run.store, run.command, issue(tb))
				results.Compromises = append(results.Compromises, result)
				result.mustHold(tb)
			}
		})
		var left leftOut
		switch {
		case errors.As(err, &left):
			fmt.Fprintln(os.Stderr, "left out:", left)
		case err != nil:
			failures = append(failures, fmt.Errorf("%s: %w", run, err))
		}
	}
	fmt.Print(results.tables())
	if o.folder == "" || len(failures) > 0 {
		return errors.Join(failures...)
	}
	return results.write(o.folder)
}

// run is one scenario with one server.
type run struct {
	server, store, command string // no command is the storm
}

// String implements fmt.Stringer.
func (r run) String() string {
	what := r.command
	if what == "" {
		what = "the storm"
	}
	return strings.Join(slices.DeleteFunc([]string{what, r.server, r.store}, func(s string) bool { return s == "" }), ", ")
}

// runs lists what is run, in order. Each server stands beside the others of the same event.
func (o options) runs() (all []run) {
	add := func(r run) {
		if len(o.servers) == 0 || slices.Contains(o.servers, r.server) {
			all = append(all, r)
		}
	}
	if slices.Contains(o.scenarios, "compromise") {
		for _, command := range []string{removeKey, cutOff} {
			for _, store := range o.stores {
				for _, server := range []string{meshpass, once, everyTime} {
					add(run{server, store, command})
				}
			}
		}
		add(run{tokenReview, "", deleteAccount})
	}
	if slices.Contains(o.scenarios, "storm") {
		add(run{nothing, "", ""})
		for _, server := range []string{meshpass, once, everyTime} {
			add(run{server, o.stores[0], ""})
		}
		add(run{tokenReview, "", ""})
	}
	return all
}
