package storetest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// aCutoffCountsForProxies makes a cutoff for a proxy on one replica, and removes it again.
// On the other replica the proxy's session ends, over HTTP too, and its token is
// refused; a token that is issued after the cutoff is good at once, and another proxy
// notices nothing.
func aCutoffCountsForProxies(t *testing.T, mesh string, store keystore.KeyStore, issuer dataplane.Issuer, validator dataplane.Validator) {
	t.Helper()
	ctx := audit.WithLogger(t.Context(), discard)
	issue := func(name string) string {
		t.Helper()
		issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: mesh, Name: name}, day)
		must(t, err)
		return issued.Token
	}
	validate := func(raw string) (dataplane.Verified, error) { return validator.Validate(ctx, mesh, raw) }
	bind := func(raw string) context.Context {
		t.Helper()
		verified, err := validate(raw)
		must(t, err)
		bound, stop := verified.Bind(ctx)
		t.Cleanup(stop)
		return bound
	}
	raw, other := issue("cut-off"), issue("another")
	session, others := bind(raw), bind(other)
	status := hold(t, validator, mesh, raw)

	cutoff, err := dataplane.CutOff(ctx, store, mesh, dataplane.Cutoff{Before: time.Now().Add(token.Skew), Name: "cut-off"})
	must(t, err)
	wantEnd(t, session, token.ErrRevoked)
	select {
	case got := <-status:
		if got != http.StatusUnauthorized {
			t.Errorf("the request over HTTP ended with %d, want %d", got, http.StatusUnauthorized)
		}
	case <-time.After(patience):
		t.Errorf("the request over HTTP did not end within %s", patience)
	}
	_, err = validate(raw)
	wantError(t, err, token.ErrRevoked)
	renewed := bind(issue("cut-off"))

	must(t, dataplane.RemoveCutoff(ctx, store, mesh, cutoff))
	eventually(t, "a token is good after the cutoff was removed", func() (dataplane.Verified, error) { return validate(raw) })
	must(t, context.Cause(renewed))
	must(t, context.Cause(others))
}

// aCutoffCountsForZones is aCutoffCountsForProxies for zones.
func aCutoffCountsForZones(t *testing.T, store keystore.KeyStore, issuer zone.Issuer, validator zone.Validator) {
	t.Helper()
	ctx := audit.WithLogger(t.Context(), discard)
	issue := func(name string) string {
		t.Helper()
		issued, err := issuer.Issue(ctx, token.Zone{Zone: name, Scope: []string{zone.ScopeCP}}, day)
		must(t, err)
		return issued.Token
	}
	bind := func(name, raw string) context.Context {
		t.Helper()
		verified, err := validator.Validate(ctx, name, zone.ScopeCP, raw)
		must(t, err)
		bound, stop := verified.Bind(ctx)
		t.Cleanup(stop)
		return bound
	}
	raw := issue("cut-off")
	session, others := bind("cut-off", raw), bind("another", issue("another"))
	validate := func() (zone.Verified, error) { return validator.Validate(ctx, "cut-off", zone.ScopeCP, raw) }

	cutoff, err := zone.CutOff(ctx, store, zone.Cutoff{Before: time.Now().Add(token.Skew), Zone: "cut-off"})
	must(t, err)
	wantEnd(t, session, token.ErrRevoked)
	_, err = validate()
	wantError(t, err, token.ErrRevoked)
	renewed := bind("cut-off", issue("cut-off"))

	must(t, zone.RemoveCutoff(ctx, store, cutoff))
	eventually(t, "a token is good after the cutoff was removed", validate)
	must(t, context.Cause(renewed))
	must(t, context.Cause(others))
}

// hold makes a request over HTTP that lasts as long as the session of its token, and
// returns when it is served. The status of the answer comes on the channel.
func hold(t *testing.T, validator dataplane.Validator, mesh, raw string) <-chan int {
	t.Helper()
	served := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		verified, err := validator.Validate(r.Context(), mesh, r.Header.Get("Authorization"))
		if err == nil {
			session, stop := verified.Bind(r.Context())
			defer stop()
			close(served)
			<-session.Done()
			err = context.Cause(session)
		}
		class := token.ClassOf(err)
		http.Error(w, class.String(), class.HTTPStatus())
	}))
	t.Cleanup(server.Close)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	must(t, err)
	request.Header.Set("Authorization", raw)
	status := make(chan int, 1)
	go func() {
		response, err := server.Client().Do(request)
		if err != nil {
			t.Errorf("the request failed: %v", err)
			return
		}
		response.Body.Close()
		status <- response.StatusCode
	}()
	select {
	case <-served:
	case <-time.After(patience):
		t.Fatalf("a request was not served within %s", patience)
	}
	return status
}
