package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func (a *app) generateCommand() *cobra.Command {
	command := group("generate", "Make tokens and keys")
	command.AddCommand(a.dataplaneTokenCommand(), a.zoneTokenCommand(), a.signingKeyCommand(), a.publicKeyCommand())
	return command
}

// issuing holds the flags of both commands that make tokens.
type issuing struct {
	output
	validFor       time.Duration
	signingKeyPath string
	kid            string
	publishDelay   time.Duration
}

func (i *issuing) flags(command *cobra.Command) {
	i.validFor = 87600 * time.Hour
	command.Flags().Var((*lifetime)(&i.validFor), "valid-for", "how long the token is valid, such as 720h (default 10 years)")
	textFlag(command.Flags(), &i.signingKeyPath, "signing-key-path", "", "file", "make the token offline, with the private key in this file (\"-\" is standard input)")
	textFlag(command.Flags(), &i.kid, "kid", "", "name", "name of that key, under which validators have its public half")
	command.Flags().DurationVar(&i.publishDelay, "publish-delay", 0, "with --store: the publish delay of your control plane; a younger key does not sign")
	i.output.flags(command)
	completes(command, "valid-for", cobra.ShellCompDirectiveNoFileComp, "24h", "168h", "720h", "8760h")
	completes(command, "kid", cobra.ShellCompDirectiveNoFileComp)
	completes(command, "publish-delay", cobra.ShellCompDirectiveNoFileComp)
}

// offline reports whether a key in a file signs the token.
func (i *issuing) offline(command *cobra.Command) (bool, error) {
	given := command.Flags().Changed
	switch {
	case i.signingKeyPath == "" && i.kid != "":
		return false, usagef("--kid is the name of the key in --signing-key-path, which is missing; without both, the token is signed with the newest key of --store or --control-plane")
	case i.signingKeyPath != "" && i.kid == "":
		return false, usagef("--signing-key-path needs --kid: the name under which validators have the public half of the key, such as --kid key-1")
	case i.signingKeyPath != "" && (given("store") || given("control-plane") || given("publish-delay")):
		return false, usagef("with --signing-key-path the token is made offline: leave out --store, --control-plane and --publish-delay")
	}
	return i.signingKeyPath != "", nil
}

// issuer makes tokens: with a control plane, a store's newest key, or a key in a file.
type issuer interface {
	IssueDataplane(ctx context.Context, claims token.Dataplane, validFor time.Duration) (token.Issued, error)
	IssueZone(ctx context.Context, claims token.Zone, validFor time.Duration) (token.Issued, error)
}

// issue makes a token and hands it out.
func (a *app) issue(command *cobra.Command, i *issuing, kind token.Kind, make func(ctx context.Context, from issuer) (token.Issued, error)) error {
	offline, err := i.offline(command)
	if err != nil {
		return err
	}
	if err := i.output.check(); err != nil {
		return err
	}
	var from issuer
	if offline {
		key, err := a.readSigningKey(i.signingKeyPath)
		if err != nil {
			return err
		}
		from = offlineIssuer{key, i.kid}
	}
	ctx, cancel, err := a.begin(command)
	if err != nil {
		return err
	}
	defer cancel()
	if !offline {
		service, done, err := a.reach(ctx, connecting{publishDelay: i.publishDelay})
		if err != nil {
			return err
		}
		defer done()
		from = service
	}
	issued, err := make(ctx, from)
	if err != nil {
		return fmt.Errorf("no token was made: %w", err)
	}
	if err := a.write(i.output, []byte(issued.Token)); err != nil {
		return err
	}
	if !command.Flags().Changed("valid-for") {
		a.say("warning: without --valid-for the token is valid for 10 years; a shorter time limits what a stolen token is good for")
	}
	// The operator needs the id to revoke the token.
	a.say("made a %s token: id %s, key %s, expires %s", kind, plain(issued.ID), plain(issued.KeyID), a.when(issued.ExpiresAt))
	return nil
}

// offlineIssuer signs with a key in a file.
type offlineIssuer struct {
	key *signing.PrivateKey
	kid string
}

func (o offlineIssuer) IssueDataplane(ctx context.Context, claims token.Dataplane, validFor time.Duration) (token.Issued, error) {
	issuer, err := dataplane.NewOfflineIssuer(o.key, o.kid)
	if err != nil {
		return token.Issued{}, err
	}
	return issuer.Issue(ctx, claims, validFor)
}

func (o offlineIssuer) IssueZone(ctx context.Context, claims token.Zone, validFor time.Duration) (token.Issued, error) {
	issuer, err := zone.NewOfflineIssuer(o.key, o.kid)
	if err != nil {
		return token.Issued{}, err
	}
	return issuer.Issue(ctx, claims, validFor)
}

func (a *app) dataplaneTokenCommand() *cobra.Command {
	var i issuing
	var claims token.Dataplane
	command := &cobra.Command{
		Use:   "dataplane-token",
		Short: "Make a token for data plane proxies of a mesh",
		Long: `Makes a token with which a data plane proxy joins a mesh. The proxy must have what the token names: a name, tags with
one of the listed values, a workload, a type. The token restricts nothing else.

It is signed with the newest key of the mesh in --store, through --control-plane, or offline with --signing-key-path and
--kid.

The flags are those of "kumactl generate dataplane-token". --type is another name of --proxy-type, and --tag a=b,c=d is
two tags. Unlike kumactl, the command only warns if --valid-for is missing, and it refuses a tag that is given twice:
kumactl takes the last one. It reads no configuration file.`,
		Example: `  # For one proxy, valid for 30 days; replaces the file with the old token
  meshpass generate dataplane-token --mesh default --name dp-1 --valid-for 720h --output dp-1.token --overwrite

  # For every proxy that serves only these services
  meshpass generate dataplane-token --mesh default --tag kuma.io/service=backend,backend-admin --valid-for 24h

  # For every proxy with these two tags; the same as --tag team=shop --tag region=eu
  meshpass generate dataplane-token --mesh default --tag team=shop,region=eu --valid-for 24h

  # Offline, with a key whose public half validators have as "key-1"
  meshpass generate dataplane-token --mesh default --workload backend --valid-for 24h --signing-key-path key.pem --kid key-1`,
		Args: noArguments,
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVarP(&claims.Mesh, "mesh", "m", "default", "name of the mesh")
	textFlag(flags, &claims.Name, "name", "", "name", "name of the proxy (default any)")
	flags.Var((*tags)(&claims.Tags), "tag", "tag that the proxy's inbounds must carry (Kuma 3: label that the proxy must have), and its allowed values; once for each tag")
	textFlag(flags, &claims.Workload, "workload", "", "name", "name of the workload (default any)")
	textFlag(flags, &claims.Type, "proxy-type", "", "type", "type of the proxy: dataplane, ingress or egress; control planes of Kuma 3 issue for dataplane only (default any)")
	flags.SetNormalizeFunc(func(_ *pflag.FlagSet, name string) pflag.NormalizedName {
		if name == "type" { // in kumactl before 3.0
			name = "proxy-type"
		}
		return pflag.NormalizedName(name)
	})
	i.flags(command)
	completes(command, "proxy-type", cobra.ShellCompDirectiveNoFileComp, proxyTypes...)
	for _, name := range []string{"mesh", "name", "tag", "workload"} {
		completes(command, name, cobra.ShellCompDirectiveNoFileComp)
	}
	command.RunE = func(command *cobra.Command, _ []string) error {
		if claims.Mesh == "" {
			return usagef("--mesh is empty, want the name of a mesh")
		}
		if claims.Type != "" {
			if err := oneOf("--proxy-type", claims.Type, proxyTypes); err != nil {
				return err
			}
		}
		return a.issue(command, &i, token.KindDataplane, func(ctx context.Context, from issuer) (token.Issued, error) {
			return from.IssueDataplane(ctx, claims, i.validFor)
		})
	}
	return command
}

var proxyTypes = []string{"dataplane", "ingress", "egress"}

func (a *app) zoneTokenCommand() *cobra.Command {
	var i issuing
	var claims token.Zone
	command := &cobra.Command{
		Use:   "zone-token",
		Short: "Make a token for the components of a zone",
		Long: `Makes a token with which the components of a zone, such as its control plane, talk to the global control plane. The
scopes name the components; give a token no more scopes than it needs.

It is signed with the newest zone key in --store, through --control-plane, or offline with --signing-key-path and --kid.

The flags are those of "kumactl generate zone-token". Unlike kumactl, the command requires --scope: without it
kumactl 2 makes a token for ingress and egress, and kumactl 3 one for cp. It only warns if --valid-for is missing, and it
reads no configuration file.`,
		Example: `  # For the control plane of zone west
  meshpass generate zone-token --zone west --scope cp --valid-for 720h --output west.token

  # For its ingress and its egress
  meshpass generate zone-token --zone west --scope ingress,egress --valid-for 720h

  # Offline
  meshpass generate zone-token --zone west --scope cp --valid-for 720h --signing-key-path key.pem --kid key-1`,
		Args: noArguments,
	}
	flags := command.Flags()
	flags.SortFlags = false
	textFlag(flags, &claims.Zone, "zone", "", "name", "name of the zone (required)")
	flags.StringSliceVar(&claims.Scope, "scope", nil, "components that the token is for: cp, ingress, egress, or several with commas (required)")
	i.flags(command)
	completes(command, "zone", cobra.ShellCompDirectiveNoFileComp)
	completes(command, "scope", cobra.ShellCompDirectiveNoFileComp, zoneScopes...)
	command.RunE = func(command *cobra.Command, _ []string) error {
		if claims.Zone == "" {
			return usagef("--zone is missing, want the name of the zone, such as --zone west")
		}
		if len(claims.Scope) == 0 {
			return usagef("--scope is missing, want the zone's components that the token is for: --scope cp for its control plane, as kumactl 3 takes it, or --scope ingress,egress, as kumactl 2 takes it")
		}
		for _, scope := range claims.Scope {
			if err := oneOf("--scope", scope, zoneScopes); err != nil {
				return err
			}
		}
		return a.issue(command, &i, token.KindZone, func(ctx context.Context, from issuer) (token.Issued, error) {
			return from.IssueZone(ctx, claims, i.validFor)
		})
	}
	return command
}

var zoneScopes = []string{zone.ScopeCP, zone.ScopeIngress, zone.ScopeEgress}

const (
	formatPEM       = "pem"
	formatPEMBase64 = "pem-base64"
)

func (a *app) signingKeyCommand() *cobra.Command {
	var out output
	var bits int
	var format string
	command := &cobra.Command{
		Use:   "signing-key",
		Short: "Make a private key for signing tokens offline",
		Long: `Makes an RSA key. Use it to sign tokens offline (--signing-key-path of "generate dataplane-token" and "generate
zone-token"), or add it to a store ("keys add --signing-key-path"). It is not encrypted: anyone who has it can make
tokens.

The format pem-base64 is base64 of PEM, in one line without a line end, for the data of a Kubernetes Secret.`,
		Example: `  # In a file that only you can read
  meshpass generate signing-key --format pem --output key.pem

  # The value of a Secret
  meshpass generate signing-key > key.base64`,
		Args: noArguments,
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.StringVar(&format, "format", formatPEMBase64, "format of the key: pem or pem-base64")
	flags.IntVar(&bits, "bits", signing.DefaultBits, "size of the key: 2048, 3072 or 4096")
	out.flags(command)
	completes(command, "format", cobra.ShellCompDirectiveNoFileComp, formatPEM, formatPEMBase64)
	completes(command, "bits", cobra.ShellCompDirectiveNoFileComp, bitSizes...)
	command.RunE = func(*cobra.Command, []string) error {
		if err := oneOf("--format", format, []string{formatPEM, formatPEMBase64}); err != nil {
			return err
		}
		if err := out.check(); err != nil {
			return err
		}
		key, err := generateKey(bits)
		if err != nil {
			return err
		}
		data, err := key.PEM()
		if err != nil {
			return err
		}
		if format == formatPEMBase64 {
			data = []byte(base64.StdEncoding.EncodeToString(data))
		}
		if out.file == "" && isTerminal(a.out) {
			a.say("warning: this private key is on your screen, and in any recording of it: use --output next time")
		}
		if err := a.write(out, data); err != nil {
			return err
		}
		if out.file != "" {
			a.say("made a signing key of %d bits in %s; its public half: meshpass generate public-key --signing-key-path %s", bits, out.file, out.file)
		}
		return nil
	}
	return command
}

var bitSizes = []string{"2048", "3072", "4096"}

func generateKey(bits int) (*signing.PrivateKey, error) {
	if err := oneOf("--bits", fmt.Sprint(bits), bitSizes); err != nil {
		return nil, err
	}
	return signing.Generate(bits)
}

func (a *app) publicKeyCommand() *cobra.Command {
	out := output{public: true}
	var signingKeyPath string
	command := &cobra.Command{
		Use:   "public-key",
		Short: "Print the public key of a signing key",
		Long: `Prints the public half of a signing key, as PEM. Configure validators with it, under the name (kid) of your tokens. It
is not a secret.`,
		Example: `  meshpass generate public-key --signing-key-path key.pem --output key.pub`,
		Args:    noArguments,
	}
	command.Flags().SortFlags = false
	textFlag(command.Flags(), &signingKeyPath, "signing-key-path", "", "file", "file with the private key, PEM or base64 of PEM; \"-\" is standard input (required)")
	out.flags(command)
	command.RunE = func(*cobra.Command, []string) error {
		if signingKeyPath == "" {
			return usagef("--signing-key-path is missing, want the file with the private key, such as --signing-key-path key.pem")
		}
		if err := out.check(); err != nil {
			return err
		}
		key, err := a.readSigningKey(signingKeyPath)
		if err != nil {
			return err
		}
		return a.write(out, key.Public().PEM())
	}
	return command
}
