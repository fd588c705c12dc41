package histories

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/histories/check"
	"github.com/meshpass/meshpass/token"
)

var discard = slog.New(slog.DiscardHandler)

// quiet returns a context whose audit events go nowhere.
func quiet(ctx context.Context) context.Context { return audit.WithLogger(ctx, discard) }

const (
	maxSessions = 300
	sweepers    = 64 // since tokens may wait
)

// validator validates tokens and keeps sessions open.
type validator struct {
	*log
	dataplane.Validator

	mu      sync.Mutex
	tokens  []given
	byID    map[string]given
	hot     []given              // that were revoked or restored last
	keyless map[string]bool      // ids of tokens that wait for a key, which is gone
	open    []context.CancelFunc // of sessions, the oldest first
	ended   sync.WaitGroup       // each session has ended, and was noted
	fresh   chan given
}

// add learns of a token.
func (v *validator) add(t given) {
	v.mu.Lock()
	v.tokens = append(v.tokens, t)
	v.byID[t.ID] = t
	v.mu.Unlock()
	select {
	case v.fresh <- t:
	default:
	}
}

// changed learns that a token was revoked or restored.
func (v *validator) changed(id string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if t, ok := v.byID[id]; ok {
		v.hot = append(v.hot, t)
	}
	if len(v.hot) > 12 {
		v.hot = v.hot[1:]
	}
}

func (v *validator) pick() (given, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := len(v.tokens)
	if n == 0 {
		return given{}, false
	}
	if len(v.hot) > 0 && rand.IntN(2) == 0 {
		return v.hot[rand.IntN(len(v.hot))], true
	}
	t := v.tokens[rand.IntN(n)]
	if rand.IntN(3) > 0 {
		t = v.tokens[max(0, n-1-rand.IntN(30))]
	}
	// A token whose key is unknown waits for it, for up to a second.
	return t, !v.keyless[t.ID] || rand.IntN(20) == 0
}

// work validates and binds until ctx ends.
func (v *validator) work(ctx context.Context, pace time.Duration) {
	var busy sync.WaitGroup
	for range 3 {
		busy.Go(func() {
			for ctx.Err() == nil {
				if t, ok := v.pick(); ok {
					v.validate(check.Validate, t)
				}
				sleep(ctx, time.Duration(rand.Float64()*2*float64(pace)))
			}
		})
	}
	for range 4 {
		busy.Go(func() {
			for ctx.Err() == nil {
				var t given
				select {
				case t = <-v.fresh:
				case <-time.After(10 * pace):
					t, _ = v.pick()
				case <-ctx.Done():
				}
				if t.ID == "" {
					continue
				}
				verified, ok := v.validate(check.Validate, t)
				if !ok {
					continue
				}
				if rand.IntN(2) == 0 { // what happens between validating and binding counts
					sleep(ctx, time.Duration(rand.Float64()*float64(time.Second)))
				}
				v.bind(t, verified)
			}
		})
	}
	busy.Wait()
}

func class(err error) (check.Outcome, string) {
	switch {
	case err == nil:
		return check.Accepted, ""
	case errors.Is(err, token.ErrClosed):
		return check.Unavailable, check.WhyClosed
	case errors.Is(err, token.ErrUnavailable):
		return check.Unavailable, check.WhyUnavailable
	case errors.Is(err, token.ErrRevoked):
		return check.Invalid, check.WhyRevoked
	case errors.Is(err, token.ErrUnknownKey):
		return check.Invalid, check.WhyKey
	}
	return check.Invalid, err.Error()
}

func (v *validator) validate(do check.Do, t given) (dataplane.Verified, bool) {
	e := check.Event{Do: do, Mesh: t.Mesh, ID: t.ID, Start: now()}
	verified, err := v.Validate(quiet(context.Background()), t.Mesh, t.Raw)
	e.End = now()
	e.Outcome, e.Why = class(err)
	v.note(e)
	if e.Why == check.WhyKey {
		v.mu.Lock()
		v.keyless[t.ID] = true
		v.mu.Unlock()
	}
	return verified, err == nil
}

// bind opens a session, which is noted when it begins and when it ends.
func (v *validator) bind(t given, verified dataplane.Verified) {
	e := v.begin(check.Event{Do: check.Session, Mesh: t.Mesh, ID: t.ID})
	ctx, stop := verified.Bind(context.Background())
	v.ended.Add(1)
	context.AfterFunc(ctx, func() {
		defer v.ended.Done()
		cause := context.Cause(ctx)
		if cause == context.Canceled {
			v.end(e, check.Stopped, "")
			return
		}
		_, why := class(cause)
		v.end(e, check.Ended, why)
	})
	v.mu.Lock()
	v.open = append(v.open, stop)
	oldest := context.CancelFunc(func() {})
	if len(v.open) > maxSessions {
		oldest, v.open = v.open[0], v.open[1:]
	}
	v.mu.Unlock()
	oldest()
}

// sweep validates all tokens once more.
func (v *validator) sweep() {
	v.mu.Lock()
	all := v.tokens
	v.mu.Unlock()
	var busy sync.WaitGroup
	for range sweepers {
		busy.Go(func() {
			for {
				v.mu.Lock()
				if len(all) == 0 {
					v.mu.Unlock()
					return
				}
				t := all[0]
				all = all[1:]
				v.mu.Unlock()
				v.validate(check.Sweep, t)
			}
		})
	}
	busy.Wait()
}
