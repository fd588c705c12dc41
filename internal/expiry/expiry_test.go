package expiry_test

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/internal/expiry"
)

// ticket is an item.
type ticket struct {
	expiry.Entry
	until time.Time
}

func (t *ticket) ExpiresAt() time.Time { return t.until }

// box holds tickets, and records when each ended.
type box struct {
	mu      sync.Mutex
	queue   *expiry.Queue[*ticket]
	offset  time.Duration // of the wall clock
	ended   map[*ticket]time.Duration
	woken   int
	started time.Time
}

func newBox() *box {
	b := &box{ended: map[*ticket]time.Duration{}, started: time.Now()}
	b.queue = expiry.New[*ticket](b.now, time.Second, b.wake)
	return b
}

func (b *box) now() time.Time { return time.Now().Add(b.offset) }

func (b *box) wake() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.woken++
	for _, t := range b.queue.Expired() {
		b.ended[t] = time.Since(b.started)
	}
	b.queue.Arm()
}

func (b *box) add(left, early time.Duration) *ticket {
	b.mu.Lock()
	defer b.mu.Unlock()
	t := &ticket{until: b.now().Add(left)}
	b.queue.Add(t, early)
	return t
}

func (b *box) remove(t *ticket) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.queue.Remove(t)
}

func (b *box) setClock(ahead time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.offset = ahead
}

// end returns when a ticket ended, counted from the start, or 0.
func (b *box) end(t *ticket) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ended[t]
}

func TestQueueEndsEachItemAtItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		var all []*ticket
		for range 500 {
			all = append(all, b.add(rand.N(time.Minute)+time.Nanosecond, 0))
		}
		removed := map[*ticket]bool{}
		for _, at := range rand.Perm(len(all))[:100] {
			assert.True(t, b.remove(all[at]))
			assert.False(t, b.remove(all[at]), "it is gone already")
			removed[all[at]] = true
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, one := range all {
			if removed[one] {
				assert.Zero(t, b.end(one))
			} else {
				assert.Equal(t, one.until.Sub(b.started), b.end(one))
			}
		}
	})
}

func TestQueueMayBeginLongAfterItWasMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		time.Sleep(time.Hour)
		long := b.add(time.Minute, 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, time.Hour+time.Minute, b.end(long))
		later, sooner, past := b.add(time.Minute, 0), b.add(time.Second/2, 0), b.add(-time.Minute, 0)
		synctest.Wait()
		assert.Equal(t, time.Hour+time.Minute, b.end(past), "at once")
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, time.Hour+time.Minute+time.Second/2, b.end(sooner))
		assert.Equal(t, time.Hour+2*time.Minute, b.end(later))
	})
}

func TestTheTimeLeftIsAHundredYearsAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const century = 100 * 365 * 24 * time.Hour
		b := newBox()
		for left, want := range map[time.Duration]time.Duration{
			-time.Hour: -time.Hour, 1: 1, century - 1: century - 1, century: century, century + 1: century, 2 * century: century, 1<<63 - 1: century,
		} {
			assert.Equal(t, want, b.queue.Left(&ticket{until: b.now().Add(left)}))
		}
	})
}

func TestQueueKeepsNothingInMemoryThatHasLeftIt(t *testing.T) {
	b := newBox()
	stays := b.add(time.Hour, 0)
	removed := weak.Make(b.add(time.Minute, 0))
	assert.True(t, b.remove(removed.Value()))
	runtime.GC()
	assert.Nil(t, removed.Value())
	assert.True(t, b.remove(stays))
}

func TestQueueEndsAnItemEarlyByItsJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		one := b.add(time.Minute, 10*time.Second)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, 50*time.Second, b.end(one))
	})
}

func TestQueueFollowsAWallClockThatJumpsAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		soon, later := b.add(time.Hour, 0), b.add(3*time.Hour, 0)
		time.Sleep(time.Minute)
		b.setClock(2 * time.Hour)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.InDelta(t, time.Minute, b.end(soon), float64(time.Second))
		assert.Zero(t, b.end(later))
		time.Sleep(time.Hour)
		synctest.Wait()
		assert.Equal(t, time.Hour, b.end(later))
	})
}

func TestQueueFollowsAWallClockFromAJumpOfMoreThanATenthOfASecond(t *testing.T) {
	const jump = 100 * time.Millisecond
	for _, before := range []time.Duration{0, time.Hour} { // by how much it has jumped already
		for ahead, early := range map[time.Duration]time.Duration{jump: 0, jump + time.Nanosecond: jump + time.Nanosecond} {
			synctest.Test(t, func(t *testing.T) {
				b := newBox()
				one := b.add(3*time.Hour, 0)
				b.setClock(before)
				time.Sleep(time.Minute)
				b.setClock(before + ahead)
				time.Sleep(3 * time.Hour)
				synctest.Wait()
				assert.Equal(t, 3*time.Hour-before-early, b.end(one))
			})
		}
	}
}

func TestQueueEndsAnItemEarlyByItsJitterAlsoAfterAJumpAhead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		one := b.add(3*time.Hour, 10*time.Minute)
		time.Sleep(time.Minute)
		b.setClock(time.Hour)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		assert.Equal(t, 3*time.Hour-time.Hour-10*time.Minute, b.end(one))
	})
}

func TestQueueNoticesAJumpAheadHoweverOftenItemsAreAdded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		one := b.add(time.Hour, 0)
		b.setClock(2 * time.Hour)
		for range 10 {
			time.Sleep(time.Second / 2)
			b.add(24*time.Hour, 0)
		}
		synctest.Wait()
		assert.Equal(t, time.Second, b.end(one))
	})
}

func TestQueueEndsItemsInTheOrderOfAWallClockThatIsPutRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		hour, half := b.add(time.Hour, 0), &ticket{until: b.now().Add(time.Hour / 2)}
		b.setClock(-2 * time.Hour)
		b.mu.Lock()
		b.queue.Add(half, 0)
		b.mu.Unlock()
		time.Sleep(time.Minute)
		b.setClock(0)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		assert.Equal(t, time.Hour/2, b.end(half))
		assert.Equal(t, time.Hour, b.end(hour))
	})
}

func TestQueueProlongsNothingWhenTheWallClockIsSetBack(t *testing.T) {
	for name, back := range map[string]time.Duration{"for good": time.Hour, "for a moment": time.Second / 2} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBox()
				one := b.add(time.Minute, 0)
				time.Sleep(time.Second)
				b.setClock(-24 * time.Hour)
				time.Sleep(back)
				b.setClock(0)
				time.Sleep(2 * time.Hour)
				synctest.Wait()
				assert.Equal(t, time.Minute, b.end(one))
			})
		})
	}
}

func TestQueueProlongsNothingWhenAWallClockThatWasSetBackIsPutForwardInPart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		one := b.add(time.Hour, 0)
		b.setClock(-2 * time.Hour)
		b.add(24*time.Hour, 0)
		time.Sleep(time.Minute)
		b.setClock(-time.Hour)
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		assert.Equal(t, time.Hour, b.end(one))
	})
}

func TestQueueFollowsAJumpAheadAlsoIfAnItemIsAddedRightAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		one := b.add(time.Hour, 0)
		time.Sleep(time.Minute + time.Second/2)
		b.setClock(2 * time.Hour)
		b.add(24*time.Hour, 0)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		assert.InDelta(t, time.Minute+time.Second/2, b.end(one), float64(time.Second))
	})
}

func TestQueueEndsInTimeWhatWasAddedWhileTheWallClockWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		b.add(24*time.Hour, 0) // so that the clock is looked at
		time.Sleep(time.Minute)
		until := b.now().Add(time.Minute)
		b.setClock(-time.Hour)
		b.mu.Lock()
		one := &ticket{until: until}
		b.queue.Add(one, 0)
		b.mu.Unlock()
		b.setClock(0)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		assert.InDelta(t, 2*time.Minute, b.end(one), float64(time.Second))
	})
}

func TestQueueThatIsClearedHasNothingLeftToEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox()
		one, two := b.add(time.Minute, 0), b.add(time.Hour, 0)
		b.mu.Lock()
		assert.ElementsMatch(t, []*ticket{one, two}, b.queue.Clear())
		b.mu.Unlock()
		assert.False(t, b.remove(one))
		assert.False(t, b.remove(two))
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		assert.Zero(t, b.end(one))
		assert.Zero(t, b.woken, "there is nothing to look after")
		three := b.add(time.Minute, 0)
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.NotZero(t, b.end(three), "a queue that was cleared works on")
	})
}
