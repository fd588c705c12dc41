package keystore_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/meshpass/meshpass/keystore"
)

// A store returns an error to a writer that loses a race, so no write is lost: the
// writer reads again and tries again.
func ExampleKeyStore() {
	ctx := context.Background()
	var store keystore.KeyStore = keystore.NewMemory()

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
	// true keystore: record was changed by somebody else: "greeting" in scope "default"
}

// A caller that reads again after each call misses no change, whatever the store.
func ExampleFollow() {
	store := keystore.NewMemory()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()

	wake := make(chan struct{}, 1) // changed must not block: what is there is enough to wake up
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
