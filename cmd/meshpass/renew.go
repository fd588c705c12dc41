package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/renewal"
	"github.com/meshpass/meshpass/token"
)

func (a *app) renewCommand() *cobra.Command {
	var watch bool
	var point float64
	var maxLineage time.Duration
	command := &cobra.Command{
		Use:   "renew FILE",
		Short: "Exchange the token in a file for a later one",
		Long: `Exchanges the token in a file for one with the same claims and the same id that expires later, through --control-plane.
The token itself is what authenticates the request; --auth-token-file is not needed.

The file is replaced atomically, and keeps owner, group and mode. It must be in a folder that you may write to: a file
in the volume of a Kubernetes Secret is a symbolic link, and is refused. A token that another process puts there
meanwhile stays. After a failure the file is as it was.

With --watch the command runs beside a proxy until SIGTERM or SIGINT, which end it with exit status 0. It renews the
token at a random moment before --point of its lifetime, goes on through outages, and takes up a token that another
process puts into the file. It says on standard error what it does, and when a new token must be issued.

All renewals of a token together are its lineage. The control plane limits how old a lineage gets. If you give that
limit with --max-lineage, --watch warns well before.`,
		Example: `  # Once, such as from a timer
  meshpass renew dp-1.token --control-plane https://control-plane:5682 --ca-cert ca.pem

  # Beside a proxy
  meshpass renew dp-1.token --watch --max-lineage 2160h --control-plane https://control-plane:5682 --ca-cert ca.pem`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) != 1:
				return usagef("want one argument: the file with the token")
			case args[0] == "-":
				return usagef("want a file, since its token is replaced")
			case isSecret(args[0]):
				return usagef("want the path of a file, not its content: every user of this machine can see the command line")
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.SortFlags = false
	flags.BoolVar(&watch, "watch", false, "keep running, and renew the token before it expires")
	flags.Float64Var(&point, "point", 0.66, "with --watch: the part of its lifetime after which a token is renewed at the latest")
	flags.DurationVar(&maxLineage, "max-lineage", 0, "with --watch: the control plane's limit on the age of a lineage (default not known)")
	completes(command, "point", cobra.ShellCompDirectiveNoFileComp)
	completes(command, "max-lineage", cobra.ShellCompDirectiveNoFileComp)
	command.RunE = func(command *cobra.Command, args []string) error {
		given := command.Flags().Changed
		if !watch && (given("point") || given("max-lineage")) {
			return usagef("--point and --max-lineage are for --watch")
		}
		options := []renewal.Option{renewal.WithTimeout(a.timeout), renewal.WithPoint(point), renewal.WithClock(a.now), renewal.WithLogger(a.log())}
		if watch {
			options = append(options, renewal.WithLogger(slog.New(slog.NewTextHandler(a.err, nil))))
		}
		if given("max-lineage") {
			options = append(options, renewal.WithMaxLineage(maxLineage))
		}
		renew, err := a.renewing()
		if err != nil {
			return err
		}
		keeper, err := renewal.NewKeeper(args[0], renew, options...)
		if err != nil {
			return &usageError{err}
		}
		if watch {
			ctx, stop := signal.NotifyContext(command.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			if err := keeper.Run(ctx); ctx.Err() == nil {
				return err
			}
			return nil
		}
		issued, err := keeper.Once(command.Context())
		switch {
		case err == nil:
			a.say("renewed the token: id %s, key %s, expires %s", plain(issued.ID), plain(issued.KeyID), a.when(issued.ExpiresAt))
			return nil
		case errors.Is(err, token.ErrInvalid), errors.Is(err, token.ErrDenied), errors.Is(err, token.ErrLineage):
			a.say("the token was not renewed: %s", err)
			return errRefused
		}
		return fmt.Errorf("the token was not renewed: %w", err)
	}
	return command
}

// renewer is a client that renews tokens.
type renewer interface {
	RenewDataplane(ctx context.Context, raw string) (token.Issued, error)
	RenewZone(ctx context.Context, raw string) (token.Issued, error)
}

// renewing returns the function that renews a token, of either kind, with the control
// plane.
func (a *app) renewing() (renewal.Renew, error) {
	where, err := a.where()
	if err != nil {
		return nil, err
	}
	switch {
	case where.controlPlane == "":
		return nil, usagef("renew needs a control plane: give --control-plane, or set MESHPASS_CONTROL_PLANE")
	case a.authTokenFile != "":
		return nil, usagef("leave out --auth-token-file: the token in the file authenticates its own renewal")
	}
	c, err := a.openControlPlane(where.controlPlane)
	if err != nil {
		return nil, err
	}
	var client renewer = clientRenewer{c.Client}
	if a.renewer != nil {
		client = a.renewer
	}
	return func(ctx context.Context, raw string) (token.Issued, error) {
		unverified, err := token.ParseUnverified(raw)
		if err != nil {
			return token.Issued{}, err
		}
		claims, err := unverified.Claims()
		if err != nil {
			return token.Issued{}, err
		}
		renew := client.RenewDataplane
		if claims.Kind() == token.KindZone {
			renew = client.RenewZone
		}
		issued, err := renew(ctx, raw)
		return issued, c.explainRenewal(err)
	}, nil
}

// clientRenewer asks a control plane for tokens that are valid for as long as the old ones.
type clientRenewer struct{ client *httpapi.Client }

func (c clientRenewer) RenewDataplane(ctx context.Context, raw string) (token.Issued, error) {
	return c.client.RenewDataplane(ctx, raw, 0)
}

func (c clientRenewer) RenewZone(ctx context.Context, raw string) (token.Issued, error) {
	return c.client.RenewZone(ctx, raw, 0)
}

// explainRenewal adds to an error what to do about it.
func (c *controlPlane) explainRenewal(err error) error {
	var answer *httpapi.Error
	answered := errors.As(err, &answer)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, httpapi.ErrUnauthenticated):
		return advise(fmt.Errorf("%s: %w", c.name, err), "issue a new token")
	case errors.Is(err, token.ErrLineage):
		return advise(fmt.Errorf("%s: %w", c.name, err), "issue a new token")
	case errors.Is(err, token.ErrDenied):
		return advise(fmt.Errorf("%s: %w", c.name, err), "if its lineage is over, issue a new token")
	case answered && answer.TooEarly():
		return advise(fmt.Errorf("%s: %w", c.name, err), "wait for %s. If no process of yours renews this token, it is stolen: revoke its id, and issue a new token", answer.RetryAfter())
	case answered && answer.Status == http.StatusNotFound:
		return advise(fmt.Errorf("%s: %w", c.name, err), "is this the address of the control plane's REST API, and does it renew tokens? Kuma does not")
	}
	return c.explain(err)
}
