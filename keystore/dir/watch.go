package dir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/meshpass/meshpass/keystore"
)

const (
	watchInterval = 250 * time.Millisecond

	// Two changes within this time may leave the same time stamps: file systems count
	// in steps of up to 2 s.
	stampStep = 2 * time.Second

	// After this many slow looks the folder is slow, and the machine was not just busy.
	watchLooks = 8
)

// recordID names a record.
type recordID struct {
	scope keystore.Scope
	name  string
}

// fileState is what Watch remembers of a record's file.
type fileState struct {
	stamp fileStamp
	sum   string // of the content, or why there is none

	// settled says that any later change shows in the stamp. Before that, and on systems
	// whose stamps tell too little, Watch compares the content too.
	settled bool
}

// Watch implements [keystore.Watcher]. It looks at the folder every 250 ms, or less
// often if a look takes more than a tenth of that. It compares the identity, the size
// and all times of each file, and the content if those are not enough. So it also
// notices a program that changes only the bytes and sets the time of modification
// back. The watch is lost when a folder cannot be read.
func (s *Store) Watch(ctx context.Context, changed func(keystore.Scope)) error {
	seen, err := s.look(ctx, nil)
	if err != nil {
		return err
	}
	changed(keystore.AllScopes)
	pause := watchInterval
	var took [watchLooks]time.Duration // by the latest looks
	for looks := 0; ; looks++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
		began := time.Now()
		now, err := s.look(ctx, seen)
		if err != nil {
			return err
		}
		for _, scope := range differing(seen, now) {
			if err := ctx.Err(); err != nil {
				return err
			}
			changed(scope)
		}
		seen = now
		took[looks%watchLooks] = time.Since(began)
		pause = max(watchInterval, 9*slices.Min(took[:]))
	}
}

// look returns the state of every record's file. It does not read files that have not
// changed since before, which is what it returned last time.
func (s *Store) look(ctx context.Context, before map[recordID]fileState) (map[recordID]fileState, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	root, err := openRoot(s.path)
	if err != nil {
		return nil, fmt.Errorf("keystore: cannot watch: %w", err)
	}
	defer root.Close()
	var states map[recordID]fileState
	err = readSteady(ctx, root, func(v *view) (err error) {
		states, err = lookAtAll(ctx, v, before)
		return err
	})
	return states, err
}

func lookAtAll(ctx context.Context, v *view, before map[recordID]fileState) (map[recordID]fileState, error) {
	scopes, err := readScopes(v)
	if err != nil {
		return nil, fmt.Errorf("keystore: cannot watch: %w", err)
	}
	states := make(map[recordID]fileState, len(before))
	for _, scope := range scopes {
		entries, err := readEntries(v, scope)
		if err != nil {
			return nil, fmt.Errorf("keystore: cannot watch: %w", err)
		}
		for _, entry := range entries {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			id := recordID{scope, entry.name}
			if state, ok := lookAt(v.root, entry.file, id, before[id]); ok {
				states[id] = state
			}
		}
	}
	return states, nil
}

// lookAt returns the state of one file, or false if there is none. The reason why a
// file cannot be read is part of its state; a List returns it.
func lookAt(root *os.Root, file string, id recordID, before fileState) (fileState, bool) {
	began := time.Now()
	info, err := root.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		if err = checkMissing(root, file); err == nil {
			return fileState{}, false
		}
	}
	if err != nil {
		return fileState{sum: err.Error()}, true
	}
	stamp, latest := stampOf(info)
	if before.settled && before.stamp == stamp {
		return before, true
	}
	state := fileState{stamp: stamp, settled: latest.Before(began.Add(-stampStep))}
	record, err := readRecord(root, file, id.scope, id.name)
	if err != nil {
		state.sum = err.Error()
	} else {
		state.sum = record.Version
	}
	return state, true
}

// differing returns the scopes in which files differ, sorted.
func differing(before, now map[recordID]fileState) []keystore.Scope {
	scopes := map[keystore.Scope]struct{}{}
	for id, state := range now {
		old, ok := before[id]
		if !ok || old.stamp != state.stamp || old.sum != state.sum {
			scopes[id.scope] = struct{}{}
		}
	}
	for id := range before {
		if _, ok := now[id]; !ok {
			scopes[id.scope] = struct{}{}
		}
	}
	return slices.Sorted(maps.Keys(scopes))
}
