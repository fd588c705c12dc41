package kubernetes_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/meshpass/meshpass/keystore"
)

const (
	patience = 30 * time.Second
	tick     = 5 * time.Millisecond
)

// watched is a call of Watch with what it announces.
type watched struct {
	announced chan keystore.Scope
	ended     chan error
}

// watch watches a store until the test ends.
func watch(t *testing.T, store keystore.KeyStore) *watched {
	t.Helper()
	return startWatch(t, store.(keystore.Watcher).Watch)
}

// follow follows a store until the test ends.
func follow(t *testing.T, store keystore.KeyStore) *watched {
	t.Helper()
	return startWatch(t, func(ctx context.Context, changed func(keystore.Scope)) error {
		keystore.Follow(ctx, store, changed)
		return ctx.Err()
	})
}

func startWatch(t *testing.T, do func(context.Context, func(keystore.Scope)) error) *watched {
	ctx, cancel := context.WithCancel(t.Context())
	w := &watched{announced: make(chan keystore.Scope, 10000), ended: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.ended <- do(ctx, func(scope keystore.Scope) { w.announced <- scope })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return w
}

// next waits for the next announcement and fails unless it is of this scope.
func (w *watched) next(t *testing.T, want keystore.Scope) {
	t.Helper()
	select {
	case got := <-w.announced:
		require.Equal(t, want, got)
	case <-time.After(patience):
		require.Fail(t, "nothing was announced")
	}
}

func TestWatch(t *testing.T) {
	c := theCluster(t)

	t.Run("announces both meshes when a label is changed", func(t *testing.T) {
		n := c.newNamespace(t)
		secret := kumaSecret("one", "key")
		secret.Name = "key-1"
		n.create(t, secret)
		w := watch(t, n.openReadOnly(t))
		w.next(t, keystore.AllScopes)
		for _, move := range [][2]keystore.Scope{{"one", "two"}, {"two", "three"}} {
			secret := n.get(t, "key-1")
			secret.Labels["kuma.io/mesh"] = string(move[1])
			_, err := n.secrets.Update(t.Context(), secret, metav1.UpdateOptions{})
			require.NoError(t, err)
			w.next(t, move[0])
			w.next(t, move[1])
		}
	})

	t.Run("says nothing of the Secrets of others", func(t *testing.T) {
		n := c.newNamespace(t)
		w := watch(t, n.openReadOnly(t))
		w.next(t, keystore.AllScopes)
		other := kumaSecret("other", "value")
		other.Name, other.Type = "key-1", "Opaque"
		n.create(t, other)
		_, err := n.open(t).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-2"})
		require.NoError(t, err)
		w.next(t, "default")
	})

	t.Run("goes on without a gap when the API server ends its requests", func(t *testing.T) {
		n := c.newNamespace(t)
		var requests atomic.Int64
		global := make(chan string, 100) // where the watch of the global scope begins and goes on
		w := watch(t, newStore(t, through(n.validator, func(r *http.Request) {
			if isWatch(r) {
				requests.Add(1)
				set(r, "timeoutSeconds", "3")
				if query := r.URL.Query(); query.Get("fieldSelector") == "type=system.kuma.io/global-secret" {
					global <- query.Get("resourceVersion")
				}
			}
		}), n.name))
		w.next(t, keystore.AllScopes)
		store := n.open(t)
		r, err := store.Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
		require.NoError(t, err)
		writes := 1
		for requests.Load() < 5 {
			r.Data = fmt.Appendf(nil, "%d", writes)
			r, err = store.Update(t.Context(), r)
			require.NoError(t, err)
			writes++
			time.Sleep(tick) // hundreds of changes show no less than thousands
		}
		for range writes {
			w.next(t, "default")
		}
		require.Empty(t, w.announced)
		require.NotEqual(t, <-global, <-global, "an old state is all that the watch of the global scope can go on from")
	})

	t.Run("notices that its connection is dead", func(t *testing.T) {
		n := c.newNamespace(t)
		// As in production, only sooner: by default these are 30 and 15.
		t.Setenv("HTTP2_READ_IDLE_TIMEOUT_SECONDS", "1")
		t.Setenv("HTTP2_PING_TIMEOUT_SECONDS", "1")
		p, config := throughProxy(t, n.validator)
		config.TLSClientConfig.ServerName = "127.0.0.1" // or it would share a transport with earlier tests, and their times
		f := follow(t, newStore(t, config, n.name))
		f.next(t, keystore.AllScopes)
		p.freeze()
		_, err := n.open(t).Create(t.Context(), keystore.Record{Scope: "default", Name: "key-1"})
		require.NoError(t, err)
		f.next(t, keystore.AllScopes)
		_, err = n.open(t).Create(t.Context(), keystore.Record{Scope: "prod", Name: "key-2"})
		require.NoError(t, err)
		for scope := range f.announced {
			if scope == "prod" {
				break
			}
		}
	})
}

func isWatch(r *http.Request) bool { return r.URL.Query().Get("watch") != "" }

// set sets a parameter of a request.
func set(r *http.Request, name, value string) {
	query := r.URL.Query()
	query.Set(name, value)
	r.URL.RawQuery = query.Encode()
}

// proxy passes connections on, until it is told to hold what comes on them, and then
// passes on new ones; or until it is cut.
type proxy struct {
	net.Listener
	mu     sync.Mutex
	conns  []net.Conn
	frozen []chan struct{} // closed to freeze a connection
	gone   bool            // new connections are frozen
	shut   bool            // new connections are ended at once
}

// throughProxy returns a proxy before the API server, and the configuration that
// goes through it.
func throughProxy(t *testing.T, config *rest.Config) (*proxy, *rest.Config) {
	t.Helper()
	p := newProxy(t, config.Host)
	config = rest.CopyConfig(config)
	config.Host = "https://" + p.Addr().String()
	return p, config
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	server, err := url.Parse(to)
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p := &proxy{Listener: listener}
	t.Cleanup(p.cut)
	go func() {
		for {
			one, err := listener.Accept()
			if err != nil {
				return
			}
			other, err := net.Dial("tcp", server.Host)
			if err != nil {
				one.Close()
				continue
			}
			frozen := make(chan struct{})
			p.mu.Lock()
			p.conns = append(p.conns, one, other)
			switch {
			case p.shut:
				one.Close()
			case p.gone:
				close(frozen)
			default:
				p.frozen = append(p.frozen, frozen)
			}
			p.mu.Unlock()
			go pass(one, other, frozen)
			go pass(other, one, frozen)
		}
	}()
	return p
}

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, frozen := range p.frozen {
		close(frozen)
	}
	p.frozen = nil
}

// vanish loses what comes on all connections, present ones and those until comeBack.
func (p *proxy) vanish() {
	p.mu.Lock()
	p.gone = true
	p.mu.Unlock()
	p.freeze()
}

// refuse ends the connections, and new ones until comeBack.
func (p *proxy) refuse() {
	p.mu.Lock()
	p.shut = true
	p.mu.Unlock()
	p.end()
}

// comeBack passes new connections on.
func (p *proxy) comeBack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone, p.shut = false, false
}

// cut ends the connections, and refuses new ones.
func (p *proxy) cut() {
	p.Close()
	p.end()
}

func (p *proxy) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		conn.Close()
	}
	p.conns = nil
}

// pass copies what it reads. Once frozen it reads on and copies nothing.
func pass(to, from net.Conn, frozen <-chan struct{}) {
	defer to.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		select {
		case <-frozen:
			continue
		default:
		}
		if _, err := to.Write(buffer[:n]); err != nil {
			return
		}
	}
}
