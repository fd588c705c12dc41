package replica

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/internal/limit"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// zones is a family whose records are in the global scope.
var zones = &Family{
	Kind:   token.KindZone,
	Within: keystore.Global,
	Prefix: "zone-token-",
	Keys: func(scope keystore.Scope) (signing.Series, bool) {
		return signing.ZoneKeys(), scope == keystore.Global
	},
}

// script is a store in memory whose reads go as a test says. Each of them finds what was
// there when it began. Nothing is announced but what a test announces.
type script struct {
	keystore.KeyStore // nil: a follower lists and watches
	announced         chan keystore.Scope

	mu      sync.Mutex
	records []keystore.Record // by scope and name
	answer  answerFunc
	reads   []scriptedRead
}

// answerFunc makes a read of a scope take its time, or fail.
type answerFunc func(ctx context.Context, scope keystore.Scope) error

type scriptedRead struct {
	scope keystore.Scope
	at    time.Time
	ctx   context.Context
}

func newScript(records ...keystore.Record) *script {
	slices.SortFunc(records, keystore.CompareRecords)
	return &script{announced: make(chan keystore.Scope), records: records}
}

func (s *script) List(ctx context.Context, scope keystore.Scope, prefix string) (found []keystore.Record, err error) {
	s.mu.Lock()
	s.reads = append(s.reads, scriptedRead{scope, time.Now(), ctx})
	for _, r := range s.records {
		if (scope == keystore.AllScopes || scope == r.Scope) && strings.HasPrefix(r.Name, prefix) {
			found = append(found, r)
		}
	}
	answer := s.answer
	s.mu.Unlock()
	if answer != nil {
		if err := answer(ctx, scope); err != nil {
			return nil, err
		}
	}
	return found, nil
}

func (s *script) Watch(ctx context.Context, changed func(keystore.Scope)) error {
	for {
		select {
		case scope := <-s.announced:
			changed(scope)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// answers says how reads go from now on; nil lets them end at once.
func (s *script) answers(answer answerFunc) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

// put replaces a record.
func (s *script) put(r keystore.Record) {
	s.drop(r.Scope, r.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = append(s.records, r)
	slices.SortFunc(s.records, keystore.CompareRecords)
}

func (s *script) drop(scope keystore.Scope, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = slices.DeleteFunc(s.records, func(r keystore.Record) bool { return r.Scope == scope && r.Name == name })
}

// fails answers that the reads of these scopes fail.
func fails(scopes ...keystore.Scope) answerFunc {
	return func(_ context.Context, scope keystore.Scope) error {
		if slices.Contains(scopes, scope) {
			return errBroken
		}
		return nil
	}
}

// allFail answers that every read fails.
func allFail(context.Context, keystore.Scope) error { return errBroken }

// takes answers how long the reads of scopes take. Those of everything report progress each
// second.
func takes(times map[keystore.Scope]time.Duration) answerFunc {
	return func(ctx context.Context, scope keystore.Scope) error {
		for left := times[scope]; left > 0; left -= time.Second {
			select {
			case <-time.After(min(left, time.Second)):
			case <-ctx.Done():
				return ctx.Err()
			}
			if scope == keystore.AllScopes {
				keystore.Progress(ctx)()
			}
		}
		return nil
	}
}

// followed is a follower of a script in simulated time.
type followed struct {
	*Follower
	t      *testing.T
	store  *script
	marked time.Time // times are told since then

	changes []string                    // "a", or "-a" for a scope that has no records any more
	latest  *State                      // of the latest change
	held    map[keystore.Scope]*content // what was told last
	failing []error                     // what Events.Reads was told
}

// follows follows a store until the end of the test, and waits for what happens at once.
func follows(t *testing.T, family *Family, store *script, maxStale time.Duration) *followed {
	return followsWith(t, family, store, maxStale, limit.NewGate(1000))
}

func followsWith(t *testing.T, family *Family, store *script, maxStale time.Duration, waiting *limit.Gate) *followed {
	f := &followed{t: t, store: store, marked: time.Now(), held: map[keystore.Scope]*content{}}
	f.Follower = Follow(family, store, []string{family.Prefix}, maxStale, waiting, Events{
		Changed: func(c Change) {
			assert.True(t, f.held[c.Scope] == c.prev, "it begins with what was told before")
			assert.True(t, c.State.scopes.get(c.Scope) == c.next, "it ends with what there is now")
			f.held[c.Scope] = c.next
			f.latest = c.State
			f.changes = append(f.changes, map[bool]string{true: "", false: "-"}[c.State.Has(c.Scope)]+string(c.Scope))
		},
		Reads: func(err error) { f.failing = append(f.failing, err) },
	})
	t.Cleanup(f.Close)
	synctest.Wait()
	return f
}

// pass lets time go by, and everything happen that is due until then.
func (f *followed) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// mark forgets the reads until now, and begins to count the time anew.
func (f *followed) mark() {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	f.store.reads, f.marked = nil, time.Now()
}

// announce announces changes.
func (f *followed) announce(scopes ...keystore.Scope) {
	for _, scope := range scopes {
		f.store.announced <- scope
	}
	synctest.Wait()
}

// busy lets a change of scope "busy" be read for less than a long read takes, so that what
// is requested meanwhile waits. Then it forgets the reads until now.
func (f *followed) busy(d time.Duration, meanwhile func()) {
	f.t.Helper()
	f.store.mu.Lock()
	before := f.store.answer
	f.store.mu.Unlock()
	f.store.answers(takes(map[keystore.Scope]time.Duration{"busy": d}))
	f.announce("busy")
	f.store.answers(before)
	began := time.Now()
	meanwhile()
	assert.Less(f.t, time.Since(began), d)
	time.Sleep(time.Until(began.Add(d)) - 1)
	f.mark()
	f.pass(1)
	f.marked = f.marked.Add(1)
}

// token lets a token wait for a read of a scope, and returns where its answer will come.
func (f *followed) token(ctx context.Context, scope keystore.Scope) *waitingToken {
	w := &waitingToken{f: f, answers: make(chan error, 1)}
	go func() {
		err := f.Reread(ctx, scope, func() bool { return false })
		w.at = time.Now()
		w.answers <- err
	}()
	synctest.Wait()
	return w
}

// waitingToken is a token that waits for a read.
type waitingToken struct {
	f       *followed
	answers chan error
	at      time.Time
}

// isAnswered checks when the token is answered, since the last mark, and with which error.
func (w *waitingToken) isAnswered(after time.Duration, want error) {
	w.f.t.Helper()
	err := <-w.answers
	assert.ErrorIs(w.f.t, err, want)
	assert.Equal(w.f.t, after, w.at.Sub(w.f.marked))
}

// reads returns what was read since the last mark, such as "a@250ms". The global scope is
// "global", and a read of everything is "all".
func (f *followed) reads() (all []string) {
	for _, r := range f.readsOf() {
		all = append(all, r.name+"@"+r.at.String())
	}
	return all
}

// scopesRead is reads without the times.
func (f *followed) scopesRead() (all []string) {
	for _, r := range f.readsOf() {
		all = append(all, r.name)
	}
	return all
}

// timesOf returns when reads of a scope began since the last mark.
func (f *followed) timesOf(scope keystore.Scope) (all []time.Duration) {
	for _, r := range f.readsOf() {
		if r.name == nameOf(scope) {
			all = append(all, r.at)
		}
	}
	return all
}

type readOf struct {
	name string
	at   time.Duration
}

func (f *followed) readsOf() (all []readOf) {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	for _, r := range f.store.reads {
		all = append(all, readOf{nameOf(r.scope), r.at.Sub(f.marked)})
	}
	return all
}

func nameOf(scope keystore.Scope) string {
	switch scope {
	case keystore.Global:
		return "global"
	case keystore.AllScopes:
		return "all"
	}
	return string(scope)
}

// gaps returns the times between times.
func gaps(times []time.Duration) (all []time.Duration) {
	for i := 1; i < len(times); i++ {
		all = append(all, times[i]-times[i-1])
	}
	return all
}
