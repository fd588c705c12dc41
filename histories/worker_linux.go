package histories

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/histories/check"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

// setup says what a worker is.
type setup struct {
	Process                   string
	Seed                      uint64
	Validates                 bool
	MaxStale, SessionMaxStale time.Duration
	Pace                      time.Duration // the mean pause after each operation
}

// work is a worker: it writes messages to out, and obeys those that come in, until in ends.
// The messages that it obeys are tokens of other workers, "pause" (no more operations),
// "sweep" and "read"; it answers the last three with "done".
func work(s setup, store keystore.KeyStore, in io.Reader, out io.Writer) error {
	l := newLog(s.Process, out)
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go l.watchStalls(ctx)
	working, pause := context.WithCancel(ctx)
	defer pause()
	idle := make(chan struct{})

	var sawToken func(*given)
	var v *validator
	if s.Validates {
		l.note(check.Event{Do: check.Begin, Start: now(), MaxStale: s.MaxStale, SessionMaxStale: s.SessionMaxStale})
		follows, err := dataplane.NewValidator(store, dataplane.WithLogger(discard), dataplane.WithMaxStale(s.MaxStale), dataplane.WithSessionMaxStale(s.SessionMaxStale))
		if err != nil {
			return err
		}
		v = &validator{log: l, Validator: follows, byID: map[string]given{}, keyless: map[string]bool{}, fresh: make(chan given, 100)}
		sawToken = func(t *given) { v.add(*t) }
		go func() { v.work(working, s.Pace); close(idle) }()
	} else {
		issuer, err := dataplane.NewIssuer(store, dataplane.WithLogger(discard))
		if err != nil {
			return err
		}
		w := &writer{log: l, store: store, issuer: issuer, random: rand.New(rand.NewPCG(s.Seed, s.Seed))}
		sawToken = w.sawToken
		go func() { w.write(working, s.Pace); close(idle) }()
	}

	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return err
		}
		switch {
		case m.Token != nil:
			sawToken(m.Token)
			continue
		case m.Hot != "":
			if v != nil {
				v.changed(m.Hot)
			}
			continue
		case m.Do == "pause":
			pause()
			<-idle
		case m.Do == "sweep":
			v.sweep()
		case m.Do == "read":
			readAll(ctx, l, store)
		}
		l.send(message{Do: "done"})
	}
	pause()
	<-idle
	if v != nil {
		l.note(check.Event{Do: check.Closing, Start: now()})
		v.Close()
		v.ended.Wait()
	}
	l.send(message{Do: "done"})
	return lines.Err()
}

// readAll notes what a store holds.
func readAll(ctx context.Context, l *log, store keystore.KeyStore) {
	ctx, cancel := context.WithTimeout(quiet(ctx), 10*callTimeout)
	defer cancel()
	note := func(do check.Do, mesh string, read func() ([]string, error)) {
		e := l.begin(check.Event{Do: do, Mesh: mesh})
		found, err := read()
		e.Found = found
		l.end(e, outcome(err), text(err))
	}
	for _, mesh := range meshes {
		note(check.HasIDs, mesh, func() ([]string, error) {
			list, err := dataplane.Revoked(ctx, store, mesh)
			return list.IDs(), err
		})
		note(check.HasKeys, mesh, func() (kids []string, err error) {
			keys, err := dataplane.Keys(ctx, store, mesh)
			for _, key := range keys {
				kids = append(kids, key.Serial.KeyID())
			}
			return kids, err
		})
		note(check.HasCutoffs, mesh, func() (names []string, err error) {
			for _, ref := range []revocation.CutoffsRef{revocation.DataplaneCutoffs(mesh), revocation.DataplaneCutoffsGlobal(mesh)} {
				cutoffs, err := ref.Load(ctx, store)
				if err != nil {
					return nil, err
				}
				for _, c := range cutoffs.All() {
					names = append(names, c.Name)
				}
			}
			slices.Sort(names)
			return names, nil
		})
	}
}
