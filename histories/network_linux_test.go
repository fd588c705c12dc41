package histories

import (
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/keystore"
)

// A path is how one process reaches its engine: a network that may fail. Its zero mode is a
// network that works.
type path interface {
	set(mode mode)
}

type mode int

const (
	open     mode = iota
	cut           // connections are closed, and new ones too
	frozen        // nothing passes until the path is open again; then what was sent arrives
	halfOpen      // present connections are silent for ever; new ones work
	slow          // each part of a stream takes 20 to 120 ms
	unheard       // answers are not delivered: the connection is closed instead
)

// slowness is the time of a message while a path is slow.
func slowness() time.Duration { return 20*time.Millisecond + rand.N(100*time.Millisecond) }

// proxy is a path over connections.
type proxy struct {
	network, target string

	mu       sync.Mutex
	mode     mode
	thawed   chan struct{} // closed unless the mode is frozen
	links    map[*link]struct{}
	listener net.Listener
	refused  int   // connections that the engine did not take
	refusal  error // of the last one
}

// link is one connection through a proxy.
type link struct {
	client, server net.Conn
	dead           bool // half open
}

// newProxy listens on an address until the test ends. Call retarget next: it says where the
// proxy leads.
func newProxy(tb testing.TB, network, address string) *proxy {
	tb.Helper()
	listener, err := net.Listen(network, address)
	require.NoError(tb, err)
	p := &proxy{network: network, links: map[*link]struct{}{}, thawed: make(chan struct{}), listener: listener}
	close(p.thawed)
	tb.Cleanup(func() {
		listener.Close()
		p.set(cut)
	})
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.join(client)
		}
	}()
	return p
}

// tell logs what the engine did to connections, for a history that fails.
func (p *proxy) tell(tb testing.TB) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if tb.Failed() && p.refused > 0 {
		tb.Logf("the engine refused %d connections, the last with: %v", p.refused, p.refusal)
	}
}

func (p *proxy) retarget(target string) {
	p.mu.Lock()
	p.target = target
	p.mu.Unlock()
}

func (p *proxy) join(client net.Conn) {
	p.mu.Lock()
	target, mode, thawed := p.target, p.mode, p.thawed
	p.mu.Unlock()
	if mode == cut || mode == unheard {
		client.Close()
		return
	}
	<-thawed
	server, err := net.DialTimeout(p.network, target, time.Second)
	if err != nil {
		p.mu.Lock()
		p.refused, p.refusal = p.refused+1, err
		p.mu.Unlock()
		client.Close()
		return
	}
	l := &link{client: client, server: server}
	p.mu.Lock()
	p.links[l] = struct{}{}
	p.mu.Unlock()
	go p.pass(l, client, server, false)
	p.pass(l, server, client, true)
}

func (p *proxy) pass(l *link, from, to net.Conn, answers bool) {
	defer func() {
		p.mu.Lock()
		dead := l.dead
		delete(p.links, l)
		p.mu.Unlock()
		if !dead {
			from.Close()
			to.Close()
		}
	}()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		p.mu.Lock()
		mode, thawed, dead := p.mode, p.thawed, l.dead
		p.mu.Unlock()
		if dead || n > 0 && answers && mode == unheard {
			return
		}
		if mode == slow {
			time.Sleep(slowness())
		}
		<-thawed
		if n > 0 {
			if _, failed := to.Write(buffer[:n]); failed != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *proxy) set(m mode) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == frozen {
		close(p.thawed)
	}
	p.mode = m
	switch m {
	case frozen:
		p.thawed = make(chan struct{})
	case cut:
		for l := range p.links {
			l.client.Close()
			l.server.Close()
		}
	case halfOpen:
		for l := range p.links {
			l.dead = true // both ends stay open until the processes end
		}
		p.mode = open
	}
}

// gate is a path to a store of the same process.
type gate struct {
	store *keystore.Memory

	mu     sync.Mutex
	mode   mode
	change chan struct{} // closed when the mode changes
}

func newGate(store *keystore.Memory) *gate { return &gate{store: store, change: make(chan struct{})} }

func (g *gate) set(m mode) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.mode = m
	close(g.change)
	g.change = make(chan struct{})
}

var errCut = errors.New("the network is cut")

// enter waits until a call may pass.
func (g *gate) enter(ctx context.Context, usual time.Duration) error {
	for {
		g.mu.Lock()
		mode, change := g.mode, g.change
		g.mu.Unlock()
		switch mode {
		case cut:
			return errCut
		case slow:
			sleep(ctx, slowness())
			return ctx.Err()
		case frozen:
			select {
			case <-change:
			case <-ctx.Done():
				return ctx.Err()
			}
		default:
			sleep(ctx, time.Duration(rand.Float64()*float64(usual)))
			return ctx.Err()
		}
	}
}

// The longest times of a message while all is well. An announcement takes none, and is so
// faster than the read that it causes.
const (
	short = 8 * time.Millisecond
	list  = 25 * time.Millisecond
)

// leave waits until an answer may pass: what was done is done.
func (g *gate) leave(ctx context.Context, usual time.Duration, err error) error {
	g.mu.Lock()
	lost := g.mode == unheard
	g.mu.Unlock()
	if lost {
		<-ctx.Done()
		return ctx.Err()
	}
	if err == nil {
		return g.enter(ctx, usual)
	}
	return err
}

func through[T any](g *gate, ctx context.Context, answer time.Duration, call func() (T, error)) (T, error) {
	var none T
	if err := g.enter(ctx, short); err != nil {
		return none, err
	}
	found, err := call()
	if err := g.leave(ctx, answer, err); err != nil {
		return none, err
	}
	return found, nil
}

func (g *gate) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	return through(g, ctx, short, func() (keystore.Record, error) { return g.store.Get(ctx, scope, name) })
}

func (g *gate) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	return through(g, ctx, list, func() ([]keystore.Record, error) { return g.store.List(ctx, scope, prefix) })
}

func (g *gate) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	return through(g, ctx, short, func() (keystore.Record, error) { return g.store.Create(ctx, r) })
}

func (g *gate) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	return through(g, ctx, short, func() (keystore.Record, error) { return g.store.Update(ctx, r) })
}

func (g *gate) Delete(ctx context.Context, scope keystore.Scope, name string) error {
	_, err := through(g, ctx, short, func() (struct{}, error) { return struct{}{}, g.store.Delete(ctx, scope, name) })
	return err
}

// Watch is lost when the path is cut, and late while it is frozen or slow.
func (g *gate) Watch(ctx context.Context, changed func(keystore.Scope)) error {
	ctx, lose := context.WithCancelCause(ctx)
	defer lose(nil)
	if err := g.enter(ctx, short); err != nil {
		return err
	}
	go func() {
		for {
			g.mu.Lock()
			mode, change := g.mode, g.change
			g.mu.Unlock()
			if mode == cut {
				lose(errCut)
			}
			select {
			case <-change:
			case <-ctx.Done():
				return
			}
		}
	}()
	err := g.store.Watch(ctx, func(scope keystore.Scope) {
		if g.enter(ctx, 0) == nil {
			changed(scope)
		}
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}
