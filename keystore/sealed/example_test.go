package sealed_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/sealed"
)

// The inner store gets what is sealed, and nothing else is let in through it.
func Example() {
	ctx := context.Background()
	key := bytes.Repeat([]byte{1}, 32) // 32 random bytes, from openssl rand 32
	sealer, err := sealed.NewAESGCM(key)
	if err != nil {
		log.Fatal(err)
	}
	inner := keystore.NewMemory() // or any other store
	store, err := sealed.New(inner, sealer)
	if err != nil {
		log.Fatal(err)
	}

	revocations := keystore.Record{Scope: "default", Name: "dataplane-token-revocations-default", Data: []byte("id-1")}
	if _, err := store.Create(ctx, revocations); err != nil {
		log.Fatal(err)
	}
	r, err := store.Get(ctx, "default", "dataplane-token-revocations-default")
	fmt.Printf("%s %v\n", r.Data, err)
	r, err = inner.Get(ctx, "default", "dataplane-token-revocations-default")
	fmt.Printf("%.18s and so on, %d bytes, %v\n", r.Data, len(r.Data), err)

	r.Data = []byte("") // somebody who can write to the inner store, and no more
	if _, err := inner.Update(ctx, r); err != nil {
		log.Fatal(err)
	}
	_, err = store.Get(ctx, "default", "dataplane-token-revocations-default")
	fmt.Println(errors.Is(err, sealed.ErrNotSealed), err)

	// Output:
	// id-1 <nil>
	// meshpass-sealed-v1 and so on, 153 bytes, <nil>
	// true keystore: cannot open "dataplane-token-revocations-default" in scope "default": keystore/sealed: record is not sealed
}

// kms is what the client of a KMS looks like.
type kms interface {
	Encrypt(ctx context.Context, keyName string, plaintext []byte, encryptionContext map[string]string) ([]byte, error)
	Decrypt(ctx context.Context, keyName string, ciphertext []byte, encryptionContext map[string]string) ([]byte, error)
}

// kmsSealer is a Sealer for a KMS that replaces keys behind one name.
type kmsSealer struct {
	client  kms
	keyName string
}

func (s kmsSealer) Seal(ctx context.Context, dataKey []byte, scope keystore.Scope, name string) ([]byte, error) {
	return s.client.Encrypt(ctx, s.keyName, dataKey, map[string]string{"mesh": string(scope), "record": name})
}

func (s kmsSealer) Open(ctx context.Context, sealedKey []byte, scope keystore.Scope, name string) ([]byte, error) {
	return s.client.Decrypt(ctx, s.keyName, sealedKey, map[string]string{"mesh": string(scope), "record": name})
}

func (s kmsSealer) Current([]byte) bool { return true }

// The key-encryption key can be one that never leaves a KMS.
func ExampleSealer() {
	var client kms = &pretendedKMS{}
	store, err := sealed.New(keystore.NewMemory(), kmsSealer{client, "mesh-keys"})
	if err != nil {
		log.Fatal(err)
	}
	_, err = store.Create(context.Background(), keystore.Record{Scope: "default", Name: "key-1", Data: []byte("content")})
	fmt.Println(err)
	records, err := store.List(context.Background(), keystore.AllScopes, "")
	fmt.Printf("%s %v\n", records[0].Data, err)
	// Output:
	// Encrypt with mesh-keys for map[mesh:default record:key-1]
	// <nil>
	// content <nil>
}

// pretendedKMS encrypts nothing.
type pretendedKMS struct{}

func (*pretendedKMS) Encrypt(_ context.Context, keyName string, plaintext []byte, encryptionContext map[string]string) ([]byte, error) {
	fmt.Println("Encrypt with", keyName, "for", encryptionContext)
	return bytes.Clone(plaintext), nil
}

func (*pretendedKMS) Decrypt(_ context.Context, keyName string, ciphertext []byte, encryptionContext map[string]string) ([]byte, error) {
	fmt.Println("Decrypt with", keyName, "for", encryptionContext)
	return bytes.Clone(ciphertext), nil
}
