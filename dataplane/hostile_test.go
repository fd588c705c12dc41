package dataplane_test

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/forge"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// The kids of keys in mesh "default" that nothing may be verified with.
const (
	hostileKidShort         = "21"
	hostileKidExponent1     = "22"
	hostileKidExponentEven  = "23"
	hostileKidExponentLarge = "24"
	hostileKidLong          = "25"
	hostileKidCorrupt       = "26"
)

// hostileStore counts what is read from a store in memory, which can be made to
// fail. It announces changes as the store does.
type hostileStore struct {
	*keystore.Memory

	failure atomic.Pointer[error]

	mu    sync.Mutex
	reads []hostileRead
}

type hostileRead struct {
	scope keystore.Scope
	at    time.Time
}

func (s *hostileStore) Get(ctx context.Context, scope keystore.Scope, name string) (keystore.Record, error) {
	if err := s.read(scope); err != nil {
		return keystore.Record{}, err
	}
	return s.Memory.Get(ctx, scope, name)
}

func (s *hostileStore) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	if err := s.read(scope); err != nil {
		return nil, err
	}
	return s.Memory.List(ctx, scope, prefix)
}

func (s *hostileStore) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin) // by way of List
}

func (s *hostileStore) read(scope keystore.Scope) error {
	s.mu.Lock()
	s.reads = append(s.reads, hostileRead{scope, time.Now()})
	s.mu.Unlock()
	if err := s.failure.Load(); err != nil {
		return *err
	}
	return nil
}

func (s *hostileStore) fail(err error) { s.failure.Store(&err) }

func (s *hostileStore) readsSoFar() []hostileRead {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reads)
}

func hostileKeyPEM(key *rsa.PublicKey) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(key)})
}

func newHostileStore(t *testing.T) *hostileStore {
	t.Helper()
	store := &hostileStore{Memory: keystore.NewMemory()}
	create := func(scope keystore.Scope, name string, data []byte) {
		_, err := store.Create(t.Context(), keystore.Record{Scope: scope, Name: name, Data: data})
		require.NoError(t, err)
	}
	createKey := func(scope keystore.Scope, name string, key *rsa.PublicKey) {
		create(scope, name, hostileKeyPEM(key))
	}
	const key, list = "dataplane-token-signing-public-key-", "dataplane-token-revocations-"
	good, other := &forge.Key().PublicKey, &forge.OtherKey().PublicKey

	createKey("default", key+"default-1", good)
	createKey("default-2", key+"default-2-1", good)
	createKey("Default", key+"Default-1", good)
	createKey("unreadable", key+"unreadable-1", good)
	createKey("other", key+"other-1", other)
	createKey("other", key+"other-3", other)
	createKey(keystore.Global, "zone-token-signing-public-key-1", good)
	createKey(keystore.Global, "zone-token-signing-public-key-9", other)

	createKey("default", key+"default-"+hostileKidShort, &forge.ShortKey().PublicKey)
	createKey("default", key+"default-"+hostileKidExponent1, &rsa.PublicKey{N: good.N, E: 1})
	createKey("default", key+"default-"+hostileKidExponentEven, &rsa.PublicKey{N: good.N, E: 65536})
	createKey("default", key+"default-"+hostileKidLong, &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 8192, 1), E: 65537})
	create("default", key+"default-"+hostileKidCorrupt, []byte("not a key"))
	large, err := asn1.Marshal(struct{ N, E *big.Int }{good.N, big.NewInt(1<<32 + 1)})
	require.NoError(t, err)
	create("default", key+"default-"+hostileKidExponentLarge, large)

	createKey("default", key+"other-4", other)
	createKey("default", key+"default-0005", other)
	createKey(keystore.Global, key+"default-6", other)

	create("default", list+"default", []byte("revoked-in-mesh"))
	create("default", list+"other", []byte("revoked-by-mistake"))
	create("other", list+"other", []byte("revoked-in-other"))
	create("keyless", list+"keyless", nil)
	create("unreadable", list+"unreadable", []byte("\xff\xfer\x00e\x00v\x00"))
	create(keystore.Global, list+"default", []byte("revoked-globally"))
	create(keystore.Global, list+"unreadable", []byte("revoked-globally"))
	create(keystore.Global, "zone-token-revocations", []byte("revoked-for-zones"))
	return store
}

// hostileLog keeps what is logged, as text and value by value.
type hostileLog struct {
	slog.Handler
	kept *hostileKept
}

type hostileKept struct {
	mu      sync.Mutex
	text    bytes.Buffer
	values  []string
	lines   int
	leftOut int64
}

func newHostileLog() hostileLog {
	kept := &hostileKept{}
	return hostileLog{slog.NewTextHandler(&kept.text, &slog.HandlerOptions{Level: slog.LevelDebug}), kept}
}

func (l hostileLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	l.kept.mu.Lock()
	defer l.kept.mu.Unlock()
	for _, a := range attrs {
		l.kept.values = append(l.kept.values, a.Value.String())
	}
	return hostileLog{l.Handler.WithAttrs(attrs), l.kept}
}

func (l hostileLog) Handle(ctx context.Context, r slog.Record) error {
	l.kept.mu.Lock()
	defer l.kept.mu.Unlock()
	l.kept.lines++
	l.kept.values = append(l.kept.values, r.Message)
	r.Attrs(func(a slog.Attr) bool {
		if a.Key == "left_out" {
			l.kept.leftOut += a.Value.Int64()
		}
		l.kept.values = append(l.kept.values, a.Key, a.Value.String())
		return true
	})
	return l.Handler.Handle(ctx, r)
}

// take returns what was logged since it was last called.
func (l hostileLog) take() *hostileKept {
	l.kept.mu.Lock()
	defer l.kept.mu.Unlock()
	taken := &hostileKept{values: l.kept.values, lines: l.kept.lines, leftOut: l.kept.leftOut}
	taken.text.Write(l.kept.text.Bytes())
	l.kept.text.Reset()
	l.kept.values, l.kept.lines, l.kept.leftOut = nil, 0, 0
	return taken
}

// newHostileValidator returns a validator that has read the store, and that is at
// rest.
func newHostileValidator(t *testing.T, store keystore.KeyStore, log slog.Handler, options ...dataplane.ValidatorOption) dataplane.Validator {
	t.Helper()
	options = append([]dataplane.ValidatorOption{
		dataplane.WithLogger(slog.New(log)),
		dataplane.WithClock(func() time.Time { return time.Unix(hostileNow, 0) }),
	}, options...)
	validator, err := dataplane.NewValidator(store, options...)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, validator.Close()) })
	synctest.Wait()
	return validator
}

// hostileReasons are the errors for the checks. An answer matches one of them.
var hostileReasons = []error{
	token.ErrMalformed, token.ErrHeader, token.ErrUnknownKey, token.ErrSignature, token.ErrClaims, token.ErrIssuer,
	token.ErrAudience, token.ErrKind, token.ErrScope, token.ErrRevoked, token.ErrExpired, token.ErrNotYetValid, token.ErrLifetime, token.ErrUnavailable,
}

// assertHostileAnswer holds an answer to what is wanted: that error and no other, no
// token beside it, and nothing of the token in it.
func assertHostileAnswer(t *testing.T, want error, raw string, verified dataplane.Verified, err error) {
	t.Helper()
	if want == nil {
		require.NoError(t, err)
		assert.NotEqual(t, dataplane.Verified{}, verified)
		return
	}
	require.Error(t, err)
	assert.Equal(t, dataplane.Verified{}, verified)
	for _, reason := range hostileReasons {
		assert.Equal(t, reason == want, errors.Is(err, reason), "whether %q is %q", err, reason)
	}
	assert.Equal(t, want != token.ErrUnavailable, errors.Is(err, token.ErrInvalid), "whether %q is a definite refusal", err)
	assert.NotErrorIs(t, err, token.ErrNotPermitted)
	assertNothingHostileIn(t, raw, err.Error())
}

// assertNothingHostileIn asserts that a text holds neither a token nor the beginning
// of any of its parts.
func assertNothingHostileIn(t *testing.T, raw, text string) {
	t.Helper()
	for _, part := range append(strings.Split(raw[:min(len(raw), 1<<16)], "."), raw) {
		if len(part) >= 16 {
			assert.False(t, strings.Contains(text, part[:16]), "part of the token is in %.300q", text)
		}
	}
	assert.Equal(t, -1, strings.IndexFunc(text, unicode.IsControl), "control characters are escaped in %.300q", text)
}

func TestValidatorGivesHostileTokensTheAnswersThatItMust(t *testing.T) {
	var requests atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	defer server.Close()
	cases := hostileCases(server.URL)

	names := map[string]bool{}
	for _, c := range cases {
		require.False(t, names[c.name], "there are two cases named %q", c.name)
		names[c.name] = true
	}
	require.Greater(t, len(cases), 1000, "as the documents say")
	t.Logf("%d cases", len(cases))

	good := hostileWithPayload(hostilePayload.String())
	store := newHostileStore(t)
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newHostileLog()
				validator := newHostileValidator(t, store, log, c.options...)
				log.take()

				for range 2 { // what was learnt the first time changes nothing
					before := len(store.readsSoFar())
					verified, err := validator.Validate(t.Context(), c.mesh, c.raw)
					assertHostileAnswer(t, c.want, c.raw, verified, err)
					synctest.Wait()
					reads := 0
					if c.reads {
						reads = 1
					}
					assert.Equal(t, reads, len(store.readsSoFar())-before, "reads of the store")
					time.Sleep(2 * time.Second) // until a token may cause a read again
				}

				logged := log.take()
				if c.want == nil {
					assert.Zero(t, logged.lines)
				} else {
					assert.Equal(t, 2, logged.lines)
				}
				for _, value := range logged.values {
					assertNothingHostileIn(t, c.raw, value)
				}
				for line := range strings.Lines(logged.text.String()) {
					assertNothingHostileIn(t, c.raw, strings.TrimSuffix(line, "\n"))
				}
				if c.options == nil {
					verified, err := validator.Validate(t.Context(), "default", good)
					assertHostileAnswer(t, nil, good, verified, err)
				}
			})
		})
	}
	assert.Zero(t, requests.Load(), "requests to addresses in tokens")
}

func TestValidatorReportsHostileKeysByTheirNamesAtLoad(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		log := newHostileLog()
		newHostileValidator(t, store, log)
		logged := log.take().text.String()
		for kid, found := range map[string]string{
			hostileKidShort:         "an RSA key of 1024 bits",
			hostileKidExponent1:     "the public exponent 1,",
			hostileKidExponentEven:  "the public exponent 65536",
			hostileKidExponentLarge: "the public exponent 4294967297",
			hostileKidLong:          "an RSA key of 8193 bits",
			hostileKidCorrupt:       "no PEM block",
		} {
			name, reported := "dataplane-token-signing-public-key-default-"+kid, 0
			for line := range strings.Lines(logged) {
				if strings.Contains(line, "record problem") && strings.Contains(line, name) {
					reported++
					assert.Contains(t, line, found)
				}
			}
			assert.Equal(t, 1, reported, "reports of %s", name)
		}
	})
}

// hostileFlood presents tokens, all of them at once, round after round, and waits
// for the answers to each round. In every round the good token is answered at once,
// and no more than 1,024 others wait.
func hostileFlood(t *testing.T, validator dataplane.Validator, rounds, tokens int, make func(n int) (mesh, raw string)) (unknown, unavailable int64) {
	t.Helper()
	var definite, other atomic.Int64
	good := hostileWithPayload(hostilePayload.String())
	for round := range rounds {
		var presenting sync.WaitGroup
		answered := definite.Load() + other.Load()
		for i := range tokens {
			presenting.Go(func() {
				mesh, raw := make(round*tokens + i)
				_, err := validator.Validate(t.Context(), mesh, raw)
				switch {
				case errors.Is(err, token.ErrUnknownKey) && !errors.Is(err, token.ErrUnavailable):
					definite.Add(1)
				case errors.Is(err, token.ErrUnavailable) && !errors.Is(err, token.ErrInvalid):
					other.Add(1)
				default:
					t.Errorf("the answer is %v", err)
				}
			})
		}
		synctest.Wait()
		answered = definite.Load() + other.Load() - answered
		require.LessOrEqual(t, int64(tokens)-answered, int64(1024), "tokens waiting")
		began := time.Now()
		_, err := validator.Validate(t.Context(), "default", good)
		require.NoError(t, err)
		require.Zero(t, time.Since(began), "how long a good token waits during the flood")
		presenting.Wait()
	}
	return definite.Load(), other.Load()
}

// hostileCrowd presents 1,024 tokens that wait until stop is called, and then many more,
// one after the other in no time, none of which may wait.
func hostileCrowd(t *testing.T, validator dataplane.Validator, tokens int, make func(n int) (mesh, raw string)) (stop func()) {
	t.Helper()
	// A read that a token caused just now keeps the next one from answering those who wait.
	time.Sleep(2 * time.Second)
	mesh, raw := make(0)
	_, err := validator.Validate(t.Context(), mesh, raw)
	require.ErrorIs(t, err, token.ErrUnknownKey)
	ctx, cancel := context.WithCancel(t.Context())
	var waiting sync.WaitGroup
	for i := range 1024 {
		mesh, raw := make(i)
		waiting.Go(func() { _, _ = validator.Validate(ctx, mesh, raw) })
	}
	synctest.Wait()
	began := time.Now()
	for i := range tokens {
		mesh, raw := make(1024 + i)
		_, err := validator.Validate(t.Context(), mesh, raw)
		if !errors.Is(err, token.ErrUnavailable) {
			t.Fatalf("token %d beyond 1,024: the answer is %v", i, err)
		}
	}
	require.Zero(t, time.Since(began), "how long those beyond 1,024 wait")
	return func() { cancel(); waiting.Wait() }
}

// hostileHeap is the size of all that is reachable, in bytes.
func hostileHeap() int64 {
	runtime.GC()
	runtime.GC() // what the first one finalised
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return int64(stats.HeapAlloc)
}

// hostileHeapGrowth is more than 1,024 waiting goroutines take.
const hostileHeapGrowth = 4 << 20

// assertHostileReads asserts that reads of single scopes are so far apart, and that
// all scopes are read no more often than they are without anybody asking.
func assertHostileReads(t *testing.T, reads []hostileRead, apart time.Duration) {
	t.Helper()
	var one, all []hostileRead
	for _, r := range reads {
		if r.scope == keystore.AllScopes {
			all = append(all, r)
		} else {
			one = append(one, r)
		}
	}
	require.Greater(t, len(one), 10)
	for i := range one[1:] {
		require.GreaterOrEqual(t, one[i+1].at.Sub(one[i].at), apart)
	}
	for i := range all[min(1, len(all)):] {
		require.GreaterOrEqual(t, all[i+1].at.Sub(all[i].at), 20*time.Second)
	}
}

// hostileWithSerial is a token whose key nobody has. It is made in a hurry, for floods.
func hostileWithSerial(n int) string {
	return forge.Encode(`{"alg":"RS256","kid":"`+strconv.Itoa(1000+n)+`"}`) + hostileUnsigned
}

// hostileUnsigned is a payload and a signature of zeros.
var hostileUnsigned = "." + forge.Encode(hostilePayload.String()) + "." + forge.Encode(string(make([]byte, 256)))

func TestValidatorUnderAFloodOfUnknownSerialsReadsAMeshOnceASecond(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler)
		before, read, began := hostileHeap(), len(store.readsSoFar()), time.Now()

		const rounds, tokens = 20, 1300
		unknown, unavailable := hostileFlood(t, validator, rounds, tokens, func(n int) (string, string) {
			return "default", hostileWithSerial(n)
		})
		assert.EqualValues(t, rounds*tokens, unknown+unavailable)
		assert.Positive(t, unknown)
		assert.GreaterOrEqual(t, unavailable, int64(rounds-1)*(tokens-1024), "answers to those beyond 1,024")
		assert.LessOrEqual(t, time.Since(began), rounds*1010*time.Millisecond, "nobody waits for longer than a second and 10 ms")

		stop := hostileCrowd(t, validator, 10_000, func(n int) (string, string) { return "default", hostileWithSerial(n) })
		assert.Less(t, hostileHeap()-before, int64(hostileHeapGrowth), "bytes while 1,024 wait")
		stop()

		assertHostileReads(t, store.readsSoFar()[read:], time.Second)
		assert.Less(t, hostileHeap()-before, int64(hostileHeapGrowth))
	})
}

func TestValidatorUnderAFloodOfUnknownMeshesReadsTenTimesASecondInAll(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler)
		before, read, began := hostileHeap(), len(store.readsSoFar()), time.Now()

		const rounds, tokens = 20, 1300
		raw := hostileWithSerial(0)
		unknown, unavailable := hostileFlood(t, validator, rounds, tokens, func(n int) (string, string) {
			return "mesh-" + strconv.Itoa(n), raw
		})
		assert.EqualValues(t, rounds*tokens, unknown+unavailable)
		assert.Positive(t, unknown)
		assert.LessOrEqual(t, time.Since(began), rounds*1010*time.Millisecond, "nobody waits for longer than a second and 10 ms")

		stop := hostileCrowd(t, validator, 10_000, func(n int) (string, string) { return "crowd-" + strconv.Itoa(n), raw })
		assert.Less(t, hostileHeap()-before, int64(hostileHeapGrowth), "bytes while 1,024 wait")
		stop()

		assertHostileReads(t, store.readsSoFar()[read:], 100*time.Millisecond)
		assert.Less(t, hostileHeap()-before, int64(hostileHeapGrowth))
	})
}

func TestValidatorUnderAFloodForOneUnknownMeshReadsItOnceASecond(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler)
		read := len(store.readsSoFar())
		hostileFlood(t, validator, 30, 100, func(n int) (string, string) { return "nowhere", hostileWithSerial(n) })
		assertHostileReads(t, store.readsSoFar()[read:], time.Second)
	})
}

func TestValidatorUnderAFloodOfUnknownMeshesStillReadsTheOthers(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler)
		var flood sync.WaitGroup
		for i := range 1000 {
			raw := hostileWithSerial(i)
			flood.Go(func() { _, _ = validator.Validate(t.Context(), "mesh-"+strconv.Itoa(i), raw) })
		}
		synctest.Wait()
		_, err := validator.Validate(t.Context(), "default", hostileWithSerial(0))
		require.ErrorIs(t, err, token.ErrUnknownKey, "the mesh is there, and was read")
		flood.Wait()
	})
}

func TestValidatorLogsRefusalsOfEveryKindOnceASecondAfterTen(t *testing.T) {
	store := newHostileStore(t)
	raws := []string{
		"a",
		hostileWithHeader(`{}`),
		hostileWithHeader(hostileHeader.With("kid", `"x"`).String()),
		hostileWithSignature(forge.RS256(forge.OtherKey())),
		hostileWithPayload(`{}`),
		hostileWithPayload(hostileZonePayload.String()),
		hostileWithPayload(hostilePayload.With("Mesh", `"other"`).String()),
		hostileWithID("revoked-in-mesh"),
		hostileWithPayload(hostilePayload.With("exp", hostileAt(-1000)).String()),
		hostileWithPayload(hostilePayload.With("nbf", hostileAt(1000)).String()),
	}
	synctest.Test(t, func(t *testing.T) {
		log := newHostileLog()
		validator := newHostileValidator(t, store, log)
		log.take()
		refuse := func(n int) {
			for i := range n {
				_, err := validator.Validate(t.Context(), "default", raws[i%len(raws)])
				require.ErrorIs(t, err, token.ErrInvalid)
			}
		}
		before := hostileHeap()
		refuse(5_000)
		kept := log.take()
		assert.Equal(t, 10, kept.lines, "lines for 5,000 refusals at once")

		const seconds = 60
		for range seconds * 4 {
			time.Sleep(time.Second / 4)
			refuse(50)
		}
		later := log.take()
		assert.InDelta(t, seconds, later.lines, 1, "lines in the %d s after that", seconds)

		time.Sleep(time.Second)
		refuse(1)
		last := log.take()
		lines := kept.lines + later.lines + last.lines
		assert.EqualValues(t, 5_000+seconds*4*50+1, int64(lines)+kept.leftOut+later.leftOut+last.leftOut, "each refusal is logged, or counted among those left out")
		assert.Less(t, hostileHeap()-before, int64(hostileHeapGrowth))
	})
}

func TestValidatorRefusesAHostileFormWithoutAllocating(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler) // which is at rest
		ctx, refused := t.Context(), 0
		for _, c := range hostileForms() {
			if c.want == nil {
				continue
			}
			refused++
			runs := 100
			if len(c.raw) > 1<<20 {
				runs = 10
			}
			assert.Zero(t, testing.AllocsPerRun(runs, func() {
				if _, err := validator.Validate(ctx, c.mesh, c.raw); err == nil {
					panic("accepted")
				}
			}), c.name)
		}
		require.Greater(t, refused, 50)
	})
}

func TestValidatorRefusesForOneMeshWhatAnotherAccepted(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler)
		good := hostileWithPayload(hostilePayload.String())
		for range 2 {
			for _, asked := range []struct {
				mesh string
				want error
			}{{"default", nil}, {"default-2", token.ErrScope}, {"Default", token.ErrScope}, {"other", token.ErrSignature}} {
				verified, err := validator.Validate(t.Context(), asked.mesh, good)
				assertHostileAnswer(t, asked.want, good, verified, err)
			}
		}
	})
}

func TestValidatorRefusesAnAcceptedTokenOnceItsKeyHasOtherBytes(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		log := newHostileLog()
		validator := newHostileValidator(t, store, log)
		old, replaced := hostileWithPayload(hostilePayload.String()), hostileWithSignature(forge.RS256(forge.OtherKey()))
		answer := func(raw string, want error) {
			t.Helper()
			verified, err := validator.Validate(t.Context(), "default", raw)
			assertHostileAnswer(t, want, raw, verified, err)
		}
		answer(old, nil)
		answer(replaced, token.ErrSignature)
		log.take()

		record, err := store.Memory.Get(t.Context(), "default", "dataplane-token-signing-public-key-default-1")
		require.NoError(t, err)
		record.Data = hostileKeyPEM(&forge.OtherKey().PublicKey)
		_, err = store.Update(t.Context(), record)
		require.NoError(t, err)
		synctest.Wait()
		kept := log.take()
		assert.Contains(t, kept.text.String(), "dataplane-token-signing-public-key-default-1", "the change is reported")
		answer(old, token.ErrSignature)
		answer(replaced, nil)

		require.NoError(t, store.Delete(t.Context(), "default", record.Name))
		synctest.Wait()
		answer(replaced, token.ErrUnknownKey)
	})
}

func TestValidatorRefusesAnAcceptedTokenOnceItIsRevoked(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler)
		good := hostileWithID("taken-back")
		for range 2 {
			verified, err := validator.Validate(t.Context(), "default", good)
			assertHostileAnswer(t, nil, good, verified, err)

			require.NoError(t, dataplane.Revoke(t.Context(), store, "default", "taken-back"))
			synctest.Wait()
			verified, err = validator.Validate(t.Context(), "default", good)
			assertHostileAnswer(t, token.ErrRevoked, good, verified, err)

			require.NoError(t, dataplane.Restore(t.Context(), store, "default", "taken-back"))
			synctest.Wait()
		}
	})
}

func TestValidatorRefusesAnAcceptedTokenOnceTheClockIsSetBeforeNbf(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		var clock atomic.Int64
		validator := newHostileValidator(t, store, slog.DiscardHandler, dataplane.WithClock(func() time.Time { return time.Unix(clock.Load(), 0) }))
		good := hostileWithPayload(hostilePayload.String()) // from 300 s ago to an hour ahead
		for _, at := range []struct {
			seconds int64
			want    error
		}{{0, nil}, {-330, nil}, {-331, token.ErrNotYetValid}, {-1e9, token.ErrNotYetValid}, {0, nil}, {3629, nil}, {3630, token.ErrExpired}, {1e11, token.ErrExpired}, {0, nil}} {
			clock.Store(hostileNow + at.seconds)
			verified, err := validator.Validate(t.Context(), "default", good)
			assertHostileAnswer(t, at.want, good, verified, err)
		}
	})
}

// hostileWithoutStore are the answers to be given while the store cannot be read:
// what is definite stays definite.
func hostileWithoutStore(t *testing.T, validator dataplane.Validator, kid string) {
	t.Helper()
	header := hostileHeader.With("kid", strconv.Quote(kid))
	signed := forge.RS256(forge.Key())
	of := func(p forge.Object) string { return forge.Token(header.String(), p.String(), signed) }
	for _, c := range []hostileCase{
		hostileRefused(token.ErrUnavailable, "a good token", of(hostilePayload)),
		hostileRefused(token.ErrMalformed, "a malformed token", of(hostilePayload)+"="),
		hostileRefused(token.ErrHeader, "a wrong alg", forge.Token(header.With("alg", `"none"`).String(), hostilePayload.String(), signed)),
		hostileRefused(token.ErrUnknownKey, "a kid that is no serial", forge.Token(header.With("kid", `"x"`).String(), hostilePayload.String(), signed)),
		hostileRefused(token.ErrSignature, "a bad signature", forge.Token(header.String(), hostilePayload.String(), forge.RS256(forge.OtherKey()))),
		hostileRefused(token.ErrClaims, "no exp", of(hostilePayload.Without("exp"))),
		hostileRefused(token.ErrClaims, "no jti", of(hostilePayload.Without("jti"))),
		hostileRefused(token.ErrKind, "a zone token", of(hostileZonePayload)),
		hostileRefused(token.ErrScope, "another mesh", of(hostilePayload.With("Mesh", `"other"`))),
		hostileRefused(token.ErrExpired, "an expired token", of(hostilePayload.With("exp", hostileAt(-1000)))),
		hostileRefused(token.ErrNotYetValid, "a token that is not valid yet", of(hostilePayload.With("nbf", hostileAt(1000)))),
		hostileRefused(token.ErrUnavailable, "an unknown serial", forge.Token(header.With("kid", `"2"`).String(), hostilePayload.String(), signed)),
	} {
		verified, err := validator.Validate(t.Context(), "default", c.raw)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, err, c.want)
		}
		assertHostileAnswer(t, c.want, c.raw, verified, err)
	}
}

func TestValidatorRefusesHostileTokensDefinitelyWhereWhatWasReadIsTooOld(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler, dataplane.WithMaxStale(time.Minute))
		store.fail(errors.New("the store is down"))
		time.Sleep(2 * time.Minute)
		hostileWithoutStore(t, validator, "1")

		revoked := hostileWithID("revoked-in-mesh")
		verified, err := validator.Validate(t.Context(), "default", revoked)
		assertHostileAnswer(t, token.ErrRevoked, revoked, verified, err)
	})
}

func TestValidatorRefusesHostileTokensDefinitelyWhereNothingWasEverRead(t *testing.T) {
	store := newHostileStore(t)
	store.fail(errors.New("the store is down"))
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler, dataplane.WithPublicKey("default", "key-1", hostilePublic(forge.Key())))
		hostileWithoutStore(t, validator, "key-1")
	})
}

// No read can make such a mesh exist, so nobody has to wait for one.
func TestValidatorRefusesAMeshThatCannotExistDefinitelyWhereNothingWasEverRead(t *testing.T) {
	store := newHostileStore(t)
	store.fail(errors.New("the store is down"))
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler)
		good := hostileWithPayload(hostilePayload.String())
		for _, mesh := range []string{"", "*", "../default"} {
			verified, err := validator.Validate(t.Context(), mesh, good)
			assertHostileAnswer(t, token.ErrScope, good, verified, err)
		}
	})
}

func TestValidatorAnswersAnUnknownSerialWhenItsContextEnds(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler)
		raw := hostileWithSerial(0)
		_, err := validator.Validate(t.Context(), "default", raw)
		require.ErrorIs(t, err, token.ErrUnknownKey)

		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // the mesh may be read again in a second
		defer cancel()
		began := time.Now()
		verified, err := validator.Validate(ctx, "default", raw)
		assertHostileAnswer(t, token.ErrUnavailable, raw, verified, err)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 100*time.Millisecond, time.Since(began))

		good := hostileWithPayload(hostilePayload.String())
		_, err = validator.Validate(ctx, "default", good)
		require.NoError(t, err, "what needs no read needs no time")
	})
}

func TestValidatorThatIsClosedGivesNoVerdict(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler)
		require.NoError(t, validator.Close())
		for _, raw := range []string{"", hostileWithPayload(hostilePayload.String()), hostileWithSerial(0)} {
			verified, err := validator.Validate(t.Context(), "default", raw)
			assertHostileAnswer(t, token.ErrUnavailable, raw, verified, err)
			require.ErrorIs(t, err, token.ErrClosed)
		}
	})
}

func TestValidatorKeepsErrorsAndLogLinesShortForHostileNames(t *testing.T) {
	store := newHostileStore(t)
	long := strings.Repeat("m", 1<<20)
	good := hostileWithPayload(hostilePayload.String())
	for _, c := range []hostileCase{
		hostileRefused(token.ErrScope, "a token for a mesh of 5,000 letters", hostileWithPayload(hostilePayload.With("Mesh", strconv.Quote(long[:5000])).String())),
		hostileRefused(token.ErrScope, "a token for a mesh of 900 control characters", hostileWithPayload(hostilePayload.With("Mesh", `"`+strings.Repeat(`\u0001`, 900)+`"`).String())),
		hostileRefused(token.ErrScope, "a good token presented in a mesh of a million letters", good).askedFor(long),
		hostileRefused(token.ErrUnknownKey, "a kid that is no serial presented in a mesh of a million letters", hostileWithHeader(hostileHeader.With("kid", `"x"`).String())).askedFor(long),
		hostileRefused(token.ErrScope, "an unknown serial presented in a mesh of a million letters", hostileWithSerial(0)).askedFor(long),
		hostileRefused(token.ErrUnknownKey, "a kid that is not configured presented in a mesh of a million letters", hostileWithSerial(0)).askedFor(long).
			under(dataplane.WithoutStoreKeys(), dataplane.WithPublicKey("default", "key-1", hostilePublic(forge.Key()))),
		hostileRefused(token.ErrScope, "a token of a key for every mesh presented in a mesh of a million letters", good).askedFor(long).
			under(dataplane.WithPublicKeyForEveryMesh("1", hostilePublic(forge.Key()))),
		hostileRefused(token.ErrClaims, "a claim that nobody knows with a name of 2,500 letters, twice", hostileWithPayload(hostilePayload.And(long[:2500], "1").And(long[:2500], "1").String())),
		hostileRefused(token.ErrHeader, "an alg of 5,000 letters", hostileWithHeader(hostileHeader.With("alg", strconv.Quote(long[:5000])).String())),
		hostileRefused(token.ErrHeader, "a kid of 5,000 letters", hostileWithHeader(hostileHeader.With("kid", strconv.Quote(long[:5000])).String())),
		hostileRefused(token.ErrClaims, "an exp of 5,000 digits", hostileWithPayload(hostilePayload.With("exp", strings.Repeat("9", 5000)).String())),
		hostileRefused(token.ErrClaims, "a jti of 5,000 letters", hostileWithPayload(hostilePayload.With("jti", strconv.Quote(long[:5000])).String())),
		hostileRefused(token.ErrClaims, "a tag of 5,000 letters that is no list", hostileWithPayload(hostilePayload.With("Tags", `{"`+long[:5000]+`":1}`).String())),
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				log := newHostileLog()
				validator := newHostileValidator(t, store, log, c.options...)
				log.take()
				_, err := validator.Validate(t.Context(), c.mesh, c.raw)
				require.ErrorIs(t, err, c.want)
				kept := log.take()
				assert.Less(t, len(err.Error()), 1024, "bytes in the error")
				assert.Less(t, kept.text.Len(), 4096, "bytes in the log")
			})
		})
	}
}

// A mesh whose name no record can have can have no revocation list either.
func TestValidatorRefusesAMeshThatCannotExistThoughAKeyServesEveryMesh(t *testing.T) {
	store := newHostileStore(t)
	for _, mesh := range []string{"*", "..", "../default", "a/b", "-", " ", "default\n", strings.Repeat("m", 129)} {
		t.Run(fmt.Sprintf("%.20q", mesh), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				validator := newHostileValidator(t, store, slog.DiscardHandler, dataplane.WithPublicKeyForEveryMesh("key-1", hostilePublic(forge.Key())))
				raw := forge.Token(hostileHeader.With("kid", `"key-1"`).String(), hostilePayload.With("Mesh", strconv.Quote(mesh)).String(), forge.RS256(forge.Key()))
				require.Error(t, dataplane.Revoke(t.Context(), store, mesh, "a"), "it could not be revoked")
				verified, err := validator.Validate(t.Context(), mesh, raw)
				require.ErrorIs(t, err, token.ErrScope)
				assert.Equal(t, dataplane.Verified{}, verified)
			})
		})
	}
}

// An iat that is far ahead must not make a long life look short.
func TestValidatorWithAMaximumLifetimeIsNotMisledByAnIatFarAhead(t *testing.T) {
	store := newHostileStore(t)
	for _, c := range []struct {
		name    string
		payload forge.Object
	}{
		{"exp in the year 5138 and iat an hour before it", hostilePayload.With("exp", "99999999999").With("iat", "99999996399")},
		{"exp in the year 5138 and iat after it", hostilePayload.With("exp", "99999999999").With("iat", "253402300799")},
		{"exp in the year 5138, iat an hour before it and no nbf", hostilePayload.With("exp", "99999999999").With("iat", "99999996399").Without("nbf")},
		{"exp in two hours and iat a second before it", hostilePayload.With("exp", hostileAt(7200)).With("iat", hostileAt(7199))},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				validator := newHostileValidator(t, store, slog.DiscardHandler, dataplane.WithMaxLifetime(time.Hour))
				_, err := validator.Validate(t.Context(), "default", hostileWithPayload(c.payload.String()))
				require.ErrorIs(t, err, token.ErrNotYetValid)
			})
		})
	}
	t.Run("exp in two hours and iat within the skew ahead", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			validator := newHostileValidator(t, store, slog.DiscardHandler, dataplane.WithMaxLifetime(time.Hour))
			_, err := validator.Validate(t.Context(), "default", hostileWithPayload(hostilePayload.With("exp", hostileAt(7200)).With("iat", hostileAt(300)).String()))
			require.ErrorIs(t, err, token.ErrLifetime)
		})
	})
}

func TestValidatorWithTheLongestMaximumLifetimeRefusesNoToken(t *testing.T) {
	store := newHostileStore(t)
	synctest.Test(t, func(t *testing.T) {
		validator := newHostileValidator(t, store, slog.DiscardHandler, dataplane.WithMaxLifetime(math.MaxInt64))
		_, err := validator.Validate(t.Context(), "default", hostileWithPayload(hostilePayload.String()))
		require.NoError(t, err)
	})
}
