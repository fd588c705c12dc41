package dataplane_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

// notReadYet makes a store whose complete reads fail and in which only a token causes a read
// of mesh default, which goes as read says.
func (f *following) notReadYet(read listFunc) {
	f.store.setList(func(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
		if scope == "default" {
			return read(ctx, scope, prefix)
		}
		return f.store.failingIn("bad")(ctx, scope, prefix)
	})
}

func TestATokenThatExpiresWhileItWaitsForAReadIsRefused(t *testing.T) {
	for _, c := range []struct {
		validFor time.Duration
		want     error
	}{{2 * time.Second, nil}, {time.Second, token.ErrExpired}} {
		synctest.Test(t, func(t *testing.T) {
			f := newFollowing(t)
			f.notReadYet(f.store.slowly(300 * time.Millisecond))
			raw := issue(t, newOfflineIssuer(t, testKey(1), "own"), "default", c.validFor)
			f.start(dataplane.WithPublicKey("default", "own", testKey(1).Public()), dataplane.WithLeeway(0))
			f.pass(900 * time.Millisecond)
			require.Zero(t, f.readsOf("default", 0))
			began := time.Now()
			assert.ErrorIs(t, f.check(raw), c.want)
			assert.Equal(t, 300*time.Millisecond, time.Since(began))
		})
	}
}

func TestATokenWhoseKeyIsReplacedWhileItWaitsForAReadIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		list func(f *following)
		at   time.Duration // half a second before the source is read again
	}{
		"the first one":       {func(f *following) { f.store.setList(hanging) }, 1500 * time.Millisecond},
		"another one":         {func(f *following) { f.notReadYet(hanging) }, 1500 * time.Millisecond},
		"after one that hung": {func(f *following) { f.store.setList(hanging) }, 7500 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				source := newScriptedSource("idp", map[string]int{"a": 1}).change(func(k *signing.SourceKeys) { k.Refresh = 2 * time.Second })
				f := newFollowing(t)
				c.list(f)
				f.start(dataplane.WithSource("default", source))
				raw := f.withSerial("a", 1)
				f.pass(c.at)
				source.hold(map[string]int{"a": 2})
				began := time.Now()
				f.refuses(raw, token.ErrUnknownKey)
				assert.Equal(t, time.Second, time.Since(began), "it waits for the store")
			})
		})
	}
}

func TestATokenWaitsForAReadNoLongerThanItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.notReadYet(hanging)
		f.start(dataplane.WithPublicKey("default", "own", testKey(1).Public()))
		errGone := errors.New("the peer has gone")
		ctx, leave := context.WithCancelCause(t.Context())
		time.AfterFunc(200*time.Millisecond, func() { leave(errGone) })
		began := time.Now()
		_, err := f.validator.Validate(ctx, "default", f.withSerial("own", 1))
		assert.ErrorIs(t, err, token.ErrUnavailable)
		assert.ErrorIs(t, err, errGone)
		assert.Equal(t, 200*time.Millisecond, time.Since(began))
	})
}

func TestARefusalForAnUnknownKeyNamesTheMesh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		assert.ErrorContains(t, f.check(f.withSerial("7", 1)), `there is no key with kid "7" for mesh "default"; if it was removed`)
	})
}

func TestATokenThatWaitsForTheFirstReadInVainCannotBeChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t)
		f.store.setList(hanging)
		f.start(dataplane.WithPublicKey("default", "own", testKey(1).Public()))
		began := time.Now()
		f.cannotTell(f.withSerial("own", 1))
		assert.Equal(t, time.Second, time.Since(began))
	})
}
