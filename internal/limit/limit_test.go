package limit_test

import (
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/internal/limit"
	"github.com/meshpass/meshpass/internal/test/logtest"
)

func TestBucketAllowsABurstAndThenASteadyRate(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	b := limit.NewBucket(3, 2)
	allowed := func(tries int) (n int) {
		for range tries {
			if b.Allow(now) {
				n++
			}
		}
		return n
	}
	assert.Equal(t, 3, allowed(10))
	now = now.Add(time.Second)
	assert.Equal(t, 2, allowed(10))
	now = now.Add(time.Hour)
	assert.Equal(t, 3, allowed(10), "what was not used is not saved up")
}

func TestReporterLeavesOutAndCountsAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logtest.Buffer
		r := limit.NewReporter(log.Logger())
		described := 0
		for range 1000 {
			r.Report(t.Context(), slog.LevelInfo, "refused", func() []slog.Attr { described++; return nil })
		}
		assert.Equal(t, 10, log.Count("refused"))
		assert.Equal(t, 10, described, "what is left out is not described")
		time.Sleep(time.Second)
		r.Report(t.Context(), slog.LevelInfo, "refused", func() []slog.Attr { return []slog.Attr{slog.String("kid", "1")} })
		assert.Equal(t, 1, log.Count("refused", "kid=1", "left_out=990"))
		time.Sleep(time.Second)
		r.Report(t.Context(), slog.LevelInfo, "refused", func() []slog.Attr { return []slog.Attr{slog.String("kid", "2")} })
		assert.Equal(t, 1, log.Count("refused", "kid=2"))
		assert.Equal(t, 1, log.Count("left_out"))
	})
}

func TestGateLetsInAsManyAsItHasRoomFor(t *testing.T) {
	gate := limit.NewGate(2)
	first, ok := gate.Enter()
	assert.True(t, ok)
	_, ok = gate.Enter()
	assert.True(t, ok)
	for range 3 { // who is turned away takes no room
		_, ok = gate.Enter()
		assert.False(t, ok)
	}
	first()
	_, ok = gate.Enter()
	assert.True(t, ok)
}
