package histories

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/histories/check"
	"github.com/meshpass/meshpass/keystore"
)

// patience is how long the test waits for a worker that has nothing to wait for.
const patience = 2 * time.Minute

// deployment is an engine and how workers reach it.
type deployment struct {
	bounds check.Bounds

	// dial makes the way of one replica. open is for a store of this process; otherwise
	// another process opens what storage says.
	dial func(tb testing.TB, replica string) (way path, storage storage)
	open func(replica string) keystore.KeyStore

	direct keystore.KeyStore // that no fault concerns

	faults []fault       // of the engine
	once   *fault        // made once, in the second half
	silent time.Duration // the documented time after which a half open connection is noticed
}

// fault is what goes wrong for a while.
type fault struct {
	what string

	// of is the replica that it concerns, or "*". A fault of a writer concerns no validator.
	of string

	breaks, mends func(tb testing.TB)
	lasts         time.Duration
	over          time.Duration // after which it concerns no replica any more, if that is before it is mended
	recovery      time.Duration // documented: see check.Event
}

// run is one history in the making.
type run struct {
	tb      testing.TB
	random  *rand.Rand
	d       *deployment
	workers []*worker
	faults  int
	began   int64

	mu     sync.Mutex
	events []check.Event
	over   bool // nothing is recorded any more: the events are judged
	tokens []*given
	file   *json.Encoder
	lastOp int64
}

func (r *run) record(e check.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return
	}
	r.events = append(r.events, e)
	_ = r.file.Encode(e)
}

// note records an event of the test itself.
func (r *run) note(e check.Event) check.Event {
	r.mu.Lock()
	if e.Op == 0 {
		r.lastOp++
		e.Op = 1e9 + r.lastOp // beyond those of the worker that it may be about
	}
	r.mu.Unlock()
	r.record(e)
	return e
}

func (r *run) issued(t *given) {
	r.mu.Lock()
	r.tokens = append(r.tokens, t)
	r.mu.Unlock()
	for _, w := range r.workers {
		w.send(message{Token: t})
	}
}

// worker is one writer or validator, which may be killed and started again.
type worker struct {
	run *run
	setup
	replica string
	way     path
	storage storage
	starts  int

	mu      sync.Mutex
	queue   []message
	wake    chan struct{}
	command *exec.Cmd // nil in this process
	done    chan struct{}
	ended   chan struct{}
	closing bool
}

func (r *run) newWorker(replica string, s setup) *worker {
	w := &worker{run: r, setup: s, replica: replica}
	w.way, w.storage = r.d.dial(r.tb, replica)
	r.workers = append(r.workers, w)
	return w
}

// send queues a message, since the worker may have been stopped.
func (w *worker) send(m message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, m)
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) start() {
	tb := w.run.tb
	tb.Helper()
	w.starts++
	w.Process = fmt.Sprint(w.replica, ".", w.starts)
	w.Seed = w.run.random.Uint64()
	var in io.WriteCloser
	var out io.ReadCloser
	ended := make(chan struct{})
	if w.run.d.open != nil {
		inR, inW := io.Pipe()
		outR, outW := io.Pipe()
		in, out = inW, outR
		go func() {
			defer close(ended)
			outW.CloseWithError(work(w.setup, w.run.d.open(w.replica), inR, outW))
		}()
	} else {
		self, err := os.Executable()
		require.NoError(tb, err)
		encoded, err := json.Marshal(child{w.setup, w.storage})
		require.NoError(tb, err)
		command := exec.Command(self)
		command.Env = append(os.Environ(), childVariable+"="+string(encoded))
		command.Stderr = os.Stderr
		in, err = command.StdinPipe()
		require.NoError(tb, err)
		r, w2, err := os.Pipe()
		require.NoError(tb, err)
		command.Stdout, out = w2, r
		require.NoError(tb, command.Start())
		w2.Close()
		w.command = command
		go func() {
			defer close(ended)
			_ = command.Wait()
		}()
	}
	w.mu.Lock()
	w.queue, w.wake = nil, make(chan struct{}, 1)
	for _, t := range w.run.given() {
		w.queue = append(w.queue, message{Token: t})
	}
	w.wake <- struct{}{}
	w.done, w.ended, w.closing = make(chan struct{}, 1), ended, false
	w.mu.Unlock()
	go w.write(in, w.wake, ended)
	go w.read(out, w.done)
}

func (r *run) given() []*given {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tokens[max(0, len(r.tokens)-500):])
}

func (w *worker) write(in io.WriteCloser, wake, ended chan struct{}) {
	defer in.Close()
	lines := json.NewEncoder(in)
	for {
		select {
		case <-wake:
		case <-ended:
			return
		}
		w.mu.Lock()
		queue, closing := w.queue, w.closing
		w.queue = nil
		w.mu.Unlock()
		for _, m := range queue {
			if lines.Encode(m) != nil {
				return
			}
		}
		if closing {
			return
		}
	}
}

func (w *worker) read(out io.Reader, done chan struct{}) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var m message
		switch err := json.Unmarshal(lines.Bytes(), &m); {
		case err != nil: // the process was killed while it wrote
		case m.Event != nil:
			w.run.record(*m.Event)
		case m.Token != nil:
			w.run.issued(m.Token)
		case m.Hot != "":
			for _, other := range w.run.workers {
				other.send(m)
			}
		case m.Do == "done":
			done <- struct{}{}
		}
	}
}

// kill ends the process with SIGKILL.
func (w *worker) kill(tb testing.TB) {
	w.run.note(check.Event{Process: w.Process, Do: check.Gone, Start: now()})
	require.NoError(tb, w.command.Process.Kill())
	<-w.ended
}

func (w *worker) signal(tb testing.TB, s syscall.Signal) {
	require.NoError(tb, w.command.Process.Signal(s))
}

// ask makes the worker do something, and waits until it is done.
func (w *worker) ask(what string) {
	w.run.tb.Helper()
	w.send(message{Do: what})
	w.await(what)
}

func (w *worker) await(what string) {
	w.run.tb.Helper()
	select {
	case <-w.done:
	case <-w.ended:
		w.run.tb.Fatalf("%s has ended while it was asked to %s", w.Process, what)
	case <-time.After(patience):
		w.run.tb.Fatalf("%s did not %s within %s", w.Process, what, patience)
	}
}

func (w *worker) close() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	w.send(message{Do: "pause"})
	<-w.ended
}

// validators returns a random validator, or a random writer.
func (r *run) random1(validates bool) *worker {
	for {
		if w := r.workers[r.random.IntN(len(r.workers))]; w.Validates == validates {
			return w
		}
	}
}

const shortStale = 3 // the number of the worker with the shortest MaxStale

// play lets workers work for a while, with faults, then mends everything and asks all
// replicas what they think. It returns the history.
func play(tb testing.TB, d *deployment, long time.Duration, seed uint64, file io.Writer) *run {
	r := &run{tb: tb, random: rand.New(rand.NewPCG(seed, 1)), d: d, file: json.NewEncoder(file), began: now()}
	const pace = 60 * time.Millisecond
	for i := range 2 {
		r.newWorker(fmt.Sprint("writer-", i+1), setup{Pace: 2 * pace})
	}
	r.newWorker("validator-1", setup{Validates: true, Pace: pace, MaxStale: 8 * time.Second, SessionMaxStale: 8 * time.Second})
	require.Len(tb, r.workers, shortStale)
	r.newWorker("validator-2", setup{Validates: true, Pace: pace, MaxStale: time.Second, SessionMaxStale: 2 * time.Second})
	// As by default: it rests on announcements, since it reads everything every 30 s only.
	r.newWorker("validator-3", setup{Validates: true, Pace: pace, MaxStale: time.Hour, SessionMaxStale: time.Hour})
	r.prepare()
	for _, w := range r.workers {
		w.start()
	}
	ctx, stop := context.WithCancel(tb.Context())
	defer stop()
	go r.watchStalls(ctx)

	end := time.Now().Add(long)
	r.sleep(long / 12)
	restore := r.backup()
	var next []fault
	for i := 0; time.Now().Before(end); i++ {
		if restore != nil && time.Until(end) < long*4/5 {
			restore()
			restore = nil
		}
		if d.once != nil && time.Until(end) < long/3 {
			r.make(*d.once)
			d.once = nil
		}
		if len(next) == 0 {
			next = r.all()
			r.random.Shuffle(len(next), func(i, j int) { next[i], next[j] = next[j], next[i] })
		}
		f := next[0]
		if next = next[1:]; time.Until(end) < f.lasts {
			break
		}
		r.make(f)
		r.sleep(f.recovery + time.Second) // and a quiet time
	}
	r.sleep(time.Until(end))
	for time.Since(end) < long && r.worked(long) != nil { // on a busy machine
		r.sleep(time.Second)
	}

	for _, w := range r.workers {
		w.ask("pause")
	}
	r.sleep(d.silent + d.bounds.InForce + d.bounds.Grace)
	for _, w := range r.workers {
		if w.Validates {
			w.ask("sweep")
		}
	}
	r.workers[0].ask("read")
	for _, w := range r.workers {
		w.close()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.over, r.events = true, check.Merge(r.events)
	return r
}

// worked reports what has not yet been done often enough.
func (r *run) worked(long time.Duration) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return check.Worked(r.events, long)
}

func (r *run) sleep(long time.Duration) { sleep(r.tb.Context(), long) }

// prepare makes the first keys and, where it is possible, the global revocation list.
func (r *run) prepare() {
	r.tb.Helper()
	require.NoError(r.tb, prepare(quiet(r.tb.Context()), r.d.direct))
}

// make makes a fault, and mends it.
func (r *run) make(f fault) {
	r.tb.Helper()
	r.faults++
	e := r.note(check.Event{Process: f.of, Do: check.Fault, Why: f.what, Start: now(), Recovery: f.recovery})
	f.breaks(r.tb)
	if e.End = now() + int64(f.over); f.over > 0 {
		r.note(e)
	}
	r.sleep(f.lasts)
	if f.mends != nil {
		f.mends(r.tb)
	}
	if f.over == 0 {
		e.End = now()
		r.note(e)
	}
}

// all returns each kind of fault once, for a replica that is drawn.
func (r *run) all() []fault {
	faults := slices.Clone(r.d.faults)
	on := func(w *worker, what string, m mode, lasts, recovery time.Duration) {
		faults = append(faults, fault{what: what, of: w.replica, lasts: lasts, recovery: recovery,
			breaks: func(testing.TB) { w.way.set(m) }, mends: func(testing.TB) { w.way.set(open) }})
	}
	if r.workers[0].way != nil {
		on(r.random1(true), "connections cut", cut, 3*time.Second, back)
		on(r.random1(true), "connections cut for longer than MaxStale", cut, 9*time.Second, back)
		on(r.random1(true), "connections frozen", frozen, 3*time.Second, back)
		on(r.workers[shortStale], "connections frozen for longer than MaxStale", frozen, 4*time.Second, back)
		on(r.random1(true), "connections slow", slow, 3*time.Second, back)
		on(r.random1(false), "connections cut", cut, time.Second, back)
		on(r.random1(false), "connections slow", slow, 3*time.Second, back)
		on(r.random1(false), "connections frozen", frozen, 4*time.Second, back)
		on(r.random1(false), "answers lost", unheard, 3*time.Second, back)
		if r.d.silent > 0 {
			on(r.random1(true), "connections half open", halfOpen, r.d.silent, back)
			on(r.random1(false), "connections half open", halfOpen, time.Second, back)
		}
	}
	if r.d.open == nil {
		for _, validates := range []bool{true, false} {
			killed, stopped := r.random1(validates), r.random1(validates)
			waits := stopped.replica
			if stopped.way == nil { // who is stopped may hold the lock of the directory
				waits = "*"
			}
			faults = append(faults,
				fault{what: "SIGKILL of the process", of: killed.replica, lasts: time.Second / 2, recovery: back, breaks: killed.kill, mends: func(testing.TB) { killed.start() }},
				fault{what: "SIGSTOP of the process", of: waits, lasts: 3 * time.Second, recovery: back,
					breaks: func(tb testing.TB) { stopped.signal(tb, syscall.SIGSTOP) }, mends: func(tb testing.TB) { stopped.signal(tb, syscall.SIGCONT) }})
		}
	}
	return faults
}

// watchStalls notes when the machine does not run this process for a while: then it may not
// have run the others either.
func (r *run) watchStalls(ctx context.Context) {
	const tick, long = 20 * time.Millisecond, 150 * time.Millisecond
	for last := now(); ctx.Err() == nil; {
		time.Sleep(tick)
		t := now()
		if t-last > int64(long) {
			r.note(check.Event{Process: "*", Do: check.Stall, Start: last, End: t})
		}
		last = t
	}
}

// list reads all records. A directory that others write to may be in doubt for a moment.
func (r *run) list() (records []keystore.Record) {
	r.tb.Helper()
	require.EventuallyWithT(r.tb, func(c *assert.CollectT) {
		var err error
		records, err = r.d.direct.List(r.tb.Context(), keystore.AllScopes, "")
		require.NoError(c, err)
	}, patience, 20*time.Millisecond)
	return records
}

// backup reads all records, and returns what brings them back.
func (r *run) backup() (restore func()) {
	r.tb.Helper()
	ctx := r.tb.Context()
	saved := r.list()
	return func() {
		e := r.note(check.Event{Process: "*", Do: check.Rollback, Start: now(), Why: "an older backup is restored"})
		records := map[string]keystore.Record{}
		for _, s := range saved {
			records[string(s.Scope)+"/"+s.Name] = s
		}
		for _, p := range r.list() {
			var err error
			key := string(p.Scope) + "/" + p.Name
			s, ok := records[key]
			delete(records, key)
			switch {
			case p.Scope == registers:
			case !ok:
				err = r.d.direct.Delete(ctx, p.Scope, p.Name)
			default:
				for latest := p; ; { // against writers
					latest.Data = s.Data
					if _, err = r.d.direct.Update(ctx, latest); err == nil {
						break
					}
					if latest, err = r.d.direct.Get(ctx, p.Scope, p.Name); err != nil {
						break // a writer has removed it
					}
				}
			}
			if !errors.Is(err, keystore.ErrNotFound) {
				require.NoError(r.tb, err)
			}
		}
		for _, s := range records {
			if s.Scope != registers {
				_, err := r.d.direct.Create(ctx, s)
				require.NoError(r.tb, err)
			}
		}
		e.End = now()
		r.note(e)
		r.faults++
	}
}
