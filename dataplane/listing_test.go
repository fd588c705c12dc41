package dataplane_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/internal/test/storetest"
)

func TestSessionsListEachThatStaysOpenOnceWhateverBeginsAndEndsMeanwhile(t *testing.T) {
	for range storetest.Repeat(10, 200) {
		seed := rand.Uint64()
		t.Run(fmt.Sprintf("seed %#x", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				draw := rand.New(rand.NewPCG(seed, 0))
				f := newFollowing(t).start()
				putKey(t, f.store.Memory, "other", 1, testKey(1))
				raw := issue(t, f.issuer, "other", time.Hour)
				other, err := f.validator.Validate(t.Context(), "other", raw)
				require.NoError(t, err)
				ids := idsOf(t, manyTokens())
				var open []string // in the order in which they began
				stops, fresh := map[string]context.CancelFunc{}, ids
				begin := func(n int) {
					for range min(n, len(fresh)) {
						_, stops[fresh[0]] = f.verified(manyTokens()[len(ids)-len(fresh)]).Bind(t.Context())
						open, fresh = append(open, fresh[0]), fresh[1:]
					}
				}
				end := func(from, to int) {
					from, to = max(from, 0), min(to, len(open))
					for _, id := range open[from:max(from, to)] {
						stops[id]()
					}
					open = append(open[:from:from], open[max(from, to):]...)
				}
				begin(300 + draw.IntN(500))
				end(100, 100+draw.IntN(50))
				_, stopOther := other.Bind(t.Context())
				defer stopOther()

				initially := map[string]bool{}
				for _, id := range open {
					initially[id] = true
				}
				before := ids[:len(ids)-len(fresh)] // began before the listing
				often := 1 + draw.IntN(50)
				listed := map[string]int{}
				for session := range f.validator.Sessions() {
					id := session.Registered().ID
					listed[id]++
					if draw.IntN(often) > 0 || session.Claims().Mesh == "other" {
						continue
					}
					// Newer sessions are listed first: the next ones begin before this one.
					at := len(open) - len(listed)
					switch draw.IntN(4) {
					case 0:
						begin(draw.IntN(20))
					case 1:
						end(at-draw.IntN(300), at)
					case 2:
						end(at, at+draw.IntN(300))
					default:
						at = draw.IntN(len(open) + 1)
						end(at, at+1)
					}
				}
				for _, times := range listed {
					assert.Equal(t, 1, times)
				}
				for _, id := range before {
					assert.True(t, initially[id] || listed[id] == 0, "it ended before")
				}
				for _, id := range open {
					if initially[id] {
						assert.Equal(t, 1, listed[id], "it was open all the time")
					}
				}
				assert.Equal(t, 1, listed[other.Registered().ID])

				for _, stop := range stops {
					stop()
				}
				stopOther()
				for range f.validator.Sessions() {
					t.Fatal("no session is open")
				}
			})
		})
	}
}

func TestSessionsAreListedWhileTheCallerBindsStopsAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		for _, raw := range manyTokens()[:600] {
			f.session(raw)
		}
		sessions := f.validator.Sessions()
		for session := range sessions {
			assert.Equal(t, "default", session.Claims().Mesh)
			assert.Equal(t, "1", session.KeyID())
			_, stop := session.Bind(t.Context()) // would wait for ever for a lock of the listing
			stop()
			break
		}
		n := 0
		for range sessions {
			n++
		}
		assert.Equal(t, 600, n)
		n = 0
		for range sessions {
			if n++; n == 1 {
				require.NoError(t, f.validator.Close())
			}
		}
		assert.Equal(t, 256, n, "those that were copied already")
		for range sessions {
			t.Fatal("a closed validator has no session")
		}
	})
}

func TestAListingOfSessionsMayEndAtAnyOfThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "default", 2, testKey(1))
		f.start()
		for _, raw := range []string{f.withSerial("1", 0), f.withSerial("2", 1)} {
			f.session(raw)
			f.session(raw)
		}
		for last := 1; last <= 4; last++ {
			n := 0
			for range f.validator.Sessions() {
				if n++; n == last {
					break
				}
			}
			assert.Equal(t, last, n)
		}
	})
}

func TestAListingGoesOnWhenTheSessionThatIsNextHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		verified := f.start().verified(f.issue(time.Hour))
		var stops []context.CancelFunc
		for range 300 {
			_, stop := verified.Bind(t.Context())
			defer stop()
			stops = append(stops, stop)
		}
		n := 0
		for range f.validator.Sessions() {
			if n++; n == 1 {
				stops[300-257]() // the newest come first, and 256 of them are copied
			}
		}
		assert.Equal(t, 299, n)
	})
}

func TestListingsLeaveNothingBehind(t *testing.T) {
	validator, verified := liveSessions(t)
	_, stop := verified.Bind(t.Context())
	defer stop()
	heap := hostileHeap()
	for range 100_000 {
		for range validator.Sessions() {
			break
		}
	}
	assert.Less(t, hostileHeap()-heap, int64(1<<20), "10 bytes a listing at most")
}

// BenchmarkListSessions lists 100,000 sessions of one key.
func BenchmarkListSessions(b *testing.B) {
	const sessions = 100_000
	validator, verified := liveSessions(b)
	for range sessions {
		_, stop := verified.Bind(b.Context())
		b.Cleanup(stop)
	}
	for b.Loop() {
		n := 0
		for range validator.Sessions() {
			n++
		}
		require.Equal(b, sessions, n)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/sessions, "ns/session")
}
