package httpapi_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// A server whose authoriser knows one team, and a client of that team.
func Example() {
	quiet := slog.New(slog.DiscardHandler)
	ctx := audit.WithLogger(context.Background(), quiet)
	store := keystore.NewMemory() // or dir.Open
	if _, err := dataplane.EnsureKey(ctx, store, "shop"); err != nil {
		log.Fatal(err)
	}
	dataplanes, err := dataplane.NewIssuer(store)
	if err != nil {
		log.Fatal(err)
	}
	zones, err := zone.NewDisabledIssuer() // zone tokens are made elsewhere
	if err != nil {
		log.Fatal(err)
	}

	authorize := func(r *http.Request, what httpapi.Request) (string, error) {
		if r.Header.Get("Authorization") != "Bearer of-team-shop" { // or a client certificate, in r.TLS
			return "", httpapi.ErrUnauthenticated
		}
		if what.Action == httpapi.Issue && what.Mesh == "shop" && what.ValidFor <= 30*24*time.Hour {
			return "team-shop", nil
		}
		if what.Action == httpapi.Keys {
			return "team-shop", nil
		}
		return "team-shop", httpapi.Denied("you may have tokens of mesh shop, for 30 days")
	}
	api, err := httpapi.New(store, dataplanes, zones, authorize, httpapi.WithLogger(quiet))
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewTLSServer(api)
	defer server.Close()

	client, err := httpapi.NewClient(server.URL, server.Client(),
		httpapi.WithBearer(func(context.Context) (string, error) { return "of-team-shop", nil }))
	if err != nil {
		log.Fatal(err)
	}
	issued, err := client.IssueDataplane(ctx, token.Dataplane{Mesh: "shop", Name: "dp-1"}, 24*time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	unverified, err := token.ParseUnverified(issued.Token)
	if err != nil {
		log.Fatal(err)
	}
	claims, err := unverified.Claims()
	fmt.Println("a token for", claims.Dataplane.Name, err)
	keys, err := client.DataplaneKeys(ctx, "shop")
	fmt.Println(len(keys), "key, kid", keys[0].KeyID, err)

	_, err = client.IssueDataplane(ctx, token.Dataplane{Mesh: "bank"}, 24*time.Hour)
	fmt.Println(errors.Is(err, token.ErrDenied), err)
	err = client.RevokeDataplane(ctx, "shop", claims.ID)
	fmt.Println(errors.Is(err, token.ErrDenied), err)

	// Output:
	// a token for dp-1 <nil>
	// 1 key, kid 1 <nil>
	// true httpapi: 403 "Access Denied": "you may have tokens of mesh shop, for 30 days"
	// true httpapi: 403 "Access Denied": "you may have tokens of mesh shop, for 30 days"
}
