package httpapi_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/zone"
)

// droppingProxy forwards to a server, and drops the body of every DELETE, with the
// headers about it, as some proxies do.
func droppingProxy(t *testing.T, server string) string {
	t.Helper()
	to, err := url.Parse(server)
	require.NoError(t, err)
	forward := httputil.NewSingleHostReverseProxy(to)
	direct := forward.Director
	forward.Director = func(r *http.Request) {
		direct(r)
		if r.Method == http.MethodDelete {
			_, _ = io.Copy(io.Discard, r.Body)
			r.Body, r.ContentLength = http.NoBody, 0
			r.Header.Del("Content-Type")
		}
	}
	proxy := httptest.NewServer(forward)
	t.Cleanup(proxy.Close)
	return proxy.URL
}

func TestClientRestoresThroughAProxyThatDropsTheBodyOfADelete(t *testing.T) {
	w := newWorld(t)
	server := httptest.NewServer(w.handler)
	defer server.Close()
	proxy := droppingProxy(t, server.URL)
	client, err := httpapi.NewClient(proxy, as("alice", http.DefaultTransport))
	require.NoError(t, err)
	ctx := quiet(t)
	require.NoError(t, dataplane.Revoke(ctx, w.store, "default", "a", "b"))
	require.NoError(t, zone.Revoke(ctx, w.store, "z"))
	require.NoError(t, client.RestoreDataplane(ctx, "default", "a"))
	assert.Equal(t, httpapi.Restore, w.asked.last(t).Action)
	require.NoError(t, client.RestoreZone(ctx, "z"))
	assert.Equal(t, httpapi.Restore, w.asked.last(t).Action)
	list, err := dataplane.Revoked(ctx, w.store, "default")
	require.NoError(t, err)
	assert.Equal(t, []string{"b"}, list.IDs())
	zones, err := zone.Revoked(ctx, w.store)
	require.NoError(t, err)
	assert.Empty(t, zones.IDs())
	assert.Equal(t, 1, w.log.Count("audit: done", "action=restore", "actor=alice", "mesh=default", "jti=a"))
	assert.Equal(t, 1, w.log.Count("audit: done", "action=restore", "actor=alice", "kind=zone", "jti=z"))

	r, err := http.NewRequestWithContext(ctx, http.MethodDelete, proxy+"/revocations/dataplane/default", strings.NewReader(`{"ids":["b"]}`))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/json")
	answer, err := as("alice", http.DefaultTransport).Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	assert.Equal(t, 400, answer.StatusCode)
	assert.Contains(t, string(text), "the body is missing: want a JSON object with ids; some proxies drop the body of a DELETE: send it with POST to the same path and /restore")
}

func TestHandlerNamesAMissingBodyAndNotItsType(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{"/tokens/dataplane", "/tokens/zone", "/revocations/zone", "/revocations/zone/restore", "/revocations/dataplane/default/restore"} {
		for _, header := range [][]string{nil, {"Content-Type", "application/json"}} {
			answer, text := w.do(t, "POST", path, "", header...)
			assert.Equal(t, 400, answer.StatusCode, path)
			assert.Contains(t, text, "the body is missing: want a JSON object with ", path)
			assert.NotContains(t, text, "DELETE")
			assertIsError(t, answer, text)
		}
	}
	chunked := httptest.NewRequestWithContext(t.Context(), "DELETE", "/revocations/zone", struct{ io.Reader }{strings.NewReader("")})
	chunked.Header.Set("Content-Type", "application/json")
	answer, text := w.answer(t, chunked)
	assert.Equal(t, 400, answer.StatusCode)
	assert.Contains(t, text, "the body is missing")
	assert.Empty(t, w.asked.all())
}

func TestHandlerHasNoOtherPathsBelowAList(t *testing.T) {
	w := newWorld(t)
	for _, path := range []string{
		"/revocations/zone/revoke", "/revocations/zone/restore/", "/revocations/zone/restore/x", "/revocations/zone/", "/revocations/zone/Restore",
		"/revocations/dataplane", "/revocations/dataplane/", "/revocations/dataplane//restore", "/revocations/dataplane/default/", "/revocations/dataplane/default/restore/x",
		"/revocations/zone/lists", "/revocations/dataplane/default/lists/", "/tokens/dataplane/lists", "/jwks/dataplane/default/lists",
		"/tokens/zone/restore", "/tokens/dataplane/restore", "/tokens/dataplane/default", "/jwks/zone/restore", "/jwks/dataplane/default/restore", "/revocations/restore",
	} {
		for _, method := range []string{"GET", "POST", "DELETE"} {
			answer, text := w.do(t, method, path, `{"ids":["a"]}`)
			assert.Equal(t, 404, answer.StatusCode, "%s %s: %s", method, path, text)
		}
	}
	answer, _ := w.do(t, "POST", "/revocations/dataplane/default%2Frestore", `{"ids":["a"]}`)
	assert.Equal(t, 400, answer.StatusCode, "an escaped slash is a part of the name")
	assert.Empty(t, w.asked.all())
}
