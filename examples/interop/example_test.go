package interop_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"log"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/examples/interop"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// Somebody issues a token with golang-jwt, and a Meshpass validator that has the
// public key accepts it.
func ExampleGolangJWT() {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	key := interop.Key{ID: "key-1", RSA: rsaKey}
	peer, err := interop.GolangJWT(key)
	if err != nil {
		log.Fatal(err)
	}
	now := time.Now()
	raw, err := peer.Sign(token.Claims{
		Dataplane:  token.Dataplane{Mesh: "default", Name: "dp-1"},
		Registered: token.Registered{ID: "7ef6f7f4", IssuedAt: now, NotBefore: now, ExpiresAt: now.Add(time.Hour)},
	})
	if err != nil {
		log.Fatal(err)
	}

	public, err := signing.NewPublicKey(&rsaKey.PublicKey)
	if err != nil {
		log.Fatal(err)
	}
	validator, err := dataplane.NewOfflineValidator(dataplane.WithPublicKey("default", key.ID, public))
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	verified, err := validator.Validate(context.Background(), "default", raw)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(verified.Claims().Name, "of mesh", verified.Claims().Mesh, "signed with", verified.KeyID())
	// Output: dp-1 of mesh default signed with key-1
}
