package dir_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
)

// A store in a directory keeps each record in a file.
func ExampleOpen() {
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
	for _, r := range []keystore.Record{
		{Scope: keystore.Global, Name: "zone-token-revocations", Data: []byte("id-1,id-2")},
		{Scope: "default", Name: "dataplane-token-revocations-default", Data: []byte("id-3")},
	} {
		if _, err := store.Create(ctx, r); err != nil {
			log.Fatal(err)
		}
	}

	text, err := os.ReadFile(filepath.Join(folder, "meshes", "default", "dataplane-token-revocations-default"))
	fmt.Printf("%s %v\n", text, err)
	records, err := store.List(ctx, keystore.AllScopes, "")
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range records {
		fmt.Printf("%q %s\n", r.Scope, r.Name)
	}

	// Output:
	// id-3 <nil>
	// "" zone-token-revocations
	// "default" dataplane-token-revocations-default
}
