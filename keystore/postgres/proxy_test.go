package postgres_test

import (
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// proxy stands between a store and its server, as a network that may fail.
type proxy struct {
	server string // path of the socket

	mu    sync.Mutex
	links []*link
	lost  []net.Conn // connections that get no answer
	gone  bool       // new connections get no answer, now or later
	shut  bool       // new connections are ended at once
}

// link is one connection through the proxy.
type link struct {
	client, server net.Conn

	mu     sync.Mutex
	thawed chan struct{} // closed unless nothing is forwarded
	eat    bool          // cut the connection in place of forwarding an answer
}

// newProxy returns a proxy and the connection string by which stores go through it.
func newProxy(t testing.TB, socket, connString string) (*proxy, string) {
	t.Helper()
	folder, err := os.MkdirTemp("/tmp", "meshpass-proxy-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(folder) })
	listener, err := net.Listen("unix", filepath.Join(folder, filepath.Base(socket)))
	require.NoError(t, err)
	t.Cleanup(func() { listener.Close() })
	p := &proxy{server: socket}
	t.Cleanup(p.cut)
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			p.add(client)
		}
	}()
	parsed, err := url.Parse(connString)
	require.NoError(t, err)
	query := parsed.Query()
	query.Set("host", folder)
	parsed.RawQuery = query.Encode()
	return p, parsed.String()
}

func (p *proxy) add(client net.Conn) {
	p.mu.Lock()
	gone, shut := p.gone, p.shut
	if gone {
		p.lost = append(p.lost, client)
	}
	p.mu.Unlock()
	if shut {
		client.Close()
	}
	if gone || shut {
		return
	}
	server, err := net.Dial("unix", p.server)
	if err != nil {
		client.Close()
		return
	}
	l := &link{client: client, server: server, thawed: make(chan struct{})}
	close(l.thawed)
	p.mu.Lock()
	p.links = append(p.links, l)
	p.mu.Unlock()
	go l.forward(server, client, false)
	go l.forward(client, server, true)
}

func (l *link) forward(to, from net.Conn, answers bool) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		l.mu.Lock()
		thawed, eat := l.thawed, l.eat
		l.mu.Unlock()
		<-thawed
		if n > 0 && answers && eat {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err == io.EOF && !answers {
			if half, ok := to.(*net.UnixConn); ok {
				half.CloseWrite()
				io.Copy(io.Discard, from)
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) each(do func(l *link)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.links {
		l.mu.Lock()
		do(l)
		l.mu.Unlock()
	}
}

// vanish makes the network lose everything until comeBack. Present connections, and those
// begun meanwhile, never get an answer.
func (p *proxy) vanish() {
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	p.freeze()
}

// refuse ends present connections, and new ones until comeBack.
func (p *proxy) refuse() {
	p.mu.Lock()
	p.shut = true
	p.mu.Unlock()
	p.cut()
}

func (p *proxy) comeBack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone, p.shut = false, false
}

// socketOf returns the path of the socket of a connection string.
func socketOf(t testing.TB, connString string) string {
	t.Helper()
	parsed, err := url.Parse(connString)
	require.NoError(t, err)
	return filepath.Join(parsed.Query().Get("host"), ".s.PGSQL."+parsed.Query().Get("port"))
}

// freeze keeps what the present connections carry, in both directions, until thaw.
// New connections are not frozen.
func (p *proxy) freeze() {
	p.each(func(l *link) { l.thawed = make(chan struct{}) })
}

// thaw forwards what was kept.
func (p *proxy) thaw() {
	p.each(func(l *link) {
		select {
		case <-l.thawed:
		default:
			close(l.thawed)
		}
	})
}

// cut ends the present connections.
func (p *proxy) cut() {
	p.mu.Lock()
	for _, client := range p.lost {
		client.Close()
	}
	p.lost = nil
	p.mu.Unlock()
	p.thaw()
	p.each(func(l *link) {
		l.client.Close()
		l.server.Close()
	})
}

// eatAnswers makes the present connections end instead of bringing an answer.
func (p *proxy) eatAnswers() {
	p.each(func(l *link) { l.eat = true })
}
