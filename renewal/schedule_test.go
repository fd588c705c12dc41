package renewal_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/meshpass/meshpass/renewal"
	"github.com/meshpass/meshpass/token"
)

var errAway = errors.New("connection refused")

func TestATokenIsRenewedBetweenAHalfAndTwoThirdsOfItsLifetime(t *testing.T) {
	for _, lifetime := range []time.Duration{2 * time.Minute, time.Hour, 30 * 24 * time.Hour} {
		t.Run(lifetime.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := keep(t, &authority{lifetime: lifetime}, renewal.WithPoll(lifetime/120))
				stop := k.run(k.keeper)
				time.Sleep(20 * lifetime)
				stop()
				require.Greater(t, len(k.ages), 28)
				for _, age := range k.ages {
					assert.InDelta(t, 7.0/12, age.Seconds()/lifetime.Seconds(), 1.0/12+0.02)
				}
				assert.Greater(t, slices.Max(k.ages)-slices.Min(k.ages), lifetime/16, "at random moments")
				assert.Equal(t, len(k.ages), k.log.Count("token renewed"))
				assert.Zero(t, k.log.Count("level=WARN"), k.log.Last())
			})
		})
	}
}

func TestThePointInTheLifetimeCanBeChosen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &authority{lifetime: time.Hour}, renewal.WithPoint(0.2))
		stop := k.run(k.keeper)
		time.Sleep(4 * time.Hour)
		stop()
		for _, age := range k.ages {
			assert.InDelta(t, 0.175, age.Hours(), 0.026)
		}
		require.Greater(t, len(k.ages), 19)
	})
}

func TestProxiesThatStartTogetherDoNotRenewTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &authority{lifetime: time.Hour}
		for range 200 {
			k := keep(t, a, renewal.WithPoll(time.Minute))
			defer k.run(k.keeper)()
		}
		time.Sleep(time.Hour)
		a.mu.Lock()
		defer a.mu.Unlock()
		perMinute := map[time.Time]int{}
		for _, at := range a.asked {
			perMinute[at.Truncate(time.Minute)]++
		}
		for minute, n := range perMinute {
			assert.Less(t, n, 50, minute)
		}
		assert.GreaterOrEqual(t, len(a.asked), 200)
	})
}

// A process that starts again must not begin the lifetime of its token anew.
func TestATokenThatIsFoundInTheFileIsRenewedByItsAge(t *testing.T) {
	for age, want := range map[time.Duration]time.Duration{0: 25 * time.Minute, 20 * time.Minute: 5 * time.Minute, 50 * time.Minute: 0, 2 * time.Hour: 0} {
		synctest.Test(t, func(t *testing.T) {
			k := keep(t, &authority{lifetime: time.Hour})
			time.Sleep(age)
			stop := k.run(k.keeper)
			synctest.Wait()
			next := time.Until(k.keeper.State().NextAttempt)
			if want == 0 {
				assert.Equal(t, 1, k.timesAsked(), "the server says what has expired")
			} else {
				assert.Zero(t, k.timesAsked())
				assert.GreaterOrEqual(t, next, want)
				assert.LessOrEqual(t, next, want+15*time.Minute)
			}
			stop()
		})
	}
}

func TestAnOutageIsRiddenOutWithGrowingPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &authority{lifetime: time.Hour})
		before := k.text()
		k.goAway(errAway)
		stop := k.run(k.keeper)
		defer stop()
		time.Sleep(55 * time.Minute)
		assert.Equal(t, before, k.text())
		assert.Greater(t, k.timesAsked(), 14)
		assert.Less(t, k.timesAsked(), 70)
		assert.Less(t, k.asked[1].Sub(k.asked[0]), 3*time.Second)
		assert.Greater(t, k.asked[len(k.asked)-1].Sub(k.asked[len(k.asked)-2]), 29*time.Second)
		assert.ErrorIs(t, k.keeper.State().Err, errAway)
		assert.Zero(t, k.log.Count("level=ERROR"))

		k.goAway(nil)
		time.Sleep(62 * time.Second)
		assert.NotEqual(t, before, k.text())
		assert.NoError(t, k.keeper.State().Err)
		assert.Equal(t, k.claims().ExpiresAt, k.keeper.State().ExpiresAt)
	})
}

func TestAfterAnOutageThatIsLongerThanTheLifetimeANewTokenIsAskedForAndTakenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &authority{lifetime: time.Hour})
		before := k.text()
		k.goAway(errAway)
		stop := k.run(k.keeper)
		defer stop()
		time.Sleep(3 * time.Hour)
		k.goAway(nil)
		asked := k.timesAsked()
		time.Sleep(3 * time.Hour)
		assert.Less(t, k.timesAsked()-asked, 15, "a token that was refused is no load")
		assert.Positive(t, k.log.Count("level=ERROR", "issue a new token and put it into the file"))
		assert.ErrorIs(t, k.keeper.State().Err, token.ErrExpired)
		assert.Equal(t, before, k.text())

		k.put(k.issue("id-2") + "\n")
		time.Sleep(2 * time.Second)
		state := k.keeper.State()
		assert.NoError(t, state.Err)
		assert.Equal(t, "id-2", state.ID)
		for range 10 * 60 {
			time.Sleep(time.Minute)
			require.True(t, time.Now().Before(k.claims().ExpiresAt))
		}
		assert.Equal(t, "id-2", k.claims().ID)
	})
}

// tooEarly is an answer such as 429 with Retry-After.
type tooEarly time.Duration

func (d tooEarly) Error() string             { return "429" }
func (d tooEarly) RetryAfter() time.Duration { return time.Duration(d) }

func TestAServerThatAsksToWaitIsNotAskedBefore(t *testing.T) {
	for asks, waits := range map[time.Duration]time.Duration{5 * time.Minute: 5 * time.Minute, 1000 * time.Hour: time.Hour, -time.Hour: 0} {
		synctest.Test(t, func(t *testing.T) {
			k := keep(t, &authority{lifetime: 48 * time.Hour}, renewal.WithPoint(0.1))
			k.goAway(fmt.Errorf("wrapped: %w", tooEarly(asks)))
			stop := k.run(k.keeper)
			time.Sleep(10 * time.Hour)
			stop()
			require.Greater(t, len(k.asked), 3)
			for i := range k.asked[1:] {
				assert.GreaterOrEqual(t, k.asked[i+1].Sub(k.asked[i]), waits)
				assert.LessOrEqual(t, k.asked[i+1].Sub(k.asked[i]), waits+32*time.Second+time.Minute)
			}
		})
	}
}

func (tooEarly) TooEarly() bool { return true }

func TestAKeeperThatIsToldAgainAndAgainThatItsTokenWasRenewedSaysThatItMayBeStolen(t *testing.T) {
	const stolen = "the token is stolen"
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &authority{lifetime: time.Hour})
		stop := k.run(k.keeper)
		defer stop()
		k.goAway(tooEarly(6 * time.Minute))
		askedFor := func(times int) {
			for k.timesAsked() < times {
				time.Sleep(time.Second)
			}
			synctest.Wait()
		}
		askedFor(1)
		assert.Zero(t, k.log.Count(stolen), "its own answer may have been lost")
		askedFor(2)
		assert.Equal(t, 1, k.log.Count("level=ERROR", stolen))
		k.put(k.issue("id-2"))
		askedFor(3)
		assert.Equal(t, 1, k.log.Count(stolen), "another token is another matter")
	})
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &authority{lifetime: time.Hour})
		stop := k.run(k.keeper)
		defer stop()
		k.goAway(errAway)
		time.Sleep(50 * time.Minute)
		assert.Zero(t, k.log.Count(stolen), "an outage is no sign of that")
	})
}

// A page of maintenance, for example, asks everyone to come back in an hour.
func TestAServerThatAsksToWaitIsAskedAgainBeforeTheTokenExpires(t *testing.T) {
	for _, lifetime := range []time.Duration{2 * time.Minute, 10 * time.Minute, time.Hour, 2 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			k := keep(t, &authority{lifetime: lifetime})
			before := k.claims().ExpiresAt
			k.goAway(tooEarly(time.Hour))
			stop := k.run(k.keeper)
			time.Sleep(lifetime*2/3 + time.Second)
			require.Positive(t, k.timesAsked())
			k.goAway(nil)
			time.Sleep(time.Until(before) - time.Second)
			stop()
			assert.True(t, k.claims().ExpiresAt.After(before), lifetime)
			assert.LessOrEqual(t, len(k.asked), 3, "and no more often than needed")
		})
	}
}

func TestPausesAreAsLongAsIsSaid(t *testing.T) {
	for why, least := range map[error]time.Duration{errAway: time.Second, token.ErrDenied: time.Minute} {
		for range 20 {
			synctest.Test(t, func(t *testing.T) {
				k := keep(t, &authority{lifetime: 30 * 24 * time.Hour}, renewal.WithPoint(1e-6), renewal.WithPoll(20*time.Millisecond))
				k.goAway(why)
				stop := k.run(k.keeper)
				for k.timesAsked() < 2 {
					time.Sleep(time.Second)
				}
				stop()
				pause := k.asked[1].Sub(k.asked[0])
				assert.GreaterOrEqual(t, pause, least, why)
				assert.LessOrEqual(t, pause, least*3/2+time.Second, why)
			})
		}
	}
}

// Such as a control plane with an authoriser that was wrong for a quarter of an hour.
func TestARefusalThatIsMendedShortlyBeforeTheTokenExpiresCostsNoToken(t *testing.T) {
	for _, lifetime := range []time.Duration{20 * time.Minute, time.Hour, 24 * time.Hour} {
		for range 5 {
			synctest.Test(t, func(t *testing.T) {
				k := keep(t, &authority{lifetime: lifetime}, renewal.WithPoll(10*time.Second))
				before := k.claims().ExpiresAt
				k.goAway(fmt.Errorf("403: %w", token.ErrDenied))
				stop := k.run(k.keeper)
				time.Sleep(time.Until(before) - 2*time.Minute)
				k.goAway(nil)
				time.Sleep(time.Until(before) - time.Second)
				stop()
				assert.True(t, k.claims().ExpiresAt.After(before), lifetime)
				assert.Less(t, k.timesAsked(), 30, "a refusal is no load")
			})
		}
	}
}

// clock is a wall clock that is wrong by some time.
type clock struct{ wrong atomic.Int64 }

func newClock(wrong time.Duration) *clock {
	c := new(clock)
	c.set(wrong)
	return c
}

func (c *clock) set(wrong time.Duration) { c.wrong.Store(int64(wrong)) }
func (c *clock) now() time.Time          { return time.Now().Add(time.Duration(c.wrong.Load())) }

func TestATokenIsKeptFreshWhateverTheClockDoes(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for _, lifetime := range []time.Duration{2 * time.Minute, time.Hour} {
		for _, steps := range [][]time.Duration{
			{0, year}, {0, -year}, {0, time.Hour}, {0, -time.Hour}, {0, 3 * time.Minute}, {0, -3 * time.Minute}, {0, lifetime, 0}, {0, -lifetime, 0},
			{year, 0}, {-year, 0}, {year}, {-year}, {0, year, -year, 0},
		} {
			t.Run(fmt.Sprint(lifetime, steps), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					c := newClock(steps[0])
					k := keep(t, &authority{lifetime: lifetime}, renewal.WithClock(c.now), renewal.WithPoll(lifetime/120))
					stop := k.run(k.keeper)
					for _, wrong := range steps {
						synctest.Wait()
						c.set(wrong)
						for range 5 * 60 {
							time.Sleep(lifetime / 60)
							require.True(t, time.Now().Before(k.claims().ExpiresAt), "by the clock of the server")
						}
					}
					stop()
					assert.LessOrEqual(t, len(k.asked), 12*len(steps), "a wrong clock is no load")
					assert.Zero(t, k.log.Count("not renewed"))
				})
			})
		}
	}
}

func TestAClockThatContradictsAFreshTokenIsReportedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClock(0)
		k := keep(t, &authority{lifetime: time.Hour}, renewal.WithClock(c.now))
		stop := k.run(k.keeper)
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		c.set(48 * time.Hour)
		time.Sleep(5 * time.Hour)
		stop()
		assert.Equal(t, 1, k.log.Count("the clock of this machine differs"))
	})
}

func TestTheEndOfTheLineageIsAnnouncedOnceAndWellBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 100 * time.Hour
		k := keep(t, &authority{lifetime: time.Hour, maxLineage: limit}, renewal.WithMaxLineage(limit), renewal.WithPoll(10*time.Second))
		stop := k.run(k.keeper)
		defer stop()
		ends := k.claims().IssuedAt.Add(limit)
		time.Sleep(89 * time.Hour)
		assert.Zero(t, k.log.Count("the lineage of the token ends"))
		assert.Equal(t, ends, k.keeper.State().LineageEnds)
		time.Sleep(2 * time.Hour)
		assert.Equal(t, 1, k.log.Count("level=WARN", "the lineage of the token ends", "ends="+ends.Format("2006-01-02T15:04:05.000Z")))
		time.Sleep(10 * time.Hour)
		assert.Equal(t, 1, k.log.Count("the lineage of the token ends"))
		assert.Positive(t, k.log.Count("renewal refused"))
	})
}

func TestTheEndOfALineageWithoutAKnownLimitIsTakenFromATokenThatLivesShorter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &authority{lifetime: time.Hour, maxLineage: 10 * time.Hour})
		ends := k.claims().IssuedAt.Add(10 * time.Hour)
		stop := k.run(k.keeper)
		defer stop()
		time.Sleep(9 * time.Hour)
		assert.Zero(t, k.log.Count("the lineage of the token ends"))
		time.Sleep(59 * time.Minute)
		assert.Equal(t, 1, k.log.Count("the lineage of the token ends", "ends="+ends.Format("2006-01-02T15:04:05.000Z")))
		assert.Equal(t, ends, k.claims().ExpiresAt)
	})
}

func TestATokenThatWouldExpireSoonerIsAskedForAgainWhenItExpiresLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &authority{lifetime: 10 * time.Hour}, renewal.WithPoll(time.Minute))
		old := k.claims().ExpiresAt
		k.lifetime = time.Hour // the control plane has a new limit
		stop := k.run(k.keeper)
		time.Sleep(8*time.Hour + 59*time.Minute)
		assert.Equal(t, 1, k.timesAsked(), "more often would look like a thief")
		assert.Equal(t, old, k.claims().ExpiresAt)
		time.Sleep(3 * time.Minute)
		stop()
		assert.Equal(t, 2, k.timesAsked())
		assert.True(t, k.claims().ExpiresAt.After(old))
	})
}

func TestALongTokenIsNotSaidToNeedANewOneWhenTheLimitOfItsLineageComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &authority{lifetime: 87600 * time.Hour}, renewal.WithMaxLineage(24*time.Hour), renewal.WithPoll(time.Minute))
		stop := k.run(k.keeper)
		time.Sleep(25 * time.Hour)
		stop()
		assert.Zero(t, k.log.Count("the lineage of the token ends"))
	})
}

func TestATokenThatIsWorseThanTheOldOneIsDropped(t *testing.T) {
	for name, alter := range map[string]func(c *token.Claims){
		"another id":   func(c *token.Claims) { c.ID = "id-2" },
		"another iat":  func(c *token.Claims) { c.IssuedAt = c.IssuedAt.Add(time.Hour) },
		"another mesh": func(c *token.Claims) { c.Dataplane.Mesh = "other" },
		"another name": func(c *token.Claims) { c.Dataplane.Name = "" },
		"a workload":   func(c *token.Claims) { c.Dataplane.Workload = "backend" },
		"a type":       func(c *token.Claims) { c.Dataplane.Type = "ingress" },
		"fewer values": func(c *token.Claims) { c.Dataplane.Tags["kuma.io/service"] = []string{"backend"} },
		"no tags":      func(c *token.Claims) { c.Dataplane.Tags = nil },
		"another kind": func(c *token.Claims) {
			c.Dataplane = token.Dataplane{}
			c.Zone = token.Zone{Zone: "west", Scope: []string{"cp"}}
		},
		"the same expiry":   func(c *token.Claims) { c.ExpiresAt = c.IssuedAt.Add(time.Hour + 5*time.Second) },
		"an earlier expiry": func(c *token.Claims) { c.ExpiresAt = c.ExpiresAt.Add(-time.Hour) },
		"a validity to come": func(c *token.Claims) {
			c.NotBefore = c.NotBefore.Add(2 * time.Hour)
			c.ExpiresAt = c.ExpiresAt.Add(9 * time.Hour)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := keep(t, &authority{lifetime: time.Hour, alter: alter})
				before := k.text()
				time.Sleep(40 * time.Minute)
				_, err := k.keeper.Once(t.Context())
				require.ErrorIs(t, err, renewal.ErrWorse)
				assert.Equal(t, before, k.text())
				assert.Equal(t, []string{"token"}, k.files())

				stop := k.run(k.keeper)
				time.Sleep(time.Hour)
				stop()
				assert.Equal(t, before, k.text())
				assert.Positive(t, k.log.Count("level=ERROR", "renewal refused"))
				assert.Less(t, k.timesAsked(), 10)
			})
		})
	}
	for name, raw := range map[string]string{"nothing": "", "no token": "<html>", "two tokens": "a.b.c\na.b.c"} {
		t.Run(name, func(t *testing.T) {
			k := keep(t, &authority{lifetime: time.Hour})
			before := k.text()
			_, err := k.anotherWith(func(context.Context, string) (token.Issued, error) {
				return token.Issued{Token: raw}, nil
			}).Once(t.Context())
			require.ErrorIs(t, err, renewal.ErrWorse)
			assert.Equal(t, before, k.text())
		})
	}
}

func TestAFileWithoutATokenIsWatchedUntilOneIsThere(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"missing":      os.Remove,
		"empty":        func(path string) error { return os.Truncate(path, 0) },
		"half a token": func(path string) error { return os.Truncate(path, 100) },
		"too long":     func(path string) error { return os.Truncate(path, 1<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				k := keep(t, &authority{lifetime: time.Hour})
				require.NoError(t, spoil(k.path))
				_, err := k.keeper.Once(t.Context())
				require.Error(t, err)
				stop := k.run(k.keeper)
				defer stop()
				time.Sleep(time.Hour)
				assert.Equal(t, 1, k.log.Count("no token to renew"), k.log.Last())
				assert.Error(t, k.keeper.State().Err)
				assert.Zero(t, k.timesAsked())
				k.put(k.issue("id-2"))
				time.Sleep(time.Hour)
				assert.Positive(t, k.timesAsked())
				assert.NoError(t, k.keeper.State().Err)
				assert.Equal(t, "id-2", k.claims().ID)
			})
		})
	}
}

// A lost answer would make the next renewal look like that of a stolen token.
func TestAnAnswerThatIsOnItsWayWhenTheContextEndsIsTaken(t *testing.T) {
	for takes, want := range map[time.Duration]bool{time.Second: true, time.Minute: false} {
		synctest.Test(t, func(t *testing.T) {
			k := keep(t, &authority{lifetime: time.Hour})
			before := k.text()
			ctx, cancel := context.WithCancel(t.Context())
			began := time.Now()
			_, err := k.anotherWith(func(ctx context.Context, raw string) (token.Issued, error) {
				cancel()
				select {
				case <-ctx.Done():
					return token.Issued{}, ctx.Err()
				case <-time.After(takes):
					return k.renew(ctx, raw)
				}
			}, renewal.WithTimeout(time.Hour)).Once(ctx)
			if want {
				require.NoError(t, err)
				assert.NotEqual(t, before, k.text())
			} else {
				require.ErrorIs(t, err, context.Canceled)
				assert.Equal(t, before, k.text())
			}
			assert.LessOrEqual(t, time.Since(began), 2*time.Second)
		})
	}
}

func TestARenewalThatHangsIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &authority{lifetime: time.Hour})
		began := time.Now()
		_, err := k.anotherWith(func(ctx context.Context, raw string) (token.Issued, error) {
			<-ctx.Done()
			return token.Issued{}, ctx.Err()
		}, renewal.WithTimeout(5*time.Second)).Once(t.Context())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.Equal(t, 5*time.Second, time.Since(began))
	})
}

func TestNoTokenReachesTheLogOrAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := keep(t, &authority{lifetime: time.Hour})
		before := k.text()
		leaky := k.anotherWith(func(_ context.Context, raw string) (token.Issued, error) {
			return token.Issued{}, fmt.Errorf("%w: cannot renew %s", errAway, raw)
		})
		_, err := leaky.Once(t.Context())
		require.ErrorIs(t, err, errAway)
		assert.NotContains(t, err.Error(), before)
		stop := k.run(leaky)
		time.Sleep(time.Hour)
		stop()
		assert.Positive(t, k.log.Count("cannot renew (token)"))
		assert.NotContains(t, k.log.String(), before)
		assert.NotContains(t, leaky.State().Err.Error(), before)
		for _, printed := range []string{fmt.Sprintf("%+v", leaky), fmt.Sprintf("%#v", leaky), fmt.Sprintf("%+v", leaky.State())} {
			assert.NotContains(t, printed, before[:20])
			assert.NotContains(t, printed, strings.Trim(fmt.Sprint([]byte(before[:20])), "[]"))
		}
	})
}

func TestWrongArgumentsAreRefused(t *testing.T) {
	a := &authority{lifetime: time.Hour}
	for _, wrong := range []struct {
		path    string
		renew   renewal.Renew
		options []renewal.Option
	}{
		{"", a.renew, nil},
		{a.issue("id-1"), a.renew, nil},
		{"token", nil, nil},
		{"token", a.renew, []renewal.Option{nil}},
		{"token", a.renew, []renewal.Option{renewal.WithPoint(0)}},
		{"token", a.renew, []renewal.Option{renewal.WithPoint(1)}},
		{"token", a.renew, []renewal.Option{renewal.WithTimeout(0)}},
		{"token", a.renew, []renewal.Option{renewal.WithPoll(-1)}},
		{"token", a.renew, []renewal.Option{renewal.WithMaxLineage(0)}},
		{"token", a.renew, []renewal.Option{renewal.WithLogger(nil)}},
		{"token", a.renew, []renewal.Option{renewal.WithClock(nil)}},
	} {
		_, err := renewal.NewKeeper(wrong.path, wrong.renew, wrong.options...)
		require.Error(t, err)
		assert.NotContains(t, err.Error(), "eyJ")
	}
}
