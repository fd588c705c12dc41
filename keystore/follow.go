package keystore

import (
	"context"
	"math/rand/v2"
	"time"
)

const (
	pollInterval = time.Second // for a store that cannot announce changes

	// Between the loss of a watch and the next one, doubling.
	minWatchPause = 100 * time.Millisecond
	maxWatchPause = time.Second
)

// Follow calls changed with each scope of the store in which something may have
// changed, [AllScopes] among them, until ctx ends, and returns then.
//
// A store that is a [Watcher] is watched. When the watch is lost it is begun
// anew, after a pause that grows from 100 ms to 1 s and is 100 ms again once a
// watch has lasted for 1 s. The new watch announces AllScopes, so that nothing
// is missed; where it could not even be begun, Follow does so itself, and what
// cannot be watched is at least polled. Any other store is polled:
// changed(AllScopes) is called at once and then every second.
//
// Calls are made one at a time, and none after Follow has returned; one that
// coincides with the end of ctx may still be made. changed must not block.
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
		// Why the watch was lost changes nothing here: even a nil error does not
		// mean that there is nothing more to follow.
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
		case <-time.After(pause/2 + rand.N(pause/2)): // apart from the other processes that lost it
		}
		pause = min(2*pause, maxWatchPause)
	}
}
