package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
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
	var publicKeyPath, kid, dataplanePath string
	var versions []string
	command := &cobra.Command{
		Use:   "inspect [FILE]",
		Short: "Show what a token says, and whether it would be refused",
		Long: `Shows what a token says: who may use it, its id, its key and its times. It reads the token from a file or from standard
input ("-", or no file), and never prints it.

With --store or --control-plane it also checks the token against the keys and revocations there, and says whether
validators would refuse it, and why. If validators are configured with a public key, give it with --public-key-path and
--kid. You may leave out the store then, but inspect cannot check whether the token is revoked.

With --for it says what versions of Kuma and Kong Mesh would make of the token, which they compare with other things
than Meshpass does, and what to change before an upgrade. "depends" names what it depends on. With --dataplane it says
so for that proxy with the token.

The exit status is 3 if the token would be refused, by Meshpass or by one of these versions.`,
		Example: `  meshpass inspect dp-1.token
  meshpass inspect dp-1.token --for kuma-3.0 --dataplane dp-1.yaml
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
	flags.StringSliceVar(&versions, "for", nil, "say what a version would do: "+strings.Join(kumaNames, ", "))
	textFlag(flags, &dataplanePath, "dataplane", "", "file", "with --for: the Dataplane of the proxy, in YAML or JSON")
	completes(command, "kid", cobra.ShellCompDirectiveNoFileComp)
	completes(command, "for", cobra.ShellCompDirectiveNoFileComp, kumaNames...)
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
			public, err := a.readPublicKey("--public-key-path", publicKeyPath)
			if err != nil {
				return err
			}
			configured = map[string]*signing.PublicKey{kid: public}
		}
		rules, err := allRulesOf(versions)
		if err != nil {
			return err
		}
		var proxy *dataplane.Proxy
		if dataplanePath != "" {
			if len(rules) == 0 {
				return usagef("--dataplane needs --for")
			}
			found, err := a.readProxy(dataplanePath)
			if err != nil {
				return err
			}
			proxy = &found
		}
		raw, err := a.readToken(path)
		if err != nil {
			return err
		}
		claims, err := a.describe(raw)
		if err != nil {
			return a.verdictFor(rules, present(raw, nil), proxy, a.verdict("", err))
		}
		ctx, cancel, err := a.begin(command)
		if err != nil {
			return err
		}
		defer cancel()
		v, err := a.verifier(ctx, configured)
		if err != nil {
			return err
		}
		defer v.close()
		by, err := v.check(ctx, raw, claims)
		if errors.Is(err, token.ErrUnknownKey) && configured == nil {
			a.say("if validators are configured with the public key of this token, give it with --public-key-path and --kid")
		}
		return a.verdictFor(rules, v.present(ctx, raw, err), proxy, a.verdict(by, err))
	}
	return command
}

// verdictFor prints what versions of Kuma make of a token, and returns the error of the
// command. verdict is the error of the library's own verdict.
func (a *app) verdictFor(rules []namedRules, p presented, proxy *dataplane.Proxy, verdict error) error {
	if verdict != nil && !errors.Is(verdict, errRefused) {
		return verdict
	}
	for _, r := range rules {
		judged := r.judge(p, proxy, a.now())
		a.line(r.name, judged.String())
		for _, change := range judged.changes {
			a.line("", "change: "+oneLine(change))
		}
		if judged.outcome == refused {
			verdict = errRefused
		}
	}
	return verdict
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

func (a *app) line(name, value string) { fmt.Fprintf(&a.report, "%-11s %s\n", name, value) }

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

// verifier checks tokens with the keys and revocations that the flags name.
type verifier struct {
	app        *app
	from       service // nil without a store and a control plane
	configured map[string]*signing.PublicKey
	validators map[owner]validator // those that were needed so far
	done       func()
}

// validator checks the tokens of an owner.
type validator struct {
	by       string // the keys and revocations that it has
	validate func(ctx context.Context, raw string, claims token.Claims) error
	close    func() error
}

// verifier connects to the store or the control plane, if there is one.
func (a *app) verifier(ctx context.Context, configured map[string]*signing.PublicKey) (*verifier, error) {
	v := &verifier{a, nil, configured, map[owner]validator{}, func() {}}
	_, err := a.where()
	if errors.Is(err, errNowhere) {
		return v, nil
	}
	if err == nil {
		v.from, v.done, err = a.reach(ctx, connecting{})
	}
	return v, err
}

func (v *verifier) close() {
	for _, one := range v.validators {
		one.close()
	}
	v.done()
}

// check validates a token. It also says by which keys and revocations: by none, if by is
// empty.
func (v *verifier) check(ctx context.Context, raw string, claims token.Claims) (by string, err error) {
	if v.from == nil && v.configured == nil {
		return "", v.app.checkWithoutKeys(claims)
	}
	of := owner{claims.Dataplane.Mesh}
	one, ok := v.validators[of]
	if !ok {
		if one, err = v.validator(ctx, of); err != nil {
			return "", err
		}
		v.validators[of] = one
	}
	return one.by, one.validate(ctx, raw, claims)
}

// present is present for a token that the verifier has checked.
func (v *verifier) present(ctx context.Context, raw string, checked error) presented {
	p := present(raw, checked)
	store, ok := v.from.(*storeService)
	if ok && errors.Is(p.err, token.ErrRevoked) && p.claims.Kind() == token.KindDataplane {
		list, err := revocation.DataplaneGlobal(p.claims.Dataplane.Mesh).Load(ctx, store)
		p.hidden = err == nil && !list.Contains(p.claims.ID)
	}
	return p
}

func (v *verifier) validator(ctx context.Context, of owner) (validator, error) {
	if err := keystore.CheckScope(keystore.Scope(of.mesh)); err != nil {
		return validator{}, fmt.Errorf("%w: %w", token.ErrScope, err)
	}
	if v.from == nil {
		return v.app.validator(of, "the public key; revocation was not checked", nil, v.configured)
	}
	list, err := v.from.keys(ctx, of) // explains why a store cannot be read
	if err != nil && !errors.Is(err, signing.ErrNoKey) {
		return validator{}, err
	}
	by := fmt.Sprintf("the keys and revocations of %s", v.from)
	if v.configured != nil {
		by += " and the public key"
	}
	if store, ok := v.from.(*storeService); ok {
		return v.app.validator(of, by, store.KeyStore, v.configured)
	}
	// A control plane lists its keys and revocations. The validator runs here.
	configured := map[string]*signing.PublicKey{}
	for _, k := range list.keys {
		configured[k.kid] = k.public
	}
	maps.Copy(configured, v.configured)
	revoked, err := v.from.revoked(ctx, of)
	if err != nil {
		return validator{}, err
	}
	data, err := revocation.Format(revoked.ids)
	if err != nil {
		return validator{}, err
	}
	copied := keystore.NewMemory()
	if _, err := copied.Create(ctx, keystore.Record{Scope: of.list().Scope, Name: of.list().Name, Data: data}); err != nil {
		return validator{}, err
	}
	cut, err := v.from.cutoffs(ctx, of)
	switch {
	case errors.Is(err, errNoCutoffs):
		v.app.say("warning: %s does not serve cutoffs, so they were not checked", v.from)
	case err != nil:
		return validator{}, err
	default:
		if err := cut.copyTo(ctx, copied, of); err != nil {
			return validator{}, err
		}
	}
	return v.app.validator(of, by, copied, configured)
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

// validator makes a validator of the library. Without a store, it has only the
// configured keys.
func (a *app) validator(of owner, by string, store keystore.KeyStore, configured map[string]*signing.PublicKey) (validator, error) {
	if of.mesh != "" {
		options := []dataplane.ValidatorOption{dataplane.WithClock(a.now), dataplane.WithLogger(a.log())}
		for kid, public := range configured {
			options = append(options, dataplane.WithPublicKey(of.mesh, kid, public))
		}
		var v dataplane.Validator
		var err error
		if store == nil {
			v, err = dataplane.NewOfflineValidator(options...)
		} else {
			v, err = dataplane.NewValidator(store, options...)
		}
		if err != nil {
			return validator{}, err
		}
		return validator{by, func(ctx context.Context, raw string, _ token.Claims) error {
			return answer(ctx, v.Staleness, func() error {
				_, err := v.Validate(ctx, of.mesh, raw)
				return err
			})
		}, v.Close}, nil
	}
	options := []zone.ValidatorOption{zone.WithClock(a.now), zone.WithLogger(a.log())}
	for kid, public := range configured {
		options = append(options, zone.WithPublicKey(kid, public))
	}
	var v zone.Validator
	var err error
	if store == nil {
		v, err = zone.NewOfflineValidator(options...)
	} else {
		v, err = zone.NewValidator(store, options...)
	}
	if err != nil {
		return validator{}, err
	}
	return validator{by, func(ctx context.Context, raw string, claims token.Claims) error {
		if len(claims.Zone.Scope) == 0 {
			return fmt.Errorf("%w: it has no scope", token.ErrScope)
		}
		return answer(ctx, v.Staleness, func() error {
			_, err := v.Validate(ctx, claims.Zone.Zone, claims.Zone.Scope[0], raw)
			return err
		})
	}, v.Close}, nil
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
