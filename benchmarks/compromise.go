package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
)

// The operator's commands.
const (
	removeKey     = "the key is removed"
	cutOff        = "a cutoff is set"
	deleteAccount = "the service account is deleted" // for tokenReview
)

// patience is how long a benchmark waits for what must come. Nothing is measured with it.
const patience = 10 * time.Minute

// plan says how a compromise is played.
type plan struct {
	proxies  int
	replicas int

	// A new configuration is published once no bad stream is open, and this long after the
	// command at the latest.
	publish time.Duration
	watch   time.Duration // after that it ends when nothing has happened for so long, but for refusals
}

// Compromise is how one control plane obeyed one command. Streams are bad from the
// command on if their token is.
type Compromise struct {
	Server, Store, Command string
	Replicas, Proxies      int

	Bad, Good   int     // streams, when the command was given
	ReturnedMS  float64 // until the command returned
	BadSeconds  float64 // for which bad streams were open, in all, until the benchmark ended
	LastBadMS   float64 // until the last bad stream had ended; 0 if some never did
	StillOpen   int     // bad streams, at the end
	Reopened    int     // streams that opened with a bad token after the command
	PublishedMS float64 // until the next configuration was published
	BadUpdated  int     // bad streams that received it
	GoodLost    int     // good streams that ended
	GoodRefused int     // attempts with a good token that failed
	GoodWithout int     // proxies with a good token that did not receive the next configuration
	Back        int     // proxies that had to open a stream again with their replacement
	BackP50MS   float64 // until they had configuration again
	BackP99MS   float64
	WatchedMS   float64 // until the benchmark ended
	Cost        Cost    // of all replicas, in that time
	Curve       []Point // how many bad streams were open
}

// Point is a number of bad streams from a moment on, in milliseconds after the command.
type Point struct {
	MS   float64
	Open int
}

// compromise lets proxies connect and the operator give a command. A quarter of the proxies
// uses replacement tokens already, another holds them for its next stream, and half of them
// have old tokens only.
func compromise(tb testing.TB, plan plan, server, storage, command string, issued func() tokens) Compromise {
	tb.Helper()
	config := Config{Server: server, Address: "127.0.0.1:0"}
	var raws tokens
	var operate func(ctx context.Context) error
	if server == tokenReview {
		config.Kubernetes = newKubernetes(tb)
		raws = config.Kubernetes.issueTokens(tb, plan.proxies)
		operate = config.Kubernetes.deletion(tb)
	} else {
		raws = issued()
		config.Storage = newStorage(tb, storage)
		store, stop, err := config.Storage.open(tb.Context())
		require.NoError(tb, err)
		tb.Cleanup(stop)
		createKeys(tb, store)
		operate = operation(store, command, raws)
	}
	certificate, err := newCertificate()
	require.NoError(tb, err)
	config.Certificate = certificate
	var all replicas
	for range plan.replicas {
		all = append(all, startReplica(tb, config))
	}
	hasReplacement := func(proxy int) bool { return proxy%4 < 2 }
	f, proxies, err := newFleet(plan.proxies, all, certificate, func(p *proxy) {
		switch p.number % 4 {
		case 0:
			p.raw = raws.replacement[p.number]
		case 1:
			p.raw, p.old, p.next = raws.old[p.number], true, raws.replacement[p.number]
		default:
			p.raw, p.old = raws.old[p.number], true
		}
	})
	require.NoError(tb, err)
	f.start(context.Background(), proxies)
	defer f.stop()
	f.allOpen(tb, plan.proxies)

	all.begin(tb)
	w := watch{result: Compromise{Server: server, Store: storage, Command: command, Replicas: plan.replicas, Proxies: plan.proxies},
		began: time.Now(), openSince: map[int]time.Time{}, current: map[int]bool{}}
	for i := range plan.proxies {
		if proxies[i].number%4 == 0 {
			w.result.Good++
			continue
		}
		w.openSince[i] = w.began
	}
	w.result.Bad = len(w.openSince)
	w.point(w.began)
	returned := make(chan error, 1)
	go func() { returned <- operate(tb.Context()) }()
	publish, end := time.After(plan.publish), make(<-chan time.Time)
	obeyed, published := false, false
	for done := false; !done; {
		select {
		case err := <-returned:
			require.NoError(tb, err)
			w.result.ReturnedMS = w.since(time.Now())
			obeyed = true
		case <-publish:
			publish = nil
		case e := <-f.events:
			w.note(e)
			if published && e.what != refused {
				end = time.After(plan.watch)
			}
		case <-end:
			done = true
		}
		if !published && obeyed && (publish == nil || len(w.openSince) == 0) {
			w.result.PublishedMS = w.since(time.Now())
			all.publish(tb, nextVersion)
			published, end = true, time.After(plan.watch)
		}
	}
	finished := time.Now()
	w.result.Cost = all.end(tb)
	w.finish(finished)
	for i := range plan.proxies {
		if hasReplacement(i) && !w.current[i] {
			w.result.GoodWithout++
		}
	}
	return w.result
}

// mustHold fails unless what Meshpass promises holds. It holds no other server to that.
func (c Compromise) mustHold(tb testing.TB) {
	if c.Server != meshpass {
		return
	}
	tb.Helper()
	require.Zero(tb, c.StillOpen, "bad streams at the end")
	require.Zero(tb, c.Reopened, "streams that opened with a bad token")
	require.Zero(tb, c.BadUpdated, "bad streams with the next configuration")
	require.Zero(tb, c.GoodLost, "good streams that ended")
	require.Zero(tb, c.GoodRefused, "refusals of a good token")
	require.Zero(tb, c.GoodWithout, "proxies with a good token and without the next configuration")
}

const nextVersion = "2"

// operation is a command of the operator.
func operation(store keystore.KeyStore, command string, raws tokens) func(ctx context.Context) error {
	return func(ctx context.Context) error {
		if command == cutOff {
			_, err := dataplane.CutOff(ctx, store, mesh, dataplane.Cutoff{Before: raws.before})
			return err
		}
		return dataplane.RemoveKey(ctx, store, mesh, compromised)
	}
}

// allOpen waits until n proxies have their first configuration, and returns how long each took.
func (f *fleet) allOpen(tb testing.TB, n int) (took []time.Duration) {
	tb.Helper()
	timeout := time.After(patience)
	for len(took) < n {
		select {
		case e := <-f.events:
			require.Equal(tb, opened, e.what, "the stream of proxy %d: %s", e.proxy, e.code)
			took = append(took, e.took)
		case <-timeout:
			require.FailNow(tb, "not all proxies have configuration", "%d of %d", len(took), n)
		}
	}
	return took
}

// watch makes a result of events.
type watch struct {
	result    Compromise
	began     time.Time         // the command
	openSince map[int]time.Time // bad streams, by proxy
	current   map[int]bool      // proxies that have the next configuration
	back      []time.Duration
	lastBad   time.Time
}

func (w *watch) since(at time.Time) float64 { return milliseconds(at.Sub(w.began)) }

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func (w *watch) note(e event) {
	if e.version == nextVersion {
		w.current[e.proxy] = true
		if e.old {
			w.result.BadUpdated++
		}
	}
	switch {
	case e.what == ended && e.old:
		w.close(e.proxy, e.at)
		w.lastBad = e.at
		w.point(e.at)
	case e.what == ended:
		w.result.GoodLost++
	case e.what == opened && e.old:
		w.result.Reopened++
		w.openSince[e.proxy] = e.at
		w.point(e.at)
	case e.what == opened:
		w.back = append(w.back, e.at.Sub(w.began))
	case e.what == refused && !e.old:
		w.result.GoodRefused++
	}
}

func (w *watch) close(proxy int, at time.Time) {
	w.result.BadSeconds += at.Sub(w.openSince[proxy]).Seconds()
	delete(w.openSince, proxy)
}

// point adds to the curve. Events whose moments differ by less than one per cent or a tenth of
// a millisecond share a point, which a logarithmic axis does not show.
func (w *watch) point(at time.Time) {
	p := Point{MS: float64(at.Sub(w.began).Round(100*time.Microsecond)) / float64(time.Millisecond), Open: len(w.openSince)}
	if last := len(w.result.Curve) - 1; last >= 0 && 1.01*w.result.Curve[last].MS >= p.MS {
		w.result.Curve[last].Open = p.Open
		return
	}
	w.result.Curve = append(w.result.Curve, p)
}

func (w *watch) finish(at time.Time) {
	r := &w.result
	r.WatchedMS = w.since(at)
	r.StillOpen = len(w.openSince)
	if r.StillOpen == 0 {
		r.LastBadMS = w.since(w.lastBad)
	} else {
		w.point(at)
	}
	for proxy := range w.openSince {
		w.close(proxy, at)
	}
	r.Back = len(w.back)
	r.BackP50MS, r.BackP99MS = percentile(w.back, 50), percentile(w.back, 99)
}
