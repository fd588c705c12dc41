package dataplane_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
)

func TestValidatorNoticesWithinItsLimitThatTheStoreCannotBeRead(t *testing.T) {
	for _, limit := range []time.Duration{0, time.Second, 10 * time.Second, time.Minute} {
		for name, fault := range map[string]listFunc{"fails": failing, "hangs": hanging} {
			t.Run(fmt.Sprint("limit ", limit, ", the store ", name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFollowing(t)
					f.store.setWatch(silent)
					raw := f.issue(24 * time.Hour)
					f.start(dataplane.WithMaxStale(limit), dataplane.WithSessionMaxStale(limit))
					f.pass(time.Minute)
					f.accepts(raw)
					session := f.session(raw)
					assertOpen(t, session)

					f.store.setList(fault)
					f.pass(limit / 2)
					f.accepts(raw, "the state is not older than the limit")
					f.pass(limit - limit/2 + 2*time.Second)
					f.cannotTell(raw)
					f.pass(time.Second) // sessions are looked at each second
					assertEnded(t, session, token.ErrUnavailable)

					f.store.setList(nil)
					f.pass(6 * time.Second) // a read that hangs ends after five
					f.accepts(raw, "the store is back")
				})
			})
		}
	}
}

func TestValidatorFindsWithinItsLimitWhatASilentWatchDoesNotAnnounce(t *testing.T) {
	for limit, within := range map[time.Duration]time.Duration{
		0: time.Second, time.Second: time.Second, 10 * time.Second: 10 * time.Second,
		time.Minute: 30 * time.Second, time.Hour: 30 * time.Second,
	} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				f.store.setWatch(silent)
				f.start(dataplane.WithMaxStale(limit))
				f.pass(time.Minute)
				raw := f.issue(24 * time.Hour)
				session := f.session(raw)
				f.revoke(raw)
				f.pass(within)
				f.refuses(raw, token.ErrRevoked)
				assertEnded(t, session, token.ErrRevoked)
			})
		})
	}
}

func TestValidatorReadsNoMoreThanItsLimitAsksFor(t *testing.T) {
	for limit, most := range map[time.Duration]int{0: 70, time.Second: 140, 10 * time.Second: 14, time.Minute: 3, time.Hour: 3} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFollowing(t)
				f.start(dataplane.WithMaxStale(limit))
				f.pass(time.Minute)
				since := len(f.store.readsSoFar())
				f.pass(time.Minute)
				assert.LessOrEqual(t, len(f.store.readsSoFar())-since, most)
			})
		})
	}
}

func TestValidatorAnswersAtOnceThatItCannotTellWhileEveryReadFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithMaxStale(time.Minute))
		raw := f.issue(30 * day)
		f.accepts(raw)
		f.store.setList(failing)
		f.pass(10 * time.Minute)
		began, reads := time.Now(), f.readsOf("default", 0)
		for range 100 {
			f.cannotTell(raw)
		}
		assert.Zero(t, time.Since(began), "a token waits for a read that cannot succeed")
		assert.Equal(t, reads, f.readsOf("default", 0))
	})
}
