package zone_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// The life of a token: from the first key to its revocation.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store := keystore.NewMemory() // or dir.Open

	// When the global control plane is set up.
	if _, err := zone.EnsureKey(ctx, store); err != nil {
		log.Fatal(err)
	}

	// When a zone is set up.
	issuer, err := zone.NewIssuer(store)
	if err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, 30*24*time.Hour)
	if err != nil {
		log.Fatal(err)
	}

	// When a zone connects.
	validator, err := zone.NewValidator(store)
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	verified, err := validator.Validate(ctx, "west", zone.ScopeCP, issued.Token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("valid for", verified.Claims().Zone)
	_, err = validator.Validate(ctx, "west", zone.ScopeIngress, issued.Token)
	fmt.Println(err)

	// When the token has got into the wrong hands.
	if err := zone.Revoke(ctx, store, verified.Registered().ID); err != nil {
		log.Fatal(err)
	}
	for err = nil; err == nil && ctx.Err() == nil; { // the validator follows the store: it knows in a moment
		_, err = validator.Validate(ctx, "west", zone.ScopeCP, issued.Token)
	}
	fmt.Println("revoked:", errors.Is(err, token.ErrRevoked))

	// Output:
	// valid for west
	// token for another mesh, zone or scope: its scopes are ["cp"], want "ingress"
	// revoked: true
}

// Rotation: add a key, give out new tokens, remove the old key.
func Example_rotation() {
	ctx := context.Background()
	store := keystore.NewMemory()
	old, err := zone.EnsureKey(ctx, store)
	if err != nil {
		log.Fatal(err)
	}
	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := zone.AddKey(ctx, store, key); err != nil {
		log.Fatal(err)
	}

	// Once every zone has a token of the new key:
	if err := zone.RemoveKey(ctx, store, old.Serial); err != nil {
		log.Fatal(err)
	}
	keys, err := zone.Keys(ctx, store)
	if err != nil {
		log.Fatal(err)
	}
	for _, key := range keys {
		fmt.Printf("key %d, %d bits, signs: %t\n", key.Serial, key.Public.Bits(), key.Signs)
	}

	// Output:
	// key 2, 2048 bits, signs: true
}

// Without a store: one side has the private key, the other the public one.
func Example_offline() {
	ctx := context.Background()
	private, err := signing.Generate(signing.DefaultBits) // or signing.ParsePrivateKey, of a PEM file
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := zone.NewOfflineIssuer(private, "key-1")
	if err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeEgress}}, time.Hour)
	if err != nil {
		log.Fatal(err)
	}

	validator, err := zone.NewOfflineValidator(zone.WithPublicKey("key-1", private.Public()))
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	verified, err := validator.Validate(ctx, "west", zone.ScopeEgress, issued.Token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(verified.KeyID(), "says", verified.Claims().Zone)

	// Output:
	// key-1 says west
}
