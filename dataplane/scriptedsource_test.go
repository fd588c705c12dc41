package dataplane_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

var errSourceDown = errors.New("the source is down")

// scriptedSource is a source of keys whose reads go as a test says.
type scriptedSource struct {
	name    string
	demands token.Demands

	mu    sync.Mutex
	keys  signing.SourceKeys
	fails func(ctx context.Context) error // nil: reads work
	reads []time.Time
}

// newScriptedSource has the given test keys under kids that its operator did not choose.
// A validator reads it every ten seconds.
func newScriptedSource(name string, keys map[string]int) *scriptedSource {
	s := &scriptedSource{name: name}
	s.keys.Refresh = 10 * time.Second
	s.hold(keys)
	return s
}

func (s *scriptedSource) Read(ctx context.Context) (signing.SourceKeys, error) {
	s.mu.Lock()
	s.reads = append(s.reads, time.Now())
	keys, fails := s.keys, s.fails
	s.mu.Unlock()
	if fails != nil {
		if err := fails(ctx); err != nil {
			return signing.SourceKeys{}, err
		}
	}
	return keys, nil
}

func (s *scriptedSource) Demands() token.Demands { return s.demands }
func (s *scriptedSource) String() string         { return s.name }

// hold replaces the keys from the next read on.
func (s *scriptedSource) hold(keys map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.Keys = make(map[string]*signing.PublicKey)
	for kid, n := range keys {
		s.keys.Keys[kid] = testKey(n).Public()
	}
}

// change changes more of what reads find.
func (s *scriptedSource) change(change func(*signing.SourceKeys)) *scriptedSource {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.keys)
	return s
}

// fail says how reads fail from now on; nil lets them work again.
func (s *scriptedSource) fail(fails func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = fails
}

func (s *scriptedSource) readsSoFar() []time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.reads)
}

func sourceDown(context.Context) error { return errSourceDown }

// sourceHangs answers when its context ends.
func sourceHangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
