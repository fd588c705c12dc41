package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// Fault is a fault of an engine.
type Fault struct {
	// Break takes the engine away, or cuts the connections to it.
	Break func(tb testing.TB)

	// Mend brings it back, and returns when it answers.
	Mend func(tb testing.TB)

	// For is how long the engine stays away.
	For time.Duration

	// Beside opens stores that the fault does not affect, such as those of another
	// replica. It is nil if there are none, since the engine itself is away.
	Beside Opener
}

const (
	// callTimeout is what the writers and readers of Outage give each call.
	callTimeout = 2 * time.Second

	// pace is how long each of them rests after a call. Without a rest a long fault would
	// keep all processors busy.
	pace = 5 * time.Millisecond

	// afterFailure is how long they leave the engine in peace after a failure.
	afterFailure = 10 * time.Millisecond
)

// Outage lets four replicas write, one read and a validator answer while the fault
// happens. It fails unless
//
//   - every write that was acknowledged is there afterwards, and no write was refused
//     because of an acknowledged one of the same writer;
//   - no reader sees half a record, or one older than an acknowledged write;
//   - the validator always accepts a good token;
//   - soon after the engine is back a token can be revoked, and is refused;
//   - a token that a replica beside the fault revoked meanwhile is refused too.
//
// It logs how long after Mend the validator knew the revocations.
func Outage(t *testing.T, open Opener, fault Fault) {
	ctx, stop := context.WithCancel(audit.WithLogger(t.Context(), discard))
	defer stop()
	store := open(t)
	issuer, validator := issuerAndValidator(t, store, open(t), "default")
	good, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: "good"}, day)
	must(t, err)
	doom := func(name string) (raw, id string) {
		issued, err := issuer.Issue(ctx, token.Dataplane{Mesh: "default", Name: name}, day)
		must(t, err)
		_, err = validator.Validate(ctx, "default", issued.Token)
		must(t, err)
		return issued.Token, issued.ID
	}
	doomed, doomedID := doom("doomed")
	missed, missedID := doom("missed")

	writers := make([]*writer, 4)
	var busy sync.WaitGroup
	for i := range writers {
		w := &writer{store: open(t), scope: "default", name: fmt.Sprint("writer-", i)}
		must(t, w.begin(ctx))
		writers[i] = w
		busy.Go(func() { w.work(ctx) })
	}
	var lists, answers atomic.Int64
	reader := open(t)
	busy.Go(func() {
		for ctx.Err() == nil {
			if readAll(t, ctx, reader, writers) {
				lists.Add(1)
				rest(ctx, pace)
			} else {
				rest(ctx, afterFailure)
			}
		}
	})
	busy.Go(func() {
		for ctx.Err() == nil {
			if _, err := validator.Validate(ctx, "default", good.Token); err != nil && ctx.Err() == nil {
				t.Errorf("a good token was refused: %v", err)
				return
			}
			answers.Add(1)
			rest(ctx, pace)
		}
	})
	progress := func(when string) {
		t.Helper()
		before, listed, answered := acknowledged(writers), lists.Load(), answers.Load()
		within(t, working, "all write, list and validate "+when, func() (struct{}, error) {
			for i, n := range acknowledged(writers) {
				if n < before[i]+3 {
					return struct{}{}, fmt.Errorf("writer %d: %d writes, and then %d; its latest error: %v", i, before[i], n, writers[i].failure())
				}
			}
			if lists.Load() <= listed || answers.Load() <= answered {
				return struct{}{}, errors.New("nothing was listed, or validated")
			}
			return struct{}{}, nil
		})
	}
	progress("before the fault")

	answered := answers.Load()
	fault.Break(t)
	if fault.Beside != nil {
		beside := fault.Beside(t)
		eventually(t, "a token is revoked beside the fault", func() (struct{}, error) {
			return struct{}{}, dataplane.Revoke(ctx, beside, "default", missedID)
		})
	}
	rest(ctx, fault.For) // not for an event: the fault itself lasts that long
	eventually(t, "the validator answers during the fault", func() (struct{}, error) {
		if answers.Load() == answered {
			return struct{}{}, errors.New("it has answered nothing since")
		}
		return struct{}{}, nil
	})
	fault.Mend(t)
	back := time.Now()
	soon := func(what string, do func() error) { // within patience for all calls together
		t.Helper()
		within(t, patience-time.Since(back), what, func() (struct{}, error) { return struct{}{}, do() })
	}
	refused := func(raw string) func() error {
		return func() error {
			_, err := validator.Validate(ctx, "default", raw)
			return want(err, token.ErrRevoked)
		}
	}
	if fault.Beside != nil {
		soon("the token that was revoked meanwhile is refused", refused(missed))
		t.Logf("the engine was back; a revocation from before was known to the validator %.0f ms later", milliseconds(time.Since(back)))
	}
	soon("a token is revoked after the fault", func() error {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		return dataplane.Revoke(ctx, store, "default", doomedID)
	})
	revoked := time.Now()
	soon("the revoked token is refused", refused(doomed))
	t.Logf("the engine was back; a revocation was written %.0f ms later, and known to the validator another %.0f ms later",
		milliseconds(revoked.Sub(back)), milliseconds(time.Since(revoked)))
	progress("after the fault")

	stop()
	busy.Wait()
	final := context.WithoutCancel(ctx)
	for _, w := range writers {
		for _, complaint := range w.complaints {
			t.Error(complaint)
		}
		for _, name := range w.created {
			_, err := store.Get(final, w.scope, name)
			if err != nil {
				t.Errorf("the acknowledged record %s is gone: %v", name, err)
			}
		}
	}
	readAll(t, final, store, writers)
}

// writer writes one record again and again, always with a higher number, and now
// and then a new record.
type writer struct {
	store keystore.KeyStore
	scope keystore.Scope
	name  string

	acked   atomic.Int64 // the number of the last acknowledged write
	latest  atomic.Value // the latest failure, as a string
	created []string     // names of acknowledged new records

	complaints []string // read when work has returned
}

// content returns data whose half can be recognised.
func content(n int64) []byte { return bytes.Repeat(fmt.Appendf(nil, "%010d\n", n), 1000) }

func number(data []byte) (int64, error) {
	line, _, _ := bytes.Cut(data, []byte("\n"))
	n, err := strconv.ParseInt(string(line), 10, 64)
	if err == nil && !bytes.Equal(data, content(n)) {
		err = errors.New("half of it is of another write")
	}
	return n, err
}

func (w *writer) begin(ctx context.Context) error {
	_, err := w.store.Create(ctx, keystore.Record{Scope: w.scope, Name: w.name, Data: content(0)})
	return err
}

func (w *writer) failure() any { return w.latest.Load() }

func (w *writer) failed(err error) { w.latest.Store(err.Error()) }

func (w *writer) work(ctx context.Context) {
	for n := int64(1); ctx.Err() == nil; n++ {
		record, ok := w.read(ctx)
		if !ok {
			continue
		}
		err := w.call(ctx, func(ctx context.Context) error {
			_, err := w.store.Update(ctx, keystore.Record{Scope: w.scope, Name: w.name, Data: content(n), Version: record.Version})
			return err
		})
		switch {
		case err == nil:
			w.acked.Store(n)
		case errors.Is(err, keystore.ErrConflict) || errors.Is(err, keystore.ErrNotFound) || errors.Is(err, keystore.ErrExists):
			// The version was read after the previous write was answered or given up. A write
			// that was given up may still have arrived in between.
			if now, ok := w.read(ctx); ok && now.Version == record.Version {
				w.complaints = append(w.complaints, fmt.Sprintf("%s: Update was refused with %v, though the version was the current one", w.name, err))
			}
		default:
			w.failed(err)
		}
		if n%4 != 0 {
			continue
		}
		name := fmt.Sprint("new-", w.name, "-", n) // a name that readers do not list, or their lists would grow
		err = w.call(ctx, func(ctx context.Context) error {
			_, err := w.store.Create(ctx, keystore.Record{Scope: w.scope, Name: name, Data: []byte(name)})
			return err
		})
		if err == nil {
			w.created = append(w.created, name)
		} else if errors.Is(err, keystore.ErrExists) {
			w.complaints = append(w.complaints, fmt.Sprintf("%s: Create was refused with %v, though no other writer makes that name", name, err))
		} else {
			w.failed(err)
		}
	}
}

func (w *writer) read(ctx context.Context) (r keystore.Record, ok bool) {
	err := w.call(ctx, func(ctx context.Context) (err error) {
		r, err = w.store.Get(ctx, w.scope, w.name)
		return err
	})
	if err != nil {
		w.failed(err)
	}
	return r, err == nil
}

// call gives a call its time limit, and rests after it.
func (w *writer) call(ctx context.Context, do func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	err := do(limited)
	if err != nil {
		rest(ctx, afterFailure)
	} else {
		rest(ctx, pace)
	}
	return err
}

// rest returns after a time, or when ctx ends.
func rest(ctx context.Context, long time.Duration) {
	select {
	case <-time.After(long):
	case <-ctx.Done():
	}
}

func acknowledged(writers []*writer) []int64 {
	acked := make([]int64, len(writers))
	for i, w := range writers {
		acked[i] = w.acked.Load()
	}
	return acked
}

// readAll lists the writers' records and reports whether the engine answered.
func readAll(t *testing.T, ctx context.Context, store keystore.KeyStore, writers []*writer) bool {
	t.Helper()
	before := acknowledged(writers)
	limited, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	records, err := store.List(limited, "default", "writer-")
	if err != nil {
		return false
	}
	for i, w := range writers {
		at := slices.IndexFunc(records, func(r keystore.Record) bool { return r.Name == w.name })
		if at < 0 {
			t.Errorf("%s is not in the list", w.name)
			continue
		}
		n, err := number(records[at].Data)
		if err != nil {
			t.Errorf("%s: %v", w.name, err)
		} else if n < before[i] {
			t.Errorf("%s is listed with write %d, after write %d was acknowledged", w.name, n, before[i])
		}
	}
	return true
}
