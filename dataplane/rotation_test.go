package dataplane_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/internal/test/logtest"
	"github.com/meshpass/meshpass/internal/test/storetest"
	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/signing"
	"github.com/meshpass/meshpass/token"
)

func assertInUse(t testing.TB, err error, because ...any) {
	t.Helper()
	assert.ErrorIs(t, err, signing.ErrInUse, because...)
}

// signedBy issues a token and says which key signed it.
func signedBy(t testing.TB, issuer dataplane.Issuer) string {
	t.Helper()
	kid, _ := inside(t, issue(t, issuer, "default", time.Hour))
	return kid
}

// pass lets time go by in a synctest bubble.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestPublishDelayLetsAKeySignOnceItHasBeenThereForSoLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		issuer, atOnce := newIssuer(t, store, dataplane.WithPublishDelay(10*time.Minute)), newIssuer(t, store)
		assert.Equal(t, "1", signedBy(t, issuer), "the only one signs at once")
		pass(time.Hour)
		_, err := dataplane.AddKey(t.Context(), store, "default", testKey(1))
		require.NoError(t, err)
		assert.Equal(t, "2", signedBy(t, atOnce))
		assert.Equal(t, "1", signedBy(t, issuer))
		pass(10*time.Minute - time.Nanosecond)
		assert.Equal(t, "1", signedBy(t, issuer))
		pass(time.Nanosecond)
		assert.Equal(t, "2", signedBy(t, issuer))
	})
}

func TestPublishDelayLetsTheNewestKeySignThatIsOldEnough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		issuer := newIssuer(t, store, dataplane.WithPublishDelay(10*time.Minute))
		for serial := range 4 { // at 0, 4, 8 and 12 minutes
			putKey(t, store, "default", signing.Serial(serial+9), testKey(serial%3))
			assert.Equal(t, []string{"9", "9", "9", "9"}[serial], signedBy(t, issuer), "none, or one, is old enough")
			pass(4 * time.Minute)
		}
		for _, want := range []string{"10", "11", "12", "12"} { // at 16, 20, 24 and 28 minutes
			assert.Equal(t, want, signedBy(t, issuer))
			pass(4 * time.Minute)
		}
	})
}

func TestPublishDelayLetsTheOldestSignWhereEveryKeyIsYoung(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 3, testKey(0))
		putKey(t, store, "default", 4, testKey(1))
		putKey(t, store, "default", 10, testKey(2))
		issuer := newIssuer(t, store, dataplane.WithPublishDelay(time.Hour))
		assert.Equal(t, "3", signedBy(t, issuer))
		require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 3, dataplane.Forced()))
		assert.Equal(t, "4", signedBy(t, issuer))
		require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 4, dataplane.Forced()))
		assert.Equal(t, "10", signedBy(t, issuer), "the only one that is left")
		require.NoError(t, dataplane.RemoveAllKeys(t.Context(), store, "default"))
		_, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
		assert.ErrorIs(t, err, signing.ErrNoKey)
	})
}

func TestPublishDelayLetsNoPublicKeySignInPlaceOfAYoungKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putRecord(t, store, "default", signing.DataplaneKeys("default").PublicKeyName(1), testKey(1).Public().PEM())
		pass(time.Hour)
		putKey(t, store, "default", 2, testKey(0))
		assert.Equal(t, "2", signedBy(t, newIssuer(t, store, dataplane.WithPublishDelay(10*time.Minute))))
	})
}

func TestPublishDelayLetsAnUnreadableKeyStopIssuingWhenItsTimeComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		pass(time.Hour)
		putRecord(t, store, "default", signing.DataplaneKeys("default").KeyName(2), []byte("?"))
		issuer := newIssuer(t, store, dataplane.WithPublishDelay(10*time.Minute))
		assert.Equal(t, "1", signedBy(t, issuer))
		pass(10 * time.Minute)
		_, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, time.Hour)
		assert.ErrorIs(t, err, signing.ErrKey)
	})
}

func TestPublishDelayIsMeasuredOnTheIssuersClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &shiftedClock{}
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		putKey(t, store, "default", 2, testKey(1))
		issuer := newIssuer(t, store, dataplane.WithPublishDelay(10*time.Minute), dataplane.WithClock(clock.now))
		assert.Equal(t, "1", signedBy(t, issuer))
		clock.jump(10 * time.Minute)
		assert.Equal(t, "2", signedBy(t, issuer))
	})
}

func TestPublishDelayIsNotNegative(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	putKey(t, store, "default", 2, testKey(1))
	_, err := dataplane.NewIssuer(store, dataplane.WithPublishDelay(-time.Second))
	assert.ErrorContains(t, err, "WithPublishDelay")
	err = dataplane.RemoveKey(t.Context(), store, "default", 1, dataplane.WithPublishDelay(-time.Second))
	assert.ErrorContains(t, err, "WithPublishDelay")
}

func TestRemoveKeyRemovesTheKeyThatSignsByForceAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		pass(time.Hour)
		putKey(t, store, "default", 2, testKey(1))
		delay := dataplane.WithPublishDelay(10 * time.Minute)
		remove := func(serial signing.Serial, options ...dataplane.RemoveOption) error {
			return dataplane.RemoveKey(t.Context(), store, "default", serial, options...)
		}
		before := listAll(t, store)
		assertInUse(t, remove(2))
		assertInUse(t, remove(1, delay))
		pass(10*time.Minute - time.Nanosecond)
		assertInUse(t, remove(1, delay))
		pass(time.Nanosecond)
		assertInUse(t, remove(2, delay))
		assert.Equal(t, before, listAll(t, store))
		putKey(t, store, "default", 3, testKey(2))
		assertInUse(t, remove(2, delay), "key 3 is too young")
		require.NoError(t, remove(1, delay))
		require.NoError(t, remove(2, delay, dataplane.Forced()))
		assert.Equal(t, []signing.Serial{3}, serialsOf(t, store, "default"))
	})
}

func TestRemoveKeyRemovesAYoungKeyThatDoesNotSignYetUnlessItIsTheNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		pass(time.Hour)
		putKey(t, store, "default", 2, testKey(1))
		putKey(t, store, "default", 3, testKey(2))
		require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 2, dataplane.WithPublishDelay(10*time.Minute)))
		assertInUse(t, dataplane.RemoveKey(t.Context(), store, "default", 3, dataplane.WithPublishDelay(10*time.Minute)))
		assert.Equal(t, []signing.Serial{1, 3}, serialsOf(t, store, "default"))
	})
}

func TestRemoveKeyRemovesAPublicKeyWhereNothingSigns(t *testing.T) {
	store := keystore.NewMemory()
	putRecord(t, store, "default", signing.DataplaneKeys("default").PublicKeyName(1), testKey(0).Public().PEM())
	require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 1))
	assert.Empty(t, listAll(t, store))
}

func TestRemoveKeyRefusesANilOption(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	assert.Error(t, dataplane.RemoveKey(t.Context(), store, "default", 1, dataplane.Forced(), nil))
	assert.Len(t, listAll(t, store), 1)
}

// aheadStore dates records by a clock that is ahead of ours.
type aheadStore struct {
	*keystore.Memory
	by time.Duration
}

func (s aheadStore) List(ctx context.Context, scope keystore.Scope, prefix string) ([]keystore.Record, error) {
	records, err := s.Memory.List(ctx, scope, prefix)
	for i := range records {
		records[i].Created = records[i].Created.Add(s.by)
	}
	return records, err
}

func (s aheadStore) ListScopes(ctx context.Context, prefix string, begin func() keystore.EachScope) error {
	return keystore.ListScopes(ctx, struct{ keystore.KeyStore }{s}, prefix, begin) // by way of List
}

func TestRemoveKeyKeepsTheKeyThatSignsWhereTheClockOfTheStoreIsAhead(t *testing.T) {
	store := aheadStore{keystore.NewMemory(), time.Hour}
	putKey(t, store, "default", 1, testKey(0))
	putKey(t, store, "default", 2, testKey(1))
	require.Equal(t, "2", signedBy(t, newIssuer(t, store)))
	assertInUse(t, dataplane.RemoveKey(t.Context(), store, "default", 2))
	assert.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", 1))
}

// schedule is one whose periods are short enough to see several.
var schedule = dataplane.Rotation{Every: 72 * time.Hour, PublishDelay: time.Hour, MaxLifetime: 24 * time.Hour}

const rotationMargin = 5 * time.Minute // a key outlives its last token by so much

// rotate runs a rotation until stop is called, which waits for it to end.
func rotate(t testing.TB, store keystore.KeyStore, schedule dataplane.Rotation) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	if schedule.Logger == nil {
		schedule.Logger = slog.New(slog.DiscardHandler)
	}
	ended := make(chan error, 1)
	go func() { ended <- dataplane.Rotate(ctx, store, "default", schedule) }()
	stop = sync.OnceFunc(func() {
		cancel()
		assert.ErrorIs(t, <-ended, context.Canceled)
	})
	t.Cleanup(stop)
	return stop
}

func TestRotateKeepsItsScheduleAndNoTokenIsRefusedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start(dataplane.WithMaxLifetime(schedule.MaxLifetime))
		began := time.Now()
		issuer := newIssuer(t, f.store.Memory, dataplane.WithMaxLifetime(schedule.MaxLifetime), dataplane.WithPublishDelay(schedule.PublishDelay))
		var log logtest.Buffer
		schedule := schedule
		schedule.Logger = log.Logger()
		for range 2 { // replicas
			defer rotate(t, f.store.Memory, schedule)()
		}
		type issued struct {
			raw     string
			at      time.Time
			session context.Context
		}
		var alive []issued
		f.pass(30 * time.Minute) // apart from the times at which keys come and go
		for time.Since(began) < 3*schedule.Every+48*time.Hour {
			now := time.Since(began)
			var want []signing.Serial
			for serial := signing.Serial(1); time.Duration(serial-1)*schedule.Every < now; serial++ {
				if now < time.Duration(serial)*schedule.Every+schedule.PublishDelay+schedule.MaxLifetime+rotationMargin {
					want = append(want, serial)
				}
			}
			require.Equal(t, want, serialsOf(t, f.store.Memory, "default"), "after %s", now)

			raw := issue(t, issuer, "default", schedule.MaxLifetime)
			session := context.Context(nil)
			if distance := now - schedule.Every - schedule.PublishDelay; distance.Abs() < 2*time.Hour {
				session = f.session(raw) // of the last tokens of key 1, and of the first of key 2
			}
			alive = append(alive, issued{raw, time.Now(), session})
			alive = slices.DeleteFunc(alive, func(i issued) bool {
				if time.Since(i.at) < schedule.MaxLifetime+defaultLeeway {
					require.NoError(t, f.check(i.raw), "after %s, issued %s ago", now, time.Since(i.at))
					if i.session != nil {
						require.NoError(t, context.Cause(i.session))
					}
					return false
				}
				if i.session != nil {
					require.ErrorIs(t, context.Cause(i.session), token.ErrExpired)
				}
				return true
			})
			f.pass(time.Hour)
		}
		assert.Zero(t, log.Count("failed"))
		for _, kid := range []string{"kid=2", "kid=3", "kid=4"} {
			assert.Equal(t, 1, log.Count("audit: done", `action="add key"`, kid))
		}
		for _, kid := range []string{"kid=1", "kid=2", "kid=3"} {
			assert.GreaterOrEqual(t, log.Count("audit: done", `action="remove key"`, kid), 1)
		}
		assert.Zero(t, log.Count("PRIVATE"))
	})
}

func TestRotateOnSeveralReplicasMakesOneKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const replicas = 3
		var log logtest.Buffer
		schedule := schedule
		schedule.Logger = log.Logger()
		store := newFaultStore()
		putKey(t, store.Memory, "default", 1, testKey(0))
		pass(schedule.Every)
		store.setList(everyoneReads(store, replicas))
		for range replicas {
			defer rotate(t, store, schedule)()
		}
		pass(time.Minute)
		assert.Equal(t, []signing.Serial{1, 2}, serialsOf(t, store, "default"))
		assert.Equal(t, 1, log.Count(`action="add key"`))
		assert.Zero(t, log.Count("failed"), "that another one was first is no failure")

		pass(schedule.PublishDelay + schedule.MaxLifetime + rotationMargin - 2*time.Minute)
		assert.Equal(t, []signing.Serial{1, 2}, serialsOf(t, store, "default"))
		pass(time.Minute) // to just before the time
		store.setList(everyoneReads(store, replicas))
		pass(10 * time.Second)
		assert.Equal(t, []signing.Serial{2}, serialsOf(t, store, "default"))
		assert.Zero(t, log.Count("failed"), "that another one removed it is no failure")
	})
}

func TestRotateCatchesUpAfterItStoodStill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		pass(day)
		putKey(t, store, "default", 2, testKey(1))
		putKey(t, store, "default", 3, testKey(2))
		pass(10 * schedule.Every)
		defer rotate(t, store, schedule)()
		pass(10 * time.Second)
		assert.Equal(t, []signing.Serial{3, 4}, serialsOf(t, store, "default"), "one key was due, and two have nothing left to verify")
	})
}

func TestRotateKeepsAKeyWhoseSuccessorCameLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFollowing(t).start()
		f.pass(4 * day) // nobody rotated, so key 1 signed all the time
		last := f.issue(schedule.MaxLifetime)
		defer rotate(t, f.store.Memory, schedule)()
		f.pass(schedule.MaxLifetime - time.Second)
		f.accepts(last)
	})
}

func TestRotateKeepsAKeyWhosePrivateHalfIsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putRecord(t, store, "default", signing.DataplaneKeys("default").PublicKeyName(1), testKey(1).Public().PEM())
		putKey(t, store, "default", 2, testKey(0))
		pass(2 * schedule.Every)
		defer rotate(t, store, schedule)()
		pass(schedule.Every - time.Hour)
		assert.Equal(t, []signing.Serial{1, 3}, serialsOf(t, store, "default"))
	})
}

func TestRotateKeepsAKeyThatSignedUntilLongAfterAPublicKeyCame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		pass(time.Hour)
		putRecord(t, store, "default", signing.DataplaneKeys("default").PublicKeyName(2), testKey(1).Public().PEM())
		pass(10 * schedule.Every)
		putKey(t, store, "default", 3, testKey(2))
		pass(schedule.PublishDelay + time.Minute)
		defer rotate(t, store, schedule)()
		pass(time.Minute)
		assert.Equal(t, []signing.Serial{1, 2, 3}, serialsOf(t, store, "default"), "tokens of key 1 are a few minutes old")
	})
}

func TestRotateTakesTheSerialAfterTheHighestAlsoOfAPublicKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 2, testKey(0))
		putRecord(t, store, "default", signing.DataplaneKeys("default").PublicKeyName(3), testKey(1).Public().PEM())
		pass(schedule.Every)
		defer rotate(t, store, schedule)()
		pass(10 * time.Second)
		assert.Equal(t, []signing.Serial{2, 3, 4}, serialsOf(t, store, "default"), "as AddKey does; 3 would hide a key that verifies")
	})
}

// refusingStore fails to create records while err is set.
type refusingStore struct {
	*faultStore
	err atomic.Pointer[error]
}

func (s *refusingStore) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	if err := s.err.Load(); err != nil {
		return keystore.Record{}, *err
	}
	return s.faultStore.Create(ctx, r)
}

func TestRotateLogsAFailureAndTriesAgainEveryMinute(t *testing.T) {
	for name, fail := range map[string]func(*refusingStore) (heal func()){
		"reading": func(s *refusingStore) func() {
			s.setList(failing)
			return func() { s.setList(nil) }
		},
		"writing": func(s *refusingStore) func() {
			err := keystore.ErrReadOnly
			s.err.Store(&err)
			return func() { s.err.Store(nil) }
		},
		"a name that another scope has": func(s *refusingStore) func() {
			err := keystore.ErrNameTaken
			s.err.Store(&err)
			return func() { s.err.Store(nil) }
		},
		"no key": func(s *refusingStore) func() {
			records := listAll(t, s)
			for _, r := range records {
				_ = s.Delete(context.Background(), r.Scope, r.Name)
			}
			return func() { _, _ = s.Memory.Create(context.Background(), records[0]) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log logtest.Buffer
				schedule := schedule
				schedule.Logger = log.Logger()
				store := &refusingStore{faultStore: newFaultStore()}
				putKey(t, store, "default", 1, testKey(0))
				pass(schedule.Every)
				heal := fail(store)
				defer rotate(t, store, schedule)()
				pass(4*time.Minute + 10*time.Second)
				assert.InDelta(t, 5, log.Count("rotating keys failed"), 1)
				heal()
				if name == "no key" { // the one that is there now is new
					pass(schedule.Every)
				}
				pass(time.Minute + 2*time.Second)
				assert.Equal(t, []signing.Serial{1, 2}, serialsOf(t, store, "default"))
			})
		})
	}
}

func TestRotateGoesOnAfterAStoreThatDidNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFaultStore()
		putKey(t, store, "default", 1, testKey(0))
		pass(schedule.Every)
		store.setList(hanging)
		stop := rotate(t, store, schedule)
		defer stop()
		pass(time.Minute)
		store.setList(nil)
		pass(10 * time.Minute)
		assert.Equal(t, []signing.Serial{1, 2}, serialsOf(t, store.Memory, "default"))
	})
}

func TestRotateEndsWithItsContextAlsoWhileTheStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newFaultStore()
		store.setList(hanging)
		stop := rotate(t, store, schedule)
		synctest.Wait()
		began := time.Now()
		stop()
		assert.Zero(t, time.Since(began))
	})
}

func TestRotateRefusesAScheduleThatMakesNoSenseAtOnce(t *testing.T) {
	store := keystore.NewMemory()
	putKey(t, store, "default", 1, testKey(0))
	for name, r := range map[string]dataplane.Rotation{
		"nothing":                           {},
		"no period":                         {MaxLifetime: time.Hour},
		"a negative period":                 {Every: -time.Hour, MaxLifetime: time.Hour},
		"no lifetime":                       {Every: time.Hour},
		"a negative lifetime":               {Every: time.Hour, MaxLifetime: -1},
		"a negative delay":                  {Every: time.Hour, MaxLifetime: time.Hour, PublishDelay: -1},
		"a delay as long as the period":     {Every: time.Hour, MaxLifetime: time.Hour, PublishDelay: time.Hour},
		"a delay longer than the period":    {Every: time.Hour, MaxLifetime: time.Hour, PublishDelay: 2 * time.Hour},
		"keys that are too small":           {Every: time.Hour, MaxLifetime: time.Hour, Bits: 1024},
		"keys of a size that nobody makes":  {Every: time.Hour, MaxLifetime: time.Hour, Bits: 2049},
		"keys of a negative number of bits": {Every: time.Hour, MaxLifetime: time.Hour, Bits: -2048},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			err := dataplane.Rotate(ctx, store, "default", r)
			require.Error(t, err)
			assert.NotErrorIs(t, err, context.DeadlineExceeded)
			assert.ErrorContains(t, err, "rotation")
		})
	}
	assert.ErrorIs(t, dataplane.Rotate(t.Context(), store, "", schedule), keystore.ErrName)
	assert.Len(t, listAll(t, store), 1)
}

func TestRotateNeedsAStore(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	schedule := schedule
	var log logtest.Buffer
	schedule.Logger = log.Logger()
	err := dataplane.Rotate(ctx, nil, "default", schedule)
	require.Error(t, err)
	assert.NotErrorIs(t, err, context.DeadlineExceeded)
}

func TestRotateKeepsEveryKeyForTheLongestLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := keystore.NewMemory()
		putKey(t, store, "default", 1, testKey(0))
		putKey(t, store, "default", 2, testKey(1))
		pass(2 * schedule.PublishDelay)
		schedule := schedule
		schedule.MaxLifetime = math.MaxInt64
		defer rotate(t, store, schedule)()
		pass(time.Hour)
		assert.Equal(t, []signing.Serial{1, 2}, serialsOf(t, store, "default"), "it is counted in nanoseconds, and must not overflow")
	})
}

// replicatedStore is a store with copies that lag behind: each change reaches each
// of them, in order, up to a longest lag later.
type replicatedStore struct {
	*keystore.Memory
	copies []*laggingCopy
}

type laggingCopy struct {
	*keystore.Memory
	lag     time.Duration // the longest
	changes chan laggingChange

	mu   sync.Mutex
	last time.Time
}

type laggingChange struct {
	due   time.Time
	apply func(*keystore.Memory) error
}

func newReplicatedStore(lags ...time.Duration) *replicatedStore {
	s := &replicatedStore{Memory: keystore.NewMemory()}
	for _, lag := range lags {
		s.copies = append(s.copies, &laggingCopy{Memory: keystore.NewMemory(), lag: lag, changes: make(chan laggingChange, 1000)})
	}
	return s
}

// follow applies changes until they end.
func (c *laggingCopy) follow() error {
	for change := range c.changes {
		time.Sleep(time.Until(change.due))
		if err := change.apply(c.Memory); err != nil {
			return err
		}
	}
	return nil
}

func (s *replicatedStore) replicate(apply func(*keystore.Memory) error) {
	for _, c := range s.copies {
		c.mu.Lock()
		due := time.Now().Add(c.lag/2 + rand.N(c.lag/2+1))
		if due.Before(c.last) {
			due = c.last
		}
		c.last = due
		c.changes <- laggingChange{due, apply}
		c.mu.Unlock()
	}
}

func (s *replicatedStore) Create(ctx context.Context, r keystore.Record) (keystore.Record, error) {
	created, err := s.Memory.Create(ctx, r)
	if err == nil {
		s.replicate(func(m *keystore.Memory) error { _, err := m.Create(ctx, r); return err })
	}
	return created, err
}

func (s *replicatedStore) Delete(ctx context.Context, scope keystore.Scope, name string) error {
	err := s.Memory.Delete(ctx, scope, name)
	if err == nil {
		s.replicate(func(m *keystore.Memory) error { return m.Delete(ctx, scope, name) })
	}
	return err
}

// manyKeys are used in turns for any number of serials.
var manyKeys = sync.OnceValue(func() []*signing.PrivateKey {
	keys := make([]*signing.PrivateKey, 8) // twice as many as are in use at once
	var making sync.WaitGroup
	for i := range keys {
		making.Go(func() { keys[i] = newPrivateKey(newRSA()) })
	}
	making.Wait()
	return keys
})

// rotationLoad is how issuers and validators work while keys come and go.
type rotationLoad struct {
	rotations, issuers, tokens int // tokens of each issuer
	publishDelay               time.Duration
}

// run returns how many tokens were issued, and how often one that had not expired
// was refused, by the reason.
func (load rotationLoad) run(t *testing.T) (issued int, refused map[string]int) {
	const (
		every   = 12 * time.Second
		longest = 20 * time.Second // that a token lives
		leeway  = 5 * time.Second
		lag     = 5 * time.Second
	)
	keys := manyKeys()
	refused = map[string]int{}
	synctest.Test(t, func(t *testing.T) {
		lags := make([]time.Duration, 8)
		for i := range lags {
			lags[i] = lag * time.Duration(i+1) / 8
		}
		store := newReplicatedStore(lags...)
		var copying sync.WaitGroup
		var validators []dataplane.Validator
		for _, c := range store.copies {
			copying.Go(func() { assert.NoError(t, c.follow()) })
			validators = append(validators, newValidator(t, c.Memory, dataplane.WithMaxLifetime(longest), dataplane.WithLeeway(leeway)))
		}
		putKey(t, store, "default", 1, keys[1])
		pass(lag)

		var mu sync.Mutex
		began := time.Now()
		end := began.Add(time.Duration(load.rotations) * every)
		ask := func(validator dataplane.Validator, raw string, expires time.Time) {
			verified, err := validator.Validate(context.Background(), "default", raw)
			if !time.Now().Before(expires) {
				return // it waited for a read, and is no longer good
			}
			if err != nil {
				mu.Lock()
				refused[err.Error()]++
				mu.Unlock()
				return
			}
			session, stop := verified.Bind(context.Background())
			context.AfterFunc(session, func() {
				defer stop()
				if cause := context.Cause(session); time.Now().Before(expires) {
					mu.Lock()
					refused["a session ended: "+cause.Error()]++
					mu.Unlock()
				}
			})
		}
		var working sync.WaitGroup
		for range load.issuers {
			issuer := newIssuer(t, store, dataplane.WithPublishDelay(load.publishDelay), dataplane.WithMaxLifetime(longest))
			working.Go(func() {
				for n := range load.tokens {
					share := end.Sub(began) / time.Duration(load.tokens)
					time.Sleep(time.Until(began.Add(time.Duration(n)*share + rand.N(share))))
					validFor := time.Second + rand.N(longest-time.Second)
					now := time.Now()
					made, err := issuer.Issue(t.Context(), token.Dataplane{Mesh: "default"}, validFor)
					if !assert.NoError(t, err) {
						return
					}
					mu.Lock()
					issued++
					mu.Unlock()
					expires := now.Truncate(time.Second).Add(validFor.Truncate(time.Second))
					for _, validator := range validators {
						working.Go(func() {
							for _, age := range []time.Duration{0, validFor / 2, time.Until(expires) - time.Nanosecond} {
								time.Sleep(time.Until(now.Add(age)))
								if time.Now().Before(expires) {
									ask(validator, made.Token, expires)
								}
							}
						})
					}
				}
			})
		}
		for serial := signing.Serial(2); serial <= signing.Serial(load.rotations)+1; serial++ {
			time.Sleep(every)
			added, err := dataplane.AddKey(t.Context(), store, "default", keys[int(serial)%len(keys)])
			require.NoError(t, err)
			require.Equal(t, serial, added.Serial)
			// What the next key's predecessor signed last has expired by now.
			if old := serial - signing.Serial((load.publishDelay+longest+leeway+every-1)/every) - 1; old > 0 {
				require.NoError(t, dataplane.RemoveKey(t.Context(), store, "default", old, dataplane.WithPublishDelay(load.publishDelay)))
			}
		}
		working.Wait()
		time.Sleep(longest + leeway)
		synctest.Wait()
		for _, c := range store.copies {
			close(c.changes)
		}
		copying.Wait()
		for _, validator := range validators {
			assert.Zero(t, openSessions(validator))
		}
		assert.Equal(t, load.issuers*load.tokens, issued)
	})
	return issued, refused
}

func TestRotateUnderLoadRefusesNoToken(t *testing.T) {
	load := rotationLoad{rotations: storetest.Repeat(100, 1000), issuers: 64, tokens: storetest.Repeat(4, 40), publishDelay: 6 * time.Second}
	issued, refused := load.run(t)
	assert.Empty(t, refused)
	t.Logf("%d rotations, %d tokens", load.rotations, issued)
}

// TestRotateWithoutAPublishDelayRefusesTokensAtValidatorsThatLag shows that the test
// above would find a refusal.
func TestRotateWithoutAPublishDelayRefusesTokensAtValidatorsThatLag(t *testing.T) {
	_, refused := rotationLoad{rotations: 20, issuers: 16, tokens: 10}.run(t)
	assert.NotEmpty(t, refused)
	for reason := range maps.Keys(refused) {
		assert.Contains(t, reason, "token", fmt.Sprint(refused))
	}
}
