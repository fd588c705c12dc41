// Command controlplane is a small but real multi-zone control plane: a global control plane,
// zone control planes and proxies, as separate processes over TLS. It shows how they use the
// tokens of Meshpass.
//
//	controlplane scene           starts all of them on the loopback interface and plays a scene (the default)
//	controlplane global          a global control plane: has the signing keys, publishes their public halves
//	controlplane zone            a zone control plane: admits proxies, even while the global one is down
//	controlplane proxy           stands in for Envoy: connects to a zone with a token
//	controlplane certificates    makes the certificates of control planes, for trying these by hand
//
// Each subcommand lists its flags with -help, and logs to standard output in JSON.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/meshpass/meshpass/audit"
)

func main() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // so that the program cleans up after a closed pipe
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "controlplane:", err)
		os.Exit(1)
	}
}

const usage = `usage: controlplane [SUBCOMMAND [FLAGS]]

  scene           starts all of them on the loopback interface and plays a scene (the default)
  global          a global control plane
  zone            a zone control plane
  proxy           stands in for Envoy: connects to a zone with a token
  certificates    makes the certificates of control planes

Each subcommand lists its flags with -help.
`

// run runs a subcommand until it is done or ctx ends.
func run(ctx context.Context, args []string) error {
	name := "scene"
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	flags := flag.NewFlagSet("controlplane "+name, flag.ContinueOnError)
	log := slog.New(slog.NewJSONHandler(os.Stdout, nil))
	ctx = audit.WithLogger(ctx, log)
	switch name {
	case "help", "-h", "-help", "--help":
		fmt.Fprint(os.Stderr, usage)
		return flag.ErrHelp
	case "scene":
		ctx = audit.WithLogger(ctx, slog.New(slog.DiscardHandler)) // the scene prints what it does
		return runScene(ctx, flags, args, os.Stdout)
	case "global":
		return runGlobal(ctx, flags, args, log)
	case "zone":
		return runZone(ctx, flags, args, log)
	case "proxy":
		return runProxy(ctx, flags, args, log)
	case "certificates":
		return runCertificates(ctx, flags, args, log)
	}
	return fmt.Errorf("unknown subcommand %q, want scene, global, zone, proxy or certificates", name)
}

// parse reads flags. It refuses other arguments, and requires some flags.
func parse(flags *flag.FlagSet, args []string, required ...string) error {
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	for _, name := range required {
		if flags.Lookup(name).Value.String() == "" {
			return fmt.Errorf("-%s is missing", name)
		}
	}
	return nil
}

// runAll runs functions until all have returned. When one returns, the context of the others
// ends. runAll returns the first error.
func runAll(ctx context.Context, functions ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error)
	for _, f := range functions {
		go func() { ended <- f(ctx) }()
	}
	var first error
	for range functions {
		if err := <-ended; err != nil && first == nil {
			first = err
		}
		cancel()
	}
	return first
}
