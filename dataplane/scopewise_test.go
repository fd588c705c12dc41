package dataplane_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// scopewise is a store in memory whose complete reads go scope by scope, as a test says.
type scopewise struct {
	*faultStore
	lists atomic.Pointer[scopesFunc] // nil: as the memory does
	count atomic.Int64               // of complete reads
}

type scopesFunc func(ctx context.Context, prefix string, begin func() keystore.EachScope) error

func (s *scopewise) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	s.count.Add(1)
	if lists := s.lists.Load(); lists != nil {
		return (*lists)(ctx, prefix, begin)
	}
	return s.Memory.ListScopes(ctx, prefix, begin)
}

func (s *scopewise) setLists(lists scopesFunc) { s.lists.Store(&lists) }

// between calls do after each scope that a complete read has given, until stop is called:
// it returns when no do runs any more, for the end of a test may fall into a read.
func (s *scopewise) between(do func(keystore.Scope)) (stop func()) {
	stopped := make(chan bool, 1) // no mutex: time goes on only while all wait for a channel
	stopped <- false
	s.setLists(func(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
		return s.Memory.ListScopes(ctx, prefix, func() keystore.EachScope {
			each := begin()
			return func(scope keystore.Scope, records []keystore.Record, unreadable []*keystore.Error) error {
				err := each(scope, records, unreadable)
				over := <-stopped
				if !over {
					do(scope)
				}
				stopped <- over
				return err
			}
		})
	})
	return func() {
		<-stopped
		stopped <- true
	}
}

// newScopewise has the store of newFollowing and keys of two more meshes. No watch tells of
// changes.
func newScopewise(t *testing.T) (*following, *scopewise) {
	f := newFollowing(t)
	for _, mesh := range []string{"alpha", "omega"} {
		putKey(t, f.store.Memory, mesh, 1, testKey(0))
	}
	f.store.setWatch(silent)
	return f, &scopewise{faultStore: f.store}
}

func TestCompleteReadThatFailsAfterSomeScopesChangesNothing(t *testing.T) {
	for name, lie := range map[string]func(s *scopewise, ctx context.Context, prefix string, begin func() keystore.EachScope) error{
		"it fails after the first scope": func(s *scopewise, ctx context.Context, prefix string, begin func() keystore.EachScope) error {
			each, given := begin(), false
			_ = s.Memory.ListScopes(ctx, prefix, func() keystore.EachScope {
				return func(scope keystore.Scope, records []keystore.Record, unreadable []*keystore.Error) error {
					if given {
						return errStoreDown
					}
					given = true
					return each(scope, records, unreadable)
				}
			})
			return errStoreDown
		},
		"it begins anew and fails": func(s *scopewise, ctx context.Context, prefix string, begin func() keystore.EachScope) error {
			_ = s.Memory.ListScopes(ctx, prefix, begin)
			begin()
			return errStoreDown
		},
		"it gives each scope twice": func(s *scopewise, ctx context.Context, prefix string, begin func() keystore.EachScope) error {
			each := begin()
			again := func() keystore.EachScope { return each }
			return errors.Join(s.Memory.ListScopes(ctx, prefix, again), s.Memory.ListScopes(ctx, prefix, again))
		},
		"it gives records out of order": func(s *scopewise, ctx context.Context, prefix string, begin func() keystore.EachScope) error {
			records, err := s.Memory.List(ctx, "default", prefix)
			if err != nil {
				return err
			}
			return begin()("default", []keystore.Record{records[1], records[0]}, nil)
		},
		"it begins no list": func(*scopewise, context.Context, string, func() keystore.EachScope) error { return nil },
		"it gives the list of a mesh in another scope": func(s *scopewise, ctx context.Context, prefix string, begin func() keystore.EachScope) error {
			records, err := s.Memory.List(ctx, "default", prefix)
			if err != nil {
				return err
			}
			isList := func(r keystore.Record) bool { return r.Name == "dataplane-token-revocations-default" }
			list := records[slices.IndexFunc(records, isList)]
			each := begin()
			return errors.Join(each("alpha", []keystore.Record{list}, nil), each("default", slices.DeleteFunc(records, isList), nil))
		},
		"it gives an unreadable record of a mesh in another scope": func(s *scopewise, ctx context.Context, prefix string, begin func() keystore.EachScope) error {
			records, err := s.Memory.List(ctx, "default", prefix)
			if err != nil {
				return err
			}
			each := begin()
			unreadable := &keystore.Error{Op: "list", Scope: "default", Name: "dataplane-token-cutoffs-default", Err: keystore.ErrUnreadable}
			return errors.Join(each("alpha", nil, []*keystore.Error{unreadable}), each("default", records, nil))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, s := newScopewise(t)
				good, revoked := f.issue(30*day), f.issue(30*day)
				f.revoke(revoked)
				f.startOn(s)
				f.accepts(good)
				s.setLists(func(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
					return lie(s, ctx, prefix, begin)
				})
				f.store.setList(failing)
				for range 5 {
					f.pass(15 * time.Second)
					f.accepts(good)
					f.refuses(revoked, token.ErrRevoked)
				}
				assert.Positive(t, f.log.Count("reading the store fails"))
			})
		})
	}
}

func TestCompleteReadThatBeginsAnewHasWhatWasGivenSince(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newScopewise(t)
		good := f.issue(30 * day)
		s.setLists(func(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
			each := begin()
			if err := each("default", []keystore.Record{{Scope: "default", Name: "dataplane-token-signing-key-default-9", Version: "1", Data: []byte("none")}}, nil); err != nil {
				return err
			}
			return s.Memory.ListScopes(ctx, prefix, begin)
		})
		f.startOn(s)
		f.accepts(good)
		assert.Zero(t, f.log.Count("default-9"))
	})
}

// A pruning writes the floor before it takes ids away, so that no reader finds neither.
func TestPruningWhileACompleteReadGoesScopeByScopeMakesNoTokenGood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newScopewise(t)
		revoked := f.issue(time.Hour)
		f.revoke(revoked)
		f.startOn(s)
		f.pass(20 * time.Minute)
		f.refuses(revoked, token.ErrRevoked)
		pruned := 0
		stop := s.between(func(scope keystore.Scope) {
			time.Sleep(300 * time.Millisecond) // a read of one scope may go on beside
			f.refuses(revoked, token.ErrRevoked)
			p, err := dataplane.PruneRevocations(t.Context(), s.Memory, "default", time.Minute, false)
			require.NoError(t, err)
			pruned += p.Dropped
			f.refuses(revoked, token.ErrRevoked)
		})
		for range 100 {
			f.pass(time.Second)
			f.refuses(revoked, token.ErrRevoked)
		}
		stop()
		assert.Equal(t, 1, pruned)
		assert.Greater(t, s.count.Load(), int64(3))
	})
}

func TestChangeOfAScopeThatACompleteReadHasPassedIsNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, s := newScopewise(t)
		f.store.setWatch(nil) // changes are announced
		f.startOn(s)
		var mu sync.Mutex
		var revoked []string
		stop := s.between(func(scope keystore.Scope) {
			time.Sleep(time.Second)
			raw := f.issue(30 * day)
			f.revoke(raw)
			time.Sleep(time.Second) // it is read alone, beside the complete read
			f.refuses(raw, token.ErrRevoked, fmt.Sprintf("while a complete read has passed %s", scope))
			mu.Lock()
			defer mu.Unlock()
			revoked = append(revoked, raw)
		})
		for range 40 {
			f.pass(time.Second)
			mu.Lock()
			before := slices.Clone(revoked)
			mu.Unlock()
			for _, raw := range before {
				f.refuses(raw, token.ErrRevoked)
			}
		}
		stop()
		assert.Greater(t, len(revoked), 2)
	})
}
