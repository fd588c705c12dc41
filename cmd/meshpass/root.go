package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/user"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/meshpass/meshpass/audit"
)

const rootHelp = `Makes, renews, inspects and revokes the tokens of a service mesh, and manages the keys that sign them.

It moves keys and revocation lists from and to Kuma and Kong Mesh, and says what their versions make of a token.

It works on a store of keys and revocation lists (--store, see "meshpass help stores") or on a control plane
(--control-plane, see "meshpass help control-planes"). It also makes tokens offline, with a signing key in a file.

Tokens and keys go to standard output, everything else to standard error. Secrets are never arguments or values of
flags: the tool reads them from files, from standard input or from the environment. "-" in place of a file means
standard input or standard output.`

const rootExample = `  # Make a store with the first signing key of a mesh, and a token for a proxy
  export MESHPASS_STORE=dir:./keys
  meshpass keys add --first --mesh default
  meshpass generate dataplane-token --mesh default --name dp-1 --valid-for 720h --output dp-1.token

  # Inspect it, revoke it, and see that it is refused
  meshpass inspect dp-1.token
  meshpass revocations add --token-file dp-1.token
  meshpass inspect dp-1.token || echo "exit status $?"

  # Rotate the keys: add the next one, replace the tokens, remove the old one
  meshpass keys add --mesh default
  meshpass generate dataplane-token --mesh default --name dp-1 --valid-for 720h --output dp-1.token --overwrite
  meshpass keys remove 1 --mesh default`

const exitHelp = `Exit status:
  0  done; inspect and check: no reason to refuse a token
  1  failed
  2  the command line is wrong
  3  inspect and check: a token would be refused; renew: it was refused
`

const environmentHelp = `Environment:
  MESHPASS_STORE          the store, if there is no --store; here the URL may hold a password
  MESHPASS_CONTROL_PLANE  the control plane, if there is no --control-plane
  MESHPASS_AUTH_TOKEN     the token for the control plane, if there is no --auth-token-file
`

// usageTemplate is cobra's, but a group of commands is not a command itself.
const usageTemplate = `Usage:
{{- if .HasAvailableSubCommands}}
  {{.CommandPath}} [command]
{{- else}}
  {{.UseLine}}
{{- end}}
{{- if .HasExample}}

Examples:
{{.Example}}
{{- end}}
{{- if .HasAvailableSubCommands}}

Commands:
{{- range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}
{{- end}}{{end}}
{{- end}}
{{- if .HasAvailableLocalFlags}}

Flags:
{{.LocalFlags.FlagUsagesWrapped 120 | trimTrailingWhitespaces}}
{{- end}}
{{- if .HasAvailableInheritedFlags}}

Flags of all commands:
{{.InheritedFlags.FlagUsagesWrapped 120 | trimTrailingWhitespaces}}
{{- end}}
{{- if .HasHelpSubCommands}}

More help:
{{- range .Commands}}{{if .IsAdditionalHelpTopicCommand}}
  {{$.CommandPath}} help {{rpad .Name 15}} {{.Short}}
{{- end}}{{end}}
{{- end}}
{{- if not .HasParent}}

` + environmentHelp + "\n" + exitHelp + `{{end}}
`

func (a *app) rootCommand() *cobra.Command {
	root := group("meshpass", "Tokens and signing keys of a service mesh")
	root.Long = rootHelp
	root.Example = rootExample
	root.Version = version(debug.ReadBuildInfo())
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
	root.SilenceErrors = true
	root.SilenceUsage = true
	root.SetUsageTemplate(usageTemplate)
	root.SetFlagErrorFunc(func(command *cobra.Command, err error) error { return flagError(command, err) })

	root.Flags().SortFlags = false
	root.Flags().Bool("version", false, "print the version, and the commit where the build knows it")
	flags := root.PersistentFlags()
	flags.SortFlags = false
	textFlag(flags, &a.store, "store", "", "URL", "URL of the store: dir:PATH, postgres:, etcd: or kubernetes://...")
	textFlag(flags, &a.controlPlane, "control-plane", "", "address", "address of a control plane: https://HOST:PORT or unix:SOCKET")
	textFlag(flags, &a.authTokenFile, "auth-token-file", "", "file", "file with your bearer token for the control plane")
	textFlag(flags, &a.caCert, "ca-cert", "", "file", "PEM file of the authority that signed the control plane's certificate")
	textFlag(flags, &a.encryptionKeyFile, "encryption-key-file", "", "file", "file with the key of 32 bytes that encrypts the records of the store")
	flags.DurationVar(&a.timeout, "timeout", 10*time.Second, "how long to wait for a store or a control plane")
	flags.BoolVarP(&a.verbose, "verbose", "v", false, "log to standard error, with audit events")
	flags.Bool("no-config", false, "of kumactl: this tool never reads a configuration file")
	_ = flags.MarkHidden("no-config")

	root.AddCommand(a.generateCommand(), a.renewCommand(), a.inspectCommand(), a.checkCommand(), a.keysCommand(), a.revocationsCommand(), a.cutoffsCommand(),
		a.backupCommand(), a.restoreCommand(), a.importCommand(), a.exportCommand(),
		&cobra.Command{Use: "stores", Short: "How to name a store", Long: storesHelp},
		&cobra.Command{Use: "control-planes", Short: "How to name a control plane", Long: controlPlanesHelp})
	completes(root, "store", cobra.ShellCompDirectiveNoSpace, "dir:", "postgres://", "etcd://", "kubernetes://")
	completes(root, "control-plane", cobra.ShellCompDirectiveNoSpace, "https://", "unix:")
	completes(root, "timeout", cobra.ShellCompDirectiveNoFileComp)
	return root
}

// group returns a command that only has subcommands.
func group(use, short string) *cobra.Command {
	return asGroup(&cobra.Command{Use: use, Short: short})
}

// asGroup makes it a mistake to call a group without a subcommand. The help goes to
// standard error, so that nothing takes it for a token or a script.
func asGroup(group *cobra.Command) *cobra.Command {
	group.SuggestionsMinimumDistance = 2
	group.Args = func(command *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknownCommand(command, args[0])
	}
	group.RunE = func(command *cobra.Command, _ []string) error {
		fmt.Fprint(command.ErrOrStderr(), command.UsageString())
		return usagef("which command?")
	}
	return group
}

func unknownCommand(group *cobra.Command, name string) error {
	problem := fmt.Sprintf("unknown command %q", name)
	if close := group.SuggestionsFor(name); len(close) > 0 {
		problem += fmt.Sprintf(", did you mean %s?", strings.Join(close, " or "))
	}
	return usagef("%s", problem)
}

// correctCobra makes the two commands that cobra adds answer a mistyped name as ours
// do. Cobra's commands print other help and succeed. The output of the root must be set
// before: completion reads it here.
func correctCobra(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, command := range root.Commands() {
		switch command.Name() {
		case "completion":
			asGroup(command)
		case "help":
			command.Args = func(_ *cobra.Command, args []string) error {
				found, rest, err := root.Find(args)
				if err == nil && len(rest) > 0 {
					err = unknownCommand(found, rest[0])
				}
				return err
			}
		}
	}
}

// noArguments refuses arguments, without repeating them.
func noArguments(_ *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("this command takes no arguments, only flags")
	}
	return nil
}

// ofKumactl are flags of kumactl for which this tool has others.
var ofKumactl = map[string]string{
	"config-file": "this tool reads no configuration file, give the address with --control-plane",
	"context":     "this tool reads no configuration file, give the address with --control-plane",
	"api-timeout": "give --timeout",
	"log-level":   "give --verbose",
}

// flagError suggests a flag in place of an unknown one.
func flagError(command *cobra.Command, err error) error {
	var unknown *pflag.NotExistError
	if !errors.As(err, &unknown) {
		return &usageError{err}
	}
	name := unknown.GetSpecifiedName()
	if short := unknown.GetSpecifiedShortnames(); short != "" {
		return usagef("unknown flag -%s", name)
	}
	if instead, ok := ofKumactl[name]; ok {
		return usagef("unknown flag --%s, which is kumactl's: %s", name, instead)
	}
	nearest, least := "", 3
	command.Flags().VisitAll(func(flag *pflag.Flag) {
		if d := distance(name, flag.Name); d < least && !flag.Hidden {
			nearest, least = flag.Name, d
		}
	})
	if nearest == "" {
		return usagef("unknown flag --%s", name)
	}
	return usagef("unknown flag --%s, did you mean --%s?", name, nearest)
}

// distance returns the Levenshtein distance.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], cost
		}
	}
	return row[len(b)]
}

// completes tells the shell which values a flag has.
func completes(command *cobra.Command, flag string, directive cobra.ShellCompDirective, values ...string) {
	if err := command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, directive)); err != nil {
		panic(err) // there is no such flag: every test would fail
	}
}

// begin returns the context of a command: with the timeout, and with the user of the
// system as the actor.
func (a *app) begin(command *cobra.Command) (context.Context, context.CancelFunc, error) {
	if a.timeout <= 0 {
		return nil, nil, usagef("--timeout is %s, want a time such as 10s", a.timeout)
	}
	actor := "unknown"
	if who, err := user.Current(); err == nil {
		actor = who.Username
	}
	ctx := audit.WithLogger(audit.WithActor(command.Context(), actor), a.log())
	ctx, cancel := context.WithTimeout(ctx, a.timeout)
	return ctx, cancel, nil
}

// log returns the logger for the library.
func (a *app) log() *slog.Logger {
	if !a.verbose {
		return slog.New(slog.DiscardHandler)
	}
	return slog.New(slog.NewTextHandler(a.err, nil))
}
