package httpapi_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

// world is a handler, and what is behind it.
type world struct {
	store      *faultStore
	dataplanes *countingDataplanes
	zones      *countingZones
	log        *logtest.Buffer
	asked      *requests // what the authoriser was asked about
	handler    http.Handler
}

// newWorld makes a handler for mesh default and the zones, which have the test
// keys 0 and 1, each with serial 1.
func newWorld(t testing.TB, options ...httpapi.Option) *world {
	t.Helper()
	w := &world{store: &faultStore{Memory: keystore.NewMemory()}, log: &logtest.Buffer{}, asked: &requests{}}
	put(t, w.store, "default", signing.DataplaneKeys("default").KeyName(1), pemOf(t, testKey(0)))
	put(t, w.store, keystore.Global, signing.ZoneKeys().KeyName(1), pemOf(t, testKey(1)))
	dataplanes, err := dataplane.NewIssuer(w.store)
	require.NoError(t, err)
	zones, err := zone.NewIssuer(w.store)
	require.NoError(t, err)
	w.serve(t, dataplanes, zones, options...)
	return w
}

// serve makes a new handler with other issuers.
func (w *world) serve(t testing.TB, dataplanes dataplane.Issuer, zones zone.Issuer, options ...httpapi.Option) {
	t.Helper()
	w.dataplanes, w.zones = &countingDataplanes{Issuer: dataplanes}, &countingZones{Issuer: zones}
	var err error
	w.handler, err = httpapi.New(w.store, w.dataplanes, w.zones, w.authorize, append(options, httpapi.WithLogger(w.log.Logger()))...)
	require.NoError(t, err)
}

// authorize knows four users by the header As, of whom alice may do everything.
func (w *world) authorize(r *http.Request, what httpapi.Request) (string, error) {
	w.asked.add(what)
	switch user := r.Header.Get("As"); user {
	case "alice":
		return user, nil
	case "bob":
		return user, httpapi.Denied("bob is on holiday")
	case "mallory":
		return user, errors.New("the secret list of culprits names mallory")
	case "nobody":
		return "", nil
	case "slow":
		return user, token.ErrUnavailable
	}
	return "", httpapi.ErrUnauthenticated
}

// do sends a request as alice, and returns the answer with its body.
func (w *world) do(t testing.TB, method, path, body string, header ...string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, path, strings.NewReader(body))
	r.Header.Set("As", "alice")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return w.answer(t, r)
}

func (w *world) answer(t testing.TB, r *http.Request) (*http.Response, string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	w.handler.ServeHTTP(recorder, r)
	answer := recorder.Result()
	data, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer, string(data)
}

// issued returns how many tokens were asked of the issuers.
func (w *world) issued() int { return w.dataplanes.calls() + w.zones.calls() }

type counter struct {
	mu sync.Mutex
	n  int
}

func (c *counter) add() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *counter) calls() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

type countingDataplanes struct {
	dataplane.Issuer
	counter
}

func (c *countingDataplanes) Issue(ctx context.Context, claims token.Dataplane, validFor time.Duration) (token.Issued, error) {
	c.add()
	return c.Issuer.Issue(ctx, claims, validFor)
}

type countingZones struct {
	zone.Issuer
	counter
}

func (c *countingZones) Issue(ctx context.Context, claims token.Zone, validFor time.Duration) (token.Issued, error) {
	c.add()
	return c.Issuer.Issue(ctx, claims, validFor)
}

// requests are what an authoriser was asked about.
type requests struct {
	mu   sync.Mutex
	list []httpapi.Request
}

func (r *requests) add(what httpapi.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, what)
}

func (r *requests) all() []httpapi.Request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.list
}

func (r *requests) last(t testing.TB) httpapi.Request {
	t.Helper()
	all := r.all()
	require.NotEmpty(t, all)
	return all[len(all)-1]
}

// faultStore is a memory store that counts reads, and fails or hangs if a test
// says so.
type faultStore struct {
	*keystore.Memory

	mu              sync.Mutex
	fail            error             // of reads
	unreadable      []*keystore.Error // of each List
	refuse          error             // of Create and Delete
	failAfterCreate error             // of the reads after a Create
	hang            bool
	touched         int
}

func (s *faultStore) set(fail error, hang bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail, s.hang = fail, hang
}

func (s *faultStore) reads() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.touched
}

func (s *faultStore) enter(ctx context.Context) error {
	s.mu.Lock()
	s.touched++
	fail, hang := s.fail, s.hang
	s.mu.Unlock()
	if hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return fail
}

func (s *faultStore) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	if err := s.enter(ctx); err != nil {
		return keystore.Record{}, err
	}
	return s.Memory.Get(ctx, scope, name)
}

func (s *faultStore) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if err := s.enter(ctx); err != nil {
		return nil, err
	}
	records, err := s.Memory.List(ctx, scope, prefix)
	if err != nil {
		return nil, err
	}
	return records, keystore.Unreadable(slices.Clone(s.unreadable))
}

func (s *faultStore) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin) // by way of List
}

func (s *faultStore) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if s.refuse != nil {
		return keystore.Record{}, s.refuse
	}
	if s.failAfterCreate != nil {
		defer s.set(s.failAfterCreate, false)
	}
	return s.Memory.Create(ctx, r)
}

func (s *faultStore) Delete(ctx context.Context, scope keystore.Scope, name string) error {
	if s.refuse != nil {
		return s.refuse
	}
	return s.Memory.Delete(ctx, scope, name)
}

var testKeys = func() (keys [3]func() *signing.PrivateKey) {
	for i := range keys {
		keys[i] = sync.OnceValue(func() *signing.PrivateKey {
			key, err := signing.Generate(signing.DefaultBits)
			if err != nil {
				panic(err)
			}
			return key
		})
	}
	return keys
}()

// quiet is a context whose audit events go nowhere.
func quiet(t testing.TB) context.Context {
	return audit.WithLogger(t.Context(), slog.New(slog.DiscardHandler))
}

func testKey(n int) *signing.PrivateKey { return testKeys[n]() }

func pemOf(t testing.TB, key *signing.PrivateKey) []byte {
	t.Helper()
	data, err := key.PEM()
	require.NoError(t, err)
	return data
}

// publicPEM returns a public key that is the same in each run of the tests.
func publicPEM(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return data
}

func put(t testing.TB, store keystore.KeyStore, scope keystore.Scope, name string, data []byte) {
	t.Helper()
	_, err := store.Create(t.Context(), keystore.Record{Scope: scope, Name: name, Data: data})
	require.NoError(t, err)
}

func replace(t testing.TB, store keystore.KeyStore, scope keystore.Scope, name string, data []byte) {
	t.Helper()
	record, err := store.Get(t.Context(), scope, name)
	require.NoError(t, err)
	record.Data = data
	_, err = store.Update(t.Context(), record)
	require.NoError(t, err)
}
