package httpapi_test

import (
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// A page of another site makes a browser send, with the certificate and the cookies of its
// user and without asking first, a body of these types alone (Fetch Standard, section
// "CORS-safelisted request-header"). What the server answers it does not show to the page,
// unless a header Access-Control-... says so.
func TestHandlerDoesNothingForAPageOfAnotherSite(t *testing.T) {
	w := newWorld(t)
	requests := append(slices.Clone(everyRequest),
		[3]string{"POST", "/cutoffs/dataplane/default", `{"before":"now"}`},
		[3]string{"POST", "/cutoffs/zone", `{"before":"now"}`},
		[3]string{"POST", "/cutoffs/zone/remove", `{"before":"2026-11-29T10:00:00Z"}`},
		[3]string{"POST", "/revocations/dataplane/default/prune", `{"lifetime":"2160h"}`},
		[3]string{"POST", "/revocations/zone/prune", `{"lifetime":"2160h"}`},
	)
	send := func(method, path, body string, header ...string) (status int) {
		r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
		r.Header.Set("As", "alice") // as a certificate or a cookie would
		r.Header.Set("Origin", "https://elsewhere.example.com")
		for i := 0; i < len(header); i += 2 {
			r.Header.Set(header[i], header[i+1])
		}
		answer, _ := w.answer(t, r)
		for name := range answer.Header {
			assert.False(t, strings.HasPrefix(name, "Access-Control-"), "%s %s is answered with %s", method, path, name)
		}
		return answer.StatusCode
	}
	posts := 0
	for _, c := range requests {
		method, path, body := c[0], c[1], c[2]
		assert.Equal(t, 405, send("OPTIONS", path, "", "Access-Control-Request-Method", method, "Access-Control-Request-Headers", "content-type"), "the question before %s %s", method, path)
		if method != "POST" {
			continue
		}
		posts++
		assert.Equal(t, 415, send(method, path, body), "%s without a type", path)
		for _, contentType := range []string{"text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain; application/json"} {
			assert.Equal(t, 415, send(method, path, body, "Content-Type", contentType), "%s as %s", path, contentType)
		}
	}
	assert.Greater(t, posts, 12)
	assert.Empty(t, w.asked.all(), "the authoriser was asked")
	assert.Zero(t, w.issued())
	assert.Zero(t, w.store.reads())

	for _, c := range requests {
		if c[0] == "GET" {
			assert.Equal(t, 200, send(c[0], c[1], ""), "the page does not see the answer to GET %s", c[1])
		}
	}
	assert.Zero(t, w.log.Count("audit: done"), "a GET changes nothing")
}
