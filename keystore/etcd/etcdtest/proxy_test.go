package etcdtest

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/meshpass/meshpass/internal/test/engines"
	"github.com/meshpass/meshpass/keystore/etcd"
)

// proxy stands between a client and a member, as the network does.
type proxy struct {
	address string // where clients connect
	target  string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]struct{}
	silent   chan struct{} // closed while bytes pass
}

// startProxy starts a proxy in front of a member.
func startProxy(tb testing.TB, m *member) *proxy {
	tb.Helper()
	p := &proxy{target: m.config.ListenClientUrls[0].Host, conns: map[net.Conn]struct{}{}, silent: make(chan struct{})}
	p.address = engines.FreeAddress(tb) // where it may listen again
	p.mend(tb)
	tb.Cleanup(func() {
		p.cut(tb)
		p.speak()
	})
	p.speak()
	return p
}

// cut closes all connections and refuses new ones.
func (p *proxy) cut(testing.TB) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener.Close()
	for conn := range p.conns {
		conn.Close()
	}
}

// mend takes connections again.
func (p *proxy) mend(tb testing.TB) {
	listener, err := net.Listen("tcp", p.address)
	require.NoError(tb, err)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener = listener
	go p.serve(listener)
}

// silence lets no byte pass in either direction, and leaves all connections open.
func (p *proxy) silence(testing.TB) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.silent = make(chan struct{})
}

// speak lets the bytes pass again, those that were held back first.
func (p *proxy) speak() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.silent:
	default:
		close(p.silent)
	}
}

func (p *proxy) serve(listener net.Listener) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			server, err := net.DialTimeout("tcp", p.target, time.Second)
			if err != nil {
				client.Close()
				return
			}
			p.mu.Lock()
			p.conns[client], p.conns[server] = struct{}{}, struct{}{}
			p.mu.Unlock()
			go p.pass(client, server)
			p.pass(server, client)
		}()
	}
}

func (p *proxy) pass(from, to net.Conn) {
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, conn := range []net.Conn{from, to} {
			conn.Close()
			delete(p.conns, conn)
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		silent := p.silent
		p.mu.Unlock()
		<-silent
		if _, failed := to.Write(buffer[:n]); err != nil || failed != nil {
			return
		}
	}
}

// open opens a store through the proxy.
func (p *proxy) open(tb testing.TB) *etcd.Store {
	tb.Helper()
	return open(tb, clientv3.Config{Endpoints: []string{"http://" + p.address}})
}
