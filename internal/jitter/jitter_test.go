package jitter_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/internal/jitter"
)

// drawn returns what is drawn in each second of some simulated minutes.
func drawn(t *testing.T) (all []time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		for range 200 {
			time.Sleep(time.Second)
			all = append(all, jitter.N(time.Minute))
		}
	})
	return all
}

func TestJitterIsWithinItsLimit(t *testing.T) {
	for _, repeated := range []bool{false, true} {
		if repeated {
			defer jitter.FromClock()()
		}
		var sum time.Duration
		for _, d := range drawn(t) {
			assert.GreaterOrEqual(t, d, time.Duration(0))
			assert.Less(t, d, time.Minute)
			sum += d
		}
		assert.InDelta(t, 30, (sum / 200).Seconds(), 10, "the mean")
		assert.Equal(t, time.Duration(0), jitter.N(1))
	}
}

func TestJitterDiffersFromRunToRunUnlessItIsTakenFromTheClock(t *testing.T) {
	assert.NotEqual(t, drawn(t), drawn(t))
	restore := jitter.FromClock()
	assert.Equal(t, drawn(t), drawn(t))
	restore()
	assert.NotEqual(t, drawn(t), drawn(t))
}
