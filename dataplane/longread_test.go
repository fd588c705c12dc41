package dataplane_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/token"
)

// takingLong answers a list of everything after some seconds, with what the store held at
// its beginning, and reports progress each second. Other lists are quick.
func (s *faultStore) takingLong(seconds int) listFunc {
	return func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
		records, err := s.Memory.List(ctx, scope, prefix)
		if scope != keystore.AllScopes {
			return records, err
		}
		for range seconds {
			time.Sleep(time.Second)
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			keystore.Progress(ctx)()
		}
		return records, err
	}
}

func TestValidatorIsReadyAfterAReadOfTenSecondsThatMakesProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		good := f.issue(30 * day)
		f.store.setList(f.store.takingLong(10))
		f.start()
		f.cannotTell(good)
		f.pass(10 * time.Second)
		f.accepts(good)
		f.pass(10 * time.Minute)
		f.accepts(good)
		assert.Zero(t, f.log.Count("reading the store fails"))
	})
}

func TestValidatorHeedsAChangeWhileALongReadGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		f.store.setList(f.store.takingLong(10))
		for range 10 { // the read of everything goes on for a third of the time
			revoked := f.issue(30 * day)
			f.accepts(revoked)
			f.revoke(revoked)
			for range 20 {
				f.pass(time.Second)
				f.refuses(revoked, token.ErrRevoked)
			}
			f.pass(3 * time.Second)
		}
	})
}

func TestValidatorHeedsAChangeWhileReadsOfOtherMeshesHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithSessionMaxStale(time.Second))
		putKey(t, f.store.Memory, "bad", 1, testKey(1))
		f.pass(time.Minute)
		f.store.setList(f.store.hangingIn("bad"))
		f.pass(2 * time.Minute)
		for range 20 {
			revoked := f.issue(30 * day)
			f.accepts(revoked)
			f.revoke(revoked)
			f.pass(510 * time.Millisecond) // two reads may be waited for, of everything and of the bad mesh
			f.refuses(revoked, token.ErrRevoked)
			f.pass(1100 * time.Millisecond)
		}
	})
}

func TestValidatorTakesNoAnswerThatIsOlderThanWhatItHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		announce := make(chan keystore.Scope)
		f.store.setWatch(func(ctx context.Context, changed func(keystore.Scope)) error {
			for {
				select {
				case scope := <-announce:
					changed(scope)
				case <-ctx.Done():
					return ctx.Err()
				}
			}
		})
		f.start()
		revoked := f.issue(30 * day)
		f.accepts(revoked)

		// The read of the mesh begins before the revocation, and ends after a read of
		// everything that sees it.
		answered := make(chan struct{})
		f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
			records, err := f.store.Memory.List(ctx, scope, prefix)
			if scope == "default" {
				<-answered
			}
			return records, err
		})
		announce <- "default"
		f.pass(time.Second)
		f.revoke(revoked)
		announce <- keystore.AllScopes
		f.pass(time.Second)
		f.refuses(revoked, token.ErrRevoked)
		close(answered)
		f.pass(100 * time.Millisecond)
		f.refuses(revoked, token.ErrRevoked)
	})
}

// A read of everything that began before many keys were removed does not bring them back.
func TestValidatorAcceptsNoRemovedKeyAfterALongReadDuringWhichManyMeshesWereRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		const meshes = 1500
		issuer := newOfflineIssuer(t, testKey(1), "1")
		tokens := make(map[keystore.Scope]string)
		for i := range meshes {
			mesh := fmt.Sprintf("mesh-%d", i)
			putKey(t, f.store.Memory, mesh, 1, testKey(1))
			if i%30 == 0 {
				tokens[keystore.Scope(mesh)] = issue(t, issuer, mesh, 30*day)
			}
		}
		f.start()
		f.store.setList(f.store.takingLong(20))
		f.pass(31 * time.Second) // the read of everything has begun
		for i := range meshes {
			mesh := fmt.Sprintf("mesh-%d", i)
			require.NoError(t, f.store.Memory.Delete(t.Context(), keystore.Scope(mesh), keyRecord(mesh, 1)))
		}
		now, cancel := context.WithCancel(t.Context())
		cancel() // no token waits for a read
		for range 4 {
			f.pass(12 * time.Second)
			accepted := 0
			for mesh, raw := range tokens {
				if _, err := f.validator.Validate(now, string(mesh), raw); err == nil {
					accepted++
				}
			}
			require.Zero(t, accepted, "accepted tokens of removed keys")
		}
	})
}

// A read may time out while the follower pauses between reads that fail.
func TestValidatorRecoversAfterReadsTimeOutWhileOthersFailFast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		const meshes = 40
		for i := range meshes {
			putKey(t, f.store.Memory, fmt.Sprintf("mesh-%d", i), 1, testKey(1))
		}
		good := f.issue(30 * day)
		f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
			if scope == keystore.AllScopes {
				return hanging(ctx, scope, prefix)
			}
			return failing(ctx, scope, prefix)
		})
		for range 300 {
			for i := range meshes {
				mesh := fmt.Sprintf("mesh-%d", i)
				replaceRecord(t, f.store.Memory, keystore.Scope(mesh), keyRecord(mesh, 1), pemOf(t, testKey(1)))
			}
			f.pass(507 * time.Millisecond)
		}
		f.store.setList(nil)
		f.pass(recovery)
		f.accepts(good)
	})
}

// The calls of the store ignore their contexts, such as those of a file system that is not
// there any more, and never return.
func TestValidatorHeedsAChangeWhileReadsOfAnotherMeshNeverReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		putKey(t, f.store.Memory, "bad", 1, testKey(1))
		f.start()
		returned := make(chan struct{})
		defer close(returned)
		f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
			if scope == "bad" || scope == keystore.AllScopes {
				<-returned
			}
			return f.store.Memory.List(ctx, scope, prefix)
		})
		f.pass(5 * time.Minute)
		for range 20 {
			revoked := f.issue(30 * day)
			f.accepts(revoked)
			f.revoke(revoked)
			f.pass(time.Second)
			f.refuses(revoked, token.ErrRevoked)
			f.pass(17 * time.Second)
		}
	})
}
