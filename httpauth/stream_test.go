package httpauth_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

func TestAStreamEndsWithItsSession(t *testing.T) {
	for version, with := range transports {
		for name, c := range map[string]struct {
			end    func(g *global, raw string)
			reason string
		}{
			"revoked":          {func(g *global, raw string) { g.revoke(raw) }, "token revoked"},
			"cut off":          {cutOff, "token revoked"},
			"its key removed":  {func(g *global, _ string) { g.removeKey() }, "unknown signing key"},
			"expired":          {func(*global, string) {}, "token expired"},
			"validator closed": {func(g *global, _ string) { require.NoError(g.tb, g.validator.Close()) }, "validator closed"},
			"store unreadable": {func(g *global, _ string) {
				g.store.down.Store(true)
				g.revoke(g.issue(time.Hour)) // to be read, which fails
			}, "token could not be checked"},
		} {
			t.Run(version+", "+name, func(t *testing.T) {
				t.Parallel()
				g := newGlobal(t, zone.WithSessionMaxStale(0))
				cause := make(chan error, 1)
				server := with.serve(t, g.guard(g.byZone(), func(w http.ResponseWriter, r *http.Request) {
					events(w, r)
					_, err := io.WriteString(w, "data: too late\n\n")
					assert.ErrorIs(t, err, context.Cause(r.Context()))
					cause <- context.Cause(r.Context())
				}))
				raw := g.issue(time.Hour)
				if name == "expired" {
					refused, err := server.Client().Do(request(t, server, "", nil)) // so that there is a connection
					require.NoError(t, err)
					_, err = io.Copy(io.Discard, refused.Body)
					require.NoError(t, errors.Join(err, refused.Body.Close()))
					raw = g.issue(3 * time.Second)
				}
				lines := hello(t, open(t, server, request(t, server, raw, nil)).Body)
				c.end(g, raw)
				rest, err := io.ReadAll(lines)
				assert.Error(t, err, "what came is not taken for complete")
				assert.NotErrorIs(t, err, context.DeadlineExceeded)
				assert.Empty(t, rest)
				assert.ErrorContains(t, receive(t, cause), c.reason)
				require.Eventually(t, func() bool {
					return g.log.Count("level=INFO", "session ended", c.reason, "zone=west", "jti="+idOf(t, raw), "path=/stream") == 1
				}, patience, time.Millisecond)
				assert.NotContains(t, g.log.String(), raw)
			})
		}
	}
}

func cutOff(g *global, _ string) {
	_, err := zone.CutOff(context.Background(), g.store, zone.Cutoff{Before: time.Now().Add(time.Minute)})
	require.NoError(g.tb, err)
}

func TestAStreamEndsWhateverItsHandlerDoes(t *testing.T) {
	pipe := func(t *testing.T) io.Reader {
		from, to, err := os.Pipe()
		require.NoError(t, err)
		t.Cleanup(func() {
			from.Close()
			to.Close()
		})
		return from
	}
	large := filepath.Join(t.TempDir(), "large")
	require.NoError(t, os.WriteFile(large, nil, 0o600))
	require.NoError(t, os.Truncate(large, 1<<30))

	for version, with := range transports {
		for name, handler := range map[string]func(t *testing.T, w http.ResponseWriter, r *http.Request, release <-chan struct{}){
			"ignoring its context": func(_ *testing.T, _ http.ResponseWriter, _ *http.Request, release <-chan struct{}) { <-release },
			"waiting for the body": func(_ *testing.T, _ http.ResponseWriter, r *http.Request, release <-chan struct{}) {
				_, _ = r.Body.Read(make([]byte, 1))
			},
			"writing to a client that does not read": func(_ *testing.T, w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
				for {
					if _, err := w.Write(make([]byte, 1<<16)); err != nil {
						return
					}
				}
			},
			"copying from what sends nothing": func(t *testing.T, w http.ResponseWriter, _ *http.Request, release <-chan struct{}) {
				go func() { _, _ = io.Copy(w, pipe(t)) }()
				<-release
			},
			"sending a large file": func(t *testing.T, w http.ResponseWriter, _ *http.Request, _ <-chan struct{}) {
				file, err := os.Open(large)
				assert.NoError(t, err)
				defer file.Close()
				_, err = io.Copy(w, file)
				assert.Error(t, err)
			},
		} {
			t.Run(version+", "+name, func(t *testing.T) {
				t.Parallel()
				v := newVisitor()
				began, release, returned := make(chan struct{}), make(chan struct{}), make(chan struct{})
				var sent progress
				server := with.serve(t, sent.around(newGlobal(t).guard(v.let, func(w http.ResponseWriter, r *http.Request) {
					defer close(returned)
					_ = http.NewResponseController(w).EnableFullDuplex()
					_, _ = io.WriteString(w, "data: hello\n\n")
					_ = http.NewResponseController(w).Flush()
					close(began)
					handler(t, w, r, release)
				})))
				upload, _ := io.Pipe()
				answer := open(t, server, request(t, server, "", upload))
				receive(t, began)
				sent.waitUntilItStops(t)
				v.end(token.ErrRevoked)
				if name != "ignoring its context" && name != "copying from what sends nothing" {
					receive(t, returned)
				}
				_, err := io.Copy(io.Discard, answer.Body)
				assert.Error(t, err, "what came is not taken for complete")
				assert.NotErrorIs(t, err, context.DeadlineExceeded)
				close(release)
				receive(t, returned)
				require.Eventually(t, func() bool { return v.open() == 0 }, patience, time.Millisecond)
			})
		}
	}
}

// No stream of such a connection can be ended by itself: the connection must go.
func TestAHandlerOnAConnectionOfHTTP2ThatNothingIsReadFromReturnsWithTheTimeoutOfTheServer(t *testing.T) {
	v := newVisitor()
	var sent progress
	returned := make(chan struct{})
	server := transport{http2: true}.serve(t, sent.around(newGlobal(t).guard(v.let, func(w http.ResponseWriter, r *http.Request) {
		defer close(returned)
		for {
			if _, err := w.Write(make([]byte, 1<<16)); err != nil {
				return
			}
		}
	})), func(s *http.Server) { s.HTTP2 = &http.HTTP2Config{WriteByteTimeout: time.Second} })
	conn := dial(t, server)
	require.NoError(t, conn.(*net.TCPConn).SetReadBuffer(1))
	_, err := io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+
		"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x7f\xff\x00\x00"+ // SETTINGS: initial window
		"\x00\x00\x04\x08\x00\x00\x00\x00\x00\x7f\xff\x00\x00"+ // WINDOW_UPDATE of the connection
		"\x00\x00\x0c\x01\x05\x00\x00\x00\x01\x82\x84\x86\x01\x07example") // HEADERS: GET http://example/
	require.NoError(t, err)
	require.Eventually(t, func() bool { return sent.calls.Load() > 0 }, patience, time.Millisecond)
	sent.waitUntilItStops(t)
	v.end(token.ErrRevoked)
	receive(t, returned)
}

// Middleware that hides the methods of the ResponseWriter around it keeps blocked calls from
// being interrupted, and nothing more.
func TestAStreamBehindMiddlewareThatHidesDeadlinesIsNotTakenForComplete(t *testing.T) {
	for version, with := range transports {
		t.Run(version, func(t *testing.T) {
			v := newVisitor()
			guarded := newGlobal(t).guard(v.let, events)
			server := with.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				guarded.ServeHTTP(struct {
					http.ResponseWriter
					http.Flusher
				}{w, w.(http.Flusher)}, r)
			}))
			lines := hello(t, open(t, server, request(t, server, "", nil)).Body)
			v.end(token.ErrRevoked)
			_, err := io.ReadAll(lines)
			assert.Error(t, err)
			assert.NotErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

// A ResponseWriter breaks if two goroutines use it.
func TestAConnectionIsNotTakenFromAHandlerDuringACall(t *testing.T) {
	v := newVisitor()
	var of busy
	guarded := newGlobal(t).guard(v.let, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	of.entered, of.leave, of.deadlines = make(chan struct{}), make(chan struct{}), make(chan struct{}, 2)
	server := transport{}.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		of.ResponseWriter = w
		guarded.ServeHTTP(&of, r)
	}))
	go func() {
		_, _ = server.Client().Do(request(t, server, "", nil)) //nolint:bodyclose // it fails
	}()
	receive(t, of.entered)
	v.end(token.ErrRevoked)
	receive(t, of.deadlines) // at the end of the session
	receive(t, of.deadlines) // when the handler has had its time
	assert.Never(t, of.hijacked.Load, 100*time.Millisecond, time.Millisecond)
	close(of.leave)
}

// busy is a ResponseWriter whose Write takes as long as a test wants.
type busy struct {
	http.ResponseWriter
	entered, leave, deadlines chan struct{}
	hijacked                  atomic.Bool
}

func (b *busy) WriteString(string) (int, error) {
	close(b.entered)
	<-b.leave
	return 0, io.ErrClosedPipe
}

func (b *busy) SetReadDeadline(time.Time) error { return nil }

func (b *busy) SetWriteDeadline(time.Time) error {
	b.deadlines <- struct{}{}
	return nil
}

func (b *busy) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	b.hijacked.Store(true)
	return b.ResponseWriter.(http.Hijacker).Hijack()
}

// A server that sends events is advised to set a deadline before each of them.
func TestADeadlineOfTheHandlerDoesNotReplaceThatOfTheEnd(t *testing.T) {
	v := newVisitor()
	var last deadlines
	guarded := newGlobal(t).guard(v.let, func(w http.ResponseWriter, r *http.Request) {
		control, later := http.NewResponseController(w), time.Now().Add(time.Hour)
		assert.NoError(t, control.SetReadDeadline(later))
		assert.NoError(t, control.SetWriteDeadline(later))
		assert.Equal(t, [2]time.Time{later, later}, last.both())
		_, _ = io.WriteString(w, "hello")
		v.end(token.ErrRevoked)
		<-r.Context().Done()
		assert.ErrorIs(t, control.SetReadDeadline(later), token.ErrRevoked)
		assert.ErrorIs(t, control.SetWriteDeadline(later), token.ErrRevoked)
	})
	assert.Panics(t, func() {
		last.ResponseWriter = httptest.NewRecorder()
		guarded.ServeHTTP(&last, httptest.NewRequest(http.MethodGet, "/", nil))
	})
	for _, deadline := range last.both() {
		assert.True(t, deadline.Before(time.Now()))
	}
}

// deadlines is a ResponseWriter that keeps the last deadlines.
type deadlines struct {
	http.ResponseWriter
	mu          sync.Mutex
	read, write time.Time
}

func (d *deadlines) SetReadDeadline(to time.Time) error  { return d.set(&d.read, to) }
func (d *deadlines) SetWriteDeadline(to time.Time) error { return d.set(&d.write, to) }

func (d *deadlines) set(deadline *time.Time, to time.Time) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	*deadline = to
	return nil
}

func (d *deadlines) both() [2]time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return [2]time.Time{d.read, d.write}
}

func TestAResponseThatHasNotBegunIsAnAnswer(t *testing.T) {
	for version, with := range transports {
		for name, c := range map[string]struct {
			reason error
			status int
		}{
			"revoked":       {token.ErrRevoked, http.StatusUnauthorized},
			"not permitted": {token.ErrNotPermitted, http.StatusForbidden},
			"closed":        {token.ErrClosed, http.StatusServiceUnavailable},
			"unknown":       {errors.New("secret detail"), http.StatusServiceUnavailable},
		} {
			t.Run(version+", "+name, func(t *testing.T) {
				t.Parallel()
				v := newVisitor()
				began := make(chan struct{})
				guarded := newGlobal(t).guard(v.let, func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("Content-Encoding", "gzip")
					w.Header().Set("Content-Length", "7")
					w.Header().Set("X-Outside", "changed")
					close(began)
					<-r.Context().Done()
					w.Header().Set("Set-Cookie", "late")
					http.Error(w, "the context ended", http.StatusGatewayTimeout)
				})
				server := with.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					w.Header().Set("X-Outside", "kept")
					guarded.ServeHTTP(w, r)
				}))
				go func() {
					<-began
					v.end(c.reason)
				}()
				upload, _ := io.Pipe() // of which nothing is read
				answer, err := server.Client().Do(request(t, server, "", upload))
				require.NoError(t, err)
				defer answer.Body.Close()
				body, err := io.ReadAll(answer.Body)
				require.NoError(t, err)
				assert.Equal(t, c.status, answer.StatusCode)
				assert.JSONEq(t, bodies[c.status], string(body))
				assert.Equal(t, "kept", answer.Header.Get("X-Outside"))
				assert.Empty(t, answer.Header.Get("Content-Encoding"))
				assert.Empty(t, answer.Header.Get("Set-Cookie"))
			})
		}
	}
}

func TestAHandlerThatIgnoresItsContextAndHasNotAnsweredIsCutOff(t *testing.T) {
	for version, with := range transports {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			v := newVisitor()
			began, release := make(chan struct{}), make(chan struct{})
			server := with.serve(t, newGlobal(t).guard(v.let, func(http.ResponseWriter, *http.Request) {
				close(began)
				<-release
			}))
			defer close(release)
			go func() {
				<-began
				v.end(token.ErrRevoked)
			}()
			_, err := server.Client().Do(request(t, server, "", nil)) //nolint:bodyclose // there is none
			assert.Error(t, err)
			assert.NotErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

// bodies are what a peer gets to read, by status.
var bodies = map[int]string{
	http.StatusUnauthorized:       `{"type":"/std-errors","status":401,"title":"Unauthenticated","detail":"the credentials were not accepted","details":"the credentials were not accepted"}`,
	http.StatusForbidden:          `{"type":"/std-errors","status":403,"title":"Access Denied","detail":"the credentials do not permit this","details":"the credentials do not permit this"}`,
	http.StatusServiceUnavailable: `{"type":"/std-errors","status":503,"title":"Service unavailable","detail":"the credentials could not be checked","details":"the credentials could not be checked"}`,
}

// progress counts the calls that a handler makes to write, so that a test can wait until it
// writes no more.
type progress struct{ calls atomic.Int64 }

func (p *progress) around(handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(counted{w, p}, r)
	})
}

func (p *progress) waitUntilItStops(t *testing.T) {
	require.Eventually(t, func() bool {
		before := p.calls.Load()
		time.Sleep(100 * time.Millisecond) // nothing tells that a write is blocked
		return p.calls.Load() == before
	}, patience, time.Millisecond)
}

type counted struct {
	http.ResponseWriter
	p *progress
}

func (c counted) Unwrap() http.ResponseWriter { return c.ResponseWriter }

func (c counted) Write(p []byte) (int, error) {
	c.p.calls.Add(1)
	return c.ResponseWriter.Write(p)
}
