package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func (a *app) inspectCommand() *cobra.Command {
	var publicKeyPath, kid string
	command := &cobra.Command{
		Use:   "inspect [FILE]",
		Short: "Show what a token says, and whether it would be refused",
		Long: `Shows what a token says: who may use it, its id, its key and its times. It reads the token from a file or from standard
input ("-", or no file), and never prints it.

With --store or --control-plane it also checks the token against the keys and revocations there, and says whether
validators would refuse it, and why. If validators are configured with a public key, give it with --public-key-path and
--kid. You may leave out the store then, but inspect cannot check whether the token is revoked.

The exit status is 3 if the token would be refused.`,
		Example: `  meshpass inspect dp-1.token
  meshpass generate dataplane-token --mesh default --valid-for 1h | meshpass inspect
  meshpass inspect offline.token --public-key-path key.pub --kid key-1`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 0 && isSecret(args[0]):
				return usagef("want the path of a file with the token, not the token: every user of this machine can see the command line")
			case len(args) > 1:
				return usagef("found %d arguments, want one file with a token", len(args))
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	textFlag(flags, &publicKeyPath, "public-key-path", "", "file", "file with a public key that validators are configured with")
	textFlag(flags, &kid, "kid", "", "name", "name of that key")
	completes(command, "kid", cobra.ShellCompDirectiveNoFileComp)
	command.RunE = func(command *cobra.Command, args []string) error {
		path := "-"
		if len(args) == 1 {
			path = args[0]
		}
		if (publicKeyPath == "") != (kid == "") {
			return usagef("want both --public-key-path and --kid, or neither")
		}
		if len(args) == 0 && isTerminal(a.in) {
			return usagef(`which token? Give a file, or pipe the token into standard input; to paste one, give "-"`)
		}
		var configured map[string]*signing.PublicKey
		if kid != "" {
			public, err := a.readPublicKey(publicKeyPath)
			if err != nil {
				return err
			}
			configured = map[string]*signing.PublicKey{kid: public}
		}
		raw, err := a.readToken(path)
		if err != nil {
			return err
		}
		claims, err := a.describe(raw)
		if err != nil {
			return a.verdict("", err)
		}
		ctx, cancel, err := a.begin(command)
		if err != nil {
			return err
		}
		defer cancel()
		by, err := a.check(ctx, raw, claims, configured)
		if errors.Is(err, token.ErrUnknownKey) && configured == nil {
			a.say("if validators are configured with the public key of this token, give it with --public-key-path and --kid")
		}
		return a.verdict(by, err)
	}
	return command
}

// describe prints what a token says.
func (a *app) describe(raw string) (token.Claims, error) {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return token.Claims{}, err
	}
	header, headerErr := unverified.Header()
	claims, err := claimsOf(raw)
	if err == nil {
		a.describeClaims(claims)
	}
	if headerErr == nil {
		a.line("key (kid)", plain(header.KeyID))
	}
	return claims, errors.Join(headerErr, err)
}

func (a *app) describeClaims(claims token.Claims) {
	a.line("kind", fmt.Sprintf("%s token", claims.Kind()))
	if d := claims.Dataplane; claims.Kind() == token.KindDataplane {
		a.line("mesh", plain(d.Mesh))
		a.line("name", plainOr(d.Name, "any"))
		if len(d.Tags) == 0 {
			a.line("tags", "any")
		}
		for i, tag := range plainTags(d.Tags) {
			a.line([]string{"tags", ""}[min(i, 1)], tag)
		}
		a.line("workload", plainOr(d.Workload, "any"))
		a.line("proxy type", plainOr(d.Type, "any"))
	} else {
		a.line("zone", plain(claims.Zone.Zone))
		a.line("scope", plainList(claims.Zone.Scope))
	}
	a.line("id (jti)", plainOr(claims.ID, "none: it cannot be revoked"))
	a.timeLine("issued", claims.IssuedAt)
	a.timeLine("valid from", claims.NotBefore)
	if claims.ExpiresAt.IsZero() {
		a.line("expires", "never")
	} else if claims.ExpiresAt.After(a.now()) {
		a.timeLine("expires", claims.ExpiresAt)
	} else {
		a.timeLine("expired", claims.ExpiresAt)
	}
}

func (a *app) timeLine(name string, t time.Time) {
	if !t.IsZero() {
		a.line(name, a.when(t))
	}
}

func (a *app) line(name, value string) { fmt.Fprintf(&a.report, "%-12s%s\n", name, value) }

func plainOr(text, absent string) string {
	if text == "" {
		return absent
	}
	return plain(text)
}

// verdict prints whether the token would be refused, and returns the error of the
// command. An empty by means that there was no key to check with.
func (a *app) verdict(by string, err error) error {
	if err != nil && !errors.Is(err, token.ErrInvalid) {
		return fmt.Errorf("there is no verdict on the token: %w", err)
	}
	if by != "" {
		a.line("checked by", by)
	}
	switch {
	case err != nil:
		a.line("verdict", "refused: "+oneLine(err.Error()))
		return errRefused
	case by == "":
		a.line("verdict", "not checked: signature and revocation need --store, --control-plane or --public-key-path")
	default:
		a.line("verdict", "accepted")
	}
	return nil
}

// check validates a token with the keys and revocations that the flags name, and says
// which these are.
func (a *app) check(ctx context.Context, raw string, claims token.Claims, configured map[string]*signing.PublicKey) (by string, err error) {
	_, err = a.where()
	if errors.Is(err, errNowhere) {
		if configured == nil {
			return "", a.checkWithoutKeys(claims)
		}
		return "the public key; revocation was not checked", a.validate(ctx, raw, claims, nil, configured)
	}
	if err != nil {
		return "", err
	}
	of := owner{claims.Dataplane.Mesh}
	if err := keystore.CheckScope(keystore.Scope(of.mesh)); err != nil {
		return "", fmt.Errorf("%w: %w", token.ErrScope, err)
	}
	from, done, err := a.connect(ctx, connecting{})
	if err != nil {
		return "", err
	}
	defer done()
	list, err := from.keys(ctx, of) // explains why a store cannot be read
	if err != nil && !errors.Is(err, signing.ErrNoKey) {
		return "", err
	}
	by = fmt.Sprintf("the keys and revocations of %s", from)
	if configured != nil {
		by += " and the public key"
	}
	if store, ok := from.(*storeService); ok {
		return by, a.validate(ctx, raw, claims, store.KeyStore, configured)
	}
	// A control plane lists its keys and revocations. The validator runs here.
	if configured == nil {
		configured = map[string]*signing.PublicKey{}
	}
	for _, k := range list.keys {
		if _, own := configured[k.kid]; !own {
			configured[k.kid] = k.public
		}
	}
	revoked, err := from.revoked(ctx, of)
	if err != nil {
		return "", err
	}
	data, err := revocation.Format(revoked.ids)
	if err != nil {
		return "", err
	}
	copied := keystore.NewMemory()
	if _, err := copied.Create(ctx, keystore.Record{Scope: of.list().Scope, Name: of.list().Name, Data: data}); err != nil {
		return "", err
	}
	cut, err := from.cutoffs(ctx, of)
	switch {
	case errors.Is(err, errNoCutoffs):
		a.say("warning: %s does not serve cutoffs, so they were not checked", from)
	case err != nil:
		return "", err
	default:
		if err := cut.copyTo(ctx, copied, of); err != nil {
			return "", err
		}
	}
	return by, a.validate(ctx, raw, claims, copied, configured)
}

// leeway is the validators' default.
const leeway = 30 * time.Second

// checkWithoutKeys makes the checks that need no key.
func (a *app) checkWithoutKeys(claims token.Claims) error {
	switch now := a.now(); {
	case claims.ID == "":
		return fmt.Errorf("%w: it has no id (jti)", token.ErrClaims)
	case claims.ExpiresAt.IsZero():
		return fmt.Errorf("%w: it never expires", token.ErrClaims)
	case !now.Before(claims.ExpiresAt.Add(leeway)):
		return token.ErrExpired
	case now.Before(claims.NotBefore.Add(-leeway)):
		return token.ErrNotYetValid
	}
	return nil
}

// validate asks a validator of the library. Without a store, the validator has only
// the configured keys.
func (a *app) validate(ctx context.Context, raw string, claims token.Claims, store keystore.KeyStore, configured map[string]*signing.PublicKey) error {
	if claims.Kind() == token.KindDataplane {
		options := []dataplane.ValidatorOption{dataplane.WithClock(a.now), dataplane.WithLogger(a.log())}
		for kid, public := range configured {
			options = append(options, dataplane.WithPublicKey(claims.Dataplane.Mesh, kid, public))
		}
		var v dataplane.Validator
		var err error
		if store == nil {
			v, err = dataplane.NewOfflineValidator(options...)
		} else {
			v, err = dataplane.NewValidator(store, options...)
		}
		if err != nil {
			return err
		}
		defer v.Close()
		return answer(ctx, v.Staleness, func() error {
			_, err := v.Validate(ctx, claims.Dataplane.Mesh, raw)
			return err
		})
	}
	options := []zone.ValidatorOption{zone.WithClock(a.now), zone.WithLogger(a.log())}
	for kid, public := range configured {
		options = append(options, zone.WithPublicKey(kid, public))
	}
	if len(claims.Zone.Scope) == 0 {
		return fmt.Errorf("%w: it has no scope", token.ErrScope)
	}
	var v zone.Validator
	var err error
	if store == nil {
		v, err = zone.NewOfflineValidator(options...)
	} else {
		v, err = zone.NewValidator(store, options...)
	}
	if err != nil {
		return err
	}
	defer v.Close()
	return answer(ctx, v.Staleness, func() error {
		_, err := v.Validate(ctx, claims.Zone.Zone, claims.Zone.Scope[0], raw)
		return err
	})
}

// answer validates until the validator has read the store. Each call waits at most
// a second for that.
func answer(ctx context.Context, staleness func() (time.Duration, bool), validate func() error) error {
	for {
		_, read := staleness()
		err := validate()
		if read || !errors.Is(err, token.ErrUnavailable) || ctx.Err() != nil {
			return err
		}
	}
}
