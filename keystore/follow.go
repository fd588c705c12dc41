package keystore

import (
	"context"
	"time"

	"github.com/meshpass/meshpass/internal/jitter"
)

const (
	pollInterval = time.Second // for a store that cannot announce changes

	// The pause between the loss of a watch and the next one, which doubles.
	minWatchPause = 100 * time.Millisecond
	maxWatchPause = time.Second
)

// Follow calls changed with each scope of the store in which a record may have
// changed, [AllScopes] among them. It blocks until ctx ends.
//
// If the store is a [Watcher], Follow watches it. When a watch is lost, Follow
// starts a new one after a pause of 100 ms to 1 s. A new watch announces
// AllScopes, so no change is missed; if it cannot be started, Follow announces
// AllScopes itself at each attempt, so the store is at least polled. The pause
// doubles with each watch that is lost within 1 s, and is 100 ms again after a
// watch that lasted longer. If the store is no Watcher, Follow calls
// changed(AllScopes) at once and then every second.
//
// Follow makes one call at a time, and none after it has returned; a call may
// still be made at the moment when ctx ends. changed must not block.
func Follow(ctx context.Context, store KeyStore, changed func(Scope)) {
	if watcher, ok := store.(Watcher); ok {
		followWatch(ctx, watcher, changed)
	} else {
		followPolling(ctx, changed)
	}
}

func followPolling(ctx context.Context, changed func(Scope)) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for ctx.Err() == nil {
		changed(AllScopes)
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
}

func followWatch(ctx context.Context, watcher Watcher, changed func(Scope)) {
	pause := minWatchPause
	for ctx.Err() == nil {
		begun := false
		began := time.Now()
		// The reason for the loss does not matter: even after a nil error there may
		// be changes.
		_ = watcher.Watch(ctx, func(scope Scope) {
			begun = true
			changed(scope)
		})
		if ctx.Err() != nil {
			return
		}
		if !begun {
			changed(AllScopes)
		}
		if time.Since(began) >= maxWatchPause {
			pause = minWatchPause
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause/2 + jitter.N(pause/2)): // so that not all processes that lost it begin at once
		}
		pause = min(2*pause, maxWatchPause)
	}
}
