package dataplane_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func TestASessionThatCouldNotBeCheckedForTooLongEndsBeforeItBegins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithMaxStale(time.Hour), dataplane.WithSessionMaxStale(time.Minute))
		renewing := newIssuer(t, f.store.Memory, dataplane.WithMaxLineage(day))
		raw := f.issue(time.Hour)
		assertOpen(t, f.session(raw))
		f.store.setList(failing)
		f.pass(2 * time.Minute)
		verified := f.verified(raw)
		assertEnded(t, f.bound(verified), token.ErrUnavailable)
		_, err := renewing.Renew(t.Context(), verified, time.Hour)
		assert.ErrorIs(t, err, token.ErrUnavailable, "nor is it renewed")

		f.store.setList(nil)
		f.pass(recovery)
		assertOpen(t, f.bound(verified))
		_, err = renewing.Renew(t.Context(), verified, time.Hour)
		assert.NoError(t, err)
	})
}

// The key has gone from its source while the token waits for the first read of the store.
func TestAKeyThatIsGoneIsNotReportedForATokenThatWaited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, source := newFollowing(t), newScriptedSource("idp", map[string]int{"a": 1, "b": 2})
		source.change(func(keys *signing.SourceKeys) { keys.Refresh = 100 * time.Millisecond })
		f.store.setList(f.store.slowly(800 * time.Millisecond))
		f.start(dataplane.WithSource("default", source))
		refused := make(chan error, 1)
		raw := f.withSerial("a", 1)
		go func() { refused <- f.check(raw) }()
		synctest.Wait()
		source.hold(map[string]int{"b": 2})
		f.pass(500 * time.Millisecond)
		assert.Empty(t, refused)
		err := <-refused
		assert.ErrorIs(t, err, token.ErrUnknownKey)
		assert.ErrorContains(t, err, `key "a" was removed`)
		for _, key := range f.validator.Report().Keys {
			assert.NotEqual(t, "a", key.KeyID)
		}
	})
}
