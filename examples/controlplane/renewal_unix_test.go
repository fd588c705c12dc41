//go:build unix

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/httpapi"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/renewal"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
	"github.com/meshpass/meshpass/zone"
)

var (
	renewing = flag.Duration("renewing", 45*time.Second, "for how long BenchmarkRenewingProxies renews tokens")
	lifetime = flag.Duration("lifetime", 10*time.Second, "how long the tokens of BenchmarkRenewingProxies are valid")
	proxies  = flag.Int("proxies", 300, "how many proxies BenchmarkRenewingProxies has")
)

// BenchmarkRenewingProxies has proxies that start one after the other within the lifetime of
// a token. Each has its token in a file, which a renewal.Keeper renews over HTTPS with a new
// connection each time, and an ADS stream over TLS, which it opens again with the token in
// the file when the stream ends. It fails if a token is refused, if a proxy is not back within
// a second, or if more than one attempt to renew in a thousand has to be repeated: an answer
// that is lost makes the next attempt too early.
//
// Control plane and proxies are one process, so the processor time is that of both. For
// tokens of two minutes and ten minutes of work:
//
//	go test ./examples/controlplane -run '^$' -bench RenewingProxies -benchtime 1x -timeout 30m -args -proxies 10000 -lifetime 2m -renewing 10m
func BenchmarkRenewingProxies(b *testing.B) {
	for b.Loop() {
		f := newRenewingFleet(b, *proxies)
		ctx, cancel := context.WithCancel(b.Context()) // a deadline would be one of each call, which servers keep too
		time.AfterFunc(*renewing, cancel)
		cpu, began := processorTime(b), time.Now()
		f.run(ctx)
		took := time.Since(began)
		cpu = processorTime(b) - cpu

		var reconnects, most int
		for _, n := range f.reconnects {
			reconnects += n
			most = max(most, n)
		}
		b.ReportMetric(0, "ns/op") // of all of it: tells nothing
		b.ReportMetric(float64(f.renewed.Load())/took.Seconds(), "renewals/s")
		b.ReportMetric(float64(f.renewed.Load()), "renewals")
		b.ReportMetric(float64(f.repeated.Load()), "repeated")
		b.ReportMetric(cpu.Seconds()/took.Seconds(), "cores")
		b.ReportMetric(float64(reconnects), "reconnects")
		b.ReportMetric(float64(most)/float64(*proxies)*100, "most-in-a-second-%")
		b.ReportMetric(f.longest.Seconds()*1e3, "back-max-ms")
		figures := fmt.Sprintf("%d renewals, %d attempts repeated and %d reconnects in %s, %s of processor time",
			f.renewed.Load(), f.repeated.Load(), reconnects, took, cpu) // a failure prints no metrics
		require.Empty(b, f.problems, figures)
		require.LessOrEqual(b, f.repeated.Load(), f.renewed.Load()/1000, figures)
		require.Less(b, f.longest, time.Second, "until a proxy was back: "+figures)
	}
}

func processorTime(tb testing.TB) time.Duration {
	var usage syscall.Rusage
	require.NoError(tb, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// renewingFleet is a fleet whose proxies renew their tokens.
type renewingFleet struct {
	*fleet
	issuer dataplane.Issuer
	client *httpapi.Client
	folder string // of the token files
	size   int

	renewed, repeated atomic.Int64

	mu         sync.Mutex
	problems   map[string]int // and how often each was met
	reconnects map[int64]int  // by the second, in Unix time
	longest    time.Duration  // until a proxy was back
}

func newRenewingFleet(tb testing.TB, n int) *renewingFleet {
	f := &renewingFleet{fleet: &fleet{tb: tb, store: keystore.NewMemory(), log: &logtest.Buffer{}, workloads: 1}, folder: tb.TempDir(), size: n, problems: map[string]int{}, reconnects: map[int64]int{}}
	series := signing.DataplaneKeys("default")
	pem, err := meshKey().PEM()
	require.NoError(tb, err)
	_, err = f.store.Create(tb.Context(), keystore.Record{Scope: series.Scope(), Name: series.KeyName(1), Data: pem})
	require.NoError(tb, err)
	validator, err := dataplane.NewValidator(f.store, dataplane.WithLogger(quiet), dataplane.WithSessionJitter(time.Minute),
		dataplane.WithForkHandler(func(context.Context, dataplane.Fork) { f.problem("a fork") }))
	require.NoError(tb, err)
	tb.Cleanup(func() { validator.Close() })
	f.serve(validator)

	f.issuer, err = dataplane.NewIssuer(f.store, dataplane.WithLogger(quiet), dataplane.WithMaxLineage(24*time.Hour))
	require.NoError(tb, err)
	zones, err := zone.NewIssuer(f.store, zone.WithLogger(quiet))
	require.NoError(tb, err)
	api, err := httpapi.New(f.store, f.issuer, zones, authorizeAll, httpapi.WithLogger(quiet), httpapi.WithRenewal(validator, nil))
	require.NoError(tb, err)
	server := httptest.NewTLSServer(api)
	tb.Cleanup(server.Close)
	transport := server.Client().Transport.(*http.Transport).Clone()
	transport.DisableKeepAlives = true // as many processes have no connection in common
	f.client, err = httpapi.NewClient(server.URL, &http.Client{Transport: transport})
	require.NoError(tb, err)
	return f
}

// run runs all proxies until ctx ends.
func (f *renewingFleet) run(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	pace := time.NewTicker(*lifetime / time.Duration(f.size))
	defer pace.Stop()
	for proxy := range f.size {
		path := f.path(proxy)
		issued, err := f.issuer.Issue(f.tb.Context(), claimsOf(proxy, 1), *lifetime)
		require.NoError(f.tb, err)
		require.NoError(f.tb, os.Mkdir(filepath.Dir(path), 0o700))
		require.NoError(f.tb, os.WriteFile(path, []byte(issued.Token), 0o600))
		keeper, err := renewal.NewKeeper(path, f.renew, renewal.WithLogger(quiet), renewal.WithPoll(5*time.Second))
		require.NoError(f.tb, err)
		running.Go(func() { _ = keeper.Run(ctx) })
		running.Go(func() { f.stayConnected(ctx, proxy) })
		select {
		case <-pace.C:
		case <-ctx.Done():
			return
		}
	}
}

// path returns the path of a proxy's token file.
func (f *renewingFleet) path(proxy int) string {
	return filepath.Join(f.folder, strconv.Itoa(proxy), "token")
}

func (f *renewingFleet) renew(ctx context.Context, raw string) (token.Issued, error) {
	issued, err := f.client.RenewDataplane(ctx, raw, 0)
	var answer *httpapi.Error
	switch {
	case err == nil:
		f.renewed.Add(1)
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &answer) && answer.Status == http.StatusTooManyRequests:
		f.repeated.Add(1)
	default:
		f.problem("not renewed: " + err.Error())
	}
	return issued, err
}

func (f *renewingFleet) problem(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.problems[what]++
}

// stayConnected opens a stream, and another when it ends.
func (f *renewingFleet) stayConnected(ctx context.Context, proxy int) {
	for ended := (time.Time{}); ; {
		raw, err := os.ReadFile(f.path(proxy))
		if err != nil {
			f.problem(err.Error())
			return
		}
		streamCtx, end := context.WithCancel(ctx)
		stream, _, err := f.subscribe(streamCtx, proxy, string(raw))
		if err == nil {
			f.connected(ended)
			for err == nil {
				_, err = stream.Recv()
			}
		} else if ctx.Err() == nil {
			f.problem("refused: " + err.Error())
		}
		end()
		if ctx.Err() != nil {
			return
		}
		ended = time.Now()
		if status.Code(err) != codes.Unauthenticated {
			f.problem("ended: " + err.Error())
			return
		}
	}
}

// connected notes that a proxy is back whose stream ended then, if it had one.
func (f *renewingFleet) connected(ended time.Time) {
	if ended.IsZero() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reconnects[ended.Unix()]++
	f.longest = max(f.longest, time.Since(ended))
}
