package simulation

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/jitter"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

const mesh = "default"

// pool returns keys that are made once: a key takes longer to make than a simulation.
var pool = sync.OnceValue(func() (keys []*signing.PrivateKey) {
	for range 5 {
		key, err := signing.Generate(signing.DefaultBits)
		if err != nil {
			panic(err)
		}
		keys = append(keys, key)
	}
	return keys
})

// Run runs a plan in simulated time, and returns what was seen. trace has a line for each
// thing that happened, in order, also for the calls of the store if that is asked for.
func Run(t *testing.T, plan Plan, calls bool) (h *History, trace []string) {
	keys := pool()
	defer jitter.FromClock()()
	synctest.Test(t, func(t *testing.T) {
		w := &world{plan: plan, calls: calls, keys: keys, tokens: map[int]token.Issued{}}
		w.h = &History{Settings: plan.Settings, Faults: plan.Faults}
		w.run()
		h, trace = w.h, w.trace
	})
	return h, trace
}

// world is a deployment: a store and its replicas.
type world struct {
	plan  Plan
	calls bool // are in the trace
	keys  []*signing.PrivateKey
	store *store

	replicas []*replica
	running  sync.WaitGroup

	mu     sync.Mutex // guards what follows
	h      *History
	trace  []string
	tokens map[int]token.Issued
}

// replica is one control plane.
type replica struct {
	number int
	client *client
	issuer dataplane.Issuer

	mu        sync.Mutex
	validator dataplane.Validator // nil while it restarts
	clock     Clock
}

// now is the replica's wall clock.
func (r *replica) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.client.now()
	ahead := r.clock.Ahead + time.Duration(float64(r.clock.PerHour)*(at-r.clock.At).Hours())
	return time.Now().Add(ahead)
}

var quiet = slog.New(slog.DiscardHandler)

func (w *world) run() {
	w.store = newStore(w.plan, w.made)
	if w.calls {
		w.store.note = func(format string, args ...any) { w.locked(func() { w.note(format, args...) }) }
	}
	admin := &client{store: w.store, replica: -1}
	first, err := w.keys[0].PEM()
	must(err)
	_, err = admin.Create(context.Background(), keystore.Record{Scope: mesh, Name: signing.DataplaneKeys(mesh).KeyName(1), Data: first})
	must(err)
	ctx, stop := context.WithCancel(audit.WithLogger(context.Background(), quiet))
	for i := range w.plan.Settings.Replicas {
		w.replicas = append(w.replicas, w.newReplica(ctx, i))
		time.Sleep(time.Millisecond + time.Duration(i)) // none at the same moment as another
	}
	end := time.Duration(0)
	for _, e := range w.plan.Events {
		time.Sleep(time.Duration(e.At) - w.store.now())
		w.running.Go(func() { w.do(ctx, e) })
		end = max(end, time.Duration(e.At))
	}
	for _, f := range w.plan.Faults {
		end = max(end, time.Duration(f.At+f.For))
	}
	time.Sleep(end + time.Minute - w.store.now())
	w.locked(func() { w.h.End = w.store.now() })
	for _, number := range w.numbers() {
		for _, r := range w.replicas {
			w.validate(ctx, r, number)
			time.Sleep(time.Microsecond)
		}
	}
	stop()
	for _, r := range w.replicas {
		if v := r.validating(); v != nil {
			must(v.Close())
		}
	}
	w.running.Wait()
	synctest.Wait()
	slices.SortStableFunc(w.trace, strings.Compare)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func (w *world) newReplica(ctx context.Context, number int) *replica {
	r := &replica{number: number, client: &client{store: w.store, replica: number}}
	options := []dataplane.IssuerOption{dataplane.WithLogger(quiet), dataplane.WithClock(r.now), dataplane.WithMaxLineage(lineage),
		dataplane.WithLongTokensRenewed(), dataplane.WithPublishDelay(time.Duration(w.plan.Settings.PublishDelay))}
	if limit := time.Duration(w.plan.Settings.MaxLifetime); limit > 0 {
		options = append(options, dataplane.WithMaxLifetime(limit))
		w.running.Go(func() {
			_ = dataplane.Rotate(ctx, r.client, mesh, dataplane.Rotation{Every: time.Duration(w.plan.Settings.RotateEvery),
				PublishDelay: time.Duration(w.plan.Settings.PublishDelay), MaxLifetime: limit, Logger: quiet})
		})
	}
	var err error
	r.issuer, err = dataplane.NewIssuer(r.client, options...)
	must(err)
	w.start(r)
	return r
}

func (w *world) start(r *replica) {
	options := []dataplane.ValidatorOption{dataplane.WithLogger(quiet), dataplane.WithClock(r.now),
		dataplane.WithMaxStale(time.Duration(w.plan.Settings.MaxStale)), dataplane.WithSessionMaxStale(time.Duration(w.plan.Settings.SessionMaxStale))}
	if !w.plan.Settings.Cache {
		options = append(options, dataplane.WithCache(0))
	}
	v, err := dataplane.NewValidator(r.client, options...)
	must(err)
	w.mu.Lock()
	w.h.Started = append(w.h.Started, Start{r.number, w.store.now()})
	w.mu.Unlock()
	r.mu.Lock()
	r.validator = v
	r.mu.Unlock()
}

// made notes that a record was created.
func (w *world) made(name string) {
	serial, _, err := signing.DataplaneKeys(mesh).ParseName(name)
	if err != nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.h.Keys = append(w.h.Keys, Key{int(serial), w.store.now()})
	w.note("key %d is there", serial)
}

// note adds a line to the trace. The caller holds mu.
func (w *world) note(format string, args ...any) {
	w.trace = append(w.trace, fmt.Sprintf("%15.9f ", w.store.now().Seconds())+fmt.Sprintf(format, args...))
}

// patience is how long what an event does may take. It is no number of seconds: the reads that
// tokens cause are a second apart, and no token leaves at the moment at which one begins.
const patience = 8*time.Second + 7*time.Millisecond

// do does what an event says.
func (w *world) do(ctx context.Context, e Event) {
	r := w.replicas[e.Replica]
	w.mu.Lock()
	issued, of := w.tokens[e.Token], w.tokens[e.Of]
	lineage := 0
	for _, t := range w.h.Tokens {
		if t.Number == e.Token {
			lineage = t.Lineage
		}
	}
	w.mu.Unlock()
	within, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch e.Do {
	case doIssue:
		start := w.store.now()
		issued, err := r.issuer.Issue(within, token.Dataplane{Mesh: mesh, Name: e.Name}, w.lifetime(e))
		w.issued(r, e, e.Token, start, issued, err)
	case doRenew:
		w.renew(within, r, e, of)
	case doValidate:
		numbers := []int{e.Token}
		if e.Token == 0 {
			numbers = w.numbers()
		}
		for _, n := range numbers {
			w.validate(within, r, n)
			rest(e)
		}
	case doBind:
		if verified, ok := w.validate(within, r, e.Token); ok {
			time.Sleep(time.Duration(e.For))
			w.bind(r, e.Token, verified)
		}
	case doRevoke, doRestore:
		if lineage == 0 {
			return
		}
		c := Change{What: Revoked, Lineage: lineage}
		change := dataplane.Revoke
		if e.Do == doRestore {
			c.What, change = Restored, dataplane.Restore
		}
		w.change(r, c, func(*Change) error { return change(within, r.client, mesh, issued.ID) })
	case doMakeGlobal:
		w.change(r, Change{What: MadeGlobalList}, func(*Change) error { return revocation.MakeDataplaneGlobal(within, r.client, mesh) })
	case doAddKey:
		_, err := dataplane.AddKey(within, r.client, mesh, w.keys[int(time.Duration(e.At))%len(w.keys)])
		w.locked(func() { w.note("%d adds a key: %v", r.number, err) })
	case doRemoveKey:
		w.change(r, Change{What: KeyRemoved, Serial: e.Key}, func(*Change) error {
			return dataplane.RemoveKey(within, r.client, mesh, signing.Serial(e.Key), dataplane.Forced())
		})
	case doCutOff:
		w.change(r, Change{What: CutOff, Name: e.Name}, func(c *Change) error { return w.cutOff(within, r, e, c) })
	case doUncut:
		w.uncut(within, r, e)
	case doPrune:
		w.change(r, Change{What: Pruned, Before: w.store.now() - time.Duration(e.For), Lifetime: time.Duration(e.For)}, func(c *Change) error {
			p, err := dataplane.PruneRevocations(within, r.client, mesh, time.Duration(e.For), false)
			if err == nil {
				c.Before = p.Floor.Sub(w.store.began)
			}
			return err
		})
	case doJump, doDrift:
		w.setClock(r, e)
	case doRestart:
		r.mu.Lock()
		v := r.validator
		r.validator = nil
		r.mu.Unlock()
		if v != nil {
			must(v.Close())
			w.start(r)
		}
	}
}

// rest waits until the replica is at rest, and for as long as no other event that has waited
// for the same read: no two of them act at the same moment.
func rest(e Event) { time.Sleep(time.Microsecond + time.Duration(e.At)%(100*time.Microsecond)) }

func (w *world) locked(do func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	do()
}

// numbers returns those of all tokens. It sorts them, since two may have been issued at the
// same moment.
func (w *world) numbers() (all []int) {
	w.locked(func() {
		for _, t := range w.h.Tokens {
			all = append(all, t.Number)
		}
	})
	slices.Sort(all)
	return all
}

func (w *world) lifetime(e Event) time.Duration {
	d := time.Duration(e.For)
	if limit := time.Duration(w.plan.Settings.MaxLifetime); limit > 0 {
		d = min(d, limit)
	}
	return max(d, time.Second)
}

// issued notes a token.
func (w *world) issued(r *replica, e Event, lineage int, start time.Duration, issued token.Issued, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.note("%d issues no token %d: %s", r.number, e.Token, classOf(err))
		return
	}
	u, err := token.ParseUnverified(issued.Token)
	must(err)
	claims, err := u.Claims()
	must(err)
	serial, _ := signing.ParseSerial(issued.KeyID)
	t := Token{Number: e.Token, Lineage: lineage, Replica: r.number, Start: start, End: w.store.now(), Serial: int(serial), Name: claims.Dataplane.Name,
		Made: madeAt(claims.ID).Sub(w.store.began), IssuedAt: claims.IssuedAt.Sub(w.store.began), NotBefore: claims.NotBefore.Sub(w.store.began), ExpiresAt: claims.ExpiresAt.Sub(w.store.began)}
	w.h.Tokens = append(w.h.Tokens, t)
	w.tokens[e.Token] = issued
	w.note("%d issues token %d of %d for %s with key %d: iat %s exp %s", r.number, t.Number, t.Lineage, t.Name, t.Serial, t.IssuedAt, t.ExpiresAt)
}

// madeAt returns the time in a UUID of version 7 (RFC 9562, section 5.7).
func madeAt(id string) time.Time {
	raw, err := hex.DecodeString(strings.ReplaceAll(id, "-", "")[:12])
	must(err)
	ms := int64(0)
	for _, b := range raw {
		ms = ms<<8 | int64(b)
	}
	return time.UnixMilli(ms)
}

func (w *world) renew(ctx context.Context, r *replica, e Event, of token.Issued) {
	v := r.validating()
	if v == nil || of.Token == "" {
		return
	}
	lineage := 0
	w.locked(func() {
		for _, t := range w.h.Tokens {
			if t.Number == e.Of {
				lineage = t.Lineage
			}
		}
	})
	verified, err := v.Validate(ctx, mesh, of.Token)
	if err != nil {
		return
	}
	rest(e)
	start := w.store.now()
	lifetime := time.Duration(0)
	if e.For > 0 {
		lifetime = w.lifetime(e)
	}
	issued, err := r.issuer.Renew(ctx, verified, lifetime)
	w.issued(r, e, lineage, start, issued, err)
}

func (r *replica) validating() dataplane.Validator {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.validator
}

// classOf returns the class of an answer.
func classOf(err error) Class {
	switch {
	case err == nil:
		return Accepted
	case token.ClassOf(err) == token.Unavailable:
		return Unavailable
	}
	return Invalid
}

func (w *world) validate(ctx context.Context, r *replica, number int) (dataplane.Verified, bool) {
	w.mu.Lock()
	issued, v := w.tokens[number], r.validating()
	w.mu.Unlock()
	if v == nil || issued.Token == "" {
		return dataplane.Verified{}, false
	}
	a := Answer{Replica: r.number, Token: number, Start: w.store.now()}
	verified, err := v.Validate(ctx, mesh, issued.Token)
	if errors.Is(err, token.ErrClosed) || ctx.Err() != nil && w.store.now()-a.Start < patience/2 {
		return verified, false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	a.End, a.Class = w.store.now(), classOf(err)
	if err != nil {
		a.Reason = err.Error()
	}
	w.h.Answers = append(w.h.Answers, a)
	w.note("%d answers about %d since %s: %s %s", a.Replica, a.Token, a.Start, a.Class, token.ReasonOf(err))
	return verified, err == nil
}

// bind binds a context and notes when and why it ends.
func (w *world) bind(r *replica, number int, verified dataplane.Verified) {
	s := Session{Replica: r.number, Token: number, Start: w.store.now()}
	ctx, stop := verified.Bind(context.Background())
	w.running.Go(func() {
		defer stop()
		<-ctx.Done()
		w.mu.Lock()
		defer w.mu.Unlock()
		s.End = w.store.now()
		cause := context.Cause(ctx)
		s.Reason = cause.Error()
		switch s.Cause = classOf(cause); {
		case errors.Is(cause, token.ErrClosed):
			s.Cause = Closed
		case errors.Is(cause, token.ErrExpired):
			s.Cause = Expired
		}
		w.h.Sessions = append(w.h.Sessions, s)
		w.note("%d ends the session of %d since %s: %s %s", s.Replica, s.Token, s.Start, s.Cause, token.ReasonOf(cause))
	})
}

// change makes a change and notes it.
func (w *world) change(r *replica, c Change, do func(*Change) error) {
	c.Start = w.store.now()
	err := do(&c)
	w.mu.Lock()
	defer w.mu.Unlock()
	c.End, c.Done = w.store.now(), err == nil
	if !refused(err) {
		w.h.Changes = append(w.h.Changes, c)
	}
	w.note("%d changes since %s: %s of %d %d %q before %s: %t", r.number, c.Start, c.What, c.Lineage, c.Serial, c.Name, c.Before, c.Done)
}

// refused reports whether a change was certainly not made.
func refused(err error) bool {
	return errors.Is(err, signing.ErrInUse) || errors.Is(err, signing.ErrNoKey) || errors.Is(err, revocation.ErrCutoff)
}

func (w *world) cutOff(ctx context.Context, r *replica, e Event, c *Change) error {
	c.Before = w.store.now() + 2*skew + time.Second // at most, where nobody knows
	cutoff, err := dataplane.UntilNow(ctx, r.client, mesh, dataplane.Cutoff{Name: e.Name})
	if err != nil {
		return fmt.Errorf("%w: %w", revocation.ErrCutoff, err) // nothing was written
	}
	var inForce time.Time
	if e.Global {
		var all revocation.Cutoff
		all, err = revocation.DataplaneCutoffsGlobal(mesh).Add(ctx, r.client, revocation.Cutoff{Before: cutoff.Before, Name: e.Name})
		inForce = all.Before
	} else {
		var own dataplane.Cutoff
		own, err = dataplane.CutOff(ctx, r.client, mesh, cutoff)
		inForce = own.Before
	}
	if err == nil {
		c.Before = inForce.Sub(w.store.began)
	}
	return err
}

// uncut removes the cutoffs for a name that are in force, in both places. It is one change:
// all of them are gone, or some may be.
func (w *world) uncut(ctx context.Context, r *replica, e Event) {
	cutoffs, err := dataplane.Cutoffs(ctx, r.client, mesh)
	cutoffs = slices.DeleteFunc(cutoffs, func(c dataplane.Cutoff) bool { return c.Name != e.Name })
	if err != nil || len(cutoffs) == 0 {
		return
	}
	last := slices.MaxFunc(cutoffs, func(a, b dataplane.Cutoff) int { return a.Before.Compare(b.Before) })
	w.change(r, Change{What: Uncut, Name: e.Name, Before: last.Before.Sub(w.store.began)}, func(*Change) error {
		for _, c := range cutoffs {
			if err := dataplane.RemoveCutoff(ctx, r.client, mesh, c); err != nil {
				return fmt.Errorf("some may be left: %v", err) // whatever its class
			}
		}
		return nil
	})
}

// setClock lets a clock jump, or be right again, or drift from now on.
func (w *world) setClock(r *replica, e Event) {
	at := w.store.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	next := Clock{Replica: r.number, At: at, Ahead: w.h.ahead(r.number, at) + time.Duration(e.For), PerHour: r.clock.PerHour}
	switch {
	case e.Do == doDrift:
		next.Ahead, next.PerHour = w.h.ahead(r.number, at), time.Duration(e.For)
	case e.For == 0:
		next.Ahead = 0
	case e.For < Span(skew) && e.For > -Span(skew):
		next.Ahead = time.Duration(e.For)
	}
	w.h.Clocks = append(w.h.Clocks, next)
	w.note("%d: the clock is ahead by %s", r.number, next.Ahead)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock = next
}
