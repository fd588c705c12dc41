package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/pprof/profile"
	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	slog.SetDefault(quiet)
	if os.Getenv(replicaVariable) != "" {
		exit(serveReplica())
	}
	os.Exit(m.Run())
}

const few = 100 // proxies

// small is a plan whose configuration is published when no bad stream is open any more.
var small = plan{proxies: few, replicas: 3, publish: patience, watch: 500 * time.Millisecond}

// issued are tokens of a few proxies for all tests.
var issued = func(tb testing.TB) func() tokens {
	return func() tokens {
		issuedOnce.Do(func() { issuedTokens = issueTokens(tb, few) })
		return issuedTokens
	}
}

var (
	issuedOnce   sync.Once
	issuedTokens tokens
)

func TestMeshpassEndsAllBadStreamsAndNoGoodOneAndReplacementsConnectAtOnce(t *testing.T) {
	for _, store := range []string{storeDir, storeEtcd, storePostgres} {
		for _, command := range []string{removeKey, cutOff} {
			t.Run(command+", "+store, func(t *testing.T) {
				c := compromise(t, small, meshpass, store, command, issued(t))
				c.mustHold(t)
				require.Equal(t, few*3/4, c.Bad)
				require.Equal(t, few/4, c.Good)
				require.Equal(t, few/4, c.Back)
				require.Equal(t, Point{MS: 0, Open: c.Bad}, c.Curve[0])
				require.Zero(t, c.Curve[len(c.Curve)-1].Open)
				require.Positive(t, c.BadSeconds)
				require.Less(t, c.BadSeconds, float64(c.Bad)*c.LastBadMS/1000+0.001)
				require.Positive(t, c.Cost.Reads)
			})
		}
	}
}

func TestAServerThatChecksOnceKeepsBadStreamsAndGivesThemTheNextConfiguration(t *testing.T) {
	soon := small
	soon.publish = 0
	for _, server := range []string{once, tokenReview} {
		t.Run(server, func(t *testing.T) {
			command := removeKey
			if server == tokenReview {
				command = deleteAccount
			}
			c := compromise(t, soon, server, storeDir, command, issued(t))
			require.Equal(t, c.Bad, c.StillOpen)
			require.Equal(t, c.Bad, c.BadUpdated)
			require.Zero(t, c.GoodLost)
			require.Zero(t, c.GoodWithout)
			require.Zero(t, c.LastBadMS)
			require.GreaterOrEqual(t, c.BadSeconds, float64(c.Bad)*soon.watch.Seconds())
		})
	}
}

func TestAServerThatChecksEachRequestGivesBadStreamsTheNextConfigurationAndThenEndsThem(t *testing.T) {
	later := small
	later.publish = rereadAfter + 500*time.Millisecond
	for _, command := range []string{removeKey, cutOff} {
		t.Run(command, func(t *testing.T) {
			c := compromise(t, later, everyTime, storeDir, command, issued(t))
			require.Zero(t, c.StillOpen)
			require.Equal(t, c.Bad, c.BadUpdated)
			require.Zero(t, c.GoodLost)
			require.Zero(t, c.GoodWithout)
			require.Equal(t, few/4, c.Back)
			require.Greater(t, c.LastBadMS, milliseconds(later.publish))
		})
	}
}

func TestAllProxiesConnectAfterARestartAndAgain(t *testing.T) {
	for _, server := range []string{nothing, meshpass, tokenReview} {
		t.Run(server, func(t *testing.T) {
			storms := storm(t, small, server, storeDir, issued(t))
			require.Len(t, storms, 2)
			for i, s := range storms {
				require.Equal(t, i == 1, s.Warm)
				require.Positive(t, s.P50MS)
				require.GreaterOrEqual(t, s.P99MS, s.P50MS)
				require.GreaterOrEqual(t, s.AllMS, s.P99MS)
				require.Positive(t, s.Cost.CPU)
				require.LessOrEqual(t, s.Cost.Auth, s.Cost.CPU)
			}
			require.Equal(t, server == meshpass, storms[0].Cost.Reads > 0, "only Meshpass has a store here, and reads it when it starts")
		})
	}
}

func TestASampleOfAProfileBelongsToItsInnermostKnownFunction(t *testing.T) {
	cases := []struct {
		name  string
		stack []string // the innermost first
		want  bool
	}{
		{"RSA of Meshpass", []string{"crypto/rsa.VerifyPKCS1v15", "github.com/meshpass/meshpass/signing.(*PublicKey).Verify", "github.com/meshpass/meshpass/benchmarks.main"}, true},
		{"RSA of golang-jwt", []string{"crypto/rsa.VerifyPKCS1v15", "github.com/golang-jwt/jwt/v5.(*Parser).Parse"}, true},
		{"a handshake", []string{"crypto/ecdsa.SignASN1", "crypto/tls.(*Conn).Handshake", "google.golang.org/grpc/credentials.(*tlsCreds).ServerHandshake"}, false},
		{"gRPC beneath Meshpass", []string{"runtime.memmove", "google.golang.org/grpc.(*serverStream).RecvMsg", "github.com/meshpass/meshpass/grpcauth.(*stream).RecvMsg"}, false},
		{"the configuration", []string{"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3.(*server).process", "github.com/meshpass/meshpass/grpcauth.(*interceptor).run"}, false},
		{"the check of the benchmark", []string{"runtime.mapaccess1", "main.(*golangJWT).check", "main.(*checkedStream).RecvMsg"}, true},
		{"what the benchmark does besides", []string{"runtime.mallocgc", "main.(*Control).Publish"}, false},
		{"a review", []string{"internal/poll.(*FD).Read", "golang.org/x/net/http2.(*Framer).ReadFrame", "golang.org/x/net/http2.(*clientConnReadLoop).run"}, true},
		{"a frame of a stream", []string{"internal/poll.(*FD).Read", "golang.org/x/net/http2.(*Framer).ReadFrame", "google.golang.org/grpc/internal/transport.(*http2Server).HandleStreams"}, false},
		{"garbage collection", []string{"runtime.scanobject", "runtime.gcBgMarkWorker"}, false},
	}
	all := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples", Unit: "count"}}}
	want := 0
	for _, c := range cases {
		sample := &profile.Sample{Value: []int64{1}}
		for _, name := range c.stack {
			function := &profile.Function{ID: uint64(len(all.Function) + 1), Name: name}
			location := &profile.Location{ID: function.ID, Line: []profile.Line{{Function: function}}}
			all.Function, all.Location = append(all.Function, function), append(all.Location, location)
			sample.Location = append(sample.Location, location)
		}
		all.Sample = append(all.Sample, sample)
		require.Equal(t, c.want, isAuthentication(sample), c.name)
		if c.want {
			want++
		}
	}
	var written bytes.Buffer
	require.NoError(t, all.Write(&written))
	share, err := authenticationShare(&written)
	require.NoError(t, err)
	require.InDelta(t, float64(want)/float64(len(cases)), share, 1e-9)
}

func TestTheResultsAreWrittenAsTablesAPlotAndJSON(t *testing.T) {
	folder := t.TempDir()
	document := filepath.Join(folder, "performance.md")
	require.NoError(t, os.WriteFile(document, []byte("before\n"+tablesBegin+"an old table\n"+tablesEnd+"after\n"), 0o644))
	results := newResults(small)
	results.Compromises = []Compromise{
		{Server: meshpass, Store: storeEtcd, Command: removeKey, Proxies: 10_000, Replicas: 3, Bad: 7500, Good: 2500, LastBadMS: 65, BadSeconds: 300.4, Back: 2500, BackP50MS: 70, BackP99MS: 1234,
			Cost: Cost{CPU: 2, Auth: 0.5, Reads: 1234}, Curve: []Point{{0, 7500}, {65, 0}}},
		{Server: once, Store: storeEtcd, Command: removeKey, Bad: 7500, StillOpen: 7500, BadUpdated: 7500, WatchedMS: 10_000, Cost: Cost{CPU: 1}, Curve: []Point{{0, 7500}, {10_000, 7500}}},
	}
	results.Storms = []Storm{
		{Server: nothing, Proxies: 10_000, Replicas: 3, AllMS: 9000, P50MS: 100, P99MS: 200, Cost: Cost{CPU: 4}},
		{Server: meshpass, Store: storeEtcd, AllMS: 9900, P50MS: 110, P99MS: 220, Cost: Cost{CPU: 5, Auth: 1, Reads: 12}},
	}
	require.NoError(t, results.write(folder))
	require.NoError(t, results.write(folder), "it can be written again")

	data, err := os.ReadFile(document)
	require.NoError(t, err)
	text := string(data)
	require.True(t, strings.HasPrefix(text, "before\n"+tablesBegin))
	require.True(t, strings.HasSuffix(text, tablesEnd+"after\n"))
	require.NotContains(t, text, "an old table")
	require.Contains(t, text, "10,000 proxies with 3 replicas. The command makes 7,500 streams bad and leaves 2,500 good.")
	require.Contains(t, text, "| the key is removed, etcd | **Meshpass** | 65 ms | 300 | 0 | 0 | 70 ms, 1.2 s | 2.0 s | 0.50 s (25 %) | 1,234 |\n")
	require.Contains(t, text, "| the key is removed, etcd | golang-jwt, once | 7,500 open after 10.0 s | 0 | 7,500 | 0 | none had to | 1.0 s | 0.00 s (0 %) | 0 |\n")
	require.Contains(t, text, "| no authentication | just started | 9.0 s | 100 ms | 200 ms | – | 4.0 s | 0.00 s (0 %) | – |\n")
	require.Contains(t, text, "| **Meshpass, etcd** | just started | 9.9 s | 110 ms | 220 ms | 1.10 x | 5.0 s | 1.00 s (20 %) | 12 |\n")

	var read Results
	data, err = os.ReadFile(filepath.Join(folder, "benchmarks.json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &read))
	require.Equal(t, *results, read)

	data, err = os.ReadFile(filepath.Join(folder, "compromise.svg"))
	require.NoError(t, err)
	lines := 0
	for decoder := xml.NewDecoder(bytes.NewReader(data)); ; {
		element, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err, "the plot is well-formed XML")
		if start, ok := element.(xml.StartElement); ok && start.Name.Local == "polyline" {
			lines++
		}
	}
	require.Equal(t, 2, lines)
}

func TestADocumentWithoutAPlaceForTheTablesIsLeftAlone(t *testing.T) {
	folder := t.TempDir()
	document := filepath.Join(folder, "performance.md")
	require.NoError(t, os.WriteFile(document, []byte("text\n"+tablesBegin), 0o644))
	require.ErrorContains(t, newResults(small).write(folder), "no place for the tables")
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}

func TestWhatTheCommandDoesNotKnowIsAnError(t *testing.T) {
	for want, o := range map[string]options{
		`no scenario "rain"`: {plan: small, scenarios: []string{"rain"}},
		`no store "memory"`:  {plan: small, scenarios: []string{"storm"}, stores: []string{"memory"}},
		`no server "once"`:   {plan: small, scenarios: []string{"storm"}, stores: []string{storeDir}, servers: []string{"once"}},
		"at least 8 proxies": {plan: plan{proxies: 7, replicas: 1}},
	} {
		require.ErrorContains(t, o.run(t.Context()), want)
	}
}

func TestAProgramCleansUpAndSaysWhyItFailedOrWasLeftOut(t *testing.T) {
	var order []string
	err := inProgram(t.Context(), func(tb testing.TB) {
		tb.Cleanup(func() { order = append(order, "first"); require.Error(t, tb.Context().Err()) })
		tb.Cleanup(func() { order = append(order, "second") })
		require.Equal(tb, 1, 2, "numbers differ")
		order = append(order, "never")
	})
	require.ErrorContains(t, err, "numbers differ")
	require.Equal(t, []string{"second", "first"}, order)

	err = inProgram(t.Context(), func(tb testing.TB) { tb.Skip("no engine") })
	var left leftOut
	require.ErrorAs(t, err, &left)
	require.Equal(t, leftOut("no engine"), left)
	require.NoError(t, inProgram(t.Context(), func(testing.TB) {}))
}
