// Package expiry expires items by the wall clock, even if it jumps, with one
// timer for all of them.
package expiry

import (
	"container/heap"
	"math"
	"time"
)

const (
	// clockJump is the smallest difference between the wall clock and the
	// monotonic clock that counts as a jump.
	clockJump = 100 * time.Millisecond

	// maxLeft keeps times in the queue from overflowing; no process runs that
	// long.
	maxLeft = 100 * 365 * 24 * time.Hour
)

// Item is what a [Queue] holds: a pointer to a struct that embeds [Entry].
type Item interface {
	comparable

	// ExpiresAt is the wall clock time at which the item expires. It does not
	// change.
	ExpiresAt() time.Time

	entry() *Entry
}

// Entry is the queue's part of an [Item]. The zero Entry is in no queue.
type Entry struct {
	at    time.Duration // monotonic time of expiry, counted from the queue's epoch
	early uint32        // milliseconds before ExpiresAt
	place int32         // in the queue, from 1; 0 means it is in none
}

// The methods of an embedded Entry make an [Item].
//
//lint:ignore U1000 the constraint Item uses it
func (e *Entry) entry() *Entry { return e }

// Queue holds items until they expire: by the wall clock, or by the monotonic time
// since they were added, whichever comes first. Setting the clock back prolongs
// no item.
//
// A Queue is not safe for concurrent use: its owner holds a lock in each call.
type Queue[I Item] struct {
	clock    func() time.Time
	interval time.Duration
	wake     func()

	epoch   time.Time     // start of the monotonic times below
	wall    time.Time     // the wall clock at epoch, without a monotonic reading
	drifted time.Duration // the least that the wall clock was ahead when times of items were set

	items itemHeap[I]
	timer *time.Timer   // nil until the first item
	due   time.Duration // when the timer fires
}

// New returns an empty queue that goes by a wall clock. It calls wake when an item
// may have expired, and at intervals while there are items, to notice when the
// clock jumps. It does so on a new goroutine and without the owner's lock. wake
// calls [Queue.Expired] and then [Queue.Arm].
func New[I Item](clock func() time.Time, interval time.Duration, wake func()) *Queue[I] {
	return &Queue[I]{clock: clock, interval: interval, wake: wake, epoch: time.Now(), wall: clock().Round(0)}
}

// Left returns the time until ExpiresAt by the wall clock, at most a hundred years.
func (q *Queue[I]) Left(item I) time.Duration {
	// Round strips the monotonic reading, so that wall clock times are compared.
	return min(item.ExpiresAt().Sub(q.clock().Round(0)), maxLeft)
}

// Add adds an item that expires early by the given time.
func (q *Queue[I]) Add(item I, early time.Duration) {
	now := q.monotonic()
	e := item.entry()
	e.early = uint32(early.Milliseconds())
	e.at = now + q.Left(item) - e.jitter()
	heap.Push(&q.items, item)
	// If the clock was set back, a later check sees it set right again.
	q.drifted = min(q.drifted, q.ahead(now))
	q.arm(now)
}

func (e *Entry) jitter() time.Duration { return time.Duration(e.early) * time.Millisecond }

// Remove removes an item, and reports whether it was in the queue.
func (q *Queue[I]) Remove(item I) bool {
	e := item.entry()
	if e.place == 0 {
		return false
	}
	heap.Remove(&q.items, int(e.place)-1)
	e.place = 0
	return true
}

// Expired removes and returns the items that have expired.
func (q *Queue[I]) Expired() []I {
	now := q.monotonic()
	ahead := q.ahead(now)
	if ahead > q.drifted+clockJump {
		// After a jump forward, items expire earlier. After a jump back the times
		// stay, so that no item lives longer.
		for _, item := range q.items {
			e := item.entry()
			e.at = min(e.at, now+q.Left(item)-e.jitter())
		}
		heap.Init(&q.items)
		q.drifted = ahead
	}
	var expired []I
	for len(q.items) > 0 && q.items[0].entry().at <= now {
		item := q.items[0]
		q.Remove(item)
		expired = append(expired, item)
	}
	return expired
}

// Arm sets the timer again after it has fired.
func (q *Queue[I]) Arm() {
	q.due = math.MaxInt64
	q.arm(q.monotonic())
}

// Clear removes and returns all items, and stops the timer.
func (q *Queue[I]) Clear() []I {
	all := q.items
	q.items = nil
	for _, item := range all {
		item.entry().place = 0
	}
	if q.timer != nil {
		q.timer.Stop()
		q.due = math.MaxInt64
	}
	return all
}

func (q *Queue[I]) monotonic() time.Duration { return time.Since(q.epoch) }

// ahead returns by how much the wall clock has moved further than the monotonic
// clock since epoch.
func (q *Queue[I]) ahead(now time.Duration) time.Duration {
	return q.clock().Sub(q.wall) - now
}

// arm sets the timer for the next expiry or the next check of the clock, whichever
// comes first.
func (q *Queue[I]) arm(now time.Duration) {
	if len(q.items) == 0 {
		return // the timer may fire once more and find no item
	}
	due := min(q.items[0].entry().at, now+q.interval)
	switch {
	case q.timer == nil:
		q.timer = time.AfterFunc(due-now, q.wake)
	case due < q.due:
		q.timer.Reset(due - now)
	default:
		return
	}
	q.due = due
}

// itemHeap is ordered by expiry.
type itemHeap[I Item] []I

func (h itemHeap[I]) Len() int           { return len(h) }
func (h itemHeap[I]) Less(i, j int) bool { return h[i].entry().at < h[j].entry().at }
func (h itemHeap[I]) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].entry().place, h[j].entry().place = int32(i)+1, int32(j)+1
}

func (h *itemHeap[I]) Push(x any) {
	item := x.(I)
	*h = append(*h, item)
	item.entry().place = int32(len(*h))
}

func (h *itemHeap[I]) Pop() any {
	last := len(*h) - 1
	item := (*h)[last]
	var none I
	(*h)[last] = none
	*h = (*h)[:last]
	return item
}
