package renewal_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/renewal"
	"github.com/meshpass/meshpass/token"
)

// The jitter of sessions is a minute at most. So proxies whose first tokens expire in the
// same second are spread over one minute, a sixtieth of them each second. Later tokens were
// renewed at random moments.
func TestProxiesWithTokensOfAnHourReconnectOneAfterTheOtherAndNoneIsRefused(t *testing.T) {
	for _, start := range []struct {
		within      time.Duration // the first tokens are issued
		first, then float64       // the share of the proxies that may reconnect in a second, until 90 minutes and after
	}{
		{3 * time.Minute, 0.01, 0.005},
		{0, 0.025, 0.005},
	} {
		t.Run(fmt.Sprint("issued within ", start.within), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFleet(t, storetest.Repeat(250, 10_000))
				f.run(start.within, 2*time.Hour+15*time.Minute)
				n := len(f.proxies)
				assert.Empty(t, f.problems)
				assert.GreaterOrEqual(t, f.renewals, 3*n)
				assert.LessOrEqual(t, f.renewals, 4*n)
				require.GreaterOrEqual(t, len(f.reconnects), 2*n, "each proxy lost two sessions to their tokens' expiry")

				slices.SortFunc(f.reconnects, time.Time.Compare)
				half, _ := slices.BinarySearchFunc(f.reconnects, f.began.Add(80*time.Minute), time.Time.Compare)
				require.Equal(t, n, half, "reconnects at the expiry of the first token")
				first, then := f.most(f.reconnects[:half]), f.most(f.reconnects[half:])
				t.Logf("%d proxies, %d renewals, %d reconnects; at most %.2f %% a second at first, %.2f %% then",
					n, f.renewals, len(f.reconnects), 100*first, 100*then)
				assert.LessOrEqual(t, first, start.first)
				assert.LessOrEqual(t, then, start.then)
			})
		})
	}
}

// fleet is proxies with an issuer and a validator, in a bubble of package synctest.
type fleet struct {
	t         *testing.T
	issuer    dataplane.Issuer
	validator dataplane.Validator
	proxies   []string // their token files
	began     time.Time

	mu         sync.Mutex
	renewals   int
	reconnects []time.Time
	problems   []string
}

func newFleet(t *testing.T, n int) *fleet {
	f := &fleet{t: t, began: time.Now()}
	store := keystore.NewMemory()
	_, err := dataplane.EnsureKey(t.Context(), store, "default")
	require.NoError(t, err)
	quiet := slog.New(slog.DiscardHandler)
	f.issuer, err = dataplane.NewIssuer(store, dataplane.WithLogger(quiet), dataplane.WithMaxLineage(24*time.Hour))
	require.NoError(t, err)
	f.validator, err = dataplane.NewValidator(store, dataplane.WithLogger(quiet), dataplane.WithSessionJitter(time.Minute),
		dataplane.WithForkHandler(func(_ context.Context, fork dataplane.Fork) { f.problem("a fork: %s", fork.Verified.Registered().ID) }))
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, f.validator.Close()) })
	folder := t.TempDir()
	for i := range n {
		path := filepath.Join(folder, fmt.Sprint(i), "token")
		require.NoError(t, os.Mkdir(filepath.Dir(path), 0o700))
		f.proxies = append(f.proxies, path)
	}
	return f
}

func (f *fleet) problem(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.problems = append(f.problems, fmt.Sprintf(format, args...))
}

// run issues the first tokens within a time, and runs the proxies until another has passed.
func (f *fleet) run(within, d time.Duration) {
	const poll = time.Minute // 10,000 files are read often
	ctx, cancel := context.WithTimeout(f.t.Context(), d)
	defer cancel()
	var running sync.WaitGroup
	defer running.Wait()
	for i, path := range f.proxies {
		keeper, err := renewal.NewKeeper(path, f.renew, renewal.WithPoll(poll), renewal.WithLogger(slog.New(slog.DiscardHandler)))
		require.NoError(f.t, err)
		running.Go(func() {
			time.Sleep(within * time.Duration(i) / time.Duration(len(f.proxies)))
			issued, err := f.issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: fmt.Sprint("dp-", i)}, time.Hour)
			if err == nil {
				err = os.WriteFile(path, []byte(issued.Token), 0o600)
			}
			if err != nil {
				f.problem("not issued: %v", err)
				return
			}
			running.Go(func() { f.stayConnected(ctx, path) })
			time.Sleep(rand.N(poll)) // so that the tokens are not renewed at whole minutes
			if err := keeper.Run(ctx); ctx.Err() == nil {
				f.problem("the Keeper ended: %v", err)
			}
		})
	}
}

func (f *fleet) renew(ctx context.Context, raw string) (token.Issued, error) {
	verified, err := f.validator.Validate(ctx, "default", raw)
	if err != nil {
		f.problem("not renewed: %v", err)
		return token.Issued{}, err
	}
	issued, err := f.issuer.Renew(ctx, verified, time.Hour)
	if err != nil {
		f.problem("not renewed: %v", err)
		return token.Issued{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.renewals++
	return issued, nil
}

// stayConnected opens a session with the token in the file, and another when it ends.
func (f *fleet) stayConnected(ctx context.Context, path string) {
	var ended time.Time
	for {
		raw, err := os.ReadFile(path)
		if err != nil {
			f.problem("%v", err)
			return
		}
		verified, err := f.validator.Validate(ctx, "default", string(raw))
		if err != nil {
			f.problem("refused: %v", err)
			return
		}
		session, stop := verified.Bind(ctx)
		if err := session.Err(); err != nil && ctx.Err() == nil {
			f.problem("ended at once: %v", context.Cause(session))
		}
		if now := time.Now(); !ended.IsZero() {
			if now.Sub(ended) >= time.Second {
				f.problem("away for %s", now.Sub(ended))
			}
			if left := verified.Registered().ExpiresAt.Sub(now); left < 15*time.Minute {
				f.problem("back with a token for %s", left)
			}
			f.mu.Lock()
			f.reconnects = append(f.reconnects, now)
			f.mu.Unlock()
		}
		<-session.Done()
		stop()
		if ctx.Err() != nil {
			return
		}
		ended = time.Now()
	}
}

// most returns the largest share of the proxies that reconnect in a second. Of 10,000, a
// hundred are one per cent. Where there are fewer it looks at longer times, in which a
// hundred are as many a second, so that chance counts as much.
func (f *fleet) most(sorted []time.Time) float64 {
	seconds := 10_000 / float64(len(f.proxies))
	length := time.Duration(seconds * float64(time.Second))
	most, from := 0, 0
	for i, at := range sorted {
		for at.Sub(sorted[from]) >= length {
			from++
		}
		most = max(most, i-from+1)
	}
	return float64(most) / seconds / float64(len(f.proxies))
}
