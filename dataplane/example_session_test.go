package dataplane_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os/signal"
	"syscall"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/token"
)

// A proxy stays connected for as long as its token is good: the context of the
// connection ends when the token is revoked.
func Example_session() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	store := keystore.NewMemory()
	if _, err := dataplane.EnsureKey(ctx, store, "default"); err != nil {
		log.Fatal(err)
	}
	issuer, err := dataplane.NewIssuer(store)
	if err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	if err != nil {
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
	session, release := verified.Bind(ctx)
	defer release()
	fmt.Println("open:", session.Err() == nil)

	if err := dataplane.Revoke(ctx, store, "default", verified.Registered().ID); err != nil {
		log.Fatal(err)
	}
	<-session.Done() // the work of the connection runs under this context
	fmt.Println("revoked:", errors.Is(context.Cause(session), token.ErrRevoked))

	// Output:
	// open: true
	// revoked: true
}

// A control plane rotates the keys of a mesh until it is told to stop: every 90
// days it adds a key, which signs an hour later, and it removes the old key once
// all of its tokens have expired.
func ExampleRotate() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	store, err := dir.Open("/var/lib/mesh/keys")
	if err != nil {
		log.Fatal(err)
	}
	if _, err := dataplane.EnsureKey(ctx, store, "default"); err != nil {
		log.Fatal(err)
	}

	schedule := dataplane.Rotation{
		Every:        90 * 24 * time.Hour,
		PublishDelay: time.Hour,
		MaxLifetime:  30 * 24 * time.Hour,
	}
	issuer, err := dataplane.NewIssuer(store,
		dataplane.WithPublishDelay(schedule.PublishDelay),
		dataplane.WithMaxLifetime(schedule.MaxLifetime))
	if err != nil {
		log.Fatal(err)
	}
	_ = issuer // serves the requests for tokens

	if err := dataplane.Rotate(ctx, store, "default", schedule); !errors.Is(err, context.Canceled) {
		log.Fatal(err) // the schedule is invalid
	}
}
