package httpauth_test

import (
	"bufio"
	"context"
	"crypto/sha1" //nolint:gosec // RFC 6455 wants it
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/httpauth"
	"github.com/meshpass/meshpass/token"
)

// accept answers the handshake of a WebSocket (RFC 6455, section 4.2.2) and sends the text
// "hello" (section 5.2).
func accept(t *testing.T, w http.ResponseWriter, r *http.Request) (net.Conn, *bufio.ReadWriter) {
	sum := sha1.Sum([]byte(r.Header.Get("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if !assert.NoError(t, err) {
		return nil, nil
	}
	_, err = fmt.Fprintf(buffered, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n\x81\x05hello",
		base64.StdEncoding.EncodeToString(sum[:]))
	assert.NoError(t, err)
	assert.NoError(t, buffered.Flush())
	return conn, buffered
}

// upgrade opens a WebSocket and reads "hello".
func upgrade(t *testing.T, conn net.Conn, raw string) *bufio.Reader {
	_, err := fmt.Fprintf(conn, "GET /socket HTTP/1.1\r\nHost: example.com\r\nAuthorization: Bearer %s\r\nClient-Id: west\r\n"+
		"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n", raw)
	require.NoError(t, err)
	from := bufio.NewReader(conn)
	answer, err := http.ReadResponse(from, nil)
	require.NoError(t, err)
	require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
	require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", answer.Header.Get("Sec-WebSocket-Accept"))
	frame := make([]byte, 7)
	_, err = io.ReadFull(from, frame)
	require.NoError(t, err)
	require.Equal(t, "\x81\x05hello", string(frame))
	return from
}

// ends reads until a connection ends, which it must by itself.
func ends(t *testing.T, from io.Reader) {
	rest, err := io.ReadAll(from)
	assert.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	assert.Empty(t, rest)
}

func TestAWebSocketEndsWithItsSession(t *testing.T) {
	for version, with := range map[string]transport{"in the clear": {}, "over TLS": {tls: true}} {
		for name, handler := range map[string]func(t *testing.T, w http.ResponseWriter, r *http.Request, over chan<- error){
			"its handler reads": func(t *testing.T, w http.ResponseWriter, r *http.Request, over chan<- error) {
				conn, _ := accept(t, w, r)
				defer conn.Close()
				_, err := conn.Read(make([]byte, 1))
				over <- err
			},
			"its handler reads through the buffer": func(t *testing.T, w http.ResponseWriter, r *http.Request, over chan<- error) {
				conn, buffered := accept(t, w, r)
				defer conn.Close()
				_, err := buffered.ReadByte()
				over <- err
			},
			"its handler writes to a client that does not read": func(t *testing.T, w http.ResponseWriter, r *http.Request, over chan<- error) {
				conn, _ := accept(t, w, r)
				defer conn.Close()
				go func() {
					for {
						if _, err := conn.Write(make([]byte, 1<<16)); err != nil {
							over <- err
							return
						}
					}
				}()
				_, _ = conn.Read(make([]byte, 1))
			},
			"its handler has returned": func(t *testing.T, w http.ResponseWriter, r *http.Request, over chan<- error) {
				conn, _ := accept(t, w, r)
				go func() {
					defer conn.Close()
					_, err := conn.Read(make([]byte, 1))
					over <- err
				}()
			},
		} {
			t.Run(version+", "+name, func(t *testing.T) {
				t.Parallel()
				g := newGlobal(t)
				over := make(chan error, 1)
				server := with.serve(t, g.guard(g.byZone(), func(w http.ResponseWriter, r *http.Request) { handler(t, w, r, over) }))
				raw := g.issue(time.Hour)
				from := upgrade(t, dial(t, server), raw)
				g.revoke(raw)
				if name == "its handler writes to a client that does not read" {
					assert.Error(t, receive(t, over))
					return
				}
				ends(t, from)
				assert.Error(t, receive(t, over))
				require.Eventually(t, func() bool { return g.log.Count("session ended", "token revoked", "path=/socket") == 1 }, patience, time.Millisecond)
			})
		}
	}
}

func TestAWebSocketThatIsClosedReleasesItsSession(t *testing.T) {
	v := newVisitor()
	var conn net.Conn
	returned := make(chan struct{})
	guarded := newGlobal(t).guard(v.let, func(w http.ResponseWriter, r *http.Request) { conn, _ = accept(t, w, r) })
	server := transport{}.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(returned)
		guarded.ServeHTTP(w, r)
	}))
	upgrade(t, dial(t, server), "")
	receive(t, returned)
	assert.EqualValues(t, 1, v.open(), "the connection is open")
	require.NoError(t, conn.Close())
	assert.EqualValues(t, 0, v.open())
	assert.ErrorIs(t, conn.Close(), net.ErrClosed)
	assert.EqualValues(t, 1, v.released.Load(), "it is released once")
}

func TestAConnectionCannotBeHijackedAfterTheEndOfTheSession(t *testing.T) {
	v := newVisitor()
	tried := make(chan error, 1)
	server := transport{}.serve(t, newGlobal(t).guard(v.let, func(w http.ResponseWriter, r *http.Request) {
		v.end(token.ErrRevoked)
		<-r.Context().Done()
		_, _, err := http.NewResponseController(w).Hijack()
		tried <- err
	}))
	answer, err := server.Client().Do(request(t, server, "", nil))
	require.NoError(t, err)
	defer answer.Body.Close()
	assert.Equal(t, http.StatusUnauthorized, answer.StatusCode)
	assert.ErrorIs(t, receive(t, tried), token.ErrRevoked)
}

// lateHijacker hands out the connection after the session has ended.
type lateHijacker struct {
	http.ResponseWriter
	end   func()
	ended <-chan struct{}
}

func (l lateHijacker) Unwrap() http.ResponseWriter { return l.ResponseWriter }

func (l lateHijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	l.end()
	<-l.ended
	return http.NewResponseController(l.ResponseWriter).Hijack()
}

func TestAConnectionThatIsHijackedWhileTheSessionEndsIsClosed(t *testing.T) {
	v := newVisitor()
	ended, tried, release := make(chan struct{}), make(chan error, 1), make(chan struct{})
	guarded := newGlobal(t).guard(v.let, func(w http.ResponseWriter, r *http.Request) {
		context.AfterFunc(r.Context(), func() { close(ended) })
		_, _, err := http.NewResponseController(w).Hijack()
		tried <- err
		<-release
	})
	server := transport{}.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		guarded.ServeHTTP(lateHijacker{w, func() { v.end(token.ErrRevoked) }, ended}, r)
	}))
	defer close(release)
	conn := dial(t, server)
	_, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	require.NoError(t, err)
	assert.ErrorIs(t, receive(t, tried), token.ErrRevoked)
	ends(t, conn)
}

// behindProxy starts a backend, and a server that hands guarded requests to it.
func behindProxy(t *testing.T, with transport, g *global, backend http.HandlerFunc, options ...httpauth.Option) (server string, conn func() net.Conn, client *http.Client) {
	behind := transport{}.serve(t, backend)
	target, err := url.Parse(behind.URL)
	require.NoError(t, err)
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }, FlushInterval: -1}
	front := with.serve(t, g.guard(g.byZone(), proxy.ServeHTTP, options...))
	return front.URL, func() net.Conn { return dial(t, front) }, front.Client()
}

func TestAWebSocketThroughAReverseProxyEndsOnBothSides(t *testing.T) {
	for version, with := range map[string]transport{"in the clear": {}, "over TLS": {tls: true}} {
		t.Run(version, func(t *testing.T) {
			g := newGlobal(t)
			over := make(chan error, 1)
			_, conn, _ := behindProxy(t, with, g, func(w http.ResponseWriter, r *http.Request) {
				assert.Empty(t, r.Header.Values("Authorization"), "a backend does not get the token")
				conn, _ := accept(t, w, r)
				defer conn.Close()
				_, err := conn.Read(make([]byte, 1))
				over <- err
			})
			raw := g.issue(time.Hour)
			from := upgrade(t, conn(), raw)
			g.revoke(raw)
			ends(t, from)
			assert.Error(t, receive(t, over))
		})
	}
}

func TestAStreamThroughAReverseProxyEndsOnBothSides(t *testing.T) {
	for version, with := range transports {
		t.Run(version, func(t *testing.T) {
			g := newGlobal(t)
			over := make(chan struct{})
			address, _, client := behindProxy(t, with, g, func(w http.ResponseWriter, r *http.Request) {
				defer close(over)
				events(w, r)
			})
			raw := g.issue(time.Hour)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
			require.NoError(t, err)
			r.Header.Set("Authorization", raw)
			r.Header.Set("Client-Id", west)
			answer, err := client.Do(r)
			require.NoError(t, err)
			defer answer.Body.Close()
			lines := hello(t, answer.Body)
			g.revoke(raw)
			_, err = lines.ReadString('\n')
			assert.Error(t, err)
			assert.NotEqual(t, io.EOF, err)
			assert.NotErrorIs(t, err, context.DeadlineExceeded)
			receive(t, over)
		})
	}
}
