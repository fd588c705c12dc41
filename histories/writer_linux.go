package histories

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/histories/check"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// The meshes. The first one has a second revocation list, in the global scope.
var meshes = []string{"beside-kuma", "default"}

const (
	callTimeout = 1500 * time.Millisecond
	keysKept    = 3                      // of a mesh, until old ones are removed
	slot        = 2 * time.Second        // for which all writers use the same record
	registers   = keystore.Scope("data") // the scope of the records
)

// writer changes the store through the public interfaces. A token is revoked and restored by
// the writer that issued it, one after the other, and never again once it is in doubt whether
// that has happened.
type writer struct {
	*log
	store  keystore.KeyStore
	issuer dataplane.Issuer
	random *rand.Rand

	mu     sync.Mutex
	tokens []*owned
	others []*given // to look for
	values int
}

// owned is a token of this writer.
type owned struct {
	given
	revoked bool
	cutoff  *dataplane.Cutoff
	retired bool
}

// write works until ctx ends, in two goroutines, so that the writes of one process meet too.
func (w *writer) write(ctx context.Context, pace time.Duration) {
	for _, mesh := range meshes {
		w.firstKey(ctx, mesh)
	}
	private()
	var busy sync.WaitGroup
	again := func(pace time.Duration, work func(context.Context)) {
		busy.Go(func() {
			for ctx.Err() == nil {
				w.call(ctx, work)
				sleep(ctx, time.Duration(rand.Float64()*2*float64(pace)))
			}
		})
	}
	again(pace, w.register)
	again(time.Second, func(ctx context.Context) {
		if now()%int64(round) < int64(round-calm) {
			w.keys(ctx)
		}
	})
	busy.Go(func() {
		for ctx.Err() == nil {
			if now()%int64(round) < int64(round-calm) {
				w.call(ctx, w.work)
				sleep(ctx, time.Duration(rand.Float64()*2*float64(pace)))
				continue
			}
			// Many changes at once and then none: if the last of them is not announced, no
			// later change makes up for it.
			for range flurry {
				w.call(ctx, w.revoke)
			}
			sleep(ctx, time.Duration(int64(round)-now()%int64(round)))
		}
	})
	busy.Wait()
}

// All writers change tokens at the same time, and rest at the same time.
const (
	round  = 8 * time.Second
	calm   = 3500 * time.Millisecond
	flurry = 6
)

// call gives work its time.
func (w *writer) call(ctx context.Context, work func(context.Context)) {
	limited, cancel := context.WithTimeout(quiet(ctx), callTimeout)
	defer cancel()
	work(limited)
}

func sleep(ctx context.Context, long time.Duration) {
	select {
	case <-time.After(long):
	case <-ctx.Done():
	}
}

func (w *writer) firstKey(ctx context.Context, mesh string) {
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(quiet(ctx), callTimeout)
		_, err := dataplane.EnsureKey(limited, w.store, mesh)
		cancel()
		if err == nil {
			return
		}
		sleep(ctx, 100*time.Millisecond)
	}
}

// keys adds or removes a key.
func (w *writer) keys(ctx context.Context) {
	mesh := meshes[rand.IntN(len(meshes))]
	if rand.IntN(2) == 0 {
		w.addKey(ctx, mesh)
	} else {
		w.removeKey(ctx, mesh)
	}
}

// work does one thing with tokens.
func (w *writer) work(ctx context.Context) {
	mesh := meshes[w.random.IntN(len(meshes))]
	switch n := w.random.IntN(100); {
	case n < 42:
		w.issue(ctx, mesh, fmt.Sprintf("%s-%d", w.process, now()))
	case n < 62:
		w.revoke(ctx)
	case n < 70:
		w.restore(ctx)
	case n < 82:
		w.cutOff(ctx)
	case n < 87:
		w.uncut(ctx)
	default:
		w.readList(ctx, mesh)
	}
}

// outcome tells by an error whether a change has happened. harmless are the errors after
// which it has not.
func outcome(err error, harmless ...error) check.Outcome {
	switch {
	case err == nil:
		return check.OK
	case slices.ContainsFunc(harmless, func(h error) bool { return errors.Is(err, h) }):
		return check.Failed
	}
	return check.Unknown
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func (w *writer) issue(ctx context.Context, mesh, name string) {
	e := w.begin(check.Event{Do: check.Issue, Mesh: mesh, Name: name})
	issued, err := w.issuer.Issue(ctx, token.Dataplane{Mesh: mesh, Name: name}, 24*time.Hour)
	if err != nil {
		w.end(e, check.Failed, text(err))
		return
	}
	e.ID, e.Key = issued.ID, issued.KeyID
	w.end(e, check.OK, "")
	t := &owned{given: given{Mesh: mesh, ID: issued.ID, Key: issued.KeyID, Name: name, Raw: issued.Token}}
	w.tokens = append(w.tokens, t)
	w.send(message{Token: &t.given})
}

// pick returns a random one of the tokens, mostly a young one.
func (w *writer) pick(fits func(*owned) bool) *owned {
	var found []*owned
	for _, t := range w.tokens {
		if !t.retired && fits(t) {
			found = append(found, t)
		}
	}
	if len(found) == 0 {
		return nil
	}
	if young := len(found) - 10; young > 0 && w.random.IntN(3) > 0 {
		found = found[young:]
	}
	return found[w.random.IntN(len(found))]
}

func (w *writer) revoke(ctx context.Context) {
	t := w.pick(func(t *owned) bool { return !t.revoked })
	if t == nil {
		return
	}
	e := w.begin(check.Event{Do: check.Revoke, Mesh: t.Mesh, ID: t.ID})
	err := dataplane.Revoke(ctx, w.store, t.Mesh, t.ID)
	w.end(e, outcome(err), text(err))
	t.revoked, t.retired = true, err != nil
	w.send(message{Hot: t.ID})
}

func (w *writer) restore(ctx context.Context) {
	t := w.pick(func(t *owned) bool { return t.revoked })
	if t == nil {
		return
	}
	e := w.begin(check.Event{Do: check.Restore, Mesh: t.Mesh, ID: t.ID})
	err := dataplane.Restore(ctx, w.store, t.Mesh, t.ID)
	w.end(e, outcome(err), text(err))
	t.revoked, t.retired = false, err != nil
	w.send(message{Hot: t.ID})
}

// cutOff cuts off the name of a token, in one of the two places for cutoffs, and then issues
// another token with that name, which is good.
func (w *writer) cutOff(ctx context.Context) {
	t := w.pick(func(t *owned) bool { return t.cutoff == nil })
	if t == nil {
		return
	}
	global := w.random.IntN(2) == 0
	e := w.begin(check.Event{Do: check.CutOff, Mesh: t.Mesh, Name: t.Name})
	c, err := dataplane.UntilNow(ctx, w.store, t.Mesh, dataplane.Cutoff{Name: t.Name})
	if err != nil {
		w.end(e, check.Failed, text(err))
		return
	}
	var inForce time.Time
	if global {
		var added revocation.Cutoff
		added, err = revocation.DataplaneCutoffsGlobal(t.Mesh).Add(ctx, w.store, revocation.Cutoff{Before: c.Before, Name: c.Name})
		inForce = added.Before
	} else {
		var added dataplane.Cutoff
		added, err = dataplane.CutOff(ctx, w.store, t.Mesh, c)
		inForce = added.Before
	}
	did := outcome(err, keystore.ErrNameTaken)
	if err == nil {
		c.Before = inForce
		e.Value = c.Before.Format(time.RFC3339)
	}
	w.end(e, did, text(err))
	if did == check.Failed {
		return
	}
	t.cutoff, t.retired = &c, err != nil
	w.send(message{Hot: t.ID})
	if err == nil && w.random.IntN(3) == 0 {
		t.retired = true // of several tokens with one name, only the last changes any more
		w.issue(ctx, t.Mesh, t.Name)
	}
}

func (w *writer) uncut(ctx context.Context) {
	t := w.pick(func(t *owned) bool { return t.cutoff != nil })
	if t == nil {
		return
	}
	e := w.begin(check.Event{Do: check.Uncut, Mesh: t.Mesh, Name: t.Name, Value: t.cutoff.Before.Format(time.RFC3339)})
	err := dataplane.RemoveCutoff(ctx, w.store, t.Mesh, *t.cutoff)
	w.end(e, outcome(err), text(err))
	t.cutoff, t.retired = nil, err != nil
	w.send(message{Hot: t.ID})
}

// private is the key of this process. It is made once, since on a busy machine that takes
// longer than a call may.
var private = sync.OnceValue(func() *signing.PrivateKey {
	key, err := signing.Generate(signing.DefaultBits)
	if err != nil {
		panic(err)
	}
	return key
})

func (w *writer) addKey(ctx context.Context, mesh string) {
	e := w.begin(check.Event{Do: check.AddKey, Mesh: mesh})
	key, err := dataplane.AddKey(ctx, w.store, mesh, private())
	if err == nil {
		e.Key = key.Serial.KeyID()
	}
	w.end(e, outcome(err, keystore.ErrExists), text(err))
}

// removeKey removes the oldest key of a mesh, if it has many, and sometimes tries to remove
// the newest, which must be refused.
func (w *writer) removeKey(ctx context.Context, mesh string) {
	keys, err := dataplane.Keys(ctx, w.store, mesh)
	if err != nil || len(keys) == 0 {
		return
	}
	key := keys[0]
	switch {
	case rand.IntN(3) == 0 && len(keys) > 1:
		key = keys[len(keys)-1]
	case len(keys) <= keysKept:
		return
	}
	e := w.begin(check.Event{Do: check.RemoveKey, Mesh: mesh, Key: key.Serial.KeyID()})
	err = dataplane.RemoveKey(ctx, w.store, mesh, key.Serial, dataplane.Forced())
	w.end(e, outcome(err, signing.ErrInUse, signing.ErrNoKey), text(err))
}

// readList looks for some ids on the revocation list.
func (w *writer) readList(ctx context.Context, mesh string) {
	var asked []string
	for range 8 {
		if t := w.pick(func(t *owned) bool { return t.Mesh == mesh }); t != nil && !slices.Contains(asked, t.ID) {
			asked = append(asked, t.ID)
		}
	}
	w.mu.Lock()
	for range 8 {
		if len(w.others) > 0 {
			if t := w.others[w.random.IntN(len(w.others))]; t.Mesh == mesh && !slices.Contains(asked, t.ID) {
				asked = append(asked, t.ID)
			}
		}
	}
	w.mu.Unlock()
	e := w.begin(check.Event{Do: check.Revoked, Mesh: mesh, Asked: asked})
	list, err := dataplane.Revoked(ctx, w.store, mesh)
	if err != nil {
		w.end(e, check.Failed, text(err))
		return
	}
	for _, id := range asked {
		if list.Contains(id) {
			e.Found = append(e.Found, id)
		}
	}
	w.end(e, check.OK, "")
}

// sawToken learns of the token of another writer.
func (w *writer) sawToken(t *given) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.others = append(w.others, t)
	if len(w.others) > 50 {
		w.others = w.others[1:]
	}
}

// register reads and writes the record of the time. Another comes every two seconds, so that
// the history of each is short.
func (w *writer) register(ctx context.Context) {
	name := fmt.Sprint("record-", now()/int64(slot))
	call := func(do check.Do, expect, value string, what func() error) {
		e := w.begin(check.Event{Do: do, Record: name, Expect: expect, Value: value})
		err := what()
		switch did := outcome(err); {
		case errors.Is(err, keystore.ErrConflict):
			w.end(e, check.Conflict, "")
		case errors.Is(err, keystore.ErrExists):
			w.end(e, check.Exists, "")
		case errors.Is(err, keystore.ErrNotFound):
			w.end(e, check.Absent, "")
		default:
			w.end(e, did, text(err))
		}
	}
	w.values++
	value := fmt.Sprint(w.process, "/", w.values)
	e := w.begin(check.Event{Do: check.Get, Record: name})
	read, err := w.store.Get(ctx, registers, name)
	switch {
	case err == nil:
		e.Value = string(read.Data)
		w.end(e, check.OK, "")
	case errors.Is(err, keystore.ErrNotFound):
		w.end(e, check.Absent, "")
	default:
		w.end(e, check.Unknown, text(err))
		return
	}
	switch n := rand.IntN(10); {
	case err != nil || n == 0:
		call(check.Create, "", value, func() error {
			_, err := w.store.Create(ctx, keystore.Record{Scope: registers, Name: name, Data: []byte(value)})
			return err
		})
	case n == 1:
		call(check.Delete, "", "", func() error { return w.store.Delete(ctx, registers, name) })
	case n < 8:
		call(check.Update, string(read.Data), value, func() error {
			_, err := w.store.Update(ctx, keystore.Record{Scope: registers, Name: name, Data: []byte(value), Version: read.Version})
			return err
		})
	}
}
