package simulation

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
)

// store is a model of a store that several replicas share. It keeps every state that it
// had, since what a replica reads may be old.
type store struct {
	seed   uint64
	began  time.Time
	faults []Fault
	made   func(name string)                // is called for each record that is created
	note   func(format string, args ...any) // of the trace, or nil

	mu      sync.Mutex
	states  []state // the last one is the present one
	version int
	watches map[*watch]bool
}

type place struct {
	scope keystore.Scope
	name  string
}

type state struct {
	since   time.Duration
	records map[place]keystore.Record
}

func newStore(plan Plan, made func(name string)) *store {
	return &store{seed: plan.Seed, began: time.Now(), faults: plan.Faults, made: made, states: []state{{}}, watches: map[*watch]bool{}}
}

func (s *store) now() time.Duration { return time.Since(s.began) }

// put replaces a record in a new state, or removes it if it is nil, and announces that. The
// caller holds mu.
func (s *store) put(at place, r *keystore.Record) {
	records := maps.Clone(s.states[len(s.states)-1].records)
	if records == nil {
		records = map[place]keystore.Record{}
	}
	delete(records, at)
	if r != nil {
		s.version++
		r.Version = strconv.Itoa(s.version)
		records[at] = r.Clone()
	}
	s.states = append(s.states, state{s.now(), records})
	for w := range s.watches {
		w.announce(at.scope)
	}
}

// present returns the records as they are, or as they were some time ago.
func (s *store) present(ago time.Duration) map[place]keystore.Record {
	at := len(s.states) - 1
	for at > 0 && s.states[at].since > s.now()-ago {
		at--
	}
	return s.states[at].records
}

// client is a replica's access to the store. It implements [keystore.KeyStore] and
// [keystore.Watcher].
type client struct {
	*store
	replica int
}

var errDown = errors.New("the store is down")

// fault returns the first of the faults of some kinds that is there now.
func (c *client) fault(kinds ...string) *Fault {
	now := Span(c.now())
	for i, f := range c.faults {
		if (f.Replica == c.replica || ofRecords(f.Kind)) && slices.Contains(kinds, f.Kind) && f.At <= now && now < f.At+f.For {
			return &c.faults[i]
		}
	}
	return nil
}

func ofRecords(kind string) bool {
	return kind == faultKey || kind == faultList || kind == faultCutoffs
}

// draw draws a number from 0 to below n that depends on nothing but the seed, the time and what is
// done, so that the order in which goroutines run does not matter.
func (c *client) draw(n int64, what ...any) int64 {
	h := fnv.New64a()
	fmt.Fprintln(h, c.seed, c.replica, c.now(), what)
	x := h.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	return int64(x>>1) % n
}

// delay draws a delay: from a hundredth of the longest on, short ones as likely as long ones.
func (c *client) delay(longest time.Duration, what ...any) time.Duration {
	return time.Duration(float64(longest) * math.Pow(100, float64(c.draw(1<<53, what...))/(1<<53)-1))
}

// wait sleeps until some time has passed or ctx has ended. That takes a moment to be noticed, so
// that the replica does not learn in the same moment that its call took too long, and that the call
// has returned.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		time.Sleep(time.Microsecond)
		return ctx.Err()
	case <-timer.C:
		return ctx.Err()
	}
}

// call makes a call of the store that does something at one moment.
func (c *client) call(ctx context.Context, op string, at place, writes bool, do func() error) (err error) {
	failed := func(err error) error { return keystore.Failed(op, at.scope, at.name, err) }
	if c.note != nil {
		began := c.now()
		defer func() { c.note("%d has called %s of %q since %s: %v", c.replica, op, at, began, err) }()
	}
	there, slow := c.delay(30*time.Millisecond, op, at), time.Duration(0)
	if c.fault(faultSlow) != nil {
		slow = 400*time.Millisecond + 80*there
		if c.draw(2, op, at, "slow") == 0 { // on the way there, and not back
			there, slow = slow, 0
		}
	}
	if err := wait(ctx, there); err != nil {
		return failed(err)
	}
	if f := c.fault(faultDown, faultHang, faultDeaf); f != nil {
		if writes && c.draw(2, "written") == 0 {
			c.mu.Lock()
			_ = do()
			c.mu.Unlock()
		}
		left := time.Duration(f.At+f.For) - c.now() + time.Duration(c.draw(int64(time.Millisecond), op))
		switch f.Kind {
		case faultHang:
			if err := wait(ctx, left); err != nil {
				return failed(err)
			}
		case faultDeaf:
			time.Sleep(left)
		}
		return failed(errDown)
	}
	c.mu.Lock()
	err = do()
	c.mu.Unlock()
	if gone := wait(ctx, slow+c.delay(200*time.Millisecond, op, at, "back")); gone != nil {
		return failed(gone)
	}
	return err
}

// unreadable reports whether a record cannot be read now.
func (c *client) unreadable(name string) bool {
	series := signing.DataplaneKeys(mesh)
	switch f := c.fault(faultKey); {
	case f != nil && name == series.KeyName(signing.Serial(f.Key)):
		return true
	case c.fault(faultList) != nil && name == revocation.Dataplane(mesh).Name:
		return true
	}
	return c.fault(faultCutoffs) != nil && name == revocation.DataplaneCutoffs(mesh).Name
}

// Get implements [keystore.KeyStore].
func (c *client) Get(ctx context.Context, scope keystore.Scope, name string) (r keystore.Record, err error) {
	at := place{scope, name}
	err = c.call(ctx, "get", at, false, func() error {
		found, ok := c.present(0)[at]
		switch {
		case !ok:
			return keystore.Failed("get", scope, name, keystore.ErrNotFound)
		case c.unreadable(name):
			return keystore.Failed("get", scope, name, keystore.ErrUnreadable)
		}
		r = found.Clone()
		return nil
	})
	if err != nil {
		return keystore.Record{}, err
	}
	return r, nil
}

// List implements [keystore.KeyStore].
func (c *client) List(ctx context.Context, scope keystore.Scope, prefix string) (list []keystore.Record, err error) {
	err = c.call(ctx, "list", place{scope, prefix}, false, func() error {
		ago := time.Duration(0)
		if f := c.fault(faultLag); f != nil {
			ago = time.Duration(f.Lag)
			keystore.NoteLag(ctx)
		}
		var unreadable []*keystore.Error
		for at, r := range c.present(ago) {
			switch {
			case scope != keystore.AllScopes && scope != at.scope || !strings.HasPrefix(at.name, prefix):
			case c.unreadable(at.name):
				unreadable = append(unreadable, &keystore.Error{Op: "read", Scope: at.scope, Name: at.name, Err: keystore.ErrUnreadable})
			default:
				list = append(list, r.Clone())
			}
		}
		slices.SortFunc(list, keystore.CompareRecords)
		slices.SortFunc(unreadable, func(a, b *keystore.Error) int {
			return keystore.CompareRecords(keystore.Record{Scope: a.Scope, Name: a.Name}, keystore.Record{Scope: b.Scope, Name: b.Name})
		})
		if c.fault(faultPartial) != nil {
			list = list[:c.draw(int64(len(list)+1), "partial")]
			return keystore.Failed("list", scope, "", errors.New("the connection broke in the middle"))
		}
		if scope == keystore.AllScopes && c.fault(faultAll) != nil {
			list = nil
			return keystore.Failed("list", scope, "", errors.New("one of the scopes cannot be read"))
		}
		if len(unreadable) > 0 {
			return &keystore.UnreadableError{Records: unreadable}
		}
		return nil
	})
	return list, err
}

// Create implements [keystore.KeyStore].
func (c *client) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	at := place{r.Scope, r.Name}
	r = r.Clone()
	err := c.call(ctx, "create", at, true, func() error {
		if _, ok := c.present(0)[at]; ok {
			return keystore.Failed("create", r.Scope, r.Name, keystore.ErrExists)
		}
		r.Created = time.Now().UTC().Round(0)
		c.put(at, &r)
		c.made(r.Name)
		return nil
	})
	return r, err
}

// Update implements [keystore.KeyStore].
func (c *client) Update(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	at := place{r.Scope, r.Name}
	r = r.Clone()
	err := c.call(ctx, "update", at, true, func() error {
		current, ok := c.present(0)[at]
		switch {
		case !ok:
			return keystore.Failed("update", r.Scope, r.Name, keystore.ErrNotFound)
		case current.Version != r.Version:
			return keystore.Failed("update", r.Scope, r.Name, keystore.ErrConflict)
		}
		r.Created = current.Created
		c.put(at, &r)
		return nil
	})
	return r, err
}

// Delete implements [keystore.KeyStore].
func (c *client) Delete(ctx context.Context, scope keystore.Scope, name string) error {
	at := place{scope, name}
	return c.call(ctx, "delete", at, true, func() error {
		if _, ok := c.present(0)[at]; ok {
			c.put(at, nil)
		}
		return nil
	})
}

// watch is a call of Watch.
type watch struct {
	client  *client
	pending []announcement // guarded by store.mu
	wake    chan struct{}
}

type announcement struct {
	at    time.Duration
	scope keystore.Scope
}

// announce announces a change after a while, or loses it. The caller holds mu.
func (w *watch) announce(scope keystore.Scope) {
	c := w.client
	if c.fault(faultSilent, faultDown, faultHang, faultDeaf, faultLost) != nil {
		return
	}
	at := c.now() + c.delay(100*time.Millisecond, "announced", scope)
	if n := len(w.pending); n > 0 {
		at = max(at, w.pending[n-1].at+1) // in order, and no two at the same moment
	}
	w.pending = append(w.pending, announcement{at, scope})
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// Watch implements [keystore.Watcher].
func (c *client) Watch(ctx context.Context, changed func(keystore.Scope)) error {
	if err := wait(ctx, time.Millisecond+time.Duration(c.draw(int64(30*time.Millisecond), "watch"))); err != nil {
		return err
	}
	breaks := []string{faultDown, faultHang, faultDeaf, faultLost}
	if c.fault(breaks...) != nil {
		return errDown
	}
	end := time.Duration(1 << 62)
	for _, f := range c.faults {
		if f.Replica == c.replica && (f.Kind == faultLost || f.Kind == faultDown) && time.Duration(f.At) > c.now() {
			end = min(end, time.Duration(f.At)+time.Duration(c.draw(int64(time.Millisecond), "lost")))
		}
	}
	w := &watch{client: c, wake: make(chan struct{}, 1), pending: []announcement{{0, keystore.AllScopes}}}
	c.mu.Lock()
	c.watches[w] = true
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.watches, w)
		c.mu.Unlock()
	}()
	for {
		c.mu.Lock()
		next := end
		var due []keystore.Scope
		for len(w.pending) > 0 && w.pending[0].at <= c.now() {
			due = append(due, w.pending[0].scope)
			w.pending = w.pending[1:]
		}
		if len(w.pending) > 0 {
			next = min(next, w.pending[0].at)
		}
		c.mu.Unlock()
		if end <= c.now() {
			return errDown
		}
		for _, scope := range due {
			if c.note != nil {
				c.note("%d hears of %q", c.replica, scope)
			}
			changed(scope)
		}
		timer := time.NewTimer(next - c.now())
		select {
		case <-ctx.Done():
		case <-w.wake:
		case <-timer.C:
		}
		timer.Stop()
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
