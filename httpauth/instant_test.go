package httpauth_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/token"
)

// pipes is a listener in memory, so that the time of a test may be false.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	close  func()
}

func newPipes() *pipes {
	p := &pipes{conns: make(chan net.Conn), closed: make(chan struct{})}
	p.close = sync.OnceFunc(func() { close(p.closed) })
	return p
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.close()
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, servers := net.Pipe()
	select {
	case p.conns <- servers:
		return ours, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// inMemory starts a server without a network.
func (with transport) inMemory(tb testing.TB, handler http.Handler) (*httptest.Server, *pipes) {
	listener := newPipes()
	server := httptest.NewUnstartedServer(handler)
	require.NoError(tb, server.Listener.Close())
	server.Listener = listener
	with.start(tb, server)
	transport := server.Client().Transport.(*http.Transport)
	transport.DialContext = listener.dial
	tb.Cleanup(transport.CloseIdleConnections)
	return server, listener
}

func TestTheEndOfASessionIsThatOfItsResponseAtOnceUnlessAHandlerOfHTTP1IgnoresIt(t *testing.T) {
	const grace = 250 * time.Millisecond
	for version, with := range transports {
		for name, handler := range map[string]func(w http.ResponseWriter, r *http.Request, release <-chan struct{}){
			"heeding its context": func(w http.ResponseWriter, r *http.Request, _ <-chan struct{}) { events(w, r) },
			"ignoring it": func(w http.ResponseWriter, _ *http.Request, release <-chan struct{}) {
				_, _ = io.WriteString(w, "data: hello\n\n")
				_ = http.NewResponseController(w).Flush()
				<-release
			},
		} {
			t.Run(version+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					g := newGlobal(t)
					release := make(chan struct{})
					server, _ := with.inMemory(t, g.guard(g.byZone(), func(w http.ResponseWriter, r *http.Request) { handler(w, r, release) }))
					raw := g.issue(time.Hour)
					lines := hello(t, open(t, server, request(t, server, raw, nil)).Body)
					began := time.Now()
					g.revoke(raw)
					_, err := io.ReadAll(lines)
					assert.Error(t, err)
					if name == "ignoring it" && !with.http2 {
						assert.Equal(t, grace, time.Since(began))
					} else {
						assert.Zero(t, time.Since(began))
					}
					close(release)
				})
			})
		}
	}
}

func TestAWebSocketEndsAtOnceWhateverItsHandlerDoes(t *testing.T) {
	for version, with := range map[string]transport{"in the clear": {}, "over TLS": {tls: true}} {
		t.Run(version, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVisitor()
				release := make(chan struct{})
				server, listener := with.inMemory(t, newGlobal(t).guard(v.let, func(w http.ResponseWriter, r *http.Request) {
					conn, _ := accept(t, w, r)
					defer conn.Close()
					<-release
				}))
				conn, err := listener.dial(t.Context(), "", "")
				require.NoError(t, err)
				from := upgrade(t, connected(t, server, conn), "")
				began := time.Now()
				v.end(token.ErrRevoked)
				_, err = from.ReadByte()
				assert.Error(t, err)
				assert.Zero(t, time.Since(began))
				close(release)
			})
		})
	}
}
