package xdsauth_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
)

// fleet is ten proxies with a stream each.
func (z *zoneCP) fleet(v variant) (tokens []string, proxies []proxy) {
	for i := range 10 {
		raw := z.issue(token.Dataplane{Name: fmt.Sprintf("dp-%d", i)}, time.Hour)
		tokens = append(tokens, raw)
		proxies = append(proxies, z.welcome(v, raw, node(fmt.Sprintf("default.dp-%d", i), nil)))
	}
	return tokens, proxies
}

// outage makes reads fail, and returns when some have.
func (z *zoneCP) outage() {
	z.store.down.Store(true)
	z.revoke(z.issue(token.Dataplane{}, time.Hour)) // a change to be read, which fails
	require.Eventually(z.tb, func() bool { return z.store.failed.Load() >= 3 }, patience, time.Millisecond)
}

func TestStreamsOutliveAShortOutageOfTheStore(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		z := newZoneCP(t, dataplane.WithMaxStale(time.Minute), dataplane.WithSessionMaxStale(time.Minute))
		z.serve()
		_, proxies := z.fleet(v)
		z.outage()
		z.store.down.Store(false)
		z.publish("2")
		for _, p := range proxies {
			cluster, err := p.receive()
			require.NoError(t, err, "nothing ends")
			assert.Equal(t, "version-2", cluster)
		}
	})
}

func TestStreamsComeBackAfterALongOutageOfTheStore(t *testing.T) {
	inBoth(t, func(t *testing.T, v variant) {
		const limit = 3 * time.Second
		z := newZoneCP(t, dataplane.WithMaxStale(limit), dataplane.WithSessionMaxStale(limit))
		z.serve()
		tokens, proxies := z.fleet(v)
		z.outage()
		for _, p := range proxies {
			assert.Equal(t, codes.Unavailable, endOf(p).Code())
		}

		z.store.down.Store(false)
		require.Eventually(t, func() bool { // the store is read again
			_, err := z.validator.Validate(t.Context(), "default", tokens[0])
			return err == nil
		}, patience, 10*time.Millisecond)
		for i, raw := range tokens {
			z.welcome(v, raw, node(fmt.Sprintf("default.dp-%d", i), nil))
		}
	})
}

func TestAClockThatJumpsKeepsNoStreamBeyondItsExpiry(t *testing.T) {
	for name, jump := range map[string]time.Duration{"an hour forward": time.Hour, "an hour back": -time.Hour} {
		t.Run(name, func(t *testing.T) {
			inBoth(t, func(t *testing.T, v variant) {
				var offset atomic.Int64
				z := newZoneCP(t, dataplane.WithClock(func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }))
				z.serve()
				z.welcome(v, z.issue(token.Dataplane{}, time.Hour), node("default.dp-2", nil)) // there is a connection
				validFor := 30 * time.Minute                                                   // ends at once by a clock that is an hour ahead
				if jump < 0 {
					validFor = 3 * time.Second // ends by the time that passes, whatever the clock says
				}
				p := z.welcome(v, z.issue(token.Dataplane{Name: "dp-1"}, validFor), node("default.dp-1", nil))
				offset.Store(int64(jump))
				assert.Equal(t, codes.Unauthenticated, endOf(p).Code())
			})
		})
	}
}
