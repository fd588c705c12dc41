package dataplane_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/audit"
	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/token"
)

// renewVerified renews a token without using it once more.
func (l *lineage) renewVerified(verified dataplane.Verified, address string) string {
	l.t.Helper()
	issued, err := l.issuer.Renew(audit.WithAddress(l.t.Context(), address), verified, time.Hour)
	require.NoError(l.t, err)
	return issued.Token
}

func TestTheThirdRenewalOfOneTokenIsAForkAndEachAfterIt(t *testing.T) {
	for name, others := range map[string]int{"that is the first of all": 0, "beside another lineage": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLineage(t)
				for range others {
					raw := l.issue()
					time.Sleep(time.Minute)
					l.use(l.renew(raw, ""), "")
				}
				raw, made := l.issue(), time.Now().UTC()
				for n := range 5 {
					time.Sleep(7 * time.Minute)
					assert.Len(t, l.forks, max(0, n-2))
					l.use(raw, fmt.Sprint("10.0.0.1:", n))
					l.renewVerified(l.use(raw, "10.0.0.2:1"), fmt.Sprint("10.0.0.3:", n))
				}
				require.Len(t, l.forks, 3)
				for i, fork := range l.forks {
					assert.Equal(t, stolenID(t, raw), fork.Verified.Registered().ID)
					assert.True(t, fork.Renewed)
					assert.Equal(t, i+3, fork.Repeated)
					assert.Equal(t, fmt.Sprint("10.0.0.3:", i+2), fork.Address)
					assert.Equal(t, made, fork.Later, "it is the latest one itself")
					assert.Equal(t, "10.0.0.3:0", fork.LaterAddress, "only renewals count")
					assert.Equal(t, 1, l.log.Count("action=fork", fmt.Sprint("repeated=", i+3), "before="+made.Format(time.RFC3339), "other_address=10.0.0.3:0"))
				}
			})
		})
	}
}

func TestAnEarlierTokenIsHeardOfOnceUsedAndOnceRenewedInEitherOrder(t *testing.T) {
	for _, renewedFirst := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newLineage(t)
			first := l.issue()
			thief := l.use(first, "")
			time.Sleep(10 * time.Minute)
			l.use(l.renewVerified(thief, ""), "")
			time.Sleep(token.Skew)
			use := func() { l.use(first, "") }
			renew := func() { l.renewVerified(thief, "") }
			steps := []func(){use, use, renew, renew, use, renew}
			if renewedFirst {
				steps = []func(){renew, renew, use, use, renew, use}
			}
			var heard []int
			for _, step := range steps {
				step()
				heard = append(heard, len(l.forks))
			}
			assert.Equal(t, []int{1, 1, 2, 2, 2, 2}, heard)
			assert.Equal(t, []bool{renewedFirst, !renewedFirst}, []bool{l.forks[0].Renewed, l.forks[1].Renewed})
		})
	}
}

func TestTheFirstAndTheSecondAnswerAreBothGoodButNotTheSecondOnceTheFirstWasRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t)
		raw := l.issue()
		time.Sleep(10 * time.Minute)
		one := l.renew(raw, "10.0.0.1:1")
		time.Sleep(5 * time.Minute)
		two := l.renew(raw, "10.0.0.1:2")
		l.use(one, "10.0.0.1:3")
		time.Sleep(5 * time.Minute)
		l.renew(one, "10.0.0.1:4")
		renewed := time.Now().UTC()
		time.Sleep(5 * time.Minute)
		assert.Empty(t, l.forks)
		l.use(two, "6.6.6.6:1")
		require.Len(t, l.forks, 1)
		fork := l.forks[0]
		assert.Equal(t, []any{false, 0, "6.6.6.6:1", "10.0.0.1:3"}, []any{fork.Renewed, fork.Repeated, fork.Address, fork.LaterAddress})
		assert.Equal(t, renewed, fork.Later, "it is later than the latest one, and earlier than what that was renewed to")
		assert.Equal(t, 1, l.log.Count("action=fork", "before="+renewed.Format(time.RFC3339)))
	})
}

func TestASecondAnswerOfAnIssuerWhoseClockWasSetBackMakesNoFork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := &shiftedClock{}
		l := newLineage(t)
		l.issuer = newIssuer(t, l.store, dataplane.WithMaxLineage(90*day), dataplane.WithClock(clock.now))
		raw := l.issue()
		time.Sleep(20 * time.Minute)
		l.renew(raw, "") // the answer is lost
		time.Sleep(time.Minute)
		clock.jump(-5 * time.Minute)
		l.use(l.renew(raw, ""), "")
		assert.Empty(t, l.forks)
	})
}

func TestOnlyTheTokenBeforeTheLatestMayStillBeUsedForAMoment(t *testing.T) {
	for name, c := range map[string]struct{ validFor, renewedAfter, moment time.Duration }{
		"two minutes":             {time.Hour, 10 * time.Minute, token.Skew},
		"a tenth of its lifetime": {10 * time.Minute, 3 * time.Minute, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLineage(t)
				first := l.use(issue(t, l.issuer, "default", c.validFor), "")
				next := func(verified dataplane.Verified) (string, dataplane.Verified) {
					time.Sleep(c.renewedAfter)
					issued, err := l.issuer.Renew(t.Context(), verified, c.validFor)
					require.NoError(t, err)
					return issued.Token, l.use(issued.Token, "")
				}
				raw, second := next(first)
				next(second)
				time.Sleep(c.moment - time.Nanosecond)
				l.use(raw, "")
				assert.Empty(t, l.forks)
				time.Sleep(time.Nanosecond)
				l.use(raw, "")
				assert.Len(t, l.forks, 1)
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t)
		first := l.issue()
		time.Sleep(10 * time.Minute)
		second := l.renew(first, "")
		l.use(second, "")
		time.Sleep(10 * time.Minute)
		third := l.renew(second, "")
		l.use(third, "")
		l.use(second, "")
		assert.Empty(t, l.forks)
		l.use(first, "")
		assert.Len(t, l.forks, 1, "another came in between")
	})
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t)
		first := l.use(l.issue(), "")
		time.Sleep(10 * time.Minute)
		l.use(l.renewVerified(first, ""), "")
		assert.Empty(t, l.forks)
		l.renewVerified(first, "")
		assert.Len(t, l.forks, 1, "it may be used, and not renewed")
	})
}

func TestARenewalIsRefusedIfWhoHearsOfTheForkRevokesTheID(t *testing.T) {
	for name, fork := range map[string]func(l *lineage, first dataplane.Verified){
		"of an earlier token": func(l *lineage, first dataplane.Verified) {
			l.use(l.renewVerified(first, ""), "")
			time.Sleep(10 * time.Minute)
		},
		"for the third time": func(l *lineage, first dataplane.Verified) {
			l.renewVerified(first, "")
			l.renewVerified(first, "")
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLineage(t)
				l.validator = newValidator(t, l.store, dataplane.WithForkHandler(func(ctx context.Context, fork dataplane.Fork) {
					assert.NoError(t, dataplane.Revoke(ctx, l.store, "default", fork.Verified.Registered().ID))
					synctest.Wait() // until the validator has seen it
				}))
				synctest.Wait()
				first := l.use(l.issue(), "")
				time.Sleep(10 * time.Minute)
				fork(l, first)
				_, err := l.issuer.Renew(t.Context(), first, time.Hour)
				assert.ErrorIs(t, err, token.ErrRevoked)
			})
		})
	}
}

func TestAValidatorThatSawNoRenewalKnowsFromWhereTheLaterTokenWasPresentedFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t)
		first := l.issue()
		time.Sleep(20 * time.Minute)
		next := l.renew(first, "")
		made := time.Now().UTC()
		time.Sleep(token.Skew)
		another := &lineage{t: t, store: l.store}
		another.validator = newValidator(t, l.store, dataplane.WithForkHandler(func(_ context.Context, f dataplane.Fork) { another.forks = append(another.forks, f) }))
		synctest.Wait()
		another.use(next, "10.0.0.1:1")
		another.use(next, "10.0.0.1:2")
		another.use(first, "6.6.6.6:1")
		require.Len(t, another.forks, 1)
		fork := another.forks[0]
		assert.Equal(t, []any{"6.6.6.6:1", "10.0.0.1:1", made}, []any{fork.Address, fork.LaterAddress, fork.Later})
	})
}

func TestTokensWithoutAnIDAreOfNoLineage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLineage(t, dataplane.WithUnrevocableTokens())
		raw := l.issue()
		time.Sleep(10 * time.Minute)
		l.use(l.renew(raw, ""), "") // so that there is a lineage
		now := time.Now().Unix()
		for _, nbf := range []int64{now - 300, now - 600, now - 900} {
			verified := l.use(signPayload(t, testKey(0), "1", fmt.Sprintf(`{"Mesh":"default","exp":%d,"nbf":%d,"iat":%d}`, now+3600, nbf, nbf)), "")
			_, err := l.issuer.Renew(t.Context(), verified, time.Hour)
			require.ErrorIs(t, err, token.ErrLineage)
		}
		assert.Empty(t, l.forks)
	})
}

func TestWithoutAStoreTheKeysOfSourcesMakeForks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var forks []dataplane.Fork
		l := &lineage{t: t, issuer: newOfflineIssuer(t, testKey(1), "own", dataplane.WithMaxLineage(day))}
		l.validator = newOfflineValidator(t, dataplane.WithPublicKey("default", "own", testKey(1).Public()),
			dataplane.WithForkHandler(func(_ context.Context, f dataplane.Fork) { forks = append(forks, f) }))
		first := l.issue()
		time.Sleep(10 * time.Minute)
		l.use(l.renew(first, ""), "")
		time.Sleep(token.Skew)
		l.use(first, "")
		require.Len(t, forks, 1)
		assert.Equal(t, "own", forks[0].Verified.KeyID())
	})
}
