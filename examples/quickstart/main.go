// Command quickstart plays the life of dataplane and zone tokens with real keys in a
// temporary directory, and prints what it does. It exits with 1 as soon as something
// does not happen as it says.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// sample is the zone token in the documentation of Kuma. Its key is not public, so it can
// be decoded but not validated.
const sample = "eyJhbGciOiJSUzI1NiIsImtpZCI6IjEiLCJ0eXAiOiJKV1QifQ.eyJab25lIjoid2VzdCIsIlNjb3BlIjpbImNwIl0sImV4cCI6MTY2OTU0NjkzOSwibmJmIjoxNjY2OTU0NjM5LCJpYXQiOjE2NjY5NTQ5MzksImp0aSI6IjZiYWYyYzkwLTBlODYtNGM2Mi05N2E3LTc4MzU4NTU4MzRiYyJ9.DJfA0M6uUfO4oytp8jHtzngiVggQWQR88YQxWVU1ujc0Zv-XStRDwvpdEoFGOzWVn4EUfI3gcv9qS2MxqIzQjJ83k5Jq85w4hkPyLGr-0jNS1UZF6yXz7lB_As8f91gMVHbRAoFuoybV5ndDtfYzwZknyzott7doxk-SjTes2GDvpg0-kFNGc4MBR2EprGl7YKO0vhFxQljn5AyCAhmAA7-PM7WRCzhmS-pUXacfZtP2VulWYhmTAuLPnkJrJN-ZWPkIpnV1MZmsgWbzTpnW-PhmCMQfD5m2im1c_3OlFwa9P9rZQQhdhbTp0ofMvW-cdCAcG_lOJI5j60cqPh2DGg"

const month = 30 * 24 * time.Hour

func main() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) // so that the program cleans up after a closed pipe
	if err := run(context.Background(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) error {
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	quiet := slog.New(slog.DiscardHandler) // the refusals below are expected
	ctx = audit.WithLogger(ctx, quiet)     // the program prints what it does

	folder, err := os.MkdirTemp("", "meshpass-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	store, err := dir.Open(folder)
	if err != nil {
		return err
	}

	// Keys.
	meshKey, err := dataplane.EnsureKey(ctx, store, "default")
	if err != nil {
		return err
	}
	zoneKey, err := zone.EnsureKey(ctx, store)
	if err != nil {
		return err
	}
	say("keys       mesh default signs with key %d, zones with key %d, each %d bits", meshKey.Serial, zoneKey.Serial, meshKey.Public.Bits())

	// Issuing.
	dataplanes, err := dataplane.NewIssuer(store)
	if err != nil {
		return err
	}
	claims := token.Dataplane{Mesh: "default", Name: "dp-1",
		Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}}}
	issued, err := dataplanes.Issue(ctx, claims, month)
	if err != nil {
		return err
	}
	say("issue      a dataplane token for dp-1, service backend or backend-admin (%d bytes)", len(issued.Token))
	zones, err := zone.NewIssuer(store)
	if err != nil {
		return err
	}
	rawZone, err := zones.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, month)
	if err != nil {
		return err
	}
	rawEgress, err := zones.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeEgress}}, month)
	if err != nil {
		return err
	}
	say("issue      a zone token for west with scope cp, and one with scope egress only")

	// Validating.
	validator, err := dataplane.NewValidator(store, dataplane.WithLogger(quiet))
	if err != nil {
		return err
	}
	defer validator.Close()
	verified, err := validator.Validate(ctx, "default", issued.Token)
	if err != nil {
		return err
	}
	zoneValidator, err := zone.NewValidator(store, zone.WithLogger(quiet))
	if err != nil {
		return err
	}
	defer zoneValidator.Close()
	verifiedZone, err := zoneValidator.Validate(ctx, "west", zone.ScopeCP, rawZone.Token)
	if err != nil {
		return err
	}
	say("validate   both are good: %s of mesh %s, and zone %s",
		verified.Claims().Name, verified.Claims().Mesh, verifiedZone.Claims().Zone)

	// The boundary.
	proxy := func(name, service string) dataplane.Proxy {
		return dataplane.Proxy{Mesh: "default", Name: name, Inbounds: []map[string]string{{"kuma.io/service": service}}}
	}
	if err := verified.Permits(proxy("dp-1", "backend-admin")); err != nil {
		return err
	}
	say("boundary   dp-1 may serve backend-admin")
	for _, c := range []struct {
		what string
		err  error
		want error
	}{
		{"a proxy named dp-2", verified.Permits(proxy("dp-2", "backend")), token.ErrNotPermitted},
		{"dp-1 as service payments", verified.Permits(proxy("dp-1", "payments")), token.ErrNotPermitted},
		{"west's egress token as its control plane", validateZone(ctx, zoneValidator, rawEgress.Token), token.ErrScope},
		{"west's zone token as a dataplane token (each kind has keys of its own)", validate(ctx, validator, rawZone.Token), token.ErrInvalid},
		{"a token with one character changed", validate(ctx, validator, tamper(issued.Token)), token.ErrInvalid},
	} {
		if !errors.Is(c.err, c.want) {
			return fmt.Errorf("%s: got %v, want %v", c.what, c.err, c.want)
		}
		say("refuse     %s: %v", c.what, c.err)
	}

	// Revocation.
	other, err := dataplanes.Issue(ctx, claims, month)
	if err != nil {
		return err
	}
	if err := validate(ctx, validator, other.Token); err != nil {
		return err
	}
	if err := revoke(ctx, store, other.Token); err != nil {
		return err
	}
	if err := eventually(ctx, token.ErrRevoked, func() error { return validate(ctx, validator, other.Token) }); err != nil {
		return err
	}
	if err := validate(ctx, validator, issued.Token); err != nil {
		return err
	}
	say("revoke     one token by its id: it is refused, the first one is still good")

	// Rotation.
	next, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		return err
	}
	added, err := dataplane.AddKey(ctx, store, "default", next)
	if err != nil {
		return err
	}
	newer, err := dataplanes.Issue(ctx, claims, month)
	if err != nil {
		return err
	}
	for _, t := range []string{issued.Token, newer.Token} {
		if err := validate(ctx, validator, t); err != nil {
			return err
		}
	}
	say("rotate     key %d was added and signs now; old and new tokens are both good", added.Serial)
	if err := dataplane.RemoveKey(ctx, store, "default", meshKey.Serial); err != nil {
		return err
	}
	if err := eventually(ctx, token.ErrUnknownKey, func() error { return validate(ctx, validator, issued.Token) }); err != nil {
		return err
	}
	if err := validate(ctx, validator, newer.Token); err != nil {
		return err
	}
	say("rotate     key %d was removed: the old token is refused, the new one is good", meshKey.Serial)

	// Without a store.
	if err := offline(ctx, claims, say); err != nil {
		return err
	}

	// Looking inside.
	unverified, err := token.ParseUnverified(sample)
	if err != nil {
		return err
	}
	inside, err := unverified.Claims()
	if err != nil {
		return err
	}
	if inside.Zone.Zone != "west" || inside.ID != "6baf2c90-0e86-4c62-97a7-7835855834bc" {
		return fmt.Errorf("the documentation's sample decodes to %+v", inside)
	}
	say("look into  the documentation's sample: zone %s, scope %s, expired %s",
		inside.Zone.Zone, strings.Join(inside.Zone.Scope, ","), inside.ExpiresAt.Format(time.DateOnly))
	return nil
}

// offline issues with a private key alone, as PEM, and validates with the public one.
func offline(ctx context.Context, claims token.Dataplane, say func(string, ...any)) error {
	generated, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		return err
	}
	pem, err := generated.PEM() // an operator keeps this in a file
	if err != nil {
		return err
	}
	private, err := signing.ParsePrivateKey(pem)
	if err != nil {
		return err
	}
	issuer, err := dataplane.NewOfflineIssuer(private, "key-1")
	if err != nil {
		return err
	}
	issued, err := issuer.Issue(ctx, claims, month)
	if err != nil {
		return err
	}
	public, err := signing.ParsePublicKey(private.Public().PEM())
	if err != nil {
		return err
	}
	validator, err := dataplane.NewOfflineValidator(dataplane.WithPublicKey("default", "key-1", public))
	if err != nil {
		return err
	}
	defer validator.Close()
	verified, err := validator.Validate(ctx, "default", issued.Token)
	if err != nil {
		return err
	}
	say("offline    issued with a PEM key, validated with its public key, kid %s", verified.KeyID())
	return nil
}

func validate(ctx context.Context, v dataplane.Validator, raw string) error {
	_, err := v.Validate(ctx, "default", raw)
	return err
}

func validateZone(ctx context.Context, v zone.Validator, raw string) error {
	_, err := v.Validate(ctx, "west", zone.ScopeCP, raw)
	return err
}

// tamper changes one character in the middle of the payload.
func tamper(raw string) string {
	payload := strings.Index(raw, ".") + 20
	changed := byte('A')
	if raw[payload] == changed {
		changed = 'B'
	}
	return raw[:payload] + string(changed) + raw[payload+1:]
}

// revoke revokes a leaked token: its id and its mesh are in the token.
func revoke(ctx context.Context, store keystore.KeyStore, raw string) error {
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		return err
	}
	inside, err := unverified.Claims()
	if err != nil {
		return err
	}
	return dataplane.Revoke(ctx, store, inside.Dataplane.Mesh, inside.ID)
}

// eventually waits until a change of the store reaches the validator: the store polls its
// directory every 250 ms.
func eventually(ctx context.Context, want error, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		err := try()
		if errors.Is(err, want) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("got %v, want %v", err, want)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
