package meshpass_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// The tour of the package comment: create a mesh, issue a token, validate it,
// rotate the signing key, and revoke the token.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store := keystore.NewMemory() // or dir.Open, or your own store

	// The mesh is created.
	old, err := dataplane.EnsureKey(ctx, store, "default")
	if err != nil {
		log.Fatal(err)
	}

	// An operator issues tokens, before and after the rotation of the key.
	issuer, err := dataplane.NewIssuer(store)
	if err != nil {
		log.Fatal(err)
	}
	claims := token.Dataplane{Mesh: "default", Name: "dp-1"}
	oldToken, err := issuer.Issue(ctx, claims, 30*24*time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := dataplane.AddKey(ctx, store, "default", key); err != nil {
		log.Fatal(err)
	}
	newToken, err := issuer.Issue(ctx, claims, 30*24*time.Hour)
	if err != nil {
		log.Fatal(err)
	}

	// The proxy connects. Both keys verify.
	validator, err := dataplane.NewValidator(store, dataplane.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	for _, raw := range []string{oldToken.Token, newToken.Token} {
		verified, err := validator.Validate(ctx, "default", raw)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("key", verified.KeyID(), "permits dp-1:", verified.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-1"}) == nil)
		fmt.Println("key", verified.KeyID(), "permits dp-2:", verified.Permits(dataplane.Proxy{Mesh: "default", Name: "dp-2"}) == nil)
	}

	// The proxy has its new token: the old key is removed, and its sessions end.
	verified, err := validator.Validate(ctx, "default", oldToken.Token)
	if err != nil {
		log.Fatal(err)
	}
	session, release := verified.Bind(ctx)
	defer release()
	if err := dataplane.RemoveKey(ctx, store, "default", old.Serial); err != nil {
		log.Fatal(err)
	}
	<-session.Done()
	fmt.Println("old key removed:", errors.Is(context.Cause(session), token.ErrUnknownKey))

	// The new token leaks: it is revoked.
	verified, err = validator.Validate(ctx, "default", newToken.Token)
	if err != nil {
		log.Fatal(err)
	}
	session, release = verified.Bind(ctx)
	defer release()
	if err := dataplane.Revoke(ctx, store, "default", verified.Registered().ID); err != nil {
		log.Fatal(err)
	}
	<-session.Done()
	_, err = validator.Validate(ctx, "default", newToken.Token)
	fmt.Println("new token revoked:", errors.Is(err, token.ErrRevoked))

	// Output:
	// key 1 permits dp-1: true
	// key 1 permits dp-2: false
	// key 2 permits dp-1: true
	// key 2 permits dp-2: false
	// old key removed: true
	// new token revoked: true
}
