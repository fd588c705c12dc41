package httpauth_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpauth"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestAZoneWithAGoodTokenReachesAHandlerThatKnowsIt(t *testing.T) {
	g := newGlobal(t)
	raw := g.issue(time.Hour)
	for version, with := range transports {
		for name, value := range map[string]string{"bare": raw, "Bearer": "Bearer " + raw, "in another case": "bEARER " + raw} {
			t.Run(version+", "+name, func(t *testing.T) {
				var header http.Header
				server := with.serve(t, g.guard(g.byZone(), func(w http.ResponseWriter, r *http.Request) {
					header = r.Header
					caller, ok := httpauth.FromContext[zone.Verified](r.Context())
					assert.True(t, ok)
					assert.Equal(t, west, caller.Claims().Zone)
					_, ok = httpauth.FromContext[httpauth.Identity](r.Context())
					assert.True(t, ok, "found as an identity of any type")
					_, ok = httpauth.FromContext[dataplane.Verified](r.Context())
					assert.False(t, ok, "found as a dataplane token, which it is not")
				}))
				r := request(t, server, "", nil)
				r.Header.Set("Authorization", value)
				open(t, server, r)
				assert.Empty(t, header.Values("Authorization"))
				assert.Equal(t, west, header.Get("Client-Id"))
			})
		}
	}
}

func TestTheTokenStaysInTheRequestWhereThatIsAsked(t *testing.T) {
	g := newGlobal(t)
	raw := g.issue(time.Hour)
	var header http.Header
	server := transport{}.serve(t, g.guard(g.byZone(), func(_ http.ResponseWriter, r *http.Request) { header = r.Header }, httpauth.WithTokenInRequest()))
	open(t, server, request(t, server, raw, nil))
	assert.Equal(t, "Bearer "+raw, header.Get("Authorization"))
}

func TestProxiesAreHeldToTheirTokens(t *testing.T) {
	store := keystore.NewMemory()
	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	issuer, err := dataplane.NewIssuer(store)
	require.NoError(t, err)
	issued, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default", Name: "dp-1"}, time.Hour)
	require.NoError(t, err)
	g := newGlobal(t)
	validator, err := dataplane.NewValidator(store, dataplane.WithLogger(g.log.Logger()))
	require.NoError(t, err)
	defer validator.Close()
	auth := httpauth.Proxy(dataplane.NewAuthenticator(validator), func(r *http.Request) (dataplane.Proxy, error) {
		mesh, name, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if !ok {
			return dataplane.Proxy{}, errors.New("no proxy in the path")
		}
		return dataplane.Proxy{Mesh: mesh, Name: name}, nil
	})
	handler := g.guard(auth, func(_ http.ResponseWriter, r *http.Request) {
		caller, ok := httpauth.FromContext[dataplane.Verified](r.Context())
		assert.True(t, ok)
		assert.Equal(t, "dp-1", caller.Claims().Name)
	})
	for path, status := range map[string]int{
		"/default/dp-1": http.StatusOK,
		"/default/dp-2": http.StatusForbidden,
		"/other/dp-1":   http.StatusForbidden,
		"/":             http.StatusServiceUnavailable,
	} {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Authorization", issued.Token)
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		assert.Equal(t, status, w.Code, path)
	}
}

func TestPeersLearnAStatusAndTheLogTheReasonOnce(t *testing.T) {
	g := newGlobal(t)
	good, revoked := g.issue(time.Hour), g.issue(time.Hour)
	g.revoke(revoked)
	require.Eventually(t, func() bool {
		_, err := g.validator.Validate(t.Context(), west, zone.ScopeCP, revoked)
		return errors.Is(err, token.ErrRevoked)
	}, patience, time.Millisecond)
	failing := func(err error) httpauth.AuthFunc {
		return func(*http.Request) (httpauth.Identity, error) { return nil, err }
	}
	ended := newVisitor()
	ended.end(token.ErrRevoked)
	const (
		lacking = `Bearer realm="mesh"`
		invalid = `Bearer realm="mesh", error="invalid_token"`
		scope   = `Bearer realm="mesh", error="insufficient_scope"`
	)
	for name, c := range map[string]struct {
		auth      httpauth.AuthFunc
		header    http.Header
		status    int
		challenge string
		reason    string // as the middleware logs it; empty: the validator does
	}{
		"nothing":                   {g.byZone(), http.Header{}, 401, lacking, "no header"},
		"an empty token":            {g.byZone(), http.Header{"Authorization": {""}, "Client-Id": {west}}, 401, lacking, "is empty"},
		"Bearer and nothing":        {g.byZone(), http.Header{"Authorization": {"Bearer"}, "Client-Id": {west}}, 401, lacking, "neither a token nor Bearer"},
		"Bearer and a space":        {g.byZone(), http.Header{"Authorization": {"Bearer "}, "Client-Id": {west}}, 401, lacking, "neither a token nor Bearer"},
		"Bearer and two spaces":     {g.byZone(), http.Header{"Authorization": {"Bearer  " + good}, "Client-Id": {west}}, 401, lacking, "neither a token nor Bearer"},
		"Bearer and a tab":          {g.byZone(), http.Header{"Authorization": {"Bearer\t" + good}, "Client-Id": {west}}, 401, invalid, ""},
		"another scheme":            {g.byZone(), http.Header{"Authorization": {"Basic " + good}, "Client-Id": {west}}, 401, lacking, "neither a token nor Bearer"},
		"two headers":               {g.byZone(), http.Header{"Authorization": {good, good}, "Client-Id": {west}}, 401, lacking, "2 values"},
		"two tokens in one":         {g.byZone(), http.Header{"Authorization": {good + ", " + good}, "Client-Id": {west}}, 401, lacking, "neither a token nor Bearer"},
		"a parameter":               {g.byZone(), http.Header{"Authorization": {"Bearer " + good + ", x=y"}, "Client-Id": {west}}, 401, lacking, "neither a token nor Bearer"},
		"a name in a header of CGI": {g.byZone(), http.Header{"Authorization": {good}, "Client_id": {west}}, 401, lacking, "no header"},
		"no client-id":              {g.byZone(), http.Header{"Authorization": {good}}, 401, lacking, "no header Client-Id"},
		"two client-ids":            {g.byZone(), http.Header{"Authorization": {good}, "Client-Id": {west, west}}, 401, lacking, "2 values"},
		"what is no token":          {g.byZone(), http.Header{"Authorization": {"aaaa"}, "Client-Id": {west}}, 401, invalid, ""},
		"a huge token":              {g.byZone(), http.Header{"Authorization": {strings.Repeat("a", 16<<20)}, "Client-Id": {west}}, 401, invalid, ""},
		"ten million dots":          {g.byZone(), http.Header{"Authorization": {strings.Repeat(".", 10_000_000)}, "Client-Id": {west}}, 401, invalid, ""},
		"control characters":        {g.byZone(), http.Header{"Authorization": {"Bearer a\x00\r\n.b.c"}, "Client-Id": {west}}, 401, invalid, ""},
		"a revoked token":           {g.byZone(), http.Header{"Authorization": {revoked}, "Client-Id": {west}}, 401, invalid, ""},
		"another zone's token":      {g.byZone(), http.Header{"Authorization": {good}, "Client-Id": {"east"}}, 403, scope, `the token's zone is \"west\"`},
		"another scope":             {httpauth.Zone(zone.NewAuthenticator(g.validator), zone.ScopeIngress), http.Header{"Authorization": {good}, "Client-Id": {west}}, 403, scope, `the peer's scope is \"ingress\"`},
		"an unknown error":          {failing(errors.New("out of luck")), nil, 503, "", "out of luck"},
		"no answer":                 {failing(nil), nil, 503, "", "neither an identity nor an error"},
		"could not know":            {failing(token.ErrUnavailable), nil, 503, "", ""},
		"ended before it began":     {ended.let, nil, 401, invalid, "token revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			g.log.Reset()
			handler := g.guard(c.auth, func(http.ResponseWriter, *http.Request) { assert.Fail(t, "the handler is called") })
			r := httptest.NewRequest(http.MethodGet, "/path?secret=1", nil)
			r.Header = c.header
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			assert.Equal(t, c.status, w.Code)
			assert.Equal(t, bodies[c.status], w.Body.String())
			assert.Equal(t, "application/json", w.Header().Get("Content-Type"))
			assert.Equal(t, c.challenge, w.Header().Get("WWW-Authenticate"))
			assert.Equal(t, c.status == 503, w.Header().Get("Retry-After") == "1")
			assert.NotContains(t, g.log.String(), good)
			assert.NotContains(t, g.log.String(), "secret=1")
			if c.reason != "" {
				assert.Equal(t, 1, g.log.Count("path=/path", fmt.Sprint("status=", c.status), c.reason))
			} else {
				assert.Zero(t, g.log.Count("request refused"))
			}
		})
	}
	assert.EqualValues(t, 0, ended.open())
}

func TestARefusedRequestTakesNoBodyAndAGoodOneDoes(t *testing.T) {
	g := newGlobal(t)
	server := transport{}.serve(t, g.guard(g.byZone(), func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	for raw, want := range map[string]string{g.issue(time.Hour): "HTTP/1.1 100 Continue\r\n", "": "HTTP/1.1 401 Unauthorized\r\n"} {
		conn := dial(t, server)
		_, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\nClient-Id: west\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", raw)
		require.NoError(t, err)
		from := bufio.NewReader(conn)
		line, err := from.ReadString('\n')
		require.NoError(t, err)
		assert.Equal(t, want, line)
		if raw != "" {
			_, err = io.WriteString(conn, "hello")
			require.NoError(t, err)
			_, err = from.ReadString('\n')
			require.NoError(t, err)
			answer, err := http.ReadResponse(from, nil)
			require.NoError(t, err)
			body, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			assert.Equal(t, "hello", string(body))
		}
	}
}

func TestAConnectionServesRequestAfterRequest(t *testing.T) {
	g := newGlobal(t)
	server := transport{}.serve(t, g.guard(g.byZone(), func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
	}))
	raw := g.issue(time.Hour)
	conn := dial(t, server)
	post := "POST / HTTP/1.1\r\nHost: h\r\nAuthorization: %s\r\nClient-Id: west\r\nContent-Length: 1\r\n\r\n%s"
	_, err := fmt.Fprintf(conn, post+post+post, raw, "1", "none", "2", raw, "3") // all at once
	require.NoError(t, err)
	from := bufio.NewReader(conn)
	for _, want := range []string{"1", bodies[401], "3"} {
		answer, err := http.ReadResponse(from, nil)
		require.NoError(t, err)
		body, err := io.ReadAll(answer.Body)
		require.NoError(t, err)
		assert.Equal(t, want, string(body))
	}
}

func TestAConnectionOfHTTP2ServesOthersAfterAStreamHasEnded(t *testing.T) {
	g := newGlobal(t)
	server := transport{tls: true, http2: true}.serve(t, g.guard(g.byZone(), events))
	one, other := g.issue(time.Hour), g.issue(time.Hour)
	ended, lives := hello(t, open(t, server, request(t, server, one, nil)).Body), open(t, server, request(t, server, other, nil))
	kept := hello(t, lives.Body)
	g.revoke(one)
	_, err := ended.ReadByte()
	require.ErrorContains(t, err, "stream error")
	again := open(t, server, request(t, server, other, nil))
	hello(t, again.Body)
	g.revoke(other)
	_, err = kept.ReadByte()
	require.ErrorContains(t, err, "stream error", "it was open until then")
}

func TestTrailersAndInformationalResponsesPass(t *testing.T) {
	for version, with := range transports {
		t.Run(version, func(t *testing.T) {
			v := newVisitor()
			server := with.serve(t, newGlobal(t).guard(v.let, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Link", "</early>")
				w.WriteHeader(http.StatusEarlyHints)
				body, err := io.ReadAll(r.Body)
				assert.NoError(t, err)
				w.Header().Set("Trailer", "Digest")
				_, _ = w.Write(body)
				w.Header().Set("Digest", r.Trailer.Get("Sent"))
			}))
			r := request(t, server, "", struct{ io.Reader }{strings.NewReader("body")})
			r.Trailer = http.Header{"Sent": {"trailer"}}
			answer := open(t, server, r)
			body, err := io.ReadAll(answer.Body)
			require.NoError(t, err)
			assert.Equal(t, "body", string(body))
			assert.Equal(t, "trailer", answer.Trailer.Get("Digest"))
		})
	}
}

func TestInformationalResponsesDoNotBeginTheAnswer(t *testing.T) {
	v := newVisitor()
	server := transport{}.serve(t, newGlobal(t).guard(v.let, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		v.end(token.ErrRevoked)
		<-r.Context().Done()
	}))
	answer, err := server.Client().Do(request(t, server, "", nil))
	require.NoError(t, err)
	defer answer.Body.Close()
	assert.Equal(t, http.StatusUnauthorized, answer.StatusCode)
}

// The end of the connection is the end of the body there, so only an error tells.
func TestAResponseOfHTTP10IsNotTakenForComplete(t *testing.T) {
	for version, with := range map[string]transport{"in the clear": {}, "over TLS": {tls: true}} {
		t.Run(version, func(t *testing.T) {
			v := newVisitor()
			server := with.serve(t, newGlobal(t).guard(v.let, events))
			conn := dial(t, server)
			_, err := io.WriteString(conn, "GET / HTTP/1.0\r\n\r\n")
			require.NoError(t, err)
			answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			lines := hello(t, answer.Body)
			v.end(token.ErrRevoked)
			_, err = io.ReadAll(lines)
			assert.Error(t, err)
		})
	}
}

func TestTheResponseWriterHasTheMethodsOfTheServersOwn(t *testing.T) {
	for version, with := range transports {
		t.Run(version, func(t *testing.T) {
			v := newVisitor()
			server := with.serve(t, newGlobal(t).guard(v.let, func(w http.ResponseWriter, _ *http.Request) {
				_, hijacker := w.(http.Hijacker)
				assert.Equal(t, !with.http2, hijacker)
				_, flusher := w.(http.Flusher)
				assert.True(t, flusher)
				_, from := w.(io.ReaderFrom)
				assert.True(t, from)
				control := http.NewResponseController(w)
				assert.NoError(t, control.EnableFullDuplex())
				assert.NoError(t, control.SetReadDeadline(time.Time{}))
				assert.NoError(t, control.SetWriteDeadline(time.Time{}))
				assert.NoError(t, control.Flush())
				n, err := io.WriteString(w, "hello")
				assert.NoError(t, err)
				assert.Equal(t, 5, n)
				if with.http2 {
					_, _, err := control.Hijack()
					assert.ErrorIs(t, err, http.ErrNotSupported)
				}
			}))
			body, err := io.ReadAll(open(t, server, request(t, server, "", nil)).Body)
			require.NoError(t, err)
			assert.Equal(t, "hello", string(body))
		})
	}
}

func TestFilesAreServed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	want := bytes.Repeat([]byte("0123456789"), 100_000)
	require.NoError(t, os.WriteFile(file, want, 0o600))
	for version, with := range transports {
		t.Run(version, func(t *testing.T) {
			v := newVisitor()
			server := with.serve(t, newGlobal(t).guard(v.let, func(w http.ResponseWriter, r *http.Request) { http.ServeFile(w, r, file) }))
			got, err := io.ReadAll(open(t, server, request(t, server, "", nil)).Body)
			require.NoError(t, err)
			assert.True(t, bytes.Equal(want, got))
		})
	}
}

func TestTheFilesOfAFormAreRemoved(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	var form bytes.Buffer
	parts := multipart.NewWriter(&form)
	part, err := parts.CreateFormFile("file", "name")
	require.NoError(t, err)
	_, err = part.Write(make([]byte, 1<<20))
	require.NoError(t, err)
	require.NoError(t, parts.Close())
	v := newVisitor()
	server := transport{}.serve(t, newGlobal(t).guard(v.let, func(_ http.ResponseWriter, r *http.Request) {
		assert.NoError(t, r.ParseMultipartForm(1))
		files, err := os.ReadDir(folder)
		assert.NoError(t, err)
		assert.Len(t, files, 1)
	}))
	r := request(t, server, "", &form)
	r.Header.Set("Content-Type", parts.FormDataContentType())
	open(t, server, r)
	require.Eventually(t, func() bool {
		files, err := os.ReadDir(folder)
		return err == nil && len(files) == 0
	}, patience, time.Millisecond)
}

func TestAPanicOfAHandlerGoesOnAndReleasesTheSession(t *testing.T) {
	for name, end := range map[string]bool{"while the session lasts": false, "after its end": true} {
		t.Run(name, func(t *testing.T) {
			v := newVisitor()
			handler := newGlobal(t).guard(v.let, func(_ http.ResponseWriter, r *http.Request) {
				if end {
					v.end(token.ErrRevoked)
					<-r.Context().Done()
				}
				panic("in the handler")
			})
			assert.PanicsWithValue(t, "in the handler", func() {
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
			})
			assert.EqualValues(t, 0, v.open())
		})
	}
}

func TestAResponseThatCannotBeEndedIsReported(t *testing.T) {
	v := newVisitor()
	g := newGlobal(t)
	began, release := make(chan struct{}), make(chan struct{})
	guarded := g.guard(v.let, func(http.ResponseWriter, *http.Request) {
		close(began)
		<-release
	})
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		guarded.ServeHTTP(struct{ http.ResponseWriter }{httptest.NewRecorder()}, httptest.NewRequest(http.MethodGet, "/", nil))
	}()
	receive(t, began)
	v.end(token.ErrRevoked)
	require.Eventually(t, func() bool { return g.log.Count("level=WARN", "response not ended") == 1 }, patience, time.Millisecond)
	close(release)
	receive(t, returned)
}

func TestManySessionsLeaveNothingBehind(t *testing.T) {
	g := newGlobal(t)
	v := newVisitor()
	for _, with := range transports {
		server := with.serve(t, g.guard(v.let, events))
		for range 50 {
			ctx, cancel := context.WithCancel(t.Context())
			r := request(t, server, "", nil).WithContext(ctx)
			answer, err := server.Client().Do(r)
			require.NoError(t, err)
			hello(t, answer.Body)
			cancel() // the client leaves
			answer.Body.Close()
		}
		require.Eventually(t, func() bool { return v.open() == 0 }, patience, time.Millisecond)
		for range 50 {
			hello(t, open(t, server, request(t, server, "", nil)).Body)
		}
		v.end(token.ErrRevoked)
		require.Eventually(t, func() bool { return v.open() == 0 }, patience, time.Millisecond)
		server.Client().CloseIdleConnections()
		server.CloseClientConnections()
		require.Eventually(t, func() bool {
			stacks := make([]byte, 4<<20)
			stacks = stacks[:runtime.Stack(stacks, true)]
			return !bytes.Contains(stacks, []byte("meshpass/httpauth.(")) && !bytes.Contains(stacks, []byte("net/http.(*conn).serve("))
		}, patience, 10*time.Millisecond)
		v.ctx, v.end = context.WithCancelCause(context.Background())
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	g := newGlobal(t)
	for name, c := range map[string]struct {
		auth   httpauth.AuthFunc
		option httpauth.Option
	}{
		"the AuthFunc is nil":  {httpauth.Zone(nil, zone.ScopeCP), httpauth.WithTokenInRequest()},
		"the AuthFunc is nil:": {httpauth.Zone(zone.NewAuthenticator(g.validator), ""), httpauth.WithTokenInRequest()},
		"Proxy an":             {httpauth.Proxy(nil, nil), httpauth.WithTokenInRequest()},
		"an option is nil":     {g.byZone(), nil},
		"the logger is nil":    {g.byZone(), httpauth.WithLogger(nil)},
	} {
		_, err := httpauth.Middleware(c.auth, c.option)
		assert.ErrorContains(t, err, name)
	}
}
