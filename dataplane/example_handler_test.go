package dataplane_test

import (
	"context"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// register returns a handler with which proxies of a mesh register. It answers
// 200 if the token permits the proxy, and otherwise only with the class of the
// error: the validator has logged the reason.
func register(validator dataplane.Validator, mesh string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		raw, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		verified, err := validator.Validate(r.Context(), mesh, raw)
		if err == nil {
			err = verified.Permits(dataplane.Proxy{
				Mesh:     mesh,
				Name:     r.FormValue("name"),
				Inbounds: []map[string]string{{"kuma.io/service": r.FormValue("service")}},
			})
		}
		if err == nil {
			fmt.Fprintln(w, "welcome", r.FormValue("name"))
			return
		}
		class := token.ClassOf(err)
		if class == token.Invalid {
			w.Header().Set("WWW-Authenticate", "Bearer") // RFC 6750, section 3
		}
		http.Error(w, "token: "+class.String(), class.HTTPStatus())
	}
}

// An HTTP handler validates the token in the Authorization header and checks
// whether it permits the proxy that registers.
func Example_handler() {
	ctx := context.Background()
	store := keystore.NewMemory()
	if _, err := dataplane.EnsureKey(ctx, store, "default"); err != nil {
		log.Fatal(err)
	}
	issuer, err := dataplane.NewIssuer(store)
	if err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, token.Dataplane{
		Mesh: "default",
		Tags: map[string][]string{"kuma.io/service": {"backend"}},
	}, time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	validator, err := dataplane.NewValidator(store, dataplane.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()

	server := httptest.NewTLSServer(register(validator, "default"))
	defer server.Close()
	post := func(raw, service string) {
		form := url.Values{"name": {"dp-1"}, "service": {service}}
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, strings.NewReader(form.Encode()))
		if err != nil {
			log.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if raw != "" {
			request.Header.Set("Authorization", "Bearer "+raw)
		}
		response, err := server.Client().Do(request)
		if err != nil {
			log.Fatal(err)
		}
		defer response.Body.Close()
		fmt.Println(response.Status)
	}

	post(issued.Token, "backend")
	post(issued.Token, "payments")
	post("", "backend")
	post("forged", "backend")
	validator.Close() // from here on the validator knows nothing
	post(issued.Token, "backend")

	// Output:
	// 200 OK
	// 403 Forbidden
	// 401 Unauthorized
	// 401 Unauthorized
	// 503 Service Unavailable
}
