package dataplane_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// kms stands for a key in a KMS or HSM: a crypto.Signer whose private half stays there.
type kms struct{ crypto.Signer }

// A key in a KMS signs, and the store has only its public half.
func ExampleAddExternalKey() {
	ctx, store := context.Background(), keystore.NewMemory()
	inKMS, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	key, err := signing.NewPrivateKey(kms{inKMS})
	if err != nil {
		log.Fatal(err)
	}

	// The issuer has the signer before the key is added, since that then signs at once.
	issuer, err := dataplane.NewIssuer(store, dataplane.WithSigners(signing.SignersOf(key)))
	if err != nil {
		log.Fatal(err)
	}
	if _, err := dataplane.AddExternalKey(ctx, store, "default", key.Public()); err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	fmt.Println("signed by key", issued.KeyID, err)

	withoutSigner, err := dataplane.NewIssuer(store)
	if err != nil {
		log.Fatal(err)
	}
	_, err = withoutSigner.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	fmt.Println("no signer:", errors.Is(err, signing.ErrNoSigner))
	// Output:
	// signed by key 1 <nil>
	// no signer: true
}

// The life of a token: from the mesh's first key to its revocation.
func Example() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store := keystore.NewMemory() // or dir.Open

	// When the mesh is created.
	if _, err := dataplane.EnsureKey(ctx, store, "default"); err != nil {
		log.Fatal(err)
	}

	// When a proxy is set up.
	issuer, err := dataplane.NewIssuer(store)
	if err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, token.Dataplane{
		Mesh: "default",
		Name: "dp-1",
		Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}},
	}, 30*24*time.Hour)
	if err != nil {
		log.Fatal(err)
	}

	// When a proxy connects.
	validator, err := dataplane.NewValidator(store)
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	verified, err := validator.Validate(ctx, "default", issued.Token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("valid for", verified.Claims().Name)

	proxy := dataplane.Proxy{
		Mesh:     "default",
		Name:     "dp-1",
		Inbounds: []map[string]string{{"kuma.io/service": "backend"}},
	}
	fmt.Println("permits backend:", verified.Permits(proxy) == nil)
	proxy.Inbounds[0]["kuma.io/service"] = "payments"
	fmt.Println(verified.Permits(proxy))

	// When the token has got into the wrong hands.
	if err := dataplane.Revoke(ctx, store, "default", verified.Registered().ID); err != nil {
		log.Fatal(err)
	}
	for err == nil && ctx.Err() == nil { // the validator follows the store: it knows in a moment
		_, err = validator.Validate(ctx, "default", issued.Token)
	}
	fmt.Println("revoked:", errors.Is(err, token.ErrRevoked))

	// Output:
	// valid for dp-1
	// permits backend: true
	// token does not permit this: tag "kuma.io/service" has the value "payments", the token allows ["backend" "backend-admin"]
	// revoked: true
}

// Rotation: add a key, give out new tokens, remove the old key.
func Example_rotation() {
	ctx := context.Background()
	store := keystore.NewMemory()
	old, err := dataplane.EnsureKey(ctx, store, "default")
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := dataplane.NewIssuer(store)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default"}, 24*time.Hour); err != nil {
		log.Fatal(err)
	}

	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		log.Fatal(err)
	}
	if _, err := dataplane.AddKey(ctx, store, "default", key); err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default"}, 24*time.Hour)
	if err != nil {
		log.Fatal(err)
	}

	// Once no token of the old key is in use any more:
	if err := dataplane.RemoveKey(ctx, store, "default", old.Serial); err != nil {
		log.Fatal(err)
	}

	validator, err := dataplane.NewValidator(store)
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	verified, err := validator.Validate(ctx, "default", issued.Token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("signed with key", verified.KeyID())
	keys, err := dataplane.Keys(ctx, store, "default")
	if err != nil {
		log.Fatal(err)
	}
	for _, key := range keys {
		fmt.Printf("key %d, %d bits, signs: %t\n", key.Serial, key.Public.Bits(), key.Signs)
	}

	// Output:
	// signed with key 2
	// key 2, 2048 bits, signs: true
}

// Without a store: one side has the private key, the other the public one.
func Example_offline() {
	ctx := context.Background()
	private, err := signing.Generate(signing.DefaultBits) // or signing.ParsePrivateKey, of a PEM file
	if err != nil {
		log.Fatal(err)
	}
	issuer, err := dataplane.NewOfflineIssuer(private, "key-1")
	if err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	if err != nil {
		log.Fatal(err)
	}

	validator, err := dataplane.NewOfflineValidator(dataplane.WithPublicKey("default", "key-1", private.Public()))
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	verified, err := validator.Validate(ctx, "default", issued.Token)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(verified.KeyID(), "says", verified.Claims().Name)

	// Output:
	// key-1 says dp-1
}
