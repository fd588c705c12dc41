package main

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

// readRetry is the pause after a failed read of the store.
const readRetry = time.Second

// publisher follows a store and keeps a snapshot of it, for any number of streams.
type publisher struct {
	store keystore.KeyStore
	log   *slog.Logger

	mu      sync.Mutex
	current []byte        // an encoded snapshot; nil before the first read
	changed chan struct{} // closed by the next snapshot
}

func newPublisher(store keystore.KeyStore, log *slog.Logger) *publisher {
	return &publisher{store: store, log: log, changed: make(chan struct{})}
}

// run follows the store until ctx ends. While the store cannot be read, zones keep the last
// snapshot.
func (p *publisher) run(ctx context.Context) error {
	dirty := make(chan struct{}, 1)
	follow := func(ctx context.Context) error {
		keystore.Follow(ctx, p.store, func(keystore.Scope) {
			select {
			case dirty <- struct{}{}:
			default: // a read is already pending
			}
		})
		return nil
	}
	publish := func(ctx context.Context) error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-dirty:
			}
			for p.publish(ctx) != nil && ctx.Err() == nil {
				select {
				case <-ctx.Done():
				case <-time.After(readRetry):
				}
			}
		}
	}
	return runAll(ctx, follow, publish)
}

// publish reads the store once.
func (p *publisher) publish(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	s, problems, err := readSnapshot(ctx, p.store)
	if err != nil {
		p.log.Warn("the store cannot be read", "reason", err.Error())
		return err
	}
	encoded, err := s.encode()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil && bytes.Equal(encoded, p.current) {
		return nil
	}
	p.current = encoded
	close(p.changed)
	p.changed = make(chan struct{})
	p.log.Info("publishing keys and revocations", "records", len(s.Records))
	for _, problem := range problems {
		p.log.Warn("a record is published as unusable", "reason", problem.Error())
	}
	return nil
}

// latest returns the encoded snapshot, or nil before the first one, and a channel that is
// closed when there is a newer one.
func (p *publisher) latest() ([]byte, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.current, p.changed
}
