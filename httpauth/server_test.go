package httpauth_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/httpauth"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

const (
	patience = 20 * time.Second // for what ought to happen at once
	west     = "west"
)

// global is a global control plane: a store with a zone key, a validator that follows it, and
// a server.
type global struct {
	tb        testing.TB
	store     *outageStore
	issuer    zone.Issuer
	validator zone.Validator
	log       *logtest.Buffer
}

func newGlobal(tb testing.TB, options ...zone.ValidatorOption) *global {
	g := &global{tb: tb, store: &outageStore{Memory: keystore.NewMemory()}, log: &logtest.Buffer{}}
	pem, err := zoneKey().PEM()
	require.NoError(tb, err)
	_, err = g.store.Create(context.Background(),
		keystore.Record{Scope: keystore.Global, Name: signing.ZoneKeys().KeyName(1), Data: pem})
	require.NoError(tb, err)
	g.issuer, err = zone.NewIssuer(g.store.Memory)
	require.NoError(tb, err)
	options = append([]zone.ValidatorOption{zone.WithLogger(g.log.Logger()), zone.WithLeeway(0)}, options...)
	g.validator, err = zone.NewValidator(g.store, options...)
	require.NoError(tb, err)
	tb.Cleanup(func() { g.validator.Close() })
	return g
}

var zoneKey = sync.OnceValue(func() *signing.PrivateKey {
	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		panic(err)
	}
	return key
})

// issue makes a token of zone west for its control plane.
func (g *global) issue(validFor time.Duration) string {
	issued, err := g.issuer.Issue(context.Background(), token.Zone{Zone: west, Scope: []string{zone.ScopeCP}}, validFor)
	require.NoError(g.tb, err)
	return issued.Token
}

func (g *global) removeKey() {
	require.NoError(g.tb, g.store.Delete(context.Background(), keystore.Global, signing.ZoneKeys().KeyName(1)))
}

func (g *global) revoke(raw string) {
	require.NoError(g.tb, zone.Revoke(context.Background(), g.store, idOf(g.tb, raw)))
}

func idOf(tb testing.TB, raw string) string {
	unverified, err := token.ParseUnverified(raw)
	require.NoError(tb, err)
	claims, err := unverified.Claims()
	require.NoError(tb, err)
	return claims.ID
}

// byZone authenticates the control planes of zones.
func (g *global) byZone() httpauth.AuthFunc {
	return httpauth.Zone(zone.NewAuthenticator(g.validator), zone.ScopeCP)
}

// guard puts the middleware in front of a handler.
func (g *global) guard(auth httpauth.AuthFunc, handler http.HandlerFunc, options ...httpauth.Option) http.Handler {
	middleware, err := httpauth.Middleware(auth, append([]httpauth.Option{httpauth.WithLogger(g.log.Logger())}, options...)...)
	require.NoError(g.tb, err)
	return middleware(handler)
}

// transport is a version of HTTP, with or without TLS.
type transport struct {
	tls   bool
	http2 bool
}

var transports = map[string]transport{
	"HTTP/1.1":           {},
	"HTTP/1.1 over TLS":  {tls: true},
	"HTTP/2":             {tls: true, http2: true},
	"HTTP/2 without TLS": {http2: true},
}

// serve starts a server, and returns it with its client.
func (with transport) serve(tb testing.TB, handler http.Handler, settings ...func(*http.Server)) *httptest.Server {
	server := httptest.NewUnstartedServer(handler)
	with.start(tb, server, settings...)
	return server
}

func (with transport) start(tb testing.TB, server *httptest.Server, settings ...func(*http.Server)) {
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(!with.http2)
	protocols.SetHTTP2(with.http2 && with.tls)
	protocols.SetUnencryptedHTTP2(with.http2 && !with.tls)
	server.Config.Protocols = protocols
	for _, set := range settings {
		set(server.Config)
	}
	if with.tls {
		server.EnableHTTP2 = with.http2
		server.StartTLS()
	} else {
		server.Start()
	}
	server.Client().Transport.(*http.Transport).Protocols = protocols
	tb.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
}

// dial opens a connection to a server.
func dial(tb testing.TB, server *httptest.Server) net.Conn {
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	require.NoError(tb, err)
	return connected(tb, server, conn)
}

// connected speaks TLS on a connection if the server does.
func connected(tb testing.TB, server *httptest.Server, conn net.Conn) net.Conn {
	if server.TLS != nil {
		conn = tls.Client(conn, &tls.Config{RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"})
	}
	tb.Cleanup(func() { conn.Close() })
	require.NoError(tb, conn.SetDeadline(time.Now().Add(patience)))
	return conn
}

// request makes a request as zone west.
func request(tb testing.TB, server *httptest.Server, raw string, body io.Reader) *http.Request {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	tb.Cleanup(cancel)
	method := http.MethodGet
	if body != nil {
		method = http.MethodPost
	}
	r, err := http.NewRequestWithContext(ctx, method, server.URL+"/stream", body)
	require.NoError(tb, err)
	r.Header.Set("Authorization", "Bearer "+raw)
	r.Header.Set("Client-Id", west)
	return r
}

// open makes a request and returns the answer, whose status must be 200.
func open(tb testing.TB, server *httptest.Server, r *http.Request) *http.Response {
	answer, err := server.Client().Do(r)
	require.NoError(tb, err)
	tb.Cleanup(func() { answer.Body.Close() })
	require.Equal(tb, http.StatusOK, answer.StatusCode)
	return answer
}

// events sends an event and keeps the stream open until its request ends, as a handler of
// server-sent events does.
func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: hello\n\n")
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

// hello reads the event.
func hello(tb testing.TB, from io.Reader) *bufio.Reader {
	lines := bufio.NewReader(from)
	line, err := lines.ReadString('\n')
	require.NoError(tb, err)
	require.Equal(tb, "data: hello\n", line)
	_, err = lines.ReadString('\n')
	require.NoError(tb, err)
	return lines
}

// outageStore is a memory store that cannot be read while it is down.
type outageStore struct {
	*keystore.Memory
	down atomic.Bool
}

var errDown = errors.New("the store is down")

func (s *outageStore) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if s.down.Load() {
		return nil, errDown
	}
	return s.Memory.List(ctx, scope, prefix)
}

func (s *outageStore) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin) // by way of List
}

// receive waits for something that ought to come.
func receive[T any](tb testing.TB, from <-chan T) T {
	tb.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		require.FailNow(tb, "nothing came")
		panic("unreachable")
	}
}

// visitor is an identity whose session a test ends, and which counts what is released.
type visitor struct {
	ctx      context.Context
	end      context.CancelCauseFunc
	bound    atomic.Int64
	released atomic.Int64
}

func newVisitor() *visitor {
	v := &visitor{}
	v.ctx, v.end = context.WithCancelCause(context.Background())
	return v
}

func (v *visitor) Bind(ctx context.Context) (context.Context, context.CancelFunc) {
	v.bound.Add(1)
	bound, cancel := context.WithCancelCause(ctx)
	if v.ctx.Err() != nil {
		cancel(context.Cause(v.ctx))
	}
	stop := context.AfterFunc(v.ctx, func() { cancel(context.Cause(v.ctx)) })
	return bound, func() {
		v.released.Add(1)
		stop()
		cancel(nil)
	}
}

// let lets everybody in as the visitor.
func (v *visitor) let(*http.Request) (httpauth.Identity, error) { return v, nil }

// open returns how many sessions are open.
func (v *visitor) open() int64 { return v.bound.Load() - v.released.Load() }
