package httpauth_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// A global control plane streams events to zones. Zone west listens, its token is revoked,
// and the stream ends.
func Example() {
	ctx := context.Background()
	quiet := slog.New(slog.DiscardHandler)

	// Keys, a token, and a validator.
	store := keystore.NewMemory()
	if _, err := zone.EnsureKey(ctx, store); err != nil {
		log.Fatal(err)
	}
	issuer, err := zone.NewIssuer(store)
	if err != nil {
		log.Fatal(err)
	}
	issued, err := issuer.Issue(ctx, token.Zone{Zone: "west", Scope: []string{zone.ScopeCP}}, time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	validator, err := zone.NewValidator(store, zone.WithLogger(quiet))
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()

	// The server. Between processes it would use TLS.
	authenticate, err := httpauth.Middleware(httpauth.Zone(zone.NewAuthenticator(validator), zone.ScopeCP), httpauth.WithLogger(quiet))
	if err != nil {
		log.Fatal(err)
	}
	server := httptest.NewServer(authenticate(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller, _ := httpauth.FromContext[zone.Verified](r.Context())
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprintf(w, "data: hello, zone %s\n\n", caller.Claims().Zone)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done() // it would wait for events here too
	})))
	defer server.Close()

	// The zone.
	request, err := http.NewRequest(http.MethodGet, server.URL, nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+issued.Token)
	request.Header.Set("Client-Id", "west")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	lines := bufio.NewReader(response.Body)
	line, err := lines.ReadString('\n')
	fmt.Print(line)
	if err != nil {
		log.Fatal(err)
	}

	unverified, err := token.ParseUnverified(issued.Token)
	if err != nil {
		log.Fatal(err)
	}
	claims, err := unverified.Claims()
	if err != nil {
		log.Fatal(err)
	}
	if err := zone.Revoke(ctx, store, claims.ID); err != nil {
		log.Fatal(err)
	}
	_, err = io.Copy(io.Discard, lines)
	fmt.Println(err)

	response, err = http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	fmt.Println(response.Status)
	// Output:
	// data: hello, zone west
	// unexpected EOF
	// 401 Unauthorized
}

// Proxies reach a backend behind this server, which does not get their tokens. The path
// says which proxy is asking.
func ExampleProxy() {
	validator, err := dataplane.NewValidator(keystore.NewMemory())
	if err != nil {
		log.Fatal(err)
	}
	defer validator.Close()
	auth := httpauth.Proxy(dataplane.NewAuthenticator(validator), func(r *http.Request) (dataplane.Proxy, error) {
		return dataplane.Proxy{Mesh: r.PathValue("mesh"), Name: r.PathValue("proxy")}, nil
	})
	authenticate, err := httpauth.Middleware(auth)
	if err != nil {
		log.Fatal(err)
	}
	backend := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		r.SetURL(&url.URL{Scheme: "http", Host: "127.0.0.1:8080"})
	}}
	mux := http.NewServeMux()
	mux.Handle("/meshes/{mesh}/proxies/{proxy}/", authenticate(backend))

	answer := httptest.NewRecorder()
	mux.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/meshes/default/proxies/dp-1/config", nil))
	fmt.Println(answer.Code, answer.Header().Get("WWW-Authenticate"))
	// Output: 401 Bearer realm="mesh"
}
