package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
)

// Most programs open a store and give it to issuers and validators.
func Example() {
	ctx := context.Background()
	folder, err := os.MkdirTemp("", "keys")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(folder)

	store, err := dir.Open(folder)
	if err != nil {
		log.Fatal(err)
	}
	key, err := dataplane.EnsureKey(ctx, store, "default")
	if err != nil {
		log.Fatal(err)
	}
	validator, err := dataplane.NewValidator(store)
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	fmt.Println("the mesh has a key with serial", key.Serial)
	// Output: the mesh has a key with serial 1
}

// A store returns an error to a writer that loses a race, so no write is lost: the
// writer reads again and tries again.
func ExampleKeyStore() {
	ctx := context.Background()
	var store keystore.KeyStore = keystore.NewMemory() // or dir.Open(path), or another one

	first, err := store.Create(ctx, keystore.Record{Scope: "default", Name: "greeting", Data: []byte("hello")})
	if err != nil {
		log.Fatal(err)
	}
	_, err = store.Create(ctx, keystore.Record{Scope: "default", Name: "greeting", Data: []byte("hi")})
	fmt.Println(errors.Is(err, keystore.ErrExists), err)

	second := first
	second.Data = []byte("good morning")
	if _, err := store.Update(ctx, second); err != nil {
		log.Fatal(err)
	}
	first.Data = []byte("good evening")
	_, err = store.Update(ctx, first)
	fmt.Println(errors.Is(err, keystore.ErrConflict), err)

	// Output:
	// true keystore: record already exists: "greeting" in scope "default"
	// true keystore: record was changed by another writer: "greeting" in scope "default"
}

// A caller that reads again after each call of changed misses no change, in any store.
func ExampleFollow() {
	store := keystore.NewMemory()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	wake := make(chan struct{}, 1) // changed must not block; one token is enough to wake the reader
	go keystore.Follow(ctx, store, func(keystore.Scope) {
		select {
		case wake <- struct{}{}:
		default:
		}
	})
	if _, err := store.Create(ctx, keystore.Record{Scope: "default", Name: "greeting", Data: []byte("hello")}); err != nil {
		log.Fatal(err)
	}
	for range wake {
		r, err := store.Get(ctx, "default", "greeting")
		if err == nil {
			fmt.Printf("%s\n", r.Data)
			break
		}
	}
	// Output: hello
}
