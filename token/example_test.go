package token_test

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/meshpass/meshpass/token"
)

// Looking inside the sample zone token of Kuma's documentation. This says what
// is written in the token, not that any of it is true.
func ExampleParseUnverified() {
	unverified, err := token.ParseUnverified(sample)
	if err != nil {
		log.Fatal(err)
	}
	header, err := unverified.Header()
	if err != nil {
		log.Fatal(err)
	}
	claims, err := unverified.Claims()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("kid:", header.KeyID)
	fmt.Println("kind:", claims.Kind())
	fmt.Println("zone:", claims.Zone.Zone)
	fmt.Println("scope:", claims.Zone.Scope)
	fmt.Println("jti:", claims.ID)
	fmt.Println("exp:", claims.ExpiresAt.Unix())
	fmt.Println("the token itself:", unverified)
	// Output:
	// kid: 1
	// kind: zone
	// zone: west
	// scope: [cp]
	// jti: 6baf2c90-0e86-4c62-97a7-7835855834bc
	// exp: 1669546939
	// the token itself: token.Unverified
}

// A refusal has a class, a check that refused, and a reason.
func ExampleParseUnverified_refused() {
	_, err := token.ParseUnverified(sample + "\n")
	fmt.Println(err)
	fmt.Println(errors.Is(err, token.ErrMalformed), errors.Is(err, token.ErrInvalid))
	// Output:
	// malformed token: signature has a character other than A-Z, a-z, 0-9, '-' and '_'
	// true true
}

// The dataplane and zone packages make tokens with keys from a store. With a
// key of any other kind, Encode does.
func ExampleEncode() {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	raw, err := token.Encode("key-1", token.Claims{
		Registered: token.Registered{
			ID:        "6baf2c90-0e86-4c62-97a7-7835855834bc",
			ExpiresAt: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC),
		},
		Dataplane: token.Dataplane{
			Mesh: "default",
			Name: "dp-1",
			Tags: map[string][]string{"kuma.io/service": {"backend", "backend-admin"}},
		},
	}, func(signingInput []byte) ([]byte, error) {
		digest := sha256.Sum256(signingInput)
		return rsa.SignPKCS1v15(rand.Reader, key, crypto.SHA256, digest[:])
	})
	if err != nil {
		log.Fatal(err)
	}
	unverified, err := token.ParseUnverified(raw)
	if err != nil {
		log.Fatal(err)
	}
	claims, err := unverified.Claims()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(claims.Kind(), claims.Dataplane.Mesh, claims.Dataplane.Name, claims.Dataplane.Tags)
	fmt.Println(claims.ExpiresAt)
	// Output:
	// dataplane default dp-1 map[kuma.io/service:[backend backend-admin]]
	// 2030-01-01 00:00:00 +0000 UTC
}
