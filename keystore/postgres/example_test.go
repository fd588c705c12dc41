package postgres_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore/postgres"
	"github.com/meshpass/meshpass/token"
)

// A replica of a control plane starts.
func Example() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, "postgres://control_plane@db.internal/mesh?search_path=mesh&target_session_attrs=read-write&connect_timeout=2&pool_ping_timeout=2s")
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	store, err := postgres.New(pool)
	if err != nil {
		log.Fatal(err)
	}
	if err := store.Migrate(ctx); err != nil {
		log.Fatal(err)
	}

	if _, err := dataplane.EnsureKey(ctx, store, "default"); err != nil {
		log.Fatal(err)
	}
	issuer, err := dataplane.NewIssuer(store)
	if err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, 24*time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(issued.Token), "bytes")
}
